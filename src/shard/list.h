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
	LIST_ITEM_MAX = (1 << 17) - 1, /* bytes of one item: what the kernel takes as
	                                * one argument (MAX_ARG_STRLEN, with its NUL) */
	LIST_ARGS_MAX = 64,            /* columns or sources */
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
 * varying fastest. A linked one goes in step with the source before it, and
 * the shorter of them ends both (:::+ of parallel 20221122; there it is --link
 * that repeats the shorter). The first source and those linked to it are
 * streamed and their length does not matter; the others are read to their end
 * here and kept, up to 64 MiB (ST_CONFIG beyond). Strings are borrowed and must
 * outlive the list, the array need not.
 *
 * With colsep each value, words too, is cut into columns, which lose white
 * space at both ends, as in parallel; it knows Perl's \t \n \r \f \d \D \s \S
 * \w \W \h, and refuses what Perl would understand differently.
 *
 * Where this differs from parallel 20221122, and why:
 * - A source without values makes the whole product empty; there it counts as
 *   one empty value, and commands run with an empty argument.
 * - A line loses its \r; a NUL in a line is an error (there it becomes "\0").
 * - skip_empty keeps lines of white space, and words (parallel -r drops both):
 *   only what is nothing is no item.
 * - Groups in colsep add no columns; of alternatives the longest is taken.
 *
 * ST_CONFIG: no source or too many, a bad regular expression, stdin named
 * twice. ST_NOT_FOUND, ST_DENIED and ST_CONFIG name a file that is missing,
 * may not be read, is a folder, ... May block as long as a source that is to
 * be kept, or a FIFO that nobody writes to. */
enum status list_open(const struct list_source *sources, size_t n,
    const struct list_options *opt, struct list **out, struct error *e) MUST_USE;
void list_close(struct list *l);

/* The next item: its arguments joined by NUL in *item (cleared first), their
 * number in *n_args. *end is true after the last, and *item is empty then. A
 * line loses its \n, and a \r before it; the last line needs no \n (and keeps
 * its \r then). ST_CONFIG names source and line of a value that is too long,
 * makes an item that is, has too many columns, or holds a NUL in line mode;
 * after an error the list is good for list_close only. A call may block only
 * while a source has nothing to read. */
enum status list_next(struct list *l, struct buf *item, size_t *n_args, bool *end,
    struct error *e) MUST_USE;

/* True when list_next would not block: words, regular files, whole values
 * already there, an end or an error. For planning what has arrived from a slow
 * producer. Reads what has arrived, but never waits. */
bool list_ready(struct list *l);

#endif
