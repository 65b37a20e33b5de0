/* Events that tell from outside that a machine is about to go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "notice/event.h"

#define NOW INT64_C(1795335600000) /* 2026-11-22T08:20:00Z */

#define BRIDGE(type, time, detail) "{\"version\":\"0\",\"id\":\"e-1\",\"detail-type\":\"" type "\"," \
	"\"source\":\"aws.ec2\",\"time\":\"" time "\",\"resources\":[],\"detail\":{" detail "}}"
#define SPOT BRIDGE("EC2 Spot Instance Interruption Warning", "2026-11-22T08:19:50Z", \
	"\"instance-id\":\"i-1\",\"instance-action\":\"terminate\"")
#define SPOT_QUOTED "{\\\"detail-type\\\":\\\"EC2 Instance Rebalance Recommendation\\\",\\\"detail\\\":{" \
	"\\\"instance-id\\\":\\\"i-2\\\"}}"

static struct event_list read_events(const char *text)
{
	struct event_list l = {NULL, 0, 0};
	size_t len = strlen(text);
	char *copy = malloc(len + 1); /* so that reading beyond it is seen */
	struct error e;

	assert_non_null(copy);
	memcpy(copy, text, len + 1);
	if (event_read(copy, len, NOW, &l, &e) != ST_OK)
		fail_msg("%s", e.text);
	free(copy);
	return l;
}

static struct event read_one(const char *text)
{
	struct event_list l = read_events(text);
	struct event ev;

	assert_int_equal(l.n, 1);
	ev = l.list[0];
	event_list_free(&l);
	return ev;
}

static void assert_problem(const char *text, const char *want)
{
	struct event ev = read_one(text);

	if (strstr(ev.problem, want) == NULL)
		fail_msg("%s\n\"%s\", and not \"%s\"", text, ev.problem, want);
}

static struct event good(const char *text)
{
	struct event ev = read_one(text);

	assert_string_equal(ev.problem, "");
	assert_false(ev.nothing);
	return ev;
}

static void test_spot(void **state)
{
	struct event ev = good(SPOT);

	(void)state;
	assert_int_equal(ev.kind, NOTICE_TAKEN);
	assert_int_equal(ev.action, NOTICE_TERMINATE);
	assert_int_equal(ev.whom, EVENT_NODE);
	assert_int_equal(ev.n_names, 1);
	assert_string_equal(ev.name[0], "i-1");
	assert_string_equal(ev.id, "e-1");
	assert_string_equal(ev.source, "eventbridge");
	assert_true(ev.has_deadline);
	assert_int_equal(ev.left_ms, 110000); /* two minutes from when it was sent */
	ev = good(BRIDGE("EC2 Spot Instance Interruption Warning", "2026-11-22T08:20:00Z",
	    "\"instance-id\":\"i-1\",\"instance-action\":\"hibernate\""));
	assert_int_equal(ev.left_ms, 0);
	ev = good(BRIDGE("EC2 Interruptible Capacity Reservation Instance Interruption Warning",
	    "2026-11-22T08:20:00Z", "\"instance-id\":\"i-1\",\"instance-action\":\"terminate\","
	    "\"instance-termination-time\":\"2026-11-22T08:21:40Z\""));
	assert_int_equal(ev.left_ms, 100000);
	assert_problem(BRIDGE("EC2 Spot Instance Interruption Warning", "",
	    "\"instance-action\":\"stop\""),
	    "field detail.instance-id is missing");
	assert_problem(BRIDGE("EC2 Spot Instance Interruption Warning", "", "\"instance-id\":7"),
	    "field detail.instance-id must be a text");
	assert_problem(BRIDGE("EC2 Spot Instance Interruption Warning", "", "\"instance-id\":\"a\\nb\""),
	    "field detail.instance-id is no name of a machine");
	assert_problem(BRIDGE("EC2 Spot Instance Interruption Warning", "", "\"instance-id\":\"i\","
	    "\"instance-action\":\"explode\""), "\"explode\", and not terminate, stop or hibernate");
}

/* A queue may hand it on when all is over. */
static void test_old(void **state)
{
	struct event ev = read_one(BRIDGE("EC2 Spot Instance Interruption Warning", "2026-11-22T08:00:00Z",
	    "\"instance-id\":\"i-1\",\"instance-action\":\"terminate\""));

	(void)state;
	assert_true(ev.nothing);
	assert_non_null(strstr(ev.detail, "it is old"));
	ev = good(BRIDGE("EC2 Spot Instance Interruption Warning", "2026-11-22T08:10:00Z",
	    "\"instance-id\":\"i-1\",\"instance-action\":\"terminate\""));
	assert_int_equal(ev.left_ms, 0);
}

