/* The worker's side of the guardian. */
#include "worker/guardian.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"
#include "worker/guardian_loop.h"
#include "worker/orphans.h"
#include "worker/procs.h"
#include "worker/request.h"

#define MS_NS INT64_C(1000000)

enum {
	SEND_WAIT_MS = 10000, /* a guardian that reads nothing for so long is stopped */
	STOP_WAIT_MS = 12000, /* it gives itself 10 s */
	ORPHANS_MS = 2000,
	PAUSE_MS = 2,
	RECEIVE_ENDS = 64,
};

struct guardian {
	int fd;
	pid_t pid;
	bool broken;        /* a request was sent in part: nothing can follow it */
	bool reaped;
	int64_t forked_ns;  /* CLOCK_BOOTTIME */
	struct buf msg;     /* the last request, for its memory */
	/* Ends that have arrived: [at, len). */
	size_t at;
	size_t len;
	char in[RECEIVE_ENDS * sizeof(struct guardian_end)];
};

static void pause_ms(int ms)
{
	struct timespec ts = {.tv_nsec = ms * MS_NS};

	(void)nanosleep(&ts, NULL);
}

/* ---- start ---- */

/* In the parent: 0 or the guardian's errno. */
static int wait_ready(struct guardian *g)
{
	int e;
	ssize_t n;

	do
		n = recv(g->fd, &e, sizeof(e), MSG_WAITALL);
	while (n == -1 && errno == EINTR);
	return n == (ssize_t)sizeof(e) ? e : EPIPE;
}

static pid_t fork_guardian(const struct guardian_options *opt, const int sv[2])
{
	sigset_t all;
	sigset_t old;
	pid_t pid;
	int saved;

	/* No handler of the worker's may run in the guardian. */
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &old);
	pid = fork();
	if (pid == 0) {
		(void)close(sv[0]);
		guardian_main(opt, sv[1]);
	}
	saved = errno;
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	if (pid > 0)
		slots_guardian_set(opt->slots, (int32_t)pid);
	errno = saved;
	return pid;
}

enum status guardian_start(const struct guardian_options *opt, struct guardian **out,
    struct error *e)
{
	struct guardian *g;
	int sv[2];
	int err;

	if (opt->lanes < 1 || opt->lanes > slots_count(opt->slots))
		return error_set(e, ST_CONFIG, "%d lanes do not fit into %d slots", opt->lanes,
		    slots_count(opt->slots));
	g = mem_zero(sizeof(*g));
	if (g == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) == -1 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) == -1) {
		err = errno;
		free(g);
		return error_os(e, err, "cannot prepare the guardian");
	}
	g->fd = sv[0];
	g->forked_ns = sys_boot_ns();
	g->pid = fork_guardian(opt, sv);
	err = errno;
	(void)sys_close(sv[1]);
	if (g->pid != -1)
		err = wait_ready(g);
	if (err != 0 || g->pid == -1) {
		guardian_stop(g);
		return error_os(e, err, "cannot start the guardian");
	}
	*out = g;
	return ST_OK;
}

/* ---- requests ---- */

static enum status gone(struct guardian *g, struct error *e)
{
	g->broken = true;
	return error_set(e, ST_PERMANENT, "the guardian (process %ld) is gone", (long)g->pid);
}

/* Waits until the socket takes more. False: the guardian is gone or hangs. */
static bool wait_room(const struct guardian *g)
{
	struct pollfd p = {.fd = g->fd, .events = POLLOUT};
	int n;

	do
		n = poll(&p, 1, SEND_WAIT_MS);
	while (n == -1 && errno == EINTR);
	return n == 1 && (p.revents & POLLOUT);
}

/* Too many descriptors are on their way through sockets: of this user's, beyond
 * what one process may have open (only the privileged are spared that). Those in
 * this socket arrive as soon as the guardian runs. False: it takes too long. */
static bool wait_taken(int64_t *until_ns)
{
	if (*until_ns == 0)
		*until_ns = sys_boot_ns() + SEND_WAIT_MS * MS_NS;
	pause_ms(PAUSE_MS);
	return sys_boot_ns() < *until_ns;
}

