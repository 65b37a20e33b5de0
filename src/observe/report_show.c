/* The report as text and as JSON. */
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "observe/report.h"

static double share(int64_t ms, int64_t of_ms)
{
	return of_ms <= 0 ? 0 : (double)ms * 100 / (double)of_ms;
}

/* What a person is told of: names, and where the value is. */
struct column {
	const char *title;
	const char *word;  /* in the line of the last words */
	const char *key;   /* in JSON, before _ms */
	size_t offset;
	bool always;       /* shown in the table even when it is nowhere */
};

#define COLUMN(field) offsetof(struct report_times, field)

static const struct column columns[] = {
	{"net", "running", "net", COLUMN(net_ms), true},
	{"lost", "lost", "lost", COLUMN(lost_ms), true},
	{"checkpoint", "checkpoints", "checkpointing", COLUMN(checkpointing_ms), false},
	{"restore", "restoring", "restoring", COLUMN(restoring_ms), false},
	{"waiting", "waiting", "waiting", COLUMN(waiting_ms), true},
	{"idle", "idle", "idle", COLUMN(idle_ms), true},
};

enum { COLUMNS = sizeof(columns) / sizeof(columns[0]), ATTEMPTS_SHOWN = 4 };

static int64_t value_of(const struct report_times *t, const struct column *c)
{
	return *(const int64_t *)(const void *)((const char *)t + c->offset);
}

/* ---- one line ---- */

void report_line(const struct report_times *t, struct buf *out)
{
	/* Largest parts of what went well first; what was lost at the end. */
	static const int order[] = {0, 4, 2, 3, 5, 1};
	size_t i;

	if (t->slot_ms <= 0)
		return;
	for (i = 0; i < COLUMNS; i++) {
		const struct column *c = &columns[order[i]];
		double part = share(value_of(t, c), t->slot_ms);

		if (i == 0 || part >= 0.05)
			buf_printf(out, "%s%.1f %% %s", i > 0 ? ", " : "", part, c->word);
	}
}

/* ---- text ---- */

static bool is_shown(const struct report *r, const struct column *c)
{
	return c->always || value_of(&r->times, c) > 0;
}

static void text_row(const struct report *r, const char *what, const char *name,
    const struct report_times *t, struct buf *out)
{
	struct buf left = {0};
	size_t i;

	buf_printf(&left, "%s", what);
	str_display(&left, name, strlen(name), 16);
	if (left.failed)
		out->failed = true;
	else
		buf_printf(out, "  %-23s %9.1f s", left.data, (double)t->slot_ms / 1000);
	buf_free(&left);
	for (i = 0; i < COLUMNS; i++) {
		int64_t ms = value_of(t, &columns[i]);

		if (is_shown(r, &columns[i]))
			buf_printf(out, " %9.1f %5.1f%%", (double)ms / 1000, share(ms, t->slot_ms));
	}
	buf_char(out, '\n');
}

static void text_times(const struct report *r, struct buf *out)
{
	size_t i;

	buf_printf(out, "\n  %-23s %11s", "seconds of slots", "all");
	for (i = 0; i < COLUMNS; i++) {
		if (is_shown(r, &columns[i]))
			buf_printf(out, " %16s", columns[i].title);
	}
	buf_char(out, '\n');
	text_row(r, "run", "", &r->times, out);
	for (i = 0; i < r->n_stages; i++)
		text_row(r, "stage ", r->stage[i].stage.name, &r->stage[i].times, out);
	if (r->none.times.slot_ms > 0)
		text_row(r, "no stage", "", &r->none.times, out);
	for (i = 0; i < r->n_workers; i++) {
		char name[9];

		memcpy(name, r->worker[i].worker.name, 8);
		name[8] = '\0';
		text_row(r, "worker ", name, &r->worker[i].times, out);
	}
}

static void text_attempts(const struct ledger_stage *s, struct buf *out)
{
	int i;

	buf_str(out, "\n  attempts: ");
	str_count(out, s->attempts);
	for (i = 0; i < CAUSE_COUNT; i++) {
		if (s->ended[i] > 0)
			buf_printf(out, ", %lld %s", (long long)s->ended[i], cause_name((enum cause)i));
	}
	buf_char(out, '\n');
}

