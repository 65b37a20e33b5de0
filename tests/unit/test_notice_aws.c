/* What is asked of EC2's instance metadata, and what is made of the answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "notice_case.h"

#define ACTION "/latest/meta-data/spot/instance-action"
#define REBALANCE "/latest/meta-data/events/recommendations/rebalance"
#define TERMINATION "/latest/meta-data/spot/termination-time"
#define MAINTENANCE "/latest/meta-data/events/maintenance/scheduled"
#define AUTOSCALING "/latest/meta-data/autoscaling/target-lifecycle-state"

/* What the machine's service would say. */
struct service {
	const char *action;
	const char *rebalance;
	const char *termination;
	const char *maintenance;
	const char *autoscaling;
};

static void answer_word(struct notice_case *c, const char *body)
{
	case_answer(c, 0, body == NULL ? 404 : 200, body == NULL ? "Not Found" : body);
}

/* Answers one question as the service would; its path. */
static const char *serve(struct notice_case *c, const struct service *v)
{
	const char *path = c->ask.path;

	case_ask(c, 0);
	if (strcmp(path, "/latest/api/token") == 0)
		answer_word(c, "TOKEN==");
	else if (strcmp(path, "/latest/meta-data/instance-id") == 0)
		answer_word(c, "i-0abc");
	else if (strcmp(path, "/latest/meta-data/instance-type") == 0)
		answer_word(c, "m5.large\n");
	else if (strcmp(path, "/latest/meta-data/placement/availability-zone") == 0)
		answer_word(c, "eu-west-1a");
	else if (strcmp(path, "/latest/meta-data/instance-life-cycle") == 0)
		answer_word(c, "spot");
	else if (strcmp(path, ACTION) == 0)
		answer_word(c, v->action);
	else if (strcmp(path, REBALANCE) == 0)
		answer_word(c, v->rebalance);
	else if (strcmp(path, TERMINATION) == 0)
		answer_word(c, v->termination);
	else if (strcmp(path, MAINTENANCE) == 0)
		answer_word(c, v->maintenance);
	else if (strcmp(path, AUTOSCALING) == 0)
		answer_word(c, v->autoscaling);
	else
		fail_msg("a question for %s", path);
	return path;
}

/* Serves until that path has been answered (again). */
static void serve_until(struct notice_case *c, const struct service *v, const char *path)
{
	int i;

	for (i = 0; i < 60; i++) {
		if (strcmp(serve(c, v), path) == 0)
			return;
	}
	fail_msg("%s is never asked for", path);
}

static struct notice_case *begin(const struct service *v)
{
	struct notice_case *c = case_begin(&source_aws, "http://169.254.169.254");

	if (v != NULL)
		serve_until(c, v, ACTION);
	return c;
}

static const struct service quiet = {.autoscaling = "InService"};

static void test_token_and_facts(void **state)
{
	struct notice_case *c = begin(NULL);

	(void)state;
	case_ask(c, 0);
	assert_string_equal(c->ask.path, "/latest/api/token");
	assert_string_equal(c->ask.method, "PUT");
	assert_true(case_has_header(c, "X-aws-ec2-metadata-token-ttl-seconds: 21600"));
	assert_int_equal(c->ask.n_headers, 1);
	serve(c, &quiet);
	case_ask(c, 0);
	assert_string_equal(c->ask.path, "/latest/meta-data/instance-id");
	assert_string_equal(c->ask.method, "GET");
	assert_true(case_has_header(c, "X-aws-ec2-metadata-token: TOKEN=="));
	serve_until(c, &quiet, ACTION);
	assert_int_equal(c->machines, 1);
	assert_string_equal(c->machine.node, "i-0abc");
	assert_string_equal(c->machine.type, "m5.large");
	assert_string_equal(c->machine.zone, "eu-west-1a");
	assert_string_equal(c->machine.lifecycle, "spot");
	assert_int_equal(c->n + (size_t)c->troubles, 0);
	case_end(c);
}

