#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/sys.h"
#include "ledger/sqlite.h"

/* docs/formats-ledger.md says what each column means. A change that an older
 * ebb would misread raises LEDGER_FORMAT. */
static const char schema[] =
	"CREATE TABLE meta("
	" name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;"
	"INSERT INTO meta VALUES ('boot_id', ''), ('next_run', 1), ('next_row', 1);"

	"CREATE TABLE run("
	" id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, key BLOB NOT NULL UNIQUE,"
	" generation INTEGER NOT NULL, state INTEGER NOT NULL, stage INTEGER NOT NULL,"
	" created_wall_ms INTEGER NOT NULL, changed_wall_ms INTEGER NOT NULL,"
	" title TEXT NOT NULL, spec TEXT NOT NULL, place TEXT NOT NULL,"
	" carries INTEGER NOT NULL) STRICT;"

	"CREATE TABLE stage("
	" id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL,"
	" generation INTEGER NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL,"
	" plan_complete INTEGER NOT NULL DEFAULT 0,"
	" sealed INTEGER NOT NULL DEFAULT 0, pruned INTEGER NOT NULL DEFAULT 0,"
	" plan_seq INTEGER NOT NULL DEFAULT 0, planned INTEGER NOT NULL DEFAULT 0,"
	" n_ready INTEGER NOT NULL DEFAULT 0, n_leased INTEGER NOT NULL DEFAULT 0,"
	" n_accepted INTEGER NOT NULL DEFAULT 0, n_published INTEGER NOT NULL DEFAULT 0,"
	" n_failed INTEGER NOT NULL DEFAULT 0, n_set_aside INTEGER NOT NULL DEFAULT 0,"
	" attempts INTEGER NOT NULL DEFAULT 0, e_done INTEGER NOT NULL DEFAULT 0,"
	" e_checkpointed INTEGER NOT NULL DEFAULT 0, e_interrupted INTEGER NOT NULL DEFAULT 0,"
	" e_lost INTEGER NOT NULL DEFAULT 0, e_failed INTEGER NOT NULL DEFAULT 0,"
	" e_timed_out INTEGER NOT NULL DEFAULT 0, e_out_of_memory INTEGER NOT NULL DEFAULT 0,"
	" e_infrastructure INTEGER NOT NULL DEFAULT 0, e_cancelled INTEGER NOT NULL DEFAULT 0,"
	" e_superseded INTEGER NOT NULL DEFAULT 0, run_ms INTEGER NOT NULL DEFAULT 0,"
	" lost_ms INTEGER NOT NULL DEFAULT 0, with_files INTEGER NOT NULL DEFAULT 0) STRICT;"
	"CREATE INDEX stage_run ON stage(run);"

	"CREATE TABLE shard("
	" row INTEGER PRIMARY KEY, stage INTEGER NOT NULL, ordinal INTEGER NOT NULL,"
	" id BLOB NOT NULL, state INTEGER NOT NULL, epoch INTEGER NOT NULL,"
	" floor INTEGER NOT NULL, n_checkpointed INTEGER NOT NULL,"
	" n_interrupted INTEGER NOT NULL, n_lost INTEGER NOT NULL, n_failed INTEGER NOT NULL,"
	" n_timed_out INTEGER NOT NULL, n_out_of_memory INTEGER NOT NULL,"
	" n_infrastructure INTEGER NOT NULL, alone INTEGER NOT NULL, n_taken INTEGER NOT NULL,"
	" asks_since INTEGER NOT NULL, spot_from INTEGER NOT NULL,"
	" attempts INTEGER NOT NULL, worker INTEGER NOT NULL, not_before INTEGER NOT NULL,"
	" was_file INTEGER NOT NULL, v_exists INTEGER NOT NULL, v_size INTEGER NOT NULL,"
	" v_mtime_ns INTEGER NOT NULL, part INTEGER NOT NULL, offset INTEGER NOT NULL,"
	" length INTEGER NOT NULL, occurrence INTEGER NOT NULL, first_row INTEGER,"
	" repeats INTEGER NOT NULL, item BLOB NOT NULL, final BLOB, files TEXT) STRICT;"
	"CREATE UNIQUE INDEX shard_ordinal ON shard(stage, ordinal);"
	"CREATE INDEX shard_open ON shard(stage, state, not_before, ordinal, spot_from)"
	" WHERE state <> 3;"
	"CREATE INDEX shard_asks ON shard(stage, state, spot_from)"
	" WHERE spot_from > 0 AND state <> 3;"

	"CREATE TABLE chunk("
	" stage INTEGER NOT NULL, number INTEGER NOT NULL, digest BLOB NOT NULL,"
	" PRIMARY KEY (stage, number)) STRICT, WITHOUT ROWID;"

	"CREATE TABLE attempt("
	" shard INTEGER NOT NULL, epoch INTEGER NOT NULL, worker INTEGER NOT NULL,"
	" cause INTEGER NOT NULL, slot INTEGER NOT NULL, exit_code INTEGER NOT NULL,"
	" exit_signal INTEGER NOT NULL, started_wall_ms INTEGER NOT NULL,"
	" run_ms INTEGER NOT NULL, cpu_ms INTEGER NOT NULL, max_rss_kib INTEGER NOT NULL,"
	" out_bytes INTEGER NOT NULL, err_bytes INTEGER NOT NULL,"
	" kept_ms INTEGER NOT NULL DEFAULT 0, checkpoint_ms INTEGER NOT NULL DEFAULT 0,"
	" restore_ms INTEGER NOT NULL DEFAULT 0, by_notice INTEGER NOT NULL DEFAULT 0, note TEXT,"
	" PRIMARY KEY (shard, epoch)) STRICT, WITHOUT ROWID;"

	"CREATE TABLE checkpoint("
	" shard INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, offset INTEGER NOT NULL,"
	" files TEXT, folder BLOB, kept_ms INTEGER NOT NULL DEFAULT 0) STRICT;"

	"CREATE TABLE output("
	" name BLOB PRIMARY KEY, run INTEGER NOT NULL, stage INTEGER NOT NULL,"
	" shard INTEGER NOT NULL, planned INTEGER NOT NULL, published INTEGER NOT NULL,"
	" size INTEGER NOT NULL, hash BLOB) STRICT, WITHOUT ROWID;"

	"CREATE TABLE worker("
	" id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
	" run INTEGER NOT NULL, number INTEGER NOT NULL, pid INTEGER NOT NULL,"
	" start_ticks INTEGER NOT NULL, boot_id TEXT NOT NULL, lease_until INTEGER NOT NULL,"
	" gone INTEGER NOT NULL, generation INTEGER NOT NULL, pool TEXT NOT NULL,"
	" lifecycle TEXT NOT NULL, slots INTEGER NOT NULL, joined_wall_ms INTEGER NOT NULL,"
	" left_wall_ms INTEGER NOT NULL DEFAULT 0, present_ms INTEGER NOT NULL DEFAULT 0,"
	" drain INTEGER NOT NULL DEFAULT 0, drain_deadline INTEGER NOT NULL DEFAULT 0,"
	" drain_reason TEXT NOT NULL DEFAULT '', drain_notice INTEGER NOT NULL DEFAULT 0,"
	" node TEXT NOT NULL DEFAULT '', zone TEXT NOT NULL DEFAULT '',"
	" instance_type TEXT NOT NULL DEFAULT '', life_until INTEGER NOT NULL DEFAULT 0,"
	" warned INTEGER NOT NULL DEFAULT 0, taken INTEGER NOT NULL DEFAULT 0) STRICT;"
	"CREATE INDEX worker_here ON worker(run) WHERE gone = 0;"
	"CREATE INDEX worker_on_demand ON worker(run)"
	" WHERE gone = 0 AND lifecycle = 'on-demand';"
	"CREATE INDEX worker_taken ON worker(run, pool, taken) WHERE taken > 0;"
	"CREATE UNIQUE INDEX worker_number ON worker(run, number);"

	"CREATE TABLE spent("
	" run INTEGER NOT NULL, worker INTEGER NOT NULL, stage INTEGER NOT NULL,"
	" kind INTEGER NOT NULL, ms INTEGER NOT NULL,"
	" PRIMARY KEY (run, worker, stage, kind)) STRICT, WITHOUT ROWID;"

	"CREATE TABLE lease("
	" stage INTEGER NOT NULL, name TEXT NOT NULL, worker INTEGER NOT NULL,"
	" PRIMARY KEY (stage, name)) STRICT, WITHOUT ROWID;"

	"CREATE TABLE event("
	" id INTEGER PRIMARY KEY, run INTEGER NOT NULL, worker INTEGER NOT NULL,"
	" wall_ms INTEGER NOT NULL, boot_ms INTEGER NOT NULL, kind TEXT NOT NULL,"
	" text TEXT NOT NULL) STRICT;"
	"CREATE INDEX event_run ON event(run);";

