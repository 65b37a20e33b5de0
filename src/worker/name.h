/* How people see a shard, and what a run's lock is called. */
#ifndef EBB_WORKER_NAME_H
#define EBB_WORKER_NAME_H

#include "base/mem.h"
#include "ledger/ledger.h"

/* Appends the item (arguments joined by a space), then "#3" for the third part
 * of a file or the third of equal items. */
void shard_name(const struct ledger_shard *s, struct buf *out);

/* Appends "run-<key in hex>": the name of a run's lock in the state. */
void run_lock_name(const uint8_t key[LEDGER_ID_SIZE], struct buf *out);

#endif
