/* The end of a stage: its manifest, with bytes that depend on nothing but
 * inputs and outputs, and the seal. */
#include <fcntl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "base/sys.h"
#include "worker/loop.h"
#include "worker/requests.h"

enum { SEAL_PAGE = 512, SEAL_BUSY_MS = 5000 };

/* Take the lease, write, seal: two ledger operations with a job between them. */
struct sealing {
	struct op op;      /* first */
	uv_work_t job;
	struct stage *g;
	int64_t planned;
	int64_t allowed;   /* to have failed */
	enum status status;/* of the job */
	struct error error;
};

struct writer {
	int fd;
	const char *path;
	struct buf out;
	int64_t n;  /* shards written; those that failed are left out */
};

static enum status flush(struct writer *wr, size_t at_least, struct error *e)
{
	enum status st = buf_check(&wr->out, e);

	if (st != ST_OK || wr->out.len < at_least)
		return st;
	st = file_write_all(wr->fd, wr->out.data, wr->out.len, wr->path, e);
	buf_clear(&wr->out);
	return st;
}

static void manifest_file(struct writer *wr, const struct ledger_file *f, bool first)
{
	buf_str(&wr->out, first ? "{\"name\":" : ",{\"name\":");
	str_json(&wr->out, f->final_path, strlen(f->final_path));
	buf_printf(&wr->out, ",\"size\":%lld,\"sha256\":\"", (long long)f->size);
	str_hex(&wr->out, f->hash, HASH_SIZE);
	buf_str(&wr->out, "\"}");
}

static enum status add_shard(struct writer *wr, const struct ledger_shard *s, struct error *e)
{
	struct ledger_file *files = NULL;
	struct buf name = {0};
	size_t n = 0;
	enum status st = ST_OK;
	size_t i;

	if (s->files != NULL)
		st = ledger_files_parse(s->files, &files, &n, e);
	if (st != ST_OK)
		return st;
	shard_name(s, &name);
	buf_printf(&wr->out, "%s\n{\"ordinal\":%lld,\"shard\":", wr->n++ == 0 ? "" : ",",
	    (long long)s->ordinal);
	str_json(&wr->out, name.data == NULL ? "" : name.data, name.len);
	if (s->length >= 0)
		buf_printf(&wr->out, ",\"offset\":%lld,\"length\":%lld", (long long)s->offset,
		    (long long)s->length);
	buf_str(&wr->out, ",\"files\":[");
	/* Output without a place is one file, and not listed. */
	for (i = 0; i < n && files[i].final_path[0] != '\0'; i++)
		manifest_file(wr, &files[i], i == 0);
	buf_str(&wr->out, "]}");
	if (name.failed)
		wr->out.failed = true;
	buf_free(&name);
	ledger_files_free(files, n);
	return flush(wr, 65536, e);
}

/* Ranges of one file must follow each other without a gap, from 0. Where it
 * ends is not asked: it may have grown since its last range was done. */
static enum status check_tiling(const struct ledger_shard *prev, const struct ledger_shard *s,
    struct error *e)
{
	bool same = prev->item != NULL && s->part > 0;
	int64_t want = same ? prev->offset + prev->length : 0;

	if (s->length < 0)
		return ST_OK;
	if (s->offset != want || (same && strcmp(prev->item, s->item) != 0))
		return error_set(e, ST_CORRUPT, "the shards of %s do not cover it: a gap at %lld",
		    s->item, (long long)want);
	return ST_OK;
}

static enum status add_shards(const struct stage *g, struct ledger *l, struct writer *wr,
    struct error *e)
{
	struct ledger_shard page[SEAL_PAGE];
	struct ledger_shard prev = {0};
	struct ledger_query q = {.stage = g->id, .state = SHARD_PUBLISHED, .ordinal = -1,
	    .max = SEAL_PAGE};
	enum status st;
	size_t n;
	size_t i;

	do {
		n = SEAL_PAGE;
		st = ledger_shards(l, &q, page, &n, e);
		if (st != ST_OK)
			break;
		for (i = 0; i < n; i++) {
			if (st == ST_OK)
				st = check_tiling(&prev, &page[i], e);
			if (st == ST_OK)
				st = add_shard(wr, &page[i], e);
			q.from = page[i].ordinal + 1;
			ledger_shard_free(&prev);
			prev = page[i];
		}
	} while (st == ST_OK && n == SEAL_PAGE);
	ledger_shard_free(&prev);
	return st;
}

static enum status write_manifest(const struct sealing *s, struct ledger *l, const char *path,
    struct error *e)
{
	const struct spec *spec = s->g->spec;
	struct writer wr = {.path = path};
	enum status st;

	wr.fd = sys_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	if (wr.fd == -1)
		return error_os(e, errno, "cannot create %s", path);
	buf_str(&wr.out, "{\"ebb_manifest\":1,\"stage\":");
	str_json(&wr.out, spec->name, strlen(spec->name));
	buf_printf(&wr.out, ",\"shards\":%lld,\"list\":[", (long long)s->planned);
	/* Shards without output are counted above and not listed: a list of 10^6
	 * commands run for their effect needs no file of 10^6 lines. */
	st = spec->output == SPEC_OUT_STDOUT && spec->shard == SPEC_LIST ? ST_OK
	    : add_shards(s->g, l, &wr, e);
	buf_str(&wr.out, "\n]}\n");
	if (st == ST_OK)
		st = flush(&wr, 0, e);
	if (st == ST_OK && sys_fsync(wr.fd) == -1)
		st = error_os(e, errno, "cannot sync %s", path);
	if (sys_close(wr.fd) == -1 && st == ST_OK)
		st = error_os(e, errno, "cannot close %s", path);
	buf_free(&wr.out);
	return st;
}

