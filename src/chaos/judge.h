/* The checks of a verdict: ledger, outputs, processes. */
#ifndef EBB_CHAOS_JUDGE_H
#define EBB_CHAOS_JUDGE_H

#include <stdbool.h>

#include "base/status.h"

struct follow;
struct proctree;
struct verdict;

struct judge_case {
	struct follow *follow;    /* the run; nobody works on it any more */
	const char *folder;       /* with state, out and ref; NULL: a run of others */
	const char *state;        /* whose state folder this is */
	const char *reference;    /* outputs as they should be; NULL: none were given */
	bool made_reference;      /* they are in folder/ref */
	const char *why;          /* it is not finished */
	int why_code;             /* with which exit code a worker gave up; 0: none did */
};

/* All checks but the one for processes, and the figures. */
enum status judge_all(struct verdict *v, const struct judge_case *c, struct error *e) MUST_USE;
/* The one for processes. */
void judge_left(struct verdict *v, const struct proctree *all);

#endif
