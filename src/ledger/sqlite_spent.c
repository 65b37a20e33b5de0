#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ledger/sqlite.h"

/* ---- saying ---- */

static enum status put_present(struct sqlite_ledger *l, int64_t worker, int64_t present_ms,
    struct error *e)
{
	struct q q;
	enum status st;

	q_open(&q, l, "UPDATE worker SET present_ms = ? WHERE id = ?");
	q_int(&q, present_ms);
	q_int(&q, worker);
	st = q_run(&q, e);
	if (st == ST_OK && sqlite3_changes64(l->db) == 0)
		st = error_set(e, ST_NOT_FOUND, "the ledger has no worker of number %lld",
		    (long long)worker);
	return st;
}

enum status sqlite_spent_put(struct ledger *base, int64_t worker, int64_t present_ms,
    const struct ledger_spent *rows, size_t n, struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	enum status st = op_begin(l, OP_SAVED, e);
	size_t i;

	if (st != ST_OK)
		return st;
	st = put_present(l, worker, present_ms, e);
	for (i = 0; st == ST_OK && i < n; i++) {
		struct q q;

		if (rows[i].ms <= 0)
			continue;
		q_open(&q, l, "INSERT INTO spent(run, worker, stage, kind, ms) "
		    "SELECT run, id, ?1, ?2, ?3 FROM worker WHERE id = ?4 "
		    "ON CONFLICT(run, worker, stage, kind) DO UPDATE SET ms = excluded.ms");
		q_int(&q, rows[i].stage);
		q_int(&q, rows[i].kind);
		q_int(&q, rows[i].ms);
		q_int(&q, worker);
		st = q_run(&q, e);
	}
	return op_end(l, st, e);
}

/* ---- counting ---- */

static enum status add_time(struct sqlite_ledger *l, const struct counters *c,
    enum spent_kind kind, int64_t ms, struct error *e)
{
	struct q q;

	if (ms == 0)
		return ST_OK;
	q_open(&q, l, "INSERT INTO spent(run, worker, stage, kind, ms) "
	    "SELECT run, ?1, id, ?2, ?3 FROM stage WHERE id = ?4 "
	    "ON CONFLICT(run, worker, stage, kind) DO UPDATE SET ms = ms + excluded.ms");
	q_int(&q, c->worker);
	q_int(&q, kind);
	q_int(&q, ms);
	q_int(&q, c->stage);
	return q_run(&q, e);
}

enum status spent_count(struct sqlite_ledger *l, const struct counters *c, struct error *e)
{
	enum status st = add_time(l, c, SPENT_NET, c->add[COUNTER_RUN_MS], e);

	return st == ST_OK ? add_time(l, c, SPENT_LOST, c->add[COUNTER_LOST_MS], e) : st;
}

/* What is in none of the attempts that have ended, those of this transaction included. */
static int64_t uncounted_ms(const struct sqlite_ledger *l, int64_t worker, int64_t stage,
    int64_t ms)
{
	size_t i;

	for (i = 0; i < l->n_pending; i++) {
		const struct counters *c = &l->pending[i];

		if (c->worker == worker && c->stage == stage)
			ms -= c->add[COUNTER_RUN_MS] + c->add[COUNTER_LOST_MS];
	}
	return ms;
}

static enum status add_void(struct sqlite_ledger *l, int64_t worker, const struct ledger_spent *s,
    struct error *e)
{
	struct q q;

	q_open(&q, l, "INSERT INTO spent(run, worker, stage, kind, ms) "
	    "SELECT run, id, ?1, ?2, ?3 FROM worker WHERE id = ?4 "
	    "ON CONFLICT(run, worker, stage, kind) DO UPDATE SET ms = ms + excluded.ms");
	q_int(&q, s->stage);
	q_int(&q, SPENT_VOID);
	q_int(&q, s->ms);
	q_int(&q, worker);
	return q_run(&q, e);
}

enum status spent_void_rest(struct sqlite_ledger *l, int64_t worker, struct error *e)
{
	struct ledger_spent *list = NULL;
	void *p = NULL;
	size_t cap = 0;
	size_t n = 0;
	size_t i;
	enum status st = ST_OK;
	struct q q;

	q_open(&q, l, "SELECT stage, sum(iif(kind = 0, ms, -ms)) FROM spent "
	    "WHERE run = (SELECT run FROM worker WHERE id = ?1) AND worker = ?1 "
	    "AND kind IN (0, 5, 6, 7) GROUP BY stage");
	q_int(&q, worker);
	while (st == ST_OK && q_row(&q)) {
		st = mem_grow(&p, &cap, n + 1, sizeof(*list), e);
		list = p;
		if (st == ST_OK)
			list[n++] = (struct ledger_spent){.stage = col_int(&q, 0),
			    .ms = uncounted_ms(l, worker, col_int(&q, 0), col_int(&q, 1))};
	}
	st = q_end(&q, st, e);
	for (i = 0; st == ST_OK && i < n; i++) {
		if (list[i].ms > 0)
			st = add_void(l, worker, &list[i], e);
	}
	free(p);
	return st;
}

/* ---- looking ---- */

enum status sqlite_spent(struct ledger *base, int64_t run, int generation,
    struct ledger_spent **out, size_t *n, struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	void *list = NULL;
	size_t cap = 0;
	enum status st = ST_OK;
	struct q q;

	q_open(&q, l, "SELECT spent.worker, stage, kind, ms FROM spent "
	    "JOIN worker ON worker.id = spent.worker WHERE spent.run = ?1 AND worker.generation = "
	    "iif(?2 > 0, ?2, (SELECT generation FROM run WHERE id = ?1)) "
	    "ORDER BY spent.worker, stage, kind");
	q_int(&q, run);
	q_int(&q, generation);
	while (st == ST_OK && q_row(&q)) {
		int kind = col_small(&q, 2);

		if (kind < 0 || kind >= SPENT_KINDS) {
			st = sqlite_damaged(l, "time was spent in a way that does not exist", e);
			break;
		}
		st = mem_grow(&list, &cap, *n + 1, sizeof(**out), e);
		if (st != ST_OK)
			break;
		((struct ledger_spent *)list)[(*n)++] = (struct ledger_spent){
			.worker = col_int(&q, 0), .stage = col_int(&q, 1),
			.kind = (enum spent_kind)kind, .ms = col_int(&q, 3),
		};
	}
	st = q_end(&q, st, e);
	if (st != ST_OK) {
		free(list);
		list = NULL;
		*n = 0;
	}
	*out = list;
	return st;
}
