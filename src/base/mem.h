/* Growable memory. All of it comes through sys_alloc, so that a test can make
 * the Nth allocation fail; no caller may assume that memory is there. */
#ifndef EBB_BASE_MEM_H
#define EBB_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

/* Makes *array (elements of `elem` bytes, NULL with *cap 0 at first) hold at
 * least `need` elements, by doubling. On failure nothing has changed. */
enum status mem_grow(void **array, size_t *cap, size_t need, size_t elem, struct error *e) MUST_USE;

/* A zeroed block, or a copy of len bytes with a NUL after them; NULL when
 * there is no memory. Freed with free(). */
void *mem_zero(size_t size) MUST_USE;
char *mem_dup(const void *data, size_t len) MUST_USE;

/* A byte buffer that grows. Errors stick: after a failed append `failed` is
 * set, what it held is freed, and later appends do nothing, so a writer checks
 * once at the end with buf_check and has nothing to free when that fails. `data`
 * always has a NUL after len bytes once anything was appended. Start from {0}. */
struct buf {
	char *data;
	size_t len;
	size_t cap;
	bool failed;
};

void buf_append(struct buf *b, const void *data, size_t len);
void buf_str(struct buf *b, const char *text);
void buf_char(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Keeps the first len bytes, if there are more. */
void buf_cut(struct buf *b, size_t len);
/* Empties it and keeps the memory; also clears `failed`. */
void buf_clear(struct buf *b);
void buf_free(struct buf *b);
/* ST_NO_MEMORY if an append failed since the last clear. */
enum status buf_check(const struct buf *b, struct error *e) MUST_USE;

#endif
