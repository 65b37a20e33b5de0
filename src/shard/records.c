#include "shard/records.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"

enum {
	WINDOW_FIRST = 4096,  /* enough for most records */
	WINDOW_MAX = 32768,
	LOOK_BACK = 3,        /* a blank line and the \n before it */
};

static const char *const record_names[] = {"lines", "paragraphs", "nul", "whole"};

/* A part of a file, read forward. */
struct window {
	int fd;
	const char *name;
	int64_t size;    /* of the file */
	int64_t off;     /* of data[0] */
	size_t len;
	size_t want;
	char data[WINDOW_MAX];
};

enum status records_parse(const char *name, enum records_kind *out, struct error *e)
{
	size_t i;

	for (i = 0; i < sizeof(record_names) / sizeof(record_names[0]); i++) {
		if (strcmp(name, record_names[i]) == 0) {
			*out = (enum records_kind)i;
			return ST_OK;
		}
	}
	return error_set(e, ST_CONFIG, "\"%.60s\" is no kind of record; there are lines, "
	    "paragraphs, nul and whole", name);
}

const char *records_name(enum records_kind k)
{
	return record_names[k];
}

static void window_start(struct window *w, int fd, int64_t off, int64_t size, const char *name)
{
	w->fd = fd;
	w->name = name;
	w->size = size;
	w->off = off;
	w->len = 0;
	w->want = WINDOW_FIRST;
}

/* Goes on to the bytes behind those in the window; w->len is 0 at the end. */
static enum status window_next(struct window *w, struct error *e)
{
	size_t want = w->want;
	ssize_t n;

	w->off += (int64_t)w->len;
	w->len = 0;
	if ((int64_t)want > w->size - w->off)
		want = (size_t)(w->size - w->off);
	if (want == 0)
		return ST_OK;
	n = sys_pread(w->fd, w->data, want, w->off);
	if (n == -1)
		return error_os(e, errno, "cannot read %s", w->name);
	if (n == 0)
		return error_set(e, ST_CORRUPT, "%s ends at byte %lld and had %lld bytes", w->name,
		    (long long)w->off, (long long)w->size);
	w->len = (size_t)n;
	w->want = WINDOW_MAX;
	return ST_OK;
}

/* The byte behind the first `end` at or after at - 1. */
static enum status next_after(int fd, char end, int64_t at, int64_t size, const char *name,
    int64_t *start, struct error *e)
{
	struct window w;

	window_start(&w, fd, at - 1, size, name);
	for (;;) {
		enum status st = window_next(&w, e);
		const char *hit;

		if (st != ST_OK)
			return st;
		hit = w.len > 0 ? memchr(w.data, end, w.len) : NULL;
		if (hit != NULL) {
			*start = w.off + (hit - w.data) + 1;
			return ST_OK;
		}
		if (w.len == 0) {
			*start = size;
			return ST_OK;
		}
	}
}

/* A line is blank if it is \n or \r\n. Follows lines over bytes. */
struct blank_scan {
	size_t line_len;   /* bytes of this line so far, at most 2 */
	bool only_cr;      /* this line is \r so far */
	bool after_blank;  /* the line before this one is blank */
};

enum seen { SEEN_INSIDE, SEEN_TEXT, SEEN_END };

/* SEEN_TEXT: with this byte the line turns out not to be blank. */
static enum seen blank_step(struct blank_scan *b, char c)
{
	bool was_blank = b->line_len == 0 || b->only_cr;

	if (c == '\n') {
		b->after_blank = was_blank;
		b->line_len = 0;
		b->only_cr = false;
		return SEEN_END;
	}
	b->only_cr = b->line_len == 0 && c == '\r';
	b->line_len = b->line_len == 0 ? 1 : 2;
	return was_blank && !b->only_cr ? SEEN_TEXT : SEEN_INSIDE;
}

/* True in *text if a line that is not blank begins before `end`. */
static enum status text_before(int fd, int64_t end, int64_t size, const char *name, bool *text,
    struct error *e)
{
	struct blank_scan b = {0};
	struct window w;

	*text = false;
	window_start(&w, fd, 0, size, name);
	while (w.off + (int64_t)w.len < end) {
		enum status st = window_next(&w, e);
		size_t i;

		if (st != ST_OK)
			return st;
		for (i = 0; i < w.len && w.off + (int64_t)i < end; i++) {
			if (blank_step(&b, w.data[i]) == SEEN_TEXT) {
				*text = true;
				return ST_OK;
			}
		}
	}
	return ST_OK;
}

/* The search for the start of a paragraph. */
struct paragraph_scan {
	struct window window;
	struct blank_scan blank;
	int64_t at;     /* look from here */
	int64_t line;   /* where this line begins, exact once >= at */
	bool text;      /* known: a line that is not blank was before */
};

