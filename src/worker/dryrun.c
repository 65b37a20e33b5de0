#include "worker/dryrun.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "shard/bytes.h"
#include "worker/work.h"

struct dryrun {
	struct work w;
	struct worker_options opt;
	int64_t ordinal;
};

static enum status print_one(struct dryrun *d, struct ledger_shard *s, struct error *e)
{
	struct template_values v = {s->item, s->item_len, d->ordinal + 1, 1};
	struct buf line = {0};
	struct buf name = {0};
	enum status st;

	s->ordinal = d->ordinal++;
	st = launch_show(&d->w, s, &line, e);
	if (st == ST_OK && s->part >= 0) {
		buf_str(&line, " < ");
		str_shell_quote(&line, s->item, s->item_len);
		buf_printf(&line, " (bytes %lld to %lld)", (long long)s->offset,
		    (long long)s->offset + (long long)s->length);
	}
	if (st == ST_OK && d->w.out != NULL) {
		st = template_expand(d->w.out, &v, &name, e);
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

	if (d->w.spec->shard == SPEC_LIST)
		return print_one(d, &s, e);
	st = records_parse(d->w.spec->records, &kind, e);
	return st != ST_OK ? st
	    : bytes_cut(text->data, d->w.spec->shard_size, kind, print_range, d, e);
}

enum status dryrun_print(const struct spec *spec, const struct worker_input *input,
    struct error *e)
{
	struct dryrun *d = mem_zero(sizeof(*d));
	struct list *list = NULL;
	struct buf text = {0};
	bool end = false;
	size_t n_args;
	enum status st;

	if (d == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	d->w.spec = spec;
	d->w.opt = &d->opt;
	st = launch_prepare(&d->w, e);
	if (st == ST_OK)
		st = list_open(input->sources, input->n_sources, &input->list, &list, e);
	while (st == ST_OK && !end) {
		st = list_next(list, &text, &n_args, &end, e);
		if (st == ST_OK && !end)
			st = print_item(d, &text, e);
	}
	if (st == ST_OK && fflush(stdout) != 0)
		st = error_os(e, errno, "cannot write to stdout");
	list_close(list);
	buf_free(&text);
	launch_release(&d->w);
	free(d);
	return st;
}
