/* Memory limits that the kernel enforces, by cgroup v2. Below the cgroup that ebb
 * itself is in, a worker makes a folder, ebb-<name>, and in it the guardian makes
 * one for each child that has a limit. A note in the worker's folder of the state
 * says where, so that whoever buries the worker can remove it.
 *
 * A cgroup that hands controllers on may hold no processes but where it is the
 * hierarchy's root. Elsewhere a worker moves itself and its guardian into the
 * folder ebb-<name>/main first, and only if the cgroup holds nothing but them.
 *
 * Where it cannot be done, children run without. Children of stages that name no
 * memory cost nothing; a worker without such a stage looks for the note, at its
 * end, and no more. */
#ifndef EBB_WORKER_CGROUP_H
#define EBB_WORKER_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"

/* ---- where this process is ---- */

/* The path in the text of /proc/self/cgroup; false: in none of version 2. */
bool cgroup_parse_path(const char *text, struct buf *path);
/* The folder that shows the cgroup `path`, by the text of /proc/self/mountinfo;
 * false: none does. */
bool cgroup_parse_mounts(const char *text, const char *path, struct buf *folder);

/* The least memory.max of this process's cgroup and of those above it that are
 * to be seen; INT64_MAX: none. */
int64_t cgroup_memory_max(void);

/* ---- the worker's side ---- */

/* Makes the folder of the worker `name` (of this process) and writes its path to the
 * file `note`. The guardian, if it is to be moved, has been forked. Not ST_OK: *e
 * says why there are no limits, and nothing has changed. */
enum status cgroup_open(const char *name, const char *note, struct error *e) MUST_USE;
/* Removes what a note names, moving what is in main back; its children have ended.
 * No note is fine. Of the guardian, the worker and whoever buries it, each calls it. */
void cgroup_remove(const char *note);
/* Whether cgroup_open would do: makes a folder and removes it again. *where is the
 * cgroup that it was made in. */
enum status cgroup_check(struct buf *where, struct error *e) MUST_USE;

/* ---- the guardian's side ---- */

struct cgroups;

/* What became of a child's limit. */
struct cgroup_use {
	int64_t limit; /* bytes; 0: it had none, and the rest is 0 */
	int64_t peak;  /* if the kernel killed any: the most that was used, -1: not known */
	int32_t kills; /* of its processes by the kernel, for want of memory */
	bool own;      /* its own limit was hit, and not only one above it */
};

/* `note` is borrowed and read when the first child asks. NULL: no memory. */
struct cgroups *cgroups_create(const char *note, int lanes) MUST_USE;
void cgroups_destroy(struct cgroups *c); /* NULL is fine; removes nothing */

/* A cgroup for the next child of a lane, for struct spawn; the caller closes it. 0:
 * there can be none, which is said once; also for c NULL or bytes 0. */
int cgroups_begin(struct cgroups *c, int lane, int64_t bytes) MUST_USE;
/* The child has ended, with all that it started, or never began. */
void cgroups_end(struct cgroups *c, int lane, struct cgroup_use *use);

#endif
