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

enum { SLOTS_MAX = 4096, SLOTS_TOKEN_SIZE = 33 };

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

/* CLOCK_BOOTTIME ns at which the children must be ended unless the worker
 * moves it: the lease minus the stop margin. 0: no limit. Atomic. */
void slots_fence_set(struct slots *s, int64_t boot_ns);
int64_t slots_fence_get(const struct slots *s);

/* When the attempt of that shard and epoch was started (CLOCK_BOOTTIME ns), or
 * -1 if it was not. One that is just being started counts as started. */
int64_t slots_started_ns(struct slots *s, int64_t row, int64_t epoch);

/* Ends what a dead worker left: every process group in the table whose leader
 * is still the process that was started (its start time agrees within 30 ms),
 * and every process whose environment has EBB_WORKER=<token> (or names it as
 * an outer worker) as far as this user may look into it.
 * SIGKILL, repeated until none is left or 2 s have passed (ST_BUSY then, with
 * a pid in the text). *ended is the number of processes. Only for tables of
 * this boot: of an earlier one nothing can be left. */
enum status slots_end_leftovers(struct slots *s, int *ended, struct error *e) MUST_USE;

#endif
