/* Notices themselves, moments as platforms write them, and where a machine is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "model/notice.h"
#include "notice/dates.h"
#include "notice/detect.h"
#include "notice/json.h"
#include "scratch.h"

/* ---- moments ---- */

static void assert_moment(bool (*read)(const char *, int64_t *), const char *text, int64_t want)
{
	int64_t got = -7;

	if (read(text, &got) != (want != -1) || (want != -1 && got != want))
		fail_msg("\"%s\": %lld, not %lld", text, (long long)got, (long long)want);
	if (want == -1)
		assert_int_equal(got, -7);
}

static void test_rfc3339(void **state)
{
	static const char *const bad[] = {
		"", "2026", "2026-11-22", "2026-11-22T08:22:00", "2026-11-22 08:22:00Z",
		"2026-11-22T08:22:00Zx", " 2026-11-22T08:22:00Z", "2026-11-22T08:22:00.Z",
		"2026-11-31T08:22:00Z", "2026-02-29T08:22:00Z", "2100-02-29T00:00:00Z",
		"2026-00-10T08:22:00Z", "2026-13-10T08:22:00Z", "2026-11-00T08:22:00Z",
		"2026-11-22T24:00:00Z", "2026-11-22T08:60:00Z", "2026-11-22T08:22:61Z",
		"1969-12-31T23:59:59Z", "26-11-22T08:22:00Z", "12026-11-22T08:22:00Z",
		"2026-11-22T08:22:00+0100", "2026-11-22T08:22:00+24:00", "2026-11-22T08:22:00+01:60",
		"2026-11-22T08:22Z", "-026-11-22T08:22:00Z", "2026-+1-22T08:22:00Z", "2026-11-22T08:22:00+01",
	};
	size_t i;

	(void)state;
	assert_moment(date_rfc3339, "1970-01-01T00:00:00Z", 0);
	assert_moment(date_rfc3339, "2026-11-22T08:22:00Z", 1795335720000);
	assert_moment(date_rfc3339, "2026-11-22t08:22:00z", 1795335720000);
	assert_moment(date_rfc3339, "2026-11-22T09:22:00+01:00", 1795335720000);
	assert_moment(date_rfc3339, "2026-11-22T02:52:00-05:30", 1795335720000);
	assert_moment(date_rfc3339, "2026-11-22T08:22:00.5Z", 1795335720500);
	assert_moment(date_rfc3339, "2026-11-22T08:22:00.04Z", 1795335720040);
	assert_moment(date_rfc3339, "2026-11-22T08:22:00.123456789012345Z", 1795335720123);
	assert_moment(date_rfc3339, "2024-02-29T00:00:00Z", 1709164800000);
	assert_moment(date_rfc3339, "2000-02-29T00:00:00Z", 951782400000);
	assert_moment(date_rfc3339, "2016-12-31T23:59:60Z", 1483228800000);
	assert_moment(date_rfc3339, "9999-12-31T23:59:59Z", 253402300799000);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_moment(date_rfc3339, bad[i], -1);
}

static void test_http_dates(void **state)
{
	static const char *const bad[] = {
		"", "GMT", "Mon, ", "Mon,19 Sep 2016 18:29:47 GMT", "Mon, 19 Sep 2016 18:29:47",
		"Mon, 19 Sep 2016 18:29:47 UTC", "Mon, 19 Sep 16 18:29:47 GMT", "Mo, 19 Sep 2016 18:29:47 GMT",
		"n T, 19 Sep 2016 18:29:47 GMT", "Mon, 32 Sep 2016 18:29:47 GMT", "Mon, 0 Sep 2016 18:29:47 GMT",
		"31 Sep 2016 18:29:47 GMT", "19 sep 2016 18:29:47 GMT", "19 Se", "19 Sep", "19 Sep ",
		"19 Sep 2016 18:29:47 GMT ", "Monday, 19-Sep-16 18:29:47 GMT", "119 Sep 2016 18:29:47 GMT",
		"19 anF 2016 18:29:47 GMT",
	};
	size_t i;

	(void)state;
	assert_moment(date_http, "Mon, 19 Sep 2016 18:29:47 GMT", 1474309787000);
	assert_moment(date_http, "19 Sep 2016 18:29:47 GMT", 1474309787000);
	assert_moment(date_http, "1 Jan 2020 01:03:47 GMT", 1577840627000);
	assert_moment(date_http, "Wed, 29 Feb 2024 00:00:00 GMT", 1709164800000);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_moment(date_http, bad[i], -1);
}

