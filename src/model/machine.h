/* The life of a shard, as one pure table: no I/O, no clock, no randomness.
 * A ledger reads a row, asks shard_step what becomes of it, and writes the
 * answer in the same transaction. `ebb help states` prints the table. */
#ifndef EBB_MODEL_MACHINE_H
#define EBB_MODEL_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"

/* Stored in ledgers: the numbers never change. */
enum shard_state {
	SHARD_READY = 0,     /* may be claimed, once its delay is over */
	SHARD_LEASED = 1,    /* a worker holds (epoch, lease) */
	SHARD_ACCEPTED = 2,  /* output is decided and named in the row, not yet in place */
	SHARD_PUBLISHED = 3, /* done */
	SHARD_FAILED = 4,    /* its budget is used up */
	SHARD_SET_ASIDE = 5, /* suspected of taking its workers down */
	SHARD_STATES = 6,
};

/* How an attempt ended. Stored in ledgers: the numbers never change. */
enum cause {
	CAUSE_DONE = 0,
	CAUSE_CHECKPOINTED = 1,
	CAUSE_INTERRUPTED = 2,    /* by a notice or by ebb's own stop */
	CAUSE_LOST = 3,           /* the lease ran out, the worker died */
	CAUSE_FAILED = 4,         /* the command's own doing */
	CAUSE_TIMED_OUT = 5,
	CAUSE_OUT_OF_MEMORY = 6,
	CAUSE_INFRASTRUCTURE = 7, /* disk full, store or ledger gone, exit 126 or 127 */
	CAUSE_CANCELLED = 8,
	CAUSE_SUPERSEDED = 9,     /* its input changed, or its item left the list */
	CAUSE_COUNT = 10,
};

const char *shard_state_name(enum shard_state s); /* "ready" */
const char *cause_name(enum cause c);             /* "timed-out" */
/* False when there is no state of that name. */
bool shard_state_of_name(const char *name, enum shard_state *out) MUST_USE;

/* Budgets: how many attempts may end with a cause before the shard fails for
 * good (0: never), and the bounds of the back-off between them. */
struct retry_policy {
	int limit[CAUSE_COUNT];
	int64_t backoff_min_ms;
	int64_t backoff_max_ms;
	int alone_after;     /* losses after which a shard is run alone */
	int on_demand_after; /* so often taken, a shard asks for On-Demand; 0: never */
	int64_t on_demand_wait_ms; /* for so long it is left to workers of that kind, while
	                      * there are any */
};

/* failures 3, interruptions 20, infrastructure 10, losses 20, time-outs 3, out
 * of memory 3; back-off 1 s to 60 s; alone after 3 losses; On-Demand after 3, 10 min. */
struct retry_policy retry_policy_default(void);

/* Delay before the nth (1-based) retry after `cause`: exponential between the
 * bounds with full jitter (delay = uniform[0, min(max, min_ms * 2^(n-1))]),
 * never under a tenth of the bound. `random` is any 64-bit random number.
 * After one that was interrupted, lost or checkpointed: 0. */
int64_t retry_delay_ms(const struct retry_policy *p, enum cause cause, int n, uint64_t random);

/* The part of a shard's row that the machine decides over. */
struct shard {
	enum shard_state state;
	int64_t epoch;   /* of the latest claim; 0: never claimed */
	int64_t floor;   /* commits with a smaller epoch are refused */
	int count[CAUSE_COUNT]; /* attempts that ended so, since the last fresh budget */
	bool alone;      /* to be run with nothing beside it */
	int taken;       /* attempts that were taken from it with their machine, since the
	                  * last fresh budget or change of its input */
	bool asks;       /* for a machine that is not taken away */
};

enum shard_event_kind {
	EV_CLAIM,        /* a worker takes it: a new epoch */
	EV_GIVE_BACK,    /* claimed but never started: as if not claimed */
	EV_END,          /* the attempt of `epoch` ended with `cause`, not done */
	EV_ACCEPT,       /* the attempt of `epoch` is done, with files to publish */
	EV_ACCEPT_EMPTY, /* done and nothing to publish */
	EV_PUBLISHED,    /* its files are in place */
	EV_OUTPUT_GONE,  /* accepted, but neither private nor final file exists */
	EV_REFUSED,      /* accepted, but its final name is somebody else's */
	EV_RETRY,        /* an operator gives it a fresh budget */
	EV_INPUT_CHANGED,/* the input is another one now: what was done is void */
	EV_CHECKPOINT,   /* the attempt of `epoch` goes on, and part of it is durable */
	EV_KINDS,
};

struct shard_event {
	enum shard_event_kind kind;
	int64_t epoch;    /* the caller's; ignored by CLAIM, RETRY, INPUT_CHANGED */
	enum cause cause; /* of EV_END */
	bool progressed;  /* of EV_END: durable progress was made, so the
	                   * interruption does not count against its limit */
	bool no_retry;    /* of EV_END: another try is pointless */
	bool taken;       /* of EV_END: its machine was taken away, which counts against the
	                   * shard and not against the pool of the machine (model/pool.h) */
};

enum shard_verdict {
	STEP_TAKEN,   /* *out is the new row */
	STEP_FENCED,  /* the epoch is under the floor, or the shard is decided: the
	               * caller's attempt is void; nothing changes */
	STEP_ALREADY, /* it is so already (a repeated call): nothing changes */
	STEP_REFUSED, /* that event has no place in that state: nothing changes */
};

/* What becomes of `in` when `ev` happens. *out is always filled (equal to *in
 * unless STEP_TAKEN). Pure. */
enum shard_verdict shard_step(const struct shard *in, const struct shard_event *ev,
    const struct retry_policy *policy, struct shard *out);

/* The transition table as text, a row a line. */
void shard_machine_print(struct buf *out);

#endif
