#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "rng.h"
#include "shard/list.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define WORDS(...)                                              \
	{.words = (const char *const[]){__VA_ARGS__},           \
	 .n_words = COUNT(((const char *const[]){__VA_ARGS__}))}
#define LINKED(...)                                             \
	{.words = (const char *const[]){__VA_ARGS__},           \
	 .n_words = COUNT(((const char *const[]){__VA_ARGS__})), .linked = true}

static char folder[64];

static const char *in_folder(const char *name)
{
	static char paths[4][128];
	static int next;

	next = (next + 1) % 4;
	(void)snprintf(paths[next], sizeof(paths[next]), "%s/%s", folder, name);
	return paths[next];
}

static const char *write_file(const char *name, const char *data, size_t len)
{
	const char *path = in_folder(name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	assert_int_equal(close(fd), 0);
	return path;
}

static const char *text_file(const char *name, const char *text)
{
	return write_file(name, text, strlen(text));
}

static int setup(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof(folder), "%s/ebb-list-XXXXXX",
	    getenv("TMPDIR") != NULL && strlen(getenv("TMPDIR")) < 40 ? getenv("TMPDIR") : "/tmp");
	return mkdtemp(folder) == NULL ? -1 : 0;
}

static int teardown(void **state)
{
	struct error e;

	(void)state;
	return file_remove_tree(folder, &e) == ST_OK ? 0 : -1;
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

/* Appends one item as "<a><b>\n". */
static void show(struct buf *out, const struct buf *item, size_t n_args)
{
	size_t seen = 1;
	size_t i;

	buf_char(out, '<');
	for (i = 0; i < item->len; i++) {
		if (item->data[i] == '\0') {
			seen++;
			buf_str(out, "><");
		} else {
			buf_char(out, item->data[i]);
		}
	}
	buf_str(out, ">\n");
	assert_int_equal(seen, n_args);
}

static enum status read_all(struct list *l, struct buf *out, struct error *e)
{
	struct buf item = {0};
	bool end = false;
	enum status st;

	for (;;) {
		size_t n_args;

		st = list_next(l, &item, &n_args, &end, e);
		if (st != ST_OK || end)
			break;
		show(out, &item, n_args);
	}
	if (st == ST_OK) {
		/* The end stays the end. */
		size_t n_args;

		assert_int_equal(item.len, 0);
		assert_true(list_ready(l));
		assert_int_equal(list_next(l, &item, &n_args, &end, e), ST_OK);
		assert_true(end);
	}
	buf_free(&item);
	return st;
}

static enum status list_all(const struct list_source *sources, size_t n,
    const struct list_options *opt, struct buf *out, struct error *e)
{
	size_t before = open_descriptors();
	struct list *l;
	enum status st = list_open(sources, n, opt, &l, e);

	buf_clear(out);
	buf_str(out, "");
	if (st == ST_OK)
		st = read_all(l, out, e);
	else
		assert_null(l);
	list_close(l);
	assert_int_equal(open_descriptors(), before);
	return st;
}

static void gives(const struct list_source *sources, size_t n, struct list_options opt,
    const char *want)
{
	struct buf out = {0};
	struct error e;

	if (list_all(sources, n, &opt, &out, &e) != ST_OK)
		fail_msg("%s", e.text);
	assert_string_equal(out.data, want);
	buf_free(&out);
}

static void refuses(const struct list_source *sources, size_t n, struct list_options opt,
    enum status want, const char *text)
{
	struct buf out = {0};
	struct error e;
	enum status st = list_all(sources, n, &opt, &out, &e);

	if (st != want || strstr(e.text, text) == NULL)
		fail_msg("status %d, \"%s\" instead of %d, \"%s\"", st,
		    st == ST_OK ? out.data : e.text, want, text);
	buf_free(&out);
}

#define GIVES(want, opt, ...)                                                   \
	gives((const struct list_source[]){__VA_ARGS__},                        \
	    COUNT(((const struct list_source[]){__VA_ARGS__})), opt, want)
#define NONE ((struct list_options){0})
#define COLSEP(c) ((struct list_options){.colsep = (c)})

/* What GNU parallel 20221122 makes of the same sources. */
static void combinations_as_parallel(void **state)
{
	const char *f1 = text_file("f1", "x\ny\nz\n");
	const char *f2 = text_file("f2", "1\n2");

	(void)state;
	GIVES("<a>\n<b c>\n<>\n", NONE, WORDS("a", "b c", ""));
	GIVES("<a><1><x><p>\n<a><1><x><q>\n<a><2><y><p>\n<a><2><y><q>\n<a><3><z><p>\n<a><3><z><q>\n"
	      "<b><1><x><p>\n<b><1><x><q>\n<b><2><y><p>\n<b><2><y><q>\n<b><3><z><p>\n<b><3><z><q>\n",
	    NONE, WORDS("a", "b"), WORDS("1", "2", "3"), LINKED("x", "y", "z"), WORDS("p", "q"));
	GIVES("<a><1><x>\n<a><1><y>\n<b><2><x>\n<b><2><y>\n", NONE, WORDS("a", "b", "c"),
	    LINKED("1", "2"), WORDS("x", "y"));
	GIVES("<a><x><1>\n<a><y><2>\n<b><x><1>\n<b><y><2>\n", NONE, WORDS("a", "b"),
	    WORDS("x", "y", "z"), LINKED("1", "2"));
	GIVES("<a><1><x>\n<b><2><y>\n", NONE, WORDS("a", "b"), LINKED("1", "2"),
	    LINKED("x", "y", "z"));
	GIVES("<a><x>\n<a><y>\n<a><z>\n<b><x>\n<b><y>\n<b><z>\n", NONE, WORDS("a", "b"),
	    {.file = f1});
	GIVES("<x><1>\n<x><2>\n<y><1>\n<y><2>\n<z><1>\n<z><2>\n", NONE, {.file = f1}, {.file = f2});
	GIVES("<x><1>\n<y><2>\n", NONE, {.file = f1}, {.file = f2, .linked = true});
	GIVES("<A><x><1>\n<A><x><2>\n<A><y><1>\n<A><y><2>\n<A><z><1>\n<A><z><2>\n", NONE, WORDS("A"),
	    {.file = f1}, {.file = f2});
	/* A link with nothing before it. */
	GIVES("<a><1>\n<a><2>\n<b><1>\n<b><2>\n", NONE, LINKED("a", "b"), WORDS("1", "2"));
}

static void columns_as_parallel(void **state)
{
	(void)state;
	GIVES("<a><b><1><2>\n<a><b><3>\n<c><1><2>\n<c><3>\n<d><><1><2>\n<d><><3>\n<><e><1><2>\n<><e><3>\n"
	      "<><><><1><2>\n<><><><3>\n<f><g><1><2>\n<f><g><3>\n",
	    COLSEP(","), WORDS("a,b", "c", "d,", ",e", ",,", " f , g "), WORDS("1,2", "3"));
	GIVES("<>\n", COLSEP(","), WORDS(""));
	GIVES("<a><b>\n", COLSEP("\\|"), WORDS("a|b"));
	GIVES("<a><b>\n", COLSEP("\\t"), WORDS("a\tb"));
	GIVES("<a><b><c>\n<a><b>\n", COLSEP("[,;]+"), WORDS("a,;b;c", "a,,b"));
	GIVES("<><a><b>\n<a><b><>\n", COLSEP(" +"), WORDS("  a   b", "a b  "));
	GIVES("<a><b>\n", COLSEP("\\s+"), WORDS("a \t b"));
	GIVES("<><ab>\n", COLSEP("^a"), WORDS("aab"));
	GIVES("<aab><>\n", COLSEP("a$"), WORDS("aaba"));
	GIVES("<x><y><z>\n", COLSEP("\\d"), WORDS("x1y2z"));
	GIVES("<x><y><z>\n", COLSEP("[\\t.]"), WORDS("x.y\tz"));
	GIVES("<x><y><z>\n", COLSEP("ab|a"), WORDS("xabyaz"));
	GIVES("<x><y><z>\n", COLSEP("\\."), WORDS("x.y.z"));
	GIVES("<x><y><z>\n", COLSEP("[^a-z]"), WORDS("x.y-z"));
	GIVES("<a><b><c>\n", COLSEP("[]x]"), WORDS("a]bxc"));
	GIVES("<a><b><c>\n", COLSEP("[\\]\\-]"), WORDS("a]b-c"));
	GIVES("<a><bxc>\n", COLSEP("x{2}"), WORDS("axxbxc"));
	GIVES("<ax><bxc>\n", COLSEP("}"), WORDS("ax}bxc"));
	GIVES("<a><b>\n", COLSEP("\xff"), WORDS("a\xff" "b"));
	/* Not as parallel: the group is no column; the longest alternative. */
	GIVES("<a><b><c>\n", COLSEP("(,|;)"), WORDS("a,b;c"));
	GIVES("<x><y><z>\n", COLSEP("a|ab"), WORDS("xabyaz"));
}

static void columns_in_brackets(void **state)
{
	(void)state;
	GIVES("<a><b><c><d>\n", COLSEP("[\\d\\h\\\\]"), WORDS("a1b c\\d"));
	GIVES("<a><b><c><d>\n", COLSEP("[[:digit:][.:.]x]"), WORDS("a1b:cxd"));
	GIVES("<-><-><->\n", COLSEP("[\\s\\w]"), WORDS("-a- -"));
	GIVES("<a><b><c>\n", COLSEP("[\\^\\[]"), WORDS("a^b[c"));
	GIVES("<a><b><c>\n", COLSEP("[^\\w]"), WORDS("a/b=c"));
	GIVES("<a><b><c>\n", COLSEP("\\<|\\'"), WORDS("a<b'c"));
	GIVES("<1><2>\n", COLSEP("\\D\\D"), WORDS("1--2"));
	GIVES("<><>\n", COLSEP("\\S\\W"), WORDS("--"));
	GIVES("<a><b>\n", COLSEP("\\h\\h"), WORDS("a\t b"));
}

#define REFUSES(want, text, opt, ...)                                           \
	refuses((const struct list_source[]){__VA_ARGS__},                      \
	    COUNT(((const struct list_source[]){__VA_ARGS__})), opt, want, text)

static void column_separators_refused(void **state)
{
	static const struct {
		const char *colsep, *text;
	} rows[] = {
		{"", "empty"}, {"|", "matches the empty string"}, {"a*", "matches the empty string"},
		{"^", "empty string"}, {"(", "column separator"}, {"a\\", "ends with a backslash"},
		{"\\b", "\\b is not known"}, {"\\1", "\\1 is not known"}, {"\\x41", "\\x is not known"},
		{"(?:a)", "(? is not known"}, {",+?", "behind a repetition"}, {"a++", "behind a repetition"},
		{"[", "not closed"}, {"[a", "not closed"}, {"[[:digit:", "not closed"}, {"[\\", "in brackets"},
		{"[\\q]", "in brackets"}, {"[[:nope:]]", "column separator"}, {"[z-a]", "column separator"},
		{"a{99999}", "column separator"},
	};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++)
		REFUSES(ST_CONFIG, rows[i].text, COLSEP(rows[i].colsep), WORDS("a"));
}

