#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "ledger/files.h"
#include "ledger/sqlite.h"

/* How often a claim is worth it while shards are left to somebody else. */
enum { ASK_AGAIN_MS = 1000 };

static int64_t boot_ms(void)
{
	return sys_boot_ns() / 1000000;
}

/* ---- claiming ---- */

/* Delays that are over become none, so that claims find what is ready in the
 * order of the list without passing by what is not. */
static enum status wake_delayed(struct sqlite_ledger *l, int64_t stage, int64_t now,
    struct error *e)
{
	struct q q;

	q_open(&q, l, "UPDATE shard SET not_before = 0 "
	    "WHERE stage = ? AND " IS_READY " AND not_before BETWEEN 1 AND ?");
	q_int(&q, stage);
	q_int(&q, now);
	return q_run(&q, e);
}

static enum status next_delayed(struct sqlite_ledger *l, int64_t stage, int64_t below,
    int64_t *next, struct error *e)
{
	struct q q;

	q_open(&q, l, "SELECT not_before FROM shard INDEXED BY shard_open "
	    "WHERE stage = ? AND " IS_READY " AND not_before > 0 AND ordinal >= 0 AND ordinal < ? "
	    "ORDER BY not_before LIMIT 1");
	q_int(&q, stage);
	q_int(&q, below);
	return q_value(&q, -1, next, e);
}

struct claim_query {
	int64_t stage;
	int64_t below;
	int64_t asks_until; /* of those that ask: only with a spot_from up to it */
	size_t max;
};

static enum status read_ready(struct sqlite_ledger *l, const struct claim_query *c,
    struct ledger_shard *out, size_t *n, struct error *e)
{
	struct q q;

	q_open(&q, l, "SELECT " SHARD_COLUMNS " FROM shard INDEXED BY shard_open "
	    "WHERE stage = ? AND " IS_READY " AND not_before = 0 AND ordinal >= 0 AND ordinal < ? "
	    "AND spot_from <= ? ORDER BY ordinal");
	q_int(&q, c->stage);
	q_int(&q, c->below);
	q_int(&q, c->asks_until);
	return shards_from(&q, c->max, out, n, e);
}

/* Those that ask for On-Demand, and then the others. */
static enum status read_asking_first(struct sqlite_ledger *l, struct claim_query c,
    struct ledger_shard *out, size_t *n, struct error *e)
{
	size_t more = 0;
	struct q q;
	enum status st;

	q_open(&q, l, "SELECT " SHARD_COLUMNS " FROM shard INDEXED BY shard_asks "
	    "WHERE stage = ? AND " IS_READY " AND spot_from > 0 AND not_before = 0 "
	    "AND ordinal >= 0 AND ordinal < ? ORDER BY spot_from");
	q_int(&q, c.stage);
	q_int(&q, c.below);
	st = shards_from(&q, c.max, out, n, e);
	c.max -= *n;
	c.asks_until = 0;
	if (st == ST_OK)
		st = read_ready(l, &c, out + *n, &more, e);
	*n += more;
	return st;
}

/* For a spot worker, as long as somebody is there for those that ask. *next is brought
 * forward to when it is worth asking again. */
static enum status read_unasked(struct sqlite_ledger *l, struct claim_query c,
    const struct stage_info *info, struct ledger_shard *out, size_t *n, int64_t *next,
    struct error *e)
{
	int64_t now = boot_ms();
	int64_t soonest;
	bool left = false;
	enum status st = next_asking(l, c.stage, now, &soonest, e);

	if (st == ST_OK && soonest != -1)
		st = on_demand_is_there(l, info, now, &left, e);
	if (st != ST_OK)
		return st;
	if (left) {
		c.asks_until = now;
		*next = soonest < now + ASK_AGAIN_MS ? soonest : now + ASK_AGAIN_MS;
	}
	return read_ready(l, &c, out, n, e);
}

