/* What a worker that stops does with what it runs: a table of attempts and times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/drain.h"

#define F EBB_PLAN_FINISH
#define C EBB_PLAN_CHECKPOINT
#define H EBB_PLAN_HAND_BACK
#define MAY DRAIN_MAY_SAVE
#define SAVES DRAIN_SAVES
#define CANNOT DRAIN_CANNOT_SAVE

static void time_that_remains(void **state)
{
	static const struct {
		struct drain_attempt a;
		int64_t ms;
	} table[] = {
		{{.elapsed_ms = 1000, .done = 50, .total = 100}, 1000},
		{{.elapsed_ms = 1000, .done = 10, .total = 100, .typical_ms = 2000}, 9000},
		{{.elapsed_ms = 1000, .done = 100, .total = 100}, 1},
		{{.elapsed_ms = 1000, .typical_ms = 1500}, 500},
		{{.elapsed_ms = 1000, .done = 5, .typical_ms = 1500}, 500},
		/* Longer than its like, or nothing known: as long again. */
		{{.elapsed_ms = 1000, .typical_ms = 900}, 1000},
		{{.elapsed_ms = 1000}, 1000},
		{{.elapsed_ms = 1000, .total = 100}, 1000},
		{{.elapsed_ms = 0}, 1},
		{{.elapsed_ms = INT64_MAX / 2, .done = 1, .total = INT64_MAX}, INT64_MAX / 8},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (drain_remaining_ms(&table[i].a) != table[i].ms)
			fail_msg("row %zu: %lld", i, (long long)drain_remaining_ms(&table[i].a));
	}
}

static void last_moment(void **state)
{
	static const struct {
		int64_t given_ms;
		int64_t cannot_ms;
		int64_t may_ms;
	} table[] = {
		{0, 100, 100}, {400, 100, 100}, {3000, 375, 750}, {8000, 1000, 2000},
		{25000, 1000, 6250}, {115000, 1000, 28750}, {3600000, 1000, 30000},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct drain_attempt a = {.saving = DRAIN_CANNOT_SAVE,
		    .given_ms = table[i].given_ms};

		assert_int_equal(drain_last_ms(&a), table[i].cannot_ms);
		a.saving = DRAIN_MAY_SAVE;
		assert_int_equal(drain_last_ms(&a), table[i].may_ms);
	}
}

/* Columns: elapsed, done, total, typical, saving, save, like, given; left. Times in ms. */
static const struct {
	const char *what;
	struct drain_attempt a;
	int64_t left_ms;
	enum ebb_stop_plan plan;
} plans[] = {
	{"silent, runs for long: nothing to gain", {3600000, 0, 0, 0, CANNOT, 0, 0, 25000}, 25000, F},
	{"until a second is left", {3600000, 0, 0, 0, CANNOT, 0, 0, 25000}, 1001, F},
	{"the last moment", {3600000, 0, 0, 0, CANNOT, 0, 0, 25000}, 1000, H},
	{"nearly done then", {19500, 0, 0, 20000, CANNOT, 0, 0, 25000}, 1000, F},
	{"its like take far longer", {1000, 0, 0, 90000, CANNOT, 0, 0, 25000}, 20000, F},
	{"over its time already", {30000, 0, 0, 20000, CANNOT, 0, 0, 25000}, 2000, F},
	{"silent, may save", {3600000, 0, 0, 0, MAY, 0, 0, 25000}, 6251, F},
	{"a quarter to save in", {3600000, 0, 0, 0, MAY, 0, 0, 25000}, 6250, C},
	{"not if its like are done soon", {18000, 0, 0, 20000, MAY, 0, 0, 25000}, 6250, F},
	{"told late: no time", {3600000, 0, 0, 0, MAY, 0, 0, 25000}, 900, H},
	{"20 s, a drain at 10 s", {19900, 0, 0, 0, MAY, 0, 0, 25000}, 15100, F},
	{"no time was given", {50, 0, 0, 0, MAY, 0, 0, 225}, 100, H},
	{"no time at all", {5000, 0, 0, 0, CANNOT, 0, 0, 0}, 0, H},

	{"saves, runs for long", {60000, 0, 0, 0, SAVES, 2000, 0, 25000}, 25000, C},
	{"saves, and fits beside a save", {60000, 0, 0, 77500, SAVES, 2000, 0, 25000}, 25000, F},
	{"saves, and would use up its time", {60000, 0, 0, 77700, SAVES, 2000, 0, 25000}, 25000, C},
	{"no time to save", {60000, 0, 0, 0, SAVES, 20000, 0, 25000}, 25000, H},
	{"nor to save, but nearly done", {60000, 99, 100, 0, SAVES, 20000, 0, 25000}, 25000, F},
	{"its like save for long in all", {60000, 0, 0, 72000, SAVES, 0, 900000, 25000}, 25000, F},
	{"which is no reason to give up", {60000, 0, 0, 90000, SAVES, 0, 900000, 25000}, 25000, C},
	{"its like save fast", {60000, 0, 0, 78900, SAVES, 0, 200, 25000}, 25000, F},
	{"says how far, saves", {10000, 50, 100, 0, SAVES, 1000, 0, 25000}, 25000, F},
	{"says it is far off, saves", {10000, 10, 100, 0, SAVES, 1000, 0, 25000}, 25000, C},

	{"says how far, fits", {10000, 50, 100, 0, MAY, 0, 0, 25000}, 12600, F},
	{"says how far, barely", {10000, 50, 100, 0, MAY, 0, 0, 25000}, 12599, C},
	{"barely, but cannot save", {10000, 50, 100, 0, CANNOT, 0, 0, 25000}, 10000, F},
	{"not even barely", {10000, 50, 100, 0, CANNOT, 0, 0, 25000}, 9999, H},
	{"barely, at the last moment", {9000, 90, 100, 0, CANNOT, 0, 0, 25000}, 1000, H},
	{"counts, of nobody knows how many", {60000, 7, 0, 0, MAY, 0, 0, 25000}, 25000, C},
	{"the same, and its like are done soon", {60000, 7, 0, 61000, MAY, 0, 0, 25000}, 25000, F},
};

