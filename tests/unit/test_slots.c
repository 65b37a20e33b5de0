#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sys.h"
#include "token.h"
#include "until.h"
#include "worker/procs.h"
#include "worker/slots.h"

/* A new one for each test, since leftovers are looked for on the whole machine. */
static char token[SLOTS_TOKEN_SIZE];

struct place {
	char dir[64];
	char path[80];
};

static int make_place(void **state)
{
	static struct place p;

	new_token(token);
	(void)snprintf(p.dir, sizeof(p.dir), "/tmp/ebb-slots-XXXXXX");
	if (mkdtemp(p.dir) == NULL)
		return -1;
	(void)snprintf(p.path, sizeof(p.path), "%s/slots", p.dir);
	*state = &p;
	return 0;
}

static int remove_place(void **state)
{
	struct place *p = *state;
	struct error e;

	return file_remove_tree(p->dir, &e) == ST_OK ? 0 : -1;
}

static void create_and_open(void **state)
{
	struct place *p = *state;
	struct slots *s;
	struct slots *again;
	struct stat sb;
	struct error e;

	assert_int_equal(slots_create(p->path, 3, token, &s, &e), ST_OK);
	assert_int_equal(stat(p->path, &sb), 0);
	assert_int_equal(sb.st_size, 192 + 257 * 56 + 3 * 72);
	assert_int_equal(sb.st_mode & 0777, 0600);
	assert_int_equal(slots_count(s), 3);
	slots_at(s, 2)->row = 7;
	slots_at(s, 2)->epoch = 8;
	slots_at(s, 2)->state = SLOT_STARTED;
	slots_fence_set(s, 1234567890123);

	assert_int_equal(slots_open(p->path, &again, &e), ST_OK);
	assert_string_equal(slots_token(again), token);
	assert_int_equal(slots_worker_pid(again), getpid());
	assert_true(slots_of_this_boot(again));
	assert_int_equal(slots_fence_get(again), 1234567890123);
	assert_true(slots_started_ns(again, 7, 8) >= 0);
	assert_true(slots_started_ns(again, 7, 9) == -1);
	assert_true(slots_started_ns(again, 0, 0) == -1); /* free slots are zero */
	slots_close(again);
	slots_close(s);
	slots_close(NULL);
}

/* A frozen worker must not die of a successor's new table. */
static void replaced_table_stays_mapped(void **state)
{
	struct place *p = *state;
	struct slots *old;
	struct slots *new;
	struct error e;

	assert_int_equal(slots_create(p->path, SLOTS_MAX, token, &old, &e), ST_OK);
	assert_int_equal(slots_create(p->path, 1, token, &new, &e), ST_OK);
	slots_at(old, SLOTS_MAX - 1)->row = 1;
	assert_int_equal(slots_count(new), 1);
	slots_close(old);
	slots_close(new);
}

static void bad_arguments(void **state)
{
	struct place *p = *state;
	struct slots *s;
	struct error e;

	assert_int_equal(slots_create(p->path, 0, token, &s, &e), ST_CONFIG);
	assert_int_equal(slots_create(p->path, SLOTS_MAX + 1, token, &s, &e), ST_CONFIG);
	assert_int_equal(slots_create(p->path, 1, "00112233445566778899aabbccddeefG", &s, &e),
	    ST_CONFIG);
	assert_int_equal(slots_open(p->path, &s, &e), ST_NOT_FOUND);
	assert_int_equal(slots_create("/nonexistent/slots", 1, token, &s, &e), ST_NOT_FOUND);
}

/* Writes `len` bytes at `off`, and says what opening it gives. */
static enum status damaged(const char *path, long off, const void *data, size_t len, long cut)
{
	struct slots *s;
	struct error e;
	enum status st;
	int fd;

	assert_int_equal(slots_create(path, 2, token, &s, &e), ST_OK);
	slots_close(s);
	fd = open(path, O_RDWR);
	assert_int_not_equal(fd, -1);
	if (len > 0)
		assert_int_equal(pwrite(fd, data, len, off), len);
	if (cut >= 0)
		assert_int_equal(ftruncate(fd, cut), 0);
	(void)close(fd);
	st = slots_open(path, &s, &e);
	if (st == ST_OK)
		slots_close(s);
	return st;
}

static void damage_is_found(void **state)
{
	struct place *p = *state;
	uint32_t n;

	assert_int_equal(damaged(p->path, 0, "", 0, -1), ST_OK);
	assert_int_equal(damaged(p->path, 0, "X", 1, -1), ST_CORRUPT);
	n = 3;
	assert_int_equal(damaged(p->path, 8, &n, sizeof(n), -1), ST_CONFIG);
	n = 3;
	assert_int_equal(damaged(p->path, 12, &n, sizeof(n), -1), ST_CORRUPT);
	n = 0xffffffff;
	assert_int_equal(damaged(p->path, 12, &n, sizeof(n), -1), ST_CORRUPT);
	assert_int_equal(damaged(p->path, 16, "\0", 1, -1), ST_CORRUPT);
	assert_int_equal(damaged(p->path, 16 + 32, "f", 1, -1), ST_CORRUPT);
	assert_int_equal(damaged(p->path, 56, "\0", 1, -1), ST_CORRUPT);
	assert_int_equal(damaged(p->path, 0, "", 0, 0), ST_CORRUPT);
	assert_int_equal(damaged(p->path, 0, "", 0, 127), ST_CORRUPT);
	assert_int_equal(damaged(p->path, 0, "", 0, 192 + 257 * 56 + 127), ST_CORRUPT);
	assert_int_equal(damaged(p->path, 0, "", 0, 1 << 30), ST_CORRUPT);
}

