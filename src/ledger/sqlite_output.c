#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "ledger/files.h"
#include "ledger/sqlite.h"

struct owner {
	bool found;
	int64_t run;
	int generation;
	int64_t shard;
	bool planned;
	bool published;
	int64_t stage;
};

static enum status owner_get(struct sqlite_ledger *l, const char *name, size_t len,
    struct owner *o, struct error *e)
{
	struct q q;

	memset(o, 0, sizeof(*o));
	q_open(&q, l, "SELECT run, (SELECT generation FROM stage WHERE stage.id = output.stage), "
	    "shard, planned, published, stage FROM output WHERE name = ?");
	q_blob(&q, name, len);
	o->found = q_row(&q);
	if (o->found) {
		o->run = col_int(&q, 0);
		o->generation = col_small(&q, 1);
		o->shard = col_int(&q, 2);
		o->planned = col_int(&q, 3) != 0;
		o->published = col_int(&q, 4) != 0;
		o->stage = col_int(&q, 5);
	}
	return q_close(&q, e);
}

/* Ordinal of a row that may be gone (then negative), and its item to show. */
static enum status owner_item(struct sqlite_ledger *l, int64_t row, int64_t *ordinal,
    struct buf *shown, struct error *e)
{
	struct q q;

	*ordinal = -1;
	q_open(&q, l, "SELECT ordinal, item, part FROM shard WHERE row = ?");
	q_int(&q, row);
	if (q_row(&q)) {
		size_t len;
		const char *item = col_bytes(&q, 1, &len);

		*ordinal = col_int(&q, 0);
		str_display(shown, item, len, 80);
		if (col_int(&q, 2) >= 0)
			buf_printf(shown, "#%lld", (long long)col_int(&q, 2) + 1);
	}
	return q_close(&q, e);
}

static enum status taken_by_shard(bool same_stage, const struct buf *theirs, const struct buf *name,
    const struct buf *mine, struct error *e)
{
	if (strcmp(theirs->data, mine->data) == 0 && !same_stage)
		return error_set(e, ST_EXISTS, "two stages have the same output name, %s, for the item "
		    "%s; give them different ones, such as another folder each", name->data,
		    mine->data);
	if (strcmp(theirs->data, mine->data) == 0)
		return error_set(e, ST_EXISTS, "the item %s is there twice, and both have the output "
		    "name %s; give it once (sort -u does that to a list), or put {#}, the number of "
		    "each, into the name", mine->data, name->data);
	return error_set(e, ST_EXISTS, "the items %s and %s have the same output name, %s; give "
	    "them different ones, such as with {#}, the number of each", theirs->data,
	    mine->data, name->data);
}

static enum status taken_by_run(struct sqlite_ledger *l, const struct owner *o,
    const struct buf *theirs, const struct buf *name, const struct buf *mine, struct error *e)
{
	char run[LEDGER_NAME_MAX] = "?";
	struct buf dir = {0};
	struct buf state = {0};
	char *here;
	struct q q;
	enum status st;

	q_open(&q, l, "SELECT name FROM run WHERE id = ?");
	q_int(&q, o->run);
	if (q_row(&q))
		col_text(&q, 0, run, sizeof(run));
	st = q_close(&q, e);
	if (st != ST_OK)
		return st;
	file_dirname(l->path, &dir);
	here = realpath(".ebb", NULL);
	if (!dir.failed && (here == NULL || strcmp(dir.data, here) != 0)) {
		buf_str(&state, " --state ");
		str_shell_quote(&state, dir.data, dir.len);
	}
	free(here);
	st = error_set(e, ST_EXISTS, "the output %s of item %s belongs to run %s%s%s, which has %s "
	    "it; if %s is not needed any more, this lets it be replaced: ebb gc%s --forget %s",
	    name->data, mine->data, run, theirs->len > 0 ? ", item " : "",
	    theirs->len > 0 ? theirs->data : "", o->published ? "published" : "planned", run,
	    state.len > 0 && !state.failed ? state.data : "", run);
	buf_free(&dir);
	buf_free(&state);
	return st;
}

