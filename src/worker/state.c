#include "worker/state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sys.h"

struct state {
	char *dir;
	char *place;
	char *name; /* of dir, in the one spelling that the ledger holds */
};

/* From the folder that holds the state to the current one: what is common is
 * cut off, each folder left on the state's side is one "..". */
static enum status find_place(struct state *s, struct error *e)
{
	char state_real[PATH_MAX];
	char cwd[PATH_MAX];
	struct buf b = {0};
	size_t common = 0;
	size_t i;
	char *slash;

	if (realpath(s->dir, state_real) == NULL)
		return error_os(e, errno, "cannot resolve %s", s->dir);
	if (getcwd(cwd, sizeof(cwd)) == NULL)
		return error_os(e, errno, "cannot tell the current folder");
	slash = strrchr(state_real, '/');
	*slash = '\0';
	for (i = 0; state_real[i] == cwd[i] && cwd[i] != '\0'; i++) {
		if (cwd[i] == '/')
			common = i;
	}
	if ((state_real[i] == '\0' || state_real[i] == '/') && (cwd[i] == '\0' || cwd[i] == '/'))
		common = i;
	for (i = common; state_real[i] != '\0'; i++) {
		if (state_real[i] == '/' && state_real[i + 1] != '\0')
			buf_str(&b, "../");
	}
	buf_str(&b, cwd[common] == '/' ? cwd + common + 1 : cwd + common);
	if (b.len == 0)
		buf_char(&b, '.');
	s->place = b.data;
	return buf_check(&b, e);
}

/* Needs the place. */
static enum status find_name(struct state *s, struct error *e)
{
	char real[PATH_MAX];
	const char *name = real;

	if (realpath(s->dir, real) == NULL)
		return error_os(e, errno, "cannot resolve %s", s->dir);
	if (strcmp(s->place, ".") == 0)
		name = strrchr(real, '/') + 1;
	s->name = mem_dup(name, strlen(name));
	return s->name == NULL ? error_set(e, ST_NO_MEMORY, "out of memory") : ST_OK;
}

static enum status make_folders(struct state *s, bool create, struct error *e)
{
	static const char *const folders[] = {"lock", "workers", "runs"};
	struct buf b = {0};
	struct stat sb;
	enum status st = ST_OK;
	size_t i;

	if (stat(s->dir, &sb) == -1) {
		if (errno != ENOENT)
			return error_os(e, errno, "cannot look at the state folder %s", s->dir);
		if (!create)
			return error_set(e, ST_NOT_FOUND, "no state folder %s here; start a run, "
			    "change to its folder, or name it with --state", s->dir);
		st = file_mkdirs(s->dir, 0700, e);
	} else if (!S_ISDIR(sb.st_mode)) {
		return error_set(e, ST_CONFIG, "the state %s is not a folder", s->dir);
	}
	if (!create)
		return st;
	state_path(s, &b, ".gitignore");
	if (st == ST_OK)
		st = buf_check(&b, e);
	if (st == ST_OK && access(b.data, F_OK) == -1)
		st = file_write_durable(b.data, "*\n", 2, 0600, e);
	for (i = 0; st == ST_OK && i < sizeof(folders) / sizeof(folders[0]); i++)
		st = state_mkdir(s, &b, e, "%s", folders[i]);
	buf_free(&b);
	return st;
}

enum status state_open(const char *dir, bool create, struct state **out, struct error *e)
{
	struct state *s;
	enum status st;

	if (strncmp(dir, "file://", 7) == 0)
		dir += 7;
	if (strstr(dir, "://") != NULL)
		return error_set(e, ST_CONFIG, "the state %s is not a local folder; this version of "
		    "ebb keeps its state in a local folder only", dir);
	s = mem_zero(sizeof(*s));
	if (s == NULL || (s->dir = mem_dup(dir, strlen(dir))) == NULL) {
		free(s);
		return error_set(e, ST_NO_MEMORY, "out of memory");
	}
	st = make_folders(s, create, e);
	if (st == ST_OK)
		st = find_place(s, e);
	if (st == ST_OK)
		st = find_name(s, e);
	if (st != ST_OK) {
		state_close(s);
		return st;
	}
	*out = s;
	return ST_OK;
}