/* One that must run alone ends the claim, before it or after it. */
static void cut_at_alone(struct ledger_shard *out, size_t *n)
{
	size_t i;

	for (i = 0; i < *n; i++) {
		if (out[i].s.alone) {
			size_t keep = i == 0 ? 1 : i;

			while (*n > keep)
				ledger_shard_free(&out[--*n]);
		}
	}
}

static enum status lease_one(struct sqlite_ledger *l, struct ledger_shard *s, int64_t stage,
    int64_t worker, struct error *e)
{
	const struct shard_event ev = {.kind = EV_CLAIM};
	struct row r = {
		.row = s->row, .stage = stage, .ordinal = s->ordinal, .s = s->s,
		.attempts = s->attempts, .asks_since = s->asks_boot_ms,
		.spot_from = s->spot_from_boot_ms,
	};
	bool taken;
	enum status st = row_step(l, &r, &ev, NULL, &taken, e);

	if (st != ST_OK)
		return st;
	r.worker = worker;
	s->s = r.s;
	s->worker = worker;
	return row_put(l, &r, NULL, e);
}

static enum status claim(struct sqlite_ledger *l, int64_t stage, int64_t worker, int64_t below,
    size_t max, struct ledger_shard *out, size_t *n, int64_t *next, struct error *e)
{
	const struct claim_query c = {stage, below, INT64_MAX, max};
	enum claimer as = CLAIMER_ANY;
	struct stage_info info;
	int64_t soon = -1;
	size_t i;
	enum status st = worker_claims_as(l, worker, &as, e);

	if (st == ST_OK)
		st = stage_info_get(l, stage, &info, e);
	if (st == ST_OK && info.newest != info.generation)
		st = stage_must_be_open(&info, e);
	if (st == ST_OK)
		st = wake_delayed(l, stage, boot_ms(), e);
	if (st == ST_OK)
		st = as == CLAIMER_ON_DEMAND ? read_asking_first(l, c, out, n, e)
		    : as == CLAIMER_SPOT ? read_unasked(l, c, &info, out, n, &soon, e)
		    : read_ready(l, &c, out, n, e);
	cut_at_alone(out, n);
	for (i = 0; st == ST_OK && i < *n; i++)
		st = lease_one(l, &out[i], stage, worker, e);
	if (st == ST_OK)
		st = next_delayed(l, stage, below, next, e);
	if (soon != -1 && (*next == -1 || soon < *next))
		*next = soon;
	return st;
}

enum status sqlite_claim(struct ledger *base, int64_t stage, int64_t worker, int64_t below,
    size_t max, struct ledger_shard *out, size_t *n, int64_t *next_boot_ms, struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	enum status st = op_begin(l, OP_SAVED, e);

	if (st != ST_OK)
		return st;
	st = claim(l, stage, worker, below, max, out, n, next_boot_ms, e);
	st = op_end(l, st, e);
	if (st != ST_OK) {
		shards_free(out, n);
		*next_boot_ms = -1;
	}
	return st;
}

/* ---- done ---- */

static enum status put_version(struct sqlite_ledger *l, int64_t row,
    const struct file_version *v, struct error *e)
{
	struct q q;

	q_open(&q, l, "UPDATE shard SET v_exists = ?, v_size = ?, v_mtime_ns = ? WHERE row = ?");
	q_int(&q, v->exists);
	q_int(&q, v->size);
	q_int(&q, v->mtime_ns);
	q_int(&q, row);
	return q_run(&q, e);
}

/* The names of its files are this shard's, or become so. */
static enum status own_names(struct sqlite_ledger *l, const struct row *r,
    const struct ledger_file *files, size_t n, struct error *e)
{
	struct stage_info info;
	enum status st = stage_info_get(l, r->stage, &info, e);
	size_t i;

	for (i = 0; st == ST_OK && i < n; i++) {
		if (files[i].final_path[0] != '\0')
			st = output_plan(l, &info, r->row, files[i].final_path,
			    strlen(files[i].final_path), e);
	}
	return st;
}

