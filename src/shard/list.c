#include "shard/list.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "shard/list_columns.h"
#include "shard/list_source.h"

enum { KEPT_MAX = 64 << 20 };

/* A value cut into columns: arguments joined by NUL. */
struct value {
	size_t off;
	size_t len;
	size_t n_args;
};

/* All values of a source that is not streamed. */
struct kept {
	struct buf bytes;
	struct value *values;
	size_t n;
	size_t cap;
};

/* Sources in step with each other. */
struct group {
	size_t first;
	size_t n;
	size_t count;   /* combinations; of the streamed group it is not known */
	size_t at;
};

struct list {
	struct columns *columns;
	size_t n_sources;
	size_t n_groups;
	size_t kept_bytes;
	bool ended;
	bool has_head;       /* the product over the other groups is not done */
	size_t head_args;
	struct buf head;     /* values of the streamed group */
	struct source *sources[LIST_ARGS_MAX];
	struct kept kept[LIST_ARGS_MAX];
	struct group groups[LIST_ARGS_MAX];
};

/* Appends a value to *out as arguments joined by NUL. */
static enum status put_value(const struct list *l, const struct source *s, const char *data,
    size_t len, struct buf *out, size_t *n_args, struct error *e)
{
	enum status st;

	if (l->columns == NULL) {
		buf_append(out, data, len);
		*n_args = 1;
		return buf_check(out, e);
	}
	st = columns_split(l->columns, data, len, LIST_ARGS_MAX, out, n_args, e);
	return st == ST_CONFIG ? source_blame(s, st, e) : st;
}

static enum status keep_value(struct list *l, size_t i, const char *data, size_t len,
    struct error *e)
{
	struct kept *k = &l->kept[i];
	struct value v = {.off = k->bytes.len};
	void *values = k->values;
	enum status st;

	st = put_value(l, l->sources[i], data, len, &k->bytes, &v.n_args, e);
	if (st != ST_OK)
		return st;
	v.len = k->bytes.len - v.off;
	l->kept_bytes += v.len + sizeof(v);
	if (l->kept_bytes > KEPT_MAX)
		return error_set(e, ST_CONFIG, "the lists behind the first one hold more than %d MiB; "
		    "put the longest first", KEPT_MAX >> 20);
	st = mem_grow(&values, &k->cap, k->n + 1, sizeof(v), e);
	if (st != ST_OK)
		return st;
	k->values = values;
	k->values[k->n++] = v;
	return ST_OK;
}

static enum status keep_source(struct list *l, size_t i, struct error *e)
{
	for (;;) {
		enum source_step step;
		const char *data;
		size_t len;
		enum status st = source_peek(l->sources[i], true, &step, &data, &len, e);

		if (st != ST_OK || step == SOURCE_END)
			return st;
		st = keep_value(l, i, data, len, e);
		if (st != ST_OK)
			return st;
		source_pass(l->sources[i]);
	}
}

static enum status keep_groups(struct list *l, struct error *e)
{
	size_t g;
	size_t i;

	for (g = 1; g < l->n_groups; g++) {
		struct group *group = &l->groups[g];

		group->count = SIZE_MAX;
		for (i = group->first; i < group->first + group->n; i++) {
			enum status st = keep_source(l, i, e);

			if (st != ST_OK)
				return st;
			if (l->kept[i].n < group->count)
				group->count = l->kept[i].n;
		}
		if (group->count == 0)
			l->ended = true;
	}
	return ST_OK;
}

static enum status check_sources(const struct list_source *sources, size_t n, struct error *e)
{
	size_t stdins = 0;
	size_t i;

	if (n == 0)
		return error_set(e, ST_CONFIG, "there is no list");
	if (n > LIST_ARGS_MAX)
		return error_set(e, ST_CONFIG, "there are %zu lists; at most %d can be combined", n,
		    LIST_ARGS_MAX);
	for (i = 0; i < n; i++) {
		if (sources[i].words == NULL && sources[i].file != NULL &&
		    strcmp(sources[i].file, "-") == 0)
			stdins++;
	}
	if (stdins > 1)
		return error_set(e, ST_CONFIG, "stdin is named as a list twice");
	return ST_OK;
}

static enum status open_all(struct list *l, const struct list_source *sources, size_t n,
    const struct list_options *opt, struct error *e)
{
	size_t i;

	if (opt->colsep != NULL) {
		enum status st = columns_compile(opt->colsep, &l->columns, e);

		if (st != ST_OK)
			return st;
	}
	for (i = 0; i < n; i++) {
		enum status st = source_open(&sources[i], opt, &l->sources[i], e);

		if (st != ST_OK)
			return st;
		l->n_sources++;
		if (i == 0 || !sources[i].linked)
			l->groups[l->n_groups++].first = i;
		l->groups[l->n_groups - 1].n++;
	}
	return keep_groups(l, e);
}

