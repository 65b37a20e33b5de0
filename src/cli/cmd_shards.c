/* ebb shards: the shards of a run, one a line. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cli/common.h"
#include "worker/name.h"

struct shards_values {
	struct option_texts state;
	const char *run;
	const char *stage;
	int64_t limit;
	bool json;
};

static const struct option shards_options[] = {
	{0, "state", OPTION_TEXTS, offsetof(struct shards_values, state), "STATE",
	    "only: ready, leased, accepted, published, failed, set-aside;\n"
	    "                          anything else names the state folder, as for other verbs"},
	{0, "run", OPTION_TEXT, offsetof(struct shards_values, run), "RUN",
	    "of this run (default: the newest)"},
	{0, "stage", OPTION_TEXT, offsetof(struct shards_values, stage), "NAME",
	    "of that stage only (default: of all, in order, named STAGE:NAME)"},
	{'n', "limit", OPTION_COUNT, offsetof(struct shards_values, limit), "N",
	    "at most so many (default: all)", .min = 1, .max = INT64_MAX},
	{0, "json", OPTION_FLAG, offsetof(struct shards_values, json), NULL,
	    "one JSON object a line, attempts included"},
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

enum { SHARDS_PAGE = 256, ATTEMPTS_SHOWN = 20 };

struct shown_shard {
	const struct common_view *view;
	size_t stage;
	const struct ledger_shard *s;
};

static void json_attempt(const struct ledger_attempt *a, struct buf *b)
{
	buf_printf(b, "{\"epoch\":%lld,\"cause\":\"%s\",\"exit\":%d,\"signal\":%d,\"started_ms\":%lld,"
	    "\"run_ms\":%lld,\"cpu_ms\":%lld,\"max_rss_kib\":%lld,\"stdout_bytes\":%lld,"
	    "\"stderr_bytes\":%lld,\"by_notice\":%s,\"note\":", (long long)a->epoch, cause_name(a->cause),
	    a->exit_code, a->exit_signal, (long long)a->started_wall_ms, (long long)a->run_ms,
	    (long long)a->cpu_ms, (long long)a->max_rss_kib, (long long)a->out_bytes,
	    (long long)a->err_bytes, a->by_notice ? "true" : "false");
	str_json(b, a->note, strlen(a->note));
	buf_char(b, '}');
}

static void json_shard(const struct shown_shard *shown, const struct ledger_attempt *list, size_t n,
    struct buf *b)
{
	const struct ledger_shard *s = shown->s;
	const char *stage = shown->view->stage[shown->stage].name;
	struct buf name = {0};
	size_t i;

	shard_name(s, &name);
	buf_printf(b, "{\"number\":%lld,\"stage\":", (long long)s->ordinal + 1);
	str_json(b, stage, strlen(stage));
	buf_str(b, ",\"name\":");
	str_json(b, name.data == NULL ? "" : name.data, name.len);
	buf_printf(b, ",\"state\":\"%s\",\"epoch\":%lld,\"tries\":%d,\"taken\":%d,\"on_demand\":%s",
	    shard_state_name(s->s.state), (long long)s->s.epoch, s->attempts, s->s.taken,
	    s->s.asks ? "true" : "false");
	if (s->length >= 0)
		buf_printf(b, ",\"offset\":%lld,\"length\":%lld", (long long)s->offset,
		    (long long)s->length);
	if (s->final != NULL) {
		buf_str(b, ",\"output\":");
		str_json(b, s->final, strlen(s->final));
	}
	buf_str(b, ",\"attempts\":[");
	for (i = 0; i < n; i++) {
		if (i > 0)
			buf_char(b, ',');
		json_attempt(&list[i], b);
	}
	buf_str(b, "]}\n");
	buf_free(&name);
}

static void text_shard(const struct shown_shard *shown, const struct ledger_attempt *last,
    struct buf *b)
{
	const struct ledger_shard *s = shown->s;
	struct buf name = {0};

	common_shard_name(shown->view, shown->stage, s, &name);
	buf_printf(b, "%7lld  %-9s %3d  ", (long long)s->ordinal + 1,
	    shard_state_name(s->s.state), s->attempts);
	str_display(b, name.data == NULL ? "" : name.data, name.len, 120);
	if (last != NULL && last->cause != CAUSE_DONE) {
		buf_printf(b, "  %s", cause_name(last->cause));
		if (last->exit_signal > 0)
			buf_printf(b, " signal %d", last->exit_signal);
		else if (last->exit_code > 0)
			buf_printf(b, " exit %d", last->exit_code);
		if (last->note[0] != '\0')
			buf_printf(b, "  \"%s\"", last->note);
	}
	buf_char(b, '\n');
	buf_free(&name);
}

static enum status show_shard(const struct shown_shard *shown, const struct shards_values *v,
    struct buf *b, struct error *e)
{
	struct ledger_attempt list[ATTEMPTS_SHOWN];
	size_t n = 0;
	enum status st = ledger_attempts(shown->view->ledger, shown->s->row,
	    v->json ? ATTEMPTS_SHOWN : 1, list, &n, e);

	if (st != ST_OK)
		return st;
	if (v->json)
		json_shard(shown, list, n, b);
	else
		text_shard(shown, n > 0 ? &list[n - 1] : NULL, b);
	return buf_check(b, e);
}

/* At most *left shards of one stage. The exit code. */
static int show_stage(struct common_view *view, size_t stage, const struct shards_values *v,
    int state, int64_t *left)
{
	struct ledger_shard page[SHARDS_PAGE];
	struct ledger_query q = {.stage = view->stage[stage].id, .state = state, .ordinal = -1};
	struct error e;
	enum status st;
	int code;
	size_t n;

	do {
		struct buf b = {0};
		size_t i;

		q.max = *left < SHARDS_PAGE ? (size_t)*left : SHARDS_PAGE;
		n = q.max;
		st = ledger_shards(view->ledger, &q, page, &n, &e);
		for (i = 0; i < n; i++) {
			const struct shown_shard shown = {view, stage, &page[i]};

			if (st == ST_OK)
				st = show_shard(&shown, v, &b, &e);
			q.from = page[i].ordinal + 1;
			ledger_shard_free(&page[i]);
		}
		*left -= (int64_t)n;
		if (st != ST_OK) {
			buf_free(&b);
			return common_fail(st, &e);
		}
		code = common_print(&b);
	} while (code == EXIT_DONE && n == SHARDS_PAGE && *left > 0);
	return code;
}

