#include "ledger/sqlite.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/sys.h"

/* ---- closing ---- */

void plan_index_drop(struct plan_index *x)
{
	ident_destroy(x->ident);
	*x = (struct plan_index){0};
}

static void destroy(struct sqlite_ledger *l)
{
	size_t i;

	for (i = 0; i < SQLITE_LEDGER_STATEMENTS; i++)
		(void)sqlite3_finalize(l->cache[i].stmt);
	/* Rolls back what is open. All statements are finalized: cannot fail. */
	(void)sqlite3_close(l->db);
	plan_index_drop(&l->plan);
	plan_index_drop(&l->carry);
	hash_destroy(l->hash);
	free(l->pending);
	free(l->saved);
	free(l->path);
	free(l);
}

static void sqlite_close(struct ledger *base)
{
	destroy(sq(base));
}

/* ---- opening ---- */

static bool folder_is_writable(const char *path)
{
	struct buf dir = {0};
	bool yes;

	file_dirname(path, &dir);
	yes = !dir.failed && access(dir.data, W_OK) == 0 && access(path, W_OK) == 0;
	buf_free(&dir);
	return yes;
}

static bool has_log_file(const char *path)
{
	struct buf wal = {0};
	bool yes;

	buf_printf(&wal, "%s-wal", path);
	yes = wal.failed || access(wal.data, F_OK) == 0;
	buf_free(&wal);
	return yes;
}

/* "file:..." with immutable=1: for a folder where nothing can be written and
 * nobody writes. */
static void immutable_uri(const char *path, struct buf *uri)
{
	const char *p;

	buf_str(uri, "file:");
	/* "//x" would name a host. */
	if (path[0] == '/')
		buf_str(uri, "//");
	for (p = path; *p != '\0'; p++) {
		if (*p == '%' || *p == '?' || *p == '#')
			buf_printf(uri, "%%%02X", (unsigned int)(unsigned char)*p);
		else
			buf_char(uri, *p);
	}
	buf_str(uri, "?immutable=1");
}

/* A reader too wants a writable handle where it can have one: SQLite then
 * makes the shared-memory file that keeps it apart from writers, and removes
 * it again. Without the permission it reads beside a writer, or alone. */
static enum status open_db(struct sqlite_ledger *l, bool read_only, struct error *e)
{
	int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE;
	struct buf name = {0};
	enum status st;
	int rc;

	if (!read_only || folder_is_writable(l->path)) {
		flags |= SQLITE_OPEN_READWRITE;
		buf_str(&name, l->path);
	} else if (has_log_file(l->path)) {
		flags |= SQLITE_OPEN_READONLY;
		buf_str(&name, l->path);
	} else {
		flags |= SQLITE_OPEN_READONLY | SQLITE_OPEN_URI;
		immutable_uri(l->path, &name);
	}
	st = buf_check(&name, e);
	if (st == ST_OK) {
		rc = sqlite3_open_v2(name.data, &l->db, flags, sys_sqlite_vfs());
		if (rc != SQLITE_OK)
			st = sqlite_error(l, rc, e);
	}
	buf_free(&name);
	return st;
}

/* The file may come from anywhere: nothing in its schema is trusted. */
static void harden(sqlite3 *db)
{
	(void)sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	(void)sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	(void)sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
	(void)sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
	(void)sqlite3_limit(db, SQLITE_LIMIT_LENGTH, 128 << 20);
	(void)sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);
}

/* SQLite's own handler waits longer and longer, up to 100 ms: with a hundred workers who
 * came last is served first, and some never. Here who has waited longest looks most often. */
static int wait_for_writer(void *arg, int count)
{
	struct sqlite_ledger *l = arg;
	int64_t now = sys_boot_ns();
	int64_t waited_ms;

	if (count == 0)
		l->busy_since_ns = now;
	waited_ms = (now - l->busy_since_ns) / 1000000;
	if (waited_ms >= l->busy_ms)
		return 0;
	(void)poll(NULL, 0, waited_ms < 10 ? 1 : waited_ms < 30 ? 5 : waited_ms < 1000 ? 25
	    : waited_ms < 3000 ? 15 : 5);
	return 1;
}

static enum status set_up(struct sqlite_ledger *l, const struct ledger_options *opt,
    struct error *e)
{
	char pragmas[256];
	enum status st;

