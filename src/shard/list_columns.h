/* Cuts a value of a list into columns at a separator, as --colsep of GNU
 * parallel does. */
#ifndef EBB_SHARD_LIST_COLUMNS_H
#define EBB_SHARD_LIST_COLUMNS_H

#include <stddef.h>

#include "base/mem.h"
#include "base/status.h"

struct columns;

/* `colsep` is a POSIX extended regular expression over bytes, with \t \n \r \f
 * \d \D \s \S \w \W and \h of Perl's. ST_CONFIG: what it cannot be, or what
 * would silently mean something else than in Perl. */
enum status columns_compile(const char *colsep, struct columns **out, struct error *e) MUST_USE;
void columns_free(struct columns *c);

/* Appends the columns of a value, joined by NUL, to *out; each loses white
 * space at both ends. *n is their number, >= 1. ST_CONFIG: more than `max`. */
enum status columns_split(const struct columns *c, const char *data, size_t len, size_t max,
    struct buf *out, size_t *n, struct error *e) MUST_USE;

#endif
