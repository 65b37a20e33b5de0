#include "pipeline/reader.h"

#include <stdlib.h>
#include <string.h>

void reader_no_memory(struct reader *r)
{
	r->problems->no_memory = true;
}

void reader_wants(struct reader *r, const struct key *k, const struct yaml_node *n)
{
	if (n->len == 0 && n->n == 0)
		READER_PROBLEM(r, n, "\"%s\" is empty; expected %s", k->name,
		    key_expected(k->kind));
	else
		READER_PROBLEM(r, n, "\"%s\" is %s; expected %s", k->name, yaml_kind_text(n->kind),
		    key_expected(k->kind));
}

/* With choices the expectation is the list of them. */
static void wants_text(struct reader *r, const struct key *k, const struct yaml_node *n)
{
	const char *is = n->kind == YAML_TEXT ? "empty" : yaml_kind_text(n->kind);

	struct buf list = {0};

	if (k->choices != NULL)
		key_choices_print(k->choices, &list);
	if (list.failed)
		reader_no_memory(r);
	else if (k->choices != NULL)
		READER_PROBLEM(r, n, "\"%s\" is %s; expected one of %s", k->name, is, list.data);
	else
		READER_PROBLEM(r, n, "\"%s\" is %s; expected %s", k->name, is,
		    key_expected(k->kind));
	buf_free(&list);
}

char *reader_any_text(struct reader *r, const struct key *k, const struct yaml_node *n,
    enum params_mode mode, size_t *used)
{
	struct buf out = {0};
	struct error e;
	enum status st;

	*used = 0;
	if (n->kind != YAML_TEXT) {
		wants_text(r, k, n);
		return NULL;
	}
	if (strlen(n->text) != n->len) {
		READER_PROBLEM(r, n, "\"%s\" has a NUL byte in it", k->name);
		return NULL;
	}
	st = params_expand(&r->params, n->text, mode, &out, used, &e);
	if (st == ST_OK)
		return out.data;
	buf_free(&out);
	if (st == ST_NO_MEMORY)
		reader_no_memory(r);
	else
		READER_PROBLEM(r, n, "\"%s\": %s", k->name, e.text);
	return NULL;
}

char *reader_text(struct reader *r, const struct key *k, const struct yaml_node *n,
    enum params_mode mode)
{
	size_t used;
	char *text = reader_any_text(r, k, n, mode, &used);

	if (text != NULL && text[0] == '\0') {
		if (n->len > 0)
			READER_PROBLEM(r, n, "\"%s\" is empty once its parameters are put in",
			    k->name);
		else
			wants_text(r, k, n);
		free(text);
		return NULL;
	}
	return text;
}

void reader_add_word(struct reader *r, char ***words, size_t *n, char *take_word)
{
	void *list = *words;
	size_t cap = *n;
	struct error e;

	/* One more each time: lists in files are short. */
	if (mem_grow(&list, &cap, *n + 1, sizeof(**words), &e) != ST_OK) {
		reader_no_memory(r);
		free(take_word);
		return;
	}
	*words = list;
	(*words)[(*n)++] = take_word;
}

static void take_files(struct reader *r, const struct key *k, const struct yaml_node *n,
    void *into)
{
	const struct yaml_node *item;

	(void)into;
	r->spots->files.line = n->line;
	r->spots->files.column = n->column;
	if (n->kind != YAML_LIST) {
		reader_wants(r, k, n);
		return;
	}
	if (n->n > (size_t)k->max) {
		READER_PROBLEM(r, n, "\"%s\" has %zu texts; expected at most %lld", k->name, n->n,
		    (long long)k->max);
		return;
	}
	for (item = n->first; item != NULL; item = item->next) {
		char *text = reader_text(r, k, item, PARAMS_PLAIN);

		if (text != NULL)
			reader_add_word(r, &r->files, &r->n_files, text);
	}
}

static void take_map(struct reader *r, const struct key *k, const struct yaml_node *n, void *into)
{
	if (n->kind != YAML_MAP)
		reader_wants(r, k, n);
	else
		reader_map(r, k->table, n, into);
}

static void take_version(struct reader *r, const struct key *k, const struct yaml_node *n,
    void *into)
{
	char *text = reader_text(r, k, n, PARAMS_PLAIN);

	(void)into;
	if (text != NULL && strcmp(text, "1") != 0)
		READER_PROBLEM(r, n, "\"version\" is \"%.60s\"; this ebb reads version 1", text);
	free(text);
}

/* Read by read.c, at their time. */
static void take_nothing(struct reader *r, const struct key *k, const struct yaml_node *n,
    void *into)
{
	(void)r;
	(void)k;
	(void)n;
	(void)into;
}

static const reader_take_fn takes[KEY_KINDS] = {
	[KEY_TEXT] = take_text,
	[KEY_ANY_TEXT] = take_nothing,
	[KEY_NAME] = take_name,
	[KEY_COUNT] = take_count,
	[KEY_COUNT64] = take_count64,
	[KEY_SIZE] = take_size,
	[KEY_DURATION] = take_duration,
	[KEY_CPU] = take_cpu,
	[KEY_CHOICE] = take_choice,
	[KEY_CHOICE_TEXT] = take_choice_text,
	[KEY_CHOICE_FIRST] = take_choice_first,
	[KEY_SIGNAL] = take_signal,
	[KEY_MAP] = take_map,
	[KEY_VERSION] = take_version,
	[KEY_PARAMS] = take_nothing,
	[KEY_FILES] = take_files,
	[KEY_STAGES] = take_nothing,
	[KEY_INPUT] = take_input,
	[KEY_RUN] = take_run,
	[KEY_OUTPUT] = take_output,
	[KEY_SLOTS] = take_slots,
	[KEY_BACKOFF] = take_backoff,
	[KEY_SHARE] = take_share,
	[KEY_AFTER_STOP] = take_after_stop,
	[KEY_ENV] = take_env,
	[KEY_SECRETS] = take_secrets,
	[KEY_SHELL] = take_shell,
};

void reader_unknown_key(struct reader *r, const struct key *keys, const struct yaml_node *n)
{
	const struct key *near = key_nearest(keys, n->key->text);
	struct buf list = {0};
	const struct key *k;

	if (near != NULL) {
		READER_PROBLEM(r, n->key, "there is no key \"%.60s\" here; did you mean \"%s\"?",
		    n->key->text, near->name);
		return;
	}
	for (k = keys; k->name != NULL; k++)
		buf_printf(&list, "%s%s", k == keys ? "" : ", ", k->name);
	if (list.failed)
		reader_no_memory(r);
	else
		READER_PROBLEM(r, n->key, "there is no key \"%.60s\" here; expected %s",
		    n->key->text, list.data);
	buf_free(&list);
}

static bool is_repeated(const struct yaml_node *map, const struct yaml_node *n)
{
	return yaml_get(map, n->key->text) != n;
}

void reader_map(struct reader *r, const struct key *keys, const struct yaml_node *n, void *into)
{
	const struct yaml_node *value;
	const struct key *k;

	for (value = n->first; value != NULL; value = value->next) {
		k = key_find(keys, value->key->text);
		if (k == NULL)
			reader_unknown_key(r, keys, value);
		else if (!is_repeated(n, value))
			takes[k->kind](r, k, value, into);
	}
	for (k = keys; k->name != NULL; k++) {
		if (k->required && yaml_get(n, k->name) == NULL)
			READER_PROBLEM(r, n, "\"%s\" is missing; expected %s", k->name,
			    key_expected(k->kind));
	}
}
