/* Feeds a byte range of a file to a child's stdin, on a thread of its own that
 * blocks in sendfile. It ends when the range is through or the child's end of
 * the pipe is gone. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "worker/work.h"

struct pump {
	pthread_t thread;
	int file;
	int pipe_write;
	int64_t offset;
	int64_t left;
	struct file_version planned;
	char *path;
	enum status status;
	struct error error;
};

static struct file_version version_of_fd(int fd)
{
	const struct file_version none = {0};
	struct stat sb;

	return fstat(fd, &sb) == -1 ? none : file_version_of_stat(&sb);
}

static void *pump_thread(void *arg)
{
	enum { CHUNK = 1 << 20 };
	struct pump *p = arg;
	off_t off = p->offset;
	bool cut_short = false;

	while (p->left > 0) {
		size_t want = p->left < CHUNK ? (size_t)p->left : CHUNK;
		ssize_t n = sendfile(p->pipe_write, p->file, &off, want);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1 && errno != EPIPE)
			p->status = error_os(&p->error, errno, "cannot read %s", p->path);
		if (n == 0)
			cut_short = true;
		if (n <= 0)
			break;
		p->left -= n;
	}
	if (p->status == ST_OK) {
		struct file_version now = version_of_fd(p->file);

		if (cut_short || !file_version_equal(&now, &p->planned))
			p->status = error_set(&p->error, ST_CORRUPT,
			    "the input %s changed after it was cut; the same line again cuts it anew",
			    p->path);
	}
	(void)close(p->pipe_write);
	return NULL;
}

static void pump_free(struct pump *p)
{
	if (p->file != -1)
		(void)sys_close(p->file);
	free(p->path);
	free(p);
}

enum status pump_start(const struct ledger_shard *s, struct pump **out, int *read_fd,
    struct error *e)
{
	struct pump *p = mem_zero(sizeof(*p));
	enum status st;
	int fds[2];
	int r;

	if (p == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	p->offset = s->offset;
	p->left = s->length;
	p->planned = s->version;
	p->path = mem_dup(s->item, strlen(s->item));
	p->file = p->path == NULL ? -1 : sys_open(s->item, O_RDONLY | O_NONBLOCK, 0);
	if (p->file == -1) {
		st = p->path == NULL ? error_set(e, ST_NO_MEMORY, "out of memory")
		    : error_os(e, errno, "cannot open %s", s->item);
		pump_free(p);
		return st;
	}
	if (pipe2(fds, O_CLOEXEC) == -1) {
		st = error_os(e, errno, "cannot make a pipe");
		pump_free(p);
		return st;
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

void pump_drop(struct pump *p)
{
	if (p == NULL)
		return;
	(void)pthread_join(p->thread, NULL);
	pump_free(p);
}

enum status pump_finish(struct pump *p, struct error *e)
{
	enum status st;

	if (p == NULL)
		return ST_OK;
	(void)pthread_join(p->thread, NULL);
	st = p->status;
	if (st != ST_OK && e != NULL)
		*e = p->error;
	pump_free(p);
	return st;
}
