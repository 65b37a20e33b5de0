/* Looking at what others have done meanwhile: counters, dead workers, plans that
 * were left. */
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "worker/loop.h"
#include "worker/sweep.h"

enum {
	START_LINE_MS = 1000,
	WOKE_MS = 1000, /* without a tick; and how long others get to renew their leases */
};

struct looked {
	struct ledger_stage stage;
	bool nobody_plans;   /* asked when it began: may it be planned? Answered. */
	bool ask;
};

struct look_op {
	struct op op;
	struct work *w;
	bool sweep;
	bool just_woken;
	int64_t lost;
	int64_t next_expiry_ms;
	size_t n;
	struct looked looked[]; /* as many as the pipeline has */
};

/* Of a plan that is not complete, whether its planner is gone: then this worker
 * has the lease now. */
static enum status take_left_plan(const struct look_op *o, struct looked *of, struct ledger *l,
    struct error *e)
{
	enum status st;

	of->nobody_plans = false;
	if (!of->ask || of->stage.plan_complete)
		return ST_OK;
	st = ledger_lease_take(l, of->stage.id, "plan", o->w->me.id, e);
	of->nobody_plans = st == ST_OK;
	return st == ST_BUSY ? ST_OK : st;
}

void loop_note_awake(struct work *w)
{
	int64_t now = sys_boot_ns() / 1000000;

	if (loop_just_woke(w) && w->awake_ms != 0)
		w->woke_ms = now;
	w->awake_ms = now;
}

bool loop_just_woke(const struct work *w)
{
	int64_t now = sys_boot_ns() / 1000000;

	return now - w->awake_ms > WOKE_MS || (w->woke_ms != 0 && now - w->woke_ms < WOKE_MS);
}

static enum status exec_look(struct ledger *l, struct op *op, struct error *e)
{
	struct look_op *o = (struct look_op *)op;
	struct work *w = o->w;
	enum status st = ST_OK;

	if (o->sweep)
		st = sweep_workers(w->opt->state, l, w->opt->run.id, w->me.id,
		    w->pipeline, o->just_woken, &o->lost, e);
	if (st == ST_OK && o->sweep)
		st = sweep_next_expiry(l, w->opt->run.id, w->me.id, &o->next_expiry_ms, e);
	for (o->n = 0; st == ST_OK && o->n < w->n_stages; o->n++) {
		struct looked *of = &o->looked[o->n];

		st = ledger_stage_get(l, w->stage[o->n].id, &of->stage, e);
		if (st == ST_OK)
			st = take_left_plan(o, of, l, e);
	}
	return st;
}

/* Once the list is read, or when that takes its time. */
static void say_start(struct work *w)
{
	struct ledger_stage all;

	if (w->start_said)
		return;
	stages_sum(w, &all);
	if (!all.plan_complete && sys_boot_ns() / 1000000 - w->started_boot_ms < START_LINE_MS)
		return;
	w->start_said = true;
	progress_start(w);
}

/* There is more to claim than when it was last looked. */
static void note_ready(struct stage *g, const struct ledger_stage *now)
{
	if (now->count[SHARD_READY] > g->last.count[SHARD_READY] ||
	    (now->count[SHARD_READY] > 0 && g->claim_at_boot_ms == 0))
		g->nothing_ready = false;
	g->last.count[SHARD_READY] = now->count[SHARD_READY];
}

static void take_look(struct stage *g, const struct looked *of)
{
	const struct ledger_stage *now = &of->stage;

	note_ready(g, now);
	g->last = *now;
	g->seal_refused = false;
	g->success_seen = g->success_seen || now->ended[CAUSE_DONE] > 0;
	if (g->w->open == 0 && now->count[SHARD_ACCEPTED] > 0)
		loop_recover(g);
	if (stage_ends_run(g))
		loop_stop_for_failures(g);
	if (of->nobody_plans && g->planner == NULL)
		g->plan_wanted = true;
}

static void done_look(struct op *op)
{
	struct look_op *o = (struct look_op *)op;
	struct work *w = o->w;

	w->looking = false;
	if (o->sweep)
		w->next_expiry_ms = o->next_expiry_ms;
	if (op->status != ST_OK) {
		loop_fatal(w, op->status, &op->error);
	} else {
		size_t i;

		for (i = 0; i < o->n; i++)
			take_look(&w->stage[i], &o->looked[i]);
		say_start(w);
		progress_update(w, false);
		if (w->look_again)
			loop_look(w, false);
	}
	free(o);
}

void loop_look(struct work *w, bool sweep)
{
	struct look_op *o;
	size_t i;

	w->look_again = w->looking;
	if (w->looking || w->closing || w->stop_level == 2)
		return;
	o = mem_zero(sizeof(*o) + w->n_stages * sizeof(o->looked[0]));
	if (o == NULL)
		return;
	for (i = 0; i < w->n_stages; i++) {
		const struct stage *g = &w->stage[i];

		o->looked[i].ask = g->planner == NULL && !g->plan_wanted && w->stop_level == 0 &&
		    stage_can_be_planned(g) && stage_inputs_ready(g);
	}
	o->op.exec = exec_look;
	o->op.done = done_look;
	o->op.urgent = w->open == 0;
	o->w = w;
	o->sweep = sweep;
	o->just_woken = loop_just_woke(w);
	w->looking = true;
	committer_submit(w->committer, &o->op);
}

/* ---- what its like have come to ---- */

struct learn_op {
	struct op op;
	struct work *w;
	struct ledger_past past[]; /* as many as the pipeline has */
};

static enum status exec_learn(struct ledger *l, struct op *op, struct error *e)
{
	struct learn_op *o = (struct learn_op *)op;
	enum status st = ST_OK;
	size_t i;

	for (i = 0; st == ST_OK && i < o->w->n_stages; i++) {
		const struct stage *g = &o->w->stage[i];

		st = ledger_past(l, g->id, spec_stop_signal(g->spec), &o->past[i], e);
	}
	return st;
}

static void done_learn(struct op *op)
{
	struct learn_op *o = (struct learn_op *)op;
	size_t i;

	/* Whatever keeps it from being read shows in the committer's health. */
	for (i = 0; op->status == ST_OK && i < o->w->n_stages; i++)
		o->w->stage[i].past = o->past[i];
	free(o);
}

void loop_learn(struct work *w)
{
	struct learn_op *o = mem_zero(sizeof(*o) + w->n_stages * sizeof(o->past[0]));

	if (o == NULL)
		return;
	o->op.exec = exec_learn;
	o->op.done = done_learn;
	o->op.urgent = true;
	o->w = w;
	committer_submit(w->committer, &o->op);
}

/* ---- hints ---- */

/* What is worth a look, and not only a claim. */
static bool has_turned(const struct stage *g, const struct ledger_stage *now)
{
	const int64_t *n = now->count;

	return now->sealed != g->last.sealed || now->plan_complete != g->last.plan_complete ||
	    (now->plan_complete && n[SHARD_READY] + n[SHARD_LEASED] + n[SHARD_ACCEPTED] == 0 &&
	    memcmp(n, g->last.count, sizeof(g->last.count)) != 0);
}

void loop_hint(struct work *w, const struct ledger_stage *now)
{
	bool turned = false;
	size_t i;

	for (i = 0; i < w->n_stages; i++) {
		turned = turned || has_turned(&w->stage[i], &now[i]);
		note_ready(&w->stage[i], &now[i]);
	}
	if (turned)
		loop_look(w, false);
}
