/* A verdict as text, JSON and JUnit's XML. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "chaos/fleet.h"
#include "chaos/verdict.h"

static const struct {
	const char *name;
	const char *title; /* of a JUnit case */
} verdict_check_words[CHECKS] = {
	[CHECK_FINISHED] = {"finished", "the pipeline finishes"},
	[CHECK_LOST] = {"lost", "no shard is lost"},
	[CHECK_TWICE] = {"twice", "no shard is accepted twice"},
	[CHECK_BYTES] = {"bytes", "the bytes are those without interruptions"},
	[CHECK_MANIFESTS] = {"manifests", "the manifests agree with the files"},
	[CHECK_LEFT] = {"left-running", "no process is left running"},
	[CHECK_DISTURBED] = {"disturbed", "it was interrupted"},
};

static const char *const verdict_result_words[] = {
	[CHECK_HOLDS] = "ok", [CHECK_FAILS] = "failed", [CHECK_SKIPPED] = "skipped",
};

static const char *verdict_check_text(const struct verdict *v, size_t i)
{
	const struct buf *b = &v->check[i].text;

	return b->failed || b->data == NULL ? "" : b->data;
}

/* ---- figures ---- */

struct verdict_tally {
	int64_t done;
	int64_t heard;
	int64_t missed;
};

static struct verdict_tally verdict_tally_of(const struct verdict *v, int kind)
{
	struct verdict_tally t = {0};
	size_t i;

	for (i = 0; i < v->n_blows; i++) {
		if ((int)v->blow[i].kind != kind)
			continue;
		t.done++;
		t.missed += v->blow[i].missed;
		t.heard += v->felt != NULL && v->felt[i].heard_ms >= 0;
	}
	return t;
}

static int verdict_by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a;
	int64_t y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

struct verdict_safe {
	size_t n;
	int64_t p50_ms;
	int64_t max_ms;
};

/* From the notice until nothing was in hand any more. */
static struct verdict_safe verdict_safe_of(const struct verdict *v)
{
	int64_t *list = v->felt == NULL ? NULL : mem_zero((v->n_blows + 1) * sizeof(*list));
	struct verdict_safe s = {0};
	size_t i;

	for (i = 0; list != NULL && i < v->n_blows; i++) {
		if (v->felt[i].safe_ms >= 0)
			list[s.n++] = v->felt[i].safe_ms;
	}
	if (s.n > 0) {
		qsort(list, s.n, sizeof(*list), verdict_by_size);
		s.p50_ms = list[(s.n - 1) / 2];
		s.max_ms = list[s.n - 1];
	}
	free(list);
	return s;
}

/* ---- text ---- */

static bool verdict_is_announced(int kind)
{
	return kind != ACTION_KILL && kind != ACTION_FREEZE;
}

static void verdict_text_blows(const struct verdict *v, struct buf *out)
{
	bool first = true;
	int kind;

	buf_str(out, "interruptions: ");
	for (kind = 0; kind < ACTION_KINDS; kind++) {
		struct verdict_tally t = verdict_tally_of(v, kind);

		if (t.done == 0)
			continue;
		buf_printf(out, "%s%lld %s", first ? "" : ", ", (long long)t.done,
		    action_name((enum action_kind)kind));
		if (verdict_is_announced(kind))
			buf_printf(out, " (%lld heard, %lld missed the deadline)", (long long)t.heard,
			    (long long)t.missed);
		first = false;
	}
	buf_str(out, first ? "none\n" : "\n");
}

static void verdict_text_times(const struct verdict *v, struct buf *out)
{
	struct verdict_safe s = verdict_safe_of(v);

	if (s.n > 0) {
		buf_str(out, "notice to safe: p50 ");
		str_duration(out, s.p50_ms);
		buf_str(out, ", max ");
		str_duration(out, s.max_ms);
		buf_printf(out, " (%zu)\n", s.n);
	}
	buf_str(out, "time: ");
	str_duration(out, v->wall_ms);
	if (v->reference_ms >= 0) {
		buf_str(out, " (");
		str_duration(out, v->reference_ms);
		buf_str(out, " without interruptions)");
	}
	buf_str(out, "; net ");
	str_duration(out, v->net_ms);
	buf_str(out, ", lost ");
	str_duration(out, v->lost_ms);
	buf_printf(out, ", wall over net %.2f\n", v->wall_over_net);
}