/* ---- looking at a file before anything else touches it ---- */

/* SQLite's file header, big-endian ("Database File Format", section 1.3). */
enum {
	HEADER_SIZE = 100,
	AT_PAGE_SIZE = 16,
	AT_CHANGES = 24,
	AT_PAGES = 28,
	AT_FORMAT = 60,      /* user_version */
	AT_APPLICATION = 68, /* application_id */
	AT_VALID_FOR = 92,
	PAGE_MIN = 512,
};

static const char magic[16] = "SQLite format 3";

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

struct header {
	uint8_t bytes[HEADER_SIZE];
	int64_t size; /* of the file */
};

/* Reads through SQLite's file layer and not by open(2): closing a descriptor
 * of our own would drop the locks of every other handle of this process. */
static enum status read_header(const char *path, struct header *h, struct error *e)
{
	sqlite3_vfs *vfs = sqlite3_vfs_find(sys_sqlite_vfs());
	const char *name = sqlite3_create_filename(path, "", "", 0, NULL);
	sqlite3_file *f = vfs == NULL ? NULL : mem_zero((size_t)vfs->szOsFile);
	enum status st = ST_OK;
	sqlite3_int64 size = 0;
	int rc;

	memset(h, 0, sizeof(*h));
	if (name == NULL || f == NULL) {
		st = error_set(e, ST_NO_MEMORY, "out of memory");
		goto out;
	}
	errno = 0;
	rc = vfs->xOpen(vfs, name, f, SQLITE_OPEN_READONLY | SQLITE_OPEN_MAIN_DB, NULL);
	if (rc != SQLITE_OK) {
		st = rc == SQLITE_NOMEM ? error_set(e, ST_NO_MEMORY, "out of memory") :
		    error_os(e, errno == 0 ? EACCES : errno, "cannot open the ledger %s", path);
		goto out;
	}
	rc = f->pMethods->xFileSize(f, &size);
	if (rc == SQLITE_OK)
		rc = f->pMethods->xRead(f, h->bytes, HEADER_SIZE, 0);
	if (rc != SQLITE_OK && rc != SQLITE_IOERR_SHORT_READ)
		st = error_set(e, ST_TRANSIENT, "cannot read the ledger %s: %s", path,
		    sqlite3_errstr(rc));
	h->size = size;
	(void)f->pMethods->xClose(f);
out:
	free(f);
	sqlite3_free_filename(name);
	return st;
}

