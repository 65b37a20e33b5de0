/* Machines of workers: what is known of them, and when they were taken away; shards
 * that ask for one that is not. */
#include <string.h>

#include "base/sys.h"
#include "ledger/sqlite.h"
#include "model/pool.h"

enum { WAIT_MAX_MS = 1000000000 };

static int64_t taken_now_ms(void)
{
	return sys_boot_ns() / 1000000;
}

static enum status changed_one(struct sqlite_ledger *l, int64_t worker, struct error *e)
{
	if (sqlite3_changes64(l->db) > 0)
		return ST_OK;
	return error_set(e, ST_NOT_FOUND, "the ledger has no worker of number %lld",
	    (long long)worker);
}

/* ---- what is known ---- */

/* Binds what fits into a field of that size with its NUL. */
static void bind_word(struct q *q, const char *word, size_t size)
{
	q_text_n(q, word == NULL ? "" : word, word == NULL ? 0 : strnlen(word, size - 1));
}

enum status sqlite_worker_describe(struct ledger *base, int64_t worker,
    const struct ledger_node *node, struct error *e)
{
	const struct ledger_worker *w = NULL;
	struct sqlite_ledger *l = sq(base);
	struct q q;
	enum status st = op_begin(l, OP_PLAIN, e);

	if (st != ST_OK)
		return st;
	q_open(&q, l, "UPDATE worker SET node = iif(?2 = '', node, ?2), "
	    "zone = iif(?3 = '', zone, ?3), instance_type = iif(?4 = '', instance_type, ?4), "
	    "lifecycle = iif(?5 = '', lifecycle, ?5), "
	    "life_until = iif(?6 = 0, life_until, ?6) WHERE id = ?1");
	q_int(&q, worker);
	bind_word(&q, node->node, sizeof(w->node));
	bind_word(&q, node->zone, sizeof(w->zone));
	bind_word(&q, node->instance_type, sizeof(w->instance_type));
	bind_word(&q, node->lifecycle, sizeof(w->lifecycle));
	q_int(&q, node->life_until_boot_ms);
	st = q_run(&q, e);
	if (st == ST_OK)
		st = changed_one(l, worker, e);
	return op_end(l, st, e);
}

/* ---- taken away ---- */

enum status worker_mark_taken(struct sqlite_ledger *l, int64_t worker, int64_t boot_ms,
    struct error *e)
{
	struct q q;

	q_open(&q, l, "UPDATE worker SET taken = iif(taken = 0, ?2, taken) WHERE id = ?1");
	q_int(&q, worker);
	q_int(&q, boot_ms != 0 ? boot_ms : taken_now_ms());
	return q_run(&q, e);
}

enum status sqlite_worker_taken(struct ledger *base, int64_t worker, int64_t boot_ms,
    struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	enum status st = op_begin(l, OP_PLAIN, e);

	if (st != ST_OK)
		return st;
	st = worker_mark_taken(l, worker, boot_ms, e);
	if (st == ST_OK)
		st = changed_one(l, worker, e);
	return op_end(l, st, e);
}

enum status sqlite_pool_hits(struct ledger *base, int64_t run, const char *pool,
    int64_t since_boot_ms, int64_t *times, size_t max, size_t *n, struct error *e)
{
	struct q q;

	q_open(&q, sq(base), "SELECT max(taken) AS at FROM worker INDEXED BY worker_taken "
	    "WHERE run = ? AND pool = ? AND taken > ? AND taken > 0 AND boot_id = ? "
	    "AND lifecycle <> 'on-demand' GROUP BY iif(node = '', name, node) "
	    "ORDER BY at DESC LIMIT ?");
	q_int(&q, run);
	q_text(&q, pool);
	q_int(&q, since_boot_ms);
	q_text(&q, sq(base)->boot_id);
	q_int(&q, (int64_t)max);
	while (*n < max && q_row(&q))
		times[(*n)++] = col_int(&q, 0);
	return q_close(&q, e);
}

