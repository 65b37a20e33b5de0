/* A pipeline: stages in an order in which each comes after those whose output it
 * reads. `ebb map` is a pipeline of one stage. Pure. */
#ifndef EBB_MODEL_PIPELINE_H
#define EBB_MODEL_PIPELINE_H

#include "model/spec.h"

struct pipeline_param {
	char *name;
	char *value;
};

struct pipeline {
	char *name;           /* "" for `ebb map` */
	struct pipeline_param *param; /* in the order of their names */
	size_t n_params;
	int64_t drain_reserve_ms; /* kept back of a notice's time; 0: 5 s */
	int64_t hook_timeout_ms;  /* of each hook; 0: 10 s */
	char *notice;             /* sources of notices: notice/watch.h; NULL: auto */
	char *on_notice;          /* commands for a shell, or NULL */
	char *on_drained;
	char *on_rebalance;
	struct spec *stage;
	size_t n_stages;
};

enum {
	PIPELINE_STAGES_MAX = 256,
	PIPELINE_KEY_SIZE = 16,
};

void pipeline_free(struct pipeline *p); /* what it owns */

/* The stage's number, or -1. */
int pipeline_find(const struct pipeline *p, const char *stage);

enum status pipeline_encode(const struct pipeline *p, struct buf *json, struct error *e) MUST_USE;
/* ST_CORRUPT when it is not what pipeline_encode writes. */
enum status pipeline_decode(const char *json, struct pipeline *out, struct error *e) MUST_USE;

/* The run's identity. Of a named pipeline: name and parameters. Of `ebb map`:
 * everything but the list, the budgets and what only changes how results are
 * shown. `place` is the working folder as seen from the state folder, so that a
 * project may be moved as a whole. */
enum status pipeline_key(const struct pipeline *p, const char *place,
    uint8_t out[PIPELINE_KEY_SIZE], struct error *e) MUST_USE;

/* One line for people: name and parameters, or the command. */
void pipeline_title(const struct pipeline *p, struct buf *out);

/* The retry policies of the stages, in their order; lent. Their number. */
size_t pipeline_policies(const struct pipeline *p,
    const struct retry_policy *out[PIPELINE_STAGES_MAX]);

#endif
