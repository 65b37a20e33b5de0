#include "cli/common.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "worker/name.h"

const char *common_state_dir(const char *option)
{
	const char *env = getenv("EBB_STATE");

	if (option != NULL && option[0] != '\0')
		return option;
	return env != NULL && env[0] != '\0' ? env : ".ebb";
}

int common_fail(enum status st, const struct error *e)
{
	log_line(LOG_ERROR, "%s", e->text);
	switch (st) {
	case ST_OK:
		return EXIT_DONE;
	case ST_CONFIG:
	case ST_NOT_FOUND:
	case ST_EXISTS:
	case ST_CORRUPT:
		return EXIT_BAD_USAGE;
	default:
		return EXIT_UNREACHABLE;
	}
}

bool common_parse(const struct verb *v, int argc, char **argv, void *values, int *next,
    int *code)
{
	struct error e;
	bool help;
	enum status st = options_parse(v, argc, argv, values, next, &help, &e);

	if (st == ST_OK && help) {
		struct buf b = {0};

		options_help(v, &b);
		*code = common_print(&b);
		return false;
	}
	if (st != ST_OK) {
		*code = common_fail(st, &e);
		return false;
	}
	return true;
}

enum status common_view_open(const char *state_option, const char *run, bool writable,
    struct common_view *out, struct error *e)
{
	struct ledger_options lo = {.read_only = !writable, .busy_ms = 5000};
	struct buf path = {0};
	enum status st;

	memset(out, 0, sizeof(*out));
	st = state_open(common_state_dir(state_option), false, &out->state, e);
	if (st == ST_OK) {
		state_path(out->state, &path, "ledger.db");
		st = buf_check(&path, e);
	}
	if (st == ST_OK)
		st = ledger_open(path.data, &lo, &out->ledger, e);
	if (st == ST_NOT_FOUND && out->state != NULL)
		st = error_set(e, ST_NOT_FOUND, "no run has been started in %s yet",
		    state_dir(out->state));
	if (st == ST_OK)
		st = ledger_run_by_name(out->ledger, run == NULL ? "" : run, &out->run, e);
	if (st == ST_OK)
		st = ledger_stage_get(out->ledger, out->run.stage, &out->stage, e);
	buf_free(&path);
	if (st != ST_OK)
		common_view_close(out);
	return st;
}

void common_view_close(struct common_view *v)
{
	ledger_run_free(&v->run);
	ledger_close(v->ledger);
	state_close(v->state);
	memset(v, 0, sizeof(*v));
}

static bool name_is(const struct ledger_shard *s, const char *word)
{
	struct buf name = {0};
	bool same;

	shard_name(s, &name);
	same = !name.failed && name.data != NULL && strcmp(name.data, word) == 0;
	buf_free(&name);
	return same;
}

enum { CANDIDATES = 64 };

/* Of the shards whose item begins with the word: the one of exactly that name,
 * else the only one. */
static enum status choose(struct ledger_shard *list, size_t n, const char *word,
    struct ledger_shard *out, struct error *e)
{
	struct buf some = {0};
	size_t i;

	for (i = 0; i < n; i++) {
		if (name_is(&list[i], word) || n == 1) {
			*out = list[i];
			memset(&list[i], 0, sizeof(list[i]));
			return ST_OK;
		}
	}
	for (i = 0; i < n && i < 5; i++) {
		if (i > 0)
			buf_str(&some, ", ");
		shard_name(&list[i], &some);
	}
	(void)error_set(e, ST_CONFIG, "\"%.100s\" fits %s%zu shards: %s%s", word,
	    n == CANDIDATES ? "at least " : "", n, some.data == NULL ? "" : some.data,
	    n > 5 ? ", ..." : "");
	buf_free(&some);
	return ST_CONFIG;
}

static enum status find_by_text(struct common_view *v, const char *word, size_t prefix_len,
    struct ledger_shard *out, struct error *e)
{
	struct ledger_shard list[CANDIDATES];
	struct ledger_query q = {.stage = v->stage.id, .state = -1, .ordinal = -1,
	    .item_prefix = word, .item_prefix_len = prefix_len, .max = CANDIDATES};
	size_t n = CANDIDATES;
	enum status st = ledger_shards(v->ledger, &q, list, &n, e);
	size_t i;

	if (st != ST_OK)
		return st;
	st = n == 0 ? error_set(e, ST_NOT_FOUND, "%s has no shard named \"%.100s\"; "
	    "ebb shards lists them", v->run.name, word) : choose(list, n, word, out, e);
	for (i = 0; i < n; i++)
		ledger_shard_free(&list[i]);
	return st;
}

enum status common_find_shard(struct common_view *v, const char *word, struct ledger_shard *out,
    struct error *e)
{
	const char *hash = strrchr(word, '#');
	struct error ignored;
	int64_t number;
	enum status st;

	st = find_by_text(v, word, hash == NULL ? strlen(word) : (size_t)(hash - word), out, e);
	if (st != ST_OK && str_parse_count(word, 1, INT64_MAX, &number, &ignored) == ST_OK) {
		struct ledger_query q = {.stage = v->stage.id, .state = -1,
		    .ordinal = number - 1, .max = 1};
		size_t n = 1;

		if (ledger_shards(v->ledger, &q, out, &n, e) == ST_OK && n == 1)
			return ST_OK;
		return error_set(e, ST_NOT_FOUND, "%s has no shard number %lld", v->run.name,
		    (long long)number);
	}
	return st;
}

void common_log_path(const struct common_view *v, int64_t row, int64_t epoch, struct buf *out)
{
	state_path(v->state, out, "runs/%s/logs/%lld/%lld.err", v->run.name, (long long)row,
	    (long long)epoch);
}

int common_print(struct buf *out)
{
	int code = EXIT_DONE;

	if (out->failed) {
		log_line(LOG_ERROR, "out of memory");
		code = EXIT_UNREACHABLE;
	} else if (out->len > 0 && (fwrite(out->data, 1, out->len, stdout) != out->len || fflush(stdout) != 0)) {
		if (errno != EPIPE)
			log_line(LOG_ERROR, "cannot write to stdout: %s", strerror(errno));
		code = EXIT_UNREACHABLE;
	}
	buf_free(out);
	return code;
}