static void test_other_ec2_events(void **state)
{
	struct event ev = good(BRIDGE("EC2 Instance Rebalance Recommendation", "",
	    "\"instance-id\":\"i-9\""));

	(void)state;
	assert_int_equal(ev.kind, NOTICE_REBALANCE);
	assert_false(ev.has_deadline);
	ev = good(BRIDGE("EC2 Instance State-change Notification", "",
	    "\"instance-id\":\"i-9\",\"state\":\"shutting-down\""));
	assert_int_equal(ev.kind, NOTICE_PREEMPTED);
	assert_int_equal(ev.action, NOTICE_TERMINATE);
	ev = good(BRIDGE("EC2 Instance State-change Notification", "",
	    "\"instance-id\":\"i-9\",\"state\":\"stopping\""));
	assert_int_equal(ev.action, NOTICE_STOP);
	assert_true(read_one(BRIDGE("EC2 Instance State-change Notification", "",
	    "\"instance-id\":\"i-9\",\"state\":\"running\"")).nothing);
	assert_problem(BRIDGE("EC2 Instance State-change Notification", "",
	    "\"instance-id\":\"i-9\",\"state\":\"gone\""), "\"gone\", which is no state");
	ev = good(BRIDGE("EC2 Instance-terminate Lifecycle Action", "", "\"EC2InstanceId\":\"i-9\","
	    "\"LifecycleTransition\":\"autoscaling:EC2_INSTANCE_TERMINATING\""));
	assert_int_equal(ev.kind, NOTICE_TAKEN);
	assert_string_equal(ev.name[0], "i-9");
	assert_true(read_one(BRIDGE("EC2 Instance-terminate Lifecycle Action", "",
	    "\"EC2InstanceId\":\"i-9\",\"LifecycleTransition\":\"autoscaling:EC2_INSTANCE_LAUNCHING\""))
	    .nothing);
	assert_problem(BRIDGE("EC2 Instance-terminate Lifecycle Action", "", ""),
	    "field detail.EC2InstanceId is missing");
	assert_problem(BRIDGE("EC2 Something Else", "", ""),
	    "\"EC2 Something Else\" is none that ebb knows");
	assert_problem("{\"detail-type\":\"x\"}", "field detail is missing");
}

#define HEALTH(code, category, start, entities) BRIDGE("AWS Health Event", "", "\"eventTypeCode\":\"" \
	code "\",\"eventTypeCategory\":\"" category "\",\"startTime\":\"" start \
	"\",\"affectedEntities\":[" entities "]")

static void test_health(void **state)
{
	struct event ev = good(HEALTH("AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED", "scheduledChange",
	    "Mon, 23 Nov 2026 08:20:00 GMT", "{\"entityValue\":\"i-1\"},{\"entityValue\":\"i-2\"},{}"));

	(void)state;
	assert_int_equal(ev.kind, NOTICE_MAINTENANCE);
	assert_int_equal(ev.action, NOTICE_TERMINATE);
	assert_int_equal(ev.n_names, 2);
	assert_int_equal(ev.left_ms, 86400000);
	ev = good(HEALTH("AWS_EC2_SYSTEM_REBOOT_MAINTENANCE_SCHEDULED", "scheduledChange",
	    "2026-11-22T08:21:00Z", "{\"entityValue\":\"i-1\"}"));
	assert_int_equal(ev.action, NOTICE_REBOOT);
	assert_int_equal(ev.left_ms, 60000);
	assert_true(read_one(HEALTH("AWS_EC2_OPERATIONAL_ISSUE", "issue", "",
	    "{\"entityValue\":\"i\"}")).nothing);
	assert_true(read_one(HEALTH("X", "scheduledChange", "", "")).nothing);
	assert_problem(BRIDGE("AWS Health Event", "", "\"eventTypeCode\":\"X\""),
	    "detail.affectedEntities is missing");
	assert_problem(BRIDGE("AWS Health Event", "", ""), "field detail.eventTypeCode is missing");
}

