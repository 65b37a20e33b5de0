/* The loop's decisions. Private to src/worker; all on the loop's thread. */
#ifndef EBB_WORKER_LOOP_H
#define EBB_WORKER_LOOP_H

#include "worker/work.h"

/* Looks at everything that may have changed and acts on it; called after each
 * event. Stops the uv loop when there is nothing left to do. */
void loop_step(struct work *w);
/* Takes the ends that the guardian has reported. */
void loop_receive(struct work *w);
/* Every 100 ms or so: drains, the progress line, other workers. */
void loop_tick(struct work *w);
/* Sends a claimed attempt, or its next batch, to the guardian. */
enum status loop_send(struct attempt *a, struct error *e) MUST_USE;
/* What could not even be started. */
void loop_end_unstarted(struct attempt *a, enum status st, const struct error *e);
/* What an end means, and what is to be done about it. */
void loop_judge(struct attempt *a);
void loop_signal(struct work *w, int sig);
/* Counts and logs what the publisher has finished since. */
void loop_take_published(struct work *w);
/* Accepted output of dead workers, taken over at the start. */
void loop_recover(struct stage *g);
/* Something that this worker cannot go on without is gone. */
void loop_fatal(struct work *w, enum status st, const struct error *e);

#endif
