#include "worker/dryrun.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "shard/bytes.h"
#include "worker/work.h"

struct dryrun {
	struct launch launch;
	int64_t ordinal;
};

static enum status print_one(struct dryrun *d, struct ledger_shard *s, struct error *e)
{
	struct template_values v = {s->item, s->item_len, d->ordinal + 1, 1};
	struct buf line = {0};
	struct buf name = {0};
	enum status st;

	s->ordinal = d->ordinal++;
	st = launch_show(&d->launch, s, &line, e);
	if (st == ST_OK && s->part >= 0) {
		buf_str(&line, " < ");
		str_shell_quote(&line, s->item, s->item_len);
		buf_printf(&line, " (bytes %lld to %lld)", (long long)s->offset,
		    (long long)s->offset + (long long)s->length);
	}
	if (st == ST_OK && d->launch.out != NULL) {
		st = template_expand(d->launch.out, &v, &name, e);
		buf_str(&line, " > ");
		if (st == ST_OK)
			str_shell_quote(&line, name.data == NULL ? "" : name.data, name.len);
	}
	if (st == ST_OK)
		st = buf_check(&line, e);
	if (st == ST_OK && (fwrite(line.data, 1, line.len, stdout) != line.len ||
	    putchar('\n') == EOF))
		st = error_os(e, errno, "cannot write to stdout");
	buf_free(&line);
	buf_free(&name);
	return st;
}

static enum status print_range(void *arg, const struct bytes_range *r, struct error *e)
{
	struct ledger_shard s = {.part = r->part, .offset = r->offset, .length = r->length};
	enum status st;

	s.item_len = strlen(r->path);
	s.item = mem_dup(r->path, s.item_len);
	if (s.item == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = print_one(arg, &s, e);
	free(s.item);
	return st;
}

static enum status print_item(struct dryrun *d, struct buf *text, struct error *e)
{
	struct ledger_shard s = {.item = text->data, .item_len = text->len, .part = -1,
	    .length = -1};
	enum records_kind kind;
	enum status st;

	if (d->launch.spec->shard == SPEC_LIST)
		return print_one(d, &s, e);
	st = records_parse(d->launch.spec->records, &kind, e);
	return st != ST_OK ? st
	    : bytes_cut(text->data, d->launch.spec->shard_size, kind, print_range, d, e);
}

enum status dryrun_print(const struct spec *spec, const struct worker_input *input,
    struct error *e)
{
	struct dryrun *d = mem_zero(sizeof(*d));
	struct buf text = {0};
	bool end = false;
	size_t n_args;
	enum status st;

	if (d == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = launch_prepare(&d->launch, spec, e);
	while (st == ST_OK && !end) {
		st = list_next(input->list, &text, &n_args, &end, e);
		if (st == ST_OK && !end)
			st = print_item(d, &text, e);
	}
	if (st == ST_OK && fflush(stdout) != 0)
		st = error_os(e, errno, "cannot write to stdout");
	buf_free(&text);
	launch_release(&d->launch);
	free(d);
	return st;
}
