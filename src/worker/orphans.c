#include "worker/orphans.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"

/* How long a child without an environment may be in the midst of its exec. */
#define EMPTY_NS (INT64_C(30) * 1000000)
enum { TREE_MAX = 65536 };

struct orphan {
	int32_t pid;
	enum proc_owner owner;
	int64_t seen_ns; /* first */
	struct task_tag tag;
};

/* One that was sent SIGKILL, child or not, and may not have died yet: that
 * can take a while when it has much memory. */
struct killed {
	int32_t pid;
	struct task_tag tag;
};

struct orphans {
	const char *token;
	struct orphans_view view;
	struct proc_kids *kids;
	struct pid_list list;
	struct pid_list tree;
	struct orphan *now; /* as of the last sweep */
	size_t n;
	size_t cap;
	struct orphan *before;
	size_t n_before;
	size_t cap_before;
	struct killed *killed;
	size_t n_killed;
	size_t cap_killed;
	bool undecided; /* one may belong to anybody yet */
	bool foreign;
};

struct orphans *orphans_create(const char *token, const struct orphans_view *view)
{
	struct orphans *o = mem_zero(sizeof(*o));

	if (o == NULL)
		return NULL;
	o->token = token;
	o->view = *view;
	o->kids = proc_kids_create();
	if (o->kids == NULL) {
		free(o);
		return NULL;
	}
	return o;
}

void orphans_destroy(struct orphans *o)
{
	if (o == NULL)
		return;
	proc_kids_destroy(o->kids);
	pid_list_free(&o->list);
	pid_list_free(&o->tree);
	free(o->now);
	free(o->before);
	free(o->killed);
	free(o);
}

/* A group holds descendants of one attempt only: they are all in the session
 * of the guardian or in sessions of their own. */
static void kill_one(int32_t pid, const struct orphans_view *spare)
{
	pid_t group = getpgid(pid);

	if (group > 1 && group != getpgrp() &&
	    (spare == NULL || !spare->is_leader(spare->ctx, group)))
		(void)kill(-group, SIGKILL);
	(void)kill(pid, SIGKILL);
}

/* Kills pid and its descendants, and leaves them in *tree. */
static void kill_tree(int32_t pid, const struct orphans_view *spare, struct pid_list *tree)
{
	bool ok;
	size_t i;

	tree->n = 0;
	ok = pid_list_add(tree, pid);
	for (i = 0; ok && i < tree->n && tree->n < TREE_MAX; i++)
		ok = proc_children(tree->pids[i], tree);
	(void)kill(pid, SIGKILL);
	for (i = 0; i < tree->n; i++)
		kill_one(tree->pids[i], spare);
}

void orphans_kill_tree(int32_t pid)
{
	struct pid_list tree = {0};

	kill_tree(pid, NULL, &tree);
	pid_list_free(&tree);
}

void orphans_kill_all(struct orphans *o)
{
	size_t i;

	(void)!proc_kids_read(o->kids, &o->list); /* as many as there was memory for */
	for (i = 0; i < o->list.n; i++)
		kill_tree(o->list.pids[i], NULL, &o->tree);
}

static const struct killed *find_killed(const struct orphans *o, int32_t pid)
{
	size_t i;

	for (i = 0; i < o->n_killed; i++)
		if (o->killed[i].pid == pid)
			return &o->killed[i];
	return NULL;
}

static bool add_killed(struct orphans *o, int32_t pid, const struct task_tag *tag)
{
	void *p = o->killed;

	if (find_killed(o, pid) != NULL)
		return true;
	if (mem_grow(&p, &o->cap_killed, o->n_killed + 1, sizeof(*o->killed), NULL) != ST_OK)
		return false;
	o->killed = p;
	o->killed[o->n_killed++] = (struct killed){.pid = pid, .tag = *tag};
	return true;
}

/* A zombie does nothing any more, whoever has to reap it. */
static void forget_dead(struct orphans *o)
{
	struct proc_stat st;
	size_t kept = 0;
	size_t i;

	for (i = 0; i < o->n_killed; i++)
		if (proc_stat_read(o->killed[i].pid, &st) && st.state != 'Z' && st.state != 'X')
			o->killed[kept++] = o->killed[i];
	o->n_killed = kept;
}

static void doom(struct orphans *o, const struct orphan *one)
{
	size_t i;

	kill_tree(one->pid, &o->view, &o->tree);
	for (i = 0; i < o->tree.n; i++)
		if (!add_killed(o, o->tree.pids[i], &one->tag))
			o->undecided = true;
}

/* Children cannot change their pid for another's until they are reaped, so
 * what was found out about one stays true. */
static void identify(struct orphans *o, struct orphan *one, int64_t now_ns)
{
	const struct killed *killed = find_killed(o, one->pid);
	size_t i;

	one->seen_ns = now_ns;
	one->owner = PROC_EMPTY;
	if (killed != NULL) {
		one->owner = PROC_OURS;
		one->tag = killed->tag;
		return;
	}
	for (i = 0; i < o->n_before; i++) {
		if (o->before[i].pid == one->pid) {
			*one = o->before[i];
			break;
		}
	}
	if (one->owner == PROC_EMPTY)
		one->owner = proc_owner_read(one->pid, o->token, &one->tag);
}

static void judge(struct orphans *o, const struct orphan *one, int64_t now_ns)
{
	switch (one->owner) {
	case PROC_OURS:
		if (!o->view.is_running(o->view.ctx, &one->tag))
			doom(o, one);
		break;
	case PROC_EMPTY:
		if (now_ns - one->seen_ns < EMPTY_NS)
			o->undecided = true;
		else
			o->foreign = true;
		break;
	case PROC_FOREIGN:
		o->foreign = true;
		break;
	}
}

static void swap_lists(struct orphans *o)
{
	struct orphan *p = o->before;
	size_t cap = o->cap_before;

	o->before = o->now;
	o->n_before = o->n;
	o->cap_before = o->cap;
	o->now = p;
	o->cap = cap;
	o->n = 0;
}

void orphans_sweep(struct orphans *o, int64_t now_ns)
{
	size_t i;

	swap_lists(o);
	o->foreign = false;
	o->undecided = !proc_kids_read(o->kids, &o->list);
	forget_dead(o);
	for (i = 0; i < o->list.n; i++) {
		int32_t pid = o->list.pids[i];
		void *p = o->now;

		if (o->view.is_leader(o->view.ctx, pid))
			continue;
		if (mem_grow(&p, &o->cap, o->n + 1, sizeof(*o->now), NULL) != ST_OK) {
			o->undecided = true;
			return;
		}
		o->now = p;
		o->now[o->n] = (struct orphan){.pid = pid};
		identify(o, &o->now[o->n], now_ns);
		judge(o, &o->now[o->n++], now_ns);
	}
}

bool orphans_any_of(const struct orphans *o, const struct task_tag *tag)
{
	size_t i;

	for (i = 0; i < o->n_killed; i++)
		if (task_tag_matches(&o->killed[i].tag, tag))
			return true;
	return false;
}

bool orphans_undecided(const struct orphans *o)
{
	return o->undecided;
}

bool orphans_any_foreign(const struct orphans *o)
{
	return o->foreign;
}
