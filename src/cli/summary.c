#include "cli/summary.h"

#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "cli/common.h"
#include "observe/report.h"
#include "worker/outputs.h"

/* What this start added to a counter of attempts. */
static int64_t ended(const struct worker_result *r, enum cause c)
{
	return r->after.ended[c] - r->before.ended[c];
}

static const char *verdict(const struct worker_result *r)
{
	if (r->sealed)
		return "finished";
	if (r->cancelled)
		return "cancelled";
	if (r->fatal != ST_OK || r->plan_failed)
		return "stopped";
	if (r->set_aside)
		return "set aside here";
	if (r->drained)
		return "stopped as asked";
	return r->halted ? "halted" : "ended";
}

static void first_line(const struct worker_options *opt, const struct worker_result *r,
    struct buf *b)
{
	int64_t interruptions = ended(r, CAUSE_INTERRUPTED) + ended(r, CAUSE_LOST);
	int64_t left = r->after.planned - ledger_stage_done(&r->after) - ledger_stage_failed(&r->after);

	buf_printf(b, "%s %s in ", opt->run.name, verdict(r));
	str_duration(b, r->wall_ms);
	buf_str(b, ": ");
	str_count(b, ledger_stage_done(&r->after));
	buf_str(b, " done, ");
	str_count(b, ledger_stage_failed(&r->after));
	buf_str(b, " failed");
	if (left > 0) {
		buf_str(b, ", ");
		str_count(b, left);
		buf_str(b, " to do");
	}
	if (interruptions > 0) {
		buf_str(b, ", ");
		str_count(b, interruptions);
		buf_printf(b, " interruption%s (0 failures counted), ",
		    interruptions == 1 ? "" : "s");
		str_duration(b, r->after.lost_ms - r->before.lost_ms);
		buf_str(b, " of work lost");
	}
}

static void no_result_line(const struct worker_result *r, struct buf *b)
{
	const char *comma = "attempts without a result:";

	for (int c = CAUSE_INTERRUPTED; c < CAUSE_COUNT; c++) {
		int64_t n = ended(r, (enum cause)c);

		if (n <= 0)
			continue;
		buf_printf(b, "%s ", comma);
		str_count(b, n);
		buf_printf(b, " %s", cause_name((enum cause)c));
		comma = ",";
	}
	if (b->len == 0)
		return;
	buf_str(b, "; ");
	str_duration(b, r->after.lost_ms - r->before.lost_ms);
	buf_str(b, " of slot time");
}

static void failure_line(const struct worker_failure *f, struct buf *b)
{
	buf_str(b, "failed: ");
	str_display(b, f->name, strlen(f->name), 200);
	buf_str(b, "  ");
	if (f->cause != CAUSE_FAILED)
		buf_printf(b, "%s ", cause_name(f->cause));
	if (f->exit_signal > 0)
		buf_printf(b, "signal %d ", f->exit_signal);
	else if (f->exit_code >= 0)
		buf_printf(b, "exit %d ", f->exit_code);
	if (f->limit > 0)
		buf_printf(b, "(%d of %d)", f->count, f->limit);
	if (f->cause == CAUSE_INFRASTRUCTURE && f->count < f->limit &&
	    (f->exit_code == 126 || f->exit_code == 127))
		buf_str(b, " (not tried again, as no attempt has ever succeeded)");
	if (f->note[0] != '\0')
		buf_printf(b, "  \"%s\"", f->note);
}

static void output_line(const struct worker_options *opt, const struct worker_result *r,
    struct buf *b)
{
	const struct pipeline *p = opt->pipeline;
	const char *comma = "";
	size_t i;

	buf_str(b, "output: ");
	for (i = 0; i < p->n_stages; i++) {
		const struct spec *s = &p->stage[i];

		if (s->output == SPEC_OUT_KEPT)
			continue;
		if (s->output == SPEC_OUT_STDOUT)
			buf_printf(b, "%son stdout", comma);
		else if (p->name[0] != '\0')
			buf_printf(b, "%s%s", comma, s->out);
		else
			buf_printf(b, "as --out %s says", s->out);
		comma = ", ";
	}
	if (r->manifest != NULL)
		buf_printf(b, " (manifest %s)", r->manifest);
	else
		buf_str(b, " (no manifest before all is done)");
}

/* The options that a verb needs to find this state from here. */
static void state_words(const struct worker_options *opt, struct buf *b)
{
	const char *dir = state_dir(opt->state);

	if (strcmp(dir, common_state_dir(NULL)) == 0)
		return;
	buf_str(b, " --state ");
	str_shell_quote(b, dir, strlen(dir));
}

/* Outputs of an earlier list, which nobody makes any more: looked for on the side,
 * so trouble with that is no trouble. */
static void left_line(const struct worker_options *opt, const struct worker_result *r,
    struct buf *b)
{
	const struct ledger_options lo = {.read_only = true, .busy_ms = 1000};
	struct buf first = {0};
	struct ledger *l = NULL;
	int64_t n = 0;

