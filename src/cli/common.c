#include "cli/common.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "model/pipeline.h"
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

enum status common_grace(int64_t option, int64_t *ms, bool *given, struct error *e)
{
	const char *env = getenv("EBB_GRACE");
	enum status st;

	*ms = option >= 0 ? option : 30000;
	*given = option >= 0 || (env != NULL && env[0] != '\0');
	if (option >= 0 || env == NULL || env[0] == '\0')
		return ST_OK;
	st = str_parse_duration(env, ms, e);
	return st == ST_OK ? ST_OK : error_prefix(e, st, "EBB_GRACE");
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

/* ---- a look at a state ---- */

static enum status read_run(struct common_view *v, const char *name, struct error *e)
{
	struct ledger_run run = {0};
	enum status st = ledger_run_by_name(v->ledger, name, &run, e);

	if (st != ST_OK)
		return st;
	ledger_run_free(&v->run);
	v->run = run;
	if (v->stage == NULL)
		v->stage = mem_zero(PIPELINE_STAGES_MAX * sizeof(*v->stage));
	if (v->stage == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = ledger_run_stages(v->ledger, v->run.id, 0, v->stage, PIPELINE_STAGES_MAX,
	    &v->n_stages, e);
	ledger_stages_sum(v->stage, st == ST_OK ? v->n_stages : 0, &v->all);
	return st;
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
		st = common_view_turn(out, run == NULL ? "" : run, e);
	buf_free(&path);
	if (st != ST_OK)
		common_view_close(out);
	return st;
}

void common_view_close(struct common_view *v)
{
	ledger_run_free(&v->run);
	free(v->stage);
	ledger_close(v->ledger);
	state_close(v->state);
	memset(v, 0, sizeof(*v));
}

enum status common_view_turn(struct common_view *v, const char *run, struct error *e)
{
	enum status st = read_run(v, run, e);

	v->first = 0;
	v->end = v->n_stages;
	return st;
}

enum status common_view_refresh(struct common_view *v, struct error *e)
{
	char name[LEDGER_NAME_MAX];

	(void)snprintf(name, sizeof(name), "%s", v->run.name);
	return read_run(v, name, e);
}

enum status common_view_select(struct common_view *v, const char *stage, struct error *e)
{
	struct buf names = {0};
	enum status st;
	size_t i;

	for (i = 0; stage != NULL && i < v->n_stages; i++) {
		if (strcmp(v->stage[i].name, stage) == 0) {
			v->first = i;
			v->end = i + 1;
			return ST_OK;
		}
	}
	if (stage == NULL)
		return ST_OK;
	for (i = 0; i < v->n_stages; i++)
		buf_printf(&names, "%s%s", i > 0 ? ", " : "", v->stage[i].name);
	st = error_set(e, ST_NOT_FOUND, "%s has no stage named \"%.60s\"; there are: %.80s",
	    v->run.name, stage, names.failed ? "" : names.data);
	buf_free(&names);
	return st;
}

/* Its lock is held by whoever plans; others may have joined. */
bool common_is_running(const struct common_view *v, const struct ledger_run *r)
{
	struct ledger_worker list[64];
	struct buf lock = {0};
	struct error e;
	bool running;
	size_t n = 0;
	size_t i;

	run_lock_name(r->key, &lock);
	running = !lock.failed && !state_lock_is_free(v->state, lock.data);
	if (!running && ledger_workers(v->ledger, r->id, list, 64, &n, &e) != ST_OK)
		n = 0;
	for (i = 0; !running && i < n; i++) {
		buf_clear(&lock);
		buf_printf(&lock, "worker-%s", list[i].name);
		running = !lock.failed && !state_lock_is_free(v->state, lock.data);
	}
	buf_free(&lock);
	return running;
}

const char *common_state_name(const struct ledger_run *r, bool running)
{
	static const char *const names[] = {"stopped", "finished", "cancelled"};

	return r->state == RUN_ACTIVE && running ? "running" : names[r->state];
}

/* ---- finding a shard ---- */

void common_shard_name(const struct common_view *v, size_t stage, const struct ledger_shard *s,
    struct buf *out)
{
	if (v->end - v->first > 1)
		buf_printf(out, "%s:", v->stage[stage].name);
	shard_name(s, out);
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
	const struct common_view *v;
	const char *word;
	size_t stage;    /* whose shards are looked at */
	size_t n;
	size_t n_exact;  /* of exactly that name; one in a stage at most */
	struct ledger_shard first;
	struct buf some; /* names of the first ones */
};

/* Moves the shard into the search, or frees it. */
static void consider(struct search *s, struct ledger_shard *take_shard)
{
	bool exact = name_is(take_shard, s->word);

	if (s->n < CANDIDATES_SHOWN) {
		buf_str(&s->some, s->n > 0 ? ", " : "");
		common_shard_name(s->v, s->stage, take_shard, &s->some);
	}
	if ((exact && s->n_exact == 0) || s->n == 0) {
		ledger_shard_free(&s->first);
		s->first = *take_shard;
	} else {
		ledger_shard_free(take_shard);
	}
	s->n_exact += exact;
	s->n++;
}

static enum status search_stage(struct search *s, size_t prefix_len, struct error *e)
{
	struct ledger_shard page[SEARCH_PAGE];
	struct ledger_query q = {.stage = s->v->stage[s->stage].id, .state = -1, .ordinal = -1,
	    .item_prefix = s->word, .item_prefix_len = prefix_len, .max = SEARCH_PAGE};
	size_t exact = s->n_exact;
	enum status st;
	size_t n;
	size_t i;

