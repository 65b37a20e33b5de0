#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ledger/files.h"
#include "ledger/sqlite.h"

enum { FOLDER_NAME_MAX = 1 << 16 };

enum status checkpoint_drop(struct sqlite_ledger *l, int64_t row, struct error *e)
{
	struct q q;

	q_open(&q, l, "DELETE FROM checkpoint WHERE shard = ?");
	q_int(&q, row);
	return q_run(&q, e);
}

enum status checkpoint_is_of(struct sqlite_ledger *l, int64_t row, int64_t epoch, bool *is,
    int64_t *kept_ms, struct error *e)
{
	struct q q;

	q_open(&q, l, "SELECT kept_ms FROM checkpoint WHERE shard = ? AND epoch = ?");
	q_int(&q, row);
	q_int(&q, epoch);
	*is = q_row(&q);
	*kept_ms = *is ? col_int(&q, 0) : 0;
	return q_close(&q, e);
}

static enum status checkpoint_put(struct sqlite_ledger *l, int64_t row, const struct ledger_checkpoint *c,
    struct error *e)
{
	struct buf json = {0};
	struct q q;
	enum status st = ledger_files_format(c->files, c->n_files, &json, e);

	if (st == ST_OK) {
		q_open(&q, l, "INSERT OR REPLACE INTO checkpoint(shard, epoch, offset, files, folder, "
		    "kept_ms) VALUES (?, ?, ?, ?, ?, ?)");
		q_int(&q, row);
		q_int(&q, c->epoch);
		q_int(&q, c->offset);
		q_text(&q, c->n_files == 0 ? NULL : json.data);
		q_blob(&q, c->folder, c->folder == NULL ? 0 : strlen(c->folder));
		q_int(&q, c->kept_ms);
		st = q_run(&q, e);
	}
	buf_free(&json);
	return st;
}

enum status sqlite_checkpoint(struct ledger *base, int64_t row, const struct ledger_checkpoint *c,
    struct error *e)
{
	const struct shard_event ev = {.kind = EV_CHECKPOINT, .epoch = c->epoch};
	struct sqlite_ledger *l = sq(base);
	struct row r;
	bool taken = false;
	enum status st = op_begin(l, OP_PLAIN, e);

	if (st != ST_OK)
		return st;
	st = row_get(l, row, &r, e);
	if (st == ST_OK)
		st = row_step(l, &r, &ev, NULL, &taken, e);
	if (st == ST_OK && taken)
		st = checkpoint_put(l, row, c, e);
	return op_end(l, st, e);
}

enum status sqlite_checkpoint_get(struct ledger *base, int64_t row, struct ledger_checkpoint *out,
    struct error *e)
{
	struct q q;
	char *json = NULL;
	size_t len;
	bool found;
	enum status st = ST_OK;

	q_open(&q, sq(base), "SELECT epoch, offset, files, folder, kept_ms FROM checkpoint "
	    "WHERE shard = ?");
	q_int(&q, row);
	found = q_row(&q);
	if (found) {
		out->epoch = col_int(&q, 0);
		out->offset = col_int(&q, 1);
		out->kept_ms = col_int(&q, 4);
		st = col_dup(&q, 2, LEDGER_FILES_JSON_MAX, &json, &len, e);
		if (st == ST_OK)
			st = col_dup(&q, 3, FOLDER_NAME_MAX, &out->folder, &len, e);
		if (st == ST_OK && (out->epoch <= 0 || out->offset < 0))
			st = sqlite_damaged(q.l, "a checkpoint has no epoch", e);
	}
	st = q_end(&q, st, e);
	if (st == ST_OK && json != NULL)
		st = ledger_files_parse(json, &out->files, &out->n_files, e);
	free(json);
	if (st != ST_OK)
		ledger_checkpoint_free(out);
	return st;
}
