#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "ledger/sqlite.h"

enum status worker_must_be_here(struct sqlite_ledger *l, int64_t worker, struct error *e)
{
	struct q q;
	int64_t gone;
	enum status st;

	q_open(&q, l, "SELECT gone FROM worker WHERE id = ?");
	q_int(&q, worker);
	st = q_value(&q, 1, &gone, e);
	if (st == ST_OK && gone != 0)
		st = error_set(e, ST_FENCED, "the lease of worker %lld was taken over",
		    (long long)worker);
	return st;
}

enum status worker_claims_as(struct sqlite_ledger *l, int64_t worker, enum claimer *as,
    struct error *e)
{
	struct q q;
	int64_t kind;
	enum status st;

	q_open(&q, l, "SELECT CASE WHEN gone <> 0 THEN -1 WHEN lifecycle = 'spot' THEN 1 "
	    "WHEN lifecycle = 'on-demand' THEN 2 ELSE 0 END FROM worker WHERE id = ?");
	q_int(&q, worker);
	st = q_value(&q, -1, &kind, e);
	if (st == ST_OK && kind == -1)
		return worker_must_be_here(l, worker, e);
	*as = kind == 1 ? CLAIMER_SPOT : kind == 2 ? CLAIMER_ON_DEMAND : CLAIMER_ANY;
	return st;
}

static enum status insert_worker(struct sqlite_ledger *l, const struct ledger_worker *w,
    struct error *e)
{
	struct q q;

