#include "observe/report.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "worker/name.h"

enum { STAGES_MAX = 256 };

/* ---- times ---- */

static void count_spent(struct report_times *t, const struct ledger_spent *s)
{
	switch (s->kind) {
	case SPENT_RUNNING:
		t->running_ms += s->ms;
		break;
	case SPENT_RESTORING:
		t->restoring_ms += s->ms;
		break;
	case SPENT_CHECKPOINTING:
		t->checkpointing_ms += s->ms;
		break;
	case SPENT_WAITING:
		t->waiting_ms += s->ms;
		break;
	case SPENT_IDLE:
		t->idle_ms += s->ms;
		break;
	case SPENT_NET:
		t->net_ms += s->ms;
		break;
	case SPENT_VOID:
	case SPENT_LOST:
		t->lost_ms += s->ms;
		break;
	case SPENT_KINDS:
		break;
	}
}

static struct report_stage *stage_of_id(struct report *r, int64_t id)
{
	size_t i;

	for (i = 0; i < r->n_stages; i++) {
		if (r->stage[i].stage.id == id)
			return &r->stage[i];
	}
	return &r->none;
}

static void share_out(struct report *r, const struct ledger_spent *list, size_t n)
{
	size_t at = 0; /* both are in the order of workers */
	size_t i;

	for (i = 0; i < n; i++) {
		struct report_stage *g = stage_of_id(r, list[i].stage);

		while (at < r->n_workers && r->worker[at].worker.id < list[i].worker)
			at++;
		if (at < r->n_workers && r->worker[at].worker.id == list[i].worker)
			count_spent(&r->worker[at].times, &list[i]);
		count_spent(&r->times, &list[i]);
		count_spent(&g->times, &list[i]);
		if (list[i].kind < SPENT_SLOT_KINDS)
			g->times.slot_ms += list[i].ms;
	}
}

/* Attempts are told as they end, and the rest with each heartbeat: what is missing
 * until then has been run. */
static int64_t catch_up(struct report_times *t)
{
	int64_t ms = t->net_ms + t->lost_ms - t->running_ms;

	if (ms <= 0)
		return 0;
	t->running_ms += ms;
	t->slot_ms += ms;
	return ms;
}

static void catch_up_all(struct report *r)
{
	size_t i;

	for (i = 0; i < r->n_stages; i++)
		(void)catch_up(&r->stage[i].times);
	for (i = 0; i < r->n_workers; i++) {
		int64_t ms = r->worker[i].worker.gone ? 0 : catch_up(&r->worker[i].times);

		r->times.running_ms += ms;
		r->times.slot_ms += ms;
	}
}

static enum status load_times(struct ledger *l, const struct ledger_run *run, struct report *r,
    struct error *e)
{
	struct ledger_spent *list;
	size_t n;
	enum status st = ledger_spent(l, run->id, run->generation, &list, &n, e);

	if (st == ST_OK)
		share_out(r, list, n);
	if (st == ST_OK)
		catch_up_all(r);
	free(list);
	return st;
}

/* ---- workers ---- */

