/* A command of the user's that runs when something is heard about the machine: as
 * on_notice and on_drained of a worker, or of `ebb watch`. */
#ifndef EBB_WORKER_HOOK_H
#define EBB_WORKER_HOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "model/notice.h"

struct hook;

/* Starts `sh -c command` beside this process: a process group of its own, stdin empty,
 * stdout on ebb's stderr. The shell ends by SIGKILL with this process; what it has started
 * does not. Its environment is this one's, and
 *   EBB_EVENT           the kind: "notice", ...
 *   EBB_EVENT_SOURCE    "aws", ...
 *   EBB_EVENT_ACTION    "terminate", ...
 *   EBB_EVENT_ID        the platform's own, or empty
 *   EBB_EVENT_DEADLINE  unix seconds, whole ones; of a notice whose platform does not say,
 *                       what it usually gives; or empty
 *   EBB_EVENT_JSON      all of it, as `ebb watch` prints it
 * and `extra` (NULL-terminated, "NAME=value"; NULL: none). At until_boot_ms
 * (CLOCK_BOOTTIME) its group is killed. From a process whose main thread calls this. */
enum status hook_start(const char *command, const struct notice *n, char *const *extra,
    int64_t until_boot_ms, struct hook **out, struct error *e) MUST_USE;

/* Readable once it has ended. */
int hook_fd(const struct hook *h);
int64_t hook_until_boot_ms(const struct hook *h);
/* An earlier end for it. */
void hook_hurry(struct hook *h, int64_t until_boot_ms);

struct hook_end {
	bool good;       /* exit 0 */
	bool timed_out;  /* ebb ended it */
	int exit_code;   /* -1: by a signal */
	int exit_signal;
	int64_t ms;      /* how long it ran */
};
/* Looks whether it has ended, and ends it when its time is over; false while it runs. */
bool hook_ended(struct hook *h, struct hook_end *end) MUST_USE;
/* Ends it if it runs. NULL is fine. */
void hook_destroy(struct hook *h);

/* What the end was, for people: "exit 1 after 0.3 s". */
void hook_say(const struct hook_end *end, struct buf *out);

#endif
