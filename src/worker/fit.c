#include "worker/fit.h"

#include <stdlib.h>

#include "base/str.h"
#include "model/drain.h"
#include "notice/detect.h"

enum { FIT_RESERVE_MS = 5000 }; /* as a drain's, where the file names none */

/* Where it does not fit: "gcp (25 s of 30 s)", ... */
static void name_windows(const struct pipeline *p, unsigned platforms, int64_t needs_ms,
    struct buf *out)
{
	size_t n;
	const struct notice_usual *list = notice_usual_windows(&n);
	size_t i;

	for (i = 0; i < n; i++) {
		int64_t budget = drain_budget_ms(list[i].window_ms,
		    p->drain_reserve_ms > 0 ? p->drain_reserve_ms : FIT_RESERVE_MS);

		if ((platforms != 0 && (platforms & list[i].platform) == 0) || needs_ms <= budget)
			continue;
		buf_printf(out, "%s%s (", out->len > 0 ? ", " : "", list[i].name);
		str_duration(out, budget);
		buf_str(out, " of ");
		str_duration(out, list[i].window_ms);
		buf_char(out, ')');
	}
}

static void check_fit(const struct pipeline *p, size_t stage, const struct ledger_past *past,
    unsigned platforms, const struct fit_say *out)
{
	struct buf where = {0};
	struct buf text = {0};

	/* Half more than the best one so far: the next is not the best again. */
	name_windows(p, platforms, past->save_ms + past->save_ms / 2, &where);
	if (where.len > 0) {
		buf_printf(&text, "checkpoints of stage %s took ", p->stage[stage].name);
		str_duration(&text, past->save_ms);
		buf_printf(&text, " and more: too long for the time that a notice leaves for saving on %s; "
		    "what is not saved by then is done again. Save more often (ebb task "
		    "should-checkpoint says when it would be wise), or keep less in $EBB_CHECKPOINT",
		    where.data);
	}
	if (text.len > 0)
		out->say(out->arg, stage, text.data);
	buf_free(&where);
	buf_free(&text);
}

void fit_check(struct ledger *l, const struct ledger_run *run, const struct pipeline *p,
    unsigned platforms, const struct fit_say *out)
{
	struct ledger_stage *list = mem_zero(PIPELINE_STAGES_MAX * sizeof(*list));
	struct ledger_past past;
	struct error e;
	size_t n = 0;
	size_t i;

	if (list == NULL || ledger_run_stages(l, run->id, 0, list, PIPELINE_STAGES_MAX, &n, &e) != ST_OK)
		n = 0;
	for (i = 0; i < n && i < p->n_stages; i++) {
		if (ledger_past(l, list[i].id, spec_stop_signal(&p->stage[i]), &past, &e) == ST_OK &&
		    past.save_ms > 0)
			check_fit(p, i, &past, platforms, out);
	}
	free(list);
}
