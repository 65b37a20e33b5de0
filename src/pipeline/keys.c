#include "pipeline/keys.h"

#include <ctype.h>
#include <string.h>

#include "base/str.h"
#include "model/pipeline.h"

#define AT(field) offsetof(struct spec, field)
#define AT_LIMIT(what) (AT(retry.limit) + CAUSE_##what * sizeof(int))
#define LIMIT(key, what, standard, text, sample)                                          \
	{.name = (key), .kind = KEY_COUNT, .offset = AT_LIMIT(what), .min = 1,           \
	    .max = 1000000, .fallback = (standard), .help = (text), .example = (sample)}

enum { SECOND = 1000, HOUR = 3600 * SECOND };
#define DAY ((int64_t)24 * HOUR)
#define TIB ((int64_t)1 << 40)

static const struct key keys_drain[] = {
	{.name = "reserve", .kind = KEY_DURATION,
	    .offset = offsetof(struct pipeline, drain_reserve_ms), .min = 100, .max = HOUR,
	    .fallback = "5s", .example = "5s",
	    .help = "kept back of the seconds that a notice leaves, for ebb's own work"},
	{.name = "on_notice", .kind = KEY_TEXT, .offset = offsetof(struct pipeline, on_notice),
	    .example = "./deregister.sh",
	    .help = "what a shell runs when a worker begins to leave, beside what it does itself"},
	{.name = "on_drained", .kind = KEY_TEXT, .offset = offsetof(struct pipeline, on_drained),
	    .example = "./complete-lifecycle-action.sh",
	    .help = "what it runs when nothing is in its hands any more"},
	{.name = "on_rebalance", .kind = KEY_TEXT,
	    .offset = offsetof(struct pipeline, on_rebalance), .example = "./ask-for-another.sh",
	    .help = "what it runs when the platform recommends to rebalance"},
	{.name = "hook_timeout", .kind = KEY_DURATION,
	    .offset = offsetof(struct pipeline, hook_timeout_ms), .min = 100, .max = HOUR,
	    .fallback = "10s", .example = "10s",
	    .help = "each of these is ended when it takes longer"},
	{0},
};

const struct key keys_file[] = {
	{.name = "version", .kind = KEY_VERSION, .required = true, .min = 1, .max = 1,
	    .example = "1",
	    .help = "of this format"},
	{.name = "name", .kind = KEY_NAME, .required = true, .example = "section-sizes",
	    .offset = offsetof(struct pipeline, name),
	    .help = "of the pipeline; with the parameters it is the run's identity"},
	{.name = "params", .kind = KEY_PARAMS, .table = keys_param, .example = "{date: required}",
	    .help = "parameters: NAME: required, NAME: DEFAULT or NAME: {default: DEFAULT}"},
	{.name = "files", .kind = KEY_FILES, .max = 1000, .example = "[sections.awk, add-up.awk]",
	    .help = "local files that belong to every stage: another content, another identity"},
	{.name = "drain", .kind = KEY_MAP, .table = keys_drain, .example = "{reserve: 5s}",
	    .help = "how a worker that is told to go uses its last seconds"},
	{.name = "notice", .kind = KEY_TEXT, .offset = offsetof(struct pipeline, notice),
	    .fallback = "auto", .example = "aws",
	    .help = "sources of interruption notices: auto, none, or names with commas (ebb watch)"},
	{.name = "stages", .kind = KEY_STAGES, .required = true, .table = keys_stage,
	    .example = "{count: {input: data/*.txt, run: wc -l}}",
	    .help = "what is done, by name; a stage may read what others have made"},
	{0},
};

const struct key keys_param[] = {
	{.name = "default", .kind = KEY_ANY_TEXT, .required = true, .example = "\"2026-07-01\"",
	    .help = "the value when --set gives none; taken as it is"},
	{0},
};

