/* What is asked of a cluster about the own pod and its node, and what is made of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/file.h"
#include "notice_case.h"
#include "scratch.h"

enum { POD = 0, NODE = 1 };

#define META(uid, more) "\"metadata\":{\"name\":\"job-1\",\"uid\":\"" uid "\"" more "}"
#define POD_LINE(type, meta, status) "{\"type\":\"" type "\",\"object\":{\"kind\":\"Pod\"," meta \
	",\"spec\":{\"nodeName\":\"n1\",\"terminationGracePeriodSeconds\":45},\"status\":{" status "}}}"
#define NODE_LINE(type, labels, taints) "{\"type\":\"" type "\",\"object\":{\"metadata\":{\"name\":" \
	"\"n1\",\"labels\":{" labels "}},\"spec\":{\"taints\":[" taints "]}}}"
#define TAINT(key) "{\"key\":\"" key "\",\"effect\":\"NoSchedule\"}"
#define CONDITION(status) "\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"},{\"type\":" \
	"\"DisruptionTarget\",\"status\":\"" status "\",\"reason\":\"EvictionByEvictionAPI\",\"message\":" \
	"\"Eviction API: evicting\"}]"

static char folder[SCRATCH_MAX];

static void put(const char *name, const char *text)
{
	char path[SCRATCH_MAX + 32];
	struct error e;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_int_equal(file_write_durable(path, text, strlen(text), 0600, &e), ST_OK);
}

static int make_account(void **state)
{
	(void)state;
	scratch_make(folder);
	(void)setenv("EBB_SERVICE_ACCOUNT_DIR", folder, 1);
	(void)setenv("EBB_POD_NAME", "job-1", 1);
	(void)unsetenv("EBB_NODE_NAME");
	(void)unsetenv("NODE_NAME");
	put("namespace", "batch");
	put("token", "TOKEN1\n");
	return 0;
}

static int remove_account(void **state)
{
	(void)state;
	scratch_remove(folder);
	return 0;
}

static struct notice_case *begin(void)
{
	return case_begin(&source_kubernetes, "https://10.0.0.1:443");
}

static void line(struct notice_case *c, unsigned l, const char *text)
{
	struct source_answer a = case_base(c);

	a.status = 200;
	a.partial = true;
	case_say(c, l, a, text, strlen(text));
}

static void test_find(void **state)
{
	struct source_place p = {.ca_file = ""};
	struct error e;

	(void)state;
	(void)setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1", 1);
	(void)setenv("KUBERNETES_SERVICE_PORT", "6443", 1);
	assert_int_equal(source_kubernetes.find(&p, &e), ST_OK);
	assert_string_equal(p.endpoint, "https://10.96.0.1:6443");
	assert_non_null(strstr(p.ca_file, "/ca.crt"));
	(void)setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
	assert_int_equal(source_kubernetes.find(&p, &e), ST_OK);
	assert_string_equal(p.endpoint, "https://[fd00::1]:6443");
	(void)setenv("KUBERNETES_SERVICE_HOST", "evil.example/x?", 1);
	assert_int_equal(source_kubernetes.find(&p, &e), ST_NOT_FOUND);
	(void)setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1", 1);
	put("namespace", "../../x");
	assert_int_equal(source_kubernetes.find(&p, &e), ST_NOT_FOUND);
	(void)setenv("EBB_SERVICE_ACCOUNT_DIR", "/nonexistent", 1);
	assert_int_equal(source_kubernetes.find(&p, &e), ST_NOT_FOUND);
	assert_non_null(strstr(e.text, "automountServiceAccountToken"));
}

static void test_questions(void **state)
{
	struct notice_case *c = begin();

	(void)state;
	case_ask(c, POD);
	assert_string_equal(c->ask.path, "/api/v1/namespaces/batch/pods?watch=true"
	    "&fieldSelector=metadata.name%3Djob-1&timeoutSeconds=290");
	assert_true(case_has_header(c, "Authorization: Bearer TOKEN1"));
	assert_true(c->ask.by_lines && c->ask.timeout_ms > 290000);
	/* Its node is not known yet. */
	c->of->ask(c->state, NODE, c->boot_ms, &c->ask);
	assert_true(c->ask.at_boot_ms > c->boot_ms + INT64_C(1000000000));
	line(c, POD, POD_LINE("ADDED", META("u1", ""), ""));
	case_ask(c, NODE);
	assert_string_equal(c->ask.path, "/api/v1/nodes?watch=true&fieldSelector=metadata.name%3Dn1"
	    "&timeoutSeconds=290");
	/* The token is read anew for each question. */
	case_answer(c, POD, 200, "");
	put("token", "TOKEN2");
	case_ask(c, POD);
	assert_true(case_has_header(c, "Authorization: Bearer TOKEN2"));
	assert_int_equal(c->n + (size_t)c->troubles + (size_t)c->hints, 0);
	case_end(c);
	/* It is not sent where everybody can read it. */
	c = case_begin(&source_kubernetes, "http://127.0.0.1:8001");
	case_ask(c, POD);
	assert_int_equal(c->ask.n_headers, 0);
	case_end(c);
}