void verdict_text(const struct verdict *v, struct buf *out)
{
	size_t i;

	buf_printf(out, "verdict: %s\n", verdict_holds(v) ? "ok" : verdict_is_inconclusive(v)
	    ? "INCONCLUSIVE" : "FAILED");
	for (i = 0; i < CHECKS; i++)
		buf_printf(out, "  %-13s %-8s %s\n", verdict_check_words[i].name,
		    verdict_result_words[v->check[i].result], verdict_check_text(v, i));
	verdict_text_blows(v, out);
	verdict_text_times(v, out);
	if (v->uncompared.len > 0)
		buf_printf(out, "not compared: what goes to stdout, of stage %s\n", v->uncompared.data);
	if (v->cloud != NULL)
		buf_printf(out, "fleet: %d machines on %s, %d instances in all; --seed %lld\n",
		    v->machines, v->cloud, v->instances, (long long)v->seed);
	else
		buf_printf(out, "fleet: %d workers; --seed %lld\n", v->machines, (long long)v->seed);
	if (v->folder != NULL)
		buf_printf(out, "kept: %s\n", v->folder);
}

/* ---- JSON ---- */

static void verdict_json_text(struct buf *out, const char *key, const char *text)
{
	buf_printf(out, "\"%s\":", key);
	if (text == NULL)
		buf_str(out, "null");
	else
		str_json(out, text, strlen(text));
}

static void verdict_json_checks(const struct verdict *v, struct buf *out)
{
	size_t i;

	buf_str(out, ",\"checks\":[");
	for (i = 0; i < CHECKS; i++) {
		buf_printf(out, "%s{\"name\":\"%s\",\"result\":\"%s\",", i > 0 ? "," : "",
		    verdict_check_words[i].name, verdict_result_words[v->check[i].result]);
		verdict_json_text(out, "text", verdict_check_text(v, i));
		buf_char(out, '}');
	}
	buf_char(out, ']');
}

static void verdict_json_blow(const struct verdict *v, size_t i, struct buf *out)
{
	const struct blow *b = &v->blow[i];
	struct felt none = {-1, -1};
	const struct felt *f = v->felt == NULL ? &none : &v->felt[i];

	buf_printf(out, "%s{\"kind\":\"%s\",\"machine\":%d,\"pid\":%d,\"at_ms\":%lld", i > 0 ? "," : "",
	    action_name(b->kind), b->machine, b->pid, (long long)(b->boot_ms - v->zero_ms));
	if (b->deadline_ms != 0)
		buf_printf(out, ",\"given_ms\":%lld,\"missed\":%s",
		    (long long)(b->deadline_ms - b->boot_ms), b->missed ? "true" : "false");
	if (f->heard_ms >= 0)
		buf_printf(out, ",\"heard_ms\":%lld", (long long)f->heard_ms);
	if (f->safe_ms >= 0)
		buf_printf(out, ",\"safe_ms\":%lld", (long long)f->safe_ms);
	buf_char(out, '}');
}

static void verdict_json_counts(const struct verdict *v, struct buf *out)
{
	int kind;

	buf_str(out, ",\"interruptions\":{");
	for (kind = 0; kind < ACTION_KINDS; kind++) {
		struct verdict_tally t = verdict_tally_of(v, kind);

		buf_printf(out, "%s\"%s\":{\"done\":%lld,\"heard\":%lld,\"missed\":%lld}",
		    kind > 0 ? "," : "", action_name((enum action_kind)kind), (long long)t.done,
		    (long long)t.heard, (long long)t.missed);
	}
	buf_char(out, '}');
}

