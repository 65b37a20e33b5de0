/* libebb against worker/control.c. What libebb finds out it keeps for the life
 * of a process, so every case is a child of its own: 0 is what it should say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"
#include "ebb/ebb.h"
#include "rng.h"
#include "scratch.h"
#include "until.h"
#include "worker/control.h"

enum { EPOCH = 12, CASE_MS = 20000 };

struct office {
	char dir[SCRATCH_MAX];
	struct control *c;
	uint64_t answered; /* requests */
};

static int open_office(void **state)
{
	static struct office o;
	struct control_begin b = {.epoch = EPOCH, .offset = 5};
	struct error e;

	scratch_make(o.dir);
	o.answered = 0;
	if (control_create(o.dir, 1, &o.c, &e) != ST_OK || control_reset(o.c, 0, &b, &e) != ST_OK)
		return -1;
	*state = &o;
	return 0;
}

static int close_office(void **state)
{
	struct office *o = *state;

	control_destroy(o->c);
	scratch_remove(o->dir);
	return 0;
}

static void set_env(const char *name, const char *value)
{
	if (setenv(name, value, 1) != 0)
		abort();
}

static void be_task(const struct office *o)
{
	set_env("EBB_CONTRACT", "1");
	set_env("EBB_EPOCH", "12");
	set_env("EBB_OFFSET", "5");
	set_env("EBB_CHECKPOINT", o->dir);
	set_env("EBB_CONTROL", control_page_path(o->c, 0));
	set_env("EBB_DEADLINE", "");
}

/* In a case: the line that is not true is its exit code. */
#define SAY(cond) ((cond) ? (void)0 : _exit(__LINE__ % 200 + 10))

static pid_t task_start(const struct office *o, void (*task)(const struct office *))
{
	pid_t pid = fork();

	if (pid == 0) {
		be_task(o);
		task(o);
		_exit(0);
	}
	assert_true(pid > 0);
	return pid;
}

