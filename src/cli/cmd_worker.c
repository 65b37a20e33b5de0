/* ebb worker: one more worker for a run that somebody has begun. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/sys.h"
#include "cli/common.h"
#include "cli/cpus.h"
#include "cli/drive.h"

enum { LOOK_EVERY_MS = 100 };

struct join_values {
	const char *run;
	const char *state;
	const char *pool;
	const char *lifecycle;
	const char *stop_file;
	const char *joblog;
	const char *jobs;
	const char *log;
	bool quiet;
	bool no_stderr;
	int64_t wait_ms;
	int64_t grace_ms;
	int64_t lease_ms;
};

#define JOIN_AT(field) offsetof(struct join_values, field)

static const struct option worker_options_table[] = {
	{0, "run", OPTION_TEXT, JOIN_AT(run), "NAME", "r7, or the name of a pipeline: its newest run"},
	{'j', "jobs", OPTION_TEXT, JOIN_AT(jobs), "N",
	    "commands at once: 8, 50%, auto (default: CPU affinity and cgroup quota)"},
	{0, "pool", OPTION_TEXT, JOIN_AT(pool), "NAME", "what this worker counts among (default local)"},
	{0, "lifecycle", OPTION_CHOICE, JOIN_AT(lifecycle), "KIND",
	    "whether its machine may be taken away: spot, on-demand",
	    .choices = "spot|on-demand"},
	{0, "wait", OPTION_DURATION, JOIN_AT(wait_ms), "TIME",
	    "wait so long for the run to be started", .min = 0, .max = 86400000},
	{0, "state", OPTION_TEXT, JOIN_AT(state), "DIR",
	    "the state folder (default $EBB_STATE, else .ebb)"},
	{0, "stop-file", OPTION_TEXT, JOIN_AT(stop_file), "PATH",
	    "stop as after TERM when this file is there (default runs/RUN/stop in the state)"},
	{0, "grace", OPTION_DURATION, JOIN_AT(grace_ms), "TIME",
	    "after INT or TERM, running commands may go on so long ($EBB_GRACE, else 30s)",
	    .min = 0, .max = 86400000},
	{0, "lease", OPTION_DURATION, JOIN_AT(lease_ms), "TIME",
	    "a worker silent for so long has lost its shards (default 30s)",
	    .min = 200, .max = 86400000},
	{0, "joblog", OPTION_TEXT, JOIN_AT(joblog), "FILE",
	    "a line for each attempt, as GNU parallel's"},
	{0, "no-stderr", OPTION_FLAG, JOIN_AT(no_stderr), NULL,
	    "keep the commands' stderr in the logs only (ebb logs shows it)"},
	{'q', "quiet", OPTION_FLAG, JOIN_AT(quiet), NULL, "say nothing when all goes well"},
	{0, "log", OPTION_CHOICE, JOIN_AT(log), "FORM",
	    "text (default) or json: ebb's own lines on stderr", .choices = "text|json"},
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

#undef AT

/* What was said, in words that hold in another folder too. */
struct joining {
	struct buf state;
	struct buf stop_file;
	struct buf joblog;
	struct common_view view;
	struct pipeline pipeline;
};

static enum status make_whole(const struct join_values *v, struct joining *j, struct error *e)
{
	enum status st = common_absolute(common_state_dir(v->state), &j->state, e);

	if (st == ST_OK)
		st = common_absolute(v->stop_file, &j->stop_file, e);
	return st == ST_OK ? common_absolute(v->joblog, &j->joblog, e) : st;
}

/* One that is over is not what is waited for. */
static enum status find_run_to_join(const struct join_values *v, struct joining *j,
    struct error *e)
{
	int64_t end = sys_boot_ns() / 1000000 + v->wait_ms;
	bool said = false;
	enum status st;

	for (;;) {
		bool last = sys_boot_ns() / 1000000 >= end;

		st = common_view_open(j->state.data, v->run, false, &j->view, e);
		if (last || (st == ST_OK && j->view.run.state == RUN_ACTIVE) ||
		    (st != ST_OK && st != ST_NOT_FOUND))
			return st;
		common_view_close(&j->view);
		if (!said && !v->quiet)
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

static enum status fill_drive(const struct join_values *v, const struct joining *j,
    struct drive *d, struct error *e)
{
	enum status st = cpus_parse_jobs(v->jobs, &d->slots, e);

	d->state = j->state.data;
	d->pipeline = &j->pipeline;
	d->if_running = "join";
	d->lease_ms = v->lease_ms;
	d->state_max_bytes = (int64_t)10 << 30;
	d->pool = v->pool;
	d->lifecycle = v->lifecycle;
	d->stop_file = j->stop_file.data;
	d->joblog = j->joblog.data;
	d->show_stderr = !v->no_stderr;
	d->quiet = v->quiet;
	return st == ST_OK ? common_grace(v->grace_ms, &d->grace_ms, e) : st;
}

static int join_run(const struct join_values *v, struct joining *j, struct drive *d)
{
	struct ledger_run run = {0};
	struct error e;
	int code;
	enum status st = find_run_to_join(v, j, &e);

	if (st == ST_OK && j->view.run.state != RUN_ACTIVE) {
		code = say_over(&j->view.run, v->quiet);
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
	struct join_values v = {.grace_ms = -1, .lease_ms = 30000};
	struct joining j = {0};
	struct drive d = {0};
	struct error e;
	int code;
	const char *words[COMMON_WORDS_MAX + 1];
	enum status st;

	if (!common_parse(&verb_worker, argc, argv, &v, words, &code))
		return code;
	log_setup(LOG_INFO, v.log != NULL && strcmp(v.log, "json") == 0);
	st = v.run == NULL || v.run[0] == '\0' ? error_set(&e, ST_CONFIG, "which run? such as: ebb "
	    "worker --run r7") : make_whole(&v, &j, &e);
	if (st == ST_OK)
		st = common_check_pool(v.pool, &e);
	if (st == ST_OK)
		st = fill_drive(&v, &j, &d, &e);
	code = st == ST_OK ? join_run(&v, &j, &d) : common_fail(st, &e);
	pipeline_free(&j.pipeline);
	buf_free(&j.state);
	buf_free(&j.stop_file);
	buf_free(&j.joblog);
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
	    "only read by who started it.\n"
	    "Exit: 0 all done, 1 some failed or cancelled, 2 usage or no such run, 3 state\n"
	    "unreachable, 75 stopped by TERM, ebb drain or a stop file, or the run was started\n"
	    "anew: start it again; 130 by Ctrl-C.\n",
	.options = worker_options_table,
	.run = worker_main,
};
