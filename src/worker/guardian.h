/* The guardian: a small process beside the worker that starts its children,
 * waits for them, and outlives the worker for as long as any of them is there.
 *
 * It is forked from the worker before any thread or database exists, in a
 * session of its own, so that signals meant for the worker's process group
 * pass it by. It is the children's parent and the subreaper of all of their
 * descendants:
 * - worker killed, or gone for whatever reason: all descendants are killed
 *   (SIGKILL, until there is none), then it exits, which releases the worker's
 *   lock (it shares the open file description);
 * - guardian killed: direct children die by PDEATHSIG; the worker is a subreaper
 *   too and ends the rest with guardian_end_orphans;
 * - worker frozen past its lease: the guardian ends all children at the fence
 *   (slots_fence_get) and tells so when the worker wakes.
 *
 * One child is one spawn: a process group of its own, PDEATHSIG SIGKILL, default
 * signal dispositions, empty signal mask, no descriptor but 0, 1 and 2, the
 * environment of the worker plus the request's. Started by one audited
 * clone(CLONE_VM|CLONE_VFORK) from the guardian's only thread.
 *
 * When the leader ends, whatever is left of its group is killed, and so is every
 * adopted descendant whose environment carries the same EBB_WORKER, EBB_SHARD_ROW
 * and EBB_EPOCH: when the end is reported nobody can write to the attempt's
 * files any more.
 *
 * Several requests may wait in the guardian's queue: it keeps at most
 * `lanes` children running and starts the next one at once when one ends,
 * without asking the worker. */
#ifndef EBB_WORKER_GUARDIAN_H
#define EBB_WORKER_GUARDIAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "model/spec.h"
#include "worker/cgroup.h"
#include "worker/slots.h"

struct guardian; /* the worker's handle */

struct guardian_options {
	int lanes;              /* children at the same time: 1..SLOTS_MAX */
	struct slots *slots;    /* of at least `lanes` slots; entry i is lane i */
	const char *spool_dir;  /* exists; for the outputs of children */
	const char *control_dir;/* exists, absolute; for the control pages, which the
	                         * guardian makes and resets; NULL: none */
	const char *scratch_dir;/* exists, absolute; a folder a lane is made in it for
	                         * each child; NULL: none */
	const char *cgroup_note;/* of cgroup_open, read when a child asks for memory;
	                         * NULL: none does */
	int64_t err_cap;        /* bytes of a stderr file that are kept, head and
	                         * tail; the middle is freed while it runs */
	const int *keep_fds;    /* the worker's locks, each above 2: the guardian */
	int n_keep_fds;         /* keeps them open until its last child is gone */
};

/* Forks the guardian and waits until it is ready. Call from the main thread,
 * before any other thread. The worker becomes a subreaper; SIGCHLD is left
 * alone in it. Nothing of *opt is needed afterwards but the slots. */
enum status guardian_start(const struct guardian_options *opt, struct guardian **out,
    struct error *e) MUST_USE;

/* A request. Everything is copied; total size of the strings is limited to 4 MiB. */
struct guardian_spawn {
	int64_t row;            /* with epoch: copied into the slot table */
	int64_t epoch;
	uint64_t id;            /* the caller's own, comes back with the end */
	const char *path;       /* of the program, already looked up in PATH */
	const char *const *argv;/* NULL-terminated, argv[0] as the user wrote it */
	const char *const *env; /* NULL-terminated "NAME=value" to add or replace;
	                         * what a lane decides (EBB_WORKER, EBB_SHARD_ROW,
	                         * EBB_EPOCH, EBB_SLOT from 0, EBB_CONTROL,
	                         * EBB_NOTICE_FILE, EBB_SCRATCH, EBB_DEADLINE) is added
	                         * by the guardian itself, and EBB_WORKER_OUTER inside
	                         * another ebb */
	int stdin_fd;           /* -1: /dev/null; else handed over (the worker's
	                         * copy is closed by guardian_send when it succeeds).
	                         * The guardian holds it while the request waits, so
	                         * many of those are limited by its open files:
	                         * GUARDIAN_SETUP_FAILED with EMFILE beyond that */
	const char *stdout_path;/* a name of this attempt alone: what is there is
	                         * unlinked, then it is created, 0666 & ~umask.
	                         * Removed again when the child cannot be started.
	                         * NULL: a spool file of the guardian's own */
	int lane;               /* to run in, from 0, where the caller knows that it
	                         * is free; -1: any */
	int64_t timeout_ms;     /* TERM to the group after so long, KILL 5 s after
	                         * that; 0: none. Measured from the start on
	                         * CLOCK_MONOTONIC */
	int64_t memory;         /* bytes that it may use, where that can be enforced
	                         * (cgroup.h); 0: not limited */
	bool append;            /* stdout_path is there and goes on */
	bool one_log;           /* stdout_path is NULL: stdout goes where stderr does */
	int64_t offset;         /* where it begins: $EBB_OFFSET and the page */
	int stage;              /* for the slot table: below SLOTS_STAGES */
	int64_t ran_ns;         /* likewise: what it ran before, in other children */
};

