/* Where the time of a worker's slots goes. Each slot is at any moment in one
 * state of SPENT_SLOT_KINDS; each interval is measured by its own beginning and
 * end (CLOCK_BOOTTIME, ns, handed in), and the intervals of a slot follow each
 * other without a gap from account_open to the end. The guardian stamps when a child
 * begins and ends; what a slot without a child is in the worker says.
 *
 * Totals and the state of each slot live in the mapped slot table, so that
 * whoever buries a killed worker finds them as they were. */
#ifndef EBB_WORKER_ACCOUNT_H
#define EBB_WORKER_ACCOUNT_H

#include <stdint.h>

#include "base/status.h"
#include "ledger/ledger.h"
#include "worker/slots.h"

struct account;

/* The index of a run's stage by its number (from 0); -1: of no stage. */
int account_stage(int number);

/* All slots wait from now on. `ids` are the ledger's of the run's stages. The slots
 * are borrowed. NULL without memory. */
struct account *account_open(struct slots *s, const int64_t *ids, size_t n_stages,
    int64_t now_ns) MUST_USE;
void account_destroy(struct account *a); /* NULL is fine */

/* ---- on the worker's loop ---- */

/* Slots without a child are in `kind` (SPENT_WAITING or SPENT_IDLE), on account of
 * that stage (account_stage), from now on. */
void account_rest(struct account *a, enum spent_kind kind, int stage, int64_t now_ns);
/* One slot, which has no child, is in `kind` until it gets one, or until
 * account_set says that it rests again (SPENT_WAITING). For restoring before a
 * start and for saving after an end. */
void account_set(struct account *a, int lane, enum spent_kind kind, int stage, int64_t now_ns);
/* That is over, if it still is so: the slot rests again, or has a child. Nothing
 * for lane -1. */
void account_unset(struct account *a, int lane, int64_t now_ns);
/* The same as account_set for some slot that rests, which waits for what is done
 * elsewhere before its next child can start; its lane, or -1: none rests. */
int account_lend(struct account *a, enum spent_kind kind, int stage, int64_t now_ns) MUST_USE;
/* So much of what children of that stage ran was waiting for a checkpoint. For
 * children whose end was told. */
void account_move(struct account *a, int stage, int64_t ns);
/* The end of a child, for each one, in the order in which a lane had them. */
void account_ended(struct account *a, int lane, int stage, int64_t started_ns, int64_t ended_ns);
/* Notices what the guardian has started, and that the worker is there. To be
 * called several times a second. */
void account_look(struct account *a, int64_t now_ns);
/* An attempt that ran for so long and whose end the ledger refused. */
void account_void(struct account *a, int stage, int64_t ms);
/* ns in whole ms; what was cut off is added to the next one, so that sums over
 * many short attempts come out right. */
int64_t account_ms(struct account *a, int64_t ns);

/* ---- on any thread, and after the worker's death ---- */

/* Says to the ledger what was spent until then, open intervals included. */
enum status account_record(struct account *a, struct ledger *l, int64_t worker, int64_t until_ns,
    struct error *e) MUST_USE;
/* The same from the table of a worker that is dead, until account_last_ns. `known_ms`
 * is what the ledger knows of its presence: an older table changes nothing. */
enum status account_bury(struct slots *s, struct ledger *l, int64_t worker, int64_t known_ms,
    struct error *e) MUST_USE;
/* When a dead worker or its guardian was last there, by its table; 0: it says
 * nothing of that. */
int64_t account_last_ns(struct slots *s);

/* What account_record would say, as ns. Only for tests. */
void account_sums(struct slots *s, int64_t until_ns, struct slots_time out[SLOTS_STAGES]);

#endif
