/* The ledger: where runs, stages, shards, attempts, workers and outputs are
 * recorded. This is the contract of every back end; ledger.c holds the thin
 * wrappers and the registry, one folder-local file the functions of each back
 * end, tests/contract/ the suite that they all pass.
 *
 * A handle belongs to one thread at a time. Calls are synchronous and may take
 * milliseconds (a durable commit), so a worker gives them a thread of their own.
 *
 * Errors common to all calls: ST_BUSY (another process holds the database;
 * the text names its pid where that can be known), ST_TRANSIENT (worth trying
 * again), ST_FULL, ST_DENIED, ST_CORRUPT, ST_CONFIG (a format that is too new
 * or not ebb's), ST_NO_MEMORY. A call that fails has changed nothing.
 *
 * Text and names are bytes with a length: items may hold anything but are at
 * most LEDGER_ITEM_MAX long. Strings that a call returns are owned by the
 * structure they came in and freed by its _free function.
 *
 * Times named *_wall_ms are for people. Times named *_boot_ms are
 * CLOCK_BOOTTIME of this machine. */
#ifndef EBB_LEDGER_LEDGER_H
#define EBB_LEDGER_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "model/machine.h"

enum {
	LEDGER_ID_SIZE = 16,
	LEDGER_ITEM_MAX = 1 << 20,
	LEDGER_NAME_MAX = 64,
	LEDGER_FORMAT = 3, /* of what is stored; see docs/formats.md */
};

struct ledger;

/* ---- opening ---- */

struct ledger_options {
	bool create;     /* make it if it is not there; else ST_NOT_FOUND */
	bool read_only;  /* for status: waits for no writer, changes nothing stored */
	int64_t busy_ms; /* how long to wait for another process's write */
};

/* `path` is a plain path or sqlite:PATH. The folder must exist. Refuses
 * (ST_CONFIG) file systems that are not on the allow-list by name, with what
 * to use instead; a file that is not an ebb ledger; a ledger of a newer
 * format. A truncated or damaged one is ST_CORRUPT. Never modifies a file that
 * it refuses. */
enum status ledger_open(const char *path, const struct ledger_options *opt, struct ledger **out,
    struct error *e) MUST_USE;
void ledger_close(struct ledger *l); /* NULL is fine; rolls back an open group */

/* A number that is another one once somebody else, also another handle of this
 * process, has committed something; what this handle commits does not change
 * it. Cheap enough to be asked every 25 ms. Not within a group. */
enum status ledger_changes(struct ledger *l, uint64_t *stamp, struct error *e) MUST_USE;

/* ---- groups ----
 * Calls between begin and commit become durable together, in one fsync, or not
 * at all; outside a group every call that changes something is durable when it
 * returns. A call that fails inside a group has no effect of its own and
 * leaves the group usable (ST_FULL, ST_CORRUPT, ST_TRANSIENT and ST_NO_MEMORY
 * excepted: then all further calls and commit fail too). After commit, failed
 * or not, the group is closed; of a failed one nothing happened. Others cannot
 * write while a group is open: gather first, then begin. */
enum status ledger_begin(struct ledger *l, struct error *e) MUST_USE;
enum status ledger_commit(struct ledger *l, struct error *e) MUST_USE;
void ledger_rollback(struct ledger *l);
bool ledger_in_group(const struct ledger *l);

/* After ST_BUSY: the process of this machine that holds the write lock, which
 * may be frozen; whoever knows that its lease is past may end it. ST_NOT_FOUND:
 * nobody holds it now, or that cannot be told. */
enum status ledger_lock_holder(struct ledger *l, int32_t *pid, struct error *e) MUST_USE;

/* ---- runs and stages ---- */

enum run_state { RUN_ACTIVE = 0, RUN_FINISHED = 1, RUN_CANCELLED = 2 };

struct ledger_run {
	int64_t id;
	char name[LEDGER_NAME_MAX]; /* "r7": unique in this ledger */
	uint8_t key[LEDGER_ID_SIZE];
	int generation;             /* 1 at first */
	enum run_state state;
	int64_t stage;              /* id of its newest generation's first stage */
	int64_t created_wall_ms;
	int64_t changed_wall_ms;    /* last change of state or generation */
	bool carries;               /* its generation takes over what the one before had
	                             * done */
	char *title;                /* one line for people */
	char *place;                /* the folder it works in, from the one that the
	                             * state is in: state_place */
	char *spec;                 /* JSON of its pipeline: model/pipeline.h */
};

void ledger_run_free(struct ledger_run *r); /* what it owns, not r itself */

/* ST_NOT_FOUND when there is none. The name may also be "" for the newest, or,
 * where no run has that name itself, that of a pipeline: the newest run whose
 * title is the name, or begins with it and a blank. */
