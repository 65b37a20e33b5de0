#include "worker/stop_target.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sys.h"
#include "worker/procs.h"

enum { STATUS_MAX = 64 << 10, LINK_MAX_SIZE = 4096 };

static const char *const shell_names[] = {"sh", "bash", "rbash", "dash", "ash", "zsh", "ksh",
	"rksh", "mksh", "lksh", "oksh", "pdksh", "loksh", "yash", "posh", "hush", "fish", "csh", "tcsh",
	"rc", "busybox"};

bool stop_target_is_shell_name(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(shell_names) / sizeof(shell_names[0]); i++) {
		size_t len = strlen(shell_names[i]);

		/* "ksh93", "zsh-5.9", "busybox.static", "bash (deleted)" */
		if (strncmp(name, shell_names[i], len) == 0 &&
		    strchr("0123456789-. ", name[len]) != NULL)
			return true;
	}
	return false;
}

/* By its executable: the name of a process may be a script's. One that may not
 * be looked at is judged by that name. */
static bool runs_shell(int32_t pid)
{
	char path[64];
	char target[LINK_MAX_SIZE];
	struct buf comm = {0};
	const char *slash;
	ssize_t n;
	bool yes;

	(void)snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	n = readlink(path, target, sizeof(target) - 1);
	if (n > 0) {
		target[n] = '\0';
		slash = strrchr(target, '/');
		return stop_target_is_shell_name(slash != NULL ? slash + 1 : target);
	}
	(void)snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	if (file_read(path, STATUS_MAX, &comm, NULL) != ST_OK || comm.len == 0) {
		buf_free(&comm);
		return false;
	}
	comm.data[comm.len - 1] = '\0'; /* the newline */
	yes = stop_target_is_shell_name(comm.data);
	buf_free(&comm);
	return yes;
}

/* Has it a handler for the signal? */
static bool catches(int32_t pid, int sig)
{
	char path[64];
	struct buf text = {0};
	const char *line = NULL;
	unsigned long long mask = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (file_read(path, STATUS_MAX, &text, NULL) == ST_OK && text.data != NULL)
		line = strstr(text.data, "\nSigCgt:");
	if (line != NULL)
		mask = strtoull(line + strlen("\nSigCgt:"), NULL, 16);
	buf_free(&text);
	return sig >= 1 && sig <= 64 && (mask >> (sig - 1) & 1) != 0;
}

/* The number of live children; *only is the one of them, if it is one. */
static size_t live_children(int32_t pid, int32_t *only)
{
	struct pid_list all = {0};
	struct proc_stat st;
	size_t n = 0;
	size_t i;

	(void)!proc_children(pid, &all); /* what was found until an error counts */
	for (i = 0; i < all.n; i++) {
		if (!proc_stat_read(all.pids[i], &st) || st.state == 'Z' || st.state == 'X')
			continue;
		*only = all.pids[i];
		n++;
	}
	pid_list_free(&all);
	return n;
}

/* Does /proc speak of the processes that this one can signal? */
static bool proc_is_ours(void)
{
	char text[32];
	ssize_t n = readlink("/proc/self", text, sizeof(text) - 1);

	if (n <= 0)
		return false;
	text[n] = '\0';
	return strtol(text, NULL, 10) == (long)getpid();
}

static void target_is_group(struct stop_target *t)
{
	t->group = true;
	t->n = 0;
}

static void add_process(struct stop_target *t, int32_t pid)
{
	struct proc_stat st;
	int64_t start = 0;

	if (pid != t->leader)
		start = proc_stat_read(pid, &st) ? st.start_boot_ns : -1;
	t->proc[t->n].pid = pid;
	t->proc[t->n].start_boot_ns = start;
	t->n++;
}

void stop_target_find(int32_t leader, enum stop_to to, int sig, struct stop_target *out)
{
	int32_t shells[STOP_TARGET_MAX]; /* on the way, from the leader down */
	int32_t pid = leader;
	int n = 0;

	memset(out, 0, sizeof(*out));
	out->leader = leader;
	if (to == STOP_TO_GROUP || (to == STOP_TO_MAIN && !proc_is_ours())) {
		target_is_group(out);
		return;
	}
	while (to == STOP_TO_MAIN && runs_shell(pid)) {
		int32_t child = 0;
		size_t children = live_children(pid, &child);

		if (children == 0)
			break;
		if (children > 1 || n == STOP_TARGET_MAX - 1) {
			target_is_group(out);
			return;
		}
		shells[n++] = pid;
		pid = child;
	}
	add_process(out, pid);
	while (n-- > 0)
		if (catches(shells[n], sig))
			add_process(out, shells[n]);
}

/* The pidfd is opened first and compared then: it stays with its process. */
static bool send_one(int32_t pid, int64_t start_boot_ns, int sig)
{
	struct proc_stat st;
	bool sent;
	int fd;

	if (start_boot_ns == 0)
		return kill(pid, sig) == 0;
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd == -1)
		return false;
	sent = proc_stat_read(pid, &st) && st.start_boot_ns == start_boot_ns && st.state != 'Z' &&
	    syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0) == 0;
	(void)sys_close(fd);
	return sent;
}

bool stop_target_send(const struct stop_target *t, int sig)
{
	bool sent = false;
	int i;

	if (t->group)
		return kill(-t->leader, sig) == 0;
	for (i = 0; i < t->n; i++)
		if (send_one(t->proc[i].pid, t->proc[i].start_boot_ns, sig))
			sent = true;
	return sent;
}
