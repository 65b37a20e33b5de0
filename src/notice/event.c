/* The forms: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/
 * {spot-instance-termination-notices,rebalance-recommendations,monitoring-instance-state-changes}
 * .html, .../autoscaling/ec2/userguide/ec2-auto-scaling-event-reference.html,
 * .../health/latest/ug/aws-health-events-eventbridge-schema.html,
 * .../AmazonECS/latest/developerguide/ecs_task_events.html. */
#include "notice/event.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "notice/dates.h"
#include "notice/json.h"

enum {
	EVENT_WRAPPED_MAX = 4,      /* SQS of SNS of EventBridge is 3 */
	EVENT_SPOT_MS = 120000,
	EVENT_OLD_MS = 600000,      /* what was to be over so long ago is over */
};
/* A deadline further away than that is none. */
#define EVENT_FAR_MS (INT64_C(366) * 86400000)

static enum status event_problem(struct event *ev, const char *fmt, ...) PRINTF_LIKE(2, 3);
static enum status event_problem(struct event *ev, const char *fmt, ...)
{
	char text[sizeof(ev->problem)];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	notice_text(ev->problem, sizeof(ev->problem), text, strlen(text)); /* it quotes the event */
	return ST_CONFIG;
}

static void event_say(struct event *ev, const char *text)
{
	notice_text(ev->detail, sizeof(ev->detail), text, strlen(text));
}

static void event_is_nothing(struct event *ev, const char *why)
{
	ev->nothing = true;
	event_say(ev, why);
}

/* Names come as people and platforms write them; nothing that could hide in a line. */
static bool event_add_name(struct event *ev, const char *name)
{
	size_t len = strlen(name);
	size_t i;

	for (i = 0; i < len; i++) {
		if (name[i] <= ' ' || name[i] > '~')
			return false;
	}
	if (len == 0 || len >= EVENT_NAME_SIZE)
		return false;
	for (i = 0; i < ev->n_names; i++) {
		if (strcmp(ev->name[i], name) == 0)
			return true;
	}
	if (ev->n_names == EVENT_NAMES)
		return false;
	memcpy(ev->name[ev->n_names++], name, len + 1);
	return true;
}

static void event_set_deadline(struct event *ev, int64_t at_unix_ms, int64_t now_unix_ms)
{
	int64_t left = at_unix_ms - now_unix_ms;

	ev->has_deadline = true;
	ev->left_ms = left < 0 ? 0 : left > EVENT_FAR_MS ? EVENT_FAR_MS : left;
	if (left < -EVENT_OLD_MS)
		event_is_nothing(ev, "it is old: what it announces was to happen more than ten minutes ago");
}

/* ---- EventBridge ---- */

/* A text at a path such as "detail.instance-id" that has to be there. */
static enum status event_need(const json_t *o, const char *path, const char **out,
    struct event *ev)
{
	const json_t *v = notice_json_at(o, path);

	*out = json_string_value(v);
	if (v == NULL)
		return event_problem(ev, "field %s is missing", path);
	if (*out == NULL || (*out)[0] == '\0')
		return event_problem(ev, "field %s must be a text", path);
	return ST_OK;
}

static enum status event_need_node(const json_t *o, const char *path, struct event *ev)
{
	const char *name;
	enum status st = event_need(o, path, &name, ev);

	if (st == ST_OK && !event_add_name(ev, name))
		st = event_problem(ev, "field %s is no name of a machine", path);
	return st;
}

typedef enum status event_taker(const json_t *o, int64_t now, struct event *ev);

static enum status event_take_spot(const json_t *o, int64_t now, struct event *ev)
{
	const char *action;
	enum status st = event_need_node(o, "detail.instance-id", ev);
	int64_t at;