enum status ledger_run_by_key(struct ledger *l, const uint8_t key[LEDGER_ID_SIZE],
    struct ledger_run *out, struct error *e) MUST_USE;
enum status ledger_run_by_name(struct ledger *l, const char *name, struct ledger_run *out,
    struct error *e) MUST_USE;
/* All runs, oldest first; *out is one block to free with ledger_run_list_free. */
enum status ledger_run_list(struct ledger *l, struct ledger_run **out, size_t *n,
    struct error *e) MUST_USE;
void ledger_run_list_free(struct ledger_run *list, size_t n);

/* What is given when a run or a generation is made: its text and its stages, by
 * name, in an order in which each comes after those that it reads from. */
struct ledger_run_def {
	const char *title;
	const char *spec;
	const char *place;         /* NULL: "."; what a run began with, stays */
	bool carries;              /* of a new generation: see struct ledger_run */
	const char *const *stages; /* each at most LEDGER_NAME_MAX - 1 bytes */
	size_t n_stages;           /* at least 1 */
};

/* A run with its first generation and empty stages; named "r<number>" with
 * a number never used before in this ledger. ST_EXISTS if the key is taken. */
enum status ledger_run_create(struct ledger *l, const uint8_t key[LEDGER_ID_SIZE],
    const struct ledger_run_def *def, struct ledger_run *out, struct error *e) MUST_USE;
/* The next generation: run active again, new empty stages, spec replaced (the
 * title stays).
 * What the older one left accepted but unpublished must have been published
 * or ended before (ST_BUSY otherwise); what it left leased becomes void, its
 * checkpoints are forgotten. Rows of
 * older generations stay until ledger_generation_prune; from now on planning
 * into them and claiming from them is ST_FENCED. ST_FENCED also when
 * run->generation is not the newest any more: somebody else has renewed it. */
enum status ledger_run_renew(struct ledger *l, struct ledger_run *run,
    const struct ledger_run_def *def, struct error *e) MUST_USE;
/* Another specification for the same stages: what is done stays done. run->spec
 * too. ST_FENCED when run->generation is not the newest any more. */
enum status ledger_run_set_spec(struct ledger *l, struct ledger_run *run, const char *spec,
    struct error *e) MUST_USE;
enum status ledger_run_set_state(struct ledger *l, int64_t run, enum run_state state,
    struct error *e) MUST_USE;
/* Removes shards and attempts of generations before the newest, at most
 * `max_rows` a call; *more says whether to call again. Output rows stay. */
enum status ledger_generation_prune(struct ledger *l, int64_t run, int max_rows, bool *more,
    struct error *e) MUST_USE;
/* Removes a run and all its rows. Names that it only planned are nobody's again;
 * those that it published stay, as of run 0: ebb put them there, and any run may
 * plan them again. */
enum status ledger_run_remove(struct ledger *l, int64_t run, struct error *e) MUST_USE;

/* Counters are kept with every transition, so this is one row whatever the
 * number of shards. */
struct ledger_stage {
	int64_t id;
	int64_t run;
	int generation;
	int number;                   /* in the run's generation, from 0 */
	char name[LEDGER_NAME_MAX];
	bool plan_complete;
	bool sealed;
	int64_t planned;              /* shards in the list so far; the total once complete */
	int64_t count[SHARD_STATES];  /* of those in the list; their sum is `planned` */
	int64_t attempts;             /* ended, of any cause; also of shards that left
	                               * the list */
	int64_t ended[CAUSE_COUNT];   /* attempts by cause */
	int64_t run_ms;               /* slot time of attempts that counts: that were
	                               * accepted, or kept by a checkpoint */
	int64_t lost_ms;              /* slot time of attempts that does not */
	int64_t with_files;           /* shards whose item was a regular file when planned */
};

/* Accepted and published; failed and set aside. */
int64_t ledger_stage_done(const struct ledger_stage *s);
int64_t ledger_stage_failed(const struct ledger_stage *s);

/* The counters of n stages as one; complete and sealed when all of them are. */
void ledger_stages_sum(const struct ledger_stage *list, size_t n, struct ledger_stage *out);
/* Adds one to such a sum. */
void ledger_stages_add(struct ledger_stage *sum, const struct ledger_stage *s);

enum status ledger_stage_get(struct ledger *l, int64_t stage, struct ledger_stage *out,
    struct error *e) MUST_USE;
/* The stages of one generation of a run (0: the newest) by their numbers, at
 * most max. */
enum status ledger_run_stages(struct ledger *l, int64_t run, int generation,
    struct ledger_stage *out, size_t max, size_t *n, struct error *e) MUST_USE;
/* Once, when the plan is complete and every shard published, but for at most
 * `allow_failed` that have failed or were set aside: ST_BUSY if not. Sealing a
 * sealed stage is fine. The manifest is durable before this. With the run's last
 * stage sealed, the run is finished. */
