/* Items of a source: which, and in which order. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "scratch.h"
#include "shard/inputs.h"
#include "worker/state_risk.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static char folder[SCRATCH_MAX];

static void make_file(const char *path, const char *text)
{
	struct error e;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, text, strlen(text), path, &e), ST_OK);
	assert_int_equal(close(fd), 0);
}

static int setup(void **state)
{
	static const char *const folders[] = {"a", "a/b", "a/b/c", "a-b", ".hidden", "a/.deep",
	    "a/[x]"};
	static const char *const files[] = {
		"a/x", "a/y", "a/b/x", "a/b/c/x", "a-b/x", "a/.dot", ".hidden/x", "a/.deep/x",
		    "top",
		"a/[x]/1", "a/new\nline", "a/\xff", "a/B", "star*", "-",
	};
	size_t i;

	(void)state;
	scratch_make(folder);
	if (chdir(folder) == -1)
		return -1;
	for (i = 0; i < COUNT(folders); i++)
		assert_int_equal(mkdir(folders[i], 0700), 0);
	for (i = 0; i < COUNT(files); i++)
		make_file(files[i], files[i]);
	assert_int_equal(mkfifo("a/fifo", 0600), 0);
	assert_int_equal(symlink("x", "a/link"), 0);
	assert_int_equal(symlink("nowhere", "a/dangling"), 0);
	assert_int_equal(symlink("a", "loop"), 0);
	assert_int_equal(symlink("..", "a/b/up"), 0);
	make_file("list", "one\n\ntwo \r\none\nlast");
	make_file("empty", "\n\n");
	make_file("nul", "a\nb\0c\n");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (chdir("/") == -1)
		return -1;
	scratch_remove(folder);
	return 0;
}

/* Items one behind the other, with | between them. */
static enum status items_of(const struct spec_source *source, struct buf *all, struct error *e)
{
	struct buf item = {0};
	struct inputs *in;
	bool end = false;
	enum status st = inputs_open(source, &in, e);

	buf_clear(all);
	buf_str(all, "");
	if (st != ST_OK)
		assert_null(in);
	while (st == ST_OK) {
		st = inputs_next(in, &item, &end, e);
		if (st != ST_OK || end)
			break;
		assert_true(item.len > 0);
		buf_str(all, all->len > 0 ? "|" : "");
		buf_append(all, item.data, item.len);
	}
	buf_free(&item);
	inputs_close(in);
	return st;
}

static void patterns(void **state)
{
	static const struct {
		const char *pattern;
		const char *items;
	} rows[] = {
		{"a/*", "a/B|a/link|a/new\nline|a/x|a/y|a/\xff"},
		{"a/.*", "a/.dot"},
		{"*/x", "a-b/x|a/x|loop/x"},
		{"./*/x", "./a-b/x|./a/x|./loop/x"},
		{"**/x", "a-b/x|a/b/c/x|a/b/x|a/x"},
		{"**/**/x", "a-b/x|a/b/c/x|a/b/x|a/x"},
		{"a/**", "a/B|a/[x]/1|a/b/c/x|a/b/x|a/link|a/new\nline|a/x|a/y|a/\xff"},
		{"a/**/c/x", "a/b/c/x"},
		{"a/b/**/x", "a/b/c/x|a/b/x"},
		{"a/[xy]", "a/x|a/y"},
		{"a/[!xy]", "a/B|a/\xff"},
		{"a/?", "a/B|a/x|a/y|a/\xff"},
		{"a/\\[x\\]/*", "a/[x]/1"},
		{"star\\*", "star*"},
		{"a//*/x", "a/b/x"},
		{"top", "top"},
		{"a/link", "a/link"},
		{"a/dangling", ""},
		{"nothing", ""},
		{"nothing/*", ""},
		{"top/*", ""},
		{"top/x", ""},
		{".h*/x", ".hidden/x"},
		{"a/f*", ""},
		{"a/b*", ""},
		{"**/\xff", "a/\xff"},
	};
	struct buf all = {0};
	struct error e;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		char pattern[64];
		const struct spec_source source = {.kind = SOURCE_GLOB, .text = pattern};

		(void)snprintf(pattern, sizeof(pattern), "%s", rows[i].pattern);
		assert_int_equal(items_of(&source, &all, &e), ST_OK);
		if (strcmp(all.data, rows[i].items) != 0)
			fail_msg("%s: %s", pattern, all.data);
	}
	buf_free(&all);
}

static void absolute_pattern(void **state)
{
	char pattern[SCRATCH_MAX + 8];
	char want[SCRATCH_MAX + 8];
	const struct spec_source source = {.kind = SOURCE_GLOB, .text = pattern};
	struct buf all = {0};
	struct error e;

	(void)state;
	(void)snprintf(pattern, sizeof(pattern), "%s/t*", folder);
	(void)snprintf(want, sizeof(want), "%s/top", folder);
	assert_int_equal(items_of(&source, &all, &e), ST_OK);
	assert_string_equal(all.data, want);
	buf_free(&all);
}

