/* libebb: for programs that run under ebb and want to know when to stop, to say
 * how far they are, and to have their progress made durable.
 *
 *     #include <ebb/ebb.h>
 *     ...
 *     for (i = ebb_offset(); i < n && !ebb_should_stop(); i++) {
 *             work(i);
 *             ebb_progress(i + 1, n);
 *     }
 *     fflush(stdout);
 *     return i == n ? 0 : ebb_checkpoint(i) == 0 ? 85 : 1;
 *
 * Build with `pkg-config --cflags --libs libebb`. docs/task-contract.md is the
 * whole contract; a program may also speak it without this library.
 *
 * Outside ebb every function is there and says "go on". None of them prints
 * anything, ends the program, or changes signal handlers or the environment.
 * All are safe to call from several threads, and in a child after fork (which
 * speaks for the same attempt). After ebb_attach, ebb_should_stop is safe in a signal handler.
 * A program that truncates the file $EBB_CONTROL under its own feet gets
 * SIGBUS; short of that, no damage to it has a worse effect than "go on". */
#ifndef EBB_EBB_H
#define EBB_EBB_H

#include <stdint.h>

#include <ebb/control.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Reads the environment and maps the control page, once; later calls, and any
 * other function of this library, find that done. 1 when an ebb is listening,
 * else 0: not under ebb, or the page is missing, of another version, or another
 * attempt's. Need not be called. */
int ebb_attach(void);

/* Nonzero when the program should save and leave. Costs a read of memory and
 * no system call: may be asked for every record. */
int ebb_should_stop(void);

/* Nonzero when a checkpoint now would be wise, though the program may go on after it: its
 * machine is likelier than usual to be taken away, and none was made since that was said;
 * or it should stop anyway. As cheap. */
int ebb_should_checkpoint(void);

/* Why, and what ebb has planned: enum ebb_stop_reason and enum ebb_stop_plan,
 * 0 (EBB_STOP_NONE, EBB_PLAN_NONE) while there is no reason to stop. With
 * EBB_PLAN_FINISH the program is expected to be done in time and need not
 * hurry. Values that are not in the enum may come from a later ebb. */
int ebb_reason(void);
int ebb_plan(void);

/* Until the program will be ended; never negative. Infinity when that is not
 * known. Goes on counting while the machine is suspended. */
double ebb_seconds_left(void);

/* How far it is, in units of its own; total 0 when it is not known. Cheap. ebb
 * plans with it what can be finished before a deadline. */
void ebb_progress(uint64_t done, uint64_t total);

/* Where to begin: $EBB_OFFSET, what the last durable checkpoint had given; 0 at
 * first. Where the input comes on stdin, stdin begins there. */
int64_t ebb_offset(void);

/* The folder whose content is saved by ebb_checkpoint and was restored before
 * the start; NULL when there is none. Lent, and as the environment has it. */
const char *ebb_checkpoint_dir(void);

/* Results of ebb_checkpoint; beside them 0 (EBB_ANSWER_DURABLE) and the other
 * values of enum ebb_answer. */
enum {
	EBB_NO_ANSWER = 64, /* not in the time given: it may still become durable */
	EBB_NO_PAGE = 65    /* the control page is unusable: nobody can be asked */
};

enum { EBB_SAME_OFFSET = -1 };

/* Makes durable, together: all that was written to stdout so far (flush it
 * first), the content of ebb_checkpoint_dir(), and `offset`: how far the input is
 * processed; EBB_SAME_OFFSET when it has not moved, or the program keeps its
 * place in the folder. Returns when that is decided, at the latest at the
 * deadline or after ten minutes: 0 when it is durable, else one of the values
 * above. Nothing else in the program may write to stdout or the folder
 * meanwhile. Outside ebb, and where ebb keeps no checkpoints ($EBB_CHECKPOINT
 * is empty), it returns 0 at once. */
int ebb_checkpoint(int64_t offset);
/* The same, waiting at most so many seconds. */
int ebb_checkpoint_within(int64_t offset, double seconds);

/* What a result of ebb_checkpoint means and what to do; a constant, for people. */
const char *ebb_strerror(int result);

/* The work is complete: exit code 0 means so even after ebb's stop signal. */
void ebb_done(void);

#ifdef __cplusplus
}
#endif

#endif
