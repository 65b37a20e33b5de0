#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "records_ref.h"
#include "rng.h"
#include "shard/records.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static int file_of(const char *data, size_t len)
{
	int fd = memfd_create("records", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	return fd;
}

static int64_t next(int fd, enum records_kind kind, int64_t at, size_t len)
{
	int64_t start = -1;
	struct error e;

	if (records_next_start(fd, kind, at, (int64_t)len, "memory", &start, &e) != ST_OK)
		fail_msg("%s", e.text);
	return start;
}

static void names(void **state)
{
	static const char *const all[] = {"lines", "paragraphs", "nul", "whole"};
	enum records_kind kind;
	struct error e;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(all); i++) {
		assert_int_equal(records_parse(all[i], &kind, &e), ST_OK);
		assert_int_equal(kind, i);
		assert_string_equal(records_name(kind), all[i]);
	}
	assert_int_equal(records_parse("", &kind, &e), ST_CONFIG);
	assert_int_equal(records_parse("Lines", &kind, &e), ST_CONFIG);
	assert_string_equal(e.text, "\"Lines\" is no kind of record; there are lines, paragraphs, "
	    "nul and whole");
}

/* The carets of the second row are where records start. */
static void examples(void **state)
{
	static const struct {
		enum records_kind kind;
		const char *data, *starts;
	} rows[] = {
		{RECORDS_LINES, "a\nb\n\n\nc", "^ ^ ^^^"},
		{RECORDS_LINES, "a\r\nb\rc\n", "^  ^   "},
		{RECORDS_LINES, "\n\n\n", "^^^"},
		{RECORDS_LINES, "abc", "^  "},
		{RECORDS_NUL, "a\nb\n", "^   "},
		{RECORDS_WHOLE, "a\nb\n", "^   "},
		{RECORDS_PARAGRAPHS, "a\nb\n\nc\n\n\nd\n", "^    ^   ^ "},
		{RECORDS_PARAGRAPHS, "a\r\n\r\nb\r\n", "^    ^  "},
		{RECORDS_PARAGRAPHS, "a\n\r\n\nb", "^    ^"},
		{RECORDS_PARAGRAPHS, "\n\n\na\n\nb", "^     ^"},
		{RECORDS_PARAGRAPHS, "\r\n\na\nb\n", "^      "},
		{RECORDS_PARAGRAPHS, "a\n\n\n\n", "^    "},
		{RECORDS_PARAGRAPHS, "\n\n\n", "^  "},
		{RECORDS_PARAGRAPHS, "a\n\n\r", "^  ^"},
		{RECORDS_PARAGRAPHS, "a\n\n\rb", "^  ^ "},
		{RECORDS_PARAGRAPHS, "a\n\r\r\nb", "^     "},
		{RECORDS_PARAGRAPHS, "a\n \nb", "^    "},
		{RECORDS_PARAGRAPHS, "a\n\n b", "^  ^ "},
	};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		size_t len = strlen(rows[i].data);
		int fd = file_of(rows[i].data, len);
		size_t at;

		assert_int_equal(strlen(rows[i].starts), len);
		for (at = 0; at <= len; at++) {
			const char *caret = strchr(rows[i].starts + at, '^');
			size_t want = caret != NULL ? (size_t)(caret - rows[i].starts) : len;

			if (next(fd, rows[i].kind, (int64_t)at, len) != (int64_t)want)
				fail_msg("row %zu at %zu", i, at);
		}
		(void)close(fd);
	}
}

static void outside_of_the_file(void **state)
{
	int fd = file_of("a\nb\n", 4);
	int kind;

	(void)state;
	for (kind = RECORDS_LINES; kind <= RECORDS_WHOLE; kind++) {
		assert_int_equal(next(fd, (enum records_kind)kind, -5, 4), 0);
		assert_int_equal(next(fd, (enum records_kind)kind, 0, 4), 0);
		assert_int_equal(next(fd, (enum records_kind)kind, 4, 4), 4);
		assert_int_equal(next(fd, (enum records_kind)kind, INT64_MAX, 4), 4);
		assert_int_equal(next(fd, (enum records_kind)kind, 0, 0), 0);
		assert_int_equal(next(fd, (enum records_kind)kind, 9, 0), 0);
	}
	(void)close(fd);
}

static void compare_all(const char *data, size_t len, const size_t *ats, size_t n_ats)
{
	bool *starts = calloc(len + 1, sizeof(*starts));
	int fd = file_of(data, len);
	int kind;
	size_t i;

	assert_non_null(starts);
	for (kind = RECORDS_LINES; kind <= RECORDS_WHOLE; kind++) {
		ref_starts(data, len, (enum records_kind)kind, starts);
		for (i = 0; i < n_ats; i++) {
			int64_t got = next(fd, (enum records_kind)kind, (int64_t)ats[i], len);

			if (got != (int64_t)ref_next(starts, len, ats[i]))
				fail_msg("%s: from %zu of %zu: %lld, not %zu",
				    records_name((enum records_kind)kind), ats[i], len, (long long)got,
				    ref_next(starts, len, ats[i]));
		}
	}
	(void)close(fd);
	free(starts);
}

