/* The state folder: where it is, what is in it, its locks. The layout is
 * written down in docs/formats.md.
 *
 *   .gitignore   so that nobody commits it
 *   ledger.db    the ledger (and its -wal and -shm)
 *   lock/        one empty file a run and a worker, locked with flock
 *   workers/     <name>/: slot table and spool of a worker that is alive
 *   runs/        <run>/: private files, logs and the manifest */
#ifndef EBB_WORKER_STATE_H
#define EBB_WORKER_STATE_H

#include <stdbool.h>

#include "base/mem.h"
#include "base/status.h"

struct state;

/* Opens the state folder at `dir`. With `create` it is made (mode 0700) when
 * missing; without, ST_NOT_FOUND says which folder was looked for. */
enum status state_open(const char *dir, bool create, struct state **out, struct error *e) MUST_USE;
void state_close(struct state *s); /* NULL is fine; leaves locks alone */

const char *state_dir(const struct state *s);
/* The current folder as seen from the folder that the state is in ("." when it
 * is that one): part of a run's key. */
const char *state_place(const struct state *s);

/* A path inside: state_path(s, &b, "runs/%s", name) replaces b's content.
 * Running out of memory shows in buf_check. */
void state_path(const struct state *s, struct buf *out, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The same as a name that the ledger keeps: one for one file, however `dir` was
 * spelled, relative where state_place is ".", else absolute. */
void state_name(const struct state *s, struct buf *out, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* A path inside, and the folder is made durably (mode 0700). */
enum status state_mkdir(const struct state *s, struct buf *out, struct error *e,
    const char *fmt, ...) PRINTF_LIKE(4, 5) MUST_USE;

/* Takes lock/<name>.lock for as long as *fd, or a copy of it inherited over
 * fork, is open. ST_BUSY: somebody holds it. */
enum status state_lock(const struct state *s, const char *name, int *fd, struct error *e) MUST_USE;
/* The same, trying again for up to wait_ms (a guardian that is just ending its
 * children holds the lock for a moment). */
enum status state_lock_wait(const struct state *s, const char *name, int wait_ms, int *fd,
    struct error *e) MUST_USE;
/* True if nobody holds it. To find out it holds it for a moment itself, so
 * whoever takes a lock that others look at does it with state_lock_wait. */
bool state_lock_is_free(const struct state *s, const char *name);
/* Removes a lock file that the caller holds or that nobody will want again. */
void state_lock_remove(const struct state *s, const char *name);

#endif
