/* Published names that nobody makes any more: of a run whose list has changed,
 * or of runs that were removed. */
#ifndef EBB_WORKER_OUTPUTS_H
#define EBB_WORKER_OUTPUTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "ledger/ledger.h"
#include "worker/state.h"

/* Where the output of that name is, whatever the current folder: relative names
 * belong to the folder that the state is in. Memory shows in buf_check. */
void outputs_path(const struct state *state, const char *name, struct buf *out);

/* How many names of earlier lists the run has left over; `first` becomes the
 * first of them, when there is one. */
enum status outputs_count_left(struct ledger *l, int64_t run, struct buf *first, int64_t *n,
    struct error *e) MUST_USE;

enum outputs_fate {
	OUTPUTS_REMOVED, /* the file was as ebb had put it there */
	OUTPUTS_GONE,    /* there was no such file any more */
	OUTPUTS_CHANGED, /* somebody else changed it: kept, file and name */
};

/* Removes the files that outputs_count_left counts, durably, then forgets their
 * names, and tells what became of each. The run's newest generation must be
 * finished and the caller hold its lock. With dry_run only tells. On an error,
 * what was told has happened. */
enum status outputs_remove_left(const struct state *state, struct ledger *l, int64_t run,
    bool dry_run, void (*tell)(void *arg, const char *name, enum outputs_fate fate), void *arg,
    struct error *e) MUST_USE;

/* The same, in silence, for those that ebb kept in the run's own folder for later
 * stages, a page at a time. The newest generation must be finished and the caller be a
 * worker of it, so that no other one begins; several may do it at once. */
enum status outputs_remove_kept(const struct state *state, struct ledger *l,
    const struct ledger_run *run, struct error *e) MUST_USE;

/* Forgets names of removed runs whose file is gone; *n says how many those are.
 * With dry_run only counts. */
enum status outputs_forget_gone(const struct state *state, struct ledger *l, bool dry_run,
    int64_t *n, struct error *e) MUST_USE;

#endif