/* Queues a request; never blocks for long (the guardian always reads).
 * ST_PERMANENT when the guardian is gone. */
enum status guardian_send(struct guardian *g, const struct guardian_spawn *req,
    struct error *e) MUST_USE;
/* Signals the group of a running request, or drops a waiting one (its end then
 * says GUARDIAN_NOT_STARTED). An id that has ended is ignored. */
enum status guardian_kill(struct guardian *g, uint64_t id, int sig, struct error *e) MUST_USE;
/* The stop signal of a running request, to whom its stage says. */
enum status guardian_stop_task(struct guardian *g, uint64_t id, int sig, enum spec_stop_to to,
    struct error *e) MUST_USE;
/* Drops all waiting requests and, with sig > 0, signals every running group. */
enum status guardian_kill_all(struct guardian *g, int sig, struct error *e) MUST_USE;

enum guardian_fate {
	GUARDIAN_EXITED,      /* exit_code, or exit_signal */
	GUARDIAN_NOT_STARTED, /* dropped from the queue */
	GUARDIAN_EXEC_FAILED, /* os_errno says why; nothing ran */
	GUARDIAN_SETUP_FAILED,/* os_errno: no process, no output file, ... and nothing
	                       * ran; with lane >= 0 it ran, but its output could not
	                       * be put under its name */
};

/* How a request ended. Fixed size; comes through the descriptor. */
struct guardian_end {
	uint64_t id;
	int32_t fate;         /* enum guardian_fate */
	int32_t lane;         /* 0-based; -1 when it never started */
	int32_t exit_code;    /* -1 when ended by a signal or never started */
	int32_t exit_signal;
	int32_t os_errno;
	bool timed_out;       /* the time-out's TERM or KILL was sent */
	bool fenced;          /* ended, or dropped, because the worker's fence had
	                       * passed */
	bool leftovers;       /* descendants had to be killed at the end */
	bool task_done;       /* the task said so on its page */
	uint32_t trash;       /* what it left in its scratch folder is in
	                       * <scratch_dir>/trash.<number>, for the worker to
	                       * remove; 0: nothing */
	int64_t started_boot_ns;
	int64_t ended_boot_ns;
	int64_t cpu_us;
	int64_t max_rss_kib;
	struct cgroup_use memory;
	int64_t out_bytes;    /* size of stdout's file */
	int64_t err_bytes;    /* bytes written to stderr (before the cap) */
	/* When there is output in the guardian's own spool (stdout_path was NULL
	 * and out_bytes > 0; err_bytes > 0) it is in files named
	 * <spool_dir>/<id>.out and <spool_dir>/<id>.err (id in decimal), which are the
	 * worker's from now on. No output leaves no file. A capped .err file is
	 * its head, a line that says how much is missing, and its tail. */
};

/* Descriptor to poll for reading; never blocks. */
int guardian_fd(const struct guardian *g);
/* Takes the ends that have arrived, at most max. *n 0 when there are none.
 * ST_PERMANENT when the guardian has gone: its children are dying, call
 * guardian_end_orphans and stop. */
enum status guardian_receive(struct guardian *g, struct guardian_end *out, size_t max, size_t *n,
    struct error *e) MUST_USE;

int32_t guardian_pid(const struct guardian *g);

/* After the guardian has died: kills and reaps what came to this process as
 * its subreaper, until there is none, 2 s at most. Children that this process
 * had before guardian_start or started itself in its own session are not
 * touched. Ends the guardian too, should it still be there. */
void guardian_end_orphans(struct guardian *g);

/* Kills what still runs, waits for the guardian to leave (10 s at most when a
 * process cannot be killed), frees. Also right after the guardian has died,
 * then with guardian_end_orphans. NULL is fine. */
void guardian_stop(struct guardian *g);

/* Looks a command up as execvp would: *path is a new string, freed by the
 * caller. ST_NOT_FOUND (say what was looked for and where) or ST_DENIED. */
enum status guardian_find_program(const char *name, char **path, struct error *e) MUST_USE;

#endif
