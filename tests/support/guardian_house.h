/* A guardian in a folder of its own, for tests with real processes. */
#ifndef EBB_TESTS_GUARDIAN_HOUSE_H
#define EBB_TESTS_GUARDIAN_HOUSE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/sys.h"
#include "token.h"
#include "until.h"
#include "worker/guardian.h"
#include "worker/procs.h"

/* A new one for each test: slots_end_leftovers looks at all processes of the
 * machine, so tests that run side by side must not share it. */
static char token[SLOTS_TOKEN_SIZE];

enum { PATH_SIZE = 200, CAP = 1 << 20 };

struct house {
	char dir[64];
	struct slots *slots;
	struct guardian *g;
};

static inline int enter(void **state)
{
	static struct house h;

	memset(&h, 0, sizeof(h));
	new_token(token);
	(void)snprintf(h.dir, sizeof(h.dir), "/tmp/ebb-guardian-XXXXXX");
	if (mkdtemp(h.dir) == NULL)
		return -1;
	*state = &h;
	return chdir(h.dir); /* where the children run, too */
}

static inline int leave(void **state)
{
	struct house *h = *state;
	struct error e;

	guardian_stop(h->g);
	slots_close(h->slots);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	return chdir("/") == 0 && file_remove_tree(h->dir, &e) == ST_OK ? 0 : -1;
}

static inline const char *in_dir(const struct house *h, const char *name)
{
	static char path[4][PATH_SIZE];
	static int turn;

	turn = (turn + 1) % 4;
	(void)snprintf(path[turn], PATH_SIZE, "%s/%s", h->dir, name);
	return path[turn];
}

/* Not with cmocka's assertions: also called in processes that a test forks. */
static inline bool start(struct house *h, int lanes, const int *keep, int n_keep)
{
	struct guardian_options opt = {.lanes = lanes, .spool_dir = h->dir, .err_cap = CAP,
		.keep_fds = keep, .n_keep_fds = n_keep};
	struct error e;

	if (slots_create(in_dir(h, "slots"), lanes, token, &h->slots, &e) != ST_OK)
		return false;
	opt.slots = h->slots;
	return guardian_start(&opt, &h->g, &e) == ST_OK;
}

static inline struct guardian_spawn request(uint64_t id, const char *const *argv)
{
	return (struct guardian_spawn){.row = (int64_t)id + 1000, .epoch = 3, .id = id,
		.path = argv[0], .argv = argv, .stdin_fd = -1};
}

static inline bool send_sh(struct house *h, uint64_t id, const char *script)
{
	const char *argv[] = {"/bin/sh", "-c", script, NULL};
	struct guardian_spawn req = request(id, argv);
	struct error e;

	return guardian_send(h->g, &req, &e) == ST_OK;
}

/* The next end; false when none comes in 15 s or the guardian has gone. */
static inline bool next_end(struct house *h, struct guardian_end *end)
{
	struct pollfd p = {.fd = guardian_fd(h->g), .events = POLLIN};
	int64_t limit = until_now_ms() + 15000;
	struct error e;
	size_t n;

	while (until_now_ms() < limit) {
		if (guardian_receive(h->g, end, 1, &n, &e) != ST_OK)
			return false;
		if (n == 1)
			return true;
		(void)poll(&p, 1, 100);
	}
	return false;
}

static inline struct guardian_end run_sh(struct house *h, uint64_t id, const char *script)
{
	struct guardian_end end;

	assert_true(send_sh(h, id, script));
	assert_true(next_end(h, &end));
	assert_int_equal(end.id, id);
	return end;
}

static inline void assert_file(struct house *h, const char *name, const char *want)
{
	struct buf b = {0};
	struct error e;

	assert_int_equal(file_read(in_dir(h, name), 1 << 20, &b, &e), ST_OK);
	assert_non_null(b.data);
	assert_string_equal(b.data, want);
	buf_free(&b);
}

static inline bool exists(struct house *h, const char *name)
{
	return access(in_dir(h, name), F_OK) == 0;
}

/* The number in a file that a child writes in one step; 0: not there yet. */
static inline pid_t pid_in(struct house *h, const char *name)
{
	struct buf b = {0};
	long pid = 0;
	char *nl;

	if (file_read(in_dir(h, name), 100, &b, NULL) == ST_OK && b.data != NULL) {
		nl = strchr(b.data, '\n');
		pid = nl != NULL ? strtol(b.data, NULL, 10) : 0;
	}
	buf_free(&b);
	return (pid_t)pid;
}

static inline pid_t wait_pid_in(struct house *h, const char *name)
{
	assert_true(UNTIL(pid_in(h, name) > 0, 5000));
	return pid_in(h, name);
}

/* Dead, whoever has to reap it. */
static inline bool is_gone(pid_t pid)
{
	struct proc_stat st;

	return !proc_stat_read(pid, &st) || st.state == 'Z' || st.state == 'X';
}

static inline int count_fds(const char *path)
{
	DIR *d = opendir(path);
	int n = 0;

	if (d == NULL)
		return -1;
	while (readdir(d) != NULL)
		n++;
	(void)closedir(d);
	return n;
}

#define IN_HOUSE(f) cmocka_unit_test_setup_teardown(f, enter, leave)

#endif
