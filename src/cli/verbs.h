/* The verbs: one file each, cmd_<verb>.c. */
#ifndef EBB_CLI_VERBS_H
#define EBB_CLI_VERBS_H

#include "cli/options.h"

extern const struct verb verb_map;
extern const struct verb verb_run;
extern const struct verb verb_exec;
extern const struct verb verb_watch;
extern const struct verb verb_notify;
extern const struct verb verb_worker;
extern const struct verb verb_drain;
extern const struct verb verb_cancel;
extern const struct verb verb_status;
extern const struct verb verb_report;
extern const struct verb verb_shards;
extern const struct verb verb_logs;
extern const struct verb verb_retry;
extern const struct verb verb_gc;
extern const struct verb verb_doctor;
extern const struct verb verb_chaos;
extern const struct verb verb_task;
extern const struct verb verb_validate;
extern const struct verb verb_completion;
extern const struct verb verb_help;

/* NULL when there is no such verb. */
const struct verb *verb_find(const char *name);
extern const struct verb *const verbs[]; /* ends with NULL */
/* The verb of the second row that `word` names; NULL when there is none. */
const struct verb *verb_find_sub(const struct verb *v, const char *word);
/* The last word of its name. */
const char *verb_word(const struct verb *v);

enum exit_code {
	EXIT_DONE = 0,
	EXIT_SOME_FAILED = 1,
	EXIT_BAD_USAGE = 2,
	EXIT_UNREACHABLE = 3,
	EXIT_ALREADY_RUNNING = 4,
	EXIT_DRAINED = 75,
	EXIT_INTERRUPTED = 130,
};

#endif