static enum status publish_manifest(const struct sealing *s, struct ledger *l,
    const char *private_path, const char *path, struct error *e)
{
	struct buf dir = {0};
	enum status st = write_manifest(s, l, private_path, e);

	if (st != ST_OK)
		return st;
	sys_point("seal.rename.before");
	file_dirname(path, &dir);
	st = buf_check(&dir, e);
	if (st == ST_OK && sys_rename(private_path, path) == -1)
		st = error_os(e, errno, "cannot rename %s to %s", private_path, path);
	if (st == ST_OK)
		st = file_sync_dir(dir.data, e);
	sys_point("seal.rename.after");
	buf_free(&dir);
	return st;
}

enum status seal_manifest_path(const struct state *state, const char *run, const char *stage,
    struct buf *out, struct error *e)
{
	enum status st = state_mkdir(state, out, e, "runs/%s", run);

	if (st != ST_OK)
		return st;
	buf_printf(out, "/_ebb_manifest.%s.%s.json", run, stage);
	return buf_check(out, e);
}

/* ---- on the loop ---- */

static enum status exec_take_seal(struct ledger *l, struct op *op, struct error *e)
{
	struct sealing *s = (struct sealing *)op;
	struct ledger_stage now;
	enum status st = ledger_stage_get(l, s->g->id, &now, e);

	/* The lease of whoever has sealed it ends with its worker. */
	if (st == ST_OK && now.sealed)
		st = error_set(e, ST_BUSY, "the stage is sealed");
	if (st != ST_OK)
		return st;
	return ledger_lease_take(l, s->g->id, "seal", s->g->w->me.id, e);
}

/* Shards beyond those that are allowed to fail are not published: ST_BUSY. */
static enum status exec_seal(struct ledger *l, struct op *op, struct error *e)
{
	struct sealing *s = (struct sealing *)op;

	enum status st = ledger_stage_seal(l, s->g->id, s->allowed, e);

	return st == ST_OK ? event_put(l, s->g->w, "seal", s->g->spec->name, e) : st;
}

static void seal_end(struct sealing *s, enum status st, const struct error *e)
{
	struct stage *g = s->g;

	g->sealing = false;
	if (st == ST_OK) {
		g->last.sealed = true;
		/* Those that read it may be planned now. */
		if (!g->w->closing)
			loop_look(g->w, false);
	} else if (st == ST_BUSY || st == ST_FENCED) {
		g->seal_refused = true; /* until it has looked again */
	} else {
		loop_fatal(g->w, st, e);
	}
	free(s);
	if (!g->w->closing)
		loop_step(g->w);
}

static void done_seal(struct op *op)
{
	sys_point("seal.after");
	seal_end((struct sealing *)op, op->status, &op->error);
}

/* Its own handle: reading 10^6 shards must not keep the committer from renewing
 * the lease. */
static enum status write_and_publish(const struct sealing *s, struct error *e)
{
	const struct ledger_options lo = {.read_only = true, .busy_ms = SEAL_BUSY_MS};
	const struct work *w = s->g->w;
	struct ledger *l = NULL;
	struct buf path = {0};
	struct buf private_path = {0};
	enum status st;

	sys_point("seal.before");
	st = seal_manifest_path(w->opt->state, w->opt->run.name, s->g->spec->name, &path, e);
	if (st == ST_OK) {
		buf_printf(&private_path, "%s.%s", path.data, w->body->token);
		st = buf_check(&private_path, e);
	}
	if (st == ST_OK)
		st = ledger_open(w->opt->ledger, &lo, &l, e);
	if (st == ST_OK)
		st = publish_manifest(s, l, private_path.data, path.data, e);
	ledger_close(l);
	buf_free(&path);
	buf_free(&private_path);
	return st;
}

static void job_seal(uv_work_t *job)
{
	struct sealing *s = job->data;

	s->status = write_and_publish(s, &s->error);
}

static void job_sealed(uv_work_t *job, int status)
{
	struct sealing *s = job->data;

	(void)status;
	if (s->status != ST_OK || s->g->w->closing) {
		seal_end(s, s->status, &s->error);
		return;
	}
	s->op.exec = exec_seal;
	s->op.done = done_seal;
	committer_submit(s->g->w->committer, &s->op);
}

static void done_take_seal(struct op *op)
{
	struct sealing *s = (struct sealing *)op;

	if (op->status != ST_OK) {
		seal_end(s, op->status, &op->error);
		return;
	}
	s->job.data = s;
	if (uv_queue_work(&s->g->w->loop, &s->job, job_seal, job_sealed) != 0)
		seal_end(s, error_set(&s->error, ST_NO_MEMORY, "out of memory"), &s->error);
}

void seal_begin(struct stage *g)
{
	struct sealing *s = mem_zero(sizeof(*s));

	if (s == NULL)
		return;
	g->sealing = true;
	s->g = g;
	s->planned = g->last.planned;
	s->allowed = stage_allowance(g);
	s->op.exec = exec_take_seal;
	s->op.done = done_take_seal;
	s->op.urgent = true;
	committer_submit(g->w->committer, &s->op);
}
