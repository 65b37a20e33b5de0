/* ebb chaos run: a pipeline with its machines taken away, and whether that shows. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "chaos/experiment.h"
#include "chaos/rehearsal.h"
#include "chaos/verdict.h"
#include "cli/cmd_chaos.h"
#include "cli/common.h"
#include "cli/pipeline_file.h"
#include "pipeline/keys.h"
#include "pipeline/yaml.h"

struct chaos_run_values {
	const char *targets;
	const char *action;
	const char *says;
	const char *pool;
	const char *zone;
	const char *lifecycle;
	const char *trace;
	const char *cloud;
	const char *junit;
	const char *json;
	const char *reference;
	const char *run;
	const char *state;
	const char *folder;
	struct option_texts set;
	int64_t at_ms;
	int64_t every_ms;
	int64_t jitter_ms;
	int64_t mean_ms;
	int64_t for_ms;
	int64_t speed;
	int64_t workers;
	int64_t slots;
	int64_t window_ms;
	int64_t replace_ms;
	int64_t lease_ms;
	int64_t timeout_ms;
	int64_t seed;
	bool real_windows;
	bool no_reference;
	bool keep;
	bool quiet;
};

#define CHAOS_RUN_AT(field) offsetof(struct chaos_run_values, field)
#define CHAOS_RUN_DAY (INT64_C(24) * 3600 * 1000)

static const struct option chaos_run_options[] = {
	{0, "targets", OPTION_TEXT, CHAOS_RUN_AT(targets), "WHICH",
	    "ALL, COUNT(n) or PERCENT(n) of the machines, drawn each time (PERCENT(50))"},
	{0, "action", OPTION_CHOICE, CHAOS_RUN_AT(action), "WHAT",
	    "notice (default), rebalance, kill, freeze, hibernate, capacity, trace", ACTION_CHOICES},
	{0, "says", OPTION_CHOICE, CHAOS_RUN_AT(says), "WHAT", "of a notice: terminate (default) or stop",
	    "stop|terminate"},
	{0, "at", OPTION_DURATION, CHAOS_RUN_AT(at_ms), "TIME",
	    "when, from the first shard's start (2s, or a quarter of what the pipeline takes)", NULL,
	    0, CHAOS_RUN_DAY},
	{0, "every", OPTION_DURATION, CHAOS_RUN_AT(every_ms), "TIME", "again and again (once)", NULL, 10,
	    CHAOS_RUN_DAY},
	{0, "jitter", OPTION_DURATION, CHAOS_RUN_AT(jitter_ms), "TIME",
	    "each of these earlier or later by up to TIME", NULL, 0, CHAOS_RUN_DAY},
	{0, "random", OPTION_DURATION, CHAOS_RUN_AT(mean_ms), "MEAN",
	    "again and again at random, MEAN apart on average", NULL, 10, CHAOS_RUN_DAY},
	{0, "for", OPTION_DURATION, CHAOS_RUN_AT(for_ms), "TIME",
	    "how long freeze, hibernate (5s) and capacity (20s) last", NULL, 10, CHAOS_RUN_DAY},
	{0, "trace", OPTION_TEXT, CHAOS_RUN_AT(trace), "FILE",
	    "as many machines as FILE says at each tick (JSON; docs/chaos.md)"},
	{0, "speed", OPTION_COUNT, CHAOS_RUN_AT(speed), "N", "so many times as fast as the trace was (1)",
	    NULL,
	    1, 1000000},
	{0, "pool", OPTION_TEXT, CHAOS_RUN_AT(pool), "NAME", "the pool of the machines (spot)"},
	{0, "zone", OPTION_TEXT, CHAOS_RUN_AT(zone), "NAME", "their zone (the cloud's usual one)"},
	{0, "lifecycle", OPTION_CHOICE, CHAOS_RUN_AT(lifecycle), "KIND", "spot (default) or on-demand",
	    "spot|on-demand"},
	{0, "workers", OPTION_COUNT, CHAOS_RUN_AT(workers), "N", "machines, each with one worker (4)",
	    NULL, 1,
	    64},
	{0, "slots", OPTION_COUNT, CHAOS_RUN_AT(slots), "N", "commands at once on each (1)", NULL, 1,
	    1024},
	{0, "cloud", OPTION_CHOICE, CHAOS_RUN_AT(cloud), "NAME",
	    "whose notices: aws, gcp (default), azure",
	    EXPERIMENT_CLOUDS},
	{0, "notice-window", OPTION_DURATION, CHAOS_RUN_AT(window_ms), "TIME",
	    "from a notice to the machine's end (10s)", NULL, 100, CHAOS_RUN_DAY},
	{0, "real-windows", OPTION_FLAG, CHAOS_RUN_AT(real_windows), NULL,
	    "from a notice to the end as the cloud has it (aws 120s, gcp 30s, azure 30s)"},
	{0, "replace-after", OPTION_DURATION, CHAOS_RUN_AT(replace_ms), "TIME",
	    "a lost machine has a successor after TIME (1s)", NULL, 0, CHAOS_RUN_DAY},
	{0, "lease", OPTION_DURATION, CHAOS_RUN_AT(lease_ms), "TIME", "of the workers (2s)", NULL, 200,
	    CHAOS_RUN_DAY},
	{0, "seed", OPTION_COUNT, CHAOS_RUN_AT(seed), "N",
	    "draw the same again (a new one, which is printed)",
	    NULL, 0, INT64_MAX},
	{0, "set", OPTION_TEXTS, CHAOS_RUN_AT(set), "NAME=VALUE",
	    "the value of a parameter of the pipeline"},
	{0, "reference", OPTION_TEXT, CHAOS_RUN_AT(reference), "DIR",
	    "compare with the outputs in DIR instead of running it without interruptions first"},
	{0, "no-reference", OPTION_FLAG, CHAOS_RUN_AT(no_reference), NULL, "compare no bytes"},
	{0, "run", OPTION_TEXT, CHAOS_RUN_AT(run), "NAME",
	    "interrupt the workers of a run that goes on now, instead of a rehearsal of its own"},
	{0, "state", OPTION_TEXT, CHAOS_RUN_AT(state), "DIR",
	    "with --run: the state folder (default $EBB_STATE, else .ebb)"},
	{0, "timeout", OPTION_DURATION, CHAOS_RUN_AT(timeout_ms), "TIME",
	    "not finished after TIME is a verdict too (10m)", NULL, 100, 30 * CHAOS_RUN_DAY},
	{0, "json", OPTION_TEXT, CHAOS_RUN_AT(json), "FILE", "write the verdict there as JSON too"},
	{0, "junit", OPTION_TEXT, CHAOS_RUN_AT(junit), "FILE", "write it there as JUnit's XML too"},
	{0, "folder", OPTION_TEXT, CHAOS_RUN_AT(folder), "DIR",
	    "make the private folder in DIR (default $TMPDIR, else /tmp)"},
	{0, "keep", OPTION_FLAG, CHAOS_RUN_AT(keep), NULL, "leave it there even when all is well"},
	{'q', "quiet", OPTION_FLAG, CHAOS_RUN_AT(quiet), NULL, "say nothing but the verdict"},
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

struct chaos_job {
	struct experiment x;
	struct pipeline_problems problems; /* of the experiment's file */
	const char *file;           /* that they are in */
	struct pipeline_file pipeline;
	struct common_view view;    /* of --run */
	struct buf path;            /* of the pipeline */
	const char **set;           /* the file's, and those given */
	size_t n_set;
	struct buf uncompared;
	char program[PATH_MAX];
};

