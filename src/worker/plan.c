/* The planner: reads the list, cuts files, and writes what is new into the
 * ledger, a chunk at a time, while the first shards are already running. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/sys.h"
#include "model/identity.h"
#include "worker/final_name.h"
#include "worker/itemize.h"
#include "worker/work.h"

/* An item of the chunk being gathered: offsets into texts. */
struct gathered {
	struct ledger_item item;
	size_t text;       /* offset of the item */
	size_t final;      /* offset of the final name */
};

struct planner {
	struct stage *g;
	struct work *w;             /* of g */
	pthread_t thread;
	struct list *list;          /* SOURCE_GIVEN */
	struct input *input;        /* else */
	struct itemize itemize;
	struct hash *hash;
	struct hash *digest;        /* of the current chunk */
	struct buf texts;
	struct buf checked_dir;     /* that outputs may be made in */
	struct gathered items[LEDGER_CHUNK];
	size_t n;                   /* gathered in this chunk */
	size_t n_written;           /* of them, already in the ledger */
	int64_t chunk;              /* its index */
	bool known;                 /* every chunk so far was as recorded */
	bool with_files;            /* some item was a file when it was planned */
	_Atomic int64_t below;
	_Atomic bool done;
	_Atomic bool stop;
	enum status status;
	struct error error;
};

struct plan_op {
	struct op op;
	struct planner *p;
	struct ledger_item *items;
	size_t n;
	int64_t first;
	int64_t number;
	size_t bad;
	int64_t dropped;             /* rows that left the list */
	struct ledger_unseen unseen; /* what they were before that */
	uint8_t digest[HASH_SIZE];
};

static enum status call(struct planner *p, struct plan_op *op,
    enum status (*exec)(struct ledger *, struct op *, struct error *), struct error *e)
{
	enum status st;

	op->p = p;
	op->op.exec = exec;
	st = committer_call(p->w->committer, &op->op);
	if (st != ST_OK)
		*e = op->op.error;
	return st;
}

/* As make does: what is done but whose output was taken away is to do again. */
static bool output_is_there(void *arg, const struct ledger_file *f)
{
	(void)arg;
	return file_version_of(f->final_path).exists;
}

static enum status exec_items(struct ledger *l, struct op *op, struct error *e)
{
	struct plan_op *o = (struct plan_op *)op;
	const struct ledger_carry carry = {.stage = o->p->g->carry_from,
	    .is_there = output_is_there};

	return ledger_plan_items(l, o->p->g->id, o->first, o->items, o->n,
	    carry.stage > 0 ? &carry : NULL, &o->bad, e);
}

static enum status exec_chunk_get(struct ledger *l, struct op *op, struct error *e)
{
	struct plan_op *o = (struct plan_op *)op;

	return ledger_plan_chunk_get(l, o->p->g->id, o->number, o->digest, e);
}

static enum status exec_chunk_put(struct ledger *l, struct op *op, struct error *e)
{
	struct plan_op *o = (struct plan_op *)op;

	return ledger_plan_chunk_put(l, o->p->g->id, o->number, o->digest, e);
}

static enum status exec_restart(struct ledger *l, struct op *op, struct error *e)
{
	struct plan_op *o = (struct plan_op *)op;

	return ledger_plan_restart(l, o->p->g->id, o->first, e);
}

static enum status exec_finish(struct ledger *l, struct op *op, struct error *e)
{
	struct plan_op *o = (struct plan_op *)op;
	enum status st = ledger_plan_unseen(l, o->p->g->id, &o->unseen, e);

	if (st == ST_OK)
		st = ledger_plan_finish(l, o->p->g->id, o->first, &o->dropped, e);
	return st == ST_OK ? ledger_lease_release(l, o->p->g->id, "plan", o->p->w->me.id, e) : st;
}

static enum status exec_take_plan(struct ledger *l, struct op *op, struct error *e)
{
	struct plan_op *o = (struct plan_op *)op;

	return ledger_lease_take(l, o->p->g->id, "plan", o->p->w->me.id, e);
}

static void note_below(struct planner *p, int64_t below)
{
	atomic_store(&p->below, below);
	(void)uv_async_send(&p->w->wake);
}

