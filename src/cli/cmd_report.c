/* ebb report: where the time went. */
#include "base/log.h"
#include "cli/common.h"
#include "observe/report.h"

struct report_values {
	const char *state;
	const char *stage;
	int64_t shards;
	bool json;
};

enum { EVENTS_SHOWN = 200, SHARDS_SHOWN = 5 };

static const struct option report_verb_options[] = {
	{0, "json", OPTION_FLAG, offsetof(struct report_values, json), NULL,
	    "for programs; docs/formats.md describes the fields"},
	{'n', "shards", OPTION_COUNT, offsetof(struct report_values, shards), "N",
	    "so many of the slowest and of the most interrupted (default 5)", .min = 0,
	    .max = 10000},
	{0, "stage", OPTION_TEXT, offsetof(struct report_values, stage), "NAME",
	    "only the shards of that stage (default: of all)"},
	{0, "state", OPTION_TEXT, offsetof(struct report_values, state), "DIR",
	    "the state folder (default $EBB_STATE, else .ebb)"},
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

static int report_main(int argc, char **argv)
{
	struct report_values v = {.shards = SHARDS_SHOWN};
	struct report_options opt = {.events = EVENTS_SHOWN};
	struct common_view view;
	struct report report;
	struct buf b = {0};
	struct error e;
	const char *state;
	int code;
	const char *words[COMMON_WORDS_MAX + 1];
	enum status st;

	if (!common_parse(&verb_report, argc, argv, &v, words, &code))
		return code;
	st = common_view_open(v.state, words[0], false, &view, &e);
	if (st != ST_OK)
		return common_fail(st, &e);
	state = common_state_name(&view.run, common_is_running(&view, &view.run));
	opt.stage = v.stage;
	opt.shards = (size_t)v.shards;
	st = report_load(view.ledger, &view.run, &opt, &report, &e);
	if (st == ST_OK && v.json)
		report_show_json(&report, &view.run, state, &b);
	else if (st == ST_OK)
		report_show_text(&report, &view.run, state, &b);
	if (st == ST_OK)
		report_free(&report);
	common_view_close(&view);
	return st == ST_OK ? common_print(&b) : common_fail(st, &e);
}

const struct verb verb_report = {
	.name = "report",
	.max_words = 1,
	.usage = "ebb report [options] [RUN]",
	.summary = "ebb report: where a run's time went, and which shards were the worst",
	.text = "Each second of each slot is in one column: net (attempts that count), lost (those\n"
	    "that do not), checkpoint and restore, waiting (work was there or to come, and could\n"
	    "not run yet), idle (nothing was left). Overhead is all of it over net, less 1; wall\n"
	    "over net counts the time between two workers as well. While it runs, workers say\n"
	    "what they spent with each heartbeat. Without RUN, the newest.\n"
	    "\nexamples:\n  ebb report\n  ebb report r7 --stage parse -n 20\n"
	    "  ebb report --json | jq .wall_over_net\n",
	.options = report_verb_options,
	.run = report_main,
};