static void test_task(void **state)
{
	struct event ev = good(BRIDGE("ECS Task State Change", "2026-11-22T08:20:00Z",
	    "\"taskArn\":\"arn:aws:ecs:eu-west-1:1:task/c/0123abcd\",\"desiredStatus\":\"STOPPED\","
	    "\"stopCode\":\"SpotInterruption\",\"containers\":[{\"runtimeId\":\"0f1e2d3c4b5a69788796\"}],"
	    "\"attachments\":[{\"details\":[{\"name\":\"privateDnsName\",\"value\":\"ip-10-0-0-7.ec2."
	    "internal\"}]}]"));

	(void)state;
	assert_int_equal(ev.kind, NOTICE_TAKEN);
	assert_int_equal(ev.left_ms, 120000);
	assert_int_equal(ev.n_names, 4);
	assert_string_equal(ev.name[1], "0123abcd");
	assert_string_equal(ev.name[2], "ip-10-0-0-7.ec2.internal");
	assert_string_equal(ev.name[3], "0f1e2d3c4b5a");
	ev = good(BRIDGE("ECS Task State Change", "", "\"taskArn\":\"t\",\"desiredStatus\":\"STOPPED\","
	    "\"stopCode\":\"UserInitiated\""));
	assert_int_equal(ev.kind, NOTICE_PREEMPTED);
	assert_true(read_one(BRIDGE("ECS Task State Change", "",
	    "\"taskArn\":\"t\",\"desiredStatus\":\"RUNNING\"")).nothing);
	assert_problem(BRIDGE("ECS Task State Change", "",
	    "\"taskArn\":\"a b\",\"desiredStatus\":\"STOPPED\""), "detail.taskArn is no name of a task");
	assert_problem(BRIDGE("ECS Task State Change", "", "\"taskArn\":\"t\""),
	    "field detail.desiredStatus is missing");
}

static void test_plain(void **state)
{
	struct event ev = good("{\"event\":\"notice\",\"worker\":\"w2\",\"run\":\"r7\",\"deadline\":90,"
	    "\"reason\":\"two\\nlines\"}");

	(void)state;
	assert_int_equal(ev.kind, NOTICE_TAKEN);
	assert_int_equal(ev.whom, EVENT_WORKER);
	assert_string_equal(ev.name[0], "w2");
	assert_string_equal(ev.run, "r7");
	assert_int_equal(ev.left_ms, 90000);
	assert_string_equal(ev.detail, "two\\nlines");
	ev = good("{\"event\":\"rebalance\",\"node\":\"i-1\"}");
	assert_int_equal(ev.whom, EVENT_NODE);
	assert_false(ev.has_deadline);
	assert_int_equal(good("{\"event\":\"withdrawn\",\"pool\":\"spot\",\"deadline\":null}").whom,
	    EVENT_POOL);
	assert_int_equal(good("{\"event\":\"maintenance\",\"run\":\"r7\"}").whom, EVENT_RUN);
	ev = good("{\"event\":\"preempted\",\"all\":true,\"deadline\":\"2026-11-22T08:20:30Z\"}");
	assert_int_equal(ev.whom, EVENT_ALL);
	assert_int_equal(ev.left_ms, 30000);
	/* A line of ebb watch, with whom it is for. */
	ev = good("{\"event\":\"notice\",\"source\":\"aws\",\"action\":\"stop\",\"id\":\"x\","
	    "\"time_unix\":1.0,\"deadline_unix\":1795335660.5,\"seconds_left\":60.5,\"window_s\":120.0,"
	    "\"detail\":\"words\",\"node\":\"i-1\"}");
	assert_int_equal(ev.left_ms, 60500);
	assert_int_equal(ev.action, NOTICE_STOP);
	assert_string_equal(ev.detail, "words");
}

static void test_bad_plain(void **state)
{
	(void)state;
	assert_problem("{\"event\":\"notice\"}", "does not say whom it is for");
	assert_problem("{\"event\":\"notice\",\"all\":false}", "does not say whom it is for");
	assert_problem("{\"event\":\"notice\",\"all\":1}", "field all must be true");
	assert_problem("{\"event\":\"notice\",\"all\":true,\"worker\":\"w1\"}", "only one can be meant");
	assert_problem("{\"event\":\"boom\",\"all\":true}", "field event is \"boom\", and not notice");
	assert_problem("{\"event\":7,\"all\":true}", "field event must be a text");
	assert_problem("{\"event\":\"notice\",\"worker\":2}", "field worker must be a name");
	assert_problem("{\"event\":\"notice\",\"worker\":\"\"}", "field worker must be a name");
	assert_problem("{\"event\":\"notice\",\"pool\":\"a b\"}", "field pool must be a name");
	assert_problem("{\"event\":\"notice\",\"run\":7}", "field run must be the name of a run");
	assert_problem("{\"event\":\"notice\",\"all\":true,\"deadlin\":3}",
	    "there is no field \"deadlin\"");
	assert_problem("{\"event\":\"notice\",\"all\":true,\"deadline\":-1}",
	    "field deadline must be 0 to");
	assert_problem("{\"event\":\"notice\",\"all\":true,\"deadline\":1e300}",
	    "field deadline must be 0 to");
	assert_problem("{\"event\":\"notice\",\"all\":true,\"deadline\":\"90s\"}",
	    "field deadline must be");
	assert_problem("{\"event\":\"notice\",\"all\":true,\"deadline\":[]}", "field deadline must be");
	assert_problem("{\"event\":\"notice\",\"all\":true,\"deadline_unix\":-5}",
	    "deadline_unix is no moment");
	assert_problem("{\"event\":\"\\u001b[2J\",\"all\":true}", "field event is \"\\x1b[2J\"");
	assert_problem("{}", "it is no event");
	assert_problem("[7]", "an event must be a JSON object");
}

