#include "chaos/serve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"
#include "chaos/cloud.h"
#include "chaos/exchange.h"
#include "chaos/http.h"
#include "chaos/mhd.h"

/* What one client can make the server hold. */
enum {
	SERVE_CONNECTIONS = 128,         /* of each machine */
	SERVE_CONNECTION_BYTES = 32 << 10, /* of request line and headers */
	SERVE_SILENCE_S = 30,            /* a connection on which nothing comes */
	SERVE_STACK_BYTES = 256 << 10,
	SERVE_BACKLOG = 128,
	SERVE_ENDPOINT_MAX = 80,
	SERVE_TICK_MAX_MS = 60000,
};

/* One machine: its state, its port, and the thread that answers there. */
struct serve_machine {
	struct serve *s;
	struct instance i;
	uint64_t random;
	struct MHD_Daemon *daemon;
	int port;
	char endpoint[SERVE_ENDPOINT_MAX];
};

/* Requests that wait are suspended in libmicrohttpd and stand in a list; one thread,
 * the waker, resumes them when something has changed, their time has come or their
 * client has gone. Nobody else resumes, so that what it polls stays open. */
struct serve {
	struct mhd mhd;
	struct serve_options o;
	struct sockaddr_storage address;
	socklen_t address_len;
	pthread_mutex_t lock; /* over all below, and the machines' states */
	pthread_mutex_t record_lock;
	int wake_fd;
	pthread_t waker;
	bool has_waker;
	bool stopping;
	bool changed;         /* those on_change are to look again */
	int64_t next_ms;      /* when the waker expects the next change */
	struct exchange *waiting;
	size_t n_waiting;
	struct serve_machine machine[]; /* o.count of them */
};

struct moment serve_now(void)
{
	return (struct moment){sys_boot_ns() / 1000000, sys_wall_ns() / 1000000};
}

/* ---- waiting ---- */

static void serve_poke(const struct serve *s)
{
	uint64_t one = 1;

	/* It fails only when the counter is full, and then it is awake. */
	(void)!sys_write(s->wake_fd, &one, sizeof(one));
}

/* Under the lock. */
static void serve_suspend(struct serve *s, struct exchange *x, int64_t until_ms, bool on_change)
{
	const union MHD_ConnectionInfo *info = s->mhd.get_connection_info(x->connection,
	    MHD_CONNECTION_INFO_CONNECTION_FD);

	x->fd = info == NULL ? -1 : info->connect_fd;
	x->until_ms = until_ms;
	x->on_change = on_change;
	x->waiting = true;
	x->before = NULL;
	x->next = s->waiting;
	if (s->waiting != NULL)
		s->waiting->before = x;
	s->waiting = x;
	s->n_waiting++;
	s->mhd.suspend_connection(x->connection);
	serve_poke(s);
}

static void serve_unlist(struct serve *s, struct exchange *x)
{
	if (x->before != NULL)
		x->before->next = x->next;
	else
		s->waiting = x->next;
	if (x->next != NULL)
		x->next->before = x->before;
	x->waiting = false;
	s->n_waiting--;
}

/* Resumes those whose reason has come; returns how long the rest can wait. */
static int serve_wake_due(struct serve *s)
{
	int64_t now_ms = serve_now().boot_ms;
	bool change = s->changed || now_ms >= s->next_ms;
	int64_t next_ms = now_ms + SERVE_TICK_MAX_MS;
	struct exchange *x;
	struct exchange *next;
	int k;

	s->changed = false;
	s->next_ms = INSTANCE_NEVER;
	for (k = 0; k < s->o.count; k++) {
		int64_t at_ms = instance_next_change(&s->machine[k].i, now_ms);

		if (at_ms < s->next_ms)
			s->next_ms = at_ms;
	}
	if (s->next_ms < next_ms)
		next_ms = s->next_ms;
	for (x = s->waiting; x != NULL; x = next) {
		next = x->next;
		if (x->gone || s->stopping || now_ms >= x->until_ms || (change && x->on_change)) {
			serve_unlist(s, x);
			s->mhd.resume_connection(x->connection);
		} else if (x->until_ms < next_ms) {
			next_ms = x->until_ms;
		}
	}
	return (int)(next_ms - now_ms);
}

