/* Housekeeping of a state folder: what dead workers left, old logs, old runs,
 * and the cap on its size. Never touches what an unfinished run needs, nor
 * any published output. */
#ifndef EBB_WORKER_CARE_H
#define EBB_WORKER_CARE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "ledger/ledger.h"
#include "worker/state.h"

struct care_options {
	int64_t good_log_ms;   /* logs of shards that are done: 7 days */
	int64_t failed_log_ms; /* of the others: 30 days */
	int64_t run_ms;        /* finished and cancelled runs: 30 days */
	int64_t max_bytes;     /* of the whole folder; 0: no cap */
	bool dry_run;          /* count, remove nothing */
};

struct care_options care_default(void);

struct care_report {
	int64_t private_files; /* of attempts that are void */
	int64_t worker_folders;
	int64_t logs;
	int64_t runs;
	int64_t names;         /* of outputs that removed runs had published, and that are
	                        * gone */
	int64_t bytes_before;
	int64_t bytes_after;
};

/* Runs beside working runs. ST_FULL: still over the cap, what is left belongs
 * to unfinished runs. */
enum status care_run(struct state *state, struct ledger *l, const struct care_options *opt,
    struct care_report *report, struct error *e) MUST_USE;

/* Takes what stands for a run, for as long as *fd is open: nobody starts it
 * meanwhile. ST_BUSY: somebody works on it. */
enum status care_hold_run(struct state *state, struct ledger *l, const struct ledger_run *run,
    int *fd, struct error *e) MUST_USE;

/* Removes a run, finished or not, which the caller holds: its progress, logs and
 * manifest. What it has published stays, and may be replaced by any run. */
enum status care_forget_run(struct state *state, struct ledger *l, const struct ledger_run *run,
    struct error *e) MUST_USE;

/* At the end of a run: its private files whose attempts are void. */
enum status care_private_files(struct state *state, struct ledger *l,
    const struct ledger_run *run, struct error *e) MUST_USE;

/* After a run: care_run with the defaults, once a day, or when the folder has
 * outgrown max_bytes. Problems are warnings. */
void care_after_run(struct state *state, int64_t max_bytes);

#endif
