/* What a run has cost so far: where the time of its slots went, how its attempts
 * ended, which shards were the worst, and what happened when. All of it is of the
 * newest generation, as the ledger has it; of workers that are there, as of their
 * last heartbeat. */
#ifndef EBB_OBSERVE_REPORT_H
#define EBB_OBSERVE_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ledger/ledger.h"
#include "observe/pools.h"

/* Times of slots in ms. */
struct report_times {
	int64_t slot_ms;  /* all there was: slots x presence; of a stage, what was
	                   * spent on its account */
	int64_t running_ms;
	int64_t net_ms;   /* of running: what counts */
	int64_t lost_ms;  /* of running: what does not. The rest is under way */
	int64_t restoring_ms;
	int64_t checkpointing_ms;
	int64_t waiting_ms;
	int64_t idle_ms;
};

struct report_stage {
	struct ledger_stage stage; /* id 0, no name: what is of no stage */
	struct report_times times;
};

struct report_worker {
	struct ledger_worker worker;
	struct report_times times;
};

enum { REPORT_ATTEMPTS = 20 };

struct report_shard {
	struct ledger_worst_shard worst;
	const char *stage;    /* name, lives in the report */
	char *name;
	struct ledger_attempt attempt[REPORT_ATTEMPTS]; /* the newest */
	size_t n_attempts;
};

struct report_options {
	const char *stage; /* only the shards of that one; NULL: all */
	size_t shards;     /* so many of the worst; 0: none, which saves a look at
	                    * every attempt */
	size_t events;     /* the newest so many */
};

struct report {
	struct report_times times;
	int64_t wall_ms;       /* from the first worker's coming to the last one's end */
	int64_t away_slot_ms;  /* of that, when no worker was there, times the slots of
	                        * the one that came after it */
	struct ledger_stage all; /* sums of the stages' counters */
	struct report_stage *stage;
	size_t n_stages;
	struct report_stage none;
	struct report_worker *worker;
	size_t n_workers;
	struct report_shard *slowest;
	size_t n_slowest;
	struct report_shard *interrupted;
	size_t n_interrupted;
	struct pools pools;
	struct ledger_event *event;
	size_t n_events;
};

/* ST_NOT_FOUND: no stage of that name. On an error there is nothing to free. */
enum status report_load(struct ledger *l, const struct ledger_run *run,
    const struct report_options *opt, struct report *out, struct error *e) MUST_USE;
void report_free(struct report *r);

/* Slot time over net time, less 1, in per cent; 0 while there is no net time. */
double report_overhead_percent(const struct report *r);
/* The same with the time when no worker was there: wall-clock over net, for as many
 * slots as there were; 0 while there is no net time. */
double report_wall_over_net(const struct report *r);

/* One line without an end for the last words of a run: "93.1 % running, ...".
 * Appends nothing when no time has passed. */
void report_line(const struct report_times *t, struct buf *out);
/* For people, and for programs (docs/formats.md); `state` is what the run's is called. */
void report_show_text(const struct report *r, const struct ledger_run *run, const char *state,
    struct buf *out);
void report_show_json(const struct report *r, const struct ledger_run *run, const char *state,
    struct buf *out);
/* The members of an object, without braces; summary and report share them. */
void report_json_times(const struct report_times *t, struct buf *out);

#endif
