/* What a worker claims, and what a claimed shard begins with. */
#include "worker/loop.h"

#include <stdlib.h>

#include "base/sys.h"
#include "worker/account.h"
#include "worker/aside.h"
#include "worker/life.h"
#include "worker/save.h"

enum {
	PREFETCH_US = 500000,    /* claims wait at most so long to be started */
	PREFETCH_MAX = 256,
	UNPUBLISHED_MAX = 2048,  /* outputs on their way; more claims wait */
	CLAIM_MAX = 256,
};

static int64_t claim_now_ms(void)
{
	return sys_boot_ns() / 1000000;
}

struct claim_op {
	struct op op;
	struct stage *g;
	int64_t below;
	size_t max;
	struct ledger_shard shards[CLAIM_MAX];
	struct ledger_checkpoint from[CLAIM_MAX];
	size_t n;
	int64_t next_boot_ms;
};

static void drop_claim(struct claim_op *c)
{
	while (c->n > 0) {
		ledger_shard_free(&c->shards[--c->n]);
		ledger_checkpoint_free(&c->from[c->n]);
	}
}

static enum status exec_claim(struct ledger *l, struct op *op, struct error *e)
{
	struct claim_op *c = (struct claim_op *)op;

	size_t i;
	enum status st;

	drop_claim(c);
	st = ledger_claim(l, c->g->id, c->g->w->me.id, c->below, c->max, c->shards, &c->n,
	    &c->next_boot_ms, e);
	for (i = 0; st == ST_OK && save_is_kept(c->g) && i < c->n; i++) {
		/* Not by its attempts: of one that a power cut ended it may not be known
		 * that it had begun. */
		if (c->shards[i].s.epoch > 1)
			st = ledger_checkpoint_get(l, c->shards[i].row, &c->from[i], e);
	}
	return st;
}

/* ---- what the last checkpoint of a shard holds ---- */

static void job_restore(uv_work_t *job)
{
	struct attempt *a = job->data;

	int64_t began = sys_boot_ns();

	a->step = save_restore(a, &a->step_error);
	a->rec.restore_ms = (sys_boot_ns() - began) / 1000000;
}

static void job_restored(uv_work_t *job, int status)
{
	struct attempt *a = job->data;
	struct work *w = a->w;

	(void)status;
	w->restoring--;
	account_unset(w->account, a->account_lane, sys_boot_ns());
	a->account_lane = -1;
	if (w->closing)
		return;
	if (a->step == ST_OK)
		attempt_push(&w->ready, a);
	else
		loop_end_unstarted(a, a->step, &a->step_error);
	loop_step(w);
}

/* A slot that would have nothing to do waits for it. */
static void begin_restore(struct attempt *a)
{
	struct work *w = a->w;

	w->restoring++;
	a->account_lane = account_lend(w->account, SPENT_RESTORING, account_stage(a->g->number),
	    sys_boot_ns());
}

/* A claimed shard, once it has what it begins with. */
static void make_ready(struct attempt *a)
{
	struct work *w = a->w;
	enum status st;

	a->run_lane = a->account_lane = -1;
	if (!save_is_kept(a->g)) {
		attempt_push(&w->ready, a);
		return;
	}
	save_verify(a);
	a->batch_at = a->saved_at = a->from.offset;
	st = save_make_folder(a, &a->step_error);
	a->job.data = a;
	if (st != ST_OK)
		loop_end_unstarted(a, st, &a->step_error);
	else if (a->from.folder == NULL ||
	    uv_queue_work(&w->loop, &a->job, job_restore, job_restored) != 0)
		attempt_push(&w->ready, a);
	else
		begin_restore(a);
}

static void done_claim(struct op *op)
{
	struct claim_op *c = (struct claim_op *)op;
	struct stage *g = c->g;
	struct work *w = g->w;
	size_t i;

	w->claiming = false;
	if (op->status != ST_OK) {
		drop_claim(c); /* of a group that was not committed */
		loop_fatal(w, op->status, &op->error);
	} else {
		for (i = 0; i < c->n; i++) {
			struct attempt *a = attempt_create(g, &c->shards[i]);
			struct error e;

			if (a != NULL) {
				a->from = c->from[i];
				make_ready(a);
				continue;
			}
			ledger_shard_free(&c->shards[i]);
			ledger_checkpoint_free(&c->from[i]);
			loop_fatal(w, error_set(&e, ST_NO_MEMORY, "out of memory"), &e);
		}
		g->nothing_ready = c->n == 0;
		g->claim_at_boot_ms = c->n == 0 && c->next_boot_ms >= 0 ? c->next_boot_ms : 0;
		c->n = 0;
	}
	free(c);
}

static void on_claim_timer(uv_timer_t *t)
{
	struct work *w = t->data;
	size_t i;

	for (i = 0; i < w->n_stages; i++) {
		struct stage *g = &w->stage[i];

		if (g->claim_at_boot_ms != 0 && g->claim_at_boot_ms <= claim_now_ms()) {
			g->nothing_ready = false;
			g->claim_at_boot_ms = 0;
		}
	}
	loop_step(w);
}

static size_t wanted(const struct stage *g)
{
	size_t slots = (size_t)g->w->opt->slots;
	size_t ahead = 0;

	if (g->avg_run_us > 0)
		ahead = slots * PREFETCH_US / (size_t)g->avg_run_us;
	return slots + (ahead < PREFETCH_MAX ? ahead : PREFETCH_MAX);
}

/* There may be shards to claim, as far as this worker knows. */
bool loop_is_open(const struct stage *g)
{
	return !g->w->failed_stop && !g->plan_wanted && !g->nothing_ready && !g->last.sealed &&
	    stage_inputs_ready(g);
}

void loop_claim(struct stage *g)
{
	struct work *w = g->w;
	size_t in_hand = w->ready.n + w->sent + w->restoring;
	size_t want = wanted(g);
	struct claim_op *c;

	if (w->claiming || w->stop_level > 0 || !loop_is_open(g) || in_hand >= want ||
	    aside_waits(w) || !life_lets_claim(g))
		return;
	if (w->open - in_hand > UNPUBLISHED_MAX && in_hand > 0)
		return;
	/* Few at a time cost a commit each. */
	if (in_hand >= (size_t)w->opt->slots && want - in_hand < want / 4)
		return;
	c = mem_zero(sizeof(*c));
	if (c == NULL)
		return;
	c->op.exec = exec_claim;
	c->op.done = done_claim;
	c->op.urgent = in_hand < (size_t)w->opt->slots;
	c->g = g;
	c->below = g->planner == NULL ? INT64_MAX : planner_below(g->planner);
	c->max = want - in_hand < CLAIM_MAX ? want - in_hand : CLAIM_MAX;
	w->claiming = true;
	committer_submit(w->committer, &c->op);
}

void loop_arm_claims(struct work *w)
{
	int64_t at = INT64_MAX;
	int64_t wait;
	size_t i;

	for (i = 0; i < w->n_stages; i++) {
		const struct stage *g = &w->stage[i];

		if (g->nothing_ready && g->claim_at_boot_ms != 0 && g->claim_at_boot_ms < at)
			at = g->claim_at_boot_ms;
	}
	if (at == INT64_MAX)
		return;
	wait = at - claim_now_ms();
	(void)uv_timer_start(&w->claim_timer, on_claim_timer, wait > 0 ? (uint64_t)wait + 1 : 1, 0);
}
