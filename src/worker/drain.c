#include "worker/drain.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "base/sys.h"
#include "model/drain.h"
#include "notice/detect.h"
#include "worker/contract.h"
#include "worker/hook.h"
#include "worker/loop.h"
#include "worker/requests.h"

enum {
	AT_ONCE_MS = 1000,       /* no time to finish anything in */
	HOOK_MS = 10000,         /* what a hook may take, when nothing else is said */
	HOOK_LEAST_MS = 100,     /* with less than that it is not begun */
	LAST_WORDS_MS = 500,     /* kept of the time, after on_drained; at most an eighth */
};

enum drain_hook { HOOK_ON_REBALANCE, HOOK_ON_NOTICE, HOOK_ON_DRAINED };

static const char *const hook_names[] = {"on_rebalance", "on_notice", "on_drained"};

struct drain {
	struct notice by;        /* what it leaves for */
	bool by_platform;
	struct hook *hook;       /* one at a time */
	enum drain_hook which;
	bool hook_open;          /* on_drained was not begun yet */
	bool said;               /* "drained" */
	bool saying;             /* it is on its way to the ledger */
	size_t finished;
	size_t saved;
	size_t handed_back;
	size_t killed;           /* of those, at the deadline */
	int64_t safe_boot_ms;    /* when nothing was in hand any more */
	char skipped[80];
};

static int64_t drain_now_ms(void)
{
	return sys_boot_ns() / 1000000;
}

enum status drain_open(struct work *w, struct error *e)
{
	w->drain = mem_zero(sizeof(*w->drain));
	return w->drain != NULL ? ST_OK : error_set(e, ST_NO_MEMORY, "out of memory");
}

void drain_close(struct work *w)
{
	if (w->drain != NULL)
		hook_destroy(w->drain->hook);
	free(w->drain);
	w->drain = NULL;
}

const struct notice *drain_cause(const struct work *w)
{
	return w->drain->by_platform ? &w->drain->by : NULL;
}

int64_t drain_left_ms(const struct work *w)
{
	return w->stop_boot_ms + w->grace_ms - drain_now_ms();
}

static int64_t children_until_ms(const struct work *w)
{
	/* Time to die of the signal is given in any case. */
	if (w->stop_now && w->grace_ms < AT_ONCE_MS)
		return w->stop_boot_ms + AT_ONCE_MS;
	return w->stop_boot_ms + drain_budget_ms(w->grace_ms, contract_reserve_ms(w));
}

/* ---- hooks ---- */

static const char *hook_command(const struct work *w, enum drain_hook which)
{
	const struct worker_options *o = w->opt;
	const struct pipeline *p = w->pipeline;
	const char *said[] = {o->on_rebalance, o->on_notice, o->on_drained};
	const char *const in_file[] = {p->on_rebalance, p->on_notice, p->on_drained};
	const char *command = said[which] != NULL ? said[which] : in_file[which];

	return command == NULL || command[0] == '\0' ? NULL : command;
}

static void note_skipped(struct drain *d, enum drain_hook which)
{
	size_t len = strlen(d->skipped);

	(void)snprintf(d->skipped + len, sizeof(d->skipped) - len, "%s%s", len > 0 ? "," : "",
	    hook_names[which]);
}

static int64_t hooks_until_ms(const struct work *w)
{
	int64_t keep = w->grace_ms / 8;

	return w->stop_boot_ms + w->grace_ms - (keep < LAST_WORDS_MS ? keep : LAST_WORDS_MS);
}

/* Until when at the latest; 0: it does not fit any more. */
static int64_t hook_until(const struct work *w, enum drain_hook which)
{
	int64_t now = drain_now_ms();
	int64_t most = w->opt->hook_timeout_ms > 0 ? w->opt->hook_timeout_ms
	    : w->pipeline->hook_timeout_ms > 0 ? w->pipeline->hook_timeout_ms : HOOK_MS;
	int64_t until = now + most;
	int64_t end = which == HOOK_ON_NOTICE ? children_until_ms(w) : hooks_until_ms(w);

	if (which != HOOK_ON_REBALANCE && end < until)
		until = end;
	return until - now < HOOK_LEAST_MS ? 0 : until;
}

static void begin_hook(struct work *w, enum drain_hook which, const struct notice *n)
{
	struct drain *d = w->drain;
	const char *command = hook_command(w, which);
	int64_t until = hook_until(w, which);
	char run[LEDGER_NAME_MAX + 16];
	char worker[32];
	char *extra[] = {run, worker, NULL};
	struct error e;

	if (command == NULL)
		return;
	(void)snprintf(run, sizeof(run), "EBB_RUN=%s", w->opt->run.name);
	(void)snprintf(worker, sizeof(worker), "EBB_EVENT_WORKER=w%d", w->me.number);
	/* One for a recommendation gives way to what is more than that. */
	hook_destroy(d->hook);
	d->hook = NULL;
	d->which = which;
	if (until == 0) {
		note_skipped(d, which);
		log_line(LOG_WARN, "%s: no time is left for %s", w->opt->run.name, hook_names[which]);
	} else if (hook_start(command, n, extra, until, &d->hook, &e) != ST_OK) {
		log_line(LOG_WARN, "%s: %s: %s", w->opt->run.name, hook_names[which], e.text);
	}
}

