/* base/sys.h for tests: passes the calls on as sys.c does, and can fail the
 * Nth, stop at a named point, shift the clocks, and record what is written for
 * the power-cut replay. Set by environment variables, read once before main:
 *
 * EBB_FAULT_CRASH=point:n    SIGKILL to itself at the nth passing of sys_point(point).
 * EBB_FAULT_STOP=point:n     SIGSTOP instead.
 * EBB_FAULT_COUNT=file       appends "point n pid" for each passing, before the
 *                            crash happens. n counts from 1 for each point, over
 *                            all threads and over ebb and its guardian.
 * EBB_FAULT_FAIL=n[:errno]   the nth file call fails with errno (a number, or
 *                            ENOSPC, EIO, EROFS, EDQUOT, EACCES, EMFILE, ENOMEM;
 *                            ENOSPC if left out). SQLite's calls count too. What
 *                            is made to fail has no effect, but close closes.
 * EBB_FAULT_FAIL_EVERY=1     with it: so do all calls after the nth.
 * EBB_FAULT_ALLOC=n          the nth sys_alloc or sys_realloc returns NULL.
 * EBB_FAULT_TRACE=1          prints where the call that is made to fail came from
 *                            (addresses for addr2line -fe ebb-fault).
 * EBB_FAULT_CALLS=file       three u64 (file calls, allocations, points so far) and
 *                            40 bytes with the name of the call that was made to
 *                            fail; mapped, so that it is right after a SIGKILL.
 * EBB_FAULT_BOOT_ID=text     what sys_boot_id says (36 characters).
 * EBB_FAULT_CLOCK_MS=n       added to sys_boot_ns.
 * EBB_FAULT_WALL_MS=n        added to sys_wall_ns.
 * EBB_FAULT_CLOCKS=file      8 bytes each that are added to sys_boot_ns and sys_wall_ns
 *                            too, as they are at the call: a test moves the clocks of
 *                            all that run, as a suspend or a person does.
 * EBB_FAULT_RECORD=file      the log of writes (format: fault.h); must lie outside
 *                            of the root.
 * EBB_FAULT_ROOT=folder      what is recorded: everything under this folder, with
 *                            names relative to it.
 *
 * Files that a child wrote are in the log as REC_SNAPSHOT, just before ebb's
 * own fsync of them. */
#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fault.h"

#define RETRY(expr)                                         \
	({                                                  \
		__typeof__(expr) r_;                        \
		do                                          \
			r_ = (expr);                        \
		while (r_ == -1 && errno == EINTR);         \
		r_;                                         \
	})

/* Leaves errno alone. */
static void unlock(void)
{
	int saved = errno;

	fault_unlock();
	errno = saved;
}

/* True when fd is a regular file whose changes are recorded: takes the lock and
 * puts its name as of now in rel. Pipes, which may block, are never locked for. */
static bool lock_recorded(int fd, char rel[PATH_MAX])
{
	struct stat sb;

	if (!record_on() || fstat(fd, &sb) == -1 || !S_ISREG(sb.st_mode))
		return false;
	fault_lock();
	if (record_path_of_fd(fd, rel, PATH_MAX))
		return true;
	fault_unlock();
	return false;
}

static int open_recorded(const char *path, int flags, mode_t mode)
{
	char rel[PATH_MAX];
	struct stat sb;
	bool existed;
	int fd;

	fault_lock();
	existed = stat(path, &sb) == 0;
	fd = RETRY(open(path, flags, mode));
	if (fd != -1 && record_path_of_fd(fd, rel, sizeof(rel))) {
		if (!existed)
			record_write_one(REC_CREATE, record_inode(fd), (int64_t)mode, rel, "", NULL, 0);
		else if ((flags & O_TRUNC) != 0 && S_ISREG(sb.st_mode))
			record_write_one(REC_TRUNCATE, record_inode(fd), 0, rel, "", NULL, 0);
	}
	unlock();
	return fd;
}

int sys_open(const char *path, int flags, mode_t mode)
{
	bool changes = (flags & (O_CREAT | O_TRUNC)) != 0 && (flags & O_TMPFILE) != O_TMPFILE;

	if (fault_call_fails("open"))
		return -1;
	if (record_on() && changes)
		return open_recorded(path, flags | O_CLOEXEC, mode);
	return RETRY(open(path, flags | O_CLOEXEC, mode));
}

