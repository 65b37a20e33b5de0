/* What only the SQLite ledger has: a file that may be anything, a write lock
 * that a frozen process can hold, file systems it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "contract/ledger_case.h"
#include "ledger/sqlite.h"
#include "scratch.h"

struct fix {
	char dir[SCRATCH_MAX];
	char path[SCRATCH_MAX + 16];
};

static const struct ledger_options making = {.create = true, .busy_ms = 100};
static const struct ledger_options writing = {.busy_ms = 100};
static const struct ledger_options reading = {.read_only = true, .busy_ms = 100};

static int set_up(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	scratch_make(f->dir);
	(void)snprintf(f->path, sizeof(f->path), "%s/ledger", f->dir);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fix *f = *state;

	scratch_remove(f->dir);
	free(f);
	return 0;
}

static void put_file(const char *path, const void *data, size_t len)
{
	struct error err;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_int_not_equal(fd, -1);
	OK(file_write_all(fd, data, len, path, &err));
	(void)close(fd);
}

static struct buf get_file(const char *path)
{
	struct buf b = {0};
	struct error err;

	OK(file_read(path, 64 << 20, &b, &err));
	return b;
}

/* Neither way of opening works, and the file and its folder stay as they were. */
static void refused(const struct fix *f, enum status want, const char *word)
{
	const struct ledger_options *const ways[] = {&making, &writing, &reading};
	struct buf before = get_file(f->path);
	struct buf after;
	struct ledger *l;
	struct error err;
	char beside[sizeof(f->path) + 8];
	size_t i;

	for (i = 0; i < 3; i++) {
		IS(want, ledger_open(f->path, ways[i], &l, &err));
		if (strstr(err.text, word) == NULL) {
			print_error("\"%s\" does not say \"%s\"\n", err.text, word);
			fail();
		}
	}
	after = get_file(f->path);
	assert_int_equal(after.len, before.len);
	if (after.len > 0)
		assert_memory_equal(after.data, before.data, after.len);
	(void)snprintf(beside, sizeof(beside), "%s-shm", f->path);
	assert_int_equal(access(beside, F_OK), -1);
	buf_free(&before);
	buf_free(&after);
}

static void make_ledger(const struct fix *f)
{
	struct ledger *l;
	struct ledger_run run;
	struct error err;

	OK(ledger_open(f->path, &making, &l, &err));
	run = run_make(l, "run");
	plan_many(l, run.stage, "i", 2000);
	ledger_run_free(&run);
	ledger_close(l);
}

static void poke(const struct fix *f, int64_t at, const void *data, size_t len)
{
	int fd = open(f->path, O_WRONLY | O_CLOEXEC);

	assert_int_not_equal(fd, -1);
	assert_int_equal(pwrite(fd, data, len, at), len);
	(void)close(fd);
}

/* ---- files that are no ledgers ---- */

static void foreign_files(void **state)
{
	struct fix *f = *state;
	static const char text[] = "a,b,c\n1,2,3\n";
	char zeros[8192] = {0};
	sqlite3 *db;

	put_file(f->path, text, sizeof(text) - 1);
	refused(f, ST_CONFIG, "not a ledger");
	put_file(f->path, zeros, sizeof(zeros));
	refused(f, ST_CONFIG, "not a ledger");
	(void)unlink(f->path);
	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "CREATE TABLE t(a); INSERT INTO t VALUES (1)", NULL,
	    NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	refused(f, ST_CONFIG, "not a ledger");
}

static void not_regular(void **state)
{
	struct fix *f = *state;
	struct ledger *l;
	struct error err;
	char path[sizeof(f->path) + 8];

	assert_int_equal(mkdir(f->path, 0700), 0);
	IS(ST_CONFIG, ledger_open(f->path, &making, &l, &err));
	(void)snprintf(path, sizeof(path), "%s/no/x", f->path);
	IS(ST_NOT_FOUND, ledger_open(path, &making, &l, &err));
}

