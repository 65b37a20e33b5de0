#include "chaos/fleet.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/mem.h"
#include "base/sys.h"
#include "chaos/cloud.h"
#include "chaos/draw.h"
#include "chaos/serve.h"
#include "chaos/tell.h"

enum {
	FLEET_OUTSIDE_MAX = 256,
	FLEET_FAILURES_MAX = 5,   /* starts in a row that could not work */
	FLEET_LOOK_MS = 100,      /* between two looks at the ledger */
	HIBERNATE_LATEST_MS = 3000, /* from the notice on; sooner if it was heard, */
	HIBERNATE_HEARD_MS = 200,   /* then after so long */
};

struct fleet {
	struct fleet_options o;
	struct machine *machine;
	size_t n;
	struct blow *blow;
	size_t n_blows;
	size_t cap_blows;
	int64_t looked_ms;
	bool settled;
};

/* ---- beginning and end ---- */

static void fleet_fill(struct fleet *f)
{
	const struct experiment *x = f->o.plan.x;
	size_t i;
	int k;

	for (i = 0; i < x->n_pools; i++) {
		for (k = 0; k < x->pool[i].workers; k++) {
			struct machine *m = &f->machine[f->n++];

			m->number = (int)f->n;
			m->pool = x->pool[i].name;
			m->zone = x->pool[i].zone;
			m->lifecycle = x->pool[i].lifecycle;
			m->slots = x->pool[i].slots;
		}
	}
}

enum status fleet_create(const struct fleet_options *o, struct fleet **out, struct error *e)
{
	struct fleet *f = mem_zero(sizeof(*f));
	size_t n = o->outside != NULL ? FLEET_OUTSIDE_MAX : (size_t)experiment_machines(o->plan.x);

	if (f != NULL)
		f->machine = mem_zero((n > 0 ? n : 1) * sizeof(*f->machine));
	if (f == NULL || f->machine == NULL) {
		free(f);
		return error_set(e, ST_NO_MEMORY, "out of memory");
	}
	f->o = *o;
	if (o->outside == NULL)
		fleet_fill(f);
	*out = f;
	return ST_OK;
}

/* ---- who has ended ---- */

/* What its worker's end means for the machine. */
static void fleet_note_exit(struct machine *m, int how, int64_t now_ms, const struct experiment *x)
{
	int code = WIFEXITED(how) ? WEXITSTATUS(how) : -1;
	bool could_not = code == 3 || code == 4;
	/* It left before it hibernated, which it does all the same. */
	int64_t resumed_ms = m->freeze_ms != 0 ? m->thaw_ms : 0;

	m->up = false; /* its pid may soon be another's */
	/* What is left of it while it stood still cannot end by itself. */
	if (m->frozen)
		(void)machine_kill(m);
	machine_gone(m);
	m->back_ms = now_ms + x->replace_ms;
	if (m->back_ms < resumed_ms)
		m->back_ms = resumed_ms;
	m->failures = could_not ? m->failures + 1 : 0;
	m->over = (code >= 0 && code <= 2) || m->failures >= FLEET_FAILURES_MAX;
	if (m->over && code > 0)
		m->bad_exit = code;
}

static void fleet_reap(struct machine *m, int64_t now_ms, const struct experiment *x)
{
	int how;

	if (m->up && m->pid > 0 && waitpid(m->pid, &how, WNOHANG) == m->pid)
		fleet_note_exit(m, how, now_ms, x);
}

void fleet_destroy(struct fleet *f)
{
	size_t i;

	if (f == NULL)
		return;
	for (i = 0; i < f->n; i++) {
		struct machine *m = &f->machine[i];

		if (f->o.outside != NULL) {
			if (m->frozen)
				(void)machine_go_on(m);
			continue;
		}
		if (m->up)
			(void)machine_kill(m);
		fleet_reap(m, 0, f->o.plan.x);
		machine_gone(m);
	}
	free(f->machine);
	free(f->blow);
	free(f);
}

/* ---- who else there is ---- */

/* What was started by those that are gone comes to this process. */
static void fleet_reap_orphans(const struct fleet *f)
{
	siginfo_t who;
	size_t i;

	for (;;) {
		memset(&who, 0, sizeof(who));
		if (waitid(P_ALL, 0, &who, WEXITED | WNOHANG | WNOWAIT) != 0 || who.si_pid == 0)
			return;
		for (i = 0; i < f->n; i++) {
			if (f->machine[i].up && f->machine[i].pid == who.si_pid)
				return; /* in a moment */
		}
		(void)waitpid(who.si_pid, NULL, WNOHANG);
	}
}

