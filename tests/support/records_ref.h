/* What records.h says, on a file in memory and in the plainest way: for tests
 * and fuzzers to compare with. */
#ifndef EBB_TESTS_RECORDS_REF_H
#define EBB_TESTS_RECORDS_REF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "shard/records.h"

/* Length of the line at `at`, with its \n if it has one. */
static inline size_t ref_line(const char *data, size_t len, size_t at)
{
	size_t end = at;

	while (end < len && data[end] != '\n')
		end++;
	return (end < len ? end + 1 : end) - at;
}

static inline bool ref_blank(const char *line, size_t len)
{
	return (len == 1 && line[0] == '\n') || (len == 2 && line[0] == '\r' && line[1] == '\n');
}

/* starts[p] becomes true where a record starts, for p in [0, len). */
static inline void ref_starts(const char *data, size_t len, enum records_kind kind, bool *starts)
{
	bool text = false;
	bool blank = false;
	size_t p;

	memset(starts, 0, len * sizeof(*starts));
	if (len > 0)
		starts[0] = true;
	for (p = 1; p < len; p++) {
		if (kind == RECORDS_LINES)
			starts[p] = data[p - 1] == '\n';
		else if (kind == RECORDS_NUL)
			starts[p] = data[p - 1] == '\0';
	}
	for (p = 0; p < len && kind == RECORDS_PARAGRAPHS; p += ref_line(data, len, p)) {
		bool is_blank = ref_blank(data + p, ref_line(data, len, p));

		if (!is_blank && blank && text)
			starts[p] = true;
		blank = is_blank;
		text = text || !is_blank;
	}
}

/* The first start at or after `at`, or len. */
static inline size_t ref_next(const bool *starts, size_t len, size_t at)
{
	while (at < len && !starts[at])
		at++;
	return at < len ? at : len;
}

#endif
