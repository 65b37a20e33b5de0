/* Checkpoints of running attempts: what makes them durable, and what the next
 * attempt begins with. Kept for the stages of pipelines, not for `ebb map`.
 * On the loop's thread, but for the jobs that it gives to the pool. */
#ifndef EBB_WORKER_SAVE_H
#define EBB_WORKER_SAVE_H

#include "worker/work.h"

bool save_is_kept(const struct stage *g);

/* Of a claimed shard: is all there that its checkpoint names? If not, that is said,
 * and the attempt begins at the beginning. */
void save_verify(struct attempt *a);

/* The task's folder ($EBB_CHECKPOINT) of an attempt that is about to start, empty. */
enum status save_make_folder(struct attempt *a, struct error *e) MUST_USE;
/* On a pool thread: what the last checkpoint holds comes into that folder. */
enum status save_restore(struct attempt *a, struct error *e) MUST_USE;

/* A task asks: the output so far, its folder and the offset become durable
 * together, are recorded, and the task is answered. One at a time for an attempt;
 * an end that comes meanwhile waits for it (a->saving). */
void save_begin(struct attempt *a, const struct control_view *request);

/* On a pool thread, when the attempt is done: pieces of earlier attempts and this
 * one's own output as one file, which a->private_path then names. What was written
 * by this one alone stays (a->own_part), since its checkpoint may name it. */
enum status save_join(struct attempt *a, struct error *e) MUST_USE;
/* The shard is accepted: what its checkpoints kept goes, on a pool thread. */
void save_forget(struct attempt *a);
/* On a pool thread, after any end: the folder goes. */
void save_drop_folder(struct attempt *a);

#endif