static void chaos_job_free(struct chaos_job *j)
{
	experiment_free(&j->x);
	pipeline_problems_free(&j->problems);
	pipeline_file_free(&j->pipeline);
	common_view_close(&j->view);
	buf_free(&j->path);
	buf_free(&j->uncompared);
	free(j->set);
}

/* ---- what is said on the command line ---- */

static bool chaos_run_says_action(const struct chaos_run_values *v)
{
	return v->targets != NULL || v->action != NULL || v->says != NULL || v->at_ms >= 0 ||
	    v->every_ms > 0 || v->jitter_ms > 0 || v->mean_ms > 0 || v->for_ms > 0 ||
	    v->trace != NULL || v->speed > 0;
}

static bool chaos_run_says_fleet(const struct chaos_run_values *v)
{
	return v->pool != NULL || v->zone != NULL || v->lifecycle != NULL || v->workers > 0 ||
	    v->slots > 0;
}

static enum status chaos_run_copy_name(const char *option, const char *text, char **out,
    struct error *e)
{
	if (text == NULL)
		return ST_OK;
	if (!key_is_name(text))
		return error_set(e, ST_CONFIG, "%s: \"%.60s\" is no name; expected at most 48 letters, "
		    "digits, _ . and -, a letter or digit first", option, text);
	*out = mem_dup(text, strlen(text));
	return *out != NULL ? ST_OK : error_set(e, ST_NO_MEMORY, "out of memory");
}

