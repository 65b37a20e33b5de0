/* The JSON Schema (draft 7) of a pipeline file, made from the tables of keys,
 * for editors and other programs. It allows what pipeline_read allows of each
 * key by itself, but cannot say all that keys say about each other. Pure. */
#ifndef EBB_PIPELINE_SCHEMA_H
#define EBB_PIPELINE_SCHEMA_H

#include "base/mem.h"
#include "base/status.h"

/* Always the same bytes; ends with a newline. */
enum status pipeline_schema(struct buf *out, struct error *e) MUST_USE;

#endif
