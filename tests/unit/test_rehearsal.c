/* What a rehearsal draws, plans and reads, and how it compares and judges: all that
 * needs no processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "chaos/compare.h"
#include "chaos/draw.h"
#include "chaos/experiment.h"
#include "chaos/fleet.h"
#include "chaos/schedule.h"
#include "chaos/targets.h"
#include "chaos/trace.h"
#include "chaos/verdict.h"
#include "pipeline/problems.h"

static struct error e;

/* ---- targets ---- */

static void test_targets_are_read_strictly(void **state)
{
	static const char *const wrong[] = {
		"", "all", "ALL ", " ALL", "ALL()", "COUNT", "COUNT(", "COUNT()", "COUNT(0)", "COUNT(01)",
		"COUNT(257)", "COUNT(99999999999)", "COUNT(-1)", "COUNT(+1)", "COUNT(1", "COUNT(1))",
		"COUNT(1.5)", "COUNT( 1)", "count(1)", "PERCENT(0)", "PERCENT(101)", "PERCENT(50%)",
		"PERCENT(5 0)", "50%", "PERCENT(50)x",
	};
	static const struct {
		const char *text;
		struct targets want;
	} right[] = {
		{"ALL", {TARGETS_ALL, 0}}, {"COUNT(1)", {TARGETS_COUNT, 1}},
		{"COUNT(256)", {TARGETS_COUNT, 256}}, {"PERCENT(1)", {TARGETS_PERCENT, 1}},
		{"PERCENT(100)", {TARGETS_PERCENT, 100}},
	};
	struct targets t;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(targets_parse(wrong[i], &t, &e), ST_CONFIG);
		assert_non_null(strstr(e.text, "PERCENT(N)"));
	}
	for (i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
		struct buf b = {0};

		assert_int_equal(targets_parse(right[i].text, &t, &e), ST_OK);
		assert_int_equal(t.kind, right[i].want.kind);
		assert_int_equal(t.n, right[i].want.n);
		targets_say(&t, &b);
		assert_string_equal(b.data, right[i].text);
		buf_free(&b);
	}
}