enum status ledger_stage_seal(struct ledger *l, int64_t stage, int64_t allow_failed,
    struct error *e) MUST_USE;

/* ---- planning ----
 * A list is planned in order, in chunks of LEDGER_CHUNK items (the last one
 * may be shorter). When a run is started again, its list is read again: as
 * long as each chunk's digest is the recorded one, nothing is written. From the
 * first chunk that differs on, ledger_plan_restart marks the rest of the rows
 * as unseen and the items are planned anew; known ones keep their row and what
 * was done, wherever they stand now. Rows still unseen at ledger_plan_finish
 * have left the list: they are not counted, claimed or listed any more. */

enum { LEDGER_CHUNK = 1024 };

struct ledger_item {
	uint8_t id[LEDGER_ID_SIZE]; /* identity without the occurrence number */
	const char *item;           /* arguments, joined by NUL */
	size_t item_len;
	int32_t part;               /* byte shards: number in its file; else -1 */
	int64_t offset;             /* byte shards: range in the file; else 0, -1 */
	int64_t length;
	struct file_version version;
	const char *final;          /* final name of its output; NULL: none */
	size_t final_len;
};

struct ledger_file;

/* What an older generation has done and need not be done again. */
struct ledger_carry {
	int64_t stage; /* that stage: of the same run, and older */
	/* Is that published output still in its place? If one is not, its shard is
	 * planned as not done. NULL: not asked. */
	bool (*is_there)(void *arg, const struct ledger_file *f);
	void *arg;
};

/* Adds or re-finds n shards with ordinals first, first+1, ... An item that was
 * already planned since the last restart gets the next occurrence number, and
 * id' = first 16 bytes of SHA-256(id, occurrence as 8 bytes little-endian).
 * A re-found row whose version differs from the item's gets EV_INPUT_CHANGED.
 * With `carry` (NULL: nothing is), a new item that is published in that stage, or in
 * the same stage of a generation before that whose rows are still there, is taken
 * over as published with its output rows, in the list or not any more: same id, same
 * version when it was tried last, and its outputs are there.
 * ST_CONFIG: `carry` names no older stage of the same run.
 * ST_EXISTS: a final name is another shard's of this stage, or another run's,
 * which plans it or has published it (the text names both items and how to make
 * that run give its names up); *bad is the
 * index of the item. Nothing was added. An older generation of the same run
 * hands its names over, and so does a shard that is unseen or has left the list.
 * ST_FENCED: `first` is not the stage's `planned` or the plan is complete
 * (ledger_plan_restart opens it): somebody else has planned on. */
enum status ledger_plan_items(struct ledger *l, int64_t stage, int64_t first,
    const struct ledger_item *items, size_t n, const struct ledger_carry *carry, size_t *bad,
    struct error *e) MUST_USE;
/* The digest recorded for chunk `index`; ST_NOT_FOUND if none. */
enum status ledger_plan_chunk_get(struct ledger *l, int64_t stage, int64_t index,
    uint8_t digest[HASH_SIZE], struct error *e) MUST_USE;
enum status ledger_plan_chunk_put(struct ledger *l, int64_t stage, int64_t index,
    const uint8_t digest[HASH_SIZE], struct error *e) MUST_USE;
/* Rows with an ordinal from `first` on become unseen, chunks from
 * first/LEDGER_CHUNK on are forgotten, the plan is open again. Occurrence
 * numbers go on from what the rows before `first` hold. */
enum status ledger_plan_restart(struct ledger *l, int64_t stage, int64_t first,
    struct error *e) MUST_USE;
/* Rows that a restart made unseen and that were not met since, and how many of
 * them are done: what ledger_plan_finish would drop now. `replaced`: the first of
 * them stands in the list with another identity (its command or file changed). */
struct ledger_unseen {
	int64_t n;
	int64_t done;
	bool replaced;
};
enum status ledger_plan_unseen(struct ledger *l, int64_t stage, struct ledger_unseen *out,
    struct error *e) MUST_USE;
/* The list has ended after `total` items: sets plan_complete. Leased rows that
 * are unseen become void: their floor is raised. *dropped is how many rows
 * left the list now. ST_FENCED: `total` is not the stage's `planned`. A plan that
 * is complete with that total is fine. Restart, items and finish on a sealed
 * stage or an older generation are ST_FENCED. */
enum status ledger_plan_finish(struct ledger *l, int64_t stage, int64_t total, int64_t *dropped,
    struct error *e) MUST_USE;
/* Planned rows whose item was a file, in row order after `*after_row` (0 at
 * first), at most max: for checking whether inputs changed. Returns fewer
 * than max at the end. Only item, version, row and s.state are filled. */
struct ledger_shard;
enum status ledger_plan_inputs(struct ledger *l, int64_t stage, int64_t *after_row, size_t max,
    struct ledger_shard *out, size_t *n, struct error *e) MUST_USE;