const struct key keys_source[] = {
	{.name = "stage", .kind = KEY_TEXT, .example = "parse",
	    .help = "the output of another stage"},
	{.name = "list", .kind = KEY_TEXT, .example = "items.txt",
	    .help = "a file with an item a line; empty lines are no items"},
	{.name = "count", .kind = KEY_COUNT64, .min = 1, .max = 1000000000, .example = "1000",
	    .help = "the numbers from 0 to one less"},
	{0},
};

const struct key keys_output[] = {
	{.name = "files", .kind = KEY_TEXT, .required = true, .example = "out/pages",
	    .help = "the folder that what a command puts into $EBB_OUTPUT is published in"},
	{0},
};

static const struct key keys_shard[] = {
	{.name = "by", .kind = KEY_CHOICE, .offset = AT(shard), .choices = "list|bytes|files|all",
	    .fallback = "files for patterns, list for list and count, all for stages",
	    .example = "bytes",
	    .help = "files: each, or groups; bytes: pieces of files; list: each item; all: one "
	    "shard"},
	{.name = "size", .kind = KEY_SIZE, .offset = AT(shard_size), .min = 1, .max = 64 * TIB,
	    .example = "4MiB", .fallback = "files: one each",
	    .help = "by bytes: of a piece, about; by files: small ones are grouped up to it"},
	{.name = "records", .kind = KEY_CHOICE_TEXT, .offset = AT(records),
	    .choices = "lines|paragraphs|nul|whole", .fallback = "lines", .example = "paragraphs",
	    .help = "by bytes: where files may be cut"},
	{0},
};

static const struct key keys_resources[] = {
	{.name = "cpu", .kind = KEY_CPU, .offset = AT(cpu_milli), .min = 1, .max = 4096 * 1000,
	    .example = "1.5", .fallback = "one slot",
	    .help = "processors that a shard needs"},
	{.name = "memory", .kind = KEY_SIZE, .offset = AT(memory), .min = 1 << 20, .max = 64 * TIB,
	    .example = "1GiB", .fallback = "not limited",
	    .help = "bytes that a shard may use; enforced where ebb can make a cgroup"},
	{.name = "gpu", .kind = KEY_COUNT, .offset = AT(gpus), .max = 64, .example = "1",
	    .fallback = "0",
	    .help = "GPUs that a shard needs; sets CUDA_VISIBLE_DEVICES"},
	{0},
};

static const struct key keys_retry[] = {
	LIMIT("failures", FAILED, "3", "attempts that may end by the command's own failure", "3"),
	LIMIT("interruptions", INTERRUPTED, "20",
	    "attempts interrupted without any progress kept", "20"),
	LIMIT("infrastructure", INFRASTRUCTURE, "10",
	    "disk full, state or store gone, command not to be started (exit 126, 127)", "10"),
	LIMIT("losses", LOST, "20", "attempts whose worker vanished", "20"),
	LIMIT("timeouts", TIMED_OUT, "3", "attempts that took longer than timeout:", "3"),
	LIMIT("out_of_memory", OUT_OF_MEMORY, "3",
	    "attempts ended for lack of memory; the next may use twice as much", "3"),
	{.name = "on_demand_after", .kind = KEY_COUNT, .offset = AT(retry.on_demand_after),
	    .max = 1000000, .fallback = "3", .example = "3",
	    .help = "so often taken with its machine, a shard asks for On-Demand; 0: never"},
	{.name = "on_demand_wait", .kind = KEY_DURATION,
	    .offset = AT(retry.on_demand_wait_ms), .max = DAY, .fallback = "10m",
	    .example = "10m",
	    .help = "for so long spot workers leave such a shard to On-Demand ones that are there"},
	{.name = "backoff", .kind = KEY_BACKOFF, .offset = AT(retry), .min = 0, .max = DAY,
	    .fallback = "1s..60s", .example = "1s..60s",
	    .help = "the wait before a retry: at first .. at most; doubled, with jitter"},
	{0},
};