struct output_op {
	struct op op;
	const char *name;
	size_t len;
	struct ledger_output out;
};

static enum status exec_output(struct ledger *l, struct op *op, struct error *e)
{
	struct output_op *o = (struct output_op *)op;
	enum status st = ledger_output_get(l, o->name, o->len, &o->out, e);

	if (st == ST_NOT_FOUND) {
		memset(&o->out, 0, sizeof(o->out));
		return ST_OK;
	}
	return st;
}

/* The nearest folder above an output that is there must let ebb in: told before the
 * commands have done their work in vain. Once for outputs of one folder. */
static enum status check_folder(struct planner *p, const char *final, struct error *e)
{
	struct buf dir = {0};
	struct buf up = {0};
	enum status st = ST_OK;

	file_dirname(final, &dir);
	st = buf_check(&dir, e);
	if (st != ST_OK || dir.data == NULL ||
	    (p->checked_dir.data != NULL && strcmp(dir.data, p->checked_dir.data) == 0))
		goto out;
	buf_clear(&p->checked_dir);
	buf_str(&p->checked_dir, dir.data);
	while (access(dir.data, F_OK) == -1 && strcmp(dir.data, ".") != 0 &&
	    strcmp(dir.data, "/") != 0) {
		file_dirname(dir.data, &up);
		buf_free(&dir);
		dir = up;
		memset(&up, 0, sizeof(up));
		st = buf_check(&dir, e);
		if (st != ST_OK || dir.data == NULL)
			goto out;
	}
	if (access(dir.data, W_OK | X_OK) == -1 && errno == EACCES)
		st = error_set(e, ST_CONFIG, "the output %.200s: no permission to write to the folder "
		    "%.200s", final, dir.data);
out:
	buf_free(&dir);
	return st;
}

/* What stands at a final name must be ebb's own; told before anything runs.
 * Publishing checks again, by hash. */
static enum status check_target(struct planner *p, const char *final, size_t len, struct error *e)
{
	struct output_op o = {.op = {.exec = exec_output}, .name = final, .len = len};
	enum status st;

	if (access(final, F_OK) == -1)
		return ST_OK;
	st = committer_call(p->w->committer, &o.op);
	if (st != ST_OK) {
		*e = o.op.error;
		return st;
	}
	/* A planned one may be the rename of a run that was killed just then. */
	if (o.out.published || o.out.planned)
		return ST_OK;
	return error_set(e, ST_CONFIG, "the output %.200s exists and was not written by this "
	    "state's ebb; move it away, or choose another output name", final);
}

/* In the state folder, by identity: it stays the same wherever the item stands. */
static enum status kept_name(struct planner *p, const struct gathered *g, struct buf *name,
    struct error *e)
{
	state_name(p->w->opt->state, name, "runs/%s/stages/%s/", p->w->opt->run.name,
	    p->g->spec->name);
	str_hex(name, g->item.id, LEDGER_ID_SIZE);
	return buf_check(name, e);
}

static enum status given_name(struct planner *p, const struct gathered *g, int64_t ordinal,
    struct buf *name, struct error *e)
{
	struct template_values v = {p->texts.data + g->text, g->item.item_len, ordinal + 1, 1};

	return final_name(p->g, &v, name, e);
}

/* Adds the output's name of the gathered item to texts. */
static enum status name_output(struct planner *p, struct gathered *g, int64_t ordinal,
    struct error *e)
{
	struct buf name = {0};
	const char *final;
	enum status st = p->g->spec->output == SPEC_OUT_KEPT ? kept_name(p, g, &name, e)
	    : given_name(p, g, ordinal, &name, e);

	final = name.data == NULL ? "" : name.data;
	if (st == ST_OK && !p->known)
		st = check_folder(p, final, e);
	if (st == ST_OK && !p->known)
		st = check_target(p, final, name.len, e);
	if (st == ST_OK) {
		g->final = p->texts.len;
		g->item.final_len = name.len;
		buf_append(&p->texts, final, name.len + 1);
		st = buf_check(&p->texts, e);
	}
	buf_free(&name);
	return st;
}

