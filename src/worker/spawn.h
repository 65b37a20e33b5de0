/* The one place where a process is made: clone(CLONE_VM|CLONE_VFORK), a few
 * system calls in the child, exec. One that begins in a cgroup is made by clone3,
 * with a copy of the caller's memory: to move it there later would hold up the
 * caller for some 10 ms.
 *
 * The caller has one thread and all signals blocked, so that no handler of its
 * can run in the child while the two share their memory. */
#ifndef EBB_WORKER_SPAWN_H
#define EBB_WORKER_SPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

struct spawner; /* the stack for the child, and what all children have in common */

/* nofile: the RLIMIT_NOFILE of the children, NULL to leave it as it is; copied.
 * NULL with errno when it cannot be had. */
struct spawner *spawner_create(const struct rlimit *nofile);
void spawner_destroy(struct spawner *sp);

struct spawn {
	char *path;
	char **argv; /* not empty; argv[-1] is there too and may be written */
	char *const *envp;
	int in; /* become 0, 1 and 2; each is one of those already or above them */
	int out;
	int err;
	bool take_tty; /* make the child's group the foreground of `tty` before exec; */
	int tty;       /* a failure of that is ignored */
	int cgroup_fd; /* folder of the cgroup (version 2) that it begins in; 0: the
	                * caller's. SPAWN_SETUP_FAILED when it cannot */
};

enum spawn_result {
	SPAWN_OK,
	SPAWN_SETUP_FAILED, /* no process, or it could not be prepared; errno */
	SPAWN_EXEC_FAILED,  /* errno of exec */
};

/* The child: leader of a process group of its own, ended by SIGKILL when the
 * caller dies, dispositions as the caller's without its handlers, no signal
 * blocked. A file that is being written (ETXTBSY) is tried again for some
 * 30 ms; one that is no program (ENOEXEC) is run by /bin/sh, as execvp does.
 * When the result is not SPAWN_OK no process is left. */
enum spawn_result spawn_child(struct spawner *sp, const struct spawn *s, int32_t *pid);

/* Whether a child can begin in that cgroup, found out with one; errno if not. */
bool spawn_can_enter(int cgroup_fd);

#endif
