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
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sys.h"
#include "rng.h"
#include "scratch.h"
#include "worker/control.h"

struct desk {
	char dir[SCRATCH_MAX];
	struct control *c;
};

static int open_desk(void **state)
{
	static struct desk d;
	struct error e;

	scratch_make(d.dir);
	if (control_create(d.dir, 3, &d.c, &e) != ST_OK)
		return -1;
	*state = &d;
	return 0;
}

static int close_desk(void **state)
{
	struct desk *d = *state;
	struct error e;
	DIR *dir;
	int n = 0;

	control_destroy(d->c);
	dir = opendir(d->dir);
	while (dir != NULL && readdir(dir) != NULL)
		n++;
	(void)closedir(dir);
	if (file_remove_tree(d->dir, &e) != ST_OK)
		return -1;
	return n == 2 ? 0 : -1; /* "." and "..": nothing is left behind */
}

/* The page as a task sees it. */
static struct ebb_control *task_map(const struct desk *d, int lane)
{
	int fd = open(control_page_path(d->c, lane), O_RDWR | O_CLOEXEC);
	void *p;

	assert_true(fd != -1);
	p = mmap(NULL, EBB_CONTROL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	assert_int_equal(close(fd), 0);
	return p;
}

static void task_unmap(struct ebb_control *page)
{
	assert_int_equal(munmap(page, EBB_CONTROL_SIZE), 0);
}

static void begin(const struct desk *d, int lane, int64_t epoch)
{
	struct control_begin b = {.epoch = epoch, .offset = 100, .deadline_boot_ns = 77};
	struct error e;

	assert_int_equal(control_reset(d->c, lane, &b, &e), ST_OK);
}

static struct control_view look(const struct desk *d, int lane)
{
	struct control_view v;
	struct error e;