	if (st == ST_OK)
		st = event_need(o, "detail.instance-action", &action, ev);
	if (st != ST_OK)
		return st;
	ev->action = notice_action_of(action);
	if (ev->action == NOTICE_UNKNOWN_ACTION)
		return event_problem(ev, "field detail.instance-action is \"%.40s\", and not terminate, stop "
		    "or hibernate", action);
	event_say(ev, "EC2 interrupts the spot instance");
	/* Interruptible Capacity Reservations name the moment. Hibernation begins at once. */
	if (date_rfc3339(notice_json_text(json_object_get(o, "detail"), "instance-termination-time"), &at))
		event_set_deadline(ev, at, now);
	else if (date_rfc3339(notice_json_text(o, "time"), &at))
		event_set_deadline(ev, at + (ev->action == NOTICE_HIBERNATE ? 0 : EVENT_SPOT_MS), now);
	return ST_OK;
}

static enum status event_take_rebalance(const json_t *o, int64_t now, struct event *ev)
{
	(void)now;
	ev->kind = NOTICE_REBALANCE;
	event_say(ev, "EC2 recommends to rebalance");
	return event_need_node(o, "detail.instance-id", ev);
}

static enum status event_take_state(const json_t *o, int64_t now, struct event *ev)
{
	const char *what;
	enum status st = event_need_node(o, "detail.instance-id", ev);

	(void)now;
	if (st == ST_OK)
		st = event_need(o, "detail.state", &what, ev);
	if (st != ST_OK)
		return st;
	ev->kind = NOTICE_PREEMPTED;
	if (strcmp(what, "shutting-down") == 0 || strcmp(what, "terminated") == 0)
		ev->action = NOTICE_TERMINATE;
	else if (strcmp(what, "stopping") == 0 || strcmp(what, "stopped") == 0)
		ev->action = NOTICE_STOP;
	else if (strcmp(what, "pending") == 0 || strcmp(what, "running") == 0) {
		event_is_nothing(ev, "the instance begins");
		return ST_OK;
	} else
		return event_problem(ev, "field detail.state is \"%.40s\", which is no state of an instance",
		    what);
	event_say(ev, ev->action == NOTICE_STOP ? "the instance is stopped"
	    : "the instance is terminated");
	return ST_OK;
}

/* A lifecycle hook holds the machine; for how long is not told here. */
static enum status event_take_lifecycle(const json_t *o, int64_t now, struct event *ev)
{
	const char *transition;
	enum status st = event_need_node(o, "detail.EC2InstanceId", ev);

	(void)now;
	if (st == ST_OK)
		st = event_need(o, "detail.LifecycleTransition", &transition, ev);
	if (st != ST_OK)
		return st;
	if (strcmp(transition, "autoscaling:EC2_INSTANCE_TERMINATING") != 0)
		event_is_nothing(ev, "the instance is not terminating");
	else
		event_say(ev, "its Auto Scaling group terminates it");
	ev->action = NOTICE_TERMINATE;
	return ST_OK;
}

static enum notice_action event_health_action(const char *code)
{
	if (strstr(code, "RETIREMENT") != NULL || strstr(code, "TERMINAT") != NULL)
		return NOTICE_TERMINATE;
	if (strstr(code, "REBOOT") != NULL)
		return NOTICE_REBOOT;
	if (strstr(code, "STOP") != NULL)
		return NOTICE_STOP;
	return strstr(code, "MAINTENANCE") != NULL ? NOTICE_FREEZE : NOTICE_UNKNOWN_ACTION;
}

static enum status event_take_health(const json_t *o, int64_t now, struct event *ev)
{
	const json_t *list = notice_json_at(o, "detail.affectedEntities");
	const json_t *detail = json_object_get(o, "detail");
	const char *code;
	const char *start = notice_json_text(detail, "startTime");
	enum status st = event_need(o, "detail.eventTypeCode", &code, ev);
	json_t *one;
	int64_t at;
	size_t i;

