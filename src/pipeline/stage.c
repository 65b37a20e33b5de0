/* Readers of a stage's own keys, and what they say about each other. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "model/template.h"
#include "pipeline/reader.h"

/* ---- input ---- */

static struct spec_source *add_spec_source(struct reader *r, struct spec *s)
{
	void *list = s->source;
	size_t cap = s->n_sources;
	struct error e;

	if (mem_grow(&list, &cap, s->n_sources + 1, sizeof(*s->source), &e) != ST_OK) {
		reader_no_memory(r);
		return NULL;
	}
	s->source = list;
	memset(&s->source[s->n_sources], 0, sizeof(*s->source));
	return &s->source[s->n_sources++];
}

static void note_ref(struct reader *r, const struct spec *s, const struct yaml_node *n)
{
	void *list = r->refs;
	struct error e;

	if (mem_grow(&list, &r->cap_refs, r->n_refs + 1, sizeof(*r->refs), &e) != ST_OK) {
		reader_no_memory(r);
		return;
	}
	r->refs = list;
	r->refs[r->n_refs].stage = r->out->n_stages - 1;
	r->refs[r->n_refs].source = s->n_sources - 1;
	r->refs[r->n_refs].line = n->line;
	r->refs[r->n_refs].column = n->column;
	r->n_refs++;
}

static void take_text_source(struct reader *r, const struct key *k, const struct yaml_node *n,
    enum spec_source_kind kind, struct spec *s)
{
	char *text = reader_text(r, k, n, PARAMS_PLAIN);
	struct spec_source *from = text == NULL ? NULL : add_spec_source(r, s);

	if (from == NULL) {
		free(text);
		return;
	}
	from->kind = kind;
	from->text = text;
	if (kind == SOURCE_STAGE)
		note_ref(r, s, n);
}

static void take_count_source(struct reader *r, const struct key *k, const struct yaml_node *n,
    struct spec *s)
{
	struct spec_source *from;
	int64_t count = 0;
	struct key local = *k;

	local.offset = 0;
	take_count64(r, &local, n, &count);
	if (count == 0)
		return;
	from = add_spec_source(r, s);
	if (from == NULL)
		return;
	from->kind = SOURCE_COUNT;
	from->count = count;
}

/* {stage: NAME}, {list: FILE} or {count: N}. */
static void take_source(struct reader *r, const struct key *k, const struct yaml_node *n,
    struct spec *s)
{
	const struct key *what;

	if (n->n != 1) {
		READER_PROBLEM(r, n, "an input has %zu keys; expected one of {stage: NAME}, "
		    "{list: FILE} and {count: N}, or a list of several", n->n);
		return;
	}
	what = key_find(k->table, n->first->key->text);
	if (what == NULL)
		reader_unknown_key(r, k->table, n->first);
	else if (what->kind == KEY_COUNT64)
		take_count_source(r, what, n->first, s);
	else
		take_text_source(r, what, n->first,
		    strcmp(what->name, "stage") == 0 ? SOURCE_STAGE : SOURCE_LIST, s);
}

static void take_one_input(struct reader *r, const struct key *k, const struct yaml_node *n,
    struct spec *s)
{
	if (n->kind == YAML_TEXT)
		take_text_source(r, k, n, SOURCE_GLOB, s);
	else if (n->kind == YAML_MAP)
		take_source(r, k, n, s);
	else
		READER_PROBLEM(r, n, "there is a list in the list of inputs; expected %s",
		    "a pattern, {stage: NAME}, {list: FILE} or {count: N}");
}

void take_input(struct reader *r, const struct key *k, const struct yaml_node *n, void *into)
{
	const struct yaml_node *item;

	if (n->kind != YAML_LIST) {
		take_one_input(r, k, n, into);
		return;
	}
	if (n->n == 0)
		READER_PROBLEM(r, n, "\"input\" is an empty list; expected %s",
		    key_expected(KEY_INPUT));
	for (item = n->first; item != NULL; item = item->next)
		take_one_input(r, k, item, into);
}

/* ---- the command ---- */

static const char *word_base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? path : slash + 1;
}

static bool is_shell(const char *word)
{
	return key_choice("sh|bash|dash|ksh|mksh|zsh|ash", word_base_name(word)) >= 0;
}

/* Is the word a text that a shell named before it will read? */
static bool is_shell_text(char *const *words, size_t i)
{
	return i >= 2 && is_shell(words[0]) && words[i - 1][0] == '-' &&
	    words[i - 1][1] != '-' && strchr(words[i - 1], 'c') != NULL;
}

