#include "worker/committer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/sys.h"
#include "worker/account.h"

enum {
	PATIENCE_MS = 10000,   /* how long a group is tried again */
	STOP_MARGIN_MS = 5000,
};

struct op_list {
	struct op *first;
	struct op *last;
	int n;
};

struct committer {
	struct committer_options opt;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t work;     /* for the committer's thread */
	pthread_cond_t finished; /* for committer_call */
	struct op_list queue;
	struct op_list done;
	bool urgent;
	bool stop;
	enum status health;
	struct error health_error;
	int64_t next_renew_ns;
	int64_t next_watch_ns;
	uint64_t seen;           /* the ledger's stamp at the last watch */
	bool watched;
};

static void list_push(struct op_list *l, struct op *op)
{
	op->next = NULL;
	if (l->last == NULL)
		l->first = op;
	else
		l->last->next = op;
	l->last = op;
	l->n++;
}

static struct op_list list_take(struct op_list *l)
{
	struct op_list taken = *l;

	memset(l, 0, sizeof(*l));
	return taken;
}

int64_t committer_fence_ns(int64_t sent_boot_ns, int64_t lease_ms)
{
	int64_t margin = lease_ms / 4 < STOP_MARGIN_MS ? lease_ms / 4 : STOP_MARGIN_MS;

	return sent_boot_ns + (lease_ms - margin) * 1000000;
}

static bool worth_waiting(enum status st)
{
	return st == ST_BUSY || st == ST_TRANSIENT || st == ST_FULL;
}

/* One try of a group, in one transaction. */
static enum status try_group(struct committer *c, struct op_list *group, struct error *e)
{
	enum status st = ledger_begin(c->opt.ledger, e);
	struct op *op;

	if (st != ST_OK)
		return st;
	for (op = group->first; op != NULL; op = op->next) {
		op->status = op->exec(c->opt.ledger, op, &op->error);
		/* These leave the whole group without effect: say why at once. */
		if (op->status == ST_FULL || op->status == ST_TRANSIENT ||
		    op->status == ST_CORRUPT || op->status == ST_NO_MEMORY) {
			*e = op->error;
			ledger_rollback(c->opt.ledger);
			return op->status;
		}
	}
	return ledger_commit(c->opt.ledger, e);
}

static void nap(int ms)
{
	(void)poll(NULL, 0, ms);
}

static enum status run_group(struct committer *c, struct op_list *group, struct error *e)
{
	int64_t end = sys_boot_ns() + (int64_t)PATIENCE_MS * 1000000;
	int wait_ms = 20;
	enum status st;
	struct op *op;

	while ((st = try_group(c, group, e)) != ST_OK && worth_waiting(st) &&
	    sys_boot_ns() < end) {
		if (st == ST_BUSY)
			c->opt.blocked(c->opt.ledger, c->opt.arg);
		nap(wait_ms);
		if (wait_ms < 500)
			wait_ms *= 2;
	}
	if (st != ST_OK) {
		for (op = group->first; op != NULL; op = op->next) {
			op->status = st;
			op->error = *e;
		}
	}
	return st;
}

static void set_health(struct committer *c, enum status st, const struct error *e)
{
	(void)pthread_mutex_lock(&c->lock);
	if (c->health == ST_OK) {
		c->health = st;
		c->health_error = *e;
	}
	(void)pthread_mutex_unlock(&c->lock);
	c->opt.wake(c->opt.arg);
}

/* Where the time went is said with the heartbeat, in the same commit. */
static enum status renew_once(struct committer *c, int64_t now_ns, struct error *e)
{
	struct ledger *l = c->opt.ledger;
	int64_t until_ms = now_ns / 1000000 + c->opt.lease_ms;
	enum status st = ledger_begin(l, e);

	if (st != ST_OK)
		return st;
	st = ledger_worker_renew(l, c->opt.worker, until_ms, e);
	if (st == ST_OK && c->opt.account != NULL)
		st = account_record(c->opt.account, l, c->opt.worker, now_ns, e);
	if (st == ST_OK)
		return ledger_commit(l, e);
	ledger_rollback(l);
	return st;
}

static void renew_lease(struct committer *c)
{
	int64_t now = sys_boot_ns();
	struct error e;
	enum status st = renew_once(c, now, &e);

	if (st == ST_OK) {
		slots_fence_set(c->opt.slots, committer_fence_ns(now, c->opt.lease_ms));
		c->next_renew_ns = now + c->opt.lease_ms * 1000000 / 3;
	} else if (worth_waiting(st) && now < slots_fence_get(c->opt.slots)) {
		if (st == ST_BUSY)
			c->opt.blocked(c->opt.ledger, c->opt.arg);
		c->next_renew_ns = now + c->opt.lease_ms * 1000000 / 20;
	} else {
		set_health(c, st, &e);
		c->next_renew_ns = now + c->opt.lease_ms * 1000000;
	}
}

/* What others have committed, a few times a second: asking costs some
 * microseconds. A failure shows elsewhere, or not next time. */
static void watch(struct committer *c)
{
	int64_t now = sys_boot_ns();
	struct error e;
	uint64_t stamp;

	if (now < c->next_watch_ns)
		return;
	c->next_watch_ns = now + (int64_t)COMMITTER_WATCH_MS * 1000000;
	if (ledger_changes(c->opt.ledger, &stamp, &e) != ST_OK ||
	    (c->watched && stamp == c->seen))
		return;
	c->watched = true;
	c->seen = stamp;
	c->opt.watch(c->opt.ledger, c->opt.arg);
}

