/* The name that a shard's output is published under. */
#ifndef EBB_WORKER_FINAL_NAME_H
#define EBB_WORKER_FINAL_NAME_H

#include "worker/work.h"

/* What the stage's `out` makes of these values: for SPEC_OUT_NAME the file's name,
 * for SPEC_OUT_FILES the folder's. In one spelling ("./" and "//" are gone), and
 * absolute when the state belongs to another folder than the current one.
 * ST_CONFIG: it is no file name, or outside of the folder that outputs may be in. */
enum status final_name(const struct stage *g, const struct template_values *v, struct buf *name,
    struct error *e) MUST_USE;

/* The name of a file below that folder, in the same spelling. */
enum status final_name_below(const char *folder, const char *name, struct buf *out,
    struct error *e) MUST_USE;

#endif
