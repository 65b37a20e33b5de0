/* One command under the task contract, without a ledger: what `ebb exec` does. */
#ifndef EBB_WORKER_EXEC_H
#define EBB_WORKER_EXEC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "worker/stop_target.h"

enum exec_exit {
	EXEC_EXIT_BROKEN = 125,    /* ebb exec itself could not do its work */
	EXEC_EXIT_DENIED = 126,    /* the program is there and cannot be run */
	EXEC_EXIT_NOT_FOUND = 127, /* it is not there */
	EXEC_EXIT_SIGNAL = 128,    /* plus the number of the signal that ended it */
};

struct exec_options {
	char *const *argv;     /* NULL-terminated, not empty; looked up in PATH */
	int64_t grace_ms;      /* from the beginning of a drain to KILL */
	bool grace_given;      /* it holds where a notice does not say by when, too */
	const char *notice;    /* sources, as of notice/watch.h; NULL: auto */
	bool no_acknowledge;   /* the platform is not told that it may go on */
	const char *stop_file; /* a drain begins when it exists; NULL: none */
	int stop_signal;
	enum stop_to stop_to;
	bool wait_all;         /* wait for descendants that outlive the command,
	                        * instead of ending them */
};

/* Runs the command to its end and sets *code to the exit code for this process:
 * the command's, or one of enum exec_exit. An error is returned only when the
 * command was not started; *code says which.
 *
 * The command leads a process group of its own and dies with this process
 * (PDEATHSIG); what it inherits is unchanged otherwise, SIGPIPE excepted, which
 * is as by default. This process becomes a subreaper and reaps whatever comes to
 * it; children that it had before are left alone.
 *
 * INT, TERM, HUP, the stop file or a notice of the platform begin a drain: the control page flips and the
 * notice file appears, then the stop signal goes out (stop_target.h); after
 * grace_ms (at a notice: in time before its deadline), or at an INT during the drain, all descendants are killed. Every
 * other signal that can be caught is forwarded to where the stop signal would go.
 * What this process was started to ignore it goes on ignoring (nohup). On a
 * terminal: exec_tty.h.
 *
 * For a process with one thread that has nothing else to do. Signals stay
 * blocked afterwards, so that a late one does not spoil the exit code. */
enum status exec_run(const struct exec_options *opt, int *code, struct error *e) MUST_USE;

#endif
