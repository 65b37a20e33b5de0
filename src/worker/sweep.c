#include "worker/sweep.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"
#include "worker/account.h"
#include "worker/cgroup.h"
#include "worker/procs.h"
#include "worker/slots.h"

enum { WORKERS_MAX = 1024, WAKE_MS = 500 };

/* What the slot table of a dead worker tells about its attempts. */
struct remains {
	struct slots *slots;     /* NULL: nobody knows; it counts as started */
	int64_t until_boot_ns;   /* it was alive at most until then */
};

static int64_t ran_ms(void *arg, int64_t row, int64_t epoch)
{
	const struct remains *r = arg;
	int64_t ns;

	if (r->slots == NULL)
		return 0;
	ns = slots_ran_ns(r->slots, row, epoch, r->until_boot_ns);
	return ns < 0 ? -1 : ns / 1000000;
}

static bool this_boot(const struct ledger_worker *w, struct error *e)
{
	char boot[37];

	return sys_boot_id(boot, e) == ST_OK && strcmp(boot, w->boot_id) == 0;
}

static bool is_it(const struct ledger_worker *w)
{
	struct proc_stat now;

	return proc_stat_read(w->pid, &now) && (uint64_t)now.start_boot_ns == w->start_ticks;
}

/* A guardian that was stopped as well cannot do its duty until it goes on; its
 * worker is dead then, so that it ends the children and itself. */
static bool wake_guardian(struct state *state, const struct ledger_worker *w)
{
	struct slots *slots = NULL;
	struct buf path = {0};
	struct error e;
	bool woken = false;

	state_path(state, &path, "workers/%s/slots", w->name);
	if (!path.failed && slots_open(path.data, &slots, &e) == ST_OK) {
		int32_t pid = slots_guardian_pid(slots);
		struct proc_stat now;

		/* It was forked by the worker, hence not before it. */
		woken = pid > 0 && proc_stat_read(pid, &now) && now.state == 'T' &&
		    (uint64_t)now.start_boot_ns >= w->start_ticks && kill(pid, SIGCONT) == 0;
	}
	slots_close(slots);
	buf_free(&path);
	return woken;
}

/* Ends a frozen holder. SIGKILL works on a stopped process too. */
static bool end_holder(struct state *state, const struct ledger_worker *w)
{
	bool killed;

	if (!is_it(w))
		return wake_guardian(state, w);
	log_line(LOG_WARN, "worker %.8s (pid %d) has not renewed its lease; ending it", w->name,
	    w->pid);
	killed = kill(w->pid, SIGKILL) == 0;
	(void)wake_guardian(state, w);
	return killed;
}

static bool is_expired(const struct ledger_worker *w, struct error *e)
{
	return this_boot(w, e) && sys_boot_ns() / 1000000 > w->lease_until_boot_ms;
}

static bool is_stopped(const struct ledger_worker *w)
{
	struct proc_stat now;

	return proc_stat_read(w->pid, &now) && (now.state == 'T' || now.state == 't');
}

/* The machine may have slept just now, and then every lease has run out: one whose
 * worker is not stopped gets a moment to be renewed in. */
static bool stays_expired(struct ledger *l, const struct ledger_worker *w)
{
	int64_t end = sys_boot_ns() + (int64_t)WAKE_MS * 1000000;
	struct ledger_worker now = *w;
	struct error e;

	while (is_expired(&now, &e)) {
		if (is_stopped(w) || sys_boot_ns() >= end)
			return true;
		(void)poll(NULL, 0, 20);
		if (ledger_worker_get(l, w->id, &now, &e) != ST_OK)
			return false;
	}
	return false;
}

/* Its end and the line about it, at once. Somebody else may have been faster. The
 * time first: said twice it is the same, and a worker that has ended is not buried
 * again. */
static enum status end_in_ledger(struct ledger *l, const struct ledger_worker *w,
    const struct pipeline *p, struct remains *left, int64_t *lost, struct error *e)
{
	struct ledger_event ev = {.worker = w->id, .kind = "takeover"};
	bool own = !ledger_in_group(l);
	struct ledger_worker now;
	enum status st = own ? ledger_begin(l, e) : ST_OK;

	if (st != ST_OK)
		return st;
	st = ledger_worker_get(l, w->id, &now, e);
	if (st == ST_OK && !now.gone && left->slots != NULL) {
		left->until_boot_ns = account_last_ns(left->slots);
		st = account_bury(left->slots, l, w->id, now.present_ms, e);
	}
	if (st == ST_OK && !now.gone) {
		const struct retry_policy *policies[PIPELINE_STAGES_MAX];
		const struct ledger_burial how = {.cause = CAUSE_LOST, .policy = policies,
		    .n_policies = pipeline_policies(p, policies), .ran_ms = ran_ms, .arg = left};

		st = ledger_worker_end(l, w->id, &how, lost, e);
		(void)snprintf(ev.text, sizeof(ev.text), "w%d (pid %d) is gone: %lld attempt%s "
		    "lost", w->number, w->pid, (long long)*lost, *lost == 1 ? "" : "s");
		if (st == ST_OK)
			st = ledger_event_add(l, w->run, &ev, e);
	}
	if (own && st == ST_OK)
		st = ledger_commit(l, e);
	else if (own)
		ledger_rollback(l);
	return st;
}