static void test_deletion(void **state)
{
	struct notice_case *c = begin();

	(void)state;
	case_ask(c, POD);
	line(c, POD, POD_LINE("ADDED", META("u1", ""), ""));
	c->unix_ms += 3600000; /* this machine's clock does not count */
	line(c, POD, POD_LINE("MODIFIED", META("u1", ",\"deletionTimestamp\":\"2026-11-22T08:20:30Z\","
	    "\"deletionGracePeriodSeconds\":30"), ""));
	assert_int_equal(c->n, 1);
	assert_int_equal(c->event[0].kind, NOTICE_TAKEN);
	assert_int_equal(c->event[0].action, NOTICE_TERMINATE);
	assert_int_equal(c->event[0].deadline_boot_ms, CASE_BOOT_MS + 30000);
	assert_string_equal(c->event[0].id, "u1");
	/* Said again by the next lines and watches: no news. */
	line(c, POD, POD_LINE("MODIFIED", META("u1", ",\"deletionTimestamp\":\"2026-11-22T08:20:30Z\""),
	    CONDITION("True")));
	case_answer(c, POD, 200, "");
	case_ask(c, POD);
	line(c, POD, POD_LINE("ADDED", META("u1", ",\"deletionTimestamp\":\"2026-11-22T08:20:30Z\""), ""));
	line(c, POD, POD_LINE("DELETED", META("u1", ""), ""));
	assert_int_equal(c->n, 1);
	case_end(c);
}

/* Whichever clock is wrong, it is not more than the grace. */
static void test_grace_is_the_limit(void **state)
{
	struct notice_case *c = begin();

	(void)state;
	c->date_ms = 0;
	c->unix_ms -= 3600000;
	line(c, POD, POD_LINE("ADDED", META("u1", ",\"deletionTimestamp\":\"2026-11-22T08:20:30Z\","
	    "\"deletionGracePeriodSeconds\":30"), ""));
	assert_int_equal(c->event[0].deadline_boot_ms, CASE_BOOT_MS + 30000);
	case_end(c);
}

static void test_disruption(void **state)
{
	struct notice_case *c = begin();

	(void)state;
	line(c, POD, POD_LINE("ADDED", META("u1", ""), CONDITION("False")));
	assert_int_equal(c->n, 0);
	line(c, POD, POD_LINE("MODIFIED", META("u1", ""), CONDITION("True")));
	line(c, POD, POD_LINE("MODIFIED", META("u1", ""), CONDITION("True")));
	assert_int_equal(c->n, 1);
	assert_int_equal(c->event[0].kind, NOTICE_TAKEN);
	assert_string_equal(c->event[0].detail, "EvictionByEvictionAPI: Eviction API: evicting");
	assert_int_equal(c->event[0].window_ms, 45000);
	line(c, POD, POD_LINE("MODIFIED", META("u1", ""), CONDITION("False")));
	assert_int_equal(c->n, 2);
	assert_int_equal(c->event[1].kind, NOTICE_WITHDRAWN);
	/* Then its deletion, with a moment. */
	line(c, POD, POD_LINE("MODIFIED", META("u1", ",\"deletionTimestamp\":\"2026-11-22T08:20:45Z\""),
	    CONDITION("True")));
	assert_int_equal(c->n, 4);
	assert_int_equal(c->event[3].deadline_boot_ms, CASE_BOOT_MS + 45000);
	case_end(c);
}

