/* From a specification to an exit code: the run's lock, its row, a worker, and
 * the last lines. Shared by all verbs that work on a run. */
#ifndef EBB_CLI_DRIVE_H
#define EBB_CLI_DRIVE_H

#include "model/pipeline.h"
#include "worker/worker.h"

struct drive {
	const char *state;        /* option, or NULL */
	const struct pipeline *pipeline;
	struct worker_input input;/* fingerprint and carry_from are filled here */
	const struct ledger_run *join; /* work on this one, which somebody has begun, from
	                           * its own folder; NULL: begin it or go on with it */
	const char *if_running;   /* "fail", "wait", "join", "skip" */
	bool fresh;
	bool skip_done;
	bool renew;               /* begin the next generation, whatever has changed */
	const char *retry_stage;  /* only what failed there gets a fresh budget; NULL: all */
	int slots;
	int64_t lease_ms;
	int64_t grace_ms;
	bool grace_given;         /* and not by default */
	const char *notice;       /* the next are as in struct worker_options */
	const char *on_notice;
	const char *on_drained;
	const char *on_rebalance;
	const char *node;
	int64_t hook_timeout_ms;
	bool no_acknowledge;
	int64_t state_max_bytes;
	struct halt_rule halt;
	const char *pool;         /* or NULL, as the next two */
	const char *lifecycle;
	const char *stop_file;
	const char *joblog;
	const char *result;       /* file to write at the end, or NULL */
	bool show_stderr;
	bool quiet;
};

/* Runs it to the end or to a stop and says what happened, in the result file too. */
int drive_run(const struct drive *d);

#endif
