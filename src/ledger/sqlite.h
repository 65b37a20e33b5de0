/* Inside of the SQLite back end: what its files share. Nobody else includes
 * this, tests of the back end itself excepted.
 *
 * sqlite.c          the table, opening, closing, groups
 * sqlite_schema.c   tables; a new file; what is refused before anything is written
 * sqlite_place.c    file systems that can hold a ledger; who holds the lock
 * sqlite_query.c    statements, error classes, operations, counters
 * sqlite_run.c      runs, stages, generations
 * sqlite_plan.c     planning
 * sqlite_output.c   who owns a final name
 * sqlite_row.c      rows of shards: reading, shard_step, writing
 * sqlite_shard.c    transitions
 * sqlite_worker.c   workers and leases by name
 * sqlite_taken.c    machines of workers, when they were taken; who asks for other ones
 * sqlite_spent.c    where the time went
 * sqlite_look.c     listings and events
 * sqlite_past.c     what attempts tell of a stage, and of a worker
 * sqlite_care.c     verify, shrink, bytes */
#ifndef EBB_LEDGER_SQLITE_H
#define EBB_LEDGER_SQLITE_H

#include <sqlite3.h>

#include "ledger/backend.h"
#include "ledger/ident.h"

enum {
	SQLITE_LEDGER_APPLICATION = 0x45626231, /* "Ebb1" */
	SQLITE_LEDGER_STATEMENTS = 256,         /* slots of the cache: a power of two */
	SQLITE_LEDGER_WAL_PAGES = 1000,
	SQLITE_LEDGER_WAL_BYTES = 4 << 20,
	SQLITE_LEDGER_CACHE_KIB = 8192,
};

/* Columns of table stage that are only ever changed by increments. */
enum counter {
	COUNTER_PLANNED,
	COUNTER_STATE, /* one for each enum shard_state */
	COUNTER_ATTEMPTS = COUNTER_STATE + SHARD_STATES,
	COUNTER_ENDED, /* one for each enum cause */
	COUNTER_RUN_MS = COUNTER_ENDED + CAUSE_COUNT,
	COUNTER_LOST_MS,
	COUNTER_WITH_FILES,
	COUNTERS,
};

#define COUNTER_COLUMNS \
	"planned, n_ready, n_leased, n_accepted, n_published, n_failed, n_set_aside, attempts, " \
	"e_done, e_checkpointed, e_interrupted, e_lost, e_failed, e_timed_out, " \
	"e_out_of_memory, e_infrastructure, e_cancelled, e_superseded, " \
	"run_ms, lost_ms, with_files"

struct counters {
	int64_t stage;
	int64_t worker; /* of attempts that ended: whose time it is; else 0 */
	int64_t add[COUNTERS];
};

/* Rows of a stage by identity, derived from the rows and kept while it is
 * planned. An index on disk would cost one random page for each item, 4 KiB of
 * log for 16 bytes of identity. */
struct plan_index {
	struct ident *ident; /* NULL: none */
	int64_t stage;
	int64_t seq;         /* the stage's plan_seq that it agrees with */
};

struct cached_stmt {
	const char *sql; /* a string constant: the key is its address */
	sqlite3_stmt *stmt;
};

struct sqlite_ledger {
	struct ledger base;
	sqlite3 *db;
	char *path;
	char boot_id[37];
	int64_t busy_ms;       /* how long to wait for others, */
	int64_t busy_since_ns; /* and since when it does */
	struct cached_stmt cache[SQLITE_LEDGER_STATEMENTS];
	struct hash *hash;
	struct plan_index plan;
	struct plan_index carry;

	bool group;            /* between begin and commit */
	enum status broken;    /* why the group cannot be committed any more */
	struct counters *pending; /* not yet written, of the open transaction */
	size_t n_pending;
	size_t cap_pending;

	bool op_saved;         /* the operation has a savepoint of its own */
	bool op_planned;       /* the open transaction has changed what plan indexes hold */
	int64_t op_changes;    /* sqlite3_total_changes64 when the operation began */
	struct counters *saved;   /* pending, as it was when the operation began */
	size_t n_saved;
	size_t cap_saved;
};

/* States in conditions that index shard_open answers, which holds what is not
 * published: the second half is how SQLite knows that it may use it. */