	harden(l->db);
	l->busy_ms = opt->busy_ms;
	(void)sqlite3_busy_handler(l->db, wait_for_writer, l);
	(void)snprintf(pragmas, sizeof(pragmas),
	    "PRAGMA cache_size = -%d; PRAGMA mmap_size = 0; PRAGMA cell_size_check = ON;"
	    "PRAGMA synchronous = FULL; PRAGMA journal_size_limit = %d;"
	    "PRAGMA wal_autocheckpoint = %d;", SQLITE_LEDGER_CACHE_KIB, SQLITE_LEDGER_WAL_BYTES,
	    SQLITE_LEDGER_WAL_PAGES);
	st = sqlite_exec(l, pragmas, e);
	if (st == ST_OK)
		st = sqlite_exec(l, opt->read_only ? "PRAGMA query_only = ON" :
		    "PRAGMA journal_mode = WAL", e);
	if (st == ST_OK)
		st = sqlite_check_format(l, e);
	if (st == ST_OK)
		st = transactions_prepare(l, e);
	return st;
}

/* Delays are points of this boot's clock: those of another boot mean nothing. A shard
 * that asks for On-Demand goes on asking, and may be taken by any worker. */
static enum status new_boot(struct sqlite_ledger *l, struct error *e)
{
	enum status st = op_begin(l, OP_PLAIN, e);
	struct q q;

	if (st != ST_OK)
		return st;
	q_open(&q, l, "UPDATE shard SET not_before = 0 "
	    "WHERE stage IN (SELECT id FROM stage) AND " IS_READY " AND not_before > 0");
	st = q_run(&q, e);
	if (st == ST_OK) {
		q_open(&q, l, "UPDATE shard INDEXED BY shard_asks SET asks_since = 1, spot_from = 1 "
		    "WHERE stage IN (SELECT id FROM stage) AND state <> 3 AND spot_from > 0");
		st = q_run(&q, e);
	}
	if (st == ST_OK) {
		q_open(&q, l, "UPDATE meta SET value = ? WHERE name = 'boot_id'");
		q_text(&q, l->boot_id);
		st = q_run(&q, e);
	}
	return op_end(l, st, e);
}

static enum status check_boot(struct sqlite_ledger *l, struct error *e)
{
	char stored[37] = "";
	struct q q;
	enum status st = sys_boot_id(l->boot_id, e);

	if (st != ST_OK)
		return st;
	q_open(&q, l, "SELECT value FROM meta WHERE name = 'boot_id'");
	if (q_row(&q))
		col_text(&q, 0, stored, sizeof(stored));
	st = q_close(&q, e);
	if (st == ST_OK && strcmp(stored, l->boot_id) != 0)
		st = new_boot(l, e);
	return st;
}

static enum status find_file(const char *path, const struct ledger_options *opt, struct error *e)
{
	enum status st = sqlite_check_place(path, e);

	if (st != ST_OK)
		return st;
	st = sqlite_check_file(path, e);
	if (st == ST_NOT_FOUND && opt->create) {
		st = sqlite_create_file(path, e);
		if (st == ST_OK)
			st = sqlite_check_file(path, e);
	}
	return st;
}

/* The path without links and whatever becomes of the working folder, since
 * SQLite's other files are beside the real one; NULL without memory. */
static char *real_path(const char *path)
{
	char *real = realpath(path, NULL);

	return real != NULL ? real : mem_dup(path, strlen(path));
}