static void text_shards(const struct report *r, const char *title, const struct report_shard *list,
    size_t n, struct buf *out)
{
	size_t i;
	size_t k;

	if (n > 0)
		buf_printf(out, "\n  %s:\n", title);
	for (i = 0; i < n; i++) {
		const struct report_shard *s = &list[i];

		buf_str(out, "    ");
		if (r->n_stages > 1)
			buf_printf(out, "%s:", s->stage);
		str_display(out, s->name, strlen(s->name), 60);
		buf_printf(out, "  %.1f s in %d attempt%s:", (double)s->worst.ms / 1000,
		    s->worst.attempts, s->worst.attempts == 1 ? "" : "s");
		k = s->n_attempts > ATTEMPTS_SHOWN ? s->n_attempts - ATTEMPTS_SHOWN : 0;
		buf_str(out, k > 0 ? " ...," : "");
		for (; k < s->n_attempts; k++)
			buf_printf(out, " %s %.1f s%s", cause_name(s->attempt[k].cause),
			    (double)s->attempt[k].run_ms / 1000,
			    k + 1 < s->n_attempts ? "," : "");
		buf_char(out, '\n');
	}
}

/* Of machines of which something is known. */
static void text_machines(const struct report *r, struct buf *out)
{
	bool begun = false;
	size_t i;

	for (i = 0; i < r->n_workers; i++) {
		const struct ledger_worker *w = &r->worker[i].worker;

		if (w->node[0] == '\0' && w->zone[0] == '\0' && w->instance_type[0] == '\0' &&
		    w->warned_boot_ms == 0 && w->taken_boot_ms == 0)
			continue;
		buf_str(out, begun ? "" : "\n  machines:\n");
		buf_printf(out, "    worker %.8s (w%d), pool ", w->name, w->number);
		str_display(out, w->pool, strlen(w->pool), 0);
		buf_printf(out, "%s%s", w->lifecycle[0] == '\0' ? "" : " ", w->lifecycle);
		pools_worker_text(w, out);
		buf_char(out, '\n');
		begun = true;
	}
}

static void text_events(const struct report *r, struct buf *out)
{
	size_t i;

	if (r->n_events > 0)
		buf_str(out, "\n  what happened:\n");
	for (i = 0; i < r->n_events; i++) {
		const struct ledger_event *ev = &r->event[i];
		time_t at = (time_t)(ev->wall_ms / 1000);
		struct tm tm;
		char clock[32] = "";

		if (localtime_r(&at, &tm) != NULL)
			(void)strftime(clock, sizeof(clock), "%Y-%m-%d %H:%M:%S", &tm);
		buf_printf(out, "    %s  ", clock);
		if (r->n_workers > 0)
			buf_printf(out, "%+.1f s  ", (double)(ev->wall_ms -
			    r->worker[0].worker.joined_wall_ms) / 1000);
		buf_printf(out, "%s  ", ev->kind);
		str_display(out, ev->text, strlen(ev->text), 0);
		buf_char(out, '\n');
	}
}

void report_show_text(const struct report *r, const struct ledger_run *run, const char *state,
    struct buf *out)
{
	buf_printf(out, "%s %s  ", run->name, state);
	str_display(out, run->title, strlen(run->title), 80);
	buf_str(out, "\n  wall ");
	str_duration(out, r->wall_ms);
	buf_str(out, ", slots ");
	str_duration(out, r->times.slot_ms);
	buf_str(out, ", net ");
	str_duration(out, r->times.net_ms);
	if (r->times.net_ms > 0)
		buf_printf(out, ", overhead %.1f %%, wall over net %.3f",
		    report_overhead_percent(r), report_wall_over_net(r));
	buf_printf(out, "; %zu worker%s, generation %d\n", r->n_workers,
	    r->n_workers == 1 ? "" : "s", run->generation);
	text_times(r, out);
	text_attempts(&r->all, out);
	pools_text(&r->pools, out);
	text_machines(r, out);
	text_shards(r, "slowest", r->slowest, r->n_slowest, out);
	text_shards(r, "most interrupted", r->interrupted, r->n_interrupted, out);
	text_events(r, out);
}

/* ---- JSON ---- */

void report_json_times(const struct report_times *t, struct buf *out)
{
	size_t i;

	buf_printf(out, "\"slot_ms\":%lld,\"running_ms\":%lld", (long long)t->slot_ms,
	    (long long)t->running_ms);
	for (i = 0; i < COLUMNS; i++)
		buf_printf(out, ",\"%s_ms\":%lld", columns[i].key,
		    (long long)value_of(t, &columns[i]));
}

static void json_ended(const struct ledger_stage *s, struct buf *out)
{
	int i;

	buf_printf(out, "\"attempts\":%lld,\"ended\":{", (long long)s->attempts);
	for (i = 0; i < CAUSE_COUNT; i++)
		buf_printf(out, "%s\"%s\":%lld", i > 0 ? "," : "", cause_name((enum cause)i),
		    (long long)s->ended[i]);
	buf_char(out, '}');
}

