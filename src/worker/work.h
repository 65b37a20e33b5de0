/* What the files of this room share. Private to src/worker. */
#ifndef EBB_WORKER_WORK_H
#define EBB_WORKER_WORK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <uv.h>

#include "model/template.h"
#include "store/store.h"
#include "worker/committer.h"
#include "worker/control.h"
#include "worker/guardian.h"
#include "worker/name.h"
#include "worker/resources.h"
#include "worker/worker.h"

struct work;
struct contract;
struct stage;
struct pump;
struct account;
struct aside;
struct publisher;
struct planner;
struct requests;
struct drain;
struct heard;

/* Each tick of the loop; half of what a stop file may take. */
enum { WORKER_TICK_MS = 50 };

struct worker_body {
	struct state *state;
	char token[SLOTS_TOKEN_SIZE];
	int lock_fd;
	char *dir;                /* workers/<token> */
	char *cgroup_note;        /* in it: where limits are enforced; not there if nowhere */
	struct slots *slots;
	struct guardian *guardian;
	struct control *control;
};

/* One try of a shard, from claim to its last word. Lives on the loop's thread
 * but for the times when a pool thread (wrap) or the publisher has it. */
struct attempt {
	struct op op;             /* first: the ledger operation under way */
	struct work *w;
	struct stage *g;
	struct attempt *next;     /* in the list that it is in */
	struct attempt *all_next; /* among all attempts, for the end */
	struct attempt *all_prev;
	struct ledger_shard shard;
	uint64_t id;              /* at the guardian */
	int64_t memory;           /* bytes that it asks for; 0: not limited */
	uint64_t gpus;            /* taken for it, a bit for each */
	int lane;                 /* asked for ({%}), or -1 */
	char *private_path;       /* of its output: stdout goes there (or into a spool until
	                           * it is sealed), or it is the folder $EBB_OUTPUT */
	char *list_path;          /* of the inputs, for SPEC_LISTED; else NULL */
	struct pump *pump;
	struct guardian_end end;
	struct ledger_attempt rec;
	int run_lane;             /* where it runs, once contract.c has found out */
	int64_t begun_boot_ns;    /* with run_lane */
	int64_t progress_done;    /* as the task says */
	int64_t progress_total;   /* 0: it does not say */
	enum ebb_stop_plan plan;  /* the last that it was told, */
	enum ebb_stop_reason told_reason; /* why, */
	int64_t told_until_ms;    /* and until when */
	int64_t suspect_until_ms; /* until then somebody may tell ebb the same */
	struct ledger_checkpoint from; /* what it begins with; epoch 0: nothing */
	char *folder;             /* $EBB_CHECKPOINT; NULL: none */
	char *own_copy;           /* of the folder, by its last checkpoint */
	char *own_part;           /* what it wrote itself, once private_path is the
	                           * whole; else NULL */
	uint64_t n_saves;
	int64_t ran_ns;           /* its children that have ended; without inside_ns once
	                           * that is judged */
	int64_t inside_ns;        /* of it, the task waited for checkpoints */
	int64_t kept_ns;          /* of it, before its last durable checkpoint */
	int64_t checkpoint_ns;    /* from asking for checkpoints to the answers */
	int account_lane;         /* of account_lend or account_set; -1: none */
	int64_t save_began_ms;
	int64_t save_began_ns;
	int64_t save_ms;          /* what its last checkpoint took; 0: none yet */
	int64_t batch_at;         /* bytes of the shard that batches have processed */
	int64_t batch_size;       /* of private_path after the last good one */
	int64_t batch_ms;         /* what the last one took */
	int64_t batch_cpu_us;     /* of all but the last */
	int64_t first_started_ns; /* the first one */
	int64_t saved_at;         /* batch_at of the last checkpoint */
	bool batch_over;          /* no more will be started */
	bool has_log;             /* a batch has written to stderr */
	bool own_file;            /* stdout went to private_path, not to a spool */
	bool saving;              /* a checkpoint is being made */
	bool end_waits;           /* for it: the attempt has ended */
	bool saved;               /* a checkpoint became durable in this attempt */
	bool stopped;             /* ebb sent it the stop signal, or KILL */
	bool no_retry;
	bool recovered;           /* accepted by an earlier worker: only publish it */
	bool input_changed;
	bool said_full;           /* its stderr speaks of a full disk */
	struct file_version after;
	struct ledger_file *files;/* its output, sealed */
	struct store_sum *previous; /* for each, what was published under its final name
	                           * last; of size -1: nothing */
	bool *in_place;           /* for each: it has its final name */
	size_t n_files;
	enum status step;         /* of the publisher's current step */
	struct error step_error;
	struct shard now;         /* the row after an end */
	uv_work_t job;
};

