#include "shard/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/sys.h"

static enum status check_regular(const char *path, const struct stat *st, struct error *e)
{
	const char *what = "a device";

	if (S_ISREG(st->st_mode))
		return ST_OK;
	if (S_ISDIR(st->st_mode))
		what = "a folder";
	else if (S_ISFIFO(st->st_mode))
		what = "a FIFO";
	else if (S_ISSOCK(st->st_mode))
		what = "a socket";
	return error_set(e, ST_CONFIG, "%s is %s, and only a regular file can be cut into ranges",
	    path, what);
}

static enum status path_error(const char *path, int os_errno, struct error *e)
{
	enum status st = error_os(e, os_errno, "cannot open %s", path);

	return os_errno == ELOOP || os_errno == ENAMETOOLONG ? ST_CONFIG : st;
}

/* Looked at before it is opened: opening a FIFO would wait for a writer, and
 * opening a device may do something. */
static enum status open_regular(const char *path, int *fd, struct stat *st, struct error *e)
{
	enum status status;

	if (stat(path, st) == -1)
		return path_error(path, errno, e);
	status = check_regular(path, st, e);
	if (status != ST_OK)
		return status;
	*fd = sys_open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	if (*fd == -1)
		return path_error(path, errno, e);
	if (fstat(*fd, st) == -1)
		status = error_os(e, errno, "cannot look at %s", path);
	else
		status = check_regular(path, st, e);
	if (status != ST_OK)
		(void)sys_close(*fd);
	return status;
}

/* The smallest multiple of size above start, at most total. */
static int64_t next_multiple(int64_t start, int64_t size, int64_t total)
{
	int64_t below = start - start % size;

	return size >= total - below ? total : below + size;
}

static enum status changed(const char *path, struct error *e)
{
	return error_set(e, ST_BUSY, "%s was changed while it was being cut into ranges", path);
}

static enum status cut(int fd, int64_t size, enum records_kind kind, struct bytes_range *range,
    bytes_range_fn fn, void *arg, struct error *e)
{
	int64_t total = range->version.size;

	do {
		int64_t at = next_multiple(range->offset, size, total);
		int64_t end;
		enum status st = records_next_start(fd, kind, at, total, range->path, &end, e);

		if (st == ST_CORRUPT) /* shorter than it was */
			return changed(range->path, e);
		if (st != ST_OK)
			return st;
		range->length = end - range->offset;
		st = fn(arg, range, e);
		if (st != ST_OK)
			return st;
		if (range->part == INT32_MAX)
			return error_set(e, ST_CONFIG, "%s has too many ranges of %lld bytes; "
			    "make them larger", range->path, (long long)size);
		range->offset = end;
		range->part++;
	} while (range->offset < total);
	return ST_OK;
}

/* The file is what was opened, and neither it nor its name has changed. */
static enum status check_unchanged(int fd, const char *path, const struct stat *before,
    struct error *e)
{
	struct file_version was = file_version_of_stat(before);
	struct file_version now;
	struct stat by_fd;
	struct stat by_name;

	if (fstat(fd, &by_fd) == -1)
		return error_os(e, errno, "cannot look at %s", path);
	if (stat(path, &by_name) == -1)
		return changed(path, e);
	now = file_version_of_stat(&by_fd);
	if (!file_version_equal(&was, &now) || by_fd.st_dev != by_name.st_dev ||
	    by_fd.st_ino != by_name.st_ino)
		return changed(path, e);
	return ST_OK;
}

enum status bytes_cut(const char *path, int64_t size, enum records_kind kind,
    bytes_range_fn fn, void *arg, struct error *e)
{
	struct bytes_range range = {.path = path};
	struct stat before;
	enum status st;
	int fd = -1;

	if (size < 1)
		return error_set(e, ST_CONFIG, "ranges of %lld bytes cannot be cut",
		    (long long)size);
	st = open_regular(path, &fd, &before, e);
	if (st != ST_OK)
		return st;
	range.version = file_version_of_stat(&before);
	st = cut(fd, size, kind, &range, fn, arg, e);
	if (st == ST_OK)
		st = check_unchanged(fd, path, &before, e);
	(void)sys_close(fd);
	return st;
}
