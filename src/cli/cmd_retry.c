/* ebb retry: a fresh budget for what failed, and on it goes. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "cli/common.h"
#include "cli/cpus.h"
#include "cli/drive.h"

struct retry_values {
	const char *state;
	const char *stage;
	int64_t jobs;
	bool quiet;
};

static const struct option retry_options[] = {
	{'j', "jobs", OPTION_COUNT, offsetof(struct retry_values, jobs), "N",
	    "commands at once (default: CPU affinity and cgroup quota)", .min = 1, .max = 512},
	{'q', "quiet", OPTION_FLAG, offsetof(struct retry_values, quiet), NULL,
	    "say nothing when all goes well"},
	{0, "stage", OPTION_TEXT, offsetof(struct retry_values, stage), "NAME",
	    "only what failed in that stage (default: in any)"},
	{0, "state", OPTION_TEXT, offsetof(struct retry_values, state), "DIR",
	    "the state folder (default $EBB_STATE, else .ebb)"},
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

static int64_t count_failed(const struct common_view *v)
{
	int64_t n = 0;
	size_t i;

	for (i = v->first; i < v->end; i++)
		n += ledger_stage_failed(&v->stage[i]);
	return n;
}

/* Failures that a stage allowed are sealed with it: to run them again is to begin a
 * new generation, which forgets checkpoints. So not while a stage has work left, whose
 * checkpoints may be worth more. */
static bool begins_anew(const struct common_view *v)
{
	bool some_are_sealed = false;
	bool work_left = false;
	size_t i;

	for (i = 0; i < v->n_stages; i++) {
		const struct ledger_stage *g = &v->stage[i];

		if (!g->sealed && g->count[SHARD_READY] + g->count[SHARD_LEASED] +
		    g->count[SHARD_ACCEPTED] > 0)
			work_left = true;
		if (i >= v->first && i < v->end && g->sealed && ledger_stage_failed(g) > 0)
			some_are_sealed = true;
	}
	if (some_are_sealed && work_left)
		log_line(LOG_INFO, "%s: what is left goes on first; ebb retry once more, after that, "
		    "runs what a stage allowed to fail", v->run.name);
	return some_are_sealed && !work_left;
}

static int retry_main(int argc, char **argv)
{
	struct retry_values v = {0};
	struct common_view view;
	struct buf state = {0};
	struct pipeline pipeline = {0};
	struct drive d = {.if_running = "fail", .lease_ms = 30000, .grace_ms = 30000,
	    .state_max_bytes = (int64_t)10 << 30, .show_stderr = true};
	struct error e;
	int64_t failed;
	int code;
	const char *words[COMMON_WORDS_MAX + 1];
	enum status st;

	if (!common_parse(&verb_retry, argc, argv, &v, words, &code))
		return code;
	st = common_absolute(common_state_dir(v.state), &state, &e);
	if (st == ST_OK)
		st = common_view_open(state.data, words[0], false, &view, &e);
	if (st != ST_OK) {
		buf_free(&state);
		return common_fail(st, &e);
	}
	st = common_view_select(&view, v.stage, &e);
	failed = count_failed(&view);
	if (st == ST_OK)
		st = pipeline_decode(view.run.spec, &pipeline, &e);
	if (st == ST_OK)
		st = common_grace(-1, &d.grace_ms, &d.grace_given, &e);
	if (st == ST_OK && failed == 0)
		log_line(LOG_INFO, "%s: nothing failed, nothing to retry", view.run.name);
	else if (st == ST_OK && !view.stage[0].plan_complete &&
	    pipeline.stage[0].n_sources == 0)
		st = error_set(&e, ST_CONFIG, "the list of %s was not read to its end; start the "
		    "same line again, which retries what failed", view.run.name);
	if (st == ST_OK)
		st = common_enter_run(view.state, &view.run, &e);
	d.renew = st == ST_OK && begins_anew(&view);
	d.input.plan = d.renew;
	d.skip_done = d.renew;
	common_view_close(&view);
	if (st == ST_OK && failed > 0) {
		d.state = state.data;
		d.retry_stage = v.stage;
		d.pipeline = &pipeline;
		d.slots = v.jobs > 0 ? (int)v.jobs : cpus_available();
		d.quiet = v.quiet;
		code = drive_run(&d);
	} else {
		code = st == ST_OK ? EXIT_DONE : common_fail(st, &e);
	}
	pipeline_free(&pipeline);
	buf_free(&state);
	return code;
}

const struct verb verb_retry = {
	.name = "retry",
	.max_words = 1,
	.usage = "ebb retry [options] [RUN]",
	.summary = "ebb retry: give the failed shards of a run a fresh budget and run them",
	.text = "Without RUN, the newest. It works in the folder that the run was started in.\n"
	    "Failures that a stage allowed (allow_failed in its file) are run again once no\n"
	    "stage has work left: in a new generation, which takes over all that is done, and\n"
	    "in which failures of all stages are run again.\n"
	    "\nexamples:\n  ebb retry r7\n",
	.options = retry_options,
	.run = retry_main,
};