struct attempt_list {
	struct attempt *first;
	struct attempt *last;
	size_t n;
};

void attempt_push(struct attempt_list *l, struct attempt *a);
struct attempt *attempt_pop(struct attempt_list *l);
/* On the loop's thread: a new one in w->all, with *take_shard moved into it;
 * free takes it out again. */
struct attempt *attempt_create(struct stage *g, struct ledger_shard *take_shard) MUST_USE;
void attempt_free(struct attempt *a);
/* Its output is what it puts into $EBB_OUTPUT. */
bool attempt_fills_folder(const struct attempt *a);
/* Room for the files of its output, without any yet. */
enum status attempt_room(struct attempt *a, size_t n, struct error *e) MUST_USE;
/* Adds one of those; *take_private and a copy of `final` are its names. */
enum status attempt_add_file(struct attempt *a, char **take_private, const char *final,
    const struct store_sum *sum, struct error *e) MUST_USE;
/* Appends its shard's name as people see it, after that of its stage and a colon
 * where there are several. */
void attempt_name(const struct attempt *a, struct buf *out);

/* The words of a stage's command and of its output's name, ready to be filled. */
struct launch {
	const struct spec *spec;
	struct template **words;
	struct template *out;
	bool append_item;         /* the command names no item: put it last */
	bool uses_slot;           /* {%}: start only what has a lane */
	char *program;            /* looked up in PATH; NULL: the item is the program */
};

/* A stage as this worker sees it. On the loop's thread. */
struct stage {
	struct work *w;
	const struct spec *spec;
	int number;               /* in the run, from 0 */
	int64_t id;               /* in the ledger */
	const uint8_t *fingerprint;/* HASH_SIZE bytes */
	int64_t carry_from;       /* stage to take done shards from, or 0 */
	struct launch launch;
	struct planner *planner;
	struct ledger_stage before; /* when this worker began */
	struct ledger_stage last; /* newest look at it */
	size_t open;              /* attempts that are not freed yet */
	int64_t avg_run_us;       /* moving average of attempts' times */
	int64_t claim_at_boot_ms; /* no ready shard before; 0: ask at once */
	bool nothing_ready;       /* the last claim found nothing at all */
	bool plan_wanted;         /* its input is to be read, as soon as may be */
	int64_t seen_below;       /* how far the plan was at the last step */
	bool recovering;          /* accepted output is being looked for */
	bool sealing;             /* under way */
	bool seal_refused;        /* somebody else is at it, by the newest look */
	bool success_seen;        /* some attempt of it was done, ever */
	bool save_seen;           /* some attempt of it here has made a checkpoint */
	struct ledger_past past;  /* of all its workers, when this one began to stop */
	int64_t left_since_boot_ms; /* left to workers that are not warned; 0: not (life.c) */
};

enum { INFLIGHT_MAX = 1024 };

struct work {
	const struct worker_options *opt;
	const struct pipeline *pipeline;
	struct worker_body *body;
	struct ledger_worker me;
	struct stage *stage;
	size_t n_stages;
	struct store *store;
	struct committer *committer;
	struct publisher *publisher;
	struct contract *contract;
	struct account *account;
	struct aside *aside;
	struct resources resources;
	bool special;             /* some stage needs more than a slot */
	struct requests *requests;
	struct drain *drain;
	struct heard *heard;
	bool another_asked;       /* a machine in place of this one */
	unsigned platforms;       /* bits of notice/detect.h */
	FILE *joblog;