/* The error page of a path that is not there is no name. */
static void test_facts_that_are_not_there(void **state)
{
	struct notice_case *c = begin(NULL);
	int i;

	(void)state;
	case_ask(c, 0);
	answer_word(c, "T");
	for (i = 0; i < 4; i++) {
		case_ask(c, 0);
		case_answer(c, 0, 404, "404");
	}
	assert_int_equal(c->machines, 1);
	assert_string_equal(c->machine.node, "");
	assert_string_equal(c->machine.type, "");
	case_ask(c, 0);
	assert_string_equal(c->ask.path, ACTION);
	case_end(c);
}

/* Facts that cannot be had do not keep notices from being heard, and are not asked for
 * in a circle. */
static void test_facts_that_fail(void **state)
{
	struct notice_case *c = begin(NULL);
	int64_t waited = 0;
	int n = 0;

	(void)state;
	case_ask(c, 0);
	answer_word(c, "T");
	for (case_ask(c, 0); strcmp(c->ask.path, ACTION) != 0 && n < 50; n++) {
		case_answer(c, 0, 500, "<html>oops</html>");
		waited += case_ask(c, 0);
	}
	assert_int_equal(n, 12);
	assert_true(waited >= 8000);
	assert_int_equal(c->machines, 1);
	case_end(c);
}

static void test_notice(void **state)
{
	struct service v = quiet;
	struct notice_case *c = begin(&v);

	(void)state;
	v.action = "{\"action\":\"terminate\",\"time\":\"2026-11-22T08:22:00Z\"}";
	serve_until(c, &v, ACTION);
	assert_int_equal(c->n, 1);
	assert_int_equal(c->event[0].kind, NOTICE_TAKEN);
	assert_int_equal(c->event[0].action, NOTICE_TERMINATE);
	assert_string_equal(c->event[0].source, "aws");
	assert_in_range(c->event[0].deadline_boot_ms - CASE_BOOT_MS, 120000, 120000);
	/* Repeated: no news. */
	serve_until(c, &v, ACTION);
	serve_until(c, &v, ACTION);
	assert_int_equal(c->n, 1);
	/* Moved: news. */
	v.action = "{\"action\":\"stop\",\"time\":\"2026-11-22T08:21:30.500Z\"}";
	serve_until(c, &v, ACTION);
	assert_int_equal(c->n, 2);
	assert_int_equal(c->event[1].action, NOTICE_STOP);
	assert_in_range(c->event[1].deadline_boot_ms - CASE_BOOT_MS, 90500, 90500);
	/* Withdrawn. */
	v.action = NULL;
	serve_until(c, &v, ACTION);
	assert_int_equal(c->n, 3);
	assert_int_equal(c->event[2].kind, NOTICE_WITHDRAWN);
	assert_int_equal(c->event[2].was, NOTICE_TAKEN);
	serve_until(c, &v, ACTION);
	assert_int_equal(c->n, 3);
	assert_int_equal(c->troubles, 0);
	case_end(c);
}

static void test_hibernate_and_the_other_key(void **state)
{
	struct service v = quiet;
	struct notice_case *c = begin(&v);

	(void)state;
	v.action = "{\"instance-action\":\"hibernate\",\"time\":\"2026-11-22T08:22:00Z\"}";
	serve_until(c, &v, ACTION);
	assert_int_equal(c->n, 1);
	assert_int_equal(c->event[0].action, NOTICE_HIBERNATE);
	assert_int_equal(c->event[0].deadline_boot_ms, 0);
	case_end(c);
}

static void assert_deadline(int64_t machine_is_off_ms, bool date, const char *time, int64_t want)
{
	struct service v = quiet;
	struct notice_case *c = begin(&v);
	char body[128];

	c->unix_ms += machine_is_off_ms;
	if (!date)
		c->date_ms = 0;
	(void)snprintf(body, sizeof(body), "{\"action\":\"terminate\",\"time\":\"%s\"}", time);
	v.action = body;
	serve_until(c, &v, ACTION);
	if (want < 0) {
		assert_int_equal(c->n, 0);
	} else {
		assert_int_equal(c->n, 1);
		assert_int_equal(c->event[0].deadline_boot_ms - c->event[0].seen_boot_ms, want);
	}
	case_end(c);
}

