/* What is asked of Azure's metadata service, and what is made of the answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>

#include "notice_case.h"

/* One event of a document. */
#define EVENT(id, type, status, resources, at) "{\"EventId\":\"" id "\",\"EventType\":\"" type \
	"\",\"ResourceType\":\"VirtualMachine\",\"Resources\":[" resources "],\"EventStatus\":\"" status \
	"\",\"NotBefore\":\"" at "\",\"Description\":\"why\",\"EventSource\":\"Platform\"}"
#define DOC(n, events) "{\"DocumentIncarnation\":" n ",\"Events\":[" events "]}"
#define AT "Sun, 22 Nov 2026 08:20:40 GMT"

static void facts(struct notice_case *c)
{
	static const char *const said[] = {"pool_7", "Standard_D2s_v3", "westeurope", "Spot"};
	int i;

	for (i = 0; i < 4; i++) {
		case_ask(c, 0);
		assert_true(case_has_header(c, "Metadata: true"));
		case_answer(c, 0, 200, said[i]);
	}
}

static struct notice_case *begin(void)
{
	struct notice_case *c = case_begin(&source_azure, "http://169.254.169.254");

	facts(c);
	return c;
}

static void document(struct notice_case *c, const char *text)
{
	case_ask(c, 0);
	assert_string_equal(c->ask.path, "/metadata/scheduledevents?api-version=2020-07-01");
	case_answer(c, 0, 200, text);
}

static void test_facts(void **state)
{
	struct notice_case *c = begin();

	(void)state;
	assert_int_equal(c->machines, 1);
	assert_string_equal(c->machine.node, "pool_7");
	assert_string_equal(c->machine.type, "Standard_D2s_v3");
	assert_string_equal(c->machine.zone, "westeurope");
	assert_string_equal(c->machine.lifecycle, "spot");
	/* It wakes up when it is asked for the first time. */
	case_ask(c, 0);
	assert_true(c->ask.timeout_ms >= 120000);
	case_answer(c, 0, 200, DOC("1", ""));
	assert_int_equal(case_ask(c, 0), 1000);
	assert_true(c->ask.timeout_ms <= 5000);
	assert_int_equal(c->n + (size_t)c->troubles, 0);
	case_end(c);
}

/* Without its name, no event could be told from another machine's. */
static void test_name_is_asked_until_known(void **state)
{
	struct notice_case *c = case_begin(&source_azure, "http://169.254.169.254");
	int i;

	(void)state;
	for (i = 0; i < 10; i++) {
		case_ask(c, 0);
		assert_non_null(strstr(c->ask.path, "/compute/name?"));
		case_answer(c, 0, i % 2 ? 404 : 500, "404");
		assert_int_equal(case_ask(c, 0), 1000);
	}
	assert_true(c->trouble[0] != '\0');
	case_answer(c, 0, 200, "vm");
	assert_string_equal(c->trouble, "");
	for (i = 0; i < 9; i++) { /* the others are not waited for */
		case_ask(c, 0);
		assert_null(strstr(c->ask.path, "scheduledevents"));
		case_answer(c, 0, 500, "oops");
	}
	case_ask(c, 0);
	assert_non_null(strstr(c->ask.path, "scheduledevents"));
	assert_string_equal(c->machine.node, "vm");
	assert_string_equal(c->machine.type, "");
	case_end(c);
}

