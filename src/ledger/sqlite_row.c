#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ledger/files.h"
#include "ledger/sqlite.h"

/* Causes that have a column, in the order of the columns. The others are never
 * counted against a budget. */
static const enum cause counted[] = {
	CAUSE_CHECKPOINTED, CAUSE_INTERRUPTED, CAUSE_LOST, CAUSE_FAILED, CAUSE_TIMED_OUT,
	CAUSE_OUT_OF_MEMORY, CAUSE_INFRASTRUCTURE,
};

enum { COUNTED = sizeof(counted) / sizeof(counted[0]) };

/* ---- reading ---- */

enum status col_state(struct q *q, int i, enum shard_state *out, struct error *e)
{
	int state = col_small(q, i);

	if (state < 0 || state >= SHARD_STATES)
		return sqlite_damaged(q->l, "a shard is in a state that does not exist", e);
	*out = (enum shard_state)state;
	return ST_OK;
}

enum status row_from(struct q *q, struct row *r, struct error *e)
{
	enum status st;
	int i;

	memset(r, 0, sizeof(*r));
	st = col_state(q, 3, &r->s.state, e);
	if (st != ST_OK)
		return st;
	r->row = col_int(q, 0);
	r->stage = col_int(q, 1);
	r->ordinal = col_int(q, 2);
	r->s.epoch = col_int(q, 4);
	r->s.floor = col_int(q, 5);
	if (r->s.epoch < 0 || r->s.epoch >= INT64_MAX)
		return sqlite_damaged(q->l, "a shard's epoch is out of range", e);
	for (i = 0; i < COUNTED; i++) {
		r->s.count[counted[i]] = col_small(q, 6 + i);
		if (r->s.count[counted[i]] < 0 || r->s.count[counted[i]] == INT32_MAX)
			return sqlite_damaged(q->l, "a shard's count is out of range", e);
	}
	r->s.alone = col_int(q, 13) != 0;
	r->attempts = col_small(q, 14);
	r->worker = col_int(q, 15);
	r->not_before = col_int(q, 16);
	r->was_file = col_int(q, 17) != 0;
	r->version.exists = col_int(q, 18) != 0;
	r->version.size = col_int(q, 19);
	r->version.mtime_ns = col_int(q, 20);
	r->s.taken = col_small(q, 21);
	r->asks_since = col_int(q, 22);
	r->spot_from = col_int(q, 23);
	r->s.asks = r->spot_from > 0;
	if (r->s.taken < 0 || r->s.taken == INT32_MAX)
		return sqlite_damaged(q->l, "a shard's count is out of range", e);
	return ST_OK;
}

static enum status shard_from(struct q *q, struct ledger_shard *out, struct error *e)
{
	struct row r;
	size_t len;
	enum status st = row_from(q, &r, e);

	memset(out, 0, sizeof(*out));
	if (st != ST_OK)
		return st;
	out->row = r.row;
	out->ordinal = r.ordinal;
	out->s = r.s;
	out->worker = r.worker;
	out->attempts = r.attempts;
	out->not_before_boot_ms = r.not_before;
	out->asks_boot_ms = r.asks_since;
	out->spot_from_boot_ms = r.spot_from;
	out->part = col_small(q, ROW_END + 1);
	out->occurrence = col_small(q, ROW_END + 2);
	out->offset = col_int(q, ROW_END + 3);
	out->length = col_int(q, ROW_END + 4);
	out->version = r.version;
	st = col_dup(q, ROW_END, LEDGER_ITEM_MAX, &out->item, &out->item_len, e);
	if (st == ST_OK && out->item == NULL)
		st = sqlite_damaged(q->l, "a shard has no item", e);
	if (st == ST_OK)
		st = col_dup(q, ROW_END + 5, LEDGER_ITEM_MAX, &out->final, &len, e);
	if (st == ST_OK)
		st = col_dup(q, ROW_END + 6, LEDGER_FILES_JSON_MAX, &out->files, &len, e);
	if (st != ST_OK)
		ledger_shard_free(out);
	return st;
}

void shards_free(struct ledger_shard *out, size_t *n)
{
	while (*n > 0)
		ledger_shard_free(&out[--*n]);
}

