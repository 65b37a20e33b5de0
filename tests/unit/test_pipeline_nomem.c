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
#include "alloc_fault.h"

static enum status read_one(const char *text, struct error *e)
{
	static const struct pipeline_given given = {"p", "it's"};
	const struct pipeline_text t = {.data = text, .len = strlen(text), .file_name = "f"};
	struct pipeline_problems problems = {0};
	struct pipeline_spots spots;
	struct pipeline p;
	enum status st = pipeline_read(&t, &given, 1, &p, &spots, &problems, e);

	if (st == ST_OK) {
		pipeline_free(&p);
		pipeline_spots_free(&spots);
	}
	pipeline_problems_free(&problems);
	return st;
}

static enum status read_good(struct error *e)
{
	return read_one("version: 1\nname: x\nparams: {p: required, q: 1}\nfiles: [a, b]\n"
	    "drain: {reserve: 1s}\nstages:\n  two: {input: [{stage: one}, x], run: [a, '${p}']}\n"
	    "  one:\n    input: ['*', {list: l}]\n    shard: {by: bytes, size: 1MB}\n"
	    "    run: cat ${p} | x\n    output: out/{#}-${q}\n    timeout: 3s\n"
	    "    retry: {failures: 3, backoff: 1s..2s}\n    allow_failed: 1%\n"
	    "    after_stop: {0: done}\n    env: {A: 1, B: '${q}'}\n    secrets: {S: env:T}\n"
	    "    shell: sh -c\n    version: 1\n    resources: {cpu: 1}\n    slots: gpu\n", e);
}

static enum status read_bad(struct error *e)
{
	return read_one("version: 2\nname: .\nparams: {p: 1, 1: 2}\nstages:\n  a: {input: {stage: "
	    "b}, rnu: x, timeout: 1, slots: x, stop: {to: man}, shard: {size: 1ms}, zzz: 1}\n",
	    e);
}

static enum status read_cycle(struct error *e)
{
	return read_one("version: 1\nname: a\nparams: {p: 1}\nstages:\n  a: {input: {stage: b}, "
	    "run: x}\n  b: {input: {stage: a}, run: x}\n", e);
}

static enum status list_inputs(struct error *e)
{
	char pattern[] = "/proc/self/{limits,s*}";
	char other[] = "/proc/self/[ls]*";
	const struct spec_source sources[] = {
		{.kind = SOURCE_GLOB, .text = pattern}, {.kind = SOURCE_GLOB, .text = other},
		{.kind = SOURCE_COUNT, .count = 2},
	};
	struct buf item = {0};
	enum status st = ST_OK;
	size_t i;

	for (i = 0; st == ST_OK && i < 3; i++) {
		struct inputs *in;
		bool end = false;

		st = inputs_open(&sources[i], &in, e);
		while (st == ST_OK && !end)
			st = inputs_next(in, &item, &end, e);
		inputs_close(in);
	}
	buf_free(&item);
	return st;
}

static void reading(void **state)
{
	(void)state;
	alloc_fails_well(read_good, ST_OK, 100);
	alloc_fails_well(read_bad, ST_CONFIG, 20);
	alloc_fails_well(read_cycle, ST_CONFIG, 20);
}

static void inputs(void **state)
{
	(void)state;
	alloc_fails_well(list_inputs, ST_OK, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reading),
		cmocka_unit_test(inputs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