static enum status chaos_run_fill_action(const struct chaos_run_values *v, struct experiment *x,
    struct error *e)
{
	struct chaos_action *a = experiment_add_action(x);
	enum status st;

	if (a == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	a->kind = v->action != NULL ? key_choice(ACTION_CHOICES, v->action)
	    : v->trace != NULL ? ACTION_TRACE : ACTION_NOTICE;
	a->stops = v->says != NULL && strcmp(v->says, "stop") == 0;
	a->at_ms = v->at_ms;
	a->every_ms = v->every_ms;
	a->jitter_ms = v->jitter_ms;
	a->mean_ms = v->mean_ms;
	a->for_ms = v->for_ms;
	a->speed = v->speed > 0 ? v->speed : 1;
	a->lifecycle = v->lifecycle == NULL ? LIFECYCLE_ANY
	    : strcmp(v->lifecycle, "spot") == 0 ? LIFECYCLE_SPOT : LIFECYCLE_ON_DEMAND;
	st = v->targets != NULL ? targets_parse(v->targets, &a->targets, e) : ST_OK;
	if (st != ST_OK)
		return error_prefix(e, st, "--targets");
	st = chaos_run_copy_name("--pool", v->pool, &a->pool, e);
	if (st == ST_OK)
		st = chaos_run_copy_name("--zone", v->zone, &a->zone, e);
	if (st == ST_OK && v->trace != NULL && (a->trace = mem_dup(v->trace, strlen(v->trace))) == NULL)
		st = error_set(e, ST_NO_MEMORY, "out of memory");
	return st == ST_OK ? action_finish(a, e) : st;
}

static enum status chaos_run_fill_pool(const struct chaos_run_values *v, struct experiment *x,
    struct error *e)
{
	struct fleet_pool *p = experiment_add_pool(x);
	enum status st;

	if (p == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	if (v->workers > 0)
		p->workers = (int)v->workers;
	if (v->slots > 0)
		p->slots = (int)v->slots;
	if (v->lifecycle != NULL && strcmp(v->lifecycle, "on-demand") == 0)
		p->lifecycle = LIFECYCLE_ON_DEMAND;
	st = chaos_run_copy_name("--pool", v->pool != NULL ? v->pool : "spot", &p->name, e);
	return st == ST_OK ? chaos_run_copy_name("--zone", v->zone, &p->zone, e) : st;
}

static enum status chaos_run_fill_rest(const struct chaos_run_values *v, struct experiment *x,
    struct error *e)
{
	if (v->real_windows && v->window_ms >= 0)
		return error_set(e, ST_CONFIG, "--real-windows and --notice-window exclude each other");
	if (v->no_reference && v->reference != NULL)
		return error_set(e, ST_CONFIG, "--reference and --no-reference exclude each other");
	if (v->cloud != NULL)
		x->cloud = key_choice(EXPERIMENT_CLOUDS, v->cloud);
	if (v->window_ms >= 0 || v->real_windows)
		x->window_ms = v->window_ms;
	if (v->replace_ms >= 0)
		x->replace_ms = v->replace_ms;
	if (v->lease_ms >= 0)
		x->lease_ms = v->lease_ms;
	if (v->timeout_ms >= 0)
		x->timeout_ms = v->timeout_ms;
	if (v->seed >= 0)
		x->seed = v->seed;
	return ST_OK;
}

/* ---- the file ---- */

/* A name in the experiment's file is seen from its folder. */
static enum status chaos_run_beside(const char *file, const char *name, struct buf *out,
    struct error *e)
{
	if (name[0] != '/') {
		file_dirname(file, out);
		buf_char(out, '/');
	}
	buf_str(out, name);
	return buf_check(out, e);
}

static enum status chaos_run_place_traces(struct chaos_job *j, struct error *e)
{
	enum status st = ST_OK;
	size_t i;

	for (i = 0; st == ST_OK && i < j->x.n_actions; i++) {
		struct chaos_action *a = &j->x.action[i];
		struct buf path = {0};

		if (a->trace == NULL)
			continue;
		st = chaos_run_beside(j->file, a->trace, &path, e);
		if (st == ST_OK) {
			free(a->trace);
			a->trace = path.data;
		}
	}
	return st;
}

static enum status chaos_run_read_experiment(const struct chaos_run_values *v,
    const struct buf *text,
    struct chaos_job *j, struct error *e)
{
	enum status st = experiment_read(text->data, text->len, j->file, &j->problems, &j->x, e);

