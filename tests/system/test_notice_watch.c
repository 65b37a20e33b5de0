/* The thread that asks metadata services, with real sockets: what it leaves behind, how
 * soon it ends, and what it tells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "notice/detect.h"
#include "notice/watch.h"
#include "until.h"

/* Answers one request after the other with `answer` of its path; NULL: keeps it waiting. */
struct server {
	int fd;
	int port;
	pthread_t thread;
	atomic_bool stop;
	atomic_int asked;
	atomic_int waiting;       /* requests that are kept waiting */
	const char *(*answer)(const char *request);
};

static void serve_one(struct server *s, int conn)
{
	char request[8192];
	char text[4096];
	ssize_t n;

	while (!atomic_load(&s->stop)) {
		struct pollfd p = {.fd = conn, .events = POLLIN};
		const char *body;

		if (poll(&p, 1, 5) != 1)
			continue;
		n = read(conn, request, sizeof(request) - 1);
		if (n <= 0)
			break;
		request[n] = '\0';
		(void)atomic_fetch_add(&s->asked, 1);
		body = s->answer(request);
		if (body == NULL) {
			(void)atomic_fetch_add(&s->waiting, 1);
			continue;
		}
		(void)snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nMetadata-Flavor: Google\r\nETag: e1\r\n"
		    "Content-Length: %zu\r\n\r\n%s", body[0] == '\0' ? "404 Not Found" : "200 OK", strlen(body),
		    body);
		if (write(conn, text, strlen(text)) == -1)
			break;
	}
	(void)close(conn);
}

struct visit {
	struct server *s;
	int conn;
};

static void *visit_thread(void *arg)
{
	struct visit v = *(struct visit *)arg;

	free(arg);
	serve_one(v.s, v.conn);
	return NULL;
}

static void *server_thread(void *arg)
{
	struct server *s = arg;
	pthread_t visitor[64];
	size_t n = 0;

	while (!atomic_load(&s->stop)) {
		struct pollfd p = {.fd = s->fd, .events = POLLIN};
		struct visit *v;

		if (poll(&p, 1, 5) != 1 || n == 64)
			continue;
		v = malloc(sizeof(*v));
		assert_non_null(v);
		*v = (struct visit){s, accept(s->fd, NULL, NULL)};
		if (v->conn == -1 || pthread_create(&visitor[n], NULL, visit_thread, v) != 0)
			abort();
		n++;
	}
	while (n > 0)
		(void)pthread_join(visitor[--n], NULL);
	return NULL;
}

static void server_begin(struct server *s, const char *(*answer)(const char *request))
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);

	memset(s, 0, sizeof(*s));
	s->answer = answer;
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(s->fd != -1 && bind(s->fd, (struct sockaddr *)&a, len) == 0);
	assert_true(listen(s->fd, 64) == 0 && getsockname(s->fd, (struct sockaddr *)&a, &len) == 0);
	s->port = ntohs(a.sin_port);
	assert_int_equal(pthread_create(&s->thread, NULL, server_thread, s), 0);
}

static void server_end(struct server *s)
{
	atomic_store(&s->stop, true);
	(void)pthread_join(s->thread, NULL);
	(void)close(s->fd);
}

static int count_entries(const char *folder)
{
	DIR *d = opendir(folder);
	int n = 0;

	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	(void)closedir(d);
	return n;
}

static struct notice_watch *start(const char *name, const struct server *s)
{
	struct notice_watch_options opt = {.poll_ms = 20};
	struct notice_watch *w;
	struct error e;
	char text[128];

	(void)snprintf(text, sizeof(text), "%s=http://127.0.0.1:%d", name, s->port);
	opt.sources = text;
	if (notice_watch_start(&opt, &w, &e) != ST_OK)
		fail_msg("%s", e.text);
	return w;
}

/* The next word of that kind. */
static struct notice_word word_of(struct notice_watch *w, enum notice_word_kind kind)
{
	struct notice_word word;
	int64_t end = until_now_ms() + 10000;

	while (until_now_ms() < end) {
		struct pollfd p = {.fd = notice_watch_fd(w), .events = POLLIN};

		(void)poll(&p, 1, 100);
		while (notice_watch_take(w, &word)) {
			if (word.kind == kind)
				return word;
		}
	}
	fail_msg("nothing of that kind is told");
	return word;
}

/* ---- a plain machine ---- */

static void test_plain(void **state)
{
	const struct notice_watch_options none = {.sources = "none"};
	const struct notice_watch_options plain = {.sources = "auto", .sysfs = "/nonexistent"};
	int threads = count_entries("/proc/self/task");
	int fds = count_entries("/proc/self/fd");
	struct notice_watch *w;
	struct notice_word word;
	struct error e;

	(void)state;
	assert_int_equal(notice_watch_start(&none, &w, &e), ST_OK);
	assert_int_equal(notice_watch_platforms(w), 0);
	notice_watch_stop(w);
	assert_int_equal(notice_watch_start(&plain, &w, &e), ST_OK);
	assert_int_equal(notice_watch_platforms(w), 0);
	assert_int_equal(notice_watch_fd(w), -1);
	assert_false(notice_watch_take(w, &word));
	assert_false(notice_watch_acknowledge(w, 1000));
	assert_int_equal(count_entries("/proc/self/task"), threads);
	assert_int_equal(count_entries("/proc/self/fd"), fds);
	notice_watch_stop(w);
	notice_watch_stop(NULL);
}

/* ---- an open question ---- */

static const char *google(const char *request)
{
	if (strstr(request, "wait_for_change") != NULL)
		return NULL;
	return strstr(request, "/preempted") != NULL ? "FALSE"
	    : strstr(request, "/maintenance-event") != NULL ? "NONE" : "";
}

