#include "worker/requests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/sys.h"
#include "notice/stop_file.h"
#include "worker/drain.h"
#include "worker/life.h"
#include "worker/loop.h"
#include "worker/sweep.h"

enum { CANCEL_GRACE_MS = 5000 }; /* from TERM to KILL */

/* What the ledger says, as read by the committer's thread. */
struct news {
	int64_t drain_boot_ms;
	int64_t drain_deadline_boot_ms;
	char drain_reason[64];
	bool drain_notice;
	int64_t taken_boot_ms; /* since when the machine is known to be taken; 0: not */
	bool warned;
	int64_t life_until_boot_ms;
	enum run_state state;
	int generation;      /* the run's newest; 0: nothing was read yet */
	bool stages;         /* that the stages were read too */
};

struct requests {
	struct work *w;
	pthread_mutex_t lock;
	struct news news;            /* under the lock, */
	struct ledger_stage *stage;  /* as these, one for each of the pipeline's */
	bool fresh;                  /* not yet seen by the loop */
	_Atomic bool waiting;        /* the loop could do more if there were more */
	/* The loop's own: */
	struct ledger_stage *seen;
	int64_t deadline_boot_ms;    /* that it drains by; 0: none */
	bool drain_seen;
	bool notice_seen;
	bool stop_file_seen;
	char *stop_file;
	int stop_fd;                 /* stop_file_fd; -1: none */
	uv_poll_t stop_poll;
};

static enum status default_stop_file(struct requests *r, struct error *e)
{
	const struct worker_options *opt = r->w->opt;
	struct buf path = {0};
	enum status st;

	if (opt->stop_file != NULL)
		buf_str(&path, opt->stop_file);
	else
		state_path(opt->state, &path, "runs/%s/stop", opt->run.name);
	st = buf_check(&path, e);
	r->stop_file = path.data;
	return st;
}

enum status requests_create(struct work *w, struct error *e)
{
	struct requests *r = mem_zero(sizeof(*r));

