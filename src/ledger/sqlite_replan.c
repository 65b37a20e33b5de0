/* Planning once more: a list that is read again from some place on, what has left it
 * at its end, and inputs that may have changed. Ordinals are as in sqlite_plan.c. */
#include <stdlib.h>
#include <string.h>

#include "ledger/files.h"
#include "ledger/sqlite.h"

/* ---- restart ---- */

/* The rows from `first` on leave the counters. */
static enum status uncount_from(struct sqlite_ledger *l, int64_t stage, int64_t first,
    struct error *e)
{
	struct q q;
	struct counters *c = counters_of(l, stage);
	enum status st = ST_OK;

	if (c == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	q_open(&q, l, "SELECT state, count(*), sum(was_file) FROM shard "
	    "WHERE stage = ? AND ordinal >= ? GROUP BY state");
	q_int(&q, stage);
	q_int(&q, first);
	while (st == ST_OK && q_row(&q)) {
		enum shard_state state;

		st = col_state(&q, 0, &state, e);
		if (st != ST_OK)
			break;
		c->add[COUNTER_PLANNED] -= col_int(&q, 1);
		c->add[COUNTER_STATE + (int)state] -= col_int(&q, 1);
		c->add[COUNTER_WITH_FILES] -= col_int(&q, 2);
	}
	return q_end(&q, st, e);
}

static enum status run_with(struct sqlite_ledger *l, const char *sql, int64_t stage,
    int64_t number, struct error *e)
{
	struct q q;

	q_open(&q, l, sql);
	q_int(&q, stage);
	q_int(&q, number);
	return q_run(&q, e);
}

/* Occurrences are numbered in the order of the list, so those before `first`
 * are the first ones of each item. */
static enum status restart(struct sqlite_ledger *l, int64_t stage, int64_t first,
    struct error *e)
{
	static const char *const steps[] = {
		"UPDATE shard SET ordinal = -row WHERE stage = ? AND ordinal >= ?",
		"UPDATE shard SET repeats = 0 WHERE stage = ?1 AND repeats > 0 AND ?2 >= 0",
		("UPDATE shard SET repeats = seen.n FROM (SELECT first_row, max(occurrence) AS n "
		"FROM shard WHERE stage = ? AND first_row IS NOT NULL AND ordinal >= 0 "
		"AND ordinal < ? GROUP BY first_row) AS seen WHERE shard.row = seen.first_row"),
		"DELETE FROM chunk WHERE stage = ? AND number >= ? / 1024",
		("UPDATE stage SET plan_complete = 0, plan_seq = plan_seq + 1 "
		"WHERE id = ?1 AND ?2 >= 0"),
	};
	enum status st = uncount_from(l, stage, first, e);
	size_t i;

	_Static_assert(LEDGER_CHUNK == 1024, "the length of a chunk is part of the format");
	for (i = 0; st == ST_OK && i < sizeof(steps) / sizeof(steps[0]); i++)
		st = run_with(l, steps[i], stage, first, e);
	return st;
}

enum status sqlite_plan_restart(struct ledger *base, int64_t stage, int64_t first,
    struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	struct stage_info s;
	enum status st = op_begin(l, OP_SAVED, e);

	if (st != ST_OK)
		return st;
	st = stage_info_get(l, stage, &s, e);
	if (st == ST_OK)
		st = stage_must_be_open(&s, e);
	if (st == ST_OK && first > s.planned)
		st = error_set(e, ST_FENCED, "the plan holds %lld shards and cannot go on at %lld",
		    (long long)s.planned, (long long)first);
	if (st == ST_OK) {
		l->op_planned = true;
		/* The rows stay the same, and so does the index of them. */
		if (l->plan.stage == stage && l->plan.seq == s.plan_seq)
			l->plan.seq++;
		st = restart(l, stage, first, e);
	}
	return op_end(l, st, e);
}

/* ---- finish ---- */

enum status sqlite_plan_unseen(struct ledger *base, int64_t stage, struct ledger_unseen *out,
    struct error *e)
{
	struct q q;
	int64_t first = 0;
	int64_t same = 0;
	enum status st;

	q_open(&q, sq(base), "SELECT count(*), ifnull(sum(state IN (2, 3)), 0), ifnull(min(row), 0) "
	    "FROM shard INDEXED BY shard_ordinal WHERE stage = ? AND ordinal < 0 AND ordinal > ?");
	q_int(&q, stage);
	q_int(&q, SQLITE_DROPPED);
	if (q_row(&q)) {
		out->n = col_int(&q, 0);
		out->done = col_int(&q, 1);
		first = col_int(&q, 2);
	}
	st = q_close(&q, e);
	if (st != ST_OK || out->n == 0)
		return st;
	q_open(&q, sq(base), "SELECT EXISTS (SELECT 1 FROM shard AS a JOIN shard AS b "
	    "ON b.stage = a.stage AND b.ordinal >= 0 AND b.item = a.item "
	    "AND b.occurrence = a.occurrence AND b.part = a.part WHERE a.row = ?)");
	q_int(&q, first);
	st = q_value(&q, 0, &same, e);
	out->replaced = same != 0;
	return st;
}

static enum status drop_names(struct sqlite_ledger *l, int64_t row, struct error *e)
{
	char *final;
	char *files;
	size_t final_len;
	enum status st = row_names(l, row, &final, &final_len, &files, e);

