#include "ledger/ident.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"

/* Many small tables instead of a large one: when they grow, by half at a time,
 * old and new are there together for one of them only. Within a table entries
 * are found by linear probing from a place that the tag alone gives, so that a
 * table can grow without the identities. */
enum { PARTS = 1024, PART_MIN = 16, PART_MAX = 1 << 26 };

static const uint32_t no_row = UINT32_MAX;

struct part {
	uint32_t *rows; /* less first_row; no_row where there is none */
	uint16_t *tags; /* behind the rows, in the same block */
	uint32_t cap;
	uint32_t used;
};

struct ident {
	int64_t first_row;
	struct part parts[PARTS];
};

struct ident *ident_create(int64_t first_row)
{
	struct ident *x = mem_zero(sizeof(*x));

	if (x != NULL)
		x->first_row = first_row;
	return x;
}

void ident_destroy(struct ident *x)
{
	size_t i;

	if (x == NULL)
		return;
	for (i = 0; i < PARTS; i++)
		free(x->parts[i].rows);
	free(x);
}

/* Identities are hashes already, but nothing breaks if they are not. */
static uint32_t mix(const uint8_t id[IDENT_SIZE])
{
	uint64_t a;
	uint64_t b;

	memcpy(&a, id, sizeof(a));
	memcpy(&b, id + sizeof(a), sizeof(b));
	a ^= b * UINT64_C(0x9e3779b97f4a7c15);
	a = (a ^ (a >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	a = (a ^ (a >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)(a >> 32);
}

static uint16_t tag_of(uint32_t hash)
{
	return (uint16_t)(hash >> 16);
}

static uint32_t home_of(uint16_t tag, uint32_t cap)
{
	return (uint32_t)(((uint64_t)tag * cap) >> 16);
}

static uint32_t after(const struct part *p, uint32_t at)
{
	return at + 1 == p->cap ? 0 : at + 1;
}

static void part_put(struct part *p, uint16_t tag, uint32_t row)
{
	uint32_t at = home_of(tag, p->cap);

	while (p->rows[at] != no_row)
		at = after(p, at);
	p->rows[at] = row;
	p->tags[at] = tag;
	p->used++;
}

static enum status grow(struct part *p, struct error *e)
{
	struct part bigger = {.cap = p->cap == 0 ? PART_MIN : p->cap + p->cap / 2};
	uint32_t i;

	if (bigger.cap > PART_MAX)
		return error_set(e, ST_NO_MEMORY, "out of memory: too many shards in one stage");
	bigger.rows = sys_alloc((size_t)bigger.cap * (sizeof(uint32_t) + sizeof(uint16_t)));
	if (bigger.rows == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	bigger.tags = (uint16_t *)(bigger.rows + bigger.cap);
	for (i = 0; i < bigger.cap; i++)
		bigger.rows[i] = no_row;
	for (i = 0; i < p->cap; i++) {
		if (p->rows[i] != no_row)
			part_put(&bigger, p->tags[i], p->rows[i]);
	}
	free(p->rows);
	*p = bigger;
	return ST_OK;
}

enum status ident_add(struct ident *x, const uint8_t id[IDENT_SIZE], int64_t row, struct error *e)
{
	uint32_t hash = mix(id);
	struct part *p = &x->parts[hash % PARTS];
	int64_t offset = row - x->first_row;
	enum status st = ST_OK;

	if (offset < 0 || offset >= (int64_t)no_row)
		return error_set(e, ST_PERMANENT, "the ledger has given out too many row numbers "
		    "since this stage began");
	/* Full to four fifths at most. */
	if (((uint64_t)p->used + 1) * 5 > (uint64_t)p->cap * 4)
		st = grow(p, e);
	if (st == ST_OK)
		part_put(p, tag_of(hash), (uint32_t)offset);
	return st;
}

void ident_find(const struct ident *x, const uint8_t id[IDENT_SIZE], struct ident_walk *w)
{
	uint32_t hash = mix(id);

	w->part = hash % PARTS;
	w->tag = tag_of(hash);
	w->at = home_of(w->tag, x->parts[w->part].cap);
}

bool ident_next(const struct ident *x, struct ident_walk *w, int64_t *row)
{
	const struct part *p = &x->parts[w->part];

	while (p->cap > 0 && p->rows[w->at] != no_row) {
		uint32_t at = w->at;

		w->at = after(p, at);
		if (p->tags[at] == w->tag) {
			*row = x->first_row + p->rows[at];
			return true;
		}
	}
	return false;
}
