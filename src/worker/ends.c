/* What becomes of attempts: what their ends mean, what is recorded, what is said. */
#include "worker/loop.h"

#include <signal.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "base/sys.h"
#include "worker/account.h"
#include "worker/aside.h"
#include "worker/batch.h"
#include "worker/contract.h"
#include "worker/drain.h"
#include "worker/input.h"
#include "worker/out_folder.h"
#include "worker/requests.h"
#include "worker/save.h"

enum { SUSPECT_MS = 2000 }; /* a signal to all comes to the others within this */

static int64_t end_now_ms(void)
{
	return sys_boot_ns() / 1000000;
}

void loop_keep_failure(struct work *w, const struct attempt *a)
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
void loop_drop_waiting(struct work *w)
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
	loop_drop_waiting(w);
	log_line(LOG_INFO, "%s: %s %s has failed; what runs may finish, nothing new begins "
	    "(on_failed: continue does the rest)", w->opt->run.name,
	    g->last.planned > 1 ? "too much of stage" : "stage", g->spec->name);
}

void loop_check_halt(struct work *w)
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
	w->stop_boot_ms = end_now_ms();
	w->stop_now = h->when == HALT_NOW;
	w->stop_reason = EBB_STOP_CANCEL;
	loop_drop_waiting(w);
	log_line(LOG_INFO, "%s: halting as --halt says", w->opt->run.name);
}

void loop_count_done(struct work *w, struct attempt *a)
{
	if (!a->recovered) {
		save_forget(a);
		w->now_done++;
		a->g->success_seen = true;
		aside_note_done(a);
		joblog_write(w, a);
	}
	loop_check_halt(w);
}

/* Said once, when it is final. */
void loop_tell_failure(struct work *w, const struct attempt *a)
{
	struct buf b = {0};

	attempt_name(a, &b);
	if (!b.failed) {
		struct buf shown = {0};
		char how[40] = "";

		/* What did not run has neither code nor signal. */
		if (a->rec.exit_signal > 0 || a->rec.exit_code >= 0)
			(void)snprintf(how, sizeof(how), "%s %d", a->rec.exit_signal > 0 ? "signal"
			    : "exit", a->rec.exit_signal > 0 ? a->rec.exit_signal : a->rec.exit_code);
		str_display(&shown, b.data, b.len, 200);
		log_line(LOG_INFO, "%s: %s: %s (%s%s%s)%s%s", w->opt->run.name,
		    a->now.state == SHARD_SET_ASIDE ? "set aside" : "failed",
		    shown.data == NULL ? "" : shown.data,
		    a->rec.cause == CAUSE_FAILED && how[0] != '\0' ? "" : cause_name(a->rec.cause),
		    a->rec.cause != CAUSE_FAILED && how[0] != '\0' ? ", " : "", how,
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
		aside_note_end(a);
		if (a->now.state == SHARD_FAILED || a->now.state == SHARD_SET_ASIDE) {
			loop_look(w, false);
			w->now_failed++;
			loop_keep_failure(w, a);
			loop_tell_failure(w, a);
			loop_check_halt(w);
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
	a->rec.by_notice = a->stopped && a->w->stop_reason == EBB_STOP_NOTICE;
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

void loop_give_back(struct attempt *a)
{
	pump_drop(a->pump);
	a->pump = NULL;
	save_drop_folder(a); /* empty, or a copy */
	if (attempt_fills_folder(a))
		out_folder_remove(a); /* empty */
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
		loop_count_done(w, a);
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
	drain_count(w, a);
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
	    (a->w->stop_level == 0 || end_now_ms() - a->w->stop_boot_ms < SUSPECT_MS);
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
	resources_give(&w->resources, a->g->spec, a->memory, a->gpus);
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
		loop_give_back(a);
		return;
	}
	if (a->saving) {
		a->end_waits = true;
		return;
	}
	if (is_suspect(a) && w->stop_level == 0) {
		a->suspect_until_ms = end_now_ms() + SUSPECT_MS;
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
void loop_judge_suspects(struct work *w)
{
	struct attempt_list left = w->suspects;
	struct attempt *a;

	memset(&w->suspects, 0, sizeof(w->suspects));
	while ((a = attempt_pop(&left)) != NULL) {
		if (w->stop_level == 0 && end_now_ms() < a->suspect_until_ms)
			attempt_push(&w->suspects, a);
		else
			loop_judge(a);
	}
}

static enum status exec_anew(struct ledger *l, struct op *op, struct error *e)
{
	struct attempt *a = (struct attempt *)op;

	return ledger_input_changed(l, a->shard.row, &a->after, e);
}

/* Its input is another one than that of its checkpoint, which is void now. */
void loop_begin_anew(struct attempt *a)
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
	if (attempt_fills_folder(a))
		out_folder_remove(a);
	record_end(a);
}
