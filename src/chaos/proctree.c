#include "chaos/proctree.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sys.h"
#include "worker/procs.h"

enum { TREE_ENVIRON_MAX = 16 << 20, TREE_ROUNDS_MAX = 100, TREE_KILL_MS = 2000, TREE_PAUSE_MS = 2 };

static bool tree_is_living(int32_t pid)
{
	struct proc_stat st;

	return proc_stat_read(pid, &st) && st.state != 'Z' && st.state != 'X';
}

static bool tree_has_mark(int32_t pid, const char *mark, bool any_tail)
{
	size_t len = strlen(mark);
	struct buf env = {0};
	char path[64];
	bool found = false;
	const char *p;

	(void)snprintf(path, sizeof(path), "/proc/%d/environ", pid);
	if (file_read(path, TREE_ENVIRON_MAX, &env, NULL) != ST_OK || env.data == NULL) {
		buf_free(&env);
		return false;
	}
	for (p = env.data; !found && p < env.data + env.len; p += strlen(p) + 1)
		found = strncmp(p, mark, len) == 0 && (any_tail || p[len] == '\0');
	buf_free(&env);
	return found;
}

static void tree_add(struct pid_list *out, int32_t pid)
{
	if (pid > 1 && pid != (int32_t)getpid() && !pid_list_has(out, pid))
		(void)!pid_list_add(out, pid);
}

void proctree_list(const struct proctree *t, struct pid_list *out)
{
	struct pid_list found = {0};
	struct pid_list all = {0};
	size_t i;
	size_t k;

	if (t->root > 0)
		tree_add(&found, t->root);
	if (t->mark != NULL && !proc_all(&all))
		all.n = 0;
	for (i = 0; i < all.n; i++) {
		if (tree_has_mark(all.pids[i], t->mark, t->any_tail))
			tree_add(&found, all.pids[i]);
	}
	/* It grows on the way. */
	for (i = 0; i < found.n; i++) {
		struct pid_list kids = {0};

		(void)!proc_children(found.pids[i], &kids);
		for (k = 0; k < kids.n; k++)
			tree_add(&found, kids.pids[k]);
		pid_list_free(&kids);
	}
	for (i = 0; i < found.n; i++) {
		if (tree_is_living(found.pids[i]))
			tree_add(out, found.pids[i]);
	}
	pid_list_free(&found);
	pid_list_free(&all);
}

void proctree_stop(const struct proctree *t)
{
	struct pid_list done = {0};
	bool more = true;
	int round;

	for (round = 0; more && round < TREE_ROUNDS_MAX; round++) {
		struct pid_list now = {0};
		size_t i;

		more = false;
		proctree_list(t, &now);
		for (i = 0; i < now.n; i++) {
			if (pid_list_has(&done, now.pids[i]))
				continue;
			more = kill(now.pids[i], SIGSTOP) == 0 || more;
			(void)!pid_list_add(&done, now.pids[i]);
		}
		pid_list_free(&now);
	}
	pid_list_free(&done);
}

static void tree_signal(const struct proctree *t, int sig)
{
	struct pid_list now = {0};
	size_t i;

	proctree_list(t, &now);
	for (i = 0; i < now.n; i++)
		(void)kill(now.pids[i], sig);
	pid_list_free(&now);
}

void proctree_go_on(const struct proctree *t)
{
	tree_signal(t, SIGCONT);
}

bool proctree_is_empty(const struct proctree *t)
{
	struct pid_list now = {0};
	bool empty;

	proctree_list(t, &now);
	empty = now.n == 0;
	pid_list_free(&now);
	return empty;
}

bool proctree_kill(const struct proctree *t)
{
	int64_t end_ms = sys_boot_ns() / 1000000 + TREE_KILL_MS;

	proctree_stop(t);
	for (;;) {
		tree_signal(t, SIGKILL);
		if (proctree_is_empty(t))
			return true;
		if (sys_boot_ns() / 1000000 >= end_ms)
			return false;
		(void)poll(NULL, 0, TREE_PAUSE_MS);
	}
}
