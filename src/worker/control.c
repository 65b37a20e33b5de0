#include "worker/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"

/* The layout is published: docs/task-contract.md. */
_Static_assert(sizeof(struct ebb_control) == EBB_CONTROL_SIZE, "layout of the page");
_Static_assert(offsetof(struct ebb_control, epoch) == 16, "layout of the page");
_Static_assert(offsetof(struct ebb_control, deadline_boot_ns) == 24, "layout of the page");
_Static_assert(offsetof(struct ebb_control, stop) == 40, "layout of the page");
_Static_assert(offsetof(struct ebb_control, answered) == 48, "layout of the page");
_Static_assert(offsetof(struct ebb_control, requested) == EBB_CONTROL_TASK, "layout of the page");
_Static_assert(offsetof(struct ebb_control, done) == EBB_CONTROL_TASK + 40, "layout of the page");

enum {
	TASK_BYTES = 44,  /* of the task's half that have a meaning */
	STEADY_TRIES = 4, /* reads until two are the same */
};

struct page {
	int fd; /* -1: there is none */
	int watch;
	char *path;
	char *notice;
	char *notice_tmp;
	/* The attempt. */
	int64_t begun_boot_ns;
	int64_t offset; /* the last durable one */
	uint64_t answered;
	uint32_t answer;
	bool owed;      /* the answer could not be written yet */
	bool advised;   /* a checkpoint, which was not made yet */
};

struct control {
	char *dir;
	int watcher; /* inotify; -1: none */
	int n;
	struct page *pages;
};

/* The fields of the task's half, in their order. */
struct task_half {
	uint64_t requested;
	int64_t offset;
	uint64_t progress_done;
	uint64_t progress_total;
	int64_t progress_boot_ns;
	uint32_t done;
	uint32_t unused;
};

_Static_assert(offsetof(struct task_half, done) + 4 == TASK_BYTES, "layout of the page");

/* ---- files ---- */

static char *format_path(const char *dir, int lane, const char *end)
{
	struct buf b = {0};

	buf_printf(&b, "%s/%d.%s", dir, lane, end);
	return b.failed ? NULL : b.data;
}

static enum status put_bytes(struct page *p, const void *data, size_t len, size_t at,
    struct error *e)
{
	ssize_t n = sys_pwrite(p->fd, data, len, (int64_t)at);

	if (n == -1)
		return error_os(e, errno, "cannot write %s", p->path);
	if ((size_t)n != len)
		return error_set(e, ST_FULL, "cannot write all of %s", p->path);
	/* What follows is not seen before this, whoever looks. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return ST_OK;
}

static enum status remove_file(const char *path, struct error *e)
{
	if (sys_unlink(path) == 0 || errno == ENOENT)
		return ST_OK;
	/* A task may have put a folder there. */
	if (errno == EISDIR || errno == EPERM)
		return file_remove_tree(path, e);
	return error_os(e, errno, "cannot remove %s", path);
}

static void page_close(struct control *c, struct page *p)
{
	if (p->watch != -1)
		(void)inotify_rm_watch(c->watcher, p->watch);
	if (p->fd != -1)
		(void)sys_close(p->fd);
	p->watch = -1;
	p->fd = -1;
}

/* An empty file under a new inode: whoever still has the old page mapped does
 * not reach the new one. */
static enum status page_make(struct control *c, struct page *p, struct error *e)
{
	enum status st;

	page_close(c, p);
	st = remove_file(p->path, e);
	if (st != ST_OK)
		return st;
	p->fd = sys_open(p->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (p->fd == -1)
		return error_os(e, errno, "cannot create %s", p->path);
	if (c->watcher != -1)
		p->watch = inotify_add_watch(c->watcher, p->path, IN_MODIFY);
	return ST_OK;
}

/* Is the file of that name still the one that was made, and of its size? */
static bool page_is_whole(const struct page *p)
{
	struct stat ours;
	struct stat named;

	return p->fd != -1 && fstat(p->fd, &ours) == 0 && lstat(p->path, &named) == 0 &&
	    ours.st_ino == named.st_ino && ours.st_dev == named.st_dev &&
	    ours.st_size == EBB_CONTROL_SIZE;
}

/* Nobody's at first; `epoch` comes last. */
static enum status page_fill(struct page *p, const struct control_begin *begin, struct error *e)
{
	struct ebb_control image = {.magic = EBB_CONTROL_MAGIC, .version = EBB_CONTROL_VERSION,
	    .size = EBB_CONTROL_SIZE, .deadline_boot_ns = begin->deadline_boot_ns,
	    .offset = begin->offset};
	uint64_t epoch = (uint64_t)begin->epoch;
	enum status st;

