/* ebb status: the runs of a state, or one in detail. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/common.h"

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

static const char *run_state_name(const struct ledger_run *r)
{
	static const char *const names[] = {"active", "finished", "cancelled"};

	return names[r->state];
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

static void json_run(const struct common_view *v, struct buf *b)
{
	const struct ledger_run *r = &v->run;

	buf_printf(b, "{\"run\":\"%s\",\"state\":\"%s\",\"running\":%s,\"generation\":%d,"
	    "\"title\":", r->name, run_state_name(r), common_is_running(v, r) ? "true" : "false",
	    r->generation);
	str_json(b, r->title, strlen(r->title));
	buf_printf(b, ",\"created_ms\":%lld,\"changed_ms\":%lld,", (long long)r->created_wall_ms,
	    (long long)r->changed_wall_ms);
	json_counts(&v->all, b);
	json_stages(v->stage, v->n_stages, b);
	buf_char(b, '}');
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

	buf_printf(b, "%-6s %-9s ", r->name, r->state == RUN_ACTIVE
	    ? common_is_running(v, r) ? "running" : "stopped" : run_state_name(r));
	text_counts(&v->all, b);
	buf_str(b, "  ");
	str_display(b, r->title, strlen(r->title), 80);
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

static enum status add_events(const struct common_view *v, struct buf *b, struct error *e)
{
	struct ledger_event events[10];
	size_t n = 0;
	enum status st = ledger_events(v->ledger, v->run.id, 10, events, &n, e);
	size_t i;

	for (i = 0; st == ST_OK && i < n; i++) {
		buf_printf(b, "  %s: ", events[i].kind);
		str_display(b, events[i].text, strlen(events[i].text), 0);
		buf_char(b, '\n');
	}
	return st;
}

static enum status text_detail(const struct common_view *v, struct buf *b, struct error *e)
{
	const struct ledger_stage *s = &v->all;
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
	return add_events(v, b, e);
}

/* The run in the view, alone. */
static void add_one(const struct common_view *v, bool json, struct buf *b)
{
	if (!json) {
		text_run(v, b);
		return;
	}
	buf_str(b, "{\"ebb_status\":1,\"runs\":[");
	json_run(v, b);
	buf_str(b, "]}\n");
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
			add_one(v, d.json, &now);
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
		add_one(&view, true, &b);
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
