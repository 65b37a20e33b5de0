#include "cli/common.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

enum status common_absolute(const char *path, struct buf *out, struct error *e)
{
	char cwd[PATH_MAX];

	if (path == NULL || path[0] == '\0')
		return ST_OK;
	if (path[0] != '/') {
		if (getcwd(cwd, sizeof(cwd)) == NULL)
			return error_os(e, errno, "cannot tell the current folder");
		buf_printf(out, "%s/", cwd);
	}
	buf_str(out, path);
	return buf_check(out, e);
}

enum status common_enter_run(const struct state *state, const struct ledger_run *run,
    struct error *e)
{
	char real[PATH_MAX];
	struct buf dir = {0};
	enum status st;

	if (realpath(state_dir(state), real) == NULL)
		return error_os(e, errno, "cannot resolve %s", state_dir(state));
	buf_printf(&dir, "%s/../%s", real, run->place);
	st = buf_check(&dir, e);
	if (st == ST_OK && chdir(dir.data) == -1)
		st = error_os(e, errno, "cannot change to the folder of %s, %s", run->name, dir.data);
	buf_free(&dir);
	return st;
}

enum status common_grace(int64_t option, int64_t *ms, struct error *e)
{
	const char *env = getenv("EBB_GRACE");
	enum status st;

	*ms = option >= 0 ? option : 30000;
	if (option >= 0 || env == NULL || env[0] == '\0')
		return ST_OK;
	st = str_parse_duration(env, ms, e);
	return st == ST_OK ? ST_OK : error_prefix(e, st, "EBB_GRACE");
}

enum status common_check_pool(const char *pool, struct error *e)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	    "0123456789._-";

	if (pool == NULL || (pool[0] != '\0' && strlen(pool) < LEDGER_NAME_MAX &&
	    strspn(pool, allowed) == strlen(pool)))
		return ST_OK;
	return error_set(e, ST_CONFIG, "--pool: \"%.60s\" is not a name of up to %d letters, "
	    "digits, \".\", \"_\" and \"-\"", pool, LEDGER_NAME_MAX - 1);
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

static enum status add_word(const struct verb *v, const char *word, const char **words, int *n,
    struct error *e)
{
	if (*n >= v->max_words || *n >= COMMON_WORDS_MAX)
		return error_set(e, ST_CONFIG, "one word too many: \"%.60s\"; usage: %s", word,
		    v->usage);
	words[(*n)++] = word;
	return ST_OK;
}

static enum status parse_all(const struct verb *v, int argc, char **argv, void *values,
    const char **words, bool *help, struct error *e)
{
	bool only_words = false;
	int n = 0;
	int at = 0;
	enum status st = ST_OK;

	*help = false;
	while (st == ST_OK && !*help) {
		int next = 1;

		if (!only_words)
			st = options_parse(v, argc - at, argv + at, values, &next, help, e);
		at += next;
		if (st != ST_OK || *help || at >= argc)
			break;
		if (!only_words && strcmp(argv[at], "--") == 0)
			only_words = true;
		else
			st = add_word(v, argv[at], words, &n, e);
	}
	words[n] = NULL;
	return st;
}

bool common_parse(const struct verb *v, int argc, char **argv, void *values,
    const char *words[COMMON_WORDS_MAX + 1], int *code)
{
	struct error e;
	bool help;
	enum status st = parse_all(v, argc, argv, values, words, &help, &e);

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

enum { SEARCH_PAGE = 64, CANDIDATES_SHOWN = 5 };

/* Shards whose item begins with what is looked for. */
struct search {
	const char *word;
	size_t n;
	struct ledger_shard first;
	bool exact;      /* `first` is the one of exactly that name */
	struct buf some; /* names of the first ones */
};

/* Moves the shard into the search, or frees it. */
static void consider(struct search *s, struct ledger_shard *take_shard)
{
	bool exact = name_is(take_shard, s->word);

	if (s->n < CANDIDATES_SHOWN) {
		buf_str(&s->some, s->n > 0 ? ", " : "");
		shard_name(take_shard, &s->some);
	}
	if (!s->exact && (exact || s->n == 0)) {
		ledger_shard_free(&s->first);
		s->first = *take_shard;
		s->exact = exact;
	} else {
		ledger_shard_free(take_shard);
	}
	s->n++;
}

static enum status search_all(struct common_view *v, size_t prefix_len, struct search *s,
    struct error *e)
{
	struct ledger_shard page[SEARCH_PAGE];
	struct ledger_query q = {.stage = v->stage.id, .state = -1, .ordinal = -1,
	    .item_prefix = s->word, .item_prefix_len = prefix_len, .max = SEARCH_PAGE};
	enum status st;
	size_t n;
	size_t i;

	do {
		st = ledger_shards(v->ledger, &q, page, &n, e);
		for (i = 0; st == ST_OK && i < n; i++) {
			q.from = page[i].ordinal + 1;
			consider(s, &page[i]);
		}
	} while (st == ST_OK && n == SEARCH_PAGE && !s->exact);
	return st;
}

static enum status find_by_text(struct common_view *v, const char *word, size_t prefix_len,
    struct ledger_shard *out, struct error *e)
{
	struct search s = {.word = word};
	enum status st = search_all(v, prefix_len, &s, e);

	if (st == ST_OK && s.n == 0)
		st = error_set(e, ST_NOT_FOUND, "%s has no shard named \"%.100s\"; "
		    "ebb shards lists them", v->run.name, word);
	else if (st == ST_OK && !s.exact && s.n > 1)
		st = error_set(e, ST_CONFIG, "\"%.100s\" fits %zu shards: %s%s", word, s.n,
		    s.some.failed ? "" : s.some.data, s.n > CANDIDATES_SHOWN ? ", ..." : "");
	if (st == ST_OK)
		*out = s.first;
	else
		ledger_shard_free(&s.first);
	buf_free(&s.some);
	return st;
}

static enum status find_by_number(struct common_view *v, int64_t number,
    struct ledger_shard *out, struct error *e)
{
	struct ledger_query q = {.stage = v->stage.id, .state = -1, .ordinal = number - 1, .max = 1};
	size_t n = 1;
	enum status st = ledger_shards(v->ledger, &q, out, &n, e);

	if (st == ST_OK && n == 0)
		st = error_set(e, ST_NOT_FOUND, "%s has no shard number %lld", v->run.name,
		    (long long)number);
	return st;
}

enum status common_find_shard(struct common_view *v, const char *word, struct ledger_shard *out,
    struct error *e)
{
	const char *hash = strrchr(word, '#');
	bool only_number = hash == word && word[1] != '\0';
	size_t len = hash == NULL || only_number ? strlen(word) : (size_t)(hash - word);
	struct error ignored;
	int64_t number;
	enum status st = find_by_text(v, word, len, out, e);

	if (st == ST_OK && only_number && !name_is(out, word)) {
		ledger_shard_free(out);
		st = ST_NOT_FOUND;
	}
	if (st != ST_OK &&
	    str_parse_count(word + (only_number ? 1 : 0), 1, INT64_MAX, &number, &ignored) == ST_OK)
		return find_by_number(v, number, out, e);
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
