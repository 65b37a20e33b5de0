/* An experiment file ("e" and the text), a trace ("t"), targets ("g"). What is refused
 * says what was expected; what is taken is within its bounds, and its schedule never
 * goes back in time. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "chaos/experiment.h"
#include "chaos/schedule.h"
#include "chaos/targets.h"
#include "chaos/trace.h"
#include "fuzz.h"
#include "pipeline/problems.h"

enum { TAKES = 200 };

static void check_schedule(const struct experiment *x)
{
	struct schedule *s = schedule_create(x->action, x->n_actions, (uint64_t)x->seed);
	int64_t last_ms = 0;
	size_t i;
	size_t n;

	MUST(s != NULL);
	for (n = 0; n < TAKES; n++) {
		int64_t next_ms = schedule_next_ms(s);

		if (next_ms == SCHEDULE_NEVER)
			break;
		MUST(next_ms >= 0);
		MUST(schedule_take(s, next_ms, &i) && i < x->n_actions);
		/* Jitter of two actions may cross; without any, time goes on. */
		MUST(x->action[i].jitter_ms > 0 || next_ms >= last_ms || x->n_actions > 1);
		last_ms = next_ms;
	}
	schedule_destroy(s);
}

static void check_experiment(const char *text, size_t len)
{
	struct pipeline_problems problems = {0};
	struct experiment x;
	struct error e;
	enum status st;
	size_t i;

	(void)experiment_is_one(text, len);
	experiment_init(&x);
	st = experiment_read(text, len, "x.yaml", &problems, &x, &e);
	MUST(st == ST_OK || st == ST_CONFIG);
	MUST((st == ST_OK) == (problems.n == 0));
	MUST(st == ST_OK || strlen(e.text) > 0);
	if (st == ST_OK && experiment_check(&x, &e) == ST_OK) {
		MUST(x.pipeline != NULL && x.n_actions > 0 && experiment_machines(&x) <= 64);
		for (i = 0; i < x.n_actions; i++)
			MUST(x.action[i].kind >= 0 && x.action[i].kind < ACTION_KINDS &&
			    x.action[i].for_ms > 0 && targets_number(&x.action[i].targets, 4) >= 1);
		check_schedule(&x);
	}
	experiment_free(&x);
	pipeline_problems_free(&problems);
}

static void check_trace(const char *text, size_t len)
{
	struct trace t;
	struct error e;

	if (trace_parse(text, len, &t, &e) == ST_OK)
		MUST(t.n >= 1 && t.gap_ms >= 1 && trace_at(&t, t.n) >= 0);
	else
		MUST(t.available == NULL);
	trace_free(&t);
}

static void check_targets(const char *text)
{
	struct targets t;
	struct buf b = {0};
	struct error e;

	if (targets_parse(text, &t, &e) == ST_OK) {
		targets_say(&t, &b);
		MUST(!b.failed && strcmp(b.data, text) == 0);
		MUST(targets_number(&t, 0) == 0 && targets_number(&t, 1) == 1);
	}
	buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = size == 0 ? NULL : mem_dup(data + 1, size - 1);

	if (text == NULL)
		return 0;
	if (data[0] == 'e')
		check_experiment(text, size - 1);
	else if (data[0] == 't')
		check_trace(text, size - 1);
	else
		check_targets(text);
	free(text);
	return 0;
}
