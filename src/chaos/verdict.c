#include "chaos/verdict.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "chaos/fleet.h"
#include "model/pipeline.h"
#include "observe/report.h"
#include "worker/name.h"

enum { VERDICT_EVENTS = 20000, VERDICT_PAGE = 64, VERDICT_ATTEMPTS = 256 };

void verdict_free(struct verdict *v)
{
	size_t i;

	for (i = 0; i < CHECKS; i++)
		buf_free(&v->check[i].text);
	buf_free(&v->uncompared);
	free(v->felt);
	free(v->folder);
	memset(v, 0, sizeof(*v));
}

void verdict_set(struct verdict *v, enum check_name c, enum check_result r, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	v->check[c].result = r;
	buf_clear(&v->check[c].text);
	buf_str(&v->check[c].text, text);
}

bool verdict_holds(const struct verdict *v)
{
	size_t i;

	for (i = 0; i < CHECKS; i++) {
		if (v->check[i].result == CHECK_FAILS)
			return false;
	}
	return true;
}

bool verdict_is_inconclusive(const struct verdict *v)
{
	size_t i;

	for (i = 0; i < CHECKS; i++) {
		if (i != CHECK_DISTURBED && v->check[i].result == CHECK_FAILS)
			return false;
	}
	return v->check[CHECK_DISTURBED].result == CHECK_FAILS;
}

/* ---- shards ---- */

struct twice {
	int64_t shards;
	int64_t n;      /* accepted more than once */
	char first[120];
};

static enum status verdict_look_at_shard(struct ledger *l, const struct ledger_shard *s,
    struct ledger_attempt *list, struct twice *t, struct error *e)
{
	struct buf name = {0};
	size_t n = 0;
	size_t done = 0;
	size_t i;
	enum status st = ledger_attempts(l, s->row, VERDICT_ATTEMPTS, list, &n, e);

	for (i = 0; st == ST_OK && i < n; i++)
		done += list[i].cause == CAUSE_DONE;
	t->shards++;
	if (st != ST_OK || done < 2)
		return st;
	shard_name(s, &name);
	if (t->n++ == 0 && !name.failed && name.data != NULL)
		(void)snprintf(t->first, sizeof(t->first), "%s", name.data);
	buf_free(&name);
	return ST_OK;
}

static enum status verdict_look_at_stage(struct ledger *l, int64_t stage,
    struct ledger_attempt *attempts,
    struct twice *t, struct error *e)
{
	struct ledger_query q = {.stage = stage, .state = -1, .ordinal = -1, .max = VERDICT_PAGE};
	struct ledger_shard list[VERDICT_PAGE];
	size_t n = VERDICT_PAGE;
	size_t i;
	enum status st = ST_OK;

	while (st == ST_OK && n == VERDICT_PAGE) {
		n = 0;
		st = ledger_shards(l, &q, list, &n, e);
		for (i = 0; i < n; i++) {
			if (st == ST_OK)
				st = verdict_look_at_shard(l, &list[i], attempts, t, e);
			q.from = list[i].ordinal + 1;
			ledger_shard_free(&list[i]);
		}
	}
	return st;
}