void state_close(struct state *s)
{
	if (s == NULL)
		return;
	free(s->dir);
	free(s->place);
	free(s->name);
	free(s);
}

const char *state_dir(const struct state *s)
{
	return s->dir;
}

const char *state_place(const struct state *s)
{
	return s->place;
}

PRINTF_LIKE(3, 0) static void path_v(const char *dir, struct buf *out, const char *fmt,
    va_list ap)
{
	char rest[PATH_MAX];

	buf_clear(out);
	if (vsnprintf(rest, sizeof(rest), fmt, ap) >= (int)sizeof(rest))
		out->failed = true;
	buf_str(out, dir);
	buf_char(out, '/');
	buf_str(out, rest);
}

void state_path(const struct state *s, struct buf *out, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	path_v(s->dir, out, fmt, ap);
	va_end(ap);
}

void state_name(const struct state *s, struct buf *out, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	path_v(s->name, out, fmt, ap);
	va_end(ap);
}

enum status state_mkdir(const struct state *s, struct buf *out, struct error *e,
    const char *fmt, ...)
{
	va_list ap;
	enum status st;

	va_start(ap, fmt);
	path_v(s->dir, out, fmt, ap);
	va_end(ap);
	st = buf_check(out, e);
	return st == ST_OK ? file_mkdirs(out->data, 0700, e) : st;
}

static enum status lock_file(const char *path, int *fd, struct error *e)
{
	enum status st = ST_OK;
	int r;

	*fd = sys_open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (*fd == -1)
		return error_os(e, errno, "cannot open %s", path);
	do
		r = flock(*fd, LOCK_EX | LOCK_NB);
	while (r == -1 && errno == EINTR);
	if (r == -1) {
		st = errno == EWOULDBLOCK
		    ? error_set(e, ST_BUSY, "%s is held by another process", path)
		    : error_os(e, errno, "cannot lock %s", path);
		(void)sys_close(*fd);
		*fd = -1;
	}
	return st;
}

/* False when the file was removed between its opening and its locking: then
 * somebody else may lock a new one of that name. */
static bool still_there(const char *path, int fd)
{
	struct stat mine;
	struct stat now;

	return fstat(fd, &mine) == 0 && stat(path, &now) == 0 && mine.st_dev == now.st_dev &&
	    mine.st_ino == now.st_ino;
}

enum status state_lock(const struct state *s, const char *name, int *fd, struct error *e)
{
	struct buf b = {0};
	enum status st;

	state_path(s, &b, "lock/%s.lock", name);
	st = buf_check(&b, e);
	if (st == ST_OK)
		st = lock_file(b.data, fd, e);
	while (st == ST_OK && !still_there(b.data, *fd)) {
		(void)sys_close(*fd);
		st = lock_file(b.data, fd, e);
	}
	buf_free(&b);
	return st;
}

enum status state_lock_wait(const struct state *s, const char *name, int wait_ms, int *fd,
    struct error *e)
{
	int64_t end = sys_boot_ns() + (int64_t)wait_ms * 1000000;
	enum status st;

	while ((st = state_lock(s, name, fd, e)) == ST_BUSY && sys_boot_ns() < end)
		(void)poll(NULL, 0, 10);
	return st;
}

bool state_lock_is_free(const struct state *s, const char *name)
{
	struct buf b = {0};
	bool is_free = true;
	int fd;

	state_path(s, &b, "lock/%s.lock", name);
	if (b.failed)
		return false;
	fd = sys_open(b.data, O_RDWR | O_NOFOLLOW, 0);
	if (fd != -1) {
		is_free = flock(fd, LOCK_EX | LOCK_NB) == 0;
		(void)sys_close(fd);
	} else if (errno != ENOENT) {
		is_free = false;
	}
	buf_free(&b);
	return is_free;
}

void state_lock_remove(const struct state *s, const char *name)
{
	struct buf b = {0};

	state_path(s, &b, "lock/%s.lock", name);
	/* A lock file that stays is only an empty file. */
	if (!b.failed)
		(void)!sys_unlink(b.data);
	buf_free(&b);
}