/* Answers requests with `answer` until the task has ended; its exit code. */
static int task_wait(struct office *o, pid_t pid, enum ebb_answer answer)
{
	int status = 0;
	struct control_view v;
	struct error e;

	for (;;) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			break;
		assert_int_equal(control_read(o->c, 0, &v, &e), ST_OK);
		if (v.pending) {
			enum ebb_answer a = v.sensible ? answer : EBB_ANSWER_REFUSED;

			assert_int_equal(control_answer(o->c, 0, &v, a, &e), ST_OK);
			o->answered++;
		}
		(void)usleep(200);
	}
	if (!WIFEXITED(status))
		fail_msg("signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

static void run_task(struct office *o, void (*task)(const struct office *))
{
	int code = task_wait(o, task_start(o, task), EBB_ANSWER_DURABLE);

	if (code != 0)
		fail_msg("the line whose number modulo 200 is %d", code - 10);
}

/* ---- nobody there ---- */

static void says_go_on(void)
{
	SAY(ebb_attach() == 0);
	SAY(ebb_should_stop() == 0);
	SAY(ebb_reason() == EBB_STOP_NONE);
	SAY(ebb_plan() == EBB_PLAN_NONE);
	SAY(isinf(ebb_seconds_left()));
	ebb_progress(1, 2);
	ebb_done();
}

static void outside_task(const struct office *o)
{
	(void)o;
	(void)unsetenv("EBB_CONTRACT");
	says_go_on();
	SAY(ebb_checkpoint(3) == 0);
	SAY(ebb_offset() == 0);
	SAY(ebb_checkpoint_dir() == NULL);
}

static void other_contract_task(const struct office *o)
{
	(void)o;
	set_env("EBB_CONTRACT", "2");
	says_go_on();
}

static void other_epoch_task(const struct office *o)
{
	(void)o;
	set_env("EBB_EPOCH", "13");
	says_go_on();
	SAY(ebb_offset() == 5);
	SAY(ebb_checkpoint(3) == EBB_NO_PAGE);
}

static void bad_epoch_task(const struct office *o)
{
	(void)o;
	set_env("EBB_EPOCH", "12x");
	says_go_on();
}

static void no_file_task(const struct office *o)
{
	(void)o;
	set_env("EBB_CONTROL", "/nonexistent/page");
	says_go_on();
	SAY(ebb_checkpoint(3) == EBB_NO_PAGE);
}

static void folder_task(const struct office *o)
{
	set_env("EBB_CONTROL", o->dir);
	says_go_on();
}

static void pipe_task(const struct office *o)
{
	char path[SCRATCH_MAX + 16];

	(void)snprintf(path, sizeof(path), "%s/fifo", o->dir);
	SAY(mkfifo(path, 0600) == 0);
	set_env("EBB_CONTROL", path);
	says_go_on();
}

static void truncated_task(const struct office *o)
{
	SAY(truncate(control_page_path(o->c, 0), 100) == 0);
	says_go_on();
	SAY(ebb_checkpoint(3) == EBB_NO_PAGE);
}

static void no_checkpoints_task(const struct office *o)
{
	(void)o;
	set_env("EBB_CHECKPOINT", "");
	SAY(ebb_attach() == 1);
	SAY(ebb_checkpoint(3) == 0);
	SAY(ebb_checkpoint_dir() == NULL);
}

static void deadline_without_page_task(const struct office *o)
{
	int64_t at = sys_wall_ns() / 1000000000 + 100;
	char text[32];

	(void)o;
	set_env("EBB_CONTROL", "/nonexistent/page");
	(void)snprintf(text, sizeof(text), "%lld", (long long)at);
	set_env("EBB_DEADLINE", text);
	SAY(ebb_seconds_left() > 90 && ebb_seconds_left() < 101);
	set_env("EBB_DEADLINE", "12");
	SAY(ebb_seconds_left() <= 0);
	set_env("EBB_DEADLINE", "-12");
	SAY(isinf(ebb_seconds_left()));
}

static void nobody_is_there(void **state)
{
	static void (*const tasks[])(const struct office *) = {outside_task, other_contract_task,
	    other_epoch_task, bad_epoch_task, no_file_task, folder_task, pipe_task,
	    no_checkpoints_task, deadline_without_page_task, truncated_task};
	struct office *o = *state;
	size_t i;

	for (i = 0; i < sizeof(tasks) / sizeof(tasks[0]); i++)
		run_task(o, tasks[i]);
	assert_int_equal(o->answered, 0);
}

/* ---- an ebb that listens ---- */

static void wait_for_stop_task(const struct office *o)
{
	(void)o;
	SAY(ebb_should_stop() == 0); /* attaches by itself */
	SAY(isinf(ebb_seconds_left()));
	SAY(ebb_reason() == EBB_STOP_NONE);
	ebb_progress(1, 3);
	SAY(UNTIL(ebb_should_stop(), CASE_MS));
	SAY(ebb_reason() == EBB_STOP_NOTICE);
	SAY(ebb_plan() == EBB_PLAN_CHECKPOINT);
	SAY(ebb_seconds_left() > 20 && ebb_seconds_left() <= 30);
	ebb_done();
}

static void a_stop_is_seen(void **state)
{
	struct office *o = *state;
	pid_t pid = task_start(o, wait_for_stop_task);
	struct control_view v;
	struct error e;

	assert_true(UNTIL(control_read(o->c, 0, &v, &e) == ST_OK && v.progress_boot_ns != 0, CASE_MS));
	assert_int_equal(v.done, 1);
	assert_int_equal(v.total, 3);
	assert_false(v.task_done);
	assert_int_equal(control_stop(o->c, 0, EBB_STOP_NOTICE, EBB_PLAN_CHECKPOINT,
	    sys_boot_ns() + INT64_C(30000000000), &e), ST_OK);
	assert_int_equal(task_wait(o, pid, EBB_ANSWER_DURABLE), 0);
	assert_int_equal(control_read(o->c, 0, &v, &e), ST_OK);
	assert_true(v.task_done);
}

static void checkpoints_task(const struct office *o)
{
	(void)o;
	SAY(ebb_offset() == 5);
	SAY(ebb_checkpoint(EBB_SAME_OFFSET) == 0);
	SAY(ebb_checkpoint(6) == 0);
	SAY(ebb_checkpoint(INT64_C(1) << 40) == 0);
	SAY(ebb_checkpoint(EBB_SAME_OFFSET) == 0);
	SAY(ebb_checkpoint(7) == EBB_ANSWER_REFUSED);
	SAY(ebb_checkpoint(-2) == EBB_ANSWER_REFUSED);
}

static void checkpoints_are_answered(void **state)
{
	struct office *o = *state;

	run_task(o, checkpoints_task);
	assert_int_equal(o->answered, 5);
}

static void one_checkpoint_task(const struct office *o)
{
	(void)o;
	_exit(ebb_checkpoint(9));
}

static void bad_answers_come_through(void **state)
{
	struct office *o = *state;

	assert_int_equal(task_wait(o, task_start(o, one_checkpoint_task), EBB_ANSWER_FAILED),
	    EBB_ANSWER_FAILED);
	assert_int_equal(task_wait(o, task_start(o, one_checkpoint_task), EBB_ANSWER_FENCED),
	    EBB_ANSWER_FENCED);
	assert_int_equal(task_wait(o, task_start(o, one_checkpoint_task), (enum ebb_answer)77),
	    EBB_ANSWER_FAILED);
}

static void no_answer_task(const struct office *o)
{
	(void)o;
	SAY(ebb_checkpoint_within(9, 0.05) == EBB_NO_ANSWER);
	SAY(ebb_checkpoint_within(9, -1) == EBB_NO_ANSWER);
}

static void nobody_answers(void **state)
{
	struct office *o = *state;
	pid_t pid = task_start(o, no_answer_task);
	int status;
	struct error e;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	/* The deadline comes before the ten minutes. */
	assert_int_equal(control_stop(o->c, 0, EBB_STOP_DRAIN, EBB_PLAN_CHECKPOINT,
	    sys_boot_ns() + 100000000, &e), ST_OK);
	pid = task_start(o, one_checkpoint_task);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), EBB_NO_ANSWER);
}