/* ---- shards ---- */

struct ledger_shard {
	int64_t row;      /* its key in this ledger */
	int64_t ordinal;  /* place in the list, from 0 */
	struct shard s;
	char *item;       /* arguments joined by NUL, and a NUL after the last */
	size_t item_len;
	int32_t part;
	int32_t occurrence; /* 0, or the number of equal items before it */
	int64_t offset;
	int64_t length;
	struct file_version version;
	char *final;      /* NULL: none */
	int64_t worker;   /* holder, when leased or accepted */
	int attempts;     /* that started and have ended (those given back did not) */
	int64_t not_before_boot_ms;
	int64_t asks_boot_ms; /* s.asks: since when; a boot before this one is 1 */
	int64_t spot_from_boot_ms; /* s.asks: when spot workers may take it all the same */
	char *files;      /* JSON of struct ledger_file, when accepted or published */
};

void ledger_shard_free(struct ledger_shard *s); /* what it owns, not s itself */

/* Claims up to max ready shards of the list, lowest ordinal first, for a
 * registered worker; `below` limits it to ordinals under it (what the list
 * has been read up to). Shards whose delay is not over are passed by, and
 * *next_boot_ms is when the earliest of them may be claimed (-1: none). A shard
 * that must run alone is returned alone, or not at all (nor anything behind it)
 * when it is not first.
 *
 * A shard that asks for On-Demand (struct shard) comes first for a worker of that
 * lifecycle, the one that asks longest before the others. A spot worker passes it by
 * until spot_from_boot_ms, while there is a worker for it: On-Demand, of the same run and
 * generation, not gone or draining, its lease not over; then *next_boot_ms is at most a
 * second away, as that worker may leave. A worker of which neither is known
 * claims in the order of the list.
 * ST_FENCED: the worker's lease was taken over, or the run has a newer
 * generation than this stage. */
enum status ledger_claim(struct ledger *l, int64_t stage, int64_t worker, int64_t below,
    size_t max, struct ledger_shard *out, size_t *n, int64_t *next_boot_ms,
    struct error *e) MUST_USE;

/* What is kept about an attempt. */
struct ledger_attempt {
	int64_t epoch;
	int64_t worker;
	enum cause cause;
	int slot;              /* from 1 */
	int exit_code;         /* -1: ended by a signal */
	int exit_signal;
	int64_t started_wall_ms;
	int64_t run_ms;        /* from start to end */
	int64_t cpu_ms;        /* user + system of the command and its waited-for children */
	int64_t max_rss_kib;
	int64_t out_bytes;
	int64_t err_bytes;
	int64_t kept_ms;       /* of run_ms: what a durable checkpoint kept, where it was
	                        * not accepted; at most run_ms */
	int64_t checkpoint_ms; /* of its slot's time, beside run_ms */
	int64_t restore_ms;
	bool by_notice;        /* of interrupted and checkpointed: its machine was about to be
	                        * taken away */
	char note[256];        /* its last error line, or why; UTF-8 */
};

/* A file of an accepted shard. */
struct ledger_file {
	char *private_path; /* relative to the folder the run works in, or absolute */
	char *final_path;   /* "" for delivery to ebb's own stdout */
	int64_t size;
	uint8_t hash[HASH_SIZE];
};

/* The attempt of `a->epoch` is done. Without files the shard is published at
 * once. `after` is the version of the input when it was done, which is what
 * the next start compares with (NULL: as it was planned). ST_FENCED: its epoch
 * is void, nothing is accepted and the private files are the caller's to
 * remove. A repeated call is fine. ST_EXISTS: a file's final name is another
 * shard's or another run's (as in ledger_plan_items); the text names it. */
enum status ledger_accept(struct ledger *l, int64_t row, const struct ledger_attempt *a,
    const struct ledger_file *files, size_t n_files, const struct file_version *after,
    struct error *e) MUST_USE;
/* Durable progress of a shard that is not done. */
struct ledger_checkpoint {
	int64_t epoch;             /* of the attempt that made it; 0: there is none */
	int64_t offset;            /* where the next attempt begins */
	struct ledger_file *files; /* its output so far: pieces in order, each the first
	                            * `size` bytes of a private file; final_path "" */
	size_t n_files;
	char *folder;              /* a private copy of the task's folder; NULL: none */
	int64_t kept_ms;           /* what that attempt had run before it */
};

void ledger_checkpoint_free(struct ledger_checkpoint *c); /* what it owns */

/* Replaces the shard's checkpoint; its files are durable before this. What it
 * made needless is the caller's to remove afterwards. ST_FENCED: the epoch is
 * not that of the latest claim, nothing is recorded. An attempt that ends
 * interrupted or lost after one does not count against its limit. */
