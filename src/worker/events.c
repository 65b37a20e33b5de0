/* A worker's lines in the history of its run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/sys.h"
#include "worker/requests.h"
#include "worker/work.h"

struct event_op {
	struct op op;
	struct work *w;
	struct ledger_event ev;
	void (*done)(struct work *w);
	bool notice;
};

static void fill_event(struct ledger_event *ev, const struct work *w, const char *kind,
    const char *text)
{
	memset(ev, 0, sizeof(*ev));
	ev->worker = w->me.id;
	ev->boot_ms = sys_boot_ns() / 1000000;
	(void)snprintf(ev->kind, sizeof(ev->kind), "%s", kind);
	(void)snprintf(ev->text, sizeof(ev->text), "%s", text);
}

enum status event_put(struct ledger *l, const struct work *w, const char *kind, const char *text,
    struct error *e)
{
	struct ledger_event ev;

	fill_event(&ev, w, kind, text);
	return ledger_event_add(l, w->opt->run.id, &ev, e);
}

/* It stands in the worker's row too, for who asks whether somebody stays. */
static enum status exec_drain_event(struct ledger *l, struct op *op, struct error *e)
{
	struct event_op *o = (struct event_op *)op;
	const struct ledger_drain leaving = {.who = o->w->me.name, .reason = o->ev.text,
	    .notice = o->notice};
	int64_t n;
	enum status st = ledger_worker_drain(l, o->w->opt->run.id, &leaving, &n, e);

	return st == ST_OK ? ledger_event_add(l, o->w->opt->run.id, &o->ev, e) : st;
}

static enum status exec_event(struct ledger *l, struct op *op, struct error *e)
{
	struct event_op *o = (struct event_op *)op;

	return ledger_event_add(l, o->w->opt->run.id, &o->ev, e);
}

/* Whatever keeps it from being written shows in the committer's health. */
static void done_event(struct op *op)
{
	struct event_op *o = (struct event_op *)op;
	void (*done)(struct work *w) = o->done;
	struct work *w = o->w;

	free(o);
	if (done != NULL)
		done(w);
}

static struct event_op *event_make(struct work *w, const char *kind, const char *text)
{
	struct event_op *o = mem_zero(sizeof(*o));

	if (o == NULL)
		return NULL;
	o->op.done = done_event;
	o->w = w;
	fill_event(&o->ev, w, kind, text);
	return o;
}

void event_note_drain(struct work *w, bool notice, const char *why)
{
	struct event_op *o = event_make(w, notice ? "notice" : "drain", why);

	if (o == NULL)
		return;
	o->notice = notice;
	o->op.exec = exec_drain_event;
	committer_submit(w->committer, &o->op);
}

enum status event_note(struct work *w, const char *kind, const char *text,
    void (*done)(struct work *w))
{
	struct event_op *o = event_make(w, kind, text);

	if (o == NULL)
		return ST_NO_MEMORY;
	o->op.exec = exec_event;
	o->op.urgent = done != NULL; /* somebody waits for it */
	o->done = done;
	committer_submit(w->committer, &o->op);
	return ST_OK;
}
