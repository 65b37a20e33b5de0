/* The start line, and how far it has got: one line that is drawn again on a
 * terminal, else a line every 30 s. */
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "base/sys.h"
#include "worker/work.h"

enum { EVERY_MS = 30000 };

/* Attempts that were done since this worker began. */
static int64_t done_now(const struct work *w)
{
	struct ledger_stage all;

	stages_sum(w, &all);
	return all.ended[CAUSE_DONE] - w->result->before.ended[CAUSE_DONE];
}

void progress_start(struct work *w)
{
	struct ledger_stage all;
	const struct ledger_stage *s = &all;
	struct buf b = {0};
	int64_t done;

	if (!w->opt->progress)
		return;
	stages_sum(w, &all);
	done = ledger_stage_done(s) - done_now(w);
	buf_printf(&b, "%s: ", w->opt->run.name);
	if (done > 0) {
		str_count(&b, done);
		buf_str(&b, " of ");
		str_count(&b, s->planned);
		buf_str(&b, " done earlier, ");
	}
	str_count(&b, s->planned - done);
	buf_printf(&b, "%s to do%s, %d slot%s, state %s%s", s->plan_complete ? "" : "+",
	    s->plan_complete ? "" : " (still reading the list)", w->opt->slots,
	    w->opt->slots == 1 ? "" : "s", state_dir(w->opt->state),
	    done > 0 && !w->opt->joins ? " (--fresh starts over)" : "");
	if (!b.failed)
		log_line(LOG_INFO, "%s", b.data);
	buf_free(&b);
}

static void add_time_left(struct work *w, struct buf *b, const struct ledger_stage *all)
{
	int64_t wall = sys_boot_ns() / 1000000 - w->started_boot_ms;
	int64_t mine = done_now(w);
	int64_t left = all->planned - ledger_stage_done(all);

	if (mine < 2 || wall < 1000)
		return;
	buf_printf(b, ", %.*f/s", mine * 1000 / wall >= 10 ? 0 : 1,
	    (double)mine * 1000.0 / (double)wall);
	if (all->plan_complete && left > 0) {
		buf_str(b, ", ");
		str_duration(b, wall * left / mine);
		buf_str(b, " left");
	}
}

static void progress_text(struct work *w, struct buf *b)
{
	struct ledger_stage all;
	const struct ledger_stage *s = &all;
	int64_t failed;
	int64_t interruptions;

	stages_sum(w, &all);
	failed = ledger_stage_failed(s);
	interruptions = s->ended[CAUSE_INTERRUPTED] + s->ended[CAUSE_LOST] -
	    w->result->before.ended[CAUSE_INTERRUPTED] - w->result->before.ended[CAUSE_LOST];

	buf_printf(b, "%s: ", w->opt->run.name);
	str_count(b, ledger_stage_done(s));
	buf_char(b, '/');
	str_count(b, s->planned);
	buf_printf(b, "%s done, %lld running", s->plan_complete ? "" : "+",
	    (long long)s->count[SHARD_LEASED] < (long long)w->opt->slots
	    ? (long long)s->count[SHARD_LEASED] : (long long)w->opt->slots);
	if (failed > 0)
		buf_printf(b, ", %lld failed", (long long)failed);
	if (interruptions > 0)
		buf_printf(b, ", %lld interrupted", (long long)interruptions);
	add_time_left(w, b, s);
	if (w->stop_level > 0)
		buf_str(b, ", stopping");
}

void progress_update(struct work *w, bool force)
{
	int64_t now = sys_boot_ns() / 1000000;
	bool terminal = isatty(STDERR_FILENO) == 1 && !log_is_json();
	struct buf b = {0};

	if (!w->opt->progress)
		return;
	if (!terminal && !force && now - w->last_line_ms < EVERY_MS)
		return;
	w->last_line_ms = now;
	progress_text(w, &b);
	if (!b.failed && terminal)
		log_progress(b.data);
	else if (!b.failed)
		log_line(LOG_INFO, "%s", b.data);
	buf_free(&b);
}
