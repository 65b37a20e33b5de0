/* Lists. The first byte says which of four checks runs, and the options. */
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "rng.h"
#include "shard/list.h"

enum { INPUT_MAX = 4000, WORDS_MAX = 6, SOURCES_MAX = 5 };

/* Values of a file in memory, in the plainest way. */
struct reference {
	const char *data;
	size_t len;
	size_t at;
	char end;
	bool skip_empty;
};

/* The next value, or NULL; *bad if it may not be one. */
static const char *ref_value(struct reference *r, size_t *len, bool *bad)
{
	while (r->at < r->len) {
		const char *value = r->data + r->at;
		bool ended = false;

		*len = 0;
		for (; r->at < r->len && !ended; r->at++) {
			ended = r->data[r->at] == r->end;
			*len += ended ? 0 : 1;
		}
		if (ended && r->end == '\n' && *len > 0 && value[*len - 1] == '\r')
			(*len)--;
		*bad = r->end == '\n' && memchr(value, '\0', *len) != NULL;
		if (*len > 0 || !r->skip_empty)
			return value;
	}
	return NULL;
}

/* False at the end, or at an error that the reference has too. */
static bool same_next(struct list *l, struct reference *r, struct buf *item)
{
	struct error e;
	size_t n_args;
	size_t len = 0;
	bool bad = false;
	bool end = false;
	const char *want = ref_value(r, &len, &bad);
	enum status st = list_next(l, item, &n_args, &end, &e);

	if (bad) {
		MUST(st == ST_CONFIG);
		return false;
	}
	MUST(st == ST_OK);
	MUST(end == (want == NULL));
	if (end)
		return false;
	MUST(n_args == 1);
	MUST(item->len == len && memcmp(item->data, want, len) == 0);
	return true;
}

static void check_file(const char *data, size_t len, struct list_options opt)
{
	struct reference r = {data, len, 0, opt.nul ? '\0' : '\n', opt.skip_empty};
	int fd = memfd_create("list", MFD_CLOEXEC);
	struct buf item = {0};
	struct list_source source = {0};
	struct list *l;
	struct error e;
	char path[64];

	MUST(fd >= 0 && write(fd, data, len) == (ssize_t)len);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	source.file = path;
	MUST(list_open(&source, 1, &opt, &l, &e) == ST_OK);
	while (same_next(l, &r, &item))
		MUST(list_ready(l));
	list_close(l);
	buf_free(&item);
	(void)close(fd);
}

/* The bytes come through a pipe in pieces; list_ready says when there is a
 * value, and list_next, asked only then, never waits (it would for ever). */
static void check_pipe(const char *data, size_t len, struct list_options opt)
{
	struct reference r = {data, len, 0, opt.nul ? '\0' : '\n', opt.skip_empty};
	struct rng rng = {len};
	struct buf item = {0};
	struct list_source source = {0};
	struct list *l;
	struct error e;
	bool more = true;
	char path[64];
	int fds[2];

	MUST(pipe2(fds, O_CLOEXEC) == 0);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[0]);
	source.file = path;
	MUST(list_open(&source, 1, &opt, &l, &e) == ST_OK);
	while (len > 0 && more) {
		size_t n = 1 + rng_below(&rng, 40);

		n = n < len ? n : len;
		MUST(write(fds[1], data, n) == (ssize_t)n);
		data += n;
		len -= n;
		while (more && list_ready(l))
			more = same_next(l, &r, &item);
	}
	(void)close(fds[1]);
	while (more) {
		MUST(list_ready(l));
		more = same_next(l, &r, &item);
	}
	list_close(l);
	buf_free(&item);
	(void)close(fds[0]);
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Each column is free of white space at its ends and of what cannot be there. */
static void check_item(const struct buf *item, size_t n_args)
{
	size_t n = 1;
	size_t i;

	for (i = 0; i < item->len; i++) {
		bool first = i == 0 || item->data[i - 1] == '\0';
		bool last = i + 1 == item->len || item->data[i + 1] == '\0';

		n += item->data[i] == '\0';
		MUST(!(first || last) || !is_space(item->data[i]));
	}
	MUST(n == n_args && n <= LIST_ARGS_MAX);
}

static void check_columns(const char *data, size_t len, struct list_options opt)
{
	const char *nul = memchr(data, '\0', len);
	char text[INPUT_MAX + 1];
	const char *const words[] = {text};
	const struct list_source source = {.words = words, .n_words = 1};
	struct buf item = {0};
	struct list *l;
	struct error e;
	bool end = false;
	size_t n_args;
	enum status st;

	/* Repetitions by number may take as much memory as they like. */
	if (nul == NULL || nul - data > 24 || memchr(data, '{', (size_t)(nul - data)) != NULL)
		return;
	opt.colsep = data;
	memcpy(text, nul + 1, len - (size_t)(nul + 1 - data));
	text[len - (size_t)(nul + 1 - data)] = '\0';
	st = list_open(&source, 1, &opt, &l, &e);
	MUST(st == ST_OK || st == ST_CONFIG);
	while (st == ST_OK && !end) {
		st = list_next(l, &item, &n_args, &end, &e);
		MUST(st == ST_OK || st == ST_CONFIG);
		if (st == ST_OK && !end)
			check_item(&item, n_args);
	}
	list_close(l);
	buf_free(&item);
}

/* Words "a" ... in sources, one a byte, against nested loops over all. */
static void check_product(const char *data, size_t len, struct list_options opt)
{
	static const char *const letters[] = {"", "a", "b\n", "c", "dd", "\xff"};
	struct list_source sources[SOURCES_MAX] = {0};
	size_t n = len < SOURCES_MAX ? len : SOURCES_MAX;
	size_t at[SOURCES_MAX] = {0};
	struct buf item = {0};
	struct buf want = {0};
	struct list *l;
	struct error e;
	bool end;
	size_t n_args;
	size_t i;

	if (n == 0)
		return;
	for (i = 0; i < n; i++) {
		sources[i].words = letters;
		sources[i].n_words = (size_t)((unsigned char)data[i] % (WORDS_MAX + 1));
		sources[i].linked = (data[i] & 0x80) != 0;
	}
	MUST(list_open(sources, n, &opt, &l, &e) == ST_OK);
	while (i > 0) {
		bool there = true;

		buf_clear(&want);
		for (i = 0; i < n && there; i++) {
			bool linked = i > 0 && sources[i].linked;

			there = at[i] < sources[i].n_words && (!linked || at[i] == at[i - 1]);
			if (there)
				buf_append(&want, letters[at[i]], strlen(letters[at[i]]) + (i + 1 < n));
		}
		if (there) {
			MUST(list_next(l, &item, &n_args, &end, &e) == ST_OK && !end);
			MUST(n_args == n && item.len == want.len);
			MUST(memcmp(item.data, want.data, want.len) == 0);
		}
		for (i = n; i > 0 && ++at[i - 1] >= WORDS_MAX; i--)
			at[i - 1] = 0;
	}
	MUST(list_next(l, &item, &n_args, &end, &e) == ST_OK && end);
	list_close(l);
	buf_free(&item);
	buf_free(&want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const checks[])(const char *, size_t, struct list_options) = {
		check_file, check_pipe, check_columns, check_product,
	};
	struct list_options opt = {0};

	if (size < 1 || size > INPUT_MAX)
		return 0;
	opt.nul = (data[0] & 4) != 0;
	opt.skip_empty = (data[0] & 8) != 0;
	checks[data[0] & 3]((const char *)data + 1, size - 1, opt);
	return 0;
}
