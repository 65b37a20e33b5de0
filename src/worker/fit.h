/* Does what a stage saves fit into the time that a platform leaves? By what its
 * checkpoints have cost so far. */
#ifndef EBB_WORKER_FIT_H
#define EBB_WORKER_FIT_H

#include "ledger/ledger.h"
#include "model/pipeline.h"

struct fit_say {
	void (*say)(void *arg, size_t stage, const char *text);
	void *arg;
};

/* Says for each stage whose checkpoints took too long for the window of one of the
 * `platforms` (bits of notice/detect.h; 0, on a machine of none: any of them) how long they
 * took and what is left there. The ledger is only read; what cannot be read is left out. */
void fit_check(struct ledger *l, const struct ledger_run *run, const struct pipeline *p,
    unsigned platforms, const struct fit_say *out);

#endif
