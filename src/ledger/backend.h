/* What a ledger back end provides: one static const table of functions. Only
 * ledger.c calls through it; it has validated the arguments before, and has
 * refused calls that change something on a read-only handle.
 *
 * A function does what ledger.h says about the wrapper of the same name, and
 * - MUST decide every change of a shard by shard_step (model/machine.h) on the
 *   row as it is inside the same transaction or conditional write;
 * - MUST leave no trace of a call that fails;
 * - MUST count with increments, so that several processes may write;
 * - MUST NOT keep pointers to its arguments after it has returned;
 * - MUST NOT compare a clock of this machine with another machine's;
 * - MUST NOT log: the error text is all it says.
 *
 * To add a back end: write its table, add it to the registry in ledger.c and
 * to the table of the contract suite (tests/contract/test_ledger.c). */
#ifndef EBB_LEDGER_BACKEND_H
#define EBB_LEDGER_BACKEND_H

#include "ledger/ledger.h"

struct ledger_backend;

/* Embedded as the first member of each back end's own handle. */
struct ledger {
	const struct ledger_backend *backend;
	bool read_only;
	bool in_group; /* kept by ledger.c */
};

enum ledger_capability {
	LEDGER_CAP_MANY_MACHINES = 1 << 0, /* workers may be on different machines */
	LEDGER_CAP_LOCAL_CLOCK = 1 << 1,   /* leases are on CLOCK_BOOTTIME of one machine */
};

struct ledger_backend {
	const char *name;
	const char *scheme; /* "sqlite": the part of a URL before the colon */
	unsigned int capabilities;

	/* *out is set only on success. `path` is what follows the scheme. */
	enum status (*open)(const char *path, const struct ledger_options *opt,
	    struct ledger **out, struct error *e);
	/* Frees the handle; a group that is open is rolled back. MUST NOT block
	 * on other processes. */
	void (*close)(struct ledger *l);

	/* After a failed commit the group is closed and nothing of it happened. */
	enum status (*begin)(struct ledger *l, struct error *e);
	enum status (*commit)(struct ledger *l, struct error *e);
	void (*rollback)(struct ledger *l);
	enum status (*changes)(struct ledger *l, uint64_t *stamp, struct error *e);

	enum status (*run_by_key)(struct ledger *l, const uint8_t key[LEDGER_ID_SIZE],
	    struct ledger_run *out, struct error *e);
	enum status (*run_by_name)(struct ledger *l, const char *name, struct ledger_run *out,
	    struct error *e);
	enum status (*run_list)(struct ledger *l, struct ledger_run **out, size_t *n,
	    struct error *e);
	enum status (*run_create)(struct ledger *l, const uint8_t key[LEDGER_ID_SIZE],
	    const struct ledger_run_def *def, struct ledger_run *out, struct error *e);
	enum status (*run_renew)(struct ledger *l, struct ledger_run *run,
	    const struct ledger_run_def *def, struct error *e);
	enum status (*run_set_spec)(struct ledger *l, struct ledger_run *run, const char *spec,
	    struct error *e);
	enum status (*run_set_state)(struct ledger *l, int64_t run, enum run_state state,
	    struct error *e);
	enum status (*generation_prune)(struct ledger *l, int64_t run, int max_rows, bool *more,
	    struct error *e);
	enum status (*run_remove)(struct ledger *l, int64_t run, struct error *e);
	enum status (*stage_get)(struct ledger *l, int64_t stage, struct ledger_stage *out,
	    struct error *e);
	enum status (*run_stages)(struct ledger *l, int64_t run, int generation,
	    struct ledger_stage *out, size_t max, size_t *n, struct error *e);
	enum status (*stage_seal)(struct ledger *l, int64_t stage, int64_t allow_failed,
	    struct error *e);

	enum status (*plan_items)(struct ledger *l, int64_t stage, int64_t first,
	    const struct ledger_item *items, size_t n, const struct ledger_carry *carry, size_t *bad,
	    struct error *e);
	enum status (*plan_chunk_get)(struct ledger *l, int64_t stage, int64_t index,
	    uint8_t digest[HASH_SIZE], struct error *e);
	enum status (*plan_chunk_put)(struct ledger *l, int64_t stage, int64_t index,
	    const uint8_t digest[HASH_SIZE], struct error *e);
	enum status (*plan_restart)(struct ledger *l, int64_t stage, int64_t first,
	    struct error *e);
	enum status (*plan_unseen)(struct ledger *l, int64_t stage,
	    struct ledger_unseen *out, struct error *e);
	enum status (*plan_finish)(struct ledger *l, int64_t stage, int64_t total,
	    int64_t *dropped, struct error *e);
	enum status (*plan_inputs)(struct ledger *l, int64_t stage, int64_t *after_row, size_t max,
	    struct ledger_shard *out, size_t *n, struct error *e);