	st = put_bytes(p, &image.epoch, sizeof(image.epoch), offsetof(struct ebb_control, epoch), e);
	if (st == ST_OK)
		st = put_bytes(p, &image, sizeof(image), 0, e);
	if (st == ST_OK && epoch != 0)
		st = put_bytes(p, &epoch, sizeof(epoch), offsetof(struct ebb_control, epoch), e);
	return st;
}

static enum status page_name(struct page *p, int lane, const char *dir, struct error *e)
{
	p->path = format_path(dir, lane, "page");
	p->notice = format_path(dir, lane, "notice");
	p->notice_tmp = format_path(dir, lane, "notice.tmp");
	return p->path == NULL || p->notice == NULL || p->notice_tmp == NULL
	    ? error_set(e, ST_NO_MEMORY, "out of memory") : ST_OK;
}

static enum status page_prepare(struct control *c, int lane, const char *dir, struct error *e)
{
	static const struct control_begin nobody = {0};
	struct page *p = &c->pages[lane];
	enum status st = page_name(p, lane, dir, e);

	if (st == ST_OK)
		st = page_make(c, p, e);
	if (st == ST_OK)
		st = page_fill(p, &nobody, e);
	return st == ST_OK ? remove_file(p->notice, e) : st;
}

static enum status page_open(struct control *c, struct page *p, struct error *e)
{
	page_close(c, p);
	p->fd = sys_open(p->path, O_RDWR | O_NOFOLLOW, 0);
	if (p->fd == -1)
		return error_os(e, errno, "cannot open %s", p->path);
	if (c->watcher != -1)
		p->watch = inotify_add_watch(c->watcher, p->path, IN_MODIFY);
	return ST_OK;
}

static enum status page_attach(struct control *c, int lane, const char *dir, struct error *e)
{
	enum status st = page_name(&c->pages[lane], lane, dir, e);

	return st == ST_OK ? page_open(c, &c->pages[lane], e) : st;
}

static enum status control_new(const char *dir, int lanes,
    enum status (*page)(struct control *, int, const char *, struct error *),
    struct control **out, struct error *e)
{
	struct control *c;
	enum status st = ST_OK;
	int i;

	if (lanes < 1 || lanes > CONTROL_LANES_MAX)
		return error_set(e, ST_CONFIG, "%d control pages are not possible", lanes);
	c = mem_zero(sizeof(*c));
	if (c != NULL) {
		c->pages = mem_zero((size_t)lanes * sizeof(*c->pages));
		c->dir = mem_dup(dir, strlen(dir));
	}
	if (c == NULL || c->pages == NULL || c->dir == NULL) {
		if (c != NULL) {
			free(c->pages);
			free(c->dir);
		}
		free(c);
		return error_set(e, ST_NO_MEMORY, "out of memory");
	}
	c->n = lanes;
	c->watcher = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	for (i = 0; i < lanes; i++) {
		c->pages[i].fd = -1;
		c->pages[i].watch = -1;
	}
	for (i = 0; st == ST_OK && i < lanes; i++)
		st = page(c, i, dir, e);
	if (st != ST_OK) {
		control_destroy(c);
		return st;
	}
	*out = c;
	return ST_OK;
}

enum status control_create(const char *dir, int lanes, struct control **out, struct error *e)
{
	return control_new(dir, lanes, page_prepare, out, e);
}

enum status control_attach(const char *dir, int lanes, struct control **out, struct error *e)
{
	return control_new(dir, lanes, page_attach, out, e);
}

void control_destroy(struct control *c)
{
	int i;

	if (c == NULL)
		return;
	for (i = 0; i < c->n; i++) {
		struct page *p = &c->pages[i];

		page_close(c, p);
		if (p->path != NULL)
			(void)!sys_unlink(p->path);
		if (p->notice != NULL)
			(void)!sys_unlink(p->notice);
		free(p->path);
		free(p->notice);
		free(p->notice_tmp);
	}
	if (c->watcher != -1)
		(void)sys_close(c->watcher);
	free(c->pages);
	free(c->dir);
	free(c);
}

const char *control_folder(const struct control *c)
{
	return c->dir;
}

const char *control_page_path(const struct control *c, int lane)
{
	return c->pages[lane].path;
}

const char *control_notice_path(const struct control *c, int lane)
{
	return c->pages[lane].notice;
}

/* ---- ebb's half ---- */

enum status control_reset(struct control *c, int lane, const struct control_begin *begin,
    struct error *e)
{
	struct page *p = &c->pages[lane];
	enum status st = ST_OK;