/* Fills list[0] with the wake descriptor and the rest with clients that wait. */
static size_t serve_poll_list(struct serve *s, struct pollfd **list, size_t *cap)
{
	void *p = *list;
	struct exchange *x;
	size_t n = 1;

	if (mem_grow(&p, cap, s->n_waiting + 1, sizeof(**list), NULL) != ST_OK)
		return 0;
	*list = p;
	(*list)[0] = (struct pollfd){.fd = s->wake_fd, .events = POLLIN};
	for (x = s->waiting; x != NULL; x = x->next)
		(*list)[n++] = (struct pollfd){.fd = x->fd, .events = POLLRDHUP};
	return n;
}

/* Marks the clients that have gone. Others than this thread only add, in front. */
static void serve_mark_gone(struct serve *s, const struct pollfd *list, size_t n)
{
	struct exchange *x;
	size_t k;

	for (k = 1; k < n; k++) {
		if ((list[k].revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) == 0)
			continue;
		for (x = s->waiting; x != NULL && x->fd != list[k].fd; x = x->next)
			;
		if (x != NULL)
			x->gone = true;
	}
}

static void *serve_waker(void *arg)
{
	struct serve *s = arg;
	struct pollfd *list = NULL;
	struct pollfd only = {.fd = s->wake_fd, .events = POLLIN};
	size_t cap = 0;
	uint64_t drained;

	(void)pthread_mutex_lock(&s->lock);
	for (;;) {
		int wait_ms = serve_wake_due(s);
		size_t n;

		if (s->stopping)
			break;
		n = serve_poll_list(s, &list, &cap);
		(void)pthread_mutex_unlock(&s->lock);
		/* Without memory for the list, those who have gone are found when they are due. */
		if (poll(n == 0 ? &only : list, n == 0 ? 1 : n, wait_ms) > 0 &&
		    ((n == 0 ? only : list[0]).revents & POLLIN) != 0)
			(void)!sys_read(s->wake_fd, &drained, sizeof(drained));
		(void)pthread_mutex_lock(&s->lock);
		if (n > 0)
			serve_mark_gone(s, list, n);
	}
	(void)pthread_mutex_unlock(&s->lock);
	free(list);
	return NULL;
}

/* ---- answering ---- */

static void serve_begin(struct serve_machine *m, struct exchange *x, struct moment now)
{
	const char *token = m->i.cloud->token_path;
	bool is_token = token != NULL && strcmp(x->r.method, "PUT") == 0 &&
	    strcmp(x->r.path, token) == 0;

	exchange_collect(x, &m->s->mhd);
	x->fault = fault_draw(&m->s->o.fault, is_token, &m->random);
	x->not_before_ms = x->since.boot_ms + m->s->o.fault.latency_ms;
	x->r.since_ms = x->since.boot_ms;
	x->begun = true;
	m->i.seen.requests++;
	m->i.seen.last_request_ms = now.boot_ms;
}

static void serve_tell(struct serve_machine *m, const struct exchange *x, bool waits)
{
	struct serve *s = m->s;
	struct serve_record r = {.waits = waits, .instance = m->i.number,
	    .wall_ms = x->since.wall_ms, .took_ms = serve_now().boot_ms - x->since.boot_ms,
	    .method = x->r.method, .path = x->r.path, .status = x->status, .fault = x->fault};

	if (s->o.record == NULL)
		return;
	(void)pthread_mutex_lock(&s->record_lock);
	s->o.record(s->o.arg, &r);
	(void)pthread_mutex_unlock(&s->record_lock);
}

