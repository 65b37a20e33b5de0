/* Where one record of a file ends and the next begins, for cutting files into
 * byte ranges. Reads with pread in bounded windows; memory does not grow with
 * the file or the record. */
#ifndef EBB_SHARD_RECORDS_H
#define EBB_SHARD_RECORDS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum records_kind {
	RECORDS_LINES = 0,      /* a record ends after \n (so after \r\n too) */
	RECORDS_PARAGRAPHS = 1, /* a record begins after one or more blank lines
	                         * (\n or \r\n alone); the blank lines belong to the
	                         * record before them, leading ones to the first */
	RECORDS_NUL = 2,        /* a record ends after \0 */
	RECORDS_WHOLE = 3,      /* the file is one record */
};

/* "lines", "paragraphs", "nul", "whole"; ST_CONFIG lists them. */
enum status records_parse(const char *name, enum records_kind *out, struct error *e) MUST_USE;
const char *records_name(enum records_kind k);

/* The smallest record start >= `at` in a file of `size` bytes, or `size` when
 * there is none. 0 is a record start. Depends on the file's bytes alone, so
 * that whoever computes it agrees. A last record without its terminator ends
 * at `size`. ST_CORRUPT if the file turns out shorter than size. */
enum status records_next_start(int fd, enum records_kind kind, int64_t at, int64_t size,
    const char *name, int64_t *start, struct error *e) MUST_USE;

/* Where n records end that begin at the record start `at`, or `size` when there
 * are fewer. Statuses as of records_next_start. */
enum status records_skip(int fd, enum records_kind kind, int64_t at, int64_t size, int64_t n,
    const char *name, int64_t *end, struct error *e) MUST_USE;

#endif
