/* A machine whose end is known, or that is said to be taken soon, begins nothing that
 * would probably be lost with it. On the loop's thread. */
#ifndef EBB_WORKER_LIFE_H
#define EBB_WORKER_LIFE_H

#include "worker/work.h"

/* CLOCK_BOOTTIME when the machine's known life ends; 0: no end is known. */
void life_set_end(struct work *w, int64_t until_boot_ms);
/* A rebalance recommendation holds, or does no more, as this worker's own machine says. */
void life_set_warned(struct work *w, bool warned);
/* What the worker's row in the ledger says: holds beside the above, the earlier end of
 * two. */
void life_take_row(struct work *w, int64_t until_boot_ms, bool warned);

/* May shards of the stage be claimed now? Not while what they typically take does not
 * fit into the rest of the machine's life (drain_may_start); nor, while the worker is
 * warned and another stays that is not, what is better left to that one
 * (drain_leaves_it). */
bool life_lets_claim(struct stage *g);
/* While it matters: asks the ledger whether another worker stays; about twice a second. */
void life_look(struct work *w);

/* That worker of the same run does not leave: its lease holds, it works on the same
 * generation and does not drain. */
bool life_other_stays(const struct work *w, const struct ledger_worker *other, int64_t now_ms);

#endif