static void fleet_outside_add(struct fleet *f, const struct ledger_worker *w)
{
	struct machine *m;
	size_t i;

	for (i = 0; i < f->n; i++) {
		if (f->machine[i].worker.id == w->id)
			return;
	}
	if (f->n == FLEET_OUTSIDE_MAX)
		return;
	m = &f->machine[f->n++];
	m->number = w->number;
	m->worker = *w;
	m->pool = m->worker.pool;
	m->lifecycle = strcmp(w->lifecycle, "on-demand") == 0 ? LIFECYCLE_ON_DEMAND : LIFECYCLE_SPOT;
	m->slots = w->slots;
	m->pid = w->pid;
	m->instances = 1;
	m->up = true;
}

/* Those that the ledger does not list any more have left. */
static enum status fleet_outside_look(struct fleet *f, struct error *e)
{
	struct ledger_worker *list = mem_zero(FLEET_OUTSIDE_MAX * sizeof(*list));
	size_t n = 0;
	size_t i;
	size_t k;
	enum status st;

	if (list == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = ledger_workers(f->o.outside, f->o.run, list, FLEET_OUTSIDE_MAX, &n, e);
	for (i = 0; st == ST_OK && i < n; i++)
		fleet_outside_add(f, &list[i]);
	for (i = 0; st == ST_OK && i < f->n; i++) {
		for (k = 0; k < n && list[k].id != f->machine[i].worker.id; k++)
			;
		if (k == n && f->machine[i].up)
			machine_gone(&f->machine[i]);
	}
	free(list);
	return st;
}

/* ---- what is due ---- */

static void fleet_say(const struct fleet *f, const struct machine *m, const char *what)
{
	tell_line(f->o.tell, "machine %d: %s", m->number, what);
}

static void fleet_thaw(struct fleet *f, struct machine *m)
{
	m->thaw_ms = 0;
	if (m->frozen) {
		machine_withdraw(m);
		(void)machine_go_on(m);
		fleet_say(f, m, "goes on");
	}
}

/* A machine hibernates soon after its notice, whether somebody listens or not. */
static bool fleet_hibernates_now(const struct machine *m, int64_t now_ms)
{
	int64_t said_ms = m->freeze_ms - HIBERNATE_LATEST_MS;
	int64_t heard_ms = m->serve == NULL ? -1 : serve_seen(m->serve, 1).last_poll_ms;

	return now_ms >= m->freeze_ms || (heard_ms >= said_ms &&
	    now_ms >= heard_ms + HIBERNATE_HEARD_MS);
}

static void fleet_due(struct fleet *f, struct machine *m, int64_t now_ms)
{
	if (!m->up)
		return;
	if (m->deadline_ms != 0 && now_ms >= m->deadline_ms) {
		f->blow[m->blow].missed = true;
		m->deadline_ms = 0;
		fleet_say(f, m, "its time is over while its worker is still there; it is gone");
		if (machine_kill(m) && f->o.outside != NULL)
			machine_gone(m);
	} else if (m->freeze_ms != 0 && fleet_hibernates_now(m, now_ms)) {
		m->freeze_ms = 0;
		(void)machine_stop(m);
	} else if (m->thaw_ms != 0 && m->freeze_ms == 0 && now_ms >= m->thaw_ms) {
		fleet_thaw(f, m);
	}
}

static bool fleet_may_come(const struct machine *m, int64_t now_ms)
{
	return !m->up && !m->over && !m->held && now_ms >= m->back_ms && now_ms >= m->held_until_ms;
}

enum status fleet_step(struct fleet *f, int64_t now_ms, bool known, struct error *e)
{
	enum status st = ST_OK;
	size_t i;

