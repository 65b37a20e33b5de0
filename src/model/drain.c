#include "model/drain.h"

enum {
	SAVE_UNKNOWN_MS = 1000,
	FINISH_MARGIN_MS = 100,
	LAST_LEAST_MS = 100,
	LAST_MOST_MS = 1000,
	LAST_MOST_TO_SAVE_MS = 30000,
	LEFT_FROM_MS = 120000, /* what is shorter will be done before a notice comes */
	LEFT_FOR_MS = 300000,
};

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

int64_t drain_remaining_ms(const struct drain_attempt *a)
{
	double left = 0;

	if (a->total > 0 && a->done > 0)
		left = (double)a->elapsed_ms * (double)(a->total - a->done) / (double)a->done;
	else if (a->typical_ms > a->elapsed_ms)
		left = (double)(a->typical_ms - a->elapsed_ms);
	else
		left = (double)a->elapsed_ms;
	if (left < 1)
		return 1;
	return left > 9e15 ? INT64_MAX / 8 : (int64_t)left;
}

int64_t drain_last_ms(const struct drain_attempt *a)
{
	int64_t last = a->saving == DRAIN_CANNOT_SAVE ? least(a->given_ms / 8, LAST_MOST_MS)
	    : least(a->given_ms / 4, LAST_MOST_TO_SAVE_MS);

	return last < LAST_LEAST_MS ? LAST_LEAST_MS : last;
}

/* With a quarter more than is expected. */
static bool fits(int64_t needs_ms, int64_t left_ms)
{
	return needs_ms + needs_ms / 4 + FINISH_MARGIN_MS <= left_ms;
}

static bool finishes(const struct drain_attempt *a, int64_t left_ms)
{
	return fits(drain_remaining_ms(a), left_ms);
}

bool drain_may_start(int64_t typical_ms, int64_t left_ms, int64_t whole_ms, int64_t reserve_ms)
{
	if (typical_ms <= 0 || typical_ms > INT64_MAX / 2 || !fits(typical_ms, whole_ms - reserve_ms))
		return left_ms > reserve_ms;
	return fits(typical_ms, left_ms - reserve_ms);
}

static int64_t half_more(int64_t ms)
{
	return ms + ms / 2;
}

/* What its like took may have been for many checkpoints, and the first one of all
 * may take any time: neither keeps it from finishing for long. */
static int64_t save_needs_ms(const struct drain_attempt *a)
{
	if (a->save_ms > 0)
		return half_more(a->save_ms);
	return least(a->like_save_ms > 0 ? half_more(a->like_save_ms) : SAVE_UNKNOWN_MS,
	    a->given_ms / 4);
}

static bool goes_on(const struct drain_attempt *a, int64_t left_ms)
{
	int64_t keep;

	if (a->saving == DRAIN_SAVES) {
		keep = save_needs_ms(a);
		/* Too late to save: what is nearly done may still be. */
		return finishes(a, left_ms > keep ? left_ms - keep : left_ms);
	}
	if (a->done == 0 && a->total == 0)
		return left_ms > drain_last_ms(a) || finishes(a, left_ms);
	if (a->saving == DRAIN_CANNOT_SAVE && left_ms > drain_last_ms(a))
		return drain_remaining_ms(a) <= left_ms;
	return finishes(a, left_ms);
}

enum ebb_stop_plan drain_plan(const struct drain_attempt *a, int64_t left_ms)
{
	int64_t save = a->save_ms > 0 ? half_more(a->save_ms) : SAVE_UNKNOWN_MS;

	if (goes_on(a, left_ms))
		return EBB_PLAN_FINISH;
	/* One that never saved may know how to; being told costs it nothing. */
	return a->saving != DRAIN_CANNOT_SAVE && save <= left_ms ? EBB_PLAN_CHECKPOINT
	    : EBB_PLAN_HAND_BACK;
}

bool drain_leaves_it(int64_t typical_ms, int64_t waited_ms)
{
	return typical_ms > LEFT_FROM_MS && waited_ms < LEFT_FOR_MS;
}

int64_t drain_budget_ms(int64_t grace_ms, int64_t reserve_ms)
{
	int64_t most = grace_ms / 4;

	return grace_ms - (reserve_ms < most ? reserve_ms : most);
}
