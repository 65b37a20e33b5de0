/* The fixture of the suites that every ledger back end passes. A back end is a
 * line in the table at the end: its name and a function that makes the URL of a
 * new ledger in a folder. */
#ifndef EBB_TESTS_LEDGER_FIX_H
#define EBB_TESTS_LEDGER_FIX_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "contract/ledger_case.h"
#include "scratch.h"

struct backend_case {
	const char *name;
	void (*make_url)(const char *dir, char *url, size_t size);
};

struct fix {
	const struct backend_case *backend;
	char dir[SCRATCH_MAX];
	char url[SCRATCH_MAX + 32];
	struct ledger *l;
	struct ledger_run run;
	int64_t stage;
	int64_t worker;
};

static const struct backend_case *current;

static inline struct ledger *open_again(const struct fix *f)
{
	const struct ledger_options opt = {.busy_ms = 2000};
	struct ledger *l;
	struct error err;

	OK(ledger_open(f->url, &opt, &l, &err));
	return l;
}

/* Taking over from that stage; until the next call. */
static inline const struct ledger_carry *from(int64_t stage)
{
	static struct ledger_carry carry;

	carry = (struct ledger_carry){.stage = stage};
	return &carry;
}

static inline int set_up(void **state)
{
	const struct ledger_options opt = {.create = true, .busy_ms = 2000};
	struct fix *f = calloc(1, sizeof(*f));
	struct error err;

	assert_non_null(f);
	f->backend = current;
	scratch_make(f->dir);
	current->make_url(f->dir, f->url, sizeof(f->url));
	OK(ledger_open(f->url, &opt, &f->l, &err));
	f->run = run_make(f->l, "run");
	f->stage = f->run.stage;
	f->worker = worker_make(f->l, "w", f->run.id);
	*state = f;
	return 0;
}

static inline int tear_down(void **state)
{
	struct fix *f = *state;

	ledger_rollback(f->l);
	verify_ok(f->l);
	ledger_run_free(&f->run);
	ledger_close(f->l);
	scratch_remove(f->dir);
	free(f);
	return 0;
}

static inline void sqlite_url(const char *dir, char *url, size_t size)
{
	(void)snprintf(url, size, "sqlite:%s/ledger", dir);
}

static const struct backend_case backends[] = {
	{"sqlite", sqlite_url},
};

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

/* Runs the tests for each back end; the number that failed. */
#define RUN_FOR_ALL(tests) run_for_all((tests), sizeof(tests) / sizeof((tests)[0]))

static inline int run_for_all(const struct CMUnitTest *tests, size_t n)
{
	int failed = 0;
	size_t i;

	for (i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		current = &backends[i];
		failed += _cmocka_run_group_tests(current->name, tests, n, NULL, NULL);
	}
	return failed;
}

#endif