#define IS_READY "state = 0 AND state <> 3"
#define IS_LEASED "state = 1 AND state <> 3"
#define IS_ACCEPTED "state = 2 AND state <> 3"

static inline struct sqlite_ledger *sq(struct ledger *l)
{
	return (struct sqlite_ledger *)l;
}

/* ---- sqlite_query.c ---- */

/* One use of a cached statement: open, bind in order, step, close. Errors
 * stick; q_close or q_run tells. */
struct q {
	struct sqlite_ledger *l;
	sqlite3_stmt *s;
	int at;
	int rc;
};

/* `sql` is a string constant. The same statement must not be open twice. */
void q_open(struct q *q, struct sqlite_ledger *l, const char *sql);
void q_int(struct q *q, int64_t v);
/* What is bound is borrowed until q_close; NULL binds NULL. */
void q_blob(struct q *q, const void *data, size_t len);
void q_text(struct q *q, const char *text);
void q_text_n(struct q *q, const char *text, size_t len);
/* True when there is a row; false at the end and after a failure. */
bool q_row(struct q *q);
/* Resets the statement; the status of all since q_open. */
enum status q_close(struct q *q, struct error *e) MUST_USE;
/* The same at the end of a walk that may have failed itself: `st` if it did. */
enum status q_end(struct q *q, enum status st, struct error *e) MUST_USE;
/* To the end, and close. */
enum status q_run(struct q *q, struct error *e) MUST_USE;
/* The first column of the first row, or `absent` when there is none; closes. */
enum status q_value(struct q *q, int64_t absent, int64_t *v, struct error *e) MUST_USE;

int64_t col_int(const struct q *q, int i);
/* Values beyond the bounds are cut to them. */
int col_small(const struct q *q, int i);
bool col_is_null(const struct q *q, int i);
/* A copy with a NUL after it; NULL for SQL NULL. ST_CORRUPT beyond max bytes. */
enum status col_dup(struct q *q, int i, size_t max, char **out, size_t *len,
    struct error *e) MUST_USE;
/* Exactly `size` bytes, else ST_CORRUPT. */
enum status col_fixed(struct q *q, int i, uint8_t *out, size_t size, struct error *e) MUST_USE;
/* Text into a fixed buffer, cut if it is longer. */
void col_text(const struct q *q, int i, char *out, size_t size);
/* The bytes in place, until the next step. */
const void *col_bytes(const struct q *q, int i, size_t *len);

/* The class and text of a failed SQLite call. */
enum status sqlite_error(struct sqlite_ledger *l, int rc, struct error *e);
enum status sqlite_damaged(struct sqlite_ledger *l, const char *what, struct error *e);
/* A constant statement without values. */
enum status sqlite_exec(struct sqlite_ledger *l, const char *sql, struct error *e) MUST_USE;

/* An operation is one call that writes: a transaction of its own, or part of
 * the open group. One that may fail after its first write takes a savepoint
 * (OP_SAVED); the others decide before they write. */
enum op_kind { OP_PLAIN, OP_SAVED };
enum status op_begin(struct sqlite_ledger *l, enum op_kind kind, struct error *e) MUST_USE;
/* `st` is how it went; undoes what failed, makes durable what did not and is
 * in no group. */
enum status op_end(struct sqlite_ledger *l, enum status st, struct error *e) MUST_USE;

enum status transactions_prepare(struct sqlite_ledger *l, struct error *e) MUST_USE;
enum status group_begin(struct sqlite_ledger *l, struct error *e) MUST_USE;
enum status group_commit(struct sqlite_ledger *l, struct error *e) MUST_USE;
void group_rollback(struct sqlite_ledger *l);

/* The counters of a stage that wait for the commit: NULL without memory. There
 * may be several for a stage: what they add is one change after the other. */
struct counters *counters_of(struct sqlite_ledger *l, int64_t stage);
/* The same for attempts of a worker, whose net and lost time they are. */
struct counters *counters_of_worker(struct sqlite_ledger *l, int64_t stage, int64_t worker);

void plan_index_drop(struct plan_index *x);

/* ---- sqlite_schema.c ---- */

