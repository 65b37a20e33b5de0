#include "base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"

enum status mem_grow(void **array, size_t *cap, size_t need, size_t elem, struct error *e)
{
	size_t want = *cap < 8 ? 8 : *cap;
	void *p;

	if (need <= *cap)
		return ST_OK;
	while (want < need && want <= SIZE_MAX / 2)
		want *= 2;
	if (want < need || want > SIZE_MAX / elem)
		return error_set(e, ST_NO_MEMORY, "out of memory: %zu elements asked for", need);
	p = sys_realloc(*array, want * elem);
	if (p == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory: %zu bytes asked for", want * elem);
	*array = p;
	*cap = want;
	return ST_OK;
}

void *mem_zero(size_t size)
{
	void *p = sys_alloc(size);

	if (p != NULL)
		memset(p, 0, size);
	return p;
}

char *mem_dup(const void *data, size_t len)
{
	char *p = sys_alloc(len + 1);

	if (p == NULL)
		return NULL;
	if (len > 0)
		memcpy(p, data, len);
	p[len] = '\0';
	return p;
}

static bool buf_room(struct buf *b, size_t more)
{
	void *p = b->data;

	if (b->failed)
		return false;
	if (more >= SIZE_MAX - b->len - 1 ||
	    mem_grow(&p, &b->cap, b->len + more + 1, 1, NULL) != ST_OK) {
		buf_free(b);
		b->failed = true;
		return false;
	}
	b->data = p;
	return true;
}

void buf_append(struct buf *b, const void *data, size_t len)
{
	if (!buf_room(b, len))
		return;
	if (len > 0)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
}

void buf_str(struct buf *b, const char *text)
{
	buf_append(b, text, strlen(text));
}

void buf_char(struct buf *b, char c)
{
	buf_append(b, &c, 1);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0) {
		buf_free(b);
		b->failed = true;
		return;
	}
	if (!buf_room(b, (size_t)n))
		return;
	va_start(ap, fmt);
	n = vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	if (n > 0)
		b->len += (size_t)n;
}

void buf_cut(struct buf *b, size_t len)
{
	if (b->len <= len)
		return;
	b->len = len;
	b->data[len] = '\0';
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->data != NULL)
		b->data[0] = '\0';
}

void buf_free(struct buf *b)
{
	free(b->data);
	memset(b, 0, sizeof(*b));
}

enum status buf_check(const struct buf *b, struct error *e)
{
	if (b->failed)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	return ST_OK;
}