/* ST_OK: the name may be taken from that owner. */
static enum status may_take(struct sqlite_ledger *l, const struct stage_info *s,
    const struct owner *o, int64_t row, const char *name, size_t len, struct error *e)
{
	struct buf shown[3] = {{0}};
	int64_t ordinal;
	int64_t mine;
	enum status st;
	int i;

	/* Run 0: what a run published that was removed since. */
	if (!o->planned && (!o->published || o->run == s->run || o->run == 0))
		return ST_OK;
	if (o->run == s->run && o->generation < s->generation)
		return ST_OK;
	st = owner_item(l, o->shard, &ordinal, &shown[0], e);
	if (st == ST_OK && o->run == s->run && ordinal < 0)
		goto out; /* unseen: it may have left the list */
	str_display(&shown[1], name, len, 120);
	if (st == ST_OK)
		st = owner_item(l, row, &mine, &shown[2], e);
	for (i = 0; i < 3; i++) {
		buf_str(&shown[i], "");
		if (st == ST_OK)
			st = buf_check(&shown[i], e);
	}
	if (st != ST_OK)
		goto out;
	if (o->run == s->run)
		st = taken_by_shard(o->stage == s->id, &shown[0], &shown[1], &shown[2], e);
	else
		st = taken_by_run(l, o, &shown[0], &shown[1], &shown[2], e);
out:
	for (i = 0; i < 3; i++)
		buf_free(&shown[i]);
	return st;
}

enum status output_plan(struct sqlite_ledger *l, const struct stage_info *s, int64_t row,
    const char *name, size_t len, struct error *e)
{
	struct owner o;
	struct q q;
	enum status st = owner_get(l, name, len, &o, e);

	if (st != ST_OK)
		return st;
	if (o.found && o.shard == row && o.planned)
		return ST_OK;
	if (!o.found) {
		q_open(&q, l, "INSERT INTO output(run, stage, shard, name, planned, published, "
		    "size, hash) VALUES (?, ?, ?, ?, 1, 0, 0, NULL)");
	} else {
		if (o.shard != row)
			st = may_take(l, s, &o, row, name, len, e);
		if (st != ST_OK)
			return st;
		q_open(&q, l, "UPDATE output SET run = ?, stage = ?, shard = ?, planned = 1 "
		    "WHERE name = ?");
	}
	q_int(&q, s->run);
	q_int(&q, s->id);
	q_int(&q, row);
	q_blob(&q, name, len);
	return q_run(&q, e);
}

enum status output_release(struct sqlite_ledger *l, int64_t row, const char *name, size_t len,
    struct error *e)
{
	struct q q;
	enum status st;

	q_open(&q, l, "DELETE FROM output WHERE name = ? AND shard = ? AND published = 0");
	q_blob(&q, name, len);
	q_int(&q, row);
	st = q_run(&q, e);
	if (st != ST_OK)
		return st;
	q_open(&q, l, "UPDATE output SET planned = 0 WHERE name = ? AND shard = ?");
	q_blob(&q, name, len);
	q_int(&q, row);
	return q_run(&q, e);
}

enum status output_release_files(struct sqlite_ledger *l, int64_t row, const char *json,
    const char *keep, size_t keep_len, struct error *e)
{
	struct ledger_file *files;
	size_t n;
	size_t i;
	enum status st = ledger_files_parse(json, &files, &n, e);

	for (i = 0; st == ST_OK && i < n; i++) {
		const char *name = files[i].final_path;
		size_t len = strlen(name);

		if (len == 0 || (keep != NULL && len == keep_len && memcmp(name, keep, len) == 0))
			continue;
		st = output_release(l, row, name, len, e);
	}
	ledger_files_free(files, n);
	return st;
}

enum status output_is_mine(struct sqlite_ledger *l, int64_t row, const char *name, size_t len,
    bool *mine, struct error *e)
{
	struct owner o;
	enum status st = owner_get(l, name, len, &o, e);

	*mine = st == ST_OK && o.found && o.shard == row && o.published;
	return st;
}

enum status output_put(struct sqlite_ledger *l, int64_t row, const struct ledger_file *f,
    struct error *e)
{
	struct q q;

