#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "records_ref.h"
#include "rng.h"
#include "shard/bytes.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static char folder[64];

static const char *in_folder(const char *name)
{
	static char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static int setup(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof(folder), "%s/ebb-bytes-XXXXXX",
	    getenv("TMPDIR") != NULL && strlen(getenv("TMPDIR")) < 40 ? getenv("TMPDIR") : "/tmp");
	return mkdtemp(folder) == NULL ? -1 : 0;
}

static int teardown(void **state)
{
	struct error e;

	(void)state;
	return file_remove_tree(folder, &e) == ST_OK ? 0 : -1;
}

static void write_file(const char *path, const char *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	assert_int_equal(close(fd), 0);
}

static size_t open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	(void)closedir(d);
	return n;
}

struct cuts {
	int64_t ends[4096];
	size_t n;
	int64_t offset;
	struct file_version version;
};

static enum status collect(void *arg, const struct bytes_range *range, struct error *e)
{
	struct cuts *cuts = arg;

	(void)e;
	assert_int_equal(range->part, cuts->n);
	assert_int_equal(range->offset, cuts->offset);
	assert_true(range->length > 0 || range->version.size == 0);
	assert_true(cuts->n < COUNT(cuts->ends));
	cuts->offset += range->length;
	cuts->ends[cuts->n++] = cuts->offset;
	cuts->version = range->version;
	return ST_OK;
}

static void cut_ok(const char *path, int64_t size, enum records_kind kind, struct cuts *cuts)
{
	struct error e;

	memset(cuts, 0, sizeof(*cuts));
	if (bytes_cut(path, size, kind, collect, cuts, &e) != ST_OK)
		fail_msg("%s", e.text);
}

static void is_cut_into(const char *data, int64_t size, enum records_kind kind,
    const int64_t *ends, size_t n)
{
	const char *path = in_folder("file");
	struct cuts cuts;
	size_t i;

	write_file(path, data, strlen(data));
	cut_ok(path, size, kind, &cuts);
	assert_int_equal(cuts.n, n);
	for (i = 0; i < n; i++)
		assert_int_equal(cuts.ends[i], ends[i]);
}

#define IS_CUT_INTO(data, size, kind, ...)                                      \
	is_cut_into(data, size, kind, (const int64_t[]){__VA_ARGS__},           \
	    COUNT(((const int64_t[]){__VA_ARGS__})))

static void examples(void **state)
{
	(void)state;
	IS_CUT_INTO("", 10, RECORDS_LINES, 0);
	IS_CUT_INTO("", 1, RECORDS_PARAGRAPHS, 0);
	IS_CUT_INTO("a\nb\nc\n", 1, RECORDS_LINES, 2, 4, 6);
	IS_CUT_INTO("a\nb\nc", 2, RECORDS_LINES, 2, 4, 5);
	IS_CUT_INTO("a\nb\nc\n", 3, RECORDS_LINES, 4, 6);
	IS_CUT_INTO("a\nb\nc\n", 6, RECORDS_LINES, 6);
	IS_CUT_INTO("a\nb\nc\n", INT64_MAX, RECORDS_LINES, 6);
	IS_CUT_INTO("\n\n\n", 1, RECORDS_LINES, 1, 2, 3);
	IS_CUT_INTO("\n\n\n", 1, RECORDS_PARAGRAPHS, 3);
	IS_CUT_INTO("a\n\n\nb\n", 1, RECORDS_PARAGRAPHS, 4, 6);
	/* A record longer than the size is one range. */
	IS_CUT_INTO("a\nbbbbbbbbbbbbbbbbbbbbb\nc\nd\n", 2, RECORDS_LINES, 2, 24, 26, 28);
	IS_CUT_INTO("bbbbbbbbbbbbbbbbbbbbbbb", 2, RECORDS_LINES, 23);
	IS_CUT_INTO("a\nb\n", 1, RECORDS_WHOLE, 4);
	IS_CUT_INTO("a\nb\n", 1, RECORDS_NUL, 4);
}

