/* A rehearsal from its beginning to its verdict. */
#ifndef EBB_CHAOS_REHEARSAL_H
#define EBB_CHAOS_REHEARSAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

struct experiment;
struct verdict;

struct rehearsal_options {
	struct experiment *x;     /* what it leaves to chance or to measuring is filled in */
	bool quiet;

	/* One that plays its machines. */
	const char *program;      /* path of ebb */
	const char *pipeline;     /* its file */
	char *const *set;         /* NAME=VALUE */
	size_t n_set;
	const char *parent;       /* folder for its private one */
	bool keep;                /* leave that there even if all is well */
	bool no_reference;        /* do not run it without interruptions first */

	/* One of a run that others work on; NULL: it plays its machines. */
	const char *state;        /* folder */
	const char *run;          /* name */

	const char *reference;    /* folder with the outputs as they are without
	                           * interruptions; NULL: they are made, or not compared */
};

struct rehearsal;

/* Fills *out, whose blows live until rehearsal_free. ST_OK: there is a verdict, or
 * *interrupted by INT or TERM. Otherwise it could not be held: ST_CONFIG, or why. In
 * any case nothing that it started is running any more, and its private folder is gone
 * unless out->folder names it. */
enum status rehearsal_run(const struct rehearsal_options *o, struct verdict *out,
    struct rehearsal **r, bool *interrupted, struct error *e) MUST_USE;
void rehearsal_free(struct rehearsal *r); /* NULL is fine */

#endif
