/* Rows by identity, in memory: a multimap from 16 bytes to row numbers that
 * takes about 9 bytes for each row and answers "maybe these". It keeps 16 bits
 * or so of the identity, so whoever asks compares the row itself. Pure. */
#ifndef EBB_LEDGER_IDENT_H
#define EBB_LEDGER_IDENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { IDENT_SIZE = 16 };

struct ident;

/* Rows from `first_row` on (less than 2^32 - 1 of them) can be added. NULL
 * without memory. */
struct ident *ident_create(int64_t first_row) MUST_USE;
void ident_destroy(struct ident *x);
/* ST_NO_MEMORY; ST_PERMANENT for a row out of range. */
enum status ident_add(struct ident *x, const uint8_t id[IDENT_SIZE], int64_t row,
    struct error *e) MUST_USE;

/* A walk over the rows that may have this identity. */
struct ident_walk {
	uint32_t part;
	uint32_t at;
	uint16_t tag;
};

void ident_find(const struct ident *x, const uint8_t id[IDENT_SIZE], struct ident_walk *w);
/* False at the end. Nothing may be added during a walk. */
bool ident_next(const struct ident *x, struct ident_walk *w, int64_t *row);

#endif
