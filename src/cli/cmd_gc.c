/* ebb gc: housekeeping of a state folder. */
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "base/sys.h"
#include "cli/common.h"
#include "worker/care.h"
#include "worker/outputs.h"

struct gc_values {
	const char *state;
	const char *forget;
	const char *left_over;
	bool dry_run;
	bool json;
	struct care_options care;
};

static const struct option gc_options[] = {
	{'n', "dry-run", OPTION_FLAG, offsetof(struct gc_values, dry_run), NULL,
	    "count, remove nothing"},
	{0, "logs", OPTION_DURATION, offsetof(struct gc_values, care.good_log_ms), "AGE",
	    "logs of shards that are done go when older (default 7d)"},
	{0, "failed-logs", OPTION_DURATION, offsetof(struct gc_values, care.failed_log_ms), "AGE",
	    "logs of the others (default 30d)"},
	{0, "runs", OPTION_DURATION, offsetof(struct gc_values, care.run_ms), "AGE",
	    "finished runs go when older (default 30d)"},
	{0, "state-max", OPTION_SIZE, offsetof(struct gc_values, care.max_bytes), "SIZE",
	    "cap on the whole folder (default 10GiB); outputs are never touched"},
	{0, "forget", OPTION_TEXT, offsetof(struct gc_values, forget), "RUN",
	    "nothing but this: remove that run, finished or not; its outputs\n"
	    "                          stay, and any other run may replace them"},
	{0, "left-over", OPTION_TEXT, offsetof(struct gc_values, left_over), "RUN",
	    "nothing but this: remove outputs of earlier lists of that run that no\n"
	    "                          item makes any more, if nobody changed them since"},
	{0, "json", OPTION_FLAG, offsetof(struct gc_values, json), NULL, "for programs"},
	{0, "state", OPTION_TEXT, offsetof(struct gc_values, state), "DIR",
	    "the state folder (default $EBB_STATE, else .ebb)"},
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

/* ---- one run ---- */

struct left_over {
	struct buf out;
	int64_t n[OUTPUTS_CHANGED + 1];
	bool dry_run;
	bool json;
};

static void tell_left(void *arg, const char *name, enum outputs_fate fate)
{
	static const char *const words[] = {"removed", "gone already:", "kept, changed since:"};
	static const char *const fates[] = {"removed", "gone", "changed"};
	struct left_over *x = arg;

	if (x->json) {
		buf_printf(&x->out, "%s{\"output\":", x->n[0] + x->n[1] + x->n[2] > 0 ? "," : "");
		str_json(&x->out, name, strlen(name));
		buf_printf(&x->out, ",\"fate\":\"%s\"}", fates[fate]);
	} else {
		buf_printf(&x->out, "%s ", x->dry_run && fate == OUTPUTS_REMOVED ? "would remove"
		    : words[fate]);
		str_display(&x->out, name, strlen(name), 0);
		buf_char(&x->out, '\n');
	}
	x->n[fate]++;
}

static enum status remove_left(struct common_view *view, struct left_over *x, struct error *e)
{
	enum status st;

	if (view->run.state != RUN_FINISHED)
		return error_set(e, ST_CONFIG, "%s is not finished, so it is not known yet what its "
		    "list leaves over", view->run.name);
	if (x->json)
		buf_str(&x->out, "{\"ebb_gc\":1,\"left_over\":[");
	st = outputs_remove_left(view->state, view->ledger, view->run.id, x->dry_run, tell_left, x,
	    e);
	if (x->json)
		buf_str(&x->out, "]}\n");
	else if (x->n[0] + x->n[1] + x->n[2] == 0 && st == ST_OK)
		buf_printf(&x->out, "%s has no outputs left over\n", view->run.name);
	return st;
}

static enum status forget_one(struct common_view *view, struct left_over *x, struct error *e)
{
	enum status st = x->dry_run ? ST_OK
	    : care_forget_run(view->state, view->ledger, &view->run, e);

	if (st == ST_OK && x->json)
		buf_printf(&x->out, "{\"ebb_gc\":1,\"runs\":1}\n");
	else if (st == ST_OK)
		buf_printf(&x->out, "%s %s; its outputs stay, and any run may replace them\n",
		    x->dry_run ? "would forget" : "forgot", view->run.name);
	return st;
}

/* The exit code. */
static int one_run_main(const struct gc_values *v)
{
	struct left_over x = {.dry_run = v->dry_run, .json = v->json};
	const char *run = v->forget != NULL ? v->forget : v->left_over;
	struct common_view view = {0};
	struct error e;
	int fd = -1;
	int code;
	enum status st = run[0] == '\0' || (v->forget != NULL && v->left_over != NULL)
	    ? error_set(&e, ST_CONFIG, "--forget or --left-over need one RUN, such as r7")
	    : common_view_open(v->state, run, true, &view, &e);

	if (st != ST_OK)
		return common_fail(st, &e);
	st = care_hold_run(view.state, view.ledger, &view.run, &fd, &e);
	if (st == ST_OK)
		st = v->forget != NULL ? forget_one(&view, &x, &e) : remove_left(&view, &x, &e);
	if (fd != -1)
		(void)sys_close(fd);
	common_view_close(&view);
	code = common_print(&x.out);
	if (st == ST_OK && code == EXIT_DONE && x.n[OUTPUTS_CHANGED] > 0) {
		log_line(LOG_WARN, "%lld of them %s changed by others since: remove by hand what "
		    "is not needed", (long long)x.n[OUTPUTS_CHANGED],
		    x.n[OUTPUTS_CHANGED] == 1 ? "was" : "were");
		return EXIT_SOME_FAILED;
	}
	if (st == ST_OK)
		return code;
	code = common_fail(st, &e);
	return st == ST_BUSY ? EXIT_ALREADY_RUNNING : code;
}

/* ---- all ---- */

static void report_text(const struct care_report *r, bool dry_run, struct buf *b)
{
	buf_printf(b, "%s %lld private files of void attempts, %lld folders of dead workers, "
	    "%lld logs, %lld runs, %lld names of outputs that are gone; the state is ",
	    dry_run ? "would remove" : "removed",
	    (long long)r->private_files, (long long)r->worker_folders, (long long)r->logs,
	    (long long)r->runs, (long long)r->names);
	str_size(b, r->bytes_after);
	buf_str(b, " (was ");
	str_size(b, r->bytes_before);
	buf_str(b, ")\n");
}

static void report_json(const struct care_report *r, struct buf *b)
{
	buf_printf(b, "{\"ebb_gc\":1,\"private_files\":%lld,\"worker_folders\":%lld,\"logs\":%lld,"
	    "\"runs\":%lld,\"names\":%lld,\"bytes_before\":%lld,\"bytes_after\":%lld}\n",
	    (long long)r->private_files, (long long)r->worker_folders, (long long)r->logs,
	    (long long)r->runs, (long long)r->names, (long long)r->bytes_before,
	    (long long)r->bytes_after);
}

static int gc_main(int argc, char **argv)
{
	struct gc_values v = {.care = care_default()};
	struct care_report report;
	struct common_view view = {0};
	struct buf b = {0};
	struct error e;
	int code;
	const char *words[COMMON_WORDS_MAX + 1];
	enum status st;

	if (!common_parse(&verb_gc, argc, argv, &v, words, &code))
		return code;
	if (v.forget != NULL || v.left_over != NULL)
		return one_run_main(&v);
	v.care.dry_run = v.dry_run;
	st = common_view_open(v.state, NULL, true, &view, &e);
	if (st != ST_OK)
		return common_fail(st, &e);
	st = care_run(view.state, view.ledger, &v.care, &report, &e);
	common_view_close(&view);
	if (st != ST_OK && st != ST_FULL)
		return common_fail(st, &e);
	if (v.json)
		report_json(&report, &b);
	else
		report_text(&report, v.dry_run, &b);
	code = common_print(&b);
	return st == ST_FULL ? common_fail(st, &e) : code;
}

const struct verb verb_gc = {
	.name = "gc",
	.max_words = 0,
	.usage = "ebb gc [options]",
	.summary = "ebb gc: remove what dead attempts left, old logs and old runs",
	.text = "Runs by itself after a run, once a day or when the state outgrows its cap.\n"
	    "\nexamples:\n  ebb gc --dry-run\n  ebb gc --logs 1d --runs 0s\n"
	    "  ebb gc --forget r7\n  ebb gc --left-over r7 --dry-run\n",
	.options = gc_options,
	.run = gc_main,
};