enum status list_open(const struct list_source *sources, size_t n,
    const struct list_options *opt, struct list **out, struct error *e)
{
	struct list *l;
	enum status st;

	*out = NULL;
	st = check_sources(sources, n, e);
	if (st != ST_OK)
		return st;
	l = mem_zero(sizeof(*l));
	if (l == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = open_all(l, sources, n, opt, e);
	if (st != ST_OK) {
		list_close(l);
		return st;
	}
	*out = l;
	return ST_OK;
}

void list_close(struct list *l)
{
	size_t i;

	if (l == NULL)
		return;
	for (i = 0; i < l->n_sources; i++) {
		source_close(l->sources[i]);
		buf_free(&l->kept[i].bytes);
		free(l->kept[i].values);
	}
	columns_free(l->columns);
	buf_free(&l->head);
	free(l);
}

/* Takes one value of each source that is streamed; l->ended is set when one of
 * them has none. */
static enum status take_head(struct list *l, struct error *e)
{
	size_t i;

	buf_clear(&l->head);
	l->head_args = 0;
	for (i = 0; i < l->groups[0].n; i++) {
		struct source *s = l->sources[i];
		enum source_step step;
		const char *data;
		size_t len;
		size_t n_args;
		enum status st = source_peek(s, true, &step, &data, &len, e);

		if (st != ST_OK)
			return st;
		if (step == SOURCE_END) {
			l->ended = true;
			return ST_OK;
		}
		if (i > 0)
			buf_char(&l->head, '\0');
		st = put_value(l, s, data, len, &l->head, &n_args, e);
		if (st != ST_OK)
			return st;
		l->head_args += n_args;
		source_pass(s);
	}
	l->has_head = true;
	return ST_OK;
}

static enum status put_kept(const struct list *l, struct buf *item, size_t *n_args,
    struct error *e)
{
	size_t g;
	size_t i;

	for (g = 1; g < l->n_groups; g++) {
		const struct group *group = &l->groups[g];

		for (i = group->first; i < group->first + group->n; i++) {
			const struct value *v = &l->kept[i].values[group->at];

			buf_char(item, '\0');
			buf_append(item, l->kept[i].bytes.data + v->off, v->len);
			*n_args += v->n_args;
		}
	}
	return buf_check(item, e);
}

static enum status check_item(const struct list *l, const struct buf *item, size_t n_args,
    struct error *e)
{
	const struct source *s = l->sources[l->groups[0].n - 1];

	if (item->len > LIST_ITEM_MAX) {
		(void)error_set(e, ST_CONFIG, "the item has %zu bytes, more than %d", item->len,
		    LIST_ITEM_MAX);
		return source_blame(s, ST_CONFIG, e);
	}
	if (n_args > LIST_ARGS_MAX) {
		(void)error_set(e, ST_CONFIG, "the item has %zu arguments, more than %d", n_args,
		    LIST_ARGS_MAX);
		return source_blame(s, ST_CONFIG, e);
	}
	return ST_OK;
}

/* To the next combination; the last group varies fastest. */
static void advance(struct list *l)
{
	size_t g;

	for (g = l->n_groups - 1; g > 0; g--) {
		if (++l->groups[g].at < l->groups[g].count)
			return;
		l->groups[g].at = 0;
	}
	l->has_head = false;
}

enum status list_next(struct list *l, struct buf *item, size_t *n_args, bool *end,
    struct error *e)
{
	enum status st = ST_OK;

	buf_clear(item);
	*n_args = 0;
	if (!l->has_head && !l->ended)
		st = take_head(l, e);
	*end = l->ended;
	if (st != ST_OK || l->ended)
		return st;
	buf_append(item, l->head.data, l->head.len);
	*n_args = l->head_args;
	st = put_kept(l, item, n_args, e);
	if (st == ST_OK)
		st = check_item(l, item, *n_args, e);
	advance(l);
	return st;
}

bool list_ready(struct list *l)
{
	size_t i;

	if (l->has_head || l->ended)
		return true;
	for (i = 0; i < l->groups[0].n; i++) {
		enum source_step step;
		const char *data;
		size_t len;
		enum status st = source_peek(l->sources[i], false, &step, &data, &len, NULL);

		if (st != ST_OK || step == SOURCE_END)
			return true;
		if (step == SOURCE_WAIT)
			return false;
	}
	return true;
}
