#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RETRY(expr)                                         \
	({                                                  \
		__typeof__(expr) r_;                        \
		do                                          \
			r_ = (expr);                        \
		while (r_ == -1 && errno == EINTR);         \
		r_;                                         \
	})

int sys_open(const char *path, int flags, mode_t mode)
{
	return RETRY(open(path, flags | O_CLOEXEC, mode));
}

int sys_close(int fd)
{
	/* Linux has released the descriptor even when it says EINTR. */
	int r = close(fd);

	return r == -1 && errno == EINTR ? 0 : r;
}

ssize_t sys_read(int fd, void *buf, size_t len)
{
	return RETRY(read(fd, buf, len));
}

ssize_t sys_pread(int fd, void *buf, size_t len, int64_t off)
{
	return RETRY(pread(fd, buf, len, off));
}

ssize_t sys_write(int fd, const void *buf, size_t len)
{
	return RETRY(write(fd, buf, len));
}

ssize_t sys_pwrite(int fd, const void *buf, size_t len, int64_t off)
{
	return RETRY(pwrite(fd, buf, len, off));
}

int sys_ftruncate(int fd, int64_t len)
{
	return RETRY(ftruncate(fd, len));
}

int sys_punch_hole(int fd, int64_t off, int64_t len)
{
	return RETRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len));
}

int sys_fsync(int fd)
{
	return RETRY(fsync(fd));
}

int sys_fsync_dir(const char *path)
{
	int fd = sys_open(path, O_RDONLY | O_DIRECTORY, 0);
	int r;
	int saved;

	if (fd == -1)
		return -1;
	r = sys_fsync(fd);
	saved = errno;
	if (close(fd) == -1 && r == 0)
		return -1;
	errno = saved;
	return r;
}

int sys_rename(const char *from, const char *to)
{
	return rename(from, to);
}

int sys_rename_noreplace(const char *from, const char *to)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (link(from, to) == -1)
		return -1;
	return unlink(from);
}

int sys_unlink(const char *path)
{
	return unlink(path);
}

int sys_mkdir(const char *path, mode_t mode)
{
	return mkdir(path, mode);
}

int sys_rmdir(const char *path)
{
	return rmdir(path);
}

void *sys_alloc(size_t size)
{
	return malloc(size);
}

void *sys_realloc(void *ptr, size_t size)
{
	return realloc(ptr, size);
}

void sys_point(const char *name)
{
	(void)name;
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
	return clock_ns(CLOCK_BOOTTIME);
}

int64_t sys_wall_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

enum status sys_boot_id(char out[37], struct error *e)
{
	static const char path[] = "/proc/sys/kernel/random/boot_id";
	int fd = sys_open(path, O_RDONLY, 0);
	ssize_t n;

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
	return NULL;
}

bool sys_is_test_build(void)
{
	return false;
}
