/* What others ask of a worker while it works: to drain (its row in the ledger, or
 * a stop file), to end because the run was cancelled or began anew, and to look
 * again because something has changed. Private to src/worker. */
#ifndef EBB_WORKER_REQUESTS_H
#define EBB_WORKER_REQUESTS_H

#include <stdint.h>

#include "base/status.h"
#include "ledger/ledger.h"

struct work;
struct stage;
struct requests;

/* After the worker's row is there. */
enum status requests_create(struct work *w, struct error *e) MUST_USE;
void requests_destroy(struct requests *r); /* NULL is fine */

/* On the committer's thread: reads what is asked, and what there is to do when
 * the loop waits for that; wakes the loop when it is something new. */
void requests_watch(struct ledger *l, void *work);
/* On the committer's thread: somebody else holds the ledger. */
void requests_blocked(struct ledger *l, void *work);

/* On the loop's thread, at each step: acts on what is asked. */
void requests_step(struct work *w);
/* Once the loop is open: the stop file is seen at once, where the kernel tells. */
void requests_listen(struct work *w);
/* On the loop's thread, every WORKER_TICK_MS: looks for the stop file. */
void requests_tick(struct work *w);
/* On the loop's thread: whether changes by others are worth a look now. */
void requests_wait_for_work(struct work *w, bool waiting);

/* ---- the run's history (events.c) ---- */

/* Within an exec function or a group: a line of this worker's. The text is cut. */
enum status event_put(struct ledger *l, const struct work *w, const char *kind, const char *text,
    struct error *e) MUST_USE;
/* On the loop's thread: this worker drains, which stands in its row too; with the
 * next group. `notice`: its machine is taken away. */
void event_note_drain(struct work *w, bool notice, const char *why);
/* On the loop's thread: a line with the next group; `done` (NULL is fine) is called on
 * the loop when it is written, or cannot be. ST_NO_MEMORY: it never is. */
enum status event_note(struct work *w, const char *kind, const char *text,
    void (*done)(struct work *w)) MUST_USE;

#endif