static void ends_of_lines(void **state)
{
	const struct list_options skip = {.skip_empty = true};
	const struct list_options nul = {.nul = true};
	const struct list_options nul_skip = {.nul = true, .skip_empty = true};

	(void)state;
	GIVES("", NONE, {.file = text_file("l", "")});
	GIVES("", NONE, {.file = "/dev/null"});
	GIVES("<>\n", NONE, {.file = text_file("l", "\n")});
	GIVES("<a>\n<b>\n", NONE, {.file = text_file("l", "a\nb\n")});
	GIVES("<a>\n<b>\n", NONE, {.file = text_file("l", "a\nb")});
	GIVES("<a>\n<>\n<b\rc>\n<d\r>\n", NONE, {.file = text_file("l", "a\r\n\r\nb\rc\nd\r")});
	GIVES("<\r>\n", NONE, {.file = text_file("l", "\r\r\n")});
	GIVES("<>\n<a>\n<>\n<>\n", NONE, {.file = text_file("l", "\na\n\n\n")});
	GIVES("<a>\n<b>\n", skip, {.file = text_file("l", "\n\r\na\n\n\nb\n\n")});
	GIVES("< >\n", skip, {.file = text_file("l", " \n")});
	GIVES("<>\n<a>\n", skip, WORDS("", "a"));
	GIVES("<-n>\n<\xff\xfe>\n< x >\n", NONE, {.file = text_file("l", "-n\n\xff\xfe\n x \n")});
	GIVES("<a>\n<b\r>\n<\nd\n>\n<>\n<e>\n", nul,
	    {.file = write_file("l", "a\0b\r\0\nd\n\0\0e", 11)});
	GIVES("<a>\n<b>\n", nul_skip, {.file = write_file("l", "\0a\0\0b\0\0", 7)});
}

