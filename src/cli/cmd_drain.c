/* ebb drain: asks workers to finish what they can and to leave. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/sys.h"
#include "cli/common.h"

enum { DRAIN_LIST_MAX = 1024, LEFT_EVERY_MS = 20 };

struct drain_values {
	const char *state;
	const char *run;
	const char *reason;
	bool all;
	bool wait;
	int64_t deadline_ms;
};

#define DRAIN_AT(field) offsetof(struct drain_values, field)

static const struct option drain_options[] = {
	{0, "all", OPTION_FLAG, DRAIN_AT(all), NULL, "all workers"},
	{0, "run", OPTION_TEXT, DRAIN_AT(run), "NAME", "only those of this run"},
	{0, "deadline", OPTION_DURATION, DRAIN_AT(deadline_ms), "TIME",
	    "by when they are to be gone (default: their --grace); 0: hand everything back now",
	    .min = 0, .max = 86400000},
	{0, "reason", OPTION_TEXT, DRAIN_AT(reason), "TEXT", "for the run's history"},
	{0, "wait", OPTION_FLAG, DRAIN_AT(wait), NULL, "return when they have left"},
	{0, "state", OPTION_TEXT, DRAIN_AT(state), "DIR",
	    "the state folder (default $EBB_STATE, else .ebb)"},
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

#undef AT

/* "w2" is one worker of each run. */
static enum status must_be_one(struct common_view *view, const char *who, struct error *e)
{
	struct ledger_worker *list = mem_zero(DRAIN_LIST_MAX * sizeof(*list));
	int64_t run = 0;
	bool several = false;
	char label[24];
	size_t n = 0;
	size_t i;
	enum status st;

	if (list == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = ledger_workers(view->ledger, 0, list, DRAIN_LIST_MAX, &n, e);
	for (i = 0; st == ST_OK && i < n; i++) {
		(void)snprintf(label, sizeof(label), "w%d", list[i].number);
		if (strcmp(label, who) != 0)
			continue;
		several = several || (run != 0 && run != list[i].run);
		run = list[i].run;
	}
	free(list);
	if (st == ST_OK && several)
		st = error_set(e, ST_CONFIG, "several runs have a worker %.30s; say which with --run",
		    who);
	return st;
}

/* Its guardian holds the lock until the last child is gone. One that dies
 * meanwhile has left too, whoever buries it. */
static bool has_left(struct common_view *view, const struct ledger_worker *w)
{
	char lock[80];

	(void)snprintf(lock, sizeof(lock), "worker-%s", w->name);
	return state_lock_is_free(view->state, lock);
}

static enum status wait_until_left(struct common_view *view, int64_t run, struct error *e)
{
	struct ledger_worker *list = mem_zero(DRAIN_LIST_MAX * sizeof(*list));
	size_t n = 0;
	size_t i;
	enum status st = list == NULL ? error_set(e, ST_NO_MEMORY, "out of memory")
	    : ledger_workers(view->ledger, run, list, DRAIN_LIST_MAX, &n, e);

	for (i = 0; st == ST_OK && i < n; i++) {
		if (list[i].drain_boot_ms == 0)
			continue;
		while (!has_left(view, &list[i]))
			(void)poll(NULL, 0, LEFT_EVERY_MS);
	}
	free(list);
	return st;
}

static enum status ask_to_drain(struct common_view *view, const struct drain_values *v,
    const char *who, struct error *e)
{
	const struct ledger_drain d = {
		.who = who, .reason = v->reason,
		.deadline_boot_ms = v->deadline_ms < 0 ? 0
		    : sys_boot_ns() / 1000000 + v->deadline_ms,
	};
	int64_t run = v->run == NULL ? 0 : view->run.id;
	int64_t n;
	enum status st = run == 0 && who != NULL ? must_be_one(view, who, e) : ST_OK;

	if (st == ST_OK)
		st = ledger_worker_drain(view->ledger, run, &d, &n, e);
	if (st == ST_OK && n == 0 && who != NULL)
		st = error_set(e, ST_NOT_FOUND, "no worker or pool \"%.60s\" is at work%s%s; ebb "
		    "status RUN lists them", who, run == 0 ? "" : " on ",
		    run == 0 ? "" : view->run.name);
	if (st == ST_OK)
		log_line(LOG_INFO, n == 1 ? "1 worker is asked to drain"
		    : "%lld workers are asked to drain", (long long)n);
	return st == ST_OK && v->wait ? wait_until_left(view, run, e) : st;
}

static int drain_main(int argc, char **argv)
{
	struct drain_values v = {.deadline_ms = -1};
	struct common_view view = {0};
	struct error e;
	int code;
	const char *words[COMMON_WORDS_MAX + 1];
	enum status st;

	if (!common_parse(&verb_drain, argc, argv, &v, words, &code))
		return code;
	if ((words[0] == NULL) == !v.all)
		st = error_set(&e, ST_CONFIG, words[0] == NULL ? "whom? a worker, a pool, or --all"
		    : "either a worker or pool, or --all");
	else
		st = common_view_open(v.state, v.run, true, &view, &e);
	if (st != ST_OK)
		return common_fail(st, &e);
	st = ask_to_drain(&view, &v, words[0], &e);
	common_view_close(&view);
	return st == ST_OK ? EXIT_DONE : common_fail(st, &e);
}

const struct verb verb_drain = {
	.name = "drain",
	.max_words = 1,
	.usage = "ebb drain [options] WORKER|NODE|POOL\n"
	    "       ebb drain [options] --all",
	.summary = "ebb drain: ask workers to finish what they can, hand back the rest and leave",
	.text = "examples:\n"
	    "  ebb drain w2 --run r7\n"
	    "  ebb drain spot --deadline 90s --reason 'maintenance' --wait\n"
	    "  ebb drain --all\n"
	    "\n"
	    "WORKER is a name (w2) or process id as ebb status RUN lists them, NODE the machine of\n"
	    "some, where it is known. They stop as after TERM: no new shards, and they leave with\n"
	    "75 while work remains.\n",
	.options = drain_options,
	.run = drain_main,
};