	if (f->o.outside != NULL && now_ms - f->looked_ms >= FLEET_LOOK_MS) {
		f->looked_ms = now_ms;
		st = fleet_outside_look(f, e);
	}
	for (i = 0; st == ST_OK && i < f->n; i++) {
		struct machine *m = &f->machine[i];

		if (f->o.outside == NULL)
			fleet_reap(m, now_ms, f->o.plan.x);
		fleet_due(f, m, now_ms);
		/* The first begins the run, the others join it: one that waited for it could
		 * find it over, and would go on waiting. */
		if (f->o.outside == NULL && !f->settled && fleet_may_come(m, now_ms) &&
		    (known || m->number == 1))
			st = machine_start(m, &f->o.plan, m->number == 1 && !known, e);
	}
	if (f->o.outside == NULL)
		fleet_reap_orphans(f);
	return st;
}

/* ---- what is done ---- */

static bool fleet_is_text_or_any(const char *want, const char *is)
{
	return want == NULL || (is != NULL && strcmp(want, is) == 0);
}

static bool fleet_is_meant(const struct machine *m, const struct chaos_action *a)
{
	return fleet_is_text_or_any(a->pool, m->pool) && fleet_is_text_or_any(a->zone, m->zone) &&
	    (a->lifecycle == LIFECYCLE_ANY || a->lifecycle == m->lifecycle);
}

static bool fleet_is_undisturbed(const struct machine *m)
{
	return m->up && m->deadline_ms == 0 && m->freeze_ms == 0 && !m->frozen;
}

static enum status fleet_note(struct fleet *f, const struct machine *m, enum action_kind kind,
    int64_t now_ms, int64_t deadline_ms, struct error *e)
{
	void *list = f->blow;
	enum status st = mem_grow(&list, &f->cap_blows, f->n_blows + 1, sizeof(*f->blow), e);

	if (st != ST_OK)
		return st;
	f->blow = list;
	f->blow[f->n_blows++] = (struct blow){.kind = kind, .machine = m->number, .pid = m->pid,
	    .boot_ms = now_ms, .deadline_ms = deadline_ms};
	return ST_OK;
}

static int64_t fleet_window_ms(const struct fleet *f)
{
	static const struct cloud *const clouds[] = {&cloud_aws, &cloud_gcp, &cloud_azure};
	const struct experiment *x = f->o.plan.x;

	return x->window_ms >= 0 ? x->window_ms : clouds[x->cloud]->window_ms;
}

static enum status fleet_outside_notice(struct fleet *f, struct machine *m, int64_t deadline_ms,
    struct error *e)
{
	const struct ledger_drain drain = {.who = m->worker.name, .deadline_boot_ms = deadline_ms,
	    .reason = "a notice of ebb chaos", .notice = true};
	int64_t n;

	return ledger_worker_drain(f->o.outside, f->o.run, &drain, &n, e);
}

static enum status fleet_do_notice(struct fleet *f, struct machine *m, const struct chaos_action *a,
    int64_t now_ms, struct error *e)
{
	int64_t window_ms = fleet_window_ms(f);
	int64_t deadline_ms = now_ms + window_ms;
	enum status st = f->o.outside != NULL ? fleet_outside_notice(f, m, deadline_ms, e)
	    : machine_notice(m, a->stops ? NOTICE_STOP : NOTICE_TERMINATE, window_ms, e);

	if (st == ST_OK)
		st = fleet_note(f, m, (enum action_kind)a->kind, now_ms, deadline_ms, e);
	if (st != ST_OK)
		return st;
	m->deadline_ms = deadline_ms;
	m->blow = f->n_blows - 1;
	fleet_say(f, m, a->stops ? "notice (stop)" : "notice (terminate)");
	return ST_OK;
}

static enum status fleet_do_hibernate(struct fleet *f, struct machine *m,
    const struct chaos_action *a,
    int64_t now_ms, struct error *e)
{
	enum status st = machine_notice(m, NOTICE_HIBERNATE, 0, e);

	if (st == ST_OK)
		st = fleet_note(f, m, ACTION_HIBERNATE, now_ms, 0, e);
	if (st != ST_OK)
		return st;
	m->freeze_ms = now_ms + HIBERNATE_LATEST_MS;
	m->thaw_ms = m->freeze_ms + a->for_ms;
	fleet_say(f, m, "notice (hibernate)");
	return ST_OK;
}

static enum status fleet_do_freeze(struct fleet *f, struct machine *m, const struct chaos_action *a,
    int64_t now_ms, struct error *e)
{
	if (!machine_stop(m))
		return ST_OK;
	m->thaw_ms = now_ms + a->for_ms;
	fleet_say(f, m, "stands still");
	return fleet_note(f, m, ACTION_FREEZE, now_ms, 0, e);
}

static enum status fleet_do_kill(struct fleet *f, struct machine *m, int64_t now_ms,
    struct error *e)
{
	enum status st;

	if (!machine_kill(m) && f->o.outside != NULL)
		return ST_OK;
	fleet_say(f, m, "killed");
	st = fleet_note(f, m, ACTION_KILL, now_ms, 0, e);
	/* The ledger goes on listing it until somebody finds its lease run out. */
	if (f->o.outside != NULL)
		machine_gone(m);
	return st;
}

static enum status fleet_do_rebalance(struct fleet *f, struct machine *m, int64_t now_ms,
    struct error *e)
{
	enum status st = machine_rebalance(m, e);

