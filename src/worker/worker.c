#include "worker/worker.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"
#include "model/pool.h"
#include "worker/account.h"
#include "worker/aside.h"
#include "worker/care.h"
#include "worker/contract.h"
#include "worker/drain.h"
#include "worker/heard.h"
#include "worker/loop.h"
#include "worker/outputs.h"
#include "worker/procs.h"
#include "worker/requests.h"
#include "worker/sweep.h"

void worker_result_free(struct worker_result *r)
{
	size_t i;

	for (i = 0; i < r->n_failures; i++)
		free(r->failures[i].name);
	free(r->failures);
	free(r->manifest);
	memset(r, 0, sizeof(*r));
}

static void on_wake(uv_async_t *h)
{
	loop_step(h->data);
}

static void wake(void *arg)
{
	struct work *w = arg;

	(void)uv_async_send(&w->wake);
}

static void on_guardian(uv_poll_t *h, int status, int events)
{
	(void)status;
	(void)events;
	loop_receive(h->data);
	loop_step(h->data);
}

static void on_tick(uv_timer_t *t)
{
	loop_tick(t->data);
}

static void on_signal(uv_signal_t *h, int sig)
{
	loop_signal(h->data, sig);
}

static enum status register_me(struct work *w, struct ledger *l, struct error *e)
{
	char text[160];
	enum status st = ledger_begin(l, e);

	if (st != ST_OK)
		return st;
	st = ledger_worker_add(l, &w->me, e);
	(void)snprintf(text, sizeof(text), "pid %d, pool %s, %d slot%s, generation %d",
	    w->me.pid, w->me.pool[0] == '\0' ? "local" : w->me.pool, w->me.slots,
	    w->me.slots == 1 ? "" : "s", w->opt->run.generation);
	if (st == ST_OK)
		st = event_put(l, w, w->opt->joins ? "join" : "start", text, e);
	if (st == ST_OK)
		return ledger_commit(l, e);
	ledger_rollback(l);
	return st;
}

static enum status add_me(struct work *w, struct ledger *l, struct error *e)
{
	struct ledger_worker *me = &w->me;
	struct proc_stat self;
	enum status st;

	memset(me, 0, sizeof(*me));
	(void)snprintf(me->name, sizeof(me->name), "%s", w->body->token);
	me->run = w->opt->run.id;
	me->pid = (int32_t)getpid();
	me->start_ticks = proc_stat_read(me->pid, &self) ? (uint64_t)self.start_boot_ns : 0;
	me->generation = w->opt->run.generation;
	me->lease_until_boot_ms = sys_boot_ns() / 1000000 + w->opt->lease_ms;
	me->slots = w->opt->slots;
	(void)snprintf(me->pool, sizeof(me->pool), "%s", w->opt->pool == NULL ? ""
	    : w->opt->pool);
	(void)snprintf(me->lifecycle, sizeof(me->lifecycle), "%s", w->opt->lifecycle == NULL ? ""
	    : w->opt->lifecycle);
	if (w->opt->node != NULL)
		(void)snprintf(me->node, sizeof(me->node), "%s", w->opt->node);
	st = sys_boot_id(me->boot_id, e);
	if (st == ST_OK)
		st = register_me(w, l, e);
	if (st == ST_OK && w->opt->joins && w->opt->progress)
		log_line(LOG_INFO, "%s: joined as w%d", w->opt->run.name, me->number);
	return st;
}

static enum status open_store(struct work *w, struct error *e)
{
	struct buf dir = {0};
	enum status st = state_mkdir(w->opt->state, &dir, e, "runs/%s/private",
	    w->opt->run.name);

	if (st == ST_OK)
		st = store_open("file:", dir.data, &w->store, e);
	buf_free(&dir);
	return st;
}

/* *list is to be freed in any case. */
static enum status list_stages(struct work *w, struct ledger *l, struct ledger_stage **list,
    struct error *e)
{
	size_t n;
	enum status st;

	*list = mem_zero(w->n_stages * sizeof(**list));
	if (*list == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = ledger_run_stages(l, w->opt->run.id, w->opt->run.generation, *list, w->n_stages, &n,
	    e);
	if (st == ST_OK && n != w->n_stages)
		st = error_set(e, ST_CORRUPT, "run %s has %zu stages and its specification %zu",
		    w->opt->run.name, n, w->n_stages);
	return st;
}

static bool asks_memory(const struct pipeline *p)
{
	size_t i;

	for (i = 0; i < p->n_stages; i++) {
		if (p->stage[i].memory > 0)
			return true;
	}
	return false;
}

static enum status open_stages(struct work *w, struct ledger *l, struct error *e)
{
	struct ledger_stage *list;
	enum status st = list_stages(w, l, &list, e);
	size_t i;

