#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "ledger/sqlite.h"

/* ---- shards ---- */

#define PREFIX_MATCHES(len, prefix) \
	" AND (" prefix " IS NULL OR substr(item, 1, " len ") = " prefix ")"
#define SELECT_SHARDS "SELECT " SHARD_COLUMNS " FROM shard "

/* One statement for each way to find them in order; parameters are stage,
 * from, state, prefix length, prefix, limit. */
static const char *sql_of(const struct ledger_query *query)
{
	if (query->ordinal >= 0)
		return SELECT_SHARDS "INDEXED BY shard_ordinal WHERE stage = ?1 AND ordinal = ?2 "
		    "AND (?3 < 0 OR state = ?3)" PREFIX_MATCHES("?4", "?5") " LIMIT ?6";
	if (query->state < 0 || query->state == SHARD_PUBLISHED)
		return SELECT_SHARDS "INDEXED BY shard_ordinal WHERE stage = ?1 AND ordinal >= ?2 "
		    "AND (?3 < 0 OR state = ?3)" PREFIX_MATCHES("?4", "?5")
		    " ORDER BY ordinal LIMIT ?6";
	if (query->state == SHARD_READY)
		return SELECT_SHARDS "INDEXED BY shard_open WHERE stage = ?1 AND " IS_READY
		    " AND ?3 = 0 AND not_before = 0 AND ordinal >= ?2" PREFIX_MATCHES("?4", "?5")
		    " UNION ALL "
		    SELECT_SHARDS "INDEXED BY shard_open WHERE stage = ?1 AND " IS_READY
		    " AND not_before > 0 AND ordinal >= ?2" PREFIX_MATCHES("?4", "?5")
		    " ORDER BY ordinal LIMIT ?6";
	return SELECT_SHARDS "INDEXED BY shard_open WHERE stage = ?1 AND state = ?3 "
	    "AND state <> 3 AND not_before = 0 AND ordinal >= ?2" PREFIX_MATCHES("?4", "?5")
	    " ORDER BY ordinal LIMIT ?6";
}

enum status sqlite_shards(struct ledger *base, const struct ledger_query *query,
    struct ledger_shard *out, size_t *n, struct error *e)
{
	struct q q;
	int64_t from = query->ordinal >= 0 ? query->ordinal : query->from < 0 ? 0 : query->from;

	q_open(&q, sq(base), sql_of(query));
	q_int(&q, query->stage);
	q_int(&q, from);
	q_int(&q, query->state);
	q_int(&q, (int64_t)query->item_prefix_len);
	q_blob(&q, query->item_prefix_len == 0 ? NULL : query->item_prefix,
	    query->item_prefix_len);
	q_int(&q, (int64_t)query->max);
	return shards_from(&q, query->max, out, n, e);
}

enum status sqlite_shard_get(struct ledger *base, int64_t row, struct ledger_shard *out,
    struct error *e)
{
	struct q q;
	size_t n = 0;
	enum status st;

	q_open(&q, sq(base), SELECT_SHARDS "WHERE row = ?");
	q_int(&q, row);
	st = shards_from(&q, 1, out, &n, e);
	if (st == ST_OK && n == 0)
		return error_set(e, ST_NOT_FOUND, "no shard has row %lld", (long long)row);
	return st;
}

/* ---- attempts ---- */

static enum status attempt_from(struct q *q, struct ledger_attempt *a, struct error *e)
{
	int cause = col_small(q, 2);

	memset(a, 0, sizeof(*a));
	if (cause < 0 || cause >= CAUSE_COUNT)
		return sqlite_damaged(q->l, "an attempt ended in a way that does not exist", e);
	a->epoch = col_int(q, 0);
	a->worker = col_int(q, 1);
	a->cause = (enum cause)cause;
	a->slot = col_small(q, 3);
	a->exit_code = col_small(q, 4);
	a->exit_signal = col_small(q, 5);
	a->started_wall_ms = col_int(q, 6);
	a->run_ms = col_int(q, 7);
	a->cpu_ms = col_int(q, 8);
	a->max_rss_kib = col_int(q, 9);
	a->out_bytes = col_int(q, 10);
	a->err_bytes = col_int(q, 11);
	a->kept_ms = col_int(q, 12);
	a->checkpoint_ms = col_int(q, 13);
	a->restore_ms = col_int(q, 14);
	col_text(q, 15, a->note, sizeof(a->note));
	a->by_notice = col_int(q, 16) != 0;
	return ST_OK;
}

static void reverse_attempts(struct ledger_attempt *a, size_t n)
{
	size_t i;

	for (i = 0; i < n / 2; i++) {
		struct ledger_attempt swap = a[i];

		a[i] = a[n - 1 - i];
		a[n - 1 - i] = swap;
	}
}

