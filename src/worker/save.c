#include "worker/save.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/copy.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"
#include "worker/account.h"
#include "worker/batch.h"
#include "worker/contract.h"
#include "worker/loop.h"

bool save_is_kept(const struct stage *g)
{
	return g->w->pipeline->name[0] != '\0';
}

static bool is_whole(const struct ledger_checkpoint *c)
{
	struct stat sb;
	size_t i;

	for (i = 0; i < c->n_files; i++) {
		if (stat(c->files[i].private_path, &sb) == -1 || sb.st_size < c->files[i].size)
			return false;
	}
	return c->folder == NULL || (stat(c->folder, &sb) == 0 && S_ISDIR(sb.st_mode));
}

void save_verify(struct attempt *a)
{
	struct buf name = {0};

	if (a->from.epoch == 0 || is_whole(&a->from))
		return;
	shard_name(&a->shard, &name);
	log_line(LOG_WARN, "what the checkpoint of %s names is gone; it begins anew",
	    name.data == NULL ? "a shard" : name.data);
	buf_free(&name);
	ledger_checkpoint_free(&a->from);
}

/* ---- the task's folder ---- */

enum status save_make_folder(struct attempt *a, struct error *e)
{
	struct buf path = {0};
	enum status st;

	buf_printf(&path, "%s/%lld.%lld", control_folder(a->w->body->control),
	    (long long)a->shard.row, (long long)a->shard.s.epoch);
	st = buf_check(&path, e);
	if (st == ST_OK && sys_mkdir(path.data, 0700) == -1)
		st = error_os(e, errno, "cannot make the folder %s", path.data);
	if (st == ST_OK)
		a->folder = path.data;
	else
		buf_free(&path);
	return st;
}

enum status save_restore(struct attempt *a, struct error *e)
{
	enum status st;

	sys_point("restore.before");
	st = copy_tree_into(a->from.folder, a->folder, e);
	sys_point("restore.after");
	return st;
}

void save_drop_folder(struct attempt *a)
{
	struct error e;

	if (a->folder == NULL)
		return;
	if (sys_rmdir(a->folder) == -1 && file_remove_tree(a->folder, &e) != ST_OK)
		log_line(LOG_WARN, "%s", e.text);
	free(a->folder);
	a->folder = NULL;
}

/* ---- joining ---- */

static enum status join_into(struct attempt *a, int fd, const char *name, struct error *e)
{
	struct stat sb;
	enum status st = ST_OK;
	size_t i;

	for (i = 0; st == ST_OK && i < a->from.n_files; i++)
		st = copy_bytes(a->from.files[i].private_path, a->from.files[i].size, fd, name, e);
	if (st == ST_OK && stat(a->private_path, &sb) == -1)
		st = error_os(e, errno, "cannot look at %s", a->private_path);
	return st == ST_OK ? copy_bytes(a->private_path, sb.st_size, fd, name, e) : st;
}

/* Under a name of its own: until the shard is accepted, its checkpoint may name
 * the first bytes of what is under the attempt's. */
enum status save_join(struct attempt *a, struct error *e)
{
	struct buf joined = {0};
	enum status st;
	int fd;

	if (a->from.n_files == 0)
		return ST_OK;
	buf_printf(&joined, "%s.joined", a->private_path);
	st = buf_check(&joined, e);
	if (st != ST_OK)
		return st;
	sys_point("join.before");
	fd = sys_open(joined.data, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0666);
	if (fd == -1) {
		st = error_os(e, errno, "cannot create %s", joined.data);
	} else {
		st = join_into(a, fd, joined.data, e);
		if (sys_close(fd) == -1 && st == ST_OK)
			st = error_os(e, errno, "cannot close %s", joined.data);
	}
	sys_point("join.after");
	if (st != ST_OK) {
		(void)!sys_unlink(joined.data);
		buf_free(&joined);
		return st;
	}
	/* store_seal syncs it. */
	a->own_part = a->private_path;
	a->private_path = joined.data;
	return ST_OK;
}

/* ---- what is needless ---- */

struct removal {
	uv_work_t job;
	size_t n;
	char *path[]; /* files and folders */
};

static void job_remove(uv_work_t *job)
{
	const struct removal *r = job->data;
	struct error e;
	size_t i;

	for (i = 0; i < r->n; i++) {
		if (file_remove_tree(r->path[i], &e) != ST_OK)
			log_line(LOG_WARN, "%s", e.text);
	}
}

static void removal_free(struct removal *r)
{
	while (r->n > 0)
		free(r->path[--r->n]);
	free(r);
}

static void job_removed(uv_work_t *job, int status)
{
	(void)status;
	removal_free(job->data);
}