/* ---- JSON from outside ---- */

static void test_json(void **state)
{
	static const char *const bad[] = {"", "{", "nul", "{} x", "{\"a\":1,}", "\"\xff\""};
	char deep[200];
	struct error e;
	json_t *o;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(notice_json_load(bad[i], strlen(bad[i]), &o, &e), ST_CONFIG);
		assert_null(o);
		assert_non_null(strstr(e.text, "it is no JSON: line 1"));
	}
	for (i = 30; i < 40; i++) {
		memset(deep, '[', i);
		memset(deep + i, ']', i);
		assert_int_equal(notice_json_load(deep, 2 * i, &o, &e), i <= NOTICE_JSON_DEPTH ?
		    ST_OK : ST_CONFIG);
		json_decref(o);
	}
	assert_string_equal(e.text, "it is nested deeper than 32 levels");
	/* Brackets in texts are no levels. */
	memset(deep, '[', sizeof(deep));
	memcpy(deep, "{\"\\\"", 4);
	memcpy(deep + 150, "\":{\"b\":\"c\"}}", 13);
	assert_int_equal(notice_json_load(deep, 162, &o, &e), ST_OK);
	json_decref(o);
	assert_int_equal(notice_json_load("{\"a\":{\"b\":{\"c\":\"x\"}}}", 22, &o, &e), ST_CONFIG);
	assert_int_equal(notice_json_load("{\"a\":{\"b\":{\"c\":\"x\"}}}", 21, &o, &e), ST_OK);
	assert_string_equal(notice_json_text(notice_json_at(o, "a.b"), "c"), "x");
	assert_string_equal(notice_json_text(notice_json_at(o, "a.x"), "c"), "");
	assert_null(notice_json_at(o, "a.b.c.d"));
	assert_string_equal(notice_json_text(o, "a"), "");
	json_decref(o);
}

/* ---- what a worker does about it ---- */

static struct notice make(enum notice_kind kind, enum notice_action action, int64_t deadline)
{
	struct notice n;

	notice_begin(&n, kind, "aws", 1000000, 1795335600000);
	n.action = action;
	n.deadline_boot_ms = deadline;
	return n;
}

static void assert_response(enum notice_kind kind, enum notice_action action, int64_t deadline,
    enum notice_response want)
{
	struct notice n = make(kind, action, deadline);

	assert_int_equal(notice_response(&n, 1000000), want);
}