/* A child in a group of its own, recorded in slot 0 with its start moved by
 * `shift_ms`. It has written to the pipe, so it runs. */
static pid_t sleeper(struct slots *s, int64_t shift_ms)
{
	int fds[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(fds), 0);
	slots_at(s, 0)->started_boot_ns = sys_boot_ns() + shift_ms * 1000000;
	pid = fork();
	if (pid == 0) {
		(void)setpgid(0, 0);
		(void)!write(fds[1], "x", 1);
		for (;;)
			pause();
	}
	(void)close(fds[1]);
	assert_int_equal(read(fds[0], &c, 1), 1);
	(void)close(fds[0]);
	slots_at(s, 0)->pgid = pid;
	slots_at(s, 0)->state = SLOT_STARTED;
	return pid;
}

static void leftover_is_ended(void **state)
{
	struct place *p = *state;
	struct slots *s;
	struct error e;
	int ended;
	int status;
	pid_t pid;

	assert_int_equal(slots_create(p->path, 2, token, &s, &e), ST_OK);
	pid = sleeper(s, 0);
	assert_int_equal(slots_end_leftovers(s, &ended, &e), ST_OK);
	assert_int_equal(ended, 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	slots_close(s);
}

static void reused_pid_is_spared(void **state)
{
	struct place *p = *state;
	struct slots *s;
	struct error e;
	int ended;
	int status;
	pid_t pid;

	assert_int_equal(slots_create(p->path, 2, token, &s, &e), ST_OK);
	pid = sleeper(s, -500);
	/* Neither may a damaged entry reach everybody or our own group. */
	slots_at(s, 1)->state = SLOT_STARTED;
	slots_at(s, 1)->pgid = 1;
	slots_at(s, 1)->started_boot_ns = 0;
	assert_int_equal(slots_end_leftovers(s, &ended, &e), ST_OK);
	assert_int_equal(ended, 0);
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	slots_at(s, 1)->pgid = -1;
	assert_int_equal(slots_end_leftovers(s, &ended, &e), ST_OK);
	assert_int_equal(ended, 0);
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, &status, 0);
	slots_close(s);
}

static void leftover_by_environment(void **state)
{
	struct place *p = *state;
	char var[64];
	char *env[] = {var, NULL};
	char *argv[] = {(char[]){"sleep"}, (char[]){"100"}, NULL};
	struct slots *s;
	struct error e;
	struct task_tag tag;
	int ended;
	int status;
	pid_t pid;

	assert_int_equal(slots_create(p->path, 1, token, &s, &e), ST_OK);
	(void)snprintf(var, sizeof(var), "EBB_WORKER=%s", token);
	pid = vfork();
	if (pid == 0) {
		(void)execve("/bin/sleep", argv, env);
		_exit(127);
	}
	assert_true(UNTIL(proc_owner_read(pid, token, &tag) == PROC_OURS, 2000));
	assert_int_equal(tag.row, -1);
	assert_int_equal(slots_end_leftovers(s, &ended, &e), ST_OK);
	assert_int_equal(ended, 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	slots_close(s);
}

static void other_boot_has_no_leftovers(void **state)
{
	struct place *p = *state;
	struct slots *s;
	struct error e;
	int ended;
	int status;
	int fd;
	pid_t pid;

	assert_int_equal(slots_create(p->path, 1, token, &s, &e), ST_OK);
	pid = sleeper(s, 0);
	fd = open(p->path, O_WRONLY);
	assert_int_equal(pwrite(fd, "00000000", 8, 56), 8);
	(void)close(fd);
	assert_false(slots_of_this_boot(s));
	assert_int_equal(slots_end_leftovers(s, &ended, &e), ST_OK);
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, &status, 0);
	slots_close(s);
}

int main(void)
{
#define IN_PLACE(f) cmocka_unit_test_setup_teardown(f, make_place, remove_place)
	const struct CMUnitTest tests[] = {
		IN_PLACE(create_and_open),
		IN_PLACE(replaced_table_stays_mapped),
		IN_PLACE(bad_arguments),
		IN_PLACE(damage_is_found),
		IN_PLACE(leftover_is_ended),
		IN_PLACE(reused_pid_is_spared),
		IN_PLACE(leftover_by_environment),
		IN_PLACE(other_boot_has_no_leftovers),
	};

	return cmocka_run_group_tests_name("slots", tests, NULL, NULL);
}