static enum status bury(struct state *state, struct ledger *l, const struct ledger_worker *w,
    const struct pipeline *p, int64_t *lost, struct error *e)
{
	struct remains left = {NULL, 0};
	struct buf path = {0};
	struct error se;
	char lock[80];
	int ended = 0;
	enum status st;

	state_path(state, &path, "workers/%s/slots", w->name);
	st = buf_check(&path, e);
	if (st != ST_OK)
		return st;
	if (slots_open(path.data, &left.slots, &se) == ST_OK && this_boot(w, &se)) {
		st = slots_end_leftovers(left.slots, &ended, e);
		if (ended > 0)
			log_line(LOG_INFO, "ended %d processes that a worker left", ended);
	}
	if (st == ST_OK)
		st = end_in_ledger(l, w, p, &left, lost, e);
	slots_close(left.slots);
	if (st == ST_OK) {
		state_path(state, &path, "workers/%s/cgroup", w->name);
		if (!path.failed && this_boot(w, &se))
			cgroup_remove(path.data);
		state_path(state, &path, "workers/%s", w->name);
		if (buf_check(&path, &se) != ST_OK || file_remove_tree(path.data, &se) != ST_OK)
			log_line(LOG_WARN, "%s", se.text);
		(void)snprintf(lock, sizeof(lock), "worker-%s", w->name);
		state_lock_remove(state, lock);
	}
	buf_free(&path);
	return st;
}

/* Waits for the guardian of a worker that was just killed: it holds the lock
 * until the last child is gone. */
static bool lock_becomes_free(struct state *state, const char *lock)
{
	struct error e;
	int fd;

	if (state_lock_wait(state, lock, 3000, &fd, &e) != ST_OK)
		return false;
	(void)sys_close(fd);
	return true;
}

enum status sweep_workers(struct state *state, struct ledger *l, int64_t run, int64_t but_worker,
    const struct pipeline *p, bool just_woken, int64_t *lost, struct error *e)
{
	struct ledger_worker *list = mem_zero(WORKERS_MAX * sizeof(*list));
	size_t n = 0;
	size_t i;
	enum status st;

	*lost = 0;
	if (list == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = ledger_workers(l, run, list, WORKERS_MAX, &n, e);
	for (i = 0; st == ST_OK && i < n; i++) {
		const struct ledger_worker *w = &list[i];
		struct error ignored;
		char lock[80];
		int64_t its_lost = 0;
		bool dead;

		if (w->id == but_worker)
			continue;
		(void)snprintf(lock, sizeof(lock), "worker-%s", w->name);
		dead = !this_boot(w, &ignored) || state_lock_is_free(state, lock);
		/* Within a group others would wait too: it is buried next time. */
		if (!dead && (ledger_in_group(l) ? is_expired(w, &ignored) &&
		    (!just_woken || is_stopped(w)) : stays_expired(l, w)) && end_holder(state, w))
			dead = !ledger_in_group(l) && lock_becomes_free(state, lock);
		if (dead)
			st = bury(state, l, w, p, &its_lost, e);
		*lost += its_lost;
	}
	free(list);
	return st;
}

enum status sweep_next_expiry(struct ledger *l, int64_t run, int64_t but_worker,
    int64_t *boot_ms, struct error *e)
{
	struct ledger_worker *list = mem_zero(WORKERS_MAX * sizeof(*list));
	int64_t now = sys_boot_ns() / 1000000;
	size_t n = 0;
	size_t i;
	enum status st;

	*boot_ms = 0;
	if (list == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = ledger_workers(l, run, list, WORKERS_MAX, &n, e);
	for (i = 0; st == ST_OK && i < n; i++) {
		int64_t until = list[i].lease_until_boot_ms > now ? list[i].lease_until_boot_ms : now;

		if (list[i].id != but_worker && (*boot_ms == 0 || until < *boot_ms))
			*boot_ms = until;
	}
	free(list);
	return st;
}

void sweep_end_blocker(struct state *state, struct ledger *l)
{
	struct ledger_worker *list = mem_zero(WORKERS_MAX * sizeof(*list));
	struct error e;
	int32_t pid = 0;
	size_t n = 0;
	size_t i;

	if (list != NULL && ledger_lock_holder(l, &pid, &e) == ST_OK &&
	    ledger_workers(l, 0, list, WORKERS_MAX, &n, &e) == ST_OK) {
		for (i = 0; i < n; i++) {
			if (pid != (int32_t)getpid() && list[i].pid == pid &&
			    stays_expired(l, &list[i]))
				(void)end_holder(state, &list[i]);
		}
	}
	free(list);
}

void sweep_name_workers(struct ledger *l, int64_t run, struct buf *out)
{
	struct ledger_worker list[8];
	struct error e;
	size_t n = 0;
	size_t i;

	if (ledger_workers(l, run, list, 8, &n, &e) != ST_OK)
		return;
	for (i = 0; i < n; i++) {
		if (is_it(&list[i]))
			buf_printf(out, "%s%d", out->len == 0 ? "pid " : ", ", list[i].pid);
	}
}

bool sweep_end_frozen(struct state *state, struct ledger *l, int64_t run, struct error *e)
{
	struct ledger_worker *list = mem_zero(WORKERS_MAX * sizeof(*list));
	bool killed = false;
	size_t n = 0;
	size_t i;

	if (list == NULL || ledger_workers(l, run, list, WORKERS_MAX, &n, e) != ST_OK) {
		free(list);
		return false;
	}
	for (i = 0; i < n; i++) {
		if (stays_expired(l, &list[i]) && end_holder(state, &list[i]))
			killed = true;
	}
	free(list);
	return killed;
}
