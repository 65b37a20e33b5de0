#include "model/template.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "model/shell_scan.h"

enum kind { LITERAL, ITEM, NUMBER, SLOT };

enum form { WHOLE, NO_EXT, BASE, FOLDER, BASE_NO_EXT };

struct piece {
	enum kind kind;
	enum form form;
	int arg;            /* 0: all of them */
	bool quoted;        /* in single quotes */
	const char *text;   /* LITERAL: in the template's copy */
	size_t len;         /* of the text, for a replacement string too */
};

struct template {
	enum template_mode mode;
	char *text;
	struct piece *pieces;
	size_t n;
	size_t cap;
};

struct span {
	const char *data;
	size_t len;
};

/* More digits than that are no argument number. */
enum { ARG_DIGITS_MAX = 6 };

/* The argument number at p, if one is there. */
static const char *match_arg(const char *p, int *arg)
{
	const char *q = *p == '-' ? p + 1 : p;
	int digits = 0;
	int v = 0;

	while (isdigit((unsigned char)q[digits]) && digits < ARG_DIGITS_MAX)
		v = v * 10 + (q[digits++] - '0');
	if (v == 0)
		return p;
	*arg = *p == '-' ? -v : v;
	return q + digits;
}

/* The replacement string at p; its length, or 0 if there is none. */
static size_t match(const char *p, struct piece *out)
{
	static const struct {
		const char *text;
		enum kind kind;
		enum form form;
	} forms[] = {
		{"}", ITEM, WHOLE}, {".}", ITEM, NO_EXT}, {"/}", ITEM, BASE}, {"//}", ITEM, FOLDER},
		{"/.}", ITEM, BASE_NO_EXT}, {"#}", NUMBER, WHOLE}, {"%}", SLOT, WHOLE},
	};
	const char *q;
	size_t i;

	if (*p != '{')
		return 0;
	memset(out, 0, sizeof(*out));
	q = match_arg(p + 1, &out->arg);
	for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		size_t len = strlen(forms[i].text);

		if (strncmp(q, forms[i].text, len) != 0)
			continue;
		if (forms[i].kind != ITEM && out->arg != 0)
			return 0;
		out->kind = forms[i].kind;
		out->form = forms[i].form;
		out->text = p;
		out->len = (size_t)(q - p) + len;
		return out->len;
	}
	return 0;
}

size_t template_match(const char *text)
{
	struct piece piece;

	return match(text, &piece);
}

static enum status add(struct template *t, const struct piece *piece, struct error *e)
{
	void *pieces = t->pieces;
	enum status st = mem_grow(&pieces, &t->cap, t->n + 1, sizeof(*piece), e);

	if (st != ST_OK)
		return st;
	t->pieces = pieces;
	t->pieces[t->n++] = *piece;
	return ST_OK;
}

static enum status add_literal(struct template *t, const char *text, size_t len, struct error *e)
{
	struct piece piece = {.kind = LITERAL, .text = text, .len = len};
	struct piece *last = t->n > 0 ? &t->pieces[t->n - 1] : NULL;

	if (last != NULL && last->kind == LITERAL && last->text + last->len == text) {
		last->len += len;
		return ST_OK;
	}
	return add(t, &piece, e);
}

static enum status parse_plain(struct template *t, struct error *e)
{
	const char *p = t->text;
	struct piece piece;

	while (*p != '\0') {
		size_t len = match(p, &piece);
		enum status st;

		if (len > 0) {
			st = add(t, &piece, e);
		} else {
			len = 1 + strcspn(p + 1, "{");
			st = add_literal(t, p, len, e);
		}
		if (st != ST_OK)
			return st;
		p += len;
	}
	return ST_OK;
}

static enum status refuse(const struct template *t, const struct piece *piece,
    enum shell_place place, struct error *e)
{
	static const char *const advice[] = {
		[SHELL_SINGLE] = "the value is quoted already: take the quotes away",
		[SHELL_DOUBLE] = "the value is quoted already: take the quotes away",
		[SHELL_HEREDOC] = "set a variable to the value before it and use that there",
		[SHELL_ARITH] = "set a variable to the value before it and use that there",
		[SHELL_BACKTICK] = "write $(...) instead of `...`",
		[SHELL_BACKSLASH] = "the value is quoted already: take the backslash away",
		[SHELL_UNSURE] = "set a variable to the value before it and use that there",
	};

