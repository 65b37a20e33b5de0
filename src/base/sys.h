/* The seam to the kernel: every allocation, clock and random read that ebb makes
 * for itself, and every call that reads, writes, syncs, renames or removes a
 * file, goes through these functions (what only looks at names, and the removal
 * of whole folders, does not). sys.c is the
 * production side and only passes the call on. The test build links
 * tests/support/sys_fault.c instead, which can fail the Nth call, stop at a
 * named point, shift the clock, and record writes, fsyncs and renames for the
 * power-cut replay. Nothing else in the program knows the difference.
 *
 * The file calls have the semantics of the system calls of the same name
 * (-1 and errno), with two differences: EINTR is retried inside, and every
 * descriptor is opened close-on-exec. */
#ifndef EBB_BASE_SYS_H
#define EBB_BASE_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/status.h"

int sys_open(const char *path, int flags, mode_t mode) MUST_USE;
int sys_close(int fd);
ssize_t sys_read(int fd, void *buf, size_t len) MUST_USE;
ssize_t sys_pread(int fd, void *buf, size_t len, int64_t off) MUST_USE;
ssize_t sys_write(int fd, const void *buf, size_t len) MUST_USE;
ssize_t sys_pwrite(int fd, const void *buf, size_t len, int64_t off) MUST_USE;
int sys_ftruncate(int fd, int64_t len) MUST_USE;
/* Frees the blocks of [off, off+len) and keeps the file's length. */
int sys_punch_hole(int fd, int64_t off, int64_t len) MUST_USE;
int sys_fsync(int fd) MUST_USE;
/* Opens, fsyncs and closes a folder, which makes the entries in it durable. */
int sys_fsync_dir(const char *path) MUST_USE;
int sys_rename(const char *from, const char *to) MUST_USE;
/* EEXIST if `to` exists. Where the file system lacks RENAME_NOREPLACE, link
 * and unlink do the same. */
int sys_rename_noreplace(const char *from, const char *to) MUST_USE;
int sys_unlink(const char *path) MUST_USE;
int sys_mkdir(const char *path, mode_t mode) MUST_USE;
int sys_rmdir(const char *path) MUST_USE;

/* malloc and realloc by another name; NULL when there is no memory. */
void *sys_alloc(size_t size) MUST_USE;
void *sys_realloc(void *ptr, size_t size) MUST_USE;

/* A numbered crash point: does nothing in production. `name` is a string
 * constant such as "accept.after"; docs/formats.md lists them. */
void sys_point(const char *name);

/* CLOCK_BOOTTIME: goes on during suspend, starts anew at boot, is the same
 * for all processes of this machine. Leases are measured on it. */
int64_t sys_boot_ns(void);
/* CLOCK_REALTIME, for people only: it may jump. */
int64_t sys_wall_ns(void);
/* The kernel's boot id (36 characters and NUL). */
enum status sys_boot_id(char out[37], struct error *e) MUST_USE;
/* Random bytes from the kernel; ends the program if there are none. */
void sys_random(void *buf, size_t len);

/* Name of the SQLite VFS to open databases with; NULL is SQLite's own. */
const char *sys_sqlite_vfs(void);

/* True in the test build, so that `ebb --version` can say so. */
bool sys_is_test_build(void);

#endif
