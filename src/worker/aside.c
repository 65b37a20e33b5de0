#include "worker/aside.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "base/sys.h"
#include "worker/life.h"
#include "worker/loop.h"
#include "worker/requests.h"
#include "worker/sweep.h"

enum {
	ASIDE_KEPT = 64,
	KEPT_FOR_MS = 60000, /* one that nobody got done may be forgotten for another */
	WAIT_MOST_MS = 600000,
	WAIT_AGAIN_MS = 60000, /* not before, once a shard has failed on others too */
	WAIT_PAUSE_MS = 1000,
	OTHERS_MAX = 64,
	NAME_MAX_SHOWN = 48,
};

struct failed_here {
	int64_t row;
	int64_t at_boot_ms;
	const struct stage *g;
	char name[NAME_MAX_SHOWN + 4]; /* as people see it */
};

/* The oldest first. */
struct aside {
	struct failed_here failed[ASIDE_KEPT];
	size_t n;
	bool asking;
	bool waits;           /* for what others make of them */
	int64_t wait_boot_ms; /* since then; when it does not, it may not before this */
};

struct aside_op {
	struct op op;
	struct work *w;
	int64_t row[ASIDE_KEPT];
	char name[ASIDE_KEPT][NAME_MAX_SHOWN + 4];
	enum ledger_elsewhere became[ASIDE_KEPT];
	size_t n;
	struct ledger_worker others[OTHERS_MAX];
	char names[200];
	bool just_woken; /* when it was asked */
	int n_done;      /* by others */
	int n_failed;    /* on others too, and not done */
	bool other;      /* somebody else stays */
	bool leaves;
};

enum status aside_create(struct aside **out, struct error *e)
{
	*out = mem_zero(sizeof(**out));
	return *out == NULL ? error_set(e, ST_NO_MEMORY, "out of memory") : ST_OK;
}

void aside_destroy(struct aside *s)
{
	free(s);
}

static void forget_failed(struct aside *s, size_t i)
{
	s->n--;
	memmove(&s->failed[i], &s->failed[i + 1], (s->n - i) * sizeof(s->failed[0]));
}

static void name_shown(const struct attempt *a, char *out, size_t size)
{
	struct buf name = {0};
	struct buf shown = {0};

	attempt_name(a, &name);
	if (!name.failed)
		str_display(&shown, name.data, name.len, NAME_MAX_SHOWN);
	(void)snprintf(out, size, "%s", shown.failed || shown.data == NULL ? "?" : shown.data);
	buf_free(&name);
	buf_free(&shown);
}

void aside_note_end(const struct attempt *a)
{
	struct aside *s = a->w->aside;
	bool over = a->now.state == SHARD_FAILED || a->now.state == SHARD_SET_ASIDE;
	int64_t now = sys_boot_ns() / 1000000;
	struct failed_here *f;
	size_t i = 0;

	if (a->rec.cause != CAUSE_FAILED && a->rec.cause != CAUSE_INFRASTRUCTURE)
		return;
	while (i < s->n && s->failed[i].row != a->shard.row)
		i++;
	/* Nobody will get done what has failed for good. */
	if (i < s->n && over)
		forget_failed(s, i);
	if (i < s->n || over)
		return;
	if (s->n == ASIDE_KEPT && now - s->failed[0].at_boot_ms < KEPT_FOR_MS)
		return;
	if (s->n == ASIDE_KEPT)
		forget_failed(s, 0);
	f = &s->failed[s->n++];
	f->row = a->shard.row;
	f->at_boot_ms = now;
	f->g = a->g;
	name_shown(a, f->name, sizeof(f->name));
	if (s->n == ASIDE_SHARDS)
		aside_look(a->w);
}

void aside_note_done(const struct attempt *a)
{
	struct aside *s = a->w->aside;
	size_t i = s->n;

	while (i > 0) {
		if (s->failed[--i].g == a->g)
			forget_failed(s, i);
	}
	s->waits = s->waits && s->n >= ASIDE_SHARDS;
}

/* ---- on the committer's thread ---- */

static void list_names(struct aside_op *o)
{
	size_t at = 0;
	size_t i;
	int told = 0;

	o->n_done = o->n_failed = 0;
	o->names[0] = '\0';
	for (i = 0; i < o->n; i++) {
		o->n_failed += o->became[i] == ELSEWHERE_FAILED;
		if (o->became[i] != ELSEWHERE_DONE)
			continue;
		o->n_done++;
		if (told == ASIDE_SHARDS)
			continue;
		at += (size_t)snprintf(o->names + at, sizeof(o->names) - at, "%s%s",
		    told == 0 ? "" : ", ", o->name[i]);
		told++;
	}
}

/* Somebody else stays: one that is there, works on the same, and is not leaving. */
static enum status find_other(struct aside_op *o, struct ledger *l, struct error *e)
{
	const struct work *w = o->w;
	int64_t now = sys_boot_ns() / 1000000;
	int64_t lost;
	size_t n = 0;
	size_t i;
	enum status st = sweep_workers(w->opt->state, l, w->opt->run.id, w->me.id, w->pipeline,
	    o->just_woken, &lost, e);