	w->requests = r;
	if (r == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	r->stop_fd = -1;
	r->w = w;
	(void)pthread_mutex_init(&r->lock, NULL);
	r->stage = mem_zero(w->n_stages * sizeof(*r->stage));
	r->seen = mem_zero(w->n_stages * sizeof(*r->seen));
	if (r->stage == NULL || r->seen == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	return default_stop_file(r, e);
}

void requests_destroy(struct requests *r)
{
	if (r == NULL)
		return;
	(void)pthread_mutex_destroy(&r->lock);
	free(r->stage);
	free(r->seen);
	free(r->stop_file);
	if (r->stop_fd != -1)
		(void)sys_close(r->stop_fd);
	free(r);
}

/* ---- on the committer's thread ---- */

static enum status read_news(struct requests *r, struct ledger *l, struct news *n,
    struct ledger_stage *stage, struct error *e)
{
	const struct worker_options *opt = r->w->opt;
	struct ledger_run run;
	struct ledger_worker me;
	size_t got = 0;
	enum status st = ledger_worker_get(l, r->w->me.id, &me, e);

	memset(n, 0, sizeof(*n));
	if (st == ST_OK)
		st = ledger_run_by_key(l, opt->run.key, &run, e);
	if (st != ST_OK)
		return st;
	n->state = run.state;
	n->generation = run.generation;
	ledger_run_free(&run);
	n->drain_boot_ms = me.drain_boot_ms;
	n->drain_deadline_boot_ms = me.drain_deadline_boot_ms;
	memcpy(n->drain_reason, me.drain_reason, sizeof(n->drain_reason));
	n->drain_notice = me.drain_notice;
	n->taken_boot_ms = me.taken_boot_ms;
	n->warned = me.warned_boot_ms != 0;
	n->life_until_boot_ms = me.life_until_boot_ms;
	if (!atomic_load(&r->waiting))
		return ST_OK;
	st = ledger_run_stages(l, opt->run.id, opt->run.generation, stage, r->w->n_stages, &got, e);
	n->stages = st == ST_OK && got == r->w->n_stages;
	return st;
}

void requests_watch(struct ledger *l, void *work)
{
	struct work *w = work;
	struct requests *r = w->requests;
	struct ledger_stage *stage = mem_zero(w->n_stages * sizeof(*stage));
	struct error e;
	struct news n;

	if (stage != NULL && read_news(r, l, &n, stage, &e) == ST_OK) {
		(void)pthread_mutex_lock(&r->lock);
		if (n.stages)
			memcpy(r->stage, stage, w->n_stages * sizeof(*stage));
		else
			n.stages = r->fresh && r->news.stages;
		r->fresh = true;
		r->news = n;
		(void)pthread_mutex_unlock(&r->lock);
		(void)uv_async_send(&w->wake);
	}
	free(stage);
}

void requests_blocked(struct ledger *l, void *work)
{
	const struct work *w = work;

	sweep_end_blocker(w->opt->state, l);
}

/* ---- on the loop's thread ---- */

/* Somebody has passed on what the platform said. */
static void obey_notice(struct work *w, const struct news *n, bool newer)
{
	struct notice by;

	/* A drain may have been asked for before that. */
	notice_begin(&by, NOTICE_TAKEN, "notify", n->taken_boot_ms != 0 ? n->taken_boot_ms
	    : n->drain_boot_ms, sys_wall_ns() / 1000000);
	/* One that is known from before is an operator's, and the notice brought none that is
	 * closer: what is usual counts then, if that is. */
	by.deadline_boot_ms = newer ? n->drain_deadline_boot_ms : 0;
	if (strcmp(n->drain_reason, "notice") != 0) /* when there is no other reason */
		notice_text(by.detail, sizeof(by.detail), n->drain_reason, strlen(n->drain_reason));
	drain_notice(w, &by);
}

static void obey_drain(struct requests *r, const struct news *n)
{
	struct work *w = r->w;
	bool newer = n->drain_deadline_boot_ms != 0 && (r->deadline_boot_ms == 0 ||
	    n->drain_deadline_boot_ms < r->deadline_boot_ms);
	/* Where it heard that by itself, the row says what it wrote there. */
	bool taken = n->drain_notice && !r->notice_seen && drain_cause(w) == NULL;
	char why[128];

	if (n->drain_boot_ms == 0 || (r->drain_seen && !newer && !taken))
		return;
	/* Its own word: what runs may finish, however long that takes. */
	if (w->result->set_aside && !newer && !taken)
		return;
	(void)snprintf(why, sizeof(why), "asked to%s%s", n->drain_reason[0] == '\0' ? "" : ": ",
	    n->drain_reason);
	r->drain_seen = true;
	if (newer)
		r->deadline_boot_ms = n->drain_deadline_boot_ms;
	r->notice_seen = n->drain_notice;
	if (n->drain_notice && (newer || taken))
		obey_notice(w, n, newer);
	else
		drain_wish(w, "drain", why, newer ? n->drain_deadline_boot_ms : 0);
}

static void end_attempts(struct work *w, enum cause cause)
{
	w->end_cause = cause;
	w->stop_now = true;
	w->grace_ms = CANCEL_GRACE_MS;
	w->stop_boot_ms = sys_boot_ns() / 1000000;
	w->stop_reason = EBB_STOP_CANCEL;
	w->result->drained = false;
}

static void obey_cancel(struct work *w)
{
	if (w->result->cancelled)
		return;
	w->result->cancelled = true;
	log_line(LOG_INFO, "%s: cancelled", w->opt->run.name);
	drain_wish(w, "drain", "cancelled", 0);
	end_attempts(w, CAUSE_CANCELLED);
}

/* Whoever began the new generation has made all of this one's leases void. */
static void obey_renewal(struct work *w, int generation)
{
	if (w->result->superseded)
		return;
	w->result->superseded = true;
	log_line(LOG_INFO, "%s: it was started anew (generation %d)", w->opt->run.name, generation);
	drain_wish(w, "drain", "started anew", 0);
	end_attempts(w, CAUSE_SUPERSEDED);
}

void requests_step(struct work *w)
{
	struct requests *r = w->requests;
	struct news n;
	bool fresh;

	(void)pthread_mutex_lock(&r->lock);
	fresh = r->fresh;
	n = r->news;
	if (fresh && n.stages)
		memcpy(r->seen, r->stage, w->n_stages * sizeof(*r->seen));
	r->fresh = false;
	(void)pthread_mutex_unlock(&r->lock);
	if (!fresh)
		return;
	obey_drain(r, &n);
	life_take_row(w, n.life_until_boot_ms, n.warned);
	if (n.generation > w->opt->run.generation)
		obey_renewal(w, n.generation);
	else if (n.state == RUN_CANCELLED)
		obey_cancel(w);
	if (n.stages)
		loop_hint(w, r->seen);
}

void requests_tick(struct work *w)
{
	struct requests *r = w->requests;
	char why[200];

	if (r->stop_file_seen || !stop_file_is_there(r->stop_file))
		return;
	r->stop_file_seen = true;
	(void)snprintf(why, sizeof(why), "the stop file %.150s is there", r->stop_file);
	log_line(LOG_INFO, "%s: %s; nothing new begins before it is removed", w->opt->run.name, why);
	drain_wish(w, "file", why, 0);
}

static void on_stop_folder(uv_poll_t *p, int status, int events)
{
	struct work *w = p->data;

	(void)status;
	(void)events;
	stop_file_drain(w->requests->stop_fd);
	requests_tick(w);
	loop_step(w);
}

void requests_listen(struct work *w)
{
	struct requests *r = w->requests;

	r->stop_fd = stop_file_fd(r->stop_file);
	if (r->stop_fd == -1)
		return;
	(void)uv_poll_init(&w->loop, &r->stop_poll, r->stop_fd);
	r->stop_poll.data = w;
	(void)uv_poll_start(&r->stop_poll, UV_READABLE, on_stop_folder);
}

void requests_wait_for_work(struct work *w, bool waiting)
{
	atomic_store(&w->requests->waiting, waiting);
}