static enum status verdict_look_for_twice(struct verdict *v, struct ledger *l,
    const struct ledger_stage *stages, size_t n, struct error *e)
{
	struct ledger_attempt *attempts = mem_zero(VERDICT_ATTEMPTS * sizeof(*attempts));
	struct twice t = {0};
	size_t i;
	enum status st = ST_OK;

	if (attempts == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	for (i = 0; st == ST_OK && i < n; i++)
		st = verdict_look_at_stage(l, stages[i].id, attempts, &t, e);
	free(attempts);
	if (st == ST_OK && t.n > 0)
		verdict_set(v, CHECK_TWICE, CHECK_FAILS, "%lld shards were accepted more than once, the "
		    "first of them %s", (long long)t.n, t.first);
	else if (st == ST_OK)
		verdict_set(v, CHECK_TWICE, CHECK_HOLDS, "none of %lld shards was accepted twice",
		    (long long)t.shards);
	return st;
}

static void verdict_judge_lost(struct verdict *v, const struct ledger_stage *all)
{
	int64_t published = all->count[SHARD_PUBLISHED];
	int64_t failed = ledger_stage_failed(all);
	int64_t missing = all->planned - published;

	if (missing == 0 && all->plan_complete)
		verdict_set(v, CHECK_LOST, CHECK_HOLDS, "all %lld shards are published",
		    (long long)published);
	else if (!all->plan_complete)
		verdict_set(v, CHECK_LOST, CHECK_FAILS, "%lld shards are published, and not all are "
		    "planned", (long long)published);
	else
		verdict_set(v, CHECK_LOST, CHECK_FAILS, "%lld of %lld shards are not published; %lld "
		    "failed", (long long)missing, (long long)all->planned, (long long)failed);
}

static enum status verdict_judge_shards(struct verdict *v, struct ledger *l,
    const struct ledger_run *run,
    const char *why, struct error *e)
{
	struct ledger_stage *stages = mem_zero(PIPELINE_STAGES_MAX * sizeof(*stages));
	struct ledger_stage all;
	struct buf wall = {0};
	size_t n = 0;
	enum status st;

	if (stages == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = ledger_run_stages(l, run->id, 0, stages, PIPELINE_STAGES_MAX, &n, e);
	if (st == ST_OK) {
		ledger_stages_sum(stages, n, &all);
		verdict_judge_lost(v, &all);
		st = verdict_look_for_twice(v, l, stages, n, e);
	}
	free(stages);
	str_duration(&wall, v->wall_ms);
	if (run->state == RUN_FINISHED)
		verdict_set(v, CHECK_FINISHED, CHECK_HOLDS, "%s in %s", run->name,
		    wall.failed ? "time" : wall.data);
	else
		verdict_set(v, CHECK_FINISHED, CHECK_FAILS, "not finished: %s", why);
	buf_free(&wall);
	return st;
}

/* ---- what was felt ---- */

/* The worker that had this pid when that happened. */
static int64_t verdict_worker_of(const struct report *r, const struct blow *b)
{
	int64_t id = 0;
	size_t i;

	for (i = 0; i < r->n_workers; i++) {
		if (r->worker[i].worker.pid == b->pid)
			id = r->worker[i].worker.id;
	}
	return id;
}

static bool verdict_event_is(const struct ledger_event *ev, const char *kind)
{
	return strcmp(ev->kind, kind) == 0;
}

static struct felt verdict_feel(const struct report *r, const struct blow *b)
{
	int64_t worker = verdict_worker_of(r, b);
	struct felt f = {-1, -1};
	size_t i;

	for (i = 0; worker != 0 && i < r->n_events; i++) {
		const struct ledger_event *ev = &r->event[i];
		bool heard = b->kind == ACTION_REBALANCE ? verdict_event_is(ev, "rebalance")
		    : verdict_event_is(ev, "notice") || verdict_event_is(ev, "drain");

		if (ev->worker != worker || ev->boot_ms < b->boot_ms)
			continue;
		if (heard && f.heard_ms < 0)
			f.heard_ms = ev->boot_ms - b->boot_ms;
		if (verdict_event_is(ev, "drained") && f.safe_ms < 0 && b->kind != ACTION_REBALANCE)
			f.safe_ms = ev->boot_ms - b->boot_ms;
	}
	return f;
}

enum status verdict_look(struct verdict *v, struct ledger *l, const struct ledger_run *run,
    const char *why, struct error *e)
{
	const struct report_options ro = {.events = VERDICT_EVENTS};
	struct report report;
	size_t i;
	enum status st = verdict_judge_shards(v, l, run, why, e);

	if (st == ST_OK)
		st = report_load(l, run, &ro, &report, e);
	if (st != ST_OK)
		return st;
	v->net_ms = report.times.net_ms;
	v->lost_ms = report.times.lost_ms;
	v->wall_over_net = report_wall_over_net(&report);
	v->overhead_percent = report_overhead_percent(&report);
	free(v->felt);
	v->felt = mem_zero((v->n_blows + 1) * sizeof(*v->felt));
	for (i = 0; v->felt != NULL && i < v->n_blows; i++)
		v->felt[i] = verdict_feel(&report, &v->blow[i]);
	report_free(&report);
	return v->felt != NULL ? ST_OK : error_set(e, ST_NO_MEMORY, "out of memory");
}