	if (st != ST_OK)
		return st;
	if (!json_is_array(list))
		return event_problem(ev, "field detail.affectedEntities is missing, or is no list");
	json_array_foreach(list, i, one) {
		const char *name = notice_json_text(one, "entityValue");

		if (name[0] != '\0' && !event_add_name(ev, name))
			return event_problem(ev, "field detail.affectedEntities has more than %d entities, or one "
			    "that is no name", EVENT_NAMES);
	}
	ev->kind = NOTICE_MAINTENANCE;
	ev->action = event_health_action(code);
	event_say(ev, code);
	if (date_rfc3339(start, &at) || date_http(start, &at))
		event_set_deadline(ev, at, now);
	if (ev->n_names == 0)
		event_is_nothing(ev, "it names no machine");
	else if (strcmp(notice_json_text(detail, "eventTypeCategory"), "scheduledChange") != 0)
		event_is_nothing(ev, "it announces no change");
	else if (strcmp(notice_json_text(detail, "statusCode"), "closed") == 0)
		ev->kind = NOTICE_WITHDRAWN;
	return ST_OK;
}

/* A task's worker may call itself by any of these: the task's ARN or id, the host name that
 * Fargate gives it, or that Docker gives a container. */
static void event_add_task_names(const json_t *detail, struct event *ev)
{
	const char *arn = notice_json_text(detail, "taskArn");
	json_t *o;
	json_t *pair;
	size_t i;
	size_t k;

	(void)event_add_name(ev, arn);
	if (strrchr(arn, '/') != NULL)
		(void)event_add_name(ev, strrchr(arn, '/') + 1);
	json_array_foreach(json_object_get(detail, "attachments"), i, o) {
		json_array_foreach(json_object_get(o, "details"), k, pair) {
			if (strcmp(notice_json_text(pair, "name"), "privateDnsName") == 0)
				(void)event_add_name(ev, notice_json_text(pair, "value"));
		}
	}
	json_array_foreach(json_object_get(detail, "containers"), i, o) {
		char id[13];

		(void)snprintf(id, sizeof(id), "%.12s", notice_json_text(o, "runtimeId"));
		if (strlen(id) == 12)
			(void)event_add_name(ev, id);
	}
}

static enum status event_take_task(const json_t *o, int64_t now, struct event *ev)
{
	const json_t *detail = json_object_get(o, "detail");
	const char *why = notice_json_text(detail, "stopCode");
	const char *wanted;
	const char *arn;
	enum status st = event_need(o, "detail.taskArn", &arn, ev);
	int64_t at;

	if (st == ST_OK)
		st = event_need(o, "detail.desiredStatus", &wanted, ev);
	if (st != ST_OK)
		return st;
	event_add_task_names(detail, ev);
	if (ev->n_names == 0)
		return event_problem(ev, "field detail.taskArn is no name of a task");
	ev->action = NOTICE_TERMINATE;
	if (strcmp(wanted, "STOPPED") != 0) {
		event_is_nothing(ev, "the task is not to stop");
		return ST_OK;
	}
	event_say(ev, why[0] == '\0' ? "ECS stops the task" : why);
	if (strcmp(why, "SpotInterruption") != 0 && strcmp(why, "TerminationNotice") != 0)
		ev->kind = NOTICE_PREEMPTED;
	else if (date_rfc3339(notice_json_text(o, "time"), &at))
		event_set_deadline(ev, at + EVENT_SPOT_MS, now);
	return ST_OK;
}

struct event_form {
	const char *type;
	event_taker *take;
};

static const struct event_form event_forms[] = {
	{"EC2 Spot Instance Interruption Warning", event_take_spot},
	{"EC2 Interruptible Capacity Reservation Instance Interruption Warning", event_take_spot},
	{"EC2 Instance Rebalance Recommendation", event_take_rebalance},
	{"EC2 Instance State-change Notification", event_take_state},
	{"EC2 Instance-terminate Lifecycle Action", event_take_lifecycle},
	{"AWS Health Event", event_take_health},
	{"ECS Task State Change", event_take_task},
};

