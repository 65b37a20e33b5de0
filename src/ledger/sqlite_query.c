#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "ledger/sqlite.h"

/* ---- statements ---- */

static struct cached_stmt *slot_of(struct sqlite_ledger *l, const char *sql)
{
	size_t i = ((uintptr_t)sql * UINT64_C(0x9e3779b97f4a7c15)) >> 56;

	while (l->cache[i].sql != NULL && l->cache[i].sql != sql)
		i = (i + 1) % SQLITE_LEDGER_STATEMENTS;
	return &l->cache[i];
}

void q_open(struct q *q, struct sqlite_ledger *l, const char *sql)
{
	struct cached_stmt *c = slot_of(l, sql);

	*q = (struct q){.l = l, .rc = SQLITE_OK};
	if (c->stmt == NULL) {
		q->rc = sqlite3_prepare_v3(l->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &c->stmt,
		    NULL);
		if (q->rc != SQLITE_OK)
			return;
		c->sql = sql;
	}
	assert(!sqlite3_stmt_busy(c->stmt));
	q->s = c->stmt;
}

static void bound(struct q *q, int rc)
{
	if (q->rc == SQLITE_OK)
		q->rc = rc;
}

void q_int(struct q *q, int64_t v)
{
	if (q->rc == SQLITE_OK)
		bound(q, sqlite3_bind_int64(q->s, ++q->at, v));
}

void q_blob(struct q *q, const void *data, size_t len)
{
	if (q->rc != SQLITE_OK)
		return;
	if (data == NULL)
		bound(q, sqlite3_bind_null(q->s, ++q->at));
	else
		bound(q, sqlite3_bind_blob64(q->s, ++q->at, data, len, SQLITE_STATIC));
}

void q_text_n(struct q *q, const char *text, size_t len)
{
	if (q->rc != SQLITE_OK)
		return;
	if (text == NULL)
		bound(q, sqlite3_bind_null(q->s, ++q->at));
	else
		bound(q, sqlite3_bind_text64(q->s, ++q->at, text, len, SQLITE_STATIC,
		    SQLITE_UTF8));
}

void q_text(struct q *q, const char *text)
{
	q_text_n(q, text, text == NULL ? 0 : strlen(text));
}

bool q_row(struct q *q)
{
	if (q->rc != SQLITE_OK)
		return false;
	q->rc = sqlite3_step(q->s);
	if (q->rc == SQLITE_ROW) {
		q->rc = SQLITE_OK;
		return true;
	}
	return false;
}

enum status q_close(struct q *q, struct error *e)
{
	enum status st = ST_OK;

	if (q->rc != SQLITE_OK && q->rc != SQLITE_DONE)
		st = sqlite_error(q->l, q->rc, e);
	if (q->s != NULL)
		sqlite3_reset(q->s);
	return st;
}

enum status q_end(struct q *q, enum status st, struct error *e)
{
	enum status closed = q_close(q, st == ST_OK ? e : NULL);

	return st == ST_OK ? closed : st;
}

enum status q_run(struct q *q, struct error *e)
{
	while (q_row(q))
		;
	return q_close(q, e);
}

enum status q_value(struct q *q, int64_t absent, int64_t *v, struct error *e)
{
	*v = absent;
	if (q_row(q) && !col_is_null(q, 0))
		*v = col_int(q, 0);
	return q_close(q, e);
}

/* ---- columns ---- */

int64_t col_int(const struct q *q, int i)
{
	return sqlite3_column_int64(q->s, i);
}

int col_small(const struct q *q, int i)
{
	int64_t v = col_int(q, i);

	return v < INT32_MIN ? INT32_MIN : v > INT32_MAX ? INT32_MAX : (int)v;
}

bool col_is_null(const struct q *q, int i)
{
	return sqlite3_column_type(q->s, i) == SQLITE_NULL;
}

const void *col_bytes(const struct q *q, int i, size_t *len)
{
	const void *p = sqlite3_column_blob(q->s, i);

	*len = p == NULL ? 0 : (size_t)sqlite3_column_bytes(q->s, i);
	return p;
}