/* The platform's own clock counts, where it says what time it is. */
static void test_clocks(void **state)
{
	(void)state;
	assert_deadline(7200000, true, "2026-11-22T08:21:00Z", 58000);
	assert_deadline(-7200000, true, "2026-11-22T08:21:00Z", 58000);
	assert_deadline(0, false, "2026-11-22T08:21:00Z", 58000);
	/* Without it, what is believed has a limit: two minutes is what there is. */
	assert_deadline(-7200000, false, "2026-11-22T08:21:00Z", 120000);
	assert_deadline(7200000, false, "2026-11-22T08:21:00Z", 0);
	assert_deadline(0, true, "2036-11-22T08:21:00Z", 120000);
	/* Just past: now. Long past: of an earlier life of this machine. */
	assert_deadline(0, true, "2026-11-22T08:19:00Z", 0);
	assert_deadline(0, true, "2026-11-22T08:10:00Z", -1);
	assert_deadline(0, true, "1970-01-01T00:00:00Z", -1);
}

static void test_malformed(void **state)
{
	static const char *const bad[] = {
		"", "null", "[]", "42", "{}", "{\"action\":\"terminate\"", "terminate",
		"{\"action\":\"terminate\"}", "{\"action\":\"explode\",\"time\":\"2026-11-22T08:22:00Z\"}",
		"{\"action\":\"terminate\",\"time\":\"2026-02-30T08:22:00Z\"}",
		"{\"action\":\"terminate\",\"time\":1795335600}",
		"{\"action\":[\"terminate\"],\"time\":\"2026-11-22T08:22:00Z\"}",
		"{\"action\":\"terminate\",\"time\":\"2026-11-22 08:22\"}",
		"<html><body>Welcome to our Wi-Fi</body></html>",
	};
	struct service v = quiet;
	struct notice_case *c = begin(&v);
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int before = c->troubles;

		v.action = bad[i];
		serve_until(c, &v, ACTION);
		assert_non_null(strstr(c->trouble, "aws: the answer to " ACTION " is not what it should be"));
		/* Other paths that are well do not end it, and it is said once. */
		serve_until(c, &v, REBALANCE);
		serve_until(c, &v, ACTION);
		assert_int_equal(c->troubles, before + 1);
		v.action = NULL;
		serve_until(c, &v, ACTION);
		assert_string_equal(c->trouble, "");
	}
	assert_int_equal(c->n, 0);
	case_end(c);
}

/* The stack of a thread has an end. */
static void test_deep_answer(void **state)
{
	enum { DEEP = 100000 };
	struct service v = quiet;
	struct notice_case *c = begin(&v);
	char *body = malloc(2 * DEEP + 1);

	(void)state;
	assert_non_null(body);
	memset(body, '[', DEEP);
	memset(body + DEEP, ']', DEEP);
	body[2 * DEEP] = '\0';
	v.action = body;
	serve_until(c, &v, ACTION);
	assert_int_equal(c->n, 0);
	assert_int_equal(c->troubles, 1);
	free(body);
	case_end(c);
}

static void test_redirects_and_errors_are_said_once(void **state)
{
	struct notice_case *c = begin(&quiet);
	int i;

	(void)state;
	for (i = 0; i < 20; i++) {
		case_ask(c, 0);
		case_answer(c, 0, i == 0 ? 302 : 403, "");
	}
	assert_non_null(strstr(c->trouble, "with "));
	assert_true(c->troubles <= 2);
	assert_int_equal(c->n, 0);
	case_end(c);
}

static void test_no_answer(void **state)
{
	struct notice_case *c = begin(&quiet);
	int i;

	(void)state;
	for (i = 0; i < 5; i++) {
		case_ask(c, 0);
		case_fail(c, 0, SOURCE_NO_ANSWER, "Connection refused");
		assert_int_equal(case_ask(c, 0), 1000);
	}
	assert_string_equal(c->trouble, "aws: Connection refused");
	assert_int_equal(c->troubles, 1);
	for (i = 0; i < 30; i++)
		serve(c, &quiet);
	assert_string_equal(c->trouble, "");
	assert_int_equal(c->troubles, 2);
	case_fail(c, 0, SOURCE_TOO_LARGE, "");
	assert_non_null(strstr(c->trouble, "longer than 256 KiB"));
	case_end(c);
}