static int show_all(struct common_view *view, const struct shards_values *v, int state)
{
	int64_t left = v->limit;
	int code = EXIT_DONE;
	size_t i;

	for (i = view->first; code == EXIT_DONE && left > 0 && i < view->end; i++)
		code = show_stage(view, i, v, state, &left);
	return code;
}

static int shards_main(int argc, char **argv)
{
	struct shards_values v = {.limit = INT64_MAX};
	struct common_view view;
	enum shard_state wanted = SHARD_READY;
	const char *folder = NULL;
	bool only = false;
	size_t i;
	struct error e;
	int code;
	const char *words[COMMON_WORDS_MAX + 1];
	enum status st;

	if (!common_parse(&verb_shards, argc, argv, &v, words, &code))
		return code;
	if (words[0] != NULL && v.run == NULL)
		v.run = words[0];
	for (i = 0; i < v.state.n; i++) {
		if (shard_state_of_name(v.state.list[i], &wanted))
			only = true;
		else
			folder = v.state.list[i];
	}
	free(v.state.list);
	st = common_view_open(folder, v.run, false, &view, &e);
	if (st != ST_OK)
		return common_fail(st, &e);
	st = common_view_select(&view, v.stage, &e);
	code = st == ST_OK ? show_all(&view, &v, only ? (int)wanted : -1) : common_fail(st, &e);
	common_view_close(&view);
	return code;
}

const struct verb verb_shards = {
	.name = "shards",
	.max_words = 1,
	.usage = "ebb shards [options] [RUN]",
	.summary = "ebb shards: the shards of a run: number, state, attempts, name, how it ended",
	.text = "examples:\n  ebb shards --state failed\n  ebb shards --json r7 | jq .attempts\n",
	.options = shards_options,
	.run = shards_main,
};