	return error_set(e, ST_CONFIG, "%.*s at character %zu of the command stands %s; %s",
	    (int)piece->len, piece->text, (size_t)(piece->text - t->text) + 1,
	    shell_place_text(place), advice[place]);
}

/* A replacement string in a shell text; *taken is false if it is to stay. */
static enum status add_shell(struct template *t, const struct shell_scan *scan,
    struct piece *piece, bool *taken, struct error *e)
{
	enum shell_place place = shell_scan_place(scan);

	*taken = place != SHELL_COMMENT;
	if (!*taken)
		return add_literal(t, piece->text, piece->len, e);
	if (piece->kind == ITEM && place != SHELL_WORD)
		return refuse(t, piece, place, e);
	if (place != SHELL_WORD && shell_scan_in_name(scan))
		return error_set(e, ST_CONFIG, "%.*s at character %zu of the command would become "
		    "a part of the variable's name before it; write ${name}%.*s", (int)piece->len,
		    piece->text, (size_t)(piece->text - t->text) + 1, (int)piece->len, piece->text);
	piece->quoted = place == SHELL_WORD;
	return add(t, piece, e);
}

static enum status parse_shell(struct template *t, struct error *e)
{
	const char *p = t->text;
	struct shell_scan scan;
	struct piece piece;

	shell_scan_start(&scan);
	while (*p != '\0') {
		size_t len = match(p, &piece);
		bool taken = false;
		enum status st;

		if (len > 0) {
			st = add_shell(t, &scan, &piece, &taken, e);
			if (taken)
				shell_scan_word(&scan);
		} else {
			len = shell_scan_step(&scan, p);
			st = add_literal(t, p, len, e);
		}
		if (st != ST_OK)
			return st;
		p += len;
	}
	return ST_OK;
}

enum status template_parse(const char *text, enum template_mode mode, struct template **out,
    struct error *e)
{
	struct template *t = mem_zero(sizeof(*t));
	enum status st;

	*out = NULL;
	if (t == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	t->mode = mode;
	t->text = mem_dup(text, strlen(text));
	if (t->text == NULL) {
		template_free(t);
		return error_set(e, ST_NO_MEMORY, "out of memory");
	}
	st = mode == TEMPLATE_SHELL ? parse_shell(t, e) : parse_plain(t, e);
	if (st != ST_OK) {
		template_free(t);
		return st;
	}
	*out = t;
	return ST_OK;
}

void template_free(struct template *t)
{
	if (t == NULL)
		return;
	free(t->text);
	free(t->pieces);
	free(t);
}

static bool uses(const struct template *t, enum kind kind)
{
	size_t i;

	for (i = 0; i < t->n; i++) {
		if (t->pieces[i].kind == kind)
			return true;
	}
	return false;
}

bool template_uses_item(const struct template *t)
{
	return uses(t, ITEM);
}

bool template_uses_slot(const struct template *t)
{
	return uses(t, SLOT);
}

int template_max_arg(const struct template *t)
{
	int max = 0;
	size_t i;

	for (i = 0; i < t->n; i++) {
		if (abs(t->pieces[i].arg) > max)
			max = abs(t->pieces[i].arg);
	}
	return max;
}

static struct span base_of(struct span s)
{
	const char *slash = memrchr(s.data, '/', s.len);

	if (slash != NULL) {
		s.len -= (size_t)(slash + 1 - s.data);
		s.data = slash + 1;
	}
	return s;
}

static struct span without_extension(struct span s)
{
	struct span base = base_of(s);
	const char *dot = memrchr(base.data, '.', base.len);

	if (dot != NULL)
		s.len = (size_t)(dot - s.data);
	return s;
}

/* All up to the last slash, without slashes at its end; "." if there is none. */
static struct span before_last_slash(struct span s)
{
	const char *slash = memrchr(s.data, '/', s.len);

