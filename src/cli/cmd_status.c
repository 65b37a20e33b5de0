/* ebb status: the runs of a state, or one in detail. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "base/sys.h"
#include "cli/common.h"
#include "model/pipeline.h"
#include "worker/name.h"
#include "worker/slots.h"

struct status_values {
	const char *state;
	bool json;
};

static const struct option status_options[] = {
	{0, "json", OPTION_FLAG, offsetof(struct status_values, json), NULL,
	    "for programs; docs/formats.md describes the fields"},
	{0, "state", OPTION_TEXT, offsetof(struct status_values, state), "DIR",
	    "the state folder (default $EBB_STATE, else .ebb)"},
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

enum { STATUS_WORKERS_MAX = 256 };

static bool is_alive(const struct state *s, const struct ledger_worker *w)
{
	char lock[80];

	(void)snprintf(lock, sizeof(lock), "worker-%s", w->name);
	return !state_lock_is_free(s, lock);
}

/* An active run is running while somebody holds its lock or works on it. */
static bool is_running(const struct state *s, struct ledger *l, const struct ledger_run *r)
{
	struct ledger_worker list[16];
	struct buf lock = {0};
	struct error e;
	bool running;
	size_t n = 0;

	run_lock_name(r->key, &lock);
	running = !lock.failed && !state_lock_is_free(s, lock.data);
	buf_free(&lock);
	if (running || ledger_workers(l, r->id, list, 16, &n, &e) != ST_OK)
		return running;
	while (!running && n > 0)
		running = is_alive(s, &list[--n]);
	return running;
}

/* In text and in JSON. */
static const char *run_state_name(const struct state *s, struct ledger *l,
    const struct ledger_run *r)
{
	static const char *const names[] = {"stopped", "finished", "cancelled"};

	return r->state == RUN_ACTIVE && is_running(s, l, r) ? "running" : names[r->state];
}

/* What tells apart lines with the same command: where output goes, and how input
 * is cut. */
static void show_line(const struct ledger_run *r, struct buf *b)
{
	struct pipeline p = {0};

	str_display(b, r->title, strlen(r->title), 80);
	if (pipeline_decode(r->spec, &p, NULL) == ST_OK && p.n_stages == 1) {
		const struct spec *s = &p.stage[0];

		if (s->out != NULL) {
			buf_str(b, "  --out ");
			str_display(b, s->out, strlen(s->out), 60);
		}
		if (s->shard == SPEC_BYTES) {
			buf_str(b, "  --shard bytes, ");
			str_size(b, s->shard_size);
		}
	}
	pipeline_free(&p);
}

static void show_time(int64_t wall_ms, struct buf *b)
{
	time_t at = (time_t)(wall_ms / 1000);
	struct tm tm;
	char text[32];

	if (localtime_r(&at, &tm) != NULL &&
	    strftime(text, sizeof(text), "%Y-%m-%d %H:%M", &tm) > 0)
		buf_str(b, text);
}

static void json_counts(const struct ledger_stage *s, struct buf *b)
{
	int i;

	buf_str(b, "\"shards\":{");
	for (i = 0; i < SHARD_STATES; i++)
		buf_printf(b, "%s\"%s\":%lld", i > 0 ? "," : "",
		    shard_state_name((enum shard_state)i), (long long)s->count[i]);
	buf_str(b, "},\"ended\":{");
	for (i = 0; i < CAUSE_COUNT; i++)
		buf_printf(b, "%s\"%s\":%lld", i > 0 ? "," : "", cause_name((enum cause)i),
		    (long long)s->ended[i]);
	buf_printf(b, "},\"done\":%lld,\"failed\":%lld,\"total\":%lld,\"attempts\":%lld,"
	    "\"plan_complete\":%s,\"sealed\":%s,\"run_ms\":%lld,\"lost_ms\":%lld",
	    (long long)ledger_stage_done(s), (long long)ledger_stage_failed(s),
	    (long long)s->planned, (long long)s->attempts,
	    s->plan_complete ? "true" : "false", s->sealed ? "true" : "false",
	    (long long)s->run_ms, (long long)s->lost_ms);
}

static void json_run(const struct state *state, struct ledger *l, const struct ledger_run *r,
    const struct ledger_stage *s, struct buf *b)
{
	buf_printf(b, "{\"run\":\"%s\",\"state\":\"%s\",\"running\":%s,\"generation\":%d,"
	    "\"title\":", r->name, run_state_name(state, l, r), is_running(state, l, r) ? "true" : "false",
	    r->generation);
	str_json(b, r->title, strlen(r->title));
	buf_printf(b, ",\"created_ms\":%lld,\"changed_ms\":%lld,", (long long)r->created_wall_ms,
	    (long long)r->changed_wall_ms);
	json_counts(s, b);
}

