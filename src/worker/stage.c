/* What the newest look at the stages of a run means. */
#include "worker/work.h"

void stages_sum(const struct work *w, struct ledger_stage *out)
{
	size_t i;

	ledger_stages_sum(NULL, 0, out);
	for (i = 0; i < w->n_stages; i++)
		ledger_stages_add(out, &w->stage[i].last);
}

/* The stage that a source reads from; NULL when it reads from none. */
static const struct stage *upstream(const struct stage *g, size_t source)
{
	const struct spec_source *from = &g->spec->source[source];
	int number;

	if (from->kind != SOURCE_STAGE)
		return NULL;
	number = pipeline_find(g->w->pipeline, from->text);
	return number < 0 ? NULL : &g->w->stage[number];
}

bool stage_inputs_ready(const struct stage *g)
{
	size_t i;

	for (i = 0; i < g->spec->n_sources; i++) {
		const struct stage *up = upstream(g, i);

		if (up != NULL && !up->last.sealed)
			return false;
	}
	return true;
}

bool stage_is_planned(const struct stage *g)
{
	enum status st;
	struct error e;

	if (g->plan_wanted)
		return false;
	return g->planner == NULL ? g->last.plan_complete : planner_done(g->planner, &st, &e);
}

bool stage_can_be_planned(const struct stage *g)
{
	return g->w->opt->input.list != NULL || g->spec->n_sources > 0;
}

int64_t stage_allowance(const struct stage *g)
{
	int64_t share = g->last.planned * g->spec->allow_failed_ppm / 1000000;

	return share > g->spec->allow_failed ? share : g->spec->allow_failed;
}

bool stage_ends_run(const struct stage *g)
{
	return g->spec->stop_on_failed && !g->last.sealed && !g->plan_wanted &&
	    ledger_stage_failed(&g->last) > stage_allowance(g) &&
	    /* Of a share, the whole has to be known. */
	    (g->last.plan_complete || g->spec->allow_failed_ppm == 0);
}

static bool is_through(const struct stage *g)
{
	const int64_t *n = g->last.count;

	return g->last.plan_complete && !g->plan_wanted &&
	    n[SHARD_READY] + n[SHARD_LEASED] + n[SHARD_ACCEPTED] == 0;
}

bool stage_may_be_sealed(const struct stage *g)
{
	return !g->last.sealed && is_through(g) && stage_inputs_ready(g) &&
	    ledger_stage_failed(&g->last) <= stage_allowance(g);
}

bool stage_is_settled(const struct stage *g)
{
	size_t i;

	if (g->last.sealed)
		return true;
	if (is_through(g))
		return !stage_may_be_sealed(g);
	/* What it waits for will never come. Sources are earlier stages, so this
	 * ends. */
	for (i = 0; i < g->spec->n_sources; i++) {
		const struct stage *up = upstream(g, i);

		if (up != NULL && !up->last.sealed && stage_is_settled(up))
			return true;
	}
	return false;
}