static void test_token_expires(void **state)
{
	struct notice_case *c = begin(&quiet);

	(void)state;
	case_ask(c, 0);
	case_answer(c, 0, 401, "");
	assert_int_equal(case_ask(c, 0), 0); /* at once */
	assert_string_equal(c->ask.path, "/latest/api/token");
	answer_word(c, "NEW");
	case_ask(c, 0);
	assert_true(case_has_header(c, "X-aws-ec2-metadata-token: NEW"));
	assert_int_equal(c->troubles, 0);
	/* Renewed before it expires, without being told. */
	case_pass(c, 21600000 - 1);
	case_ask(c, 0);
	assert_string_equal(c->ask.path, "/latest/api/token");
	case_end(c);
}

/* Tokens that are given and then refused: said, and not asked for in a circle. */
static void test_token_is_never_good(void **state)
{
	struct notice_case *c = begin(&quiet);
	int64_t begin_ms = c->boot_ms;
	int i;

	(void)state;
	for (i = 0; i < 40; i++) {
		case_ask(c, 0);
		if (strcmp(c->ask.method, "PUT") == 0)
			answer_word(c, "T");
		else
			case_answer(c, 0, 401, "");
	}
	assert_true(c->boot_ms - begin_ms >= 15000);
	assert_non_null(strstr(c->trouble, "answered with 401"));
	assert_int_equal(c->troubles, 1);
	case_end(c);
}

static void test_hop_limit(void **state)
{
	struct notice_case *c = begin(NULL);
	int i;

	(void)state;
	for (i = 0; i < 3; i++) {
		case_ask(c, 0);
		assert_string_equal(c->ask.method, "PUT");
		case_fail(c, 0, SOURCE_TIMED_OUT, "");
		assert_non_null(strstr(c->trouble, "hop limit must be 2"));
	}
	/* Perhaps a token is not required. */
	case_ask(c, 0);
	assert_string_equal(c->ask.method, "GET");
	assert_int_equal(c->ask.n_headers, 0);
	case_answer(c, 0, 401, "");
	assert_true(case_ask(c, 0) >= 10000);
	assert_string_equal(c->ask.method, "PUT");
	case_fail(c, 0, SOURCE_TIMED_OUT, "");
	case_ask(c, 0);
	assert_string_equal(c->ask.method, "GET");
	answer_word(c, "i-1");
	assert_string_equal(c->trouble, "");
	assert_int_equal(c->troubles, 2);
	case_end(c);
}

static void test_no_version_2(void **state)
{
	struct service v = quiet;
	struct notice_case *c = begin(NULL);

	(void)state;
	case_ask(c, 0);
	case_answer(c, 0, 404, "");
	v.action = "{\"action\":\"terminate\",\"time\":\"2026-11-22T08:22:00Z\"}";
	serve_until(c, &v, ACTION);
	assert_int_equal(c->n, 1);
	assert_int_equal(c->ask.n_headers, 0);
	assert_int_equal(c->troubles, 0);
	/* Where it is asked for later, there is one. */
	case_ask(c, 0);
	case_answer(c, 0, 401, "");
	assert_int_equal(case_ask(c, 0), 0);
	assert_string_equal(c->ask.method, "PUT");
	case_end(c);
}

/* A token that would end the header and begin another one is none. */
static void test_hostile_token(void **state)
{
	struct notice_case *c = begin(NULL);

	(void)state;
	case_ask(c, 0);
	case_answer(c, 0, 200, "abc\r\nX-Evil: 1");
	case_ask(c, 0);
	assert_string_equal(c->ask.method, "PUT");
	assert_int_equal(c->troubles, 1);
	case_end(c);
}