static enum status keep_workers(struct report *r, const struct ledger_worker *list, size_t n,
    int generation, struct error *e)
{
	size_t i;

	r->worker = mem_zero((n + 1) * sizeof(*r->worker));
	if (r->worker == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	for (i = 0; i < n; i++) {
		struct report_worker *w = &r->worker[r->n_workers];

		if (list[i].generation != generation)
			continue;
		w->worker = list[i];
		w->times.slot_ms = list[i].present_ms * list[i].slots;
		r->times.slot_ms += w->times.slot_ms;
		r->n_workers++;
	}
	return ST_OK;
}

static int by_coming(const void *a, const void *b)
{
	const struct report_worker *x = a;
	const struct report_worker *y = b;

	return (x->worker.joined_wall_ms > y->worker.joined_wall_ms) -
	    (x->worker.joined_wall_ms < y->worker.joined_wall_ms);
}

/* The time from the first to the last, and what of it nobody was there. */
static void measure_wall(struct report *r)
{
	int64_t covered = 0;
	size_t i;

	qsort(r->worker, r->n_workers, sizeof(*r->worker), by_coming);
	for (i = 0; i < r->n_workers; i++) {
		const struct ledger_worker *w = &r->worker[i].worker;
		int64_t left = w->joined_wall_ms + w->present_ms;

		if (i > 0 && w->joined_wall_ms > covered)
			r->away_slot_ms += (w->joined_wall_ms - covered) * w->slots;
		if (i == 0 || left > covered)
			covered = left;
	}
	if (r->n_workers > 0)
		r->wall_ms = covered - r->worker[0].worker.joined_wall_ms;
}

static enum status load_workers(struct ledger *l, const struct ledger_run *run, struct report *r,
    struct error *e)
{
	struct ledger_worker *list;
	size_t n;
	enum status st = ledger_worker_list(l, run->id, &list, &n, e);

	if (st == ST_OK)
		st = keep_workers(r, list, n, run->generation, e);
	free(list);
	return st;
}

/* ---- stages ---- */

static enum status load_stages(struct ledger *l, const struct ledger_run *run, struct report *r,
    struct error *e)
{
	struct ledger_stage *list = mem_zero(STAGES_MAX * sizeof(*list));
	size_t n = 0;
	size_t i;
	enum status st = list == NULL ? error_set(e, ST_NO_MEMORY, "out of memory")
	    : ledger_run_stages(l, run->id, run->generation, list, STAGES_MAX, &n, e);

	if (st == ST_OK)
		r->stage = mem_zero((n + 1) * sizeof(*r->stage));
	if (st == ST_OK && r->stage == NULL)
		st = error_set(e, ST_NO_MEMORY, "out of memory");
	for (i = 0; r->stage != NULL && i < n; i++)
		r->stage[r->n_stages++].stage = list[i];
	ledger_stages_sum(list, st == ST_OK ? n : 0, &r->all);
	free(list);
	return st;
}

static enum status find_stage_id(const struct report *r, const char *name, int64_t *id,
    struct error *e)
{
	size_t i;

	*id = 0;
	if (name == NULL)
		return ST_OK;
	for (i = 0; i < r->n_stages; i++) {
		if (strcmp(r->stage[i].stage.name, name) == 0)
			*id = r->stage[i].stage.id;
	}
	return *id != 0 ? ST_OK : error_set(e, ST_NOT_FOUND, "no stage is named \"%.60s\"", name);
}

/* ---- the worst shards ---- */

static enum status load_shard(struct ledger *l, struct report *r, struct report_shard *s,
    struct error *e)
{
	struct ledger_shard row;
	struct buf name = {0};
	enum status st = ledger_shard_get(l, s->worst.row, &row, e);

	if (st != ST_OK)
		return st;
	shard_name(&row, &name);
	ledger_shard_free(&row);
	st = buf_check(&name, e);
	if (st != ST_OK)
		return st;
	s->name = name.data;
	s->stage = stage_of_id(r, s->worst.stage)->stage.name;
	return ledger_attempts(l, s->worst.row, REPORT_ATTEMPTS, s->attempt, &s->n_attempts, e);
}

static void free_shards(struct report_shard *list, size_t n)
{
	while (n > 0)
		free(list[--n].name);
	free(list);
}

static enum status load_worst(struct ledger *l, const struct ledger_run *run, struct report *r,
    int64_t stage, enum ledger_worst which, size_t max, struct report_shard **out, size_t *n,
    struct error *e)
{
	struct ledger_worst_shard *worst = mem_zero((max + 1) * sizeof(*worst));
	struct report_shard *list = mem_zero((max + 1) * sizeof(*list));
	size_t found = 0;
	size_t i;
	enum status st = worst == NULL || list == NULL
	    ? error_set(e, ST_NO_MEMORY, "out of memory")
	    : ledger_worst_shards(l, run->id, stage, which, max, worst, &found, e);

	*out = list;
	for (i = 0; st == ST_OK && i < found; i++) {
		list[i].worst = worst[i];
		*n = i + 1;
		st = load_shard(l, r, &list[i], e);
	}
	free(worst);
	return st;
}

/* ---- all of it ---- */

static enum status load_events(struct ledger *l, const struct ledger_run *run, struct report *r,
    size_t max, struct error *e)
{
	r->event = mem_zero((max + 1) * sizeof(*r->event));
	if (r->event == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	return ledger_events(l, run->id, max, r->event, &r->n_events, e);
}

enum status report_load(struct ledger *l, const struct ledger_run *run,
    const struct report_options *opt, struct report *out, struct error *e)
{
	int64_t stage = 0;
	enum status st;

	memset(out, 0, sizeof(*out));
	st = load_stages(l, run, out, e);
	if (st == ST_OK)
		st = find_stage_id(out, opt->stage, &stage, e);
	if (st == ST_OK)
		st = load_workers(l, run, out, e);
	if (st == ST_OK)
		st = load_times(l, run, out, e);
	if (st == ST_OK)
		st = pools_load(l, run->id, &out->pools, e);
	if (st == ST_OK && opt->shards > 0)
		st = load_worst(l, run, out, stage, LEDGER_SLOWEST, opt->shards, &out->slowest,
		    &out->n_slowest, e);
	if (st == ST_OK && opt->shards > 0)
		st = load_worst(l, run, out, stage, LEDGER_MOST_INTERRUPTED, opt->shards,
		    &out->interrupted, &out->n_interrupted, e);
	if (st == ST_OK)
		st = load_events(l, run, out, opt->events, e);
	if (st != ST_OK) {
		report_free(out);
		return st;
	}
	measure_wall(out);
	return ST_OK;
}

void report_free(struct report *r)
{
	free_shards(r->slowest, r->n_slowest);
	free_shards(r->interrupted, r->n_interrupted);
	pools_free(&r->pools);
	free(r->stage);
	free(r->worker);
	free(r->event);
	memset(r, 0, sizeof(*r));
}

double report_overhead_percent(const struct report *r)
{
	const struct report_times *t = &r->times;

	return t->net_ms <= 0 ? 0 : ((double)t->slot_ms / (double)t->net_ms - 1) * 100;
}

double report_wall_over_net(const struct report *r)
{
	const struct report_times *t = &r->times;

	return t->net_ms <= 0 ? 0 : (double)(t->slot_ms + r->away_slot_ms) / (double)t->net_ms;
}