/* Under the lock. True: the answer is there; else the exchange waits, or *close. */
static bool serve_decide(struct serve_machine *m, struct exchange *x, struct http_answer *a,
    bool *close)
{
	struct moment now = serve_now();
	struct serve *s = m->s;

	if (!x->begun)
		serve_begin(m, x, now);
	instance_advance(&m->i, now);
	*close = x->gone || s->stopping || instance_has_ended(&m->i, now);
	if (*close)
		return false;
	if (x->fault == FAULT_SILENT) {
		serve_suspend(s, x, INSTANCE_NEVER, true);
		return false;
	}
	if (now.boot_ms < x->not_before_ms) {
		serve_suspend(s, x, x->not_before_ms, false);
		return false;
	}
	if (exchange_is_too_long(x)) {
		http_answer_set(a, 413, "text/plain");
		return true;
	}
	m->i.cloud->answer(&m->i, &x->r, now, a);
	if (a->wait) {
		/* Under the lock still: whoever hears of it cannot change anything before it
		 * really waits. */
		if (x->r.waits_for[0] == '\0')
			serve_tell(m, x, true);
		memcpy(x->r.waits_for, a->waits_for, sizeof(x->r.waits_for));
		serve_suspend(s, x, a->until_ms, true);
		return false;
	}
	fault_apply(x->fault, &m->random, x->r.path, a);
	return true;
}

static enum MHD_Result serve_answer(struct serve_machine *m, struct exchange *x)
{
	struct http_answer a = {0};
	enum MHD_Result done = MHD_YES;
	bool close = false;
	bool ready;

	(void)pthread_mutex_lock(&m->s->lock);
	ready = serve_decide(m, x, &a, &close);
	(void)pthread_mutex_unlock(&m->s->lock);
	/* From here on a suspended exchange may be another thread's. */
	if (close)
		done = MHD_NO;
	else if (ready)
		done = a.body.failed ? MHD_NO : exchange_send(x, &m->s->mhd, &a);
	http_answer_free(&a);
	return done;
}

/* Called by libmicrohttpd when the headers are there, for each piece of body, at the
 * end of it, and again after a wait. */
static enum MHD_Result serve_on_request(void *arg, struct MHD_Connection *c, const char *url,
    const char *method, const char *version, const char *data, size_t *len, void **request)
{
	struct serve_machine *m = arg;
	struct exchange *x = *request;

	(void)version;
	if (x == NULL) {
		x = exchange_create(c, method, url);
		if (x == NULL)
			return MHD_NO;
		x->owner = m;
		x->since = serve_now();
		*request = x;
		return MHD_YES;
	}
	if (*len > 0) {
		size_t n = *len;

		*len = 0;
		return exchange_add_body(x, data, n) ? MHD_YES : MHD_NO;
	}
	return serve_answer(m, x);
}

static void serve_on_completed(void *arg, struct MHD_Connection *c, void **request,
    enum MHD_RequestTerminationCode why)
{
	struct exchange *x = *request;

	(void)arg;
	(void)c;
	(void)why;
	if (x == NULL)
		return;
	*request = NULL;
	serve_tell(x->owner, x, false);
	exchange_destroy(x);
}

/* ---- ports ---- */

static enum status serve_address(struct serve *s, struct error *e)
{
	const char *text = s->o.address == NULL ? "127.0.0.1" : s->o.address;
	struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&s->address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&s->address;

	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		s->address_len = sizeof(*v4);
	} else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		s->address_len = sizeof(*v6);
	} else {
		return error_set(e, ST_CONFIG, "\"%.60s\" is no address to listen at: digits such as "
		    "127.0.0.1 or ::1 were expected", text);
	}
	return ST_OK;
}

bool serve_is_loopback(const struct serve *s)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)&s->address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)&s->address;

	if (s->address.ss_family == AF_INET)
		return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
	return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

