/* The worker's side of the task contract (docs/task-contract.md): what tasks say
 * on their control pages, and what they are told. On the loop's thread. */
#ifndef EBB_WORKER_CONTRACT_H
#define EBB_WORKER_CONTRACT_H

#include "worker/work.h"

enum status contract_open(struct work *w, struct error *e) MUST_USE;
void contract_close(struct work *w);

/* Finds out which attempt is in which lane and reads their pages; at each tick,
 * and when a page was written. */
void contract_poll(struct work *w);

/* One step of a drain: plans for every running attempt and tells those that
 * stop. Ending what is left at the deadline is the caller's. */
struct contract_stop {
	enum ebb_stop_reason reason;
	int64_t deadline_boot_ms; /* CLOCK_BOOTTIME */
	int64_t given_ms;         /* from its beginning to the deadline */
	bool now;                 /* nobody may finish */
};
void contract_drain(struct work *w, const struct contract_stop *stop);

/* What runs is told that a checkpoint now would be wise. */
void contract_advise(struct work *w);

/* What attempts of a stage take: by what was done here, else anywhere; 0: not known. */
int64_t contract_typical_ms(const struct stage *g);
/* What is kept of the time that is left to the machine, for ebb's own work. */
int64_t contract_reserve_ms(const struct work *w);

/* The exit code that says "progress saved, run me again". */
int contract_again(const struct spec *s);
/* The attempt has ended: what its end means, once it was told to stop. */
enum cause contract_cause(const struct attempt *a);

#endif