	if (slash == NULL)
		return (struct span){".", 1};
	s.len = (size_t)(slash + 1 - s.data);
	while (s.len > 1 && s.data[s.len - 1] == '/')
		s.len--;
	return s;
}

/* As dirname of Perl's File::Basename: a slash at the end does not count. */
static struct span folder_of(struct span s)
{
	struct span folder = before_last_slash(s);

	if (s.len > 0 && s.data[s.len - 1] == '/')
		return before_last_slash(folder);
	return folder;
}

static void put(struct buf *out, struct span v, bool quoted)
{
	size_t at = out->len;

	if (!quoted) {
		buf_append(out, v.data, v.len);
		return;
	}
	str_shell_quote(out, v.data, v.len);
	if (out->failed || out->data[at] == '\'')
		return;
	/* Safe alone, but "2" before > or "x" behind $a is not. */
	out->len = at;
	buf_char(out, '\'');
	buf_append(out, v.data, v.len);
	buf_char(out, '\'');
}

static void put_arg(struct buf *out, const struct piece *piece, struct span v)
{
	switch (piece->form) {
	case WHOLE:
		break;
	case NO_EXT:
		v = without_extension(v);
		break;
	case BASE:
		v = base_of(v);
		break;
	case FOLDER:
		v = folder_of(v);
		break;
	case BASE_NO_EXT:
		v = without_extension(base_of(v));
		break;
	}
	put(out, v, piece->quoted);
}

static size_t count_args(const struct template_values *v)
{
	const char *p = v->item;
	const char *end = v->item + v->item_len;
	size_t n = 1;

	while (p < end && (p = memchr(p, '\0', (size_t)(end - p))) != NULL) {
		n++;
		p++;
	}
	return n;
}

/* Takes the first argument off *rest. */
static struct span next_arg(struct span *rest)
{
	struct span arg = *rest;
	const char *nul = rest->len > 0 ? memchr(rest->data, '\0', rest->len) : NULL;

	if (nul != NULL) {
		arg.len = (size_t)(nul - arg.data);
		rest->data = nul + 1;
		rest->len -= arg.len + 1;
	}
	return arg;
}

static enum status put_item(struct buf *out, const struct piece *piece,
    const struct template_values *v, struct error *e)
{
	struct span rest = {v->item_len > 0 ? v->item : "", v->item_len};
	size_t n_args = count_args(v);
	size_t named = (size_t)abs(piece->arg);
	size_t i;

	if (named > n_args)
		return error_set(e, ST_CONFIG, "%.*s names argument %zu, but the item has %zu",
		    (int)piece->len, piece->text, named, n_args);
	if (piece->arg < 0)
		named = n_args - named + 1;
	for (i = 1; i <= n_args; i++) {
		struct span arg = next_arg(&rest);

		if (named != 0 && i != named)
			continue;
		if (named == 0 && i > 1)
			buf_char(out, ' ');
		put_arg(out, piece, arg);
	}
	return ST_OK;
}

static enum status put_piece(struct buf *out, const struct piece *piece,
    const struct template_values *v, struct error *e)
{
	const char *quote = piece->quoted ? "'" : "";

	switch (piece->kind) {
	case LITERAL:
		buf_append(out, piece->text, piece->len);
		return ST_OK;
	case ITEM:
		return put_item(out, piece, v, e);
	case NUMBER:
		buf_printf(out, "%s%lld%s", quote, (long long)v->number, quote);
		return ST_OK;
	case SLOT:
		buf_printf(out, "%s%d%s", quote, v->slot, quote);
		return ST_OK;
	}
	return ST_OK;
}

enum status template_expand(const struct template *t, const struct template_values *v,
    struct buf *out, struct error *e)
{
	size_t before = out->len;
	enum status st = ST_OK;
	size_t i;

	for (i = 0; i < t->n && st == ST_OK; i++)
		st = put_piece(out, &t->pieces[i], v, e);
	if (st == ST_OK)
		st = buf_check(out, e);
	if (st != ST_OK && !out->failed && out->data != NULL) {
		out->len = before;
		out->data[before] = '\0';
	}
	return st;
}
