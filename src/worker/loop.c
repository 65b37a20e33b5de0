/* The worker's loop: claims, starts, ends, and when to stop. Callbacks only
 * note what happened; loop_step decides. */
#include "worker/loop.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "base/sys.h"
#include "model/drain.h"
#include "worker/account.h"
#include "worker/batch.h"
#include "worker/contract.h"
#include "worker/input.h"
#include "worker/requests.h"
#include "worker/save.h"

enum {
	PREFETCH_US = 500000,    /* claims wait at most so long to be started */
	PREFETCH_MAX = 256,
	UNPUBLISHED_MAX = 2048,  /* outputs on their way; more claims wait */
	CLAIM_MAX = 256,
	RESERVE_MS = 5000,       /* of a grace, for what is ebb's own to do */
	AT_ONCE_MS = 1000,       /* no time to finish anything in */
	SUSPECT_MS = 2000,       /* a signal to all comes to the others within this */
	OTHERS_EVERY_MS = 500,
};

static int64_t now_ms(void)
{
	return sys_boot_ns() / 1000000;
}

void loop_fatal(struct work *w, enum status st, const struct error *e)
{
	if (w->result->fatal == ST_OK) {
		w->result->fatal = st;
		w->result->fatal_error = *e;
	}
	if (w->stop_level < 2) {
		w->stop_level = 2;
		w->stop_boot_ms = now_ms();
	}
}