static void test_targets_of_so_many(void **state)
{
	static const struct {
		struct targets t;
		size_t of;
		size_t want;
	} cases[] = {
		{{TARGETS_ALL, 0}, 5, 5}, {{TARGETS_ALL, 0}, 0, 0}, {{TARGETS_COUNT, 2}, 5, 2},
		{{TARGETS_COUNT, 9}, 5, 5}, {{TARGETS_COUNT, 9}, 0, 0}, {{TARGETS_PERCENT, 50}, 4, 2},
		{{TARGETS_PERCENT, 50}, 5, 3}, {{TARGETS_PERCENT, 50}, 3, 2}, {{TARGETS_PERCENT, 50}, 1, 1},
		{{TARGETS_PERCENT, 1}, 4, 1}, {{TARGETS_PERCENT, 12}, 12, 1}, {{TARGETS_PERCENT, 13}, 12, 2},
		{{TARGETS_PERCENT, 100}, 7, 7}, {{TARGETS_PERCENT, 1}, 0, 0},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(targets_number(&cases[i].t, cases[i].of), cases[i].want);
}

/* ---- drawing ---- */

static void test_draws_are_even_and_the_same_again(void **state)
{
	enum { N = 5, ROUNDS = 20000 };
	int seen[N] = {0};
	uint64_t a = 42;
	uint64_t b = 42;
	double sum = 0;
	int i;

	(void)state;
	for (i = 0; i < ROUNDS; i++) {
		int list[N] = {0, 1, 2, 3, 4};
		int again[N] = {0, 1, 2, 3, 4};

		draw_some(&a, list, N, 2);
		draw_some(&b, again, N, 2);
		assert_memory_equal(list, again, sizeof(list));
		assert_int_not_equal(list[0], list[1]);
		seen[list[0]]++;
		seen[list[1]]++;
	}
	/* Each is one of two in five: 8,000, with a deviation of 70. */
	for (i = 0; i < N; i++)
		assert_in_range(seen[i], 7600, 8400);
	for (i = 0; i < ROUNDS; i++)
		sum += (double)draw_wait_ms(&a, 1000);
	assert_in_range((uint64_t)(sum / ROUNDS), 960, 1040);
	assert_int_equal(draw_below(&a, 1), 0);
}

/* ---- the schedule ---- */

static struct chaos_action action_at(int64_t at_ms, int64_t every_ms, int64_t jitter_ms,
    int64_t mean_ms)
{
	return (struct chaos_action){.at_ms = at_ms, .every_ms = every_ms, .jitter_ms = jitter_ms,
	    .mean_ms = mean_ms};
}

static void test_the_order_of_actions(void **state)
{
	const struct chaos_action list[] = {action_at(500, 0, 0, 0), action_at(-1, 300, 0, 0),
	    action_at(100, 400, 0, 0), action_at(-1, 0, 0, 0)};
	static const struct {
		int64_t ms;
		size_t action;
	} want[] = {{100, 2}, {300, 1}, {500, 0}, {500, 2}, {600, 1}, {900, 1}, {900, 2}, {1200, 1},
	    {1300, 2}, {1500, 1}, {1700, 2}, {1800, 1}, {SCHEDULE_AT_MS, 3}};
	struct schedule *s = schedule_create(list, 4, 1);
	size_t i;
	size_t got;

	(void)state;
	for (i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		assert_int_equal(schedule_next_ms(s), want[i].ms);
		assert_false(schedule_take(s, want[i].ms - 1, &got));
		assert_true(schedule_take(s, want[i].ms, &got));
		assert_int_equal(got, want[i].action);
	}
	schedule_destroy(s);
	s = schedule_create(list, 0, 1);
	assert_true(schedule_next_ms(s) == SCHEDULE_NEVER);
	assert_false(schedule_take(s, SCHEDULE_NEVER, &got));
	schedule_destroy(s);
}

/* The moments at which it comes, up to n. */
static void moments(const struct chaos_action *a, uint64_t seed, int64_t *out, size_t n)
{
	struct schedule *s = schedule_create(a, 1, seed);
	size_t i;
	size_t got;

	for (i = 0; i < n; i++) {
		out[i] = schedule_next_ms(s);
		assert_true(schedule_take(s, out[i], &got));
	}
	schedule_destroy(s);
}

static void test_jitter_and_chance_come_from_the_seed(void **state)
{
	enum { N = 200 };
	const struct chaos_action jittered = action_at(-1, 1000, 200, 0);
	const struct chaos_action random = action_at(-1, 0, 0, 1000);
	int64_t a[N];
	int64_t b[N];
	bool early = false;
	bool late = false;
	size_t i;

	(void)state;
	moments(&jittered, 5, a, N);
	moments(&jittered, 5, b, N);
	assert_memory_equal(a, b, sizeof(a));
	for (i = 0; i < N; i++) {
		int64_t off = a[i] - (int64_t)(i + 1) * 1000; /* not summed up */

		assert_in_range(off + 200, 0, 400);
		early = early || off < -100;
		late = late || off > 100;
	}
	assert_true(early && late);
	moments(&jittered, 6, b, N);
	assert_memory_not_equal(a, b, sizeof(a));
	moments(&random, 5, a, N);
	for (i = 1; i < N; i++)
		assert_true(a[i] > a[i - 1]);
	/* 200 waits of a second on average, which deviates by 14 s. */
	assert_in_range(a[N - 1], 140000, 260000);
}

/* ---- traces ---- */

static void test_traces(void **state)
{
	static const char *const wrong[] = {
		"", "[]", "{", "{\"data\":[1]}", "{\"metadata\":{\"gap_seconds\":0},\"data\":[1]}",
		"{\"metadata\":{\"gap_seconds\":-5},\"data\":[1]}",
		"{\"metadata\":{\"gap_seconds\":1e300},\"data\":[1]}",
		"{\"metadata\":{\"gap_seconds\":\"600\"},\"data\":[1]}",
		"{\"metadata\":{\"gap_seconds\":600},\"data\":[]}",
		"{\"metadata\":{\"gap_seconds\":600},\"data\":{}}",
		"{\"metadata\":{\"gap_seconds\":600},\"data\":[1,-1]}",
		"{\"metadata\":{\"gap_seconds\":600},\"data\":[1.5]}",
		"{\"metadata\":{\"gap_seconds\":600},\"data\":[1000001]}",
	};
	static const char right[] = "{\"metadata\":{\"gap_seconds\":0.5},\"data\":[4,0,2]}";
	struct trace t;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(trace_parse(wrong[i], strlen(wrong[i]), &t, &e), ST_CONFIG);
		assert_non_null(strstr(e.text, "expected"));
		assert_null(t.available);
	}
	assert_int_equal(trace_parse(right, sizeof(right) - 1, &t, &e), ST_OK);
	assert_int_equal(t.gap_ms, 500);
	assert_int_equal(trace_at(&t, 0), 4);
	assert_int_equal(trace_at(&t, 1), 0);
	assert_int_equal(trace_at(&t, 2), 2);
	assert_int_equal(trace_at(&t, 1000), 2);
	trace_free(&t);
}

