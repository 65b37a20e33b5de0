/* The control page, version 1: how ebb and a running task talk. It is a plain
 * file of EBB_CONTROL_SIZE bytes, named by $EBB_CONTROL, meant to be mapped shared.
 * docs/task-contract.md is its description for every language; libebb
 * (ebb/ebb.h) is the way to use it from C.
 *
 * All numbers are in the machine's own byte order and naturally aligned; each is
 * written with one store or one pwrite(2). One side only ever writes the first
 * half, the other side the second half; but before an attempt begins ebb writes
 * all of it. A number that is said to be written last has release order, and is
 * to be read with acquire order before what it covers. A kernel may copy the 8
 * bytes of a pwrite in parts: who depends on such a number (`answered`,
 * `deadline_boot_ns`) reads it until it was the same twice.
 *
 * The page may be given to another attempt after this one has ended: a task
 * compares `epoch` with $EBB_EPOCH when it attaches, and takes the page for
 * absent when they differ. While ebb prepares it for the next, `epoch` is 0.
 *
 * What is reserved is 0, and is ignored by who does not know it: a later ebb may
 * give it a meaning without raising the version. */
#ifndef EBB_CONTROL_H
#define EBB_CONTROL_H

#include <stdint.h>

#define EBB_CONTROL_MAGIC "EBBCTRL" /* and its NUL: 8 bytes */

enum {
	EBB_CONTROL_VERSION = 1, /* raised when an old reader would be misled */
	EBB_CONTROL_SIZE = 4096,
	EBB_CONTROL_TASK = 2048  /* where the task's half begins */
};

/* Why `stop` was set. */
enum ebb_stop_reason {
	EBB_STOP_NONE = 0,
	EBB_STOP_NOTICE = 1,  /* the machine is about to be taken away */
	EBB_STOP_DRAIN = 2,   /* somebody asked this worker to stop */
	EBB_STOP_TIMEOUT = 3, /* the attempt's own time is over */
	EBB_STOP_CANCEL = 4   /* the run was cancelled: nothing will go on from here */
};

/* What ebb plans for this attempt after `stop`. */
enum ebb_stop_plan {
	EBB_PLAN_NONE = 0,
	EBB_PLAN_FINISH = 1,     /* it is expected to be done before the deadline */
	EBB_PLAN_CHECKPOINT = 2, /* save, then exit with the checkpoint code */
	EBB_PLAN_HAND_BACK = 3   /* what is not saved will be done again elsewhere */
};

/* The answer to a checkpoint request. */
enum ebb_answer {
	EBB_ANSWER_DURABLE = 0, /* saved: the next attempt begins there */
	EBB_ANSWER_FENCED = 1,  /* somebody else has the shard now: stop */
	EBB_ANSWER_FAILED = 2,  /* not saved; the one before still holds */
	EBB_ANSWER_REFUSED = 3  /* the request makes no sense (an offset that goes back) */
};

struct ebb_control {
	/* ebb's half */
	char magic[8];
	uint32_t version;
	uint32_t size;             /* EBB_CONTROL_SIZE */
	uint64_t epoch;            /* of the attempt that the page is for; written last */
	int64_t deadline_boot_ns;  /* CLOCK_BOOTTIME; 0: none known */
	uint32_t reason;           /* enum ebb_stop_reason */
	uint32_t plan;             /* enum ebb_stop_plan */
	uint32_t stop;             /* 0: go on; else stop. Written last of these four */
	uint32_t answer;           /* enum ebb_answer, to request number `answered` */
	uint64_t answered;         /* written after `answer` */
	uint32_t save;             /* 1: a checkpoint now would be wise; 0 again once one is
	                            * durable. Pages of older ebbs have 0 here */
	uint32_t ebb_reserved32;
	uint8_t ebb_reserved[EBB_CONTROL_TASK - 64];

	/* the task's half */
	uint64_t requested;        /* number of checkpoint requests made; written after
	                            * `offset`, by whoever holds a flock on the file */
	int64_t offset;            /* how far the input is processed: bytes where it
	                            * comes on stdin, else what the task likes */
	uint64_t progress_done;    /* in the task's own units */
	uint64_t progress_total;   /* 0: not known */
	int64_t progress_boot_ns;  /* CLOCK_BOOTTIME of both; written last of the three */
	uint32_t done;             /* 1: exit 0 means done, even after a stop */
	uint32_t task_reserved32;
	uint8_t task_reserved[EBB_CONTROL_SIZE - EBB_CONTROL_TASK - 48];
};

#endif
