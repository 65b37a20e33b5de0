/* One machine of a rehearsal: a worker with all that runs under it, and the metadata
 * service that it asks. Times are CLOCK_BOOTTIME in ms. */
#ifndef EBB_CHAOS_MACHINE_H
#define EBB_CHAOS_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "chaos/instance.h"
#include "ledger/ledger.h"

struct experiment;
struct serve;

/* What all machines that chaos plays have in common; borrowed. */
struct machine_plan {
	const struct experiment *x;
	const char *program;      /* of ebb */
	const char *folder;       /* state, out and log are in it */
	const char *pipeline;     /* its file */
	char *const *set;         /* NAME=VALUE */
	size_t n_set;
	const char *token;        /* marks the processes of this rehearsal */
	const char *run;          /* its name in the ledger */
};

struct machine {
	int number;               /* from 1 */
	const char *pool;         /* borrowed, or in `worker`; zone may be NULL */
	const char *zone;
	int lifecycle;            /* enum lifecycle */
	int slots;

	bool up;                  /* its worker is there */
	int32_t pid;              /* of the worker, or of the last one */
	int instances;            /* how many it has been */
	char mark[128];           /* of its processes: struct proctree; "" outside */
	char id[INSTANCE_ID_MAX];
	struct serve *serve;      /* NULL: none, as outside */
	struct ledger_worker worker; /* outside: whose machine this is; id 0 */

	/* What is done to it; 0: nothing. */
	int64_t deadline_ms;      /* it goes then */
	size_t blow;              /* which one that is */
	int64_t freeze_ms;        /* it is to stand still from then on, */
	int64_t thaw_ms;          /* and to go on then */
	bool frozen;

	/* While it is not up. */
	int64_t back_ms;          /* not before that */
	int64_t held_until_ms;    /* there is no capacity until then, */
	bool held;                /* or until further notice */
	bool over;                /* it does not come back: its worker found nothing to do, */
	int bad_exit;             /* or failed so */
	int failures;             /* in a row, of those that could not work at all */
};

/* A new instance, with another id, and a worker on it: `begins` runs the pipeline,
 * else it joins the run. Nothing is there after a failure. */
enum status machine_start(struct machine *m, const struct machine_plan *p, bool begins,
    struct error *e) MUST_USE;
/* Shows the notice that it is taken away in `in_ms` (-1: the cloud's own window). */
enum status machine_notice(struct machine *m, enum notice_action action, int64_t in_ms,
    struct error *e) MUST_USE;
enum status machine_rebalance(struct machine *m, struct error *e) MUST_USE;
/* Nothing shows any more. */
void machine_withdraw(struct machine *m);

/* Those of a machine outside only when pid, start time and boot agree; false: it is not
 * there any more. */
bool machine_stop(struct machine *m);
bool machine_go_on(struct machine *m);
/* All of its processes, by SIGKILL. False also when some are still there after two
 * seconds. */
bool machine_kill(struct machine *m);

/* Its worker has ended: closes the service and forgets what was to be done. */
void machine_gone(struct machine *m);

/* The beginning of the marks of all machines of a rehearsal. */
void machine_mark_prefix(const char *token, char *out, size_t size);

#endif