static void what_is_planned(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
		enum ebb_stop_plan plan = drain_plan(&plans[i].a, plans[i].left_ms);

		if (plan != plans[i].plan)
			fail_msg("%s: %d and not %d", plans[i].what, (int)plan, (int)plans[i].plan);
	}
}

/* The defect that this was made for: a drain 10 s after each start, a grace of
 * 30 s, and plain tasks of 20 s. Asked at each tick, such a one was told at 15.5 s. */
static void plain_tasks_get_done(void **state)
{
	static const enum drain_saving known[] = {DRAIN_MAY_SAVE, DRAIN_CANNOT_SAVE};
	size_t i;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct drain_attempt a = {.saving = known[i], .given_ms = drain_budget_ms(30000, 5000)};

		assert_int_equal(a.given_ms, 25000);
		for (a.elapsed_ms = 10000; a.elapsed_ms <= 20000; a.elapsed_ms += 50)
			assert_int_equal(drain_plan(&a, 35000 - a.elapsed_ms), EBB_PLAN_FINISH);
	}
}

/* Typical, left, whole, reserve. */
static void starts(void **state)
{
	static const struct {
		const char *what;
		int64_t typical_ms;
		int64_t left_ms;
		int64_t whole_ms;
		int64_t reserve_ms;
		bool may;
	} table[] = {
		{"nothing is known", 0, 5001, 86400000, 5000, true},
		{"the reserve is reached", 0, 5000, 86400000, 5000, false},
		{"fits with a quarter more", 100000, 130100, 86400000, 5000, true},
		{"does not", 100000, 130099, 86400000, 5000, false},
		{"is over already", 1, -1000, 86400000, 5000, false},
		{"would fit nowhere", 90000000, 50000, 86400000, 5000, true},
		{"until the reserve", 90000000, 5000, 86400000, 5000, false},
		{"fits into the whole, barely", 69115920, 86400000, 86400000, 5000, true},
		{"too late for it", 69115920, 80000000, 86400000, 5000, false},
		{"no bound of numbers", INT64_MAX, 6000, 86400000, 5000, true},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (drain_may_start(table[i].typical_ms, table[i].left_ms, table[i].whole_ms,
		    table[i].reserve_ms) != table[i].may)
			fail_msg("%s: %d expected", table[i].what, table[i].may);
	}
}

static void left_to_others(void **state)
{
	(void)state;
	assert_false(drain_leaves_it(0, 0));
	assert_false(drain_leaves_it(120000, 0));
	assert_true(drain_leaves_it(120001, 0));
	assert_true(drain_leaves_it(INT64_MAX, 299999));
	assert_false(drain_leaves_it(INT64_MAX, 300000));
}

static void budgets(void **state)
{
	(void)state;
	assert_int_equal(drain_budget_ms(30000, 5000), 25000);
	assert_int_equal(drain_budget_ms(4000, 5000), 3000);
	assert_int_equal(drain_budget_ms(0, 5000), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(time_that_remains), cmocka_unit_test(last_moment),
		cmocka_unit_test(what_is_planned), cmocka_unit_test(plain_tasks_get_done),
		cmocka_unit_test(budgets), cmocka_unit_test(starts),
		cmocka_unit_test(left_to_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
