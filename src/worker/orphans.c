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
	bool doomed;     /* it has been killed */
	int64_t seen_ns; /* first */
	struct task_tag tag;
};

struct orphans {
	const char *token;
	struct orphans_view view;
	struct proc_kids *kids;
	struct pid_list list;
	struct orphan *now; /* as of the last sweep */
	size_t n;
	size_t cap;
	struct orphan *before;
	size_t n_before;
	size_t cap_before;
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
	free(o->now);
	free(o->before);
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

void orphans_kill_tree(int32_t pid, const struct orphans_view *spare)
{
	struct pid_list tree = {0};
	bool ok = pid_list_add(&tree, pid);
	size_t i;

	for (i = 0; ok && i < tree.n && tree.n < TREE_MAX; i++)
		ok = proc_children(tree.pids[i], &tree);
	(void)kill(pid, SIGKILL);
	for (i = 0; i < tree.n; i++)
		kill_one(tree.pids[i], spare);
	pid_list_free(&tree);
}

int orphans_kill_children(struct proc_kids *kids)
{
	struct pid_list list = {0};
	int n = -1;
	size_t i;

	if (proc_kids_read(kids, &list)) {
		for (i = 0; i < list.n; i++)
			orphans_kill_tree(list.pids[i], NULL);
		n = (int)list.n;
	}
	pid_list_free(&list);
	return n;
}

/* Children cannot change their pid for another's until they are reaped, so
 * what was found out about one stays true. */
static void look_at(struct orphans *o, struct orphan *one, int64_t now_ns)
{
	size_t i;

	one->seen_ns = now_ns;
	one->owner = PROC_EMPTY;
	for (i = 0; i < o->n_before; i++) {
		if (o->before[i].pid == one->pid) {
			*one = o->before[i];
			break;
		}
	}
	if (one->owner == PROC_EMPTY)
		one->owner = proc_owner_read(one->pid, o->token, &one->tag);
}

static void judge(struct orphans *o, struct orphan *one, int64_t now_ns)
{
	switch (one->owner) {
	case PROC_OURS:
		one->doomed = !o->view.is_running(o->view.ctx, &one->tag);
		if (one->doomed)
			orphans_kill_tree(one->pid, &o->view);
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
		look_at(o, &o->now[o->n], now_ns);
		judge(o, &o->now[o->n++], now_ns);
	}
}

bool orphans_any_of(const struct orphans *o, const struct task_tag *tag)
{
	size_t i;

	for (i = 0; i < o->n; i++)
		if (o->now[i].doomed && task_tag_matches(&o->now[i].tag, tag))
			return true;
	return o->undecided;
}

bool orphans_any_foreign(const struct orphans *o)
{
	return o->foreign;
}
