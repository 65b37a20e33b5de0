/* Files: whole reads with a limit, durable writes, folders.
 * This is the only place that writes a small file durably. */
#ifndef EBB_BASE_FILE_H
#define EBB_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/mem.h"
#include "base/status.h"

struct stat;

/* What tells one version of a regular file from another. `exists` false (and
 * the rest 0) when there is no regular file of that name. */
struct file_version {
	bool exists;
	int64_t size;
	int64_t mtime_ns;
};

/* Follows symlinks; anything that is not a regular file, and any name that
 * cannot be looked at, is "does not exist". `path` need not be a path at all. */
struct file_version file_version_of(const char *path);
struct file_version file_version_of_stat(const struct stat *st);
bool file_version_equal(const struct file_version *a, const struct file_version *b);

/* Appends the whole file to *out; ST_CONFIG if it is larger than max bytes,
 * ST_NOT_FOUND if it is not there. */
enum status file_read(const char *path, size_t max, struct buf *out, struct error *e) MUST_USE;

/* The number at the beginning of a small file, or right after the first `after` in
 * it and blanks. -1: no such file, text, or number. */
int64_t file_number(const char *path, const char *after);

/* Writes all bytes, going on after short writes. */
enum status file_write_all(int fd, const void *data, size_t len, const char *name,
    struct error *e) MUST_USE;

/* Replaces `path` as one step that a power cut cannot split: a temporary name
 * beside it, fsync, rename, fsync of the folder. On failure the old file is as
 * it was and the temporary one is gone; if the last fsync is what failed, the
 * new file is there and may not survive a power cut. */
enum status file_write_durable(const char *path, const void *data, size_t len, mode_t mode,
    struct error *e) MUST_USE;

/* Creates the folder and its missing parents, and makes each new entry
 * durable. An existing folder (or a link to one) is fine. */
enum status file_mkdirs(const char *path, mode_t mode, struct error *e) MUST_USE;

/* fsync of the file of that name. */
enum status file_sync(const char *path, struct error *e) MUST_USE;
enum status file_sync_dir(const char *path, struct error *e) MUST_USE;

/* Removes a folder and all in it, never following a symlink out of it.
 * A missing folder is fine. Folders in it that their owner may not change are
 * made so that they may. */
enum status file_remove_tree(const char *path, struct error *e) MUST_USE;

/* The folder part of a path, "." for a plain name. */
void file_dirname(const char *path, struct buf *out);

/* Bytes used on disk by a folder, walked without following symlinks. */
int64_t file_tree_bytes(const char *path);

/* False if the file system that holds `path` (or its nearest existing parent)
 * has no room left to write (less than 64 KiB or no inode for this user).
 * True when that cannot be told. */
bool file_has_room(const char *path);

#endif