	if (st == ST_OK && chaos_run_says_action(v))
		st = error_set(e, ST_CONFIG, "%s says what is done: leave --action, --targets, --at and "
		    "the like out", j->file);
	if (st == ST_OK && j->x.n_pools > 0 && chaos_run_says_fleet(v))
		st = error_set(e, ST_CONFIG, "%s says which machines there are: leave --workers, "
		    "--slots, --pool and the like out", j->file);
	if (st == ST_OK)
		st = chaos_run_beside(j->file, j->x.pipeline, &j->path, e);
	if (st == ST_OK)
		st = chaos_run_place_traces(j, e);
	if (st == ST_OK && j->x.n_pools == 0)
		st = chaos_run_fill_pool(v, &j->x, e);
	return st;
}

static enum status chaos_run_read_file_of(const struct chaos_run_values *v, struct chaos_job *j,
    struct error *e)
{
	struct buf text = {0};
	enum status st;

	buf_str(&text, "");
	st = file_read(j->file, YAML_SIZE_MAX, &text, e);
	if (st == ST_OK && experiment_is_one(text.data, text.len)) {
		st = chaos_run_read_experiment(v, &text, j, e);
	} else if (st == ST_OK) {
		buf_str(&j->path, j->file);
		st = chaos_run_fill_pool(v, &j->x, e);
		if (st == ST_OK)
			st = chaos_run_fill_action(v, &j->x, e);
	}
	buf_free(&text);
	if (st == ST_OK)
		st = chaos_run_fill_rest(v, &j->x, e);
	return st == ST_OK ? experiment_check(&j->x, e) : st;
}

/* Those on the command line win over those of the same name in the file. */
static enum status chaos_run_join_sets(const struct chaos_run_values *v, struct chaos_job *j,
    struct error *e)
{
	size_t i;
	size_t k;

	j->set = mem_zero((v->set.n + j->x.n_set + 1) * sizeof(*j->set));
	if (j->set == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	for (i = 0; i < j->x.n_set; i++) {
		size_t len = strcspn(j->x.set[i], "=") + 1;

		for (k = 0; k < v->set.n && strncmp(v->set.list[k], j->x.set[i], len) != 0; k++)
			;
		if (k == v->set.n)
			j->set[j->n_set++] = j->x.set[i];
	}
	for (k = 0; k < v->set.n; k++)
		j->set[j->n_set++] = v->set.list[k];
	return ST_OK;
}

/* Wrong files are told of before anything is started. */
static enum status chaos_run_read_pipeline(struct chaos_job *j, struct error *e)
{
	const struct option_texts set = {.list = j->set, .n = j->n_set};
	const struct pipeline *p = &j->pipeline.pipeline;
	enum status st = pipeline_file_read(j->path.data, &set, &j->pipeline, e);
	size_t i;

	if (st == ST_OK)
		st = pipeline_file_check_outputs(&j->pipeline, j->path.data, e);
	for (i = 0; st == ST_OK && i < p->n_stages; i++) {
		if (p->stage[i].output == SPEC_OUT_STDOUT)
			buf_printf(&j->uncompared, "%s%s", j->uncompared.len > 0 ? ", " : "",
			    p->stage[i].name);
	}
	return st;
}

/* ---- a run that goes on ---- */

static enum status chaos_run_find_running(const struct chaos_run_values *v, struct chaos_job *j,
    struct error *e)
{
	enum status st = chaos_run_says_fleet(v) && (v->workers > 0 || v->slots > 0)
	    ? error_set(e, ST_CONFIG, "--workers and --slots are of a fleet of its own, and not of "
	    "--run") : chaos_run_fill_action(v, &j->x, e);

	if (st == ST_OK)
		st = chaos_run_fill_rest(v, &j->x, e);
	if (st == ST_OK && j->x.action[0].kind != ACTION_NOTICE &&
	    j->x.action[0].kind != ACTION_KILL && j->x.action[0].kind != ACTION_FREEZE)
		st = error_set(e, ST_CONFIG, "--action %s: not with --run, as there is no cloud that is "
		    "played; expected notice, kill or freeze", v->action != NULL ? v->action : "trace");
	if (st == ST_OK)
		st = common_view_open(v->state, v->run, false, &j->view, e);
	if (st == ST_OK && !common_is_running(&j->view, &j->view.run))
		st = error_set(e, ST_CONFIG, "nobody works on %s now: there is nothing to interrupt",
		    j->view.run.name);
	return st;
}

/* ---- the verdict ---- */

static enum status chaos_run_write_file(const char *path, const struct buf *text, struct error *e)
{
	enum status st = path != NULL ? buf_check(text, e) : ST_OK;

