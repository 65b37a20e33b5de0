/* ebb's side of the control pages (ebb/control.h) and the notice files: one of
 * each for every lane, in one folder.
 *
 * The pages are read and written through kept descriptors and never mapped, so
 * that a task which truncates or removes its page, or fills it with anything,
 * can harm nobody but itself. ebb's half is never read back.
 * Whatever comes from the task's half is checked here: the values in struct
 * control_view are within the bounds that are said there, whoever wrote them.
 *
 * Calls for different lanes may come from different threads; those for one lane
 * one at a time. */
#ifndef EBB_WORKER_CONTROL_H
#define EBB_WORKER_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"
#include "ebb/control.h"

enum { CONTROL_LANES_MAX = 1024 };

struct control;

/* Makes the pages "<lane>.page" in a folder, which exists and in which nobody
 * else makes files. Pages and notices that are there from before are replaced.
 * The pages belong to no attempt until control_reset. `dir` should be absolute:
 * tasks get the names made from it. */
enum status control_create(const char *dir, int lanes, struct control **out,
    struct error *e) MUST_USE;
/* The same pages, made by another process of this program: the guardian, which
 * resets them, while its worker tells and answers. ST_NOT_FOUND. */
enum status control_attach(const char *dir, int lanes, struct control **out,
    struct error *e) MUST_USE;
/* Removes the files and frees. NULL is fine. */
void control_destroy(struct control *c);

/* The folder that the pages are in. */
const char *control_folder(const struct control *c);

/* For $EBB_CONTROL and $EBB_NOTICE_FILE of a lane; lent. */
const char *control_page_path(const struct control *c, int lane);
const char *control_notice_path(const struct control *c, int lane);

/* What an attempt begins with. */
struct control_begin {
	int64_t epoch;            /* > 0 */
	int64_t begun_boot_ns;    /* of control_adopt: when it started */
	int64_t deadline_boot_ns; /* when it ends at the latest; 0: not known */
	int64_t offset;           /* $EBB_OFFSET; checkpoints may not go behind it */
};

/* Gives a lane's page to an attempt that is about to start: everything of the one
 * before is gone, the notice file too. A page that was removed, replaced or
 * resized is made anew. On failure the page is nobody's (epoch 0, or absent), and
 * a task that finds it so goes on without; the attempt may be started. */
enum status control_reset(struct control *c, int lane, const struct control_begin *begin,
    struct error *e) MUST_USE;

/* For who has attached: a lane's page was given to an attempt by somebody else's
 * control_reset. A page that was made anew is opened again. */
void control_adopt(struct control *c, int lane, const struct control_begin *begin);

/* Tells the attempt to stop: flips the page, then puts the notice file in place,
 * whole. May be called again with another plan or deadline. Both are tried even
 * when one fails. deadline_boot_ns is on CLOCK_BOOTTIME, 0: none known. */
enum status control_stop(struct control *c, int lane, enum ebb_stop_reason reason,
    enum ebb_stop_plan plan, int64_t deadline_boot_ns, struct error *e) MUST_USE;

/* Tells the attempt that a checkpoint now would be wise. A durable one takes it back. */
enum status control_advise(struct control *c, int lane, struct error *e) MUST_USE;

/* What the task has written. */
struct control_view {
	bool pending;         /* a checkpoint is asked for and has had no answer */
	bool sensible;        /* its offset is not negative and does not go back
	                       * behind the last durable one; else answer REFUSED */
	uint64_t request;     /* its number, for control_answer */
	int64_t offset;       /* 0 unless sensible */
	int64_t done;         /* progress: 0 <= done, and done <= total if total > 0 */
	int64_t total;        /* 0: not known */
	int64_t progress_boot_ns; /* when; 0: never; else within the attempt's time */
	bool task_done;       /* exit 0 means done, even after a stop */
};

/* All zero when the page was truncated. */
enum status control_read(struct control *c, int lane, struct control_view *out,
    struct error *e) MUST_USE;

/* Answers a request. An answer that cannot be written is written by the next
 * control_read that can. After EBB_ANSWER_DURABLE `offset` (as it was in the view)
 * is the one behind which the next may not go. */
enum status control_answer(struct control *c, int lane, const struct control_view *request,
    enum ebb_answer answer, struct error *e) MUST_USE;

/* A descriptor that becomes readable when a task has written to its page with
 * write(2), as libebb and `ebb task` do for requests; a store into a mapping is
 * not noticed, so pages have to be looked at now and then as well. -1 when the
 * kernel gives none. */
int control_fd(const struct control *c);
/* Empties the descriptor and sets written[lane] for those pages (the others are
 * left as they are); ebb's own writes count too. */
void control_take_written(struct control *c, bool *written);

/* Constant names: "notice", "drain", ...; "hand-back", ... */
const char *control_reason_name(enum ebb_stop_reason reason);
const char *control_plan_name(enum ebb_stop_plan plan);

#endif
