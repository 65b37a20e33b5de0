/* What /proc tells about other processes. Everything here may be outdated when
 * it returns, except about unreaped children of the caller. */
#ifndef EBB_WORKER_PROCS_H
#define EBB_WORKER_PROCS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct pid_list { /* from {0} */
	int32_t *pids;
	size_t n;
	size_t cap;
};

bool pid_list_add(struct pid_list *l, int32_t pid) MUST_USE; /* false: no memory */
bool pid_list_has(const struct pid_list *l, int32_t pid);
void pid_list_free(struct pid_list *l);

struct proc_stat {
	char state; /* 'R', 'S', 'D', 'Z', ... */
	int32_t ppid;
	int32_t pgrp;
	int32_t session;
	int64_t start_boot_ns; /* in steps of a clock tick, rounded down */
};

/* False when there is no such process. */
bool proc_stat_read(int32_t pid, struct proc_stat *out) MUST_USE;

/* Adds every process there is. False when /proc cannot be read or there is no
 * memory; what was found until then is in the list. */
bool proc_all(struct pid_list *l) MUST_USE;
/* Adds the children of a process, of all of its threads. */
bool proc_children(int32_t pid, struct pid_list *l) MUST_USE;

/* The caller's own children, for a caller that asks often. */
struct proc_kids;

/* For a process with one thread; NULL when there is no memory. */
struct proc_kids *proc_kids_create(void) MUST_USE;
void proc_kids_destroy(struct proc_kids *k);
/* Replaces the list. Children that are zombies are in it. */
bool proc_kids_read(struct proc_kids *k, struct pid_list *l) MUST_USE;

/* Which attempt a process belongs to, by its environment. -1 is a variable
 * that the process does not have. */
struct task_tag {
	int64_t row;
	int64_t epoch;
	int32_t slot;
};

/* Names in the environment. EBB_WORKER_OUTER lists the tags of the ebb workers
 * around this one, as "token/row/epoch/slot" with spaces between them. */
#define TASK_ENV_WORKER "EBB_WORKER"
#define TASK_ENV_ROW "EBB_SHARD_ROW"
#define TASK_ENV_EPOCH "EBB_EPOCH"
#define TASK_ENV_SLOT "EBB_SLOT"
#define TASK_ENV_OUTER "EBB_WORKER_OUTER"

/* True if what is known of the tag is as in `whole`. */
bool task_tag_matches(const struct task_tag *tag, const struct task_tag *whole);

enum proc_owner {
	PROC_FOREIGN, /* no tag of that token, or it may not be looked at */
	PROC_EMPTY,   /* no environment: gone, dying, in the midst of an exec, or bare */
	PROC_OURS,
};

enum proc_owner proc_owner_read(int32_t pid, const char *token, struct task_tag *tag) MUST_USE;

#endif