/* ---- experiments ---- */

static enum status read_experiment(const char *text, struct experiment *x)
{
	struct pipeline_problems problems = {0};
	enum status st;

	experiment_init(x);
	st = experiment_read(text, strlen(text), "x.yaml", &problems, x, &e);
	if (st == ST_OK)
		st = experiment_check(x, &e);
	pipeline_problems_free(&problems);
	return st;
}

static void test_a_whole_experiment(void **state)
{
	static const char text[] = "version: 1\npipeline: logs.yaml\nset: {size: 2KiB, to: \"a=b\"}\n"
	    "cloud: azure\nnotice_window: 5s\nreplace_after: 0s\nlease: 3s\ntimeout: 2m\nseed: 9\n"
	    "fleet:\n  - {pool: spot, workers: 3, slots: 2, zone: eastus-1}\n"
	    "  - {pool: steady, lifecycle: on-demand, workers: 1}\n"
	    "actions:\n"
	    "  - {do: notice, says: stop, at: 5s, targets: COUNT(2), pool: spot, zone: eastus-1}\n"
	    "  - {do: kill, every: 20s, jitter: 2s, lifecycle: on-demand}\n"
	    "  - {do: freeze, random: {mean: 30s}, for: 4s, targets: ALL}\n"
	    "  - {do: capacity, at: 1s}\n"
	    "  - {do: trace, file: t.json, speed: 60}\n";
	struct experiment x;
	const struct chaos_action *a;

	(void)state;
	assert_int_equal(read_experiment(text, &x), ST_OK);
	assert_string_equal(x.pipeline, "logs.yaml");
	assert_int_equal(x.n_set, 2);
	assert_string_equal(x.set[1], "to=a=b");
	assert_int_equal(x.cloud, 2);
	assert_int_equal(x.window_ms, 5000);
	assert_int_equal(x.replace_ms, 0);
	assert_int_equal(x.lease_ms, 3000);
	assert_int_equal(x.timeout_ms, 120000);
	assert_int_equal(x.seed, 9);
	assert_int_equal(experiment_machines(&x), 4);
	assert_int_equal(x.pool[0].slots, 2);
	assert_int_equal(x.pool[1].lifecycle, LIFECYCLE_ON_DEMAND);
	assert_int_equal(x.n_actions, 5);
	a = x.action;
	assert_true(a[0].kind == ACTION_NOTICE && a[0].stops && a[0].at_ms == 5000 &&
	    a[0].targets.kind == TARGETS_COUNT && a[0].targets.n == 2 && a[0].line == 14);
	assert_true(a[1].kind == ACTION_KILL && a[1].every_ms == 20000 && a[1].jitter_ms == 2000 &&
	    a[1].at_ms == -1 && a[1].lifecycle == LIFECYCLE_ON_DEMAND &&
	    a[1].targets.kind == TARGETS_PERCENT && a[1].targets.n == 50);
	assert_true(a[2].kind == ACTION_FREEZE && a[2].mean_ms == 30000 && a[2].for_ms == 4000 &&
	    a[2].targets.kind == TARGETS_ALL && a[2].lifecycle == LIFECYCLE_ANY);
	assert_true(a[3].kind == ACTION_CAPACITY && a[3].for_ms == 20000 &&
	    a[3].targets.kind == TARGETS_ALL && a[3].lifecycle == LIFECYCLE_SPOT);
	assert_true(a[4].kind == ACTION_TRACE && a[4].speed == 60 && a[4].at_ms == 0);
	experiment_free(&x);
}

static void test_windows_of_the_cloud(void **state)
{
	struct experiment x;

	(void)state;
	assert_int_equal(read_experiment("pipeline: p\nreal_windows: true\nfleet: [{pool: a}]\n"
	    "actions: [{do: notice}]\n", &x), ST_OK);
	assert_int_equal(x.window_ms, -1);
	experiment_free(&x);
	assert_int_equal(read_experiment("pipeline: p\nreal_windows: perhaps\nactions: [{do: kill}]\n",
	    &x), ST_CONFIG);
	assert_non_null(strstr(e.text, "x.yaml:2:15"));
	experiment_free(&x);
}

