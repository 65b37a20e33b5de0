/* What, beside its input, a shard's result depends on. */
#ifndef EBB_WORKER_FINGERPRINT_H
#define EBB_WORKER_FINGERPRINT_H

#include "base/hash.h"
#include "model/spec.h"

/* Hash of the command, of how it is fed, of what a pipeline's file gives it
 * (`env`, `shell`, `version`; not secrets), and of the local files that it names: those in `files`, and each word (of a
 * shell string: each run of characters without blanks or quotes, but not behind
 * a >) that, seen from the current folder, is a regular file. Up to 64 MiB its content counts,
 * beyond that its size and mtime. ST_* when a named file cannot be read. */
enum status fingerprint_of(const struct spec *s, uint8_t out[HASH_SIZE], struct error *e) MUST_USE;

#endif
