#include "worker/heard.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sys.h"
#include "notice/detect.h"
#include "notice/watch.h"
#include "worker/contract.h"
#include "worker/drain.h"
#include "worker/life.h"
#include "worker/loop.h"
#include "worker/requests.h"

enum { ACKNOWLEDGE_MS = 2000 };

struct heard {
	struct notice_watch *watch;
	uv_poll_t poll;
	struct notice_machine machine;
	struct notice ends;      /* announced for later; deadline 0: nothing is */
};

static int64_t heard_now_ms(void)
{
	return sys_boot_ns() / 1000000;
}

/* What is announced counts, and what the machine itself cannot outlive. */
static void know_end(struct work *w)
{
	int64_t ends = w->heard->ends.deadline_boot_ms;
	int64_t life = w->heard->machine.life_until_boot_ms;

	life_set_end(w, ends == 0 || (life != 0 && life < ends) ? life : ends);
}

static void log_notice(struct work *w, const struct notice *n)
{
	struct buf text = {0};

	notice_say(n, heard_now_ms(), &text);
	log_line(LOG_INFO, "%s: %s", w->opt->run.name, text.failed ? n->source : text.data);
	if (!text.failed && event_note(w, notice_kind_name(n->kind), text.data, NULL) !=
	    ST_OK)
		log_line(LOG_WARN, "out of memory");
	buf_free(&text);
}

/* What stands in the worker's row. */
struct row_op {
	struct op op;
	struct work *w;
	struct notice_machine machine;
	bool warned;
};

static enum status exec_describe(struct ledger *l, struct op *op, struct error *e)
{
	const struct row_op *o = (const struct row_op *)op;
	const struct notice_machine *m = &o->machine;
	const struct ledger_node node = {.node = o->w->opt->node != NULL ? "" : m->node,
	    .zone = m->zone, .instance_type = m->type,
	    .lifecycle = o->w->opt->lifecycle != NULL ? "" : m->lifecycle,
	    .life_until_boot_ms = m->life_until_boot_ms};

	return ledger_worker_describe(l, o->w->me.id, &node, e);
}

static enum status exec_warn(struct ledger *l, struct op *op, struct error *e)
{
	const struct row_op *o = (const struct row_op *)op;
	int64_t n;

	return ledger_worker_warn(l, o->w->opt->run.id, o->w->me.name, o->warned, &n, e);
}

/* Whatever keeps it from being written shows in the committer's health. */
static void done_row(struct op *op)
{
	free(op);
}

static void put_row(struct work *w, bool warned,
    enum status (*exec)(struct ledger *l, struct op *op, struct error *e))
{
	struct row_op *o = mem_zero(sizeof(*o));

	if (o == NULL) {
		log_line(LOG_WARN, "%s: out of memory", w->opt->run.name);
		return;
	}
	o->op.exec = exec;
	o->op.done = done_row;
	o->w = w;
	o->machine = w->heard->machine;
	o->warned = warned;
	committer_submit(w->committer, &o->op);
}

static void set_warned(struct work *w, bool warned)
{
	life_set_warned(w, warned);
	put_row(w, warned, exec_warn);
}

static void be_careful(struct work *w, const struct notice *n)
{
	log_notice(w, n);
	set_warned(w, true);
	contract_advise(w);
	drain_warn(w, n);
	if (w->stop_level > 0 || w->another_asked)
		return;
	w->another_asked = true;
	if (event_note(w, "replace", n->source, NULL) != ST_OK)
		log_line(LOG_WARN, "%s: out of memory", w->opt->run.name);
}

void heard_notice(struct work *w, const struct notice *n)
{
	struct heard *h = w->heard;

	if (w->closing)
		return;
	switch (notice_response(n, heard_now_ms())) {
	case NOTICE_GO_ON:
		log_notice(w, n);
		break;
	case NOTICE_BE_CAREFUL:
		be_careful(w, n);
		break;
	case NOTICE_END_OF_LIFE:
		log_notice(w, n);
		if (notice_keep_end(&h->ends, n))
			know_end(w);
		break;
	case NOTICE_DRAIN:
		drain_notice(w, n);
		break;
	case NOTICE_RELAX:
		log_notice(w, n);
		if (n->was == NOTICE_REBALANCE)
			set_warned(w, false);
		else if (notice_keep_end(&h->ends, n))
			know_end(w);
		break;
	}
}