/* Looks at the file without SQLite's engine and without a lock. ST_NOT_FOUND,
 * or why it cannot be used. */
enum status sqlite_check_file(const char *path, struct error *e) MUST_USE;
/* A new ledger under that name, complete or not at all. Somebody else's who
 * was faster is fine. */
enum status sqlite_create_file(const char *path, struct error *e) MUST_USE;
/* The user_version of the open database is ours. */
enum status sqlite_check_format(struct sqlite_ledger *l, struct error *e) MUST_USE;

/* ---- sqlite_place.c ---- */

/* NULL for a file system (statfs f_type) that can hold a ledger, else its name. */
const char *sqlite_place_refused(unsigned long f_type);
enum status sqlite_check_place(const char *path, struct error *e) MUST_USE;
/* The process that holds the write lock; 0: none or not known. */
int32_t sqlite_lock_pid(const char *path);

/* ---- sqlite_row.c ---- */

/* What the machine and the counters need of a row. */
struct row {
	int64_t row;
	int64_t stage;
	int64_t ordinal;  /* negative: not in the list, see sqlite_plan.c */
	struct shard s;
	int attempts;
	int64_t worker;
	int64_t not_before;
	int64_t asks_since; /* these two: 0 unless s.asks */
	int64_t spot_from;
	bool was_file;    /* its item was a regular file when planned */
	struct file_version version;
};

/* Columns of a struct row, and those after them of a struct ledger_shard. */
#define ROW_COLUMNS \
	"row, stage, ordinal, state, epoch, floor, n_checkpointed, n_interrupted, n_lost, " \
	"n_failed, n_timed_out, n_out_of_memory, n_infrastructure, alone, attempts, worker, " \
	"not_before, was_file, v_exists, v_size, v_mtime_ns, n_taken, asks_since, spot_from"
enum { ROW_END = 24 };
#define SHARD_COLUMNS \
	ROW_COLUMNS ", item, part, occurrence, offset, length, final, files"

/* ST_CORRUPT for a number that is no state. */
enum status col_state(struct q *q, int i, enum shard_state *out, struct error *e) MUST_USE;
enum status row_from(struct q *q, struct row *r, struct error *e) MUST_USE;
void shards_free(struct ledger_shard *out, size_t *n);
/* Rows of an open statement with SHARD_COLUMNS, at most max; closes it. */
enum status shards_from(struct q *q, size_t max, struct ledger_shard *out, size_t *n,
    struct error *e) MUST_USE;
/* ST_NOT_FOUND when there is none. */
enum status row_get(struct sqlite_ledger *l, int64_t row, struct row *r,
    struct error *e) MUST_USE;
/* Its final name and JSON of files, as new strings or NULL. */
enum status row_names(struct sqlite_ledger *l, int64_t row, char **final, size_t *final_len,
    char **files, struct error *e) MUST_USE;

/* shard_step, and the counters follow. The row in memory is the new one when
 * *taken; ST_OK and not taken: it is so already; ST_FENCED. */
enum status row_step(struct sqlite_ledger *l, struct row *r, const struct shard_event *ev,
    const struct retry_policy *policy, bool *taken, struct error *e) MUST_USE;
/* Writes the row. With `files` not NULL also the files: "" means none. */
enum status row_put(struct sqlite_ledger *l, const struct row *r, const char *files,
    struct error *e) MUST_USE;
/* The row enters (+1) or leaves (-1) the list: the counters of its state. */
enum status row_count(struct sqlite_ledger *l, const struct row *r, int by,
    struct error *e) MUST_USE;
/* EV_INPUT_CHANGED, in memory and in the counters; names that only its files
 * had are released. The row is not written yet. */
enum status row_void(struct sqlite_ledger *l, struct row *r, struct error *e) MUST_USE;
enum status attempt_put(struct sqlite_ledger *l, const struct row *r,
    const struct ledger_attempt *a, struct error *e) MUST_USE;

/* ---- sqlite_run.c ---- */

struct stage_info {
	int64_t id;
	int64_t run;
	int newest;     /* the run's newest generation */
	int generation;
	bool plan_complete;
	bool sealed;
	int64_t plan_seq;
	int64_t planned;
};

