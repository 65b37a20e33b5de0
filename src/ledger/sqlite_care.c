#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "ledger/sqlite.h"

/* ---- verify ---- */

/* Each finds rows of one text column: what is wrong. Stages whose rows were
 * pruned keep their counters only. */
static const char *const checks[] = {
	"PRAGMA integrity_check(10)",

	"SELECT 'stage ' || stage.id || ': its counters are not those of its shards' "
	"FROM stage LEFT JOIN (SELECT stage AS id, count(*) AS planned, sum(state = 0) AS s0, "
	"sum(state = 1) AS s1, sum(state = 2) AS s2, sum(state = 3) AS s3, sum(state = 4) AS s4, "
	"sum(state = 5) AS s5, sum(was_file) AS files FROM shard WHERE ordinal >= 0 "
	"GROUP BY stage) AS found ON found.id = stage.id WHERE pruned = 0 "
	"AND (stage.planned, n_ready, n_leased, n_accepted, n_published, n_failed, n_set_aside, "
	"with_files) IS NOT (ifnull(found.planned, 0), ifnull(s0, 0), ifnull(s1, 0), "
	"ifnull(s2, 0), ifnull(s3, 0), ifnull(s4, 0), ifnull(s5, 0), ifnull(files, 0)) LIMIT 10",

	"SELECT 'stage ' || stage.id || ': its counters are not those of its attempts' "
	"FROM stage LEFT JOIN (SELECT shard.stage AS id, count(*) AS n, sum(cause = 0) AS c0, "
	"sum(cause = 1) AS c1, sum(cause = 2) AS c2, sum(cause = 3) AS c3, sum(cause = 4) AS c4, "
	"sum(cause = 5) AS c5, sum(cause = 6) AS c6, sum(cause = 7) AS c7, sum(cause = 8) AS c8, "
	"sum(cause = 9) AS c9, sum(iif(cause = 0, run_ms, kept_ms)) AS done_ms, "
	"sum(iif(cause = 0, 0, run_ms - kept_ms)) AS other_ms FROM attempt "
	"JOIN shard ON shard.row = attempt.shard GROUP BY shard.stage) AS found "
	"ON found.id = stage.id WHERE pruned = 0 AND (stage.attempts, e_done, e_checkpointed, "
	"e_interrupted, e_lost, e_failed, e_timed_out, e_out_of_memory, e_infrastructure, "
	"e_cancelled, e_superseded, stage.run_ms, lost_ms) IS NOT (ifnull(n, 0), ifnull(c0, 0), "
	"ifnull(c1, 0), ifnull(c2, 0), ifnull(c3, 0), ifnull(c4, 0), ifnull(c5, 0), "
	"ifnull(c6, 0), ifnull(c7, 0), ifnull(c8, 0), ifnull(c9, 0), ifnull(done_ms, 0), "
	"ifnull(other_ms, 0)) LIMIT 10",

	"SELECT 'stage ' || stage.id || ': its time is not that of its workers' FROM stage "
	"LEFT JOIN (SELECT stage AS id, sum(iif(kind = 6, ms, 0)) AS net, "
	"sum(iif(kind = 7, ms, 0)) AS lost FROM spent GROUP BY stage) AS found "
	"ON found.id = stage.id "
	"WHERE (run_ms, lost_ms) IS NOT (ifnull(net, 0), ifnull(lost, 0)) LIMIT 10",

	"SELECT 'shard in row ' || row || ': it has ' || attempts || ' attempts and ' || found || "
	"' are recorded' FROM (SELECT row, attempts, (SELECT count(*) FROM attempt "
	"WHERE attempt.shard = shard.row) AS found FROM shard) WHERE attempts <> found LIMIT 10",

	"SELECT 'stage ' || stage || ': two shards have the same identity' FROM shard "
	"GROUP BY stage, id HAVING count(*) > 1 LIMIT 10",

	"SELECT 'stage ' || stage.id || ': its list has gaps' FROM stage JOIN "
	"(SELECT stage AS id, count(*) AS n, max(ordinal) AS last FROM shard WHERE ordinal >= 0 "
	"GROUP BY stage) AS found ON found.id = stage.id WHERE n <> last + 1 LIMIT 10",

	"SELECT 'shard in row ' || row || ': its repetitions are counted wrongly' FROM shard AS a "
	"JOIN (SELECT first_row, count(*) AS n, max(occurrence) AS last FROM shard "
	"WHERE first_row IS NOT NULL AND ordinal >= 0 GROUP BY first_row) AS found "
	"ON found.first_row = a.row WHERE a.repeats <> n OR n <> last LIMIT 10",

	"SELECT 'shard in row ' || row || ': its epoch, floor or delay cannot be' FROM shard "
	"WHERE epoch < 0 OR floor < 0 OR floor > epoch + 1 OR (not_before > 0 AND state <> 0) "
	"OR (state = 1 AND floor > epoch) LIMIT 10",

	"SELECT 'shard in row ' || row || ': what it asks for cannot be' FROM shard "
	"WHERE n_taken < 0 OR asks_since < 0 OR spot_from < 0 "
	"OR (asks_since > 0) <> (spot_from > 0) OR (spot_from > 0 AND n_taken = 0) LIMIT 10",

	"SELECT 'shard in row ' || row || ': another shard has its output name' FROM shard "
	"JOIN output ON output.name = shard.final WHERE shard.ordinal >= 0 "
	"AND output.shard <> shard.row AND EXISTS (SELECT 1 FROM stage "
	"JOIN run ON run.id = stage.run WHERE stage.id = shard.stage "
	"AND stage.generation = run.generation) LIMIT 10",
};

