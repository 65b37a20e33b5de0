/* The worker's loop: claims, starts, ends, and when to stop. Callbacks only
 * note what happened; loop_step decides. */
#include "worker/loop.h"

#include "base/log.h"
#include "base/sys.h"
#include "worker/account.h"
#include "worker/aside.h"
#include "worker/contract.h"
#include "worker/drain.h"
#include "worker/heard.h"
#include "worker/life.h"
#include "worker/requests.h"

enum { OTHERS_EVERY_MS = 500 };

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

/* ---- starts ---- */

static bool may_send(const struct work *w, const struct attempt *a)
{
	/* What needs a lane of its own to be known, or a pipe and a thread, is
	 * not queued ahead. */
	bool exact = a->g->launch.uses_slot || present_on_stdin(a->g->spec) || w->special;
	size_t limit = exact ? (size_t)w->opt->slots : INFLIGHT_MAX / 2;

	/* Where one stage counts CPUs, all have to. */
	if (w->alone || (w->special && !resources_fit(&w->resources, a->g->spec, a->memory)))
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
	resources_take(&w->resources, a->g->spec, a->memory, &a->gpus);
	st = launch_attempt(w, a, e);
	if (st != ST_OK) {
		resources_give(&w->resources, a->g->spec, a->memory, a->gpus);
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
			loop_begin_anew(a);
		else if (st != ST_OK)
			loop_end_unstarted(a, st, &e);
	}
}

/* ---- stopping ---- */

void loop_signal(struct work *w, int sig)
{
	drain_signal(w, sig);
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
			loop_count_done(w, a);
		} else if (a->step == ST_FULL || a->step == ST_TRANSIENT) {
			log_line(LOG_WARN, "%s; trying again", a->step_error.text);
		} else if (a->step == ST_EXISTS || a->step == ST_DENIED ||
		    a->step == ST_PERMANENT || a->step == ST_CONFIG) {
			a->rec.cause = CAUSE_INFRASTRUCTURE;
			a->rec.exit_code = -1;
			(void)snprintf(a->rec.note, sizeof(a->rec.note), "%.250s",
			    a->step_error.text);
			w->now_failed++;
			loop_keep_failure(w, a);
			loop_tell_failure(w, a);
			loop_check_halt(w);
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
		drain_wish(w, "drain", "the plan failed", 0);
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

/* What its machine's life keeps it from claiming, others will do: it has to see the end
 * of that without ever claiming. */
static bool would_claim(struct stage *g)
{
	return loop_is_open(g) && life_lets_claim(g);
}

/* True when this worker has nothing to do before somebody else does something. */
static bool is_idle(struct work *w)
{
	size_t i;

	if (w->open > 0 || w->claiming || w->looking)
		return false;
	for (i = 0; i < w->n_stages; i++) {
		struct stage *g = &w->stage[i];

		if (g->sealing || g->recovering || would_claim(g))
			return false;
		if (!w->failed_stop && ((g->planner != NULL &&
		    !stage_is_planned(g)) || (g->plan_wanted && stage_inputs_ready(g))))
			return false;
	}
	return true;
}

/* It could do more, if somebody else gave something back, or died. */
static bool has_room(struct work *w)
{
	size_t i;

	if (w->stop_level > 0 || w->claiming || w->ready.n + w->sent >= (size_t)w->opt->slots)
		return false;
	for (i = 0; i < w->n_stages; i++) {
		if (would_claim(&w->stage[i]))
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
	if (drain_is_over(w))
		uv_stop(&w->loop);
}

static void check_end(struct work *w)
{
	if (w->stop_level > 0) {
		check_stopped(w);
		return;
	}
	/* What is in hand changes what was last looked at. */
	w->finishing = w->finishing && w->open == 0;
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
	loop_claim(g);
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
	loop_judge_suspects(w);
	while (w->failed_stop && w->ready.n > 0)
		loop_give_back(attempt_pop(&w->ready));
	if (w->stop_level > 0) {
		drain_step(w);
	} else {
		send_ready(w);
		for (i = 0; i < w->n_stages; i++)
			step_stage(&w->stage[i]);
		loop_arm_claims(w);
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

	loop_note_awake(w);
	account_look(w->account, sys_boot_ns());
	if (w->sent > 0)
		contract_poll(w);
	requests_tick(w);
	heard_tick(w);
	drain_tick(w);
	if (now - w->last_look_ms >= OTHERS_EVERY_MS ||
	    (w->next_expiry_ms != 0 && now > w->next_expiry_ms)) {
		w->last_look_ms = now;
		w->next_expiry_ms = 0;
		/* While others may hold shards, theirs come free when they die. */
		w->finishing = false;
		loop_look(w, has_room(w));
		aside_look(w);
		life_look(w);
	}
	loop_step(w);
}