	do {
		st = ledger_shards(s->v->ledger, &q, page, &n, e);
		for (i = 0; st == ST_OK && i < n; i++) {
			q.from = page[i].ordinal + 1;
			consider(s, &page[i]);
		}
	} while (st == ST_OK && n == SEARCH_PAGE && s->n_exact == exact);
	return st;
}

/* `len` bytes of the word are an item or the beginning of one. */
static enum status find_by_text(const struct common_view *v, const char *word, size_t len,
    struct ledger_shard *out, struct error *e)
{
	struct search s = {.v = v, .word = word};
	enum status st = ST_OK;

	for (s.stage = v->first; st == ST_OK && s.stage < v->end; s.stage++)
		st = search_stage(&s, len, e);
	if (st == ST_OK && s.n == 0)
		st = error_set(e, ST_NOT_FOUND, "%s has no shard named \"%.100s\"; "
		    "ebb shards lists them", v->run.name, word);
	else if (st == ST_OK && s.n_exact != 1 && s.n > 1)
		st = error_set(e, s.n_exact > 1 ? ST_EXISTS : ST_CONFIG,
		    "\"%.100s\" fits %zu shards: %s%s", word, s.n, s.some.failed ? "" : s.some.data,
		    s.n > CANDIDATES_SHOWN ? ", ..." : "");
	if (st == ST_OK)
		*out = s.first;
	else
		ledger_shard_free(&s.first);
	buf_free(&s.some);
	return st;
}

static enum status find_by_number(const struct common_view *v, int64_t number,
    struct ledger_shard *out, struct error *e)
{
	struct ledger_query q = {.state = -1, .ordinal = number - 1, .max = 1};
	struct ledger_shard s;
	size_t found = 0;
	size_t i;
	enum status st = ST_OK;

	for (i = v->first; st == ST_OK && i < v->end; i++) {
		size_t n = 0;

		q.stage = v->stage[i].id;
		st = ledger_shards(v->ledger, &q, &s, &n, e);
		if (st != ST_OK || n == 0)
			continue;
		if (found > 0)
			ledger_shard_free(out);
		*out = s;
		found++;
	}
	if (st == ST_OK && found == 0)
		st = error_set(e, ST_NOT_FOUND, "%s has no shard number %lld", v->run.name,
		    (long long)number);
	else if (st == ST_OK && found > 1)
		st = error_set(e, ST_CONFIG, "%zu stages have a shard number %lld; say STAGE:%lld",
		    found, (long long)number, (long long)number);
	if (st != ST_OK && found > 0)
		ledger_shard_free(out);
	return st;
}

static enum status find_in(const struct common_view *v, const char *word,
    struct ledger_shard *out, struct error *e)
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
	if ((st == ST_NOT_FOUND || st == ST_CONFIG) &&
	    str_parse_count(word + (only_number ? 1 : 0), 1, INT64_MAX, &number, &ignored) == ST_OK)
		return find_by_number(v, number, out, e);
	return st;
}

enum status common_find_shard(struct common_view *v, const char *word, struct ledger_shard *out,
    struct error *e)
{
	const char *colon = strchr(word, ':');
	enum status st;
	size_t i;

	for (i = v->first; colon != NULL && i < v->end; i++) {
		struct common_view one = *v;

		if (strlen(v->stage[i].name) != (size_t)(colon - word) ||
		    strncmp(v->stage[i].name, word, (size_t)(colon - word)) != 0)
			continue;
		one.first = i;
		one.end = i + 1;
		st = find_in(&one, colon + 1, out, e);
		if (st != ST_NOT_FOUND)
			return st;
	}
	return find_in(v, word, out, e);
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
	} else if (out->len > 0 && (fwrite(out->data, 1, out->len, stdout) != out->len ||
	    fflush(stdout) != 0)) {
		if (errno != EPIPE)
			log_line(LOG_ERROR, "cannot write to stdout: %s", strerror(errno));
		code = EXIT_UNREACHABLE;
	}
	buf_free(out);
	return code;
}