	uv_loop_t loop;
	uv_poll_t guardian_poll;
	uv_async_t wake;
	uv_timer_t tick;          /* progress, drains, other workers */
	uv_timer_t claim_timer;   /* when a delayed shard may be claimed */
	uv_signal_t sig[3];

	struct attempt_list ready;/* claimed, not yet sent to the guardian */
	struct attempt *inflight[INFLIGHT_MAX]; /* by id % INFLIGHT_MAX */
	uint64_t next_id;
	size_t restoring;         /* claimed; their folder is being restored */
	size_t sent;              /* at the guardian: waiting or running */
	struct attempt *all;      /* every attempt that is not freed yet */
	size_t open;              /* their number */
	bool claiming;            /* a claim is under way */
	bool lane_taken[SLOTS_MAX];/* by what was sent, when lanes are asked for */
	bool alone;               /* a shard that must run alone is running */
	bool looking;             /* a look at the stages is under way */
	bool look_again;          /* what was asked for meanwhile */
	bool finishing;           /* nothing is in hand, and that was looked at again */

	int stop_level;           /* 0 work, 1 drain, 2 ended by force */
	int64_t stop_boot_ms;     /* when the drain began */
	int64_t grace_ms;         /* what runs may go on for so long after that */
	bool failed_stop;         /* too much failed (on_failed: stop), or too much of it
	                           * only here: what runs may finish, nothing new begins */
	bool stop_now;            /* nobody may finish */
	enum ebb_stop_reason stop_reason;
	enum cause end_cause;     /* of what is ended by a stop */
	bool kill_sent;
	struct attempt_list suspects; /* ended by a signal that was not ours */
	int64_t started_boot_ms;
	int64_t now_failed;       /* seen by this worker */
	int64_t now_done;
	int64_t last_line_ms;
	int64_t awake_ms;         /* the last tick; 0: none yet */
	int64_t woke_ms;          /* after the last long gap between two; 0: never */
	int64_t last_look_ms;
	int64_t next_expiry_ms;   /* of another's lease, by the last look that swept; 0: none */
	bool start_said;
	bool closing;             /* the loop only waits for pool threads now */
	/* life.c: */
	int64_t life_until_boot_ms; /* when the machine's known life ends; 0: not known */
	bool warned;              /* it may be taken away soon */
	int64_t row_life_until_boot_ms; /* these two as the worker's row says */
	bool row_warned;
	bool others_stay;         /* while warned: another worker is neither that nor leaving */
	bool asking_others;
	int64_t oom_kills;        /* wrap_oom_kills at the last look */
	struct worker_result *result;
};

/* stage.c */
/* All stages as one: the sums of their counters. */
void stages_sum(const struct work *w, struct ledger_stage *out);
/* Every stage that it reads from is sealed. */
bool stage_inputs_ready(const struct stage *g);
/* Nobody, this worker included, is still going to add shards to it. */
bool stage_is_planned(const struct stage *g);
/* This worker can read its input: a given list is only the caller's. */
bool stage_can_be_planned(const struct stage *g);
/* How many of its shards may fail for good. */
int64_t stage_allowance(const struct stage *g);
/* More of it has failed for good than may, and that is to end the run. */
bool stage_ends_run(const struct stage *g);
/* By the newest look: sealed, or nothing can be done about it any more. */
bool stage_is_settled(const struct stage *g);
/* By the newest look: whole, but not sealed. */
bool stage_may_be_sealed(const struct stage *g);

/* launch.c: from a claimed shard to a request at the guardian. */
enum status launch_prepare(struct launch *la, const struct spec *spec, struct error *e) MUST_USE;
void launch_release(struct launch *la);
/* Sends the attempt. On an error nothing was started; ST_FENCED: its input is
 * not the one that its checkpoint belongs to. */