static void cut_short(void **state)
{
	static const int64_t lengths[] = {0, 3, 15, 16, 99, 511, 4096, 5000};
	struct fix *f = *state;
	struct stat sb;
	size_t i;

	make_ledger(f);
	assert_int_equal(stat(f->path, &sb), 0);
	assert_int_equal(truncate(f->path, sb.st_size - 4096), 0);
	refused(f, ST_CORRUPT, "cut short");
	for (i = sizeof(lengths) / sizeof(lengths[0]); i-- > 0;) {
		assert_int_equal(truncate(f->path, lengths[i]), 0);
		refused(f, ST_CORRUPT, "cut short");
	}
}

static void other_formats(void **state)
{
	struct fix *f = *state;
	const uint8_t newer[4] = {0, 0, 0, LEDGER_FORMAT + 1};
	const uint8_t older[4] = {0, 0, 0, LEDGER_FORMAT - 1};

	make_ledger(f);
	poke(f, 60, newer, 4);
	refused(f, ST_CONFIG, "a newer ebb");
	poke(f, 60, older, 4);
	refused(f, ST_CONFIG, "an older ebb");
}

/* Damage inside is an error of whoever meets it, and verify names it. */
static void damaged_inside(void **state)
{
	struct fix *f = *state;
	struct buf problem = {0};
	struct ledger *l;
	struct error err;
	char noise[4096];
	struct stat sb;
	int64_t at;

	make_ledger(f);
	memset(noise, 0xa5, sizeof(noise));
	assert_int_equal(stat(f->path, &sb), 0);
	/* behind the schema, which opening reads */
	for (at = sb.st_size / 8192 * 4096; at < sb.st_size; at += 4096)
		poke(f, at, noise, sizeof(noise));
	OK(ledger_open(f->path, &reading, &l, &err));
	OK(ledger_verify(l, &problem, &err));
	assert_true(problem.len > 0);
	buf_free(&problem);
	ledger_close(l);
}

static void wrong_counter_is_found(void **state)
{
	struct fix *f = *state;
	struct buf problem = {0};
	struct ledger *l;
	struct error err;

	make_ledger(f);
	OK(ledger_open(f->path, &writing, &l, &err));
	OK(sqlite_exec(sq(l), "UPDATE stage SET n_ready = n_ready + 1", &err));
	OK(ledger_verify(l, &problem, &err));
	assert_non_null(strstr(problem.data, "counters"));
	buf_free(&problem);
	ledger_close(l);
}

/* ---- places ---- */

static void file_systems(void **state)
{
	(void)state;
	assert_null(sqlite_place_refused(0xef53));
	assert_null(sqlite_place_refused(0x01021994));
	assert_null(sqlite_place_refused(0x794c7630));
	assert_string_equal(sqlite_place_refused(0x6969), "NFS");
	assert_string_equal(sqlite_place_refused(0x01021997), "9p");
	assert_string_equal(sqlite_place_refused(0x0bd00bd0), "Lustre");
	assert_non_null(strstr(sqlite_place_refused(0x65735546), "virtiofs"));
	assert_non_null(sqlite_place_refused(0x12345678));
}

/* /proc is one that is not on the list, and always there. */
static void refused_place(void **state)
{
	struct ledger *l;
	struct error err;

	(void)state;
	IS(ST_CONFIG, ledger_open("/proc/self/ledger", &making, &l, &err));
	assert_non_null(strstr(err.text, "local disk"));
}

/* A link leads to the file, and the names with a colon are names. */
static void odd_names(void **state)
{
	struct fix *f = *state;
	static const char *const names[] = {"a:b", "per%20cent", "q?x=1#y", "sp ace"};
	char link_path[sizeof(f->path) + 8];
	char path[sizeof(f->path) + 32];
	struct ledger *l;
	struct ledger *through;
	struct error err;
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", f->dir, names[i]);
		OK(ledger_open(path, &making, &l, &err));
		ledger_close(l);
		assert_int_equal(access(path, F_OK), 0);
		OK(ledger_open(path, &reading, &l, &err));
		ledger_close(l);
	}
	make_ledger(f);
	(void)snprintf(link_path, sizeof(link_path), "%s.link", f->path);
	assert_int_equal(symlink("ledger", link_path), 0);
	OK(ledger_open(f->path, &writing, &l, &err));
	OK(ledger_open(link_path, &writing, &through, &err));
	OK(ledger_begin(l, &err));
	IS(ST_BUSY, ledger_begin(through, &err));
	ledger_close(l);
	OK(ledger_begin(through, &err));
	ledger_close(through);
}

