/* What a rehearsal is: a pipeline, machines, and what is done to them when. From a
 * file (docs/chaos.md). Pure. */
#ifndef EBB_CHAOS_EXPERIMENT_H
#define EBB_CHAOS_EXPERIMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "chaos/targets.h"

struct key;
struct pipeline_problems;

enum action_kind {
	ACTION_NOTICE,    /* it will be taken away, and is, at the deadline */
	ACTION_REBALANCE, /* a recommendation, and nothing else */
	ACTION_KILL,      /* gone, without a word */
	ACTION_FREEZE,    /* stands still for a while */
	ACTION_HIBERNATE, /* a notice, stands still, goes on */
	ACTION_CAPACITY,  /* notices to all spot machines; none comes back for a while */
	ACTION_TRACE,     /* as many machines as a file says */
	ACTION_KINDS,
};

/* In the order of enum action_kind. */
#define ACTION_CHOICES "notice|rebalance|kill|freeze|hibernate|capacity|trace"

enum lifecycle { LIFECYCLE_ANY = -1, LIFECYCLE_SPOT = 0, LIFECYCLE_ON_DEMAND = 1 };

struct chaos_action {
	int kind;              /* enum action_kind */
	bool stops;            /* a notice of it says stop instead of terminate */
	struct targets targets;
	int64_t at_ms;         /* from the first shard's start; -1: not said */
	int64_t every_ms;      /* again after so long; 0: once */
	int64_t jitter_ms;     /* each of these earlier or later by up to so much */
	int64_t mean_ms;       /* at random, so far apart on average; 0: not */
	int64_t for_ms;        /* freeze, hibernate, capacity; 0: not said */
	char *pool;            /* only machines of that; NULL: any; also zone */
	char *zone;
	int lifecycle;         /* enum lifecycle */
	char *trace;           /* file, as given; NULL */
	int64_t speed;         /* so many times as fast as it was */
	int line;              /* in the file; 0 */
};

struct fleet_pool {
	char *name;
	int lifecycle;         /* not LIFECYCLE_ANY */
	char *zone;            /* NULL: the cloud's usual one */
	int workers;           /* machines */
	int slots;             /* of each */
};

enum { EXPERIMENT_ACTIONS_MAX = 64, EXPERIMENT_POOLS_MAX = 16, EXPERIMENT_SETS_MAX = 256 };

struct experiment {
	char *pipeline;        /* file, as given */
	char **set;            /* NAME=VALUE */
	size_t n_set;
	int cloud;             /* which of EXPERIMENT_CLOUDS */
	int64_t window_ms;     /* of notices; -1: as the cloud's */
	int64_t replace_ms;    /* until a machine that was lost has a successor */
	int64_t lease_ms;
	int64_t timeout_ms;
	int64_t seed;          /* -1: drawn */
	struct fleet_pool *pool;
	size_t n_pools;
	struct chaos_action *action;
	size_t n_actions;
};

#define EXPERIMENT_CLOUDS "aws|gcp|azure"
enum { EXPERIMENT_CLOUD_USUAL = 1 };

/* On gcp, whose notices are heard at once, and without actions; what else is said in
 * docs/chaos.md. */
void experiment_init(struct experiment *x);
void experiment_free(struct experiment *x); /* what it owns */

/* One with everything at its default; NULL without memory. */
struct chaos_action *experiment_add_action(struct experiment *x) MUST_USE;
struct fleet_pool *experiment_add_pool(struct experiment *x) MUST_USE;

/* Whether a text is an experiment (it has the key "pipeline") and no pipeline. */
bool experiment_is_one(const char *text, size_t len);
/* Fills *out, which experiment_init made. ST_CONFIG: problems has all, *e the first.
 * *out is to be freed in any case. */
enum status experiment_read(const char *text, size_t len, const char *file,
    struct pipeline_problems *problems, struct experiment *out, struct error *e) MUST_USE;

/* Fills in when, for how long and for whom, where that is not said; ST_CONFIG: what is
 * said does not go together. */
enum status action_finish(struct chaos_action *a, struct error *e) MUST_USE;
const char *action_name(enum action_kind k);
const char *lifecycle_name(int lifecycle); /* "spot", "on-demand" */
/* All machines. */
int experiment_machines(const struct experiment *x);
/* Whether the whole goes together. */
enum status experiment_check(const struct experiment *x, struct error *e) MUST_USE;

#endif
