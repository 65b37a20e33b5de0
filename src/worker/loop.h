/* The loop's decisions. Private to src/worker; all on the loop's thread. */
#ifndef EBB_WORKER_LOOP_H
#define EBB_WORKER_LOOP_H

#include "worker/work.h"

/* Looks at everything that may have changed and acts on it; called after each
 * event. Stops the uv loop when there is nothing left to do. */
void loop_step(struct work *w);
/* Takes the ends that the guardian has reported. */
void loop_receive(struct work *w);
/* Every WORKER_TICK_MS: requests, drains, the progress line, other workers. */
void loop_tick(struct work *w);
/* Sends a claimed attempt, or its next batch, to the guardian. */
enum status loop_send(struct attempt *a, struct error *e) MUST_USE;
/* What could not even be started. */
void loop_end_unstarted(struct attempt *a, enum status st, const struct error *e);
/* What an end means, and what is to be done about it. */
void loop_judge(struct attempt *a);
void loop_signal(struct work *w, int sig);
/* on_failed: stop. What runs may finish, nothing new begins. */
void loop_stop_for_failures(struct stage *g);
/* At each tick. A gap means that the machine slept, or this process. */
void loop_note_awake(struct work *w);
/* There was such a gap just now: other workers may have had it too. */
bool loop_just_woke(const struct work *w);
/* Reads the stages again, and takes the plans that nobody reads on; with `sweep`,
 * buries dead workers first. One look at a time; asked for during one, another follows. */
void loop_look(struct work *w, bool sweep);
/* Reads what its stages' attempts came to so far, for the plans of a stop; those that
 * are made before it is read know only what happened here. */
void loop_learn(struct work *w);
/* The stages as somebody else's commit left them, a moment ago: acted on where
 * this worker waits for that. As many as the pipeline has. */
void loop_hint(struct work *w, const struct ledger_stage *now);
/* Counts and logs what the publisher has finished since. */
void loop_take_published(struct work *w);
/* Accepted output of dead workers, taken over at the start. */
void loop_recover(struct stage *g);
/* Something that this worker cannot go on without is gone. */
void loop_fatal(struct work *w, enum status st, const struct error *e);

/* claims.c */
/* There may be shards to claim, as far as this worker knows. */
bool loop_is_open(const struct stage *g);
void loop_claim(struct stage *g);
/* Wakes the loop when the first delayed shard may be claimed. */
void loop_arm_claims(struct work *w);

/* ends.c */
/* What waits in the guardian's queue never began. */
void loop_drop_waiting(struct work *w);
/* Claimed and not started: as if it had not been claimed. */
void loop_give_back(struct attempt *a);
/* Its input is another one than that of its checkpoint, which is void now. */
void loop_begin_anew(struct attempt *a);
void loop_judge_suspects(struct work *w);
void loop_count_done(struct work *w, struct attempt *a);
void loop_check_halt(struct work *w);
void loop_keep_failure(struct work *w, const struct attempt *a);
void loop_tell_failure(struct work *w, const struct attempt *a);

#endif
