/* Inside of the test build's seam to the kernel: what sys_fault.c (the calls
 * of base/sys.h), fault_state.c (settings, counters, points), fault_record.c
 * (the log for the power-cut replay) and fault_vfs.c (SQLite) share.
 * The environment variables are described at the top of sys_fault.c. */
#ifndef EBB_TESTS_FAULT_H
#define EBB_TESTS_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- fault_state.c ---- */

/* Counts one file call (over all functions, threads and both processes). True:
 * this one must fail and errno says how. `what` is a constant such as "write". */
bool fault_call_fails(const char *what);
/* The same for an allocation. */
bool fault_alloc_fails(void);
/* Counts the point, writes it down, and ends or stops the process if told to. */
void fault_point(const char *name);

/* EBB_FAULT_BOOT_ID, or NULL. */
const char *fault_boot_id(void);
int64_t fault_boot_shift_ns(void);
int64_t fault_wall_shift_ns(void);

/* One lock over all threads and both processes of a run, which a killed holder
 * does not leave locked. Held over an operation and its record, so that the
 * log has the order in which things happened. Do not block while holding it. */
void fault_lock(void);
void fault_unlock(void);

/* ---- fault_record.c ---- */

enum record_op {
	REC_CREATE = 1,    /* path; a new empty file; mode in arg */
	REC_WRITE = 2,     /* path; offset in arg; data */
	REC_TRUNCATE = 3,  /* path; new length in arg */
	REC_PUNCH = 4,     /* path; offset in arg; data: length as 8 bytes */
	REC_FSYNC = 5,     /* path */
	REC_SNAPSHOT = 6,  /* path; data: all of the file's bytes as they are now */
	REC_RENAME = 7,    /* path, path2 */
	REC_UNLINK = 8,    /* path */
	REC_MKDIR = 9,     /* path; mode in arg */
	REC_RMDIR = 10,    /* path */
	REC_FSYNC_DIR = 11,/* path; data: the entries, see record_dir_sync */
	REC_MARK = 12,     /* path: the name of a point */
};

/* The log is a sequence of records, little-endian, each written by one
 * write(2) to a descriptor with O_APPEND:
 *   u32 length of the record, u32 pid, u8 op, u8 0, u16 length of path,
 *   u16 length of path2, u16 0, u64 inode (0: not known), i64 arg,
 *   path, path2, data. */

void record_start(const char *log_path, const char *root);
bool record_on(void);

/* The path relative to the root, with its folder's symlinks resolved, in out;
 * false when it lies outside of the root. */
bool record_path(const char *path, char *out, size_t size);
bool record_path_of_fd(int fd, char *out, size_t size);

/* All of these are called under the lock, after the operation succeeded. */
void record_write_one(enum record_op op, uint64_t inode, int64_t arg, const char *path,
    const char *path2, const void *data, size_t len);
/* A whole file's bytes, as they are now. */
void record_snapshot(const char *rel, int fd);
/* What a folder holds, taken before its fsync: for each entry a letter (f, d,
 * l or ?), the inode as 8 bytes, the name and a NUL. Freed by the caller. */
void *record_listing(const char *rel, size_t *len);
uint64_t record_inode(int fd);

/* ---- fault_vfs.c ---- */

/* Registers the VFS at the first call; NULL when SQLite will not start. */
const char *fault_vfs_name(void);

#endif
