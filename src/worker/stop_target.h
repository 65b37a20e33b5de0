/* Where the stop signal of a task goes: "main" follows shells down to the one
 * real program. */
#ifndef EBB_WORKER_STOP_TARGET_H
#define EBB_WORKER_STOP_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum stop_to {
	STOP_TO_MAIN,
	STOP_TO_LEADER, /* the process that was started */
	STOP_TO_GROUP,  /* its process group */
};

enum { STOP_TARGET_MAX = 16 };

struct stop_target {
	bool group; /* the group of `leader`, and no list */
	int32_t leader;
	int n;      /* processes, in the order in which they are signalled */
	struct {
		int32_t pid;
		int64_t start_boot_ns; /* 0 for the leader: it is the caller's child */
	} proc[STOP_TARGET_MAX];
};

/* Finds out who gets the signal `sig`. The leader is the caller's unreaped child
 * and leads a process group of its own.
 *
 * STOP_TO_MAIN goes down from the leader: as long as a process is a shell and
 * has one live child, the child is looked at. The process where that ends is
 * the real program: no shell, or a shell without children. A shell with several
 * children (a pipeline, background jobs): the leader's group. Every shell on the
 * way that catches the signal (it has a trap) gets it too, after the program: it
 * was written to be told. More than STOP_TARGET_MAX shells deep: the group.
 *
 * Where /proc is not the one of this process (another pid namespace's, or none):
 * the group. What else cannot be found out, as about a process of somebody else,
 * ends the way down. There is always a target. */
void stop_target_find(int32_t leader, enum stop_to to, int sig, struct stop_target *out);

/* Sends a signal to a target. Processes other than the leader are compared with
 * what was found first, so that a pid that was given to another process
 * meanwhile is left alone. False when nobody was left to get it. */
bool stop_target_send(const struct stop_target *t, int sig);

/* True for the base name of a shell's program: "bash", "sh", "zsh-5.9", ... */
bool stop_target_is_shell_name(const char *name);

#endif