static void sources_without_values(void **state)
{
	const char *empty = text_file("empty", "");

	(void)state;
	GIVES("", NONE, {.words = (const char *const[]){NULL}, .n_words = 0});
	GIVES("", NONE, WORDS("a", "b"), {.file = empty});
	GIVES("", NONE, {.file = empty}, WORDS("a", "b"));
	GIVES("", NONE, WORDS("a"), {.file = empty, .linked = true}, WORDS("b"));
	GIVES("", NONE, WORDS("a"), WORDS("b"), {.file = empty, .linked = true});
}

static void errors_name_the_place(void **state)
{
	char *long_word = malloc(LIST_ITEM_MAX + 2);
	const char *path;
	int fd;

	(void)state;
	assert_non_null(long_word);
	memset(long_word, 'x', LIST_ITEM_MAX + 1);
	long_word[LIST_ITEM_MAX + 1] = '\0';

	path = write_file("l", "a\nb\0c\n", 6);
	REFUSES(ST_CONFIG, "line 2 of", NONE, {.file = path});
	REFUSES(ST_CONFIG, "/l: there is a NUL byte", NONE, {.file = path});
	REFUSES(ST_CONFIG, "line 2 of", NONE, WORDS("x"), {.file = path});
	REFUSES(ST_CONFIG, "value 2 after :::", NONE, WORDS("a", long_word));
	fd = open(in_folder("l"), O_WRONLY | O_TRUNC);
	assert_int_equal(write(fd, "a\r\n\n", 4), 4);
	assert_int_equal(write(fd, long_word, LIST_ITEM_MAX + 1), LIST_ITEM_MAX + 1);
	REFUSES(ST_CONFIG, "line 3 of", NONE, {.file = in_folder("l")});
	REFUSES(ST_CONFIG, "value 1 of", ((struct list_options){.nul = true}), {.file = in_folder("l")});
	(void)close(fd);

	/* Two values that are short enough make an item that is not. */
	long_word[LIST_ITEM_MAX - 1] = '\0';
	GIVES("<><a>\n", NONE, WORDS(""), WORDS("a"));
	REFUSES(ST_CONFIG, "value 1 after :::: the item has 131072 bytes", NONE, WORDS(long_word),
	    WORDS("a"));
	free(long_word);
}

