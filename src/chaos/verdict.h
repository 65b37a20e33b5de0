/* What a rehearsal showed: checks that hold or not, and figures beside them. */
#ifndef EBB_CHAOS_VERDICT_H
#define EBB_CHAOS_VERDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"
#include "chaos/experiment.h"

struct blow;
struct ledger;
struct ledger_run;

enum check_result { CHECK_HOLDS, CHECK_FAILS, CHECK_SKIPPED };

/* The checks, in the order in which they are shown. */
enum check_name {
	CHECK_FINISHED,   /* the pipeline came to its end */
	CHECK_LOST,       /* every shard is published */
	CHECK_TWICE,      /* no shard was accepted twice */
	CHECK_BYTES,      /* the outputs are what they are without interruptions */
	CHECK_MANIFESTS,  /* and what the manifests say */
	CHECK_LEFT,       /* no process is left */
	CHECK_DISTURBED,  /* something was done to it at all */
	CHECKS,
};

struct verdict_check {
	enum check_result result;
	struct buf text;     /* one line: what was found */
};

/* Of one blow, as its worker heard it; -1: it did not. */
struct felt {
	int64_t heard_ms;    /* after it was given */
	int64_t safe_ms;     /* until nothing was in the worker's hands any more */
};

struct verdict {
	struct verdict_check check[CHECKS];
	const struct blow *blow; /* borrowed */
	struct felt *felt;   /* of each */
	size_t n_blows;
	int64_t zero_ms;     /* boot time of the first shard's start; 0: never */
	int64_t wall_ms;     /* of the rehearsal */
	int64_t reference_ms;/* without interruptions; -1: not measured */
	int64_t net_ms;
	int64_t lost_ms;
	double wall_over_net;
	double overhead_percent;
	int machines;
	int instances;
	int64_t seed;
	const char *cloud;   /* NULL: none was played */
	struct buf uncompared; /* stages whose output went to stdout, joined by ", " */
	char *folder;        /* that was kept; NULL */
};

void verdict_free(struct verdict *v); /* what it owns */

void verdict_set(struct verdict *v, enum check_name c, enum check_result r, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* No check fails. */
bool verdict_holds(const struct verdict *v);

/* Nothing fails but that it was disturbed, so that nothing is shown. */
bool verdict_is_inconclusive(const struct verdict *v);

/* The checks that the ledger decides (finished, lost, twice), the figures, and what
 * workers heard of the blows. `why` is said where the run is not finished. */
enum status verdict_look(struct verdict *v, struct ledger *l, const struct ledger_run *run,
    const char *why, struct error *e) MUST_USE;

/* For people; for programs (docs/chaos.md); and as JUnit's XML, a case for each check. */
void verdict_text(const struct verdict *v, struct buf *out);
void verdict_json(const struct verdict *v, struct buf *out);
void verdict_junit(const struct verdict *v, struct buf *out);
/* The same of one that could not be held. `folder` was kept; NULL: none was. */
void verdict_json_error(const char *why, const char *folder, struct buf *out);
void verdict_junit_error(const char *why, struct buf *out);

#endif
