/* ebb status: the runs of a state, or one in detail. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/common.h"
#include "model/pipeline.h"
#include "observe/pools.h"
#include "worker/slots.h"

struct status_values {
	const char *state;
	bool json;
	bool watch;
	int64_t interval_ms;
};

static const struct option status_options[] = {
	{0, "json", OPTION_FLAG, offsetof(struct status_values, json), NULL,
	    "for programs; docs/formats.md describes the fields"},
	{'w', "watch", OPTION_FLAG, offsetof(struct status_values, watch), NULL,
	    "look again and again until the run ends: on a terminal drawn anew, else a line for\n"
	    "                          each change"},
	{'n', "interval", OPTION_DURATION, offsetof(struct status_values, interval_ms), "TIME",
	    "between two looks (default 1s)", .min = 50, .max = 86400000},
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

/* The time of day of whoever looks. */
static void add_clock(struct buf *b, int64_t wall_ms)
{
	time_t at = (time_t)(wall_ms / 1000);
	struct tm tm;
	char text[16];

	if (localtime_r(&at, &tm) != NULL && strftime(text, sizeof(text), "%H:%M:%S", &tm) > 0)
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

static void json_stages(const struct ledger_stage *list, size_t n, struct buf *b)
{
	size_t i;

	buf_str(b, ",\"stages\":[");
	for (i = 0; i < n; i++) {
		buf_str(b, i > 0 ? ",{\"name\":" : "{\"name\":");
		str_json(b, list[i].name, strlen(list[i].name));
		buf_printf(b, ",\"planned\":%lld,", (long long)list[i].planned);
		json_counts(&list[i], b);
		buf_char(b, '}');
	}
	buf_char(b, ']');
}

/* Its brace is left open, for more about it. */
static void json_run(const struct common_view *v, struct buf *b)
{
	const struct ledger_run *r = &v->run;
	bool running = common_is_running(v, r);

	buf_printf(b, "{\"run\":\"%s\",\"state\":\"%s\",\"running\":%s,\"generation\":%d,"
	    "\"title\":", r->name, common_state_name(r, running), running ? "true" : "false",
	    r->generation);
	str_json(b, r->title, strlen(r->title));
	buf_printf(b, ",\"created_ms\":%lld,\"changed_ms\":%lld,", (long long)r->created_wall_ms,
	    (long long)r->changed_wall_ms);
	json_counts(&v->all, b);
	json_stages(v->stage, v->n_stages, b);
}

/* "12 of 40 done, 2 in hand, ..." */
static void text_counts(const struct ledger_stage *s, struct buf *b)
{
	int64_t failed = ledger_stage_failed(s);

	str_count(b, ledger_stage_done(s));
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
}

static void text_run(const struct common_view *v, struct buf *b)
{
	const struct ledger_run *r = &v->run;

	buf_printf(b, "%-6s %-9s ", r->name, common_state_name(r, common_is_running(v, r)));
	show_time(r->changed_wall_ms, b);
	buf_str(b, "  ");
	text_counts(&v->all, b);
	buf_str(b, "  ");
	show_line(r, b);
	buf_char(b, '\n');
}

static void text_stages(const struct common_view *v, struct buf *b)
{
	size_t i;

	for (i = 0; v->n_stages > 1 && i < v->n_stages; i++) {
		const struct ledger_stage *s = &v->stage[i];

		buf_printf(b, "  stage %-12s ", s->name);
		text_counts(s, b);
		buf_str(b, s->sealed ? ", sealed\n" : "\n");
	}
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
	pools_worker_text(w, b);
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
	buf_printf(b, ",\"notice\":%s,\"joined_ms\":%lld", w->drain_notice ? "true" : "false",
	    (long long)w->joined_wall_ms);
	pools_worker_json(w, b);
	buf_char(b, '}');
}

/* Those that have not left. */
static enum status add_workers(const struct common_view *v, bool json, struct buf *b, struct error *e)
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

static enum status add_pools(const struct common_view *v, bool json, struct buf *b,
    struct error *e)
{
	struct pools p;
	enum status st = pools_load(v->ledger, v->run.id, &p, e);

	if (st != ST_OK)
		return st;
	if (json)
		pools_json(&p, b);
	else
		pools_text(&p, b);
	pools_free(&p);
	return ST_OK;
}

static enum status add_events(const struct common_view *v, struct buf *b, struct error *e)
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

static enum status text_detail(const struct common_view *v, struct buf *b, struct error *e)
{
	const struct ledger_stage *s = &v->all;
	enum status st;
	int i;

	text_run(v, b);
	text_stages(v, b);
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
	buf_printf(b, " lost (ebb report %s says more)\n  generation %d, list %s\n", v->run.name,
	    v->run.generation, s->plan_complete ? "complete" : "not complete yet");
	buf_str(b, "  begun ");
	show_time(v->run.created_wall_ms, b);
	buf_str(b, ", last begun anew or finished ");
	show_time(v->run.changed_wall_ms, b);
	buf_char(b, '\n');
	st = add_pools(v, false, b, e);
	if (st == ST_OK)
		st = add_workers(v, false, b, e);
	return st == ST_OK ? add_events(v, b, e) : st;
}

/* The run in the view, alone. */
static enum status add_one(const struct common_view *v, bool json, struct buf *b,
    struct error *e)
{
	enum status st;

	if (!json) {
		text_run(v, b);
		return ST_OK;
	}
	buf_str(b, "{\"ebb_status\":1,\"runs\":[");
	json_run(v, b);
	st = add_pools(v, true, b, e);
	buf_str(b, ",\"workers\":[");
	if (st == ST_OK)
		st = add_workers(v, true, b, e);
	buf_str(b, "]}]}\n");
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
		st = common_view_turn(v, runs[i].name, e);
		if (st != ST_OK)
			break;
		if (json && i > 0)
			buf_char(b, ',');
		if (json)
			json_run(v, b);
		else
			text_run(v, b);
		if (json)
			buf_char(b, '}');
	}
	if (json)
		buf_str(b, "]}\n");
	ledger_run_list_free(runs, n);
	return st;
}