/* Short files of few letters: every place of each. */
static void like_the_reference_small(void **state)
{
	static const char *const alphabets[] = {"a\n", "\r\n", "a\r\n", "ab\r\n\n", "aaaa\n\0"};
	static const uint32_t sizes[] = {2, 2, 3, 5, 6};
	struct rng rng = {1};
	char data[48];
	size_t ats[sizeof(data) + 1];
	size_t i;
	int round;

	(void)state;
	for (i = 0; i < COUNT(ats); i++)
		ats[i] = i;
	for (round = 0; round < 4000; round++) {
		uint32_t a = rng_below(&rng, COUNT(alphabets));
		size_t len = rng_below(&rng, sizeof(data) + 1);

		for (i = 0; i < len; i++)
			data[i] = alphabets[a][rng_below(&rng, sizes[a])];
		compare_all(data, len, ats, len + 1);
	}
}

/* Files longer than what is read at once, with long and short records. */
static void like_the_reference_large(void **state)
{
	enum { SIZE = 150000, ATS = 60 };
	struct rng rng = {2};
	char *data = malloc(SIZE);
	size_t ats[ATS];
	int round;

	(void)state;
	assert_non_null(data);
	for (round = 0; round < 60; round++) {
		uint32_t rare = 1u << rng_below(&rng, 17);
		size_t len = rng_below(&rng, SIZE);
		size_t i;

		for (i = 0; i < len; i++)
			data[i] = rng_below(&rng, rare) == 0 ? "\n\n\r\0"[rng_below(&rng, 4)] :
			    rng_below(&rng, 3) == 0 && i > 0 ? data[i - 1] : 'a';
		for (i = 0; i < ATS; i++) {
			/* Around the ends of what one read takes. */
			size_t edge = (size_t)(i % 2 == 0 ? 4096 : 32768) * rng_below(&rng, 4);

			ats[i] = i % 3 == 0 ? rng_below(&rng, SIZE) : edge + rng_below(&rng, 7);
		}
		compare_all(data, len, ats, ATS);
	}
	free(data);
}

/* Blank lines, records and ends that lie across the edges of reads. */
static void edges_of_reads(void **state)
{
	static const char *const gaps[] = {"\n\n", "\r\n\r\n", "\n\r\n", "\n\n\r", "\n\n\n\n\n\n", "\0"};
	enum { SIZE = 40960 };
	char *data = malloc(SIZE);
	size_t g;
	int edge;
	int shift;

	(void)state;
	assert_non_null(data);
	for (g = 0; g < COUNT(gaps); g++) {
		size_t gap_len = gaps[g][0] == '\0' ? 1 : strlen(gaps[g]);

		for (edge = 4096; edge <= 4096 + 32768; edge += 32768) {
			for (shift = -8; shift <= 4; shift++) {
				size_t ats[] = {1, 2, 3, 4, 5, (size_t)(edge + shift)};

				memset(data, 'x', SIZE);
				memcpy(data + edge + shift, gaps[g], gap_len);
				compare_all(data, SIZE, ats, COUNT(ats));
				/* The file ends right behind the gap. */
				compare_all(data, (size_t)(edge + shift) + gap_len, ats, COUNT(ats));
			}
		}
	}
	free(data);
}

static void blank_lines_first(void **state)
{
	enum { SIZE = 100000 };
	char *data = malloc(SIZE);
	size_t ats[] = {1, 2, 3, 4, 4095, 4096, 4097, 50000, SIZE - 6, SIZE - 2, SIZE - 1};

	(void)state;
	assert_non_null(data);
	memset(data, '\n', SIZE);
	compare_all(data, SIZE, ats, COUNT(ats));
	memcpy(data + SIZE - 5, "a\n\nb\n", 5);
	compare_all(data, SIZE, ats, COUNT(ats));
	free(data);
}

static void file_too_short(void **state)
{
	int fd = file_of("aaaa", 4);
	int64_t start;
	struct error e;
	int kind;

	(void)state;
	for (kind = RECORDS_LINES; kind < RECORDS_WHOLE; kind++) {
		assert_int_equal(records_next_start(fd, (enum records_kind)kind, 2, 10, "f", &start, &e),
		    ST_CORRUPT);
		assert_string_equal(e.text, "f ends at byte 4 and had 10 bytes");
	}
	(void)close(fd);
	assert_int_equal(records_next_start(-1, RECORDS_LINES, 2, 10, "f", &start, &e),
	    ST_PERMANENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(examples),
		cmocka_unit_test(outside_of_the_file),
		cmocka_unit_test(like_the_reference_small),
		cmocka_unit_test(like_the_reference_large),
		cmocka_unit_test(edges_of_reads),
		cmocka_unit_test(blank_lines_first),
		cmocka_unit_test(file_too_short),
	};

	return cmocka_run_group_tests_name("records", tests, NULL, NULL);
}
