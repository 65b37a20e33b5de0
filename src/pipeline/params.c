#include "pipeline/params.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "model/shell_scan.h"
#include "model/template.h"
#include "pipeline/keys.h"

/* Where a value goes in a text. */
struct hole {
	size_t at;      /* of "${NAME}" in the text */
	size_t len;     /* of "${NAME}" */
	size_t begin;   /* of the value in what comes out */
	size_t end;
	const char *name;
	const char *value;
};

/* A text whose "$${" are "${", and the holes in it. */
struct split {
	struct buf text;
	struct hole *holes;
	size_t n;
	size_t cap;
};

void params_free(struct params *p)
{
	size_t i;

	for (i = 0; i < p->n; i++) {
		free(p->list[i].name);
		free(p->list[i].value);
	}
	free(p->list);
	memset(p, 0, sizeof(*p));
}

enum status params_add(struct params *p, const char *name, char *take_value, int line, int column,
    struct error *e)
{
	struct param it = {.value = take_value, .line = line, .column = column};
	void *list = p->list;
	enum status st = mem_grow(&list, &p->cap, p->n + 1, sizeof(it), e);

	p->list = list;
	if (st == ST_OK) {
		it.name = mem_dup(name, strlen(name));
		if (it.name == NULL)
			st = error_set(e, ST_NO_MEMORY, "out of memory");
	}
	if (st != ST_OK) {
		free(take_value);
		return st;
	}
	p->list[p->n++] = it;
	return ST_OK;
}

struct param *params_find(const struct params *p, const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < p->n; i++) {
		if (strlen(p->list[i].name) == len && memcmp(p->list[i].name, name, len) == 0)
			return &p->list[i];
	}
	return NULL;
}

const struct param *params_nearest(const struct params *p, const char *name, size_t len)
{
	const struct param *best = NULL;
	size_t best_apart = 64;
	size_t i;

	for (i = 0; i < p->n; i++) {
		const char *known = p->list[i].name;
		size_t apart = str_distance(name, len, known, strlen(known));

		if (apart < best_apart && key_is_near(name, len, known, strlen(known))) {
			best = &p->list[i];
			best_apart = apart;
		}
	}
	return best;
}

static int by_param_name(const void *a, const void *b)
{
	const struct param *p = a;
	const struct param *q = b;

	return strcmp(p->name, q->name);
}

void params_sort(struct params *p)
{
	if (p->n > 1)
		qsort(p->list, p->n, sizeof(*p->list), by_param_name);
}

/* ---- finding the holes ---- */

static enum status unknown_param(const struct params *p, const char *name, size_t len,
    struct error *e)
{
	const struct param *near = params_nearest(p, name, len);
	int shown = len > 60 ? 60 : (int)len;

	if (near != NULL)
		return error_set(e, ST_CONFIG, "there is no parameter \"%.*s\"; did you mean "
		    "${%s}? ($${ stands for ${ itself)", shown, name, near->name);
	return error_set(e, ST_CONFIG, "there is no parameter \"%.*s\"; declare it under params: "
	    "($${ stands for ${ itself)", shown, name);
}

static enum status add_hole(struct split *s, const char *at, size_t len, const struct param *param,
    struct error *e)
{
	void *holes = s->holes;
	enum status st = mem_grow(&holes, &s->cap, s->n + 1, sizeof(*s->holes), e);

	s->holes = holes;
	if (st != ST_OK)
		return st;
	s->holes[s->n].at = s->text.len;
	s->holes[s->n].len = len;
	s->holes[s->n].name = param->name;
	s->holes[s->n].value = param->value == NULL ? "" : param->value;
	s->n++;
	buf_append(&s->text, at, len);
	return ST_OK;
}

/* What stands at "${"; *len is how far it goes. */
static enum status split_one(const struct params *p, const char *at, bool keep_others,
    struct split *s, size_t *len, struct error *e)
{
	const char *name = at + 2;
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
	const struct param *param = name[n] == '}' ? params_find(p, name, n) : NULL;

	*len = n + 3;
	if (param != NULL)
		return add_hole(s, at, *len, param, e);
	if (keep_others) {
		*len = 2;
		buf_str(&s->text, "${");
		return ST_OK;
	}
	if (name[n] != '}' || !key_is_variable(name, n))
		return error_set(e, ST_CONFIG, "\"${\" is not followed by the name of a parameter "
		    "and \"}\"; write $${ for ${ itself");
	return unknown_param(p, name, n, e);
}

static enum status split_text(const struct params *p, const char *text, bool keep_others,
    struct split *s, struct error *e)
{
	enum status st = ST_OK;

	buf_str(&s->text, "");
	while (st == ST_OK && *text != '\0') {
		size_t len = strcspn(text, "$");

		if (len > 0) {
			buf_append(&s->text, text, len);
		} else if (strncmp(text, "$${", 3) == 0) {
			buf_str(&s->text, "${");
			len = 3;
		} else if (text[1] == '{') {
			st = split_one(p, text, keep_others, s, &len, e);
		} else {
			buf_char(&s->text, '$');
			len = 1;
		}
		text += len;
	}
	return st == ST_OK ? buf_check(&s->text, e) : st;
}

