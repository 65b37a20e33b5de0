/* All processes of one machine: a worker, its guardian and whatever they started, to be
 * stopped, woken or killed as one. */
#ifndef EBB_CHAOS_PROCTREE_H
#define EBB_CHAOS_PROCTREE_H

#include <stdbool.h>
#include <stdint.h>

struct pid_list;

struct proctree {
	int32_t root;     /* the worker and what descends from it; 0: none */
	const char *mark; /* what has this, "NAME=value", in its environment; NULL: none */
	bool any_tail;    /* the mark may go on after that */
};

/* Adds those that are there; zombies are not. What cannot be told (no memory, /proc)
 * is left out. Never the caller. */
void proctree_list(const struct proctree *t, struct pid_list *out);
/* Stops all, also what they start meanwhile, so that none can react to what is done to
 * another. */
void proctree_stop(const struct proctree *t);
void proctree_go_on(const struct proctree *t);
/* Stops all, then kills all (SIGKILL). False: some are still there after two seconds. */
bool proctree_kill(const struct proctree *t);
bool proctree_is_empty(const struct proctree *t);

#endif
