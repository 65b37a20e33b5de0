#include "worker/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/sys.h"

/* Longest line about what was left out. Up to this much over the cap a file
 * is left whole. */
enum { GAP_LINE_MAX = 64, COPY_CHUNK = 64 << 10, PUNCH_ALIGN = 4096, PUNCH_MIN = 64 << 10 };

#define FAST_GROWTH (INT64_C(16) << 20)

struct lane_files {
	int out;           /* -1: not open */
	int err;
	int out_path_fd;   /* of a child with a path of its own */
	int64_t err_seen;  /* size at the last look */
	int64_t punched;   /* freed up to here; 0: nothing */
};

struct spool {
	const char *dir;
	int n_lanes;
	int64_t keep; /* head and tail, each */
	bool can_punch;
	struct lane_files lanes[];
};

struct spool *spool_create(const char *dir, int lanes, int64_t err_cap)
{
	struct spool *sp = mem_zero(sizeof(*sp) + (size_t)lanes * sizeof(sp->lanes[0]));
	int i;

	if (sp == NULL)
		return NULL;
	sp->dir = dir;
	sp->n_lanes = lanes;
	sp->keep = err_cap > 1 ? err_cap / 2 : 1;
	sp->can_punch = true;
	for (i = 0; i < lanes; i++) {
		sp->lanes[i].out = -1;
		sp->lanes[i].err = -1;
		sp->lanes[i].out_path_fd = -1;
	}
	return sp;
}

static int own_path(const struct spool *sp, int lane, const char *ext, char path[PATH_MAX])
{
	int n = snprintf(path, PATH_MAX, "%s/lane%d.%s", sp->dir, lane, ext);

	return n < 0 || n >= PATH_MAX ? ENAMETOOLONG : 0;
}

static int id_path(const struct spool *sp, uint64_t id, const char *ext, char path[PATH_MAX])
{
	int n = snprintf(path, PATH_MAX, "%s/%llu.%s", sp->dir, (unsigned long long)id, ext);

	return n < 0 || n >= PATH_MAX ? ENAMETOOLONG : 0;
}

static int64_t size_of(int fd)
{
	struct stat sb;

	return fstat(fd, &sb) == -1 ? -1 : sb.st_size;
}

static void close_fd(int *fd)
{
	if (*fd != -1)
		(void)sys_close(*fd);
	*fd = -1;
}

/* Closes a lane's own file and removes it. */
static void discard(const struct spool *sp, int lane, const char *ext, int *fd)
{
	char path[PATH_MAX];

	if (own_path(sp, lane, ext, path) == 0)
		(void)!sys_unlink(path);
	close_fd(fd);
}

void spool_destroy(struct spool *sp)
{
	int i;

	if (sp == NULL)
		return;
	for (i = 0; i < sp->n_lanes; i++) {
		struct lane_files *f = &sp->lanes[i];

		if (f->out != -1 && size_of(f->out) == 0)
			discard(sp, i, "out", &f->out);
		if (f->err != -1 && size_of(f->err) == 0)
			discard(sp, i, "err", &f->err);
		close_fd(&f->out);
		close_fd(&f->err);
		close_fd(&f->out_path_fd);
	}
	free(sp);
}

/* O_APPEND, since one open file is shared by children that follow each other
 * and by all processes of a pipeline. */