static void test_rebalance(void **state)
{
	struct service v = quiet;
	struct notice_case *c = begin(&v);

	(void)state;
	v.rebalance = "{\"noticeTime\":\"2026-11-22T08:19:59Z\"}";
	serve_until(c, &v, REBALANCE);
	serve_until(c, &v, REBALANCE);
	assert_int_equal(c->n, 1);
	assert_int_equal(c->event[0].kind, NOTICE_REBALANCE);
	assert_int_equal(c->event[0].deadline_boot_ms, 0);
	v.rebalance = NULL;
	serve_until(c, &v, REBALANCE);
	assert_int_equal(c->n, 2);
	assert_int_equal(c->event[1].was, NOTICE_REBALANCE);
	case_end(c);
}

/* The older path holds anything; only a moment ahead is believed. */
static void test_termination_time(void **state)
{
	struct service v = quiet;
	struct notice_case *c = begin(&v);

	(void)state;
	v.termination = "2015-01-05T18:02:00Z";
	serve_until(c, &v, TERMINATION);
	v.termination = "-";
	serve_until(c, &v, TERMINATION);
	assert_int_equal(c->n, 0);
	assert_int_equal(c->troubles, 0);
	v.termination = "2026-11-22T08:30:00Z";
	serve_until(c, &v, TERMINATION);
	assert_int_equal(c->n, 1);
	assert_int_equal(c->event[0].deadline_boot_ms - c->event[0].seen_boot_ms, 120000);
	case_end(c);
	/* With the newer path there is one notice. */
	c = begin(&quiet);
	v.action = "{\"action\":\"terminate\",\"time\":\"2026-11-22T08:30:00Z\"}";
	serve_until(c, &quiet, TERMINATION);
	serve_until(c, &v, ACTION);
	serve_until(c, &v, TERMINATION);
	assert_int_equal(c->n, 1);
	case_end(c);
}

#define EVENT(code, state, id, at) "{\"Code\":\"" code "\",\"State\":\"" state "\",\"EventId\":\"" \
	id "\",\"NotBefore\":\"" at "\",\"Description\":\"words\"}"

static void test_maintenance(void **state)
{
	struct service v = quiet;
	struct notice_case *c = begin(&v);

	(void)state;
	v.maintenance = "[" EVENT("system-reboot", "completed", "e0", "22 Nov 2026 08:30:00 GMT") ","
	    EVENT("system-maintenance", "active", "e1", "22 Nov 2026 09:00:00 GMT") ","
	    EVENT("instance-stop", "active", "e3", "24 Nov 2026 09:00:00 GMT") ","
	    EVENT("instance-retirement", "active", "e2", "23 Nov 2026 09:00:00 GMT") ",7,{}]";
	serve_until(c, &v, MAINTENANCE);
	assert_int_equal(c->n, 1);
	assert_int_equal(c->event[0].kind, NOTICE_MAINTENANCE);
	assert_string_equal(c->event[0].id, "e2"); /* the first that ends it */
	assert_int_equal(c->event[0].action, NOTICE_TERMINATE);
	assert_true(c->event[0].deadline_boot_ms - c->event[0].seen_boot_ms > INT64_C(88000000));
	assert_string_equal(c->event[0].detail, "words");
	v.maintenance = "[]";
	serve_until(c, &v, MAINTENANCE);
	assert_int_equal(c->n, 2);
	assert_int_equal(c->event[1].kind, NOTICE_WITHDRAWN);
	assert_int_equal(c->event[1].was, NOTICE_MAINTENANCE);
	assert_string_equal(c->event[1].id, "e2");
	v.maintenance = "{}";
	serve_until(c, &v, MAINTENANCE);
	assert_non_null(strstr(c->trouble, "not what it should be"));
	case_end(c);
}

