/* Each allocation of reading a pipeline file and of listing inputs fails once:
 * the answer is ST_NO_MEMORY, and (under the leak checker) nothing is lost.
 * Linked with --wrap, so that sys_alloc and sys_realloc are those here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pipeline/read.h"
#include "shard/inputs.h"

static size_t calls;
static size_t fail_at;

void *__wrap_sys_alloc(size_t size);
void *__wrap_sys_realloc(void *ptr, size_t size);
void *__real_sys_alloc(size_t size);
void *__real_sys_realloc(void *ptr, size_t size);

void *__wrap_sys_alloc(size_t size)
{
	return ++calls == fail_at ? NULL : __real_sys_alloc(size);
}

void *__wrap_sys_realloc(void *ptr, size_t size)
{
	return ++calls == fail_at ? NULL : __real_sys_realloc(ptr, size);
}

static enum status read_one(const char *text, enum status good)
{
	static const struct pipeline_given given = {"p", "it's"};
	const struct pipeline_text t = {.data = text, .len = strlen(text), .file_name = "f"};
	struct pipeline_problems problems = {0};
	struct pipeline_spots spots;
	struct pipeline p;
	struct error e;
	enum status st = pipeline_read(&t, &given, 1, &p, &spots, &problems, &e);

	if (st == ST_OK) {
		pipeline_free(&p);
		pipeline_spots_free(&spots);
	}
	pipeline_problems_free(&problems);
	return st == good ? ST_OK : st;
}

static enum status read_good(void)
{
	return read_one("version: 1\nname: x\nparams: {p: required, q: 1}\nfiles: [a, b]\n"
	    "drain: {reserve: 1s}\nstages:\n  two: {input: [{stage: one}, x], run: [a, '${p}']}\n"
	    "  one:\n    input: ['*', {list: l}]\n    shard: {by: bytes, size: 1MB}\n"
	    "    run: cat ${p} | x\n    output: out/{#}-${q}\n    timeout: 3s\n"
	    "    retry: {failures: 3, backoff: 1s..2s}\n    allow_failed: 1%\n"
	    "    after_stop: {0: done}\n    env: {A: 1, B: '${q}'}\n    secrets: {S: env:T}\n"
	    "    shell: sh -c\n    version: 1\n    resources: {cpu: 1}\n    slots: gpu\n", ST_OK);
}

static enum status read_bad(void)
{
	return read_one("version: 2\nname: .\nparams: {p: 1, 1: 2}\nstages:\n  a: {input: {stage: "
	    "b}, rnu: x, timeout: 1, slots: x, stop: {to: man}, shard: {size: 1ms}, zzz: 1}\n",
	    ST_CONFIG);
}

static enum status read_cycle(void)
{
	return read_one("version: 1\nname: a\nparams: {p: 1}\nstages:\n  a: {input: {stage: b}, "
	    "run: x}\n  b: {input: {stage: a}, run: x}\n", ST_CONFIG);
}

static enum status list_inputs(void)
{
	char pattern[] = "/proc/self/{limits,s*}";
	char other[] = "/proc/self/[ls]*";
	const struct spec_source sources[] = {
		{.kind = SOURCE_GLOB, .text = pattern}, {.kind = SOURCE_GLOB, .text = other},
		{.kind = SOURCE_COUNT, .count = 2},
	};
	struct buf item = {0};
	enum status st = ST_OK;
	struct error e;
	size_t i;

	for (i = 0; st == ST_OK && i < 3; i++) {
		struct inputs *in;
		bool end = false;

		st = inputs_open(&sources[i], &in, &e);
		while (st == ST_OK && !end)
			st = inputs_next(in, &item, &end, &e);
		inputs_close(in);
	}
	buf_free(&item);
	return st;
}

static void fails_well(enum status (*fn)(void), size_t at_least)
{
	size_t needed;
	size_t n;

	calls = 0;
	fail_at = 0;
	assert_int_equal(fn(), ST_OK);
	needed = calls;
	assert_true(needed >= at_least);
	for (n = 1; n <= needed; n++) {
		calls = 0;
		fail_at = n;
		if (fn() != ST_NO_MEMORY)
			fail_msg("allocation %zu of %zu", n, needed);
	}
	fail_at = 0;
}

static void reading(void **state)
{
	(void)state;
	fails_well(read_good, 100);
	fails_well(read_bad, 20);
	fails_well(read_cycle, 20);
}

static void inputs(void **state)
{
	(void)state;
	fails_well(list_inputs, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reading),
		cmocka_unit_test(inputs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