	if (st == ST_OK && files != NULL)
		st = output_release_files(l, row, files, NULL, 0, e);
	if (st == ST_OK && final != NULL)
		st = output_release(l, row, final, final_len, e);
	free(final);
	free(files);
	return st;
}

static enum status drop_row(struct sqlite_ledger *l, struct row *r, struct error *e)
{
	bool open = r->s.state == SHARD_LEASED || r->s.state == SHARD_ACCEPTED;
	struct q q;
	enum status st = open ? row_void(l, r, e) : ST_OK;

	if (st == ST_OK)
		st = drop_names(l, r->row, e);
	if (st == ST_OK && open)
		st = row_put(l, r, "", e);
	if (st != ST_OK)
		return st;
	q_open(&q, l, "UPDATE shard SET ordinal = ? WHERE row = ?");
	q_int(&q, SQLITE_DROPPED - r->row);
	q_int(&q, r->row);
	return q_run(&q, e);
}

static enum status drop_unseen(struct sqlite_ledger *l, int64_t stage, int64_t *dropped,
    struct error *e)
{
	enum status st = ST_OK;
	struct row r;
	struct q q;
	bool found;

	for (;;) {
		q_open(&q, l, "SELECT " ROW_COLUMNS " FROM shard INDEXED BY shard_ordinal "
		    "WHERE stage = ? AND ordinal < 0 AND ordinal > ? "
		    "ORDER BY ordinal DESC LIMIT 1");
		q_int(&q, stage);
		q_int(&q, SQLITE_DROPPED);
		found = q_row(&q);
		if (found)
			st = row_from(&q, &r, e);
		st = q_end(&q, st, e);
		if (st == ST_OK && found)
			st = drop_row(l, &r, e);
		if (st != ST_OK || !found)
			return st;
		++*dropped;
	}
}

enum status sqlite_plan_finish(struct ledger *base, int64_t stage, int64_t total,
    int64_t *dropped, struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	struct stage_info s;
	enum status st = op_begin(l, OP_SAVED, e);

	if (st != ST_OK)
		return st;
	st = stage_info_get(l, stage, &s, e);
	if (st == ST_OK)
		st = stage_must_be_open(&s, e);
	if (st == ST_OK && s.planned != total)
		st = error_set(e, ST_FENCED, "the plan holds %lld shards and not %lld",
		    (long long)s.planned, (long long)total);
	if (st == ST_OK && !s.plan_complete) {
		st = drop_unseen(l, stage, dropped, e);
		if (st == ST_OK)
			st = run_with(l, "UPDATE stage SET plan_complete = 1 "
			    "WHERE id = ?1 AND ?2 >= 0", stage, 0, e);
	}
	st = op_end(l, st, e);
	if (st != ST_OK) {
		*dropped = 0;
		return st;
	}
	/* A group may still be undone, but an index is only kept for speed. */
	plan_index_drop(&l->plan);
	plan_index_drop(&l->carry);
	return ST_OK;
}

/* ---- looking for changed inputs ---- */

enum status sqlite_plan_inputs(struct ledger *base, int64_t stage, int64_t *after_row, size_t max,
    struct ledger_shard *out, size_t *n, struct error *e)
{
	struct q q;
	enum status st = ST_OK;

	q_open(&q, sq(base), "SELECT row, item, v_exists, v_size, v_mtime_ns, state FROM shard "
	    "WHERE row > ? AND stage = ? AND was_file = 1 AND ordinal >= 0 ORDER BY row");
	q_int(&q, *after_row);
	q_int(&q, stage);
	while (st == ST_OK && *n < max && q_row(&q)) {
		struct ledger_shard *s = &out[*n];

		memset(s, 0, sizeof(*s));
		s->row = col_int(&q, 0);
		s->version.exists = col_int(&q, 2) != 0;
		s->version.size = col_int(&q, 3);
		s->version.mtime_ns = col_int(&q, 4);
		st = col_state(&q, 5, &s->s.state, e);
		if (st == ST_OK)
			st = col_dup(&q, 1, LEDGER_ITEM_MAX, &s->item, &s->item_len, e);
		if (st == ST_OK)
			++*n;
	}
	st = q_end(&q, st, e);
	if (st != ST_OK)
		shards_free(out, n);
	else if (*n > 0)
		*after_row = out[*n - 1].row;
	return st;
}