	assert_int_equal(control_read(d->c, lane, &v, &e), ST_OK);
	return v;
}

static void a_new_page_is_nobodys(void **state)
{
	struct desk *d = *state;
	struct ebb_control *page = task_map(d, 2);
	struct stat sb;

	assert_int_equal(page->epoch, 0);
	assert_int_equal(page->version, EBB_CONTROL_VERSION);
	assert_int_equal(page->size, EBB_CONTROL_SIZE);
	assert_memory_equal(page->magic, EBB_CONTROL_MAGIC, 8);
	assert_int_equal(stat(control_page_path(d->c, 2), &sb), 0);
	assert_int_equal(sb.st_mode & 07777, 0600);
	task_unmap(page);
}

static void reset_forgets_the_attempt_before(void **state)
{
	struct desk *d = *state;
	struct ebb_control *page = task_map(d, 1);
	struct error e;

	begin(d, 1, 5);
	assert_int_equal(page->epoch, 5);
	assert_int_equal(page->offset, 100);
	assert_int_equal(page->deadline_boot_ns, 77);
	memset((char *)page + EBB_CONTROL_TASK, 0xff, EBB_CONTROL_TASK);
	assert_int_equal(control_stop(d->c, 1, EBB_STOP_DRAIN, EBB_PLAN_FINISH, 9, &e), ST_OK);
	assert_int_equal(access(control_notice_path(d->c, 1), F_OK), 0);
	begin(d, 1, 6);
	assert_int_equal(page->epoch, 6);
	assert_int_equal(page->stop, 0);
	assert_int_equal(page->reason, 0);
	assert_int_equal(page->requested, 0);
	assert_int_equal(page->done, 0);
	assert_int_equal(page->task_reserved[1999], 0);
	assert_int_equal(access(control_notice_path(d->c, 1), F_OK), -1);
	task_unmap(page);
}

static void stop_flips_the_page_and_leaves_a_notice(void **state)
{
	struct desk *d = *state;
	struct ebb_control *page = task_map(d, 0);
	int64_t deadline = sys_boot_ns() + INT64_C(20000000000);
	struct buf text = {0};
	char want[200];
	struct error e;

	begin(d, 0, 1);
	assert_int_equal(control_stop(d->c, 0, EBB_STOP_NOTICE, EBB_PLAN_HAND_BACK, deadline, &e),
	    ST_OK);
	assert_int_equal(page->stop, 1);
	assert_int_equal(page->reason, EBB_STOP_NOTICE);
	assert_int_equal(page->plan, EBB_PLAN_HAND_BACK);
	assert_int_equal(page->deadline_boot_ns, deadline);
	assert_int_equal(file_read(control_notice_path(d->c, 0), 4096, &text, &e), ST_OK);
	(void)snprintf(want, sizeof(want), "{\"ebb_notice\":1,\"reason\":\"notice\",\"plan\":"
	    "\"hand-back\",\"deadline_boot_ns\":%lld,\"deadline_unix\":", (long long)deadline);
	assert_memory_equal(text.data, want, strlen(want));
	assert_true(strtod(text.data + strlen(want), NULL) > (double)sys_wall_ns() / 1e9 + 15);
	buf_clear(&text);
	/* Another plan, and no deadline any more. */
	assert_int_equal(control_stop(d->c, 0, EBB_STOP_CANCEL, EBB_PLAN_NONE, 0, &e), ST_OK);
	assert_int_equal(page->reason, EBB_STOP_CANCEL);
	assert_int_equal(page->deadline_boot_ns, 0);
	assert_int_equal(file_read(control_notice_path(d->c, 0), 4096, &text, &e), ST_OK);
	assert_string_equal(text.data, "{\"ebb_notice\":1,\"reason\":\"cancel\",\"plan\":\"none\","
	    "\"deadline_boot_ns\":null,\"deadline_unix\":null}\n");
	buf_free(&text);
	/* The other lanes know nothing of it. */
	task_unmap(page);
	page = task_map(d, 1);
	assert_int_equal(page->stop, 0);
	task_unmap(page);
}

static void progress_is_kept_within_bounds(void **state)
{
	struct desk *d = *state;
	struct ebb_control *page = task_map(d, 0);
	struct control_view v;

	begin(d, 0, 1);
	v = look(d, 0);
	assert_int_equal(v.progress_boot_ns, 0);
	assert_false(v.task_done);
	page->progress_done = 7;
	page->progress_total = 10;
	page->progress_boot_ns = sys_boot_ns();
	v = look(d, 0);
	assert_int_equal(v.done, 7);
	assert_int_equal(v.total, 10);
	assert_int_equal(v.progress_boot_ns, page->progress_boot_ns);
	page->progress_done = 11;
	assert_int_equal(look(d, 0).done, 10);
	page->progress_done = UINT64_MAX;
	page->progress_total = 0;
	assert_int_equal(look(d, 0).done, INT64_MAX);
	page->progress_total = UINT64_MAX - 1;
	assert_int_equal(look(d, 0).total, INT64_MAX);
	page->progress_boot_ns = INT64_MAX;
	assert_true(look(d, 0).progress_boot_ns <= sys_boot_ns());
	page->progress_boot_ns = 1; /* before the attempt */
	assert_int_equal(look(d, 0).progress_boot_ns, 0);
	page->progress_boot_ns = INT64_MIN;
	assert_int_equal(look(d, 0).progress_boot_ns, 0);
	page->done = 2;
	assert_false(look(d, 0).task_done);
	page->done = 1;
	assert_true(look(d, 0).task_done);
	task_unmap(page);
}

static void a_request_is_answered_once(void **state)
{
	struct desk *d = *state;
	struct ebb_control *page = task_map(d, 0);
	struct control_view v;
	struct error e;

	begin(d, 0, 1);
	assert_false(look(d, 0).pending);
	page->offset = 250;
	page->requested = 1;
	v = look(d, 0);
	assert_true(v.pending);
	assert_true(v.sensible);
	assert_int_equal(v.request, 1);
	assert_int_equal(v.offset, 250);
	assert_int_equal(control_answer(d->c, 0, &v, EBB_ANSWER_DURABLE, &e), ST_OK);
	assert_int_equal(page->answered, 1);
	assert_int_equal(page->answer, EBB_ANSWER_DURABLE);
	assert_false(look(d, 0).pending);
	/* Backwards; the same once more is fine; below zero. */
	page->offset = 249;
	page->requested = 2;
	v = look(d, 0);
	assert_true(v.pending);
	assert_false(v.sensible);
	assert_int_equal(v.offset, 0);
	assert_int_equal(control_answer(d->c, 0, &v, EBB_ANSWER_REFUSED, &e), ST_OK);
	assert_int_equal(page->answer, EBB_ANSWER_REFUSED);
	page->offset = 250;
	page->requested = 3;
	assert_true(look(d, 0).sensible);
	page->offset = INT64_MIN;
	assert_false(look(d, 0).sensible);
	/* A task that writes into ebb's half deceives nobody but itself. */
	page->answered = 99;
	assert_true(look(d, 0).pending);
	page->requested = 2;
	assert_false(look(d, 0).pending);
	task_unmap(page);
}

static void a_first_offset_before_the_beginning_is_refused(void **state)
{
	struct desk *d = *state;
	struct ebb_control *page = task_map(d, 0);

	begin(d, 0, 1);
	page->offset = 99;
	page->requested = 1;
	assert_false(look(d, 0).sensible);
	page->offset = 100;
	assert_true(look(d, 0).sensible);
	task_unmap(page);
}

static void written_pages_are_told(void **state)
{
	struct desk *d = *state;
	struct pollfd p = {.fd = control_fd(d->c), .events = POLLIN};
	bool written[3] = {false};
	uint64_t one = 1;
	int fd;

	if (p.fd == -1)
		skip();
	begin(d, 1, 1);
	control_take_written(d->c, written);
	memset(written, 0, sizeof(written));
	assert_int_equal(poll(&p, 1, 0), 0);
	fd = open(control_page_path(d->c, 1), O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, &one, 8, EBB_CONTROL_TASK), 8);
	assert_int_equal(close(fd), 0);
	assert_int_equal(poll(&p, 1, 5000), 1);
	control_take_written(d->c, written);
	assert_false(written[0]);
	assert_true(written[1]);
	assert_false(written[2]);
	assert_int_equal(poll(&p, 1, 0), 0);
}

