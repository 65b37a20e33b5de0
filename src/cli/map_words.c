#include "cli/map_words.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_list_mark(const char *word)
{
	return strcmp(word, ":::") == 0 || strcmp(word, "::::") == 0 ||
	    strcmp(word, ":::+") == 0 || strcmp(word, "::::+") == 0;
}

static enum status add_source(struct map_words *w, const struct list_source *s, struct error *e)
{
	void *p = w->sources;
	size_t cap = w->n_sources;
	enum status st = mem_grow(&p, &cap, w->n_sources + 1, sizeof(*s), e);

	if (st != ST_OK)
		return st;
	w->sources = p;
	w->sources[w->n_sources++] = *s;
	return ST_OK;
}

static enum status add_marked(struct map_words *w, int argc, char **argv, int at, struct error *e)
{
	enum status st = ST_OK;

	while (st == ST_OK && at < argc) {
		bool files = strncmp(argv[at], "::::", 4) == 0;
		struct list_source s = {.linked = strchr(argv[at], '+') != NULL};
		int first = ++at;

		while (at < argc && !is_list_mark(argv[at]))
			at++;
		if (files) {
			for (; st == ST_OK && first < at; first++) {
				s.file = argv[first];
				st = add_source(w, &s, e);
			}
		} else {
			s.words = (const char *const *)(argv + first);
			s.n_words = (size_t)(at - first);
			st = add_source(w, &s, e);
		}
	}
	return st;
}

static enum status add_inputs(struct map_words *w, struct error *e)
{
	struct list_source s = {.words = w->inputs, .n_words = w->n_inputs};

	return w->n_inputs == 0 ? ST_OK : add_source(w, &s, e);
}

static enum status add_files(struct map_words *w, const struct option_texts *files,
    struct error *e)
{
	enum status st = ST_OK;
	size_t i;

	for (i = 0; st == ST_OK && i < files->n; i++) {
		struct list_source s = {.file = files->list[i]};

		st = add_source(w, &s, e);
	}
	return st;
}

static enum status add_stdin(struct map_words *w, struct error *e)
{
	struct list_source s = {.file = "-"};

	if (w->n_sources > 0)
		return ST_OK;
	if (isatty(STDIN_FILENO) == 1)
		return error_set(e, ST_CONFIG, "no items: give them after :::, in a file with -a, or "
		    "on stdin; for example: ebb map --out '{}.gz' -- gzip -9c {} ::: *.log");
	return add_source(w, &s, e);
}

/* Inputs and options up to "--". */
static enum status before_command(const struct verb *v, int argc, char **argv, int dashes,
    void *values, struct map_words *w, bool *help, struct error *e)
{
	int at = 0;

	w->inputs = mem_zero(((size_t)argc + 1) * sizeof(*w->inputs));
	if (w->inputs == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	while (at < dashes) {
		int next;
		enum status st = options_parse(v, dashes - at, argv + at, values, &next, help, e);

		if (st != ST_OK || *help)
			return st;
		at += next;
		if (at < dashes) {
			w->inputs[w->n_inputs++] = argv[at];
			/* options_parse passes over its argv[0]. */
		}
	}
	return ST_OK;
}

static int find_dashes(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc && !is_list_mark(argv[i]); i++) {
		if (strcmp(argv[i], "--") == 0)
			return i;
	}
	return -1;
}

enum status map_words_parse(const struct verb *v, int argc, char **argv, void *values,
    const struct option_texts *arg_files, struct map_words *out, bool *help, struct error *e)
{
	int dashes = find_dashes(argc, argv);
	enum status st;
	int at;
	int end;

	memset(out, 0, sizeof(*out));
	*help = false;
	if (dashes > 0) {
		st = before_command(v, argc, argv, dashes, values, out, help, e);
		at = dashes + 1;
	} else {
		st = options_parse(v, argc, argv, values, &at, help, e);
	}
	if (st != ST_OK || *help)
		return st;
	for (end = at; end < argc && !is_list_mark(argv[end]); end++)
		;
	out->command = argv + at;
	out->n_command = (size_t)(end - at);
	if (out->n_command == 0)
		return error_set(e, ST_CONFIG, "no command; for example: ebb map --out '{}.gz' -- "
		    "gzip -9c {} ::: *.log");
	st = add_inputs(out, e);
	if (st == ST_OK)
		st = add_marked(out, argc, argv, end, e);
	if (st == ST_OK)
		st = add_files(out, arg_files, e);
	return st == ST_OK ? add_stdin(out, e) : st;
}

void map_words_free(struct map_words *w)
{
	free(w->inputs);
	free(w->sources);
	memset(w, 0, sizeof(*w));
}
