/* What a played metadata service answers, and when: no socket and no clock here.
 * Times are boot milliseconds; the machine is born at BORN. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "chaos/cloud.h"
#include "chaos/command.h"
#include "chaos/fault.h"
#include "chaos/http.h"
#include "chaos/instance.h"

#define BORN INT64_C(5000000)
/* 2026-07-01 00:00:00 UTC */
#define WALL INT64_C(1782864000000)

static const uint8_t secret[INSTANCE_SECRET] = "0123456789abcdef";

static struct moment at(int64_t after_ms)
{
	return (struct moment){BORN + after_ms, WALL + after_ms};
}

static void begin(struct instance *i, const struct cloud *cloud, const struct instance_options *o)
{
	struct error e;

	assert_int_equal(instance_options_check(o, cloud, &e), ST_OK);
	instance_init(i, cloud, o, 1, secret, at(0));
}

/* One request with up to one query field and one header; the body of the answer. */
struct asked {
	struct http_request r;
	struct http_answer a;
};

static const char *ask(struct asked *q, struct instance *i, const char *path, struct moment now)
{
	http_answer_free(&q->a);
	memset(&q->a, 0, sizeof(q->a));
	if (q->r.method == NULL)
		q->r.method = "GET";
	q->r.path = path;
	instance_advance(i, now);
	i->cloud->answer(i, &q->r, now, &q->a);
	assert_false(q->a.body.failed);
	return q->a.body.len == 0 ? "" : q->a.body.data;
}

static void with_query(struct asked *q, const char *name, const char *value)
{
	q->r.query[q->r.n_query++] = (struct http_field){name, value};
}

static struct asked asked_with(const char *header, const char *value)
{
	return (struct asked){.r = {.header = {{header, value}}, .n_headers = 1}};
}

/* ---- the machine ---- */

static void plans_by_time(void **state)
{
	struct instance_options o = instance_options_default();
	struct instance i;

	(void)state;
	o.rebalance_after_ms = 1000;
	o.notice_after_ms = 2000;
	o.withdraw_after_ms = 5000;
	begin(&i, &cloud_aws, &o);
	assert_int_equal(instance_next_change(&i, BORN), BORN + 1000);
	assert_int_equal(instance_next_change(&i, BORN + 1000), BORN + 2000);
	assert_int_equal(instance_next_change(&i, BORN + 2000), BORN + 7000);
	assert_int_equal(i.deadline_ms, BORN + 2000 + 120000);
	assert_false(instance_has_rebalance(&i, at(999)));
	assert_true(instance_has_rebalance(&i, at(1000)));
	assert_false(instance_has_notice(&i, at(1999)));
	assert_true(instance_has_notice(&i, at(2000)));
	instance_advance(&i, at(6999));
	assert_true(instance_has_notice(&i, at(6999)));
	instance_advance(&i, at(7000));
	assert_false(instance_has_notice(&i, at(7000)));
	assert_false(instance_has_rebalance(&i, at(7000)));
	assert_true(instance_next_change(&i, BORN + 7000) == INSTANCE_NEVER);
	assert_false(instance_has_ended(&i, at(1 << 30)));
}

static void commands_change_it(void **state)
{
	struct instance_options o = instance_options_default();
	struct command c = {.kind = COMMAND_NOTICE, .in_ms = 7000, .action = NOTICE_STOP};
	struct instance i;
	struct error e;

	(void)state;
	begin(&i, &cloud_aws, &o);
	assert_int_equal(instance_apply(&i, &c, at(10), &e), ST_OK);
	assert_int_equal(i.deadline_ms, BORN + 7010);
	assert_int_equal(i.action, NOTICE_STOP);
	c = (struct command){.kind = COMMAND_NOTICE, .in_ms = -1, .action = NOTICE_HIBERNATE};
	assert_int_equal(instance_apply(&i, &c, at(20), &e), ST_OK);
	assert_int_equal(i.deadline_ms, BORN + 20);
	assert_int_equal(i.notices, 2);
	c.kind = COMMAND_END;
	assert_int_equal(instance_apply(&i, &c, at(30), &e), ST_OK);
	assert_true(instance_has_ended(&i, at(30)));
	begin(&i, &cloud_gcp, &o);
	c = (struct command){.kind = COMMAND_REBALANCE};
	assert_int_equal(instance_apply(&i, &c, at(0), &e), ST_CONFIG);
	c = (struct command){.kind = COMMAND_NOTICE, .in_ms = -1, .action = NOTICE_HIBERNATE};
	assert_int_equal(instance_apply(&i, &c, at(0), &e), ST_CONFIG);
	assert_false(instance_has_notice(&i, at(0)));
}

