/* libebb. Uses libc alone. There are no locks, so that a fork at any moment
 * leaves the child a library that works. */
#include "ebb/ebb.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS INT64_C(1000000000)
#define WAIT_FIRST_NS INT64_C(50000)
#define WAIT_MOST_NS INT64_C(5000000)
#define WAIT_SECONDS 600.0

enum { STEADY_READS = 16 };

/* What was found out at the attach; never changes afterwards. */
struct session {
	int under_ebb;            /* $EBB_CONTRACT is 1 */
	struct ebb_control *page; /* NULL: there is none to be used */
	uint64_t epoch;
	dev_t dev;
	ino_t ino;
	const char *path;
};

static const struct session outside;
static const struct session *session; /* NULL: not attached yet */

/* Where ebb_should_stop looks. Before the attach it finds "perhaps". */
static const uint32_t go_on;
static const uint32_t perhaps = 1;
static const uint32_t *stop_word = &perhaps;

/* ---- attach ---- */

static const char *env_text(const char *name)
{
	const char *value = getenv(name);

	return value != NULL && value[0] != '\0' ? value : NULL;
}

/* A plain decimal number of at most 63 bits, or -1. */
static int64_t env_number(const char *name)
{
	const char *p = env_text(name);
	int64_t n = 0;

	if (p == NULL)
		return -1;
	for (; *p != '\0'; p++) {
		if (*p < '0' || *p > '9' || n > (INT64_MAX - (*p - '0')) / 10)
			return -1;
		n = n * 10 + (*p - '0');
	}
	return n;
}

static int is_under_ebb(void)
{
	const char *contract = env_text("EBB_CONTRACT");

	return contract != NULL && strcmp(contract, "1") == 0;
}

static int open_page(const char *path, struct stat *sb)
{
	/* Nonblocking, should it be a pipe. */
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);

	if (fd == -1)
		return -1;
	if (fstat(fd, sb) == 0 && S_ISREG(sb->st_mode) && sb->st_size >= EBB_CONTROL_SIZE)
		return fd;
	(void)close(fd);
	return -1;
}