static bool has_log(const char *path)
{
	struct buf wal = {0};
	struct stat sb;
	bool there;

	buf_printf(&wal, "%s-wal", path);
	there = !wal.failed && stat(wal.data, &sb) == 0 && sb.st_size > 0;
	buf_free(&wal);
	return there;
}

static enum status check_header(const char *path, const struct header *h, struct error *e)
{
	size_t have = h->size < (int64_t)sizeof(magic) ? (size_t)h->size : sizeof(magic);
	int64_t page = h->bytes[AT_PAGE_SIZE] << 8 | h->bytes[AT_PAGE_SIZE + 1];
	int64_t pages = be32(h->bytes + AT_PAGES);
	int64_t format = be32(h->bytes + AT_FORMAT);

	if (memcmp(h->bytes, magic, have) != 0)
		return error_set(e, ST_CONFIG, "%s is not a ledger of ebb's; it was left as it is",
		    path);
	if (h->size < PAGE_MIN)
		return error_set(e, ST_CORRUPT, "the ledger %s is cut short: %lld bytes are left of it",
		    path, (long long)h->size);
	if (be32(h->bytes + AT_APPLICATION) != SQLITE_LEDGER_APPLICATION)
		return error_set(e, ST_CONFIG, "%s is a SQLite database, but not a ledger of ebb's; "
		    "it was left as it is", path);
	if (format != LEDGER_FORMAT)
		return error_set(e, ST_CONFIG, "the ledger %s has format %lld and this ebb (%s) "
		    "reads format %d; use %s ebb, or another --state", path, (long long)format,
		    EBB_VERSION, LEDGER_FORMAT, format > LEDGER_FORMAT ? "a newer" : "an older");
	if (page == 1)
		page = 65536;
	/* While there is a log, the file may rightly lag behind it. */
	if (be32(h->bytes + AT_CHANGES) == be32(h->bytes + AT_VALID_FOR) && !has_log(path) &&
	    h->size < page * pages)
		return error_set(e, ST_CORRUPT, "the ledger %s is cut short: %lld of %lld bytes are "
		    "left of it", path, (long long)h->size, (long long)page * (long long)pages);
	return ST_OK;
}

