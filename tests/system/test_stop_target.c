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
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "scratch.h"
#include "until.h"
#include "worker/procs.h"
#include "worker/stop_target.h"

enum { LIMIT_MS = 10000 };

static pid_t leader;
static int input; /* the leader's stdin, to hold it up */

/* Leader of a group of its own, with a pipe that nobody writes to for stdin. */
static void start(const char *const *argv)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	leader = fork();
	if (leader == 0) {
		char *words[8] = {NULL};
		size_t i;

		for (i = 0; argv[i] != NULL; i++)
			words[i] = strdup(argv[i]);
		if (setpgid(0, 0) == 0 && dup2(ends[0], 0) == 0)
			(void)execvp(words[0], words);
		_exit(127);
	}
	assert_true(leader > 0);
	(void)setpgid(leader, leader);
	(void)close(ends[0]);
	input = ends[1];
}

static void start_sh(const char *shell, const char *script)
{
	const char *argv[] = {shell, "-c", script, NULL};

	start(argv);
}

static bool comm_is(int32_t pid, const char *want)
{
	char path[64];
	struct buf b = {0};
	bool yes;

	(void)snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	yes = file_read(path, 100, &b, NULL) == ST_OK && b.len == strlen(want) + 1 &&
	    memcmp(b.data, want, strlen(want)) == 0;
	buf_free(&b);
	return yes;
}

static bool main_is(const char *comm, int n, struct stop_target *t)
{
	stop_target_find(leader, STOP_TO_MAIN, SIGTERM, t);
	return !t->group && t->n == n && comm_is(t->proc[0].pid, comm);
}

/* Waits until the signal would go to a program of that name first. */
static struct stop_target wait_main(const char *comm, int n)
{
	struct stop_target t;

	if (!UNTIL(main_is(comm, n, &t), LIMIT_MS))
		fail_msg("group %d, %d processes", t.group, t.n);
	return t;
}

static bool main_is_group(struct stop_target *t)
{
	stop_target_find(leader, STOP_TO_MAIN, SIGTERM, t);
	return t->group;
}

static int wait_status(void)
{
	int status;

	assert_int_equal(waitpid(leader, &status, 0), leader);
	leader = 0;
	return status;
}

/* This process is the subreaper: what left the group comes here. */
static void end_all(void)
{
	struct pid_list mine = {0};
	size_t i;

	(void)close(input);
	if (leader != 0) {
		(void)kill(-leader, SIGKILL);
		(void)waitpid(leader, NULL, 0);
	}
	leader = 0;
	assert_true(proc_children(getpid(), &mine));
	for (i = 0; i < mine.n; i++) {
		(void)kill(mine.pids[i], SIGKILL);
		(void)waitpid(mine.pids[i], NULL, 0);
	}
	pid_list_free(&mine);
}

static int after(void **state)
{
	(void)state;
	end_all();
	return 0;
}

static void no_shell(void **state)
{
	const char *argv[] = {"timeout", "100", "sleep", "100", NULL};
	struct stop_target t;

	(void)state;
	start(argv);
	t = wait_main("timeout", 1);
	assert_int_equal(t.proc[0].pid, leader);
	assert_true(stop_target_send(&t, SIGKILL));
	assert_int_equal(WTERMSIG(wait_status()), SIGKILL);
}

static void a_shell_that_became_the_program(void **state)
{
	struct stop_target t;

	(void)state;
	start_sh("sh", "exec sleep 100");
	t = wait_main("sleep", 1);
	assert_int_equal(t.proc[0].pid, leader);
}

static void a_shell_that_waits(void **state)
{
	struct stop_target t;
	int status;

	(void)state;
	start_sh("bash", "sleep 100; echo $? >&2; exit 7");
	t = wait_main("sleep", 1);
	assert_int_not_equal(t.proc[0].pid, leader);
	assert_true(stop_target_send(&t, SIGTERM));
	/* The shell was not hit, and went on. */
	status = wait_status();
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
	assert_false(stop_target_send(&t, SIGTERM));
}

static void shells_in_shells(void **state)
{
	(void)state;
	start_sh("bash", "sh -c 'bash -c \"sleep 100; true\"; true'; true");
	(void)wait_main("sleep", 1);
}

static void a_script_under_its_own_name(void **state)
{
	char dir[SCRATCH_MAX];
	char path[SCRATCH_MAX + 16];
	const char *argv[] = {path, NULL};
	FILE *f;

	(void)state;
	scratch_make(dir);
	(void)snprintf(path, sizeof(path), "%s/work", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	(void)fprintf(f, "#!/bin/bash\nsleep 100\ntrue\n");
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, 0755), 0);
	start(argv);
	(void)wait_main("sleep", 1);
	scratch_remove(dir);
}