static void test_what_is_an_experiment(void **state)
{
	static const struct {
		const char *text;
		bool is;
	} cases[] = {
		{"pipeline: p\nactions: []\n", true}, {"actions: []\n", true},
		{"version: 1\nname: a\nstages: {}\n", false}, {"stages: {}\npipeline: p\n", false},
		{"", false}, {"- a\n", false}, {"pipeline", false}, {"{", false},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(experiment_is_one(cases[i].text, strlen(cases[i].text)), cases[i].is);
}

static void test_actions_that_do_not_go_together(void **state)
{
	static const struct {
		const char *action;
		const char *says;
	} cases[] = {
		{"{do: kill, every: 2s, random: {mean: 2s}}", "both"},
		{"{do: kill, jitter: 1s}", "less than"}, {"{do: kill, every: 1s, jitter: 1s}", "less than"},
		{"{do: notice, for: 1s}", "there is no \"for\""}, {"{do: kill, says: stop}", "only a notice"},
		{"{do: kill, file: t}", "belong to a trace"}, {"{do: kill, speed: 3}", "belong to a trace"},
		{"{do: trace}", "expected the file"}, {"{do: trace, file: t, every: 2s}", "no \"every\""},
		{"{do: trace, file: t, targets: ALL}", "\"targets\""},
		{"{do: capacity, targets: COUNT(1)}", "all spot machines"},
		{"{do: hibernate, lifecycle: on-demand}", "nobody takes"},
		{"{do: kill, random: {}}", "\"mean\" is missing"}, {"{do: kill, random: 3s}", "a map"},
	};
	struct experiment x;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[400];

		(void)snprintf(text, sizeof(text), "pipeline: p\nactions:\n  - %s\n", cases[i].action);
		assert_int_equal(read_experiment(text, &x), ST_CONFIG);
		assert_non_null(strstr(e.text, "x.yaml:3:"));
		assert_non_null(strstr(e.text, cases[i].says));
		experiment_free(&x);
	}
}

/* ---- comparing ---- */

static void put(const char *folder, const char *name, const char *text)
{
	char path[300];
	char *slash;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	slash = strrchr(path, '/');
	*slash = '\0';
	assert_int_equal(file_mkdirs(path, 0700, &e), ST_OK);
	*slash = '/';
	assert_int_equal(file_write_durable(path, text, strlen(text), 0600, &e), ST_OK);
}

static void test_trees_are_compared_whole(void **state)
{
	char top[] = "/tmp/ebb-test-compare-XXXXXX";
	char a[64];
	char b[64];
	struct compared c;

	(void)state;
	assert_non_null(mkdtemp(top));
	(void)snprintf(a, sizeof(a), "%s/a", top);
	(void)snprintf(b, sizeof(b), "%s/b", top);
	put(a, "same", "1");
	put(b, "same", "1");
	put(a, "x/y/deep", "22");
	put(b, "x/y/deep", "22");
	put(a, ".ebb-private.1/half", "nothing");
	assert_int_equal(compare_trees(a, b, &c, &e), ST_OK);
	assert_true(c.differences == 0 && c.files == 2 && c.bytes == 3);
	put(a, "x/more", "");
	put(b, "less", "");
	put(a, "longer", "12");
	put(b, "longer", "1");
	put(a, "other", "1");
	put(b, "other", "2");
	assert_int_equal(compare_trees(a, b, &c, &e), ST_OK);
	assert_int_equal(c.differences, 4);
	assert_string_equal(c.text.data, "less is only there without interruptions; longer has another "
	    "size; other has other bytes; x/more is only there with interruptions");
	buf_free(&c.text);
	assert_int_equal(compare_trees(a, "/nowhere/at/all", &c, &e), ST_NOT_FOUND);
	buf_free(&c.text);
	assert_int_equal(file_remove_tree(top, &e), ST_OK);
}

