/* ebb gc: housekeeping of a state folder. */
#include <string.h>

#include "base/str.h"
#include "cli/common.h"
#include "worker/care.h"

struct gc_values {
	const char *state;
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
	{0, "json", OPTION_FLAG, offsetof(struct gc_values, json), NULL, "for programs"},
	{0, "state", OPTION_TEXT, offsetof(struct gc_values, state), "DIR",
	    "the state folder (default $EBB_STATE, else .ebb)"},
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

static void report_text(const struct care_report *r, bool dry_run, struct buf *b)
{
	buf_printf(b, "%s %lld private files of void attempts, %lld folders of dead workers, "
	    "%lld logs, %lld runs; the state is ", dry_run ? "would remove" : "removed",
	    (long long)r->private_files, (long long)r->worker_folders, (long long)r->logs,
	    (long long)r->runs);
	str_size(b, r->bytes_after);
	buf_str(b, " (was ");
	str_size(b, r->bytes_before);
	buf_str(b, ")\n");
}

static void report_json(const struct care_report *r, struct buf *b)
{
	buf_printf(b, "{\"ebb_gc\":1,\"private_files\":%lld,\"worker_folders\":%lld,\"logs\":%lld,"
	    "\"runs\":%lld,\"bytes_before\":%lld,\"bytes_after\":%lld}\n",
	    (long long)r->private_files, (long long)r->worker_folders, (long long)r->logs,
	    (long long)r->runs, (long long)r->bytes_before, (long long)r->bytes_after);
}

static int gc_main(int argc, char **argv)
{
	struct gc_values v = {.care = care_default()};
	struct care_report report;
	struct common_view view;
	struct buf b = {0};
	struct error e;
	int code;
	int next;
	enum status st;

	if (!common_parse(&verb_gc, argc, argv, &v, &next, &code))
		return code;
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
	.usage = "ebb gc [options]",
	.summary = "ebb gc: remove what dead attempts left, old logs and old runs",
	.text = "Runs by itself after a run, once a day or when the state outgrows its cap.\n"
	    "\nexamples:\n  ebb gc --dry-run\n  ebb gc --logs 1d --runs 0s\n",
	.options = gc_options,
	.run = gc_main,
};