	p->begun_boot_ns = sys_boot_ns();
	p->offset = begin->offset;
	p->answered = 0;
	p->owed = false;
	p->advised = false;
	if (!page_is_whole(p))
		st = page_make(c, p, e);
	if (st == ST_OK)
		st = remove_file(p->notice, e);
	return st == ST_OK ? page_fill(p, begin, e) : st;
}

void control_adopt(struct control *c, int lane, const struct control_begin *begin)
{
	struct page *p = &c->pages[lane];
	struct error e;

	p->begun_boot_ns = begin->begun_boot_ns;
	p->offset = begin->offset;
	p->answered = 0;
	p->owed = false;
	p->advised = false;
	if (!page_is_whole(p) && page_open(c, p, &e) != ST_OK)
		log_line(LOG_DEBUG, "%s", e.text);
}

static enum status page_flip(struct page *p, uint32_t reason, uint32_t plan,
    int64_t deadline_boot_ns, struct error *e)
{
	const uint32_t why[2] = {reason, plan};
	const uint32_t stop = 1;
	enum status st;

	if (p->fd == -1)
		return error_set(e, ST_NOT_FOUND, "there is no page %s", p->path);
	st = put_bytes(p, &deadline_boot_ns, sizeof(deadline_boot_ns),
	    offsetof(struct ebb_control, deadline_boot_ns), e);
	if (st == ST_OK)
		st = put_bytes(p, why, sizeof(why), offsetof(struct ebb_control, reason), e);
	if (st == ST_OK)
		st = put_bytes(p, &stop, sizeof(stop), offsetof(struct ebb_control, stop), e);
	return st;
}

static void notice_file_text(struct buf *b, enum ebb_stop_reason reason, enum ebb_stop_plan plan,
    int64_t deadline_boot_ns)
{
	int64_t unix_ns;

	buf_printf(b, "{\"ebb_notice\":1,\"reason\":\"%s\",\"plan\":\"%s\",",
	    control_reason_name(reason), control_plan_name(plan));
	if (deadline_boot_ns == 0) {
		buf_str(b, "\"deadline_boot_ns\":null,\"deadline_unix\":null}\n");
		return;
	}
	if (__builtin_add_overflow(sys_wall_ns() - sys_boot_ns(), deadline_boot_ns, &unix_ns))
		unix_ns = INT64_MAX;
	if (unix_ns < 0)
		unix_ns = 0;
	buf_printf(b, "\"deadline_boot_ns\":%lld,\"deadline_unix\":%lld.%03d}\n",
	    (long long)deadline_boot_ns, (long long)(unix_ns / 1000000000),
	    (int)(unix_ns / 1000000 % 1000));
}

/* Not durable: it is of no use after a crash. */
static enum status notice_write(const struct page *p, const struct buf *text, struct error *e)
{
	enum status st = remove_file(p->notice_tmp, e);
	int fd;

	if (st != ST_OK)
		return st;
	fd = sys_open(p->notice_tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (fd == -1)
		return error_os(e, errno, "cannot create %s", p->notice_tmp);
	st = file_write_all(fd, text->data, text->len, p->notice_tmp, e);
	if (sys_close(fd) == -1 && st == ST_OK)
		st = error_os(e, errno, "cannot close %s", p->notice_tmp);
	if (st == ST_OK && sys_rename(p->notice_tmp, p->notice) == -1)
		st = error_os(e, errno, "cannot put %s in its place", p->notice);
	if (st != ST_OK)
		(void)!sys_unlink(p->notice_tmp);
	return st;
}

enum status control_stop(struct control *c, int lane, enum ebb_stop_reason reason,
    enum ebb_stop_plan plan, int64_t deadline_boot_ns, struct error *e)
{
	struct page *p = &c->pages[lane];
	enum status flipped = page_flip(p, reason, plan, deadline_boot_ns, e);
	struct buf text = {0};
	struct error notice_error;
	enum status st;

	notice_file_text(&text, reason, plan, deadline_boot_ns);
	st = buf_check(&text, &notice_error);
	if (st == ST_OK)
		st = notice_write(p, &text, &notice_error);
	buf_free(&text);
	if (flipped == ST_OK && st != ST_OK)
		return error_set(e, st, "%s", notice_error.text);
	return flipped;
}

static enum status put_advice(struct page *p, uint32_t save, struct error *e)
{
	p->advised = save != 0;
	return put_bytes(p, &save, sizeof(save), offsetof(struct ebb_control, save), e);
}

enum status control_advise(struct control *c, int lane, struct error *e)
{
	struct page *p = &c->pages[lane];

	if (p->fd == -1)
		return error_set(e, ST_NOT_FOUND, "there is no page %s", p->path);
	return put_advice(p, 1, e);
}

static enum status write_answer(struct page *p, struct error *e)
{
	enum status st = put_bytes(p, &p->answer, sizeof(p->answer),
	    offsetof(struct ebb_control, answer), e);