static void pipelines_and_jobs_are_a_group(void **state)
{
	struct stop_target t;

	(void)state;
	start_sh("bash", "sleep 100 | sleep 101");
	assert_true(UNTIL(main_is_group(&t), LIMIT_MS));
	assert_true(stop_target_send(&t, SIGTERM));
	assert_int_equal(WTERMSIG(wait_status()), SIGTERM);
	start_sh("bash", "sleep 100 & sleep 101 & wait");
	assert_true(UNTIL(main_is_group(&t), LIMIT_MS));
	end_all();
	/* Below another shell it is still the leader's group. */
	start_sh("bash", "bash -c 'sleep 100 | sleep 101'; true");
	assert_true(UNTIL(main_is_group(&t), LIMIT_MS));
	assert_int_equal(t.leader, leader);
}

/* What is left of a pipeline is one program. */
static void a_pipeline_that_has_narrowed(void **state)
{
	(void)state;
	start_sh("bash", "true | sleep 100");
	(void)wait_main("sleep", 1);
}

static void a_shell_with_a_trap_is_told_too(void **state)
{
	struct stop_target t;
	int status;

	(void)state;
	start_sh("bash", "trap 'exit 9' TERM; sleep 100; true");
	t = wait_main("sleep", 2);
	assert_int_equal(t.proc[1].pid, leader);
	assert_true(stop_target_send(&t, SIGTERM));
	status = wait_status();
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 9);
	/* A trap for another signal does not count. */
	start_sh("bash", "trap : USR1; sleep 100; true");
	(void)wait_main("sleep", 1);
}

static void a_program_in_a_session_of_its_own(void **state)
{
	struct stop_target t;
	struct proc_stat st;

	(void)state;
	start_sh("bash", "setsid sleep 100; true");
	t = wait_main("sleep", 1);
	assert_true(proc_stat_read(t.proc[0].pid, &st));
	assert_int_not_equal(st.session, getsid(0));
	assert_true(stop_target_send(&t, SIGTERM));
	assert_true(WIFEXITED(wait_status()));
}

static void a_shell_alone(void **state)
{
	struct stop_target t;

	(void)state;
	/* The daemon is nobody's child any more. */
	start_sh("bash", "setsid -f sleep 100; while read -r x; do :; done; true");
	assert_true(UNTIL(main_is("bash", 1, &t) && t.proc[0].pid == leader, LIMIT_MS));
}

static void who_is_asked_for(void **state)
{
	struct stop_target t;

	(void)state;
	start_sh("bash", "sleep 100; true");
	(void)wait_main("sleep", 1);
	stop_target_find(leader, STOP_TO_LEADER, SIGTERM, &t);
	assert_false(t.group);
	assert_int_equal(t.n, 1);
	assert_int_equal(t.proc[0].pid, leader);
	stop_target_find(leader, STOP_TO_GROUP, SIGTERM, &t);
	assert_true(t.group);
	assert_int_equal(t.leader, leader);
}

static void a_process_that_changed_is_let_be(void **state)
{
	struct stop_target t;

	(void)state;
	start_sh("bash", "sleep 100; true");
	t = wait_main("sleep", 1);
	t.proc[0].start_boot_ns -= 20000000;
	assert_false(stop_target_send(&t, SIGKILL));
	(void)wait_main("sleep", 1);
}

static void names(void **state)
{
	static const char *const yes[] = {"sh", "bash", "dash", "zsh-5.9", "ksh93", "busybox",
	    "busybox.static", "bash (deleted)"};
	static const char *const no[] = {"", "shred", "bashful", "python3.11", "s", "fishnet", "cat"};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		assert_true(stop_target_is_shell_name(yes[i]));
	for (i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		assert_false(stop_target_is_shell_name(no[i]));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_teardown(f, after)
	const struct CMUnitTest tests[] = {
		TEST(no_shell),
		TEST(a_shell_that_became_the_program),
		TEST(a_shell_that_waits),
		TEST(shells_in_shells),
		TEST(a_script_under_its_own_name),
		TEST(pipelines_and_jobs_are_a_group),
		TEST(a_pipeline_that_has_narrowed),
		TEST(a_shell_with_a_trap_is_told_too),
		TEST(a_program_in_a_session_of_its_own),
		TEST(a_shell_alone),
		TEST(who_is_asked_for),
		TEST(a_process_that_changed_is_let_be),
		cmocka_unit_test(names),
	};

	if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
		return 1;
	return cmocka_run_group_tests_name("stop_target", tests, NULL, NULL);
}