static void times_as_each_cloud_writes_them(void **state)
{
	struct instance_options o = instance_options_default();
	struct instance i;
	struct buf b = {0};

	(void)state;
	begin(&i, &cloud_aws, &o);
	instance_time(&i, BORN + 61999, TIME_ISO, &b);
	assert_string_equal(b.data, "2026-07-01T00:01:01Z");
	buf_clear(&b);
	instance_time(&i, BORN, TIME_RFC1123, &b);
	assert_string_equal(b.data, "Wed, 01 Jul 2026 00:00:00 GMT");
	buf_clear(&b);
	instance_time(&i, BORN - 1000, TIME_AWS, &b);
	assert_string_equal(b.data, "30 Jun 2026 23:59:59 GMT");
	buf_free(&b);
}

/* ---- aws ---- */

static void aws_token_by_time(void **state)
{
	struct instance_options o = instance_options_default();
	struct asked q = asked_with("x-AWS-ec2-metadata-TOKEN-ttl-seconds", "10");
	struct instance i;
	struct instance other;
	char token[80];

	(void)state;
	begin(&i, &cloud_aws, &o);
	begin(&other, &cloud_aws, &o);
	other.secret[0]++;
	q.r.method = "PUT";
	(void)snprintf(token, sizeof(token), "%s", ask(&q, &i, "/latest/api/token", at(0)));
	assert_int_equal(q.a.status, 200);
	q.r = asked_with("X-aws-ec2-metadata-token", token).r;
	assert_string_equal(ask(&q, &i, "/latest/meta-data/instance-id", at(9999)),
	    "i-0ebb0000000000001");
	(void)ask(&q, &i, "/latest/meta-data/instance-id", at(10000));
	assert_int_equal(q.a.status, 401);
	(void)ask(&q, &other, "/latest/meta-data/instance-id", at(0));
	assert_int_equal(q.a.status, 401);
	http_answer_free(&q.a);
}

static void aws_answers(void **state)
{
	static const struct {
		int64_t at_ms;
		const char *path;
		unsigned int status;
		const char *body;
	} table[] = {
		{0, "/latest/meta-data/spot/instance-action", 404, NULL},
		{0, "/latest/meta-data/spot", 404, NULL},
		{0, "/latest/meta-data/events/", 200, "maintenance/"},
		{1000, "/latest/meta-data/events", 200, "maintenance/\nrecommendations/"},
		{1000, "/latest/meta-data/events/recommendations/rebalance", 200,
		    "{\"noticeTime\":\"2026-07-01T00:00:01Z\"}"},
		{2000, "/latest/meta-data/spot/instance-action", 200,
		    "{\"action\":\"terminate\",\"time\":\"2026-07-01T00:02:02Z\"}"},
		{2000, "/2018-09-24/meta-data/spot/termination-time", 200, "2026-07-01T00:02:02Z"},
		/* The time stays when it has passed, as the service's does. */
		{900000, "/latest/meta-data/spot/instance-action", 200,
		    "{\"action\":\"terminate\",\"time\":\"2026-07-01T00:02:02Z\"}"},
		{0, "/latest/meta-data/placement/availability-zone/", 200, "us-east-1a"},
		{0, "/latest/meta-data/placement/avail", 404, NULL},
		{0, "/latest//meta-data", 404, NULL},
		{0, "", 200, NULL},
	};
	struct instance_options o = instance_options_default();
	struct asked q = {0};
	struct instance i;
	size_t k;

	(void)state;
	o.token_optional = true;
	o.rebalance_after_ms = 1000;
	o.notice_after_ms = 2000;
	begin(&i, &cloud_aws, &o);
	for (k = 0; k < sizeof(table) / sizeof(table[0]); k++) {
		const char *body = ask(&q, &i, table[k].path, at(table[k].at_ms));

		if (q.a.status != table[k].status ||
		    (table[k].body != NULL && strcmp(body, table[k].body) != 0))
			fail_msg("row %zu: %u %s", k, q.a.status, body);
	}
	assert_int_equal(i.seen.polls, 4);
	assert_int_equal(i.seen.last_poll_ms, BORN + 900000);
	http_answer_free(&q.a);
}