/* Root writes anywhere but where the file system itself says no. */
static bool make_immutable(const char *path, bool on)
{
	int flags = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool ok = fd != -1 && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0;

	flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
	ok = ok && ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
	if (fd != -1)
		(void)close(fd);
	return ok;
}

static void read_only_folder(void **state)
{
	struct fix *f = *state;
	struct ledger *l;
	struct ledger_run run;
	struct error err;

	(void)snprintf(f->path, sizeof(f->path), "%s/led ger?%%41", f->dir);
	make_ledger(f);
	if (geteuid() != 0)
		assert_int_equal(chmod(f->dir, 0500), 0);
	else if (!make_immutable(f->dir, true) || !make_immutable(f->path, true)) {
		print_message("SKIPPED: this file system has no immutable files\n");
		(void)make_immutable(f->dir, false);
		return;
	}
	OK(ledger_open(f->path, &reading, &l, &err));
	OK(ledger_run_by_name(l, "", &run, &err));
	assert_int_equal(stage_of(l, run.stage).planned, 2000);
	ledger_run_free(&run);
	ledger_close(l);
	IS(ST_DENIED, ledger_open(f->path, &writing, &l, &err));
	if (geteuid() != 0) {
		assert_int_equal(chmod(f->dir, 0700), 0);
	} else {
		assert_true(make_immutable(f->path, false));
		assert_true(make_immutable(f->dir, false));
	}
}

static void reading_leaves_nothing(void **state)
{
	struct fix *f = *state;
	struct ledger *l;
	struct ledger_run run;
	struct error err;
	struct buf before;
	struct buf after;
	char beside[sizeof(f->path) + 8];

	make_ledger(f);
	before = get_file(f->path);
	OK(ledger_open(f->path, &reading, &l, &err));
	OK(ledger_run_by_name(l, "", &run, &err));
	ledger_run_free(&run);
	ledger_close(l);
	after = get_file(f->path);
	assert_int_equal(before.len, after.len);
	assert_memory_equal(before.data, after.data, after.len);
	(void)snprintf(beside, sizeof(beside), "%s-wal", f->path);
	assert_int_equal(access(beside, F_OK), -1);
	(void)snprintf(beside, sizeof(beside), "%s-shm", f->path);
	assert_int_equal(access(beside, F_OK), -1);
	buf_free(&before);
	buf_free(&after);
}

/* ---- other processes ---- */

/* Runs `body` in a child and waits until it has written a byte. */
static pid_t child_of(const struct fix *f, void (*body)(const struct fix *f, int ready))
{
	int ends[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		(void)close(ends[0]);
		body(f, ends[1]);
		_exit(0);
	}
	(void)close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	(void)close(ends[0]);
	return pid;
}

