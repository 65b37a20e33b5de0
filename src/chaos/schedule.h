/* When each action of an experiment comes, drawn from a seed. Pure: times are ms since
 * the first shard began. */
#ifndef EBB_CHAOS_SCHEDULE_H
#define EBB_CHAOS_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct chaos_action;
struct schedule;

#define SCHEDULE_NEVER INT64_MAX

enum { SCHEDULE_AT_MS = 2000 }; /* of an action that does not say when */

/* The actions are borrowed. Each draws from a seed of its own, so that another one
 * beside it changes nothing. NULL without memory. */
struct schedule *schedule_create(const struct chaos_action *actions, size_t n,
    uint64_t seed) MUST_USE;
void schedule_destroy(struct schedule *s); /* NULL is fine */

/* When the next one is due; SCHEDULE_NEVER. */
int64_t schedule_next_ms(const struct schedule *s);
/* The earliest that is due by now (of several at the same moment the first in the
 * list), which is planned again if it comes again; false: none is. */
bool schedule_take(struct schedule *s, int64_t now_ms, size_t *action) MUST_USE;

#endif
