/* Azure's instance metadata: https://learn.microsoft.com/azure/virtual-machines/linux/
 * scheduled-events, and .../instance-metadata-service. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "notice/dates.h"
#include "notice/json.h"
#include "notice/source.h"

enum {
	AZURE_POLL_MS = 1000,
	AZURE_RETRY_MS = 1000,
	AZURE_ASK_TIMEOUT_MS = 3000,
	AZURE_FIRST_TIMEOUT_MS = 150000, /* it wakes up only when it is asked: up to two minutes */
	AZURE_WINDOW_MS = 30000,
	AZURE_FACT_TRIES = 3,
	AZURE_MOST_EVENTS = 16,          /* that are remembered */
};

enum azure_step {
	AZURE_STEP_NAME = 0, AZURE_STEP_TYPE, AZURE_STEP_ZONE, AZURE_STEP_PRIORITY, AZURE_STEP_EVENTS,
};

/* It tells of failing hardware days ahead. */
#define AZURE_FAR_MS (INT64_C(366) * 86400000)
#define AZURE_COMPUTE "/metadata/instance/compute/"
#define AZURE_FORMAT "?api-version=2021-02-01&format=text"
#define AZURE_EVENTS "/metadata/scheduledevents?api-version=2020-07-01"

static const char *const azure_fact_paths[AZURE_STEP_EVENTS] = {
	AZURE_COMPUTE "name" AZURE_FORMAT, AZURE_COMPUTE "vmSize" AZURE_FORMAT,
	AZURE_COMPUTE "location" AZURE_FORMAT, AZURE_COMPUTE "priority" AZURE_FORMAT,
};

struct azure_event {
	char id[NOTICE_ID_MAX];    /* "": the place is free */
	enum notice_kind kind;
	bool ours_alone;           /* no other machine is concerned */
	bool started;
	int64_t deadline_ms;       /* CLOCK_BOOTTIME; 0: not known */
	bool seen;                 /* in the newest document */
};

struct azure_state {
	enum azure_step step;
	int64_t poll_ms;
	int64_t next_ms;
	bool woken;                /* it has answered once */
	bool trouble;
	int fact_tries;
	struct notice_machine machine;
	struct azure_event event[AZURE_MOST_EVENTS];
	const char *asked;       /* path of the last question */
	int64_t asked_ms;
};

static void azure_begin(void *state, const struct source_config *c)
{
	struct azure_state *s = state;

	s->poll_ms = c->poll_ms > 0 ? c->poll_ms : AZURE_POLL_MS;
	(void)snprintf(s->machine.source, sizeof(s->machine.source), "azure");
}

static void azure_ask(void *state, unsigned line, int64_t now, struct source_ask *ask)
{
	struct azure_state *s = state;

	(void)line;
	(void)now;
	if (s->step < AZURE_STEP_EVENTS)
		s->asked = azure_fact_paths[s->step];
	else
		s->asked = AZURE_EVENTS;
	source_get(ask, s->asked, s->step < AZURE_STEP_EVENTS || s->woken ? AZURE_ASK_TIMEOUT_MS
	    : AZURE_FIRST_TIMEOUT_MS);
	source_header(ask, "Metadata: true");
	ask->at_boot_ms = s->next_ms;
	s->asked_ms = ask->timeout_ms;
}

static void azure_take_fact(struct azure_state *s, const struct source_answer *a,
    struct source_sink *sink)
{
	struct notice_machine *m = &s->machine;
	char word[64];

	s->fact_tries = 0;
	if (a->fault == SOURCE_ANSWERED && a->status == 200 && source_word(a, word, sizeof(word))) {
		if (s->step == AZURE_STEP_NAME)
			(void)snprintf(m->node, sizeof(m->node), "%.63s", word);
		else if (s->step == AZURE_STEP_TYPE)
			(void)snprintf(m->type, sizeof(m->type), "%.31s", word);
		else if (s->step == AZURE_STEP_ZONE)
			(void)snprintf(m->zone, sizeof(m->zone), "%.31s", word);
		else
			(void)snprintf(m->lifecycle, sizeof(m->lifecycle), "%s",
			    strcasecmp(word, "Spot") == 0 || strcasecmp(word, "Low") == 0 ? "spot"
			    : "on-demand");
	}
	if (++s->step == AZURE_STEP_EVENTS)
		sink->machine(sink, m);
}

