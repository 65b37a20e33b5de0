#include "worker/guardian_loop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/sys.h"
#include "worker/guardian.h"
#include "worker/inbox.h"
#include "worker/lanes.h"
#include "worker/request.h"
#include "worker/slots.h"

#define MS_NS INT64_C(1000000)

enum {
	GRACE_MIN_MS = 100,
	GRACE_MAX_MS = 2000,
	STALL_MS = 10,
	LEAVE_MS = 10000, /* how long a process may refuse to die at the end */
	OUT_ENDS = 64,
};

/* What has been seen of the worker's fence. */
enum fence_state {
	FENCE_AHEAD,
	FENCE_GRACE,  /* passed; the worker may be about to move it */
	FENCE_PASSED, /* all children were killed */
};

struct guardian_process {
	int sock;
	struct slots *slots;
	struct lanes *lanes;
	struct inbox *inbox;
	struct request_list waiting;
	struct request_list done;
	sigset_t wait_mask; /* everything but SIGCHLD */
	int64_t now_ns;     /* CLOCK_MONOTONIC, of this turn */
	enum fence_state fence;
	int64_t fence_seen; /* its value when it was found to have passed */
	int64_t grace_ns;   /* end of the grace */
	/* Ends on their way: the rest of what the socket did not take. */
	size_t out_at;
	size_t out_len;
	struct guardian_end out[OUT_ENDS];
};

/* The handler's only task is to be there, so that ppoll returns. */
static void on_sigchld(int sig)
{
	(void)sig;
}

static int64_t mono_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* ---- set-up ---- */

/* Signals stay blocked for good, which is the same as to ignore them, except
 * that children do not inherit it: spawn.c only has to clear the mask. */
static int setup_signals(struct guardian_process *g)
{
	struct sigaction sa = {.sa_handler = SIG_DFL};
	int sig;

	for (sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &sa, NULL); /* fails for KILL, STOP and libc's own */
	sa.sa_handler = on_sigchld;
	sa.sa_flags = SA_NOCLDSTOP;
	if (sigaction(SIGCHLD, &sa, NULL) == -1)
		return errno;
	(void)sigfillset(&g->wait_mask);
	(void)sigdelset(&g->wait_mask, SIGCHLD);
	return 0;
}

static bool is_kept(int fd, const struct guardian_options *opt, int sock)
{
	int i;

	if (fd <= STDERR_FILENO || fd == sock)
		return true;
	for (i = 0; i < opt->n_keep_fds; i++)
		if (fd == opt->keep_fds[i])
			return true;
	return false;
}

static int close_others(const struct guardian_options *opt, int sock)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *ent;

	if (d == NULL)
		return errno;
	while ((ent = readdir(d)) != NULL) {
		char *end;
		long fd = strtol(ent->d_name, &end, 10);

		if (*end == '\0' && end != ent->d_name && fd != dirfd(d) &&
		    !is_kept((int)fd, opt, sock))
			(void)close((int)fd);
	}
	(void)closedir(d);
	return 0;
}

/* stdout must reach its end when the worker closes it; stderr stays, for a
 * last word. A worker that was started without one of the three gets
 * /dev/null there, so that no other file ends up under these numbers. */
static int setup_fds(const struct guardian_options *opt, int *sock)
{
	int fd = fcntl(*sock, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	int null;
	int e;

	if (fd == -1)
		return errno;
	*sock = fd;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null == -1 || dup2(null, STDIN_FILENO) == -1 || dup2(null, STDOUT_FILENO) == -1)
		return errno;
	if (fcntl(STDERR_FILENO, F_GETFD) == -1 && dup2(null, STDERR_FILENO) == -1)
		return errno;
	e = close_others(opt, *sock);
	return e;
}