static void test_responses(void **state)
{
	static const enum notice_action ends[] = {NOTICE_TERMINATE, NOTICE_STOP, NOTICE_HIBERNATE,
		NOTICE_REBOOT, NOTICE_REDEPLOY};
	static const enum notice_action stays[] = {NOTICE_FREEZE, NOTICE_MIGRATE, NOTICE_UNKNOWN_ACTION};
	struct notice n = make(NOTICE_WITHDRAWN, NOTICE_UNKNOWN_ACTION, 0);
	size_t i;

	(void)state;
	assert_response(NOTICE_TAKEN, NOTICE_UNKNOWN_ACTION, 0, NOTICE_DRAIN);
	assert_response(NOTICE_PREEMPTED, NOTICE_TERMINATE, 0, NOTICE_DRAIN);
	assert_response(NOTICE_REBALANCE, NOTICE_UNKNOWN_ACTION, 0, NOTICE_BE_CAREFUL);
	for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		assert_response(NOTICE_MAINTENANCE, ends[i], 1000000 + NOTICE_NEAR_MS, NOTICE_DRAIN);
		assert_response(NOTICE_MAINTENANCE, ends[i], 1000001 + NOTICE_NEAR_MS, NOTICE_END_OF_LIFE);
		assert_response(NOTICE_MAINTENANCE, ends[i], 0, NOTICE_GO_ON);
	}
	for (i = 0; i < sizeof(stays) / sizeof(stays[0]); i++)
		assert_response(NOTICE_MAINTENANCE, stays[i], 1000001, NOTICE_GO_ON);
	n.was = NOTICE_REBALANCE;
	assert_int_equal(notice_response(&n, 0), NOTICE_RELAX);
	n.was = NOTICE_MAINTENANCE;
	assert_int_equal(notice_response(&n, 0), NOTICE_RELAX);
	n.was = NOTICE_TAKEN;
	assert_int_equal(notice_response(&n, 0), NOTICE_GO_ON);
}

static struct notice maintenance(const char *id, int64_t deadline)
{
	struct notice n = make(NOTICE_MAINTENANCE, NOTICE_REBOOT, deadline);

	(void)snprintf(n.id, sizeof(n.id), "%s", id);
	return n;
}

static void test_kept_ends(void **state)
{
	struct notice ends = {.deadline_boot_ms = 0};
	struct notice n = maintenance("a", 5000000);

	(void)state;
	assert_true(notice_keep_end(&ends, &n));
	n = maintenance("b", 6000000);
	assert_false(notice_keep_end(&ends, &n)); /* the first one comes first */
	assert_int_equal(ends.deadline_boot_ms, 5000000);
	n = maintenance("a", 9000000);
	assert_true(notice_keep_end(&ends, &n)); /* put off */
	assert_int_equal(ends.deadline_boot_ms, 9000000);
	n = maintenance("b", 6000000);
	assert_true(notice_keep_end(&ends, &n));
	n.kind = NOTICE_WITHDRAWN;
	n.was = NOTICE_MAINTENANCE;
	(void)snprintf(n.id, sizeof(n.id), "a");
	assert_false(notice_keep_end(&ends, &n));
	assert_int_equal(ends.deadline_boot_ms, 6000000);
	(void)snprintf(n.id, sizeof(n.id), "b");
	(void)snprintf(n.source, sizeof(n.source), "gcp");
	assert_false(notice_keep_end(&ends, &n)); /* somebody else's */
	(void)snprintf(n.source, sizeof(n.source), "aws");
	assert_true(notice_keep_end(&ends, &n));
	assert_int_equal(ends.deadline_boot_ms, 0);
	assert_false(notice_keep_end(&ends, &n));
}

static void test_deadlines(void **state)
{
	struct notice n = make(NOTICE_TAKEN, NOTICE_TERMINATE, 1090000);

	(void)state;
	assert_int_equal(notice_deadline_boot_ms(&n, 5), 1090000);
	n.deadline_boot_ms = 0;
	assert_int_equal(notice_deadline_boot_ms(&n, 0), 1000000);
	assert_int_equal(notice_deadline_boot_ms(&n, 7000), 1007000);
	assert_int_equal(notice_deadline_boot_ms(&n, -1), 1030000);
	n.window_ms = 15000;
	assert_int_equal(notice_deadline_boot_ms(&n, -1), 1015000);
	n.action = NOTICE_HIBERNATE;
	assert_int_equal(notice_deadline_boot_ms(&n, 7000), 1000000);
}