/* ---- watching ---- */

/* What is shown, and how many lines of it are to be drawn over. */
struct drawing {
	bool terminal;
	bool json;
	struct buf last;
	int lines;
};

static int count_lines(const struct buf *b)
{
	size_t i;
	int n = 0;

	for (i = 0; i < b->len; i++)
		n += b->data[i] == '\n';
	return n;
}

/* Up to the first line of what was drawn, and all below it taken away. */
static int draw_over(struct drawing *d, const struct buf *now)
{
	struct buf b = {0};

	if (d->lines > 0)
		buf_printf(&b, "\033[%dA", d->lines);
	buf_str(&b, "\r\033[J");
	buf_append(&b, now->data, now->len);
	d->lines = count_lines(now);
	return common_print(&b);
}

static int draw(struct drawing *d, const struct buf *now)
{
	struct buf copy = {0};
	bool same = d->last.len == now->len && now->len > 0 &&
	    memcmp(d->last.data, now->data, now->len) == 0;

	if (same)
		return EXIT_DONE;
	buf_clear(&d->last);
	buf_append(&d->last, now->data, now->len);
	if (d->terminal && !d->json)
		return draw_over(d, now);
	buf_append(&copy, now->data, now->len);
	return common_print(&copy);
}

static int watch(struct common_view *v, const struct status_values *values)
{
	struct drawing d = {.terminal = isatty(STDOUT_FILENO) == 1, .json = values->json};
	struct error e;
	int code = EXIT_DONE;
	bool ended = false;

	while (code == EXIT_DONE && !ended) {
		struct buf now = {0};
		/* Before it is looked at: nothing changes after that. */
		bool last = !common_is_running(v, &v->run);
		enum status st = common_view_refresh(v, &e);

		if (st == ST_OK && d.terminal && !d.json)
			st = text_detail(v, &now, &e);
		else if (st == ST_OK)
			st = add_one(v, d.json, &now, &e);
		if (st == ST_OK)
			st = buf_check(&now, &e);
		code = st == ST_OK ? draw(&d, &now) : common_fail(st, &e);
		buf_free(&now);
		ended = last;
		if (code == EXIT_DONE && !ended)
			(void)poll(NULL, 0, (int)values->interval_ms);
	}
	buf_free(&d.last);
	return code;
}

static int status_main(int argc, char **argv)
{
	struct status_values v = {.interval_ms = 1000};
	struct common_view view;
	struct buf b = {0};
	struct error e;
	int code;
	const char *words[COMMON_WORDS_MAX + 1];
	enum status st;

	if (!common_parse(&verb_status, argc, argv, &v, words, &code))
		return code;
	st = common_view_open(v.state, words[0], false, &view, &e);
	if (st != ST_OK)
		return common_fail(st, &e);
	if (v.watch) {
		code = watch(&view, &v);
		common_view_close(&view);
		return code;
	}
	if (words[0] == NULL)
		st = add_all(&view, v.json, &b, &e);
	else if (v.json)
		st = add_one(&view, true, &b, &e);
	else
		st = text_detail(&view, &b, &e);
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
	.text = "examples:\n  ebb status\n  ebb status r7\n  ebb status --watch\n"
	    "  ebb status --json | jq '.runs[0].shards'\n",
	.options = status_options,
	.run = status_main,
};
