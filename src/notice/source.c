#include "notice/source.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "notice/json.h"

void source_get(struct source_ask *ask, const char *path, int64_t timeout_ms)
{
	ask->method = "GET";
	ask->timeout_ms = timeout_ms;
	(void)snprintf(ask->path, sizeof(ask->path), "%s", path);
	ask->n_headers = 0;
	ask->body[0] = '\0';
	ask->by_lines = false;
}

void source_header(struct source_ask *ask, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(ask->header[ask->n_headers++], SOURCE_HEADER_SIZE, fmt, ap);
	va_end(ap);
}

void source_notice(const struct source_answer *a, const char *source, enum notice_kind kind,
    struct notice *out)
{
	notice_begin(out, kind, source, a->now_boot_ms, a->now_unix_ms);
}

void source_deadline(const struct source_answer *a, int64_t moment_unix_ms, int64_t most_ms,
    struct notice *n)
{
	int64_t left = moment_unix_ms - (a->date_unix_ms != 0 ? a->date_unix_ms : a->now_unix_ms);

	if (left < 0)
		left = 0;
	n->deadline_boot_ms = a->now_boot_ms + (left > most_ms ? most_ms : left);
}

bool source_word(const struct source_answer *a, char *out, size_t size)
{
	const char *p = a->body;
	size_t len = a->len;
	size_t i;

	while (len > 0 && memchr(" \t\r\n", p[len - 1], 4) != NULL)
		len--;
	while (len > 0 && memchr(" \t\r\n", *p, 4) != NULL) {
		p++;
		len--;
	}
	if (len == 0 || len >= size)
		return false;
	for (i = 0; i < len; i++) {
		if (p[i] < 0x20 || p[i] > 0x7e)
			return false;
	}
	memcpy(out, p, len);
	out[len] = '\0';
	return true;
}

struct json_t *source_json(const struct source_answer *a)
{
	struct json_t *o;
	struct error e;

	return notice_json_load(a->body, a->len, &o, &e) == ST_OK ? o : NULL;
}

void source_complain(struct source_sink *sink, const char *name, const char *path,
    int64_t timeout_ms, const struct source_answer *a)
{
	char text[256];
	char seen[64];

	if (a->fault == SOURCE_TOO_LARGE)
		(void)snprintf(text, sizeof(text), "%s: the answer to %.80s is longer than %d KiB; it was cut "
		    "off", name, path, SOURCE_ANSWER_MAX >> 10);
	else if (a->fault == SOURCE_TIMED_OUT)
		(void)snprintf(text, sizeof(text), "%s: no answer to %.80s within %lld ms", name, path,
		    (long long)timeout_ms);
	else if (a->fault != SOURCE_ANSWERED)
		(void)snprintf(text, sizeof(text), "%s: %.150s", name, a->why);
	else if (a->status / 100 == 3)
		(void)snprintf(text, sizeof(text), "%s: %.80s is answered with a redirect (%d), which is not "
		    "followed", name, path, a->status);
	else if (a->status != 200)
		(void)snprintf(text, sizeof(text), "%s: %.80s is answered with %d", name, path,
		    a->status);
	else {
		notice_text(seen, sizeof(seen), a->body, a->len);
		(void)snprintf(text, sizeof(text), "%s: the answer to %.80s is not what it should be: \"%s\"",
		    name, path, seen);
	}
	sink->trouble(sink, text);
}