/* ---- gcp ---- */

static void gcp_waits(void **state)
{
	static const char path[] = "/computeMetadata/v1/instance/preempted";
	struct instance_options o = instance_options_default();
	struct asked q = asked_with("Metadata-Flavor", "Google");
	struct instance i;

	(void)state;
	o.notice_after_ms = 5000;
	begin(&i, &cloud_gcp, &o);
	with_query(&q, "wait_for_change", "true");
	with_query(&q, "timeout_sec", "3");
	q.r.since_ms = BORN;
	(void)ask(&q, &i, path, at(0));
	assert_true(q.a.wait);
	assert_int_equal(q.a.until_ms, BORN + 3000);
	memcpy(q.r.waits_for, q.a.waits_for, sizeof(q.r.waits_for));
	(void)ask(&q, &i, path, at(2999));
	assert_true(q.a.wait);
	assert_string_equal(ask(&q, &i, path, at(3000)), "FALSE");
	assert_false(q.a.wait);
	assert_int_equal(i.seen.polls, 1);

	q.r.n_query = 1;
	(void)ask(&q, &i, path, at(3000));
	assert_true(q.a.wait);
	assert_true(q.a.until_ms == INSTANCE_NEVER);
	assert_string_equal(ask(&q, &i, path, at(5000)), "TRUE");
	assert_false(q.a.wait);
	/* What it waits for is the version it began with, whatever the client said last. */
	q.r.waits_for[0] = '\0';
	(void)ask(&q, &i, path, at(5000));
	assert_true(q.a.wait);
	with_query(&q, "last_etag", "other");
	assert_string_equal(ask(&q, &i, path, at(5000)), "TRUE");
	assert_false(q.a.wait);
	http_answer_free(&q.a);
}

/* ---- azure ---- */

static void azure_incarnations(void **state)
{
	static const char path[] = "/metadata/scheduledevents";
	struct instance_options o = instance_options_default();
	struct asked q = asked_with("METADATA", "true");
	struct instance i;
	struct instance_seen seen;
	char body[128];
	const char *text;

	(void)state;
	o.notice_after_ms = 1000;
	o.window_ms = 2000;
	begin(&i, &cloud_azure, &o);
	with_query(&q, "api-version", "2020-07-01");
	assert_string_equal(ask(&q, &i, path, at(0)), "{\"DocumentIncarnation\":1,\"Events\":[]}");
	text = ask(&q, &i, path, at(1000));
	assert_non_null(strstr(text, "\"DocumentIncarnation\":2,"));
	assert_non_null(strstr(text, "\"NotBefore\":\"Wed, 01 Jul 2026 00:00:03 GMT\""));
	(void)snprintf(body, sizeof(body), "{\"StartRequests\":[{\"EventId\":\"%.36s\"}]}",
	    strstr(text, "EventId\":\"") + 10);
	assert_non_null(strstr(ask(&q, &i, path, at(2999)), "\"DocumentIncarnation\":2,"));
	text = ask(&q, &i, path, at(3000));
	assert_non_null(strstr(text, "\"EventStatus\":\"Started\""));
	assert_non_null(strstr(text, "\"NotBefore\":\"\""));
	assert_non_null(strstr(text, "\"DocumentIncarnation\":3,"));

	q.r.method = "POST";
	q.r.body = body;
	q.r.body_len = strlen(body);
	assert_string_equal(ask(&q, &i, path, at(1500)), "");
	assert_int_equal(q.a.status, 200);
	seen = i.seen;
	assert_int_equal(seen.acknowledged_ms, BORN + 1500);
	assert_memory_equal(seen.acknowledged, body + 30, 36);
	/* Not again: the moment is that of the first. */
	(void)ask(&q, &i, path, at(1600));
	assert_int_equal(i.seen.acknowledged_ms, BORN + 1500);
	http_answer_free(&q.a);
}

/* ---- words ---- */

