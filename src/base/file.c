#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/sys.h"

enum { SMALL_FILE = 64 << 10 };

struct file_version file_version_of(const char *path)
{
	const struct file_version none = {0};
	struct stat st;

	return stat(path, &st) == -1 ? none : file_version_of_stat(&st);
}

struct file_version file_version_of_stat(const struct stat *st)
{
	struct file_version v = {0};

	if (!S_ISREG(st->st_mode))
		return v;
	v.exists = true;
	v.size = st->st_size;
	v.mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
	return v;
}

bool file_version_equal(const struct file_version *a, const struct file_version *b)
{
	return a->exists == b->exists && a->size == b->size && a->mtime_ns == b->mtime_ns;
}

static enum status read_fd(int fd, const char *path, size_t max, struct buf *out, struct error *e)
{
	char chunk[16384];
	size_t total = 0;

	for (;;) {
		ssize_t n = sys_read(fd, chunk, sizeof(chunk));

		if (n == -1)
			return error_os(e, errno, "cannot read %s", path);
		if (n == 0)
			return buf_check(out, e);
		total += (size_t)n;
		if (total > max)
			return error_set(e, ST_CONFIG, "%s is larger than the limit of %zu bytes",
			    path, max);
		buf_append(out, chunk, (size_t)n);
	}
}

enum status file_read(const char *path, size_t max, struct buf *out, struct error *e)
{
	int fd = sys_open(path, O_RDONLY, 0);
	enum status st;

	if (fd == -1)
		return error_os(e, errno, "cannot open %s", path);
	st = read_fd(fd, path, max, out, e);
	(void)sys_close(fd);
	return st;
}

int64_t file_number(const char *path, const char *after)
{
	struct buf b = {0};
	const char *p;
	int64_t n = -1;

	if (file_read(path, SMALL_FILE, &b, NULL) == ST_OK && b.data != NULL) {
		p = after == NULL ? b.data : strstr(b.data, after);
		if (p != NULL) {
			p += after == NULL ? 0 : strlen(after);
			p += strspn(p, " \t");
			if (*p >= '0' && *p <= '9')
				n = strtoll(p, NULL, 10);
		}
	}
	buf_free(&b);
	return n;
}

enum status file_write_all(int fd, const void *data, size_t len, const char *name,
    struct error *e)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = sys_write(fd, p, len);

		if (n == -1)
			return error_os(e, errno, "cannot write %s", name);
		p += n;
		len -= (size_t)n;
	}
	return ST_OK;
}

enum status file_sync(const char *path, struct error *e)
{
	int fd = sys_open(path, O_RDONLY, 0);
	int r;
	int saved;

	if (fd == -1)
		return error_os(e, errno, "cannot open %s", path);
	r = sys_fsync(fd);
	saved = errno;
	if (sys_close(fd) == -1 && r == 0) {
		r = -1;
		saved = errno;
	}
	if (r == -1)
		return error_os(e, saved, "cannot sync %s", path);
	return ST_OK;
}

enum status file_sync_dir(const char *path, struct error *e)
{
	if (sys_fsync_dir(path) == -1)
		return error_os(e, errno, "cannot sync the folder %s", path);
	return ST_OK;
}

void file_dirname(const char *path, struct buf *out)
{
	const char *slash = strrchr(path, '/');

	while (slash != NULL && slash > path && slash[-1] == '/')
		slash--;
	if (slash == NULL)
		buf_char(out, '.');
	else if (slash == path)
		buf_char(out, '/');
	else
		buf_append(out, path, (size_t)(slash - path));
}

static enum status write_tmp(const char *tmp, const void *data, size_t len, mode_t mode,
    struct error *e)
{
	int fd = sys_open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode);
	enum status st;

	if (fd == -1)
		return error_os(e, errno, "cannot create %s", tmp);
	st = file_write_all(fd, data, len, tmp, e);
	if (st == ST_OK && sys_fsync(fd) == -1)
		st = error_os(e, errno, "cannot sync %s", tmp);
	if (sys_close(fd) == -1 && st == ST_OK)
		st = error_os(e, errno, "cannot close %s", tmp);
	return st;
}

enum status file_write_durable(const char *path, const void *data, size_t len, mode_t mode,
    struct error *e)
{
	struct buf tmp = {0};
	struct buf dir = {0};
	enum status st;

	buf_printf(&tmp, "%s.tmp.%ld", path, (long)getpid());
	file_dirname(path, &dir);
	if (tmp.failed || dir.failed) {
		st = error_set(e, ST_NO_MEMORY, "out of memory");
		goto out;
	}
	st = write_tmp(tmp.data, data, len, mode, e);
	if (st == ST_OK && sys_rename(tmp.data, path) == -1)
		st = error_os(e, errno, "cannot rename %s to %s", tmp.data, path);
	if (st == ST_OK)
		st = file_sync_dir(dir.data, e);
	if (st != ST_OK)
		(void)!sys_unlink(tmp.data);
out:
	buf_free(&tmp);
	buf_free(&dir);
	return st;
}

static enum status make_one(const char *path, mode_t mode, struct error *e)
{
	struct buf parent = {0};
	struct stat sb;
	enum status st;