static void test_other_pods(void **state)
{
	struct notice_case *c = begin();

	(void)state;
	line(c, POD, "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"job-2\",\"uid\":\"x\","
	    "\"deletionTimestamp\":\"2026-11-22T08:20:30Z\"}}}");
	line(c, POD, POD_LINE("ADDED", META("u1", ""), ""));
	assert_int_equal(c->n, 0);
	/* Another one has taken the name. */
	line(c, POD, POD_LINE("ADDED", META("u2", ""), ""));
	assert_int_equal(c->n, 1);
	assert_int_equal(c->event[0].kind, NOTICE_PREEMPTED);
	case_end(c);
}

static void test_taints(void **state)
{
	struct notice_case *c = begin();

	(void)state;
	line(c, POD, POD_LINE("ADDED", META("u1", ""), ""));
	line(c, NODE, NODE_LINE("ADDED", "\"topology.kubernetes.io/zone\":\"eu-1a\","
	    "\"node.kubernetes.io/instance-type\":\"m5.large\","
	    "\"eks.amazonaws.com/capacityType\":\"SPOT\"",
	    TAINT("example.com/dedicated")));
	assert_int_equal(c->machines, 1);
	assert_string_equal(c->machine.node, "job-1");
	assert_string_equal(c->machine.zone, "eu-1a");
	assert_string_equal(c->machine.type, "m5.large");
	assert_string_equal(c->machine.lifecycle, "spot");
	assert_int_equal(c->n, 0);
	line(c, NODE, NODE_LINE("MODIFIED", "",
	    TAINT("aws-node-termination-handler/rebalance-recommendation")));
	assert_int_equal(c->n, 1);
	assert_int_equal(c->event[0].kind, NOTICE_REBALANCE);
	line(c, NODE, NODE_LINE("MODIFIED", "", TAINT("aws-node-termination-handler/spot-itn")));
	assert_int_equal(c->n, 3);
	assert_int_equal(c->event[1].kind + c->event[2].kind, NOTICE_TAKEN + NOTICE_WITHDRAWN);
	assert_non_null(strstr(c->event[1].detail, "of node n1"));
	line(c, NODE, NODE_LINE("MODIFIED", "", ""));
	assert_int_equal(c->n, 4);
	assert_int_equal(c->event[3].was, NOTICE_TAKEN);
	line(c, NODE, NODE_LINE("DELETED", "", ""));
	assert_int_equal(c->event[4].kind, NOTICE_PREEMPTED);
	assert_int_equal(c->machines, 1);
	case_end(c);
}

static void assert_lifecycle(const char *labels, const char *want)
{
	struct notice_case *c = begin();
	char text[1024];

	line(c, POD, POD_LINE("ADDED", META("u1", ""), ""));
	(void)snprintf(text, sizeof(text), NODE_LINE("ADDED", "%s", ""), labels);
	line(c, NODE, text);
	assert_string_equal(c->machine.lifecycle, want);
	case_end(c);
}

static void test_lifecycles(void **state)
{
	(void)state;
	assert_lifecycle("", "");
	assert_lifecycle("\"karpenter.sh/capacity-type\":\"on-demand\"", "on-demand");
	assert_lifecycle("\"karpenter.sh/capacity-type\":\"spot\"", "spot");
	assert_lifecycle("\"eks.amazonaws.com/capacityType\":\"ON_DEMAND\"", "on-demand");
	assert_lifecycle("\"cloud.google.com/gke-spot\":\"true\"", "spot");
	assert_lifecycle("\"kubernetes.azure.com/scalesetpriority\":\"spot\"", "spot");
	assert_lifecycle("\"kubernetes.azure.com/scalesetpriority\":7", "");
}