enum status shards_from(struct q *q, size_t max, struct ledger_shard *out, size_t *n,
    struct error *e)
{
	enum status st = ST_OK;

	*n = 0;
	while (st == ST_OK && *n < max && q_row(q)) {
		st = shard_from(q, &out[*n], e);
		if (st == ST_OK)
			++*n;
	}
	st = q_end(q, st, e);
	if (st != ST_OK)
		shards_free(out, n);
	return st;
}

enum status row_get(struct sqlite_ledger *l, int64_t row, struct row *r, struct error *e)
{
	struct q q;
	enum status st = ST_OK;
	bool found;

	q_open(&q, l, "SELECT " ROW_COLUMNS " FROM shard WHERE row = ?");
	q_int(&q, row);
	found = q_row(&q);
	if (found)
		st = row_from(&q, r, e);
	st = q_end(&q, st, e);
	if (st == ST_OK && !found)
		st = error_set(e, ST_NOT_FOUND, "the ledger has no shard in row %lld",
		    (long long)row);
	return st;
}

enum status row_names(struct sqlite_ledger *l, int64_t row, char **final, size_t *final_len,
    char **files, struct error *e)
{
	struct q q;
	size_t len;
	enum status st = ST_OK;

	*final = NULL;
	*files = NULL;
	*final_len = 0;
	q_open(&q, l, "SELECT final, files FROM shard WHERE row = ?");
	q_int(&q, row);
	if (q_row(&q)) {
		st = col_dup(&q, 0, LEDGER_ITEM_MAX, final, final_len, e);
		if (st == ST_OK)
			st = col_dup(&q, 1, LEDGER_FILES_JSON_MAX, files, &len, e);
	}
	st = q_end(&q, st, e);
	if (st != ST_OK) {
		free(*final);
		free(*files);
		*final = NULL;
		*files = NULL;
	}
	return st;
}

/* ---- changing ---- */

enum status row_count(struct sqlite_ledger *l, const struct row *r, int by, struct error *e)
{
	struct counters *c = counters_of(l, r->stage);

	if (c == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	c->add[COUNTER_PLANNED] += by;
	c->add[COUNTER_STATE + (int)r->s.state] += by;
	if (r->was_file)
		c->add[COUNTER_WITH_FILES] += by;
	return ST_OK;
}

static enum status moved(struct sqlite_ledger *l, const struct row *r, enum shard_state from,
    struct error *e)
{
	struct counters *c;

	if (r->ordinal < 0 || from == r->s.state)
		return ST_OK;
	c = counters_of(l, r->stage);
	if (c == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	c->add[COUNTER_STATE + (int)from]--;
	c->add[COUNTER_STATE + (int)r->s.state]++;
	return ST_OK;
}

static enum status fenced(const struct row *r, const struct shard_event *ev, struct error *e)
{
	return error_set(e, ST_FENCED, "epoch %lld of the shard in row %lld is void (it is %s, and "
	    "epochs from %lld on count)", (long long)ev->epoch, (long long)r->row,
	    shard_state_name(r->s.state), (long long)r->s.floor);
}

enum status row_step(struct sqlite_ledger *l, struct row *r, const struct shard_event *ev,
    const struct retry_policy *policy, bool *taken, struct error *e)
{
	enum shard_state from = r->s.state;
	struct shard next;

	*taken = false;
	switch (shard_step(&r->s, ev, policy, &next)) {
	case STEP_TAKEN:
		break;
	case STEP_ALREADY:
	case STEP_REFUSED: /* only of events without an epoch: nothing to do */
		return ST_OK;
	case STEP_FENCED:
		return fenced(r, ev, e);
	}
	r->s = next;
	if (next.state != SHARD_READY)
		r->not_before = 0;
	if (next.state != SHARD_LEASED && next.state != SHARD_ACCEPTED)
		r->worker = 0;
	if (!next.asks)
		r->asks_since = r->spot_from = 0;
	*taken = true;
	return moved(l, r, from, e);
}

static void bind_machine(struct q *q, const struct row *r)
{
	int i;

	q_int(q, r->s.state);
	q_int(q, r->s.epoch);
	q_int(q, r->s.floor);
	for (i = 0; i < COUNTED; i++)
		q_int(q, r->s.count[counted[i]]);
	q_int(q, r->s.alone);
	q_int(q, r->s.taken);
	q_int(q, r->asks_since);
	q_int(q, r->spot_from);
	q_int(q, r->attempts);
	q_int(q, r->worker);
	q_int(q, r->not_before);
}

#define SET_MACHINE \
	"UPDATE shard SET state = ?, epoch = ?, floor = ?, n_checkpointed = ?, " \
	"n_interrupted = ?, n_lost = ?, n_failed = ?, n_timed_out = ?, n_out_of_memory = ?, " \
	"n_infrastructure = ?, alone = ?, n_taken = ?, asks_since = ?, spot_from = ?, " \
	"attempts = ?, worker = ?, not_before = ?"

enum status row_put(struct sqlite_ledger *l, const struct row *r, const char *files,
    struct error *e)
{
	struct q q;

