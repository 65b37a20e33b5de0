/* ebb worker: one more worker for a run that somebody has begun. */
#include <assert.h>
#include <poll.h>
#include <string.h>

#include "base/log.h"
#include "base/sys.h"
#include "cli/common.h"
#include "cli/work_options.h"

enum { LOOK_EVERY_MS = 100 };

struct join_values {
	struct work_values work; /* first */
	const char *run;
	int64_t wait_ms;
};

static_assert(offsetof(struct join_values, work) == 0, "the rows of work_options.h count from it");

static const struct option worker_options_table[] = {
	{0, "run", OPTION_TEXT, offsetof(struct join_values, run), "NAME",
	    "r7, or the name of a pipeline: its newest run"},
	WORK_JOBS_OPTION,
	{0, "wait", OPTION_DURATION, offsetof(struct join_values, wait_ms), "TIME",
	    "wait so long for the run to be started", .min = 0, .max = 86400000},
	{0, "state", OPTION_TEXT, WORK_AT(state), "DIR",
	    "the state folder (default $EBB_STATE, else .ebb)"},
	WORK_OPTIONS,
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

struct joining {
	struct work_paths paths;
	struct common_view view;
	struct pipeline pipeline;
};

/* One that is over is not what is waited for. */
static enum status find_run_to_join(const struct join_values *v, struct joining *j,
    struct error *e)
{
	int64_t end = sys_boot_ns() / 1000000 + v->wait_ms;
	bool said = false;
	enum status st;

	for (;;) {
		bool last = sys_boot_ns() / 1000000 >= end;

		st = common_view_open(v->work.state, v->run, false, &j->view, e);
		if (last || (st == ST_OK && j->view.run.state == RUN_ACTIVE) ||
		    (st != ST_OK && st != ST_NOT_FOUND))
			return st;
		common_view_close(&j->view);
		if (!said && !v->work.quiet)
			log_line(LOG_INFO, "waiting for %s to be started", v->run);
		said = true;
		(void)poll(NULL, 0, LOOK_EVERY_MS);
	}
}

static int say_over(const struct ledger_run *run, bool quiet)
{
	bool done = run->state == RUN_FINISHED;

	log_line(quiet && done ? LOG_DEBUG : LOG_INFO, "%s is %s: nothing to do", run->name,
	    done ? "finished" : "cancelled");
	return done ? EXIT_DONE : EXIT_SOME_FAILED;
}

/* What was said, in words that hold in another folder too. */
static enum status fill_drive(struct join_values *v, struct joining *j, struct drive *d,
    struct error *e)
{
	enum status st;

	v->work.state = common_state_dir(v->work.state);
	v->work.if_running = "join";
	st = work_make_absolute(&v->work, &j->paths, e);
	d->pipeline = &j->pipeline;
	return st == ST_OK ? work_fill_drive(&v->work, d, e) : st;
}

static int join_run(const struct join_values *v, struct joining *j, struct drive *d)
{
	struct ledger_run run = {0};
	struct error e;
	int code;
	enum status st = find_run_to_join(v, j, &e);

	if (st == ST_OK && j->view.run.state != RUN_ACTIVE) {
		code = say_over(&j->view.run, v->work.quiet);
		common_view_close(&j->view);
		return code;
	}
	if (st == ST_OK)
		st = pipeline_decode(j->view.run.spec, &j->pipeline, &e);
	if (st == ST_OK)
		st = common_enter_run(j->view.state, &j->view.run, &e);
	run = j->view.run;
	memset(&j->view.run, 0, sizeof(j->view.run));
	/* The worker forks before it opens the ledger itself. */
	common_view_close(&j->view);
	d->join = &run;
	code = st == ST_OK ? drive_run(d) : common_fail(st, &e);
	d->join = NULL;
	ledger_run_free(&run);
	return code;
}

static int worker_main(int argc, char **argv)
{
	struct join_values v = {.work = WORK_DEFAULTS};
	struct joining j = {0};
	struct drive d = {0};
	struct error e;
	int code;
	const char *words[COMMON_WORDS_MAX + 1];
	enum status st;

	if (!common_parse(&verb_worker, argc, argv, &v, words, &code))
		return code;
	work_log_setup(&v.work);
	st = v.run == NULL || v.run[0] == '\0' ? error_set(&e, ST_CONFIG, "which run? such as: ebb "
	    "worker --run r7") : fill_drive(&v, &j, &d, &e);
	code = st == ST_OK ? join_run(&v, &j, &d) : common_fail(st, &e);
	pipeline_free(&j.pipeline);
	work_paths_free(&j.paths);
	return code;
}

const struct verb verb_worker = {
	.name = "worker",
	.usage = "ebb worker --run NAME [options]",
	.summary = "ebb worker: work on a run that somebody has started, beside the others",
	.text = "examples:\n"
	    "  ebb worker --run section-sizes --pool spot --lifecycle spot\n"
	    "  ebb worker --run r7 -j4 --state /srv/ebb --wait 1h\n"
	    "\n"
	    "It works in the folder that the run was started in, plans and seals stages like\n"
	    "the one that started it, and goes on when that is gone. The list of an ebb map is\n"
	    "only read by who started it. When shards fail here that other workers then get\n"
	    "done, three in a row, it says so and leaves with 75.\n"
	    "Exit: 0 all done, 1 some failed or cancelled, 2 usage or no such run, 3 state\n"
	    "unreachable, 75 stopped by TERM, ebb drain or a stop file, or the run was started\n"
	    "anew: start it again; 130 by Ctrl-C.\n",
	.options = worker_options_table,
	.run = worker_main,
};
