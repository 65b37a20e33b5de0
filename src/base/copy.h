/* Copies of folders that a power cut cannot split. */
#ifndef EBB_BASE_COPY_H
#define EBB_BASE_COPY_H

#include <stdint.h>

#include "base/status.h"

enum { COPY_DEPTH_MAX = 64 };

/* Copies a folder and all in it to `to`, which must not exist and whose parent
 * must: regular files (bytes and permissions), folders and symbolic links as they
 * are. Every file and folder of the copy is synced, and the entry `to` is not.
 * Sockets, FIFOs and devices are passed over. ST_CONFIG: deeper than
 * COPY_DEPTH_MAX. After a failure a part may be there. *bytes counts files. */
enum status copy_tree(const char *from, const char *to, int64_t *bytes, struct error *e) MUST_USE;

/* The same into a folder that exists, without a sync: for a place that does not
 * outlive the machine's boot. */
enum status copy_tree_into(const char *from, const char *to, struct error *e) MUST_USE;

/* Appends the first `size` bytes of a file to an open one. ST_CORRUPT: the file
 * is shorter. */
enum status copy_bytes(const char *from, int64_t size, int to_fd, const char *to,
    struct error *e) MUST_USE;

#endif