static void lists_and_counts(void **state)
{
	struct spec_source source = {.kind = SOURCE_LIST};
	char name[16] = "list";
	struct buf all = {0};
	struct error e;

	(void)state;
	source.text = name;
	assert_int_equal(items_of(&source, &all, &e), ST_OK);
	assert_string_equal(all.data, "one|two |one|last");
	(void)snprintf(name, sizeof(name), "empty");
	assert_int_equal(items_of(&source, &all, &e), ST_OK);
	assert_string_equal(all.data, "");
	(void)snprintf(name, sizeof(name), "-");
	assert_int_equal(items_of(&source, &all, &e), ST_OK);
	assert_string_equal(all.data, "-");
	source.kind = SOURCE_COUNT;
	source.count = 3;
	assert_int_equal(items_of(&source, &all, &e), ST_OK);
	assert_string_equal(all.data, "0|1|2");
	buf_free(&all);
}

static void refused(void **state)
{
	static const struct {
		enum spec_source_kind kind;
		const char *text;
		enum status st;
		const char *said;
	} rows[] = {
		{SOURCE_GLOB, "a", ST_CONFIG, "a is a folder, and no file; expected a file or a "
		    "pattern such as a/*"},
		{SOURCE_GLOB, "*/", ST_CONFIG, "\"*/\" ends with a slash and so means folders; "
		    "expected a pattern of files, such as */*"},
		{SOURCE_GLOB, "a/fifo", ST_CONFIG, "a/fifo is a FIFO, and no file that can be read "
		    "again"},
		{SOURCE_GLOB, "/dev/null", ST_CONFIG, "/dev/null is a device, and no file that can "
		    "be read again"},
		{SOURCE_LIST, "a/fifo", ST_CONFIG, "a/fifo is a FIFO, and no list that can be read "
		    "again"},
		{SOURCE_LIST, "a", ST_CONFIG, "a is a folder, and no list that can be read again"},
		{SOURCE_LIST, "nothing", ST_NOT_FOUND, "cannot open nothing: No such file or "
		    "directory"},
	};
	struct buf all = {0};
	struct error e;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		char text[64];
		const struct spec_source source = {.kind = rows[i].kind, .text = text};

		(void)snprintf(text, sizeof(text), "%s", rows[i].text);
		assert_int_equal(items_of(&source, &all, &e), rows[i].st);
		assert_string_equal(e.text, rows[i].said);
	}
	buf_free(&all);
}

/* A pattern that is too long, and folders that are too deep. */
static void limits(void **state)
{
	struct spec_source source = {.kind = SOURCE_GLOB};
	char *pattern = mem_zero(INPUTS_PATTERN_MAX + 2);
	struct buf deep = {0};
	struct buf all = {0};
	struct error e;
	int i;

	(void)state;
	assert_non_null(pattern);
	memset(pattern, '*', INPUTS_PATTERN_MAX + 1);
	source.text = pattern;
	assert_int_equal(items_of(&source, &all, &e), ST_CONFIG);
	buf_str(&deep, "deep");
	for (i = 0; i <= INPUTS_DEPTH_MAX; i++) {
		assert_int_equal(mkdir(deep.data, 0700), 0);
		buf_str(&deep, "/d");
	}
	(void)snprintf(pattern, INPUTS_PATTERN_MAX, "deep/**/x");
	assert_int_equal(items_of(&source, &all, &e), ST_CONFIG);
	assert_non_null(strstr(e.text, "more than 100 folders deep"));
	assert_int_equal(file_remove_tree("deep", &e), ST_OK);
	free(pattern);
	buf_free(&deep);
	buf_free(&all);
}

static void state_at_risk(void **state)
{
	struct buf said = {0};

	(void)state;
	state_risk("/dev/shm/some/where", "/nothing", &said);
	assert_non_null(strstr(said.data, "/dev/shm/some/where is in memory"));
	buf_clear(&said);
	/* proc is neither memory nor elsewhere: the maker of the machine decides. */
	state_risk("/proc/self", "/nothing", &said);
	assert_int_equal(said.len, 0);
	make_file("vendor", "Amazon EC2\n");
	state_risk("/proc/self", "vendor", &said);
	assert_non_null(strstr(said.data, "of Amazon EC2: if it is a spot machine"));
	buf_clear(&said);
	make_file("vendor", "Microsoft Corporation\n");
	state_risk("/proc/self", "vendor", &said);
	assert_non_null(strstr(said.data, "Microsoft Azure"));
	buf_clear(&said);
	make_file("vendor", "Somebody\n");
	state_risk("/proc/self", "vendor", &said);
	assert_int_equal(said.len, 0);
	buf_free(&said);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(patterns),
		cmocka_unit_test(absolute_pattern),
		cmocka_unit_test(lists_and_counts),
		cmocka_unit_test(refused),
		cmocka_unit_test(limits),
		cmocka_unit_test(state_at_risk),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