static enum status accept_row(struct sqlite_ledger *l, int64_t row, const struct ledger_attempt *a,
    const struct ledger_file *files, size_t n, const struct file_version *after,
    struct error *e)
{
	struct shard_event ev = {
		.kind = n == 0 ? EV_ACCEPT_EMPTY : EV_ACCEPT, .epoch = a->epoch,
	};
	struct ledger_attempt done = *a;
	struct buf json = {0};
	struct row r;
	bool taken = false;
	enum status st = row_get(l, row, &r, e);

	if (st == ST_OK)
		st = row_step(l, &r, &ev, NULL, &taken, e);
	if (st != ST_OK || !taken)
		return st;
	if (n > 0) {
		st = own_names(l, &r, files, n, e);
		if (st == ST_OK)
			st = ledger_files_format(files, n, &json, e);
		r.worker = a->worker;
	}
	r.attempts++;
	done.cause = CAUSE_DONE;
	if (st == ST_OK)
		st = attempt_put(l, &r, &done, e);
	if (st == ST_OK)
		st = row_put(l, &r, n == 0 ? NULL : json.data, e);
	if (st == ST_OK)
		st = checkpoint_drop(l, row, e);
	if (st == ST_OK && after != NULL && !file_version_equal(after, &r.version))
		st = put_version(l, row, after, e);
	buf_free(&json);
	return st;
}

enum status sqlite_accept(struct ledger *base, int64_t row, const struct ledger_attempt *a,
    const struct ledger_file *files, size_t n_files, const struct file_version *after,
    struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	/* A name may turn out to be another's after a first one was written. */
	enum status st = op_begin(l, n_files > 0 ? OP_SAVED : OP_PLAIN, e);

	if (st != ST_OK)
		return st;
	return op_end(l, accept_row(l, row, a, files, n_files, after, e), e);
}

static enum status put_outputs(struct sqlite_ledger *l, int64_t row, struct error *e)
{
	char *final;
	char *json;
	size_t final_len;
	enum status st = row_names(l, row, &final, &final_len, &json, e);

	if (st == ST_OK && json != NULL)
		st = output_put_files(l, row, json, e);
	free(final);
	free(json);
	return st;
}

enum status sqlite_published(struct ledger *base, int64_t row, int64_t epoch, struct error *e)
{
	const struct shard_event ev = {.kind = EV_PUBLISHED, .epoch = epoch};
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
		st = put_outputs(l, row, e);
	if (st == ST_OK && taken)
		st = row_put(l, &r, NULL, e);
	return op_end(l, st, e);
}

/* ---- not done ---- */

/* Accepted, and now not to be published: the names are released. */
static enum status give_up_output(struct sqlite_ledger *l, int64_t row,
    const struct shard_event *ev, bool *taken, struct error *e)
{
	struct row r;
	char *final = NULL;
	char *json = NULL;
	size_t final_len;
	enum status st = row_get(l, row, &r, e);

	if (st == ST_OK)
		st = row_step(l, &r, ev, NULL, taken, e);
	if (st == ST_OK && *taken)
		st = row_names(l, row, &final, &final_len, &json, e);
	if (st == ST_OK && json != NULL)
		st = output_release_files(l, row, json, final, final_len, e);
	if (st == ST_OK && *taken)
		st = row_put(l, &r, "", e);
	free(final);
	free(json);
	return st;
}

enum status sqlite_output_placed(struct ledger *base, int64_t row, int64_t epoch,
    const struct ledger_file *f, struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	struct row r;
	enum status st = op_begin(l, OP_PLAIN, e);

	if (st != ST_OK)
		return st;
	st = row_get(l, row, &r, e);
	if (st == ST_OK && (r.s.state != SHARD_ACCEPTED || r.s.epoch != epoch))
		st = error_set(e, ST_FENCED, "shard %lld is not accepted under epoch %lld",
		    (long long)row, (long long)epoch);
	if (st == ST_OK)
		st = output_put(l, row, f, e);
	return op_end(l, st, e);
}

