#include "chaos/schedule.h"

#include <stdlib.h>

#include "base/mem.h"
#include "chaos/draw.h"
#include "chaos/experiment.h"

struct schedule_planned {
	int64_t base_ms; /* without jitter */
	int64_t next_ms;
	uint64_t random;
};

struct schedule {
	const struct chaos_action *action;
	size_t n;
	struct schedule_planned planned[];
};

static void schedule_plan_at(struct schedule_planned *p, const struct chaos_action *a,
    int64_t base_ms)
{
	int64_t jitter = 0;

	if (a->jitter_ms > 0)
		jitter = (int64_t)draw_below(&p->random, (uint64_t)a->jitter_ms * 2 + 1) - a->jitter_ms;
	p->base_ms = base_ms;
	p->next_ms = base_ms + jitter > 0 ? base_ms + jitter : 0;
}

static void schedule_plan_first(struct schedule_planned *p, const struct chaos_action *a)
{
	if (a->at_ms >= 0)
		schedule_plan_at(p, a, a->at_ms);
	else if (a->mean_ms > 0)
		schedule_plan_at(p, a, draw_wait_ms(&p->random, a->mean_ms));
	else
		schedule_plan_at(p, a, a->every_ms > 0 ? a->every_ms : SCHEDULE_AT_MS);
}

static void schedule_plan_again(struct schedule_planned *p, const struct chaos_action *a)
{
	if (a->every_ms > 0)
		schedule_plan_at(p, a, p->base_ms + a->every_ms);
	else if (a->mean_ms > 0)
		schedule_plan_at(p, a, p->base_ms + 1 + draw_wait_ms(&p->random, a->mean_ms));
	else
		p->next_ms = SCHEDULE_NEVER;
}

struct schedule *schedule_create(const struct chaos_action *actions, size_t n, uint64_t seed)
{
	struct schedule *s = mem_zero(sizeof(*s) + n * sizeof(s->planned[0]));
	size_t i;

	if (s == NULL)
		return NULL;
	s->action = actions;
	s->n = n;
	for (i = 0; i < n; i++) {
		uint64_t state = seed + i;

		s->planned[i].random = draw_bits(&state);
		schedule_plan_first(&s->planned[i], &actions[i]);
	}
	return s;
}

void schedule_destroy(struct schedule *s)
{
	free(s);
}

static size_t schedule_earliest(const struct schedule *s)
{
	size_t best = 0;
	size_t i;

	for (i = 1; i < s->n; i++) {
		if (s->planned[i].next_ms < s->planned[best].next_ms)
			best = i;
	}
	return best;
}

int64_t schedule_next_ms(const struct schedule *s)
{
	return s->n == 0 ? SCHEDULE_NEVER : s->planned[schedule_earliest(s)].next_ms;
}

bool schedule_take(struct schedule *s, int64_t now_ms, size_t *action)
{
	int64_t next_ms = schedule_next_ms(s);
	size_t i;

	if (next_ms == SCHEDULE_NEVER || next_ms > now_ms)
		return false;
	i = schedule_earliest(s);
	*action = i;
	schedule_plan_again(&s->planned[i], &s->action[i]);
	return true;
}
