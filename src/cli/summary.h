/* The last lines of a run, for a person, and its exit code. */
#ifndef EBB_CLI_SUMMARY_H
#define EBB_CLI_SUMMARY_H

#include "worker/worker.h"

struct report_times;

/* `times` of the whole run; NULL: not known. */
int summary_print(const struct worker_options *opt, const struct worker_result *r,
    const struct report_times *times, bool quiet);

#endif