static void take_run_words(struct reader *r, const struct key *k, const struct yaml_node *n,
    struct spec *s)
{
	const struct yaml_node *item;
	size_t used;

	for (item = n->first; item != NULL; item = item->next) {
		char *text = reader_any_text(r, k, item, PARAMS_WORD, &used);

		if (text == NULL)
			return;
		reader_add_word(r, &s->command, &s->n_command, text);
		if (r->problems->no_memory)
			return;
		if (used > 0 && is_shell_text(s->command, s->n_command - 1))
			READER_PROBLEM(r, item, "a parameter in a text for %s would be run as a "
			    "part of it; write run: as one text, which quotes it, or pass it by "
			    "env:", s->command[0]);
	}
	if (s->n_command == 0 || s->command[0][0] == '\0')
		READER_PROBLEM(r, n, "\"run\" names no program; expected %s",
		    key_expected(KEY_RUN));
}

void take_run(struct reader *r, const struct key *k, const struct yaml_node *n, void *into)
{
	struct spec *s = into;
	char *text;

	if (n->kind == YAML_LIST) {
		take_run_words(r, k, n, s);
		return;
	}
	if (n->kind != YAML_TEXT) {
		reader_wants(r, k, n);
		return;
	}
	text = reader_any_text(r, k, n, PARAMS_SHELL, &r->run_values);
	if (text != NULL && text[strspn(text, " \t\r\n")] == '\0') {
		READER_PROBLEM(r, n, "\"run\" is empty; expected %s", key_expected(KEY_RUN));
		free(text);
		return;
	}
	if (text == NULL)
		return;
	reader_add_word(r, &s->command, &s->n_command, text);
	spec_detect_shell(s);
}

static void take_shell_words(struct reader *r, char *text, struct spec *s)
{
	char *word;
	char *rest = text;

	while ((word = strsep(&rest, " \t\n")) != NULL) {
		char *copy = word[0] == '\0' ? NULL : mem_dup(word, strlen(word));

		if (copy != NULL)
			reader_add_word(r, &s->shell_words, &s->n_shell_words, copy);
		else if (word[0] != '\0')
			reader_no_memory(r);
	}
}

void take_shell(struct reader *r, const struct key *k, const struct yaml_node *n, void *into)
{
	const struct yaml_node *item;
	struct spec *s = into;
	char *text;

	if (n->kind == YAML_MAP || (n->kind == YAML_LIST && n->n == 0) || n->n > (size_t)k->max) {
		reader_wants(r, k, n);
		return;
	}
	if (n->kind == YAML_TEXT) {
		text = reader_text(r, k, n, PARAMS_PLAIN);
		if (text != NULL)
			take_shell_words(r, text, s);
		if (text != NULL && s->n_shell_words == 0 && !r->problems->no_memory)
			READER_PROBLEM(r, n, "\"shell\" is blank; expected %s",
			    key_expected(KEY_SHELL));
		free(text);
		return;
	}
	for (item = n->first; item != NULL; item = item->next) {
		text = reader_text(r, k, item, PARAMS_PLAIN);
		if (text != NULL)
			reader_add_word(r, &s->shell_words, &s->n_shell_words, text);
	}
}

/* ---- output ---- */

void take_output(struct reader *r, const struct key *k, const struct yaml_node *n, void *into)
{
	const struct key *files = &k->table[0];
	const struct yaml_node *value = n;
	struct spec *s = into;

	s->output = SPEC_OUT_NAME;
	if (n->kind == YAML_MAP) {
		s->output = SPEC_OUT_FILES;
		for (value = n->first; value != NULL; value = value->next) {
			if (strcmp(value->key->text, files->name) != 0)
				reader_unknown_key(r, k->table, value);
		}
		value = yaml_get(n, files->name);
		if (value == NULL) {
			READER_PROBLEM(r, n, "\"files\" is missing; expected %s",
			    key_expected(KEY_OUTPUT));
			return;
		}
	} else if (n->kind == YAML_LIST) {
		reader_wants(r, k, n);
		return;
	}
	s->out = reader_text(r, n->kind == YAML_MAP ? files : k, value, PARAMS_TEMPLATE);
}

/* ---- numbers ---- */

void take_slots(struct reader *r, const struct key *k, const struct yaml_node *n, void *into)
{
	(void)into;
	r->gpu_slots = read_choice(r, k, n) == 1;
}

