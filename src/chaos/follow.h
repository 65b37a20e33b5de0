/* Looking at a run in its ledger while others work on it. */
#ifndef EBB_CHAOS_FOLLOW_H
#define EBB_CHAOS_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "ledger/ledger.h"

struct follow {
	const char *path;     /* of the ledger */
	const char *name;     /* of the run */
	struct ledger *ledger;/* NULL: it is not there yet */
	struct ledger_run run;
	uint64_t stamp;
	bool known;           /* the run is in it */
	bool begun;           /* its first shard was claimed */
	bool over;            /* finished or cancelled */
	struct ledger_stage all;
};

/* Starts zeroed but for the first two, which are borrowed. Opens the ledger once it is
 * there, and looks when it has changed. Trouble that may pass is none. */
enum status follow_look(struct follow *f, struct error *e) MUST_USE;
void follow_close(struct follow *f);

#endif