static void wait_until(struct committer *c, int64_t boot_ns)
{
	int64_t left = boot_ns - sys_boot_ns();
	struct timespec ts;

	if (left <= 0)
		return;
	/* The condition waits on CLOCK_MONOTONIC, which may stand still during a
	 * suspend; leases are looked at anew after each wake-up. */
	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += left / 1000000000;
	ts.tv_nsec += left % 1000000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_nsec -= 1000000000;
		ts.tv_sec++;
	}
	(void)pthread_cond_timedwait(&c->work, &c->lock, &ts);
}

/* With the lock held: waits until a group is worth committing. */
static void gather(struct committer *c)
{
	while (!c->stop && sys_boot_ns() < c->next_renew_ns) {
		if (c->queue.n == 0) {
			if (sys_boot_ns() >= c->next_watch_ns)
				return;
			wait_until(c, c->next_watch_ns < c->next_renew_ns ? c->next_watch_ns
			    : c->next_renew_ns);
			continue;
		}
		if (c->urgent || c->queue.n >= COMMITTER_GROUP_MAX)
			return;
		if (sys_boot_ns() - c->queue.first->queued_ns >= COMMITTER_GATHER_MS * 1000000)
			return;
		wait_until(c, c->queue.first->queued_ns + COMMITTER_GATHER_MS * 1000000);
	}
}

static void deliver(struct committer *c, struct op_list *group)
{
	struct op *op = group->first;

	(void)pthread_mutex_lock(&c->lock);
	while (op != NULL) {
		struct op *next = op->next;

		if (op->sync)
			op->sync = false;
		else
			list_push(&c->done, op);
		op = next;
	}
	(void)pthread_cond_broadcast(&c->finished);
	(void)pthread_mutex_unlock(&c->lock);
	c->opt.wake(c->opt.arg);
}

static void *committer_thread(void *arg)
{
	struct committer *c = arg;

	for (;;) {
		struct op_list group;
		struct error e;
		enum status st;
		bool stop;

		(void)pthread_mutex_lock(&c->lock);
		gather(c);
		group = list_take(&c->queue);
		c->urgent = false;
		stop = c->stop;
		(void)pthread_mutex_unlock(&c->lock);
		if (!stop && sys_boot_ns() >= c->next_renew_ns)
			renew_lease(c);
		if (group.n > 0) {
			st = run_group(c, &group, &e);
			if (st != ST_OK)
				set_health(c, st, &e);
			deliver(c, &group);
		} else if (stop) {
			return NULL;
		}
		if (!stop)
			watch(c);
	}
}

enum status committer_start(const struct committer_options *opt, struct committer **out,
    struct error *e)
{
	struct committer *c = mem_zero(sizeof(*c));
	pthread_condattr_t attr;
	int r;

	if (c == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	c->opt = *opt;
	(void)pthread_mutex_init(&c->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&c->work, &attr);
	(void)pthread_cond_init(&c->finished, &attr);
	(void)pthread_condattr_destroy(&attr);
	renew_lease(c);
	r = pthread_create(&c->thread, NULL, committer_thread, c);
	if (r != 0) {
		free(c);
		return error_os(e, r, "cannot start a thread");
	}
	*out = c;
	return ST_OK;
}

static void enqueue(struct committer *c, struct op *op)
{
	op->status = ST_OK;
	op->queued_ns = sys_boot_ns();
	(void)pthread_mutex_lock(&c->lock);
	list_push(&c->queue, op);
	if (op->urgent)
		c->urgent = true;
	if (op->urgent || c->queue.n == 1 || c->queue.n >= COMMITTER_GROUP_MAX)
		(void)pthread_cond_signal(&c->work);
	(void)pthread_mutex_unlock(&c->lock);
}

void committer_submit(struct committer *c, struct op *op)
{
	op->sync = false;
	enqueue(c, op);
}

enum status committer_call(struct committer *c, struct op *op)
{
	op->sync = true;
	op->urgent = true;
	enqueue(c, op);
	(void)pthread_mutex_lock(&c->lock);
	while (op->sync)
		(void)pthread_cond_wait(&c->finished, &c->lock);
	(void)pthread_mutex_unlock(&c->lock);
	return op->status;
}

void committer_dispatch(struct committer *c)
{
	struct op_list done;
	struct op *op;

	(void)pthread_mutex_lock(&c->lock);
	done = list_take(&c->done);
	(void)pthread_mutex_unlock(&c->lock);
	op = done.first;
	while (op != NULL) {
		struct op *next = op->next;

		op->done(op);
		op = next;
	}
}

enum status committer_health(struct committer *c, struct error *e)
{
	enum status st;

	(void)pthread_mutex_lock(&c->lock);
	st = c->health;
	if (st != ST_OK && e != NULL)
		*e = c->health_error;
	(void)pthread_mutex_unlock(&c->lock);
	return st;
}

void committer_stop(struct committer *c)
{
	(void)pthread_mutex_lock(&c->lock);
	c->stop = true;
	(void)pthread_cond_signal(&c->work);
	(void)pthread_mutex_unlock(&c->lock);
	(void)pthread_join(c->thread, NULL);
}

void committer_destroy(struct committer *c)
{
	if (c == NULL)
		return;
	(void)pthread_mutex_destroy(&c->lock);
	(void)pthread_cond_destroy(&c->work);
	(void)pthread_cond_destroy(&c->finished);
	free(c);
}
