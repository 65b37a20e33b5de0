/* Reading pipeline files in tests. */
#ifndef EBB_PIPELINE_CASE_H
#define EBB_PIPELINE_CASE_H

#include <string.h>

#include "pipeline/read.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define HEAD "version: 1\nname: p\n"
#define STAGES HEAD "stages:\n"
/* Three lines, so that what follows it is in line 7. */
#define STAGE STAGES "  one:\n    input: a/*\n    run: cat\n"

struct result {
	struct pipeline p;
	struct pipeline_spots spots;
	struct pipeline_problems problems;
	struct error e;
	enum status st;
};

static inline void read_given(struct result *r, const char *text, const struct pipeline_given *given,
    size_t n_given)
{
	struct pipeline_text t = {.data = text, .len = strlen(text), .file_name = "f.yaml"};

	memset(r, 0, sizeof(*r));
	r->st = pipeline_read(&t, given, n_given, &r->p, &r->spots, &r->problems, &r->e);
}

static inline void release(struct result *r)
{
	pipeline_free(&r->p);
	pipeline_spots_free(&r->spots);
	pipeline_problems_free(&r->problems);
}

#endif
