/* A worker: claims shards of one run into its slots, runs the command on each,
 * and takes what comes out from claim to publish. `ebb map` is one worker
 * with a planner beside it.
 *
 * Threads: the loop (libuv, this file's caller), which never blocks; the
 * committer, alone with the ledger; the planner, reading the list; the
 * publisher, giving outputs their names; and libuv's pool for hashing and
 * fsync. Memory does not grow with the number of shards. */
#ifndef EBB_WORKER_WORKER_H
#define EBB_WORKER_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "ledger/ledger.h"
#include "model/pipeline.h"
#include "shard/list.h"
#include "worker/state.h"

/* When to stop early: after so many (or such a share of) failures, successes
 * or ends. */
struct halt_rule {
	enum { HALT_NEVER, HALT_SOON, HALT_NOW } when;
	enum { HALT_ON_FAIL, HALT_ON_SUCCESS, HALT_ON_DONE } what;
	int64_t count;   /* 0: use percent */
	int percent;
};

struct worker_stage {
	uint8_t fingerprint[HASH_SIZE];
	int64_t carry_from;              /* stage to take done items from, or 0 */
};

struct worker_input {
	bool plan;                       /* read the inputs of unsealed stages, also
	                                  * of those whose plan is complete: they
	                                  * may have changed */
	struct list *list;               /* SOURCE_GIVEN: open, borrowed; NULL: that
	                                  * list is read by somebody else */
	const struct worker_stage *stage;/* as many as the pipeline has */
};

struct worker_options {
	struct state *state;             /* borrowed */
	const char *run_lock;            /* name of the run's lock: held by whoever has
	                                  * the list, for as long as they read it */
	const char *ledger;              /* path, to open it a second time */
	const struct pipeline *pipeline; /* borrowed */
	struct ledger_run run;           /* borrowed */
	struct worker_input input;
	int slots;
	int64_t lease_ms;
	int64_t grace_ms;                /* from the first INT or TERM to the end */
	struct halt_rule halt;
	const char *pool;                /* NULL: "local" */
	const char *lifecycle;           /* "spot", "on-demand", or NULL: not known */
	bool joins;                      /* a run that somebody else has begun */
	const char *stop_file;           /* drains when it is there; NULL: "stop" in the
	                                  * run's folder of the state */
	bool grace_given;                /* somebody chose it: it holds where a notice does
	                                  * not say by when */
	const char *notice;              /* sources, as of notice/watch.h; NULL: the pipeline's */
	const char *on_notice;           /* hooks; NULL: the pipeline's, as the next three */
	const char *on_drained;
	const char *on_rebalance;
	int64_t hook_timeout_ms;         /* 0: the pipeline's */
	const char *node;                /* what events from outside call this machine; NULL: as
	                                  * the platform does */
	bool no_acknowledge;             /* the platform is not told that it may go on */
	const char *joblog;              /* path, or NULL */
	bool show_stderr;                /* pass the tasks' stderr on */
	bool progress;
	int64_t log_cap_bytes;           /* of one attempt's stderr */
};

/* A worker's own things, made before any thread or database is there: its
 * name, lock, slot table, spool folder and guardian. */
struct worker_body;

enum status worker_body_create(struct state *state, const int *keep_fds, int n_keep_fds,
    int slots, int64_t log_cap_bytes, struct worker_body **out, struct error *e) MUST_USE;
/* Ends the guardian and removes lock, table and folder. NULL is fine. */
void worker_body_destroy(struct worker_body *b);

struct worker_failure {
	char *name;                      /* as people see the shard */
	int64_t number;                  /* its place in the list, from 1 */
	enum cause cause;
	int exit_code;
	int exit_signal;
	int count;                       /* attempts that ended so */
	int limit;
	char note[256];
};

enum { WORKER_FAILURES_KEPT = 20 };

struct worker_result {
	bool sealed;                     /* all stages are: done, manifests written */
	bool interrupted;                /* by INT (else by TERM or HUP, if drained) */
	bool drained;
	bool halted;
	bool set_aside;                  /* by itself: what failed here, others got done;
	                                  * `drained` too */
	bool cancelled;                  /* the run was, by somebody */
	bool superseded;                 /* somebody began the run's next generation */
	bool plan_failed;                /* plan_error says why */
	struct error plan_error;
	enum status fatal;               /* ledger or store gone, lease lost, ... */
	struct error fatal_error;
	struct ledger_stage before;      /* all stages' counters when this worker began */
	struct ledger_stage after;
	int64_t wall_ms;
	char *manifest;                  /* path of the last stage's, when sealed */
	struct worker_failure *failures; /* the first WORKER_FAILURES_KEPT */
	size_t n_failures;
};

void worker_result_free(struct worker_result *r);

/* Is the command one that can be run, and are its replacement strings and those
 * of the output's name right? To be asked before anything is made. */
enum status worker_check_spec(const struct spec *spec, struct error *e) MUST_USE;

/* Would the stages that are sealed come out as they are? False when a command, an
 * input or the pipeline's stages are others than when they were sealed, or an
 * output is gone. Reads inputs; may take seconds for 10^6 of them. */
enum status worker_unchanged(const struct worker_options *opt, struct ledger *l, bool *unchanged,
    struct error *e) MUST_USE;

/* Works until the run is finished or it is told to stop. Takes over the ledger
 * handle (closes it). Returns an error only when it could not begin; what
 * happened later is in *result. */
enum status worker_run(struct worker_body *body, struct ledger *take_ledger,
    const struct worker_options *opt, struct worker_result *result, struct error *e) MUST_USE;

#endif