#define SHA_OF_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void test_manifests_are_compared_with_files(void **state)
{
	char top[] = "/tmp/ebb-test-manifest-XXXXXX";
	char manifest[64];
	char text[700];
	struct compared c = {0};

	(void)state;
	assert_non_null(mkdtemp(top));
	(void)snprintf(manifest, sizeof(manifest), "%s/m.json", top);
	put(top, "out/good", "abc");
	put(top, "out/changed", "abd");
	put(top, "out/cut", "ab");
	(void)snprintf(text, sizeof(text), "{\"ebb_manifest\":1,\"list\":[\n{\"files\":["
	    "{\"name\":\"out/good\",\"size\":3,\"sha256\":\"" SHA_OF_ABC "\"},"
	    "{\"name\":\"/else/where/out/changed\",\"size\":3,\"sha256\":\"" SHA_OF_ABC "\"}]},\n"
	    "{\"files\":[{\"name\":\"out/cut\",\"size\":3,\"sha256\":\"" SHA_OF_ABC "\"},"
	    "{\"name\":\"out/gone\",\"size\":3,\"sha256\":\"" SHA_OF_ABC "\"}]}]}\n");
	put(top, "m.json", text);
	assert_int_equal(compare_manifest(manifest, top, "/else/where", &c, &e), ST_OK);
	assert_int_equal(c.files, 4);
	assert_int_equal(c.differences, 3);
	assert_non_null(strstr(c.text.data, "changed has other bytes than its manifest says"));
	assert_non_null(strstr(c.text.data, "out/cut has another size"));
	assert_non_null(strstr(c.text.data, "out/gone is in the manifest and not there"));
	buf_free(&c.text);
	put(top, "m.json", "{\"list\":[{\"files\":[{\"name\":\"x\"}]}]}");
	assert_int_equal(compare_manifest(manifest, top, NULL, &c, &e), ST_CORRUPT);
	put(top, "m.json", "[1]");
	assert_int_equal(compare_manifest(manifest, top, NULL, &c, &e), ST_CORRUPT);
	assert_int_equal(file_remove_tree(top, &e), ST_OK);
}

/* ---- verdicts ---- */

static void test_a_verdict_in_three_forms(void **state)
{
	const struct blow blows[] = {
		{.kind = ACTION_NOTICE, .machine = 1, .pid = 7, .boot_ms = 1500, .deadline_ms = 3500},
		{.kind = ACTION_NOTICE, .machine = 2, .pid = 8, .boot_ms = 1600, .deadline_ms = 3600,
		    .missed = true},
		{.kind = ACTION_KILL, .machine = 3, .pid = 9, .boot_ms = 1700},
	};
	struct felt felt[] = {{20, 300}, {30, -1}, {-1, -1}};
	struct verdict v = {.blow = blows, .n_blows = 3, .felt = felt, .zero_ms = 1000, .wall_ms = 4000,
	    .reference_ms = -1, .seed = 3, .cloud = "aws", .machines = 3};
	struct buf text = {0};
	struct buf json = {0};
	struct buf xml = {0};
	int i;

	(void)state;
	for (i = 0; i < CHECKS; i++)
		verdict_set(&v, (enum check_name)i, CHECK_HOLDS, "fine");
	assert_true(verdict_holds(&v));
	verdict_set(&v, CHECK_BYTES, CHECK_SKIPPED, "none");
	assert_true(verdict_holds(&v));
	verdict_set(&v, CHECK_LOST, CHECK_FAILS, "<a&\"b\x01>");
	assert_false(verdict_holds(&v));
	verdict_text(&v, &text);
	assert_non_null(strstr(text.data, "verdict: FAILED\n"));
	assert_non_null(strstr(text.data, "2 notice (2 heard, 1 missed the deadline), 1 kill\n"));
	assert_non_null(strstr(text.data, "notice to safe: p50 0.3 s, max 0.3 s (1)\n"));
	verdict_json(&v, &json);
	assert_non_null(strstr(json.data,
	    "\"at_ms\":600,\"given_ms\":2000,\"missed\":true,\"heard_ms\":30}"));
	assert_non_null(strstr(json.data, "\"reference_ms\":null"));
	verdict_junit(&v, &xml);
	assert_non_null(strstr(xml.data, "tests=\"7\" failures=\"1\" errors=\"0\" skipped=\"1\""));
	assert_non_null(strstr(xml.data, "<failure message=\"&lt;a&amp;&quot;b\\x01&gt;\"/>"));
	buf_free(&text);
	buf_free(&json);
	buf_free(&xml);
	v.felt = NULL;
	verdict_free(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_targets_are_read_strictly),
		cmocka_unit_test(test_targets_of_so_many),
		cmocka_unit_test(test_draws_are_even_and_the_same_again),
		cmocka_unit_test(test_the_order_of_actions),
		cmocka_unit_test(test_jitter_and_chance_come_from_the_seed),
		cmocka_unit_test(test_traces),
		cmocka_unit_test(test_a_whole_experiment),
		cmocka_unit_test(test_windows_of_the_cloud),
		cmocka_unit_test(test_what_is_an_experiment),
		cmocka_unit_test(test_actions_that_do_not_go_together),
		cmocka_unit_test(test_trees_are_compared_whole),
		cmocka_unit_test(test_manifests_are_compared_with_files),
		cmocka_unit_test(test_a_verdict_in_three_forms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