static const struct key keys_stop[] = {
	{.name = "signal", .kind = KEY_SIGNAL, .offset = AT(stop_signal),
	    .choices = "TERM|INT|HUP|QUIT|USR1|USR2|ALRM|CONT", .fallback = "TERM",
	    .example = "USR1",
	    .help = "what tells a command to stop; KILL follows in the end"},
	{.name = "to", .kind = KEY_CHOICE, .offset = AT(stop_to), .choices = "main|leader|group",
	    .fallback = "main", .example = "group",
	    .help = "main: the real program behind shells; leader: what ebb started; group: all"},
	{0},
};

static const struct key keys_checkpoint[] = {
	{.name = "exit", .kind = KEY_COUNT, .offset = AT(checkpoint_exit), .min = 1, .max = 255,
	    .fallback = "85", .example = "85",
	    .help = "exit code that says: progress saved, run me again"},
	{.name = "every", .kind = KEY_DURATION, .offset = AT(checkpoint_every_ms), .min = 10,
	    .max = DAY, .fallback = "1s", .example = "1s",
	    .help = "of batches: how often what is done is made durable"},
	{0},
};

const struct key keys_stage[] = {
	{.name = "input", .kind = KEY_INPUT, .required = true, .table = keys_source,
	    .example = "data/${date}/*.txt",
	    .help = "a pattern, {stage: NAME}, {list: FILE} or {count: N}, or a list of these"},
	{.name = "shard", .kind = KEY_MAP, .table = keys_shard,
	    .example = "{by: bytes, size: 4MiB}",
	    .help = "how the input is cut into shards"},
	{.name = "run", .kind = KEY_RUN, .required = true, .example = "./sections.awk",
	    .help = "the command: a text for a shell, or a list of words and no shell"},
	{.name = "input_as", .kind = KEY_CHOICE, .offset = AT(input),
	    .choices = "path|stdin|list|url",
	    .fallback = "path if the command names {}, else stdin", .example = "stdin",
	    .help = "path: in place of {}; stdin: contents; list: a file of paths; url: file://"},
	{.name = "output", .kind = KEY_OUTPUT, .table = keys_output, .example = "out/{/.}.tsv",
	    .fallback = "kept for later stages, else to ebb's stdout, in order",
	    .help = "the name that stdout is published as, or {files: FOLDER}"},
	{.name = "resources", .kind = KEY_MAP, .table = keys_resources,
	    .example = "{cpu: 1, memory: 1GiB}",
	    .help = "what each shard needs of a machine"},
	{.name = "slots", .kind = KEY_SLOTS, .choices = "cpu|gpu", .fallback = "cpu",
	    .example = "gpu",
	    .help = "gpu: as resources: {gpu: 1} when that says nothing else"},
	{.name = "timeout", .kind = KEY_DURATION, .offset = AT(timeout_ms), .min = 10,
	    .max = 365 * DAY, .fallback = "none", .example = "10m",
	    .help = "an attempt that takes longer is ended"},
	{.name = "retry", .kind = KEY_MAP, .table = keys_retry,
	    .example = "{failures: 3, backoff: 1s..60s}",
	    .help = "for each cause, how many attempts of a shard may end so"},
	{.name = "allow_failed", .kind = KEY_SHARE, .offset = AT(allow_failed),
	    .max = 1000000000000, .fallback = "0", .example = "1%",
	    .help = "so many shards, or such a share, may fail for good"},
	{.name = "on_failed", .kind = KEY_CHOICE_FIRST, .offset = AT(stop_on_failed),
	    .choices = "stop|continue", .fallback = "stop", .example = "continue",
	    .help = "one more failed than allowed: stop the run, or do the rest of the stage"},
	{.name = "stop", .kind = KEY_MAP, .table = keys_stop, .example = "{signal: TERM, to: main}",
	    .help = "how a command is told to stop"},
	{.name = "after_stop", .kind = KEY_AFTER_STOP, .max = 255,
	    .choices = "done|checkpointed|interrupted|failed", .fallback = "interrupted",
	    .example = "{0: done, 3: checkpointed}",
	    .help = "what an exit code means after ebb's stop signal"},
	{.name = "checkpoint", .kind = KEY_MAP, .table = keys_checkpoint,
	    .example = "{exit: 85, every: 1s}",
	    .help = "how a command says that it saved its progress"},
	{.name = "batch", .kind = KEY_COUNT64, .offset = AT(batch), .min = 1, .max = 1000000000,
	    .fallback = "all records of a shard", .example = "10000",
	    .help = "by bytes: one process for so many records"},
	{.name = "env", .kind = KEY_ENV, .max = 1000, .example = "{DATE: \"${date}\"}",
	    .help = "environment variables: NAME: VALUE"},
	{.name = "secrets", .kind = KEY_SECRETS, .max = 1000, .example = "{TOKEN: file:/run/token}",
	    .help = "variables whose value is read at the start: NAME: env:OTHER or file:PATH"},
	{.name = "shell", .kind = KEY_SHELL, .max = 64, .fallback = "[bash, -euo, pipefail, -c]",
	    .example = "[sh, -euc]",
	    .help = "what runs a command given as a text"},
	{.name = "version", .kind = KEY_TEXT, .offset = AT(version), .example = "\"2\"",
	    .help = "your own, of the stage; another one, another identity"},
	{0},
};

