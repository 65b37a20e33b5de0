/* Which stage comes after which. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "pipeline/reader.h"

static const char *ref_name(const struct reader *r, const struct stage_ref *ref)
{
	return r->out->stage[ref->stage].source[ref->source].text;
}

static void unknown_stage(struct reader *r, const struct stage_ref *ref)
{
	const char *name = ref_name(r, ref);
	const char *near = NULL;
	size_t best = 64;
	size_t i;

	for (i = 0; i < r->out->n_stages; i++) {
		const char *known = r->out->stage[i].name;
		size_t apart = str_distance(name, strlen(name), known, strlen(known));

		if (apart < best && key_is_near(name, strlen(name), known, strlen(known))) {
			best = apart;
			near = known;
		}
	}
	if (near != NULL)
		pipeline_problem_add(r->problems, ref->line, ref->column,
		    "there is no stage \"%.60s\"; did you mean \"%s\"?", name, near);
	else
		pipeline_problem_add(r->problems, ref->line, ref->column, "there is no stage "
		    "\"%.60s\"; expected a name under stages:, such as \"%s\"", name,
		    r->out->stage[0].name);
}

/* Which stages there are, and what each waits for. */
struct graph {
	size_t n;
	bool placed[PIPELINE_STAGES_MAX];
	bool reads[PIPELINE_STAGES_MAX][PIPELINE_STAGES_MAX];
};

/* A stage that this one reads and that is not placed yet, or n. */
static size_t waits_for(const struct graph *g, size_t stage)
{
	size_t i;

	for (i = 0; i < g->n && !(g->reads[stage][i] && !g->placed[i]); i++)
		;
	return i;
}

static void report_at_ref(struct reader *r, size_t from, size_t to, const char *text)
{
	size_t i;

	for (i = 0; i < r->n_refs; i++) {
		if (r->refs[i].stage == from &&
		    strcmp(ref_name(r, &r->refs[i]), r->out->stage[to].name) == 0) {
			pipeline_problem_add(r->problems, r->refs[i].line, r->refs[i].column,
			    "the stages form a cycle: %s", text);
			return;
		}
	}
}

/* Of the stages that are not placed each waits for another, so that following
 * them from any leads into a cycle. */
static void report_cycle(struct reader *r, const struct graph *g, size_t from)
{
	bool seen[PIPELINE_STAGES_MAX] = {false};
	struct buf text = {0};
	size_t start = from;
	size_t at;

	for (at = from; !seen[at]; at = waits_for(g, at))
		seen[at] = true;
	/* Told from the stage that the file has first. */
	start = at;
	for (from = waits_for(g, at); from != at; from = waits_for(g, from))
		start = from < start ? from : start;
	at = start;
	do {
		buf_printf(&text, "%s reads ", r->out->stage[at].name);
		at = waits_for(g, at);
	} while (at != start);
	buf_str(&text, r->out->stage[start].name);
	if (text.failed)
		reader_no_memory(r);
	else
		report_at_ref(r, start, waits_for(g, start), text.data);
	buf_free(&text);
}

/* Numbers in the file, in the order to be; false after a problem. */
static bool find_order(struct reader *r, struct graph *g, size_t *order)
{
	size_t done;
	size_t i;

	for (done = 0; done < g->n; done++) {
		for (i = 0; i < g->n && (g->placed[i] || waits_for(g, i) < g->n); i++)
			;
		if (i == g->n)
			break;
		g->placed[i] = true;
		order[done] = i;
	}
	for (i = 0; i < g->n && g->placed[i]; i++)
		;
	if (i < g->n)
		report_cycle(r, g, i);
	return i == g->n;
}

static void bring_into(struct reader *r, const size_t *order)
{
	size_t n = r->out->n_stages;
	struct spec *stages = mem_zero((n + 1) * sizeof(*stages));
	struct pipeline_stage_spots *spots = mem_zero((n + 1) * sizeof(*spots));
	size_t i;

	if (stages == NULL || spots == NULL) {
		free(stages);
		free(spots);
		reader_no_memory(r);
		return;
	}
	for (i = 0; i < n; i++) {
		stages[i] = r->out->stage[order[i]];
		spots[i] = r->spots->stage[order[i]];
	}
	free(r->out->stage);
	free(r->spots->stage);
	r->out->stage = stages;
	r->spots->stage = spots;
}

void order_stages(struct reader *r)
{
	struct graph *g = mem_zero(sizeof(*g));
	size_t order[PIPELINE_STAGES_MAX] = {0};
	bool known = true;
	size_t i;

	if (g == NULL) {
		reader_no_memory(r);
		return;
	}
	g->n = r->out->n_stages;
	for (i = 0; i < r->n_refs; i++) {
		int on = pipeline_find(r->out, ref_name(r, &r->refs[i]));

		if (on >= 0) {
			g->reads[r->refs[i].stage][on] = true;
		} else {
			unknown_stage(r, &r->refs[i]);
			known = false;
		}
	}
	if (find_order(r, g, order) && known)
		bring_into(r, order);
	free(g);
}
