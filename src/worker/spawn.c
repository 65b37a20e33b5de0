#include "worker/spawn.h"

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

enum { STACK_SIZE = 128 << 10, GUARD_SIZE = 64 << 10, BUSY_TRIES = 5 };

struct spawner {
	char *stack; /* a guard below, which faults, and then the stack */
	pid_t self;
	bool set_nofile;
	struct rlimit nofile;
	struct exec_try *shared; /* for children that do not share all memory; NULL: none yet */
};

/* Shared with the child until it has called exec. */
struct exec_try {
	const struct spawner *sp;
	const struct spawn *s;
	const char *path;
	char *const *argv;
	volatile int os_errno; /* 0: exec has succeeded, or the child was killed before */
	volatile bool in_exec;
};

struct spawner *spawner_create(const struct rlimit *nofile)
{
	struct spawner *sp = mem_zero(sizeof(*sp));
	void *p;

	if (sp == NULL) {
		errno = ENOMEM;
		return NULL;
	}
	p = mmap(NULL, GUARD_SIZE + STACK_SIZE, PROT_NONE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		free(sp);
		return NULL;
	}
	sp->stack = p;
	sp->self = getpid();
	sp->set_nofile = nofile != NULL;
	if (nofile != NULL)
		sp->nofile = *nofile;
	if (mprotect(sp->stack + GUARD_SIZE, STACK_SIZE, PROT_READ | PROT_WRITE) == -1) {
		spawner_destroy(sp);
		return NULL;
	}
	return sp;
}

void spawner_destroy(struct spawner *sp)
{
	if (sp == NULL)
		return;
	(void)munmap(sp->stack, GUARD_SIZE + STACK_SIZE);
	if (sp->shared != NULL)
		(void)munmap(sp->shared, sizeof(*sp->shared));
	free(sp);
}

/* In the child, on the caller's memory: system calls and nothing else. No
 * allocation, no lock, no stdio. */
static int child_main(void *arg)
{
	struct exec_try *a = arg;
	const struct spawn *s = a->s;
	sigset_t none;

	(void)sigemptyset(&none);
	if (setpgid(0, 0) == -1 || prctl(PR_SET_PDEATHSIG, SIGKILL) == -1)
		goto failed;
	if (getppid() != a->sp->self) /* it died before the prctl */
		return 127;
	if (s->take_tty)
		(void)tcsetpgrp(s->tty, getpid()); /* SIGTTOU is still blocked */
	if ((s->in != 0 && dup2(s->in, 0) == -1) || (s->out != 1 && dup2(s->out, 1) == -1) ||
	    (s->err != 2 && dup2(s->err, 2) == -1))
		goto failed;
	if (a->sp->set_nofile && setrlimit(RLIMIT_NOFILE, &a->sp->nofile) == -1)
		goto failed;
	if (sigprocmask(SIG_SETMASK, &none, NULL) == -1)
		goto failed;
	a->in_exec = true;
	(void)execve(a->path, a->argv, s->envp);
failed:
	a->os_errno = errno;
	return 127;
}

/* The thread sanitizer keeps its books in the memory that the child would share, and
 * would take the parent for the child from then on. */
#ifdef __SANITIZE_THREAD__
enum { MAY_SHARE_MEMORY = 0 };
#else
enum { MAY_SHARE_MEMORY = 1 };
#endif

/* As fork: returns twice, on a copy of the stack. 0: in the caller's cgroup. */
static pid_t clone_into(int cgroup_fd)
{
	struct clone_args args = {.flags = CLONE_VFORK | (cgroup_fd == 0 ? 0 : CLONE_INTO_CGROUP),
	    .exit_signal = SIGCHLD, .cgroup = (unsigned int)cgroup_fd};

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

bool spawn_can_enter(int cgroup_fd)
{
	pid_t child = clone_into(cgroup_fd);

	if (child == 0)
		_exit(0);
	while (child != -1 && waitpid(child, NULL, 0) == -1 && errno == EINTR)
		;
	return child != -1;
}

/* Without the caller's memory, *a moves to where both see it. */
static pid_t make_process(struct spawner *sp, struct exec_try **a)
{
	pid_t child;

	if (MAY_SHARE_MEMORY && (*a)->s->cgroup_fd == 0)
		return clone(child_main, sp->stack + GUARD_SIZE + STACK_SIZE,
		    CLONE_VM | CLONE_VFORK | SIGCHLD, *a);
	if (sp->shared == NULL) {
		void *p = mmap(NULL, sizeof(**a), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			return -1;
		sp->shared = p;
	}
	*sp->shared = **a;
	*a = sp->shared;
	child = clone_into((*a)->s->cgroup_fd);
	if (child == 0)
		_exit(child_main(*a));
	return child;
}

static enum spawn_result spawn_once(struct spawner *sp, const struct spawn *s, const char *path,
    char *const *argv, int32_t *pid)
{
	struct exec_try own = {.sp = sp, .s = s, .path = path, .argv = argv};
	struct exec_try *a = &own;
	pid_t child = make_process(sp, &a);

	if (child == -1)
		return SPAWN_SETUP_FAILED;
	if (a->os_errno == 0) {
		*pid = child;
		return SPAWN_OK;
	}
	while (waitpid(child, NULL, 0) == -1 && errno == EINTR)
		;
	errno = a->os_errno;
	return a->in_exec ? SPAWN_EXEC_FAILED : SPAWN_SETUP_FAILED;
}

static enum spawn_result spawn_patiently(struct spawner *sp, const struct spawn *s,
    const char *path, char *const *argv, int32_t *pid)
{
	struct timespec pause = {.tv_nsec = 1000000};
	enum spawn_result r;
	int tries;

	for (tries = 0;; tries++) {
		r = spawn_once(sp, s, path, argv, pid);
		if (r != SPAWN_EXEC_FAILED || errno != ETXTBSY || tries == BUSY_TRIES)
			return r;
		(void)nanosleep(&pause, NULL);
		pause.tv_nsec *= 2;
	}
}

enum spawn_result spawn_child(struct spawner *sp, const struct spawn *s, int32_t *pid)
{
	char sh[] = "/bin/sh";
	enum spawn_result r = spawn_patiently(sp, s, s->path, s->argv, pid);
	char *name;

	if (r != SPAWN_EXEC_FAILED || errno != ENOEXEC)
		return r;
	name = s->argv[0];
	s->argv[-1] = sh;
	s->argv[0] = s->path;
	r = spawn_patiently(sp, s, sh, s->argv - 1, pid);
	s->argv[0] = name;
	return r;
}
