/* Amazon EC2's instance metadata, version 2 (a session token; without one where there
 * is no version 2), https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/
 * {instancedata-data-retrieval,spot-instance-termination-notices,rebalance-recommendations,
 * viewing_scheduled_events}.html, and autoscaling's target-lifecycle-state. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "notice/dates.h"
#include "notice/json.h"
#include "notice/source.h"

enum {
	AWS_POLL_MS = 2000,           /* AWS asks for 5 s or less */
	AWS_RETRY_MS = 1000,
	AWS_SLOW_EVERY = 10,          /* rounds between looks at what is not urgent */
	AWS_ASK_TIMEOUT_MS = 2000,
	AWS_TOKEN_TTL_S = 21600,
	AWS_WINDOW_MS = 120000,
	AWS_STALE_MS = 300000,        /* what was to come so long ago did not */
	AWS_TOKEN_TRIES = 3,
	AWS_TOKEN_REST_MS = 15000,
	AWS_FACT_TRIES = 3,
};
/* Maintenance may be weeks ahead. */
#define AWS_FAR_MS (INT64_C(366) * 86400000)

enum aws_step {
	AWS_STEP_TOKEN = 0, AWS_STEP_ID, AWS_STEP_TYPE, AWS_STEP_ZONE, AWS_STEP_LIFE,
	AWS_STEP_ACTION, AWS_STEP_REBALANCE, AWS_STEP_TERMINATION, AWS_STEP_MAINTENANCE,
	AWS_STEP_AUTOSCALING, AWS_N_STEPS,
};

static const char *const aws_paths[AWS_N_STEPS] = {
	"/latest/api/token",
	"/latest/meta-data/instance-id",
	"/latest/meta-data/instance-type",
	"/latest/meta-data/placement/availability-zone",
	"/latest/meta-data/instance-life-cycle",
	"/latest/meta-data/spot/instance-action",
	"/latest/meta-data/events/recommendations/rebalance",
	"/latest/meta-data/spot/termination-time",
	"/latest/meta-data/events/maintenance/scheduled",
	"/latest/meta-data/autoscaling/target-lifecycle-state",
};

/* What was said for one path, so that it is not said again. */
struct aws_said {
	bool said;
	char what[128];
	char id[NOTICE_ID_MAX];   /* of the platform's own event; "" */
};

struct aws_state {
	enum aws_step step;
	char token[4096];
	bool tokenless;           /* there is no version 2, or its answers do not get here */
	int token_failures;
	int refused;              /* 401, one after the other */
	int fact_tries;
	int64_t token_until_ms;
	int64_t poll_ms;
	int64_t next_ms;          /* when the next question is due */
	int64_t round;
	bool machine_known;
	enum aws_step trouble;    /* which question was told of; AWS_N_STEPS: none */
	struct notice_machine machine;
	struct aws_said said[AWS_N_STEPS];
	const char *asked;        /* path of the last question */
	int64_t asked_ms;         /* and its time-out */
};

static void aws_begin(void *state, const struct source_config *c)
{
	struct aws_state *s = state;

	s->poll_ms = c->poll_ms > 0 ? c->poll_ms : AWS_POLL_MS;
	s->trouble = AWS_N_STEPS;
	(void)snprintf(s->machine.source, sizeof(s->machine.source), "aws");
}

static void aws_end(void *state)
{
	struct aws_state *s = state;

	explicit_bzero(s->token, sizeof(s->token));
}

static void aws_ask(void *state, unsigned line, int64_t now, struct source_ask *ask)
{
	struct aws_state *s = state;

	(void)line;
	if (!s->tokenless && (s->token[0] == '\0' || now >= s->token_until_ms)) {
		s->asked = aws_paths[AWS_STEP_TOKEN];
		source_get(ask, s->asked, AWS_ASK_TIMEOUT_MS);
		ask->method = "PUT";
		source_header(ask, "X-aws-ec2-metadata-token-ttl-seconds: %d", AWS_TOKEN_TTL_S);
	} else {
		if (s->step == AWS_STEP_TOKEN)
			s->step = s->machine_known ? AWS_STEP_ACTION : AWS_STEP_ID;
		s->asked = aws_paths[s->step];
		source_get(ask, s->asked, AWS_ASK_TIMEOUT_MS);
		if (!s->tokenless)
			source_header(ask, "X-aws-ec2-metadata-token: %s", s->token);
	}
	ask->at_boot_ms = s->next_ms;
	s->asked_ms = ask->timeout_ms;
}

