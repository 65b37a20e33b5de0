/* What a stage reads: the items of all its sources, one after the other, in an
 * order that is the same each time while nothing has changed. */
#ifndef EBB_WORKER_INPUT_H
#define EBB_WORKER_INPUT_H

#include <stdbool.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/status.h"

struct stage;
struct input;

/* Opens files and a ledger handle of its own as it comes to them. Not for
 * SOURCE_GIVEN. Stages that it reads from must be sealed. Blocks on disks, so
 * it is for threads. */
enum status input_open(const struct stage *g, struct input **out, struct error *e) MUST_USE;
void input_close(struct input *in); /* NULL is fine */

/* The next item: a path, a line or a number, cleared first. Of an earlier stage,
 * the files that its sealed shards have published, in the order of its list.
 * ST_CONFIG for a pattern that nothing fits. */
enum status input_next(struct input *in, struct buf *item, bool *end, struct error *e) MUST_USE;

/* ---- versions of what a shard reads ---- */

/* Gathers the versions of several files into one. */
struct input_sum {
	struct hash *hash;
	int64_t size;
};

enum status input_sum_begin(struct input_sum *s, struct error *e) MUST_USE;
void input_sum_add(struct input_sum *s, const char *path, const struct file_version *v);
/* Frees it too. */
struct file_version input_sum_end(struct input_sum *s);

/* The version now of the file or files that a shard's item names, by its stage's
 * way of sharding; "does not exist" for what names none, or when one is missing.
 * For a shard of everything it reads all inputs: only for threads. */
struct file_version input_version(const struct stage *g, const char *item, size_t len);

#endif
