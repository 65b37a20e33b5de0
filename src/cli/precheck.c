#include "cli/precheck.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "model/template.h"
#include "notice/watch.h"
#include "shard/bytes.h"
#include "shard/inputs.h"
#include "worker/worker.h"

enum {
	CUT_BYTES_MAX = 64 << 20,   /* files up to it are cut to count their pieces */
	TINY_SHARDS = 100000,
	TINY_BYTES = 64 << 10,
};

#define MONOLITH_SHARD ((int64_t)10 << 30)
#define MONOLITH_INPUT ((int64_t)1 << 30)

struct check {
	const struct spec *s;
	const struct pipeline_stage_spots *spots;
	struct precheck *out;
	struct precheck_stage *sum;
	int64_t group;         /* bytes of the group of files that is being filled */
	bool file_in_pieces;   /* a file makes more than one shard */
	int64_t missing;       /* files named in lists that are not there */
};

void precheck_free(struct precheck *p)
{
	pipeline_problems_free(&p->errors);
	pipeline_problems_free(&p->warnings);
}

#define CHECK_ERROR(c, spot, ...)                                                         \
	pipeline_problem_add(&(c)->out->errors, (c)->spots->spot.line,                    \
	    (c)->spots->spot.column, __VA_ARGS__)
#define CHECK_WARNING(c, spot, ...)                                                       \
	pipeline_problem_add(&(c)->out->warnings, (c)->spots->spot.line,                  \
	    (c)->spots->spot.column, __VA_ARGS__)

/* ---- counting shards ---- */

static void add_shard(struct precheck_stage *sum, int64_t bytes)
{
	sum->shards++;
	if (bytes > sum->largest)
		sum->largest = bytes;
}

static enum status on_range(void *arg, const struct bytes_range *range, struct error *e)
{
	struct check *c = arg;

	(void)e;
	c->file_in_pieces = c->file_in_pieces || range->part > 0;
	add_shard(c->sum, range->length);
	return ST_OK;
}

/* Small files are cut as they will be; of large ones it is told about. */
static void count_pieces(struct check *c, const char *path, int64_t size)
{
	enum records_kind kind = RECORDS_LINES;
	int64_t pieces = size == 0 ? 1 : (size - 1) / c->s->shard_size + 1;
	struct error e;

	if (records_parse(c->s->records, &kind, &e) != ST_OK)
		return; /* told by whoever read the file */
	if (size <= CUT_BYTES_MAX) {
		if (bytes_cut(path, c->s->shard_size, kind, on_range, c, &e) != ST_OK)
			CHECK_ERROR(c, input, "%s", e.text);
		return;
	}
	if (kind == RECORDS_WHOLE)
		pieces = 1;
	c->sum->exact = false;
	c->sum->shards += pieces;
	c->file_in_pieces = c->file_in_pieces || pieces > 1;
	size = pieces > 1 ? c->s->shard_size : size;
	if (size > c->sum->largest)
		c->sum->largest = size;
}

/* Groups are filled in the order of the files up to the size. */
static void count_grouped(struct check *c, int64_t size)
{
	if (c->group >= 0 && c->group + size <= c->s->shard_size) {
		c->group += size;
		if (c->group > c->sum->largest)
			c->sum->largest = c->group;
		return;
	}
	c->group = size;
	add_shard(c->sum, size);
}

static void count_file(struct check *c, const char *path)
{
	struct file_version v = file_version_of(path);

	if (!v.exists) {
		if (c->missing++ == 0)
			CHECK_ERROR(c, input, "%.200s, an item of the list, is no file", path);
		return;
	}
	c->sum->bytes += v.size;
	if (c->s->shard == SPEC_BYTES)
		count_pieces(c, path, v.size);
	else if (c->s->shard == SPEC_FILES && c->s->shard_size > 0)
		count_grouped(c, v.size);
	else if (c->s->shard == SPEC_FILES)
		add_shard(c->sum, v.size);
}

static bool items_are_files(const struct spec *s, const struct spec_source *from)
{
	return from->kind == SOURCE_GLOB ||
	    (from->kind == SOURCE_LIST && (s->shard == SPEC_FILES || s->shard == SPEC_BYTES));
}