/* "0.5" per cent: millionths. */
static bool parse_share(char *text, int64_t *ppm)
{
	char *percent = strchr(text, '%');
	int64_t v = 0;
	int decimals = -1;
	const char *p;

	if (percent == NULL || percent[1] != '\0' || !isdigit((unsigned char)text[0]))
		return false;
	for (p = text; p < percent; p++) {
		if (*p == '.' && decimals < 0) {
			decimals = 0;
			continue;
		}
		if (!isdigit((unsigned char)*p) || decimals == 4 || v > 1000000)
			return false;
		v = v * 10 + (*p - '0');
		decimals += decimals >= 0;
	}
	for (decimals = decimals < 0 ? 0 : decimals; decimals < 4; decimals++)
		v *= 10;
	*ppm = v;
	return v <= 1000000;
}

void take_share(struct reader *r, const struct key *k, const struct yaml_node *n, void *into)
{
	struct spec *s = into;
	char *text = reader_text(r, k, n, PARAMS_PLAIN);
	struct error e;
	int64_t v = 0;
	bool ok;

	if (text == NULL)
		return;
	if (strchr(text, '%') != NULL) {
		ok = parse_share(text, &v);
		s->allow_failed_ppm = ok ? v : 0;
	} else {
		ok = str_parse_count(text, 0, k->max, &v, &e) == ST_OK;
		s->allow_failed = ok ? v : 0;
	}
	if (!ok)
		READER_PROBLEM(r, n, "\"%s\" is \"%.60s\"; expected %s, at most 100%%", k->name,
		    text, key_expected(KEY_SHARE));
	free(text);
}

static int by_exit_code(const void *a, const void *b)
{
	const struct spec_after_stop *x = a;
	const struct spec_after_stop *y = b;

	return x->exit_code - y->exit_code;
}

void take_after_stop(struct reader *r, const struct key *k, const struct yaml_node *n, void *into)
{
	static const enum cause causes[] = {
		CAUSE_DONE, CAUSE_CHECKPOINTED, CAUSE_INTERRUPTED, CAUSE_FAILED,
	};
	const struct yaml_node *value;
	struct spec *s = into;

	if (n->kind != YAML_MAP) {
		reader_wants(r, k, n);
		return;
	}
	s->after_stop = mem_zero((n->n + 1) * sizeof(*s->after_stop));
	if (s->after_stop == NULL) {
		reader_no_memory(r);
		return;
	}
	for (value = n->first; value != NULL; value = value->next) {
		struct key local = *k;
		struct error e;
		int64_t code;
		int i;

		local.name = value->key->text;
		if (str_parse_count(value->key->text, 0, k->max, &code, &e) != ST_OK) {
			READER_PROBLEM(r, value->key, "\"%.60s\" is no exit code; expected a whole "
			    "number from 0 to 255", value->key->text);
			continue;
		}
		i = read_choice(r, &local, value);
		if (i < 0)
			continue;
		s->after_stop[s->n_after_stop].exit_code = (int)code;
		s->after_stop[s->n_after_stop].cause = causes[i];
		s->n_after_stop++;
	}
	if (s->n_after_stop > 1)
		qsort(s->after_stop, s->n_after_stop, sizeof(*s->after_stop), by_exit_code);
	for (size_t i = 1; i < s->n_after_stop; i++) {
		if (s->after_stop[i].exit_code == s->after_stop[i - 1].exit_code)
			READER_PROBLEM(r, n, "exit code %d is here twice",
			    s->after_stop[i].exit_code);
	}
}

/* ---- variables ---- */

/* What ebb tells a command; a file must not say otherwise. */
static bool is_contract_variable(const char *name)
{
	static const char *const ours[] = {
		"EBB_CONTRACT", "EBB_RUN", "EBB_STAGE", "EBB_SHARD", "EBB_INDEX", "EBB_COUNT",
		"EBB_EPOCH", "EBB_ATTEMPT", "EBB_FAILURES", "EBB_INTERRUPTIONS", "EBB_SLOT",
		"EBB_INPUT", "EBB_OUTPUT", "EBB_CHECKPOINT", "EBB_OFFSET", "EBB_SCRATCH",
		"EBB_CONTROL", "EBB_NOTICE_FILE", "EBB_DEADLINE",
	};
	size_t i;

	for (i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		if (strcmp(name, ours[i]) == 0)
			return true;
	}
	return false;
}

static bool check_variable_name(struct reader *r, const struct yaml_node *value)
{
	const char *name = value->key->text;

	if (!key_is_variable(name, strlen(name))) {
		READER_PROBLEM(r, value->key, "\"%.60s\" is no name of a variable; expected "
		    "letters, digits and _, no digit first", name);
		return false;
	}
	if (is_contract_variable(name)) {
		READER_PROBLEM(r, value->key, "%s is set by ebb for each shard; take another name",
		    name);
		return false;
	}
	return true;
}

