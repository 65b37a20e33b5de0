/* Files for the output of children: for each lane one for stdout and one for
 * stderr, used by one child after another for as long as they stay empty. */
#ifndef EBB_WORKER_SPOOL_H
#define EBB_WORKER_SPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct spool;

/* `dir` exists and is borrowed. err_cap as in struct guardian_options. NULL
 * when there is no memory. */
struct spool *spool_create(const char *dir, int lanes, int64_t err_cap) MUST_USE;
/* Closes all, and removes the lanes' files that are empty. NULL is fine. */
void spool_destroy(struct spool *sp);

/* Descriptors for the next child of a lane: stdout to a new file at out_path
 * (what is there is unlinked first, or goes on with `append`), or with NULL to the
 * lane's own. 0 or errno. */
int spool_begin(struct spool *sp, int lane, const char *out_path, bool append, int *out,
    int *err) MUST_USE;

/* The child could not be started: out_path, as given, is removed again; NULL: the
 * file stays. */
void spool_cancel(struct spool *sp, int lane, const char *out_path);

/* While the child runs: frees the middle of a stderr that is larger than the
 * cap. True if it has grown by so much that the next look should be soon. */
bool spool_trim(struct spool *sp, int lane);

struct spool_sizes {
	int64_t out;
	int64_t err; /* as written, before the cap */
};

/* The child has ended: its output goes to <dir>/<id>.out and .err, unless
 * empty; stderr is cut to the cap. `reuse` false when some process may still
 * have the lane's files open: they are not used again even if empty. 0, or
 * errno when output could not be kept. */
int spool_end(struct spool *sp, int lane, uint64_t id, bool reuse, struct spool_sizes *sizes)
    MUST_USE;

#endif
