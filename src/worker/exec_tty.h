/* The terminal of `ebb exec`: which process group is in its foreground. The
 * caller has SIGTTOU blocked, and the child leads a group of its own. */
#ifndef EBB_WORKER_EXEC_TTY_H
#define EBB_WORKER_EXEC_TTY_H

#include <stdbool.h>
#include <stdint.h>

struct exec_tty {
	int fd;     /* the controlling terminal; -1: none */
	bool eager; /* give the child the foreground before it begins */
};

/* The child gets the foreground at once if this process has it, reads from the
 * terminal, and is no part of a pipeline, whose other end may be a pager. Else
 * it gets it when it asks for it (exec_tty_stopped). */
void exec_tty_open(struct exec_tty *t);
/* Takes the foreground back if the child's group has it, and closes. */
void exec_tty_close(struct exec_tty *t, int32_t child);

/* The child was stopped by `sig`. If it only wanted the terminal, and this
 * process has it, it gets it. Else this process stops with its group, as the
 * shell that started it expects, and gives the child the foreground again when it
 * is continued in it. Where it cannot be stopped the child just goes on, unless it
 * waits for the terminal. Without a terminal nothing is done. */
void exec_tty_stopped(struct exec_tty *t, int32_t child, int sig);

/* This process was continued, perhaps in the foreground: so is the child. */
void exec_tty_continued(struct exec_tty *t, int32_t child);

#endif
