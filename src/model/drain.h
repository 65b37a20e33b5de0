/* What a worker that has to stop does with each attempt that it runs: a pure
 * function of the seconds left, measured progress and the cost of saving. */
#ifndef EBB_MODEL_DRAIN_H
#define EBB_MODEL_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "ebb/control.h"

struct drain_attempt {
	int64_t elapsed_ms;   /* since it started */
	int64_t done;         /* progress that it reported, of total; */
	int64_t total;        /* total 0: it reports none */
	int64_t typical_ms;   /* what attempts of its stage take; 0: not known */
	bool saves;           /* it has made a checkpoint, or says how far it is in batches */
	int64_t save_ms;      /* what its last checkpoint took; 0: not known */
};

/* How much longer it will run. By its own progress at the rate so far; else as
 * long as its like take; beyond that, and when nothing is known, as long again as
 * it has run already: lifetimes of tasks are heavy-tailed, and for such the time
 * left grows with the time past. At least 1. */
int64_t drain_remaining_ms(const struct drain_attempt *a);

/* EBB_PLAN_FINISH if a quarter more than what remains fits into what is left;
 * else EBB_PLAN_CHECKPOINT if saving does, or may; else EBB_PLAN_HAND_BACK. To be
 * asked again as time passes: what was to finish and does not is told then. */
enum ebb_stop_plan drain_plan(const struct drain_attempt *a, int64_t left_ms);

/* Of a grace or notice of so many ms, what attempts may use: the reserve (ms)
 * stays for ebb's own work, but never more than a quarter. */
int64_t drain_budget_ms(int64_t grace_ms, int64_t reserve_ms);

#endif
