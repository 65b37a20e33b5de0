/* floor: what the machine allows for running a command many times. It does the
 * least that a durable runner has to do and nothing else; `ebb map` is measured
 * against it.
 *
 *   floor log N SLOTS LOG COMMAND    a line to LOG for each end, fdatasync after
 *                                    every 64 of them and at the end
 *   floor out N SLOTS DIR COMMAND    stdout of the Nth goes to DIR/N, which is
 *                                    fsynced before its slot takes the next
 *
 * DIR is made. COMMAND is one program; its only argument is the number of its task,
 * from 1.
 * Exit code 0 when every command ended with 0. */
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { SYNC_EVERY = 64, SLOTS_MAX = 64 };

struct floor {
	int n;
	int slots;
	const char *where; /* LOG or DIR */
	char *command;
	atomic_int next;   /* task that the next free slot of `out` takes */
};

static pid_t start(const struct floor *f, int task, const posix_spawn_file_actions_t *fa)
{
	char number[16];
	char *argv[] = {f->command, number, NULL};
	pid_t pid;
	int r;

	(void)snprintf(number, sizeof(number), "%d", task + 1);
	r = posix_spawn(&pid, f->command, fa, NULL, argv, environ);
	if (r != 0)
		errx(1, "cannot start %s: %s", f->command, strerror(r));
	return pid;
}

/* `pid` -1: any child. */
static pid_t wait_for(pid_t pid)
{
	int how;
	pid_t ended = waitpid(pid, &how, 0);

	if (ended == -1)
		err(1, "waitpid");
	if (how != 0)
		errx(1, "a command ended with status %d", how);
	return ended;
}

static void run_log(struct floor *f)
{
	int fd = open(f->where, O_CREAT | O_TRUNC | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
	int running = 0;
	int started = 0;
	int ended = 0;

	if (fd == -1)
		err(1, "%s", f->where);
	while (ended < f->n) {
		char line[64];
		int len;

		while (running < f->slots && started < f->n) {
			(void)start(f, started++, NULL);
			running++;
		}
		len = snprintf(line, sizeof(line), "%d done 0 1700000000.000 0.001\n",
		    (int)wait_for(-1));
		running--;
		ended++;
		if (write(fd, line, (size_t)len) != len)
			err(1, "%s", f->where);
		if ((ended % SYNC_EVERY == 0 || ended == f->n) && fdatasync(fd) == -1)
			err(1, "%s", f->where);
	}
	if (close(fd) == -1)
		err(1, "%s", f->where);
}

static void run_one_out(const struct floor *f, int task)
{
	posix_spawn_file_actions_t fa;
	char path[4096];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%d", f->where, task + 1);
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
	if (fd == -1)
		err(1, "%s", path);
	if (posix_spawn_file_actions_init(&fa) != 0 ||
	    posix_spawn_file_actions_adddup2(&fa, fd, STDOUT_FILENO) != 0)
		errx(1, "out of memory");
	(void)wait_for(start(f, task, &fa));
	(void)posix_spawn_file_actions_destroy(&fa);
	if (fsync(fd) == -1 || close(fd) == -1)
		err(1, "%s", path);
}

static void *run_slot(void *arg)
{
	struct floor *f = arg;
	int task;

	while ((task = atomic_fetch_add(&f->next, 1)) < f->n)
		run_one_out(f, task);
	return NULL;
}

static void run_out(struct floor *f)
{
	pthread_t slot[SLOTS_MAX];
	int i;

	if (mkdir(f->where, 0777) == -1)
		err(1, "%s", f->where);
	for (i = 0; i < f->slots; i++) {
		if (pthread_create(&slot[i], NULL, run_slot, f) != 0)
			errx(1, "cannot start a thread");
	}
	for (i = 0; i < f->slots; i++) {
		if (pthread_join(slot[i], NULL) != 0)
			errx(1, "cannot wait for a thread");
	}
}

static int count(const char *word, int max)
{
	char *end;
	long n = strtol(word, &end, 10);

	if (*end != '\0' || n < 1 || n > max)
		errx(2, "%s is not a number from 1 to %d", word, max);
	return (int)n;
}

int main(int argc, char **argv)
{
	struct floor f = {0};

	if (argc != 6 || (strcmp(argv[1], "log") != 0 && strcmp(argv[1], "out") != 0))
		errx(2, "usage: floor log|out N SLOTS LOG|DIR COMMAND");
	f.n = count(argv[2], 100000000);
	f.slots = count(argv[3], SLOTS_MAX);
	f.where = argv[4];
	f.command = argv[5];
	if (argv[1][0] == 'l')
		run_log(&f);
	else
		run_out(&f);
	return 0;
}
