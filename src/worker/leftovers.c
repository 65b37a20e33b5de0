/* Ending what a dead worker left behind, by its slot table. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"
#include "worker/procs.h"
#include "worker/slots.h"

enum { START_SLACK_MS = 30, HUNT_LIMIT_MS = 2000, HUNT_PAUSE_MS = 5 };

#define MS_NS INT64_C(1000000)

struct hunt {
	struct slots *slots;
	struct pid_list groups; /* whose leader is still the one that was started */
	struct pid_list ended;
	int32_t alive; /* one that was still there in the last round, or 0 */
};

static bool leader_is_same(const struct slot *slot)
{
	struct proc_stat st;
	int64_t diff;

	if (slot->pgid <= 1 || slot->pgid == getpgrp())
		return false;
	if (!proc_stat_read(slot->pgid, &st) || st.state == 'Z' || st.pgrp != slot->pgid)
		return false;
	diff = st.start_boot_ns - slot->started_boot_ns;
	return diff >= -START_SLACK_MS * MS_NS && diff <= START_SLACK_MS * MS_NS;
}

static bool find_groups(struct hunt *h)
{
	int i;

	h->groups.n = 0;
	for (i = 0; i < slots_count(h->slots); i++) {
		const struct slot *slot = slots_at(h->slots, i);

		if (__atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) == SLOT_FREE ||
		    !leader_is_same(slot))
			continue;
		if (!pid_list_add(&h->groups, slot->pgid))
			return false;
	}
	return true;
}

static bool is_leftover(const struct hunt *h, int32_t pid)
{
	struct proc_stat st;
	struct task_tag tag;

	if (pid == getpid() || !proc_stat_read(pid, &st) || st.state == 'Z' || st.state == 'X')
		return false;
	return pid_list_has(&h->groups, st.pgrp) ||
	    proc_owner_read(pid, slots_token(h->slots), &tag) == PROC_OURS;
}

/* False when there is no memory. */
static bool hunt_round(struct hunt *h)
{
	struct pid_list all = {0};
	struct pid_list found = {0};
	bool ok = find_groups(h) && proc_all(&all);
	size_t i;

	for (i = 0; ok && i < all.n; i++) {
		if (!is_leftover(h, all.pids[i]))
			continue;
		ok = pid_list_add(&found, all.pids[i]);
		if (ok && !pid_list_has(&h->ended, all.pids[i]))
			ok = pid_list_add(&h->ended, all.pids[i]);
	}
	/* Groups first: no member can fork its way out of that. */
	for (i = 0; i < h->groups.n; i++)
		(void)kill(-h->groups.pids[i], SIGKILL);
	for (i = 0; i < found.n; i++)
		(void)kill(found.pids[i], SIGKILL);
	h->alive = found.n > 0 ? found.pids[0] : 0;
	pid_list_free(&all);
	pid_list_free(&found);
	return ok;
}

enum status slots_end_leftovers(struct slots *s, int *ended, struct error *e)
{
	static const struct timespec pause = {.tv_nsec = HUNT_PAUSE_MS * MS_NS};
	struct hunt h = {.slots = s};
	int64_t until = sys_boot_ns() + HUNT_LIMIT_MS * MS_NS;
	enum status st = ST_OK;

	*ended = 0;
	if (!slots_of_this_boot(s))
		return ST_OK;
	for (;;) {
		if (!hunt_round(&h)) {
			st = error_set(e, ST_NO_MEMORY, "out of memory");
			break;
		}
		if (h.alive == 0)
			break;
		if (sys_boot_ns() > until) {
			st = error_set(e, ST_BUSY, "process %d of an earlier worker does not end",
			    h.alive);
			break;
		}
		(void)nanosleep(&pause, NULL);
	}
	*ended = (int)h.ended.n;
	pid_list_free(&h.groups);
	pid_list_free(&h.ended);
	return st;
}