	if (stat(path, &sb) == 0) {
		if (S_ISDIR(sb.st_mode))
			return ST_OK;
		return error_set(e, ST_EXISTS, "%s exists and is not a folder", path);
	}
	if (sys_mkdir(path, mode) == -1) {
		if (errno == EEXIST)
			return ST_OK;
		return error_os(e, errno, "cannot make the folder %s", path);
	}
	file_dirname(path, &parent);
	st = buf_check(&parent, e);
	if (st == ST_OK)
		st = file_sync_dir(parent.data, e);
	buf_free(&parent);
	return st;
}

enum status file_mkdirs(const char *path, mode_t mode, struct error *e)
{
	struct stat sb;
	char *copy;
	char *p;
	enum status st = ST_OK;

	if (stat(path, &sb) == 0 && S_ISDIR(sb.st_mode))
		return ST_OK;
	copy = mem_dup(path, strlen(path));
	if (copy == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	for (p = copy + 1; st == ST_OK && *p != '\0'; p++) {
		if (*p == '/' && p[-1] != '/') {
			*p = '\0';
			st = make_one(copy, mode, e);
			*p = '/';
		}
	}
	if (st == ST_OK)
		st = make_one(copy, mode, e);
	free(copy);
	return st;
}

static enum status remove_at(int dirfd, const char *name, const char *shown, struct error *e);

static enum status remove_entries(int fd, const char *shown, struct error *e)
{
	DIR *d = fdopendir(fd);
	struct dirent *ent;
	enum status st = ST_OK;

	if (d == NULL) {
		st = error_os(e, errno, "cannot read the folder %s", shown);
		(void)close(fd);
		return st;
	}
	while (st == ST_OK && (ent = readdir(d)) != NULL) {
		if (strcmp(ent->d_name, ".") != 0 && strcmp(ent->d_name, "..") != 0)
			st = remove_at(dirfd(d), ent->d_name, shown, e);
	}
	(void)closedir(d);
	return st;
}

/* A folder whose owner may not look into it or change it is made so that they may,
 * else nobody but root would ever get rid of it. */
static int open_to_empty(int dirfd, const char *name)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(dirfd, name, flags);
	struct stat sb;

	if (fd == -1 && errno == EACCES && fchmodat(dirfd, name, 0700, 0) == 0)
		fd = openat(dirfd, name, flags);
	else if (fd != -1 && fstat(fd, &sb) == 0 && (sb.st_mode & S_IRWXU) != S_IRWXU)
		(void)!fchmod(fd, 0700);
	return fd;
}

static enum status remove_at(int dirfd, const char *name, const char *shown, struct error *e)
{
	int fd;
	enum status st;

	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return ST_OK;
	if (errno != EISDIR && errno != EPERM)
		return error_os(e, errno, "cannot remove %s in %s", name, shown);
	fd = open_to_empty(dirfd, name);
	if (fd == -1)
		return error_os(e, errno, "cannot open the folder %s in %s", name, shown);
	st = remove_entries(fd, name, e);
	if (st == ST_OK && unlinkat(dirfd, name, AT_REMOVEDIR) == -1 && errno != ENOENT)
		st = error_os(e, errno, "cannot remove the folder %s in %s", name, shown);
	return st;
}

enum status file_remove_tree(const char *path, struct error *e)
{
	return remove_at(AT_FDCWD, path, ".", e);
}

static int64_t tree_bytes_at(int dirfd, const char *name)
{
	struct stat sb;
	struct dirent *ent;
	int64_t sum;
	int fd;
	DIR *d;

	if (fstatat(dirfd, name, &sb, AT_SYMLINK_NOFOLLOW) == -1)
		return 0;
	sum = (int64_t)sb.st_blocks * 512;
	if (!S_ISDIR(sb.st_mode))
		return sum;
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return sum;
	d = fdopendir(fd);
	if (d == NULL) {
		(void)close(fd);
		return sum;
	}
	while ((ent = readdir(d)) != NULL) {
		if (strcmp(ent->d_name, ".") != 0 && strcmp(ent->d_name, "..") != 0)
			sum += tree_bytes_at(fd, ent->d_name);
	}
	(void)closedir(d);
	return sum;
}

int64_t file_tree_bytes(const char *path)
{
	return tree_bytes_at(AT_FDCWD, path);
}

bool file_has_room(const char *path)
{
	struct buf dir = {0};
	struct statvfs vfs;
	bool room = true;

	buf_str(&dir, path);
	while (!dir.failed && statvfs(dir.data, &vfs) == -1 && errno == ENOENT) {
		struct buf up = {0};
		bool top = strcmp(dir.data, ".") == 0 || strcmp(dir.data, "/") == 0;

		file_dirname(dir.data, &up);
		buf_free(&dir);
		dir = up;
		if (top)
			break;
	}
	if (!dir.failed && dir.data != NULL && statvfs(dir.data, &vfs) == 0)
		room = (uint64_t)vfs.f_bavail * vfs.f_frsize >= 65536 &&
		    (vfs.f_files == 0 || vfs.f_favail > 0);
	buf_free(&dir);
	return room;
}
