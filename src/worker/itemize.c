#include "worker/itemize.h"

#include <string.h>

#include "shard/bytes.h"
#include "worker/work.h"

enum status itemize_begin(struct itemize *it, struct error *e)
{
	return it->g->spec->shard == SPEC_ALL ? input_sum_begin(&it->sum, e) : ST_OK;
}

void itemize_free(struct itemize *it)
{
	buf_free(&it->group);
	hash_destroy(it->sum.hash);
	it->sum.hash = NULL;
}

static enum status add_range(void *arg, const struct bytes_range *r, struct error *e)
{
	struct itemize *it = arg;
	struct ledger_item item = {.part = r->part, .offset = r->offset, .length = r->length,
	    .version = r->version};

	return it->add(it->arg, r->path, strlen(r->path), &item, e);
}

/* The gathered group of files as one shard. */
static enum status flush_group(struct itemize *it, struct error *e)
{
	struct ledger_item item = {.part = -1, .length = -1};
	enum status st;

	if (it->group.len == 0)
		return ST_OK;
	st = it->add(it->arg, it->group.data, it->group.len, &item, e);
	buf_clear(&it->group);
	it->group_bytes = 0;
	return st;
}

/* Small files share a shard until they have its size, or are as many as a
 * command takes as one item. */
static enum status group_file(struct itemize *it, const struct buf *path, struct error *e)
{
	int64_t most = it->g->spec->shard_size;
	int64_t size = most == 0 ? 0 : file_version_of(path->data).size;
	enum status st = ST_OK;

	if (it->group_bytes + size > most || it->group.len + 1 + path->len > LIST_ITEM_MAX)
		st = flush_group(it, e);
	if (it->group.len > 0)
		buf_char(&it->group, '\0');
	buf_append(&it->group, path->data, path->len);
	it->group_bytes += size;
	if (st == ST_OK)
		st = buf_check(&it->group, e);
	return st == ST_OK && most == 0 ? flush_group(it, e) : st;
}

enum status itemize_put(struct itemize *it, const struct buf *text, struct error *e)
{
	const struct spec *s = it->g->spec;
	struct ledger_item item = {.part = -1, .length = -1};
	struct file_version version;
	enum records_kind kind;
	enum status st;

	switch (s->shard) {
	case SPEC_LIST:
		return it->add(it->arg, text->data, text->len, &item, e);
	case SPEC_FILES:
		return group_file(it, text, e);
	case SPEC_ALL:
		version = file_version_of(text->data);
		input_sum_add(&it->sum, text->data, &version);
		return ST_OK;
	case SPEC_BYTES:
		break;
	}
	st = records_parse(s->records, &kind, e);
	return st == ST_OK ? bytes_cut(text->data, s->shard_size, kind, add_range, it, e) : st;
}

enum status itemize_end(struct itemize *it, struct error *e)
{
	static const char all[] = "all";
	struct ledger_item item = {.part = -1, .length = -1};

	if (it->g->spec->shard != SPEC_ALL)
		return flush_group(it, e);
	item.version = input_sum_end(&it->sum);
	it->sum.hash = NULL;
	return it->add(it->arg, all, sizeof(all) - 1, &item, e);
}

void itemize_digest(struct hash *digest, const char *text, size_t len,
    const struct ledger_item *item)
{
	hash_field(digest, text, len);
	if (item->part < 0)
		return;
	hash_field(digest, &item->offset, sizeof(item->offset));
	hash_field(digest, &item->length, sizeof(item->length));
	hash_field(digest, &item->version.size, sizeof(item->version.size));
	hash_field(digest, &item->version.mtime_ns, sizeof(item->version.mtime_ns));
}