/* ST_NOT_FOUND when there is none. Counts what the open group has done. */
enum status stage_info_get(struct sqlite_ledger *l, int64_t stage, struct stage_info *out,
    struct error *e) MUST_USE;
/* ST_FENCED when it is sealed or not of its run's newest generation. */
enum status stage_must_be_open(const struct stage_info *s, struct error *e) MUST_USE;

/* ---- sqlite_plan.c ---- */

/* Below it are the ordinals of rows that have left the list. */
#define SQLITE_DROPPED (-(INT64_C(1) << 62))

/* ---- sqlite_checkpoint.c ---- */

enum status checkpoint_drop(struct sqlite_ledger *l, int64_t row, struct error *e) MUST_USE;
/* Whether the attempt of that epoch made one. */
enum status checkpoint_is_of(struct sqlite_ledger *l, int64_t row, int64_t epoch, bool *is,
    int64_t *kept_ms, struct error *e) MUST_USE;

/* ---- sqlite_taken.c ---- */

/* The worker's machine was taken away since then (0: now), if it was not before. */
enum status worker_mark_taken(struct sqlite_ledger *l, int64_t worker, int64_t boot_ms,
    struct error *e) MUST_USE;
/* An attempt that ended so was taken with its machine. */
bool end_is_taken(enum cause cause, bool by_notice);
/* Whether that counts against the shard, of a worker that is marked already. */
enum status taken_counts(struct sqlite_ledger *l, int64_t worker, bool *counts,
    struct error *e) MUST_USE;
/* After EV_END: when a row that asks may be taken by spot workers. */
void row_ask(struct row *r, const struct retry_policy *policy);
/* A worker that a shard that asks for On-Demand is left to. */
enum status on_demand_is_there(struct sqlite_ledger *l, const struct stage_info *s, int64_t now,
    bool *there, struct error *e) MUST_USE;
/* The first spot_from after that of a ready shard of the stage; -1: none. */
enum status next_asking(struct sqlite_ledger *l, int64_t stage, int64_t after, int64_t *spot_from,
    struct error *e) MUST_USE;

/* ---- sqlite_output.c ---- */

/* Makes `name` one that this row, which is there, will write. ST_EXISTS: see
 * ledger_plan_items. */
enum status output_plan(struct sqlite_ledger *l, const struct stage_info *s, int64_t row,
    const char *name, size_t len, struct error *e) MUST_USE;
/* The row will not write it any more. */
enum status output_release(struct sqlite_ledger *l, int64_t row, const char *name, size_t len,
    struct error *e) MUST_USE;
/* The same for all names of its files except `keep` (NULL: none). */
enum status output_release_files(struct sqlite_ledger *l, int64_t row, const char *files,
    const char *keep, size_t keep_len, struct error *e) MUST_USE;
/* Whether the row is the one that put there what is there now. */
enum status output_is_mine(struct sqlite_ledger *l, int64_t row, const char *name, size_t len,
    bool *mine, struct error *e) MUST_USE;
/* The name of that file holds what the row put there. */
enum status output_put(struct sqlite_ledger *l, int64_t row, const struct ledger_file *f,
    struct error *e) MUST_USE;
/* The names of its files do. */
enum status output_put_files(struct sqlite_ledger *l, int64_t row, const char *files,
    struct error *e) MUST_USE;

/* ---- the table's functions, by file ---- */

enum status sqlite_run_by_key(struct ledger *l, const uint8_t key[LEDGER_ID_SIZE],
    struct ledger_run *out, struct error *e);
enum status sqlite_run_by_name(struct ledger *l, const char *name, struct ledger_run *out,
    struct error *e);
enum status sqlite_run_list(struct ledger *l, struct ledger_run **out, size_t *n,
    struct error *e);
enum status sqlite_run_create(struct ledger *l, const uint8_t key[LEDGER_ID_SIZE],
    const struct ledger_run_def *def, struct ledger_run *out, struct error *e) MUST_USE;
enum status sqlite_run_renew(struct ledger *l, struct ledger_run *run,
    const struct ledger_run_def *def, struct error *e) MUST_USE;
enum status sqlite_run_set_spec(struct ledger *l, struct ledger_run *run, const char *spec,
    struct error *e);
enum status sqlite_run_set_state(struct ledger *l, int64_t run, enum run_state state,
    struct error *e);
