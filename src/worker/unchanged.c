/* Is what was sealed still what it would be now? The inputs are read again and
 * compared with what was planned, and outputs are looked for. Nothing is
 * written. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/itemize.h"
#include "worker/work.h"

enum { LOOK_PAGE = 512 };

struct compare {
	struct ledger *l;
	struct stage *g;
	struct hash *digest; /* of the current chunk */
	int64_t n;           /* items so far */
	bool changed;
};

static enum status compare_chunk(struct compare *c, int64_t number, struct error *e)
{
	uint8_t now[HASH_SIZE];
	uint8_t then[HASH_SIZE];
	enum status st;

	hash_final(c->digest, now);
	st = ledger_plan_chunk_get(c->l, c->g->id, number, then, e);
	if (st == ST_NOT_FOUND || (st == ST_OK && memcmp(now, then, HASH_SIZE) != 0)) {
		c->changed = true;
		return ST_FENCED; /* enough is known */
	}
	return st;
}

static enum status compare_item(void *arg, const char *text, size_t len,
    const struct ledger_item *item, struct error *e)
{
	struct compare *c = arg;

	if (c->n % LEDGER_CHUNK == 0)
		hash_field(c->digest, c->g->fingerprint, HASH_SIZE);
	itemize_digest(c->digest, text, len, item);
	if (++c->n % LEDGER_CHUNK != 0)
		return ST_OK;
	return compare_chunk(c, c->n / LEDGER_CHUNK - 1, e);
}

static enum status compare_items(struct compare *c, struct error *e)
{
	struct itemize it = {.g = c->g, .add = compare_item, .arg = c};
	struct input *in = NULL;
	struct buf text = {0};
	bool end = false;
	enum status st = itemize_begin(&it, e);

	if (st == ST_OK)
		st = input_open(c->g, &in, e);
	while (st == ST_OK && !end) {
		st = input_next(in, &text, &end, e);
		if (st == ST_OK && !end)
			st = itemize_put(&it, &text, e);
	}
	if (st == ST_OK)
		st = itemize_end(&it, e);
	if (st == ST_OK && c->n % LEDGER_CHUNK != 0)
		st = compare_chunk(c, c->n / LEDGER_CHUNK, e);
	if (st == ST_OK && c->n != c->g->last.planned)
		c->changed = true;
	input_close(in);
	itemize_free(&it);
	buf_free(&text);
	return c->changed ? ST_OK : st;
}

static enum status compare_versions(struct compare *c, struct error *e)
{
	struct ledger_shard *page = mem_zero(LOOK_PAGE * sizeof(*page));
	int64_t after = 0;
	size_t n = LOOK_PAGE;
	enum status st = ST_OK;
	size_t i;

	if (page == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	while (st == ST_OK && n == LOOK_PAGE && !c->changed) {
		st = ledger_plan_inputs(c->l, c->g->id, &after, LOOK_PAGE, page, &n, e);
		for (i = 0; st == ST_OK && i < n; i++) {
			struct file_version now = input_version(c->g, page[i].item,
			    page[i].item_len);

			c->changed = c->changed || !file_version_equal(&now, &page[i].version);
			ledger_shard_free(&page[i]);
		}
	}
	free(page);
	return st;
}

static enum status compare_outputs(struct compare *c, const struct ledger_shard *s,
    struct error *e)
{
	struct ledger_file *files = NULL;
	struct stat sb;
	size_t n = 0;
	size_t i;
	enum status st = s->files == NULL ? ST_OK : ledger_files_parse(s->files, &files, &n, e);

	for (i = 0; st == ST_OK && i < n; i++) {
		const char *path = files[i].final_path;

		if (path[0] != '\0' && (stat(path, &sb) != 0 || sb.st_size != files[i].size))
			c->changed = true;
	}
	ledger_files_free(files, n);
	return st;
}

static enum status look_for_outputs(struct compare *c, struct error *e)
{
	struct ledger_shard *page = mem_zero(LOOK_PAGE * sizeof(*page));
	struct ledger_query q = {.stage = c->g->id, .state = SHARD_PUBLISHED, .ordinal = -1,
	    .max = LOOK_PAGE};
	size_t n = LOOK_PAGE;
	enum status st = ST_OK;
	size_t i;

	if (page == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	while (st == ST_OK && n == LOOK_PAGE && !c->changed) {
		st = ledger_shards(c->l, &q, page, &n, e);
		for (i = 0; st == ST_OK && i < n; i++) {
			q.from = page[i].ordinal + 1;
			st = compare_outputs(c, &page[i], e);
			ledger_shard_free(&page[i]);
		}
	}
	free(page);
	return st;
}

/* A start that was killed when it was about to begin anew has removed it. */
static enum status look_for_manifest(struct compare *c, struct error *e)
{
	const struct worker_options *opt = c->g->w->opt;
	struct buf path = {0};
	enum status st = seal_manifest_path(opt->state, opt->run.name, c->g->spec->name, &path, e);

	if (st == ST_OK && access(path.data, F_OK) == -1)
		c->changed = true;
	buf_free(&path);
	return st;
}

static enum status compare_stage(struct compare *c, struct error *e)
{
	enum status st = compare_items(c, e);

	if (st == ST_OK && !c->changed)
		st = look_for_manifest(c, e);
	if (st == ST_OK && !c->changed)
		st = compare_versions(c, e);
	if (st == ST_OK && !c->changed)
		st = look_for_outputs(c, e);
	return st;
}

enum status worker_unchanged(const struct worker_options *opt, struct ledger *l, bool *unchanged,
    struct error *e)
{
	struct work w = {.opt = opt, .pipeline = opt->pipeline};
	struct compare c = {.l = l};
	struct ledger_stage *list = mem_zero(PIPELINE_STAGES_MAX * sizeof(*list));
	size_t i;
	enum status st;

	w.stage = mem_zero(opt->pipeline->n_stages * sizeof(*w.stage));
	c.digest = hash_create();
	st = list == NULL || w.stage == NULL || c.digest == NULL
	    ? error_set(e, ST_NO_MEMORY, "out of memory")
	    : ledger_run_stages(l, opt->run.id, 0, list, PIPELINE_STAGES_MAX, &w.n_stages, e);
	/* Another number of stages, or others: another pipeline. */
	c.changed = st == ST_OK && w.n_stages != opt->pipeline->n_stages;
	for (i = 0; st == ST_OK && !c.changed && i < w.n_stages; i++) {
		w.stage[i].w = &w;
		w.stage[i].spec = &opt->pipeline->stage[i];
		w.stage[i].id = list[i].id;
		w.stage[i].last = list[i];
		w.stage[i].fingerprint = opt->input.stage[i].fingerprint;
		c.changed = strcmp(list[i].name, w.stage[i].spec->name) != 0;
	}
	for (i = 0; st == ST_OK && !c.changed && i < w.n_stages; i++) {
		c.g = &w.stage[i];
		c.n = 0;
		if (list[i].sealed)
			st = compare_stage(&c, e);
	}
	*unchanged = !c.changed;
	hash_destroy(c.digest);
	free(w.stage);
	free(list);
	return st;
}
