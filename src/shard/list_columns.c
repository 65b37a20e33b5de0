#include "shard/list_columns.h"

#include <ctype.h>
#include <regex.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct columns {
	bool literal;  /* the separator is the byte `byte` */
	char byte;
	bool compiled;
	regex_t regex;
};

static enum status refuse_colsep(const char *colsep, const char *why, struct error *e)
{
	return error_set(e, ST_CONFIG, "column separator \"%.60s\": %s", colsep, why);
}

/* An escape of a control character, the same in and out of brackets. */
static char control_escape(char c)
{
	static const char from[] = "tnrf";
	static const char to[] = "\t\n\r\f";
	const char *p = c != '\0' ? strchr(from, c) : NULL;

	return p != NULL ? to[p - from] : '\0';
}

/* Perl's escape behind a backslash, outside brackets. */
static enum status translate_escape(const char *colsep, char c, struct buf *out, struct error *e)
{
	if (control_escape(c) != '\0')
		buf_char(out, control_escape(c));
	else if (c == 'd')
		buf_str(out, "[0-9]");
	else if (c == 'D')
		buf_str(out, "[^0-9]");
	else if (c == 'h')
		buf_str(out, "[\t ]");
	else if (c == '\0')
		return refuse_colsep(colsep, "it ends with a backslash", e);
	else if (isalnum((unsigned char)c) && strchr("sSwW", c) == NULL)
		return error_set(e, ST_CONFIG, "column separator \"%.60s\": \\%c is not known here",
		    colsep, c);
	else if (strchr("<>`'", c) != NULL || (unsigned char)c >= 0x80)
		buf_char(out, c);
	else
		buf_printf(out, "\\%c", c);
	return ST_OK;
}

/* The same in brackets, where POSIX knows no escapes. */
static enum status translate_in_brackets(const char *colsep, char c, struct buf *out,
    struct error *e)
{
	if (control_escape(c) != '\0')
		buf_char(out, control_escape(c));
	else if (c == 'd')
		buf_str(out, "0-9");
	else if (c == 'h')
		buf_str(out, "\t ");
	else if (c == 's')
		buf_str(out, "[:space:]");
	else if (c == 'w')
		buf_str(out, "[:alnum:]_");
	else if (c == '\0' || isalnum((unsigned char)c))
		return refuse_colsep(colsep, "there is a backslash in brackets that is not known", e);
	else if (strchr("]-^[", c) != NULL)
		buf_printf(out, "[.%c.]", c);
	else
		buf_char(out, c);
	return ST_OK;
}

/* Goes over [...] at *pp. */
static enum status translate_brackets(const char *colsep, const char **pp, struct buf *out,
    struct error *e)
{
	const char *p = *pp;
	const char *first;

	buf_char(out, *p++);
	if (*p == '^')
		buf_char(out, *p++);
	for (first = p; *p != '\0' && (*p != ']' || p == first); p++) {
		if (*p == '\\') {
			enum status st = translate_in_brackets(colsep, *++p, out, e);

			if (st != ST_OK)
				return st;
		} else if (*p == '[' && p[1] != '\0' && strchr(":.=", p[1]) != NULL) {
			const char end[] = {p[1], ']', '\0'};
			const char *close = strstr(p + 2, end);

			if (close == NULL)
				return refuse_colsep(colsep, "a [ is not closed", e);
			buf_append(out, p, (size_t)(close + 2 - p));
			p = close + 1;
		} else {
			buf_char(out, *p);
		}
	}
	if (*p == '\0')
		return refuse_colsep(colsep, "a [ is not closed", e);
	buf_char(out, ']');
	*pp = p + 1;
	return ST_OK;
}

/* Into the dialect of regcomp. */
static enum status translate(const char *colsep, struct buf *out, struct error *e)
{
	const char *p = colsep;
	enum status st = ST_OK;