/* Ranges tile the file, and each border is what the definition says. */
static void like_the_definition(void **state)
{
	struct rng rng = {3};
	char data[2000];
	bool starts[sizeof(data)];
	struct cuts cuts;
	int round;

	(void)state;
	for (round = 0; round < 600; round++) {
		enum records_kind kind = (enum records_kind)rng_below(&rng, 4);
		size_t len = rng_below(&rng, sizeof(data));
		size_t size = 1 + rng_below(&rng, 1u << rng_below(&rng, 12));
		uint32_t rare = 1 + rng_below(&rng, 40);
		size_t multiple;
		size_t at;
		size_t n = 0;

		for (at = 0; at < len; at++)
			data[at] = rng_below(&rng, rare) != 0 ? 'x' : "\n\n\r\0"[rng_below(&rng, 4)];
		write_file(in_folder("file"), data, len);
		cut_ok(in_folder("file"), (int64_t)size, kind, &cuts);
		ref_starts(data, len, kind, starts);
		at = 0;
		for (multiple = size; multiple < len; multiple += size) {
			size_t border = ref_next(starts, len, multiple);

			if (border == at || border == len)
				continue;
			assert_true(n < cuts.n);
			assert_int_equal(cuts.ends[n], border);
			n++;
			at = border;
		}
		assert_int_equal(cuts.n, n + 1);
		assert_int_equal(cuts.ends[n], len);
		assert_int_equal(cuts.version.size, len);
		assert_true(cuts.version.exists);
	}
}

static void huge_record(void **state)
{
	enum { SIZE = 3 << 20 };
	char *data = malloc(SIZE);
	struct cuts cuts;

	(void)state;
	assert_non_null(data);
	memset(data, 'x', SIZE);
	data[9] = '\n';
	data[SIZE - 10] = '\n';
	write_file(in_folder("file"), data, SIZE);
	free(data);
	cut_ok(in_folder("file"), 5, RECORDS_LINES, &cuts);
	assert_int_equal(cuts.n, 3);
	assert_int_equal(cuts.ends[0], 10);
	assert_int_equal(cuts.ends[1], SIZE - 9);
}