static void longest_item(void **state)
{
	enum { ROUNDS = 5 };
	struct buf data = {0};
	struct buf want = {0};
	int i;

	(void)state;
	for (i = 0; i < ROUNDS; i++) {
		char *line = malloc(LIST_ITEM_MAX);

		assert_non_null(line);
		memset(line, 'a' + i, LIST_ITEM_MAX);
		buf_append(&data, line, LIST_ITEM_MAX);
		buf_str(&data, i % 2 == 0 ? "\r\n" : "\nx\n");
		buf_char(&want, '<');
		buf_append(&want, line, LIST_ITEM_MAX);
		buf_str(&want, i % 2 == 0 ? ">\n" : ">\n<x>\n");
		free(line);
	}
	GIVES(want.data, NONE, {.file = write_file("l", data.data, data.len)});
	buf_free(&data);
	buf_free(&want);
}

static void too_many(void **state)
{
	struct list_source sources[LIST_ARGS_MAX + 1];
	const char *const word[] = {"a"};
	char row[2 * LIST_ARGS_MAX + 2];
	struct buf out = {0};
	struct error e;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(sources); i++)
		sources[i] = (struct list_source){.words = word, .n_words = 1};
	assert_int_equal(list_all(sources, LIST_ARGS_MAX, &NONE, &out, &e), ST_OK);
	assert_int_equal(out.len, 3 * LIST_ARGS_MAX + 1);
	refuses(sources, LIST_ARGS_MAX + 1, NONE, ST_CONFIG, "at most 64");
	refuses(sources, 0, NONE, ST_CONFIG, "there is no list");
	buf_free(&out);

	memset(row, 'a', sizeof(row));
	for (i = 1; i < sizeof(row); i += 2)
		row[i] = ',';
	row[2 * LIST_ARGS_MAX - 1] = '\0'; /* 64 columns */
	REFUSES(ST_CONFIG, "value 1 after :::: the item has 65 arguments", COLSEP(","), WORDS(row),
	    WORDS("x"));
	row[2 * LIST_ARGS_MAX - 1] = ',';
	row[2 * LIST_ARGS_MAX] = '\0';
	REFUSES(ST_CONFIG, "line 1 of", COLSEP(","), {.file = text_file("l", row)});
	REFUSES(ST_CONFIG, "more than 64 columns", COLSEP(",|;"), {.file = text_file("l", row)});
}

