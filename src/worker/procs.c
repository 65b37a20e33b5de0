#include "worker/procs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/sys.h"

enum { PROC_PATH_MAX = 64, ENVIRON_MAX = 16 << 20, KIDS_READ = 4096 };

struct proc_kids {
	int fd; /* /proc/self/task/<tid>/children; -1: the kernel has none */
	char buf[KIDS_READ];
};

bool pid_list_add(struct pid_list *l, int32_t pid)
{
	void *p = l->pids;

	if (mem_grow(&p, &l->cap, l->n + 1, sizeof(*l->pids), NULL) != ST_OK)
		return false;
	l->pids = p;
	l->pids[l->n++] = pid;
	return true;
}

bool pid_list_has(const struct pid_list *l, int32_t pid)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		if (l->pids[i] == pid)
			return true;
	return false;
}

void pid_list_free(struct pid_list *l)
{
	free(l->pids);
	memset(l, 0, sizeof(*l));
}

/* Up to n numbers of a line, from the one after the state on. */
static int parse_numbers(const char *p, long long *out, int n)
{
	int got = 0;
	char *end;

	while (got < n) {
		out[got] = strtoll(p, &end, 10);
		if (end == p)
			break;
		p = end;
		got++;
	}
	return got;
}

bool proc_stat_read(int32_t pid, struct proc_stat *out)
{
	enum { PPID, PGRP, SESSION, START = 18, FIELDS };
	char path[PROC_PATH_MAX];
	char text[1024];
	long long v[FIELDS];
	const char *p;
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = sys_open(path, O_RDONLY, 0);
	if (fd == -1)
		return false;
	n = sys_read(fd, text, sizeof(text) - 1);
	(void)sys_close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	/* The name is in parentheses and may hold any byte, parentheses too. Then
	 * " S " and numbers. */
	p = strrchr(text, ')');
	if (p == NULL || strlen(p) < 4 || parse_numbers(p + 3, v, FIELDS) != FIELDS)
		return false;
	out->state = p[2];
	out->ppid = (int32_t)v[PPID];
	out->pgrp = (int32_t)v[PGRP];
	out->session = (int32_t)v[SESSION];
	out->start_boot_ns = v[START] * (1000000000 / sysconf(_SC_CLK_TCK));
	return true;
}

/* The numeric entries of a folder. */
static bool list_numbers(const char *path, struct pid_list *l)
{
	DIR *d = opendir(path);
	struct dirent *ent;
	bool ok = true;

	if (d == NULL)
		return false;
	while (ok && (ent = readdir(d)) != NULL) {
		char *end;
		long n = strtol(ent->d_name, &end, 10);

		if (n > 0 && n <= INT32_MAX && *end == '\0')
			ok = pid_list_add(l, (int32_t)n);
	}
	(void)closedir(d);
	return ok;
}

bool proc_all(struct pid_list *l)
{
	return list_numbers("/proc", l);
}

/* Appends the numbers of a "children" file, which may be cut anywhere by a
 * read: *number carries the digits over. */
static bool parse_pids(const char *text, size_t len, int32_t *number, struct pid_list *l)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (text[i] >= '0' && text[i] <= '9') {
			*number = *number * 10 + (text[i] - '0');
		} else if (*number > 0) {
			if (!pid_list_add(l, *number))
				return false;
			*number = 0;
		}
	}
	return true;
}

static bool read_pids(int fd, char buf[KIDS_READ], struct pid_list *l)
{
	int32_t number = 0;
	int64_t off = 0;

	for (;;) {
		ssize_t n = sys_pread(fd, buf, KIDS_READ, off);

		if (n == -1)
			return false;
		if (!parse_pids(buf, (size_t)n, &number, l))
			return false;
		/* The kernel gives as many whole entries as fit into a page and into
		 * the buffer, so less than that is the end. */
		if (n < KIDS_READ - 16)
			return true;
		off += n;
	}
}

/* The slow way, for kernels without the "children" file. */
static bool scan_children(int32_t parent, struct pid_list *l)
{
	struct pid_list all = {0};
	struct proc_stat st;
	bool ok = proc_all(&all);
	size_t i;

	for (i = 0; ok && i < all.n; i++)
		if (proc_stat_read(all.pids[i], &st) && st.ppid == parent)
			ok = pid_list_add(l, all.pids[i]);
	pid_list_free(&all);
	return ok;
}

/* Is it the file that the kernel does not have, or is the thread gone? */
static bool lacks_children_file(int32_t pid, int32_t tid, int open_errno)
{
	char path[PROC_PATH_MAX];

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d", pid, tid);
	return open_errno == ENOENT && access(path, F_OK) == 0;
}