enum status sqlite_output_gone(struct ledger *base, int64_t row, int64_t epoch, struct error *e)
{
	const struct shard_event ev = {.kind = EV_OUTPUT_GONE, .epoch = epoch};
	struct sqlite_ledger *l = sq(base);
	bool taken = false;
	enum status st = op_begin(l, OP_PLAIN, e);

	if (st == ST_OK)
		st = op_end(l, give_up_output(l, row, &ev, &taken, e), e);
	return st;
}

enum status sqlite_refused(struct ledger *base, int64_t row, int64_t epoch, const char *note,
    struct error *e)
{
	const struct shard_event ev = {.kind = EV_REFUSED, .epoch = epoch};
	struct sqlite_ledger *l = sq(base);
	struct q q;
	bool taken = false;
	enum status st = op_begin(l, OP_PLAIN, e);

	if (st != ST_OK)
		return st;
	st = give_up_output(l, row, &ev, &taken, e);
	if (st == ST_OK && taken) {
		q_open(&q, l, "UPDATE attempt SET note = ? WHERE shard = ? AND epoch = ?");
		q_text_n(&q, note, strnlen(note, sizeof(((struct ledger_attempt *)0)->note) - 1));
		q_int(&q, row);
		q_int(&q, epoch);
		st = q_run(&q, e);
	}
	return op_end(l, st, e);
}

enum status sqlite_end(struct ledger *base, int64_t row, const struct ledger_attempt *a,
    const struct retry_policy *policy, bool no_retry, int64_t delay_ms, struct shard *now,
    struct error *e)
{
	struct shard_event ev = {
		.kind = EV_END, .epoch = a->epoch, .cause = a->cause, .no_retry = no_retry,
	};
	struct sqlite_ledger *l = sq(base);
	struct row r = {0};
	int64_t kept_ms;
	bool lost = end_is_taken(a->cause, a->by_notice);
	bool taken = false;
	enum status st = op_begin(l, lost ? OP_SAVED : OP_PLAIN, e);

	if (st != ST_OK)
		return st;
	st = row_get(l, row, &r, e);
	if (st == ST_OK && lost)
		st = worker_mark_taken(l, a->worker, 0, e);
	if (st == ST_OK && lost)
		st = taken_counts(l, a->worker, &ev.taken, e);
	if (st == ST_OK)
		st = checkpoint_is_of(l, row, a->epoch, &ev.progressed, &kept_ms, e);
	ev.progressed = ev.progressed || a->cause == CAUSE_CHECKPOINTED;
	if (st == ST_OK)
		st = row_step(l, &r, &ev, policy, &taken, e);
	*now = r.s;
	if (st == ST_OK && taken) {
		r.attempts++;
		row_ask(&r, policy);
		if (r.s.state == SHARD_READY && delay_ms > 0)
			r.not_before = boot_ms() + delay_ms;
		st = attempt_put(l, &r, a, e);
		if (st == ST_OK)
			st = row_put(l, &r, NULL, e);
	}
	return op_end(l, st, e);
}

enum status sqlite_give_back(struct ledger *base, int64_t row, int64_t epoch, struct error *e)
{
	const struct shard_event ev = {.kind = EV_GIVE_BACK, .epoch = epoch};
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
		st = row_put(l, &r, NULL, e);
	return op_end(l, st, e);
}

/* ---- from outside ---- */

static enum status retry_row(struct sqlite_ledger *l, struct row *r, int64_t *n, struct error *e)
{
	const struct shard_event ev = {.kind = EV_RETRY};
	bool taken;
	enum status st = row_step(l, r, &ev, NULL, &taken, e);

	if (st != ST_OK || !taken)
		return st;
	++*n;
	return row_put(l, r, NULL, e);
}