static void test_stop_while_it_waits(void **state)
{
	struct server s;
	struct notice_watch *w;
	int64_t begin;
	int i;

	(void)state;
	server_begin(&s, google);
	for (i = 0; i < 3; i++) {
		atomic_store(&s.waiting, 0);
		w = start("gcp", &s);
		assert_true(UNTIL(atomic_load(&s.waiting) == 2, 10000));
		begin = until_now_ms();
		notice_watch_stop(w);
		assert_true(until_now_ms() - begin < 100);
	}
	server_end(&s);
}

/* ---- what is left behind ---- */

static const char *amazon(const char *request)
{
	if (strstr(request, "/api/token") != NULL)
		return "TOKEN";
	return strstr(request, "/spot/instance-action") != NULL
	    ? "{\"action\":\"terminate\",\"time\":\"2999-01-01T00:00:00Z\"}" : "";
}

static void test_nothing_is_left(void **state)
{
	struct server s;
	struct notice_watch *w;
	struct notice_word word;
	int threads;
	int fds;
	int i;

	(void)state;
	server_begin(&s, amazon);
	w = start("aws", &s);
	(void)word_of(w, NOTICE_WORD_EVENT);
	notice_watch_stop(w);
	/* libcurl may keep something once it is loaded; the server's visitor may still be there. */
	threads = count_entries("/proc/self/task");
	fds = count_entries("/proc/self/fd");
	for (i = 0; i < 5; i++) {
		w = start("aws", &s);
		word = word_of(w, NOTICE_WORD_EVENT);
		assert_int_equal(word.event.kind, NOTICE_TAKEN);
		assert_int_equal(notice_watch_platforms(w), NOTICE_ON_AWS);
		notice_watch_stop(w);
	}
	/* Those of the server's side end when they see it. */
	assert_true(UNTIL(count_entries("/proc/self/task") <= threads, 5000));
	assert_true(UNTIL(count_entries("/proc/self/fd") <= fds, 5000));
	server_end(&s);
}

/* Nobody takes them: the newest are kept, and nothing is overrun. */
static atomic_int flip;

static const char *fickle(const char *request)
{
	static const char *const said[] = {"", "{\"action\":\"stop\",\"time\":\"2999-01-01T00:00:00Z\"}"};

	if (strstr(request, "/api/token") != NULL)
		return "TOKEN";
	return strstr(request, "/spot/instance-action") != NULL ? said[atomic_fetch_add(&flip,
	    1) % 2] : "";
}

static void test_words_that_nobody_takes(void **state)
{
	struct server s;
	struct notice_watch *w;
	struct notice_word word;
	int n = 0;

	(void)state;
	server_begin(&s, fickle);
	w = start("aws", &s);
	assert_true(UNTIL(atomic_load(&flip) > 80, 20000));
	while (notice_watch_take(w, &word)) {
		assert_int_equal(word.kind, NOTICE_WORD_EVENT);
		n++;
	}
	assert_in_range(n, 60, 70);
	notice_watch_stop(w);
	server_end(&s);
}

/* ---- acknowledging ---- */

static atomic_int posted;
static atomic_bool slow_post;

static const char *azure(const char *request)
{
	if (strstr(request, "/compute/name") != NULL)
		return "vm1";
	if (strncmp(request, "POST ", 5) == 0) {
		(void)atomic_fetch_add(&posted, strstr(request,
		    "{\"StartRequests\":[{\"EventId\":\"E1\"}]}") != NULL);
		return atomic_load(&slow_post) ? NULL : "{}";
	}
	return strstr(request, "/scheduledevents") != NULL ? "{\"DocumentIncarnation\":1,\"Events\":[{"
	    "\"EventId\":\"E1\",\"EventType\":\"Preempt\",\"EventStatus\":\"Scheduled\",\"Resources\":["
	    "\"vm1\"],\"NotBefore\":\"\"}]}" : "";
}

static void test_acknowledge(void **state)
{
	struct server s;
	struct notice_watch *w;
	int64_t begin;

	(void)state;
	server_begin(&s, azure);
	w = start("azure", &s);
	assert_string_equal(word_of(w, NOTICE_WORD_EVENT).event.id, "E1");
	assert_true(notice_watch_acknowledge(w, 5000));
	assert_int_equal(atomic_load(&posted), 1);
	/* An answer that does not come is not waited for longer than that. */
	atomic_store(&slow_post, true);
	begin = until_now_ms();
	assert_false(notice_watch_acknowledge(w, 200));
	assert_in_range(until_now_ms() - begin, 150, 1500);
	notice_watch_stop(w);
	server_end(&s);
	/* There is nothing to tell AWS. */
	server_begin(&s, amazon);
	w = start("aws", &s);
	(void)word_of(w, NOTICE_WORD_EVENT);
	assert_false(notice_watch_acknowledge(w, 5000));
	notice_watch_stop(w);
	server_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_stop_while_it_waits),
		cmocka_unit_test(test_nothing_is_left),
		cmocka_unit_test(test_words_that_nobody_takes),
		cmocka_unit_test(test_acknowledge),
	};
	static const char *const variables[] = {"AWS_EC2_METADATA_SERVICE_ENDPOINT", "GCE_METADATA_HOST",
		"AZURE_POD_IDENTITY_AUTHORITY_HOST", "KUBERNETES_SERVICE_HOST", "SLURM_JOB_ID",
		"ECS_CONTAINER_METADATA_URI_V4"};
	size_t i;

	for (i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		(void)unsetenv(variables[i]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