	while (st == ST_OK && *p != '\0') {
		if (*p == '\\') {
			st = translate_escape(colsep, p[1], out, e);
			p += 2;
		} else if (*p == '[') {
			st = translate_brackets(colsep, &p, out, e);
		} else if (*p == '(' && p[1] == '?') {
			st = refuse_colsep(colsep, "(? is not known here", e);
		} else if (strchr("*+?}", *p) != NULL && (p[1] == '?' || p[1] == '+')) {
			st = refuse_colsep(colsep, "a ? or + behind a repetition is not known here", e);
		} else {
			buf_char(out, *p++);
		}
	}
	return st == ST_OK ? buf_check(out, e) : st;
}

/* One plain byte needs no expression. */
static bool is_literal(const struct buf *b, char *byte)
{
	if (b->len == 1 && strchr(".[]\\(){}*+?^$|", b->data[0]) == NULL) {
		*byte = b->data[0];
		return true;
	}
	if (b->len == 2 && b->data[0] == '\\' && ispunct((unsigned char)b->data[1])) {
		*byte = b->data[1];
		return true;
	}
	return false;
}

static enum status compile(struct columns *c, const char *colsep, const char *posix,
    struct error *e)
{
	char why[128];
	int r = regcomp(&c->regex, posix, REG_EXTENDED);

	if (r == REG_ESPACE)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	if (r != 0) {
		(void)regerror(r, &c->regex, why, sizeof(why));
		return refuse_colsep(colsep, why, e);
	}
	c->compiled = true;
	/* Without assertions in the middle of a word, what matches nothing
	 * anywhere matches the empty string too. */
	if (regexec(&c->regex, "", 0, NULL, 0) == 0)
		return refuse_colsep(colsep, "it matches the empty string; a plain bar is written \\|", e);
	return ST_OK;
}

enum status columns_compile(const char *colsep, struct columns **out, struct error *e)
{
	struct columns *c = mem_zero(sizeof(*c));
	struct buf posix = {0};
	enum status st;

	*out = NULL;
	if (c == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = translate(colsep, &posix, e);
	if (st == ST_OK && posix.len == 0)
		st = refuse_colsep(colsep, "it is empty", e);
	if (st == ST_OK) {
		c->literal = is_literal(&posix, &c->byte);
		if (!c->literal)
			st = compile(c, colsep, posix.data, e);
	}
	buf_free(&posix);
	if (st != ST_OK) {
		columns_free(c);
		return st;
	}
	*out = c;
	return ST_OK;
}

void columns_free(struct columns *c)
{
	if (c == NULL)
		return;
	if (c->compiled)
		regfree(&c->regex);
	free(c);
}

/* The first separator in data[from, len): its place, or len twice. */
static enum status find(const struct columns *c, const char *data, size_t from, size_t len,
    size_t *start, size_t *end, struct error *e)
{
	regmatch_t m = {.rm_so = (regoff_t)from, .rm_eo = (regoff_t)len};
	int r;

	*start = len;
	*end = len;
	if (c->literal) {
		const char *hit = from < len ? memchr(data + from, c->byte, len - from) : NULL;

		if (hit != NULL) {
			*start = (size_t)(hit - data);
			*end = *start + 1;
		}
		return ST_OK;
	}
	r = regexec(&c->regex, data, 1, &m, REG_STARTEND);
	if (r != 0 && r != REG_NOMATCH)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	if (r == 0 && m.rm_eo > m.rm_so) {
		*start = (size_t)m.rm_so;
		*end = (size_t)m.rm_eo;
	}
	return ST_OK;
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static void put_column(struct buf *out, const char *data, size_t len)
{
	while (len > 0 && is_space(data[0])) {
		data++;
		len--;
	}
	while (len > 0 && is_space(data[len - 1]))
		len--;
	buf_append(out, data, len);
}

enum status columns_split(const struct columns *c, const char *data, size_t len, size_t max,
    struct buf *out, size_t *n, struct error *e)
{
	size_t at = 0;
	size_t start;
	size_t end;

	for (*n = 1;; (*n)++) {
		enum status st = find(c, data, at, len, &start, &end, e);

		if (st != ST_OK)
			return st;
		if (*n > max)
			return error_set(e, ST_CONFIG, "more than %zu columns", max);
		if (*n > 1)
			buf_char(out, '\0');
		put_column(out, data + at, start - at);
		if (start == end)
			return buf_check(out, e);
		at = end;
	}
}
