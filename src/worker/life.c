#include "worker/life.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/sys.h"
#include "model/drain.h"
#include "worker/contract.h"

enum { LIFE_OTHERS_MAX = 256 };

static int64_t life_now_ms(void)
{
	return sys_boot_ns() / 1000000;
}

/* ---- what is known ---- */

static bool is_warned(const struct work *w)
{
	return w->warned || w->row_warned;
}

static void note_warned(struct work *w, bool before)
{
	if (is_warned(w) == before)
		return;
	w->others_stay = true; /* until it is known */
	log_line(LOG_INFO, is_warned(w) ? "%s: w%d may be taken away soon: what takes long is left to "
	    "other workers" : "%s: w%d is not expected to be taken away any more",
	    w->opt->run.name, w->me.number);
	life_look(w);
}

void life_set_end(struct work *w, int64_t until_boot_ms)
{
	w->life_until_boot_ms = until_boot_ms;
}

void life_set_warned(struct work *w, bool warned)
{
	bool before = is_warned(w);

	w->warned = warned;
	note_warned(w, before);
}

void life_take_row(struct work *w, int64_t until_boot_ms, bool warned)
{
	bool before = is_warned(w);

	w->row_life_until_boot_ms = until_boot_ms;
	w->row_warned = warned;
	note_warned(w, before);
}

/* ---- claims ---- */

static bool fits_into_life(const struct stage *g, int64_t typical_ms, int64_t now)
{
	const struct work *w = g->w;
	int64_t until = w->life_until_boot_ms;

	if (until == 0 || (w->row_life_until_boot_ms != 0 && w->row_life_until_boot_ms < until))
		until = w->row_life_until_boot_ms;
	/* That clock begins with the machine: `until` is its whole life. One that outlives it
	 * was not of that kind. */
	return until <= now ||
	    drain_may_start(typical_ms, until - now, until, contract_reserve_ms(w));
}

bool life_lets_claim(struct stage *g)
{
	const struct work *w = g->w;
	int64_t typical_ms;
	int64_t now;

	if (!is_warned(w) && w->life_until_boot_ms == 0 && w->row_life_until_boot_ms == 0)
		return true;
	now = life_now_ms();
	typical_ms = contract_typical_ms(g);
	if (!fits_into_life(g, typical_ms, now))
		return false;
	if (!is_warned(w) || !w->others_stay) {
		g->left_since_boot_ms = 0;
		return true;
	}
	if (g->left_since_boot_ms == 0)
		g->left_since_boot_ms = now;
	return !drain_leaves_it(typical_ms, now - g->left_since_boot_ms);
}

bool life_other_stays(const struct work *w, const struct ledger_worker *other, int64_t now_ms)
{
	return other->id != w->me.id && other->drain_boot_ms == 0 &&
	    other->generation == w->me.generation && other->lease_until_boot_ms >= now_ms;
}

/* ---- others ---- */

struct others_op {
	struct op op;
	struct work *w;
	bool stay;
	struct ledger_worker list[LIFE_OTHERS_MAX];
};

static enum status exec_others(struct ledger *l, struct op *op, struct error *e)
{
	struct others_op *o = (struct others_op *)op;
	int64_t now = life_now_ms();
	size_t n = 0;
	size_t i;
	enum status st = ledger_workers(l, o->w->opt->run.id, o->list, LIFE_OTHERS_MAX, &n, e);

	o->stay = false;
	for (i = 0; st == ST_OK && i < n; i++)
		o->stay = o->stay || (life_other_stays(o->w, &o->list[i], now) &&
		    o->list[i].warned_boot_ms == 0);
	return st;
}

static void done_others(struct op *op)
{
	struct others_op *o = (struct others_op *)op;
	struct work *w = o->w;

	w->asking_others = false;
	/* Whatever keeps it from being read shows in the committer's health. */
	if (op->status == ST_OK)
		w->others_stay = o->stay;
	free(o);
}

void life_look(struct work *w)
{
	struct others_op *o;

	if (!is_warned(w) || w->asking_others || w->closing || w->stop_level > 0)
		return;
	o = mem_zero(sizeof(*o));
	if (o == NULL)
		return;
	o->op.exec = exec_others;
	o->op.done = done_others;
	o->w = w;
	w->asking_others = true;
	committer_submit(w->committer, &o->op);
}