/* ---- the token ---- */

/* A service may fail at one thing and answer the next: only the first is told of, until
 * that one is well again. */
static void aws_bad(struct aws_state *s, enum aws_step step, const struct source_answer *a,
    struct source_sink *sink)
{
	if (s->trouble != AWS_N_STEPS && s->trouble != step)
		return;
	s->trouble = step;
	source_complain(sink, "aws", s->asked, s->asked_ms, a);
}

static void aws_good(struct aws_state *s, enum aws_step step, struct source_sink *sink)
{
	if (s->trouble != step)
		return;
	s->trouble = AWS_N_STEPS;
	sink->trouble(sink, "");
}

static void aws_token_failed(struct aws_state *s, const struct source_answer *a,
    struct source_sink *sink)
{
	s->token_failures++;
	s->next_ms = a->now_boot_ms + AWS_RETRY_MS;
	if (a->fault != SOURCE_TIMED_OUT) {
		aws_bad(s, AWS_STEP_TOKEN, a, sink);
		return;
	}
	/* A container behind a bridge is one hop further than the answer may travel. */
	s->trouble = AWS_STEP_TOKEN;
	sink->trouble(sink, "aws: the request for a session token is not answered; in a container "
	    "the metadata service's hop limit must be 2 (aws ec2 modify-instance-metadata-options "
	    "--http-put-response-hop-limit 2), or the container needs the host's network");
	if (s->token_failures < AWS_TOKEN_TRIES)
		return;
	/* Only answers to this question are kept from travelling: where tokens are not
	 * required, the others get here. */
	s->tokenless = true;
	s->next_ms = a->now_boot_ms;
}

static void aws_take_token(struct aws_state *s, const struct source_answer *a,
    struct source_sink *sink)
{
	if (a->fault == SOURCE_ANSWERED && a->status == 200 &&
	    source_word(a, s->token, sizeof(s->token))) {
		s->token_failures = 0;
		aws_good(s, AWS_STEP_TOKEN, sink);
		/* Renewed early, and whatever happens when the service says 401. */
		s->token_until_ms = a->now_boot_ms + (int64_t)AWS_TOKEN_TTL_S * 900;
	} else if (a->fault == SOURCE_ANSWERED && (a->status == 404 || a->status == 405)) {
		s->tokenless = true;
	} else {
		aws_token_failed(s, a, sink);
	}
}

/* ---- notices ---- */

static void aws_withdraw(struct aws_said *said, enum notice_kind kind,
    const struct source_answer *a, struct source_sink *sink)
{
	struct notice n;

	source_notice(a, "aws", NOTICE_WITHDRAWN, &n);
	n.was = kind;
	memcpy(n.id, said->id, sizeof(n.id));
	said->id[0] = '\0';
	sink->event(sink, &n);
}

/* True when this is news for its path; "" is nothing. Tells when it was taken back. */
static bool aws_is_news(struct aws_state *s, enum aws_step step, const char *what,
    enum notice_kind kind, const struct source_answer *a, struct source_sink *sink)
{
	struct aws_said *said = &s->said[step];

	if (strncmp(said->what, what, sizeof(said->what) - 1) == 0)
		return false;
	if (what[0] == '\0' && said->said)
		aws_withdraw(said, kind, a, sink);
	(void)snprintf(said->what, sizeof(said->what), "%s", what);
	said->said = what[0] != '\0';
	return said->said;
}

/* {"action":"terminate","time":"..Z"}; a copy of EventBridge's detail has
 * "instance-action". False when it is not that. */
static bool aws_take_action(struct aws_state *s, const json_t *o, const struct source_answer *a,
    struct source_sink *sink)
{
	const char *action = notice_json_text(o, "action");
	char what[128];
	struct notice n;
	int64_t at;

