/* How a worker leaves: who asked, by when, what is told to whom, the user's hooks, and
 * what became of it. Private to src/worker; on the loop's thread.
 *
 * In this order, and inside the time that there is: nothing more is claimed; each attempt
 * is planned for and told (contract.h); the hook on_notice begins beside that; attempts
 * finish, save or are handed back, and that is committed; events are written; the hook
 * on_drained; a replacement is asked for; the platform is told that it may go on. What
 * does not fit any more is left out from the end of that list, and the event "drained"
 * says so. At the deadline children are ended; what the ledger has to know is written in
 * any case. */
#ifndef EBB_WORKER_DRAIN_H
#define EBB_WORKER_DRAIN_H

#include "model/notice.h"
#include "worker/work.h"

enum status drain_open(struct work *w, struct error *e) MUST_USE;
void drain_close(struct work *w); /* ends a hook that runs */

/* Somebody wishes it to leave: "signal", "file", "drain". Claims end; what runs may finish,
 * until then if a deadline (boot ms, 0: the options' grace) is given. With less than a second
 * left all are told to stop at once. While it drains, only an earlier deadline changes
 * anything. */
void drain_wish(struct work *w, const char *source, const char *why, int64_t deadline_boot_ms);
/* The platform takes its machine, now or by the notice's deadline. */
void drain_notice(struct work *w, const struct notice *n);
/* A signal: the first one is a wish, in a pod or a job the platform's; during a drain it
 * may bring the deadline closer, and a second INT ends all at once. */
void drain_signal(struct work *w, int sig);
/* It may be taken soon: runs the hook for that. */
void drain_warn(struct work *w, const struct notice *n);

/* At each tick: the hook of a recommendation is ended in time, too. */
void drain_tick(struct work *w);
/* At each step of a drain. */
void drain_step(struct work *w);
/* An attempt has ended while it drains. */
void drain_count(struct work *w, const struct attempt *a);
/* Nothing is in hand any more. False while there is something left to say or to run;
 * then it is asked again at the next tick. */
bool drain_is_over(struct work *w);

/* The platform's word that it leaves for; NULL: there is none. */
const struct notice *drain_cause(const struct work *w);
/* How much of its time is left; negative: it is over. */
int64_t drain_left_ms(const struct work *w);

#endif