/* Room for so many; NULL: housekeeping finds them later. */
static struct removal *removal_create(size_t n)
{
	struct removal *r = mem_zero(sizeof(*r) + n * sizeof(r->path[0]));

	if (r != NULL)
		r->job.data = r;
	return r;
}

static void removal_add(struct removal *r, char **take_path)
{
	if (*take_path == NULL)
		return;
	r->path[r->n++] = *take_path;
	*take_path = NULL;
}

static void removal_begin(struct work *w, struct removal *r)
{
	if (r->n == 0 || w->closing ||
	    uv_queue_work(&w->loop, &r->job, job_remove, job_removed) != 0)
		removal_free(r);
}

void save_forget(struct attempt *a)
{
	struct ledger_checkpoint *from = &a->from;
	struct removal *r;
	size_t i;

	if (!a->saved && from->epoch == 0)
		return;
	r = removal_create(from->n_files + 3);
	if (r == NULL)
		return;
	for (i = 0; i < from->n_files; i++)
		removal_add(r, &from->files[i].private_path);
	removal_add(r, &from->folder);
	removal_add(r, &a->own_copy);
	removal_add(r, &a->own_part);
	removal_begin(a->w, r);
}

/* ---- saving ---- */

struct save {
	struct op op;   /* first */
	uv_work_t job;
	struct attempt *a;
	struct control_view request;
	struct ledger_checkpoint made;
	int64_t ran_ns; /* that the attempt had run before it */
	enum status status;
	struct error error;
};

static void save_free(struct save *s)
{
	ledger_checkpoint_free(&s->made);
	free(s);
}

static enum status add_piece(struct save *s, const char *path, int64_t size, struct error *e)
{
	struct ledger_file *f = &s->made.files[s->made.n_files++];

	f->private_path = mem_dup(path, strlen(path));
	f->final_path = mem_dup("", 0);
	f->size = size;
	return f->private_path == NULL || f->final_path == NULL
	    ? error_set(e, ST_NO_MEMORY, "out of memory") : ST_OK;
}

/* Pieces of earlier attempts, and the first bytes of this one's output, if it
 * wrote any: a task that keeps all in its folder is run again many times. */
static enum status list_pieces(struct save *s, struct error *e)
{
	const struct attempt *a = s->a;
	const struct ledger_checkpoint *from = &a->from;
	enum status st = ST_OK;
	struct stat sb = {0};
	int64_t size;
	size_t i;

	s->made.files = mem_zero((from->n_files + 1) * sizeof(*s->made.files));
	if (s->made.files == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	/* Of files in $EBB_OUTPUT nothing is kept: they are committed whole. */
	if (!attempt_fills_folder(a) && stat(a->private_path, &sb) == -1)
		return error_os(e, errno, "cannot look at %s", a->private_path);
	/* Of a batch that was cut off, a part may stand behind the last good one. */
	size = batch_is_on(a) ? a->batch_size : sb.st_size;
	for (i = 0; st == ST_OK && i < from->n_files; i++)
		st = add_piece(s, from->files[i].private_path, from->files[i].size, e);
	return st == ST_OK && size > 0 ? add_piece(s, a->private_path, size, e) : st;
}

static enum status copy_folder(struct save *s, struct error *e)
{
	struct attempt *a = s->a;
	struct buf dir = {0};
	int64_t bytes;
	enum status st = state_mkdir(a->w->opt->state, &dir, e, "runs/%s/checkpoints",
	    a->w->opt->run.name);
	struct buf path = {0};

	if (st == ST_OK) {
		buf_printf(&path, "%s/%lld.%lld.%llu", dir.data, (long long)a->shard.row,
		    (long long)a->shard.s.epoch, (unsigned long long)++a->n_saves);
		st = buf_check(&path, e);
	}
	if (st == ST_OK)
		st = copy_tree(a->folder, path.data, &bytes, e);
	sys_point("checkpoint.copied");
	if (st == ST_OK)
		st = file_sync_dir(dir.data, e);
	if (st == ST_OK) {
		s->made.folder = path.data;
		path.data = NULL;
	} else if (path.data != NULL) {
		struct error again;

		(void)!file_remove_tree(path.data, &again);
	}
	buf_free(&path);
	buf_free(&dir);
	return st;
}

/* Output and folder, durable; on a pool thread. */
static enum status make_durable(struct save *s, struct error *e)
{
	struct attempt *a = s->a;
	const char *name = a->private_path;
	enum status st = list_pieces(s, e);