static enum status event_take_bridge(const json_t *o, int64_t now, struct event *ev)
{
	const char *type;
	enum status st = event_need(o, "detail-type", &type, ev);
	size_t i;

	if (st != ST_OK)
		return st;
	if (!json_is_object(json_object_get(o, "detail")))
		return event_problem(ev, "field detail is missing, or is no object");
	ev->kind = NOTICE_TAKEN;
	ev->whom = EVENT_NODE;
	(void)snprintf(ev->source, sizeof(ev->source), "eventbridge");
	notice_text(ev->id, sizeof(ev->id), notice_json_text(o, "id"), strlen(notice_json_text(o, "id")));
	for (i = 0; i < sizeof(event_forms) / sizeof(event_forms[0]); i++) {
		if (strcmp(event_forms[i].type, type) == 0)
			return event_forms[i].take(o, now, ev);
	}
	return event_problem(ev, "detail-type \"%.80s\" is none that ebb knows (ebb help notify lists "
	    "them)", type);
}

/* ---- the plain form ---- */

/* Its own members, and those of a line of `ebb watch`, which it may be. */
static const char *const event_plain[] = {"event", "worker", "node", "pool", "run", "all",
	"deadline", "reason", "source", "action", "id", "was", "time_unix", "deadline_unix",
	"seconds_left", "window_s", "detail"};

static enum status event_check_members(json_t *o, struct event *ev)
{
	const char *key;
	json_t *v;

	json_object_foreach(o, key, v) {
		size_t n = sizeof(event_plain) / sizeof(event_plain[0]);

		while (n > 0 && strcmp(event_plain[n - 1], key) != 0)
			n--;
		if (n == 0)
			return event_problem(ev, "there is no field \"%.40s\"; there are event, worker, node, pool, "
			    "run, all, deadline and reason", key);
	}
	return ST_OK;
}

/* Seconds from now (`deadline`) or since 1970 (`deadline_unix`), or a moment. */
static enum status event_plain_deadline(const json_t *o, int64_t now, struct event *ev)
{
	const json_t *v = json_object_get(o, "deadline");
	const json_t *at = json_object_get(o, "deadline_unix");
	double s;
	int64_t ms;

	if (v == NULL && json_is_number(at)) {
		s = json_number_value(at);
		if (!(s >= 0 && s < 1e11))
			return event_problem(ev, "field deadline_unix is no moment");
		event_set_deadline(ev, (int64_t)(s * 1000), now);
	} else if (json_is_number(v)) {
		s = json_number_value(v);
		if (!(s >= 0 && s * 1000 <= (double)EVENT_FAR_MS))
			return event_problem(ev, "field deadline must be 0 to %lld seconds from now, or a moment "
			    "such as 2026-11-22T08:22:00Z", (long long)(EVENT_FAR_MS / 1000));
		ev->has_deadline = true;
		ev->left_ms = (int64_t)(s * 1000);
	} else if (v != NULL && !json_is_null(v)) {
		if (!json_is_string(v) || !date_rfc3339(json_string_value(v), &ms))
			return event_problem(ev, "field deadline must be seconds from now, or a moment such as "
			    "2026-11-22T08:22:00Z");
		event_set_deadline(ev, ms, now);
	}
	return ST_OK;
}

static enum status event_plain_whom(const json_t *o, struct event *ev)
{
	static const char *const fields[] = {"node", "worker", "pool"};
	const json_t *all = json_object_get(o, "all");
	const char *run = notice_json_text(o, "run");
	int n = 0;
	size_t i;

	if (json_object_get(o, "run") != NULL &&
	    (run[0] == '\0' || strlen(run) >= sizeof(ev->run)))
		return event_problem(ev, "field run must be the name of a run, such as r7");
	notice_text(ev->run, sizeof(ev->run), run, strlen(run));
	ev->whom = EVENT_RUN;
	for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		const json_t *v = json_object_get(o, fields[i]);