/* The deadline may have come closer since it began. */
static void step_hook(struct work *w)
{
	struct drain *d = w->drain;
	struct hook_end end;
	struct buf text = {0};

	if (d->hook == NULL)
		return;
	if (w->stop_level > 0 && d->which == HOOK_ON_NOTICE)
		hook_hurry(d->hook, children_until_ms(w));
	else if (w->stop_level > 0)
		hook_hurry(d->hook, hooks_until_ms(w));
	if (!hook_ended(d->hook, &end))
		return;
	hook_destroy(d->hook);
	d->hook = NULL;
	if (end.good)
		return;
	hook_say(&end, &text);
	log_line(LOG_WARN, "%s: %s: %s", w->opt->run.name, hook_names[d->which],
	    text.failed ? "it ended badly" : text.data);
	buf_free(&text);
	if (end.timed_out)
		note_skipped(d, d->which);
}

void drain_tick(struct work *w)
{
	if (w->stop_level == 0)
		step_hook(w);
}

/* ---- beginning ---- */

static void say_drain(const struct work *w, const char *why)
{
	struct buf time = {0};

	if (w->sent == 0 || w->stop_now || w->result->cancelled || w->result->superseded)
		return;
	str_duration(&time, w->grace_ms);
	log_line(LOG_INFO, "%s: stopping (%s): no new shards; those that run may finish for "
	    "%s%s", w->opt->run.name, why, time.failed ? "a while" : time.data,
	    w->result->interrupted ? " (Ctrl-C again ends them at once)" : "");
	buf_free(&time);
}

static void begin_drain(struct work *w, const char *why)
{
	struct drain *d = w->drain;

	w->stop_level = 1;
	w->stop_boot_ms = drain_now_ms();
	w->finishing = false;
	w->result->drained = true;
	d->hook_open = true;
	loop_drop_waiting(w);
	loop_learn(w);
	event_note_drain(w, d->by_platform, why);
	say_drain(w, why);
}

/* Pages, files and signals first; then the user's own. */
static void tell_all(struct work *w)
{
	const struct worker_result *r = w->result;

	/* Another deadline is just about to be set. */
	if (r->cancelled || r->superseded)
		return;
	drain_step(w);
	sys_point("drain.told");
	if (!r->plan_failed)
		begin_hook(w, HOOK_ON_NOTICE, &w->drain->by);
}

static void bring_closer(struct work *w, int64_t deadline_boot_ms)
{
	struct notice *by = &w->drain->by;
	int64_t begun = w->stop_level > 0 ? w->stop_boot_ms : drain_now_ms();
	int64_t grace = deadline_boot_ms - begun > 0 ? deadline_boot_ms - begun : 0;

	if (w->stop_level == 0 || grace < w->grace_ms) {
		w->grace_ms = grace;
		w->stop_now = w->stop_now || deadline_boot_ms - drain_now_ms() < AT_ONCE_MS;
		if (w->stop_level > 0) /* hooks that come are told this one */
			by->deadline_boot_ms = deadline_boot_ms;
	}
}

void drain_wish(struct work *w, const char *source, const char *why, int64_t deadline_boot_ms)
{
	struct drain *d = w->drain;

	if (deadline_boot_ms != 0)
		bring_closer(w, deadline_boot_ms);
	if (w->stop_level > 0)
		return;
	notice_begin(&d->by, NOTICE_TAKEN, source, drain_now_ms(), sys_wall_ns() / 1000000);
	notice_text(d->by.detail, sizeof(d->by.detail), why, strlen(why));
	d->by.deadline_boot_ms = drain_now_ms() + w->grace_ms;
	w->stop_reason = EBB_STOP_DRAIN;
	begin_drain(w, why);
	tell_all(w);
}

/* It leaves already, as somebody wished; now it has to. */
static void note_taken(struct work *w, const char *why)
{
	log_line(LOG_INFO, "%s: %s", w->opt->run.name, why);
	event_note_drain(w, true, why);
}

void drain_notice(struct work *w, const struct notice *n)
{
	struct drain *d = w->drain;
	int64_t deadline = notice_deadline_boot_ms(n, w->opt->grace_given ? w->opt->grace_ms : -1);
	struct buf why = {0};
	bool first = w->stop_level == 0;
	bool news = !d->by_platform;

	bring_closer(w, deadline);
	if (news) {
		d->by = *n;
		d->by_platform = true;
		d->by.deadline_boot_ms = deadline;
		w->stop_reason = EBB_STOP_NOTICE;
	}
	if (!first && !news)
		return;
	notice_say(&d->by, drain_now_ms(), &why);
	if (first)
		begin_drain(w, why.failed ? n->source : why.data);
	else
		note_taken(w, why.failed ? n->source : why.data);
	buf_free(&why);
	if (first)
		tell_all(w);
}