static void check_damage(struct desk *d, const char *what)
{
	struct ebb_control *page;
	struct control_view v;
	struct error e;

	/* Whatever was done to it, nothing crashes and the lane is usable again. */
	if (control_read(d->c, 0, &v, &e) != ST_OK)
		fail_msg("%s: %s", what, e.text);
	if (control_stop(d->c, 0, EBB_STOP_DRAIN, EBB_PLAN_FINISH, 5, &e) != ST_OK)
		fail_msg("%s: %s", what, e.text);
	if (control_answer(d->c, 0, &v, EBB_ANSWER_FAILED, &e) != ST_OK)
		fail_msg("%s: %s", what, e.text);
	begin(d, 0, 8);
	page = task_map(d, 0);
	assert_int_equal(page->epoch, 8);
	page->progress_done = 3;
	assert_int_equal(look(d, 0).done, 3);
	task_unmap(page);
}

static void a_damaged_page_is_made_anew(void **state)
{
	struct desk *d = *state;
	const char *path = control_page_path(d->c, 0);

	begin(d, 0, 7);
	assert_int_equal(truncate(path, 0), 0);
	assert_false(look(d, 0).pending);
	check_damage(d, "emptied");
	assert_int_equal(truncate(path, EBB_CONTROL_TASK + 20), 0);
	assert_false(look(d, 0).pending);
	check_damage(d, "cut");
	assert_int_equal(truncate(path, 1 << 20), 0);
	check_damage(d, "grown");
	assert_int_equal(unlink(path), 0);
	check_damage(d, "removed");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	check_damage(d, "a link");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	check_damage(d, "a pipe");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	check_damage(d, "a folder");
}

static void advice_holds_until_a_checkpoint_is_durable(void **state)
{
	struct desk *d = *state;
	struct ebb_control *page;
	struct control_view v;
	struct error e;

	begin(d, 0, 1);
	page = task_map(d, 0);
	assert_int_equal(page->save, 0);
	assert_int_equal(control_advise(d->c, 0, &e), ST_OK);
	assert_int_equal(page->save, 1);
	assert_int_equal(page->stop, 0);
	page->requested = 1;
	v = look(d, 0);
	assert_int_equal(control_answer(d->c, 0, &v, EBB_ANSWER_FAILED, &e), ST_OK);
	assert_int_equal(page->save, 1);
	page->requested = 2;
	v = look(d, 0);
	assert_int_equal(control_answer(d->c, 0, &v, EBB_ANSWER_DURABLE, &e), ST_OK);
	assert_int_equal(page->save, 0);
	assert_int_equal(control_advise(d->c, 0, &e), ST_OK);
	begin(d, 0, 2);
	task_unmap(page);
	page = task_map(d, 0);
	assert_int_equal(page->save, 0);
	task_unmap(page);
}