		if (v == NULL)
			continue;
		n++;
		ev->whom = i == 0 ? EVENT_NODE : i == 1 ? EVENT_WORKER : EVENT_POOL;
		if (!json_is_string(v) || !event_add_name(ev, json_string_value(v)))
			return event_problem(ev, "field %s must be a name", fields[i]);
	}
	if (all != NULL && !json_is_boolean(all))
		return event_problem(ev, "field all must be true");
	if (json_is_true(all)) {
		n++;
		ev->whom = EVENT_ALL;
	}
	if (n > 1)
		return event_problem(ev, "of worker, node, pool and all, only one can be meant");
	if (n == 0 && run[0] == '\0')
		return event_problem(ev, "it does not say whom it is for: worker, node, pool, run, or all: true");
	return ST_OK;
}

static enum status event_take_plain(json_t *o, int64_t now, struct event *ev)
{
	const char *kind;
	const char *text = notice_json_text(o, "reason");
	enum status st = event_check_members(o, ev);

	if (st == ST_OK)
		st = event_need(o, "event", &kind, ev);
	if (st == ST_OK && !notice_kind_of(kind, &ev->kind))
		st = event_problem(ev, "field event is \"%.40s\", and not notice, preempted, rebalance, "
		    "maintenance or withdrawn", kind);
	if (st == ST_OK)
		st = event_plain_whom(o, ev);
	if (st != ST_OK)
		return st;
	ev->action = notice_action_of(notice_json_text(o, "action"));
	/* Who plans it says when it begins; that nothing survives it is the safe guess. */
	if (ev->kind == NOTICE_MAINTENANCE && notice_json_text(o, "action")[0] == '\0')
		ev->action = NOTICE_REBOOT;
	event_say(ev, text[0] != '\0' ? text : notice_json_text(o, "detail"));
	text = notice_json_text(o, "source");
	notice_text(ev->source, sizeof(ev->source), text[0] == '\0' ? "event" : text,
	    text[0] == '\0' ? 5 : strlen(text));
	text = notice_json_text(o, "id");
	notice_text(ev->id, sizeof(ev->id), text, strlen(text));
	return event_plain_deadline(o, now, ev);
}

/* ---- wrappings ---- */

static enum status event_take(json_t *o, int64_t now, int level, struct event_list *out,
    struct error *e);

/* NULL when there is no room; *st says why. */
static struct event *event_add(struct event_list *out, enum status *st, struct error *e)
{
	struct event *ev;

	*st = out->n < EVENTS_MAX
	    ? mem_grow((void **)&out->list, &out->cap, out->n + 1, sizeof(*out->list), e)
	    : error_set(e, ST_CONFIG, "more than %d events at once", EVENTS_MAX);
	if (*st != ST_OK)
		return NULL;
	ev = &out->list[out->n++];
	memset(ev, 0, sizeof(*ev));
	return ev;
}

static enum status event_add_problem(struct event_list *out, const char *text, struct error *e)
{
	enum status st;
	struct event *ev = event_add(out, &st, e);

	if (ev != NULL)
		(void)event_problem(ev, "%s", text);
	return st;
}

/* The text in a wrapping is JSON once more. */
static enum status event_take_text(json_t *v, const char *field, int64_t now, int level,
    struct event_list *out, struct error *e)
{
	const char *text = json_string_value(v);
	struct error why;
	char problem[256];
	json_t *o;
	enum status st;

	if (json_is_object(v)) /* unwrapped on its way */
		return event_take(v, now, level, out, e);
	if (text == NULL) {
		(void)snprintf(problem, sizeof(problem), "field %s must be a text", field);
		return event_add_problem(out, problem, e);
	}
	if (notice_json_load(text, json_string_length(v), &o, &why) != ST_OK) {
		(void)snprintf(problem, sizeof(problem), "field %s: %.180s", field, why.text);
		return event_add_problem(out, problem, e);
	}
	st = event_take(o, now, level, out, e);
	json_decref(o);
	return st;
}