enum status col_dup(struct q *q, int i, size_t max, char **out, size_t *len, struct error *e)
{
	const void *p = col_bytes(q, i, len);

	*out = NULL;
	if (col_is_null(q, i))
		return ST_OK;
	if (*len > max)
		return sqlite_damaged(q->l, "a value is longer than it can be", e);
	*out = mem_dup(p, *len);
	return *out == NULL ? error_set(e, ST_NO_MEMORY, "out of memory") : ST_OK;
}

enum status col_fixed(struct q *q, int i, uint8_t *out, size_t size, struct error *e)
{
	size_t len;
	const void *p = col_bytes(q, i, &len);

	if (len != size)
		return sqlite_damaged(q->l, "a value is not as long as it must be", e);
	memcpy(out, p, size);
	return ST_OK;
}

void col_text(const struct q *q, int i, char *out, size_t size)
{
	size_t len;
	const void *p = col_bytes(q, i, &len);

	if (len >= size)
		len = size - 1;
	if (len > 0)
		memcpy(out, p, len);
	out[len] = '\0';
}

/* ---- errors ---- */

enum status sqlite_damaged(struct sqlite_ledger *l, const char *what, struct error *e)
{
	return error_set(e, ST_CORRUPT, "the ledger %s is damaged: %s", l->path, what);
}

static enum status busy_error(struct sqlite_ledger *l, struct error *e)
{
	int32_t pid = sqlite_lock_pid(l->path);

	if (pid <= 0)
		return error_set(e, ST_BUSY, "the ledger %s is locked by another process", l->path);
	return error_set(e, ST_BUSY, "pid %ld holds the ledger's write lock (%s); if it is stopped "
	    "or stuck, let it go on (kill -CONT %ld) or end it", (long)pid, l->path, (long)pid);
}

/* Input and output errors carry the errno of the system call. */
static enum status io_error(struct sqlite_ledger *l, int rc, struct error *e)
{
	int os_errno = sqlite3_system_errno(l->db);

	if (os_errno == ENOSPC || os_errno == EDQUOT)
		return error_os(e, os_errno, "cannot write the ledger %s", l->path);
	if ((rc & 0xff) == SQLITE_CANTOPEN) {
		if (os_errno == EMFILE || os_errno == ENFILE)
			return error_os(e, os_errno, "cannot open the ledger %s", l->path);
		return error_set(e, ST_DENIED, "cannot open the ledger %s: %s", l->path,
		    os_errno != 0 ? strerror(os_errno) : sqlite3_errstr(rc));
	}
	return error_set(e, ST_TRANSIENT, "cannot read or write the ledger %s: %s (%d%s%s)",
	    l->path, sqlite3_errstr(rc), rc, os_errno != 0 ? ", " : "",
	    os_errno != 0 ? strerror(os_errno) : "");
}

enum status sqlite_error(struct sqlite_ledger *l, int rc, struct error *e)
{
	const char *text = l->db == NULL ? sqlite3_errstr(rc) : sqlite3_errmsg(l->db);

	if (rc == SQLITE_IOERR_NOMEM)
		rc = SQLITE_NOMEM;
	switch (rc & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return busy_error(l, e);
	case SQLITE_FULL:
		return error_set(e, ST_FULL, "the disk is full: no room to write the ledger %s", l->path);
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
		return io_error(l, rc, e);
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return error_set(e, ST_DENIED, "the ledger %s cannot be written: %s", l->path, text);
	case SQLITE_NOMEM:
		return error_set(e, ST_NO_MEMORY, "out of memory (ledger %s)", l->path);
	case SQLITE_TOOBIG:
		return error_set(e, ST_CONFIG, "a value is too long for the ledger %s", l->path);
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_ERROR: /* our statements are fixed: its tables are not ours */
	case SQLITE_SCHEMA:
	case SQLITE_CONSTRAINT:
		return error_set(e, ST_CORRUPT, "the ledger %s is damaged: %s (%d)", l->path, text,
		    rc);
	default:
		return error_set(e, ST_PERMANENT, "the ledger %s: %s (%d)", l->path, text, rc);
	}
}

