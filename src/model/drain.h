/* What a worker that has to stop does with each attempt that it runs: a pure
 * function of the seconds left, measured progress and the cost of saving. */
#ifndef EBB_MODEL_DRAIN_H
#define EBB_MODEL_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "ebb/control.h"

/* Whether being told to stop in time does a task any good. */
enum drain_saving {
	DRAIN_MAY_SAVE = 0, /* nothing is known */
	DRAIN_SAVES,        /* it or its like have made a checkpoint, it runs in batches, or
	                     * its file says that a stop ends it well */
	DRAIN_CANNOT_SAVE,  /* nothing is kept here, or its like have died of the signal */
};

struct drain_attempt {
	int64_t elapsed_ms;   /* since it started */
	int64_t done;         /* progress that it reported, of total; */
	int64_t total;        /* total 0: it does not say of how much; both 0: it says nothing */
	int64_t typical_ms;   /* what attempts of its stage take; 0: not known */
	enum drain_saving saving;
	int64_t save_ms;      /* what its last checkpoint took; 0: not known */
	int64_t like_save_ms; /* the least that one of its like spent on all of its; 0: not known */
	int64_t given_ms;     /* from the beginning of the stop to its deadline */
};

/* How much longer it will run. By its own progress at the rate so far; else as
 * long as its like take; beyond that, and when nothing is known, as long again as
 * it has run already: lifetimes of tasks are heavy-tailed, and for such the time
 * left grows with the time past. At least 1. */
int64_t drain_remaining_ms(const struct drain_attempt *a);

/* What is kept of `given_ms` for one that is told at the last moment: an eighth,
 * at most 1 s, to die in; where it may turn out to save, a quarter, at most 30 s.
 * At least 100 ms. */
int64_t drain_last_ms(const struct drain_attempt *a);

/* EBB_PLAN_FINISH is never signalled: it goes on. The others are told now,
 * EBB_PLAN_CHECKPOINT if saving fits into what is left, or may.
 *
 * One that saves finishes if a quarter more than what remains fits, and leaves
 * the time to save if it then does not. One that has never saved and says nothing
 * loses all when it is stopped, so that stopping it early gains nothing: it goes on
 * until drain_last_ms are left, and beyond if it fits. One that has never saved but
 * says how far it is finishes if it fits: by a quarter more where it may save, barely
 * where it cannot.
 *
 * To be asked again as time passes: what was to finish and does not is told then. */
enum ebb_stop_plan drain_plan(const struct drain_attempt *a, int64_t left_ms);

/* May an attempt whose like take typical_ms (0: not known) be started on a machine that
 * is known to live for left_ms more, of whole_ms when that became known? Where nothing is
 * known, until reserve_ms are left; else when it fits with a quarter more before those.
 * One that would not have fitted into the whole either is no better off elsewhere: as if
 * nothing were known. */
bool drain_may_start(int64_t typical_ms, int64_t left_ms, int64_t whole_ms, int64_t reserve_ms);

/* May a worker that may be taken away soon leave such an attempt to another that is not, as
 * it has for waited_ms? What takes longer than 2 minutes, for 5 minutes at the most. */
bool drain_leaves_it(int64_t typical_ms, int64_t waited_ms);

/* Of a grace or notice of so many ms, what attempts may use: the reserve (ms)
 * stays for ebb's own work, but never more than a quarter. */
int64_t drain_budget_ms(int64_t grace_ms, int64_t reserve_ms);

#endif
