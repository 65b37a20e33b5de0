/* Batches: one process for so many records of a shard, one after the other, with
 * output and offset made durable together between them. On the loop's thread. */
#ifndef EBB_WORKER_BATCH_H
#define EBB_WORKER_BATCH_H

#include "worker/work.h"

bool batch_is_on(const struct attempt *a);

/* A child of the attempt has ended. True: it was a batch with more to come, and
 * what happens next is seen to here. */
bool batch_took_end(struct attempt *a);

/* The attempt has to stop: after this batch, when there is time for it. True:
 * the child needs no signal. */
bool batch_can_wait(struct attempt *a, int64_t left_ms);

/* From save.c: the checkpoint between two batches was made, or not. */
void batch_saved(struct attempt *a, enum status st);

#endif