enum status sqlite_check_file(const char *path, struct error *e)
{
	struct header h;
	struct stat sb;
	enum status st;

	if (stat(path, &sb) == -1) {
		if (errno == ENOENT)
			return error_set(e, ST_NOT_FOUND, "there is no ledger at %s", path);
		return error_os(e, errno, "cannot look at the ledger %s", path);
	}
	if (!S_ISREG(sb.st_mode))
		return error_set(e, ST_CONFIG, "the ledger %s is not a regular file", path);
	st = read_header(path, &h, e);
	return st == ST_OK ? check_header(path, &h, e) : st;
}

enum status sqlite_check_format(struct sqlite_ledger *l, struct error *e)
{
	struct q q;
	int64_t format;
	enum status st;

	q_open(&q, l, "PRAGMA user_version");
	st = q_value(&q, 0, &format, e);
	if (st == ST_OK && format != LEDGER_FORMAT)
		st = error_set(e, ST_CONFIG, "the ledger %s has format %lld and this ebb (%s) reads "
		    "format %d", l->path, (long long)format, EBB_VERSION, LEDGER_FORMAT);
	return st;
}

/* ---- a new file ---- */

static enum status fill_new(struct sqlite_ledger *l, struct error *e)
{
	char pragmas[128];
	enum status st;

	/* Before there is any table: they are part of the file from then on. */
	st = sqlite_exec(l, "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL;"
	    "PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL; BEGIN", e);
	if (st == ST_OK)
		st = sqlite_exec(l, schema, e);
	if (st != ST_OK)
		return st;
	/* A pragma takes no bound values; these are constants. */
	(void)snprintf(pragmas, sizeof(pragmas),
	    "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT;"
	    "PRAGMA journal_mode = WAL", SQLITE_LEDGER_APPLICATION, LEDGER_FORMAT);
	return sqlite_exec(l, pragmas, e);
}

static enum status make_file(char *tmp, struct error *e)
{
	struct sqlite_ledger l = {.path = tmp};
	enum status st = ST_OK;
	int rc;

	rc = sqlite3_open_v2(tmp, &l.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
	    SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, sys_sqlite_vfs());
	if (rc != SQLITE_OK)
		st = sqlite_error(&l, rc, e);
	if (st == ST_OK)
		st = fill_new(&l, e);
	rc = sqlite3_close(l.db);
	if (st == ST_OK && rc != SQLITE_OK)
		st = sqlite_error(&l, rc, e);
	return st;
}

static void remove_leftovers(const char *tmp)
{
	static const char *const ends[] = {"", "-journal", "-wal", "-shm"};
	struct buf name = {0};
	size_t i;

	for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		buf_clear(&name);
		buf_printf(&name, "%s%s", tmp, ends[i]);
		if (!name.failed)
			(void)!sys_unlink(name.data);
	}
	buf_free(&name);
}

enum status sqlite_create_file(const char *path, struct error *e)
{
	struct buf tmp = {0};
	struct buf dir = {0};
	enum status st;

	buf_printf(&tmp, "%s.new.%ld", path, (long)getpid());
	file_dirname(path, &dir);
	if (tmp.failed || dir.failed) {
		st = error_set(e, ST_NO_MEMORY, "out of memory");
		goto out;
	}
	remove_leftovers(tmp.data);
	st = make_file(tmp.data, e);
	if (st == ST_OK && sys_rename_noreplace(tmp.data, path) == -1 && errno != EEXIST)
		st = error_os(e, errno, "cannot make the ledger %s", path);
	if (st == ST_OK)
		st = file_sync_dir(dir.data, e);
	remove_leftovers(tmp.data);
out:
	buf_free(&tmp);
	buf_free(&dir);
	return st;
}