static void text_run(const struct state *state, struct ledger *l, const struct ledger_run *r,
    const struct ledger_stage *s, struct buf *b)
{
	int64_t done = ledger_stage_done(s);
	int64_t failed = ledger_stage_failed(s);

	buf_printf(b, "%-6s %-9s ", r->name, run_state_name(state, l, r));
	show_time(r->changed_wall_ms, b);
	buf_str(b, "  ");
	str_count(b, done);
	buf_str(b, " of ");
	str_count(b, s->planned);
	buf_str(b, s->plan_complete ? " done" : "+ done");
	if (s->count[SHARD_LEASED] > 0)
		buf_printf(b, ", %lld in hand", (long long)s->count[SHARD_LEASED]);
	if (failed > 0)
		buf_printf(b, ", %lld failed", (long long)failed);
	if (s->ended[CAUSE_LOST] + s->ended[CAUSE_INTERRUPTED] > 0)
		buf_printf(b, ", %lld interruptions", (long long)s->ended[CAUSE_LOST] +
		    (long long)s->ended[CAUSE_INTERRUPTED]);
	buf_str(b, "  ");
	show_line(r, b);
	buf_char(b, '\n');
}

static void text_detail(struct common_view *v, struct buf *b)
{
	const struct ledger_stage *s = &v->stage;
	int i;

	text_run(v->state, v->ledger, &v->run, s, b);
	buf_str(b, "  shards:   ");
	for (i = 0; i < SHARD_STATES; i++)
		buf_printf(b, "%s%lld %s", i > 0 ? ", " : "", (long long)s->count[i],
		    shard_state_name((enum shard_state)i));
	buf_str(b, "\n  attempts: ");
	str_count(b, s->attempts);
	for (i = 0; i < CAUSE_COUNT; i++) {
		if (s->ended[i] > 0)
			buf_printf(b, ", %lld %s", (long long)s->ended[i],
			    cause_name((enum cause)i));
	}
	buf_str(b, "\n  time:     ");
	str_duration(b, s->run_ms);
	buf_str(b, " in attempts that count, ");
	str_duration(b, s->lost_ms);
	buf_printf(b, " lost\n  generation %d, list %s\n", v->run.generation,
	    s->plan_complete ? "complete" : "not complete yet");
	buf_str(b, "  begun ");
	show_time(v->run.created_wall_ms, b);
	buf_str(b, ", last begun anew or finished ");
	show_time(v->run.changed_wall_ms, b);
	buf_char(b, '\n');
}

/* The time of day of whoever looks. */
static void add_clock(struct buf *b, int64_t wall_ms)
{
	time_t at = (time_t)(wall_ms / 1000);
	struct tm tm;
	char text[16];

	if (localtime_r(&at, &tm) != NULL && strftime(text, sizeof(text), "%H:%M:%S", &tm) > 0)
		buf_str(b, text);
}

/* Commands that run right now, by its slot table; 0 when that cannot be read. */
static int count_running(const struct state *state, const struct ledger_worker *w)
{
	struct slots *slots = NULL;
	struct buf path = {0};
	struct error e;
	int n = 0;
	int i;

	state_path(state, &path, "workers/%s/slots", w->name);
	if (!path.failed && slots_open(path.data, &slots, &e) == ST_OK) {
		for (i = 0; i < slots_count(slots); i++)
			n += slots_at(slots, i)->state == SLOT_STARTED;
	}
	slots_close(slots);
	buf_free(&path);
	return n;
}

static void text_worker(const struct state *state, const struct ledger_worker *w, struct buf *b)
{
	buf_printf(b, "  w%-3d pid %d, pool %s%s%s, %d of %d slots running", w->number, w->pid,
	    w->pool, w->lifecycle[0] == '\0' ? "" : " ", w->lifecycle, count_running(state, w),
	    w->slots);
	if (!is_alive(state, w))
		buf_str(b, ", dead");
	else if (w->drain_boot_ms != 0)
		buf_printf(b, ", draining%s%s", w->drain_reason[0] == '\0' ? "" : ": ",
		    w->drain_reason);
	buf_char(b, '\n');
}

