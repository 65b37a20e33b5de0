/* The guardian with real processes: nothing outlives whom it should not. */
#include "guardian_house.h"

/* ---- what is left of an attempt ---- */

/* Runs a script that leaves a process behind, whose pid it writes to "pid",
 * and checks that this one is gone when the end is told. */
static struct guardian_end leaves_behind(struct house *h, uint64_t id, const char *script)
{
	struct guardian_end end;
	int64_t before = until_now_ms();

	end = run_sh(h, id, script);
	assert_true(is_gone(wait_pid_in(h, "pid")));
	assert_true(until_now_ms() - before < 1500);
	assert_int_equal(unlink(in_dir(h, "pid")), 0);
	return end;
}

static void group_member_is_ended(void **state)
{
	struct house *h = *state;
	struct guardian_end end;

	assert_true(start(h, 2, NULL, 0));
	end = leaves_behind(h, 1, "sleep 100 & echo $! > pid; echo written; exit 9");
	assert_int_equal(end.exit_code, 9);
	assert_true(end.leftovers);
	assert_file(h, "1.out", "written\n");
	/* It is a leader that goes away, not the work. */
	end = leaves_behind(h, 2, "(trap '' TERM HUP; sleep 100) & echo $! > pid");
	assert_true(end.leftovers);
	assert_false(run_sh(h, 3, "true | true").leftovers);
}

static void setsid_grandchild_is_ended(void **state)
{
	struct house *h = *state;

	assert_true(start(h, 2, NULL, 0));
	/* With stdout open: it could write after the end. */
	assert_true(leaves_behind(h, 1, "setsid sleep 100 & echo $! > pid").leftovers);
	assert_true(leaves_behind(h, 2, "setsid sh -c 'trap \"\" TERM; while :; do echo x; "
	    "sleep 0.01; done' & echo $! > pid; sleep 0.05").leftovers);
}

static void daemon_is_ended(void **state)
{
	struct house *h = *state;

	assert_true(start(h, 1, NULL, 0));
	/* Forked twice, in a session of its own, with nothing open. */
	assert_true(leaves_behind(h, 1, "setsid sh -c 'exec >/dev/null 2>&1 </dev/null; "
	    "(sleep 100 & echo $! > pid)' & wait").leftovers);
	/* With a family. */
	assert_true(leaves_behind(h, 2, "setsid sh -c 'setsid sh -c \"sleep 100 & echo \\$! > "
	    "pid; wait\"; true' & while ! [ -e pid ]; do sleep 0.01; done").leftovers);
	/* An ebb in there, whose own guardian died. */
	assert_true(leaves_behind(h, 3, "EBB_WORKER_OUTER=x/1/2/3\\ $EBB_WORKER/$EBB_SHARD_ROW/"
	    "$EBB_EPOCH/$EBB_SLOT EBB_WORKER=ffffffffffffffffffffffffffffffff EBB_SHARD_ROW=1 "
	    "setsid sleep 100 & echo $! > pid; sleep 0.05").leftovers);
}

static void others_daemon_is_spared(void **state)
{
	struct house *h = *state;
	struct guardian_end end;
	struct error e;
	pid_t pid;

	assert_true(start(h, 2, NULL, 0));
	assert_true(send_sh(h, 1, "(setsid sleep 100 & echo $! > pid); sleep 100"));
	pid = wait_pid_in(h, "pid");
	/* Before that it is in the group that is signalled below. */
	assert_true(UNTIL(getsid(pid) == pid, 5000));
	assert_true(send_sh(h, 2, "exit 0"));
	assert_true(next_end(h, &end));
	assert_int_equal(end.id, 2);
	assert_false(end.leftovers);
	assert_false(is_gone(pid));
	assert_int_equal(guardian_kill(h->g, 1, SIGTERM, &e), ST_OK);
	assert_true(next_end(h, &end));
	assert_true(end.leftovers);
	assert_true(is_gone(pid));
}

/* One whose attempt cannot be told lives as long as the guardian, but cannot
 * write into the files of others. */
static void unknown_daemon(void **state)
{
	struct house *h = *state;
	struct guardian_end end;
	pid_t pid;

	assert_true(start(h, 1, NULL, 0));
	end = run_sh(h, 1, "setsid env -i sleep 100 & echo $! > pid; "
	    "while ! grep -q sleep /proc/$!/comm; do :; done");
	assert_int_equal(end.exit_code, 0);
	assert_true(end.ended_boot_ns - end.started_boot_ns < 1500000000);
	pid = wait_pid_in(h, "pid");
	assert_false(is_gone(pid));
	assert_false(exists(h, "lane0.out"));
	(void)run_sh(h, 2, "exit 0");
	assert_false(exists(h, "lane0.out"));
	guardian_stop(h->g);
	h->g = NULL;
	assert_true(is_gone(pid));
	(void)kill(pid, SIGKILL);
}

/* ---- deaths ---- */

/* A fake worker's hand-made state, shared with the test. */
struct shared {
	struct guardian_end ends[8];
	int n_ends;
	int32_t guardian;
};

static struct shared *share(void)
{
	struct shared *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(s != MAP_FAILED);
	return s;
}

