/* A pipeline file of the command line: read, with --set, from its own folder. */
#ifndef EBB_CLI_PIPELINE_FILE_H
#define EBB_CLI_PIPELINE_FILE_H

#include "base/log.h"
#include "cli/options.h"
#include "pipeline/read.h"

struct pipeline_file {
	struct pipeline pipeline;
	struct pipeline_spots spots;
	struct pipeline_problems problems;
};

void pipeline_file_free(struct pipeline_file *f); /* what it owns */

/* Reads the file at `path`; `set` has NAME=VALUE texts. Statuses as of
 * pipeline_read, or why the file cannot be read. *out is to be freed in any
 * case. */
enum status pipeline_file_read(const char *path, const struct option_texts *set,
    struct pipeline_file *out, struct error *e) MUST_USE;

/* ST_CONFIG with problems: the name of an output is absolute, which cannot be moved. */
enum status pipeline_file_check_outputs(struct pipeline_file *f, const char *path,
    struct error *e) MUST_USE;
/* All outputs go below that folder, which is made where it is missing: names in the
 * file, which must be relative then, are seen from there. Inputs stay where they are.
 * ST_CONFIG as above. */
enum status pipeline_file_set_root(struct pipeline_file *f, const char *path, const char *root,
    struct error *e) MUST_USE;

/* A line on stderr for each problem, `mark` at its end. */
void pipeline_file_say(const char *path, const struct pipeline_problems *p, enum log_level level,
    const char *mark);

/* Makes the file's folder the current one: relative names in it are meant from
 * there. */
enum status pipeline_file_enter(const char *path, struct error *e) MUST_USE;

#endif
