/* What slots without a child are in: waiting, when there is work that they will
 * get or may get, or idle. */
#include "base/sys.h"
#include "worker/account.h"
#include "worker/work.h"

/* Something of it will come to a slot, or may come, as far as this worker knows. */
static bool may_give_work(const struct stage *g)
{
	if (g->last.sealed || stage_is_settled(g))
		return false;
	if (g->recovering || !stage_inputs_ready(g) || !stage_is_planned(g))
		return true;
	/* Ready now, ready later (a delay), or nobody has asked yet. */
	return !g->nothing_ready || g->claim_at_boot_ms != 0;
}

static const struct stage *expected(const struct work *w)
{
	size_t i;

	if (w->ready.n > 0)
		return w->ready.first->g;
	for (i = 0; i < w->n_stages; i++) {
		if (may_give_work(&w->stage[i]))
			return &w->stage[i];
	}
	return NULL;
}

void resting_step(struct work *w)
{
	const struct stage *g = w->stop_level > 0 ? NULL : expected(w);

	account_rest(w->account, g == NULL ? SPENT_IDLE : SPENT_WAITING,
	    account_stage(g == NULL ? -1 : g->number), sys_boot_ns());
}
