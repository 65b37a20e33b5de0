/* ebb shards: the shards of a run, one a line. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "cli/common.h"
#include "worker/name.h"

struct shards_values {
	const char *state_dir;
	const char *run;
	const char *state;
	int64_t limit;
	bool json;
};

static const struct option options[] = {
	{0, "state", OPTION_TEXT, offsetof(struct shards_values, state), "STATE",
	    "only: ready, leased, accepted, published, failed, set-aside"},
	{0, "run", OPTION_TEXT, offsetof(struct shards_values, run), "RUN",
	    "of this run (default: the newest)"},
	{'n', "limit", OPTION_COUNT, offsetof(struct shards_values, limit), "N",
	    "at most so many (default: all)", .min = 1, .max = INT64_MAX},
	{0, "json", OPTION_FLAG, offsetof(struct shards_values, json), NULL,
	    "one JSON object a line, attempts included"},
	{0, "state-dir", OPTION_TEXT, offsetof(struct shards_values, state_dir), "DIR",
	    "the state folder (default $EBB_STATE, else .ebb)"},
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

enum { PAGE = 256, ATTEMPTS = 20 };

static void json_attempt(const struct ledger_attempt *a, struct buf *b)
{
	buf_printf(b, "{\"epoch\":%lld,\"cause\":\"%s\",\"exit\":%d,\"signal\":%d,\"started_ms\":%lld,"
	    "\"run_ms\":%lld,\"cpu_ms\":%lld,\"max_rss_kib\":%lld,\"stdout_bytes\":%lld,"
	    "\"stderr_bytes\":%lld,\"note\":", (long long)a->epoch, cause_name(a->cause),
	    a->exit_code, a->exit_signal, (long long)a->started_wall_ms, (long long)a->run_ms,
	    (long long)a->cpu_ms, (long long)a->max_rss_kib, (long long)a->out_bytes,
	    (long long)a->err_bytes);
	str_json(b, a->note, strlen(a->note));
	buf_char(b, '}');
}

static void json_shard(const struct ledger_shard *s, const struct ledger_attempt *list, size_t n,
    struct buf *b)
{
	struct buf name = {0};
	size_t i;

	shard_name(s, &name);
	buf_printf(b, "{\"number\":%lld,\"shard\":", (long long)s->ordinal + 1);
	str_json(b, name.data == NULL ? "" : name.data, name.len);
	buf_printf(b, ",\"state\":\"%s\",\"epoch\":%lld,\"attempts\":%d",
	    shard_state_name(s->s.state), (long long)s->s.epoch, s->attempts);
	if (s->length >= 0)
		buf_printf(b, ",\"offset\":%lld,\"length\":%lld", (long long)s->offset,
		    (long long)s->length);
	if (s->final != NULL) {
		buf_str(b, ",\"output\":");
		str_json(b, s->final, strlen(s->final));
	}
	buf_str(b, ",\"history\":[");
	for (i = 0; i < n; i++) {
		if (i > 0)
			buf_char(b, ',');
		json_attempt(&list[i], b);
	}
	buf_str(b, "]}\n");
	buf_free(&name);
}

static void text_shard(const struct ledger_shard *s, const struct ledger_attempt *last,
    struct buf *b)
{
	struct buf name = {0};

	shard_name(s, &name);
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

static enum status show(struct common_view *view, const struct shards_values *v,
    const struct ledger_shard *s, struct buf *b, struct error *e)
{
	struct ledger_attempt list[ATTEMPTS];
	size_t n = 0;
	enum status st = ledger_attempts(view->ledger, s->row, v->json ? ATTEMPTS : 1, list, &n, e);

	if (st != ST_OK)
		return st;
	if (v->json)
		json_shard(s, list, n, b);
	else
		text_shard(s, n > 0 ? &list[n - 1] : NULL, b);
	return buf_check(b, e);
}

static enum status show_all(struct common_view *view, const struct shards_values *v, int state,
    struct error *e)
{
	struct ledger_shard page[PAGE];
	struct ledger_query q = {.stage = view->stage.id, .state = state, .ordinal = -1};
	int64_t left = v->limit;
	enum status st;
	size_t n;

	do {
		struct buf b = {0};
		size_t i;

		q.max = left < PAGE ? (size_t)left : PAGE;
		n = q.max;
		st = ledger_shards(view->ledger, &q, page, &n, e);
		if (st != ST_OK)
			return st;
		for (i = 0; i < n; i++) {
			if (st == ST_OK)
				st = show(view, v, &page[i], &b, e);
			q.from = page[i].ordinal + 1;
			ledger_shard_free(&page[i]);
		}
		left -= (int64_t)n;
		if (st == ST_OK && common_print(&b) != EXIT_DONE)
			return ST_OK;
	} while (st == ST_OK && n == PAGE && left > 0);
	return st;
}

static int run(int argc, char **argv)
{
	struct shards_values v = {.limit = INT64_MAX};
	struct common_view view;
	enum shard_state wanted = SHARD_READY;
	struct error e;
	int code;
	int next;
	enum status st = ST_OK;

	if (!common_parse(&verb_shards, argc, argv, &v, &next, &code))
		return code;
	if (next < argc && v.run == NULL)
		v.run = argv[next];
	if (v.state != NULL && !shard_state_of_name(v.state, &wanted)) {
		log_line(LOG_ERROR, "--state: no state \"%.60s\"; there are ready, leased, accepted, "
		    "published, failed, set-aside (--state-dir names the folder)", v.state);
		return EXIT_BAD_USAGE;
	}
	st = common_view_open(v.state_dir, v.run, false, &view, &e);
	if (st != ST_OK)
		return common_fail(st, &e);
	st = show_all(&view, &v, v.state == NULL ? -1 : (int)wanted, &e);
	common_view_close(&view);
	return st == ST_OK ? EXIT_DONE : common_fail(st, &e);
}

const struct verb verb_shards = {
	.name = "shards",
	.usage = "ebb shards [options] [RUN]",
	.summary = "ebb shards: the shards of a run: number, state, attempts, name, how it ended",
	.text = "examples:\n  ebb shards --state failed\n  ebb shards --json r7 | jq .history\n",
	.options = options,
	.run = run,
};
