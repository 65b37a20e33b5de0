#include "cli/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static const struct option *by_letter(const struct verb *v, char letter)
{
	const struct option *o;

	for (o = v->options; o->name != NULL; o++) {
		if (o->letter != 0 && o->letter == letter)
			return o;
	}
	return NULL;
}

static const struct option *by_name(const struct verb *v, const char *name, size_t len)
{
	const struct option *o;

	for (o = v->options; o->name != NULL; o++) {
		if (strlen(o->name) == len && strncmp(o->name, name, len) == 0)
			return o;
	}
	return NULL;
}

static bool is_among(const char *words, const char *word, size_t len)
{
	const char *p = words;

	while (*p != '\0') {
		size_t n = strcspn(p, " ");

		if (n == len && strncmp(p, word, n) == 0)
			return true;
		p += n;
		p += strspn(p, " ");
	}
	return false;
}

static enum status unknown(const struct verb *v, const char *word, size_t len, struct error *e)
{
	const struct option *best = NULL;
	const struct option *o;
	const struct option_hint *h;
	size_t best_d = 3;

	for (h = v->hints; h != NULL && h->words != NULL; h++) {
		if (is_among(h->words, word, len))
			return error_set(e, ST_CONFIG, "there is no %.*s: %s (ebb help %s lists all "
			    "options)", (int)len, word, h->instead, v->name);
	}
	for (o = v->options; o->name != NULL; o++) {
		size_t d = str_distance(word + 2, len > 2 ? len - 2 : 0, o->name, strlen(o->name));

		if (len > 2 && word[1] == '-' && d < best_d) {
			best = o;
			best_d = d;
		}
	}
	if (best != NULL)
		return error_set(e, ST_CONFIG, "unknown option %.*s; did you mean --%s? "
		    "(ebb help %s lists them all)", (int)len, word, best->name, v->name);
	return error_set(e, ST_CONFIG, "unknown option %.*s; ebb help %s lists them all", (int)len,
	    word, v->name);
}

static bool is_choice(const char *choices, const char *value)
{
	size_t len = strlen(value);
	const char *p = choices;

	while (p != NULL) {
		const char *bar = strchr(p, '|');
		size_t n = bar == NULL ? strlen(p) : (size_t)(bar - p);

		if (n == len && strncmp(p, value, n) == 0)
			return true;
		p = bar == NULL ? NULL : bar + 1;
	}
	return false;
}

static enum status add_text(struct option_texts *t, const char *value, struct error *e)
{
	void *p = t->list;
	enum status st = mem_grow(&p, &t->cap, t->n + 1, sizeof(*t->list), e);

	if (st != ST_OK)
		return st;
	t->list = p;
	t->list[t->n++] = value;
	return ST_OK;
}

static enum status set_value(const struct option *o, const char *value, void *values,
    struct error *e)
{
	char *at = (char *)values + o->offset;
	enum status st = ST_OK;

	switch (o->kind) {
	case OPTION_FLAG:
		*(bool *)(void *)at = true;
		break;
	case OPTION_TEXT:
		*(const char **)(void *)at = value;
		break;
	case OPTION_TEXTS:
		st = add_text((struct option_texts *)(void *)at, value, e);
		break;
	case OPTION_COUNT:
		st = str_parse_count(value, o->min, o->max, (int64_t *)(void *)at, e);
		break;
	case OPTION_SIZE:
		st = str_parse_size(value, (int64_t *)(void *)at, e);
		break;
	case OPTION_DURATION:
		st = str_parse_duration(value, (int64_t *)(void *)at, e);
		break;
	case OPTION_CHOICE:
		if (!is_choice(o->choices, value))
			st = error_set(e, ST_CONFIG, "\"%.60s\" is not one of %s", value,
			    o->choices);
		*(const char **)(void *)at = value;
		break;
	}
	if (st == ST_OK && (o->kind == OPTION_SIZE || o->kind == OPTION_DURATION) &&
	    o->max > 0 && (*(int64_t *)(void *)at < o->min || *(int64_t *)(void *)at > o->max))
		st = error_set(e, ST_CONFIG, "\"%.60s\" is out of bounds", value);
	if (st != ST_OK)
		return error_prefix(e, st, "--%s", o->name);
	return ST_OK;
}

/* "--name", "--name=value" or "--name value". */
static enum status parse_long(const struct verb *v, int argc, char **argv, int *i, void *values,
    struct error *e)
{
	const char *word = argv[*i];
	const char *eq = strchr(word, '=');
	size_t len = eq == NULL ? strlen(word) : (size_t)(eq - word);
	const struct option *o = by_name(v, word + 2, len - 2);

	if (o == NULL)
		return unknown(v, word, len, e);
	if (o->kind == OPTION_FLAG) {
		if (eq != NULL)
			return error_set(e, ST_CONFIG, "--%s takes no value", o->name);
		return set_value(o, NULL, values, e);
	}
	if (eq != NULL)
		return set_value(o, eq + 1, values, e);
	if (*i + 1 >= argc)
		return error_set(e, ST_CONFIG, "--%s needs a value: %s", o->name, o->arg);
	*i += 1;
	return set_value(o, argv[*i], values, e);
}

/* "-k0", "-j8", "-j 8". */
static enum status parse_short(const struct verb *v, int argc, char **argv, int *i, void *values,
    struct error *e)
{
	const char *p = argv[*i] + 1;