static void test_denied(void **state)
{
	struct notice_case *c = begin();

	(void)state;
	case_ask(c, POD);
	case_answer(c, POD, 403, "{\"kind\":\"Status\"}");
	assert_int_equal(c->hints, 1);
	assert_non_null(strstr(c->hint,
	    "Role with {apiGroups: [\"\"], resources: [pods], verbs: [watch]} in "
	    "the namespace batch"));
	assert_int_equal(c->troubles, 0);
	assert_int_equal(c->machines, 1); /* it has a name at least */
	assert_int_equal(case_ask(c, POD), 600000);
	case_answer(c, POD, 403, "");
	assert_int_equal(c->hints, 1);
	case_ask(c, POD);
	line(c, POD, POD_LINE("ADDED", META("u1", ""), ""));
	case_ask(c, NODE);
	case_answer(c, NODE, 403, "");
	assert_int_equal(c->hints, 2);
	assert_non_null(strstr(c->hint, "ClusterRole"));
	assert_int_equal(c->machines, 1);
	case_end(c);
}

/* A watch that ends, in whatever way, is begun anew. */
static void test_ends_of_a_watch(void **state)
{
	struct notice_case *c = begin();

	(void)state;
	case_ask(c, POD);
	line(c, POD, POD_LINE("ADDED", META("u1", ""), ""));
	case_pass(c, 290000);
	case_answer(c, POD, 200, "");
	assert_int_equal(case_ask(c, POD), 1000);
	line(c, POD, POD_LINE("ADDED", META("u1", ""), ""));
	line(c, POD,
	    "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\"}}");
	case_answer(c, POD, 200, "");
	assert_int_equal(case_ask(c, POD), 1000);
	case_answer(c, POD, 410, "{}");
	assert_int_equal(case_ask(c, POD), 1000);
	line(c, POD, POD_LINE("ADDED", META("u1", ""), ""));
	case_fail(c, POD, SOURCE_NO_ANSWER, "connection reset");
	assert_int_equal(case_ask(c, POD), 1000);
	assert_int_equal(c->troubles, 0);
	/* Before it has begun it is trouble. */
	case_fail(c, POD, SOURCE_NO_ANSWER, "connection refused");
	assert_string_equal(c->trouble, "kubernetes: connection refused");
	case_ask(c, POD);
	case_answer(c, POD, 401, "{}");
	assert_non_null(strstr(c->trouble, "answered with 401"));
	case_ask(c, POD);
	line(c, POD, POD_LINE("ADDED", META("u1", ""), ""));
	assert_string_equal(c->trouble, "");
	assert_int_equal(c->n, 0);
	case_end(c);
}

static void test_malformed(void **state)
{
	static const char *const bad[] = {"{", "[]", "null", "{\"type\":\"ADDED\"}", "{\"object\":{}}",
		"{\"type\":\"ADDED\",\"object\":[]}", "{\"type\":\"EXPLODED\",\"object\":{}}", "<html>"};
	static const char *const odd[] = {"{\"type\":\"ADDED\",\"object\":{}}",
		"{\"type\":\"BOOKMARK\",\"object\":{}}",
		POD_LINE("MODIFIED", META("u1", ",\"deletionTimestamp\":\"soon\""), ""),
		POD_LINE("MODIFIED", META("u1", ",\"deletionTimestamp\":7"), "\"conditions\":{\"type\":1}"), ""};
	struct notice_case *c = begin();
	size_t i;

	(void)state;
	line(c, POD, POD_LINE("ADDED", META("u1", ""), ""));
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		line(c, POD, bad[i]);
		assert_true(c->trouble[0] != '\0');
	}
	for (i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		line(c, POD, odd[i]);
		assert_string_equal(c->trouble, "");
	}
	assert_int_equal(c->n, 0);
	case_end(c);
}

static void test_no_such_pod(void **state)
{
	struct notice_case *c = begin();

	(void)state;
	case_ask(c, POD);
	case_answer(c, POD, 200, "");
	assert_string_equal(c->hint, "kubernetes: there is no pod job-1 in the namespace batch; set "
	    "EBB_POD_NAME from the downward API");
	case_ask(c, POD);
	case_answer(c, POD, 200, "");
	assert_int_equal(c->hints, 1);
	case_end(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_account, remove_account)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_find), TEST(test_questions), TEST(test_deletion), TEST(test_grace_is_the_limit),
		TEST(test_disruption), TEST(test_other_pods), TEST(test_taints), TEST(test_lifecycles),
		TEST(test_denied), TEST(test_ends_of_a_watch), TEST(test_malformed), TEST(test_no_such_pod),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
