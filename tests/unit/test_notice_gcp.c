/* What is asked of Google Cloud's metadata server, and what is made of the answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "notice_case.h"

enum { PREEMPTED = 0, REST = 1 };
#define WAIT "?wait_for_change=true&timeout_sec=60&last_etag="

static void google(struct notice_case *c, unsigned line, int status, const char *body,
    const char *etag)
{
	struct source_answer a = case_base(c);

	a.status = status;
	a.etag = etag;
	a.flavor_google = true;
	case_say(c, line, a, body, strlen(body));
}

static struct notice_case *begin(void)
{
	return case_begin(&source_gcp, "http://169.254.169.254");
}

static bool asks(const struct notice_case *c, const char *end)
{
	size_t len = strlen(c->ask.path);

	return len >= strlen(end) && strcmp(c->ask.path + len - strlen(end), end) == 0;
}

static void test_facts(void **state)
{
	struct notice_case *c = begin();

	(void)state;
	case_ask(c, REST);
	assert_string_equal(c->ask.path, "/computeMetadata/v1/instance/id");
	assert_true(case_has_header(c, "Metadata-Flavor: Google"));
	google(c, REST, 200, "4520031799277581759", "e");
	case_ask(c, REST);
	google(c, REST, 200, "projects/1/zones/europe-west4-a", "e");
	case_ask(c, REST);
	google(c, REST, 200, "projects/1/machineTypes/e2-medium", "e");
	case_ask(c, REST);
	google(c, REST, 200, "TRUE", "e");
	assert_int_equal(c->machines, 1);
	assert_string_equal(c->machine.node, "4520031799277581759");
	assert_string_equal(c->machine.zone, "europe-west4-a");
	assert_string_equal(c->machine.type, "e2-medium");
	assert_string_equal(c->machine.lifecycle, "spot");
	assert_int_equal(c->machine.life_until_boot_ms, 86400000);
	case_ask(c, REST);
	assert_true(asks(c, "/maintenance-event"));
	case_end(c);
}

static void test_facts_that_fail(void **state)
{
	struct notice_case *c = begin();
	int n = 0;

	(void)state;
	for (case_ask(c, REST); !asks(c, "/maintenance-event") && n < 50; n++) {
		google(c, REST, 503, "oops", "");
		assert_int_equal(case_ask(c, REST), 1000);
	}
	assert_int_equal(n, 12);
	assert_int_equal(c->machines, 1);
	assert_string_equal(c->machine.node, "");
	assert_int_equal(c->troubles, 4);
	google(c, REST, 200, "NONE", "e");
	assert_string_equal(c->trouble, "");
	case_end(c);
}

/* The notice does not wait for the facts, and comes as soon as it is there. */
static void test_preempted(void **state)
{
	struct notice_case *c = begin();

	(void)state;
	assert_int_equal(case_ask(c, PREEMPTED), 0);
	assert_true(asks(c, "/instance/preempted"));
	google(c, PREEMPTED, 200, "FALSE", "abc123");
	assert_int_equal(case_ask(c, PREEMPTED), 0);
	assert_true(asks(c, "/preempted" WAIT "abc123"));
	assert_true(c->ask.timeout_ms > 60000);
	case_pass(c, 41000);
	google(c, PREEMPTED, 200, "TRUE", "def");
	assert_int_equal(c->n, 1);
	assert_int_equal(c->event[0].kind, NOTICE_PREEMPTED);
	assert_int_equal(c->event[0].window_ms, 30000);
	assert_int_equal(c->event[0].deadline_boot_ms, 0);
	assert_int_equal(case_ask(c, PREEMPTED), 0);
	assert_true(asks(c, WAIT "def"));
	case_pass(c, 60000);
	google(c, PREEMPTED, 200, "TRUE", "def");
	assert_int_equal(c->n, 1);
	case_ask(c, PREEMPTED);
	case_pass(c, 5000);
	google(c, PREEMPTED, 200, "FALSE", "x");
	assert_int_equal(c->n, 2);
	assert_int_equal(c->event[1].kind, NOTICE_WITHDRAWN);
	assert_int_equal(c->event[1].was, NOTICE_PREEMPTED);
	case_end(c);
}