/* The descriptor goes with the first byte. */
static ssize_t send_some(const struct guardian *g, const char *data, size_t len, int pass_fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	memcpy(&iov.iov_base, &data, sizeof(data)); /* sendmsg does not write to it */
	if (pass_fd != -1) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &pass_fd, sizeof(int));
	}
	return sendmsg(g->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static enum status send_all(struct guardian *g, const void *data, size_t len, int pass_fd,
    struct error *e)
{
	const char *p = data;
	int64_t until_ns = 0;

	if (g->broken)
		return gone(g, e);
	while (len > 0) {
		ssize_t n = send_some(g, p, len, pass_fd);
		int err = n >= 0 ? 0 : errno;

		if (n >= 0) {
			p += n;
			len -= (size_t)n;
			pass_fd = -1;
		} else if (err == EAGAIN) {
			if (!wait_room(g))
				return gone(g, e);
		} else if (p == data && (err == EBADF || err == ETOOMANYREFS)) {
			if (err == EBADF || !wait_taken(&until_ns))
				return error_os(e, err, "cannot hand stdin to the guardian");
		} else if (err != EINTR) {
			return gone(g, e);
		}
	}
	return ST_OK;
}

/* Appends strings with their NULs, and counts them. */
static uint32_t put_strings(struct buf *b, const char *const *list)
{
	uint32_t n = 0;

	for (; list != NULL && list[n] != NULL; n++)
		buf_append(b, list[n], strlen(list[n]) + 1);
	return n;
}

enum status guardian_send(struct guardian *g, const struct guardian_spawn *req, struct error *e)
{
	struct wire_head head = {.kind = WIRE_SPAWN, .id = req->id, .lane = req->lane, .row = req->row,
	    .epoch = req->epoch, .timeout_ms = req->timeout_ms, .offset = req->offset,
	    .memory = req->memory, .ran_ns = req->ran_ns, .stage = req->stage};
	struct buf *b = &g->msg;
	enum status st;

	buf_clear(b);
	buf_append(b, &head, sizeof(head));
	buf_append(b, req->path, strlen(req->path) + 1);
	if (req->stdout_path != NULL) {
		head.flags |= WIRE_STDOUT_PATH | (req->append ? WIRE_APPEND : 0);
		buf_append(b, req->stdout_path, strlen(req->stdout_path) + 1);
	} else if (req->one_log) {
		head.flags |= WIRE_ONE_LOG;
	}
	head.argc = put_strings(b, req->argv);
	head.envc = put_strings(b, req->env);
	if (req->stdin_fd != -1)
		head.flags |= WIRE_STDIN;
	st = buf_check(b, e);
	if (st != ST_OK)
		return st;
	if (head.argc == 0)
		return error_set(e, ST_CONFIG, "a command without argv[0]");
	if (b->len - sizeof(head) > WIRE_BODY_MAX)
		return error_set(e, ST_CONFIG, "the arguments and the environment of a command "
		    "are %zu bytes, at most %d are possible", b->len - sizeof(head), WIRE_BODY_MAX);
	head.body_bytes = (uint32_t)(b->len - sizeof(head));
	memcpy(b->data, &head, sizeof(head));
	st = send_all(g, b->data, b->len, req->stdin_fd, e);
	if (st == ST_OK && req->stdin_fd != -1)
		(void)sys_close(req->stdin_fd);
	return st;
}

enum status guardian_kill(struct guardian *g, uint64_t id, int sig, struct error *e)
{
	struct wire_head head = {.kind = WIRE_KILL, .id = id, .sig = sig};

	return send_all(g, &head, sizeof(head), -1, e);
}

enum status guardian_stop_task(struct guardian *g, uint64_t id, int sig, enum spec_stop_to to,
    struct error *e)
{
	struct wire_head head = {.kind = WIRE_STOP, .id = id, .sig = sig, .to = (int32_t)to};

	return send_all(g, &head, sizeof(head), -1, e);
}

enum status guardian_kill_all(struct guardian *g, int sig, struct error *e)
{
	struct wire_head head = {.kind = WIRE_KILL_ALL, .sig = sig};

	return send_all(g, &head, sizeof(head), -1, e);
}

/* ---- ends ---- */

int guardian_fd(const struct guardian *g)
{
	return g->fd;
}

int32_t guardian_pid(const struct guardian *g)
{
	return (int32_t)g->pid;
}

static size_t take_ends(struct guardian *g, struct guardian_end *out, size_t max)
{
	size_t n = (g->len - g->at) / sizeof(*out);

	if (n > max)
		n = max;
	memcpy(out, g->in + g->at, n * sizeof(*out));
	g->at += n * sizeof(*out);
	return n;
}

/* Behind what is there, of which less than one end is left. */
static ssize_t receive_some(struct guardian *g)
{
	ssize_t n;

	memmove(g->in, g->in + g->at, g->len - g->at);
	g->len -= g->at;
	g->at = 0;
	do
		n = recv(g->fd, g->in + g->len, sizeof(g->in) - g->len, MSG_DONTWAIT);
	while (n == -1 && errno == EINTR);
	if (n > 0)
		g->len += (size_t)n;
	return n;
}

enum status guardian_receive(struct guardian *g, struct guardian_end *out, size_t max, size_t *n,
    struct error *e)
{
	*n = take_ends(g, out, max);
	while (*n < max) {
		ssize_t r = receive_some(g);

		if (r == -1 && errno == EAGAIN)
			break;
		if (r <= 0) /* what has arrived comes first */
			return *n > 0 ? ST_OK : gone(g, e);
		*n += take_ends(g, out + *n, max - *n);
	}
	return ST_OK;
}

/* ---- end ---- */

/* Of the guardian's session, or of one of its descendants' own: not what this
 * process had before (a process substitution of the shell that became ebb). */
static bool is_orphan(const struct guardian *g, int32_t pid)
{
	struct proc_stat st;

	return proc_stat_read(pid, &st) && st.session != getsid(0) &&
	    st.start_boot_ns >= g->forked_ns - 10 * MS_NS;
}

/* The number of orphans that there were; -1 when that cannot be told. */
static int end_orphans_once(struct guardian *g)
{
	struct pid_list list = {0};
	int n = 0;
	size_t i;

	if (!proc_children((int32_t)getpid(), &list))
		n = -1;
	for (i = 0; i < list.n; i++) {
		if (!is_orphan(g, list.pids[i]))
			continue;
		orphans_kill_tree(list.pids[i]);
		if (waitpid(list.pids[i], NULL, WNOHANG) == g->pid)
			g->reaped = true;
		n = n < 0 ? n : n + 1;
	}
	pid_list_free(&list);
	return n;
}

void guardian_end_orphans(struct guardian *g)
{
	int64_t until = sys_boot_ns() + ORPHANS_MS * MS_NS;

	while (end_orphans_once(g) != 0 && sys_boot_ns() < until)
		pause_ms(PAUSE_MS);
}

/* True when the guardian has ended by itself and so has seen all children end. */
static bool wait_guardian(struct guardian *g)
{
	int64_t until = sys_boot_ns() + STOP_WAIT_MS * MS_NS;
	int status;

	while (!g->reaped && sys_boot_ns() < until) {
		pid_t pid = waitpid(g->pid, &status, WNOHANG);

		if (pid == g->pid)
			return WIFEXITED(status) && WEXITSTATUS(status) == 0;
		if (pid == -1 && errno != EINTR)
			return false;
		pause_ms(PAUSE_MS);
	}
	return false;
}

void guardian_stop(struct guardian *g)
{
	if (g == NULL)
		return;
	(void)sys_close(g->fd); /* which tells it to leave */
	if (g->pid != -1 && !wait_guardian(g))
		guardian_end_orphans(g);
	buf_free(&g->msg);
	free(g);
}

/* ---- looking up a program ---- */

/* 0, or why it cannot be executed. */
static int check_program(const char *path)
{
	struct stat sb;

	if (stat(path, &sb) == -1)
		return errno;
	if (!S_ISREG(sb.st_mode))
		return EACCES;
	return access(path, X_OK) == 0 ? 0 : errno;
}

static enum status found(const char *name, char **path, struct error *e)
{
	*path = mem_dup(name, strlen(name));
	return *path != NULL ? ST_OK : error_set(e, ST_NO_MEMORY, "out of memory");
}

/* An empty element of PATH is the current folder. */
static enum status try_element(const char *dir, size_t len, const char *name, char **path,
    int *denied, struct error *e)
{
	struct buf b = {0};
	enum status st;
	int err;

	buf_append(&b, dir, len);
	if (len > 0 && dir[len - 1] != '/')
		buf_char(&b, '/');
	buf_str(&b, len > 0 ? "" : "./");
	buf_str(&b, name);
	st = buf_check(&b, e);
	if (st == ST_OK) {
		err = check_program(b.data);
		if (err == 0)
			st = found(b.data, path, e);
		else
			st = ST_NOT_FOUND;
		/* One that may not be looked into has nothing for us. */
		if (err == EACCES && access(b.data, F_OK) == 0)
			*denied = err;
	}
	buf_free(&b);
	return st;
}

enum status guardian_find_program(const char *name, char **path, struct error *e)
{
	const char *dirs = getenv("PATH");
	const char *p;
	int denied = 0;

	if (name[0] == '\0')
		return error_set(e, ST_NOT_FOUND, "the name of the program is empty");
	if (strchr(name, '/') != NULL) {
		int err = check_program(name);

		return err == 0 ? found(name, path, e) : error_os(e, err, "cannot run %s", name);
	}
	if (dirs == NULL)
		dirs = "/bin:/usr/bin";
	for (p = dirs;; p++) {
		size_t len = strcspn(p, ":");
		enum status st = try_element(p, len, name, path, &denied, e);

		if (st != ST_NOT_FOUND)
			return st;
		p += len;
		if (*p == '\0')
			break;
	}
	if (denied != 0)
		return error_set(e, ST_DENIED, "%s is in PATH (%s), but may not be executed", name,
		    dirs);
	return error_set(e, ST_NOT_FOUND, "there is no program %s in PATH (%s)", name, dirs);
}
