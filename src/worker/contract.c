#include "worker/contract.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/sys.h"
#include "model/drain.h"
#include "worker/batch.h"
#include "worker/save.h"

enum { EXIT_AGAIN = 85, RESERVE_MS = 5000 };

/* What is known of a lane. */
struct lane_view {
	int64_t row;             /* of the attempt that was last seen in it */
	int64_t epoch;
	int64_t begun_boot_ns;
	struct attempt *attempt; /* NULL: none that still runs */
};

struct contract {
	uv_poll_t poll;
	struct lane_view lane[]; /* as many as the worker has slots */
};

static void on_page(uv_poll_t *h, int status, int events)
{
	struct work *w = h->data;
	bool written[SLOTS_MAX] = {false};

	(void)status;
	(void)events;
	control_take_written(w->body->control, written);
	contract_poll(w);
}

enum status contract_open(struct work *w, struct error *e)
{
	int fd = control_fd(w->body->control);

	w->contract = mem_zero(sizeof(*w->contract) +
	    (size_t)w->opt->slots * sizeof(w->contract->lane[0]));
	if (w->contract == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	/* Without checkpoints nobody waits for an answer, and the tick looks often
	 * enough; each start of a child would wake this process. */
	if (fd == -1 || !save_is_kept(&w->stage[0]))
		return ST_OK;
	(void)uv_poll_init(&w->loop, &w->contract->poll, fd);
	w->contract->poll.data = w;
	(void)uv_poll_start(&w->contract->poll, UV_READABLE, on_page);
	return ST_OK;
}

void contract_close(struct work *w)
{
	free(w->contract);
	w->contract = NULL;
}

static struct attempt *find_attempt(const struct work *w, int64_t row, int64_t epoch)
{
	struct attempt *a;

	for (a = w->all; a != NULL; a = a->all_next) {
		if (a->shard.row == row && a->shard.s.epoch == epoch &&
		    w->inflight[a->id % INFLIGHT_MAX] == a)
			return a;
	}
	return NULL;
}

/* The attempt that runs in a lane now, by the slot table; NULL: none. */
static struct attempt *look_at_lane(struct work *w, int lane)
{
	struct lane_view *v = &w->contract->lane[lane];
	struct slot *slot = slots_at(w->body->slots, lane);
	struct control_begin begin;
	struct attempt *a;

	if (__atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) != SLOT_STARTED)
		return NULL;
	begin.epoch = __atomic_load_n(&slot->epoch, __ATOMIC_ACQUIRE);
	begin.begun_boot_ns = __atomic_load_n(&slot->started_boot_ns, __ATOMIC_ACQUIRE);
	if (v->row == __atomic_load_n(&slot->row, __ATOMIC_ACQUIRE) && v->epoch == begin.epoch &&
	    v->begun_boot_ns == begin.begun_boot_ns)
		return v->attempt;
	v->row = __atomic_load_n(&slot->row, __ATOMIC_ACQUIRE);
	v->epoch = begin.epoch;
	v->begun_boot_ns = begin.begun_boot_ns;
	v->attempt = a = find_attempt(w, v->row, v->epoch);
	if (a == NULL)
		return NULL;
	a->run_lane = lane;
	a->begun_boot_ns = begin.begun_boot_ns;
	begin.offset = a->from.offset;
	begin.deadline_boot_ns = 0;
	control_adopt(w->body->control, lane, &begin);
	return a;
}

static void read_page(struct work *w, struct attempt *a)
{
	struct control_view view;
	struct error e;

	if (control_read(w->body->control, a->run_lane, &view, &e) != ST_OK)
		return;
	a->progress_done = view.done;
	a->progress_total = view.total;
	if (!view.pending || a->saving)
		return;
	if (view.sensible && a->folder != NULL) {
		save_begin(a, &view);
		return;
	}
	if (control_answer(w->body->control, a->run_lane, &view,
	    view.sensible ? EBB_ANSWER_FAILED : EBB_ANSWER_REFUSED, &e) != ST_OK)
		log_line(LOG_DEBUG, "%s", e.text);
}

void contract_poll(struct work *w)
{
	int i;

	for (i = 0; i < w->opt->slots; i++) {
		struct attempt *a = look_at_lane(w, i);

		if (a != NULL)
			read_page(w, a);
	}
}

/* ---- drain ---- */

static void tell_attempt(struct work *w, struct attempt *a, const struct contract_stop *stop,
    enum ebb_stop_plan plan)
{
	const struct spec *s = a->g->spec;
	struct error e;

	if (control_stop(w->body->control, a->run_lane, stop->reason, plan,
	    stop->deadline_boot_ms * 1000000, &e) != ST_OK)
		log_line(LOG_DEBUG, "%s", e.text);
	a->plan = plan;
	a->told_reason = stop->reason;
	a->told_until_ms = stop->deadline_boot_ms;
	if (plan == EBB_PLAN_FINISH || a->stopped)
		return;
	if (batch_can_wait(a, stop->deadline_boot_ms - sys_boot_ns() / 1000000))
		return;
	a->stopped = true;
	/* A guardian that is gone shows when its ends are read. */
	(void)!guardian_stop_task(w->body->guardian, a->id, spec_stop_signal(s), s->stop_to,
	    &e);
}