/* Those of one state, one after the other: each leaves the state. */
static enum status retry_state(struct sqlite_ledger *l, int64_t stage, enum shard_state state,
    int64_t *n, struct error *e)
{
	enum status st = ST_OK;
	struct row r;
	struct q q;
	bool found;

	for (;;) {
		q_open(&q, l, "SELECT " ROW_COLUMNS " FROM shard INDEXED BY shard_open "
		    "WHERE stage = ? AND state = ? AND state <> 3 AND not_before = 0 "
		    "AND ordinal >= 0 ORDER BY ordinal LIMIT 1");
		q_int(&q, stage);
		q_int(&q, state);
		found = q_row(&q);
		if (found)
			st = row_from(&q, &r, e);
		st = q_end(&q, st, e);
		if (st == ST_OK && found)
			st = retry_row(l, &r, n, e);
		if (st != ST_OK || !found)
			return st;
	}
}

enum status sqlite_retry(struct ledger *base, int64_t stage, int64_t row, int64_t *n,
    struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	struct row r;
	enum status st = op_begin(l, OP_SAVED, e);

	if (st != ST_OK)
		return st;
	if (row == 0) {
		st = retry_state(l, stage, SHARD_FAILED, n, e);
		if (st == ST_OK)
			st = retry_state(l, stage, SHARD_SET_ASIDE, n, e);
	} else {
		st = row_get(l, row, &r, e);
		if (st == ST_OK && r.stage != stage)
			st = error_set(e, ST_NOT_FOUND, "row %lld is of another stage",
			    (long long)row);
		if (st == ST_OK)
			st = retry_row(l, &r, n, e);
	}
	st = op_end(l, st, e);
	if (st != ST_OK)
		*n = 0;
	return st;
}

enum status sqlite_input_changed(struct ledger *base, int64_t row,
    const struct file_version *version, struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	struct stage_info info;
	struct row r;
	enum status st = op_begin(l, OP_PLAIN, e);

	if (st != ST_OK)
		return st;
	st = row_get(l, row, &r, e);
	if (st == ST_OK)
		st = stage_info_get(l, r.stage, &info, e);
	if (st == ST_OK)
		st = stage_must_be_open(&info, e);
	if (st == ST_OK)
		st = row_void(l, &r, e);
	if (st == ST_OK)
		st = row_put(l, &r, "", e);
	if (st == ST_OK)
		st = put_version(l, row, version, e);
	return op_end(l, st, e);
}

/* ---- publishing for others ---- */

static enum status take_one(struct sqlite_ledger *l, int64_t row, int64_t worker, struct error *e)
{
	struct q q;

	q_open(&q, l, "UPDATE shard SET worker = ? WHERE row = ?");
	q_int(&q, worker);
	q_int(&q, row);
	return q_run(&q, e);
}

enum status sqlite_take_accepted(struct ledger *base, int64_t stage, int64_t worker, int64_t from,
    size_t max, struct ledger_shard *out, size_t *n, struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	struct q q;
	size_t i;
	enum status st = op_begin(l, OP_SAVED, e);

	if (st != ST_OK)
		return st;
	st = worker_must_be_here(l, worker, e);
	if (st == ST_OK) {
		q_open(&q, l, "SELECT " SHARD_COLUMNS " FROM shard INDEXED BY shard_open "
		    "WHERE stage = ? AND " IS_ACCEPTED " AND not_before = 0 AND ordinal >= ? "
		    "AND (worker = ? OR NOT EXISTS (SELECT 1 FROM worker AS w "
		    "WHERE w.id = shard.worker AND w.gone = 0)) ORDER BY ordinal");
		q_int(&q, stage);
		q_int(&q, from < 0 ? 0 : from);
		q_int(&q, worker);
		st = shards_from(&q, max, out, n, e);
	}
	for (i = 0; st == ST_OK && i < *n; i++) {
		if (out[i].worker == worker)
			continue;
		out[i].worker = worker;
		st = take_one(l, out[i].row, worker, e);
	}
	st = op_end(l, st, e);
	if (st != ST_OK)
		shards_free(out, n);
	return st;
}
