/* What attempts tell of their stage: the suite that every ledger back end
 * passes. */
#include "contract/ledger_fix.h"

enum { TERM = 15 };

static struct ledger_past past_of(struct fix *f)
{
	struct ledger_past p;
	struct error err;

	OK(ledger_past(f->l, f->stage, TERM, &p, &err));
	return p;
}

static void ends(struct fix *f, const struct ledger_shard *s, struct ledger_attempt a)
{
	const struct retry_policy policy = retry_policy_default();
	struct shard now;
	struct error err;

	if (a.cause == CAUSE_DONE)
		OK(ledger_accept(f->l, s->row, &a, NULL, 0, NULL, &err));
	else
		OK(ledger_end(f->l, s->row, &a, &policy, false, 0, &now, &err));
}

static struct ledger_attempt came_to(const struct ledger_shard *s, enum cause cause, int64_t run_ms)
{
	return attempt_of(s->s.epoch, s->worker, cause, run_ms);
}

static void nothing_known(void **state)
{
	struct fix *f = *state;
	struct ledger_past none = {0};
	struct ledger_past p;
	struct ledger_shard s;
	struct error err;

	p = past_of(f);
	assert_memory_equal(&p, &none, sizeof(p));
	plan_many(f->l, f->stage, "i", 3);
	claim_n(f->l, f->stage, f->worker, 1, 1, &s);
	p = past_of(f);
	assert_memory_equal(&p, &none, sizeof(p));
	OK(ledger_past(f->l, f->stage + 77, TERM, &p, &err));
	assert_memory_equal(&p, &none, sizeof(p));
	ledger_shard_free(&s);
}

static void typical_time(void **state)
{
	static const int64_t ms[] = {20, 90000, 10, 30, 15};
	struct fix *f = *state;
	struct ledger_shard s[5];
	int i;

	plan_many(f->l, f->stage, "i", 10);
	claim_n(f->l, f->stage, f->worker, 5, 5, s);
	for (i = 0; i < 5; i++)
		ends(f, &s[i], came_to(&s[i], CAUSE_DONE, ms[i]));
	assert_int_equal(past_of(f).done, 5);
	assert_int_equal(past_of(f).done_ms, 20);
	assert_true(past_of(f).saved == 0 && past_of(f).stopped == 0);
	free_n(s, 5);
}

/* Of the last ones in the list's order, not of the first. */
static void recent_ones(void **state)
{
	enum { N = 700 };
	static struct ledger_shard s[N];
	struct fix *f = *state;
	struct error err;
	int i;

	plan_many(f->l, f->stage, "i", 2000);
	claim_n(f->l, f->stage, f->worker, N, N, s);
	OK(ledger_begin(f->l, &err));
	for (i = 0; i < N - 1; i++)
		ends(f, &s[i], came_to(&s[i], CAUSE_DONE, i));
	OK(ledger_commit(f->l, &err));
	assert_in_range(past_of(f).done, 10, 256);
	assert_in_range(past_of(f).done_ms, N - 256, N);
	free_n(s, N);
}

static void stopped_ones(void **state)
{
	struct fix *f = *state;
	struct ledger_attempt a;
	struct ledger_shard s;
	int i;

	plan_many(f->l, f->stage, "i", 1);
	for (i = 0; i < 4; i++) {
		claim_n(f->l, f->stage, f->worker, 1, 1, &s);
		a = came_to(&s, i < 3 ? CAUSE_INTERRUPTED : CAUSE_LOST, 500);
		a.exit_code = i == 1 ? 128 + TERM : -1;
		a.exit_signal = i == 0 ? TERM : i == 2 ? 9 : 0;
		ends(f, &s, a);
		ledger_shard_free(&s);
	}
	/* It is ready: what is known of it counts once it is at work again. */
	assert_int_equal(past_of(f).stopped, 0);
	claim_n(f->l, f->stage, f->worker, 1, 1, &s);
	assert_int_equal(past_of(f).stopped, 3);
	assert_int_equal(past_of(f).died, 2);
	assert_true(past_of(f).saved == 0 && past_of(f).done == 0);
	ledger_shard_free(&s);
}

static void saved_ones(void **state)
{
	static const struct {
		enum cause cause;
		int64_t kept_ms;
		int64_t checkpoint_ms;
		int64_t restore_ms;
	} ways[] = {
		{CAUSE_CHECKPOINTED, 0, 0, 0}, {CAUSE_INTERRUPTED, 5, 0, 0},
		{CAUSE_LOST, 5, 0, 0}, {CAUSE_DONE, 0, 700, 0}, {CAUSE_DONE, 0, 0, 5},
		{CAUSE_INTERRUPTED, 5, 300, 0},
	};
	enum { N = sizeof(ways) / sizeof(ways[0]) };
	struct fix *f = *state;
	struct ledger_shard s[N];
	size_t i;

	plan_many(f->l, f->stage, "i", N);
	claim_n(f->l, f->stage, f->worker, N, N, s);
	for (i = 0; i < N; i++) {
		struct ledger_attempt a = came_to(&s[i], ways[i].cause, 1000);

		a.kept_ms = ways[i].kept_ms;
		a.checkpoint_ms = ways[i].checkpoint_ms;
		a.restore_ms = ways[i].restore_ms;
		ends(f, &s[i], a);
	}
	free_n(s, N);
	claim_n(f->l, f->stage, f->worker, N, 4, s);
	assert_int_equal(past_of(f).saved, N);
	assert_int_equal(past_of(f).save_ms, 300);
	assert_int_equal(past_of(f).stopped, 0);
	assert_int_equal(past_of(f).done, 2);
	free_n(s, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(nothing_known), CASE(typical_time), CASE(recent_ones), CASE(stopped_ones),
		CASE(saved_ones),
	};

	return RUN_FOR_ALL(tests);
}