	if (action[0] == '\0')
		action = notice_json_text(o, "instance-action");
	source_notice(a, "aws", NOTICE_TAKEN, &n);
	n.action = notice_action_of(action);
	if (n.action == NOTICE_UNKNOWN_ACTION || !date_rfc3339(notice_json_text(o, "time"), &at))
		return false;
	/* Left over from before this machine was started again. */
	if (a->date_unix_ms != 0 && a->date_unix_ms - at > AWS_STALE_MS) {
		(void)aws_is_news(s, AWS_STEP_ACTION, "", NOTICE_TAKEN, a, sink);
		return true;
	}
	(void)snprintf(what, sizeof(what), "%.20s %.40s", action, notice_json_text(o, "time"));
	if (aws_is_news(s, AWS_STEP_ACTION, what, NOTICE_TAKEN, a, sink)) {
		source_deadline(a, at, AWS_WINDOW_MS, &n);
		if (n.action == NOTICE_HIBERNATE) /* it begins at once */
			n.deadline_boot_ms = 0;
		n.window_ms = AWS_WINDOW_MS;
		sink->event(sink, &n);
	}
	return true;
}

static bool aws_take_rebalance(struct aws_state *s, const json_t *o, const struct source_answer *a,
    struct source_sink *sink)
{
	const char *time = notice_json_text(o, "noticeTime");
	struct notice n;
	int64_t at;

	if (!date_rfc3339(time, &at))
		return false;
	source_notice(a, "aws", NOTICE_REBALANCE, &n);
	if (aws_is_news(s, AWS_STEP_REBALANCE, time, NOTICE_REBALANCE, a, sink))
		sink->event(sink, &n);
	return true;
}

/* The older path, which may hold anything: only a moment ahead counts. */
static void aws_take_termination(struct aws_state *s, const struct source_answer *a,
    struct source_sink *sink)
{
	char time[64];
	struct notice n;
	int64_t at;

	if (!source_word(a, time, sizeof(time)) || !date_rfc3339(time, &at) ||
	    s->said[AWS_STEP_ACTION].said)
		return;
	source_notice(a, "aws", NOTICE_TAKEN, &n);
	n.action = NOTICE_TERMINATE;
	source_deadline(a, at, AWS_WINDOW_MS, &n);
	if (n.deadline_boot_ms > a->now_boot_ms &&
	    aws_is_news(s, AWS_STEP_TERMINATION, time, NOTICE_TAKEN, a, sink))
		sink->event(sink, &n);
}

static enum notice_action aws_maintenance_action(const char *code)
{
	if (strcmp(code, "instance-stop") == 0)
		return NOTICE_STOP;
	if (strcmp(code, "instance-retirement") == 0)
		return NOTICE_TERMINATE;
	if (strcmp(code, "instance-reboot") == 0 || strcmp(code, "system-reboot") == 0)
		return NOTICE_REBOOT;
	return strcmp(code, "system-maintenance") == 0 ? NOTICE_FREEZE : NOTICE_UNKNOWN_ACTION;
}

/* Whether it matters more than the one that was found before it: what ends the machine
 * before what does not, then the sooner one. */
static bool aws_matters_more(const struct notice *n, const struct notice *than)
{
	bool ends = n->action != NOTICE_FREEZE && n->action != NOTICE_UNKNOWN_ACTION;
	bool other_ends = than->action != NOTICE_FREEZE && than->action != NOTICE_UNKNOWN_ACTION;

	if (than->deadline_boot_ms == 0 || ends != other_ends)
		return than->deadline_boot_ms == 0 || ends;
	return n->deadline_boot_ms < than->deadline_boot_ms;
}

static void aws_fill_maintenance(const json_t *o, const struct source_answer *a, int64_t at,
    struct notice *n)
{
	const char *id = notice_json_text(o, "EventId");
	const char *text = notice_json_text(o, "Description");

	source_notice(a, "aws", NOTICE_MAINTENANCE, n);
	n->action = aws_maintenance_action(notice_json_text(o, "Code"));
	source_deadline(a, at, AWS_FAR_MS, n);
	notice_text(n->id, sizeof(n->id), id, strlen(id));
	notice_text(n->detail, sizeof(n->detail), text, strlen(text));
}

