/* The slot table: a small file, mapped shared by the worker and its guardian,
 * that survives kill -9 of both. It says which children a worker had, so that
 * whoever comes next can end leftovers and knows which claims had begun.
 * Layout and version: docs/formats-slots.md. It is a hint and never proof: leases
 * and epochs in the ledger decide what counts. */
#ifndef EBB_WORKER_SLOTS_H
#define EBB_WORKER_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "ledger/ledger.h"
#include "model/pipeline.h"

enum {
	SLOTS_MAX = 4096,
	SLOTS_TOKEN_SIZE = 33,
	SLOTS_STAGES = PIPELINE_STAGES_MAX + 1, /* 0: none; stage i of the run: i + 1 */
};

/* Fields are stored one by one, `state` last and with release order: FREE,
 * then row, epoch and time, then STARTING, pgid, STARTED, ENDED. */
enum slot_state {
	SLOT_FREE = 0,
	SLOT_STARTING = 1, /* about to be started: the child may exist */
	SLOT_STARTED = 2,
	SLOT_ENDED = 3,    /* ended, the worker has perhaps not yet recorded how; it
	                    * stays so until the lane starts its next child */
};

struct slot {
	int64_t row;       /* ledger row of the shard */
	int64_t epoch;
	int64_t started_boot_ns; /* just before the child was made */
	int32_t pgid;
	int32_t state;     /* enum slot_state */
	int64_t ended_boot_ns; /* with ENDED */
	/* The worker's: what the slot is in, and since when; account.h. */
	int64_t since_boot_ns;
	int32_t kind;      /* enum spent_kind */
	int32_t kind_stage;/* below SLOTS_STAGES */
	/* The guardian's again. */
	int32_t stage;     /* of the attempt, below SLOTS_STAGES */
	int32_t starts;    /* children that it has had: goes up before STARTED */
	int64_t ran_ns;    /* what the attempt ran before this child, in other ones */
};

/* Where the time of the slots went, so far: account.h. */
struct slots_time {
	int64_t stage;     /* its id in the ledger; 0: none */
	int64_t ns[SPENT_SAID_KINDS];
};

/* A change of a slot that is under way, so that a reader after a sudden end
 * counts no interval twice: the total and `since` as they are after it. */
struct slots_redo {
	int64_t total_ns;
	int64_t since_boot_ns;
	int32_t slot;
	int32_t stage;     /* the total's */
	int32_t kind;
	int32_t armed;
};

/* The worker's, but for `closed`. */
struct slots_account {
	int64_t came_boot_ns;   /* 0: nothing is accounted for */
	int64_t seen_boot_ns;   /* the worker was there */
	int64_t closed_boot_ns; /* the guardian has ended the children; 0: not yet */
	int32_t rest_kind;      /* what slots without a child are in */
	int32_t rest_stage;
	struct slots_redo redo;
	struct slots_time time[SLOTS_STAGES];
};

struct slots;

/* A new table of n slots at path (mode 0600), all free. It replaces one that is
 * there in one step; whoever has that one mapped keeps it. `token` is 32
 * characters from [0-9a-f]: the value of EBB_WORKER in the children's
 * environment. */
enum status slots_create(const char *path, int n, const char token[SLOTS_TOKEN_SIZE],
    struct slots **out, struct error *e) MUST_USE;
/* An existing one, to look at, checked against truncation and nonsense
 * (ST_CORRUPT) and against another version (ST_CONFIG). */
enum status slots_open(const char *path, struct slots **out, struct error *e) MUST_USE;
void slots_close(struct slots *s); /* unmaps; NULL is fine */

int slots_count(const struct slots *s);
const char *slots_token(const struct slots *s);
int32_t slots_worker_pid(const struct slots *s); /* of slots_create's caller */
/* 0 until the guardian has been forked. */
int32_t slots_guardian_pid(const struct slots *s);
void slots_guardian_set(struct slots *s, int32_t pid);
/* False when the machine has been booted since it was made. */
bool slots_of_this_boot(const struct slots *s);
/* Lives in the mapping; written by the guardian, read by anyone. */
struct slot *slots_at(struct slots *s, int i);

/* In the mapping too. */
struct slots_account *slots_account(struct slots *s);

/* CLOCK_BOOTTIME ns at which the children must be ended unless the worker
 * moves it: the lease minus the stop margin. 0: no limit. Atomic. */
void slots_fence_set(struct slots *s, int64_t boot_ns);
int64_t slots_fence_get(const struct slots *s);

/* When the attempt of that shard and epoch was started (CLOCK_BOOTTIME ns), or
 * -1 if it was not. One that is just being started counts as started. */
int64_t slots_started_ns(struct slots *s, int64_t row, int64_t epoch);
/* For how long that attempt ran, in ns, in this child and those before it: to its end, or to `until` (CLOCK_BOOTTIME
 * ns) if that was earlier or none is known. -1 if it was not started. */
int64_t slots_ran_ns(struct slots *s, int64_t row, int64_t epoch, int64_t until_boot_ns);

/* Ends what a dead worker left: every process group in the table whose leader
 * is still the process that was started (its start time agrees within 30 ms),
 * and every process whose environment has EBB_WORKER=<token> (or names it as
 * an outer worker) as far as this user may look into it.
 * SIGKILL, repeated until none is left or 2 s have passed (ST_BUSY then, with
 * a pid in the text). *ended is the number of processes. Only for tables of
 * this boot: of an earlier one nothing can be left. */
enum status slots_end_leftovers(struct slots *s, int *ended, struct error *e) MUST_USE;

#endif