static bool has_name(const struct spec *s)
{
	return s->output == SPEC_OUT_NAME || s->output == SPEC_OUT_KEPT;
}

/* Completes gathered items [from, to) and writes them. */
static enum status write_items(struct planner *p, size_t from, size_t to, struct error *e)
{
	struct ledger_item *items = mem_zero((to - from + 1) * sizeof(*items));
	struct plan_op op = {.items = items, .n = to - from,
	    .first = p->chunk * LEDGER_CHUNK + (int64_t)from};
	enum status st = ST_OK;
	size_t i;

	if (items == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	for (i = from; st == ST_OK && i < to; i++) {
		struct gathered *g = &p->items[i];
		const char *text = p->texts.data + g->text;

		if (g->item.part < 0) {
			identity_of_item(p->hash, p->g->fingerprint, text,
			    g->item.item_len, g->item.id);
			if (!g->item.version.exists)
				g->item.version = input_version(p->g, text, g->item.item_len);
		}
		if (has_name(p->g->spec))
			st = name_output(p, g, op.first + (int64_t)(i - from), e);
	}
	for (i = from; st == ST_OK && i < to; i++) {
		struct gathered *g = &p->items[i];

		items[i - from] = g->item;
		items[i - from].item = p->texts.data + g->text;
		items[i - from].final = has_name(p->g->spec) ? p->texts.data + g->final : NULL;
	}
	sys_point("plan.before");
	if (st == ST_OK && op.n > 0)
		st = call(p, &op, exec_items, e);
	sys_point("plan.after");
	free(items);
	return st;
}

static void chunk_reset(struct planner *p)
{
	buf_clear(&p->texts);
	p->n = 0;
	p->n_written = 0;
}

/* From here on the list is another one than last time. */
static enum status leave_known(struct planner *p, struct error *e)
{
	struct plan_op op = {.first = p->chunk * LEDGER_CHUNK};

	p->known = false;
	return call(p, &op, exec_restart, e);
}

/* How many items are written in one step. One that is taken over with thousands of
 * files is looked up file by file, and nobody else can write to the ledger meanwhile. */
static size_t step_of(const struct planner *p)
{
	enum { FILES_STEP = 4 };

	return p->g->spec->output == SPEC_OUT_FILES && p->g->carry_from > 0 ? FILES_STEP
	    : LEDGER_CHUNK;
}

/* What of the chunk is there, worked on at once: it may be part of one that arrives
 * from a slow producer. */
static enum status flush_part(struct planner *p, struct error *e)
{
	enum status st = ST_OK;

	while (st == ST_OK && !p->known && p->n_written < p->n) {
		size_t left = p->n - p->n_written;
		size_t step = step_of(p) < left ? step_of(p) : left;

		st = write_items(p, p->n_written, p->n_written + step, e);
		if (st == ST_OK) {
			p->n_written += step;
			note_below(p, p->chunk * LEDGER_CHUNK + (int64_t)p->n_written);
		}
	}
	return st;
}

static enum status chunk_end(struct planner *p, struct error *e)
{
	struct plan_op got = {.number = p->chunk};
	struct plan_op put = {.number = p->chunk};
	enum status st = ST_NOT_FOUND;