static int setup(struct guardian_process *g, const struct guardian_options *opt)
{
	int e = setup_signals(g);

	if (e == 0)
		e = setup_fds(opt, &g->sock);
	if (e != 0)
		return e;
	if (setsid() == -1 || prctl(PR_SET_CHILD_SUBREAPER, 1) == -1 ||
	    prctl(PR_SET_NAME, "ebb-guardian") == -1)
		return errno;
	g->slots = opt->slots;
	g->inbox = inbox_create(g->sock);
	if (g->inbox == NULL)
		return ENOMEM;
	g->lanes = lanes_create(opt, &g->done);
	return g->lanes == NULL ? errno : 0;
}

/* ---- requests ---- */

static void drop(struct guardian_process *g, struct request *r, bool fenced)
{
	r->end.fenced = fenced;
	request_set_end(r, GUARDIAN_NOT_STARTED, 0);
	request_list_add(&g->done, r);
}

static void drop_queue(struct guardian_process *g, bool fenced)
{
	struct request *r;

	while ((r = request_list_take(&g->waiting)) != NULL)
		drop(g, r, fenced);
}

static void signal_one(struct guardian_process *g, uint64_t id, int sig)
{
	struct request_list rest = {0};
	struct request *r;

	if (lanes_signal(g->lanes, id, sig))
		return;
	while ((r = request_list_take(&g->waiting)) != NULL) {
		if (r->head.id == id)
			drop(g, r, false);
		else
			request_list_add(&rest, r);
	}
	g->waiting = rest;
}

static bool take_requests(struct guardian_process *g)
{
	struct request_list new = {0};
	bool alive = inbox_read(g->inbox, &new);
	struct request *r;

	while ((r = request_list_take(&new)) != NULL) {
		switch ((enum wire_kind)r->head.kind) {
		case WIRE_SPAWN:
			request_list_add(&g->waiting, r);
			continue;
		case WIRE_KILL:
			signal_one(g, r->head.id, r->head.sig);
			break;
		case WIRE_STOP:
			lanes_stop_task(g->lanes, r->head.id, r->head.sig, r->head.to);
			break;
		case WIRE_KILL_ALL:
			drop_queue(g, false);
			if (r->head.sig > 0)
				lanes_signal_all(g->lanes, r->head.sig);
			break;
		}
		request_destroy(r);
	}
	return alive;
}

static void start_waiting(struct guardian_process *g)
{
	struct request *r;

	if (g->fence != FENCE_AHEAD)
		return;
	while (lanes_have_free(g->lanes) && (r = request_list_take(&g->waiting)) != NULL)
		lanes_start(g->lanes, r, g->now_ns);
}

/* ---- ends ---- */

static void fill_out(struct guardian_process *g)
{
	size_t n = 0;

	while (n < OUT_ENDS && g->done.first != NULL) {
		struct request *r = request_list_take(&g->done);

		g->out[n++] = r->end;
		request_destroy(r);
	}
	g->out_at = 0;
	g->out_len = n * sizeof(g->out[0]);
}

static bool has_out(const struct guardian_process *g)
{
	return g->out_at < g->out_len || g->done.first != NULL;
}

/* Never waits: what the socket does not take goes with a later turn. */
static bool send_ends(struct guardian_process *g)
{
	while (has_out(g)) {
		ssize_t n;

		if (g->out_at == g->out_len)
			fill_out(g);
		n = send(g->sock, (const char *)g->out + g->out_at, g->out_len - g->out_at,
		    MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n == -1)
			return errno == EAGAIN || errno == EINTR;
		g->out_at += (size_t)n;
	}
	return true;
}

/* ---- the fence ---- */

/* On time, the worker has not renewed although it could have: it gets a
 * moment. If this process was itself late to notice, the whole machine or
 * container stood still, and the worker gets as long, within bounds. */
static int64_t grace_of(int64_t late_ns)
{
	int64_t grace = GRACE_MIN_MS * MS_NS + late_ns;

	return grace < GRACE_MAX_MS * MS_NS ? grace : GRACE_MAX_MS * MS_NS;
}

