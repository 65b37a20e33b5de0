/* Accepted output of workers that are dead: taken over, and published. */
#include <stdlib.h>
#include <string.h>

#include "worker/loop.h"

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

/* An accepted row as an attempt that has only to be published. */
static void recover_one(struct stage *g, struct ledger_shard *s)
{
	struct work *w = g->w;
	struct ledger_file *files = NULL;
	struct attempt *a;
	struct error e;
	size_t n = 0;
	enum status st = s->files == NULL ? error_set(&e, ST_CORRUPT, "accepted without files")
	    : ledger_files_parse(s->files, &files, &n, &e);

	if (st != ST_OK || n != 1 || (a = attempt_create(g, s)) == NULL) {
		loop_fatal(w, st == ST_OK ? ST_CORRUPT : st, &e);
		ledger_files_free(files, n);
		ledger_shard_free(s);
		return;
	}
	a->recovered = true;
	a->file = files[0];
	a->n_files = 1;
	a->rec.epoch = a->shard.s.epoch;
	a->rec.worker = w->me.id;
	a->rec.exit_code = -1;
	free(files); /* its strings are the attempt's now */
	publisher_give(w->publisher, a);
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