const char *key_expected(enum key_kind kind)
{
	static const char *const texts[KEY_KINDS] = {
		[KEY_TEXT] = "a text",
		[KEY_ANY_TEXT] = "a text",
		[KEY_NAME] = "a name of at most 48 letters, digits, _ . and -",
		[KEY_COUNT] = "a whole number",
		[KEY_COUNT64] = "a whole number",
		[KEY_SIZE] = "a size with a unit, such as 64KiB, 4MiB or 1.5GB",
		[KEY_DURATION] = "a duration with a unit, such as 500ms, 30s, 10m or 2h",
		[KEY_CPU] = "a number of processors, such as 1, 0.5 or 2.25",
		[KEY_CHOICE] = "one of",
		[KEY_CHOICE_TEXT] = "one of",
		[KEY_CHOICE_FIRST] = "one of",
		[KEY_SIGNAL] = "one of",
		[KEY_SLOTS] = "one of",
		[KEY_FILES] = "a list of texts",
		[KEY_MAP] = "a map",
		[KEY_VERSION] = "1",
		[KEY_PARAMS] = "a map of parameters, such as {date: required}",
		[KEY_STAGES] = "a map of stages",
		[KEY_INPUT] =
		    "a pattern, {stage: NAME}, {list: FILE}, {count: N}, or a list of these",
		[KEY_RUN] = "a text for a shell, or a list of words",
		[KEY_OUTPUT] = "a name such as out/{/.}.tsv, or {files: FOLDER}",
		[KEY_BACKOFF] = "two durations, such as 1s..60s",
		[KEY_SHARE] = "a whole number, or a share such as 1%",
		[KEY_AFTER_STOP] = "a map of exit codes, such as {0: done}",
		[KEY_ENV] = "a map of variables, such as {NAME: value}",
		[KEY_SECRETS] =
		    "a map of references, such as {TOKEN: env:OTHER} or {TOKEN: file:/path}",
		[KEY_SHELL] = "a list of words, such as [bash, -c], or a text of them",
	};

	return texts[kind];
}

const struct key *key_find(const struct key *keys, const char *name)
{
	for (; keys->name != NULL; keys++) {
		if (strcmp(keys->name, name) == 0)
			return keys;
	}
	return NULL;
}

