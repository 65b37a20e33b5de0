/* Feeds a child's stdin, on a thread of its own that blocks in sendfile: a byte
 * range of a file, whole files one after the other, or a line. It ends when all
 * is through or the child's end of the pipe is gone. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "shard/records.h"
#include "worker/input.h"
#include "worker/work.h"

struct pump {
	pthread_t thread;
	const struct stage *g;
	int pipe_write;
	int64_t offset;              /* SPEC_BYTES */
	int64_t length;
	int64_t batch;               /* records, at most; 0: all */
	int64_t fed;                 /* SPEC_BYTES: bytes that it was to feed */
	bool joined;
	int64_t skip;                /* bytes that an earlier attempt has processed */
	struct file_version planned; /* SPEC_BYTES */
	char *item;
	size_t item_len;
	bool gone;                   /* the child reads no more */
	enum status status;
	struct error error;
};

static struct file_version version_of_fd(int fd)
{
	const struct file_version none = {0};
	struct stat sb;

	return fstat(fd, &sb) == -1 ? none : file_version_of_stat(&sb);
}

/* *left is what could not be had: the file is shorter than was thought. */
static enum status send_range(struct pump *p, int fd, const char *path, int64_t offset,
    int64_t *left, struct error *e)
{
	enum { CHUNK = 1 << 20 };
	off_t off = offset;

	while (*left > 0) {
		size_t want = *left < CHUNK ? (size_t)*left : CHUNK;
		ssize_t n = sendfile(p->pipe_write, fd, &off, want);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1 && errno == EPIPE) {
			p->gone = true;
			return ST_OK;
		}
		if (n == -1)
			return error_os(e, errno, "cannot read %s", path);
		if (n == 0)
			return ST_OK;
		*left -= n;
	}
	return ST_OK;
}

/* Where the batch ends that begins at `at`, at most at the end of the range. */
static enum status batch_end(const struct pump *p, int fd, int64_t at, int64_t end, int64_t *out,
    struct error *e)
{
	enum records_kind kind;
	enum status st = records_parse(p->g->spec->records, &kind, e);

	return st == ST_OK ? records_skip(fd, kind, at, end, p->batch, p->item, out, e) : st;
}

static enum status feed_range(struct pump *p, struct error *e)
{
	int64_t skip = p->skip < p->length ? p->skip : p->length;
	int64_t left = p->length - skip;
	struct file_version now;
	enum status st = ST_OK;
	int fd = sys_open(p->item, O_RDONLY | O_NONBLOCK, 0);

	if (fd == -1)
		return error_os(e, errno, "cannot open %s", p->item);
	if (p->batch > 0) {
		int64_t end;

		st = batch_end(p, fd, p->offset + skip, p->offset + p->length, &end, e);
		left = st == ST_OK ? end - p->offset - skip : 0;
	}
	p->fed = left;
	if (st == ST_OK)
		st = send_range(p, fd, p->item, p->offset + skip, &left, e);
	now = version_of_fd(fd);
	(void)sys_close(fd);
	if (st == ST_OK && ((left > 0 && !p->gone) || !file_version_equal(&now, &p->planned)))
		st = error_set(e, ST_CORRUPT, "the input %s changed after it was cut; the same line "
		    "again cuts it anew", p->item);
	return st;
}

/* Whether it changed is found out by the versions, when the child has ended. */
static enum status feed_file(struct pump *p, const char *path, struct error *e)
{
	int64_t left;
	int64_t skip;
	enum status st;
	int fd = sys_open(path, O_RDONLY | O_NONBLOCK, 0);

	if (fd == -1)
		return error_os(e, errno, "cannot open %s", path);
	left = version_of_fd(fd).size;
	skip = p->skip < left ? p->skip : left;
	p->skip -= skip;
	left -= skip;
	st = send_range(p, fd, path, skip, &left, e);
	(void)sys_close(fd);
	return st;
}

static enum status write_text(struct pump *p, const char *text, size_t len, struct error *e)
{
	size_t at = p->skip < (int64_t)len ? (size_t)p->skip : len;