static int open_own(const struct spool *sp, int lane, const char *ext, int *fd)
{
	char path[PATH_MAX];
	int r;

	if (*fd != -1)
		return 0;
	r = own_path(sp, lane, ext, path);
	if (r != 0)
		return r;
	*fd = sys_open(path, O_WRONLY | O_APPEND | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	return *fd == -1 ? errno : 0;
}

/* The user's umask applies, as it would to a file made by a shell. */
static int open_path(const char *path, bool append, int *fd)
{
	const int flags = append ? O_WRONLY | O_APPEND : O_WRONLY | O_CREAT | O_EXCL;

	*fd = sys_open(path, flags, 0666);
	if (*fd == -1 && errno == EEXIST && sys_unlink(path) == 0)
		*fd = sys_open(path, flags, 0666);
	return *fd == -1 ? errno : 0;
}

int spool_begin(struct spool *sp, int lane, const char *out_path, bool append, int *out, int *err)
{
	struct lane_files *f = &sp->lanes[lane];
	int r = open_own(sp, lane, "err", &f->err);

	if (r == 0)
		r = out_path != NULL ? open_path(out_path, append, &f->out_path_fd)
		                     : open_own(sp, lane, "out", &f->out);
	f->err_seen = 0;
	f->punched = 0;
	*out = out_path != NULL ? f->out_path_fd : f->out;
	*err = f->err;
	return r;
}

void spool_cancel(struct spool *sp, int lane, const char *out_path)
{
	struct lane_files *f = &sp->lanes[lane];

	if (f->out_path_fd != -1 && out_path != NULL)
		(void)!sys_unlink(out_path);
	close_fd(&f->out_path_fd);
}

bool spool_trim(struct spool *sp, int lane)
{
	struct lane_files *f = &sp->lanes[lane];
	int64_t size = size_of(f->err);
	bool fast = size - f->err_seen > FAST_GROWTH;
	int64_t from;
	int64_t to;

	if (size < f->punched) /* the child has cut it itself */
		f->punched = 0;
	f->err_seen = size;
	if (!sp->can_punch || size <= 2 * sp->keep)
		return fast;
	from = f->punched > 0 ? f->punched : (sp->keep + PUNCH_ALIGN - 1) / PUNCH_ALIGN * PUNCH_ALIGN;
	to = (size - sp->keep) / PUNCH_ALIGN * PUNCH_ALIGN;
	if (to - from < PUNCH_MIN)
		return fast;
	if (sys_punch_hole(f->err, from, to - from) == 0)
		f->punched = to;
	else if (errno == EOPNOTSUPP || errno == ENOSYS)
		sp->can_punch = false;
	return fast;
}

static enum status copy_range(int in, int out, int64_t off, int64_t len, char *chunk, char *last)
{
	while (len > 0) {
		size_t want = len < COPY_CHUNK ? (size_t)len : COPY_CHUNK;
		ssize_t n = sys_pread(in, chunk, want, off);
		enum status st;

		if (n <= 0)
			return ST_TRANSIENT;
		st = file_write_all(out, chunk, (size_t)n, "stderr", NULL);
		if (st != ST_OK)
			return st;
		*last = chunk[n - 1];
		off += n;
		len -= n;
	}
	return ST_OK;
}

/* Head, a line, tail. */
static bool write_capped(const struct spool *sp, int in, int out, int64_t size)
{
	char line[GAP_LINE_MAX];
	char *chunk = sys_alloc(COPY_CHUNK);
	char last = '\n';
	bool ok = chunk != NULL &&
	    copy_range(in, out, 0, sp->keep, chunk, &last) == ST_OK;

	(void)snprintf(line, sizeof(line), "%s[ebb: %lld bytes left out]\n", last == '\n' ? "" : "\n",
	    (long long)(size - 2 * sp->keep));
	ok = ok && file_write_all(out, line, strlen(line), "stderr", NULL) == ST_OK &&
	    copy_range(in, out, size - sp->keep, sp->keep, chunk, &last) == ST_OK;
	free(chunk);
	return ok;
}

/* Writes the capped copy of `from` to `to`. On failure there is no `to`. */
static bool cap_file(const struct spool *sp, const char *from, const char *to, int64_t size)
{
	int in = sys_open(from, O_RDONLY | O_NOFOLLOW, 0);
	int out = sys_open(to, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	bool ok = in != -1 && out != -1 && write_capped(sp, in, out, size);

	if (in != -1)
		(void)sys_close(in);
	if (out != -1 && sys_close(out) == -1)
		ok = false;
	if (!ok)
		(void)!sys_unlink(to);
	return ok;
}

/* Gives a lane's own file to the worker. */
static int hand_over(struct spool *sp, int lane, const char *ext, int *fd, uint64_t id,
    int64_t cut_size)
{
	char from[PATH_MAX];
	char to[PATH_MAX];
	int r = own_path(sp, lane, ext, from);

	if (r == 0)
		r = id_path(sp, id, ext, to);
	if (r == 0) {
		/* Better a file with a hole in it than none. */
		if (cut_size > 0 && cap_file(sp, from, to, cut_size))
			(void)!sys_unlink(from);
		else if (sys_rename(from, to) == -1)
			r = errno;
	}
	close_fd(fd);
	return r;
}

static int end_own(struct spool *sp, int lane, const char *ext, int *fd, uint64_t id, bool reuse,
    int64_t *size)
{
	int64_t cut = 0;

	*size = size_of(*fd);
	if (*size == 0) {
		if (!reuse)
			discard(sp, lane, ext, fd);
		return 0;
	}
	if (fd == &sp->lanes[lane].err && *size > 2 * sp->keep + GAP_LINE_MAX)
		cut = *size;
	return hand_over(sp, lane, ext, fd, id, cut);
}

int spool_end(struct spool *sp, int lane, uint64_t id, bool reuse, struct spool_sizes *sizes)
{
	struct lane_files *f = &sp->lanes[lane];
	int r = 0;
	int r_err;

	if (f->out_path_fd != -1) {
		sizes->out = size_of(f->out_path_fd);
		close_fd(&f->out_path_fd);
	} else {
		r = end_own(sp, lane, "out", &f->out, id, reuse, &sizes->out);
	}
	r_err = end_own(sp, lane, "err", &f->err, id, reuse, &sizes->err);
	return r != 0 ? r : r_err;
}