	if (!r->sealed || ledger_open(opt->ledger, &lo, &l, NULL) != ST_OK)
		return;
	if (outputs_count_left(l, opt->run.id, &first, &n, NULL) == ST_OK && n > 0 && first.len > 0) {
		buf_str(b, "left over: ");
		str_count(b, n);
		buf_printf(b, " output%s that no item makes any more, such as ", n == 1 ? "" : "s");
		str_display(b, first.data, first.len, 120);
		buf_printf(b, " (ebb gc --left-over %s", opt->run.name);
		state_words(opt, b);
		buf_printf(b, " removes %s)", n == 1 ? "it" : "them");
	}
	buf_free(&first);
	ledger_close(l);
}

/* Another run would be looked at without --run. */
static bool is_newest(const struct worker_options *opt)
{
	const struct ledger_options lo = {.read_only = true, .busy_ms = 1000};
	struct ledger_run newest = {0};
	struct ledger *l = NULL;
	bool same = false;

	if (ledger_open(opt->ledger, &lo, &l, NULL) == ST_OK &&
	    ledger_run_by_name(l, "", &newest, NULL) == ST_OK)
		same = newest.id == opt->run.id;
	ledger_run_free(&newest);
	ledger_close(l);
	return same;
}

/* A word for a shell that `ebb logs` finds the shard by: its name, or its number
 * where the name cannot be typed. */
static void shard_word(const struct worker_failure *f, struct buf *b)
{
	struct buf shown = {0};
	size_t len = strlen(f->name);

	str_display(&shown, f->name, len, 200);
	if (!shown.failed && shown.len == len && memcmp(shown.data, f->name, len) == 0) {
		buf_str(b, f->name[0] == '-' ? "-- " : "");
		str_shell_quote(b, f->name, len);
	} else {
		buf_printf(b, "'#%lld'", (long long)f->number);
	}
	buf_free(&shown);
}

static void next_line(const struct worker_options *opt, const struct worker_result *r,
    struct buf *b)
{
	buf_str(b, "next:   ");
	if (r->plan_failed) {
		buf_str(b, "put that right, and start the same line again: it goes on from here");
		return;
	}
	if (r->cancelled) {
		buf_str(b, opt->pipeline->name[0] == '\0' ? "the same line again starts over"
		    : "the same line again begins anew and keeps what is done");
		return;
	}
	if (ledger_stage_failed(&r->after) == 0 && r->n_failures == 0 && opt->joins) {
		buf_printf(b, "ebb worker --run %s again, or whoever else works on it",
		    opt->run.name);
		return;
	}
	if (ledger_stage_failed(&r->after) == 0 && r->n_failures == 0) {
		buf_str(b, "start the same line again: it goes on from here");
		return;
	}
	if (r->n_failures > 0) {
		buf_str(b, "ebb logs");
		state_words(opt, b);
		if (!is_newest(opt))
			buf_printf(b, " --run %s", opt->run.name);
		buf_char(b, ' ');
		shard_word(&r->failures[0], b);
	} else {
		buf_printf(b, "ebb shards --run %s --state failed", opt->run.name);
		state_words(opt, b);
	}
	buf_str(b, " ; ebb retry");
	state_words(opt, b);
	buf_printf(b, " %s", opt->run.name);
}

static void say(struct buf *b, enum log_level level)
{
	if (!b->failed && b->len > 0)
		log_line(level, "%s", b->data);
	buf_clear(b);
}

static int exit_code(const struct worker_result *r)
{
	if (r->fatal != ST_OK)
		return EXIT_UNREACHABLE;
	if (r->plan_failed)
		return EXIT_BAD_USAGE;
	/* Stopped when there was nothing left to stop. */
	if (r->sealed)
		return EXIT_DONE;
	if (r->cancelled)
		return EXIT_SOME_FAILED;
	if (r->superseded)
		return EXIT_DRAINED;
	if (r->interrupted)
		return EXIT_INTERRUPTED;
	if (r->drained)
		return EXIT_DRAINED;
	return EXIT_SOME_FAILED;
}

static void time_line(const struct report_times *times, struct buf *b)
{
	if (times == NULL || times->slot_ms <= 0)
		return;
	buf_str(b, "time: ");
	report_line(times, b);
}

int summary_print(const struct worker_options *opt, const struct worker_result *r,
    const struct report_times *times, bool quiet)
{
	bool clean = r->sealed && r->after.attempts == r->after.ended[CAUSE_DONE];
	enum log_level level = quiet && r->sealed ? LOG_DEBUG : LOG_INFO;
	struct buf b = {0};
	size_t i;

	if (r->plan_failed)
		log_line(LOG_ERROR, "%s", r->plan_error.text);
	if (r->fatal != ST_OK)
		log_line(LOG_ERROR, "%s", r->fatal_error.text);
	/* Wrong input, and nothing was begun: that is all there is to say. */
	if (r->plan_failed && r->after.attempts == r->before.attempts)
		return exit_code(r);
	first_line(opt, r, &b);
	say(&b, level);
	time_line(times, &b);
	say(&b, level);
	if (!clean) {
		no_result_line(r, &b);
		say(&b, level);
	}
	for (i = 0; i < r->n_failures; i++) {
		failure_line(&r->failures[i], &b);
		say(&b, level);
	}
	output_line(opt, r, &b);
	say(&b, level);
	left_line(opt, r, &b);
	say(&b, level);
	if (!r->sealed) {
		next_line(opt, r, &b);
		say(&b, level);
	}
	buf_free(&b);
	return exit_code(r);
}
