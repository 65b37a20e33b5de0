#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ledger/ident.h"

/* Identities that are nothing like hashes. */
static void id_of(uint32_t n, uint8_t id[IDENT_SIZE])
{
	memset(id, 0, IDENT_SIZE);
	id[0] = (uint8_t)n;
	id[5] = (uint8_t)(n >> 8);
	id[15] = (uint8_t)(n >> 16);
}

static int found(const struct ident *x, uint32_t n, int64_t row, int *others)
{
	struct ident_walk walk;
	uint8_t id[IDENT_SIZE];
	int64_t got;
	int hits = 0;

	id_of(n, id);
	ident_find(x, id, &walk);
	while (ident_next(x, &walk, &got)) {
		if (got == row)
			hits++;
		else
			++*others;
	}
	return hits;
}

static void finds_what_was_added(void **state)
{
	enum { N = 150000 };
	struct ident *x = ident_create(1000);
	struct error e;
	uint8_t id[IDENT_SIZE];
	int others = 0;
	uint32_t i;

	(void)state;
	assert_non_null(x);
	assert_int_equal(found(x, 1, 1000, &others), 0);
	for (i = 0; i < N; i++) {
		id_of(i, id);
		assert_int_equal(ident_add(x, id, 1000 + (int64_t)i, &e), ST_OK);
	}
	for (i = 0; i < N; i++)
		assert_int_equal(found(x, i, 1000 + (int64_t)i, &others), 1);
	assert_int_equal(found(x, N, 1000 + N, &others), 0);
	/* "maybe" is rare */
	assert_true(others < N / 100);
	ident_destroy(x);
}

static void keeps_equal_ones(void **state)
{
	struct ident *x = ident_create(0);
	struct error e;
	uint8_t id[IDENT_SIZE];
	int others = 0;
	int64_t row;

	(void)state;
	assert_non_null(x);
	id_of(7, id);
	for (row = 0; row < 1000; row++)
		assert_int_equal(ident_add(x, id, row, &e), ST_OK);
	assert_int_equal(found(x, 7, 500, &others), 1);
	assert_int_equal(others, 999);
	assert_int_equal(ident_add(x, id, -1, &e), ST_PERMANENT);
	assert_int_equal(ident_add(x, id, UINT32_MAX, &e), ST_PERMANENT);
	ident_destroy(x);
	ident_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_what_was_added),
		cmocka_unit_test(keeps_equal_ones),
	};

	return cmocka_run_group_tests_name("ident", tests, NULL, NULL);
}
