/* Planner: files cut into byte ranges at record borders. */
#ifndef EBB_SHARD_BYTES_H
#define EBB_SHARD_BYTES_H

#include <stdint.h>

#include "base/file.h"
#include "base/status.h"
#include "shard/records.h"

struct bytes_range {
	const char *path;
	struct file_version version; /* of the file while it was cut */
	int32_t part;                /* 0, 1, ... in this file */
	int64_t offset;
	int64_t length;              /* > 0, but for an empty file: one range of 0 */
};

/* Called for each range in order; a status that is not ST_OK ends the cutting
 * and is returned. */
typedef enum status (*bytes_range_fn)(void *arg, const struct bytes_range *range,
    struct error *e);

/* Cuts one regular file into ranges of about `size` bytes (>= 1): a border is
 * the first record start at or after each multiple of size, so ranges tile the
 * file exactly, none is empty, and a record larger than `size` is one range.
 * ST_CONFIG: not a regular file (a folder, FIFO, device: say which).
 * ST_NOT_FOUND: gone. ST_BUSY: it changed while it was being cut. */
enum status bytes_cut(const char *path, int64_t size, enum records_kind kind,
    bytes_range_fn fn, void *arg, struct error *e) MUST_USE;

#endif