static void test_names(void **state)
{
	enum notice_kind k;
	int i;

	(void)state;
	for (i = 0; i < NOTICE_KINDS; i++) {
		assert_true(notice_kind_of(notice_kind_name((enum notice_kind)i), &k));
		assert_int_equal(k, i);
	}
	assert_false(notice_kind_of("", &k));
	assert_false(notice_kind_of("Notice", &k));
	for (i = 0; i < NOTICE_ACTIONS; i++)
		assert_int_equal(notice_action_of(notice_action_name((enum notice_action)i)), i);
	assert_int_equal(notice_action_of("TERMINATE"), NOTICE_TERMINATE);
	assert_int_equal(notice_action_of("unknown"), NOTICE_UNKNOWN_ACTION);
	assert_int_equal(notice_action_of(""), NOTICE_UNKNOWN_ACTION);
}

/* Whatever a platform says, a line of JSON is one line, and JSON. */
static void test_json_of_hostile_words(void **state)
{
	static const char *const words[] = {"", "a\"b\\c", "two\nlines\r\n", "\x1b[2J", "\xff\xfe", "\xc3",
		"ok \xc3\xa9", "</script>"};
	struct notice n = make(NOTICE_WITHDRAWN, NOTICE_STOP, 1002500);
	struct buf line = {0};
	char long_text[1000];
	size_t i;

	(void)state;
	memset(long_text, 'x', sizeof(long_text));
	n.was = NOTICE_PREEMPTED;
	for (i = 0; i <= sizeof(words) / sizeof(words[0]); i++) {
		const char *w = i < sizeof(words) / sizeof(words[0]) ? words[i] : long_text;
		size_t len = w == long_text ? sizeof(long_text) : strlen(w);
		json_t *o;

		notice_text(n.id, sizeof(n.id), w, len);
		notice_text(n.detail, sizeof(n.detail), w, len);
		assert_true(strlen(n.detail) < sizeof(n.detail));
		buf_clear(&line);
		notice_json(&n, 1000000, &line);
		assert_null(strpbrk(line.data, "\n\r\x1b"));
		o = json_loads(line.data, 0, NULL);
		assert_string_equal(notice_json_text(o, "event"), "withdrawn");
		assert_string_equal(notice_json_text(o, "was"), "preempted");
		assert_string_equal(notice_json_text(o, "action"), "stop");
		assert_string_equal(notice_json_text(o, "detail"), n.detail);
		assert_true(json_real_value(json_object_get(o, "seconds_left")) == 2.5);
		assert_true(json_real_value(json_object_get(o, "deadline_unix")) == 1795335602.5);
		json_decref(o);
	}
	n.deadline_boot_ms = 0;
	buf_clear(&line);
	notice_json(&n, 1000000, &line);
	assert_non_null(strstr(line.data, "\"deadline_unix\":null,\"seconds_left\":null"));
	buf_free(&line);
}

static void test_words(void **state)
{
	struct notice n = make(NOTICE_TAKEN, NOTICE_TERMINATE, 1120000);
	struct buf line = {0};

	(void)state;
	notice_say(&n, 1000000, &line);
	assert_string_equal(line.data, "aws: this machine is going to be taken away (terminate) in 2m00s");
	buf_clear(&line);
	notice_say(&n, 2000000, &line);
	assert_string_equal(line.data, "aws: this machine is going to be taken away (terminate) now");
	buf_free(&line);
}

/* ---- where this is ---- */

static const char *const variables[] = {"AWS_EC2_METADATA_DISABLED",
	"AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EXECUTION_ENV", "GCE_METADATA_HOST",
	"AZURE_POD_IDENTITY_AUTHORITY_HOST", "KUBERNETES_SERVICE_HOST", "SLURM_JOB_ID",
	"ECS_CONTAINER_METADATA_URI_V4"};

static void put(const char *dir, const char *name, const char *text)
{
	char path[512];
	struct error e;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	*strrchr(path, '/') = '\0';
	assert_int_equal(file_mkdirs(path, 0755, &e), ST_OK);
	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(file_write_durable(path, text, strlen(text), 0644, &e), ST_OK);
}