bool key_is_near(const char *typed, size_t typed_len, const char *known, size_t known_len)
{
	size_t shorter = typed_len < known_len ? typed_len : known_len;
	size_t apart = str_distance(typed, typed_len, known, known_len);

	/* "SIGTERM" and "TERM", "retries" and "retry". */
	if (shorter >= 4 && (memmem(typed, typed_len, known, known_len) != NULL ||
	    memmem(known, known_len, typed, typed_len) != NULL || memcmp(typed, known, 4) == 0))
		return true;
	return apart <= 2 && apart < shorter;
}

const struct key *key_nearest(const struct key *keys, const char *name)
{
	const struct key *best = NULL;
	size_t best_apart = 64;

	for (; keys->name != NULL; keys++) {
		size_t apart = str_distance(name, strlen(name), keys->name, strlen(keys->name));

		if (apart < best_apart &&
		    key_is_near(name, strlen(name), keys->name, strlen(keys->name))) {
			best = keys;
			best_apart = apart;
		}
	}
	return best;
}

/* The next of the choices, of *len bytes, or NULL; *at goes on behind it. */
static const char *key_next_choice(const char **at, size_t *len)
{
	const char *begin = *at;

	if (*begin == '\0')
		return NULL;
	*len = strcspn(begin, "|");
	*at = begin + *len + (begin[*len] == '|' ? 1 : 0);
	return begin;
}

int key_choice(const char *choices, const char *value)
{
	const char *c;
	size_t len;
	int i;

	for (i = 0; (c = key_next_choice(&choices, &len)) != NULL; i++) {
		if (strlen(value) == len && memcmp(c, value, len) == 0)
			return i;
	}
	return -1;
}

void key_choices_print(const char *choices, struct buf *out)
{
	const char *c = NULL;
	const char *more;
	size_t len;

	while ((more = key_next_choice(&choices, &len)) != NULL) {
		buf_str(out, c == NULL ? "" : ", ");
		buf_append(out, more, len);
		c = more;
	}
}

size_t key_choice_nearest(const char *choices, const char *value, const char **out)
{
	size_t best_apart = 64;
	size_t best_len = 0;
	const char *c;
	size_t len;

	while ((c = key_next_choice(&choices, &len)) != NULL) {
		size_t apart = str_distance(value, strlen(value), c, len);

		if (apart < best_apart && key_is_near(value, strlen(value), c, len)) {
			best_apart = apart;
			best_len = len;
			*out = c;
		}
	}
	return best_len;
}

bool key_is_name(const char *name)
{
	static const char allowed[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	size_t len = strlen(name);

	return len >= 1 && len <= 48 && isalnum((unsigned char)name[0]) &&
	    strspn(name, allowed) == len;
}

bool key_is_variable(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c >= 0x80 || !(isalpha(c) || c == '_' || (i > 0 && isdigit(c))))
			return false;
	}
	return len >= 1 && len <= 200;
}

static void print_key_table(struct buf *out, const struct key *keys, const char *path)
{
	const struct key *k;

	for (k = keys; k->name != NULL; k++) {
		struct buf full = {0};

		buf_printf(&full, "%s%s", path, k->name);
		if (full.failed) {
			out->failed = true;
			return;
		}
		buf_printf(out, "%s: %s\n    %s\n", full.data, k->example, k->help);
		if (k->choices != NULL) {
			buf_str(out, "    one of: ");
			key_choices_print(k->choices, out);
			buf_char(out, '\n');
		}
		if (k->required)
			buf_str(out, "    must be there\n");
		else if (k->fallback != NULL)
			buf_printf(out, "    without it: %s\n", k->fallback);
		if (k->table != NULL) {
			bool named = k->kind == KEY_STAGES || k->kind == KEY_PARAMS;

			buf_str(&full, named ? ".NAME." : ".");
			if (!full.failed)
				print_key_table(out, k->table, full.data);
		}
		buf_free(&full);
	}
}

void keys_print(struct buf *out)
{
	buf_str(out, "The keys of a pipeline file, each with a value that is right.\n\n");
	print_key_table(out, keys_file, "");
}