static int by_variable(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void take_env(struct reader *r, const struct key *k, const struct yaml_node *n, void *into)
{
	const struct yaml_node *value;
	struct spec *s = into;

	if (n->kind != YAML_MAP) {
		reader_wants(r, k, n);
		return;
	}
	for (value = n->first; value != NULL; value = value->next) {
		struct key local = {.name = value->key->text, .kind = KEY_TEXT};
		struct buf pair = {0};
		size_t used;
		char *text;

		if (!check_variable_name(r, value))
			continue;
		text = reader_any_text(r, &local, value, PARAMS_PLAIN, &used);
		if (text == NULL)
			continue;
		buf_printf(&pair, "%s=%s", value->key->text, text);
		free(text);
		if (pair.failed)
			reader_no_memory(r);
		else
			reader_add_word(r, &s->env, &s->n_env, pair.data);
	}
	if (s->n_env > 1)
		qsort(s->env, s->n_env, sizeof(*s->env), by_variable);
}

static bool is_reference(const char *from)
{
	if (strncmp(from, "env:", 4) == 0)
		return key_is_variable(from + 4, strlen(from + 4));
	return strncmp(from, "file:", 5) == 0 && from[5] != '\0';
}

static int by_secret(const void *a, const void *b)
{
	const struct spec_secret *x = a;
	const struct spec_secret *y = b;

	return strcmp(x->name, y->name);
}

/* Messages never show the value: it may be the secret itself, put there by
 * mistake. */
void take_secrets(struct reader *r, const struct key *k, const struct yaml_node *n, void *into)
{
	const struct yaml_node *value;
	struct spec *s = into;

	if (n->kind != YAML_MAP) {
		reader_wants(r, k, n);
		return;
	}
	s->secret = mem_zero((n->n + 1) * sizeof(*s->secret));
	if (s->secret == NULL) {
		reader_no_memory(r);
		return;
	}
	for (value = n->first; value != NULL; value = value->next) {
		struct key local = {.name = value->key->text, .kind = KEY_TEXT};
		char *from;
		size_t used;

		if (!check_variable_name(r, value))
			continue;
		from = reader_any_text(r, &local, value, PARAMS_PLAIN, &used);
		if (from != NULL && !is_reference(from)) {
			READER_PROBLEM(r, value, "\"%s\" is no reference to a secret; expected "
			    "env:NAME or file:PATH, and never the secret itself", value->key->text);
			free(from);
			continue;
		}
		if (from == NULL)
			continue;
		s->secret[s->n_secrets].name = mem_dup(value->key->text, strlen(value->key->text));
		s->secret[s->n_secrets].from = from;
		if (s->secret[s->n_secrets++].name == NULL) {
			reader_no_memory(r);
			return;
		}
	}
	if (s->n_secrets > 1)
		qsort(s->secret, s->n_secrets, sizeof(*s->secret), by_secret);
}

/* ---- all together ---- */

struct kinds_of_input {
	bool files;  /* patterns */
	bool lists;
	bool counts;
	bool stages;
};

static struct kinds_of_input input_kinds(const struct spec *s)
{
	struct kinds_of_input kinds = {0};
	size_t i;

	for (i = 0; i < s->n_sources; i++) {
		kinds.files = kinds.files || s->source[i].kind == SOURCE_GLOB;
		kinds.lists = kinds.lists || s->source[i].kind == SOURCE_LIST;
		kinds.counts = kinds.counts || s->source[i].kind == SOURCE_COUNT;
		kinds.stages = kinds.stages || s->source[i].kind == SOURCE_STAGE;
	}
	return kinds;
}

static const struct yaml_node *get_below(const struct yaml_node *map, const char *key,
    const char *below)
{
	const struct yaml_node *n = yaml_get(map, key);

	return n != NULL && n->kind == YAML_MAP ? yaml_get(n, below) : NULL;
}

static void finish_cutting(struct reader *r, const struct yaml_node *n, struct spec *s)
{
	struct kinds_of_input kinds = input_kinds(s);
	const struct yaml_node *at = yaml_get(n, "shard");
	const struct yaml_node *by = get_below(n, "shard", "by");

	if (by == NULL)
		s->shard = kinds.lists || kinds.counts ? SPEC_LIST : kinds.files ?
		    SPEC_FILES : SPEC_ALL;
	if (at == NULL)
		at = yaml_get(n, "input");
	if (s->shard == SPEC_LIST && (kinds.files || kinds.stages))
		READER_PROBLEM(r, at, "patterns and stages are not cut by: list, which is for "
		    "{list: } and {count: }; expected shard: {by: all}, files or bytes");
	if ((s->shard == SPEC_FILES || s->shard == SPEC_BYTES) && kinds.counts)
		READER_PROBLEM(r, at, "{count: } gives numbers, no files; expected shard: {by: "
		    "list} or {by: all}");
	if (s->shard == SPEC_BYTES && s->shard_size == 0)
		READER_PROBLEM(r, at, "by: bytes needs the size of a piece, such as size: 64MiB");
	if ((s->shard == SPEC_LIST || s->shard == SPEC_ALL) && s->shard_size != 0)
		READER_PROBLEM(r, at, "size: is for by: bytes and by: files");
	if (s->shard != SPEC_BYTES && s->records != NULL)
		READER_PROBLEM(r, at, "records: is for by: bytes");
	if (s->shard == SPEC_BYTES && s->records == NULL) {
		s->records = mem_dup("lines", strlen("lines"));
		if (s->records == NULL)
			reader_no_memory(r);
	}
	at = yaml_get(n, "batch");
	if (at != NULL && (s->shard != SPEC_BYTES || s->records == NULL ||
	    strcmp(s->records, "whole") == 0))
		READER_PROBLEM(r, at, "batch: needs shard: {by: bytes} with records: lines, "
		    "paragraphs or nul");
}

/* Values are quoted as POSIX shells want it. */
static bool shell_is_posix(const struct spec *s)
{
	size_t i;

	for (i = 0; i < s->n_shell_words; i++) {
		if (is_shell(s->shell_words[i]))
			return true;
	}
	return s->n_shell_words == 0;
}

/* Does the command name the item? Tells what is wrong with its replacement
 * strings. */
static bool command_uses_item(struct reader *r, const struct yaml_node *run, const struct spec *s)
{
	enum template_mode mode = s->shell && shell_is_posix(s) ? TEMPLATE_SHELL : TEMPLATE_PLAIN;
	bool uses = false;
	size_t i;

	for (i = 0; i < s->n_command; i++) {
		struct template *t;
		struct error e;
		enum status st = template_parse(s->command[i], mode, &t, &e);

		if (st == ST_NO_MEMORY)
			reader_no_memory(r);
		else if (st != ST_OK)
			READER_PROBLEM(r, run, "%s", e.text);
		else
			uses = uses || template_uses_item(t);
		template_free(t);
	}
	return uses;
}

static void finish_command(struct reader *r, const struct yaml_node *n, struct spec *s)
{
	const struct yaml_node *run = yaml_get(n, "run");
	const struct yaml_node *as = yaml_get(n, "input_as");
	const struct yaml_node *shell = yaml_get(n, "shell");
	bool uses_item = command_uses_item(r, run, s);

	if (s->shell && !shell_is_posix(s) && (uses_item || r->run_values > 0))
		READER_PROBLEM(r, run, "\"%.60s\" is no shell whose quoting is known, so neither "
		    "{} nor parameters can be put into its text; use $EBB_INPUT and env:",
		    s->shell_words[0]);
	if (shell != NULL && run->kind == YAML_LIST)
		READER_PROBLEM(r, shell, "shell: is for a command given as a text; this one is a "
		    "list of words, which no shell reads");
	if (as == NULL)
		s->input = uses_item && s->shard != SPEC_BYTES ? SPEC_WORDS : SPEC_STDIN;
	else if (s->shard == SPEC_BYTES && s->input != SPEC_STDIN)
		READER_PROBLEM(r, as, "a piece of a file comes on stdin; expected input_as: stdin, "
		    "or shard: {by: files}");
}

static void finish_variables(struct reader *r, const struct yaml_node *n, const struct spec *s)
{
	const struct yaml_node *secrets = yaml_get(n, "secrets");
	size_t i;

	for (i = 0; i < s->n_secrets; i++) {
		const struct yaml_node *both = get_below(n, "env", s->secret[i].name);

		if (both != NULL)
			READER_PROBLEM(r, yaml_get(secrets, s->secret[i].name)->key,
			    "%s is under env: too, in line %d", s->secret[i].name, both->key->line);
	}
}

void stage_finish(struct reader *r, const struct yaml_node *n, struct spec *s)
{
	finish_cutting(r, n, s);
	finish_command(r, n, s);
	finish_variables(r, n, s);
	if (r->gpu_slots && s->gpus == 0)
		s->gpus = 1;
}
