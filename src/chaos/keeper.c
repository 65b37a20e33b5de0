#include "chaos/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"
#include "chaos/proctree.h"

/* In a session of its own, with all signals blocked: Ctrl-C and a kill of the group are
 * for the other one. */
static void __attribute__((noreturn)) keeper_main(const char *mark, int fd)
{
	const struct proctree all = {.mark = mark, .any_tail = true};
	sigset_t every;
	char c;
	int i;

	(void)sigfillset(&every);
	(void)sigprocmask(SIG_SETMASK, &every, NULL);
	(void)setsid();
	(void)prctl(PR_SET_NAME, "ebb-keeper");
	/* Nobody shall wait for what it holds open. */
	for (i = 0; i <= STDERR_FILENO; i++)
		(void)sys_close(i);
	while (sys_read(fd, &c, 1) > 0)
		;
	_exit(proctree_kill(&all) ? 0 : 1);
}

enum status keeper_start(const char *mark, struct keeper *out, struct error *e)
{
	int ends[2];
	pid_t pid;

	*out = (struct keeper){.fd = -1};
	if (pipe2(ends, O_CLOEXEC) == -1)
		return error_os(e, errno, "a pipe");
	pid = fork();
	if (pid == 0) {
		(void)sys_close(ends[1]);
		keeper_main(mark, ends[0]);
	}
	(void)sys_close(ends[0]);
	if (pid == -1) {
		enum status st = error_os(e, errno, "cannot start a process");

		(void)sys_close(ends[1]);
		return st;
	}
	out->fd = ends[1];
	out->pid = pid;
	return ST_OK;
}

void keeper_stop(struct keeper *k)
{
	if (k->fd == -1)
		return;
	(void)sys_close(k->fd);
	while (waitpid(k->pid, NULL, 0) == -1 && errno == EINTR)
		;
	k->fd = -1;
}