enum status sqlite_exec(struct sqlite_ledger *l, const char *sql, struct error *e)
{
	int rc = sqlite3_exec(l->db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? ST_OK : sqlite_error(l, rc, e);
}

/* ---- counters ---- */

struct counters *counters_of_worker(struct sqlite_ledger *l, int64_t stage, int64_t worker)
{
	void *p = l->pending;
	size_t i;

	for (i = 0; i < l->n_pending; i++) {
		if (l->pending[i].stage == stage && l->pending[i].worker == worker)
			return &l->pending[i];
	}
	if (mem_grow(&p, &l->cap_pending, l->n_pending + 1, sizeof(*l->pending), NULL) != ST_OK)
		return NULL;
	l->pending = p;
	memset(&l->pending[i], 0, sizeof(l->pending[i]));
	l->pending[i].stage = stage;
	l->pending[i].worker = worker;
	l->n_pending++;
	return &l->pending[i];
}

struct counters *counters_of(struct sqlite_ledger *l, int64_t stage)
{
	return counters_of_worker(l, stage, 0);
}

static enum status write_counters(struct sqlite_ledger *l, const struct counters *c,
    struct error *e)
{
	bool any = false;
	enum status st;
	struct q q;
	int i;

	for (i = 0; i < COUNTERS; i++)
		any = any || c->add[i] != 0;
	if (!any)
		return ST_OK;
	q_open(&q, l, "UPDATE stage SET planned = planned + ?, "
	    "n_ready = n_ready + ?, n_leased = n_leased + ?, n_accepted = n_accepted + ?, "
	    "n_published = n_published + ?, n_failed = n_failed + ?, "
	    "n_set_aside = n_set_aside + ?, attempts = attempts + ?, "
	    "e_done = e_done + ?, e_checkpointed = e_checkpointed + ?, "
	    "e_interrupted = e_interrupted + ?, e_lost = e_lost + ?, e_failed = e_failed + ?, "
	    "e_timed_out = e_timed_out + ?, e_out_of_memory = e_out_of_memory + ?, "
	    "e_infrastructure = e_infrastructure + ?, e_cancelled = e_cancelled + ?, "
	    "e_superseded = e_superseded + ?, run_ms = run_ms + ?, lost_ms = lost_ms + ?, "
	    "with_files = with_files + ? WHERE id = ?");
	for (i = 0; i < COUNTERS; i++)
		q_int(&q, c->add[i]);
	q_int(&q, c->stage);
	st = q_run(&q, e);
	return st == ST_OK && c->worker != 0 ? spent_count(l, c, e) : st;
}

/* ---- transactions ---- */

/* Prepared when the ledger is opened: taking back must not need memory. */
static const char sql_begin[] = "BEGIN IMMEDIATE";
static const char sql_commit[] = "COMMIT";
static const char sql_rollback[] = "ROLLBACK";
static const char sql_save[] = "SAVEPOINT op";
static const char sql_release[] = "RELEASE op";
static const char sql_undo[] = "ROLLBACK TO op";

enum status transactions_prepare(struct sqlite_ledger *l, struct error *e)
{
	static const char *const all[] = {
		sql_begin, sql_commit, sql_rollback, sql_save, sql_release, sql_undo,
	};
	enum status st = ST_OK;
	struct q q;
	size_t i;

	for (i = 0; st == ST_OK && i < sizeof(all) / sizeof(all[0]); i++) {
		q_open(&q, l, all[i]);
		st = q_close(&q, e);
	}
	return st;
}

static enum status begin(struct sqlite_ledger *l, struct error *e)
{
	struct q q;
	enum status st;

	q_open(&q, l, sql_begin);
	st = q_run(&q, e);
	l->n_pending = 0;
	l->op_planned = false;
	if (st == ST_OK)
		sys_point("ledger.begin");
	return st;
}

static void undo(struct sqlite_ledger *l)
{
	struct q q;

	l->n_pending = 0;
	if (l->op_planned)
		plan_index_drop(&l->plan);
	if (sqlite3_get_autocommit(l->db) != 0)
		return; /* SQLite has done it already */
	q_open(&q, l, sql_rollback);
	(void)!q_run(&q, NULL);
}

static enum status commit(struct sqlite_ledger *l, struct error *e)
{
	enum status st = ST_OK;
	struct q q;
	size_t i;