	return path != NULL && st == ST_OK
	    ? file_write_durable(path, text->data, text->len, 0644, e) : st;
}

/* `why` it could not be held; NULL: it was. */
static enum status chaos_run_write_files(const struct chaos_run_values *v,
    const struct verdict *verdict, const char *why, struct error *e)
{
	struct buf json = {0};
	struct buf junit = {0};
	enum status st;

	if (why != NULL) {
		verdict_json_error(why, verdict->folder, &json);
		verdict_junit_error(why, &junit);
	} else {
		verdict_json(verdict, &json);
		verdict_junit(verdict, &junit);
	}
	st = chaos_run_write_file(v->json, &json, e);
	if (st == ST_OK)
		st = chaos_run_write_file(v->junit, &junit, e);
	buf_free(&json);
	buf_free(&junit);
	return st;
}

static int chaos_run_show_error(const struct chaos_run_values *v, const struct verdict *verdict,
    enum status why, const struct error *e)
{
	struct error second;
	enum status st = chaos_run_write_files(v, verdict, e->text, &second);
	int code = common_fail(why, e);

	if (verdict->folder != NULL)
		log_line(LOG_INFO, "kept: %s", verdict->folder);
	if (st != ST_OK)
		(void)common_fail(st, &second);
	return code;
}

static int chaos_run_show_verdict(const struct chaos_run_values *v, const struct verdict *verdict)
{
	struct buf b = {0};
	struct error e;
	int code;
	enum status st = chaos_run_write_files(v, verdict, NULL, &e);

	verdict_text(verdict, &b);
	code = common_print(&b);
	if (st != ST_OK)
		return common_fail(st, &e);
	return code == EXIT_DONE && !verdict_holds(verdict) ? EXIT_SOME_FAILED : code;
}

static int chaos_run_hold(const struct chaos_run_values *v, struct chaos_job *j)
{
	const char *tmp = getenv("TMPDIR");
	const struct rehearsal_options o = {
		.x = &j->x, .quiet = v->quiet, .program = j->program, .pipeline = j->path.data,
		.set = (char *const *)(void *)j->set, .n_set = j->n_set,
		.parent = v->folder != NULL ? v->folder : tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp",
		.keep = v->keep, .no_reference = v->no_reference, .reference = v->reference,
		.state = j->view.state != NULL ? state_dir(j->view.state) : NULL,
		.run = v->run != NULL ? j->view.run.name : NULL,
	};
	struct rehearsal *r = NULL;
	struct verdict verdict;
	bool interrupted;
	struct error e;
	int code;
	enum status st = rehearsal_run(&o, &verdict, &r, &interrupted, &e);

	verdict.uncompared = j->uncompared;
	memset(&j->uncompared, 0, sizeof(j->uncompared));
	if (v->run == NULL)
		verdict.cloud = v->cloud != NULL ? v->cloud : j->x.cloud == 0 ? "aws"
		    : j->x.cloud == 1 ? "gcp" : "azure";
	code = st != ST_OK ? chaos_run_show_error(v, &verdict, st, &e) : interrupted ? EXIT_INTERRUPTED
	    : chaos_run_show_verdict(v, &verdict);
	verdict_free(&verdict);
	rehearsal_free(r);
	return code;
}

/* ---- the verb ---- */

/* Whether the file can be made when all is over. */
static enum status chaos_run_check_target(const char *option, const char *path, struct error *e)
{
	struct buf folder = {0};
	struct stat was;
	enum status st = ST_OK;

	if (path == NULL)
		return ST_OK;
	file_dirname(path, &folder);
	st = buf_check(&folder, e);
	if (st == ST_OK && (path[0] == '\0' || (stat(path, &was) == 0 && S_ISDIR(was.st_mode))))
		st = error_set(e, ST_CONFIG, "%s: \"%.200s\" is no name of a file", option, path);
	else if (st == ST_OK && access(folder.data, W_OK | X_OK) != 0)
		st = error_set(e, ST_CONFIG, "%s: %.200s cannot be made: %.200s: %s; expected a folder "
		    "that can be written", option, path, folder.data, strerror(errno));
	buf_free(&folder);
	return st;
}

/* What would be found out after everything has run. */
static enum status chaos_run_check_places(const struct chaos_run_values *v, struct error *e)
{
	struct stat is;
	enum status st = chaos_run_check_target("--json", v->json, e);