static enum status serve_socket(struct serve *s, int port, int *out, struct error *e)
{
	struct sockaddr_storage at = s->address;
	int one = 1;
	int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd == -1)
		return error_os(e, errno, "a socket to listen at");
	if (at.ss_family == AF_INET)
		((struct sockaddr_in *)(void *)&at)->sin_port = htons((uint16_t)port);
	else
		((struct sockaddr_in6 *)(void *)&at)->sin6_port = htons((uint16_t)port);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
	    bind(fd, (struct sockaddr *)&at, s->address_len) != 0 || listen(fd, SERVE_BACKLOG) != 0) {
		int failed = errno;

		(void)sys_close(fd);
		if (failed == EADDRINUSE)
			return error_set(e, ST_BUSY, "port %d is taken: another --port, or 0 for one that "
			    "is free", port);
		if (failed == EACCES)
			return error_set(e, ST_DENIED, "port %d needs root: one from 1024 on does not",
			    port);
		return error_os(e, failed, "listening at %s, port %d",
		    s->o.address == NULL ? "127.0.0.1" : s->o.address, port);
	}
	*out = fd;
	return ST_OK;
}

static enum status serve_name_endpoint(struct serve_machine *m, int fd, struct error *e)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} at = {.v6 = {0}};
	socklen_t len = sizeof(at);
	char host[INET6_ADDRSTRLEN];

	if (getsockname(fd, &at.any, &len) != 0)
		return error_os(e, errno, "the port of a socket");
	if (at.any.sa_family == AF_INET) {
		m->port = ntohs(at.v4.sin_port);
		(void)inet_ntop(AF_INET, &at.v4.sin_addr, host, sizeof(host));
		(void)snprintf(m->endpoint, sizeof(m->endpoint), "http://%s:%d", host, m->port);
	} else {
		m->port = ntohs(at.v6.sin6_port);
		(void)inet_ntop(AF_INET6, &at.v6.sin6_addr, host, sizeof(host));
		(void)snprintf(m->endpoint, sizeof(m->endpoint), "http://[%s]:%d", host, m->port);
	}
	return ST_OK;
}

static enum status serve_listen(struct serve *s, struct serve_machine *m, struct error *e)
{
	int port = s->o.port == 0 ? 0 : s->o.port + m->i.number - 1;
	int fd = -1;
	enum status st = serve_socket(s, port, &fd, e);

	if (st == ST_OK)
		st = serve_name_endpoint(m, fd, e);
	if (st != ST_OK) {
		if (fd != -1)
			(void)sys_close(fd);
		return st;
	}
	m->daemon = s->mhd.start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
	    (s->address.ss_family == AF_INET6 ? MHD_USE_IPv6 : 0), 0, NULL, NULL, serve_on_request, m,
	    MHD_OPTION_LISTEN_SOCKET, fd,
	    MHD_OPTION_CONNECTION_LIMIT, (unsigned int)SERVE_CONNECTIONS,
	    MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)SERVE_CONNECTION_BYTES,
	    MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)SERVE_SILENCE_S,
	    MHD_OPTION_THREAD_STACK_SIZE, (size_t)SERVE_STACK_BYTES,
	    MHD_OPTION_NOTIFY_COMPLETED, serve_on_completed, NULL,
	    MHD_OPTION_END);
	if (m->daemon == NULL) {
		(void)sys_close(fd);
		return error_set(e, ST_PERMANENT, "libmicrohttpd did not start at port %d (too many "
		    "open files or threads?)", m->port);
	}
	return ST_OK;
}

/* ---- beginning and end ---- */

static enum status serve_check(const struct serve_options *o, struct error *e)
{
	if (o->count < 1 || o->count > SERVE_COUNT_MAX)
		return error_set(e, ST_CONFIG, "--count: 1 to %d machines were expected",
		    SERVE_COUNT_MAX);
	if (o->port < 0 || o->port + o->count - 1 > 65535)
		return error_set(e, ST_CONFIG, "--port: %d ports from %d on go beyond 65535", o->count,
		    o->port);
	if (o->instance.id != NULL && o->count > 1)
		return error_set(e, ST_CONFIG, "--instance-id names one machine: leave it out with "
		    "--count");
	return instance_options_check(&o->instance, o->cloud, e);
}

static enum status serve_start(struct serve *s, struct error *e)
{
	struct moment now = serve_now();
	enum status st = serve_address(s, e);
	int k;