static void end_child(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void hold_and_freeze(const struct fix *f, int ready)
{
	struct ledger *l;
	struct error err;

	if (ledger_open(f->path, &writing, &l, &err) != ST_OK ||
	    ledger_begin(l, &err) != ST_OK ||
	    note_event(l, 1, "frozen", "", &err) != ST_OK || write(ready, "x", 1) != 1)
		_exit(1);
	(void)raise(SIGSTOP);
}

static void frozen_holder(void **state)
{
	struct fix *f = *state;
	char word[32];
	struct ledger *l;
	struct ledger_event ev;
	struct error err;
	int32_t holder;
	size_t n;
	pid_t pid;

	make_ledger(f);
	pid = child_of(f, hold_and_freeze);
	OK(ledger_open(f->path, &writing, &l, &err));
	IS(ST_BUSY, note_event(l, 1, "mine", "", &err));
	(void)snprintf(word, sizeof(word), "pid %ld ", (long)pid);
	assert_non_null(strstr(err.text, word));
	OK(ledger_lock_holder(l, &holder, &err));
	assert_int_equal(holder, pid);
	/* reading goes on */
	OK(ledger_events(l, 1, 1, &ev, &n, &err));
	assert_int_equal(n, 0);
	end_child(pid);
	IS(ST_NOT_FOUND, ledger_lock_holder(l, &holder, &err));
	OK(note_event(l, 1, "mine", "", &err));
	OK(ledger_events(l, 1, 1, &ev, &n, &err));
	assert_string_equal(ev.kind, "mine");
	/* looking has not cost this process its own locks */
	OK(ledger_begin(l, &err));
	OK(ledger_lock_holder(l, &holder, &err));
	assert_int_equal(holder, getpid());
	ledger_close(l);
}

/* Groups without end; each moves as many shards as it takes. */
static void write_forever(const struct fix *f, int ready)
{
	struct ledger_shard got[16];
	struct ledger *l;
	struct ledger_run run;
	struct error err;
	int64_t worker;
	int64_t next;
	size_t n;
	size_t i;

	if (ledger_open(f->path, &writing, &l, &err) != ST_OK ||
	    ledger_run_by_name(l, "", &run, &err) != ST_OK)
		_exit(1);
	worker = worker_make(l, "forever", run.id);
	for (;;) {
		if (ledger_begin(l, &err) != ST_OK ||
		    ledger_claim(l, run.stage, worker, INT64_MAX, 16, got, &n, &next, &err) !=
		    ST_OK)
			_exit(1);
		for (i = 0; i < n; i++) {
			if (ledger_give_back(l, got[i].row, got[i].s.epoch, &err) != ST_OK)
				_exit(1);
		}
		if (ledger_commit(l, &err) != ST_OK || (ready != -1 && write(ready, "x", 1) != 1))
			_exit(1);
		free_n(got, n);
		ready = -1;
	}
}

static void reads_beside_a_writer(void **state)
{
	struct fix *f = *state;
	struct ledger *l;
	struct ledger_run run;
	struct ledger_stage s;
	struct error err;
	pid_t pid;
	int i;

	make_ledger(f);
	pid = child_of(f, write_forever);
	OK(ledger_open(f->path, &reading, &l, &err));
	OK(ledger_run_by_name(l, "", &run, &err));
	for (i = 0; i < 300; i++) {
		s = stage_of(l, run.stage);
		assert_int_equal(s.count[SHARD_READY] + s.count[SHARD_LEASED], 2000);
		assert_int_equal(s.count[SHARD_LEASED], 0);
	}
	verify_ok(l);
	end_child(pid);
	ledger_run_free(&run);
	ledger_close(l);
	/* killed in the middle: what was committed is there and whole */
	OK(ledger_open(f->path, &writing, &l, &err));
	verify_ok(l);
	ledger_close(l);
}

/* Many processes make the same ledger at once: it is one. */
static void made_by_many(void **state)
{
	enum { N = 6 };
	struct fix *f = *state;
	struct ledger_run *list;
	struct ledger *l;
	struct error err;
	pid_t pids[N];
	size_t n;
	int status;
	int i;

	for (i = 0; i < N; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			const struct ledger_options opt = {.create = true, .busy_ms = 20000};
			struct ledger_run run;
			uint8_t key[LEDGER_ID_SIZE] = {(uint8_t)i};

			if (ledger_open(f->path, &opt, &l, &err) != ST_OK ||
			    ledger_run_create(l, key, &one_stage, &run, &err) != ST_OK)
				_exit(1);
			ledger_run_free(&run);
			ledger_close(l);
			_exit(0);
		}
	}
	for (i = 0; i < N; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	OK(ledger_open(f->path, &reading, &l, &err));
	OK(ledger_run_list(l, &list, &n, &err));
	assert_int_equal(n, N);
	ledger_run_list_free(list, n);
	ledger_close(l);
}

/* ---- the rest ---- */

/* Instructions of SQLite's machine: a count that no load of this machine changes. */
static int64_t sqlite_steps;

static int count_step(void *arg)
{
	(void)arg;
	sqlite_steps++;
	return 0;
}

static void another_boot_voids_delays(void **state)
{
	struct fix *f = *state;
	const struct retry_policy policy = retry_policy_default();
	struct ledger *l;
	struct ledger_run run;
	struct ledger_shard s;
	struct ledger_attempt a;
	struct shard now;
	struct error err;
	int64_t worker;

	OK(ledger_open(f->path, &making, &l, &err));
	run = run_make(l, "run");
	plan_many(l, run.stage, "i", 1);
	worker = worker_make(l, "w", run.id);
	claim_n(l, run.stage, worker, 1, 1, &s);
	a = attempt_of(1, worker, CAUSE_FAILED, 1);
	OK(ledger_end(l, s.row, &a, &policy, false, 3600000, &now, &err));
	ledger_shard_free(&s);
	ledger_close(l);

	OK(ledger_open(f->path, &writing, &l, &err));
	claim_n(l, run.stage, worker, 1, 0, &s);
	OK(sqlite_exec(sq(l), "UPDATE meta SET value = 'another' WHERE name = 'boot_id'", &err));
	ledger_close(l);
	OK(ledger_open(f->path, &writing, &l, &err));
	s = shard_at(l, run.stage, 0);
	assert_int_equal(s.not_before_boot_ms, 0);
	ledger_shard_free(&s);
	claim_n(l, run.stage, worker, 1, 1, &s);
	ledger_shard_free(&s);
	ledger_run_free(&run);
	ledger_close(l);
}

/* A shard goes on asking; whom it is left to was of the boot before. */
static void another_boot_voids_waits(void **state)
{
	const struct retry_policy policy = {.on_demand_after = 1, .on_demand_wait_ms = 3600000};
	struct fix *f = *state;
	struct ledger_worker w = {.name = "lost", .pid = 1, .lifecycle = "spot"};
	struct ledger *l;
	struct ledger_run run;
	struct ledger_shard s;
	struct error err;
	int64_t lost;

	OK(ledger_open(f->path, &making, &l, &err));
	run = run_make(l, "run");
	plan_many(l, run.stage, "i", 1);
	w.run = run.id;
	OK(sys_boot_id(w.boot_id, &err));
	OK(ledger_worker_add(l, &w, &err));
	claim_n(l, run.stage, w.id, 1, 1, &s);
	ledger_shard_free(&s);
	OK(worker_end(l, w.id, CAUSE_LOST, &policy, NULL, NULL, &lost, &err));
	s = shard_at(l, run.stage, 0);
	assert_true(s.spot_from_boot_ms > sys_boot_ns() / 1000000 + 3000000);
	ledger_shard_free(&s);
	OK(ledger_worker_get(l, w.id, &w, &err));
	assert_true(w.taken_boot_ms > 0);
	OK(sqlite_exec(sq(l), "UPDATE meta SET value = 'another' WHERE name = 'boot_id';"
	    "UPDATE worker SET boot_id = 'another'", &err));
	ledger_close(l);
	OK(ledger_open(f->path, &writing, &l, &err));
	s = shard_at(l, run.stage, 0);
	assert_true(s.s.asks && s.asks_boot_ms == 1 && s.spot_from_boot_ms == 1);
	ledger_shard_free(&s);
	OK(ledger_worker_get(l, w.id, &w, &err));
	assert_int_equal(w.taken_boot_ms, 0);
	verify_ok(l);
	ledger_close(l);
	/* For those who only look too. */
	OK(ledger_open(f->path, &reading, &l, &err));
	OK(sqlite_exec(sq(l), "SELECT 1", &err));
	OK(ledger_worker_get(l, w.id, &w, &err));
	assert_int_equal(w.taken_boot_ms, 0);
	ledger_run_free(&run);
	ledger_close(l);
}

static int64_t steps_of_claim(struct ledger *l, int64_t stage, int64_t worker)
{
	struct ledger_shard s;
	struct error err;
	int64_t begun;

	OK(ledger_begin(l, &err));
	begun = sqlite_steps;
	claim_n(l, stage, worker, 1, 1, &s);
	begun = sqlite_steps - begun;
	ledger_shard_free(&s);
	ledger_rollback(l);
	return begun;
}

/* Claims cost the same however many rows there are; those that ask are the only ones that
 * are passed by, in the index alone. */
static void claims_stay_cheap(void **state)
{
	struct fix *f = *state;
	struct ledger_worker w = {.name = "spot", .pid = 1, .lifecycle = "spot", .generation = 1};
	struct ledger *l;
	struct ledger_run run;
	struct error err;
	int64_t spot;
	int64_t plain;
	int64_t asking;

	OK(ledger_open(f->path, &making, &l, &err));
	sqlite3_progress_handler(sq(l)->db, 1, count_step, NULL);
	run = run_make(l, "run");
	plan_many(l, run.stage, "i", 20000);
	w.run = run.id;
	OK(sys_boot_id(w.boot_id, &err));
	w.lease_until_boot_ms = sys_boot_ns() / 1000000 + 60000;
	OK(ledger_worker_add(l, &w, &err));
	spot = w.id;
	(void)snprintf(w.name, sizeof(w.name), "dear");
	(void)snprintf(w.lifecycle, sizeof(w.lifecycle), "on-demand");
	OK(ledger_worker_add(l, &w, &err));
	(void)steps_of_claim(l, run.stage, spot); /* prepares what is to be counted */
	plain = steps_of_claim(l, run.stage, spot);
	assert_true(plain < 2000);
	OK(sqlite_exec(sq(l), "UPDATE shard SET n_taken = 3, asks_since = 5, "
	    "spot_from = 1 << 60 WHERE ordinal < 1000", &err));
	(void)steps_of_claim(l, run.stage, spot);
	asking = steps_of_claim(l, run.stage, spot);
	print_message("%lld steps, and %lld past 1,000 that ask\n", (long long)plain,
	    (long long)asking);
	assert_true(asking < plain + 1000 * 12);
	(void)steps_of_claim(l, run.stage, w.id);
	assert_true(steps_of_claim(l, run.stage, w.id) < 2 * plain);
	ledger_run_free(&run);
	ledger_close(l);
}

static void full_disk(void **state)
{
	struct fix *f = *state;
	struct ledger *l;
	struct ledger_run run;
	struct ledger_item it;
	struct error err;
	char *big = calloc(1, LEDGER_ITEM_MAX);
	size_t bad;

	assert_non_null(big);
	OK(ledger_open(f->path, &making, &l, &err));
	run = run_make(l, "run");
	OK(sqlite_exec(sq(l), "PRAGMA max_page_count = 200", &err));
	it = item_of("big");
	it.item = big;
	it.item_len = LEDGER_ITEM_MAX;
	IS(ST_FULL, ledger_plan_items(l, run.stage, 0, &it, 1, NULL, &bad, &err));
	/* and in a group: all of it is lost, and everything in it says so */
	OK(ledger_begin(l, &err));
	OK(note_event(l, run.id, "x", "", &err));
	IS(ST_FULL, ledger_plan_items(l, run.stage, 0, &it, 1, NULL, &bad, &err));
	IS(ST_FULL, note_event(l, run.id, "x", "", &err));
	IS(ST_FULL, ledger_commit(l, &err));
	it = item_of("small");
	OK(ledger_plan_items(l, run.stage, 0, &it, 1, NULL, &bad, &err));
	assert_int_equal(stage_of(l, run.stage).planned, 1);
	verify_ok(l);
	free(big);
	ledger_run_free(&run);
	ledger_close(l);
}

static void shrinks(void **state)
{
	struct fix *f = *state;
	struct ledger *l;
	struct ledger_run run;
	struct error err;
	int64_t before;

	make_ledger(f);
	OK(ledger_open(f->path, &writing, &l, &err));
	before = ledger_bytes(l);
	OK(ledger_run_by_name(l, "", &run, &err));
	OK(ledger_run_remove(l, run.id, &err));
	OK(ledger_shrink(l, &err));
	assert_true(ledger_bytes(l) < before / 2);
	verify_ok(l);
	ledger_run_free(&run);
	ledger_close(l);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(foreign_files), CASE(not_regular), CASE(cut_short), CASE(other_formats),
		CASE(damaged_inside), CASE(wrong_counter_is_found), CASE(file_systems),
		CASE(refused_place), CASE(odd_names), CASE(read_only_folder),
		CASE(reading_leaves_nothing), CASE(frozen_holder), CASE(reads_beside_a_writer),
		CASE(made_by_many), CASE(another_boot_voids_delays), CASE(another_boot_voids_waits),
		CASE(claims_stay_cheap), CASE(full_disk), CASE(shrinks),
	};

	return cmocka_run_group_tests_name("ledger on SQLite", tests, NULL, NULL);
}
