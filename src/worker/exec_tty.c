#include "worker/exec_tty.h"

#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"

static bool is_pipe(int fd)
{
	struct stat sb;

	return fstat(fd, &sb) == 0 && (S_ISFIFO(sb.st_mode) || S_ISSOCK(sb.st_mode));
}

/* Nobody else's group, that is: ours. */
static bool have_foreground(const struct exec_tty *t)
{
	return t->fd != -1 && tcgetpgrp(t->fd) == getpgrp();
}

void exec_tty_open(struct exec_tty *t)
{
	t->fd = sys_open("/dev/tty", O_RDWR | O_NOCTTY, 0);
	t->eager = have_foreground(t) && isatty(STDIN_FILENO) && !is_pipe(STDOUT_FILENO) &&
	    !is_pipe(STDERR_FILENO);
}

static void take_back(const struct exec_tty *t, int32_t child)
{
	if (t->fd != -1 && tcgetpgrp(t->fd) == child)
		(void)tcsetpgrp(t->fd, getpgrp());
}

void exec_tty_close(struct exec_tty *t, int32_t child)
{
	take_back(t, child);
	if (t->fd != -1)
		(void)sys_close(t->fd);
	t->fd = -1;
}

/* True when somebody has continued us; false, at once, where stopping is not
 * possible (process 1; a group that no shell looks after). */
static bool stop_self(void)
{
	sigset_t just;
	sigset_t old;
	sigset_t pending;

	(void)sigemptyset(&just);
	(void)sigaddset(&just, SIGTSTP);
	(void)kill(0, SIGTSTP);
	(void)!sigprocmask(SIG_UNBLOCK, &just, &old);
	(void)!sigprocmask(SIG_SETMASK, &old, NULL);
	return sigpending(&pending) == 0 && sigismember(&pending, SIGCONT) == 1;
}

void exec_tty_stopped(struct exec_tty *t, int32_t child, int sig)
{
	bool wants_tty = sig == SIGTTIN || sig == SIGTTOU;

	if (t->fd == -1)
		return;
	if (!wants_tty || !have_foreground(t)) {
		take_back(t, child);
		if (!stop_self() && wants_tty)
			return; /* it would ask again at once, for ever */
	}
	if (wants_tty || t->eager)
		exec_tty_continued(t, child);
	else
		(void)kill(-child, SIGCONT);
}

void exec_tty_continued(struct exec_tty *t, int32_t child)
{
	if (have_foreground(t))
		(void)tcsetpgrp(t->fd, child);
	(void)kill(-child, SIGCONT);
}
