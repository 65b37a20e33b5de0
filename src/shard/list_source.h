/* One source of a list: words, a file or stdin, read value by value. */
#ifndef EBB_SHARD_LIST_SOURCE_H
#define EBB_SHARD_LIST_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/mem.h"
#include "base/status.h"
#include "shard/list.h"

struct source;

enum source_step {
	SOURCE_VALUE, /* there is one */
	SOURCE_END,   /* there is none any more */
	SOURCE_WAIT,  /* none yet, and looking for one would block */
};

/* Strings of *spec are borrowed; `opt` is only looked at here. Opening a FIFO
 * waits for its writer. Statuses as of list_open. */
enum status source_open(const struct list_source *spec, const struct list_options *opt,
    struct source **out, struct error *e) MUST_USE;
void source_close(struct source *s);

/* Looks at the next value, which stays the next one until source_pass. *data
 * is lent until then. SOURCE_WAIT is an answer only without may_wait. Errors
 * as of list_next; the same error comes again when asked again. */
enum status source_peek(struct source *s, bool may_wait, enum source_step *step,
    const char **data, size_t *len, struct error *e) MUST_USE;
/* Goes on behind the value that source_peek has shown. */
void source_pass(struct source *s);

/* Puts where the value shown or passed last is ("line 7 of names.txt: ")
 * before the text of *e; returns st. */
enum status source_blame(const struct source *s, enum status st, struct error *e)
    __attribute__((cold));

#endif