int sys_close(int fd)
{
	bool fails = fault_call_fails("close");
	int saved = errno;
	int r = close(fd);

	if (fails) {
		errno = saved;
		return -1;
	}
	return r == -1 && errno == EINTR ? 0 : r;
}

ssize_t sys_read(int fd, void *buf, size_t len)
{
	if (fault_call_fails("read"))
		return -1;
	return RETRY(read(fd, buf, len));
}

ssize_t sys_pread(int fd, void *buf, size_t len, int64_t off)
{
	if (fault_call_fails("pread"))
		return -1;
	return RETRY(pread(fd, buf, len, off));
}

ssize_t sys_write(int fd, const void *buf, size_t len)
{
	char rel[PATH_MAX];
	ssize_t n;

	if (fault_call_fails("write"))
		return -1;
	if (!lock_recorded(fd, rel))
		return RETRY(write(fd, buf, len));
	n = RETRY(write(fd, buf, len));
	if (n > 0)
		record_write_one(REC_WRITE, record_inode(fd), lseek(fd, 0, SEEK_CUR) - n, rel, "",
		    buf, (size_t)n);
	unlock();
	return n;
}

ssize_t sys_pwrite(int fd, const void *buf, size_t len, int64_t off)
{
	char rel[PATH_MAX];
	ssize_t n;

	if (fault_call_fails("pwrite"))
		return -1;
	if (!lock_recorded(fd, rel))
		return RETRY(pwrite(fd, buf, len, off));
	n = RETRY(pwrite(fd, buf, len, off));
	if (n > 0)
		record_write_one(REC_WRITE, record_inode(fd), off, rel, "", buf, (size_t)n);
	unlock();
	return n;
}

int sys_ftruncate(int fd, int64_t len)
{
	char rel[PATH_MAX];
	int r;

	if (fault_call_fails("ftruncate"))
		return -1;
	if (!lock_recorded(fd, rel))
		return RETRY(ftruncate(fd, len));
	r = RETRY(ftruncate(fd, len));
	if (r == 0)
		record_write_one(REC_TRUNCATE, record_inode(fd), len, rel, "", NULL, 0);
	unlock();
	return r;
}

int sys_punch_hole(int fd, int64_t off, int64_t len)
{
	const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	char rel[PATH_MAX];
	int r;

	if (fault_call_fails("punch_hole"))
		return -1;
	if (!lock_recorded(fd, rel))
		return RETRY(fallocate(fd, mode, off, len));
	r = RETRY(fallocate(fd, mode, off, len));
	if (r == 0)
		record_write_one(REC_PUNCH, record_inode(fd), off, rel, "", &len, sizeof(len));
	unlock();
	return r;
}

/* fsync of a folder: what it holds before the call is durable after it. */
static int sync_dir_fd(int fd)
{
	char rel[PATH_MAX];
	void *list;
	size_t len;
	int r;

	if (!record_on() || !record_path_of_fd(fd, rel, sizeof(rel)))
		return RETRY(fsync(fd));
	fault_lock();
	list = record_listing(rel, &len);
	r = RETRY(fsync(fd));
	if (r == 0)
		record_write_one(REC_FSYNC_DIR, record_inode(fd), 0, rel, "", list, len);
	unlock();
	free(list);
	return r;
}

int sys_fsync(int fd)
{
	char rel[PATH_MAX];
	struct stat sb;
	int r;

	if (fault_call_fails("fsync"))
		return -1;
	if (fstat(fd, &sb) == 0 && S_ISDIR(sb.st_mode))
		return sync_dir_fd(fd);
	if (!lock_recorded(fd, rel))
		return RETRY(fsync(fd));
	record_snapshot(rel, fd);
	r = RETRY(fsync(fd));
	if (r == 0)
		record_write_one(REC_FSYNC, record_inode(fd), 0, rel, "", NULL, 0);
	unlock();
	return r;
}