	p->skip -= (int64_t)at;
	while (at < len) {
		ssize_t n = write(p->pipe_write, text + at, len - at);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1 && errno == EPIPE) {
			p->gone = true;
			return ST_OK;
		}
		if (n == -1)
			return error_os(e, errno, "cannot write to a pipe");
		at += (size_t)n;
	}
	return ST_OK;
}

/* A file's bytes; of an item that is none, itself as a line. One that was a file when
 * it was planned and is gone now shows in the versions, when the child has ended. */
static enum status feed_item(struct pump *p, const char *item, size_t len, struct error *e)
{
	enum status st;

	if (strlen(item) == len && file_version_of(item).exists)
		return feed_file(p, item, e);
	st = write_text(p, item, len, e);
	return st == ST_OK && !p->gone ? write_text(p, "\n", 1, e) : st;
}

static enum status feed_group(struct pump *p, struct error *e)
{
	const char *path = p->item;
	enum status st = ST_OK;

	while (st == ST_OK && !p->gone && path <= p->item + p->item_len) {
		st = feed_item(p, path, strlen(path), e);
		path += strlen(path) + 1;
	}
	return st;
}

static enum status feed_all(struct pump *p, struct error *e)
{
	struct input *in = NULL;
	struct buf item = {0};
	bool end = false;
	enum status st = input_open(p->g, &in, e);

	while (st == ST_OK && !end && !p->gone) {
		st = input_next(in, &item, &end, e);
		if (st == ST_OK && !end)
			st = feed_item(p, item.data, item.len, e);
	}
	input_close(in);
	buf_free(&item);
	return st;
}

static enum status feed(struct pump *p, struct error *e)
{
	switch (p->g->spec->shard) {
	case SPEC_BYTES:
		return feed_range(p, e);
	case SPEC_FILES:
		return feed_group(p, e);
	case SPEC_ALL:
		return feed_all(p, e);
	case SPEC_LIST:
		break;
	}
	return feed_item(p, p->item, p->item_len, e);
}

static void *pump_thread(void *arg)
{
	struct pump *p = arg;

	p->status = feed(p, &p->error);
	(void)close(p->pipe_write);
	return NULL;
}

static void pump_free(struct pump *p)
{
	free(p->item);
	free(p);
}

enum status pump_start(const struct attempt *a, struct pump **out, int *read_fd,
    struct error *e)
{
	const struct ledger_shard *s = &a->shard;
	struct pump *p = mem_zero(sizeof(*p));
	int fds[2];
	int r;

	if (p == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	p->g = a->g;
	p->batch = a->g->spec->batch;
	p->skip = p->batch > 0 ? a->batch_at : a->from.offset;
	p->offset = s->offset;
	p->length = s->length;
	p->planned = s->version;
	p->item_len = s->item_len;
	p->item = mem_dup(s->item, s->item_len);
	if (p->item == NULL) {
		pump_free(p);
		return error_set(e, ST_NO_MEMORY, "out of memory");
	}
	if (pipe2(fds, O_CLOEXEC) == -1) {
		pump_free(p);
		return error_os(e, errno, "cannot make a pipe");
	}
	p->pipe_write = fds[1];
	r = pthread_create(&p->thread, NULL, pump_thread, p);
	if (r != 0) {
		(void)close(fds[0]);
		(void)close(fds[1]);
		pump_free(p);
		return error_os(e, r, "cannot start a thread");
	}
	*read_fd = fds[0];
	*out = p;
	return ST_OK;
}

static void join_thread(struct pump *p)
{
	if (!p->joined)
		(void)pthread_join(p->thread, NULL);
	p->joined = true;
}

enum status pump_wait(struct pump *p, int64_t *fed, struct error *e)
{
	join_thread(p);
	*fed = p->fed;
	if (p->status != ST_OK)
		*e = p->error;
	return p->status;
}

void pump_drop(struct pump *p)
{
	if (p == NULL)
		return;
	join_thread(p);
	pump_free(p);
}

enum status pump_finish(struct pump *p, struct error *e)
{
	enum status st;

	if (p == NULL)
		return ST_OK;
	join_thread(p);
	st = p->status;
	if (st != ST_OK && e != NULL)
		*e = p->error;
	pump_free(p);
	return st;
}