static void lines_of_commands(void **state)
{
	static const struct {
		const char *line;
		enum status st;
		struct command c;
	} table[] = {
		{"notice", ST_OK, {COMMAND_NOTICE, 0, -1, -1}},
		{" notice @3  30s\tstop\r", ST_OK, {COMMAND_NOTICE, 3, 30000, NOTICE_STOP}},
		{"notice hibernate 0", ST_OK, {COMMAND_NOTICE, 0, 0, NOTICE_HIBERNATE}},
		{"end @1", ST_OK, {COMMAND_END, 1, -1, -1}},
		{"withdraw", ST_OK, {COMMAND_WITHDRAW, 0, -1, -1}},
		{"rebalance", ST_OK, {COMMAND_REBALANCE, 0, -1, -1}},
		{"maintenance", ST_OK, {COMMAND_MAINTENANCE, 0, -1, -1}},
		{"", ST_NOT_FOUND, {0}}, {"  \t", ST_NOT_FOUND, {0}}, {"# notice", ST_NOT_FOUND, {0}},
		{"Notice", ST_CONFIG, {0}}, {"notice @4", ST_CONFIG, {0}}, {"notice @0", ST_CONFIG, {0}},
		{"notice @", ST_CONFIG, {0}}, {"notice now", ST_CONFIG, {0}}, {"end 3s", ST_CONFIG, {0}},
		{"notice 2d", ST_CONFIG, {0}}, {"notice -1s", ST_CONFIG, {0}},
	};
	struct command c;
	struct error e;
	char longest[COMMAND_LINE_MAX + 1];
	size_t k;

	(void)state;
	for (k = 0; k < sizeof(table) / sizeof(table[0]); k++) {
		enum status st = command_parse(table[k].line, strlen(table[k].line), 3, &c, &e);

		if (st != table[k].st)
			fail_msg("row %zu: %s", k, status_name(st));
		if (st == ST_OK && (c.kind != table[k].c.kind || c.instance != table[k].c.instance ||
		    c.in_ms != table[k].c.in_ms || c.action != table[k].c.action))
			fail_msg("row %zu: another command", k);
	}
	memset(longest, ' ', sizeof(longest));
	assert_int_equal(command_parse(longest, COMMAND_LINE_MAX - 1, 3, &c, &e), ST_NOT_FOUND);
	assert_int_equal(command_parse(longest, COMMAND_LINE_MAX, 3, &c, &e), ST_CONFIG);
	assert_int_equal(command_parse("end\0x", 5, 3, &c, &e), ST_CONFIG);
}

static void shares_of_faults(void **state)
{
	struct fault_options o = {.errors_percent = 20, .seed = 7};
	uint64_t random = o.seed;
	uint64_t again = o.seed;
	struct error e;
	int count[8] = {0};
	int k;

	(void)state;
	assert_int_equal(fault_parse("50", &o, &e), ST_OK);
	for (k = 0; k < 10000; k++) {
		enum fault f = fault_draw(&o, false, &random);

		assert_int_equal(fault_draw(&o, false, &again), f);
		count[f]++;
	}
	assert_in_range(count[FAULT_STATUS], 1800, 2200);
	assert_in_range(count[FAULT_NONE], 3700, 4300);
	for (k = FAULT_JSON; k <= FAULT_REDIRECT; k++)
		assert_in_range(count[k], 650, 950);
	assert_int_equal(count[FAULT_SILENT], 0);
	assert_int_equal(fault_parse("100:huge", &o, &e), ST_OK);
	o.errors_percent = 0;
	assert_int_equal(fault_draw(&o, true, &random), FAULT_HUGE);
	o.drop_token = true;
	assert_int_equal(fault_draw(&o, true, &random), FAULT_SILENT);
	assert_int_equal(fault_parse("0", &o, &e), ST_OK);
	assert_int_equal(fault_draw(&o, false, &random), FAULT_NONE);
	assert_int_equal(fault_parse("silent", &o, &e), ST_CONFIG);
	assert_int_equal(fault_parse("00000000000000001", &o, &e), ST_CONFIG);
	assert_int_equal(fault_parse("", &o, &e), ST_CONFIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plans_by_time),
		cmocka_unit_test(commands_change_it),
		cmocka_unit_test(times_as_each_cloud_writes_them),
		cmocka_unit_test(aws_token_by_time),
		cmocka_unit_test(aws_answers),
		cmocka_unit_test(gcp_waits),
		cmocka_unit_test(azure_incarnations),
		cmocka_unit_test(lines_of_commands),
		cmocka_unit_test(shares_of_faults),
	};

	return cmocka_run_group_tests_name("chaos", tests, NULL, NULL);
}