enum status sqlite_generation_prune(struct ledger *l, int64_t run, int max_rows, bool *more,
    struct error *e);
enum status sqlite_run_remove(struct ledger *l, int64_t run, struct error *e);
enum status sqlite_stage_get(struct ledger *l, int64_t stage, struct ledger_stage *out,
    struct error *e);
enum status sqlite_run_stages(struct ledger *l, int64_t run, int generation,
    struct ledger_stage *out, size_t max, size_t *n, struct error *e) MUST_USE;
enum status sqlite_stage_seal(struct ledger *l, int64_t stage, int64_t allow_failed,
    struct error *e) MUST_USE;

enum status sqlite_plan_items(struct ledger *l, int64_t stage, int64_t first,
    const struct ledger_item *items, size_t n, const struct ledger_carry *carry, size_t *bad,
    struct error *e);
enum status sqlite_plan_chunk_get(struct ledger *l, int64_t stage, int64_t index,
    uint8_t digest[HASH_SIZE], struct error *e);
enum status sqlite_plan_chunk_put(struct ledger *l, int64_t stage, int64_t index,
    const uint8_t digest[HASH_SIZE], struct error *e);
enum status sqlite_plan_restart(struct ledger *l, int64_t stage, int64_t first, struct error *e);
enum status sqlite_plan_unseen(struct ledger *l, int64_t stage, struct ledger_unseen *out,
    struct error *e);
enum status sqlite_plan_finish(struct ledger *l, int64_t stage, int64_t total, int64_t *dropped,
    struct error *e);
enum status sqlite_plan_inputs(struct ledger *l, int64_t stage, int64_t *after_row, size_t max,
    struct ledger_shard *out, size_t *n, struct error *e);

enum status sqlite_claim(struct ledger *l, int64_t stage, int64_t worker, int64_t below,
    size_t max, struct ledger_shard *out, size_t *n, int64_t *next_boot_ms, struct error *e);
enum status sqlite_accept(struct ledger *l, int64_t row, const struct ledger_attempt *a,
    const struct ledger_file *files, size_t n_files, const struct file_version *after,
    struct error *e);
enum status sqlite_checkpoint(struct ledger *l, int64_t row, const struct ledger_checkpoint *c,
    struct error *e) MUST_USE;
enum status sqlite_checkpoint_get(struct ledger *l, int64_t row, struct ledger_checkpoint *out,
    struct error *e) MUST_USE;
enum status sqlite_published(struct ledger *l, int64_t row, int64_t epoch, struct error *e);
enum status sqlite_refused(struct ledger *l, int64_t row, int64_t epoch, const char *note,
    struct error *e);
enum status sqlite_output_placed(struct ledger *l, int64_t row, int64_t epoch,
    const struct ledger_file *f, struct error *e);
enum status sqlite_output_gone(struct ledger *l, int64_t row, int64_t epoch, struct error *e);
enum status sqlite_end(struct ledger *l, int64_t row, const struct ledger_attempt *a,
    const struct retry_policy *policy, bool no_retry, int64_t delay_ms, struct shard *now,
    struct error *e);
enum status sqlite_give_back(struct ledger *l, int64_t row, int64_t epoch, struct error *e);
enum status sqlite_retry(struct ledger *l, int64_t stage, int64_t row, int64_t *n,
    struct error *e);
enum status sqlite_input_changed(struct ledger *l, int64_t row,
    const struct file_version *version, struct error *e);
enum status sqlite_take_accepted(struct ledger *l, int64_t stage, int64_t worker, int64_t from,
    size_t max, struct ledger_shard *out, size_t *n, struct error *e);

enum status sqlite_output_get(struct ledger *l, const char *final, size_t len,
    struct ledger_output *out, struct error *e);
enum status sqlite_outputs_left(struct ledger *l, int64_t run,
    const struct ledger_left *after, size_t max, struct ledger_left *out, size_t *n,
    struct error *e);
enum status sqlite_output_forget(struct ledger *l, int64_t run, const char *final, size_t len,
    struct error *e);

enum status sqlite_shards(struct ledger *l, const struct ledger_query *query,
    struct ledger_shard *out, size_t *n, struct error *e);
