/* What attempts tell of a stage, by a bounded look at recent ones, and of a worker. */
#include <stdlib.h>

#include "ledger/sqlite.h"

enum { PAST_ATTEMPTS = 256 };

/* Shards are claimed in the order of the list, so those in front of what is ready
 * were at work last: those that are leased, and some before them. */
static const char past_sql[] =
	"SELECT a.cause, a.run_ms, a.kept_ms, a.checkpoint_ms, a.restore_ms, a.exit_code, "
	"a.exit_signal FROM (SELECT row FROM shard INDEXED BY shard_ordinal "
	"WHERE stage = ?1 AND ordinal >= 0 "
	"AND ordinal < (SELECT planned - n_ready FROM stage WHERE id = ?1) "
	"ORDER BY ordinal DESC LIMIT "
	"ifnull((SELECT 64 + min(n_leased, 4096) FROM stage WHERE id = ?1), 0)) AS s "
	"CROSS JOIN attempt AS a ON a.shard = s.row LIMIT ?2";

static void count_attempt(const struct q *q, int stop_signal, struct ledger_past *out)
{
	int64_t checkpoint_ms = col_int(q, 3);
	int cause = col_small(q, 0);
	bool kept = cause == CAUSE_CHECKPOINTED || col_int(q, 2) > 0 || checkpoint_ms > 0;

	if (checkpoint_ms > 0 && (out->save_ms == 0 || checkpoint_ms < out->save_ms))
		out->save_ms = checkpoint_ms;
	if (kept || col_int(q, 4) > 0) {
		out->saved++;
	} else if (cause == CAUSE_INTERRUPTED) {
		out->stopped++;
		out->died += col_int(q, 6) == stop_signal || col_int(q, 5) == 128 + stop_signal;
	}
}

static int compare_ms(const void *a, const void *b)
{
	const int64_t *x = a;
	const int64_t *y = b;

	return *x < *y ? -1 : *x > *y;
}

enum status sqlite_past(struct ledger *base, int64_t stage, int stop_signal,
    struct ledger_past *out, struct error *e)
{
	int64_t done_ms[PAST_ATTEMPTS];
	struct q q;

	q_open(&q, sq(base), past_sql);
	q_int(&q, stage);
	q_int(&q, PAST_ATTEMPTS);
	while (out->done < PAST_ATTEMPTS && q_row(&q)) {
		count_attempt(&q, stop_signal, out);
		if (col_small(&q, 0) == CAUSE_DONE)
			done_ms[out->done++] = col_int(&q, 1);
	}
	if (out->done > 0) {
		qsort(done_ms, (size_t)out->done, sizeof(done_ms[0]), compare_ms);
		out->done_ms = done_ms[out->done / 2];
	}
	return q_close(&q, e);
}

enum status sqlite_elsewhere(struct ledger *base, int64_t worker, const int64_t *rows, size_t n,
    enum ledger_elsewhere *out, struct error *e)
{
	enum status st = ST_OK;
	size_t i;

	for (i = 0; st == ST_OK && i < n; i++) {
		int64_t found = 0;
		struct q q;

		q_open(&q, sq(base), "SELECT max(CASE d.cause WHEN 0 THEN 2 ELSE 1 END) "
		    "FROM attempt AS f JOIN attempt AS d ON d.shard = f.shard AND d.epoch > f.epoch "
		    "WHERE f.shard = ?1 AND f.worker = ?2 AND f.cause IN (4, 7) "
		    "AND d.worker <> ?2 AND d.cause IN (0, 4, 7)");
		q_int(&q, rows[i]);
		q_int(&q, worker);
		st = q_value(&q, 0, &found, e);
		out[i] = found == 2 ? ELSEWHERE_DONE : found == 1 ? ELSEWHERE_FAILED
		    : ELSEWHERE_NOTHING;
	}
	return st;
}