static enum status count_source(struct check *c, const struct spec_source *from, int64_t *items,
    struct error *e)
{
	struct inputs *in;
	struct buf item = {0};
	bool end = false;
	enum status st = inputs_open(from, &in, e);

	*items = 0;
	while (st == ST_OK) {
		st = inputs_next(in, &item, &end, e);
		if (st != ST_OK || end)
			break;
		++*items;
		if (items_are_files(c->s, from))
			count_file(c, item.data);
		else if (c->s->shard == SPEC_LIST)
			c->sum->shards++;
	}
	buf_free(&item);
	inputs_close(in);
	return st;
}

static void nothing_fits(struct check *c, const struct spec_source *from)
{
	if (from->kind == SOURCE_GLOB)
		CHECK_ERROR(c, input, "no file fits \"%.200s\"", from->text);
	else
		CHECK_ERROR(c, input, "the list %.200s has no items", from->text);
}

/* Of counts, the number is known. */
static enum status count_input(struct check *c, const struct spec_source *from, struct error *e)
{
	int64_t items = from->count;
	struct error why;
	enum status st = ST_OK;

	if (from->kind == SOURCE_STAGE) {
		c->sum->known = c->sum->known && c->s->shard == SPEC_ALL;
		return ST_OK;
	}
	if (from->kind == SOURCE_COUNT)
		c->sum->shards += c->s->shard == SPEC_LIST ? items : 0;
	else
		st = count_source(c, from, &items, &why);
	c->sum->items += items;
	if (st == ST_NO_MEMORY)
		return error_set(e, st, "%s", why.text);
	if (st != ST_OK)
		CHECK_ERROR(c, input, "%s", why.text);
	else if (items == 0)
		nothing_fits(c, from);
	return ST_OK;
}

static enum status count_stage(struct check *c, struct error *e)
{
	bool any_files = false;
	size_t i;

	c->sum->known = true;
	c->sum->exact = true;
	c->group = -1;
	for (i = 0; i < c->s->n_sources; i++) {
		enum status st = count_input(c, &c->s->source[i], e);

		if (st != ST_OK)
			return st;
		any_files = any_files || items_are_files(c->s, &c->s->source[i]);
	}
	if (c->s->shard == SPEC_ALL) {
		c->sum->shards = 1;
		c->sum->largest = c->sum->bytes;
	}
	if (!any_files)
		c->sum->bytes = -1;
	if (c->missing > 1)
		CHECK_ERROR(c, input, "and %lld more of the list are no files",
		    (long long)(c->missing - 1));
	return ST_OK;
}

/* ---- what is wrong, and what is unwise ---- */

static bool is_made_by_a_stage(const struct pipeline *p, const char *name)
{
	size_t i;

	for (i = 0; i < p->n_stages; i++) {
		if (p->stage[i].out != NULL && strcmp(p->stage[i].out, name) == 0)
			return true;
	}
	return false;
}

/* A shell text that begins with a path: the first thing it does is to run it. */
static void check_first_word(struct check *c, const struct pipeline *p)
{
	const char *text = c->s->command[0] + strspn(c->s->command[0], " \t\n");
	size_t len = strcspn(text, " \t\n;&|<>()");
	char *word = mem_dup(text, len);

	if (word == NULL || strchr(word, '/') == NULL || is_made_by_a_stage(p, word) ||
	    strpbrk(word, "$`\\\"'*?[]{}~#=!") != NULL) {
		free(word);
		return;
	}
	if (access(word, F_OK) == -1)
		CHECK_ERROR(c, run, "there is no program %s", word);
	else if (access(word, X_OK) == -1)
		CHECK_ERROR(c, run, "%s is not executable; chmod +x %s makes it so", word, word);
	free(word);
}

static void check_command(struct check *c, const struct pipeline *p)
{
	struct error e;

	if (!c->s->shell && is_made_by_a_stage(p, c->s->command[0]))
		return;
	if (worker_check_spec(c->s, &e) != ST_OK)
		CHECK_ERROR(c, run, "%s", e.text);
	else if (c->s->shell)
		check_first_word(c, p);
}