	q_open(&q, l, files == NULL ? SET_MACHINE " WHERE row = ?" :
	    SET_MACHINE ", files = ? WHERE row = ?");
	bind_machine(&q, r);
	if (files != NULL)
		q_text(&q, files[0] == '\0' ? NULL : files);
	q_int(&q, r->row);
	return q_run(&q, e);
}

enum status row_void(struct sqlite_ledger *l, struct row *r, struct error *e)
{
	const struct shard_event ev = {.kind = EV_INPUT_CHANGED};
	bool accepted = r->s.state == SHARD_ACCEPTED;
	bool had_files = r->s.state == SHARD_ACCEPTED || r->s.state == SHARD_PUBLISHED;
	char *final = NULL;
	char *files = NULL;
	size_t final_len;
	bool taken;
	enum status st = row_step(l, r, &ev, NULL, &taken, e);

	r->not_before = 0;
	if (st == ST_OK)
		st = checkpoint_drop(l, r->row, e);
	if (st != ST_OK || !had_files)
		return st;
	st = row_names(l, r->row, &final, &final_len, &files, e);
	/* Accepted files may have got their names just before their publisher
	 * died: what stands there then is ebb's own. */
	if (st == ST_OK && accepted && files != NULL)
		st = output_put_files(l, r->row, files, e);
	if (st == ST_OK && files != NULL)
		st = output_release_files(l, r->row, files, final, final_len, e);
	free(final);
	free(files);
	return st;
}

enum status attempt_put(struct sqlite_ledger *l, const struct row *r,
    const struct ledger_attempt *a, struct error *e)
{
	struct counters *c = counters_of_worker(l, r->stage, a->worker);
	int64_t net_ms = a->cause == CAUSE_DONE ? a->run_ms : a->kept_ms;
	size_t note_len = strnlen(a->note, sizeof(a->note));
	struct q q;

	if (c == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	c->add[COUNTER_ATTEMPTS]++;
	c->add[COUNTER_ENDED + (int)a->cause]++;
	c->add[COUNTER_RUN_MS] += net_ms;
	c->add[COUNTER_LOST_MS] += a->run_ms - net_ms;
	q_open(&q, l, "INSERT INTO attempt(shard, epoch, worker, cause, slot, exit_code, "
	    "exit_signal, started_wall_ms, run_ms, cpu_ms, max_rss_kib, out_bytes, err_bytes, "
	    "kept_ms, checkpoint_ms, restore_ms, by_notice, note) "
	    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
	q_int(&q, r->row);
	q_int(&q, a->epoch);
	q_int(&q, a->worker);
	q_int(&q, a->cause);
	q_int(&q, a->slot);
	q_int(&q, a->exit_code);
	q_int(&q, a->exit_signal);
	q_int(&q, a->started_wall_ms);
	q_int(&q, a->run_ms);
	q_int(&q, a->cpu_ms);
	q_int(&q, a->max_rss_kib);
	q_int(&q, a->out_bytes);
	q_int(&q, a->err_bytes);
	q_int(&q, a->kept_ms);
	q_int(&q, a->checkpoint_ms);
	q_int(&q, a->restore_ms);
	q_int(&q, a->by_notice);
	q_text_n(&q, note_len == 0 ? NULL : a->note, note_len);
	return q_run(&q, e);
}