static void assert_file_says(const char *name, const char *text, unsigned want)
{
	char dir[SCRATCH_MAX];

	scratch_make(dir);
	put(dir, name, text);
	assert_int_equal(notice_detect(dir), want);
	scratch_remove(dir);
}

static void test_detect_by_files(void **state)
{
	(void)state;
	assert_int_equal(notice_detect("/nonexistent"), 0);
	assert_file_says("class/dmi/id/sys_vendor", "Amazon EC2\n", NOTICE_ON_AWS);
	assert_file_says("class/dmi/id/sys_vendor", "Amazon EC2 and others\n", 0);
	assert_file_says("class/dmi/id/sys_vendor", "QEMU\nAmazon EC2\n", 0);
	assert_file_says("hypervisor/uuid", "EC2E1916-9099-7CAF-FD21-012345ABCDEF\n", NOTICE_ON_AWS);
	assert_file_says("class/dmi/id/product_name", "Google Compute Engine\n", NOTICE_ON_GCP);
	assert_file_says("class/dmi/id/product_name", "Google", 0);
	assert_file_says("class/dmi/id/chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77\n",
	    NOTICE_ON_AZURE);
	assert_file_says("class/dmi/id/sys_vendor", "Microsoft Corporation\n", 0);
}

static void assert_variable_says(const char *name, const char *value, unsigned want)
{
	(void)setenv(name, value, 1);
	assert_int_equal(notice_detect("/nonexistent"), want);
	(void)unsetenv(name);
}

static void test_detect_by_environment(void **state)
{
	char dir[SCRATCH_MAX];

	(void)state;
	assert_variable_says("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1", NOTICE_ON_AWS);
	assert_variable_says("AWS_EC2_METADATA_SERVICE_ENDPOINT", "", 0);
	assert_variable_says("GCE_METADATA_HOST", "127.0.0.1:1", NOTICE_ON_GCP);
	assert_variable_says("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://x", NOTICE_ON_AZURE);
	assert_variable_says("KUBERNETES_SERVICE_HOST", "10.0.0.1", NOTICE_ON_KUBERNETES);
	assert_variable_says("SLURM_JOB_ID", "7", NOTICE_ON_SLURM);
	assert_variable_says("ECS_CONTAINER_METADATA_URI_V4", "http://169.254.170.2/v4/x", NOTICE_ON_ECS);
	scratch_make(dir);
	put(dir, "class/dmi/id/sys_vendor", "Amazon EC2\n");
	(void)setenv("AWS_EC2_METADATA_DISABLED", "True", 1);
	assert_int_equal(notice_detect(dir), 0);
	(void)unsetenv("AWS_EC2_METADATA_DISABLED");
	/* On Fargate the machine's service is somebody else's. */
	(void)setenv("AWS_EXECUTION_ENV", "AWS_ECS_FARGATE", 1);
	assert_int_equal(notice_detect(dir), 0);
	(void)setenv("AWS_EXECUTION_ENV", "AWS_ECS_EC2", 1);
	assert_int_equal(notice_detect(dir), NOTICE_ON_AWS);
	scratch_remove(dir);
}

static void test_term(void **state)
{
	(void)state;
	assert_true(notice_term_is_notice(NOTICE_ON_KUBERNETES | NOTICE_ON_AWS));
	assert_true(notice_term_is_notice(NOTICE_ON_SLURM));
	assert_true(notice_term_is_notice(NOTICE_ON_ECS));
	assert_false(notice_term_is_notice(NOTICE_ON_AWS | NOTICE_ON_GCP | NOTICE_ON_AZURE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc3339),
		cmocka_unit_test(test_http_dates),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_responses),
		cmocka_unit_test(test_kept_ends),
		cmocka_unit_test(test_deadlines),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_json_of_hostile_words),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_detect_by_files),
		cmocka_unit_test(test_detect_by_environment),
		cmocka_unit_test(test_term),
	};
	size_t i;

	for (i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		(void)unsetenv(variables[i]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