bool end_is_taken(enum cause cause, bool by_notice)
{
	return cause == CAUSE_LOST ||
	    (by_notice && (cause == CAUSE_INTERRUPTED || cause == CAUSE_CHECKPOINTED));
}

enum status taken_counts(struct sqlite_ledger *l, int64_t worker, bool *counts, struct error *e)
{
	const struct pool_policy policy = pool_policy_default();
	int64_t hits[POOL_HITS_MAX];
	char pool[LEDGER_NAME_MAX] = "";
	int64_t now = taken_now_ms();
	int64_t run = 0;
	size_t n = 0;
	struct q q;
	enum status st;

	*counts = false;
	q_open(&q, l, "SELECT run, pool FROM worker WHERE id = ? AND lifecycle <> 'on-demand'");
	q_int(&q, worker);
	if (q_row(&q)) {
		run = col_int(&q, 0);
		col_text(&q, 1, pool, sizeof(pool));
	}
	st = q_close(&q, e);
	if (st != ST_OK || run == 0)
		return st;
	st = sqlite_pool_hits(&l->base, run, pool, now - pool_history_ms(&policy), hits,
	    POOL_HITS_MAX, &n, e);
	*counts = st == ST_OK && !pool_judge(&policy, hits, n, now).storm;
	return st;
}

/* ---- shards that ask ---- */

void row_ask(struct row *r, const struct retry_policy *policy)
{
	int64_t wait = policy->on_demand_wait_ms;
	int64_t now = taken_now_ms();

	if (!r->s.asks)
		return;
	wait = wait < 0 ? 0 : wait > WAIT_MAX_MS ? WAIT_MAX_MS : wait;
	if (r->asks_since == 0)
		r->asks_since = now;
	r->spot_from = now + wait;
}

enum status on_demand_is_there(struct sqlite_ledger *l, const struct stage_info *s, int64_t now,
    bool *there, struct error *e)
{
	int64_t found;
	struct q q;
	enum status st;

	q_open(&q, l, "SELECT 1 FROM worker INDEXED BY worker_on_demand WHERE run = ? "
	    "AND gone = 0 AND lifecycle = 'on-demand' AND drain = 0 AND generation = ? "
	    "AND boot_id = ? AND lease_until > ? LIMIT 1");
	q_int(&q, s->run);
	q_int(&q, s->generation);
	q_text(&q, l->boot_id);
	q_int(&q, now);
	st = q_value(&q, 0, &found, e);
	*there = found != 0;
	return st;
}

enum status next_asking(struct sqlite_ledger *l, int64_t stage, int64_t after, int64_t *spot_from,
    struct error *e)
{
	struct q q;

	q_open(&q, l, "SELECT spot_from FROM shard INDEXED BY shard_asks WHERE stage = ? "
	    "AND " IS_READY " AND spot_from > 0 AND spot_from > ? ORDER BY spot_from LIMIT 1");
	q_int(&q, stage);
	q_int(&q, after);
	return q_value(&q, -1, spot_from, e);
}

enum status sqlite_asking(struct ledger *base, int64_t run, struct ledger_asking *out,
    struct error *e)
{
	struct q q;

	q_open(&q, sq(base), "SELECT ifnull(sum(state = 0), 0), ifnull(sum(state = 1), 0) "
	    "FROM shard INDEXED BY shard_asks WHERE stage IN (SELECT stage.id FROM stage "
	    "JOIN run ON run.id = stage.run AND run.generation = stage.generation "
	    "WHERE run.id = ?) AND state IN (0, 1) AND state <> 3 AND spot_from > 0 "
	    "AND ordinal >= 0");
	q_int(&q, run);
	if (q_row(&q)) {
		out->ready = col_int(&q, 0);
		out->leased = col_int(&q, 1);
	}
	return q_close(&q, e);
}
