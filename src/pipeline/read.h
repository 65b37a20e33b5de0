/* From a pipeline file (docs/pipeline-file.md) to a pipeline. Pure: no file is
 * looked at but the text given. */
#ifndef EBB_PIPELINE_READ_H
#define EBB_PIPELINE_READ_H

#include <stddef.h>

#include "model/pipeline.h"
#include "pipeline/problems.h"

/* A parameter's value from elsewhere than the file: --set NAME=VALUE. */
struct pipeline_given {
	const char *name;
	const char *value;
};

struct pipeline_text {
	const char *data;        /* len bytes; need not end with NUL */
	size_t len;
	const char *file_name;   /* for messages */
};

/* Where things stand in the file; line 0: not there. For what is found wrong
 * later, when files are looked at. */
struct pipeline_spot {
	int line;
	int column;
};

struct pipeline_stage_spots {
	struct pipeline_spot name;
	struct pipeline_spot input;
	struct pipeline_spot run;
	struct pipeline_spot output;
};

struct pipeline_spots {
	struct pipeline_stage_spots *stage; /* in the order of the pipeline's stages */
	size_t n;
	struct pipeline_spot files;
	struct pipeline_spot notice;
};

void pipeline_spots_free(struct pipeline_spots *s); /* what it owns */

/* Reads the file. On ST_OK *out and *spots are the caller's to free, all
 * defaults of the format are filled in, stages stand in an order in which each
 * comes after those it reads (else as in the file), and parameters are sorted
 * by name with their values in all texts.
 *
 * ST_CONFIG: something is wrong with it, all of which (up to a bound) is added to
 * *problems, in the order of their places; *e has the first. A parameter given
 * that the file does not declare, or given twice, is such a problem.
 * ST_NO_MEMORY. After a failure *out and *spots are empty; *problems is to be
 * freed in any case. No message shows a secret's reference. */
enum status pipeline_read(const struct pipeline_text *text, const struct pipeline_given *given,
    size_t n_given, struct pipeline *out, struct pipeline_spots *spots,
    struct pipeline_problems *problems, struct error *e) MUST_USE;

#endif