static bool aws_take_maintenance(struct aws_state *s, const json_t *list,
    const struct source_answer *a, struct source_sink *sink)
{
	struct aws_said *said = &s->said[AWS_STEP_MAINTENANCE];
	struct notice best = {.deadline_boot_ms = 0};
	struct notice n;
	char what[128] = "";
	bool holds = false; /* what was said last */
	json_t *o;
	size_t i;
	int64_t at;

	if (!json_is_array(list))
		return false;
	json_array_foreach(list, i, o) {
		const char *begin = notice_json_text(o, "NotBefore");

		if (strcmp(notice_json_text(o, "State"), "active") != 0 || !date_http(begin, &at))
			continue;
		aws_fill_maintenance(o, a, at, &n);
		holds = holds || strcmp(n.id, said->id) == 0;
		if (!aws_matters_more(&n, &best))
			continue;
		best = n;
		(void)snprintf(what, sizeof(what), "%.60s %.60s", n.id, begin);
	}
	/* Another one is left of those that there were. */
	if (what[0] != '\0' && said->said && !holds)
		aws_withdraw(said, NOTICE_MAINTENANCE, a, sink);
	if (aws_is_news(s, AWS_STEP_MAINTENANCE, what, NOTICE_MAINTENANCE, a, sink)) {
		memcpy(said->id, best.id, sizeof(said->id));
		sink->event(sink, &best);
	}
	return true;
}

/* A lifecycle hook holds the machine until CompleteLifecycleAction or its own
 * time-out, which is not told here. */
static bool aws_take_autoscaling(struct aws_state *s, const struct source_answer *a,
    struct source_sink *sink)
{
	char word[64];
	struct notice n;
	bool ends;

	if (!source_word(a, word, sizeof(word)))
		return false;
	ends = strcmp(word, "Terminated") == 0 || strcmp(word, "Warmed:Terminated") == 0;
	source_notice(a, "aws", NOTICE_TAKEN, &n);
	n.action = NOTICE_TERMINATE;
	(void)snprintf(n.detail, sizeof(n.detail), "its Auto Scaling group terminates it");
	if (aws_is_news(s, AWS_STEP_AUTOSCALING, ends ? word : "", NOTICE_TAKEN, a, sink))
		sink->event(sink, &n);
	return true;
}

static bool aws_take_notice(struct aws_state *s, const struct source_answer *a,
    struct source_sink *sink)
{
	json_t *o;
	bool good;

	if (s->step == AWS_STEP_AUTOSCALING)
		return aws_take_autoscaling(s, a, sink);
	if (s->step == AWS_STEP_TERMINATION) {
		aws_take_termination(s, a, sink);
		return true;
	}
	o = source_json(a);
	good = o != NULL && (s->step == AWS_STEP_ACTION ? aws_take_action(s, o, a, sink)
	    : s->step == AWS_STEP_REBALANCE ? aws_take_rebalance(s, o, a, sink)
	    : aws_take_maintenance(s, o, a, sink));
	json_decref(o);
	return good;
}

/* ---- the machine ---- */

static void aws_next_step(struct aws_state *s, int64_t now_ms);

/* What a service does not know is left open; notices do not wait for it. */
static void aws_take_fact(struct aws_state *s, const struct source_answer *a,
    struct source_sink *sink)
{
	struct notice_machine *m = &s->machine;
	bool told = a->fault == SOURCE_ANSWERED && a->status == 200;
	char word[sizeof(m->node)];