bool proc_children(int32_t pid, struct pid_list *l)
{
	struct pid_list threads = {0};
	char path[PROC_PATH_MAX];
	char buf[KIDS_READ];
	bool ok = true;
	size_t i;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", pid);
	if (!list_numbers(path, &threads)) {
		pid_list_free(&threads);
		return access(path, F_OK) == -1; /* gone: it has none */
	}
	for (i = 0; ok && i < threads.n; i++) {
		int32_t tid = threads.pids[i];
		int fd;

		(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, tid);
		fd = sys_open(path, O_RDONLY, 0);
		if (fd != -1) {
			ok = read_pids(fd, buf, l);
			(void)sys_close(fd);
		} else if (lacks_children_file(pid, tid, errno)) {
			ok = scan_children(pid, l);
			break;
		}
	}
	pid_list_free(&threads);
	return ok;
}

struct proc_kids *proc_kids_create(void)
{
	struct proc_kids *k = mem_zero(sizeof(*k));
	char path[PROC_PATH_MAX];

	if (k == NULL)
		return NULL;
	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	k->fd = sys_open(path, O_RDONLY, 0);
	return k;
}

void proc_kids_destroy(struct proc_kids *k)
{
	if (k == NULL)
		return;
	if (k->fd != -1)
		(void)sys_close(k->fd);
	free(k);
}

bool proc_kids_read(struct proc_kids *k, struct pid_list *l)
{
	l->n = 0;
	if (k->fd == -1)
		return scan_children((int32_t)getpid(), l);
	return read_pids(k->fd, k->buf, l);
}

bool task_tag_matches(const struct task_tag *tag, const struct task_tag *whole)
{
	return (tag->row == -1 || tag->row == whole->row) &&
	    (tag->epoch == -1 || tag->epoch == whole->epoch) &&
	    (tag->slot == -1 || tag->slot == whole->slot);
}

/* The value of a variable in a block of "NAME=value\0", or NULL. The block
 * ends with a NUL that buf put there. */
static const char *env_value(const struct buf *env, const char *name)
{
	size_t len = strlen(name);
	const char *p = env->data;
	const char *end = env->data + env->len;

	for (; p < end; p += strlen(p) + 1)
		if (strncmp(p, name, len) == 0 && p[len] == '=')
			return p + len + 1;
	return NULL;
}

static bool inner_tag(const struct buf *env, const char *token, struct task_tag *tag)
{
	const char *worker = env_value(env, TASK_ENV_WORKER);
	const char *row = env_value(env, TASK_ENV_ROW);
	const char *epoch = env_value(env, TASK_ENV_EPOCH);
	const char *slot = env_value(env, TASK_ENV_SLOT);

	if (worker == NULL || strcmp(worker, token) != 0)
		return false;
	/* A task that took some of them away is still one of this worker's. */
	tag->row = row != NULL ? strtoll(row, NULL, 10) : -1;
	tag->epoch = epoch != NULL ? strtoll(epoch, NULL, 10) : -1;
	tag->slot = slot != NULL ? (int32_t)strtol(slot, NULL, 10) : -1;
	return true;
}

/* After the token: "/row/epoch/slot". */
static bool parse_tag(const char *p, struct task_tag *tag)
{
	long long v[3];
	int i;

	for (i = 0; i < 3; i++) {
		char *end;

		if (*p != '/')
			return false;
		v[i] = strtoll(p + 1, &end, 10);
		if (end == p + 1)
			return false;
		p = end;
	}
	tag->row = v[0];
	tag->epoch = v[1];
	tag->slot = (int32_t)v[2];
	return true;
}

static bool outer_tag(const struct buf *env, const char *token, struct task_tag *tag)
{
	const char *outer = env_value(env, TASK_ENV_OUTER);
	const char *p = outer != NULL ? strstr(outer, token) : NULL;

	return p != NULL && parse_tag(p + strlen(token), tag);
}

enum proc_owner proc_owner_read(int32_t pid, const char *token, struct task_tag *tag)
{
	char path[PROC_PATH_MAX];
	struct buf env = {0};
	enum proc_owner owner = PROC_FOREIGN;
	enum status st;

	(void)snprintf(path, sizeof(path), "/proc/%d/environ", pid);
	st = file_read(path, ENVIRON_MAX, &env, NULL);
	if (st == ST_OK && env.len > 0)
		owner = inner_tag(&env, token, tag) || outer_tag(&env, token, tag) ? PROC_OURS
		                                                                   : PROC_FOREIGN;
	else if (st != ST_DENIED)
		owner = PROC_EMPTY;
	buf_free(&env);
	return owner;
}