static void json_worker(const struct state *state, const struct ledger_worker *w, struct buf *b)
{
	buf_printf(b, "{\"worker\":\"w%d\",\"name\":\"%s\",\"pid\":%d,\"pool\":", w->number,
	    w->name, w->pid);
	str_json(b, w->pool, strlen(w->pool));
	buf_printf(b, ",\"lifecycle\":\"%s\",\"slots\":%d,\"running\":%d,\"alive\":%s,"
	    "\"draining\":%s,\"reason\":", w->lifecycle, w->slots, count_running(state, w),
	    is_alive(state, w) ? "true" : "false", w->drain_boot_ms != 0 ? "true" : "false");
	str_json(b, w->drain_reason, strlen(w->drain_reason));
	buf_printf(b, ",\"joined_ms\":%lld}", (long long)w->joined_wall_ms);
}

/* Those that have not left. */
static enum status add_workers(struct common_view *v, bool json, struct buf *b, struct error *e)
{
	struct ledger_worker *list = mem_zero(STATUS_WORKERS_MAX * sizeof(*list));
	size_t n = 0;
	size_t i;
	enum status st = list == NULL ? error_set(e, ST_NO_MEMORY, "out of memory")
	    : ledger_workers(v->ledger, v->run.id, list, STATUS_WORKERS_MAX, &n, e);

	for (i = 0; st == ST_OK && i < n; i++) {
		if (json && i > 0)
			buf_char(b, ',');
		if (json)
			json_worker(v->state, &list[i], b);
		else
			text_worker(v->state, &list[i], b);
	}
	free(list);
	return st;
}

static enum status add_events(struct common_view *v, struct buf *b, struct error *e)
{
	struct ledger_event events[10];
	size_t n = 0;
	enum status st = ledger_events(v->ledger, v->run.id, 10, events, &n, e);
	size_t i;

	for (i = 0; st == ST_OK && i < n; i++) {
		struct ledger_worker w;

		buf_str(b, "  ");
		add_clock(b, events[i].wall_ms);
		if (events[i].worker != 0 &&
		    ledger_worker_get(v->ledger, events[i].worker, &w, e) == ST_OK)
			buf_printf(b, " w%d", w.number);
		buf_printf(b, " %s%s", events[i].kind, events[i].text[0] == '\0' ? "" : ": ");
		str_display(b, events[i].text, strlen(events[i].text), 120);
		buf_char(b, '\n');
	}
	return st;
}

static enum status add_all(struct common_view *v, bool json, struct buf *b, struct error *e)
{
	struct ledger_run *runs;
	size_t n;
	size_t i;
	enum status st = ledger_run_list(v->ledger, &runs, &n, e);

	if (st != ST_OK)
		return st;
	if (json)
		buf_str(b, "{\"ebb_status\":1,\"runs\":[");
	for (i = 0; st == ST_OK && i < n; i++) {
		struct ledger_stage s;

		st = ledger_stage_get(v->ledger, runs[i].stage, &s, e);
		if (st != ST_OK)
			break;
		if (json && i > 0)
			buf_char(b, ',');
		if (json)
			json_run(v->state, v->ledger, &runs[i], &s, b);
		else
			text_run(v->state, v->ledger, &runs[i], &s, b);
		if (json)
			buf_char(b, '}');
	}
	if (json)
		buf_str(b, "]}\n");
	ledger_run_list_free(runs, n);
	return st;
}

static int status_main(int argc, char **argv)
{
	struct status_values v = {0};
	struct common_view view;
	struct buf b = {0};
	struct error e;
	const char *name;
	int code;
	const char *words[COMMON_WORDS_MAX + 1];
	enum status st;

	if (!common_parse(&verb_status, argc, argv, &v, words, &code))
		return code;
	name = words[0];
	st = common_view_open(v.state, name, false, &view, &e);
	if (st != ST_OK)
		return common_fail(st, &e);
	if (name == NULL) {
		st = add_all(&view, v.json, &b, &e);
	} else if (v.json) {
		buf_str(&b, "{\"ebb_status\":1,\"runs\":[");
		json_run(view.state, view.ledger, &view.run, &view.stage, &b);
		buf_str(&b, ",\"workers\":[");
		st = add_workers(&view, true, &b, &e);
		buf_str(&b, "]}]}\n");
	} else {
		text_detail(&view, &b);
		st = add_workers(&view, false, &b, &e);
		if (st == ST_OK)
			st = add_events(&view, &b, &e);
	}
	common_view_close(&view);
	if (st != ST_OK) {
		buf_free(&b);
		return common_fail(st, &e);
	}
	return common_print(&b);
}

const struct verb verb_status = {
	.name = "status",
	.max_words = 1,
	.usage = "ebb status [options] [RUN]",
	.summary = "ebb status: how far the runs of a state are",
	.text = "examples:\n  ebb status\n  ebb status r7\n  ebb status --json | jq '.runs[0].shards'\n",
	.options = status_options,
	.run = status_main,
};