	if (st == ST_OK && !attempt_fills_folder(a))
		st = file_sync(name, e);
	if (st == ST_OK && !attempt_fills_folder(a))
		st = store_sync_names(a->w->store, &name, 1, e);
	if (st == ST_OK)
		st = copy_folder(s, e);
	return st;
}

static void job_save(uv_work_t *job)
{
	struct save *s = job->data;

	sys_point("checkpoint.before");
	s->status = make_durable(s, &s->error);
	sys_point("checkpoint.durable");
}

static enum status exec_save(struct ledger *l, struct op *op, struct error *e)
{
	struct save *s = (struct save *)op;

	return ledger_checkpoint(l, s->a->shard.row, &s->made, e);
}

static void answer(struct save *s, enum ebb_answer word)
{
	struct attempt *a = s->a;
	struct error e;

	if (!batch_is_on(a) && a->run_lane >= 0 && !a->end_waits &&
	    control_answer(a->w->body->control, a->run_lane, &s->request, word, &e) != ST_OK)
		log_line(LOG_DEBUG, "%s", e.text);
}

static void remove_copy(struct work *w, char **take_folder)
{
	struct removal *r = removal_create(1);

	if (r == NULL)
		return;
	removal_add(r, take_folder);
	removal_begin(w, r);
}

/* What the attempt has run so far, waiting for checkpoints apart. */
static int64_t ran_so_far(const struct attempt *a)
{
	return batch_is_on(a) ? a->ran_ns : a->save_began_ns - a->begun_boot_ns - a->inside_ns;
}

/* From asking to the answer: a running task waits for it, and between two batches
 * the slot does. */
static void begin_time(struct save *s)
{
	struct attempt *a = s->a;

	a->save_began_ns = sys_boot_ns();
	a->save_began_ms = a->save_began_ns / 1000000;
	s->ran_ns = ran_so_far(a);
	s->made.kept_ms = s->ran_ns / 1000000;
	if (!batch_is_on(a) || a->end.lane < 0)
		return;
	a->account_lane = a->end.lane;
	account_set(a->w->account, a->account_lane, SPENT_CHECKPOINTING,
	    account_stage(a->g->number), a->save_began_ns);
}

static void end_time(struct save *s)
{
	struct attempt *a = s->a;
	int64_t now = sys_boot_ns();
	int64_t until = a->end_waits ? a->end.ended_boot_ns : now;

	a->checkpoint_ns += now - a->save_began_ns;
	if (!batch_is_on(a) && until > a->save_began_ns)
		a->inside_ns += until - a->save_began_ns;
	account_unset(a->w->account, a->account_lane, now);
	a->account_lane = -1;
}

static void save_end(struct save *s, enum status st, const struct error *e)
{
	struct attempt *a = s->a;

	a->saving = false;
	end_time(s);
	if (st == ST_OK) {
		a->saved = true;
		a->g->save_seen = true;
		a->kept_ns = s->ran_ns;
		answer(s, EBB_ANSWER_DURABLE);
		/* The one before in this attempt; those of others go with the shard. */
		remove_copy(a->w, &a->own_copy);
		a->own_copy = s->made.folder;
		s->made.folder = NULL;
		a->save_ms = sys_boot_ns() / 1000000 - a->save_began_ms;
	} else {
		answer(s, st == ST_FENCED ? EBB_ANSWER_FENCED : EBB_ANSWER_FAILED);
		remove_copy(a->w, &s->made.folder);
		if (st != ST_FENCED)
			log_line(LOG_WARN, "a checkpoint was not kept: %s", e->text);
	}
	save_free(s);
	if (batch_is_on(a))
		batch_saved(a, st);
	else if (a->end_waits)
		loop_judge(a);
	loop_step(a->w);
}

static void done_save(struct op *op)
{
	sys_point("checkpoint.after");
	save_end((struct save *)op, op->status, &op->error);
}

static void job_saved(uv_work_t *job, int status)
{
	struct save *s = job->data;

	(void)status;
	if (s->a->w->closing) {
		save_free(s);
		return;
	}
	if (s->status != ST_OK) {
		save_end(s, s->status, &s->error);
		return;
	}
	s->op.exec = exec_save;
	s->op.done = done_save;
	s->op.urgent = true;
	committer_submit(s->a->w->committer, &s->op);
}

void save_begin(struct attempt *a, const struct control_view *request)
{
	struct save *s = mem_zero(sizeof(*s));

	if (s == NULL)
		return; /* it stays asked for */
	s->a = a;
	s->request = *request;
	s->made.epoch = a->shard.s.epoch;
	s->made.offset = request->offset;
	a->saving = true;
	begin_time(s);
	s->job.data = s;
	if (uv_queue_work(&a->w->loop, &s->job, job_save, job_saved) != 0)
		save_end(s, error_set(&s->error, ST_NO_MEMORY, "out of memory"), &s->error);
}
