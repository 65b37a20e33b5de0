/* When many machines of one pool are taken within a short time, that says something
 * of the pool and nothing of the shards that ran there: a pure function of the times
 * at which they were taken. No I/O, no clock. */
#ifndef EBB_MODEL_POOL_H
#define EBB_MODEL_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool_policy {
	int storm_hits;          /* so many machines taken (2 or more) ... */
	int64_t storm_within_ms; /* ... within so long are a storm */
	int64_t ban_ms;          /* from the hit that made it one */
	int64_t ban_max_ms;      /* doubled with each further hit of the storm up to this */
};

/* 3 within 10 minutes; 5 minutes, at most 1 h. */
struct pool_policy pool_policy_default(void);

/* Of the hits, only so many of the newest are looked at: under the default policy older
 * ones change nothing. */
enum { POOL_HITS_MAX = 64 };

/* What is to be known of the time before now; hits that are older change nothing. */
int64_t pool_history_ms(const struct pool_policy *p);

struct pool_view {
	bool storm;            /* now: an interruption counts against the pool, and not
	                        * against the shard */
	int64_t banned_until_ms; /* no replacement is to be asked from it before; 0: no ban.
	                        * Workers that it has go on. */
	int hits;              /* of the last storm_within_ms */
};

/* `hits` are the times when machines of the pool were taken, one for each machine,
 * newest first (those after `now` count as of now); all on the clock of `now`. A hit is
 * of a storm when it is the last of storm_hits within storm_within_ms; a storm ends with
 * the first hit that is not. */
struct pool_view pool_judge(const struct pool_policy *p, const int64_t *hits, size_t n,
    int64_t now_ms);

#endif