/* Several shards must not be published under one name. */
static void check_output(struct check *c)
{
	struct template *t = NULL;
	struct error e;
	bool item;
	bool number;

	if (c->s->output != SPEC_OUT_NAME)
		return;
	if (template_parse(c->s->out, TEMPLATE_PLAIN, &t, &e) != ST_OK)
		return;
	item = template_uses_item(t);
	number = strstr(c->s->out, "{#}") != NULL;
	template_free(t);
	if (number || (c->sum->known && c->sum->shards <= 1))
		return;
	if (!item && c->sum->known)
		CHECK_ERROR(c, output, "\"%.200s\" is one name for %lld shards; put {/} or {#} "
		    "into it, or let another stage join them", c->s->out,
		    (long long)c->sum->shards);
	else if (!item)
		CHECK_WARNING(c, output, "\"%.200s\" is one name, and there may be several shards; "
		    "put {/} or {#} into it", c->s->out);
	else if (c->file_in_pieces)
		CHECK_ERROR(c, output, "\"%.200s\" is the same name for each piece of a file; put "
		    "{#} into it", c->s->out);
}

static void check_sizes(struct check *c)
{
	const struct precheck_stage *sum = c->sum;
	struct buf size = {0};

	if (!sum->known || sum->bytes < 0 || sum->shards == 0)
		return;
	if (sum->largest > MONOLITH_SHARD || (sum->shards == 1 && sum->bytes > MONOLITH_INPUT)) {
		str_size(&size, sum->largest);
		CHECK_WARNING(c, input, "a shard has %s of input: an interruption may lose all of "
		    "its work, and no second worker can help; cut it, as with shard: {by: bytes, "
		    "size: 64MiB}. Where results are waited for, 10-30 GiB for each worker of "
		    "about 2 cores are usual", size.failed ? "much" : size.data);
	} else if (sum->shards > TINY_SHARDS && sum->bytes / sum->shards < TINY_BYTES) {
		str_count(&size, sum->shards);
		CHECK_WARNING(c, input, "%s shards of %lld bytes each on the average: starting "
		    "them costs more than their work; make them larger, as with shard: {by: %s, "
		    "size: 4MiB}", size.failed ? "many" : size.data,
		    (long long)(sum->bytes / sum->shards),
		    c->s->shard == SPEC_BYTES ? "bytes" : "files");
	}
	buf_free(&size);
}

static void check_files(const struct pipeline *p, const struct pipeline_spots *spots,
    struct precheck *out)
{
	size_t i;

	for (i = 0; i < p->stage[0].n_files; i++) {
		const char *path = p->stage[0].files[i];
		struct stat sb;

		if (stat(path, &sb) == -1)
			pipeline_problem_add(&out->errors, spots->files.line, spots->files.column,
			    "there is no file \"%.200s\"", path);
		else if (!S_ISREG(sb.st_mode))
			pipeline_problem_add(&out->errors, spots->files.line, spots->files.column,
			    "\"%.200s\" is no regular file", path);
	}
}

static void check_notice(const struct pipeline *p, const struct pipeline_spots *spots,
    struct precheck *out)
{
	struct error e;

	if (p->notice != NULL && notice_watch_check(p->notice, &e) != ST_OK)
		pipeline_problem_add(&out->errors, spots->notice.line, spots->notice.column, "%s",
		    e.text);
}

enum status precheck_run(const struct pipeline *p, const struct pipeline_spots *spots,
    struct precheck *out, struct error *e)
{
	enum status st = ST_OK;
	size_t i;

	memset(out, 0, sizeof(*out));
	check_files(p, spots, out);
	check_notice(p, spots, out);
	for (i = 0; i < p->n_stages && st == ST_OK; i++) {
		struct check c = {.s = &p->stage[i], .spots = &spots->stage[i], .out = out,
		    .sum = &out->stage[i]};

		st = count_stage(&c, e);
		check_command(&c, p);
		check_output(&c);
		check_sizes(&c);
	}
	pipeline_problems_sort(&out->errors);
	pipeline_problems_sort(&out->warnings);
	if (st == ST_OK && (out->errors.no_memory || out->warnings.no_memory))
		st = error_set(e, ST_NO_MEMORY, "out of memory");
	return st;
}