enum status ledger_checkpoint(struct ledger *l, int64_t row, const struct ledger_checkpoint *c,
    struct error *e) MUST_USE;
/* epoch 0 when there is none. It is there until the shard is accepted, or its
 * input changes, or the run has a newer generation. */
enum status ledger_checkpoint_get(struct ledger *l, int64_t row, struct ledger_checkpoint *out,
    struct error *e) MUST_USE;

/* The files are in their final place: output rows get their size and hash.
 * ST_FENCED: the epoch is void. A repeated call is fine. */
enum status ledger_published(struct ledger *l, int64_t row, int64_t epoch,
    struct error *e) MUST_USE;
/* Of an accepted output that is about to be given up: this file has its final name
 * all the same. The name is the run's as if it had been published, so that a later
 * attempt may replace what stands there. ST_FENCED: it is not accepted under that
 * epoch. A repeated call is fine. */
enum status ledger_output_placed(struct ledger *l, int64_t row, int64_t epoch,
    const struct ledger_file *f, struct error *e) MUST_USE;
/* Neither private nor final files exist any more: ready under a new epoch. */
enum status ledger_output_gone(struct ledger *l, int64_t row, int64_t epoch,
    struct error *e) MUST_USE;
/* Its final name is not ebb's to give: failed for good until it is retried, and
 * `note` replaces that of its last attempt. The private files are the caller's. */
enum status ledger_refused(struct ledger *l, int64_t row, int64_t epoch, const char *note,
    struct error *e) MUST_USE;
/* The attempt ended otherwise (a->cause, not CAUSE_DONE): counted and judged by
 * shard_step. CAUSE_CHECKPOINTED counts as progress. `now` is the row after it
 * (as it is when ST_FENCED); `delay_ms` was chosen by the caller
 * (retry_delay_ms) and holds if the shard is ready again.
 *
 * The attempt was *taken* with its machine if it is lost, or by_notice: then
 * its worker is taken too (ledger_worker_taken). Unless that is an On-Demand one, and
 * unless the worker's pool is in a storm (model/pool.h, default policy), this counts
 * in s.taken, and policy->on_demand_after of them make the shard ask for On-Demand. Each
 * time that one that asks is ready again after an attempt, it is left to On-Demand workers
 * for policy->on_demand_wait_ms anew. */
enum status ledger_end(struct ledger *l, int64_t row, const struct ledger_attempt *a,
    const struct retry_policy *policy, bool no_retry, int64_t delay_ms, struct shard *now,
    struct error *e) MUST_USE;
/* Claimed but never started. */
enum status ledger_give_back(struct ledger *l, int64_t row, int64_t epoch,
    struct error *e) MUST_USE;
/* An operator's `ebb retry`, or a start of an unfinished run: a fresh budget.
 * row 0: every failed and set-aside shard of the list; *n says how many (0 for
 * one that is in another state). */
enum status ledger_retry(struct ledger *l, int64_t stage, int64_t row, int64_t *n,
    struct error *e) MUST_USE;
/* The input is another one now: EV_INPUT_CHANGED and the new version. A leased
 * shard's attempt becomes void. ST_FENCED: the stage is sealed. */
enum status ledger_input_changed(struct ledger *l, int64_t row, const struct file_version *version,
    struct error *e) MUST_USE;
/* Accepted but unpublished shards that this worker holds, or whose holder is
 * gone: the latter become this worker's. Those with ordinals from `from` on, in
 * their order, at most max. */
enum status ledger_take_accepted(struct ledger *l, int64_t stage, int64_t worker, int64_t from,
    size_t max, struct ledger_shard *out, size_t *n, struct error *e) MUST_USE;

/* Parses ledger_shard.files; *out is one block, freed with ledger_files_free. */
enum status ledger_files_parse(const char *json, struct ledger_file **out, size_t *n,
    struct error *e) MUST_USE;
void ledger_files_free(struct ledger_file *files, size_t n);

/* ---- outputs: who owns a final name ---- */

struct ledger_output {
	bool planned;      /* some shard of the newest generation will write it */
	bool published;    /* size and hash are of what ebb put there last */
	int64_t size;
	uint8_t hash[HASH_SIZE];
};

/* ST_NOT_FOUND: the name is nobody's here. */
enum status ledger_output_get(struct ledger *l, const char *final, size_t len,
    struct ledger_output *out, struct error *e) MUST_USE;

/* A name that ebb published for a run and that nothing of its newest generation
 * will write: the file is to be unlinked where size and hash agree, and the
 * name then forgotten. */
struct ledger_left {
	char *final;
	size_t final_len;
	int64_t size;
	uint8_t hash[HASH_SIZE];
};

/* At most max that come after `after` (NULL: from the first one) in the order of
 * their names; each is freed with free(final). Only meaningful once the plan of
 * the newest generation is complete. Run 0: what removed runs have published. */
