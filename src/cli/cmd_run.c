/* ebb run: a pipeline from its file. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "cli/common.h"
#include "cli/cpus.h"
#include "cli/drive.h"
#include "cli/pipeline_file.h"
#include "cli/precheck.h"
#include "cli/result_file.h"

struct run_values {
	const char *result;
	const char *state;
	const char *if_running;
	const char *log;
	const char *joblog;
	const char *pool;
	const char *lifecycle;
	const char *stop_file;
	const char *jobs;
	struct option_texts set;
	bool fresh;
	bool quiet;
	bool no_stderr;
	int64_t grace_ms;
	int64_t lease_ms;
	int64_t state_max;
};

#define AT(field) offsetof(struct run_values, field)

static const struct option run_options[] = {
	{0, "set", OPTION_TEXTS, AT(set), "NAME=VALUE",
	    "the value of a parameter of the file; may be given several times"},
	{'j', "jobs", OPTION_TEXT, AT(jobs), "N",
	    "commands at once: 8, 50%, auto (default: CPU affinity and cgroup quota)"},
	{0, "fresh", OPTION_FLAG, AT(fresh), NULL, "start over instead of going on"},
	{0, "if-running", OPTION_CHOICE, AT(if_running), "WHAT",
	    "when the same run is running already: fail (default), wait, join, skip",
	    .choices = "fail|wait|join|skip"},
	{0, "state", OPTION_TEXT, AT(state), "DIR",
	    "where progress is kept (default $EBB_STATE, else .ebb beside the file)"},
	{0, "grace", OPTION_DURATION, AT(grace_ms), "TIME",
	    "after INT or TERM, running commands may go on so long ($EBB_GRACE, else 30s)",
	    .min = 0, .max = 86400000},
	{0, "lease", OPTION_DURATION, AT(lease_ms), "TIME",
	    "a worker silent for so long has lost its shards (default 30s)",
	    .min = 200, .max = 86400000},
	{0, "pool", OPTION_TEXT, AT(pool), "NAME", "what this worker counts among (default local)"},
	{0, "lifecycle", OPTION_CHOICE, AT(lifecycle), "KIND",
	    "whether its machine may be taken away: spot, on-demand",
	    .choices = "spot|on-demand"},
	{0, "stop-file", OPTION_TEXT, AT(stop_file), "PATH",
	    "stop as after TERM when this file is there (default runs/RUN/stop in the state)"},
	{0, "joblog", OPTION_TEXT, AT(joblog), "FILE", "a line for each attempt, as GNU parallel's"},
	{0, "result", OPTION_TEXT, AT(result), "FILE",
	    "write there as JSON what became of it, whatever that is (docs/formats.md)"},
	{0, "state-max", OPTION_SIZE, AT(state_max), "SIZE",
	    "old logs and runs go when the state grows past it (default 10GiB)"},
	{0, "no-stderr", OPTION_FLAG, AT(no_stderr), NULL,
	    "keep the commands' stderr in the logs only (ebb logs shows it)"},
	{'q', "quiet", OPTION_FLAG, AT(quiet), NULL, "say nothing when all goes well"},
	{0, "log", OPTION_CHOICE, AT(log), "FORM", "text (default) or json: ebb's own lines on stderr",
	    .choices = "text|json"},
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

#undef AT

/* What the format knows and this ebb does not do. */
static void check_built(const struct pipeline_file *f, struct pipeline_problems *errors)
{
	size_t i;

	for (i = 0; i < f->pipeline.n_stages; i++) {
		const struct pipeline_spot *at = &f->spots.stage[i].output;

		if (f->pipeline.stage[i].output == SPEC_OUT_FILES)
			pipeline_problem_add(errors, at->line, at->column, "output: {files: ...} is not "
			    "built yet; let the command write one file to stdout, such as an archive");
	}
}

/* All that is wrong with the file, in one go. */
static int run_problems(const char *path, const struct pipeline_problems *p)
{
	size_t i;

	for (i = 0; i < p->n; i++) {
		struct buf b = {0};

		pipeline_problem_text(&p->list[i], path, &b);
		if (!b.failed)
			log_line(LOG_ERROR, "%s", b.data);
		buf_free(&b);
	}
	if (p->more > 0)
		log_line(LOG_ERROR, "%s: %zu more problems", path, p->more);
	return EXIT_BAD_USAGE;
}

/* What one start needs, to be freed in any case. */
struct run_job {
	struct drive d;
	struct pipeline_file file;
	struct precheck pre;
	struct buf state;
	struct buf joblog;
	struct buf result;
	struct buf stop_file;
};