/* This line is not blank: a record starts with it if it lies behind a blank
 * one, unless all before it is blank. */
static enum status check_start(struct paragraph_scan *s, bool *found, struct error *e)
{
	enum status st = ST_OK;

	*found = false;
	if (!s->blank.after_blank || s->line < s->at)
		return ST_OK;
	if (!s->text)
		st = text_before(s->window.fd, s->line, s->window.size, s->window.name, &s->text, e);
	*found = st == ST_OK && s->text;
	return st;
}

/* Goes over the bytes in the window, or up to the line that starts a record. */
static enum status scan_window(struct paragraph_scan *s, bool *found, struct error *e)
{
	struct window *w = &s->window;
	size_t i = 0;

	*found = false;
	while (i < w->len) {
		enum status st;

		if (s->blank.line_len == 2) {
			const char *end = memchr(w->data + i, '\n', w->len - i);

			if (end == NULL)
				return ST_OK;
			i = (size_t)(end - w->data);
		}
		switch (blank_step(&s->blank, w->data[i++])) {
		case SEEN_INSIDE:
			break;
		case SEEN_END:
			s->line = w->off + (int64_t)i;
			break;
		case SEEN_TEXT:
			st = check_start(s, found, e);
			if (st != ST_OK || *found)
				return st;
			s->text = true;
			break;
		}
	}
	return ST_OK;
}

static enum status next_paragraph(int fd, int64_t at, int64_t size, const char *name,
    int64_t *start, struct error *e)
{
	struct paragraph_scan s;
	bool found = false;
	enum status st;

	s.at = at;
	s.line = at > LOOK_BACK ? at - LOOK_BACK : 0;
	/* A line that ends at or behind at - 1 and begins before the first byte
	 * read is too long to be blank. */
	s.blank = (struct blank_scan){.line_len = s.line > 0 ? 2 : 0};
	s.text = false;
	window_start(&s.window, fd, s.line, size, name);
	do {
		st = window_next(&s.window, e);
		if (st == ST_OK)
			st = scan_window(&s, &found, e);
	} while (st == ST_OK && !found && s.window.len > 0);
	/* The file may end with "\r" alone, which is a line that is not blank. */
	if (st == ST_OK && !found && s.blank.only_cr)
		st = check_start(&s, &found, e);
	*start = found ? s.line : size;
	return st;
}

enum status records_next_start(int fd, enum records_kind kind, int64_t at, int64_t size,
    const char *name, int64_t *start, struct error *e)
{
	if (at <= 0 || at >= size) {
		*start = at <= 0 ? 0 : size;
		return ST_OK;
	}
	switch (kind) {
	case RECORDS_LINES:
		return next_after(fd, '\n', at, size, name, start, e);
	case RECORDS_NUL:
		return next_after(fd, '\0', at, size, name, start, e);
	case RECORDS_PARAGRAPHS:
		return next_paragraph(fd, at, size, name, start, e);
	case RECORDS_WHOLE:
		break;
	}
	*start = size;
	return ST_OK;
}

/* Records that end with one byte: those bytes are counted. */
static enum status skip_terminated(int fd, char terminator, int64_t at, int64_t size, int64_t n,
    const char *name, int64_t *end, struct error *e)
{
	enum { SKIP_CHUNK = 256 << 10 };
	char *chunk = sys_alloc(SKIP_CHUNK);
	enum status st = ST_OK;

	if (chunk == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	while (st == ST_OK && n > 0 && at < size) {
		size_t want = size - at < SKIP_CHUNK ? (size_t)(size - at) : SKIP_CHUNK;
		ssize_t got = sys_pread(fd, chunk, want, at);
		const char *p = chunk;

		if (got == -1)
			st = error_os(e, errno, "cannot read %s", name);
		else if (got == 0)
			st = error_set(e, ST_CORRUPT, "%s is shorter than it was", name);
		while (got > 0 && n > 0 && p != NULL) {
			p = memchr(p, terminator, (size_t)(chunk + got - p));
			if (p != NULL) {
				p++;
				n--;
			}
		}
		at += p == NULL ? got : p - chunk;
	}
	*end = at < size ? at : size;
	free(chunk);
	return st;
}

enum status records_skip(int fd, enum records_kind kind, int64_t at, int64_t size, int64_t n,
    const char *name, int64_t *end, struct error *e)
{
	enum status st = ST_OK;

	if (kind == RECORDS_LINES || kind == RECORDS_NUL)
		return skip_terminated(fd, kind == RECORDS_LINES ? '\n' : '\0', at, size, n, name, end,
		    e);
	for (; st == ST_OK && n > 0 && at < size; n--)
		st = records_next_start(fd, kind, at + 1, size, name, &at, e);
	*end = at;
	return st;
}