static void test_preempt(void **state)
{
	struct notice_case *c = begin();

	(void)state;
	document(c, DOC("1", ""));
	document(c, DOC("2", EVENT("E1", "Preempt", "Scheduled", "\"POOL_7\"", AT)));
	assert_int_equal(c->n, 1);
	assert_int_equal(c->event[0].kind, NOTICE_TAKEN);
	assert_int_equal(c->event[0].action, NOTICE_TERMINATE);
	assert_string_equal(c->event[0].id, "E1");
	assert_string_equal(c->event[0].detail, "why");
	assert_int_equal(c->event[0].deadline_boot_ms, CASE_BOOT_MS + 40000);
	document(c, DOC("2", EVENT("E1", "Preempt", "Scheduled", "\"pool_7\"", AT)));
	assert_int_equal(c->n, 1);
	document(c, DOC("3", EVENT("E1", "Preempt", "Started", "\"pool_7\"", "")));
	assert_int_equal(c->n, 2);
	assert_int_equal(c->event[1].kind, NOTICE_PREEMPTED);
	assert_int_equal(c->event[1].deadline_boot_ms, CASE_BOOT_MS + 40000);
	document(c, DOC("4", ""));
	assert_int_equal(c->n, 3);
	assert_int_equal(c->event[2].kind, NOTICE_WITHDRAWN);
	assert_string_equal(c->event[2].id, "E1");
	case_end(c);
}

/* It begins later than it was announced for: now. */
static void test_late_begin(void **state)
{
	struct notice_case *c = begin();

	(void)state;
	document(c, DOC("1", EVENT("E1", "Preempt", "Scheduled", "\"pool_7\"", AT)));
	case_pass(c, 90000);
	document(c, DOC("2", EVENT("E1", "Preempt", "Started", "\"pool_7\"", "")));
	assert_int_equal(c->event[1].deadline_boot_ms, c->event[1].seen_boot_ms);
	case_end(c);
}

/* What is in a document counts, and not the number that it says. */
static void test_incarnation(void **state)
{
	struct notice_case *c = begin();

	(void)state;
	document(c, DOC("1", ""));
	document(c, DOC("1", EVENT("E1", "Preempt", "Scheduled", "\"pool_7\"", AT)));
	assert_int_equal(c->n, 1);
	document(c, DOC("0", ""));
	assert_int_equal(c->n, 2);
	case_end(c);
}

static void test_other_machines(void **state)
{
	struct notice_case *c = begin();

	(void)state;
	document(c, DOC("1", EVENT("E1", "Preempt", "Scheduled", "\"pool_8\",\"pool_70\"", AT) ","
	    EVENT("E2", "Reboot", "Scheduled", "", AT) "," EVENT("E3", "Preempt", "Scheduled", "7,{}",
	        AT)));
	assert_int_equal(c->n, 0);
	document(c, DOC("2", EVENT("E1", "Preempt", "Scheduled", "\"pool_8\",\"pool_7\"", AT)));
	assert_int_equal(c->n, 1);
	/* It would be approved for the other one too. */
	assert_false(c->of->acknowledge(c->state, &c->ask));
	case_end(c);
}

static void test_maintenance(void **state)
{
	struct notice_case *c = begin();

	(void)state;
	document(c, DOC("1", EVENT("F", "Freeze", "Scheduled", "\"pool_7\"", AT) ","
	    EVENT("R", "Reboot", "Scheduled", "\"pool_7\"", AT)));
	assert_int_equal(c->n, 2);
	assert_int_equal(c->event[0].kind, NOTICE_MAINTENANCE);
	assert_int_equal(c->event[0].action, NOTICE_FREEZE);
	assert_int_equal(c->event[1].action, NOTICE_REBOOT);
	assert_int_equal(notice_response(&c->event[0], c->boot_ms), NOTICE_GO_ON);
	assert_int_equal(notice_response(&c->event[1], c->boot_ms), NOTICE_DRAIN);
	assert_false(c->of->acknowledge(c->state, &c->ask));
	document(c, DOC("2", EVENT("R", "Reboot", "Started", "\"pool_7\"", "")));
	/* Sooner than it was to be: now. The other one is over. */
	assert_int_equal(c->n, 4);
	assert_int_equal(c->event[2].deadline_boot_ms, c->boot_ms);
	assert_int_equal(c->event[3].was, NOTICE_MAINTENANCE);
	case_end(c);
}