static enum status open_at(struct sqlite_ledger *l, const char *path,
    const struct ledger_options *opt, struct error *e)
{
	enum status st;

	l->path = real_path(path);
	l->hash = hash_create();
	if (l->path == NULL || l->hash == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = find_file(l->path, opt, e);
	if (st != ST_OK)
		return st;
	free(l->path);
	l->path = real_path(path);
	if (l->path == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = open_db(l, opt->read_only, e);
	if (st == ST_OK)
		st = set_up(l, opt, e);
	if (st == ST_OK && !opt->read_only)
		st = check_boot(l, e);
	/* Where it cannot be known, all times of a boot are void. */
	else if (st == ST_OK && sys_boot_id(l->boot_id, NULL) != ST_OK)
		l->boot_id[0] = '\0';
	return st;
}

static enum status sqlite_open(const char *path, const struct ledger_options *opt,
    struct ledger **out, struct error *e)
{
	struct sqlite_ledger *l = mem_zero(sizeof(*l));
	enum status st;

	if (l == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = open_at(l, path, opt, e);
	if (st != ST_OK) {
		destroy(l);
		return st;
	}
	*out = &l->base;
	return ST_OK;
}

/* ---- groups and the lock ---- */

static enum status sqlite_begin(struct ledger *base, struct error *e)
{
	return group_begin(sq(base), e);
}

static enum status sqlite_commit(struct ledger *base, struct error *e)
{
	return group_commit(sq(base), e);
}

static void sqlite_rollback(struct ledger *base)
{
	group_rollback(sq(base));
}

/* The cache's own version of the file: no page is read for it. */
static enum status sqlite_changes(struct ledger *base, uint64_t *stamp, struct error *e)
{
	int64_t version;
	struct q q;
	enum status st;

	q_open(&q, sq(base), "PRAGMA data_version");
	st = q_value(&q, 0, &version, e);
	*stamp = (uint64_t)version;
	return st;
}

static enum status sqlite_lock_holder(struct ledger *base, int32_t *pid, struct error *e)
{
	*pid = sqlite_lock_pid(sq(base)->path);
	if (*pid == 0)
		return error_set(e, ST_NOT_FOUND, "no process of this machine is known to hold the "
		    "write lock of the ledger %s", sq(base)->path);
	return ST_OK;
}

const struct ledger_backend ledger_sqlite = {
	.name = "SQLite",
	.scheme = "sqlite",
	.capabilities = LEDGER_CAP_LOCAL_CLOCK,
	.open = sqlite_open,
	.close = sqlite_close,
	.begin = sqlite_begin,
	.commit = sqlite_commit,
	.rollback = sqlite_rollback,
	.changes = sqlite_changes,
	.run_by_key = sqlite_run_by_key,
	.run_by_name = sqlite_run_by_name,
	.run_list = sqlite_run_list,
	.run_create = sqlite_run_create,
	.run_renew = sqlite_run_renew,
	.run_set_spec = sqlite_run_set_spec,
	.run_set_state = sqlite_run_set_state,
	.generation_prune = sqlite_generation_prune,
	.run_remove = sqlite_run_remove,
	.stage_get = sqlite_stage_get,
	.run_stages = sqlite_run_stages,
	.stage_seal = sqlite_stage_seal,
	.plan_items = sqlite_plan_items,
	.plan_chunk_get = sqlite_plan_chunk_get,
	.plan_chunk_put = sqlite_plan_chunk_put,
	.plan_restart = sqlite_plan_restart,
	.plan_unseen = sqlite_plan_unseen,
	.plan_finish = sqlite_plan_finish,
	.plan_inputs = sqlite_plan_inputs,
	.claim = sqlite_claim,
	.accept = sqlite_accept,
	.checkpoint = sqlite_checkpoint,
	.checkpoint_get = sqlite_checkpoint_get,
	.published = sqlite_published,
	.refused = sqlite_refused,
	.output_placed = sqlite_output_placed,
	.output_gone = sqlite_output_gone,
	.end = sqlite_end,
	.give_back = sqlite_give_back,
	.retry = sqlite_retry,
	.input_changed = sqlite_input_changed,
	.take_accepted = sqlite_take_accepted,
	.output_get = sqlite_output_get,
	.outputs_left = sqlite_outputs_left,
	.output_forget = sqlite_output_forget,
	.shards = sqlite_shards,
	.shard_get = sqlite_shard_get,
	.worst_shards = sqlite_worst_shards,
	.past = sqlite_past,
	.elsewhere = sqlite_elsewhere,
	.attempts = sqlite_attempts,
	.worker_add = sqlite_worker_add,
	.worker_renew = sqlite_worker_renew,
	.workers = sqlite_workers,
	.worker_get = sqlite_worker_get,
	.worker_drain = sqlite_worker_drain,
	.worker_warn = sqlite_worker_warn,
	.worker_describe = sqlite_worker_describe,
	.worker_taken = sqlite_worker_taken,
	.pool_hits = sqlite_pool_hits,
	.asking = sqlite_asking,
	.worker_end = sqlite_worker_end,
	.worker_list = sqlite_worker_list,
	.spent_put = sqlite_spent_put,
	.spent = sqlite_spent,
	.lease_take = sqlite_lease_take,
	.lease_release = sqlite_lease_release,
	.event_add = sqlite_event_add,
	.events = sqlite_events,
	.verify = sqlite_verify,
	.shrink = sqlite_shrink,
	.bytes = sqlite_bytes,
	.lock_holder = sqlite_lock_holder,
};
