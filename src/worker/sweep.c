#include "worker/sweep.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"
#include "worker/procs.h"
#include "worker/slots.h"

enum { WORKERS_MAX = 1024 };

static bool had_started(void *arg, int64_t row, int64_t epoch)
{
	struct slots *s = arg;

	/* Without a table nobody knows: it counts as started. */
	return s == NULL || slots_had_started(s, row, epoch);
}

static bool this_boot(const struct ledger_worker *w, struct error *e)
{
	char boot[37];

	return sys_boot_id(boot, e) == ST_OK && strcmp(boot, w->boot_id) == 0;
}

/* Ends a frozen holder. SIGKILL works on a stopped process too. */
static bool end_holder(const struct ledger_worker *w)
{
	struct proc_stat now;

	if (!proc_stat_read(w->pid, &now) || (uint64_t)now.start_boot_ns != w->start_ticks)
		return false;
	log_line(LOG_WARN, "worker %.8s (pid %d) has not renewed its lease; ending it", w->name,
	    w->pid);
	return kill(w->pid, SIGKILL) == 0;
}

static bool is_expired(const struct ledger_worker *w, struct error *e)
{
	return this_boot(w, e) && sys_boot_ns() / 1000000 > w->lease_until_boot_ms;
}

static enum status bury(struct state *state, struct ledger *l, const struct ledger_worker *w,
    const struct retry_policy *policy, int64_t *lost, struct error *e)
{
	struct slots *slots = NULL;
	struct buf path = {0};
	struct error se;
	char lock[80];
	int ended = 0;
	enum status st;

	state_path(state, &path, "workers/%s/slots", w->name);
	st = buf_check(&path, e);
	if (st != ST_OK)
		return st;
	if (slots_open(path.data, &slots, &se) == ST_OK && this_boot(w, &se)) {
		st = slots_end_leftovers(slots, &ended, e);
		if (ended > 0)
			log_line(LOG_INFO, "ended %d processes that a worker left", ended);
	}
	if (st == ST_OK)
		st = ledger_worker_end(l, w->id, CAUSE_LOST, policy, had_started, slots, lost, e);
	slots_close(slots);
	if (st == ST_OK) {
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
    const struct retry_policy *policy, int64_t *lost, struct error *e)
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
		if (!dead && is_expired(w, &ignored) && end_holder(w))
			dead = lock_becomes_free(state, lock);
		if (dead)
			st = bury(state, l, w, policy, &its_lost, e);
		*lost += its_lost;
	}
	free(list);
	return st;
}

bool sweep_end_frozen(struct ledger *l, int64_t run, struct error *e)
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
		if (is_expired(&list[i], e) && end_holder(&list[i]))
			killed = true;
	}
	free(list);
	return killed;
}
