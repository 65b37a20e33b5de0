#include "base/copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/sys.h"

enum { TREE_CHUNK = 256 << 10 };

struct copier {
	char *chunk;
	bool durable;
	int64_t bytes;
};

enum status copy_bytes(const char *from, int64_t size, int to_fd, const char *to, struct error *e)
{
	char *chunk = sys_alloc(TREE_CHUNK);
	int fd = chunk == NULL ? -1 : sys_open(from, O_RDONLY | O_NOFOLLOW, 0);
	enum status st = ST_OK;

	if (fd == -1) {
		st = chunk == NULL ? error_set(e, ST_NO_MEMORY, "out of memory")
		    : error_os(e, errno, "cannot open %s", from);
		free(chunk);
		return st;
	}
	while (st == ST_OK && size > 0) {
		ssize_t n = sys_read(fd, chunk, size < TREE_CHUNK ? (size_t)size : TREE_CHUNK);

		if (n == -1)
			st = error_os(e, errno, "cannot read %s", from);
		else if (n == 0)
			st = error_set(e, ST_CORRUPT, "%s is %lld bytes shorter than it was", from,
			    (long long)size);
		else
			st = file_write_all(to_fd, chunk, (size_t)n, to, e);
		size -= n > 0 ? n : 0;
	}
	(void)sys_close(fd);
	free(chunk);
	return st;
}

static enum status copy_file(struct copier *c, const char *from, const char *to, mode_t mode,
    struct error *e)
{
	enum status st = ST_OK;
	ssize_t n = 0;
	int in = sys_open(from, O_RDONLY | O_NOFOLLOW, 0);
	int out;

	if (in == -1)
		return error_os(e, errno, "cannot open %s", from);
	out = sys_open(to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode & 0777);
	if (out == -1) {
		st = error_os(e, errno, "cannot create %s", to);
		(void)sys_close(in);
		return st;
	}
	while (st == ST_OK && (n = sys_read(in, c->chunk, TREE_CHUNK)) > 0) {
		st = file_write_all(out, c->chunk, (size_t)n, to, e);
		c->bytes += n;
	}
	if (st == ST_OK && n == -1)
		st = error_os(e, errno, "cannot read %s", from);
	if (st == ST_OK && c->durable && sys_fsync(out) == -1)
		st = error_os(e, errno, "cannot sync %s", to);
	if (sys_close(out) == -1 && st == ST_OK)
		st = error_os(e, errno, "cannot close %s", to);
	(void)sys_close(in);
	return st;
}

static enum status copy_link(const char *from, const char *to, struct error *e)
{
	char target[4096];
	ssize_t n = readlink(from, target, sizeof(target) - 1);

	if (n == -1)
		return error_os(e, errno, "cannot read the link %s", from);
	target[n] = '\0';
	return symlink(target, to) == -1 ? error_os(e, errno, "cannot make the link %s", to) : ST_OK;
}

static enum status copy_entries(struct copier *c, const char *from, const char *to, int depth,
    struct error *e);

static enum status copy_entry(struct copier *c, const char *from, const char *to, int depth,
    struct error *e)
{
	struct stat sb;

	if (lstat(from, &sb) == -1)
		return error_os(e, errno, "cannot look at %s", from);
	if (S_ISREG(sb.st_mode))
		return copy_file(c, from, to, sb.st_mode, e);
	if (S_ISLNK(sb.st_mode))
		return copy_link(from, to, e);
	if (!S_ISDIR(sb.st_mode))
		return ST_OK;
	if (sys_mkdir(to, 0700) == -1)
		return error_os(e, errno, "cannot make the folder %s", to);
	return copy_entries(c, from, to, depth + 1, e);
}

static enum status copy_entries(struct copier *c, const char *from, const char *to, int depth,
    struct error *e)
{
	DIR *d;
	struct dirent *ent;
	enum status st = ST_OK;

	if (depth > COPY_DEPTH_MAX)
		return error_set(e, ST_CONFIG, "%s is deeper than %d folders", from, COPY_DEPTH_MAX);
	d = opendir(from);
	if (d == NULL)
		return error_os(e, errno, "cannot read the folder %s", from);
	while (st == ST_OK && (errno = 0, ent = readdir(d)) != NULL) {
		struct buf a = {0};
		struct buf b = {0};

		if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0)
			continue;
		buf_printf(&a, "%s/%s", from, ent->d_name);
		buf_printf(&b, "%s/%s", to, ent->d_name);
		st = a.failed ? buf_check(&a, e) : buf_check(&b, e);
		if (st == ST_OK)
			st = copy_entry(c, a.data, b.data, depth, e);
		buf_free(&a);
		buf_free(&b);
	}
	if (st == ST_OK && errno != 0)
		st = error_os(e, errno, "cannot read the folder %s", from);
	(void)closedir(d);
	return st == ST_OK && c->durable ? file_sync_dir(to, e) : st;
}

enum status copy_tree(const char *from, const char *to, int64_t *bytes, struct error *e)
{
	struct copier c = {.chunk = sys_alloc(TREE_CHUNK), .durable = true};
	enum status st;

	*bytes = 0;
	if (c.chunk == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	if (sys_mkdir(to, 0700) == -1)
		st = error_os(e, errno, "cannot make the folder %s", to);
	else
		st = copy_entries(&c, from, to, 0, e);
	*bytes = c.bytes;
	free(c.chunk);
	return st;
}

enum status copy_tree_into(const char *from, const char *to, struct error *e)
{
	struct copier c = {.chunk = sys_alloc(TREE_CHUNK)};
	enum status st;

	if (c.chunk == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = copy_entries(&c, from, to, 0, e);
	free(c.chunk);
	return st;
}