	o->other = false;
	if (st == ST_OK)
		st = ledger_workers(l, w->opt->run.id, o->others, OTHERS_MAX, &n, e);
	for (i = 0; st == ST_OK && i < n; i++) {
		const struct ledger_worker *other = &o->others[i];

		o->other = o->other || life_other_stays(w, other, now);
	}
	return st;
}

/* What decides and what others see of it are one step, so that of two bad ones the
 * second stays. */
static enum status exec_aside(struct ledger *l, struct op *op, struct error *e)
{
	struct aside_op *o = (struct aside_op *)op;
	struct work *w = o->w;
	const struct ledger_drain leaving = {.who = w->me.name, .reason = "set itself aside"};
	char text[256];
	int64_t n;
	enum status st = ledger_elsewhere(l, w->me.id, o->row, o->n, o->became, e);

	o->leaves = false;
	if (st != ST_OK)
		return st;
	list_names(o);
	st = find_other(o, l, e);
	o->leaves = st == ST_OK && o->other && o->n_done >= ASIDE_SHARDS;
	if (!o->leaves)
		return st;
	(void)snprintf(text, sizeof(text), "%d shards failed here that others have done: %s",
	    o->n_done, o->names);
	st = ledger_worker_drain(l, w->opt->run.id, &leaving, &n, e);
	return st == ST_OK ? event_put(l, w, "set-aside", text, e) : st;
}

/* ---- on the loop's thread ---- */

static void step_aside(struct work *w, const struct aside_op *o)
{
	log_line(LOG_WARN, "%s: w%d sets itself aside: %d shards failed here that other workers have "
	    "done (%s); nothing new begins. Look at their logs (ebb logs), and at what this worker "
	    "lacks: programs, files, variables, room, memory", w->opt->run.name, w->me.number,
	    o->n_done, o->names);
	w->result->set_aside = true;
	w->result->drained = true;
	w->failed_stop = true;
	loop_drop_waiting(w);
}

static void set_waiting(struct work *w, bool wait, int64_t not_again_ms)
{
	struct aside *s = w->aside;
	int64_t now = sys_boot_ns() / 1000000;

	if (wait == s->waits)
		return;
	s->waits = wait;
	s->wait_boot_ms = wait ? now : now + not_again_ms;
	if (!wait)
		return;
	log_line(LOG_INFO, "%s: %zu shards have failed on w%d, and none was done: it waits for what "
	    "others make of them", w->opt->run.name, s->n, w->me.number);
	loop_drop_waiting(w);
	while (w->ready.n > 0)
		loop_give_back(attempt_pop(&w->ready));
}

static void judge_answer(struct work *w, const struct aside_op *o)
{
	const struct aside *s = w->aside;
	int64_t waited = sys_boot_ns() / 1000000 - s->wait_boot_ms;

	if (s->n < ASIDE_SHARDS)
		return; /* one was done meanwhile */
	if (o->leaves)
		step_aside(w, o);
	else if (o->n_failed > 0 && o->n_done == 0)
		set_waiting(w, false, WAIT_AGAIN_MS);
	else if (!o->other || (s->waits && waited > WAIT_MOST_MS))
		set_waiting(w, false, WAIT_PAUSE_MS);
	else if (s->waits || waited >= 0)
		set_waiting(w, true, 0);
}

static void done_aside(struct op *op)
{
	struct aside_op *o = (struct aside_op *)op;
	struct work *w = o->w;

	w->aside->asking = false;
	if (op->status != ST_OK)
		loop_fatal(w, op->status, &op->error);
	else if (!w->closing && w->stop_level == 0 && !w->failed_stop)
		judge_answer(w, o);
	free(o);
}

bool aside_waits(const struct work *w)
{
	const struct aside *s = w->aside;
	struct ledger_stage all;

	if (!s->waits || s->n < ASIDE_SHARDS)
		return false;
	/* Where nobody is at work, nobody would ever tell. */
	stages_sum(w, &all);
	return all.count[SHARD_LEASED] > 0;
}

static bool reads_a_list(const struct work *w)
{
	size_t i;

	for (i = 0; i < w->n_stages; i++) {
		if (w->opt->input.list != NULL && w->stage[i].spec->n_sources == 0 &&
		    !stage_is_planned(&w->stage[i]))
			return true;
	}
	return false;
}

void aside_look(struct work *w)
{
	struct aside *s = w->aside;
	struct aside_op *o;
	size_t i;

	if (s->n < ASIDE_SHARDS || s->asking || w->closing || w->stop_level > 0 ||
	    w->failed_stop || reads_a_list(w))
		return;
	o = mem_zero(sizeof(*o));
	if (o == NULL)
		return;
	o->op.exec = exec_aside;
	o->op.done = done_aside;
	o->op.urgent = s->n == ASIDE_SHARDS;
	o->w = w;
	o->just_woken = loop_just_woke(w);
	o->n = s->n;
	for (i = 0; i < s->n; i++) {
		o->row[i] = s->failed[i].row;
		memcpy(o->name[i], s->failed[i].name, sizeof(o->name[i]));
	}
	s->asking = true;
	committer_submit(w->committer, &o->op);
}