	for (i = 0; st == ST_OK && i < w->n_stages; i++) {
		struct stage *g = &w->stage[i];

		g->w = w;
		g->number = (int)i;
		g->spec = &w->pipeline->stage[i];
		g->id = list[i].id;
		g->fingerprint = w->opt->input.stage[i].fingerprint;
		g->carry_from = w->opt->input.stage[i].carry_from;
		w->special = w->special || resources_are_special(g->spec);
		st = launch_prepare(&g->launch, g->spec, e);
		if (st == ST_OK)
			st = resources_suffice(&w->resources, g->spec, e);
	}
	free(list);
	return st;
}

/* After dead workers were swept: what is there, and what is to be planned. */
static enum status first_look(struct work *w, struct ledger *l, struct error *e)
{
	struct ledger_stage *list;
	enum status st = list_stages(w, l, &list, e);
	size_t i;

	for (i = 0; st == ST_OK && i < w->n_stages; i++) {
		struct stage *g = &w->stage[i];

		g->last = list[i];
		g->before = list[i];
		g->success_seen = list[i].ended[CAUSE_DONE] > 0;
		g->plan_wanted = !list[i].sealed && stage_can_be_planned(g) &&
		    (w->opt->input.plan || !list[i].plan_complete);
	}
	free(list);
	stages_sum(w, &w->result->before);
	return st;
}

/* From here on every moment of the slots is accounted for. */
static enum status open_account(struct work *w, struct error *e)
{
	int64_t *ids = mem_zero(w->n_stages * sizeof(*ids));
	size_t i;

	for (i = 0; ids != NULL && i < w->n_stages; i++)
		ids[i] = w->stage[i].id;
	if (ids != NULL)
		w->account = account_open(w->body->slots, ids, w->n_stages, sys_boot_ns());
	free(ids);
	return w->account != NULL ? ST_OK : error_set(e, ST_NO_MEMORY, "out of memory");
}

/* After the dead were swept, who may be in the way. */
static void limit_memory(struct work *w)
{
	struct error e;

	if (asks_memory(w->pipeline) && cgroup_open(w->body->token, w->body->cgroup_note, &e) != ST_OK)
		log_line(LOG_INFO, "%s: memory decides what runs at once, but nothing is held to it: %s",
		    w->opt->run.name, e.text);
}

/* Everything that can say no before a thread is started. */
static enum status prepare_work(struct work *w, struct ledger *l, struct error *e)
{
	int64_t lost;
	enum status st = open_stages(w, l, e);

	if (st == ST_OK)
		st = open_store(w, e);
	if (st == ST_OK)
		st = open_account(w, e);
	if (st == ST_OK)
		st = add_me(w, l, e);
	if (st == ST_OK)
		st = requests_create(w, e);
	if (st == ST_OK)
		st = aside_create(&w->aside, e);
	if (st == ST_OK)
		st = drain_open(w, e);
	if (st == ST_OK)
		st = sweep_workers(w->opt->state, l, w->opt->run.id, w->me.id,
		    w->pipeline, false, &lost, e);
	if (st == ST_OK)
		st = first_look(w, l, e);
	if (st != ST_OK)
		return st;
	limit_memory(w);
	w->oom_kills = wrap_oom_kills();
	return joblog_open(w, e);
}

static void open_loop(struct work *w)
{
	static const int sigs[] = {SIGINT, SIGTERM, SIGHUP};
	size_t i;

	/* libuv reads it when the pool is first used; the guardian, whose
	 * environment the children get, was forked before. */
	(void)setenv("UV_THREADPOOL_SIZE", "8", 1);
	(void)uv_loop_init(&w->loop);
	(void)uv_async_init(&w->loop, &w->wake, on_wake);
	(void)uv_timer_init(&w->loop, &w->tick);
	(void)uv_timer_init(&w->loop, &w->claim_timer);
	(void)uv_poll_init(&w->loop, &w->guardian_poll, guardian_fd(w->body->guardian));
	w->wake.data = w;
	w->tick.data = w;
	w->claim_timer.data = w;
	w->guardian_poll.data = w;
	for (i = 0; i < 3; i++) {
		struct sigaction now;

		(void)uv_signal_init(&w->loop, &w->sig[i]);
		w->sig[i].data = w;
		/* nohup, or a shell's background job: who ignores it means it. */
		if (sigaction(sigs[i], NULL, &now) == 0 && now.sa_handler == SIG_IGN)
			continue;
		(void)uv_signal_start(&w->sig[i], on_signal, sigs[i]);
	}
	(void)uv_poll_start(&w->guardian_poll, UV_READABLE, on_guardian);
	(void)uv_timer_start(&w->tick, on_tick, WORKER_TICK_MS, WORKER_TICK_MS);
}

static void close_handle(uv_handle_t *h, void *arg)
{
	(void)arg;
	if (!uv_is_closing(h))
		uv_close(h, NULL);
}

static void close_loop(struct work *w)
{
	uv_walk(&w->loop, close_handle, NULL);
	(void)uv_run(&w->loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&w->loop);
}

static enum status start_threads(struct work *w, struct ledger *l, struct error *e)
{
	struct committer_options co = {.ledger = l, .worker = w->me.id,
	    .lease_ms = w->opt->lease_ms, .slots = w->body->slots, .account = w->account,
	    .wake = wake, .watch = requests_watch, .blocked = requests_blocked, .arg = w};
	enum status st = committer_start(&co, &w->committer, e);