enum status ledger_outputs_left(struct ledger *l, int64_t run, const struct ledger_left *after,
    size_t max, struct ledger_left *out, size_t *n, struct error *e) MUST_USE;
/* Forgets such a name. ST_NOT_FOUND when it is not (or no longer) one. */
enum status ledger_output_forget(struct ledger *l, int64_t run, const char *final, size_t len,
    struct error *e) MUST_USE;

/* ---- looking ---- */

struct ledger_query {
	int64_t stage;
	int state;           /* an enum shard_state, or -1 for all */
	int64_t ordinal;     /* exactly this one, or -1 */
	int64_t from;        /* ordinals from this one on */
	const char *item_prefix; /* bytes that the item begins with, or NULL */
	size_t item_prefix_len;
	size_t max;
};

/* Shards of the list in order of their ordinals. */
enum status ledger_shards(struct ledger *l, const struct ledger_query *q,
    struct ledger_shard *out, size_t *n, struct error *e) MUST_USE;
/* One by its row, in the list or not; ST_NOT_FOUND. */
enum status ledger_shard_get(struct ledger *l, int64_t row, struct ledger_shard *out,
    struct error *e) MUST_USE;
/* The shards of a generation that took longest or were interrupted most, worst
 * first, at most max; those without an attempt are left out. Looks at every
 * attempt of the generation. `stage` 0: of all its stages. */
enum ledger_worst { LEDGER_SLOWEST, LEDGER_MOST_INTERRUPTED };
struct ledger_worst_shard {
	int64_t row;
	int64_t stage;
	int64_t ms;            /* slot time of all its attempts */
	int64_t longest_ms;    /* of one attempt */
	int attempts;
	int interruptions;     /* interrupted or lost */
};
enum status ledger_worst_shards(struct ledger *l, int64_t run, int64_t stage,
    enum ledger_worst which, size_t max, struct ledger_worst_shard *out, size_t *n,
    struct error *e) MUST_USE;
/* Attempts of a shard, oldest first; the newest max of them. */
enum status ledger_attempts(struct ledger *l, int64_t row, size_t max, struct ledger_attempt *out,
    size_t *n, struct error *e) MUST_USE;

/* What recent attempts of a stage came to, for guessing at the next one. Looked at
 * are attempts of the last shards in front of those that are ready, so that it costs the
 * same whatever there is; as of the last commit. A stage of which nothing is known,
 * or that there is not: all 0. */
struct ledger_past {
	int done;            /* attempts that were done */
	int64_t done_ms;     /* the median of their run_ms */
	int saved;           /* made a checkpoint, or went on from one */
	int64_t save_ms;     /* the least that one of these spent on checkpoints, on all that
	                      * it made; 0: not known */
	int stopped;         /* were interrupted, and nothing was kept */
	int died;            /* of those: by `stop_signal`, itself or a shell that says so */
};
enum status ledger_past(struct ledger *l, int64_t stage, int stop_signal, struct ledger_past *out,
    struct error *e) MUST_USE;

/* What others made of a shard after it had failed (CAUSE_FAILED, CAUSE_INFRASTRUCTURE)
 * on one worker. */
enum ledger_elsewhere {
	ELSEWHERE_NOTHING = 0, /* no word of it yet; or it has not failed there */
	ELSEWHERE_FAILED,      /* it failed on another one too */
	ELSEWHERE_DONE,        /* it was done, whatever was before */
};
/* For each of n shards by their rows. */
enum status ledger_elsewhere(struct ledger *l, int64_t worker, const int64_t *rows, size_t n,
    enum ledger_elsewhere *out, struct error *e) MUST_USE;

/* ---- workers ---- */

struct ledger_worker {
	int64_t id;
	char name[LEDGER_NAME_MAX];  /* unique; also names its lock file */
	int64_t run;
	int32_t pid;
	int number;                  /* among its run's workers, from 1: people see w3 */
	uint64_t start_ticks;        /* of the pid: /proc/PID/stat field 22, in ns since
	                              * the boot */
	char boot_id[37];
	int64_t lease_until_boot_ms;
	bool gone;                   /* left, or was expired */
	char pool[LEDGER_NAME_MAX];  /* "" becomes "local" */
	char lifecycle[16];          /* "spot", "on-demand", or "": not known */
	int generation;              /* of its run that it works on */
	int slots;
	int64_t joined_wall_ms;      /* filled by ledger_worker_add */
	int64_t left_wall_ms;        /* 0 while it is not gone */
	int64_t present_ms;          /* from joining until it was last known to be there */
	/* What ledger_worker_drain asked of it, or it said of itself: */
	int64_t drain_boot_ms;       /* when that was; 0: nothing */
	int64_t drain_deadline_boot_ms; /* 0: none was given */
	char drain_reason[64];
	bool drain_notice;           /* an interruption notice asked, and not an operator */
	/* Of the machine, as far as is known ("" or 0: not): see ledger_worker_describe.
	 * Times of another boot than this one are 0. */
	char node[64];               /* instance, pod or host: what an event from outside
	                              * names */
	char zone[32];
	char instance_type[32];
	int64_t life_until_boot_ms;  /* when its known life ends */
	int64_t warned_boot_ms;      /* since when a rebalance recommendation holds; 0: none */
	int64_t taken_boot_ms;       /* when it was taken away: by a notice, or found lost; 0:
	                              * it was not */
};

