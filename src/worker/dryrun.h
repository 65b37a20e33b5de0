/* --dry-run: what would be run, without a state. */
#ifndef EBB_WORKER_DRYRUN_H
#define EBB_WORKER_DRYRUN_H

#include "worker/worker.h"

/* Writes one line for each shard to stdout: the command as a shell would take
 * it, with "< FILE (bytes A to B)" for byte ranges and "> NAME" for its output. */
enum status dryrun_print(const struct spec *spec, const struct worker_input *input,
    struct error *e) MUST_USE;

#endif