static void refused(const char *path, enum status want, const char *text)
{
	struct cuts cuts = {0};
	struct error e;

	assert_int_equal(bytes_cut(path, 10, RECORDS_LINES, collect, &cuts, &e), want);
	assert_int_equal(cuts.n, 0);
	if (strstr(e.text, text) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", e.text, text);
}

static void no_regular_files(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct cuts cuts = {0};
	struct error e;
	int fd;

	(void)state;
	assert_int_equal(mkfifo(in_folder("fifo"), 0600), 0);
	refused(in_folder("fifo"), ST_CONFIG, "is a FIFO");
	refused(folder, ST_CONFIG, "is a folder");
	refused("/dev/null", ST_CONFIG, "is a device");
	assert_int_equal(symlink("loop", in_folder("loop")), 0);
	refused(in_folder("loop"), ST_CONFIG, "symbolic links");
	refused(in_folder("missing"), ST_NOT_FOUND, "No such file");
	refused("", ST_NOT_FOUND, "No such file");
	assert_int_equal(symlink("missing", in_folder("dangling")), 0);
	refused(in_folder("dangling"), ST_NOT_FOUND, "No such file");
	refused(in_folder("fifo/x"), ST_NOT_FOUND, "Not a directory");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", folder);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	refused(in_folder("s"), ST_CONFIG, "is a socket");
	(void)close(fd);
	assert_int_equal(bytes_cut("/dev/null", 0, RECORDS_LINES, collect, &cuts, &e), ST_CONFIG);
	assert_int_equal(bytes_cut("/dev/null", -3, RECORDS_LINES, collect, &cuts, &e), ST_CONFIG);
}

static void symlink_to_a_file(void **state)
{
	struct cuts cuts;

	(void)state;
	write_file(in_folder("target"), "a\nb\n", 4);
	assert_int_equal(symlink("target", in_folder("link")), 0);
	cut_ok(in_folder("link"), 2, RECORDS_LINES, &cuts);
	assert_int_equal(cuts.n, 2);
}

static enum status stop_at_second(void *arg, const struct bytes_range *range, struct error *e)
{
	(*(int *)arg)++;
	return range->part == 1 ? error_set(e, ST_THROTTLED, "stop") : ST_OK;
}

static void callback_ends_it(void **state)
{
	struct error e;
	int calls = 0;

	(void)state;
	write_file(in_folder("file"), "a\nb\nc\nd\n", 8);
	assert_int_equal(bytes_cut(in_folder("file"), 2, RECORDS_LINES, stop_at_second, &calls, &e),
	    ST_THROTTLED);
	assert_int_equal(calls, 2);
	assert_string_equal(e.text, "stop");
}

/* What happens to the file while it is cut, in the callback of one range. */
struct meddling {
	int32_t part;
	int64_t truncate_to;  /* or -1 */
	const char *replace_by;
	const char *append;
	bool unlink;
	bool touch;
};

static enum status meddle(void *arg, const struct bytes_range *range, struct error *e)
{
	const struct meddling *m = arg;
	const struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_sec = 1}};

	(void)e;
	if (range->part != m->part)
		return ST_OK;
	if (m->truncate_to >= 0)
		assert_int_equal(truncate(range->path, m->truncate_to), 0);
	if (m->replace_by != NULL)
		assert_int_equal(rename(m->replace_by, range->path), 0);
	if (m->unlink)
		assert_int_equal(unlink(range->path), 0);
	if (m->touch)
		assert_int_equal(utimensat(AT_FDCWD, range->path, times, 0), 0);
	if (m->append != NULL) {
		int fd = open(range->path, O_WRONLY | O_APPEND);

		assert_int_equal(write(fd, m->append, strlen(m->append)), strlen(m->append));
		(void)close(fd);
	}
	return ST_OK;
}

static void file_that_changes(void **state)
{
	char twin[128];
	const struct meddling all[] = {
		{.part = 0, .truncate_to = 0},
		{.part = 1, .truncate_to = 5},
		{.part = 3, .truncate_to = 30000},
		{.part = 9, .truncate_to = 0},
		{.part = 0, .truncate_to = 40000},
		{.part = 2, .truncate_to = -1, .replace_by = twin},
		{.part = 2, .truncate_to = -1, .append = "more\n"},
		{.part = 2, .truncate_to = -1, .unlink = true},
		{.part = 2, .truncate_to = -1, .touch = true},
	};
	char *data = malloc(100000);
	size_t before = open_descriptors();
	size_t i;

	(void)state;
	assert_non_null(data);
	(void)snprintf(twin, sizeof(twin), "%s/twin", folder);
	for (i = 0; i < 100000; i++)
		data[i] = i % 100 == 99 ? '\n' : 'x';
	for (i = 0; i < COUNT(all); i++) {
		struct meddling m = all[i];
		struct error e;

		write_file(in_folder("file"), data, 100000);
		write_file(twin, data, 100000);
		assert_int_equal(bytes_cut(in_folder("file"), 10000, RECORDS_LINES, meddle, &m, &e),
		    ST_BUSY);
		assert_non_null(strstr(e.text, "was changed while"));
	}
	free(data);
	assert_int_equal(open_descriptors(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(examples),
		cmocka_unit_test(like_the_definition),
		cmocka_unit_test(huge_record),
		cmocka_unit_test(no_regular_files),
		cmocka_unit_test(symlink_to_a_file),
		cmocka_unit_test(callback_ends_it),
		cmocka_unit_test(file_that_changes),
	};

	return cmocka_run_group_tests_name("bytes", tests, setup, teardown);
}