	if (st == ST_OK)
		st = chaos_run_check_target("--junit", v->junit, e);
	if (st == ST_OK && v->reference != NULL && stat(v->reference, &is) != 0)
		st = error_set(e, ST_CONFIG, "--reference %.200s: %s; expected the folder with the "
		    "outputs", v->reference, strerror(errno));
	else if (st == ST_OK && v->reference != NULL && !S_ISDIR(is.st_mode))
		st = error_set(e, ST_CONFIG, "--reference %.200s is no folder; expected the one with the "
		    "outputs", v->reference);
	if (st == ST_OK && v->state != NULL && v->run == NULL)
		st = error_set(e, ST_CONFIG, "--state is that of a run that goes on; expected it with "
		    "--run NAME, as a rehearsal of a file has a state of its own");
	return st;
}

static enum status chaos_run_fill_job(const struct chaos_run_values *v, const char *file,
    struct chaos_job *j, struct error *e)
{
	ssize_t n = readlink("/proc/self/exe", j->program, sizeof(j->program) - 1);
	enum status st;

	if (n <= 0)
		return error_os(e, errno, "cannot tell where this program is");
	experiment_init(&j->x);
	st = chaos_run_check_places(v, e);
	if (st != ST_OK)
		return st;
	if (v->run != NULL && file != NULL)
		return error_set(e, ST_CONFIG, "either --run, a run that goes on, or a file: not both");
	if (v->run != NULL)
		return chaos_run_find_running(v, j, e);
	if (file == NULL)
		return error_set(e, ST_CONFIG, "which file? such as: ebb chaos run pipeline.yaml");
	j->file = file;
	st = chaos_run_read_file_of(v, j, e);
	if (st == ST_OK)
		st = chaos_run_join_sets(v, j, e);
	return st == ST_OK ? chaos_run_read_pipeline(j, e) : st;
}

static int chaos_run_main(int argc, char **argv)
{
	struct chaos_run_values v = {.at_ms = -1, .window_ms = -1, .replace_ms = -1, .lease_ms = -1,
	    .timeout_ms = -1, .seed = -1};
	const char *words[COMMON_WORDS_MAX + 1];
	struct chaos_job j = {0};
	struct error e;
	int code;
	enum status st;

	if (!common_parse(&verb_chaos_run, argc, argv, &v, words, &code)) {
		free(v.set.list);
		return code;
	}
	st = chaos_run_fill_job(&v, words[0], &j, &e);
	if (st == ST_OK) {
		code = chaos_run_hold(&v, &j);
	} else if (j.problems.n > 0) {
		pipeline_file_say(j.file, &j.problems, LOG_ERROR, "");
		code = EXIT_BAD_USAGE;
	} else if (j.pipeline.problems.n > 0) {
		pipeline_file_say(j.path.data, &j.pipeline.problems, LOG_ERROR, "");
		code = EXIT_BAD_USAGE;
	} else {
		code = common_fail(st, &e);
	}
	chaos_job_free(&j);
	free(v.set.list);
	return code;
}

const struct verb verb_chaos_run = {
	.name = "chaos run",
	.max_words = 1,
	.usage = "ebb chaos run [options] FILE\n       ebb chaos run --run NAME [options]",
	.summary = "ebb chaos run: take a pipeline's machines away, and see whether that shows",
	.text = "FILE is a pipeline, or an experiment (docs/chaos.md). It runs twice in a private\n"
	    "folder, your own state and outputs are not touched: once undisturbed, then on a\n"
	    "fleet of workers, each on a machine that is played, with a metadata service that\n"
	    "gives notice. Then the bytes of all outputs are compared, and the ledger is looked\n"
	    "through.\n"
	    "\nexamples:\n"
	    "  ebb chaos run --targets 'PERCENT(50)' logs.yaml\n"
	    "  ebb chaos run --action kill --targets 'COUNT(1)' --every 5s logs.yaml\n"
	    "  ebb chaos run experiment.yaml --junit chaos.xml\n"
	    "  ebb chaos run --run logs --state /srv/ebb --action freeze --for 10s\n"
	    "\nExit: 0 all checks hold, 1 some do not (what there is to look at is kept), or no\n"
	    "interruption was felt, which shows nothing (INCONCLUSIVE); 2 usage or file,\n"
	    "3 it could not be held, 130 by Ctrl-C.\n",
	.options = chaos_run_options,
	.run = chaos_run_main,
};