	if (st == ST_OK)
		st = put_bytes(p, &p->answered, sizeof(p->answered),
		    offsetof(struct ebb_control, answered), e);
	p->owed = st != ST_OK;
	return st;
}

enum status control_answer(struct control *c, int lane, const struct control_view *request,
    enum ebb_answer answer, struct error *e)
{
	struct page *p = &c->pages[lane];

	if (p->fd == -1)
		return error_set(e, ST_NOT_FOUND, "there is no page %s", p->path);
	p->answered = request->request;
	p->answer = answer;
	if (answer == EBB_ANSWER_DURABLE)
		p->offset = request->offset;
	if (answer == EBB_ANSWER_DURABLE && p->advised)
		(void)!put_advice(p, 0, e); /* before the answer, which is what matters */
	return write_answer(p, e);
}

/* ---- the task's half ---- */

static int64_t clamp_count(uint64_t n)
{
	return n > (uint64_t)INT64_MAX ? INT64_MAX : (int64_t)n;
}

static void check_half(const struct page *p, const struct task_half *half,
    struct control_view *out)
{
	int64_t now = sys_boot_ns();

	out->pending = half->requested > p->answered;
	out->request = half->requested;
	out->sensible = out->pending && half->offset >= 0 && half->offset >= p->offset;
	out->offset = out->sensible ? half->offset : 0;
	out->total = clamp_count(half->progress_total);
	out->done = clamp_count(half->progress_done);
	if (out->total > 0 && out->done > out->total)
		out->done = out->total;
	/* From before the attempt it is somebody's fancy. */
	if (half->progress_boot_ns >= p->begun_boot_ns)
		out->progress_boot_ns = half->progress_boot_ns < now ? half->progress_boot_ns : now;
	out->task_done = half->done == 1;
}

enum status control_read(struct control *c, int lane, struct control_view *out, struct error *e)
{
	struct page *p = &c->pages[lane];
	struct task_half now = {0};
	struct task_half before;
	int tries;

	memset(out, 0, sizeof(*out));
	if (p->fd == -1)
		return ST_OK;
	if (p->owed && write_answer(p, e) != ST_OK)
		log_line(LOG_DEBUG, "%s", e->text);
	/* The same twice: then each number is whole, and the offset is that of the
	 * request. A task that writes all the time gets what was read last. */
	for (tries = 0; tries < STEADY_TRIES; tries++) {
		ssize_t n;

		before = now;
		n = sys_pread(p->fd, &now, TASK_BYTES, EBB_CONTROL_TASK);
		if (n == -1)
			return error_os(e, errno, "cannot read %s", p->path);
		if (n != TASK_BYTES)
			return ST_OK;
		if (memcmp(&before, &now, TASK_BYTES) == 0)
			break;
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	}
	check_half(p, &now, out);
	return ST_OK;
}

/* ---- being woken ---- */

int control_fd(const struct control *c)
{
	return c->watcher;
}

static void mark_written(const struct control *c, int watch, bool *written)
{
	int i;

	for (i = 0; i < c->n; i++)
		if (c->pages[i].watch == watch)
			written[i] = true;
}

void control_take_written(struct control *c, bool *written)
{
	_Alignas(struct inotify_event) char events[4096];
	ssize_t n;

	while (c->watcher != -1 && (n = sys_read(c->watcher, events, sizeof(events))) > 0) {
		const char *p = events;

		while (p < events + n) {
			struct inotify_event ev;

			memcpy(&ev, p, sizeof(ev));
			p += sizeof(ev) + ev.len;
			if (ev.mask & IN_Q_OVERFLOW)
				memset(written, 1, (size_t)c->n * sizeof(*written));
			else
				mark_written(c, ev.wd, written);
		}
	}
}

/* ---- names ---- */

const char *control_reason_name(enum ebb_stop_reason reason)
{
	switch (reason) {
	case EBB_STOP_NONE: return "none";
	case EBB_STOP_NOTICE: return "notice";
	case EBB_STOP_DRAIN: return "drain";
	case EBB_STOP_TIMEOUT: return "timeout";
	case EBB_STOP_CANCEL: return "cancel";
	}
	return "none";
}

const char *control_plan_name(enum ebb_stop_plan plan)
{
	switch (plan) {
	case EBB_PLAN_NONE: return "none";
	case EBB_PLAN_FINISH: return "finish";
	case EBB_PLAN_CHECKPOINT: return "checkpoint";
	case EBB_PLAN_HAND_BACK: return "hand-back";
	}
	return "none";
}
