/* From what a stage reads to the items of its plan, by its way of sharding: one
 * each, byte ranges, groups of small files, or one for everything. */
#ifndef EBB_WORKER_ITEMIZE_H
#define EBB_WORKER_ITEMIZE_H

#include "ledger/ledger.h"
#include "worker/input.h"

struct itemize {
	const struct stage *g;
	/* Called for each item in order. `item` has part, offset, length and, for
	 * ranges and for a shard of everything, the version. A status that is not
	 * ST_OK ends it and is returned. */
	enum status (*add)(void *arg, const char *text, size_t len,
	    const struct ledger_item *item, struct error *e);
	void *arg;
	struct buf group;       /* SPEC_FILES: paths joined by NUL */
	int64_t group_bytes;    /* the size of its files */
	struct input_sum sum;   /* SPEC_ALL */
};

/* g, add and arg are set, the rest is zero. */
enum status itemize_begin(struct itemize *it, struct error *e) MUST_USE;
enum status itemize_put(struct itemize *it, const struct buf *text, struct error *e) MUST_USE;
/* What only the end of the input makes whole. */
enum status itemize_end(struct itemize *it, struct error *e) MUST_USE;
void itemize_free(struct itemize *it);

/* Adds an item to the digest of its chunk, which begins with the fingerprint. */
void itemize_digest(struct hash *digest, const char *text, size_t len,
    const struct ledger_item *item);

#endif