void verdict_json(const struct verdict *v, struct buf *out)
{
	struct verdict_safe s = verdict_safe_of(v);
	size_t i;

	buf_printf(out, "{\"ebb_chaos\":1,\"ok\":%s,\"inconclusive\":%s,\"seed\":%lld,",
	    verdict_holds(v) ? "true" : "false", verdict_is_inconclusive(v) ? "true" : "false",
	    (long long)v->seed);
	verdict_json_text(out, "cloud", v->cloud);
	buf_printf(out, ",\"machines\":%d,\"instances\":%d", v->machines, v->instances);
	verdict_json_checks(v, out);
	verdict_json_counts(v, out);
	buf_str(out, ",\"safe_ms\":");
	if (s.n > 0)
		buf_printf(out, "{\"n\":%zu,\"p50\":%lld,\"max\":%lld}", s.n, (long long)s.p50_ms,
		    (long long)s.max_ms);
	else
		buf_str(out, "null");
	buf_printf(out, ",\"wall_ms\":%lld,\"reference_ms\":", (long long)v->wall_ms);
	if (v->reference_ms >= 0)
		buf_printf(out, "%lld", (long long)v->reference_ms);
	else
		buf_str(out, "null");
	buf_printf(out, ",\"net_ms\":%lld,\"lost_ms\":%lld,\"wall_over_net\":%.4f,"
	    "\"overhead_percent\":%.2f,", (long long)v->net_ms, (long long)v->lost_ms,
	    v->wall_over_net, v->overhead_percent);
	verdict_json_text(out, "not_compared", v->uncompared.len > 0 ? v->uncompared.data : NULL);
	buf_char(out, ',');
	verdict_json_text(out, "folder", v->folder);
	buf_str(out, ",\"blows\":[");
	for (i = 0; i < v->n_blows; i++)
		verdict_json_blow(v, i, out);
	buf_str(out, "]}\n");
}

void verdict_json_error(const char *why, const char *folder, struct buf *out)
{
	buf_str(out, "{\"ebb_chaos\":1,\"ok\":false,\"inconclusive\":false,");
	verdict_json_text(out, "error", why);
	buf_char(out, ',');
	verdict_json_text(out, "folder", folder);
	buf_str(out, "}\n");
}

/* ---- JUnit ---- */

/* For an attribute. Control characters cannot stand in XML at all. */
static void junit_text(const char *text, struct buf *out)
{
	struct buf shown = {0};
	size_t i;

	str_display(&shown, text, strlen(text), 0);
	for (i = 0; !shown.failed && i < shown.len; i++) {
		char c = shown.data[i];

		if (c == '&')
			buf_str(out, "&amp;");
		else if (c == '<')
			buf_str(out, "&lt;");
		else if (c == '>')
			buf_str(out, "&gt;");
		else if (c == '"')
			buf_str(out, "&quot;");
		else
			buf_char(out, c);
	}
	out->failed = out->failed || shown.failed;
	buf_free(&shown);
}

static void junit_case(const struct verdict *v, size_t i, struct buf *out)
{
	enum check_result r = v->check[i].result;

	buf_printf(out, "  <testcase classname=\"ebb.chaos\" name=\"%s: %s\"", verdict_check_words[i].name,
	    verdict_check_words[i].title);
	if (r == CHECK_HOLDS) {
		buf_str(out, "/>\n");
		return;
	}
	buf_printf(out, "><%s message=\"", r == CHECK_FAILS ? "failure" : "skipped");
	junit_text(verdict_check_text(v, i), out);
	buf_str(out, "\"/></testcase>\n");
}

void verdict_junit(const struct verdict *v, struct buf *out)
{
	size_t n[3] = {0};
	struct buf text = {0};
	size_t i;

	for (i = 0; i < CHECKS; i++)
		n[v->check[i].result]++;
	buf_printf(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"ebb chaos run\" "
	    "tests=\"%d\" failures=\"%zu\" errors=\"0\" skipped=\"%zu\" time=\"%.3f\">\n", CHECKS,
	    n[CHECK_FAILS], n[CHECK_SKIPPED], (double)v->wall_ms / 1000);
	for (i = 0; i < CHECKS; i++)
		junit_case(v, i, out);
	verdict_text(v, &text);
	buf_str(out, "  <system-out>");
	for (i = 0; !text.failed && i < text.len;) {
		size_t len = strcspn(text.data + i, "\n");
		char *line = mem_dup(text.data + i, len);

		if (line != NULL)
			junit_text(line, out);
		buf_char(out, '\n');
		out->failed = out->failed || line == NULL;
		free(line);
		i += len + 1;
	}
	buf_str(out, "</system-out>\n</testsuite>\n");
	out->failed = out->failed || text.failed;
	buf_free(&text);
}

void verdict_junit_error(const char *why, struct buf *out)
{
	buf_str(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"ebb chaos run\" "
	    "tests=\"1\" failures=\"0\" errors=\"1\" skipped=\"0\">\n"
	    "  <testcase classname=\"ebb.chaos\" name=\"held: the rehearsal could be held\">"
	    "<error message=\"");
	junit_text(why, out);
	buf_str(out, "\"/></testcase>\n</testsuite>\n");
}