/* ---- filling them ---- */

static enum status check_text_length(const struct buf *out, struct error *e)
{
	if (out->len > PARAMS_TEXT_MAX)
		return error_set(e, ST_CONFIG, "with its parameters the text has more than %d "
		    "bytes", PARAMS_TEXT_MAX);
	return ST_OK;
}

static enum status fill_plain(struct split *s, struct buf *out, struct error *e)
{
	size_t at = 0;
	size_t i;

	for (i = 0; i < s->n; i++) {
		struct hole *h = &s->holes[i];
		enum status st;

		buf_append(out, s->text.data + at, h->at - at);
		h->begin = out->len;
		buf_str(out, h->value);
		h->end = out->len;
		at = h->at + h->len;
		st = check_text_length(out, e);
		if (st != ST_OK)
			return st;
	}
	buf_append(out, s->text.data + at, s->text.len - at);
	return check_text_length(out, e);
}

/* No replacement string may come out of a value, wholly or in part. */
static enum status check_template(const struct split *s, const struct buf *out, struct error *e)
{
	size_t at = 0;
	size_t i = 0;

	while (at < out->len) {
		size_t len = template_match(out->data + at);
		size_t end = at + len;

		while (i < s->n && s->holes[i].end <= at && s->holes[i].begin <= at)
			i++;
		if (i < s->n && len > 0 && s->holes[i].begin < end &&
		    (s->holes[i].end > at || s->holes[i].begin > at))
			return error_set(e, ST_CONFIG, "the value of parameter \"%s\" would make "
			    "%.*s, which ebb replaces; pass it by env:, or take another value",
			    s->holes[i].name, (int)len, out->data + at);
		at = len > 0 ? end : at + 1;
	}
	return ST_OK;
}

/* In single quotes, in such a way that no "{" is followed by what would make it
 * a replacement string. */
static void quote_value(struct buf *out, const char *value)
{
	buf_char(out, '\'');
	while (*value != '\0') {
		size_t len = strcspn(value, "'{");

		buf_append(out, value, len);
		value += len;
		if (*value == '\0')
			break;
		buf_str(out, *value == '\'' ? "'\\''" : "{''");
		value++;
	}
	buf_char(out, '\'');
}

static enum status refuse_hole(const struct hole *h, const char *text, enum shell_place place,
    struct error *e)
{
	size_t line = 1;
	size_t i;

	for (i = 0; i < h->at; i++)
		line += text[i] == '\n';
	return error_set(e, ST_CONFIG, "${%s} in line %zu of the command stands %s; its value "
	    "cannot be quoted there; %spass it by env: {%s: \"${%s}\"} and use the variable",
	    h->name, line, shell_place_text(place), place == SHELL_SINGLE ||
	    place == SHELL_DOUBLE || place == SHELL_BACKSLASH ? "leave your quotes out, or " : "",
	    h->name, h->name);
}

static enum status fill_shell(const struct split *s, struct buf *out, size_t *used,
    struct error *e)
{
	const char *text = s->text.data;
	struct shell_scan scan;
	size_t at = 0;
	size_t i = 0;
	enum status st = ST_OK;

	*used = 0;
	shell_scan_start(&scan);
	while (at < s->text.len && st == ST_OK) {
		const struct hole *h = i < s->n ? &s->holes[i] : NULL;
		bool here = h != NULL && h->at == at;
		enum shell_place place = shell_scan_place(&scan);
		size_t len;

		if (here && place == SHELL_WORD) {
			quote_value(out, h->value);
			shell_scan_word(&scan);
			len = h->len;
			++*used;
		} else if (here && place != SHELL_COMMENT) {
			return refuse_hole(h, text, place, e);
		} else {
			len = shell_scan_step(&scan, text + at);
			if (h != NULL && !here && at + len > h->at)
				return refuse_hole(h, text, SHELL_UNSURE, e);
			buf_append(out, text + at, len);
		}
		if (here)
			i++;
		at += len;
		st = check_text_length(out, e);
	}
	return st;
}

enum status params_expand(const struct params *p, const char *text, enum params_mode mode,
    struct buf *out, size_t *used, struct error *e)
{
	struct split s = {0};
	enum status st = split_text(p, text, mode == PARAMS_WORD || mode == PARAMS_SHELL, &s, e);

	buf_clear(out);
	buf_str(out, "");
	*used = s.n;
	if (st == ST_OK && mode == PARAMS_SHELL)
		st = fill_shell(&s, out, used, e);
	else if (st == ST_OK)
		st = fill_plain(&s, out, e);
	if (st == ST_OK)
		st = buf_check(out, e);
	if (st == ST_OK && (mode == PARAMS_TEMPLATE || mode == PARAMS_WORD))
		st = check_template(&s, out, e);
	free(s.holes);
	buf_free(&s.text);
	return st;
}
