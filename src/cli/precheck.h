/* What can be told of a pipeline before anything runs, by looking at its files:
 * inputs, commands, names of outputs; and about how much there is to do. All
 * names are looked up from the current folder (pipeline_file_enter). */
#ifndef EBB_CLI_PRECHECK_H
#define EBB_CLI_PRECHECK_H

#include "pipeline/read.h"

struct precheck_stage {
	bool known;          /* false: it depends on what another stage makes */
	bool exact;          /* of `shards` */
	int64_t shards;
	int64_t items;       /* files, lines, numbers */
	int64_t bytes;       /* of the files; -1: the input is no files */
	int64_t largest;     /* bytes of the largest shard, about */
};

struct precheck {
	struct precheck_stage stage[PIPELINE_STAGES_MAX];
	struct pipeline_problems errors;
	struct pipeline_problems warnings;
};

void precheck_free(struct precheck *p); /* what it owns */

/* Fills *out, which is freed by the caller in any case. Problems of the
 * pipeline are in errors and warnings; an error is returned only when looking
 * itself fails (memory). */
enum status precheck_run(const struct pipeline *p, const struct pipeline_spots *spots,
    struct precheck *out, struct error *e) MUST_USE;

#endif
