/* The committer: the one thread that talks to the ledger. Operations are
 * queued from any thread; what gathers while a commit is under way becomes the
 * next group, one durable step. It also renews the worker's lease and moves
 * the guardian's fence with it. */
#ifndef EBB_WORKER_COMMITTER_H
#define EBB_WORKER_COMMITTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "ledger/ledger.h"
#include "worker/slots.h"

struct account;
struct committer;

/* An operation, embedded as the first member of the caller's own structure.
 * `exec` makes ledger calls and keeps their results in that structure; it may
 * be run again when its group could not be committed, so it must begin by
 * dropping what an earlier run left there. After the commit `status` is its
 * answer, or the commit's error. `done` is then called on the loop's thread
 * (committer_dispatch). */
struct op {
	enum status (*exec)(struct ledger *l, struct op *op, struct error *e);
	void (*done)(struct op *op);
	bool urgent;      /* do not wait for more to come */
	/* the committer's: */
	enum status status;
	struct error error;
	struct op *next;
	bool sync;
	int64_t queued_ns;
};

struct committer_options {
	struct ledger *ledger;     /* the committer's until it is stopped */
	int64_t worker;            /* whose lease to renew */
	int64_t lease_ms;
	struct slots *slots;       /* for the fence */
	struct account *account;   /* recorded with each renewal; NULL: none */
	/* Called on the committer's thread when operations are done, or when it
	 * has failed: wake the loop. */
	void (*wake)(void *arg);
	/* Called on the committer's thread, outside of any group, at the start and
	 * then within COMMITTER_WATCH_MS of what others have committed: to read. */
	void (*watch)(struct ledger *l, void *arg);
	/* Called on the committer's thread when others keep it from writing. */
	void (*blocked)(struct ledger *l, void *arg);
	void *arg;
};

enum { COMMITTER_GROUP_MAX = 64, COMMITTER_GATHER_MS = 20, COMMITTER_WATCH_MS = 25 };

enum status committer_start(const struct committer_options *opt, struct committer **out,
    struct error *e) MUST_USE;
/* Queues; the operation stays the caller's and must live until `done`. */
void committer_submit(struct committer *c, struct op *op);
/* Queues, waits until it is committed, and returns its status; not for the
 * loop's thread. *op needs only `exec`. */
enum status committer_call(struct committer *c, struct op *op) MUST_USE;
/* On the loop's thread: calls `done` of what has been committed. */
void committer_dispatch(struct committer *c);
/* ST_OK while all is well, and never again after that. ST_FENCED: the lease was
 * taken over. Otherwise a group could not be committed, for longer than the
 * committer was ready to wait: its operations have that status. Later ones are
 * still tried. */
enum status committer_health(struct committer *c, struct error *e) MUST_USE;
/* Finishes what is queued, ends the thread. Call committer_dispatch once more
 * after it, then committer_destroy. */
void committer_stop(struct committer *c);
void committer_destroy(struct committer *c); /* NULL is fine */

/* The fence for a lease that was sent at boot_ns: lease minus stop margin
 * (5 s, or a quarter of a shorter lease). */
int64_t committer_fence_ns(int64_t sent_boot_ns, int64_t lease_ms);

#endif