/* ---- the document ---- */

/* Events name other machines of a set too. */
static bool azure_concerns_us(const struct azure_state *s, const json_t *ev, bool *alone)
{
	const json_t *list = json_object_get(ev, "Resources");
	bool ours = false;
	size_t i;
	json_t *o;

	json_array_foreach(list, i, o) {
		const char *name = json_string_value(o);

		ours = ours || (name != NULL && strcasecmp(name, s->machine.node) == 0);
	}
	*alone = json_array_size(list) == 1;
	return ours;
}

static bool azure_fill_notice(const json_t *ev, const struct source_answer *a, struct notice *n)
{
	const char *type = notice_json_text(ev, "EventType");
	bool started = strcmp(notice_json_text(ev, "EventStatus"), "Started") == 0;
	bool taken = strcmp(type, "Preempt") == 0 || strcmp(type, "Terminate") == 0;
	const char *text = notice_json_text(ev, "Description");
	const char *id = notice_json_text(ev, "EventId");
	int64_t at;

	source_notice(a, "azure", !taken ? NOTICE_MAINTENANCE
	    : started ? NOTICE_PREEMPTED : NOTICE_TAKEN, n);
	n->action = taken ? NOTICE_TERMINATE : notice_action_of(type);
	if (!started && strcmp(notice_json_text(ev, "EventStatus"), "Scheduled") != 0)
		return false;
	if (n->action == NOTICE_UNKNOWN_ACTION || id[0] == '\0')
		return false;
	notice_text(n->id, sizeof(n->id), id, strlen(id));
	notice_text(n->detail, sizeof(n->detail), text, strlen(text));
	n->window_ms = taken ? AZURE_WINDOW_MS : 0;
	/* Empty once it has begun. */
	if (started && !taken)
		n->deadline_boot_ms = a->now_boot_ms;
	else if (date_http(notice_json_text(ev, "NotBefore"), &at))
		source_deadline(a, at, AZURE_FAR_MS, n);
	return true;
}

static struct azure_event *azure_find_event(struct azure_state *s, const char *id)
{
	struct azure_event *spare = NULL;
	size_t i;

	for (i = 0; i < AZURE_MOST_EVENTS; i++) {
		if (strcmp(s->event[i].id, id) == 0)
			return &s->event[i];
		if (s->event[i].id[0] == '\0' && spare == NULL)
			spare = &s->event[i];
	}
	return spare; /* more than that at once are not heard */
}

static void azure_take_event(struct azure_state *s, const json_t *ev, const struct source_answer *a,
    struct source_sink *sink)
{
	struct azure_event *known;
	struct notice n;
	bool alone;
	bool news;

	if (!azure_concerns_us(s, ev, &alone) || !azure_fill_notice(ev, a, &n))
		return;
	known = azure_find_event(s, n.id);
	if (known == NULL)
		return;
	/* Deadlines are whole seconds, and so are the clocks that they are told by. */
	news = known->id[0] == '\0' || known->kind != n.kind ||
	    (n.deadline_boot_ms != 0 && n.deadline_boot_ms < known->deadline_ms - 2000);
	(void)snprintf(known->id, sizeof(known->id), "%s", n.id);
	known->seen = true;
	known->ours_alone = alone;
	known->started = n.kind == NOTICE_PREEMPTED;
	if (!news)
		return;
	known->kind = n.kind;
	/* One that has begun will be over when it was to begin, at the earliest; or now. */
	if (n.deadline_boot_ms == 0 && known->deadline_ms != 0)
		n.deadline_boot_ms = known->deadline_ms > a->now_boot_ms ? known->deadline_ms
		    : a->now_boot_ms;
	known->deadline_ms = n.deadline_boot_ms;
	sink->event(sink, &n);
}

static void azure_drop_unseen(struct azure_state *s, const struct source_answer *a,
    struct source_sink *sink)
{
	size_t i;

