/* What other workers of this machine left: the dead are buried, the frozen are
 * ended once their lease is over. */
#ifndef EBB_WORKER_SWEEP_H
#define EBB_WORKER_SWEEP_H

#include "base/status.h"
#include "ledger/ledger.h"
#include "model/pipeline.h"
#include "worker/state.h"

/* Looks at every worker of the run (0: of all runs) that has not left: one
 * whose lock is free, or that was here before the last boot, is dead: its
 * leftover children are ended, its shards become ready again, or not, as the policies
 * of their stages in `p` say. One whose
 * lease ran out while its lock is held is frozen: it is killed first (pid and
 * start time must agree) and then treated the same. *lost counts shards that
 * had been started. Workers that are alive are left alone. Within a group of the
 * ledger's it waits for nobody: a frozen one is killed now and buried by a later
 * call. Outside, a worker that is not stopped has half a second to renew its lease, as
 * the machine may have slept; in a group the caller says with `just_woken` that this
 * may be so, and only those that are stopped are killed. */
enum status sweep_workers(struct state *state, struct ledger *l, int64_t run, int64_t but_worker,
    const struct pipeline *p, bool just_woken, int64_t *lost,
    struct error *e) MUST_USE;
/* When to look again (boot ms): at the end of the lease of another worker of the run that
 * ends first, if it is not renewed until then; now, when one has ended and its worker is not
 * buried yet. 0: there is no other. */
enum status sweep_next_expiry(struct ledger *l, int64_t run, int64_t but_worker,
    int64_t *boot_ms, struct error *e) MUST_USE;

/* For a run whose lock is held: kills holders whose lease is over. True if one
 * was killed, so that the lock will be free in a moment. */
bool sweep_end_frozen(struct state *state, struct ledger *l, int64_t run, struct error *e);

/* When the ledger is busy: a worker, of any run, that was frozen while it held the
 * write lock is killed once its lease is over. */
void sweep_end_blocker(struct state *state, struct ledger *l);

/* "pid 123, 456": the workers of a run that are alive, for a message. */
void sweep_name_workers(struct ledger *l, int64_t run, struct buf *out);

#endif