	return st == ST_OK ? publisher_start(w, e) : st;
}

/* In this order: who gives work ends before who takes it. */
static void stop_threads(struct work *w)
{
	size_t i;

	/* A planner may be waiting for the committer, which must answer. */
	for (i = 0; i < w->n_stages; i++) {
		planner_stop(w->stage[i].planner);
		w->stage[i].planner = NULL;
	}
	publisher_stop(w->publisher);
	if (w->committer != NULL) {
		committer_stop(w->committer);
		committer_dispatch(w->committer);
		committer_destroy(w->committer);
		w->committer = NULL;
	}
	if (w->publisher != NULL)
		loop_take_published(w);
	publisher_destroy(w->publisher);
	w->publisher = NULL;
}

static void note_manifest(struct work *w, struct worker_result *r)
{
	struct buf path = {0};
	struct error e;

	if (seal_manifest_path(w->opt->state, w->opt->run.name,
	    w->stage[w->n_stages - 1].spec->name, &path, &e) == ST_OK)
		r->manifest = path.data;
	else
		buf_free(&path);
}

static enum status last_look(struct work *w, struct ledger *l, struct error *e)
{
	struct ledger_stage *list;
	enum status st = list_stages(w, l, &list, e);
	size_t i;

	for (i = 0; st == ST_OK && i < w->n_stages; i++)
		w->stage[i].last = list[i];
	free(list);
	return st;
}

/* For how long an attempt that is still ours has run; -1: it only waited. */
static int64_t ran_here(void *arg, int64_t row, int64_t epoch)
{
	struct work *w = arg;
	const struct attempt *a;
	int64_t ns;

	/* One whose end came too late to be judged, or between two batches. */
	for (a = w->all; a != NULL; a = a->all_next) {
		if (a->shard.row == row && a->shard.s.epoch == epoch && a->ran_ns > 0 &&
		    w->inflight[a->id % INFLIGHT_MAX] != a)
			return a->ran_ns / 1000000;
	}
	ns = slots_ran_ns(w->body->slots, row, epoch, sys_boot_ns());
	return ns < 0 ? -1 : ns / 1000000;
}

static const char *how_it_left(const struct worker_result *r)
{
	if (r->fatal != ST_OK)
		return r->fatal_error.text;
	if (r->sealed)
		return "finished";
	if (r->cancelled || r->superseded)
		return r->cancelled ? "cancelled" : "started anew";
	if (r->set_aside)
		return "set aside";
	return r->drained ? "drained" : r->halted ? "halted" : "nothing left to do";
}

/* Another machine in place of this one, unless its pool loses too many to be asked. */
static enum status ask_for_another(struct work *w, struct ledger *l, struct error *e)
{
	const struct pool_policy policy = pool_policy_default();
	const char *pool = w->me.pool[0] == '\0' ? "local" : w->me.pool;
	int64_t now = sys_boot_ns() / 1000000;
	int64_t hits[POOL_HITS_MAX];
	struct pool_view view;
	char text[160];
	size_t n = 0;
	enum status st;

	if (drain_cause(w) == NULL || w->result->sealed || w->another_asked)
		return ST_OK;
	st = ledger_pool_hits(l, w->opt->run.id, pool, now - pool_history_ms(&policy), hits,
	    POOL_HITS_MAX, &n, e);
	if (st != ST_OK)
		return st;
	view = pool_judge(&policy, hits, n, now);
	(void)snprintf(text, sizeof(text), view.banned_until_ms > now
	    ? "%s; not from pool %s, which has lost %d machines in a short time" : "%s",
	    drain_cause(w)->source, pool, view.hits);
	return event_put(l, w, "replace", text, e);
}

/* What is left is handed back, and the last is said of the time, in one step. */
static enum status leave_run(struct work *w, struct ledger *l, struct error *e)
{
	const struct retry_policy *policies[PIPELINE_STAGES_MAX];
	const struct ledger_burial how = {.cause = w->end_cause, .policy = policies,
	    .n_policies = pipeline_policies(w->pipeline, policies), .ran_ms = ran_here, .arg = w,
	    .by_notice = w->stop_reason == EBB_STOP_NOTICE};
	int64_t lost;
	enum status st = ledger_begin(l, e);