	for (i = 0; i < AZURE_MOST_EVENTS; i++) {
		struct azure_event *ev = &s->event[i];
		struct notice n;

		if (ev->id[0] == '\0' || ev->seen)
			continue;
		source_notice(a, "azure", NOTICE_WITHDRAWN, &n);
		n.was = ev->kind;
		(void)snprintf(n.id, sizeof(n.id), "%s", ev->id);
		memset(ev, 0, sizeof(*ev));
		sink->event(sink, &n);
	}
}

static bool azure_take_document(struct azure_state *s, const struct source_answer *a,
    struct source_sink *sink)
{
	json_t *o = source_json(a);
	const json_t *number = json_object_get(o, "DocumentIncarnation");
	const json_t *list = json_object_get(o, "Events");
	json_t *ev;
	size_t i;

	if (!json_is_integer(number) || !json_is_array(list)) {
		json_decref(o);
		return false;
	}
	/* The number says only for how long a service has counted: what is in it is looked
	 * at each time. */
	for (i = 0; i < AZURE_MOST_EVENTS; i++)
		s->event[i].seen = false;
	json_array_foreach(list, i, ev)
		azure_take_event(s, ev, a, sink);
	azure_drop_unseen(s, a, sink);
	json_decref(o);
	return true;
}

/* Events name machines, so without this one's name none can be understood; the other
 * facts are not worth waiting for. */
static bool azure_fact_is_through(struct azure_state *s, const struct source_answer *a)
{
	char word[64];

	if (a->fault == SOURCE_ANSWERED && a->status == 200 && source_word(a, word, sizeof(word)))
		return true;
	return s->step != AZURE_STEP_NAME &&
	    ((a->fault == SOURCE_ANSWERED && (a->status == 200 || a->status == 404)) ||
	    ++s->fact_tries == AZURE_FACT_TRIES);
}

static void azure_answer(void *state, unsigned line, const struct source_answer *a,
    struct source_sink *sink)
{
	struct azure_state *s = state;
	bool good = false;

	(void)line;
	if (s->step < AZURE_STEP_EVENTS) {
		good = azure_fact_is_through(s, a);
	} else if (a->fault == SOURCE_ANSWERED) {
		good = a->status == 200 && azure_take_document(s, a, sink);
		s->woken = s->woken || good;
		s->next_ms = a->now_boot_ms + s->poll_ms;
	}
	if (good && s->trouble)
		sink->trouble(sink, "");
	if (!good) {
		source_complain(sink, "azure", s->asked, s->asked_ms, a);
		s->next_ms = a->now_boot_ms + AZURE_RETRY_MS;
	}
	s->trouble = !good;
	if (good && s->step < AZURE_STEP_EVENTS)
		azure_take_fact(s, a, sink);
}

/* It approves for all machines that the event names. */
static bool azure_acknowledge(void *state, struct source_ask *ask)
{
	struct azure_state *s = state;
	struct buf body = {0};
	size_t i;
	bool any = false;

	buf_str(&body, "{\"StartRequests\":[");
	for (i = 0; i < AZURE_MOST_EVENTS; i++) {
		const struct azure_event *ev = &s->event[i];

		if (ev->id[0] == '\0' || ev->started || !ev->ours_alone || ev->kind == NOTICE_MAINTENANCE)
			continue;
		buf_str(&body, any ? ",{\"EventId\":" : "{\"EventId\":");
		str_json(&body, ev->id, strlen(ev->id));
		buf_char(&body, '}');
		any = true;
		if (body.len > sizeof(ask->body) / 2)
			break;
	}
	buf_str(&body, "]}");
	source_get(ask, AZURE_EVENTS, AZURE_ASK_TIMEOUT_MS);
	ask->method = "POST";
	source_header(ask, "Metadata: true");
	source_header(ask, "Content-Type: application/json");
	any = any && !body.failed && body.len < sizeof(ask->body);
	(void)snprintf(ask->body, sizeof(ask->body), "%s", any ? body.data : "");
	buf_free(&body);
	return any;
}

const struct notice_source source_azure = {
	.name = "azure",
	.endpoint = "http://169.254.169.254",
	.endpoint_env = "AZURE_POD_IDENTITY_AUTHORITY_HOST",
	.state_size = sizeof(struct azure_state),
	.n_lines = 1,
	.begin = azure_begin,
	.ask = azure_ask,
	.answer = azure_answer,
	.acknowledge = azure_acknowledge,
};