/* ---- claims ---- */

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

		if (g->claim_at_boot_ms != 0 && g->claim_at_boot_ms <= now_ms()) {
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
static bool is_open(const struct stage *g)
{
	return !g->w->failed_stop && !g->plan_wanted && !g->nothing_ready && !g->last.sealed &&
	    stage_inputs_ready(g);
}

static void claim_more(struct stage *g)
{
	struct work *w = g->w;
	size_t in_hand = w->ready.n + w->sent + w->restoring;
	size_t want = wanted(g);
	struct claim_op *c;

	if (w->claiming || w->stop_level > 0 || !is_open(g) || in_hand >= want)
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

/* ---- what became of an attempt ---- */

static void keep_failure(struct work *w, const struct attempt *a)
{
	struct worker_result *r = w->result;
	struct worker_failure *f;
	struct buf name = {0};

	if (r->n_failures == WORKER_FAILURES_KEPT)
		return;
	attempt_name(a, &name);
	if (name.failed)
		return;
	f = &r->failures[r->n_failures++];
	f->name = name.data;
	f->number = a->shard.ordinal + 1;
	f->cause = a->rec.cause;
	f->exit_code = a->rec.exit_code;
	f->exit_signal = a->rec.exit_signal;
	f->count = a->now.count[a->rec.cause];
	f->limit = a->g->spec->retry.limit[a->rec.cause];
	memcpy(f->note, a->rec.note, sizeof(f->note));
}

static bool rule_met(const struct halt_rule *h, int64_t n, int64_t total)
{
	if (h->count > 0)
		return n >= h->count;
	return total > 0 && n * 100 >= total * h->percent && n > 2;
}


/* What waits in the guardian's queue never began. */
static void drop_waiting(struct work *w)
{
	struct error e;

	/* A guardian that is gone shows when its ends are read. */
	(void)!guardian_kill_all(w->body->guardian, 0, &e);
}

void loop_stop_for_failures(struct stage *g)
{
	struct work *w = g->w;

	if (w->failed_stop || w->stop_level > 0)
		return;
	w->failed_stop = true;
	drop_waiting(w);
	log_line(LOG_INFO, "%s: too much of stage %s has failed; what runs may finish, nothing new "
	    "begins (on_failed: continue does the rest)", w->opt->run.name, g->spec->name);
}

static void check_halt(struct work *w)
{
	const struct halt_rule *h = &w->opt->halt;
	int64_t n = h->what == HALT_ON_FAIL ? w->now_failed
	    : h->what == HALT_ON_SUCCESS ? w->now_done : w->now_failed + w->now_done;

	struct ledger_stage all;

	if (h->when == HALT_NEVER || w->stop_level > 0)
		return;
	stages_sum(w, &all);
	if (!rule_met(h, n, all.planned))
		return;
	w->result->halted = true;
	w->stop_level = 1;
	w->stop_boot_ms = now_ms();
	w->stop_now = h->when == HALT_NOW;
	w->stop_reason = EBB_STOP_CANCEL;
	drop_waiting(w);
	log_line(LOG_INFO, "%s: halting as --halt says", w->opt->run.name);
}

static void count_done(struct work *w, struct attempt *a)
{
	if (!a->recovered) {
		save_forget(a);
		w->now_done++;
		a->g->success_seen = true;
		joblog_write(w, a);
	}
	check_halt(w);
}

/* Said once, when it is final. */
static void tell_failure(struct work *w, const struct attempt *a)
{
	struct buf b = {0};

	attempt_name(a, &b);
	if (!b.failed) {
		struct buf shown = {0};

		str_display(&shown, b.data, b.len, 200);
		log_line(LOG_INFO, "%s: %s: %s (%s%s %d)%s%s", w->opt->run.name,
		    a->now.state == SHARD_SET_ASIDE ? "set aside" : "failed",
		    shown.data == NULL ? "" : shown.data,
		    a->rec.cause == CAUSE_FAILED ? "" : cause_name(a->rec.cause),
		    a->rec.cause == CAUSE_FAILED ? a->rec.exit_signal > 0 ? "signal" : "exit"
		    : a->rec.exit_signal > 0 ? ", signal" : ", exit",
		    a->rec.exit_signal > 0 ? a->rec.exit_signal : a->rec.exit_code,
		    a->rec.note[0] != '\0' ? ": " : "", a->rec.note);
		buf_free(&shown);
	}
	buf_free(&b);
}

static enum status tell_hand_back(const struct attempt *a, struct ledger *l, struct error *e)
{
	struct buf name = {0};
	enum status st;

	shard_name(&a->shard, &name);
	st = event_put(l, a->w, "hand-back", name.data == NULL ? "" : name.data, e);
	buf_free(&name);
	return st;
}

static enum status exec_end(struct ledger *l, struct op *op, struct error *e)
{
	struct attempt *a = (struct attempt *)op;
	const struct retry_policy *policy = &a->g->spec->retry;
	uint64_t random;
	enum status st;

	sys_random(&random, sizeof(random));
	st = ledger_end(l, a->shard.row, &a->rec, policy, a->no_retry,
	    retry_delay_ms(policy, a->rec.cause, a->shard.s.count[a->rec.cause] + 1, random),
	    &a->now, e);
	if (st == ST_OK && a->input_changed && a->now.state == SHARD_READY)
		st = ledger_input_changed(l, a->shard.row, &a->after, e);
	if (st == ST_OK && a->rec.cause == CAUSE_INTERRUPTED)
		st = tell_hand_back(a, l, e);
	return st;
}

static void done_end(struct op *op)
{
	struct attempt *a = (struct attempt *)op;
	struct work *w = a->w;

	a->g->nothing_ready = false;
	if (op->status == ST_OK) {
		if (a->end.id != 0)
			joblog_write(w, a);
		if (a->now.state == SHARD_FAILED || a->now.state == SHARD_SET_ASIDE) {
			loop_look(w, false);
			w->now_failed++;
			keep_failure(w, a);
			tell_failure(w, a);
			check_halt(w);
		}
	} else if (op->status == ST_FENCED) {
		account_void(w->account, account_stage(a->g->number), a->rec.run_ms);
	} else {
		loop_fatal(w, op->status, &op->error);
	}
	attempt_free(a);
}

static void record_end(struct attempt *a)
{
	a->rec.epoch = a->shard.s.epoch;
	a->rec.worker = a->w->me.id;
	a->op.exec = exec_end;
	a->op.done = done_end;
	a->op.urgent = a->w->stop_level > 0; /* others may wait for it */
	committer_submit(a->w->committer, &a->op);
}

static enum status exec_give_back(struct ledger *l, struct op *op, struct error *e)
{
	struct attempt *a = (struct attempt *)op;

	return ledger_give_back(l, a->shard.row, a->shard.s.epoch, e);
}

static void done_free(struct op *op)
{
	struct attempt *a = (struct attempt *)op;

	if (op->status != ST_OK && op->status != ST_FENCED)
		loop_fatal(a->w, op->status, &op->error);
	a->g->nothing_ready = false;
	attempt_free(a);
}

static void give_back(struct attempt *a)
{
	pump_drop(a->pump);
	a->pump = NULL;
	save_drop_folder(a); /* empty, or a copy */
	a->op.exec = exec_give_back;
	a->op.done = done_free;
	a->op.urgent = true;
	committer_submit(a->w->committer, &a->op);
}

/* Done, with nothing to publish. */
static enum status exec_accept_empty(struct ledger *l, struct op *op, struct error *e)
{
	struct attempt *a = (struct attempt *)op;

	return ledger_accept(l, a->shard.row, &a->rec, NULL, 0, &a->after, e);
}

static void done_accept_empty(struct op *op)
{
	struct attempt *a = (struct attempt *)op;
	struct work *w = a->w;

	if (op->status == ST_OK)
		count_done(w, a);
	else if (op->status == ST_FENCED)
		account_void(w->account, account_stage(a->g->number), a->rec.run_ms);
	else
		loop_fatal(w, op->status, &op->error);
	attempt_free(a);
}

/* What it ran, once its last child has ended. */
static void count_time(struct attempt *a)
{
	account_move(a->w->account, account_stage(a->g->number), a->inside_ns);
	a->ran_ns -= a->inside_ns;
	a->inside_ns = 0;
	a->rec.run_ms = account_ms(a->w->account, a->ran_ns);
	a->rec.checkpoint_ms = a->checkpoint_ns / 1000000;
}

/* Of an attempt that has no result, its last checkpoint keeps what was before. */
static void count_kept(struct attempt *a)
{
	int64_t ms = a->kept_ns / 1000000;

	a->rec.kept_ms = a->rec.cause == CAUSE_DONE || a->input_changed ? 0
	    : ms < a->rec.run_ms ? ms : a->rec.run_ms;
}

static void settle(struct attempt *a)
{
	struct work *w = a->w;

	count_kept(a);
	a->rec.epoch = a->shard.s.epoch;
	a->rec.worker = w->me.id;
	if (a->rec.cause != CAUSE_DONE) {
		record_end(a);
	} else if (a->n_files > 0) {
		publisher_give(w->publisher, a);
	} else {
		a->op.exec = exec_accept_empty;
		a->op.done = done_accept_empty;
		committer_submit(w->committer, &a->op);
	}
}

static void job_run(uv_work_t *job)
{
	wrap_run(job->data);
}

static void job_done(uv_work_t *job, int status)
{
	struct attempt *a = job->data;
	struct work *w = a->w;

	(void)status;
	/* When the loop is closing it is too late: the lease ends instead. */
	if (w->closing)
		return;
	settle(a);
	loop_step(w);
}

/* Ended by a signal that ebb did not send: perhaps by who is about to tell ebb
 * the same, such as a machine that shuts down. */
static bool is_suspect(const struct attempt *a)
{
	int sig = a->end.exit_signal;

	return a->end.fate == GUARDIAN_EXITED && !a->stopped && !a->end.timed_out &&
	    !a->end.fenced && (sig == SIGTERM || sig == SIGINT || sig == SIGHUP) &&
	    (a->w->stop_level == 0 || now_ms() - a->w->stop_boot_ms < SUSPECT_MS);
}

void loop_judge(struct attempt *a)
{
	struct work *w = a->w;

	if (is_suspect(a) && w->stop_level > 0)
		a->stopped = true;
	wrap_classify(a);
	count_time(a);
	a->after = a->shard.version;
	if (a->rec.cause == CAUSE_DONE) {
		int64_t us = a->ran_ns / 1000 + 1;

		a->g->avg_run_us = a->g->avg_run_us == 0 ? us : (a->g->avg_run_us * 7 + us) / 8;
	}
	if (!wrap_needed(a)) {
		a->after = input_version(a->g, a->shard.item, a->shard.item_len);
		settle(a);
		return;
	}
	a->job.data = a;
	if (uv_queue_work(&w->loop, &a->job, job_run, job_done) != 0) {
		wrap_run(a);
		settle(a);
	}
}

static void take_end(struct work *w, const struct guardian_end *end)
{
	struct attempt *a = w->inflight[end->id % INFLIGHT_MAX];

	if (a == NULL || a->id != end->id)
		return;
	w->inflight[end->id % INFLIGHT_MAX] = NULL;
	w->sent--;
	w->alone = false;
	resources_give(&w->resources, a->g->spec, a->gpus);
	if (a->lane >= 0)
		w->lane_taken[a->lane] = false;
	a->end = *end;
	account_ended(w->account, end->lane, account_stage(a->g->number), end->started_boot_ns,
	    end->ended_boot_ns);
	if (end->started_boot_ns != 0)
		a->ran_ns += end->ended_boot_ns - end->started_boot_ns;
	if (batch_took_end(a))
		return;
	if (end->fate == GUARDIAN_NOT_STARTED) {
		give_back(a);
		return;
	}
	if (a->saving) {
		a->end_waits = true;
		return;
	}
	if (is_suspect(a) && w->stop_level == 0) {
		a->suspect_until_ms = now_ms() + SUSPECT_MS;
		attempt_push(&w->suspects, a);
		return;
	}
	loop_judge(a);
}

void loop_receive(struct work *w)
{
	struct guardian_end ends[64];
	struct error e;
	size_t n;
	size_t i;

	do {
		enum status st = guardian_receive(w->body->guardian, ends, 64, &n, &e);

		if (st != ST_OK) {
			(void)uv_poll_stop(&w->guardian_poll);
			guardian_end_orphans(w->body->guardian);
			w->sent = 0;
			loop_fatal(w, st, &e);
			return;
		}
		for (i = 0; i < n; i++)
			take_end(w, &ends[i]);
	} while (n == 64);
}

/* Those whose time is over, or all of them once it is clear. */
static void judge_suspects(struct work *w)
{
	struct attempt_list left = w->suspects;
	struct attempt *a;

	memset(&w->suspects, 0, sizeof(w->suspects));
	while ((a = attempt_pop(&left)) != NULL) {
		if (w->stop_level == 0 && now_ms() < a->suspect_until_ms)
			attempt_push(&w->suspects, a);
		else
			loop_judge(a);
	}
}

/* ---- starts ---- */

static enum status exec_anew(struct ledger *l, struct op *op, struct error *e)
{
	struct attempt *a = (struct attempt *)op;

	return ledger_input_changed(l, a->shard.row, &a->after, e);
}

/* Its input is another one than that of its checkpoint, which is void now. */
static void begin_anew(struct attempt *a)
{
	save_drop_folder(a);
	a->after = input_version(a->g, a->shard.item, a->shard.item_len);
	a->op.exec = exec_anew;
	a->op.done = done_free;
	committer_submit(a->w->committer, &a->op);
}

/* What could not even be started. */
void loop_end_unstarted(struct attempt *a, enum status st, const struct error *e)
{
	a->rec.cause = st == ST_CONFIG || st == ST_NOT_FOUND || st == ST_DENIED ? CAUSE_FAILED
	    : CAUSE_INFRASTRUCTURE;
	a->no_retry = a->rec.cause == CAUSE_FAILED;
	a->rec.exit_code = -1;
	a->rec.started_wall_ms = sys_wall_ns() / 1000000;
	(void)snprintf(a->rec.note, sizeof(a->rec.note), "%.250s", e->text);
	count_time(a); /* of batches before */
	count_kept(a);
	save_drop_folder(a);
	record_end(a);
}

static bool may_send(const struct work *w, const struct attempt *a)
{
	/* What needs a lane of its own to be known, or a pipe and a thread, is
	 * not queued ahead. */
	bool exact = a->g->launch.uses_slot || present_on_stdin(a->g->spec) || w->special;
	size_t limit = exact ? (size_t)w->opt->slots : INFLIGHT_MAX / 2;

	/* Where one stage counts CPUs, all have to. */
	if (w->alone || (w->special && !resources_fit(&w->resources, a->g->spec)))
		return false;
	return a->shard.s.alone ? w->sent == 0 : w->sent < limit;
}

/* An id whose place in `inflight` is free. may_send leaves half of them so; one
 * that runs for long keeps its own, and the others go round it. */
static uint64_t new_id(struct work *w)
{
	while (w->inflight[w->next_id % INFLIGHT_MAX] != NULL)
		w->next_id++;
	return w->next_id++;
}

/* {%} is part of the command, so the lane is chosen here and not by the
 * guardian. may_send has seen to it that one is free. */
static int reserve_lane(struct work *w, const struct stage *g)
{
	int i = 0;

	if (!g->launch.uses_slot)
		return -1;
	while (w->lane_taken[i])
		i++;
	w->lane_taken[i] = true;
	return i;
}

enum status loop_send(struct attempt *a, struct error *e)
{
	struct work *w = a->w;
	enum status st;

	a->id = new_id(w);
	a->lane = reserve_lane(w, a->g);
	resources_take(&w->resources, a->g->spec, &a->gpus);
	st = launch_attempt(w, a, e);
	if (st != ST_OK) {
		resources_give(&w->resources, a->g->spec, a->gpus);
		pump_drop(a->pump);
		a->pump = NULL;
		if (a->lane >= 0)
			w->lane_taken[a->lane] = false;
		return st;
	}
	w->inflight[a->id % INFLIGHT_MAX] = a;
	w->sent++;
	w->alone = a->shard.s.alone;
	return ST_OK;
}

static void send_ready(struct work *w)
{
	while (w->ready.n > 0 && w->stop_level == 0 && !w->failed_stop && may_send(w, w->ready.first)) {
		struct attempt *a = attempt_pop(&w->ready);
		struct error e;
		enum status st = loop_send(a, &e);

		if (st == ST_FENCED)
			begin_anew(a);
		else if (st != ST_OK)
			loop_end_unstarted(a, st, &e);
	}
}

/* ---- stopping ---- */

static void mark_stopped(struct work *w)
{
	struct attempt *a;

	for (a = w->all; a != NULL; a = a->all_next)
		a->stopped = a->stopped || w->inflight[a->id % INFLIGHT_MAX] == a;
}

static int64_t stop_deadline_ms(const struct work *w)
{
	int64_t reserve = w->pipeline->drain_reserve_ms;

	/* Time to die of the signal is given in any case. */
	if (w->stop_now && w->grace_ms < AT_ONCE_MS)
		return w->stop_boot_ms + AT_ONCE_MS;
	return w->stop_boot_ms + drain_budget_ms(w->grace_ms, reserve > 0 ? reserve : RESERVE_MS);
}

static void drain_step(struct work *w)
{
	const struct contract_stop stop = {w->stop_reason, stop_deadline_ms(w), w->stop_now};
	struct attempt *a;
	struct error e;

	while ((a = attempt_pop(&w->ready)) != NULL)
		give_back(a);
	if (w->kill_sent)
		return;
	if (w->stop_level == 2 || now_ms() >= stop.deadline_boot_ms) {
		w->kill_sent = true;
		mark_stopped(w);
		(void)!guardian_kill_all(w->body->guardian, SIGKILL, &e);
	} else {
		contract_drain(w, &stop);
	}
}

static void begin_drain(struct work *w, const char *why)
{
	w->stop_level = 1;
	w->stop_boot_ms = now_ms();
	w->finishing = false;
	w->stop_reason = EBB_STOP_DRAIN;
	w->result->drained = true;
	drop_waiting(w);
	event_note(w, "drain", why);
	if (w->sent > 0 && !w->stop_now && !w->result->cancelled && !w->result->superseded)
		log_line(LOG_INFO, "%s: stopping (%s): no new shards; those that run may finish for "
		    "%lld s%s", w->opt->run.name, why, (long long)(w->grace_ms / 1000),
		    w->result->interrupted ? " (Ctrl-C again ends them at once)" : "");
}

void loop_drain(struct work *w, const char *why, int64_t deadline_boot_ms)
{
	int64_t begun = w->stop_level > 0 ? w->stop_boot_ms : now_ms();
	int64_t grace = deadline_boot_ms - begun > 0 ? deadline_boot_ms - begun : 0;

	if (deadline_boot_ms != 0 && (w->stop_level == 0 || grace < w->grace_ms)) {
		w->grace_ms = grace;
		w->stop_now = w->stop_now || deadline_boot_ms - now_ms() < AT_ONCE_MS;
	}
	if (w->stop_level == 0)
		begin_drain(w, why);
}

void loop_signal(struct work *w, int sig)
{
	if (w->stop_level == 0) {
		w->result->interrupted = sig == SIGINT;
		begin_drain(w, sig == SIGINT ? "INT" : sig == SIGTERM ? "TERM" : "HUP");
	} else if (sig == SIGINT || w->result->halted) {
		w->result->drained = true;
		w->result->interrupted = w->result->interrupted || sig == SIGINT;
		w->stop_level = 2;
	}
	loop_step(w);
}

/* ---- the end ---- */

void loop_take_published(struct work *w)
{
	struct attempt_list l = publisher_take(w->publisher);
	struct attempt *a;

	while ((a = attempt_pop(&l)) != NULL) {
		a->g->nothing_ready = false;
		if (a->step == ST_OK) {
			count_done(w, a);
		} else if (a->step == ST_FULL || a->step == ST_TRANSIENT) {
			log_line(LOG_WARN, "%s; trying again", a->step_error.text);
		} else if (a->step == ST_EXISTS || a->step == ST_DENIED ||
		    a->step == ST_PERMANENT || a->step == ST_CONFIG) {
			a->rec.cause = CAUSE_INFRASTRUCTURE;
			a->rec.exit_code = -1;
			(void)snprintf(a->rec.note, sizeof(a->rec.note), "%.250s",
			    a->step_error.text);
			w->now_failed++;
			keep_failure(w, a);
			tell_failure(w, a);
			check_halt(w);
		} else if (a->step == ST_FENCED && !a->recovered) {
			account_void(w->account, account_stage(a->g->number), a->rec.run_ms);
		}
		attempt_free(a);
	}
}

/* Its planner has come to an end. */
static void plan_ended(struct stage *g, enum status st, const struct error *e)
{
	struct work *w = g->w;

	if (st == ST_OK)
		return;
	planner_stop(g->planner);
	g->planner = NULL;
	/* Somebody else plans it; if they die, a later look finds that out. */
	if (st == ST_BUSY || st == ST_FENCED)
		return;
	w->result->plan_failed = true;
	w->result->plan_error = *e;
	/* What runs may finish; nothing new begins. */
	if (w->stop_level == 0)
		begin_drain(w, "the plan failed");
	w->result->drained = false;
}

static void check_plan(struct stage *g)
{
	enum status st;
	struct error e;

	if (g->planner == NULL)
		return;
	if (planner_below(g->planner) != g->seen_below) {
		g->seen_below = planner_below(g->planner);
		g->nothing_ready = false;
	}
	if (!planner_done(g->planner, &st, &e))
		return;
	if (st == ST_OK && !g->w->start_said && !g->last.plan_complete)
		loop_look(g->w, false);
	plan_ended(g, st, &e);
}

static void check_health(struct work *w)
{
	struct error e;
	enum status st = committer_health(w->committer, &e);

	if (st == ST_OK)
		st = publisher_health(w->publisher, &e);
	if (st != ST_OK)
		loop_fatal(w, st, &e);
}

/* True when this worker has nothing to do before somebody else does something. */
static bool is_idle(const struct work *w)
{
	size_t i;

	for (i = 0; i < w->n_stages; i++) {
		const struct stage *g = &w->stage[i];

		if (g->sealing || g->recovering || is_open(g))
			return false;
		if (!w->failed_stop && ((g->planner != NULL &&
		    !stage_is_planned(g)) || (g->plan_wanted && stage_inputs_ready(g))))
			return false;
	}
	return w->open == 0 && !w->claiming && !w->looking;
}

/* It could do more, if somebody else gave something back, or died. */
static bool has_room(const struct work *w)
{
	size_t i;

	if (w->stop_level > 0 || w->claiming || w->ready.n + w->sent >= (size_t)w->opt->slots)
		return false;
	for (i = 0; i < w->n_stages; i++) {
		if (is_open(&w->stage[i]))
			return false;
	}
	return true;
}

static bool all_settled(const struct work *w)
{
	size_t i;

	for (i = 0; i < w->n_stages; i++) {
		if (!stage_is_settled(&w->stage[i]))
			return false;
	}
	return true;
}

static bool is_sealing(const struct work *w)
{
	size_t i;

	for (i = 0; i < w->n_stages; i++) {
		if (w->stage[i].sealing)
			return true;
	}
	return false;
}

/* The list that it waits for was given to a worker that is gone. */
static bool nobody_plans(struct work *w)
{
	size_t i;

	for (i = 0; i < w->n_stages; i++) {
		const struct stage *g = &w->stage[i];

		if (g->last.plan_complete || stage_can_be_planned(g) ||
		    !state_lock_is_free(w->opt->state, w->opt->run_lock))
			continue;
		log_line(LOG_WARN, "%s: whoever read its list is gone; the same line again reads on",
		    w->opt->run.name);
		w->result->drained = true;
		return true;
	}
	return false;
}

/* A stop that comes when nothing is left to do still lets the stages be sealed. */
static void check_stopped(struct work *w)
{
	bool idle = w->open == publisher_held(w->publisher) ||
	    (w->stop_level == 2 && w->sent == 0);

	if (!idle || w->claiming || w->looking || is_sealing(w))
		return;
	if (w->stop_level == 1 && w->open == 0 && !w->finishing) {
		w->finishing = true;
		loop_look(w, false);
		return;
	}
	uv_stop(&w->loop);
}

static void check_end(struct work *w)
{
	if (w->stop_level > 0) {
		check_stopped(w);
		return;
	}
	if (!is_idle(w))
		return;
	/* Nothing in hand: look once more before believing that it is the end. */
	if (!w->finishing) {
		w->finishing = true;
		loop_look(w, true);
	} else if (w->failed_stop || all_settled(w) || nobody_plans(w)) {
		uv_stop(&w->loop);
	}
}

static void arm_claim_timer(struct work *w)
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
	wait = at - now_ms();
	(void)uv_timer_start(&w->claim_timer, on_claim_timer, wait > 0 ? (uint64_t)wait + 1 : 1, 0);
}

/* Names that an earlier worker's accepted outputs have, or were just about to
 * get, are settled before a changed list may give them to other shards. Output
 * for stdout has no names, and with -k may have to wait for the plan. */
static void start_planner(struct stage *g)
{
	struct work *w = g->w;
	struct error e;
	enum status st;

	if (!g->plan_wanted || g->recovering || w->stop_level > 0 || !stage_inputs_ready(g))
		return;
	if (g->spec->output != SPEC_OUT_STDOUT && g->open > 0)
		return;
	g->plan_wanted = false;
	planner_stop(g->planner);
	g->planner = NULL;
	g->nothing_ready = false;
	st = planner_start(g, &e);
	if (st != ST_OK)
		loop_fatal(w, st, &e);
}

static void seal_if_whole(struct stage *g)
{
	const struct worker_result *r = g->w->result;

	if (!g->sealing && !g->seal_refused && g->open == 0 && g->w->stop_level < 2 &&
	    !r->cancelled && !r->superseded && stage_may_be_sealed(g))
		seal_begin(g);
}

/* One stage's turn. */
static void step_stage(struct stage *g)
{
	start_planner(g);
	claim_more(g);
}

void loop_step(struct work *w)
{
	size_t i;

	if (w->closing)
		return;
	committer_dispatch(w->committer);
	requests_step(w);
	loop_take_published(w);
	check_health(w);
	for (i = 0; i < w->n_stages; i++)
		check_plan(&w->stage[i]);
	judge_suspects(w);
	while (w->failed_stop && w->ready.n > 0)
		give_back(attempt_pop(&w->ready));
	if (w->stop_level > 0) {
		drain_step(w);
	} else {
		send_ready(w);
		for (i = 0; i < w->n_stages; i++)
			step_stage(&w->stage[i]);
		arm_claim_timer(w);
	}
	for (i = 0; i < w->n_stages; i++)
		seal_if_whole(&w->stage[i]);
	requests_wait_for_work(w, has_room(w));
	resting_step(w);
	check_end(w);
}

void loop_tick(struct work *w)
{
	int64_t now = now_ms();

	account_look(w->account, sys_boot_ns());
	if (w->sent > 0)
		contract_poll(w);
	requests_tick(w);
	if (now - w->last_look_ms >= OTHERS_EVERY_MS) {
		w->last_look_ms = now;
		/* While others may hold shards, theirs come free when they die. */
		w->finishing = false;
		loop_look(w, has_room(w));
	}
	loop_step(w);
}