static void json_stages(const struct report *r, struct buf *out)
{
	size_t i;

	buf_str(out, ",\"stages\":[");
	for (i = 0; i < r->n_stages; i++) {
		const struct report_stage *g = &r->stage[i];

		buf_str(out, i > 0 ? ",{\"name\":" : "{\"name\":");
		str_json(out, g->stage.name, strlen(g->stage.name));
		buf_char(out, ',');
		json_ended(&g->stage, out);
		buf_char(out, ',');
		report_json_times(&g->times, out);
		buf_char(out, '}');
	}
	buf_str(out, "],\"no_stage\":{");
	report_json_times(&r->none.times, out);
	buf_char(out, '}');
}

static void json_workers(const struct report *r, struct buf *out)
{
	size_t i;

	buf_str(out, ",\"workers\":[");
	for (i = 0; i < r->n_workers; i++) {
		const struct ledger_worker *w = &r->worker[i].worker;

		buf_str(out, i > 0 ? ",{\"name\":" : "{\"name\":");
		str_json(out, w->name, strlen(w->name));
		buf_str(out, ",\"pool\":");
		str_json(out, w->pool, strlen(w->pool));
		buf_str(out, ",\"lifecycle\":");
		str_json(out, w->lifecycle, strlen(w->lifecycle));
		pools_worker_json(w, out);
		buf_printf(out, ",\"pid\":%d,\"gone\":%s,\"slots\":%d,\"joined_ms\":%lld,"
		    "\"present_ms\":%lld,", w->pid, w->gone ? "true" : "false", w->slots,
		    (long long)w->joined_wall_ms, (long long)w->present_ms);
		report_json_times(&r->worker[i].times, out);
		buf_char(out, '}');
	}
	buf_char(out, ']');
}

static void json_attempts(const struct report_shard *s, struct buf *out)
{
	size_t i;

	buf_str(out, ",\"attempts\":[");
	for (i = 0; i < s->n_attempts; i++)
		buf_printf(out, "%s{\"cause\":\"%s\",\"run_ms\":%lld,\"kept_ms\":%lld,"
		    "\"checkpoint_ms\":%lld,\"restore_ms\":%lld}", i > 0 ? "," : "",
		    cause_name(s->attempt[i].cause), (long long)s->attempt[i].run_ms,
		    (long long)s->attempt[i].kept_ms, (long long)s->attempt[i].checkpoint_ms,
		    (long long)s->attempt[i].restore_ms);
	buf_char(out, ']');
}

static void json_worst(const char *key, const struct report_shard *list, size_t n,
    struct buf *out)
{
	size_t i;

	buf_printf(out, ",\"%s\":[", key);
	for (i = 0; i < n; i++) {
		const struct report_shard *s = &list[i];

		buf_str(out, i > 0 ? ",{\"stage\":" : "{\"stage\":");
		str_json(out, s->stage, strlen(s->stage));
		buf_str(out, ",\"name\":");
		str_json(out, s->name, strlen(s->name));
		buf_printf(out, ",\"run_ms\":%lld,\"longest_ms\":%lld,\"tries\":%d,"
		    "\"interruptions\":%d", (long long)s->worst.ms, (long long)s->worst.longest_ms,
		    s->worst.attempts, s->worst.interruptions);
		json_attempts(s, out);
		buf_char(out, '}');
	}
	buf_char(out, ']');
}

static void json_events(const struct report *r, struct buf *out)
{
	size_t i;

	buf_str(out, ",\"events\":[");
	for (i = 0; i < r->n_events; i++) {
		const struct ledger_event *ev = &r->event[i];

		buf_printf(out, "%s{\"time_ms\":%lld,\"kind\":", i > 0 ? "," : "",
		    (long long)ev->wall_ms);
		str_json(out, ev->kind, strlen(ev->kind));
		buf_str(out, ",\"text\":");
		str_json(out, ev->text, strlen(ev->text));
		buf_char(out, '}');
	}
	buf_char(out, ']');
}

void report_show_json(const struct report *r, const struct ledger_run *run, const char *state,
    struct buf *out)
{
	buf_printf(out, "{\"ebb_report\":1,\"run\":\"%s\",\"state\":\"%s\",\"generation\":%d,"
	    "\"title\":", run->name, state, run->generation);
	str_json(out, run->title, strlen(run->title));
	buf_printf(out, ",\"wall_ms\":%lld,\"away_slot_ms\":%lld,\"overhead_percent\":%.2f,"
	    "\"wall_over_net\":%.4f,", (long long)r->wall_ms, (long long)r->away_slot_ms,
	    report_overhead_percent(r), report_wall_over_net(r));
	report_json_times(&r->times, out);
	buf_char(out, ',');
	json_ended(&r->all, out);
	json_stages(r, out);
	json_workers(r, out);
	pools_json(&r->pools, out);
	json_worst("slowest", r->slowest, r->n_slowest, out);
	json_worst("most_interrupted", r->interrupted, r->n_interrupted, out);
	json_events(r, out);
	buf_str(out, "}\n");
}
