/* Input lists: what stands after :::, in -a files, on stdin, and their
 * combinations, read as a stream in bounded memory. */
#ifndef EBB_SHARD_LIST_H
#define EBB_SHARD_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"

enum {
	LIST_ITEM_MAX = 1 << 17,   /* bytes of one item: what the kernel takes as
	                            * one argument (MAX_ARG_STRLEN), less its NUL */
	LIST_ARGS_MAX = 64,        /* columns or sources */
};

/* One source of values. */
struct list_source {
	const char *const *words;  /* values given on the command line, or NULL */
	size_t n_words;
	const char *file;          /* else: a file of values, "-" for stdin */
	bool linked;               /* :::+ and ::::+: taken in step with the source
	                            * before it instead of combined with it */
};

struct list_options {
	bool nul;                  /* values in files end with NUL instead of \n */
	bool skip_empty;           /* empty lines are no items (as xargs -r... for
	                            * files and stdin; words given stay) */
	const char *colsep;        /* POSIX extended regular expression that cuts a
	                            * value into columns {1} {2} ...; NULL: none */
};

struct list;

/* Sources combine as in GNU parallel: the Cartesian product, the last source
 * varying fastest; linked ones in step, the shorter one repeated from its start
 * (as `:::+` of parallel 20221122 does; say so if it differs). With one source
 * the list is streamed and its length does not matter; with several, all but
 * the first are kept in memory, up to 64 MiB (ST_CONFIG beyond). Strings are
 * borrowed and must outlive the list.
 * ST_CONFIG: no source, a bad regular expression, stdin named twice.
 * ST_NOT_FOUND and ST_CONFIG name a file that is missing, a folder, ... */
enum status list_open(const struct list_source *sources, size_t n,
    const struct list_options *opt, struct list **out, struct error *e) MUST_USE;
void list_close(struct list *l);

/* The next item: its arguments joined by NUL in *item (cleared first), their
 * number in *n_args. *end is true after the last. A line loses its \n, and a
 * \r before it; the last line needs no \n. ST_CONFIG names source and line of
 * a value that is too long, has too many columns, or holds a NUL in line mode.
 * Without an error a call may block only while a source has nothing to read. */
enum status list_next(struct list *l, struct buf *item, size_t *n_args, bool *end,
    struct error *e) MUST_USE;

/* True when list_next would not block: words, regular files, or bytes already
 * there. For planning what has arrived from a slow producer. */
bool list_ready(struct list *l);

#endif