static void vanished_task(const struct office *o)
{
	SAY(ebb_attach() == 1);
	SAY(unlink(control_page_path(o->c, 0)) == 0);
	SAY(ebb_should_stop() == 0);
	ebb_progress(1, 2);
	SAY(ebb_checkpoint(9) == EBB_NO_PAGE);
}

static void given_away_task(const struct office *o)
{
	struct control_begin b = {.epoch = EPOCH + 1};
	struct error e;

	SAY(ebb_attach() == 1);
	/* As ebb does for the next attempt. */
	SAY(control_reset(o->c, 0, &b, &e) == ST_OK);
	SAY(ebb_checkpoint(9) == EBB_ANSWER_FENCED);
	ebb_progress(5, 6);
	ebb_done();
	SAY(isinf(ebb_seconds_left()));
	SAY(control_stop(o->c, 0, EBB_STOP_DRAIN, EBB_PLAN_FINISH, 5, &e) == ST_OK);
	SAY(ebb_should_stop() == 1); /* its time is over in any case */
	SAY(ebb_reason() == EBB_STOP_NONE);
}

static void the_page_goes_to_another(void **state)
{
	struct office *o = *state;
	struct control_begin b = {.epoch = EPOCH};
	struct control_view v;
	struct error e;

	run_task(o, given_away_task);
	assert_int_equal(control_read(o->c, 0, &v, &e), ST_OK);
	assert_int_equal(v.progress_boot_ns, 0);
	assert_false(v.pending);
	assert_false(v.task_done);
	assert_int_equal(control_reset(o->c, 0, &b, &e), ST_OK);
	run_task(o, vanished_task);
}

/* ---- threads and forks ---- */

enum { THREADS = 6, ASKS = 20 };

static void *ask_often(void *arg)
{
	int *durable = arg;
	int i;

	for (i = 0; i < ASKS; i++) {
		*durable += ebb_checkpoint(EBB_SAME_OFFSET) == 0;
		(void)ebb_should_stop();
		ebb_progress((uint64_t)i, ASKS);
	}
	return NULL;
}