static const char pipeline[] = "echo $$ > p1; sleep 100 | cat";
/* With a daemon whose attempt cannot be told. */
static const char pipeline_and_daemon[] = "(setsid env -i sleep 100 & echo $! > p5); "
    "echo $$ > p1; sleep 100 | cat";

/* In the forked process: a worker with two children, a pipeline and one with
 * grandchildren in sessions of their own, and one request that waits. */
static void fake_worker(struct house *h, struct shared *s, const char *first, const int *keep,
    int n_keep)
{
	struct guardian_end end;

	if (!start(h, 2, keep, n_keep))
		_exit(1);
	s->guardian = guardian_pid(h->g);
	if (!send_sh(h, 1, first) || !send_sh(h, 2, "setsid sleep 100 & echo $! > p2; "
	    "(setsid sleep 100 & echo $! > p3); echo $$ > p4; sleep 100") || !send_sh(h, 3, "exit 0"))
		_exit(1);
	while (next_end(h, &end) && s->n_ends < 8) {
		s->ends[s->n_ends] = end;
		__atomic_add_fetch(&s->n_ends, 1, __ATOMIC_RELEASE);
	}
	_exit(0);
}

static void wait_family(struct house *h, pid_t *pids, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "p%d", i + 1);
		pids[i] = wait_pid_in(h, name);
	}
}

static bool all_gone(const pid_t *pids, int n)
{
	int i;

	for (i = 0; i < n; i++)
		if (!is_gone(pids[i]))
			return false;
	return true;
}