	q_open(&q, l, "UPDATE output SET published = 1, size = ?, hash = ? "
	    "WHERE name = ? AND shard = ?");
	q_int(&q, f->size);
	q_blob(&q, f->hash, HASH_SIZE);
	q_blob(&q, f->final_path, strlen(f->final_path));
	q_int(&q, row);
	return q_run(&q, e);
}

enum status output_put_files(struct sqlite_ledger *l, int64_t row, const char *json,
    struct error *e)
{
	struct ledger_file *files;
	size_t n;
	size_t i;
	enum status st = ledger_files_parse(json, &files, &n, e);

	for (i = 0; st == ST_OK && i < n; i++) {
		if (files[i].final_path[0] != '\0')
			st = output_put(l, row, &files[i], e);
	}
	ledger_files_free(files, n);
	return st;
}

/* ---- for the callers of the ledger ---- */

/* An output of its run's newest generation. */
#define IS_NEWEST \
	"(SELECT stage.generation = run.generation FROM stage JOIN run ON run.id = stage.run " \
	"WHERE stage.id = output.stage)"

enum status sqlite_output_get(struct ledger *base, const char *final, size_t len,
    struct ledger_output *out, struct error *e)
{
	struct q q;
	enum status st = ST_OK;
	bool found;

	q_open(&q, sq(base), "SELECT planned AND " IS_NEWEST ", published, size, hash "
	    "FROM output WHERE name = ?");
	q_blob(&q, final, len);
	found = q_row(&q);
	if (found) {
		out->planned = col_int(&q, 0) != 0;
		out->published = col_int(&q, 1) != 0;
		out->size = col_int(&q, 2);
		if (out->published)
			st = col_fixed(&q, 3, out->hash, HASH_SIZE, e);
	}
	st = q_end(&q, st, e);
	if (st == ST_OK && !found)
		st = error_set(e, ST_NOT_FOUND, "no shard has an output of that name");
	return st;
}

static enum status left_from(struct q *q, struct ledger_left *out, struct error *e)
{
	enum status st;

	out->size = col_int(q, 1);
	st = col_fixed(q, 2, out->hash, HASH_SIZE, e);
	if (st == ST_OK)
		st = col_dup(q, 0, LEDGER_ITEM_MAX, &out->final, &out->final_len, e);
	return st;
}

/* The stages are found once and not for each name. */
#define IS_LEFT \
	"run = ?1 AND published = 1 AND (planned = 0 OR stage NOT IN (SELECT stage.id FROM stage " \
	"JOIN run ON run.id = stage.run WHERE run.id = ?1 AND stage.generation = run.generation))"

enum status sqlite_outputs_left(struct ledger *base, int64_t run, const struct ledger_left *after,
    size_t max, struct ledger_left *out, size_t *n, struct error *e)
{
	struct q q;
	enum status st = ST_OK;

	q_open(&q, sq(base), "SELECT name, size, hash FROM output WHERE " IS_LEFT
	    " AND name > ?2 ORDER BY name LIMIT ?3");
	q_int(&q, run);
	q_blob(&q, after == NULL ? "" : after->final, after == NULL ? 0 : after->final_len);
	q_int(&q, (int64_t)max);
	while (st == ST_OK && *n < max && q_row(&q)) {
		st = left_from(&q, &out[*n], e);
		if (st == ST_OK)
			++*n;
	}
	st = q_end(&q, st, e);
	while (st != ST_OK && *n > 0)
		free(out[--*n].final);
	return st;
}

enum status sqlite_output_forget(struct ledger *base, int64_t run, const char *final, size_t len,
    struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	enum status st = op_begin(l, OP_PLAIN, e);
	struct q q;

	if (st != ST_OK)
		return st;
	q_open(&q, l, "DELETE FROM output WHERE " IS_LEFT " AND name = ?2");
	q_int(&q, run);
	q_blob(&q, final, len);
	st = q_run(&q, e);
	if (st == ST_OK && sqlite3_changes64(l->db) == 0)
		st = error_set(e, ST_NOT_FOUND, "that output is planned, or is nobody's");
	return op_end(l, st, e);
}
