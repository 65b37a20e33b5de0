/* ebb map: a command for each item of a list, or for each piece of a file. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "cli/common.h"
#include "cli/map_words.h"
#include "cli/result_file.h"
#include "cli/work_options.h"
#include "shard/records.h"
#include "worker/dryrun.h"

struct map_values {
	struct work_values work; /* first */
	const char *out;
	const char *out_root;
	const char *colsep;
	const char *halt;
	const char *shard;
	const char *records;
	struct option_texts arg_files;
	bool nul;
	bool skip_empty;
	bool keep_order;
	bool tag;
	bool dry_run;
	bool skip_done;
	int64_t timeout_ms;
	int64_t retries;
	int64_t retry_delay_ms;
};

static_assert(offsetof(struct map_values, work) == 0, "the rows of work_options.h count from it");

#define AT(field) offsetof(struct map_values, field)

static const struct option map_options[] = {
	{'o', "out", OPTION_TEXT, AT(out), "NAME",
	    "commit each command's stdout under this name: '{}.gz', 'out/{/}'"},
	WORK_JOBS_OPTION,
	{'P', "max-procs", OPTION_TEXT, WORK_AT(jobs), "N", "the same, as xargs calls it"},
	{'a', "arg-file", OPTION_TEXTS, AT(arg_files), "FILE",
	    "read items from a file; - is stdin; may be given several times"},
	{'0', "null", OPTION_FLAG, AT(nul), NULL, "items end with NUL, not with a newline"},
	{'r', "no-run-if-empty", OPTION_FLAG, AT(skip_empty), NULL, "empty lines are no items"},
	{0, "colsep", OPTION_TEXT, AT(colsep), "REGEX",
	    "cut each item into columns {1} {2} ... (POSIX extended)"},
	{0, "shard", OPTION_TEXT, AT(shard), "HOW",
	    "list (default), or bytes:SIZE: cut the input files, each piece on stdin"},
	{0, "records", OPTION_CHOICE, AT(records), "KIND",
	    "where bytes: may cut: lines (default), paragraphs, nul, whole",
	    .choices = "lines|paragraphs|nul|whole"},
	{'k', "keep-order", OPTION_FLAG, AT(keep_order), NULL, "stdout in the order of the items"},
	{0, "tag", OPTION_FLAG, AT(tag), NULL,
	    "put the item (n.txt#2 for a piece) and a tab before each line of stdout"},
	{0, "timeout", OPTION_DURATION, AT(timeout_ms), "TIME",
	    "end a command after so long: TERM, then KILL (5 is 5s; default: none)"},
	{0, "retries", OPTION_COUNT, AT(retries), "N",
	    "tries of a failing command in all (default 3); interruptions do not count",
	    .min = 1, .max = 1000000},
	{0, "retry-delay", OPTION_DURATION, AT(retry_delay_ms), "TIME",
	    "before the first retry, doubled for each next one, with jitter (default 1s)",
	    .min = 0, .max = 86400000},
	{0, "halt", OPTION_TEXT, AT(halt), "WHEN",
	    "never (default), or soon|now,fail|success|done=N or N%"},
	{0, "dry-run", OPTION_FLAG, AT(dry_run), NULL, "print the commands, run and write nothing"},
	{0, "skip-done", OPTION_FLAG, AT(skip_done), NULL,
	    "of a finished list, run only items that are new or whose file changed"},
	{0, "state", OPTION_TEXT, WORK_AT(state), "DIR",
	    "where progress is kept (default $EBB_STATE, else .ebb)"},
	{0, "out-root", OPTION_TEXT, AT(out_root), "DIR",
	    "allow output names in this folder (default: the current one)"},
	WORK_START_OPTIONS,
	WORK_OPTIONS,
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

#undef AT

static const struct option_hint map_hints[] = {
	{"-n -N -L -l -m -X --max-args --max-replace-args --max-lines --xargs",
	    "each command gets one item; for two at a time: paste - - <list | ebb map "
	    "--colsep '\\t' -- COMMAND {1} {2}"},
	{"-I -i --replace", "{} stands for the item everywhere, without an option"},
	{"-d --delimiter", "items end with a newline, or with NUL and -0: tr ',' '\\n' <list | "
	    "ebb map ..."},
	{"-t -v --verbose", "--dry-run prints the commands, ebb shards what became of each"},
	{"--delay", "-j says how many run at once, and that is all"},
	{"--load --memfree", "-j says how many run at once; -j auto heeds affinity and cgroup quota"},
	{"--eta --bar --progress", "a terminal shows how far it is by itself, and so does ebb status"},
	{"--resume --resume-failed --retry-failed", "the same line goes on by itself; ebb retry tries "
	    "what failed once more"},
	{"--pipe --pipepart --block", "--shard bytes:SIZE FILE -- COMMAND gives each piece of a file to "
	    "stdin"},
	{"--results", "--out NAME keeps each stdout; ebb logs shows each stderr"},
	{"-u --ungroup --lb --line-buffer --group", "stdout comes when its command has ended, and whole"},
	{"-S --sshlogin --sshloginfile", "commands run on this machine"},
	{"--nice", "nice ebb map ... does that"},
	{NULL, NULL},
};

static const char map_text[] =
    "examples:\n"
    "  ebb map --out '{}.gz' -- gzip -9c {} ::: *.log\n"
    "  find . -name '*.wav' -print0 | ebb map -0 --out '{.}.mp3' -- lame --quiet {} -\n"
    "  ebb map --shard bytes:4MiB --records paragraphs big.txt -- ./count.awk\n"
    "  ebb map -k 'cut -f1 {} | sort -u | wc -l' ::: *.tsv\n"
    "\n"
    "lists:\n"
    "  ::: a b     words           ::: a b ::: 1 2   each with each: a 1, a 2, b 1, b 2\n"
    "  :::: f      lines of files  ::: a b :::+ 1 2  one with one: a 1, b 2 (::::+ too)\n"
    "\n"
    "replaced in the command and in --out:\n"
    "  {} item   {.} without extension   {/} base name   {//} folder   {/.} both\n"
    "  {#} number from 1   {%} slot from 1   {1} {2.} {-1/} the same of one column\n"
    "A command that names no item gets it as its last word. One word with a blank\n"
    "or a shell character in it is run by bash -euo pipefail -c, items quoted.\n"
    "\n"
    "Killed at any time, the same line goes on from where it was: the same command,\n"
    "--out, --shard and folder, whatever the list. A list that is finished starts\n"
    "over; --skip-done runs only what is new or changed.\n"
    "Exit: 0 all done, 1 some failed, 2 usage, 3 state unreachable, 4 already running,\n"
    "75 stopped by TERM, 130 by Ctrl-C.\n";

static enum status bad_halt(const char *word, struct error *e)
{
	return error_set(e, ST_CONFIG, "--halt: \"%.60s\" is not never, or soon or now with "
	    "fail=N, success=N, done=N or fail=N%%; for example --halt soon,fail=1", word);
}

static enum status parse_halt(const char *word, struct halt_rule *out, struct error *e)
{
	static const char *const kinds[] = {"fail=", "success=", "done="};
	const char *comma = strchr(word, ',');
	char number[16];
	int64_t n;
	int k;

	memset(out, 0, sizeof(*out));
	if (strcmp(word, "never") == 0 || strcmp(word, "0") == 0)
		return ST_OK;
	if (comma == NULL || (strncmp(word, "soon,", 5) != 0 && strncmp(word, "now,", 4) != 0))
		return bad_halt(word, e);
	out->when = word[0] == 's' ? HALT_SOON : HALT_NOW;
	for (k = 0; k < 3; k++) {
		size_t len = strlen(kinds[k]);
		const char *value = comma + 1 + len;
		size_t digits = strncmp(comma + 1, kinds[k], len) == 0 ? strlen(value) : 0;
		bool percent = digits > 1 && value[digits - 1] == '%';

		if (digits == 0 || digits >= sizeof(number))
			continue;
		memcpy(number, value, digits);
		number[digits - (percent ? 1 : 0)] = '\0';
		if (str_parse_count(number, 1, percent ? 100 : INT64_MAX, &n, e) != ST_OK)
			return bad_halt(word, e);
		out->what = k == 0 ? HALT_ON_FAIL : k == 1 ? HALT_ON_SUCCESS : HALT_ON_DONE;
		out->count = percent ? 0 : n;
		out->percent = percent ? (int)n : 0;
		return ST_OK;
	}
	return bad_halt(word, e);
}

static enum status copy_text(const char *from, char **to, struct error *e)
{
	if (from == NULL)
		return ST_OK;
	*to = mem_dup(from, strlen(from));
	return *to == NULL ? error_set(e, ST_NO_MEMORY, "out of memory") : ST_OK;
}

static enum status parse_shard(const struct map_values *v, struct spec *s, struct error *e)
{
	enum status st;

	if (v->shard == NULL || strcmp(v->shard, "list") == 0) {
		if (v->records != NULL)
			return error_set(e, ST_CONFIG, "--records goes with --shard bytes:SIZE");
		return ST_OK;
	}
	if (strncmp(v->shard, "bytes:", 6) != 0)
		return error_set(e, ST_CONFIG, "--shard: \"%.60s\" is neither list nor bytes:SIZE, "
		    "such as bytes:4MiB", v->shard);
	s->shard = SPEC_BYTES;
	st = str_parse_size(v->shard + 6, &s->shard_size, e);
	if (st == ST_OK && s->shard_size < 1)
		st = error_set(e, ST_CONFIG, "a shard has at least 1 byte");
	if (st != ST_OK)
		return error_prefix(e, st, "--shard");
	return copy_text(v->records == NULL ? "lines" : v->records, &s->records, e);
}

static enum status make_spec(const struct map_values *v, const struct map_words *w,
    struct spec *s, struct error *e)
{
	enum status st;
	size_t i;

	s->retry = retry_policy_default();
	s->retry.limit[CAUSE_FAILED] = (int)v->retries;
	s->retry.limit[CAUSE_TIMED_OUT] = (int)v->retries;
	s->retry.backoff_min_ms = v->retry_delay_ms;
	s->timeout_ms = v->timeout_ms;
	s->keep_order = v->keep_order;
	s->tag = v->tag;
	if (v->out != NULL && v->out[0] == '\0')
		return error_set(e, ST_CONFIG, "--out needs a name, such as '{}.out'");
	s->command = mem_zero((w->n_command + 1) * sizeof(*s->command));
	if (s->command == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	for (i = 0; i < w->n_command; i++) {
		st = copy_text(w->command[i], &s->command[i], e);
		if (st != ST_OK)
			return st;
		s->n_command++;
	}
	if (s->command[0][0] == '\0')
		return error_set(e, ST_CONFIG, "the command is empty");
	spec_detect_shell(s);
	s->output = v->out == NULL ? SPEC_OUT_STDOUT : SPEC_OUT_NAME;
	st = copy_text("map", &s->name, e);
	if (st == ST_OK)
		st = copy_text(v->out, &s->out, e);
	if (st == ST_OK)
		st = copy_text(v->out_root, &s->out_root, e);
	return st == ST_OK ? parse_shard(v, s, e) : st;
}

/* A pipeline of one stage and without a name. */
static enum status make_pipeline(const struct map_values *v, const struct map_words *w,
    struct pipeline *p, struct error *e)
{
	enum status st = copy_text("", &p->name, e);

	if (st != ST_OK)
		return st;
	p->stage = mem_zero(sizeof(*p->stage));
	if (p->stage == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	p->n_stages = 1;
	return make_spec(v, w, &p->stage[0], e);
}

/* Before any state is touched: a list that cannot be read does no harm. */
static enum status open_list(const struct map_values *v, const struct map_words *w,
    struct list **out, struct error *e)
{
	struct list_options o = {.nul = v->nul, .skip_empty = v->skip_empty, .colsep = v->colsep};
	struct list *probe = NULL;
	struct list_source word = {.words = (const char *const *)w->command, .n_words = 1};
	struct list_options only = {.colsep = v->colsep};
	enum status st = ST_OK;

	if (v->colsep != NULL) {
		st = list_open(&word, 1, &only, &probe, e);
		list_close(probe);
		if (st != ST_OK)
			return error_prefix(e, st, "--colsep");
	}
	return list_open(w->sources, w->n_sources, &o, out, e);
}

static enum status make_drive(const struct map_values *v, const struct map_words *w,
    struct drive *d, struct error *e)
{
	enum status st = work_fill_drive(&v->work, d, e);

	if (st == ST_OK)
		st = parse_halt(v->halt, &d->halt, e);
	d->skip_done = v->skip_done;
	d->input.plan = true;
	return st == ST_OK ? open_list(v, w, &d->input.list, e) : st;
}

/* A file where the command should be: its "--" was forgotten. */
static enum status hint_dashes(enum status st, int argc, char **argv, const struct map_words *w,
    struct error *e)
{
	struct error was = *e;
	int i;

	if (w->command == NULL || access(w->command[0], F_OK) == -1 ||
	    access(w->command[0], X_OK) == 0)
		return st;
	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--") == 0)
			return st;
	}
	return error_set(e, ST_CONFIG, "%.300s; if %.80s is input, put -- before the command: "
	    "ebb map %.80s -- COMMAND", was.text, w->command[0], w->command[0]);
}

/* What the shell leaves as it is when no file matches. It may be meant so. */
static void warn_pattern(const struct map_words *w)
{
	const struct list_source *s = &w->sources[0];
	struct buf shown = {0};

	if (w->n_sources != 1 || s->n_words != 1 || strpbrk(s->words[0], "*?[") == NULL ||
	    strstr(s->words[0], "://") != NULL || access(s->words[0], F_OK) == 0)
		return;
	str_display(&shown, s->words[0], strlen(s->words[0]), 120);
	if (!shown.failed)
		log_line(LOG_WARN, "no file matches %s; that text is the only item", shown.data);
	buf_free(&shown);
}

static int map_main(int argc, char **argv)
{
	struct map_values v = {.work = WORK_DEFAULTS, .halt = "never", .retries = 3,
	    .retry_delay_ms = 1000};
	struct map_words w = {0};
	struct drive d = {0};
	struct pipeline pipeline = {0};
	struct error e;
	bool help;
	int code;
	enum status st = map_words_parse(&verb_map, argc, argv, &v, &v.arg_files, &w, &help, &e);

	if (st == ST_OK && help) {
		struct buf b = {0};

		options_help(&verb_map, &b);
		code = common_print(&b);
		goto out;
	}
	if (st == ST_OK)
		st = make_pipeline(&v, &w, &pipeline, &e);
	if (st == ST_OK)
		st = worker_check_spec(&pipeline.stage[0], &e);
	st = st == ST_OK ? st : hint_dashes(st, argc, argv, &w, &e);
	if (st == ST_OK)
		st = make_drive(&v, &w, &d, &e);
	d.pipeline = &pipeline;
	if (st == ST_OK)
		warn_pattern(&w);
	if (st == ST_OK && v.dry_run)
		st = dryrun_print(&pipeline.stage[0], &d.input, &e);
	if (st != ST_OK) {
		struct result_facts facts = {.error = e.text, .code = common_fail(st, &e)};

		code = result_file_write(v.work.result, &facts);
	} else if (v.dry_run) {
		code = EXIT_DONE;
	} else {
		work_log_setup(&v.work);
		code = drive_run(&d);
	}
out:
	list_close(d.input.list);
	pipeline_free(&pipeline);
	map_words_free(&w);
	free(v.arg_files.list);
	return code;
}

const struct verb verb_map = {
	.name = "map",
	.usage = "ebb map [options] -- COMMAND [WORDS] ::: ITEMS\n"
	    "       ... | ebb map [options] -- COMMAND [WORDS]\n"
	    "       ebb map [options] --shard bytes:SIZE FILES -- COMMAND [WORDS]",
	.summary = "ebb map: run a command for each item of a list, durably; start it again "
	    "and it goes on",
	.text = map_text,
	.options = map_options,
	.hints = map_hints,
	.run = map_main,
};