static int head_is_right(int fd, uint64_t epoch)
{
	struct {
		char magic[8];
		uint32_t version;
		uint32_t size;
		uint64_t epoch;
	} head;

	return pread(fd, &head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
	    memcmp(head.magic, EBB_CONTROL_MAGIC, sizeof(head.magic)) == 0 &&
	    head.version == EBB_CONTROL_VERSION && head.size >= EBB_CONTROL_SIZE &&
	    head.epoch == epoch;
}

/* The page is read through the descriptor before it is mapped: a file that is
 * too short is found without touching memory that is not there. */
static void map_page(struct session *s)
{
	const char *path = env_text("EBB_CONTROL");
	int64_t epoch = env_number("EBB_EPOCH");
	struct stat sb;
	void *p = MAP_FAILED;
	int fd;

	if (path == NULL || epoch <= 0)
		return;
	fd = open_page(path, &sb);
	if (fd == -1)
		return;
	if (head_is_right(fd, (uint64_t)epoch))
		p = mmap(NULL, EBB_CONTROL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	s->path = strdup(path);
	if (p == MAP_FAILED || s->path == NULL)
		return;
	s->page = p;
	s->epoch = (uint64_t)epoch;
	s->dev = sb.st_dev;
	s->ino = sb.st_ino;
}

static void session_drop(struct session *s)
{
	char *path;

	if (s->page != NULL)
		(void)munmap(s->page, EBB_CONTROL_SIZE);
	memcpy(&path, &s->path, sizeof(path));
	free(path);
	free(s);
}

static const struct session *session_make(void)
{
	const struct session *found = NULL;
	struct session *s;

	if (!is_under_ebb())
		return &outside;
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return &outside;
	s->under_ebb = 1;
	map_page(s);
	/* Another thread may have been faster. */
	if (__atomic_compare_exchange_n(&session, &found, (const struct session *)s, 0,
	    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return s;
	session_drop(s);
	return found;
}

static const struct session *session_get(void)
{
	const struct session *s = __atomic_load_n(&session, __ATOMIC_ACQUIRE);

	if (s != NULL)
		return s;
	s = session_make();
	__atomic_store_n(&session, s, __ATOMIC_RELEASE);
	__atomic_store_n(&stop_word, s->page != NULL ? &s->page->stop : &go_on, __ATOMIC_RELEASE);
	return s;
}

int ebb_attach(void)
{
	return session_get()->page != NULL;
}

/* The page, if it is still this attempt's. */
static struct ebb_control *own_page(const struct session *s)
{
	if (s->page == NULL || __atomic_load_n(&s->page->epoch, __ATOMIC_ACQUIRE) != s->epoch)
		return NULL;
	return s->page;
}

/* ---- what ebb says ---- */

int ebb_should_stop(void)
{
	const uint32_t *word = __atomic_load_n(&stop_word, __ATOMIC_ACQUIRE);
	const struct session *s;

	if (__builtin_expect(__atomic_load_n(word, __ATOMIC_ACQUIRE) == 0, 1))
		return 0;
	s = session_get();
	return s->page != NULL && __atomic_load_n(&s->page->stop, __ATOMIC_ACQUIRE) != 0;
}

int ebb_should_checkpoint(void)
{
	const struct ebb_control *page = session_get()->page;

	return page != NULL && (__atomic_load_n(&page->save, __ATOMIC_ACQUIRE) != 0 ||
	    __atomic_load_n(&page->stop, __ATOMIC_ACQUIRE) != 0);
}

int ebb_reason(void)
{
	const struct ebb_control *page = ebb_should_stop() ? own_page(session_get()) : NULL;

	return page == NULL ? EBB_STOP_NONE
	    : (int)__atomic_load_n(&page->reason, __ATOMIC_RELAXED);
}

int ebb_plan(void)
{
	const struct ebb_control *page = ebb_should_stop() ? own_page(session_get()) : NULL;

	return page == NULL ? EBB_PLAN_NONE
	    : (int)__atomic_load_n(&page->plan, __ATOMIC_RELAXED);
}

static int64_t now_ns(clockid_t which)
{
	struct timespec ts = {0, 0};

	(void)!clock_gettime(which, &ts);
	return (int64_t)ts.tv_sec * SECOND_NS + ts.tv_nsec;
}

/* CLOCK_BOOTTIME; 0: none. The same twice is a number that was not just being
 * written. */
static int64_t deadline_of(const struct ebb_control *page)
{
	int64_t d = __atomic_load_n(&page->deadline_boot_ns, __ATOMIC_ACQUIRE);
	int i;

	for (i = 0; i < STEADY_READS; i++) {
		int64_t again = __atomic_load_n(&page->deadline_boot_ns, __ATOMIC_ACQUIRE);

		if (again == d)
			break;
		d = again;
	}
	return d;
}

double ebb_seconds_left(void)
{
	const struct session *s = session_get();
	const struct ebb_control *page = own_page(s);
	int64_t deadline = page != NULL ? deadline_of(page) : 0;
	double left;

	if (deadline != 0) {
		left = ((double)deadline - (double)now_ns(CLOCK_BOOTTIME)) / 1e9;
	} else {
		int64_t at = s->under_ebb && page == NULL ? env_number("EBB_DEADLINE") : -1;

		if (at < 0)
			return INFINITY;
		left = (double)at - (double)now_ns(CLOCK_REALTIME) / 1e9;
	}
	return left > 0 ? left : 0;
}

int64_t ebb_offset(void)
{
	int64_t n = session_get()->under_ebb ? env_number("EBB_OFFSET") : 0;

	return n < 0 ? 0 : n;
}

const char *ebb_checkpoint_dir(void)
{
	return session_get()->under_ebb ? env_text("EBB_CHECKPOINT") : NULL;
}

/* ---- what the task says ---- */

void ebb_progress(uint64_t done, uint64_t total)
{
	struct ebb_control *page = own_page(session_get());

	if (page == NULL)
		return;
	__atomic_store_n(&page->progress_done, done, __ATOMIC_RELAXED);
	__atomic_store_n(&page->progress_total, total, __ATOMIC_RELAXED);
	__atomic_store_n(&page->progress_boot_ns, now_ns(CLOCK_BOOTTIME), __ATOMIC_RELEASE);
}

void ebb_done(void)
{
	struct ebb_control *page = own_page(session_get());

	if (page != NULL)
		__atomic_store_n(&page->done, 1, __ATOMIC_RELEASE);
}

/* ---- checkpoints ---- */

/* One call of ebb_checkpoint: a descriptor of its own, since a flock belongs
 * to the open file, and threads would share one. */
struct asking {
	const struct session *s;
	int fd;
	uint64_t number;
	int64_t until_ns; /* CLOCK_BOOTTIME; the caller's limit */
	int64_t pause_ns; /* the next one */
};

static int get_number(const struct asking *a, void *data, size_t len, size_t at)
{
	ssize_t n;

	do
		n = pread(a->fd, data, len, (off_t)at);
	while (n == -1 && errno == EINTR);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return n == (ssize_t)len;
}

/* With write(2), not by a store: that is what wakes ebb. */
static int put_number(const struct asking *a, const void *data, size_t len, size_t at)
{
	ssize_t n;

	do
		n = pwrite(a->fd, data, len, (off_t)at);
	while (n == -1 && errno == EINTR);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return n == (ssize_t)len;
}

static int still_ours(const struct asking *a)
{
	uint64_t epoch;

	return get_number(a, &epoch, sizeof(epoch), offsetof(struct ebb_control, epoch)) &&
	    epoch == a->s->epoch;
}

/* Sleeps a little, longer each time. 0 when the time is over. */
static int pause_once(struct asking *a)
{
	struct timespec ts = {0, a->pause_ns};
	int64_t now = now_ns(CLOCK_BOOTTIME);
	int64_t deadline = deadline_of(a->s->page);

	if (now >= a->until_ns || (deadline != 0 && now >= deadline))
		return 0;
	(void)nanosleep(&ts, NULL);
	a->pause_ns = a->pause_ns * 2 < WAIT_MOST_NS ? a->pause_ns * 2 : WAIT_MOST_NS;
	return 1;
}

static int take_turn(struct asking *a)
{
	a->pause_ns = WAIT_FIRST_NS;
	while (flock(a->fd, LOCK_EX | LOCK_NB) == -1) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return EBB_NO_PAGE;
		if (!pause_once(a))
			return EBB_NO_ANSWER;
	}
	return 0;
}

static int make_request(struct asking *a, int64_t offset)
{
	uint64_t requested;
	uint64_t answered;

	if (!still_ours(a))
		return EBB_ANSWER_FENCED;
	if (!get_number(a, &requested, sizeof(requested), offsetof(struct ebb_control, requested)) ||
	    !get_number(a, &answered, sizeof(answered), offsetof(struct ebb_control, answered)))
		return EBB_NO_PAGE;
	a->number = (requested > answered ? requested : answered) + 1;
	if (a->number == 0)
		return EBB_NO_PAGE;
	if (offset >= 0 &&
	    !put_number(a, &offset, sizeof(offset), offsetof(struct ebb_control, offset)))
		return EBB_NO_PAGE;
	return put_number(a, &a->number, sizeof(a->number), offsetof(struct ebb_control, requested))
	    ? 0 : EBB_NO_PAGE;
}

struct answer {
	uint64_t answered;
	uint32_t answer;
	uint32_t unused;
};

static int get_answer(const struct asking *a, struct answer *out)
{
	out->unused = 0;
	return get_number(a, &out->answer, sizeof(out->answer), offsetof(struct ebb_control, answer)) &&
	    get_number(a, &out->answered, sizeof(out->answered), offsetof(struct ebb_control, answered));
}

static int await_answer(struct asking *a)
{
	struct answer one;
	struct answer two;

	a->pause_ns = WAIT_FIRST_NS;
	for (;;) {
		if (!get_answer(a, &one) || !get_answer(a, &two))
			return EBB_NO_PAGE;
		if (!still_ours(a))
			return EBB_ANSWER_FENCED;
		if (one.answered >= a->number && memcmp(&one, &two, sizeof(one)) == 0)
			return one.answer <= EBB_ANSWER_REFUSED ? (int)one.answer
			                                        : EBB_ANSWER_FAILED;
		if (!pause_once(a))
			return EBB_NO_ANSWER;
	}
}

static int request_checkpoint(struct asking *a, int64_t offset)
{
	int r = take_turn(a);

	if (r != 0)
		return r;
	r = make_request(a, offset);
	if (r == 0)
		r = await_answer(a);
	/* A child forked meanwhile has the same open file, and would keep it locked. */
	(void)flock(a->fd, LOCK_UN);
	return r;
}

int ebb_checkpoint_within(int64_t offset, double seconds)
{
	struct asking a = {.s = session_get()};
	struct stat sb;
	int r;

	if (ebb_checkpoint_dir() == NULL)
		return EBB_ANSWER_DURABLE;
	if (offset < EBB_SAME_OFFSET)
		return EBB_ANSWER_REFUSED;
	if (a.s->page == NULL)
		return EBB_NO_PAGE;
	a.until_ns = now_ns(CLOCK_BOOTTIME);
	if (seconds > 0)
		a.until_ns += (int64_t)((seconds < 1e9 ? seconds : 1e9) * 1e9);
	a.fd = open_page(a.s->path, &sb);
	if (a.fd == -1)
		return EBB_NO_PAGE;
	if (sb.st_dev != a.s->dev || sb.st_ino != a.s->ino)
		r = EBB_ANSWER_FENCED; /* a page of the same name: another attempt's */
	else
		r = request_checkpoint(&a, offset);
	(void)close(a.fd);
	return r;
}

int ebb_checkpoint(int64_t offset)
{
	return ebb_checkpoint_within(offset, WAIT_SECONDS);
}

const char *ebb_strerror(int result)
{
	switch (result) {
	case EBB_ANSWER_DURABLE:
		return "durable";
	case EBB_ANSWER_FENCED:
		return "this attempt does not count any more: another one has its work; stop";
	case EBB_ANSWER_FAILED:
		return "ebb could not save it (its own output says why); the checkpoint before "
		       "still holds; go on and try again later";
	case EBB_ANSWER_REFUSED:
		return "the offset is negative or lies before the last checkpoint; give how far the "
		       "input is processed, counted from its beginning";
	case EBB_NO_ANSWER:
		return "no answer in time: it may or may not become durable; go on, or ask again";
	case EBB_NO_PAGE:
		return "the file $EBB_CONTROL is missing or damaged, so ebb cannot be asked; go on "
		       "without checkpoints, or exit and be started again";
	default:
		return "an answer that this libebb does not know; take it for not durable";
	}
}
