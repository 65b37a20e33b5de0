/* What the platform says about this worker's machine, and what becomes of it. Private to
 * src/worker; on the loop's thread. */
#ifndef EBB_WORKER_HEARD_H
#define EBB_WORKER_HEARD_H

#include "model/notice.h"
#include "worker/work.h"

/* Begins to listen; after the loop is open. ST_CONFIG: there is no such source. */
enum status heard_open(struct work *w, struct error *e) MUST_USE;
/* Stops listening; before the loop is closed. */
void heard_close(struct work *w);
/* At each tick: what was planned for a moment that has come. */
void heard_tick(struct work *w);

/* After the last word to the ledger, if that could be written: the platform may go on, if
 * it waits for that. */
void heard_acknowledge(struct work *w);

/* Acts on what was said of this machine, by the platform or by somebody who passes it on
 * (ebb notify), and records it. */
void heard_notice(struct work *w, const struct notice *n);

#endif
