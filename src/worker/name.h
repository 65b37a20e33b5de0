/* How people see a shard. */
#ifndef EBB_WORKER_NAME_H
#define EBB_WORKER_NAME_H

#include "base/mem.h"
#include "ledger/ledger.h"

/* Appends the item (arguments joined by a space), then "#3" for the third part
 * of a file or the third of equal items. */
void shard_name(const struct ledger_shard *s, struct buf *out);

#endif