static void threads_task(const struct office *o)
{
	pthread_t t[THREADS];
	int durable[THREADS] = {0};
	int i;

	(void)o;
	for (i = 0; i < THREADS; i++)
		SAY(pthread_create(&t[i], NULL, ask_often, &durable[i]) == 0);
	for (i = 0; i < THREADS; i++)
		SAY(pthread_join(t[i], NULL) == 0);
	for (i = 0; i < THREADS; i++)
		SAY(durable[i] == ASKS);
}

static void threads_ask_one_after_another(void **state)
{
	struct office *o = *state;

	run_task(o, threads_task);
	assert_int_equal(o->answered, THREADS * ASKS);
}

static void forks_task(const struct office *o)
{
	int status;
	pid_t pid;

	(void)o;
	SAY(ebb_attach() == 1);
	pid = fork();
	if (pid == 0)
		_exit(ebb_checkpoint(30));
	SAY(ebb_checkpoint(EBB_SAME_OFFSET) == 0);
	SAY(waitpid(pid, &status, 0) == pid && status == 0);
	SAY(ebb_checkpoint(31) == 0);
}

static void a_forked_child_asks_too(void **state)
{
	struct office *o = *state;

	run_task(o, forks_task);
	assert_int_equal(o->answered, 3);
}

static int open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d != NULL && readdir(d) != NULL)
		n++;
	(void)closedir(d);
	return n;
}

static void descriptors_task(const struct office *o)
{
	int before = open_files();

	(void)o;
	SAY(ebb_attach() == 1);
	SAY(open_files() == before);
	SAY(ebb_checkpoint(9) == 0);
	SAY(open_files() == before);
}

static void no_descriptor_is_kept(void **state)
{
	run_task(*state, descriptors_task);
}

/* ---- garbage ---- */

static void garbage_task(const struct office *o)
{
	(void)o;
	(void)ebb_attach();
	(void)ebb_should_stop();
	(void)ebb_reason();
	(void)ebb_plan();
	SAY(ebb_seconds_left() >= 0);
	ebb_progress(1, 2);
	(void)ebb_checkpoint_within(9, 0.002);
	ebb_done();
}

/* Mostly with the head that it should have, else nothing would be reached. */
static void garbage_does_no_harm(void **state)
{
	struct office *o = *state;
	struct rng r = {.state = 99};
	int round;

	for (round = 0; round < 200; round++) {
		uint64_t bytes[512];
		int fd = open(control_page_path(o->c, 0), O_RDWR | O_CLOEXEC);
		size_t i;
		int status;
		pid_t pid;

		for (i = 0; i < 512; i++)
			bytes[i] = rng_next(&r) >> rng_below(&r, 64);
		assert_int_equal(pwrite(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
		if (round % 4 != 0) {
			struct ebb_control head = {.magic = EBB_CONTROL_MAGIC, .size = EBB_CONTROL_SIZE,
			    .version = EBB_CONTROL_VERSION, .epoch = EPOCH};

			assert_int_equal(pwrite(fd, &head, 24, 0), 24);
		}
		assert_int_equal(close(fd), 0);
		pid = task_start(o, garbage_task);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
}

static void every_result_has_its_words(void **state)
{
	static const int results[] = {EBB_ANSWER_DURABLE, EBB_ANSWER_FENCED, EBB_ANSWER_FAILED,
	    EBB_ANSWER_REFUSED, EBB_NO_ANSWER, EBB_NO_PAGE, 1234};
	size_t i;
	size_t j;

	(void)state;
	for (i = 0; i < sizeof(results) / sizeof(results[0]); i++)
		for (j = 0; j < i; j++)
			assert_string_not_equal(ebb_strerror(results[i]), ebb_strerror(results[j]));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_office, close_office)
	const struct CMUnitTest tests[] = {
		TEST(nobody_is_there),
		TEST(a_stop_is_seen),
		TEST(checkpoints_are_answered),
		TEST(bad_answers_come_through),
		TEST(nobody_answers),
		TEST(the_page_goes_to_another),
		TEST(threads_ask_one_after_another),
		TEST(a_forked_child_asks_too),
		TEST(no_descriptor_is_kept),
		TEST(garbage_does_no_harm),
		TEST(every_result_has_its_words),
	};

	return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
