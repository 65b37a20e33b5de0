#include "fault.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { POINTS_MAX = 256, POINT_NAME_MAX = 48 };

/* What EBB_FAULT_CALLS holds: a driver may read it while ebb runs or after it
 * was killed. */
struct counters {
	_Atomic uint64_t calls;
	_Atomic uint64_t allocs;
	_Atomic uint64_t points;
	char failed[40]; /* name of the call that was made to fail first */
};

struct shared {
	pthread_mutex_t lock;
	struct counters own; /* when there is no file for them */
	struct {
		char name[POINT_NAME_MAX];
		uint64_t passed;
	} point[POINTS_MAX];
};

struct at_point {
	char name[POINT_NAME_MAX];
	uint64_t occurrence; /* 0: never */
};

static struct {
	struct shared *shared;
	struct counters *counters;
	struct at_point crash;
	struct at_point stop;
	char count_path[PATH_MAX]; /* not a descriptor: the guardian closes those */
	uint64_t fail_at;
	int fail_errno;
	bool fail_every;
	bool trace;
	uint64_t alloc_at;
	const char *boot_id;
	int64_t boot_shift_ns;
	int64_t wall_shift_ns;
	const _Atomic int64_t *moved; /* boot, wall; NULL: not */
} setup;

_Noreturn static void refuse(const char *name, const char *value)
{
	(void)fprintf(stderr, "ebb-fault: %s=%s makes no sense\n", name, value);
	_exit(2);
}

static int64_t env_number(const char *name)
{
	const char *text = getenv(name);
	char *end;
	long long v;

	if (text == NULL || text[0] == '\0')
		return 0;
	errno = 0;
	v = strtoll(text, &end, 10);
	if (errno != 0 || *end != '\0')
		refuse(name, text);
	return v;
}

static struct at_point env_point(const char *name)
{
	struct at_point p = {0};
	const char *text = getenv(name);
	const char *colon;
	char *end;

	if (text == NULL || text[0] == '\0')
		return p;
	colon = strrchr(text, ':');
	if (colon == NULL || colon == text || (size_t)(colon - text) >= sizeof(p.name))
		refuse(name, text);
	memcpy(p.name, text, (size_t)(colon - text));
	p.occurrence = strtoull(colon + 1, &end, 10);
	if (*end != '\0' || p.occurrence == 0)
		refuse(name, text);
	return p;
}

static int errno_of(const char *text)
{
	static const struct {
		const char *name;
		int value;
	} known[] = {
		{"ENOSPC", ENOSPC}, {"EIO", EIO}, {"EROFS", EROFS}, {"EDQUOT", EDQUOT},
		{"EACCES", EACCES}, {"EMFILE", EMFILE}, {"ENOMEM", ENOMEM},
	};
	size_t i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(known[i].name, text) == 0)
			return known[i].value;
	}
	return (int)strtol(text, NULL, 10);
}

static void read_fail(void)
{
	const char *text = getenv("EBB_FAULT_FAIL");
	char *end;

	setup.fail_errno = ENOSPC;
	if (text == NULL || text[0] == '\0')
		return;
	setup.fail_at = strtoull(text, &end, 10);
	if (*end == ':')
		setup.fail_errno = errno_of(end + 1);
	else if (*end != '\0')
		refuse("EBB_FAULT_FAIL", text);
	if (setup.fail_at == 0 || setup.fail_errno <= 0)
		refuse("EBB_FAULT_FAIL", text);
	setup.fail_every = env_number("EBB_FAULT_FAIL_EVERY") != 0;
}

static void *map_shared(int fd, size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
	    MAP_SHARED | (fd == -1 ? MAP_ANONYMOUS : 0), fd, 0);

	if (p == MAP_FAILED) {
		perror("ebb-fault: mmap");
		_exit(2);
	}
	return p;
}

static int open_or_leave(const char *path, int flags)
{
	int fd = open(path, flags | O_CREAT | O_CLOEXEC, 0600);

	if (fd == -1) {
		perror(path);
		_exit(2);
	}
	return fd;
}

static void map_counters(void)
{
	const char *path = getenv("EBB_FAULT_CALLS");
	int fd;

	setup.counters = &setup.shared->own;
	if (path == NULL || path[0] == '\0')
		return;
	fd = open_or_leave(path, O_RDWR);
	if (ftruncate(fd, sizeof(struct counters)) == -1)
		refuse("EBB_FAULT_CALLS", path);
	setup.counters = map_shared(fd, sizeof(struct counters));
	memset(setup.counters, 0, sizeof(*setup.counters));
	(void)close(fd);
}

static void init_lock(pthread_mutex_t *m)
{
	pthread_mutexattr_t a;

	if (pthread_mutexattr_init(&a) != 0 ||
	    pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED) != 0 ||
	    pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST) != 0 ||
	    pthread_mutex_init(m, &a) != 0)
		abort();
	(void)pthread_mutexattr_destroy(&a);
}

