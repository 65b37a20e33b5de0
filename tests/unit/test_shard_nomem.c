/* Each allocation of the shard room and of templates fails once: the answer is
 * ST_NO_MEMORY, and (under the leak checker) nothing is lost. Linked with
 * --wrap, so that sys_alloc and sys_realloc are those here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/template.h"
#include "shard/list.h"
#include "alloc_fault.h"

static enum status read_list(const struct list_source *sources, size_t n,
    const struct list_options *opt, struct error *e)
{
	struct buf item = {0};
	struct list *l;
	enum status st = list_open(sources, n, opt, &l, e);
	bool end = false;
	size_t n_args;

	while (st == ST_OK && !end) {
		(void)list_ready(l);
		st = list_next(l, &item, &n_args, &end, e);
	}
	buf_free(&item);
	list_close(l);
	return st;
}

static enum status list_of_files(struct error *e)
{
	static const char *const words[] = {"a,b", "c", "d,eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"};
	const struct list_source sources[] = {
		{.file = "/proc/self/limits"},
		{.words = words, .n_words = 3, .linked = true},
		{.words = words, .n_words = 3},
		{.file = "/proc/self/limits"},
	};
	const struct list_options opt = {.colsep = " +"};

	return read_list(sources, 4, &opt, e);
}

static enum status list_of_words(struct error *e)
{
	static const char *const words[] = {"a", "b"};
	const struct list_source source = {.words = words, .n_words = 2};
	const struct list_options opt = {0};

	return read_list(&source, 1, &opt, e);
}

static enum status expand_template(struct error *e)
{
	static const char item[] = "some/where.x\0other value that is long enough to grow";
	const struct template_values v = {.item = item, .item_len = sizeof(item) - 1};
	struct buf out = {0};
	struct template *t;
	enum status st;

	st = template_parse("echo {} {1/} {2//} {#}{%} a b c {1.} {2} {} {} {} {} {}", TEMPLATE_SHELL,
	    &t, e);
	if (st == ST_OK)
		st = template_expand(t, &v, &out, e);
	if (st != ST_OK)
		assert_int_equal(out.len, 0);
	template_free(t);
	buf_free(&out);
	return st;
}

static void lists(void **state)
{
	(void)state;
	alloc_fails_well(list_of_files, ST_OK, 12);
	alloc_fails_well(list_of_words, ST_OK, 3);
}

static void templates(void **state)
{
	(void)state;
	alloc_fails_well(expand_template, ST_OK, 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists),
		cmocka_unit_test(templates),
	};

	return cmocka_run_group_tests_name("shard_nomem", tests, NULL, NULL);
}