	hash_final(p->digest, put.digest);
	if (p->known) {
		st = call(p, &got, exec_chunk_get, e);
		if (st != ST_OK && st != ST_NOT_FOUND)
			return st;
	}
	if (st != ST_OK || memcmp(got.digest, put.digest, HASH_SIZE) != 0) {
		st = p->known ? leave_known(p, e) : ST_OK;
		if (st == ST_OK)
			st = flush_part(p, e);
		if (st == ST_OK)
			st = call(p, &put, exec_chunk_put, e);
		if (st != ST_OK)
			return st;
	}
	note_below(p, p->chunk * LEDGER_CHUNK + (int64_t)p->n);
	p->chunk++;
	chunk_reset(p);
	hash_field(p->digest, p->g->fingerprint, HASH_SIZE);
	return ST_OK;
}

static enum status add_item(void *arg, const char *text, size_t len,
    const struct ledger_item *item, struct error *e)
{
	struct planner *p = arg;
	struct gathered *g = &p->items[p->n];

	if (atomic_load(&p->stop))
		return ST_FENCED;
	memset(g, 0, sizeof(*g));
	g->item = *item;
	g->item.item_len = len;
	g->text = p->texts.len;
	buf_append(&p->texts, text, len + 1);
	itemize_digest(p->digest, text, len, item);
	if (item->part >= 0)
		identity_of_range(p->hash, p->g->fingerprint, text, &item->version, item->offset,
		    item->length, g->item.id);
	p->n++;
	if (p->texts.failed)
		return buf_check(&p->texts, e);
	return p->n == LEDGER_CHUNK ? chunk_end(p, e) : ST_OK;
}

/* A slow list: what is there is planned, then we wait a moment at a time, so
 * that a stop is heard. */
static enum status wait_for_more(struct planner *p, struct error *e)
{
	int64_t patience_ns = sys_boot_ns() + 1000000000;
	enum status st = ST_OK;

	if (list_ready(p->list))
		return ST_OK;
	while (st == ST_OK && !list_ready(p->list) && !atomic_load(&p->stop)) {
		/* Whether it is last time's list shows when the chunk is full;
		 * a slow producer is not waited for so long. */
		if (p->known && p->n > 0 && sys_boot_ns() > patience_ns)
			st = leave_known(p, e);
		if (st == ST_OK)
			st = flush_part(p, e);
		(void)poll(NULL, 0, 5);
	}
	return st;
}

/* Inputs that changed since they were planned, when the list itself did not. */
struct inputs_op {
	struct op op;
	struct planner *p;
	int64_t after;
	struct ledger_shard shards[LEDGER_CHUNK];
	int64_t next;
	size_t n;
	bool again;      /* this page once more, a little later */
};

/* Reads and compares in one group, so that no shard can be claimed between. One
 * that is leased is compared at its start; one whose input is gone can only
 * fail, and only if it is still to do. */
static enum status exec_inputs(struct ledger *l, struct op *op, struct error *e)
{
	struct inputs_op *o = (struct inputs_op *)op;
	int64_t after = o->after;
	enum status st = ledger_plan_inputs(l, o->p->g->id, &after, LEDGER_CHUNK, o->shards,
	    &o->n, e);
	size_t i;

	o->again = false;
	for (i = 0; st == ST_OK && i < o->n; i++) {
		const struct ledger_shard *s = &o->shards[i];
		struct file_version now = input_version(o->p->g, s->item, s->item_len);

		if (!now.exists || s->s.state == SHARD_LEASED ||
		    file_version_equal(&now, &s->version))
			continue;
		/* Its publisher has to come to an end first. */
		if (s->s.state == SHARD_ACCEPTED)
			o->again = true;
		else
			st = ledger_input_changed(l, s->row, &now, e);
	}
	for (i = 0; i < o->n; i++)
		ledger_shard_free(&o->shards[i]);
	o->next = after;
	return st;
}

static enum status check_inputs(struct planner *p, struct error *e)
{
	struct inputs_op *o = mem_zero(sizeof(*o));
	enum status st;

	if (o == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	o->p = p;
	do {
		o->op.exec = exec_inputs;
		st = committer_call(p->w->committer, &o->op);
		if (st != ST_OK)
			*e = o->op.error;
		else if (o->again)
			(void)poll(NULL, 0, 20);
		else
			o->after = o->next;
	} while (st == ST_OK && (o->again || o->n == LEDGER_CHUNK) && !atomic_load(&p->stop));
	free(o);
	return st;
}

/* The next item of whatever the stage reads. */
static enum status next_item(struct planner *p, struct buf *text, bool *end, struct error *e)
{
	size_t n_args;
	enum status st;

