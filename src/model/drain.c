#include "model/drain.h"

enum { SAVE_UNKNOWN_MS = 1000, FINISH_MARGIN_MS = 100 };

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

enum ebb_stop_plan drain_plan(const struct drain_attempt *a, int64_t left_ms)
{
	int64_t remaining = drain_remaining_ms(a);
	int64_t save = a->save_ms > 0 ? a->save_ms + a->save_ms / 2 : SAVE_UNKNOWN_MS;

	if (remaining + remaining / 4 + FINISH_MARGIN_MS <= left_ms)
		return EBB_PLAN_FINISH;
	/* One that never saved may know how to; being told costs it nothing. */
	return save <= left_ms ? EBB_PLAN_CHECKPOINT : EBB_PLAN_HAND_BACK;
}

int64_t drain_budget_ms(int64_t grace_ms, int64_t reserve_ms)
{
	int64_t most = grace_ms / 4;

	return grace_ms - (reserve_ms < most ? reserve_ms : most);
}