static void heard_machine(struct work *w, const struct notice_machine *m)
{
	w->heard->machine = *m;
	know_end(w);
	put_row(w, false, exec_describe);
}

static void on_words(uv_poll_t *p, int status, int events)
{
	struct work *w = p->data;
	struct notice_word word;

	(void)status;
	(void)events;
	while (notice_watch_take(w->heard->watch, &word)) {
		if (word.kind == NOTICE_WORD_EVENT)
			heard_notice(w, &word.event);
		else if (word.kind == NOTICE_WORD_MACHINE)
			heard_machine(w, &word.machine);
		else if (word.trouble[0] != '\0' && w->opt->progress) /* or a hint */
			log_line(LOG_INFO, "%s: notices: %s", w->opt->run.name, word.trouble);
	}
	loop_step(w);
}

/* A pod, a job or a task is called as its host is, unless its platform says more. */
static void name_by_host(struct work *w)
{
	struct notice_machine *m = &w->heard->machine;

	if ((w->platforms & (NOTICE_ON_KUBERNETES | NOTICE_ON_SLURM | NOTICE_ON_ECS)) != 0 &&
	    gethostname(m->node, sizeof(m->node) - 1) == 0)
		put_row(w, false, exec_describe);
}

/* What nobody asked for by name must not keep a run from starting: no libcurl, or an
 * endpoint in the environment that is none. */
static enum status begin_watch(struct work *w, struct error *e)
{
	struct notice_watch_options opt = {.sources = w->opt->notice != NULL ? w->opt->notice
	    : w->pipeline->notice};
	enum status st = notice_watch_start(&opt, &w->heard->watch, e);

	if (st == ST_OK) {
		w->platforms = notice_watch_platforms(w->heard->watch);
		return ST_OK;
	}
	if (st != ST_CONFIG || (opt.sources != NULL && strcmp(opt.sources, "auto") != 0))
		return st;
	log_line(LOG_WARN, "%s: no notices are heard but signals: %s", w->opt->run.name, e->text);
	w->platforms = notice_detect("/sys");
	opt.sources = "none";
	return notice_watch_start(&opt, &w->heard->watch, e);
}

enum status heard_open(struct work *w, struct error *e)
{
	struct heard *h = mem_zero(sizeof(*h));
	enum status st;

	w->heard = h;
	if (h == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = begin_watch(w, e);
	if (st != ST_OK)
		return st;
	name_by_host(w);
	if (notice_watch_fd(h->watch) == -1)
		return ST_OK;
	(void)uv_poll_init(&w->loop, &h->poll, notice_watch_fd(h->watch));
	h->poll.data = w;
	(void)uv_poll_start(&h->poll, UV_READABLE, on_words);
	return ST_OK;
}

void heard_close(struct work *w)
{
	struct heard *h = w->heard;

	if (h == NULL)
		return;
	notice_watch_stop(h->watch);
	free(h);
	w->heard = NULL;
}

void heard_tick(struct work *w)
{
	struct heard *h = w->heard;

	if (w->stop_level == 0 && h->ends.deadline_boot_ms != 0 &&
	    h->ends.deadline_boot_ms - heard_now_ms() <= NOTICE_NEAR_MS)
		drain_notice(w, &h->ends);
}

void heard_acknowledge(struct work *w)
{
	const struct notice *n = drain_cause(w);
	int64_t left = drain_left_ms(w);

	/* What the ledger does not know is not safe, and all of the time is left to whoever
	 * looks after it. */
	if (n == NULL || w->opt->no_acknowledge || left <= 0 || w->result->fatal != ST_OK)
		return;
	if (notice_watch_acknowledge(w->heard->watch, left < ACKNOWLEDGE_MS ? left : ACKNOWLEDGE_MS))
		log_line(LOG_INFO, "%s: %s was told that it may go on", w->opt->run.name, n->source);
}