/* Fills w->id, w->number and w->joined_wall_ms. What it says of drains, warnings and of
 * being taken is not kept. ST_EXISTS: the name is taken. */
enum status ledger_worker_add(struct ledger *l, struct ledger_worker *w, struct error *e) MUST_USE;
/* One heartbeat for all of the worker's shards. ST_FENCED: it was expired by
 * somebody else; all of its leases are void. An expired lease that nobody took
 * is renewed. */
enum status ledger_worker_renew(struct ledger *l, int64_t worker, int64_t until_boot_ms,
    struct error *e) MUST_USE;
/* Workers that are not gone (run 0: of all runs). */
enum status ledger_workers(struct ledger *l, int64_t run, struct ledger_worker *out, size_t max,
    size_t *n, struct error *e) MUST_USE;
/* One of them, gone or not; ST_NOT_FOUND. */
enum status ledger_worker_get(struct ledger *l, int64_t worker, struct ledger_worker *out,
    struct error *e) MUST_USE;

/* What becomes known of a worker's machine. */
struct ledger_node {
	const char *node;          /* "" or NULL, here and below: nothing new. Longer ones are
	                            * cut to what struct ledger_worker holds */
	const char *zone;
	const char *instance_type;
	const char *lifecycle;     /* "spot" or "on-demand" */
	int64_t life_until_boot_ms; /* 0: nothing new */
};

/* A later word replaces an earlier one. ST_NOT_FOUND: no such worker. */
enum status ledger_worker_describe(struct ledger *l, int64_t worker,
    const struct ledger_node *node, struct error *e) MUST_USE;
/* Its machine is being taken away since then (0: now). The first word counts.
 * ST_NOT_FOUND: no such worker. */
enum status ledger_worker_taken(struct ledger *l, int64_t worker, int64_t boot_ms,
    struct error *e) MUST_USE;
/* When machines of a pool were taken from a run, after `since_boot_ms`, newest first, at
 * most max: those of workers that are not On-Demand, a machine with several workers once.
 * What happened before this boot is forgotten. */
enum status ledger_pool_hits(struct ledger *l, int64_t run, const char *pool,
    int64_t since_boot_ms, int64_t *times, size_t max, size_t *n, struct error *e) MUST_USE;

/* Shards of the newest generation of a run that ask for On-Demand, in the list and not
 * ended. */
struct ledger_asking {
	int64_t ready;
	int64_t leased;
};
enum status ledger_asking(struct ledger *l, int64_t run, struct ledger_asking *out,
    struct error *e) MUST_USE;

/* Workers that are meant by `who`, of those of a run that are not gone. NULL: all; "w3", a
 * pid, a name or at least 6 characters of its beginning, or a node (all that are on
 * it); where no worker is meant by it, a pool. */
struct ledger_drain {
	const char *who;
	int64_t deadline_boot_ms;  /* 0: none */
	const char *reason;        /* cut to 63 bytes; "" or NULL: none */
	bool notice;               /* an interruption notice: those that are meant are taken
	                            * too */
};

/* Asks workers of a run (0: of all runs) that are not gone to drain; each has to
 * see it by itself (ledger_changes). One that was asked before keeps when and
 * why; of two deadlines the earlier one counts. *n says how many it is now asked
 * of, be it again. None is no error. */
enum status ledger_worker_drain(struct ledger *l, int64_t run, const struct ledger_drain *drain,
    int64_t *n, struct error *e) MUST_USE;
/* A rebalance recommendation for workers of a run (0: of all runs) that are meant by
 * `who`, as above: `on` sets warned_boot_ms where it is 0, else it is cleared. *n says how
 * many it is for, be it again. */
enum status ledger_worker_warn(struct ledger *l, int64_t run, const char *who, bool on,
    int64_t *n, struct error *e) MUST_USE;
/* What becomes of the shards that a worker held. */
struct ledger_burial {
	enum cause cause; /* CAUSE_LOST, or CAUSE_INTERRUPTED for a worker that leaves */
	bool by_notice;   /* as of struct ledger_attempt */
	/* Of each stage of the run, in their order; at least one. A stage beyond them has
	 * the last. */
	const struct retry_policy *const *policy;
	size_t n_policies;
	/* For how long the attempt ran, as far as is known; -1: it was only claimed, and
	 * is given back. NULL: all had started, 0 ms. Called within the transaction; must
	 * not call the ledger. */
	int64_t (*ran_ms)(void *arg, int64_t row, int64_t epoch);
	void *arg;
};