/* Before main, so before any fork: the guardian shares the page. */
__attribute__((constructor)) static void fault_init(void)
{
	const char *count = getenv("EBB_FAULT_COUNT");
	const char *log = getenv("EBB_FAULT_RECORD");
	const char *clocks = getenv("EBB_FAULT_CLOCKS");

	setup.shared = map_shared(-1, sizeof(*setup.shared));
	init_lock(&setup.shared->lock);
	map_counters();
	setup.crash = env_point("EBB_FAULT_CRASH");
	setup.stop = env_point("EBB_FAULT_STOP");
	if (count != NULL && count[0] != '\0') {
		(void)close(open_or_leave(count, O_WRONLY));
		if (realpath(count, setup.count_path) == NULL)
			refuse("EBB_FAULT_COUNT", count);
	}
	read_fail();
	setup.alloc_at = (uint64_t)env_number("EBB_FAULT_ALLOC");
	setup.trace = env_number("EBB_FAULT_TRACE") != 0;
	setup.boot_id = getenv("EBB_FAULT_BOOT_ID");
	setup.boot_shift_ns = env_number("EBB_FAULT_CLOCK_MS") * 1000000;
	setup.wall_shift_ns = env_number("EBB_FAULT_WALL_MS") * 1000000;
	if (clocks != NULL && clocks[0] != '\0')
		setup.moved = map_shared(open_or_leave(clocks, O_RDWR), 2 * sizeof(int64_t));
	if (log != NULL && log[0] != '\0')
		record_start(log, getenv("EBB_FAULT_ROOT"));
}

void fault_lock(void)
{
	int r = pthread_mutex_lock(&setup.shared->lock);

	if (r == EOWNERDEAD)
		r = pthread_mutex_consistent(&setup.shared->lock);
	if (r != 0)
		abort();
}

void fault_unlock(void)
{
	if (pthread_mutex_unlock(&setup.shared->lock) != 0)
		abort();
}

/* Where the call came from, as addresses for addr2line. */
static void trace(const char *what)
{
	void *frames[24];

	if (!setup.trace)
		return;
	(void)fprintf(stderr, "ebb-fault: process %ld: %s fails here:\n", (long)getpid(), what);
	backtrace_symbols_fd(frames, backtrace(frames, 24), STDERR_FILENO);
}

bool fault_call_fails(const char *what)
{
	uint64_t n = atomic_fetch_add(&setup.counters->calls, 1) + 1;

	if (setup.fail_at == 0 || n < setup.fail_at || (n > setup.fail_at && !setup.fail_every))
		return false;
	if (n == setup.fail_at) {
		(void)snprintf(setup.counters->failed, sizeof(setup.counters->failed), "%s", what);
		trace(what);
	}
	errno = setup.fail_errno;
	return true;
}

bool fault_alloc_fails(void)
{
	uint64_t n = atomic_fetch_add(&setup.counters->allocs, 1) + 1;

	if (n != setup.alloc_at)
		return false;
	trace("alloc");
	errno = ENOMEM;
	return true;
}

/* The occurrence of this passing, from 1; 0 when the table is full. */
static uint64_t count_point(const char *name)
{
	uint64_t n = 0;
	size_t i;

	fault_lock();
	for (i = 0; i < POINTS_MAX; i++) {
		char *known = setup.shared->point[i].name;

		if (known[0] == '\0')
			(void)snprintf(known, POINT_NAME_MAX, "%s", name);
		if (strcmp(known, name) == 0) {
			n = ++setup.shared->point[i].passed;
			break;
		}
	}
	if (record_on())
		record_write_one(REC_MARK, 0, (int64_t)n, name, "", NULL, 0);
	fault_unlock();
	return n;
}

static bool is_at(const struct at_point *p, const char *name, uint64_t n)
{
	return p->occurrence != 0 && p->occurrence == n && strcmp(p->name, name) == 0;
}

static void write_down(const char *name, uint64_t n)
{
	char line[POINT_NAME_MAX + 48];
	int len = snprintf(line, sizeof(line), "%s %llu %ld\n", name, (unsigned long long)n,
	    (long)getpid());
	int fd = open(setup.count_path, O_WRONLY | O_APPEND | O_CLOEXEC);

	if (fd == -1 || write(fd, line, (size_t)len) != len)
		abort();
	(void)close(fd);
}

void fault_point(const char *name)
{
	uint64_t n = count_point(name);

	(void)atomic_fetch_add(&setup.counters->points, 1);
	if (setup.count_path[0] != '\0')
		write_down(name, n);
	if (is_at(&setup.crash, name, n)) {
		(void)kill(getpid(), SIGKILL);
		for (;;)
			(void)pause();
	}
	if (is_at(&setup.stop, name, n))
		(void)kill(getpid(), SIGSTOP);
}

const char *fault_boot_id(void)
{
	return setup.boot_id;
}

int64_t fault_boot_shift_ns(void)
{
	return setup.boot_shift_ns + (setup.moved == NULL ? 0 : atomic_load(&setup.moved[0]));
}

int64_t fault_wall_shift_ns(void)
{
	return setup.wall_shift_ns + (setup.moved == NULL ? 0 : atomic_load(&setup.moved[1]));
}