	if (!told && !(a->fault == SOURCE_ANSWERED && a->status == 404) &&
	    ++s->fact_tries < AWS_FACT_TRIES) {
		s->next_ms = a->now_boot_ms + AWS_RETRY_MS;
		return;
	}
	s->fact_tries = 0;
	aws_good(s, s->step, sink); /* it is not asked for again */
	if (told && source_word(a, word, sizeof(word))) {
		if (s->step == AWS_STEP_ID)
			(void)snprintf(m->node, sizeof(m->node), "%s", word);
		else if (s->step == AWS_STEP_TYPE)
			(void)snprintf(m->type, sizeof(m->type), "%.31s", word);
		else if (s->step == AWS_STEP_ZONE)
			(void)snprintf(m->zone, sizeof(m->zone), "%.31s", word);
		else if (strcmp(word, "spot") == 0 || strcmp(word, "on-demand") == 0)
			(void)snprintf(m->lifecycle, sizeof(m->lifecycle), "%.15s", word);
	}
	if (s->step == AWS_STEP_LIFE) {
		s->machine_known = true;
		sink->machine(sink, m);
	}
	aws_next_step(s, a->now_boot_ms);
}

/* ---- one after the other ---- */

static void aws_next_step(struct aws_state *s, int64_t now_ms)
{
	bool slow = s->round % AWS_SLOW_EVERY == 0;

	if (s->step == AWS_STEP_AUTOSCALING || (s->step == AWS_STEP_REBALANCE && !slow)) {
		s->step = AWS_STEP_ACTION;
		s->round++;
		s->next_ms = now_ms + s->poll_ms;
	} else {
		s->step++;
	}
}

/* Expired, or asked for after all: a token, at once, but not in a circle. */
static void aws_refused(struct aws_state *s, const struct source_answer *a,
    struct source_sink *sink)
{
	s->token[0] = '\0';
	if (++s->refused > 1) {
		s->next_ms = a->now_boot_ms + (s->tokenless ? AWS_TOKEN_REST_MS : AWS_RETRY_MS);
		aws_bad(s, s->step, a, sink);
	} else if (s->tokenless && s->token_failures > 0) {
		s->next_ms = a->now_boot_ms + AWS_TOKEN_REST_MS;
	}
	s->tokenless = false;
}

/* False when it is none of those that there may be. */
static bool aws_take_answer(struct aws_state *s, const struct source_answer *a,
    struct source_sink *sink)
{
	enum notice_kind kind = s->step == AWS_STEP_REBALANCE ? NOTICE_REBALANCE
	    : s->step == AWS_STEP_MAINTENANCE ? NOTICE_MAINTENANCE : NOTICE_TAKEN;

	if (a->fault != SOURCE_ANSWERED || (a->status != 200 && a->status != 404))
		return false;
	if (s->step < AWS_STEP_ACTION)
		return true;
	if (a->status == 200)
		return aws_take_notice(s, a, sink);
	(void)aws_is_news(s, s->step, "", kind, a, sink);
	return true;
}

static void aws_answer(void *state, unsigned line, const struct source_answer *a,
    struct source_sink *sink)
{
	struct aws_state *s = state;
	enum aws_step step = s->step;

	(void)line;
	if (s->asked == aws_paths[AWS_STEP_TOKEN]) {
		aws_take_token(s, a, sink);
		return;
	}
	if (a->fault == SOURCE_ANSWERED && a->status == 401) {
		aws_refused(s, a, sink);
		return;
	}
	if (a->fault == SOURCE_ANSWERED) {
		s->refused = 0;
		/* Without a token it goes too. */
		if (s->tokenless)
			aws_good(s, AWS_STEP_TOKEN, sink);
	}
	if (aws_take_answer(s, a, sink))
		aws_good(s, step, sink);
	else
		aws_bad(s, step, a, sink);
	if (step < AWS_STEP_ACTION)
		aws_take_fact(s, a, sink);
	else
		aws_next_step(s, a->now_boot_ms);
	/* Where even this does not work, nothing else will. */
	if (a->fault != SOURCE_ANSWERED)
		s->next_ms = a->now_boot_ms + AWS_RETRY_MS;
}

const struct notice_source source_aws = {
	.name = "aws",
	.endpoint = "http://169.254.169.254",
	.endpoint_env = "AWS_EC2_METADATA_SERVICE_ENDPOINT",
	.state_size = sizeof(struct aws_state),
	.n_lines = 1,
	.begin = aws_begin,
	.ask = aws_ask,
	.answer = aws_answer,
	.end = aws_end,
};
