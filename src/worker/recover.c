/* Accepted output of workers that are dead: taken over, and published. */
#include <stdlib.h>
#include <string.h>

#include "worker/loop.h"
#include "worker/out_folder.h"

enum { RECOVER_MAX = 256 }; /* a page */

struct recover_op {
	struct op op;
	struct stage *g;
	int64_t from; /* ordinal that the page begins at */
	struct ledger_shard shards[RECOVER_MAX];
	size_t n;
};

static enum status exec_recover(struct ledger *l, struct op *op, struct error *e)
{
	struct recover_op *o = (struct recover_op *)op;

	/* What an earlier try of the group left. */
	while (o->n > 0)
		ledger_shard_free(&o->shards[--o->n]);
	return ledger_take_accepted(l, o->g->id, o->g->w->me.id, o->from, RECOVER_MAX, o->shards,
	    &o->n, e);
}

static enum status take_recovered_files(struct attempt *a, struct ledger_file **take, size_t *n,
    struct error *e)
{
	enum status st = attempt_room(a, *n, e);

	if (st != ST_OK)
		return st;
	free(a->files);
	a->files = *take;
	a->n_files = *n;
	*take = NULL;
	*n = 0;
	return attempt_fills_folder(a) ? out_folder_name(a, e) : ST_OK;
}

/* An accepted row as an attempt that has only to be published; *take_shard moves
 * into it. */
static enum status make_recovered(struct stage *g, struct ledger_shard *take_shard,
    struct attempt **out, struct error *e)
{
	struct ledger_file *files = NULL;
	struct attempt *a;
	size_t n = 0;
	enum status st;

	if (take_shard->files == NULL)
		return error_set(e, ST_CORRUPT, "accepted without files");
	st = ledger_files_parse(take_shard->files, &files, &n, e);
	if (st == ST_OK && n == 0)
		st = error_set(e, ST_CORRUPT, "accepted with no file");
	if (st != ST_OK)
		return st;
	a = attempt_create(g, take_shard);
	if (a == NULL) {
		ledger_files_free(files, n);
		return error_set(e, ST_NO_MEMORY, "out of memory");
	}
	st = take_recovered_files(a, &files, &n, e);
	ledger_files_free(files, n);
	if (st != ST_OK) {
		attempt_free(a);
		return st;
	}
	a->recovered = true;
	a->rec.epoch = a->shard.s.epoch;
	a->rec.worker = g->w->me.id;
	a->rec.exit_code = -1;
	*out = a;
	return ST_OK;
}

static void recover_one(struct stage *g, struct ledger_shard *s)
{
	struct attempt *a = NULL;
	struct error e;
	enum status st = make_recovered(g, s, &a, &e);

	ledger_shard_free(s);
	if (a != NULL)
		publisher_give(g->w->publisher, a);
	else
		loop_fatal(g->w, st, &e);
}

static bool is_ours(const struct work *w, int64_t row)
{
	const struct attempt *a;

	for (a = w->all; a != NULL; a = a->all_next) {
		if (a->shard.row == row)
			return true;
	}
	return false;
}

static void recover_from(struct stage *g, int64_t from);

static void done_recover(struct op *op)
{
	struct recover_op *o = (struct recover_op *)op;
	struct stage *g = o->g;
	struct work *w = g->w;
	bool more = op->status == ST_OK && o->n == RECOVER_MAX;
	int64_t next = more ? o->shards[o->n - 1].ordinal + 1 : 0;
	size_t i;

	g->recovering = false;
	if (op->status != ST_OK)
		loop_fatal(w, op->status, &op->error);
	for (i = 0; i < o->n; i++) {
		if (op->status != ST_OK || is_ours(w, o->shards[i].row))
			ledger_shard_free(&o->shards[i]);
		else
			recover_one(g, &o->shards[i]);
	}
	free(o);
	if (more)
		recover_from(g, next);
}

static void recover_from(struct stage *g, int64_t from)
{
	struct work *w = g->w;
	struct recover_op *o = g->recovering || w->closing ? NULL : mem_zero(sizeof(*o));

	if (o == NULL)
		return;
	g->recovering = true;
	o->op.exec = exec_recover;
	o->op.done = done_recover;
	o->op.urgent = true;
	o->g = g;
	o->from = from;
	committer_submit(w->committer, &o->op);
}

void loop_recover(struct stage *g)
{
	recover_from(g, 0);
}