	q_open(&q, l, "INSERT INTO worker(name, run, number, pid, start_ticks, boot_id, "
	    "lease_until, gone, generation, pool, lifecycle, slots, joined_wall_ms, node, zone, "
	    "instance_type, life_until) "
	    "VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
	q_text(&q, w->name);
	q_int(&q, w->run);
	q_int(&q, w->number);
	q_int(&q, w->pid);
	q_int(&q, (int64_t)w->start_ticks);
	q_text(&q, w->boot_id);
	q_int(&q, w->lease_until_boot_ms);
	q_int(&q, w->generation);
	q_text(&q, w->pool[0] == '\0' ? "local" : w->pool);
	q_text(&q, w->lifecycle);
	q_int(&q, w->slots);
	q_int(&q, w->joined_wall_ms);
	q_text(&q, w->node);
	q_text(&q, w->zone);
	q_text(&q, w->instance_type);
	q_int(&q, w->life_until_boot_ms);
	return q_run(&q, e);
}

enum status sqlite_worker_add(struct ledger *base, struct ledger_worker *w, struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	struct q q;
	int64_t taken;
	int64_t number;
	enum status st = op_begin(l, OP_PLAIN, e);

	if (st != ST_OK)
		return st;
	q_open(&q, l, "SELECT id FROM worker WHERE name = ?");
	q_text(&q, w->name);
	st = q_value(&q, 0, &taken, e);
	if (st == ST_OK && taken != 0)
		st = error_set(e, ST_EXISTS, "a worker named %s is there already", w->name);
	if (st == ST_OK) {
		q_open(&q, l, "SELECT max(number) + 1 FROM worker WHERE run = ?");
		q_int(&q, w->run);
		st = q_value(&q, 1, &number, e);
	}
	if (st == ST_OK) {
		w->number = number < 1 ? 1 : (int)number;
		w->joined_wall_ms = sys_wall_ns() / 1000000;
		st = insert_worker(l, w, e);
	}
	if (st == ST_OK) {
		w->id = sqlite3_last_insert_rowid(l->db);
		w->gone = false;
	}
	return op_end(l, st, e);
}

enum status sqlite_worker_renew(struct ledger *base, int64_t worker, int64_t until_boot_ms,
    struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	struct q q;
	enum status st = op_begin(l, OP_PLAIN, e);

	if (st != ST_OK)
		return st;
	st = worker_must_be_here(l, worker, e);
	if (st == ST_OK) {
		q_open(&q, l, "UPDATE worker SET lease_until = ? WHERE id = ?");
		q_int(&q, until_boot_ms);
		q_int(&q, worker);
		st = q_run(&q, e);
	}
	return op_end(l, st, e);
}

#define WORKER_COLUMNS \
	"worker.id, worker.name, run, pid, start_ticks, boot_id, lease_until, gone, worker.number, " \
	"pool, lifecycle, slots, joined_wall_ms, left_wall_ms, drain, drain_deadline, drain_reason, " \
	"generation, present_ms, drain_notice, node, zone, instance_type, life_until, warned, taken"

static void worker_from(const struct q *q, struct ledger_worker *w)
{
	memset(w, 0, sizeof(*w));
	w->id = col_int(q, 0);
	col_text(q, 1, w->name, sizeof(w->name));
	w->run = col_int(q, 2);
	w->pid = col_small(q, 3);
	w->start_ticks = (uint64_t)col_int(q, 4);
	col_text(q, 5, w->boot_id, sizeof(w->boot_id));
	w->lease_until_boot_ms = col_int(q, 6);
	w->gone = col_int(q, 7) != 0;
	w->number = col_small(q, 8);
	col_text(q, 9, w->pool, sizeof(w->pool));
	col_text(q, 10, w->lifecycle, sizeof(w->lifecycle));
	w->slots = col_small(q, 11);
	w->joined_wall_ms = col_int(q, 12);
	w->left_wall_ms = col_int(q, 13);
	w->drain_boot_ms = col_int(q, 14);
	w->drain_deadline_boot_ms = col_int(q, 15);
	col_text(q, 16, w->drain_reason, sizeof(w->drain_reason));
	w->generation = col_small(q, 17);
	w->present_ms = col_int(q, 18);
	w->drain_notice = col_int(q, 19) != 0;
	col_text(q, 20, w->node, sizeof(w->node));
	col_text(q, 21, w->zone, sizeof(w->zone));
	col_text(q, 22, w->instance_type, sizeof(w->instance_type));
	/* Points of the clock of its boot. */
	if (strcmp(w->boot_id, q->l->boot_id) != 0)
		return;
	w->life_until_boot_ms = col_int(q, 23);
	w->warned_boot_ms = col_int(q, 24);
	w->taken_boot_ms = col_int(q, 25);
}

enum status sqlite_workers(struct ledger *base, int64_t run, struct ledger_worker *out, size_t max,
    size_t *n, struct error *e)
{
	struct q q;

	q_open(&q, sq(base), "SELECT " WORKER_COLUMNS " FROM worker WHERE gone = 0 "
	    "AND (?1 = 0 OR run = ?1) ORDER BY id");
	q_int(&q, run);
	while (*n < max && q_row(&q))
		worker_from(&q, &out[(*n)++]);
	return q_close(&q, e);
}

enum status sqlite_worker_list(struct ledger *base, int64_t run, struct ledger_worker **out,
    size_t *n, struct error *e)
{
	void *list = NULL;
	size_t cap = 0;
	enum status st = ST_OK;
	struct q q;

	q_open(&q, sq(base), "SELECT " WORKER_COLUMNS " FROM worker WHERE run = ? ORDER BY id");
	q_int(&q, run);
	while (st == ST_OK && q_row(&q)) {
		st = mem_grow(&list, &cap, *n + 1, sizeof(**out), e);
		if (st == ST_OK)
			worker_from(&q, (struct ledger_worker *)list + (*n)++);
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

enum status sqlite_worker_get(struct ledger *base, int64_t worker, struct ledger_worker *out,
    struct error *e)
{
	struct q q;
	bool found;
	enum status st;

	q_open(&q, sq(base), "SELECT " WORKER_COLUMNS " FROM worker WHERE id = ?");
	q_int(&q, worker);
	found = q_row(&q);
	if (found)
		worker_from(&q, out);
	st = q_close(&q, e);
	if (st == ST_OK && !found)
		st = error_set(e, ST_NOT_FOUND, "the ledger has no worker of number %lld",
		    (long long)worker);
	return st;
}

/* ---- requests to drain, warnings ---- */

/* Which workers are meant. ?1 run or 0, ?2 what was said or NULL for all, ?3 its
 * length. A pool is only meant when no worker is. */
#define IS_HERE "gone = 0 AND (?1 = 0 OR run = ?1)"
#define IS_CALLED \
	"('w' || number = ?2 OR CAST(pid AS TEXT) = ?2 OR " \
	"(?3 >= 6 AND substr(name, 1, ?3) = ?2) OR (node <> '' AND node = substr(?2, 1, 63)))"
#define IS_MEANT \
	IS_HERE " AND (?2 IS NULL OR " IS_CALLED " OR (pool = ?2 AND NOT EXISTS " \
	"(SELECT 1 FROM worker WHERE " IS_HERE " AND " IS_CALLED ")))"

enum status sqlite_worker_drain(struct ledger *base, int64_t run,
    const struct ledger_drain *drain, int64_t *n, struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	const char *why = drain->reason == NULL ? "" : drain->reason;
	struct q q;
	enum status st = op_begin(l, OP_PLAIN, e);

	if (st != ST_OK)
		return st;
	q_open(&q, l, "UPDATE worker SET "
	    "drain_reason = CASE WHEN drain = 0 THEN ?6 ELSE drain_reason END, "
	    "drain_deadline = CASE WHEN ?5 = 0 OR (drain_deadline > 0 AND drain_deadline < ?5) "
	    "THEN drain_deadline ELSE ?5 END, "
	    "drain = CASE WHEN drain = 0 THEN ?4 ELSE drain END, "
	    "drain_notice = max(drain_notice, ?7), "
	    "taken = CASE WHEN ?7 = 1 AND taken = 0 THEN ?4 ELSE taken END WHERE " IS_MEANT);
	q_int(&q, run);
	q_text(&q, drain->who);
	q_int(&q, drain->who == NULL ? 0 : (int64_t)strlen(drain->who));
	q_int(&q, sys_boot_ns() / 1000000);
	q_int(&q, drain->deadline_boot_ms);
	q_text_n(&q, why, strnlen(why, sizeof(((struct ledger_worker *)0)->drain_reason) - 1));
	q_int(&q, drain->notice);
	st = q_run(&q, e);
	if (st == ST_OK)
		*n = sqlite3_changes64(l->db);
	return op_end(l, st, e);
}

enum status sqlite_worker_warn(struct ledger *base, int64_t run, const char *who, bool on,
    int64_t *n, struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	struct q q;
	enum status st = op_begin(l, OP_PLAIN, e);

	if (st != ST_OK)
		return st;
	q_open(&q, l, "UPDATE worker SET warned = CASE WHEN ?4 = 0 THEN 0 WHEN warned = 0 THEN ?4 "
	    "ELSE warned END WHERE " IS_MEANT);
	q_int(&q, run);
	q_text(&q, who);
	q_int(&q, who == NULL ? 0 : (int64_t)strlen(who));
	q_int(&q, on ? sys_boot_ns() / 1000000 : 0);
	st = q_run(&q, e);
	if (st == ST_OK)
		*n = sqlite3_changes64(l->db);
	return op_end(l, st, e);
}

/* ---- the end of a worker ---- */

static enum status held_rows(struct sqlite_ledger *l, int64_t worker, struct row **rows,
    size_t *n, struct error *e)
{
	void *list = NULL;
	size_t cap = 0;
	struct q q;
	enum status st = ST_OK;

	*n = 0;
	q_open(&q, l, "SELECT " ROW_COLUMNS " FROM shard INDEXED BY shard_open "
	    "WHERE stage IN (SELECT id FROM stage) AND " IS_LEASED " AND worker = ?");
	q_int(&q, worker);
	while (st == ST_OK && q_row(&q)) {
		st = mem_grow(&list, &cap, *n + 1, sizeof(**rows), e);
		if (st == ST_OK)
			st = row_from(&q, (struct row *)list + *n, e);
		if (st == ST_OK)
			++*n;
	}
	*rows = list;
	return q_end(&q, st, e);
}

static enum status policy_of(struct sqlite_ledger *l, int64_t stage,
    const struct ledger_burial *how, const struct retry_policy **out, struct error *e)
{
	int64_t number;
	struct q q;
	enum status st;

	q_open(&q, l, "SELECT number FROM stage WHERE id = ?");
	q_int(&q, stage);
	st = q_value(&q, 0, &number, e);
	if (st == ST_OK)
		*out = how->policy[number >= 0 && number < (int64_t)how->n_policies ? (size_t)number
		    : how->n_policies - 1];
	return st;
}

static enum status end_row(struct sqlite_ledger *l, struct row *r, int64_t worker,
    const struct ledger_burial *how, int64_t ran_ms, bool counts, struct error *e)
{
	struct shard_event ev = {
		.kind = ran_ms >= 0 ? EV_END : EV_GIVE_BACK, .epoch = r->s.epoch, .cause = how->cause,
		.taken = counts,
	};
	struct ledger_attempt a = {
		.epoch = r->s.epoch, .worker = worker, .cause = how->cause, .exit_code = -1,
		.run_ms = ran_ms, .by_notice = how->by_notice,
	};
	const struct retry_policy *policy = NULL;
	bool taken = false;
	enum status st = checkpoint_is_of(l, r->row, r->s.epoch, &ev.progressed, &a.kept_ms, e);

	if (st == ST_OK)
		st = policy_of(l, r->stage, how, &policy, e);
	if (st == ST_OK)
		st = row_step(l, r, &ev, policy, &taken, e);
	if (st != ST_OK || !taken)
		return st;
	if (a.kept_ms > ran_ms)
		a.kept_ms = ran_ms;
	if (ran_ms >= 0) {
		r->attempts++;
		row_ask(r, policy);
		st = attempt_put(l, r, &a, e);
	}
	return st == ST_OK ? row_put(l, r, NULL, e) : st;
}

static enum status leave(struct sqlite_ledger *l, int64_t worker, struct error *e)
{
	struct q q;
	enum status st;

	q_open(&q, l, "UPDATE worker SET gone = 1, left_wall_ms = ? WHERE id = ? AND gone = 0");
	q_int(&q, sys_wall_ns() / 1000000);
	q_int(&q, worker);
	st = q_run(&q, e);
	if (st != ST_OK)
		return st;
	q_open(&q, l, "DELETE FROM lease WHERE worker = ?");
	q_int(&q, worker);
	return q_run(&q, e);
}

/* Its machine was taken, if it was here until now; whether that counts against what it
 * ran. */
static enum status mark_end(struct sqlite_ledger *l, int64_t worker,
    const struct ledger_burial *how, bool *counts, struct error *e)
{
	struct q q;
	int64_t here;
	enum status st;

	if (!end_is_taken(how->cause, how->by_notice))
		return ST_OK;
	q_open(&q, l, "SELECT gone = 0 FROM worker WHERE id = ?");
	q_int(&q, worker);
	st = q_value(&q, 0, &here, e);
	if (st == ST_OK && here != 0)
		st = worker_mark_taken(l, worker, 0, e);
	return st == ST_OK ? taken_counts(l, worker, counts, e) : st;
}

enum status sqlite_worker_end(struct ledger *base, int64_t worker,
    const struct ledger_burial *how, int64_t *lost, struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	struct row *rows = NULL;
	bool counts = false;
	size_t n = 0;
	size_t i;
	enum status st = op_begin(l, OP_SAVED, e);

	if (st != ST_OK)
		return st;
	st = mark_end(l, worker, how, &counts, e);
	if (st == ST_OK)
		st = held_rows(l, worker, &rows, &n, e);
	for (i = 0; st == ST_OK && i < n; i++) {
		int64_t ran = how->ran_ms == NULL ? 0
		    : how->ran_ms(how->arg, rows[i].row, rows[i].s.epoch);

		st = end_row(l, &rows[i], worker, how, ran, counts, e);
		*lost += ran >= 0;
	}
	if (st == ST_OK && how->cause == CAUSE_LOST)
		st = spent_void_rest(l, worker, e);
	if (st == ST_OK)
		st = leave(l, worker, e);
	free(rows);
	st = op_end(l, st, e);
	if (st != ST_OK)
		*lost = 0;
	return st;
}

/* ---- leases by name ---- */

static enum status lease_holder(struct sqlite_ledger *l, int64_t stage, const char *name,
    struct ledger_worker *holder, bool *held, struct error *e)
{
	struct q q;

	q_open(&q, l, "SELECT " WORKER_COLUMNS " FROM lease JOIN worker ON worker.id = lease.worker "
	    "WHERE stage = ? AND lease.name = ? AND gone = 0");
	q_int(&q, stage);
	q_text(&q, name);
	*held = q_row(&q);
	if (*held)
		worker_from(&q, holder);
	return q_close(&q, e);
}

enum status sqlite_lease_take(struct ledger *base, int64_t stage, const char *name,
    int64_t worker, struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	struct ledger_worker holder;
	struct q q;
	bool held = false;
	enum status st = op_begin(l, OP_PLAIN, e);

	if (st != ST_OK)
		return st;
	st = worker_must_be_here(l, worker, e);
	if (st == ST_OK)
		st = lease_holder(l, stage, name, &holder, &held, e);
	if (st == ST_OK && held && holder.id != worker)
		st = error_set(e, ST_BUSY, "worker %s (pid %ld) holds the lease \"%.64s\"",
		    holder.name, (long)holder.pid, name);
	if (st == ST_OK && !held) {
		q_open(&q, l, "INSERT OR REPLACE INTO lease(stage, name, worker) VALUES (?, ?, ?)");
		q_int(&q, stage);
		q_text(&q, name);
		q_int(&q, worker);
		st = q_run(&q, e);
	}
	return op_end(l, st, e);
}

enum status sqlite_lease_release(struct ledger *base, int64_t stage, const char *name,
    int64_t worker, struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	struct q q;
	enum status st = op_begin(l, OP_PLAIN, e);

	if (st != ST_OK)
		return st;
	q_open(&q, l, "DELETE FROM lease WHERE stage = ? AND name = ? AND worker = ?");
	q_int(&q, stage);
	q_text(&q, name);
	q_int(&q, worker);
	st = q_run(&q, e);
	return op_end(l, st, e);
}