	enum status (*claim)(struct ledger *l, int64_t stage, int64_t worker, int64_t below,
	    size_t max, struct ledger_shard *out, size_t *n, int64_t *next_boot_ms,
	    struct error *e);
	enum status (*accept)(struct ledger *l, int64_t row, const struct ledger_attempt *a,
	    const struct ledger_file *files, size_t n_files, const struct file_version *after,
	    struct error *e);
	enum status (*checkpoint)(struct ledger *l, int64_t row,
	    const struct ledger_checkpoint *c, struct error *e);
	enum status (*checkpoint_get)(struct ledger *l, int64_t row,
	    struct ledger_checkpoint *out, struct error *e);
	enum status (*published)(struct ledger *l, int64_t row, int64_t epoch, struct error *e);
	enum status (*refused)(struct ledger *l, int64_t row, int64_t epoch, const char *note,
	    struct error *e);
	enum status (*output_placed)(struct ledger *l, int64_t row, int64_t epoch,
	    const struct ledger_file *f, struct error *e);
	enum status (*output_gone)(struct ledger *l, int64_t row, int64_t epoch, struct error *e);
	enum status (*end)(struct ledger *l, int64_t row, const struct ledger_attempt *a,
	    const struct retry_policy *policy, bool no_retry, int64_t delay_ms,
	    struct shard *now, struct error *e);
	enum status (*give_back)(struct ledger *l, int64_t row, int64_t epoch, struct error *e);
	enum status (*retry)(struct ledger *l, int64_t stage, int64_t row, int64_t *n,
	    struct error *e);
	enum status (*input_changed)(struct ledger *l, int64_t row,
	    const struct file_version *version, struct error *e);
	enum status (*take_accepted)(struct ledger *l, int64_t stage, int64_t worker, int64_t from,
	    size_t max, struct ledger_shard *out, size_t *n, struct error *e);

	enum status (*output_get)(struct ledger *l, const char *final, size_t len,
	    struct ledger_output *out, struct error *e);
	enum status (*outputs_left)(struct ledger *l, int64_t run,
	    const struct ledger_left *after, size_t max, struct ledger_left *out, size_t *n,
	    struct error *e);
	enum status (*output_forget)(struct ledger *l, int64_t run, const char *final, size_t len,
	    struct error *e);

	enum status (*shards)(struct ledger *l, const struct ledger_query *q,
	    struct ledger_shard *out, size_t *n, struct error *e);
	enum status (*shard_get)(struct ledger *l, int64_t row, struct ledger_shard *out,
	    struct error *e);
	enum status (*worst_shards)(struct ledger *l, int64_t run, int64_t stage,
	    enum ledger_worst which, size_t max, struct ledger_worst_shard *out, size_t *n,
	    struct error *e);
	enum status (*attempts)(struct ledger *l, int64_t row, size_t max,
	    struct ledger_attempt *out, size_t *n, struct error *e);
	enum status (*past)(struct ledger *l, int64_t stage, int stop_signal,
	    struct ledger_past *out, struct error *e);
	enum status (*elsewhere)(struct ledger *l, int64_t worker, const int64_t *rows,
	    size_t n, enum ledger_elsewhere *out, struct error *e);

	enum status (*worker_add)(struct ledger *l, struct ledger_worker *w, struct error *e);
	enum status (*worker_renew)(struct ledger *l, int64_t worker, int64_t until_boot_ms,
	    struct error *e);
	enum status (*workers)(struct ledger *l, int64_t run, struct ledger_worker *out,
	    size_t max, size_t *n, struct error *e);
	enum status (*worker_get)(struct ledger *l, int64_t worker, struct ledger_worker *out,
	    struct error *e);
	enum status (*worker_drain)(struct ledger *l, int64_t run,
	    const struct ledger_drain *drain, int64_t *n, struct error *e);
	enum status (*worker_warn)(struct ledger *l, int64_t run, const char *who, bool on,
	    int64_t *n, struct error *e);
	enum status (*worker_describe)(struct ledger *l, int64_t worker,
	    const struct ledger_node *node, struct error *e);
	enum status (*worker_taken)(struct ledger *l, int64_t worker, int64_t boot_ms,
	    struct error *e);
	enum status (*pool_hits)(struct ledger *l, int64_t run, const char *pool,
	    int64_t since_boot_ms, int64_t *times, size_t max, size_t *n, struct error *e);
	enum status (*asking)(struct ledger *l, int64_t run, struct ledger_asking *out,
	    struct error *e);
	enum status (*worker_end)(struct ledger *l, int64_t worker, const struct ledger_burial *how,
	    int64_t *lost, struct error *e);
	enum status (*worker_list)(struct ledger *l, int64_t run, struct ledger_worker **out,
	    size_t *n, struct error *e);
	enum status (*spent_put)(struct ledger *l, int64_t worker, int64_t present_ms,
	    const struct ledger_spent *rows, size_t n, struct error *e);
	enum status (*spent)(struct ledger *l, int64_t run, int generation,
	    struct ledger_spent **out, size_t *n, struct error *e);
	enum status (*lease_take)(struct ledger *l, int64_t stage, const char *name,
	    int64_t worker, struct error *e);
	enum status (*lease_release)(struct ledger *l, int64_t stage, const char *name,
	    int64_t worker, struct error *e);

	enum status (*event_add)(struct ledger *l, int64_t run, const struct ledger_event *ev,
	    struct error *e);
	enum status (*events)(struct ledger *l, int64_t run, size_t max, struct ledger_event *out,
	    size_t *n, struct error *e);
	enum status (*verify)(struct ledger *l, struct buf *problem, struct error *e);
	enum status (*shrink)(struct ledger *l, struct error *e);
	int64_t (*bytes)(struct ledger *l);
	/* NULL: no lock that a frozen process could hold. */
	enum status (*lock_holder)(struct ledger *l, int32_t *pid, struct error *e);
};

extern const struct ledger_backend ledger_sqlite;

#endif
