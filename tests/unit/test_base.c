#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"

static void sizes(void **state)
{
	static const struct {
		const char *text;
		int64_t bytes;
	} good[] = {
		{"0", 0}, {"4096", 4096}, {"64k", 65536}, {"4MiB", 4194304}, {"1.5GB", 1500000000},
		{"2 GiB", 2147483648},
	};
	static const char *const bad[] = {"", "-1", "x", "4Mi", "1e400", "nan", "inf", "0x10", "99999999TiB"};
	struct error e;
	int64_t v;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(str_parse_size(good[i].text, &v, &e), ST_OK);
		assert_int_equal(v, good[i].bytes);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(str_parse_size(bad[i], &v, &e), ST_CONFIG);
}

static void counts_and_durations(void **state)
{
	struct error e;
	int64_t v;

	(void)state;
	assert_int_equal(str_parse_count("1,204", 0, 10000, &v, &e), ST_OK);
	assert_int_equal(v, 1204);
	assert_int_equal(str_parse_count("-1", 0, 10, &v, &e), ST_CONFIG);
	assert_int_equal(str_parse_count("", 0, 10, &v, &e), ST_CONFIG);
	assert_int_equal(str_parse_count("5x", 0, 10, &v, &e), ST_CONFIG);
	assert_int_equal(str_parse_count("99999999999999999999999999", 0, INT64_MAX, &v, &e), ST_CONFIG);
	assert_int_equal(str_parse_duration("90", &v, &e), ST_OK);
	assert_int_equal(v, 90000);
	assert_int_equal(str_parse_duration("1.5h", &v, &e), ST_OK);
	assert_int_equal(v, 5400000);
	assert_int_equal(str_parse_duration("5 fortnights", &v, &e), ST_CONFIG);
}

static void shown(const char *in, size_t len, const char *want)
{
	struct buf b = {0};

	str_display(&b, in, len, 0);
	assert_string_equal(b.data, want);
	buf_free(&b);
}

static void display_and_quote(void **state)
{
	struct buf b = {0};

	(void)state;
	shown("a\nb\t\x1b[2J", 8, "a\\nb\\t\\x1b[2J");
	shown("\xff\xc3\xa9", 3, "\\xff\xc3\xa9");
	shown("\xc2\x9b" "31m", 5, "\\xc2\\x9b31m");
	str_shell_quote(&b, "it's", 4);
	buf_char(&b, ' ');
	str_shell_quote(&b, "plain-1.txt", 11);
	buf_char(&b, ' ');
	str_shell_quote(&b, "", 0);
	assert_string_equal(b.data, "'it'\\''s' plain-1.txt ''");
	buf_clear(&b);
	str_json(&b, "a\"\\\n\x01\xff", 6);
	assert_string_equal(b.data, "\"a\\\"\\\\\\n\\u0001\xef\xbf\xbd\"");
	buf_clear(&b);
	str_count(&b, 1234567);
	assert_string_equal(b.data, "1,234,567");
	buf_free(&b);
}

static void sha256(void **state)
{
	/* FIPS 180-4, "abc". */
	static const char want[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
	struct hash *h = hash_create();
	struct buf b = {0};
	uint8_t out[HASH_SIZE];
	int round;

	(void)state;
	assert_non_null(h);
	for (round = 0; round < 2; round++) {
		hash_update(h, "abc", 3);
		hash_final(h, out);
		buf_clear(&b);
		str_hex(&b, out, sizeof(out));
		assert_string_equal(b.data, want);
	}
	buf_free(&b);
	hash_destroy(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(counts_and_durations),
		cmocka_unit_test(display_and_quote),
		cmocka_unit_test(sha256),
	};

	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
