/* Each allocation of a piece of code fails once. For a program that is linked
 * with --wrap=sys_alloc,--wrap=sys_realloc; cmocka.h comes before. */
#ifndef EBB_TEST_ALLOC_FAULT_H
#define EBB_TEST_ALLOC_FAULT_H

#include <stddef.h>
#include <string.h>

#include "base/status.h"

static size_t alloc_calls;
static size_t alloc_fail_at; /* the number of the call that fails; 0: none does */

void *__wrap_sys_alloc(size_t size);
void *__wrap_sys_realloc(void *ptr, size_t size);
void *__real_sys_alloc(size_t size);
void *__real_sys_realloc(void *ptr, size_t size);

void *__wrap_sys_alloc(size_t size)
{
	return ++alloc_calls == alloc_fail_at ? NULL : __real_sys_alloc(size);
}

void *__wrap_sys_realloc(void *ptr, size_t size)
{
	return ++alloc_calls == alloc_fail_at ? NULL : __real_sys_realloc(ptr, size);
}

/* fn, which says `good` when nothing fails and allocates `at_least` so often, says
 * ST_NO_MEMORY and names the cause whichever of its allocations fails. */
static void alloc_fails_well(enum status (*fn)(struct error *e), enum status good,
    size_t at_least)
{
	struct error e;
	size_t needed;
	size_t n;

	alloc_calls = 0;
	alloc_fail_at = 0;
	assert_int_equal(fn(&e), good);
	needed = alloc_calls;
	assert_true(needed >= at_least);
	for (n = 1; n <= needed; n++) {
		alloc_calls = 0;
		alloc_fail_at = n;
		e.text[0] = '\0';
		if (fn(&e) != ST_NO_MEMORY)
			fail_msg("allocation %zu of %zu", n, needed);
		assert_non_null(strstr(e.text, "out of memory"));
	}
	alloc_fail_at = 0;
}

#endif