	if (st != ST_OK)
		return st;
	st = ledger_worker_end(l, w->me.id, &how, &lost, e);
	if (st == ST_OK)
		st = account_record(w->account, l, w->me.id, sys_boot_ns(), e);
	if (st == ST_OK)
		st = ask_for_another(w, l, e);
	if (st == ST_OK)
		st = event_put(l, w, "leave", how_it_left(w->result), e);
	if (st == ST_OK)
		return ledger_commit(l, e);
	ledger_rollback(l);
	return st;
}

static void finish_run(struct work *w, struct ledger *l)
{
	struct worker_result *r = w->result;
	struct error e;
	enum status st = last_look(w, l, &e);

	stages_sum(w, &r->after);
	if (st == ST_OK && !w->start_said && !r->plan_failed && w->opt->progress)
		progress_start(w);
	r->sealed = st == ST_OK && r->after.sealed && !r->plan_failed;
	if (r->sealed) {
		note_manifest(w, r);
		if (outputs_remove_kept(w->opt->state, l, &w->opt->run, &e) != ST_OK)
			log_line(LOG_WARN, "%s", e.text);
	}
	/* What is left lying about is said and costs nothing else. */
	if (st == ST_OK && care_private_files(w->opt->state, l, &w->opt->run, &e) != ST_OK)
		log_line(LOG_WARN, "%s", e.text);
	if (st == ST_OK)
		st = leave_run(w, l, &e);
	if (st != ST_OK && r->fatal == ST_OK) {
		r->fatal = st;
		r->fatal_error = e;
	}
}

static void release(struct work *w)
{
	size_t i;

	while (w->all != NULL) {
		pump_drop(w->all->pump);
		attempt_free(w->all);
	}
	if (w->joblog != NULL && fclose(w->joblog) != 0)
		log_line(LOG_WARN, "the job log %s is not complete", w->opt->joblog);
	for (i = 0; i < w->n_stages; i++) {
		if (w->stage[i].spec != NULL)
			launch_release(&w->stage[i].launch);
	}
	store_close(w->store);
	contract_close(w);
	heard_close(w);
	drain_close(w);
	requests_destroy(w->requests);
	aside_destroy(w->aside);
	account_destroy(w->account);
	free(w->stage);
}

enum status worker_run(struct worker_body *body, struct ledger *take_ledger,
    const struct worker_options *opt, struct worker_result *result, struct error *e)
{
	struct work *w = mem_zero(sizeof(*w));
	enum status st;
	size_t i;

	memset(result, 0, sizeof(*result));
	result->failures = mem_zero(WORKER_FAILURES_KEPT * sizeof(*result->failures));
	if (w != NULL)
		w->stage = mem_zero(opt->pipeline->n_stages * sizeof(*w->stage));
	if (w == NULL || w->stage == NULL || result->failures == NULL) {
		st = error_set(e, ST_NO_MEMORY, "out of memory");
		goto out;
	}
	w->opt = opt;
	w->pipeline = opt->pipeline;
	w->n_stages = opt->pipeline->n_stages;
	w->body = body;
	w->grace_ms = opt->grace_ms;
	resources_find(&w->resources, opt->slots, asks_memory(w->pipeline));
	w->end_cause = CAUSE_INTERRUPTED;
	w->result = result;
	w->next_id = 1;
	w->started_boot_ms = w->last_line_ms = w->last_look_ms = sys_boot_ns() / 1000000;
	st = prepare_work(w, take_ledger, e);
	if (st == ST_OK) {
		open_loop(w);
		st = contract_open(w, e);
		if (st == ST_OK)
			st = start_threads(w, take_ledger, e);
		if (st == ST_OK)
			st = heard_open(w, e);
		requests_listen(w);
		if (st == ST_OK) {
			for (i = 0; i < w->n_stages; i++)
				loop_recover(&w->stage[i]);
			requests_tick(w); /* a stop file may be there already */
			loop_step(w);
			(void)uv_run(&w->loop, UV_RUN_DEFAULT);
		}
		w->closing = true;
		/* Nobody may write to the ledger's view of a shard from here on. */
		guardian_stop(body->guardian);
		body->guardian = NULL;
		stop_threads(w);
		close_loop(w);
		log_progress("");
		if (st == ST_OK) {
			finish_run(w, take_ledger);
			sys_point("worker.left");
			heard_acknowledge(w);
		}
	}
	result->wall_ms = sys_boot_ns() / 1000000 - w->started_boot_ms;
	release(w);
out:
	free(w);
	ledger_close(take_ledger);
	return st;
}
