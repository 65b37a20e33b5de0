#include "worker/input.h"

#include <stdlib.h>
#include <string.h>

#include "ledger/ledger.h"
#include "shard/inputs.h"
#include "worker/work.h"

enum { INPUT_PAGE = 256, INPUT_BUSY_MS = 5000 };

/* The output of an earlier stage. */
struct upstream {
	struct ledger *ledger;
	struct ledger_query q;
	struct ledger_shard page[INPUT_PAGE];
	size_t n;                  /* in the page */
	size_t at;                 /* the next one in it */
	struct ledger_file *files; /* of the shard before `at` */
	size_t n_files;
	size_t file;               /* the next one of them */
	bool last_page;
};

struct input {
	const struct stage *g;
	size_t source;             /* the one being read */
	struct inputs *local;
	struct upstream *up;
	bool any;                  /* the source has given an item */
};

/* ---- an earlier stage ---- */

static void upstream_close(struct upstream *u)
{
	if (u == NULL)
		return;
	ledger_files_free(u->files, u->n_files);
	while (u->at < u->n)
		ledger_shard_free(&u->page[u->at++]);
	ledger_close(u->ledger);
	free(u);
}

static enum status upstream_open(const struct stage *g, const char *name, struct upstream **out,
    struct error *e)
{
	const struct ledger_options lo = {.read_only = true, .busy_ms = INPUT_BUSY_MS};
	int number = pipeline_find(g->w->pipeline, name);
	struct upstream *u = mem_zero(sizeof(*u));
	enum status st;

	if (u == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	u->q = (struct ledger_query){.stage = g->w->stage[number].id, .state = SHARD_PUBLISHED,
	    .ordinal = -1, .max = INPUT_PAGE};
	st = ledger_open(g->w->opt->ledger, &lo, &u->ledger, e);
	if (st != ST_OK)
		upstream_close(u);
	else
		*out = u;
	return st;
}

static enum status next_page(struct upstream *u, struct error *e)
{
	enum status st = ledger_shards(u->ledger, &u->q, u->page, &u->n, e);

	u->at = 0;
	if (st != ST_OK)
		u->n = 0;
	u->last_page = u->n < INPUT_PAGE;
	if (u->n > 0)
		u->q.from = u->page[u->n - 1].ordinal + 1;
	return st;
}

/* The files of the next shard that has any; none at the end. */
static enum status next_files(struct upstream *u, struct error *e)
{
	enum status st = ST_OK;

	ledger_files_free(u->files, u->n_files);
	u->files = NULL;
	u->n_files = 0;
	u->file = 0;
	while (st == ST_OK && u->n_files == 0) {
		struct ledger_shard *s;

		if (u->at == u->n) {
			if (u->last_page)
				return ST_OK;
			st = next_page(u, e);
			continue;
		}
		s = &u->page[u->at++];
		if (s->files != NULL)
			st = ledger_files_parse(s->files, &u->files, &u->n_files, e);
		ledger_shard_free(s);
	}
	return st;
}

static enum status upstream_next(struct upstream *u, struct buf *item, bool *end,
    struct error *e)
{
	enum status st = u->file < u->n_files ? ST_OK : next_files(u, e);

	*end = st == ST_OK && u->n_files == 0;
	if (st == ST_OK && !*end)
		buf_str(item, u->files[u->file++].final_path);
	return st;
}

/* ---- all sources ---- */

enum status input_open(const struct stage *g, struct input **out, struct error *e)
{
	struct input *in = mem_zero(sizeof(*in));

	*out = in;
	if (in == NULL) {
		(void)error_set(e, ST_NO_MEMORY, "out of memory");
		return ST_NO_MEMORY;
	}
	in->g = g;
	return ST_OK;
}

static void close_source(struct input *in)
{
	inputs_close(in->local);
	upstream_close(in->up);
	in->local = NULL;
	in->up = NULL;
	in->any = false;
}

void input_close(struct input *in)
{
	if (in == NULL)
		return;
	close_source(in);
	free(in);
}

static enum status open_source(struct input *in, struct error *e)
{
	const struct spec_source *from = &in->g->spec->source[in->source];