enum status launch_attempt(struct work *w, struct attempt *a, struct error *e) MUST_USE;
/* The argument vector for an item, for --dry-run; *out is one line. */
enum status launch_show(const struct launch *la, const struct ledger_shard *s, struct buf *out,
    struct error *e) MUST_USE;

/* present.c: how a shard is put before its command. */
bool present_on_stdin(const struct spec *s);
/* What stands in place of {}: words joined by NUL. May write the list of inputs
 * and, for a shard of everything, reads all of them. */
enum status present_item(struct attempt *a, struct buf *item, struct error *e) MUST_USE;
/* Appends NAME=value. The value is nowhere else, not in *e either. */
enum status present_secret(const struct spec_secret *s, struct buf *out, struct error *e) MUST_USE;

/* pump.c: feeds a child's stdin with what its shard names. */
enum status pump_start(const struct attempt *a, struct pump **out, int *read_fd,
    struct error *e) MUST_USE;
/* After the child has ended. ST_CORRUPT: the file changed or was cut short
 * under way. NULL is ST_OK. */
enum status pump_finish(struct pump *p, struct error *e) MUST_USE;
/* Waits until it is through and says how many bytes of the shard it was to feed;
 * statuses as of pump_finish, which is still to be called. */
enum status pump_wait(struct pump *p, int64_t *fed, struct error *e) MUST_USE;
/* The same, whatever came of it. */
void pump_drop(struct pump *p);

/* wrap.c: everything between a child's end and the ledger, on a pool thread. */
void wrap_classify(struct attempt *a);
/* True if there is work for wrap_run; false: straight to the ledger. */
bool wrap_needed(const struct attempt *a);
void wrap_run(struct attempt *a);
/* What a batch said goes to the log of its attempt. */
void wrap_keep_stderr(struct attempt *a);
/* The kernel's count of out-of-memory kills on this machine since its boot. */
int64_t wrap_oom_kills(void);

/* publish.c */
enum status publisher_start(struct work *w, struct error *e) MUST_USE;
/* Hands over a sealed attempt; publish_done is called for it on the loop. */
void publisher_give(struct publisher *p, struct attempt *a);
/* On the loop's thread: what has been published (or refused) since. */
struct attempt_list publisher_take(struct publisher *p);
/* How many wait for shards before them in the list (-k). What a stop leaves of
 * them is delivered by the next start. */
size_t publisher_held(struct publisher *p);
/* Ends the thread when what was given is through, and what is held and whose
 * turn has come. Records may still be on their
 * way at the committer; destroy it after that has been stopped. NULL is fine. */
void publisher_stop(struct publisher *p);
void publisher_destroy(struct publisher *p);
/* ST_OK while stdout can be written. */
enum status publisher_health(struct publisher *p, struct error *e) MUST_USE;

/* deliver.c: one shard's output to ebb's stdout. */
enum status deliver_output(const char *path, const struct ledger_shard *s, bool tag,
    struct error *e) MUST_USE;

/* plan.c */
enum status planner_start(struct stage *g, struct error *e) MUST_USE;
void planner_stop(struct planner *p); /* NULL is fine */
/* Ordinals under it may be claimed. */
int64_t planner_below(const struct planner *p);
bool planner_done(const struct planner *p, enum status *st, struct error *e);

/* seal.c: writes the manifest on a pool thread and seals the stage; the loop is
 * stepped when it is over. Somebody else may be at it: then nothing happens. */
void seal_begin(struct stage *g);
/* Where the manifest of a stage is. */
enum status seal_manifest_path(const struct state *state, const char *run, const char *stage,
    struct buf *out, struct error *e) MUST_USE;

/* joblog.c: GNU parallel's format. */
enum status joblog_open(struct work *w, struct error *e) MUST_USE;
void joblog_write(struct work *w, const struct attempt *a);

/* resting.c: tells the account what slots without a child are in. */
void resting_step(struct work *w);

/* progress.c */
void progress_start(struct work *w);
void progress_update(struct work *w, bool force);

#endif
