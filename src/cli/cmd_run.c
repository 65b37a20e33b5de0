/* ebb run: a pipeline from its file. */
#include <assert.h>
#include <stdlib.h>

#include "base/log.h"
#include "cli/common.h"
#include "cli/pipeline_file.h"
#include "cli/precheck.h"
#include "cli/result_file.h"
#include "cli/work_options.h"

struct run_values {
	struct work_values work; /* first */
	struct option_texts set;
	const char *output_root;
};

static_assert(offsetof(struct run_values, work) == 0, "the rows of work_options.h count from it");

static const struct option run_options[] = {
	{0, "set", OPTION_TEXTS, offsetof(struct run_values, set), "NAME=VALUE",
	    "the value of a parameter of the file; may be given several times"},
	WORK_JOBS_OPTION,
	{0, "state", OPTION_TEXT, WORK_AT(state), "DIR",
	    "where progress is kept (default $EBB_STATE, else .ebb beside the file)"},
	{0, "output-root", OPTION_TEXT, offsetof(struct run_values, output_root), "DIR",
	    "outputs go below DIR instead of the file's folder; inputs stay where they are"},
	WORK_START_OPTIONS,
	WORK_OPTIONS,
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

/* What one start needs, to be freed in any case. */
struct run_job {
	struct drive d;
	struct pipeline_file file;
	struct precheck pre;
	struct work_paths paths;
	struct buf root;
};

static void job_free(struct run_job *j)
{
	precheck_free(&j->pre);
	pipeline_file_free(&j->file);
	work_paths_free(&j->paths);
	buf_free(&j->root);
}

/* Names on the command line are seen from where ebb was started, those in the file
 * from its own folder. */
static enum status read_job(const char *path, struct run_values *v, struct run_job *j,
    struct error *e)
{
	enum status st;

	if (v->work.state == NULL)
		v->work.state = getenv("EBB_STATE");
	st = work_make_absolute(&v->work, &j->paths, e);
	if (st == ST_OK && path == NULL)
		st = error_set(e, ST_CONFIG, "which file? such as: ebb run pipeline.yaml");
	if (st == ST_OK)
		st = work_fill_drive(&v->work, &j->d, e);
	if (st == ST_OK)
		st = pipeline_file_read(path, &v->set, &j->file, e);
	if (st == ST_OK && v->output_root != NULL && v->output_root[0] == '\0')
		st = error_set(e, ST_CONFIG, "--output-root: expected a folder");
	if (st == ST_OK && v->output_root != NULL)
		st = common_absolute(v->output_root, &j->root, e);
	if (st == ST_OK && v->output_root != NULL)
		st = pipeline_file_set_root(&j->file, path, j->root.data, e);
	if (st == ST_OK)
		st = pipeline_file_enter(path, e);
	return st == ST_OK ? precheck_run(&j->file.pipeline, &j->file.spots, &j->pre, e) : st;
}

static enum status make_job(const char *path, struct run_values *v, struct run_job *j,
    struct error *e)
{
	struct drive *d = &j->d;
	enum status st = read_job(path, v, j, e);

	d->pipeline = &j->file.pipeline;
	d->input.plan = true;
	d->skip_done = !d->fresh;
	if (st == ST_OK && j->pre.errors.n > 0)
		st = error_set(e, ST_CONFIG, "%s cannot be run as it is", path);
	return st;
}

static int run_main(int argc, char **argv)
{
	struct run_values v = {.work = WORK_DEFAULTS};
	struct run_job j = {0};
	struct error e;
	int code;
	const char *words[COMMON_WORDS_MAX + 1];
	enum status st;

	if (!common_parse(&verb_run, argc, argv, &v, words, &code)) {
		free(v.set.list);
		return code;
	}
	work_log_setup(&v.work);
	st = make_job(words[0], &v, &j, &e);
	if (st == ST_OK) {
		code = drive_run(&j.d);
	} else {
		struct result_facts facts = {.error = e.text, .code = EXIT_BAD_USAGE};

		if (j.file.problems.n > 0)
			pipeline_file_say(words[0], &j.file.problems, LOG_ERROR, "");
		else if (j.pre.errors.n > 0)
			pipeline_file_say(words[0], &j.pre.errors, LOG_ERROR, "");
		else
			facts.code = common_fail(st, &e);
		code = result_file_write(v.work.result, &facts);
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