static void test_malformed(void **state)
{
	static const char *const bad[] = {
		"", "null", "[]", "{}", DOC("\"1\"", ""), "{\"DocumentIncarnation\":1}",
		"{\"DocumentIncarnation\":1,\"Events\":{}}", "<html>",
	};
	static const char *const odd[] = {
		EVENT("", "Preempt", "Scheduled", "\"pool_7\"", AT),
		EVENT("E", "Explode", "Scheduled", "\"pool_7\"", AT),
		EVENT("E", "Preempt", "Completed", "\"pool_7\"", AT),
		"{\"EventId\":\"E\",\"EventType\":\"Preempt\",\"Resources\":\"pool_7\"}",
		"null", "[[]]", "\"pool_7\"",
	};
	struct notice_case *c = begin();
	char text[1024];
	size_t i;

	(void)state;
	document(c, DOC("1", ""));
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		document(c, bad[i]);
		assert_non_null(strstr(c->trouble, "not what it should be"));
	}
	for (i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		(void)snprintf(text, sizeof(text), DOC("9", "%s"), odd[i]);
		document(c, text);
		assert_string_equal(c->trouble, "");
	}
	assert_int_equal(c->n, 0);
	/* A moment that cannot be read does not hide the event. */
	document(c, DOC("10", EVENT("E", "Preempt", "Scheduled", "\"pool_7\"", "soon")));
	assert_int_equal(c->n, 1);
	assert_int_equal(c->event[0].deadline_boot_ms, 0);
	assert_int_equal(c->event[0].window_ms, 30000);
	case_end(c);
}

static void test_clock_of_the_machine_is_wrong(void **state)
{
	struct notice_case *c = begin();

	(void)state;
	c->unix_ms -= INT64_C(50) * 365 * 86400000;
	document(c, DOC("1", EVENT("E", "Preempt", "Scheduled", "\"pool_7\"", AT)));
	assert_int_equal(c->event[0].deadline_boot_ms, CASE_BOOT_MS + 40000);
	case_end(c);
}

/* Of those that are this machine's alone, in JSON whatever their names are. */
static void test_acknowledgement(void **state)
{
	struct notice_case *c = begin();
	json_t *o;

	(void)state;
	assert_false(c->of->acknowledge(c->state, &c->ask));
	document(c, DOC("1", EVENT("A\\\"\\\\", "Preempt", "Scheduled", "\"pool_7\"", AT) ","
	    EVENT("B", "Terminate", "Scheduled", "\"pool_7\"", AT) ","
	    EVENT("C", "Terminate", "Started", "\"pool_7\"", "")));
	assert_int_equal(c->n, 3);
	assert_true(c->of->acknowledge(c->state, &c->ask));
	assert_string_equal(c->ask.method, "POST");
	o = json_loads(c->ask.body, 0, NULL);
	assert_int_equal(json_array_size(json_object_get(o, "StartRequests")), 2);
	assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(o,
	    "StartRequests"), 0), "EventId")), "A\"\\");
	json_decref(o);
	case_end(c);
}

/* More events than there is room for: the first ones are kept, nothing is overrun. */
static void test_many_events(void **state)
{
	struct notice_case *c = begin();
	char *text = malloc(200000);
	size_t len = 0;
	int i;

	(void)state;
	assert_non_null(text);
	len += (size_t)sprintf(text, "{\"DocumentIncarnation\":1,\"Events\":[");
	for (i = 0; i < 30; i++)
		len += (size_t)sprintf(text + len, "%s" EVENT("%0150d", "Preempt", "Scheduled", "\"pool_7\"",
		    AT), i == 0 ? "" : ",", i);
	(void)sprintf(text + len, "]}");
	document(c, text);
	assert_true(c->n <= 16);
	(void)c->of->acknowledge(c->state, &c->ask);
	assert_true(strlen(c->ask.body) < sizeof(c->ask.body));
	free(text);
	case_end(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_facts),
		cmocka_unit_test(test_name_is_asked_until_known),
		cmocka_unit_test(test_preempt),
		cmocka_unit_test(test_late_begin),
		cmocka_unit_test(test_incarnation),
		cmocka_unit_test(test_other_machines),
		cmocka_unit_test(test_maintenance),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_clock_of_the_machine_is_wrong),
		cmocka_unit_test(test_acknowledgement),
		cmocka_unit_test(test_many_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