static void kept_lists_are_bounded(void **state)
{
	enum { LINES = 3000000 };
	char *lines = malloc(LINES);
	const char *path;

	(void)state;
	assert_non_null(lines);
	memset(lines, '\n', LINES);
	path = write_file("many", lines, LINES);
	free(lines);
	REFUSES(ST_CONFIG, "more than 64 MiB", NONE, WORDS("a"), {.file = path});
	/* What is streamed may be of any length, a linked one too. */
	REFUSES(ST_CONFIG, "more than 64 MiB", NONE, WORDS("a"), WORDS("b"),
	    {.file = path, .linked = true});
	GIVES("<a><>\n", NONE, WORDS("a"), {.file = path, .linked = true});
}

static void files_that_are_none(void **state)
{
	(void)state;
	REFUSES(ST_NOT_FOUND, "No such file", NONE, {.file = in_folder("missing")});
	REFUSES(ST_NOT_FOUND, "No such file", NONE, WORDS("a"), {.file = in_folder("missing")});
	REFUSES(ST_NOT_FOUND, "No such file", NONE, {.file = ""});
	REFUSES(ST_CONFIG, "is a folder", NONE, {.file = folder});
	assert_int_equal(symlink("loop", in_folder("loop")), 0);
	REFUSES(ST_CONFIG, "symbolic links", NONE, {.file = in_folder("loop")});
	REFUSES(ST_CONFIG, "stdin is named", NONE, {.file = "-"}, {.file = "-"});
}

/* Random values with any bytes come back as they are. */
static void any_bytes(void **state)
{
	struct rng rng = {5};
	int round;

	(void)state;
	for (round = 0; round < 200; round++) {
		bool nul = round % 2 == 0;
		struct buf data = {0};
		struct buf want = {0};
		uint32_t values = rng_below(&rng, 200);
		uint32_t v;

		buf_str(&want, "");
		buf_str(&data, "");
		for (v = 0; v < values; v++) {
			uint32_t len = rng_below(&rng, 1u << rng_below(&rng, 12));
			uint32_t i;

			buf_char(&want, '<');
			for (i = 0; i < len; i++) {
				char c = (char)(1 + rng_below(&rng, 255));

				if (!nul && (c == '\n' || c == '\r'))
					c = '-';
				buf_char(&data, c);
				buf_char(&want, c);
			}
			buf_str(&want, ">\n");
			if (v + 1 < values || len == 0 || rng_below(&rng, 2) == 0)
				buf_append(&data, nul ? "\0" : "\n", 1);
		}
		GIVES(want.data, ((struct list_options){.nul = nul}),
		    {.file = write_file("l", data.data, data.len)});
		buf_free(&data);
		buf_free(&want);
	}
}

/* Random sources against nested loops. */
static void like_nested_loops(void **state)
{
	static const char *const letters[] = {"a", "b", "c", "d", "e", "f"};
	struct rng rng = {6};
	int round;

	(void)state;
	for (round = 0; round < 2000; round++) {
		struct list_source sources[5] = {0};
		size_t n = 1 + rng_below(&rng, 5);
		size_t at[5] = {0};
		struct buf want = {0};
		size_t i;
		bool more = true;

		for (i = 0; i < n; i++) {
			sources[i].words = letters + rng_below(&rng, 3);
			sources[i].n_words = rng_below(&rng, 20) == 0 ? 0 : 1 + rng_below(&rng, 3);
			sources[i].linked = rng_below(&rng, 3) == 0;
		}
		buf_str(&want, "");
		while (more) {
			bool there = true;

			for (i = 0; i < n; i++) {
				bool linked = i > 0 && sources[i].linked;

				there = there && at[i] < sources[i].n_words &&
				    (!linked || at[i] == at[i - 1]);
			}
			for (i = 0; i < n && there; i++)
				buf_printf(&want, "<%s>%s", sources[i].words[at[i]], i + 1 < n ? "" : "\n");
			for (i = n; i > 0 && ++at[i - 1] >= 4; i--)
				at[i - 1] = 0;
			more = i > 0;
		}
		gives(sources, n, NONE, want.data);
		buf_free(&want);
	}
}