	if (in->local != NULL || in->up != NULL)
		return ST_OK;
	return from->kind == SOURCE_STAGE ? upstream_open(in->g, from->text, &in->up, e)
	    : inputs_open(from, &in->local, e);
}

enum status input_next(struct input *in, struct buf *item, bool *end, struct error *e)
{
	const struct spec *spec = in->g->spec;

	buf_clear(item);
	while (in->source < spec->n_sources) {
		const struct spec_source *from = &spec->source[in->source];
		enum status st = open_source(in, e);

		if (st == ST_OK)
			st = in->up != NULL ? upstream_next(in->up, item, end, e)
			    : inputs_next(in->local, item, end, e);
		if (st == ST_OK && *end && !in->any && from->kind == SOURCE_GLOB)
			st = error_set(e, ST_CONFIG, "stage %s: no file fits the input %s",
			    spec->name, from->text);
		if (st != ST_OK)
			return st;
		if (!*end) {
			in->any = true;
			return buf_check(item, e);
		}
		close_source(in);
		in->source++;
	}
	*end = true;
	return ST_OK;
}

/* ---- versions ---- */

enum status input_sum_begin(struct input_sum *s, struct error *e)
{
	s->size = 0;
	s->hash = hash_create();
	return s->hash == NULL ? error_set(e, ST_NO_MEMORY, "out of memory") : ST_OK;
}

void input_sum_add(struct input_sum *s, const char *path, const struct file_version *v)
{
	hash_field(s->hash, path, strlen(path));
	hash_field(s->hash, &v->size, sizeof(v->size));
	hash_field(s->hash, &v->mtime_ns, sizeof(v->mtime_ns));
	s->size += v->size;
}

struct file_version input_sum_end(struct input_sum *s)
{
	struct file_version v = {.exists = true, .size = s->size};
	uint8_t full[HASH_SIZE];

	/* In the place of a time: any number that changes with them. */
	hash_final(s->hash, full);
	memcpy(&v.mtime_ns, full, sizeof(v.mtime_ns));
	v.mtime_ns &= INT64_MAX;
	hash_destroy(s->hash);
	return v;
}

static struct file_version version_of_all(const struct stage *g)
{
	struct file_version none = {0};
	struct input *in = NULL;
	struct buf item = {0};
	struct input_sum sum;
	struct error e;
	bool end = false;
	enum status st = input_sum_begin(&sum, &e);

	if (st != ST_OK)
		return none;
	st = input_open(g, &in, &e);
	while (st == ST_OK && !end) {
		st = input_next(in, &item, &end, &e);
		if (st == ST_OK && !end) {
			struct file_version v = file_version_of(item.data);

			input_sum_add(&sum, item.data, &v);
		}
	}
	input_close(in);
	buf_free(&item);
	if (st == ST_OK)
		return input_sum_end(&sum);
	hash_destroy(sum.hash);
	return none;
}

/* Of paths joined by NUL. */
static struct file_version version_of_group(const char *item, size_t len)
{
	struct file_version none = {0};
	const char *p = item;
	struct input_sum sum;
	struct error e;
	bool missing = false;

	if (input_sum_begin(&sum, &e) != ST_OK)
		return none;
	while (p <= item + len) {
		struct file_version v = file_version_of(p);

		missing = missing || !v.exists;
		input_sum_add(&sum, p, &v);
		p += strlen(p) + 1;
	}
	if (!missing)
		return input_sum_end(&sum);
	hash_destroy(sum.hash);
	return none;
}

struct file_version input_version(const struct stage *g, const char *item, size_t len)
{
	enum { PATH_LONGEST = 4096 };
	struct file_version none = {0};

	if (g->spec->shard == SPEC_ALL)
		return version_of_all(g);
	if (g->spec->shard == SPEC_FILES && memchr(item, '\0', len) != NULL)
		return version_of_group(item, len);
	return len < PATH_LONGEST ? file_version_of(item) : none;
}
