/* The guardian with real processes: what a child gets, and how its end is told. */
#include "guardian_house.h"

#include <grp.h>
#include <sched.h>
#include <sys/resource.h>

/* ---- what a child is and gets ---- */

static void exits_and_signals(void **state)
{
	struct house *h = *state;
	struct guardian_end end;
	int64_t before = sys_boot_ns();

	assert_true(start(h, 1, NULL, 0));
	end = run_sh(h, 1, "exit 0");
	assert_int_equal(end.fate, GUARDIAN_EXITED);
	assert_int_equal(end.exit_code, 0);
	assert_int_equal(end.exit_signal, 0);
	assert_int_equal(end.lane, 0);
	assert_true(end.started_boot_ns >= before && end.ended_boot_ns > end.started_boot_ns);
	assert_true(end.max_rss_kib > 0);
	assert_false(end.timed_out || end.fenced || end.leftovers);
	assert_int_equal(run_sh(h, 2, "exit 7").exit_code, 7);
	assert_int_equal(run_sh(h, 3, "exit 143").exit_code, 143);
	end = run_sh(h, 4, "kill -KILL $$");
	assert_int_equal(end.exit_code, -1);
	assert_int_equal(end.exit_signal, SIGKILL);
	/* The guardian is deaf to TERM and INT; its children are not. */
	assert_int_equal(run_sh(h, 5, "kill -TERM $$").exit_signal, SIGTERM);
	assert_int_equal(run_sh(h, 6, "kill -INT $$").exit_signal, SIGINT);
	assert_int_equal(run_sh(h, 7, "kill -HUP $$").exit_signal, SIGHUP);
	assert_int_equal(run_sh(h, 8, "kill -PIPE $$").exit_signal, SIGPIPE);
	assert_int_equal(run_sh(h, 9, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done").exit_code, 0);
	assert_true(slots_started_ns(h->slots, 1009, 3) >= 0);
	assert_true(slots_started_ns(h->slots, 1008, 3) == -1);
	assert_int_equal(slots_at(h->slots, 0)->state, SLOT_ENDED);
}

static void cpu_time_is_told(void **state)
{
	struct house *h = *state;
	struct guardian_end end;

	assert_true(start(h, 1, NULL, 0));
	end = run_sh(h, 1, "(i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done)");
	assert_true(end.cpu_us > 5000 && end.cpu_us < 20000000);
}

static void output_to_spool(void **state)
{
	struct house *h = *state;
	struct guardian_end end;

	assert_true(start(h, 1, NULL, 0));
	end = run_sh(h, 11, "echo out; echo more | cat; echo err >&2");
	assert_int_equal(end.out_bytes, 9);
	assert_int_equal(end.err_bytes, 4);
	assert_file(h, "11.out", "out\nmore\n");
	assert_file(h, "11.err", "err\n");
	/* The next one does not write behind it. */
	end = run_sh(h, 12, "printf x");
	assert_int_equal(end.out_bytes, 1);
	assert_int_equal(end.err_bytes, 0);
	assert_file(h, "12.out", "x");
	assert_false(exists(h, "12.err"));
	assert_file(h, "11.out", "out\nmore\n");
}

static void empty_output_leaves_no_file(void **state)
{
	struct house *h = *state;
	ino_t inode;
	struct stat sb;
	uint64_t i;

	assert_true(start(h, 1, NULL, 0));
	(void)run_sh(h, 1, ":");
	assert_int_equal(stat(in_dir(h, "lane0.out"), &sb), 0);
	assert_int_equal(sb.st_mode & 0777, 0600);
	inode = sb.st_ino;
	for (i = 2; i < 20; i++)
		assert_int_equal(run_sh(h, i, ":").out_bytes, 0);
	assert_int_equal(stat(in_dir(h, "lane0.out"), &sb), 0);
	assert_int_equal(sb.st_ino, inode);
	guardian_stop(h->g);
	h->g = NULL;
	assert_int_equal(count_fds(h->dir), 3); /* ".", "..", "slots" */
}

static void output_to_path(void **state)
{
	struct house *h = *state;
	const char *argv[] = {"/bin/sh", "-c", "echo hello; echo err >&2", NULL};
	struct guardian_spawn req = request(1, argv);
	struct guardian_end end;
	struct error e;
	struct stat sb;
	mode_t old = umask(027);

	assert_true(start(h, 1, NULL, 0));
	(void)umask(old);
	req.stdout_path = in_dir(h, "target");
	/* A leftover of that name must not be written into: it may be linked. */
	assert_int_equal(symlink("/dev/full", req.stdout_path), 0);
	assert_int_equal(guardian_send(h->g, &req, &e), ST_OK);
	assert_true(next_end(h, &end));
	assert_int_equal(end.exit_code, 0);
	assert_int_equal(end.out_bytes, 6);
	assert_file(h, "target", "hello\n");
	assert_file(h, "1.err", "err\n");
	assert_false(exists(h, "1.out"));
	assert_int_equal(stat(in_dir(h, "target"), &sb), 0);
	assert_int_equal(sb.st_mode & 07777, 0640);

	req.id = 2;
	req.stdout_path = in_dir(h, "no-such-folder/target");
	assert_int_equal(guardian_send(h->g, &req, &e), ST_OK);
	assert_true(next_end(h, &end));
	assert_int_equal(end.fate, GUARDIAN_SETUP_FAILED);
	assert_int_equal(end.os_errno, ENOENT);
	assert_int_equal(end.lane, -1);
}

static void stdin_is_handed_over(void **state)
{
	struct house *h = *state;
	const char *argv[] = {"/bin/cat", NULL};
	struct guardian_spawn req = request(1, argv);
	struct guardian_end end;
	struct error e;
	int fds[2];

	assert_true(start(h, 1, NULL, 0));
	assert_int_equal(run_sh(h, 9, "cat; readlink /proc/self/fd/0").out_bytes, 10);
	assert_file(h, "9.out", "/dev/null\n");
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	req.stdin_fd = fds[0];
	assert_int_equal(guardian_send(h->g, &req, &e), ST_OK);
	assert_int_equal(fcntl(fds[0], F_GETFD), -1);
	assert_int_equal(write(fds[1], "through the pipe", 16), 16);
	(void)close(fds[1]);
	assert_true(next_end(h, &end));
	assert_file(h, "1.out", "through the pipe");
	/* A reader that is gone is seen by the writer at once: nobody else holds
	 * the other end. */
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	argv[0] = "/bin/true";
	req = request(2, argv);
	req.stdin_fd = fds[0];
	assert_int_equal(guardian_send(h->g, &req, &e), ST_OK);
	assert_true(next_end(h, &end));
	(void)signal(SIGPIPE, SIG_IGN);
	assert_int_equal(write(fds[1], "x", 1), -1);
	assert_int_equal(errno, EPIPE);
	(void)close(fds[1]);
	(void)signal(SIGPIPE, SIG_DFL);
	req.stdin_fd = 9999;
	assert_int_not_equal(guardian_send(h->g, &req, &e), ST_OK);
	assert_int_equal(run_sh(h, 3, "exit 3").exit_code, 3);
}

static void environment(void **state)
{
	struct house *h = *state;
	const char *argv[] = {"/bin/sh", "-c",
		"echo \"$OLD|$NEW|$KEPT|$EBB_WORKER|$EBB_SHARD_ROW|$EBB_EPOCH|$EBB_SLOT|"
		"$LD_LIBRARY_PATH\"; env | grep -c ^NEW=; env | grep -c ^EBB_WORKER=", NULL};
	const char *env[] = {"NEW=new value", "OLD=", "EBB_WORKER=not this", NULL};
	struct guardian_spawn req = request(1, argv);
	struct guardian_end end;
	struct error e;
	char want[200];

	assert_int_equal(setenv("NEW", "inherited", 1), 0);
	assert_int_equal(setenv("OLD", "inherited", 1), 0);
	assert_int_equal(setenv("KEPT", "kept", 1), 0);
	assert_int_equal(setenv("LD_LIBRARY_PATH", "/lib:/nowhere", 1), 0);
	assert_true(start(h, 1, NULL, 0));
	unsetenv("LD_LIBRARY_PATH");
	req.env = env;
	assert_int_equal(guardian_send(h->g, &req, &e), ST_OK);
	assert_true(next_end(h, &end));
	(void)snprintf(want, sizeof(want), "|new value|kept|%s|1001|3|0|/lib:/nowhere\n1\n1\n", token);
	assert_file(h, "1.out", want);
}

static void odd_arguments(void **state)
{
	struct house *h = *state;
	const char *argv[] = {"/usr/bin/printf", "%s|", "", "a b", "new\nline", "\xff\xfe", "$(false)",
		"--", "'\"\\", NULL};
	struct guardian_spawn req = request(1, argv);
	struct guardian_end end;
	struct error e;

	assert_true(start(h, 1, NULL, 0));
	assert_int_equal(guardian_send(h->g, &req, &e), ST_OK);
	assert_true(next_end(h, &end));
	assert_file(h, "1.out", "|a b|new\nline|\xff\xfe|$(false)|--|'\"\\|");
}

static void child_is_set_up(void **state)
{
	struct house *h = *state;

	(void)signal(SIGUSR1, SIG_IGN);
	assert_true(start(h, 1, NULL, 0));
	(void)signal(SIGUSR1, SIG_DFL);
	(void)run_sh(h, 1, "ls /proc/self/fd");
	assert_file(h, "1.out", "0\n1\n2\n3\n");
	/* 32 and 33 are the C library's own; no program can set them. */
	(void)run_sh(h, 2, "for s in $(sed -n 's/^Sig[BI][lg][kn]:\t/0x/p' /proc/self/status); do "
	    "echo $((s & ~0x180000000)); done");
	assert_file(h, "2.out", "0\n0\n");
	/* pid = pgrp, and the session is the guardian's. */
	(void)run_sh(h, 3, "set -- $(cat /proc/$$/stat); [ $1 = $5 ] && [ $4 = $6 ] && echo ok");
	assert_file(h, "3.out", "ok\n");
	(void)run_sh(h, 4, "cat /proc/$PPID/comm");
	assert_file(h, "4.out", "ebb-guardian\n");
}

static void write_file(struct house *h, const char *name, const char *text, mode_t mode)
{
	int fd = open(in_dir(h, name), O_WRONLY | O_CREAT, mode);

	assert_int_not_equal(fd, -1);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(close(fd), 0);
}

static struct guardian_end run_path(struct house *h, uint64_t id, const char *path)
{
	const char *argv[] = {path, "argument", NULL};
	struct guardian_spawn req = request(id, argv);
	struct guardian_end end;
	struct error e;

	assert_int_equal(guardian_send(h->g, &req, &e), ST_OK);
	assert_true(next_end(h, &end));
	return end;
}

static void exec_failures(void **state)
{
	struct house *h = *state;
	struct guardian_end end;
	int fd;

	assert_true(start(h, 1, NULL, 0));
	end = run_path(h, 1, "/no/such/program");
	assert_int_equal(end.fate, GUARDIAN_EXEC_FAILED);
	assert_int_equal(end.os_errno, ENOENT);
	assert_int_equal(end.lane, -1);
	assert_int_equal(slots_at(h->slots, 0)->state, SLOT_FREE);
	write_file(h, "plain", "echo \"$0 $1\"\n", 0600);
	end = run_path(h, 2, in_dir(h, "plain"));
	assert_int_equal(end.fate, GUARDIAN_EXEC_FAILED);
	assert_int_equal(end.os_errno, EACCES);
	/* Without #!, as execvp does it. */
	assert_int_equal(chmod(in_dir(h, "plain"), 0700), 0);
	end = run_path(h, 3, in_dir(h, "plain"));
	assert_int_equal(end.fate, GUARDIAN_EXITED);
	assert_int_equal(end.exit_code, 0);
	assert_true(end.out_bytes > 10);
	/* Being written for longer than we have patience. */
	fd = open(in_dir(h, "plain"), O_WRONLY | O_CLOEXEC);
	end = run_path(h, 4, in_dir(h, "plain"));
	assert_int_equal(end.fate, GUARDIAN_EXEC_FAILED);
	assert_int_equal(end.os_errno, ETXTBSY);
	(void)close(fd);
	assert_int_equal(run_path(h, 5, in_dir(h, "plain")).fate, GUARDIAN_EXITED);
	write_file(h, "badinterp", "#!/no/such/interpreter\n", 0700);
	assert_int_equal(run_path(h, 6, in_dir(h, "badinterp")).os_errno, ENOENT);
}

static void too_large_requests(void **state)
{
	struct house *h = *state;
	size_t len = (size_t)5 << 20;
	char *big = malloc(len + 1);
	const char *argv[] = {"/bin/true", big, NULL};
	struct guardian_spawn req = request(1, argv);
	struct guardian_end end;
	struct error e;

	assert_non_null(big);
	memset(big, 'x', len);
	big[len] = '\0';
	assert_true(start(h, 1, NULL, 0));
	assert_int_equal(guardian_send(h->g, &req, &e), ST_CONFIG);
	big[3 << 20] = '\0'; /* the kernel's limit for one string is 128 KiB */
	assert_int_equal(guardian_send(h->g, &req, &e), ST_OK);
	assert_true(next_end(h, &end));
	assert_int_equal(end.fate, GUARDIAN_EXEC_FAILED);
	assert_int_equal(end.os_errno, E2BIG);
	free(big);
	assert_int_equal(run_sh(h, 2, "exit 2").exit_code, 2);
}

static void find_program(void **state)
{
	struct house *h = *state;
	char *old = strdup(getenv("PATH"));
	char *path;
	struct error e;

	assert_int_equal(guardian_find_program("sh", &path, &e), ST_OK);
	assert_int_equal(access(path, X_OK), 0);
	free(path);
	assert_int_equal(guardian_find_program("/bin/sh", &path, &e), ST_OK);
	assert_string_equal(path, "/bin/sh");
	free(path);
	assert_int_equal(guardian_find_program("no-such-program", &path, &e), ST_NOT_FOUND);
	assert_non_null(strstr(e.text, "no-such-program"));
	assert_int_equal(guardian_find_program("", &path, &e), ST_NOT_FOUND);
	assert_int_equal(guardian_find_program("/bin", &path, &e), ST_DENIED);
	write_file(h, "plain", "x", 0600);
	assert_int_equal(setenv("PATH", h->dir, 1), 0);
	assert_int_equal(guardian_find_program("plain", &path, &e), ST_DENIED);
	assert_int_equal(guardian_find_program("sh", &path, &e), ST_NOT_FOUND);
	assert_int_equal(chmod("plain", 0700), 0);
	assert_int_equal(setenv("PATH", "/nowhere::/bin", 1), 0);
	assert_int_equal(guardian_find_program("plain", &path, &e), ST_OK);
	assert_string_equal(path, "./plain");
	free(path);
	/* What is in a folder that is closed to us is not there for us. */
	assert_int_equal(mkdir("closed", geteuid() == 0 ? 0700 : 0), 0);
	assert_int_equal(setenv("PATH", "closed:/nowhere", 1), 0);
	assert_int_equal(guardian_find_program("plain", &path, &e), ST_NOT_FOUND);
	assert_int_equal(rmdir("closed"), 0);
	assert_int_equal(setenv("PATH", old, 1), 0);
	free(old);
}

/* ---- queue, signals, time ---- */

static void queue_keeps_lanes_busy(void **state)
{
	struct house *h = *state;
	bool seen[200] = {0};
	int lanes[3] = {0};
	struct guardian_end end;
	uint64_t i;

	assert_true(start(h, 3, NULL, 0));
	for (i = 0; i < 200; i++)
		assert_true(send_sh(h, i, "exit 0"));
	for (i = 0; i < 200; i++) {
		assert_true(next_end(h, &end));
		assert_int_equal(end.exit_code, 0);
		assert_true(end.lane >= 0 && end.lane < 3);
		assert_false(seen[end.id]);
		seen[end.id] = true;
		lanes[end.lane]++;
	}
	assert_true(lanes[0] > 10 && lanes[1] > 10 && lanes[2] > 10);
}

/* Three children that each wait for the other two run at the same time. */
static void lanes_run_side_by_side(void **state)
{
	struct house *h = *state;
	struct guardian_end end;
	uint64_t i;

	assert_true(start(h, 3, NULL, 0));
	for (i = 0; i < 3; i++) {
		assert_true(send_sh(h, i, ": > mark$EBB_SLOT; while ! { [ -e mark0 ] "
		    "&& [ -e mark1 ] && [ -e mark2 ]; }; do sleep 0.01; done"));
	}
	for (i = 0; i < 3; i++) {
		assert_true(next_end(h, &end));
		assert_int_equal(end.exit_code, 0);
	}
}

/* Much in both directions, and nobody reads until all is sent. */
static void floods_do_not_block(void **state)
{
	struct house *h = *state;
	char *big = malloc(100000);
	const char *argv[] = {"/no/such/program", big, NULL};
	struct guardian_spawn req;
	struct guardian_end end;
	struct error e;
	uint64_t i;

	assert_non_null(big);
	memset(big, 'x', 99999);
	big[99999] = '\0';
	assert_true(start(h, 2, NULL, 0));
	for (i = 0; i < 3000; i++) {
		big[i % 2 ? 10 : 99998] = '\0';
		req = request(i, argv);
		assert_int_equal(guardian_send(h->g, &req, &e), ST_OK);
		big[10] = 'x';
	}
	for (i = 0; i < 3000; i++) {
		assert_true(next_end(h, &end));
		assert_int_equal(end.id, i);
		assert_int_equal(end.fate, GUARDIAN_EXEC_FAILED);
	}
	free(big);
}

static void kill_one_and_all(void **state)
{
	struct house *h = *state;
	struct guardian_end end;
	struct error e;

	assert_true(start(h, 1, NULL, 0));
	assert_true(send_sh(h, 1, "sleep 100"));
	assert_true(send_sh(h, 2, "exit 0"));
	assert_true(send_sh(h, 3, "exit 3"));
	assert_int_equal(guardian_kill(h->g, 2, SIGTERM, &e), ST_OK);
	assert_true(next_end(h, &end));
	assert_int_equal(end.id, 2);
	assert_int_equal(end.fate, GUARDIAN_NOT_STARTED);
	assert_int_equal(end.lane, -1);
	assert_false(end.fenced);
	assert_int_equal(guardian_kill(h->g, 1, SIGTERM, &e), ST_OK);
	assert_true(next_end(h, &end));
	assert_int_equal(end.id, 1);
	assert_int_equal(end.exit_signal, SIGTERM);
	assert_true(next_end(h, &end));
	assert_int_equal(end.exit_code, 3);
	assert_int_equal(guardian_kill(h->g, 1, SIGKILL, &e), ST_OK); /* ended: ignored */

	assert_true(send_sh(h, 4, "trap '' TERM; echo $$ > pid; while :; do sleep 0.01; done"));
	(void)wait_pid_in(h, "pid");
	assert_true(send_sh(h, 5, "exit 5"));
	assert_int_equal(guardian_kill_all(h->g, 0, &e), ST_OK);
	assert_true(next_end(h, &end));
	assert_int_equal(end.id, 5);
	assert_int_equal(end.fate, GUARDIAN_NOT_STARTED);
	assert_int_equal(guardian_kill_all(h->g, SIGKILL, &e), ST_OK);
	assert_true(next_end(h, &end));
	assert_int_equal(end.id, 4);
	assert_int_equal(end.exit_signal, SIGKILL);
}

static void term_can_be_ignored(void **state)
{
	struct house *h = *state;
	struct guardian_end end;
	struct error e;
	size_t n;

	assert_true(start(h, 1, NULL, 0));
	assert_true(send_sh(h, 1, "trap 'echo got' TERM; echo $$ > pid; "
	    "while :; do sleep 0.05; done"));
	(void)wait_pid_in(h, "pid");
	assert_int_equal(guardian_kill(h->g, 1, SIGTERM, &e), ST_OK);
	assert_true(UNTIL(file_version_of(in_dir(h, "lane0.out")).size == 4, 5000));
	assert_int_equal(guardian_receive(h->g, &end, 1, &n, &e), ST_OK);
	assert_int_equal(n, 0);
	assert_int_equal(guardian_kill(h->g, 1, SIGKILL, &e), ST_OK);
	assert_true(next_end(h, &end));
	assert_int_equal(end.exit_signal, SIGKILL);
	assert_file(h, "1.out", "got\n");
}

static struct guardian_end run_limited(struct house *h, uint64_t id, const char *script,
    int64_t ms)
{
	const char *argv[] = {"/bin/sh", "-c", script, NULL};
	struct guardian_spawn req = request(id, argv);
	struct guardian_end end;
	struct error e;

	req.timeout_ms = ms;
	assert_int_equal(guardian_send(h->g, &req, &e), ST_OK);
	assert_true(next_end(h, &end));
	return end;
}

static void timeouts(void **state)
{
	struct house *h = *state;
	struct guardian_end end;
	int64_t before;

	assert_true(start(h, 2, NULL, 0));
	end = run_limited(h, 1, "exit 1", 5000);
	assert_int_equal(end.exit_code, 1);
	assert_false(end.timed_out);
	before = until_now_ms();
	end = run_limited(h, 2, "sleep 100", 150);
	assert_true(end.timed_out);
	assert_int_equal(end.exit_signal, SIGTERM);
	assert_true(until_now_ms() - before >= 150);
	assert_true(until_now_ms() - before < 3000);
	/* TERM is ignored by all of the group: KILL comes 5 s later. */
	before = until_now_ms();
	end = run_limited(h, 3, "trap '' TERM; while :; do sleep 0.2; done", 100);
	assert_true(end.timed_out);
	assert_int_equal(end.exit_signal, SIGKILL);
	assert_true(until_now_ms() - before >= 5100);
	/* As long as possible is no overflow. */
	end = run_limited(h, 4, "exit 4", INT64_MAX);
	assert_int_equal(end.exit_code, 4);
	assert_false(end.timed_out);
}

/* ---- stderr ---- */

static void stderr_is_capped(void **state)
{
	struct house *h = *state;
	struct buf b = {0};
	struct guardian_end end;
	struct error e;
	struct stat sb;
	int64_t most = 0;
	size_t n = 0;

	assert_true(start(h, 1, NULL, 0));
	assert_true(send_sh(h, 1, "(echo first; yes 'a line of some length that repeats' | "
	    "head -c 600000000; echo last) >&2"));
	while (n == 0) {
		struct pollfd p = {.fd = guardian_fd(h->g), .events = POLLIN};

		if (stat(in_dir(h, "lane0.err"), &sb) == 0 && sb.st_blocks * 512 > most)
			most = sb.st_blocks * 512;
		(void)poll(&p, 1, 5);
		assert_int_equal(guardian_receive(h->g, &end, 1, &n, &e), ST_OK);
	}
	assert_int_equal(end.err_bytes, 600000000 + 6 + 5);
	assert_true(most < 500000000);
	assert_int_equal(file_read(in_dir(h, "1.err"), 2 * CAP, &b, &e), ST_OK);
	assert_true(b.len > CAP && b.len <= CAP + 64);
	assert_memory_equal(b.data, "first\na line", 12);
	assert_memory_equal(b.data + b.len - 5, "last\n", 5);
	assert_non_null(strstr(b.data, "\n[ebb: 598951435 bytes left out]\n"));
	buf_free(&b);
	assert_int_equal(run_sh(h, 2, "echo small >&2").err_bytes, 6);
	assert_file(h, "2.err", "small\n");
}

static void stderr_at_the_cap(void **state)
{
	struct house *h = *state;
	struct stat sb;

	assert_true(start(h, 1, NULL, 0));
	(void)run_sh(h, 1, "head -c 1048576 /dev/zero >&2");
	assert_int_equal(stat(in_dir(h, "1.err"), &sb), 0);
	assert_int_equal(sb.st_size, 1048576);
	(void)run_sh(h, 2, "head -c 1048700 /dev/zero >&2");
	assert_int_equal(stat(in_dir(h, "2.err"), &sb), 0);
	assert_true(sb.st_size > CAP && sb.st_size <= CAP + 64);
}

/* ---- resources ---- */

static void no_descriptor_is_left(void **state)
{
	struct house *h = *state;
	char path[64];
	int before = count_fds("/proc/self/fd");
	int fds[2];
	int in_guardian;
	uint64_t i;

	assert_int_equal(pipe(fds), 0); /* nor is one of these taken along */
	assert_true(start(h, 2, NULL, 0));
	(void)run_sh(h, 0, "echo x; echo y >&2");
	(void)run_sh(h, 1, "exit 0");
	(void)snprintf(path, sizeof(path), "/proc/%d/fd", guardian_pid(h->g));
	in_guardian = count_fds(path);
	/* ".", "..", 0, 1, 2, socket, children, and two for each lane */
	assert_true(in_guardian <= 2 + 5 + 4);
	for (i = 2; i < 30; i++) {
		const char *argv[] = {"/bin/sh", "-c", "cat; echo x; echo y >&2", NULL};
		struct guardian_spawn req = request(i, argv);
		struct guardian_end end;
		struct error e;

		req.stdin_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		req.stdout_path = i % 3 == 0 ? in_dir(h, "target") : NULL;
		req.path = i % 3 == 1 ? "/no/such/program" : "/bin/sh";
		assert_int_equal(guardian_send(h->g, &req, &e), ST_OK);
		assert_true(next_end(h, &end));
	}
	(void)run_sh(h, 40, "exit 0");
	assert_true(count_fds(path) <= in_guardian);
	guardian_stop(h->g);
	h->g = NULL;
	(void)close(fds[0]);
	(void)close(fds[1]);
	assert_int_equal(count_fds("/proc/self/fd"), before);
}

/* An ordinary user, of whom the kernel lets only so many descriptors be on their
 * way, with a single processor, so that the guardian does not run between. */
static bool be_ordinary(struct house *h)
{
	cpu_set_t first;
	size_t cpu = 0;

	if (geteuid() == 0 && (chown(h->dir, 65534, 65534) == -1 || setgroups(0, NULL) == -1 ||
	    setresgid(65534, 65534, 65534) == -1 || setresuid(65534, 65534, 65534) == -1))
		return false;
	if (sched_getaffinity(0, sizeof(first), &first) == -1)
		return false;
	while (!CPU_ISSET(cpu, &first))
		cpu++;
	CPU_ZERO(&first);
	CPU_SET(cpu, &first);
	return sched_setaffinity(0, sizeof(first), &first) == 0;
}

/* In a process of its own, with few descriptors: requests whose stdin could
 * not be handed over fail, and the others get their own. */
static void starve(struct house *h)
{
	static const struct rlimit few = {.rlim_cur = 40, .rlim_max = 40};
	const char *argv[] = {"/bin/sh", "-c", "read x; exit $x", NULL};
	struct guardian_end end;
	struct error e;
	int failed = 0;
	uint64_t i;

	if (!be_ordinary(h) || setrlimit(RLIMIT_NOFILE, &few) == -1 || !start(h, 1, NULL, 0) ||
	    !send_sh(h, 0, "echo $$ > pid; while ! [ -e go ]; do sleep 0.01; done"))
		_exit(1);
	for (i = 1; i <= 60; i++) {
		struct guardian_spawn req = request(i, argv);
		char text[8];
		int fds[2];

		(void)snprintf(text, sizeof(text), "%d\n", (int)i);
		if (pipe2(fds, O_CLOEXEC) == -1 || write(fds[1], text, strlen(text)) == -1)
			_exit(2);
		(void)close(fds[1]);
		req.stdin_fd = fds[0];
		if (guardian_send(h->g, &req, &e) != ST_OK)
			_exit(3);
	}
	(void)close(open("go", O_WRONLY | O_CREAT, 0600));
	for (i = 0; i <= 60; i++) {
		if (!next_end(h, &end))
			_exit(4);
		if (end.fate == GUARDIAN_SETUP_FAILED && end.os_errno == EMFILE)
			failed++;
		else if (end.fate != GUARDIAN_EXITED || end.exit_code != (int)end.id)
			_exit(5);
	}
	guardian_stop(h->g);
	_exit(failed > 10 && failed < 55 ? 0 : 6);
}

static void few_descriptors(void **state)
{
	struct house *h = *state;
	int status;
	pid_t pid = fork();

	if (pid == 0)
		starve(h);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void start_failures(void **state)
{
	struct house *h = *state;
	struct guardian_options opt = {.lanes = 2, .spool_dir = "/no/such/folder", .err_cap = CAP};
	struct guardian_end end;
	struct error e;

	assert_int_equal(slots_create(in_dir(h, "slots"), 1, token, &h->slots, &e), ST_OK);
	opt.slots = h->slots;
	assert_int_equal(guardian_start(&opt, &h->g, &e), ST_CONFIG);
	opt.lanes = 1;
	assert_int_equal(guardian_start(&opt, &h->g, &e), ST_OK);
	end = run_sh(h, 1, "exit 0");
	assert_int_equal(end.fate, GUARDIAN_SETUP_FAILED);
	assert_int_equal(end.os_errno, ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_HOUSE(exits_and_signals),
		IN_HOUSE(cpu_time_is_told),
		IN_HOUSE(output_to_spool),
		IN_HOUSE(empty_output_leaves_no_file),
		IN_HOUSE(output_to_path),
		IN_HOUSE(stdin_is_handed_over),
		IN_HOUSE(environment),
		IN_HOUSE(odd_arguments),
		IN_HOUSE(child_is_set_up),
		IN_HOUSE(exec_failures),
		IN_HOUSE(too_large_requests),
		IN_HOUSE(find_program),
		IN_HOUSE(queue_keeps_lanes_busy),
		IN_HOUSE(lanes_run_side_by_side),
		IN_HOUSE(floods_do_not_block),
		IN_HOUSE(kill_one_and_all),
		IN_HOUSE(term_can_be_ignored),
		IN_HOUSE(timeouts),
		IN_HOUSE(stderr_is_capped),
		IN_HOUSE(stderr_at_the_cap),
		IN_HOUSE(no_descriptor_is_left),
		IN_HOUSE(few_descriptors),
		IN_HOUSE(start_failures),
	};

	return cmocka_run_group_tests_name("guardian", tests, NULL, NULL);
}