/* A pipe on stdin; returns the end to write to. */
static int pipe_on_stdin(int *saved)
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	*saved = dup(STDIN_FILENO);
	assert_int_equal(dup2(fds[0], STDIN_FILENO), STDIN_FILENO);
	(void)close(fds[0]);
	return fds[1];
}

static void restore_stdin(int saved)
{
	if (saved == -1) {
		(void)close(STDIN_FILENO);
		return;
	}
	(void)dup2(saved, STDIN_FILENO);
	(void)close(saved);
}

static void put(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void next_is(struct list *l, const char *want)
{
	struct buf item = {0};
	struct error e;
	size_t n_args;
	bool end;

	assert_true(list_ready(l));
	assert_int_equal(list_next(l, &item, &n_args, &end, &e), ST_OK);
	if (want == NULL)
		assert_true(end);
	else
		assert_string_equal(item.data, want);
	buf_free(&item);
}

static void ready_on_a_pipe(void **state)
{
	const struct list_source sources[] = {{.file = "-"}, WORDS("1", "2")};
	const struct list_options opt = {.skip_empty = true};
	struct list *l;
	struct error e;
	int saved;
	int out = pipe_on_stdin(&saved);

	(void)state;
	assert_int_equal(list_open(sources, 1, &opt, &l, &e), ST_OK);
	assert_false(list_ready(l));
	put(out, "ab");
	assert_false(list_ready(l));
	put(out, "c");
	assert_false(list_ready(l));
	put(out, "\nd\ne");
	next_is(l, "abc");
	next_is(l, "d");
	assert_false(list_ready(l));
	put(out, "\n\n\r\n\n");
	next_is(l, "e");
	assert_false(list_ready(l)); /* empty lines are no items */
	put(out, "\n");
	assert_false(list_ready(l));
	put(out, "last");
	assert_false(list_ready(l));
	(void)close(out);
	next_is(l, "last");
	next_is(l, NULL);
	list_close(l);
	restore_stdin(saved);

	/* In the middle of a product nothing is read. */
	out = pipe_on_stdin(&saved);
	assert_int_equal(list_open(sources, 2, &opt, &l, &e), ST_OK);
	assert_false(list_ready(l));
	put(out, "a\n");
	next_is(l, "a");
	next_is(l, "a");
	assert_false(list_ready(l));
	(void)close(out);
	next_is(l, NULL);
	list_close(l);
	restore_stdin(saved);
}

static void ready_elsewhere(void **state)
{
	const struct list_source file = {.file = text_file("l", "a\nb\n")};
	const struct list_source linked[] = {WORDS("x", "y", "z"), {.file = "-", .linked = true}};
	struct list *l;
	struct error e;
	int saved;
	int out;

	(void)state;
	assert_int_equal(list_open(&file, 1, &NONE, &l, &e), ST_OK);
	next_is(l, "a");
	next_is(l, "b");
	next_is(l, NULL);
	list_close(l);

	out = pipe_on_stdin(&saved);
	assert_int_equal(list_open(linked, 2, &NONE, &l, &e), ST_OK);
	assert_false(list_ready(l));
	put(out, "1\n");
	next_is(l, "x");
	assert_false(list_ready(l));
	(void)close(out);
	next_is(l, NULL);
	list_close(l);
	restore_stdin(saved);

	/* An error is told by list_next, at once. */
	out = pipe_on_stdin(&saved);
	assert_int_equal(list_open(&linked[1], 1, &NONE, &l, &e), ST_OK);
	assert_int_equal(write(out, "a\0b\n", 4), 4);
	assert_true(list_ready(l));
	{
		struct buf item = {0};
		size_t n_args;
		bool end;

		assert_int_equal(list_next(l, &item, &n_args, &end, &e), ST_CONFIG);
		assert_string_equal(e.text, "line 1 of standard input: there is a NUL byte; "
		    "are values separated by NUL?");
		buf_free(&item);
	}
	list_close(l);
	(void)close(out);
	restore_stdin(saved);
}

static void stdin_closed_or_a_folder(void **state)
{
	const struct list_source source = {.file = "-"};
	int saved = dup(STDIN_FILENO);
	int fd;

	(void)state;
	(void)close(STDIN_FILENO);
	refuses(&source, 1, NONE, ST_PERMANENT, "cannot read standard input");
	fd = open(folder, O_RDONLY);
	assert_int_equal(dup2(fd, STDIN_FILENO), STDIN_FILENO);
	if (fd != STDIN_FILENO)
		(void)close(fd);
	refuses(&source, 1, NONE, ST_CONFIG, "standard input is a folder");
	restore_stdin(saved);
}

/* A producer in another process that writes bit by bit, into a pipe whose
 * reading end somebody has made non-blocking. */
static void slow_producer(void **state)
{
	const struct list_source source = {.file = "-"};
	struct buf out = {0};
	struct buf want = {0};
	struct error e;
	int saved;
	int fd;
	int i;
	int status;
	pid_t pid;

	(void)state;
	fd = pipe_on_stdin(&saved);
	assert_int_equal(fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		for (i = 0; i < 3000; i++) {
			char c[8];
			int len = snprintf(c, sizeof(c), "%d%s", i, i % 3 == 0 ? "\n" : "");

			if (write(fd, c, (size_t)len) != len)
				_exit(1);
			if (i % 500 == 0)
				(void)usleep(2000);
		}
		_exit(0);
	}
	(void)close(fd);
	buf_char(&want, '<');
	for (i = 0; i < 3000; i++)
		buf_printf(&want, "%d%s", i, i % 3 != 0 ? "" : ">\n<");
	buf_str(&want, ">\n");
	assert_int_equal(list_all(&source, 1, &NONE, &out, &e), ST_OK);
	assert_string_equal(out.data, want.data);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	restore_stdin(saved);
	buf_free(&out);
	buf_free(&want);
}

static void fifo_as_a_list(void **state)
{
	const char *path = in_folder("fifo");
	const struct list_source sources[] = {WORDS("a"), {.file = path}};
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int fd = open(path, O_WRONLY);

		_exit(write(fd, "1\n2\n3", 5) == 5 ? 0 : 1);
	}
	gives(sources, 2, NONE, "<a><1>\n<a><2>\n<a><3>\n");
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void a_million_lines(void **state)
{
	enum { LINES = 1000000 };
	const struct list_source source = {.file = "-"};
	struct buf item = {0};
	struct list *l;
	struct error e;
	bool end = false;
	int saved;
	int fd = pipe_on_stdin(&saved);
	int n = 0;
	int status;
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		FILE *f = fdopen(fd, "w");

		while (n < LINES)
			(void)fprintf(f, "line/%d\n", n++);
		_exit(fclose(f));
	}
	(void)close(fd);
	assert_int_equal(list_open(&source, 1, &NONE, &l, &e), ST_OK);
	for (;;) {
		size_t n_args;

		assert_int_equal(list_next(l, &item, &n_args, &end, &e), ST_OK);
		if (end)
			break;
		assert_int_equal(atoi(item.data + 5), n);
		n++;
	}
	assert_int_equal(n, LINES);
	list_close(l);
	buf_free(&item);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	restore_stdin(saved);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(combinations_as_parallel),
		cmocka_unit_test(columns_as_parallel),
		cmocka_unit_test(columns_in_brackets),
		cmocka_unit_test(column_separators_refused),
		cmocka_unit_test(ends_of_lines),
		cmocka_unit_test(sources_without_values),
		cmocka_unit_test(errors_name_the_place),
		cmocka_unit_test(longest_item),
		cmocka_unit_test(too_many),
		cmocka_unit_test(kept_lists_are_bounded),
		cmocka_unit_test(files_that_are_none),
		cmocka_unit_test(any_bytes),
		cmocka_unit_test(like_nested_loops),
		cmocka_unit_test(ready_on_a_pipe),
		cmocka_unit_test(ready_elsewhere),
		cmocka_unit_test(stdin_closed_or_a_folder),
		cmocka_unit_test(slow_producer),
		cmocka_unit_test(fifo_as_a_list),
		cmocka_unit_test(a_million_lines),
	};

	return cmocka_run_group_tests_name("list", tests, setup, teardown);
}