static void killed_worker(void **state)
{
	struct house *h = *state;
	struct shared *s = share();
	int lock = open(in_dir(h, "lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int other = open(in_dir(h, "lock"), O_RDWR | O_CLOEXEC);
	int64_t before;
	pid_t pids[5];
	pid_t worker;

	assert_int_equal(flock(lock, LOCK_EX | LOCK_NB), 0);
	worker = fork();
	if (worker == 0)
		fake_worker(h, s, pipeline_and_daemon, &lock, 1);
	(void)close(lock);
	wait_family(h, pids, 5);
	assert_int_equal(flock(other, LOCK_EX | LOCK_NB), -1);
	/* The lock outlives the worker as long as anybody does. */
	assert_int_equal(kill(s->guardian, SIGSTOP), 0);
	assert_int_equal(kill(worker, SIGKILL), 0);
	assert_int_equal(waitpid(worker, NULL, 0), worker);
	assert_int_equal(flock(other, LOCK_EX | LOCK_NB), -1);
	before = until_now_ms();
	assert_int_equal(kill(s->guardian, SIGCONT), 0);
	assert_true(UNTIL(flock(other, LOCK_EX | LOCK_NB) == 0, 5000));
	assert_true(all_gone(pids, 5));
	assert_true(until_now_ms() - before < 1000);
	(void)close(other);
	munmap(s, sizeof(*s));
}

static void killed_guardian(void **state)
{
	struct house *h = *state;
	struct guardian_end end;
	struct error e;
	pid_t foreign;
	pid_t direct;
	pid_t grandchild;
	size_t n;

	/* A child from before, which is nobody's business. */
	foreign = fork();
	if (foreign == 0)
		for (;;)
			pause();
	assert_true(start(h, 1, NULL, 0));
	assert_true(send_sh(h, 1, "(setsid sleep 100 & echo $! > p2); "
	    "echo $$ > p1; sleep 100"));
	direct = wait_pid_in(h, "p1");
	grandchild = wait_pid_in(h, "p2");
	assert_int_equal(kill(guardian_pid(h->g), SIGKILL), 0);
	assert_true(UNTIL(guardian_receive(h->g, &end, 1, &n, &e) == ST_PERMANENT, 2000));
	assert_int_equal(guardian_kill(h->g, 1, SIGTERM, &e), ST_PERMANENT);
	assert_false(send_sh(h, 2, "exit 0"));
	guardian_end_orphans(h->g);
	assert_true(is_gone(direct));
	assert_true(is_gone(grandchild));
	assert_false(is_gone(foreign));
	assert_int_equal(kill(direct, 0), -1); /* reaped, too */
	assert_int_equal(kill(grandchild, 0), -1);
	(void)kill(foreign, SIGKILL);
	(void)waitpid(foreign, NULL, 0);
	guardian_stop(h->g);
	h->g = NULL;
}

static void stop_ends_all(void **state)
{
	struct house *h = *state;
	pid_t pid;
	pid_t guardian;

	assert_true(start(h, 1, NULL, 0));
	guardian = guardian_pid(h->g);
	assert_true(send_sh(h, 1, "(setsid env -i sleep 100 & echo $! > pid); "
	    "sleep 100"));
	pid = wait_pid_in(h, "pid");
	guardian_stop(h->g);
	h->g = NULL;
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(kill(guardian, 0), -1);
	guardian_stop(NULL);
}

static void leftovers_of_both(void **state)
{
	struct house *h = *state;
	struct shared *s = share();
	struct slots *table;
	struct error e;
	pid_t pids[4];
	pid_t worker = fork();
	int ended;

	if (worker == 0)
		fake_worker(h, s, pipeline, NULL, 0);
	wait_family(h, pids, 4);
	assert_int_equal(kill(worker, SIGSTOP), 0);
	assert_int_equal(kill(s->guardian, SIGKILL), 0);
	assert_int_equal(kill(worker, SIGKILL), 0);
	assert_int_equal(waitpid(worker, NULL, 0), worker);
	/* Direct children die with the guardian. */
	assert_true(UNTIL(is_gone(pids[0]) && is_gone(pids[3]), 2000));
	assert_false(is_gone(pids[1]));
	assert_false(is_gone(pids[2]));
	assert_int_equal(slots_open(in_dir(h, "slots"), &table, &e), ST_OK);
	assert_true(slots_started_ns(table, 1001, 3) >= 0);
	assert_true(slots_started_ns(table, 1002, 3) >= 0);
	assert_true(slots_started_ns(table, 1003, 3) == -1); /* only claimed */
	assert_int_equal(slots_end_leftovers(table, &ended, &e), ST_OK);
	assert_true(ended >= 2);
	assert_true(all_gone(pids, 4));
	slots_close(table);
	munmap(s, sizeof(*s));
}

/* ---- the fence ---- */

static void frozen_worker_is_fenced(void **state)
{
	struct house *h = *state;
	struct shared *s = share();
	struct slots *table;
	struct error e;
	int64_t before;
	int fenced = 0;
	pid_t pids[5];
	pid_t worker = fork();
	int i;

	if (worker == 0)
		fake_worker(h, s, pipeline_and_daemon, NULL, 0);
	wait_family(h, pids, 5);
	assert_int_equal(kill(worker, SIGSTOP), 0);
	assert_int_equal(slots_open(in_dir(h, "slots"), &table, &e), ST_OK);
	before = until_now_ms();
	slots_fence_set(table, sys_boot_ns() + 500 * INT64_C(1000000));
	assert_true(UNTIL(all_gone(pids, 5), 5000));
	assert_true(until_now_ms() - before >= 500);
	assert_int_equal(kill(worker, SIGCONT), 0);
	assert_true(UNTIL(__atomic_load_n(&s->n_ends, __ATOMIC_ACQUIRE) == 3, 3000));
	for (i = 0; i < 3; i++) {
		fenced += s->ends[i].fenced;
		if (s->ends[i].id == 3)
			assert_int_equal(s->ends[i].fate, GUARDIAN_NOT_STARTED);
		else
			assert_int_equal(s->ends[i].exit_signal, SIGKILL);
	}
	assert_int_equal(fenced, 3);
	assert_int_equal(kill(worker, SIGKILL), 0);
	assert_int_equal(waitpid(worker, NULL, 0), worker);
	slots_close(table);
	munmap(s, sizeof(*s));
}

/* The fence is found to lie far back: the machine was asleep. The worker gets
 * its moment, and nothing is started meanwhile. */
static void late_fence_has_grace(void **state)
{
	struct house *h = *state;
	struct guardian_end end;
	struct error e;
	pid_t pid;
	size_t n;

	assert_true(start(h, 2, NULL, 0));
	assert_true(send_sh(h, 1, "echo $$ > pid; sleep 100"));
	pid = wait_pid_in(h, "pid");
	slots_fence_set(h->slots, sys_boot_ns() - INT64_C(1000000000));
	assert_true(send_sh(h, 2, "exit 0"));
	assert_false(UNTIL(is_gone(pid), 400));
	assert_int_equal(guardian_receive(h->g, &end, 1, &n, &e), ST_OK);
	assert_int_equal(n, 0);
	slots_fence_set(h->slots, sys_boot_ns() + INT64_C(60000000000));
	assert_true(next_end(h, &end)); /* now it may start */
	assert_int_equal(end.id, 2);
	assert_int_equal(end.exit_code, 0);
	assert_false(is_gone(pid));
	assert_int_equal(guardian_kill(h->g, 1, SIGKILL, &e), ST_OK);
	assert_true(next_end(h, &end));
	assert_false(end.fenced);
	/* Passed for good, and then moved: work goes on. */
	slots_fence_set(h->slots, 1);
	assert_true(send_sh(h, 3, "exit 0"));
	assert_true(next_end(h, &end));
	assert_int_equal(end.fate, GUARDIAN_NOT_STARTED);
	assert_true(end.fenced);
	slots_fence_set(h->slots, 0);
	assert_int_equal(run_sh(h, 4, "exit 4").exit_code, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_HOUSE(group_member_is_ended),
		IN_HOUSE(setsid_grandchild_is_ended),
		IN_HOUSE(daemon_is_ended),
		IN_HOUSE(others_daemon_is_spared),
		IN_HOUSE(unknown_daemon),
		IN_HOUSE(killed_worker),
		IN_HOUSE(killed_guardian),
		IN_HOUSE(stop_ends_all),
		IN_HOUSE(leftovers_of_both),
		IN_HOUSE(frozen_worker_is_fenced),
		IN_HOUSE(late_fence_has_grace),
	};

	return cmocka_run_group_tests_name("guardian_ends", tests, NULL, NULL);
}