	for (i = 0; st == ST_OK && i < l->n_pending; i++)
		st = write_counters(l, &l->pending[i], e);
	if (st == ST_OK) {
		sys_point("ledger.commit.before");
		q_open(&q, l, sql_commit);
		st = q_run(&q, e);
	}
	if (st != ST_OK) {
		undo(l);
		return st;
	}
	l->n_pending = 0;
	sys_point("ledger.commit.after");
	return ST_OK;
}

static enum status broken_error(const struct sqlite_ledger *l, struct error *e)
{
	return error_set(e, l->broken, "an earlier change of the same group failed (%s), so none "
	    "of it was recorded in the ledger %s", status_name(l->broken), l->path);
}

enum status group_begin(struct sqlite_ledger *l, struct error *e)
{
	enum status st = begin(l, e);

	l->group = st == ST_OK;
	l->broken = ST_OK;
	return st;
}

enum status group_commit(struct sqlite_ledger *l, struct error *e)
{
	l->group = false;
	if (l->broken != ST_OK) {
		undo(l);
		return broken_error(l, e);
	}
	return commit(l, e);
}

void group_rollback(struct sqlite_ledger *l)
{
	l->group = false;
	undo(l);
}

static enum status save(struct sqlite_ledger *l, enum op_kind kind, struct error *e)
{
	void *p = l->saved;
	enum status st = mem_grow(&p, &l->cap_saved, l->n_pending, sizeof(*l->saved), e);
	struct q q;

	l->saved = p;
	if (st != ST_OK)
		return st;
	if (l->n_pending > 0)
		memcpy(l->saved, l->pending, l->n_pending * sizeof(*l->saved));
	l->n_saved = l->n_pending;
	l->op_saved = kind == OP_SAVED;
	if (!l->op_saved)
		return ST_OK;
	q_open(&q, l, sql_save);
	return q_run(&q, e);
}

enum status op_begin(struct sqlite_ledger *l, enum op_kind kind, struct error *e)
{
	l->op_changes = sqlite3_total_changes64(l->db);
	if (!l->group)
		return begin(l, e);
	if (l->broken != ST_OK)
		return broken_error(l, e);
	l->broken = save(l, kind, e);
	return l->broken;
}

static bool breaks_group(enum status st)
{
	return st == ST_FULL || st == ST_CORRUPT || st == ST_TRANSIENT || st == ST_NO_MEMORY;
}

/* Takes back one operation of a group. */
static void undo_op(struct sqlite_ledger *l, enum status why)
{
	bool ok = sqlite3_get_autocommit(l->db) == 0 && !breaks_group(why);
	struct q q;

	if (l->op_planned)
		plan_index_drop(&l->plan);
	l->n_pending = l->n_saved; /* no more than there was room for */
	if (l->n_saved > 0)
		memcpy(l->pending, l->saved, l->n_saved * sizeof(*l->saved));
	if (ok && l->op_saved) {
		q_open(&q, l, sql_undo);
		ok = q_run(&q, NULL) == ST_OK;
		q_open(&q, l, sql_release);
		ok = q_run(&q, NULL) == ST_OK && ok;
	} else if (ok) {
		ok = sqlite3_total_changes64(l->db) == l->op_changes;
	}
	if (!ok)
		l->broken = why;
}

enum status op_end(struct sqlite_ledger *l, enum status st, struct error *e)
{
	struct q q;

	if (!l->group) {
		if (st == ST_OK)
			return commit(l, e);
		undo(l);
		return st;
	}
	if (st == ST_OK && l->op_saved) {
		q_open(&q, l, sql_release);
		st = q_run(&q, e);
	}
	if (st != ST_OK)
		undo_op(l, st);
	return st;
}
