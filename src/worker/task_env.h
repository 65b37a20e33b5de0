/* Argument vector and environment of a child, from a request. */
#ifndef EBB_WORKER_TASK_ENV_H
#define EBB_WORKER_TASK_ENV_H

#include <stdbool.h>

#include "base/status.h"

struct buf;
struct control;
struct request;
struct task_env; /* this process's environment, and arrays that are used again */

/* `token` is the value of EBB_WORKER. The process's environment must not
 * change afterwards. NULL when there is no memory. */
struct task_env *task_env_create(const char *token) MUST_USE;
void task_env_destroy(struct task_env *t);

/* The vectors point into the request and into t; valid until the next call.
 * `control` and `scratch_dir` may be NULL. False when there is no memory. */
bool task_env_build(struct task_env *t, const struct request *r, int lane,
    const struct control *control, const char *scratch_dir) MUST_USE;

/* If this process is itself a task of an ebb: appends "EBB_WORKER_OUTER=...", to
 * be handed down, so that the other ebb's guardian knows our children when they
 * come to it. Else nothing. */
void task_env_outer(struct buf *out);

/* NULL-terminated; element -1 exists and may be written. */
char **task_env_argv(struct task_env *t);
char **task_env_envp(struct task_env *t);

#endif