static void test_wrapped(void **state)
{
	static const char *const forms[] = {
		"{\"Type\":\"Notification\",\"Message\":\"" SPOT_QUOTED "\"}",
		"{\"Records\":[{\"messageId\":\"m\",\"body\":\"" SPOT_QUOTED "\"}]}",
		"{\"Messages\":[{\"Body\":\"" SPOT_QUOTED "\"}]}",
		"{\"Records\":[{\"Sns\":{\"Message\":\"" SPOT_QUOTED "\"}}]}",
		"{\"Records\":[{\"body\":{\"Message\":\"" SPOT_QUOTED "\"}}]}",
	};
	struct event_list l;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct event ev = good(forms[i]);

		assert_int_equal(ev.kind, NOTICE_REBALANCE);
		assert_string_equal(ev.name[0], "i-2");
	}
	/* SQS of SNS. */
	good("{\"Records\":[{\"body\":\"{\\\"Message\\\":\\\"{\\\\\\\"event\\\\\\\":\\\\\\\"notice"
	    "\\\\\\\",\\\\\\\"all\\\\\\\":true}\\\"}\"}]}");
	assert_problem("{\"Message\":\"hello\"}", "field Message: it is no JSON: line 1");
	assert_problem("{\"Message\":7}", "field Message must be a text");
	assert_problem("{\"Records\":[{\"s3\":{}}]}", "a record has no body");
	assert_problem("{\"Records\":{}}", "must be a list");
	assert_problem("[[[[[[{\"event\":\"notice\",\"all\":true}]]]]]]", "wrapped more than 4 times");
	/* An empty queue. */
	l = (struct event_list){NULL, 0, 0};
	assert_int_equal(event_read("{\"Messages\":[]}", 15, NOW, &l, NULL), ST_CONFIG);
}

/* One that is bad keeps none of the others from being heard. */
static void test_several(void **state)
{
	struct event_list l = read_events(SPOT "\n" "{\"event\":\"oops\",\"all\":true} \n"
	    "[{\"event\":\"rebalance\",\"all\":true}," SPOT "]\n");

	(void)state;
	assert_int_equal(l.n, 4);
	assert_string_equal(l.list[0].problem, "");
	assert_true(l.list[1].problem[0] != '\0');
	assert_int_equal(l.list[2].kind, NOTICE_REBALANCE);
	assert_string_equal(l.list[3].name[0], "i-1");
	event_list_free(&l);
}

static void assert_refused(const char *text, size_t len, const char *want)
{
	struct event_list l = {NULL, 0, 0};
	struct error e;

	assert_int_equal(event_read(text, len, NOW, &l, &e), ST_CONFIG);
	if (strstr(e.text, want) == NULL)
		fail_msg("\"%s\", and not \"%s\"", e.text, want);
	assert_int_equal(l.n, 0);
	event_list_free(&l);
}

static void test_limits(void **state)
{
	char *big = malloc(EVENT_TEXT_MAX + 2);
	size_t len = 0;
	int i;

	(void)state;
	assert_non_null(big);
	assert_refused("", 0, "there is no event");
	assert_refused(" \n", 2, "there is no event");
	assert_refused("hello", 5, "it is no JSON: line 1");
	assert_refused(SPOT "\n{", sizeof(SPOT) + 1, "it is no JSON");
	assert_refused("\0\0", 2, "it is no JSON");
	memset(big, ' ', EVENT_TEXT_MAX + 1);
	assert_refused(big, EVENT_TEXT_MAX + 1, "longer than 1024 KiB");
	for (i = 0; i < 300; i++) {
		memcpy(big + len, "{\"event\":\"notice\",\"all\":true}", 29);
		len += 29;
	}
	assert_refused(big, len, "more than 256 events");
	memset(big, '[', 1000);
	assert_refused(big, 1000, "nested deeper than 32");
	free(big);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spot),
		cmocka_unit_test(test_old),
		cmocka_unit_test(test_other_ec2_events),
		cmocka_unit_test(test_health),
		cmocka_unit_test(test_task),
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_bad_plain),
		cmocka_unit_test(test_wrapped),
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
