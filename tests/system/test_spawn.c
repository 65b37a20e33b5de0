/* Children that begin in a cgroup. The controllers of it do not matter here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "worker/cgroup.h"
#include "worker/spawn.h"

struct group {
	char path[4096];
	int fd;
	sigset_t old;
	struct spawner *sp;
};

/* A new cgroup below the top of the hierarchy, where one can be made. */
static int enter(void **state)
{
	static struct group g;
	struct buf mounts = {0};
	struct buf top = {0};
	sigset_t all;
	bool made = false;

	if (file_read("/proc/self/mountinfo", 1 << 24, &mounts, NULL) == ST_OK &&
	    cgroup_parse_mounts(mounts.data, "/", &top)) {
		(void)snprintf(g.path, sizeof(g.path), "%s/ebb-test-spawn-%ld", top.data,
		    (long)getpid());
		made = mkdir(g.path, 0755) == 0;
	}
	buf_free(&mounts);
	buf_free(&top);
	g.fd = made ? open(g.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	/* As the guardian has it. */
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &g.old);
	g.sp = spawner_create(NULL);
	*state = &g;
	return g.sp == NULL ? -1 : 0;
}

static int leave(void **state)
{
	struct group *g = *state;

	spawner_destroy(g->sp);
	(void)sigprocmask(SIG_SETMASK, &g->old, NULL);
	if (g->fd == -1)
		return 0;
	(void)close(g->fd);
	return rmdir(g->path);
}

static void need_group(const struct group *g)
{
	if (g->fd == -1 || !spawn_can_enter(g->fd)) {
		print_message("# NO CGROUP V2 that may be written to: not tried that a child begins in one\n");
		skip();
	}
}

static enum spawn_result spawn_in(const struct group *g, int fd, const char *program, int out,
    int32_t *pid)
{
	char path[256];
	char arg[] = "/proc/self/cgroup";
	char *argv[] = {NULL, path, arg, NULL};
	char *env[] = {NULL};
	struct spawn s = {.path = path, .argv = argv + 1, .envp = env, .in = 0, .out = out,
	    .err = 2, .cgroup_fd = fd};

	(void)snprintf(path, sizeof(path), "%s", program);
	return spawn_child(g->sp, &s, pid);
}

static void test_begins_there(void **state)
{
	struct group *g = *state;
	char text[8192];
	int32_t pid;
	ssize_t n;
	int p[2];
	int i;

	need_group(g);
	for (i = 0; i < 3; i++) {
		assert_int_equal(pipe2(p, O_CLOEXEC), 0);
		assert_int_equal(spawn_in(g, g->fd, "/bin/cat", p[1], &pid), SPAWN_OK);
		(void)close(p[1]);
		n = read(p[0], text, sizeof(text) - 1);
		assert_true(n > 0);
		text[n] = '\0';
		assert_non_null(strstr(text, strrchr(g->path, '/')));
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		(void)close(p[0]);
	}
}

static void test_why_it_failed(void **state)
{
	struct group *g = *state;
	int32_t pid = -1;

	need_group(g);
	assert_int_equal(spawn_in(g, g->fd, "/no/such/program", 1, &pid), SPAWN_EXEC_FAILED);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(spawn_in(g, g->fd, "/", 1, &pid), SPAWN_EXEC_FAILED);
	assert_int_equal(errno, EACCES);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void test_no_cgroup(void **state)
{
	struct group *g = *state;
	int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int32_t pid = -1;

	assert_false(spawn_can_enter(dir));
	assert_int_equal(spawn_in(g, dir, "/bin/cat", 1, &pid), SPAWN_SETUP_FAILED);
	assert_int_equal(pid, -1);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	(void)close(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_begins_there, enter, leave),
		cmocka_unit_test_setup_teardown(test_why_it_failed, enter, leave),
		cmocka_unit_test_setup_teardown(test_no_cgroup, enter, leave),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