	for (; *p != '\0'; p++) {
		const struct option *o = by_letter(v, *p);
		char shown[3] = {'-', *p, '\0'};
		enum status st;

		if (o == NULL)
			return unknown(v, shown, 2, e);
		if (o->kind == OPTION_FLAG) {
			st = set_value(o, NULL, values, e);
			if (st != ST_OK)
				return st;
			continue;
		}
		if (p[1] != '\0')
			return set_value(o, p + 1, values, e);
		if (*i + 1 >= argc)
			return error_set(e, ST_CONFIG, "-%c needs a value: %s", *p, o->arg);
		*i += 1;
		return set_value(o, argv[*i], values, e);
	}
	return ST_OK;
}

enum status options_parse(const struct verb *v, int argc, char **argv, void *values, int *next,
    bool *help, struct error *e)
{
	enum status st = ST_OK;
	int i;

	*help = false;
	for (i = 1; st == ST_OK && i < argc; i++) {
		const char *word = argv[i];

		if (word[0] != '-' || word[1] == '\0' || strcmp(word, "--") == 0)
			break;
		if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
			*help = true;
			break;
		}
		st = word[1] == '-' ? parse_long(v, argc, argv, &i, values, e)
		    : parse_short(v, argc, argv, &i, values, e);
	}
	*next = i;
	return st;
}

void options_help(const struct verb *v, struct buf *out)
{
	enum { COLUMN = 26 };
	const struct option *o;
	size_t i;

	buf_printf(out, "%s\n\nusage: %s\n", v->summary, v->usage);
	for (i = 0; v->subs != NULL && v->subs[i] != NULL; i++)
		buf_printf(out, "%s  %s\n", i == 0 ? "\n" : "", v->subs[i]->summary);
	if (v->options->name != NULL)
		buf_str(out, "\noptions:\n");
	for (o = v->options; o->name != NULL; o++) {
		size_t start = out->len;

		buf_str(out, "  ");
		if (o->letter != 0)
			buf_printf(out, "-%c, ", o->letter);
		buf_printf(out, "--%s", o->name);
		if (o->arg != NULL)
			buf_printf(out, " %s", o->arg);
		if (out->len - start >= COLUMN)
			buf_printf(out, "\n%*s", COLUMN, "");
		else
			buf_printf(out, "%*s", (int)(COLUMN - (out->len - start)), "");
		buf_printf(out, "%s\n", o->help);
	}
	if (v->text != NULL)
		buf_printf(out, "\n%s", v->text);
}

/* Text for roff: a backslash, and a dot or quote that begins a line, mean
 * something there; a hyphen would become a typographic one. */
static void roff_text(struct buf *out, const char *text)
{
	bool at_line_start = true;

	for (; *text != '\0'; text++) {
		if (at_line_start && (*text == '.' || *text == '\''))
			buf_str(out, "\\&");
		if (*text == '\\')
			buf_str(out, "\\e");
		else if (*text == '-')
			buf_str(out, "\\-");
		else
			buf_char(out, *text);
		at_line_start = *text == '\n';
	}
}

static void roff_verbatim(struct buf *out, const char *title, const char *text)
{
	buf_printf(out, ".SH %s\n.nf\n", title);
	roff_text(out, text);
	if (out->len > 0 && !out->failed && out->data[out->len - 1] != '\n')
		buf_char(out, '\n');
	buf_str(out, ".fi\n");
}

static void roff_options(const struct verb *v, struct buf *out)
{
	const struct option *o;

	for (o = v->options; o->name != NULL; o++) {
		buf_str(out, ".TP\n\\fB");
		if (o->letter != 0)
			buf_printf(out, "\\-%c\\fR, \\fB", o->letter);
		buf_str(out, "\\-\\-");
		roff_text(out, o->name);
		buf_str(out, "\\fR");
		if (o->arg != NULL)
			buf_printf(out, " \\fI%s\\fR", o->arg);
		buf_char(out, '\n');
		roff_text(out, o->help);
		buf_char(out, '\n');
	}
}

void options_man(const struct verb *v, struct buf *out)
{
	const char *what = strchr(v->summary, ':');
	const char *p;
	size_t i;

	buf_str(out, ".TH EBB\\-");
	for (p = v->name; *p != '\0'; p++)
		buf_char(out, *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p);
	buf_printf(out, " 1 \"\" \"ebb %s\" \"User Commands\"\n.SH NAME\nebb\\-%s \\- ", EBB_VERSION,
	    v->name);
	roff_text(out, what == NULL ? v->summary : what + 2);
	buf_char(out, '\n');
	roff_verbatim(out, "SYNOPSIS", v->usage);
	if (v->options->name != NULL)
		buf_str(out, ".SH OPTIONS\n");
	roff_options(v, out);
	for (i = 0; v->subs != NULL && v->subs[i] != NULL; i++) {
		buf_printf(out, ".SH OPTIONS OF %s\n", v->subs[i]->name);
		roff_options(v->subs[i], out);
		if (v->subs[i]->text != NULL)
			roff_verbatim(out, v->subs[i]->name, v->subs[i]->text);
	}
	if (v->text != NULL)
		roff_verbatim(out, "NOTES", v->text);
	buf_str(out, ".SH SEE ALSO\n.BR ebb (1)\n");
}