/* Of a list that SQS, or Lambda for SQS and SNS, makes. */
static enum status event_take_records(const json_t *list, int64_t now, int level,
    struct event_list *out, struct error *e)
{
	enum status st = ST_OK;
	json_t *o;
	size_t i;

	if (!json_is_array(list))
		return event_add_problem(out, "field Records or Messages must be a list", e);
	json_array_foreach(list, i, o) {
		json_t *v = json_object_get(o, "body");

		v = v == NULL ? json_object_get(o, "Body") : v;
		v = v == NULL ? notice_json_at(o, "Sns.Message") : v;
		if (v == NULL)
			st = event_add_problem(out, "a record has no body, Body or Sns.Message", e);
		else
			st = event_take_text(v, "body", now, level, out, e);
		if (st != ST_OK)
			break;
	}
	return st;
}

static enum status event_take_list(const json_t *list, int64_t now, int level,
    struct event_list *out, struct error *e)
{
	enum status st = ST_OK;
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o) {
		st = event_take(o, now, level, out, e);
		if (st != ST_OK)
			break;
	}
	return st;
}

static enum status event_take(json_t *o, int64_t now, int level, struct event_list *out,
    struct error *e)
{
	struct event *ev;
	enum status st;

	if (level > EVENT_WRAPPED_MAX)
		return event_add_problem(out, "it is wrapped more than 4 times", e);
	if (json_is_array(o))
		return event_take_list(o, now, level + 1, out, e);
	if (json_object_get(o, "Records") != NULL)
		return event_take_records(json_object_get(o, "Records"), now, level + 1, out, e);
	if (json_object_get(o, "Messages") != NULL)
		return event_take_records(json_object_get(o, "Messages"), now, level + 1, out, e);
	if (json_object_get(o, "Message") != NULL)
		return event_take_text(json_object_get(o, "Message"), "Message", now, level + 1, out, e);
	ev = event_add(out, &st, e);
	if (ev == NULL)
		return st;
	if (!json_is_object(o))
		(void)event_problem(ev, "an event must be a JSON object");
	else if (json_object_get(o, "event") != NULL)
		(void)!event_take_plain(o, now, ev);
	else if (json_object_get(o, "detail-type") != NULL)
		(void)!event_take_bridge(o, now, ev);
	else
		(void)event_problem(ev, "it is no event: it has neither \"event\" nor \"detail-type\", and "
		    "wraps none (Message, Records, Messages)");
	return ST_OK;
}

enum status event_read(const char *text, size_t len, int64_t now_unix_ms, struct event_list *out,
    struct error *e)
{
	size_t before = out->n;
	size_t used = 0;
	enum status st = ST_OK;
	json_t *o;

	if (len > EVENT_TEXT_MAX)
		return error_set(e, ST_CONFIG, "the events are longer than %d KiB", EVENT_TEXT_MAX >> 10);
	while (st == ST_OK) {
		size_t taken;

		while (used < len && memchr(" \t\r\n", text[used], 4) != NULL)
			used++;
		if (used == len)
			break;
		st = notice_json_next(text + used, len - used, &taken, &o, e);
		if (st != ST_OK)
			break;
		used += taken;
		st = event_take(o, now_unix_ms, 0, out, e);
		json_decref(o);
	}
	if (st == ST_OK && out->n == before)
		st = error_set(e, ST_CONFIG, "there is no event; one is such as {\"event\":\"notice\","
		    "\"node\":\"i-0abc\",\"deadline\":120}");
	if (st != ST_OK)
		out->n = before;
	return st;
}

void event_list_free(struct event_list *l)
{
	free(l->list);
	*l = (struct event_list){NULL, 0, 0};
}