	fleet_say(f, m, "rebalance recommendation");
	return st == ST_OK ? fleet_note(f, m, ACTION_REBALANCE, now_ms, 0, e) : st;
}

static enum status fleet_do(struct fleet *f, struct machine *m, const struct chaos_action *a,
    int64_t now_ms, struct error *e)
{
	switch ((enum action_kind)a->kind) {
	case ACTION_KILL:
		return fleet_do_kill(f, m, now_ms, e);
	case ACTION_FREEZE:
		return fleet_do_freeze(f, m, a, now_ms, e);
	case ACTION_HIBERNATE:
		return fleet_do_hibernate(f, m, a, now_ms, e);
	case ACTION_REBALANCE:
		return fleet_do_rebalance(f, m, now_ms, e);
	case ACTION_NOTICE:
	case ACTION_CAPACITY:
	case ACTION_TRACE:
	case ACTION_KINDS:
		break;
	}
	return fleet_do_notice(f, m, a, now_ms, e);
}

enum status fleet_act(struct fleet *f, const struct chaos_action *a, int64_t now_ms,
    uint64_t *random,
    size_t *hit, struct error *e)
{
	int list[FLEET_OUTSIDE_MAX];
	size_t n = 0;
	size_t take;
	size_t i;
	enum status st = ST_OK;

	for (i = 0; i < f->n; i++) {
		struct machine *m = &f->machine[i];

		if (a->kind == ACTION_CAPACITY && fleet_is_meant(m, a))
			m->held_until_ms = now_ms + a->for_ms;
		if (fleet_is_meant(m, a) && fleet_is_undisturbed(m))
			list[n++] = (int)i;
	}
	take = n == 0 ? 0 : targets_number(&a->targets, n);
	draw_some(random, list, n, take);
	for (i = 0; st == ST_OK && i < take; i++)
		st = fleet_do(f, &f->machine[list[i]], a, now_ms, e);
	*hit = take;
	return st;
}

enum status fleet_set_available(struct fleet *f, const struct chaos_action *a, int32_t n,
    int64_t now_ms,
    struct error *e)
{
	int32_t at = 0;
	size_t i;
	enum status st = ST_OK;

	for (i = 0; st == ST_OK && i < f->n; i++) {
		struct machine *m = &f->machine[i];

		if (!fleet_is_meant(m, a))
			continue;
		m->held = at++ >= n;
		if (m->held && fleet_is_undisturbed(m))
			st = fleet_do_notice(f, m, a, now_ms, e);
	}
	return st;
}

/* ---- what there is ---- */

bool fleet_is_stuck(const struct fleet *f)
{
	size_t i;

	for (i = 0; i < f->n; i++) {
		if (f->machine[i].up || (f->o.outside == NULL && !f->machine[i].over))
			return false;
	}
	return f->o.outside == NULL;
}

bool fleet_takes_all(const struct fleet *f, const struct chaos_action *a)
{
	size_t meant = 0;
	size_t i;

	for (i = 0; i < f->n; i++)
		meant += f->machine[i].up && fleet_is_meant(&f->machine[i], a);
	return meant > 0 && meant == fleet_up(f) && targets_number(&a->targets, meant) >= meant;
}

size_t fleet_up(const struct fleet *f)
{
	size_t n = 0;
	size_t i;

	for (i = 0; i < f->n; i++)
		n += f->machine[i].up;
	return n;
}

void fleet_settle(struct fleet *f)
{
	size_t i;

	f->settled = true;
	for (i = 0; i < f->n; i++) {
		struct machine *m = &f->machine[i];

		m->deadline_ms = 0;
		m->freeze_ms = 0;
		if (m->frozen)
			fleet_thaw(f, m);
	}
}

const struct blow *fleet_blows(const struct fleet *f, size_t *n)
{
	*n = f->n_blows;
	return f->blow;
}

int fleet_instances(const struct fleet *f)
{
	int n = 0;
	size_t i;

	for (i = 0; i < f->n; i++)
		n += f->machine[i].instances;
	return n;
}

int fleet_bad_exit(const struct fleet *f, int *machine)
{
	size_t i;

	for (i = 0; i < f->n; i++) {
		*machine = f->machine[i].number;
		if (f->machine[i].bad_exit != 0)
			return f->machine[i].bad_exit;
	}
	return 0;
}
