/* What a run knows of the machines of its workers, and of the pools that they are of:
 * `ebb status` and `ebb report` say the same. */
#ifndef EBB_OBSERVE_POOLS_H
#define EBB_OBSERVE_POOLS_H

#include "ledger/ledger.h"

/* A pool from which no replacement is to be asked for now (model/pool.h). */
struct pool_ban {
	char pool[LEDGER_NAME_MAX];
	int hits;                /* machines taken of late */
	int64_t until_boot_ms;
	int64_t until_wall_ms;   /* the same moment, for people */
};

struct pools {
	struct ledger_asking asking;
	struct pool_ban *ban;    /* by their names' first appearance */
	size_t n_bans;
};

/* Of a run. Only pools of spot workers can be under a ban. On an error there is nothing
 * to free. */
enum status pools_load(struct ledger *l, int64_t run, struct pools *out, struct error *e) MUST_USE;
void pools_free(struct pools *p);

/* Lines for people, each with an indent of two and its end; nothing where there is nothing
 * to tell. */
void pools_text(const struct pools *p, struct buf *out);
/* Members of an object, with a comma before each. */
void pools_json(const struct pools *p, struct buf *out);

/* Of a worker's machine, where it is known: ", on i-0ab, in us-east-1a, a
 * m5.large, warned". */
void pools_worker_text(const struct ledger_worker *w, struct buf *out);
/* Members of an object, with a comma before each. */
void pools_worker_json(const struct ledger_worker *w, struct buf *out);

#endif