static bool is_late(const struct attempt *a, const struct contract_stop *stop)
{
	return a->told_until_ms != stop->deadline_boot_ms || a->told_reason != stop->reason;
}

/* The deadline has come closer, or it is another reason now; no second signal. */
static void tell_again(struct work *w, struct attempt *a, const struct contract_stop *stop)
{
	struct error e;

	if (a->told_until_ms == 0 || !is_late(a, stop))
		return;
	a->told_reason = stop->reason;
	a->told_until_ms = stop->deadline_boot_ms;
	if (control_stop(w->body->control, a->run_lane, stop->reason, a->plan,
	    stop->deadline_boot_ms * 1000000, &e) != ST_OK)
		log_line(LOG_DEBUG, "%s", e.text);
}

int64_t contract_typical_ms(const struct stage *g)
{
	int64_t done = g->last.ended[CAUSE_DONE];

	if (g->avg_run_us > 0)
		return g->avg_run_us / 1000;
	if (g->past.done > 0)
		return g->past.done_ms;
	return done > 0 ? g->last.run_ms / done : 0;
}

int64_t contract_reserve_ms(const struct work *w)
{
	return w->pipeline->drain_reserve_ms > 0 ? w->pipeline->drain_reserve_ms : RESERVE_MS;
}

static enum drain_saving saving_of(const struct attempt *a)
{
	const struct stage *g = a->g;
	const struct ledger_past *past = &g->past;

	if (a->saved || a->saving || a->from.epoch > 0 || batch_is_on(a) || g->save_seen ||
	    past->saved > 0 || spec_stops_well(g->spec))
		return DRAIN_SAVES;
	/* Whoever dies of the signal has made no provision for it. */
	if (!save_is_kept(g) || (past->died > 0 && past->died == past->stopped))
		return DRAIN_CANNOT_SAVE;
	return DRAIN_MAY_SAVE;
}

static enum ebb_stop_plan plan_for(const struct attempt *a, const struct contract_stop *stop)
{
	int64_t now_ns = sys_boot_ns();
	const struct drain_attempt d = {
		.elapsed_ms = (now_ns - a->begun_boot_ns) / 1000000,
		.done = a->progress_done,
		.total = a->progress_total,
		.typical_ms = contract_typical_ms(a->g),
		.saving = saving_of(a),
		.save_ms = a->save_ms,
		.like_save_ms = a->g->past.save_ms,
		.given_ms = stop->given_ms,
	};

	return drain_plan(&d, stop->deadline_boot_ms - now_ns / 1000000);
}

void contract_drain(struct work *w, const struct contract_stop *stop)
{
	int i;

	contract_poll(w);
	for (i = 0; i < w->opt->slots; i++) {
		struct attempt *a = look_at_lane(w, i);
		enum ebb_stop_plan plan;

		if (a == NULL)
			continue;
		tell_again(w, a, stop);
		if (a->stopped)
			continue;
		plan = plan_for(a, stop);
		if (plan == EBB_PLAN_FINISH && stop->now)
			plan = EBB_PLAN_CHECKPOINT;
		if (plan != a->plan || (batch_is_on(a) && plan != EBB_PLAN_FINISH))
			tell_attempt(w, a, stop, plan);
	}
}

void contract_advise(struct work *w)
{
	struct error e;
	int i;

	contract_poll(w);
	for (i = 0; i < w->opt->slots; i++) {
		struct attempt *a = look_at_lane(w, i);

		if (a != NULL && save_is_kept(a->g) && !batch_is_on(a) &&
		    control_advise(w->body->control, i, &e) != ST_OK)
			log_line(LOG_DEBUG, "%s", e.text);
	}
}

/* ---- what an end means ---- */

static enum cause after_stop(const struct attempt *a)
{
	const struct spec *s = a->g->spec;
	size_t i;

	for (i = 0; i < s->n_after_stop; i++) {
		if (a->end.exit_code == s->after_stop[i].exit_code)
			return s->after_stop[i].cause;
	}
	if (a->end.exit_code == 0 && a->end.task_done)
		return CAUSE_DONE;
	return a->w->end_cause;
}

int contract_again(const struct spec *s)
{
	return s->checkpoint_exit == 0 ? EXIT_AGAIN : s->checkpoint_exit;
}

enum cause contract_cause(const struct attempt *a)
{
	if (a->end.exit_code == contract_again(a->g->spec) && a->saved)
		return CAUSE_CHECKPOINTED;
	if (a->stopped)
		return after_stop(a);
	return a->end.exit_code == 0 ? CAUSE_DONE : CAUSE_FAILED;
}