/* What is put off is told anew; of two, the one that is left when the other is cancelled. */
static void test_maintenance_changes(void **state)
{
	struct service v = quiet;
	struct notice_case *c = begin(&v);

	(void)state;
	v.maintenance = "[" EVENT("instance-stop", "active", "a", "23 Nov 2026 09:00:00 GMT") ","
	    EVENT("instance-stop", "active", "b", "24 Nov 2026 09:00:00 GMT") "]";
	serve_until(c, &v, MAINTENANCE);
	assert_string_equal(c->event[0].id, "a");
	v.maintenance = "[" EVENT("instance-stop", "active", "a", "23 Nov 2026 10:00:00 GMT") ","
	    EVENT("instance-stop", "active", "b", "24 Nov 2026 09:00:00 GMT") "]";
	serve_until(c, &v, MAINTENANCE);
	assert_int_equal(c->n, 2);
	assert_int_equal(c->event[1].kind, NOTICE_MAINTENANCE);
	assert_string_equal(c->event[1].id, "a");
	v.maintenance = "[" EVENT("instance-stop", "completed", "a", "23 Nov 2026 10:00:00 GMT") ","
	    EVENT("instance-stop", "active", "b", "24 Nov 2026 09:00:00 GMT") "]";
	serve_until(c, &v, MAINTENANCE);
	assert_int_equal(c->n, 4);
	assert_int_equal(c->event[2].kind, NOTICE_WITHDRAWN);
	assert_string_equal(c->event[2].id, "a");
	assert_int_equal(c->event[3].kind, NOTICE_MAINTENANCE);
	assert_string_equal(c->event[3].id, "b");
	v.maintenance = NULL;
	serve_until(c, &v, MAINTENANCE);
	assert_int_equal(c->n, 5);
	assert_int_equal(c->event[4].kind, NOTICE_WITHDRAWN);
	assert_string_equal(c->event[4].id, "b");
	case_end(c);
}

/* Weeks ahead is weeks ahead. */
static void test_far_maintenance(void **state)
{
	struct service v = quiet;
	struct notice_case *c = begin(&v);

	(void)state;
	v.maintenance = "[" EVENT("instance-stop", "active", "e", "22 Jan 2027 08:20:00 GMT") "]";
	serve_until(c, &v, MAINTENANCE);
	assert_true(c->event[0].deadline_boot_ms > CASE_BOOT_MS + INT64_C(60) * 86400000);
	case_end(c);
}

static void test_autoscaling(void **state)
{
	struct service v = quiet;
	struct notice_case *c = begin(&v);

	(void)state;
	v.autoscaling = "Terminated";
	serve_until(c, &v, AUTOSCALING);
	serve_until(c, &v, AUTOSCALING);
	assert_int_equal(c->n, 1);
	assert_int_equal(c->event[0].kind, NOTICE_TAKEN);
	v.autoscaling = "Standby";
	serve_until(c, &v, AUTOSCALING);
	assert_int_equal(c->n, 2);
	assert_int_equal(c->event[1].kind, NOTICE_WITHDRAWN);
	v.autoscaling = "Warmed:Terminated";
	serve_until(c, &v, AUTOSCALING);
	assert_int_equal(c->n, 3);
	case_end(c);
}

/* Fast enough: AWS asks for 5 s. */
static void test_pace(void **state)
{
	struct notice_case *c = begin(&quiet);
	int64_t begin_ms = c->boot_ms;
	int i;

	(void)state;
	for (i = 0; i < 10; i++)
		serve_until(c, &quiet, ACTION);
	assert_in_range(c->boot_ms - begin_ms, 20000, 20000);
	case_end(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_token_and_facts),
		cmocka_unit_test(test_facts_that_are_not_there),
		cmocka_unit_test(test_facts_that_fail),
		cmocka_unit_test(test_notice),
		cmocka_unit_test(test_hibernate_and_the_other_key),
		cmocka_unit_test(test_clocks),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_deep_answer),
		cmocka_unit_test(test_redirects_and_errors_are_said_once),
		cmocka_unit_test(test_no_answer),
		cmocka_unit_test(test_token_expires),
		cmocka_unit_test(test_token_is_never_good),
		cmocka_unit_test(test_hop_limit),
		cmocka_unit_test(test_no_version_2),
		cmocka_unit_test(test_hostile_token),
		cmocka_unit_test(test_rebalance),
		cmocka_unit_test(test_termination_time),
		cmocka_unit_test(test_maintenance),
		cmocka_unit_test(test_maintenance_changes),
		cmocka_unit_test(test_far_maintenance),
		cmocka_unit_test(test_autoscaling),
		cmocka_unit_test(test_pace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
