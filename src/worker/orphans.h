/* Descendants that have come to this process as their subreaper: finding out
 * whose they are, and ending them. */
#ifndef EBB_WORKER_ORPHANS_H
#define EBB_WORKER_ORPHANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "worker/procs.h"

/* What the owner knows. */
struct orphans_view {
	void *ctx;
	/* True for a child that was started and has not been reaped. */
	bool (*is_leader)(void *ctx, int32_t pid);
	/* True while that attempt runs: what belongs to it is let be. */
	bool (*is_running)(void *ctx, const struct task_tag *tag);
};

struct orphans;

/* NULL when there is no memory. The token is borrowed. */
struct orphans *orphans_create(const char *token, const struct orphans_view *view) MUST_USE;
void orphans_destroy(struct orphans *o);

/* Looks at all children, and kills (SIGKILL) those that belong to an attempt
 * of this worker which does not run any more, with their descendants. They
 * are gone when the owner has reaped them and a later sweep finds none. */
void orphans_sweep(struct orphans *o, int64_t now_ns);

/* As of the last sweep: was one of that attempt killed, which is not gone yet? */
bool orphans_any_of(const struct orphans *o, const struct task_tag *tag);
/* Is one there of which it cannot be said yet? Not for longer than some 30 ms. */
bool orphans_undecided(const struct orphans *o);
/* Is one there that may be anyone's? */
bool orphans_any_foreign(const struct orphans *o);

/* Kills one process and all of its descendants, with their process groups but
 * for the caller's own. */
void orphans_kill_tree(int32_t pid);

/* Kills every child of this process and their descendants, once, whoever they
 * belong to. */
void orphans_kill_all(struct orphans *o);

#endif
