/* What is wrong with a file, at which places: all of it in one go. */
#ifndef EBB_PIPELINE_PROBLEMS_H
#define EBB_PIPELINE_PROBLEMS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/mem.h"
#include "base/status.h"

enum { PIPELINE_PROBLEMS_MAX = 20 };

struct pipeline_problem {
	int line;        /* from 1; 0: of no place in the file (a --set) */
	int column;      /* from 1 */
	char *text;      /* one line: what is wrong; what was expected; what to do */
};

/* Starts zeroed. */
struct pipeline_problems {
	struct pipeline_problem list[PIPELINE_PROBLEMS_MAX];
	size_t n;
	size_t more;     /* found beyond those in the list */
	bool no_memory;  /* one could not be kept */
};

void pipeline_problems_free(struct pipeline_problems *p); /* what it owns */

/* The text may hold any bytes: what could move a cursor or break the line is
 * kept as str_display shows it. */
void pipeline_problem_add(struct pipeline_problems *p, int line, int column, const char *fmt, ...)
    PRINTF_LIKE(4, 5) __attribute__((cold));

/* In the order of their places; those without one first. */
void pipeline_problems_sort(struct pipeline_problems *p);

/* "FILE:LINE:COLUMN: TEXT", or "FILE: TEXT", without a line end. */
void pipeline_problem_text(const struct pipeline_problem *p, const char *file, struct buf *out);

/* ST_OK without problems; else ST_CONFIG, with the first one and the number of
 * the others, or ST_NO_MEMORY. */
enum status pipeline_problems_status(const struct pipeline_problems *p, const char *file,
    struct error *e) MUST_USE;

#endif