static void check_fence(struct guardian_process *g)
{
	int64_t fence = slots_fence_get(g->slots);
	int64_t boot_ns = sys_boot_ns();

	if (fence == 0 || boot_ns < fence) {
		g->fence = FENCE_AHEAD;
		return;
	}
	if (g->fence == FENCE_AHEAD || g->fence_seen != fence) {
		g->fence = FENCE_GRACE;
		g->fence_seen = fence;
		g->grace_ns = g->now_ns + grace_of(boot_ns - fence);
	}
	if (g->fence == FENCE_GRACE && g->now_ns >= g->grace_ns) {
		g->fence = FENCE_PASSED;
		lanes_fence(g->lanes);
	}
	if (g->fence == FENCE_PASSED)
		drop_queue(g, true);
}

/* When the fence has to be looked at. Something always wakes the guardian a
 * few times a second while children run, so a fence that is set anew or a
 * machine that was suspended is noticed soon. */
static int64_t fence_next_ns(const struct guardian_process *g)
{
	int64_t fence = slots_fence_get(g->slots);
	int64_t left;

	if (fence == 0 || (g->waiting.first == NULL && !lanes_have_child(g->lanes)))
		return INT64_MAX;
	if (g->fence == FENCE_GRACE)
		return g->grace_ns;
	if (g->fence == FENCE_PASSED)
		return INT64_MAX;
	left = fence - sys_boot_ns();
	return g->now_ns + (left > 0 ? left : 0);
}

/* ---- the loop ---- */

/* Waits for the worker, a child or the time; false when the worker is gone. */
static bool wait_turn(struct guardian_process *g, short *revents)
{
	struct pollfd p = {.fd = g->sock, .events = POLLIN};
	int64_t next = lanes_next_ns(g->lanes);
	int64_t fence = fence_next_ns(g);
	struct timespec timeout;
	int n;

	if (fence < next)
		next = fence;
	if (inbox_stalled(g->inbox)) {
		p.events = 0;
		if (next > g->now_ns + STALL_MS * MS_NS)
			next = g->now_ns + STALL_MS * MS_NS;
	}
	if (has_out(g))
		p.events = (short)(p.events | POLLOUT);
	if (next != INT64_MAX) {
		int64_t left = next - mono_ns();

		if (left < 0)
			left = 0;
		timeout.tv_sec = left / 1000000000;
		timeout.tv_nsec = left % 1000000000;
	}
	n = ppoll(&p, 1, next != INT64_MAX ? &timeout : NULL, &g->wait_mask);
	if (n <= 0)
		p.revents = 0;
	*revents = p.revents;
	g->now_ns = mono_ns();
	return (*revents & (POLLHUP | POLLERR | POLLNVAL)) == 0;
}

static void run(struct guardian_process *g)
{
	short revents;

	while (wait_turn(g, &revents)) {
		lanes_reap(g->lanes, g->now_ns);
		lanes_tick(g->lanes, g->now_ns);
		if ((revents & POLLIN) || inbox_stalled(g->inbox)) {
			if (!take_requests(g))
				return;
		}
		check_fence(g);
		start_waiting(g);
		if (!send_ends(g))
			return;
	}
}

_Noreturn void guardian_main(const struct guardian_options *opt, int sock)
{
	struct guardian_process *g = mem_zero(sizeof(*g));
	int e = ENOMEM;

	if (g != NULL) {
		g->sock = sock;
		e = setup(g, opt);
		sock = g->sock;
	}
	if (send(sock, &e, sizeof(e), MSG_NOSIGNAL) != (ssize_t)sizeof(e) || e != 0)
		_exit(1);
	g->now_ns = mono_ns();
	run(g);
	if (!lanes_end_all(g->lanes, &g->wait_mask, LEAVE_MS)) {
		log_line(LOG_ERROR, "a process that was started cannot be killed; look for "
		    "processes in state D");
		_exit(1);
	}
	if (opt->cgroup_note != NULL)
		cgroup_remove(opt->cgroup_note);
	/* Whoever buries the worker reads until when its slots were there. */
	__atomic_store_n(&slots_account(g->slots)->closed_boot_ns, sys_boot_ns(), __ATOMIC_RELEASE);
	lanes_destroy(g->lanes);
	inbox_destroy(g->inbox);
	_exit(0);
}