static void test_maintenance(void **state)
{
	struct notice_case *c = begin();
	int i;

	(void)state;
	for (i = 0; i < 4; i++) {
		case_ask(c, REST);
		google(c, REST, 404, "", "");
	}
	case_ask(c, REST);
	google(c, REST, 200, "NONE", "a");
	case_ask(c, REST);
	case_pass(c, 5000);
	google(c, REST, 200, "MIGRATE_ON_HOST_MAINTENANCE", "b");
	assert_int_equal(c->event[0].kind, NOTICE_MAINTENANCE);
	assert_int_equal(c->event[0].action, NOTICE_MIGRATE);
	assert_int_equal(c->event[0].deadline_boot_ms, 0);
	case_ask(c, REST);
	case_pass(c, 5000);
	google(c, REST, 200, "TERMINATE_ON_HOST_MAINTENANCE", "c");
	assert_int_equal(c->event[1].action, NOTICE_TERMINATE);
	assert_int_equal(c->event[1].deadline_boot_ms, c->boot_ms + 60000);
	case_ask(c, REST);
	case_pass(c, 5000);
	google(c, REST, 200, "NONE", "d");
	assert_int_equal(c->n, 3);
	assert_int_equal(c->event[2].was, NOTICE_MAINTENANCE);
	/* An older server has no such path. */
	case_ask(c, REST);
	case_pass(c, 5000);
	google(c, REST, 404, "", "");
	assert_int_equal(case_ask(c, REST), 60000);
	assert_int_equal(c->troubles, 0);
	case_end(c);
}

/* Who does not say that he is Google may be anybody. */
static void test_somebody_else(void **state)
{
	struct notice_case *c = begin();

	(void)state;
	case_ask(c, PREEMPTED);
	case_answer(c, PREEMPTED, 200, "TRUE");
	assert_int_equal(c->n, 0);
	assert_int_equal(c->troubles, 1);
	assert_int_equal(case_ask(c, PREEMPTED), 1000);
	case_end(c);
}

static void test_malformed(void **state)
{
	static const char *const bad[] = {"", "true", "TRUEE", "TRUE FALSE", "{}", "<html>", "\x80"};
	struct notice_case *c = begin();
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		case_ask(c, PREEMPTED);
		google(c, PREEMPTED, 200, bad[i], "e");
		assert_true(c->trouble[0] != '\0');
		assert_int_equal(case_ask(c, PREEMPTED), 1000);
		assert_true(asks(c, "/preempted")); /* not with that ETag */
	}
	assert_int_equal(c->n, 0);
	google(c, PREEMPTED, 200, "FALSE", "e&x=y");
	case_ask(c, PREEMPTED);
	assert_true(asks(c, "/preempted"));
	google(c, PREEMPTED, 200, "FALSE", "e HTTP/1.1\r\nX: y");
	case_ask(c, PREEMPTED);
	assert_true(asks(c, "/preempted"));
	case_end(c);
}

/* A server that answers at once instead of waiting is asked once a second. */
static void test_server_that_does_not_wait(void **state)
{
	static const char *const etags[] = {"same", "same", "", "other", "another"};
	struct notice_case *c = begin();
	int64_t begin_ms = c->boot_ms;
	size_t i;

	(void)state;
	case_ask(c, PREEMPTED);
	google(c, PREEMPTED, 200, "FALSE", "first");
	for (i = 0; i < 20; i++) {
		case_ask(c, PREEMPTED);
		google(c, PREEMPTED, 200, "FALSE", etags[i % 5]);
	}
	assert_true(c->boot_ms - begin_ms >= 15000);
	case_end(c);
}

/* A wait that breaks off is nothing to tell; that nobody is there is. */
static void test_broken_waits(void **state)
{
	struct notice_case *c = begin();

	(void)state;
	case_ask(c, PREEMPTED);
	google(c, PREEMPTED, 200, "FALSE", "e");
	case_ask(c, PREEMPTED);
	case_pass(c, 63000);
	case_fail(c, PREEMPTED, SOURCE_TIMED_OUT, "");
	assert_int_equal(c->troubles, 0);
	assert_int_equal(case_ask(c, PREEMPTED), 1000);
	case_fail(c, PREEMPTED, SOURCE_NO_ANSWER, "refused");
	assert_string_equal(c->trouble, "gcp: refused");
	/* The other conversation says the same, and it is said once. */
	case_ask(c, REST);
	case_fail(c, REST, SOURCE_TIMED_OUT, "");
	case_ask(c, PREEMPTED);
	case_fail(c, PREEMPTED, SOURCE_NO_ANSWER, "refused");
	assert_int_equal(c->troubles, 1);
	case_ask(c, PREEMPTED);
	google(c, PREEMPTED, 200, "FALSE", "e");
	assert_string_equal(c->trouble, "");
	case_end(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_facts),
		cmocka_unit_test(test_facts_that_fail),
		cmocka_unit_test(test_preempted),
		cmocka_unit_test(test_maintenance),
		cmocka_unit_test(test_somebody_else),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_server_that_does_not_wait),
		cmocka_unit_test(test_broken_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
