#include "cli/summary.h"

#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "cli/common.h"
#include "observe/report.h"

/* What this start added to a counter of attempts. */
static int64_t ended(const struct worker_result *r, enum cause c)
{
	return r->after.ended[c] - r->before.ended[c];
}

static const char *verdict(const struct worker_result *r)
{
	if (r->sealed)
		return "finished";
	if (r->fatal != ST_OK || r->plan_failed)
		return "stopped";
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

static void run_again_line(const struct worker_result *r, struct buf *b)
{
	int64_t again = r->after.attempts - r->after.ended[CAUSE_DONE];

	if (again == 0)
		return;
	str_count(b, again);
	buf_printf(b, " attempt%s in all did not count:", again == 1 ? "" : "s");
	for (int c = CAUSE_INTERRUPTED; c < CAUSE_COUNT; c++) {
		if (r->after.ended[c] > 0)
			buf_printf(b, " %lld %s", (long long)r->after.ended[c],
			    cause_name((enum cause)c));
	}
	buf_str(b, "; ");
	str_duration(b, r->after.lost_ms);
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
	if (f->note[0] != '\0')
		buf_printf(b, "  \"%s\"", f->note);
}

static void output_line(const struct worker_options *opt, const struct worker_result *r,
    struct buf *b)
{
	const struct spec *last = &opt->pipeline->stage[opt->pipeline->n_stages - 1];

	if (last->out != NULL)
		buf_printf(b, "output: as --out %s says", last->out);
	else
		buf_str(b, "output: on stdout");
	if (r->manifest != NULL)
		buf_printf(b, " (manifest %s)", r->manifest);
	else
		buf_str(b, " (no manifest before all is done)");
}

static void next_line(const struct worker_options *opt, const struct worker_result *r,
    struct buf *b)
{
	buf_str(b, "next:   ");
	if (r->n_failures > 0) {
		struct buf word = {0};

		str_shell_quote(&word, r->failures[0].name, strlen(r->failures[0].name));
		buf_str(b, "ebb logs ");
		if (!word.failed)
			str_display(b, word.data, word.len, 200);
		buf_printf(b, " ; ebb retry %s", opt->run.name);
		buf_free(&word);
	} else if (ledger_stage_failed(&r->after) > 0) {
		buf_printf(b, "ebb shards --run %s --state failed ; ebb retry %s", opt->run.name,
		    opt->run.name);
	} else {
		buf_str(b, "start the same line again: it goes on from here");
	}
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
		run_again_line(r, &b);
		say(&b, level);
	}
	for (i = 0; i < r->n_failures; i++) {
		failure_line(&r->failures[i], &b);
		say(&b, level);
	}
	output_line(opt, r, &b);
	say(&b, level);
	if (!r->sealed) {
		next_line(opt, r, &b);
		say(&b, level);
	}
	buf_free(&b);
	return exit_code(r);
}