int sys_fsync_dir(const char *path)
{
	int fd;
	int r;
	int saved;

	if (fault_call_fails("fsync_dir"))
		return -1;
	fd = RETRY(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (fd == -1)
		return -1;
	r = sync_dir_fd(fd);
	saved = errno;
	(void)close(fd);
	errno = saved;
	return r;
}

static int rename_call(const char *from, const char *to, bool replace)
{
	if (replace)
		return rename(from, to);
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (link(from, to) == -1)
		return -1;
	return unlink(from);
}

static int rename_recorded(const char *from, const char *to, bool replace)
{
	char rel[PATH_MAX];
	char rel2[PATH_MAX];
	struct stat sb = {0};
	bool in;
	int r;

	if (!record_on())
		return rename_call(from, to, replace);
	fault_lock();
	in = record_path(from, rel, sizeof(rel)) && record_path(to, rel2, sizeof(rel2));
	(void)lstat(from, &sb);
	r = rename_call(from, to, replace);
	if (r == 0 && in)
		record_write_one(REC_RENAME, (uint64_t)sb.st_ino, 0, rel, rel2, NULL, 0);
	unlock();
	return r;
}

int sys_rename(const char *from, const char *to)
{
	return fault_call_fails("rename") ? -1 : rename_recorded(from, to, true);
}

int sys_rename_noreplace(const char *from, const char *to)
{
	return fault_call_fails("rename_noreplace") ? -1 : rename_recorded(from, to, false);
}

/* unlink, mkdir, rmdir: one name, one record. */
static int name_recorded(enum record_op op, const char *path, mode_t mode)
{
	char rel[PATH_MAX];
	bool in;
	int r;

	if (record_on())
		fault_lock();
	in = record_on() && record_path(path, rel, sizeof(rel));
	switch (op) {
	case REC_UNLINK: r = unlink(path); break;
	case REC_MKDIR: r = mkdir(path, mode); break;
	case REC_RMDIR: r = rmdir(path); break;
	default: abort();
	}
	if (r == 0 && in)
		record_write_one(op, 0, (int64_t)mode, rel, "", NULL, 0);
	if (record_on())
		unlock();
	return r;
}

int sys_unlink(const char *path)
{
	return fault_call_fails("unlink") ? -1 : name_recorded(REC_UNLINK, path, 0);
}

int sys_mkdir(const char *path, mode_t mode)
{
	return fault_call_fails("mkdir") ? -1 : name_recorded(REC_MKDIR, path, mode);
}

int sys_rmdir(const char *path)
{
	return fault_call_fails("rmdir") ? -1 : name_recorded(REC_RMDIR, path, 0);
}

void *sys_alloc(size_t size)
{
	return fault_alloc_fails() ? NULL : malloc(size);
}

void *sys_realloc(void *ptr, size_t size)
{
	return fault_alloc_fails() ? NULL : realloc(ptr, size);
}

void sys_point(const char *name)
{
	fault_point(name);
}

static int64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts) == -1)
		abort();
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t sys_boot_ns(void)
{
	return clock_ns(CLOCK_BOOTTIME) + fault_boot_shift_ns();
}

int64_t sys_wall_ns(void)
{
	return clock_ns(CLOCK_REALTIME) + fault_wall_shift_ns();
}

enum status sys_boot_id(char out[37], struct error *e)
{
	static const char path[] = "/proc/sys/kernel/random/boot_id";
	const char *set = fault_boot_id();
	int fd;
	ssize_t n;

	if (set != NULL) {
		(void)snprintf(out, 37, "%-36.36s", set);
		return ST_OK;
	}
	fd = sys_open(path, O_RDONLY, 0);
	if (fd == -1)
		return error_os(e, errno, "cannot open %s", path);
	n = sys_read(fd, out, 36);
	(void)close(fd);
	if (n != 36)
		return error_set(e, ST_PERMANENT, "%s is not 36 characters long", path);
	out[36] = '\0';
	return ST_OK;
}

void sys_random(void *buf, size_t len)
{
	if (getrandom(buf, len, 0) != (ssize_t)len)
		abort();
}

const char *sys_sqlite_vfs(void)
{
	return fault_vfs_name();
}

bool sys_is_test_build(void)
{
	return true;
}