static enum status check(struct sqlite_ledger *l, const char *sql, struct buf *problem,
    struct error *e)
{
	char text[256];
	struct q q;

	q_open(&q, l, sql);
	while (q_row(&q)) {
		col_text(&q, 0, text, sizeof(text));
		if (strcmp(text, "ok") == 0)
			continue;
		if (problem->len > 0)
			buf_str(problem, "; ");
		buf_str(problem, text);
	}
	return q_close(&q, e);
}

enum status sqlite_verify(struct ledger *base, struct buf *problem, struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	struct error why;
	enum status st = sqlite_exec(l, "BEGIN", e);
	size_t i;

	if (st != ST_OK)
		return st;
	/* What SQLite itself finds makes the rest pointless. */
	for (i = 0; st == ST_OK && problem->len == 0 && i < sizeof(checks) / sizeof(checks[0]); i++)
		st = check(l, checks[i], problem, &why);
	if (st == ST_CORRUPT) {
		if (problem->len > 0)
			buf_str(problem, "; ");
		buf_str(problem, why.text);
		st = ST_OK;
	} else if (st != ST_OK) {
		st = error_set(e, st, "%s", why.text);
	}
	(void)!sqlite_exec(l, "ROLLBACK", NULL);
	return st;
}

/* ---- size ---- */

enum status sqlite_shrink(struct ledger *base, struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	int64_t left = 1;
	enum status st = ST_OK;
	struct q q;

	/* In slices, so that others can write between them. */
	while (st == ST_OK && left > 0) {
		st = sqlite_exec(l, "PRAGMA incremental_vacuum(2048)", e);
		if (st != ST_OK)
			break;
		q_open(&q, l, "PRAGMA freelist_count");
		st = q_value(&q, 0, &left, e);
	}
	if (st == ST_OK)
		st = sqlite_exec(l, "PRAGMA wal_checkpoint(TRUNCATE)", e);
	return st;
}

int64_t sqlite_bytes(struct ledger *base)
{
	static const char *const ends[] = {"", "-wal", "-shm"};
	struct buf name = {0};
	struct stat sb;
	int64_t sum = 0;
	size_t i;

	for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		buf_clear(&name);
		buf_printf(&name, "%s%s", sq(base)->path, ends[i]);
		if (!name.failed && stat(name.data, &sb) == 0)
			sum += (int64_t)sb.st_blocks * 512;
	}
	buf_free(&name);
	return sum;
}