static void job_free(struct run_job *j)
{
	precheck_free(&j->pre);
	pipeline_file_free(&j->file);
	buf_free(&j->state);
	buf_free(&j->joblog);
	buf_free(&j->result);
	buf_free(&j->stop_file);
}

/* Names on the command line are seen from where ebb was started, those in the file
 * from its own folder. */
static enum status read_job(const char *path, const struct run_values *v, struct run_job *j,
    struct error *e)
{
	const char *state = v->state != NULL ? v->state : getenv("EBB_STATE");
	enum status st = common_absolute(v->result, &j->result, e);

	if (st == ST_OK && path == NULL)
		st = error_set(e, ST_CONFIG, "which file? such as: ebb run pipeline.yaml");
	if (st == ST_OK)
		st = common_absolute(state, &j->state, e);
	if (st == ST_OK)
		st = common_absolute(v->joblog, &j->joblog, e);
	if (st == ST_OK)
		st = common_absolute(v->stop_file, &j->stop_file, e);
	if (st == ST_OK)
		st = common_check_pool(v->pool, e);
	if (st == ST_OK)
		st = pipeline_file_read(path, &v->set, &j->file, e);
	if (st == ST_OK)
		st = pipeline_file_enter(path, e);
	if (st == ST_OK)
		st = precheck_run(&j->file.pipeline, &j->file.spots, &j->pre, e);
	if (st == ST_OK)
		check_built(&j->file, &j->pre.errors);
	return st;
}

static enum status make_job(const char *path, const struct run_values *v, struct run_job *j,
    struct error *e)
{
	struct drive *d = &j->d;
	enum status st = read_job(path, v, j, e);

	if (st == ST_OK)
		st = cpus_parse_jobs(v->jobs, &d->slots, e);
	if (st == ST_OK)
		st = common_grace(v->grace_ms, &d->grace_ms, e);
	d->state = j->state.data;
	d->pipeline = &j->file.pipeline;
	d->input.plan = true;
	d->if_running = v->if_running;
	d->fresh = v->fresh;
	d->skip_done = !v->fresh;
	d->lease_ms = v->lease_ms;
	d->state_max_bytes = v->state_max;
	d->joblog = j->joblog.data;
	d->result = j->result.data;
	d->pool = v->pool;
	d->lifecycle = v->lifecycle;
	d->stop_file = j->stop_file.data;
	d->show_stderr = !v->no_stderr;
	d->quiet = v->quiet;
	if (st == ST_OK && j->pre.errors.n > 0)
		st = error_set(e, ST_CONFIG, "%s cannot be run as it is", path);
	return st;
}

static int run_main(int argc, char **argv)
{
	struct run_values v = {.if_running = "fail", .grace_ms = -1, .lease_ms = 30000,
	    .state_max = (int64_t)10 << 30};
	struct run_job j = {0};
	struct error e;
	int code;
	const char *words[COMMON_WORDS_MAX + 1];
	enum status st;

	if (!common_parse(&verb_run, argc, argv, &v, words, &code)) {
		free(v.set.list);
		return code;
	}
	log_setup(LOG_INFO, v.log != NULL && strcmp(v.log, "json") == 0);
	st = make_job(words[0], &v, &j, &e);
	if (st == ST_OK) {
		code = drive_run(&j.d);
	} else {
		struct result_facts facts = {.error = e.text};

		if (j.file.problems.n > 0)
			facts.code = run_problems(words[0], &j.file.problems);
		else if (j.pre.errors.n > 0)
			facts.code = run_problems(words[0], &j.pre.errors);
		else
			facts.code = common_fail(st, &e);
		code = result_file_write(j.result.data, &facts);
	}
	job_free(&j);
	free(v.set.list);
	return code;
}

const struct verb verb_run = {
	.name = "run",
	.max_words = 1,
	.usage = "ebb run [options] FILE",
	.summary = "ebb run: run the pipeline in a file, or go on with it",
	.text = "examples:\n"
	    "  ebb run sections.yaml\n"
	    "  ebb run logs.yaml --set date=2026-07-01 --state /srv/ebb\n"
	    "\n"
	    "All names in the file are seen from its folder. The same file with the same\n"
	    "parameters is the same run: after Ctrl-C, a crash or a reboot the same line goes\n"
	    "on. A finished run does again what has changed since: commands, files that they\n"
	    "name, inputs, outputs that are gone. ebb validate FILE says what would run.\n"
	    "Exit: 0 all done, 1 some failed, 2 file or usage, 3 state unreachable, 4 already\n"
	    "running, 75 stopped by TERM, 130 by Ctrl-C.\n",
	.options = run_options,
	.run = run_main,
};