/* The worker is dead or fenced (the caller has made sure: its lock is free, or
 * it has been ended): its leased shards end so. Its accepted shards can be taken,
 * its leases by name are released. *lost is how many had started. One that is lost was
 * taken. A worker that is gone is fine. */
enum status ledger_worker_end(struct ledger *l, int64_t worker, const struct ledger_burial *how,
    int64_t *lost, struct error *e) MUST_USE;

/* Every worker of a run, those that are gone too, oldest first; *out is one block
 * to free. */
enum status ledger_worker_list(struct ledger *l, int64_t run, struct ledger_worker **out,
    size_t *n, struct error *e) MUST_USE;

/* ---- where the time of the slots went ---- */

/* Times of slots in ms. Those before SPENT_SLOT_KINDS are what a slot is in, at
 * any moment one of them, so that they add up to slots x present_ms for each worker;
 * workers say them. SPENT_NET and SPENT_LOST are what became of the attempts that
 * ended, and are counted with them by the ledger: what was accepted or kept by
 * a checkpoint, and all else. What was running but is in neither of them is
 * under way, or void. The numbers are stored and never change. */
enum spent_kind {
	SPENT_RUNNING = 0,
	SPENT_RESTORING = 1,
	SPENT_CHECKPOINTING = 2,
	SPENT_WAITING = 3, /* it will get or may get work, which cannot run now */
	SPENT_IDLE = 4,    /* nothing is left for it */
	SPENT_SLOT_KINDS = 5,
	SPENT_VOID = 5,    /* of running: attempts whose end the ledger refused */
	SPENT_SAID_KINDS = 6,
	SPENT_NET = 6,
	SPENT_LOST = 7,
	SPENT_KINDS = 8,
};

const char *ledger_spent_name(enum spent_kind kind);

struct ledger_spent {
	int64_t worker;
	int64_t stage;       /* 0: of no stage in particular */
	enum spent_kind kind;
	int64_t ms;
};

/* What a worker has spent since it came, and for how long it has been present:
 * totals, not additions, so that saying them again (by whoever buries it too)
 * is fine: a later word replaces an earlier one. `worker` in the rows is not looked
 * at; kinds are below SPENT_SAID_KINDS; zeros change nothing. Also of a worker that
 * is gone. Meant to share a group with something else. ST_NOT_FOUND: no such worker. */
enum status ledger_spent_put(struct ledger *l, int64_t worker, int64_t present_ms,
    const struct ledger_spent *rows, size_t n, struct error *e) MUST_USE;
/* Of all workers of one generation of a run (0: the newest), by worker, stage and
 * kind; zeros are left out. *out is one block to free. */
enum status ledger_spent(struct ledger *l, int64_t run, int generation, struct ledger_spent **out,
    size_t *n, struct error *e) MUST_USE;

/* ---- leases by name ("plan", "seal", one each per stage) ----
 * Held until released or until the worker is gone. ST_BUSY: held by another
 * (the text says by whom). ST_FENCED: this worker is gone. Taking what one holds
 * and releasing what one does not hold are fine. */
enum status ledger_lease_take(struct ledger *l, int64_t stage, const char *name, int64_t worker,
    struct error *e) MUST_USE;
enum status ledger_lease_release(struct ledger *l, int64_t stage, const char *name,
    int64_t worker, struct error *e) MUST_USE;

/* ---- events and care ---- */

/* One line of a run's history. Kinds: "start", "join", "leave", "drain", "notice",
 * "rebalance", "maintenance", "withdrawn", "drained", "replace", "set-aside",
 * "hand-back", "seal", "cancel", "takeover": docs/formats-ledger.md. */
struct ledger_event {
	int64_t worker;  /* whose it is; 0: nobody's */
	int64_t wall_ms; /* filled when it is added */
	int64_t boot_ms; /* 0: now */
	char kind[24];
	char text[256];
};
enum status ledger_event_add(struct ledger *l, int64_t run, const struct ledger_event *ev,
    struct error *e) MUST_USE;
/* The newest max, oldest of them first. */
enum status ledger_events(struct ledger *l, int64_t run, size_t max, struct ledger_event *out,
    size_t *n, struct error *e) MUST_USE;
/* A full check (SQLite: integrity_check, and counters against rows). *problem
 * is "" when all is well. */
enum status ledger_verify(struct ledger *l, struct buf *problem, struct error *e) MUST_USE;
/* Gives free pages back to the file system, as far as it is cheap. */
enum status ledger_shrink(struct ledger *l, struct error *e) MUST_USE;
/* Bytes on disk. */
int64_t ledger_bytes(struct ledger *l);

#endif