/* The file system was full, or broken, for a moment: the task waits for it. */
static void an_answer_that_was_not_written_is_written_later(void **state)
{
	struct desk *d = *state;
	struct rlimit before;
	struct rlimit none;
	struct ebb_control *page;
	struct control_view v;
	struct error e;

	begin(d, 0, 1);
	page = task_map(d, 0);
	page->offset = 7;
	page->requested = 1;
	v = look(d, 0);
	assert_ptr_not_equal(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	assert_int_not_equal(control_answer(d->c, 0, &v, EBB_ANSWER_FAILED, &e), ST_OK);
	assert_false(look(d, 0).pending);
	assert_int_equal(page->answered, 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_false(look(d, 0).pending);
	assert_int_equal(page->answered, 1);
	assert_int_equal(page->answer, EBB_ANSWER_FAILED);
	task_unmap(page);
}

static _Noreturn void be_hostile(const char *path, uint64_t seed)
{
	struct rng r = {.state = seed};
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint64_t bytes[8];

	while (fd != -1) {
		off_t at = rng_below(&r, 4096);
		size_t i;

		for (i = 0; i < 8; i++)
			bytes[i] = rng_next(&r) >> rng_below(&r, 64);
		switch (rng_below(&r, 20)) {
		case 0:
			(void)!ftruncate(fd, at);
			break;
		case 1:
			(void)!ftruncate(fd, EBB_CONTROL_SIZE);
			break;
		case 2:
			(void)unlink(path);
			break;
		default:
			(void)!pwrite(fd, bytes, sizeof(bytes), at / 2 + EBB_CONTROL_TASK / 2);
			(void)!pwrite(fd, bytes, sizeof(bytes), EBB_CONTROL_TASK + at % 48);
			break;
		}
	}
	_exit(1);
}

static void check_view(const struct control_view *v)
{
	assert_true(v->offset >= 0);
	assert_true(v->done >= 0);
	assert_true(v->total >= 0);
	assert_true(v->total == 0 || v->done <= v->total);
	assert_true(v->progress_boot_ns >= 0);
	assert_true(v->progress_boot_ns <= sys_boot_ns());
	assert_true(!v->sensible || (v->pending && v->offset >= 100));
}

static void a_hostile_writer_harms_nobody(void **state)
{
	struct desk *d = *state;
	int round;
	int i;

	for (round = 0; round < 20; round++) {
		pid_t pid;

		begin(d, 0, round + 1);
		pid = fork();
		if (pid == 0)
			be_hostile(control_page_path(d->c, 0), (uint64_t)round);
		assert_true(pid > 0);
		for (i = 0; i < 500; i++) {
			struct control_view v;
			struct error e;

			assert_int_equal(control_read(d->c, 0, &v, &e), ST_OK);
			check_view(&v);
			if (v.pending)
				assert_int_equal(control_answer(d->c, 0, &v, EBB_ANSWER_FAILED, &e),
				    ST_OK);
			if (i % 50 == 0)
				assert_int_equal(control_stop(d->c, 0, EBB_STOP_DRAIN,
				    EBB_PLAN_FINISH, i, &e), ST_OK);
		}
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_desk, close_desk)
	const struct CMUnitTest tests[] = {
		TEST(a_new_page_is_nobodys),
		TEST(reset_forgets_the_attempt_before),
		TEST(stop_flips_the_page_and_leaves_a_notice),
		TEST(progress_is_kept_within_bounds),
		TEST(a_request_is_answered_once),
		TEST(a_first_offset_before_the_beginning_is_refused),
		TEST(written_pages_are_told),
		TEST(a_damaged_page_is_made_anew),
		TEST(advice_holds_until_a_checkpoint_is_durable),
		TEST(an_answer_that_was_not_written_is_written_later),
		TEST(a_hostile_writer_harms_nobody),
	};

	return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