	if (p->g->spec->n_sources > 0)
		return input_next(p->input, text, end, e);
	st = wait_for_more(p, e);
	if (st == ST_OK && !atomic_load(&p->stop))
		st = list_next(p->list, text, &n_args, end, e);
	return st;
}

/* Somebody who edited the list wants to know that this is so; somebody who gave
 * the wrong one even more. */
static void tell_dropped(const struct planner *p, const struct plan_op *op)
{
	const struct worker_options *opt = p->w->opt;

	if (op->dropped == 0 || !opt->progress)
		return;
	log_line(LOG_INFO, "%s: %lld item%s of the earlier list %s (%lld of them done)",
	    opt->run.name, (long long)op->dropped, op->dropped == 1 ? "" : "s",
	    op->unseen.replaced ? op->dropped == 1
	    ? "begins anew, since the command's files or its own have changed"
	    : "begin anew, since the command's files or theirs have changed"
	    : op->dropped == 1 ? "is not in this one" : "are not in this one",
	    (long long)op->unseen.done);
}

static enum status plan_all(struct planner *p, struct error *e)
{
	struct plan_op op = {0};
	struct buf text = {0};
	bool end = false;
	enum status st = call(p, &op, exec_take_plan, e);

	hash_field(p->digest, p->g->fingerprint, HASH_SIZE);
	while (st == ST_OK && !end && !atomic_load(&p->stop)) {
		st = next_item(p, &text, &end, e);
		if (st == ST_OK && !end && !atomic_load(&p->stop))
			st = itemize_put(&p->itemize, &text, e);
	}
	buf_free(&text);
	if (st == ST_OK && !atomic_load(&p->stop))
		st = itemize_end(&p->itemize, e);
	if (st != ST_OK || atomic_load(&p->stop))
		return st;
	op.first = p->chunk * LEDGER_CHUNK + (int64_t)p->n;
	/* An empty last chunk ends the list too: what stood there last time left. */
	st = chunk_end(p, e);
	if (st == ST_OK && p->known && p->with_files)
		st = check_inputs(p, e);
	if (st == ST_OK && !atomic_load(&p->stop))
		st = call(p, &op, exec_finish, e);
	if (st == ST_OK)
		tell_dropped(p, &op);
	return st;
}

static void *planner_thread(void *arg)
{
	struct planner *p = arg;

	p->status = plan_all(p, &p->error);
	if (p->status == ST_FENCED && atomic_load(&p->stop))
		p->status = ST_OK;
	atomic_store(&p->done, true);
	(void)uv_async_send(&p->w->wake);
	return NULL;
}

static void planner_free(struct planner *p)
{
	hash_destroy(p->hash);
	hash_destroy(p->digest);
	itemize_free(&p->itemize);
	input_close(p->input);
	buf_free(&p->texts);
	buf_free(&p->checked_dir);
	free(p);
}

enum status planner_start(struct stage *g, struct error *e)
{
	struct planner *p = mem_zero(sizeof(*p));
	enum status st;
	int r;

	if (p == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	p->g = g;
	p->w = g->w;
	p->known = g->last.planned > 0;
	p->with_files = g->last.with_files > 0;
	p->hash = hash_create();
	p->digest = hash_create();
	p->list = g->w->opt->input.list;
	st = p->hash == NULL || p->digest == NULL
	    ? error_set(e, ST_NO_MEMORY, "out of memory") : ST_OK;
	if (st == ST_OK && g->spec->n_sources > 0)
		st = input_open(g, &p->input, e);
	p->itemize.g = g;
	p->itemize.add = add_item;
	p->itemize.arg = p;
	if (st == ST_OK)
		st = itemize_begin(&p->itemize, e);
	if (st == ST_OK) {
		r = pthread_create(&p->thread, NULL, planner_thread, p);
		if (r != 0)
			st = error_os(e, r, "cannot start a thread");
	}
	if (st != ST_OK) {
		planner_free(p);
		return st;
	}
	g->planner = p;
	return ST_OK;
}

void planner_stop(struct planner *p)
{
	if (p == NULL)
		return;
	atomic_store(&p->stop, true);
	(void)pthread_join(p->thread, NULL);
	planner_free(p);
}

int64_t planner_below(const struct planner *p)
{
	return atomic_load(&p->below);
}

bool planner_done(const struct planner *p, enum status *st, struct error *e)
{
	if (!atomic_load(&p->done))
		return false;
	*st = p->status;
	if (*st != ST_OK)
		*e = p->error;
	return true;
}