void drain_warn(struct work *w, const struct notice *n)
{
	if (w->stop_level == 0)
		begin_hook(w, HOOK_ON_REBALANCE, n);
}

static void signal_is_notice(struct work *w, unsigned platforms, const char *name)
{
	struct notice n;

	notice_begin(&n, NOTICE_TAKEN, platforms & NOTICE_ON_SLURM ? "slurm"
	    : platforms & NOTICE_ON_ECS ? "ecs" : "kubernetes", drain_now_ms(),
	    sys_wall_ns() / 1000000);
	n.action = NOTICE_TERMINATE;
	n.deadline_boot_ms = drain_now_ms() + w->opt->grace_ms;
	(void)snprintf(n.detail, sizeof(n.detail), "%s", name);
	drain_notice(w, &n);
}

void drain_signal(struct work *w, int sig)
{
	const char *name = sig == SIGINT ? "INT" : sig == SIGTERM ? "TERM" : "HUP";
	unsigned platforms = sig == SIGTERM ? notice_term_is_notice(w->platforms) : 0;

	if (w->stop_level == 0) {
		w->result->interrupted = sig == SIGINT;
		if (platforms != 0)
			signal_is_notice(w, platforms, name);
		else
			drain_wish(w, "signal", name, 0);
	} else if (sig == SIGINT || w->result->halted) {
		w->result->drained = true;
		w->result->interrupted = w->result->interrupted || sig == SIGINT;
		w->stop_level = 2;
	} else if (platforms != 0) {
		signal_is_notice(w, platforms, name);
	} else if (sig == SIGTERM) {
		/* Of an operator's long drain, or from a machine that goes down already. */
		bring_closer(w, drain_now_ms() + w->opt->grace_ms);
	}
}

/* ---- while it lasts ---- */

static void mark_stopped(struct work *w)
{
	struct attempt *a;

	for (a = w->all; a != NULL; a = a->all_next)
		a->stopped = a->stopped || w->inflight[a->id % INFLIGHT_MAX] == a;
}

void drain_step(struct work *w)
{
	const int64_t until = children_until_ms(w);
	const struct contract_stop stop = {w->stop_reason, until, until - w->stop_boot_ms,
	    w->stop_now};
	struct attempt *a;
	struct error e;

	while ((a = attempt_pop(&w->ready)) != NULL)
		loop_give_back(a);
	step_hook(w);
	if (w->kill_sent)
		return;
	if (w->stop_level == 2 || drain_now_ms() >= until) {
		w->kill_sent = true;
		mark_stopped(w);
		(void)!guardian_kill_all(w->body->guardian, SIGKILL, &e);
	} else {
		contract_drain(w, &stop);
	}
}

void drain_count(struct work *w, const struct attempt *a)
{
	struct drain *d = w->drain;

	if (w->stop_level == 0)
		return;
	if (a->rec.cause == CAUSE_DONE)
		d->finished++;
	else if (a->saved)
		d->saved++;
	else
		d->handed_back++;
	if (a->rec.cause != CAUSE_DONE && w->kill_sent && a->end.exit_signal == SIGKILL)
		d->killed++;
}

/* ---- the end ---- */

static void drained_said(struct work *w)
{
	w->drain->saying = false; /* the step that hands this over goes on with it */
}

/* Read by `ebb report` and `ebb chaos run`: docs/formats-ledger.md. */
static void say_drained(struct work *w)
{
	struct drain *d = w->drain;
	char text[256];

	(void)snprintf(text, sizeof(text), "by=%s safe_ms=%lld given_ms=%lld finished=%zu saved=%zu "
	    "handed_back=%zu killed=%zu skipped=%s", d->by.source,
	    (long long)(d->safe_boot_ms - (d->by.seen_boot_ms < w->stop_boot_ms ? d->by.seen_boot_ms
	    : w->stop_boot_ms)), (long long)w->grace_ms, d->finished, d->saved, d->handed_back,
	    d->killed, d->skipped[0] == '\0' ? "none" : d->skipped);
	d->said = d->saying = true;
	sys_point("drain.safe");
	if (event_note(w, "drained", text, drained_said) != ST_OK)
		d->saying = false;
}

bool drain_is_over(struct work *w)
{
	struct drain *d = w->drain;
	const struct worker_result *r = w->result;

	if (w->stop_level == 2 || !r->drained || r->cancelled || r->superseded || r->plan_failed)
		return true;
	if (d->safe_boot_ms == 0)
		d->safe_boot_ms = drain_now_ms();
	step_hook(w);
	if (d->hook != NULL)
		return false;
	if (!d->said)
		say_drained(w);
	if (d->saying)
		return false;
	if (d->hook_open) {
		sys_point("drain.said");
		d->hook_open = false;
		begin_hook(w, HOOK_ON_DRAINED, &d->by);
	}
	return d->hook == NULL;
}