enum status sqlite_shard_get(struct ledger *l, int64_t row, struct ledger_shard *out,
    struct error *e);
enum status sqlite_worst_shards(struct ledger *l, int64_t run, int64_t stage,
    enum ledger_worst which, size_t max, struct ledger_worst_shard *out, size_t *n,
    struct error *e);
enum status sqlite_attempts(struct ledger *l, int64_t row, size_t max, struct ledger_attempt *out,
    size_t *n, struct error *e);
enum status sqlite_past(struct ledger *l, int64_t stage, int stop_signal, struct ledger_past *out,
    struct error *e);
enum status sqlite_elsewhere(struct ledger *l, int64_t worker, const int64_t *rows, size_t n,
    enum ledger_elsewhere *out, struct error *e);
enum status sqlite_event_add(struct ledger *l, int64_t run, const struct ledger_event *ev,
    struct error *e);
enum status sqlite_events(struct ledger *l, int64_t run, size_t max, struct ledger_event *out,
    size_t *n, struct error *e);

enum status sqlite_worker_add(struct ledger *l, struct ledger_worker *w, struct error *e);
enum status sqlite_worker_renew(struct ledger *l, int64_t worker, int64_t until_boot_ms,
    struct error *e);
enum status sqlite_workers(struct ledger *l, int64_t run, struct ledger_worker *out, size_t max,
    size_t *n, struct error *e);
enum status sqlite_worker_get(struct ledger *l, int64_t worker, struct ledger_worker *out,
    struct error *e);
enum status sqlite_worker_drain(struct ledger *l, int64_t run, const struct ledger_drain *drain,
    int64_t *n, struct error *e);
enum status sqlite_worker_warn(struct ledger *l, int64_t run, const char *who, bool on,
    int64_t *n, struct error *e);
enum status sqlite_worker_describe(struct ledger *l, int64_t worker,
    const struct ledger_node *node, struct error *e);
enum status sqlite_worker_taken(struct ledger *l, int64_t worker, int64_t boot_ms,
    struct error *e);
enum status sqlite_pool_hits(struct ledger *l, int64_t run, const char *pool,
    int64_t since_boot_ms, int64_t *times, size_t max, size_t *n, struct error *e);
enum status sqlite_asking(struct ledger *l, int64_t run, struct ledger_asking *out,
    struct error *e);
enum status sqlite_worker_end(struct ledger *l, int64_t worker, const struct ledger_burial *how,
    int64_t *lost, struct error *e);
enum status sqlite_worker_list(struct ledger *l, int64_t run, struct ledger_worker **out,
    size_t *n, struct error *e);
enum status sqlite_spent_put(struct ledger *l, int64_t worker, int64_t present_ms,
    const struct ledger_spent *rows, size_t n, struct error *e);
enum status sqlite_spent(struct ledger *l, int64_t run, int generation, struct ledger_spent **out,
    size_t *n, struct error *e);
/* Adds the net and lost time in these counters to their worker's. */
enum status spent_count(struct sqlite_ledger *l, const struct counters *c,
    struct error *e) MUST_USE;
/* Of a worker that is dead: what its slots ran and no attempt tells of is void, such as
 * a child whose end it had no time to record. */
enum status spent_void_rest(struct sqlite_ledger *l, int64_t worker, struct error *e) MUST_USE;
/* ST_FENCED when the worker is gone or was never there. */
enum status worker_must_be_here(struct sqlite_ledger *l, int64_t worker,
    struct error *e) MUST_USE;
/* The same, and what it claims as. */
enum claimer { CLAIMER_ANY, CLAIMER_SPOT, CLAIMER_ON_DEMAND };
enum status worker_claims_as(struct sqlite_ledger *l, int64_t worker, enum claimer *as,
    struct error *e) MUST_USE;
enum status sqlite_lease_take(struct ledger *l, int64_t stage, const char *name, int64_t worker,
    struct error *e);
enum status sqlite_lease_release(struct ledger *l, int64_t stage, const char *name,
    int64_t worker, struct error *e);

enum status sqlite_verify(struct ledger *l, struct buf *problem, struct error *e);
enum status sqlite_shrink(struct ledger *l, struct error *e);
int64_t sqlite_bytes(struct ledger *l);

#endif