enum status sqlite_attempts(struct ledger *base, int64_t row, size_t max,
    struct ledger_attempt *out, size_t *n, struct error *e)
{
	struct q q;
	enum status st = ST_OK;

	q_open(&q, sq(base), "SELECT epoch, worker, cause, slot, exit_code, exit_signal, "
	    "started_wall_ms, run_ms, cpu_ms, max_rss_kib, out_bytes, err_bytes, kept_ms, "
	    "checkpoint_ms, restore_ms, note, by_notice "
	    "FROM attempt WHERE shard = ? ORDER BY epoch DESC");
	q_int(&q, row);
	while (st == ST_OK && *n < max && q_row(&q)) {
		st = attempt_from(&q, &out[*n], e);
		if (st == ST_OK)
			++*n;
	}
	st = q_end(&q, st, e);
	if (st != ST_OK)
		*n = 0;
	reverse_attempts(out, *n);
	return st;
}

/* ---- the worst ---- */

#define WORST \
	"SELECT row, stage, sum(run_ms) AS ms, max(run_ms), count(*), " \
	"sum(cause IN (2, 3)) AS cut FROM attempt JOIN shard ON shard.row = attempt.shard " \
	"WHERE stage IN (SELECT stage.id FROM stage JOIN run ON run.id = stage.run " \
	"AND stage.generation = run.generation WHERE run.id = ?1) AND (?2 = 0 OR stage = ?2) " \
	"GROUP BY row "

enum status sqlite_worst_shards(struct ledger *base, int64_t run, int64_t stage,
    enum ledger_worst which, size_t max, struct ledger_worst_shard *out, size_t *n,
    struct error *e)
{
	struct q q;

	if (which == LEDGER_SLOWEST)
		q_open(&q, sq(base), WORST "ORDER BY ms DESC, row LIMIT ?3");
	else
		q_open(&q, sq(base), WORST "HAVING cut > 0 ORDER BY cut DESC, ms DESC, row LIMIT ?3");
	q_int(&q, run);
	q_int(&q, stage);
	q_int(&q, (int64_t)max);
	while (*n < max && q_row(&q)) {
		struct ledger_worst_shard *w = &out[(*n)++];

		w->row = col_int(&q, 0);
		w->stage = col_int(&q, 1);
		w->ms = col_int(&q, 2);
		w->longest_ms = col_int(&q, 3);
		w->attempts = col_small(&q, 4);
		w->interruptions = col_small(&q, 5);
	}
	return q_close(&q, e);
}

/* ---- events ---- */

enum status sqlite_event_add(struct ledger *base, int64_t run, const struct ledger_event *ev,
    struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	struct q q;
	enum status st = op_begin(l, OP_PLAIN, e);

	if (st != ST_OK)
		return st;
	q_open(&q, l, "INSERT INTO event(run, worker, wall_ms, boot_ms, kind, text) "
	    "VALUES (?, ?, ?, ?, ?, ?)");
	q_int(&q, run);
	q_int(&q, ev->worker);
	q_int(&q, sys_wall_ns() / 1000000);
	q_int(&q, ev->boot_ms != 0 ? ev->boot_ms : sys_boot_ns() / 1000000);
	q_text_n(&q, ev->kind, strnlen(ev->kind, sizeof(ev->kind) - 1));
	q_text_n(&q, ev->text, strnlen(ev->text, sizeof(ev->text) - 1));
	st = q_run(&q, e);
	return op_end(l, st, e);
}

static void reverse_events(struct ledger_event *a, size_t n)
{
	size_t i;

	for (i = 0; i < n / 2; i++) {
		struct ledger_event swap = a[i];

		a[i] = a[n - 1 - i];
		a[n - 1 - i] = swap;
	}
}

enum status sqlite_events(struct ledger *base, int64_t run, size_t max, struct ledger_event *out,
    size_t *n, struct error *e)
{
	struct q q;
	enum status st;

	q_open(&q, sq(base), "SELECT worker, wall_ms, boot_ms, kind, text FROM event "
	    "WHERE run = ? ORDER BY id DESC");
	q_int(&q, run);
	while (*n < max && q_row(&q)) {
		struct ledger_event *ev = &out[(*n)++];

		ev->worker = col_int(&q, 0);
		ev->wall_ms = col_int(&q, 1);
		ev->boot_ms = col_int(&q, 2);
		col_text(&q, 3, ev->kind, sizeof(ev->kind));
		col_text(&q, 4, ev->text, sizeof(ev->text));
	}
	st = q_close(&q, e);
	if (st != ST_OK)
		*n = 0;
	reverse_events(out, *n);
	return st;
}