	for (k = 0; k < s->o.count; k++) {
		struct serve_machine *m = &s->machine[k];
		uint8_t secret[INSTANCE_SECRET];

		sys_random(secret, sizeof(secret));
		m->s = s;
		m->random = s->o.fault.seed + (uint64_t)k;
		instance_init(&m->i, s->o.cloud, &s->o.instance, k + 1, secret, now);
	}
	for (k = 0; st == ST_OK && k < s->o.count; k++)
		st = serve_listen(s, &s->machine[k], e);
	if (st != ST_OK)
		return st;
	if (pthread_create(&s->waker, NULL, serve_waker, s) != 0)
		return error_set(e, ST_PERMANENT, "a thread cannot be started");
	s->has_waker = true;
	return ST_OK;
}

enum status serve_create(const struct serve_options *options, struct serve **out,
    struct error *e)
{
	struct serve *s;
	sigset_t all;
	sigset_t old;
	enum status st = serve_check(options, e);

	if (st != ST_OK)
		return st;
	s = mem_zero(sizeof(*s) + (size_t)options->count * sizeof(s->machine[0]));
	if (s == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	s->o = *options;
	s->next_ms = INSTANCE_NEVER;
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_mutex_init(&s->record_lock, NULL);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	/* Signals are for the caller's threads. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	st = s->wake_fd == -1 ? error_os(e, errno, "an eventfd") : mhd_load(&s->mhd, e);
	if (st == ST_OK)
		st = serve_start(s, e);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (st != ST_OK) {
		serve_destroy(s);
		return st;
	}
	*out = s;
	return ST_OK;
}

void serve_destroy(struct serve *s)
{
	int k;

	if (s == NULL)
		return;
	/* Nobody may be suspended when a daemon is stopped: the waker resumes them all,
	 * and from now on nobody is suspended any more. */
	(void)pthread_mutex_lock(&s->lock);
	s->stopping = true;
	(void)pthread_mutex_unlock(&s->lock);
	if (s->has_waker) {
		serve_poke(s);
		(void)pthread_join(s->waker, NULL);
	} else {
		(void)pthread_mutex_lock(&s->lock);
		(void)serve_wake_due(s);
		(void)pthread_mutex_unlock(&s->lock);
	}
	for (k = 0; k < s->o.count; k++) {
		if (s->machine[k].daemon != NULL)
			s->mhd.stop_daemon(s->machine[k].daemon);
	}
	if (s->wake_fd != -1)
		(void)sys_close(s->wake_fd);
	(void)pthread_mutex_destroy(&s->lock);
	(void)pthread_mutex_destroy(&s->record_lock);
	free(s);
}

/* ---- from outside ---- */

int serve_port(const struct serve *s, int instance)
{
	return s->machine[instance - 1].port;
}

const char *serve_endpoint(const struct serve *s, int instance, bool scheme)
{
	return s->machine[instance - 1].endpoint + (scheme ? 0 : strlen("http://"));
}

const char *serve_id(const struct serve *s, int instance)
{
	return s->machine[instance - 1].i.id;
}

enum status serve_apply(struct serve *s, const struct command *c, struct error *e)
{
	struct moment now = serve_now();
	enum status st = ST_OK;
	int k;

	(void)pthread_mutex_lock(&s->lock);
	/* All machines have the same options: the first that cannot is the first of all. */
	for (k = 0; st == ST_OK && k < s->o.count; k++) {
		if (c->instance == 0 || c->instance == k + 1)
			st = instance_apply(&s->machine[k].i, c, now, e);
	}
	s->changed = true;
	(void)pthread_mutex_unlock(&s->lock);
	serve_poke(s);
	return st;
}

struct instance_seen serve_seen(struct serve *s, int instance)
{
	struct instance_seen seen;

	(void)pthread_mutex_lock(&s->lock);
	seen = s->machine[instance - 1].i.seen;
	(void)pthread_mutex_unlock(&s->lock);
	return seen;
}
