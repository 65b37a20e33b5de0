/* Storms and bans: a table, and what must hold whatever the times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "model/pool.h"
#include "rng.h"

enum { MIN = 60000, DRAWN = 40, HITS = POOL_HITS_MAX + 50 };

/* Times in minutes, newest first; 0 ends them. */
static void judgements(void **state)
{
	static const struct {
		const char *what;
		int hits[8];
		int now;
		bool storm;
		int banned_until; /* 0: not */
	} table[] = {
		{"never", {0}, 100, false, 0},
		{"one", {100}, 100, false, 0},
		{"two at once", {100, 100}, 100, false, 0},
		{"the third makes it one", {100, 99, 98}, 100, true, 105},
		{"exactly so long", {100, 95, 90}, 100, true, 105},
		{"a minute more", {101, 95, 90}, 101, false, 0},
		{"the ban outlasts the quiet", {100, 95, 90}, 101, false, 105},
		{"and is over", {100, 99, 98}, 105, true, 0},
		{"twice as long", {101, 100, 99, 98}, 101, true, 111},
		{"four times", {102, 101, 100, 99, 98}, 102, true, 122},
		{"eight times", {103, 102, 101, 100, 99, 98}, 103, true, 143},
		{"at most an hour", {105, 104, 103, 102, 101, 100, 99, 98}, 105, true, 165},
		{"a hit that stands alone ends a storm", {200, 199, 198, 120, 100, 99, 98}, 200, true,
		    205},
		{"and does not end its ban", {120, 102, 101, 100, 99, 98}, 120, false, 122},
		{"of the future: now", {300, 299, 298}, 100, true, 105},
	};
	const struct pool_policy p = pool_policy_default();
	size_t i;
	size_t n;

	(void)state;
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		int64_t hits[8];
		struct pool_view v;

		for (n = 0; n < 8 && table[i].hits[n] != 0; n++)
			hits[n] = (int64_t)table[i].hits[n] * MIN;
		v = pool_judge(&p, hits, n, (int64_t)table[i].now * MIN);
		if (v.storm != table[i].storm ||
		    v.banned_until_ms != (int64_t)table[i].banned_until * MIN)
			fail_msg("%s: storm %d, until %lld", table[i].what, v.storm,
			    (long long)v.banned_until_ms / MIN);
	}
}

/* ---- what must hold ---- */

struct times {
	int64_t hit[HITS];
	size_t n;
	int64_t now;
};

/* Gaps of all sizes, so that storms begin and end. */
static struct times times_draw(struct rng *r)
{
	struct times t = {.n = rng_below(r, DRAWN + 1), .now = INT64_C(1000000000)};
	int64_t at = t.now - (int64_t)rng_below(r, rng_below(r, 2) == 0 ? 80 : 12) * MIN;
	size_t i;

	for (i = 0; i < t.n; i++) {
		t.hit[i] = at;
		at -= (int64_t)rng_below(r, rng_below(r, 3) == 0 ? 30 * MIN : 5 * MIN);
	}
	return t;
}

/* As people would count, forward in time, with no bound on what is looked at. */
static struct pool_view count_up(const struct pool_policy *p, const struct times *t)
{
	struct pool_view v = {0};
	int64_t ban = 0;
	size_t i;
	size_t k;

	for (i = t->n; i-- > 0;) {
		int near = 0;

		for (k = i; k < t->n; k++)
			near += t->hit[i] - t->hit[k] <= p->storm_within_ms;
		if (near < p->storm_hits)
			ban = 0;
		else if (ban == 0)
			ban = p->ban_ms;
		else
			ban = ban * 2 < p->ban_max_ms ? ban * 2 : p->ban_max_ms;
		if (ban > 0 && t->hit[i] + ban > v.banned_until_ms)
			v.banned_until_ms = t->hit[i] + ban;
		v.hits += t->now - t->hit[i] <= p->storm_within_ms;
	}
	v.storm = v.hits >= p->storm_hits;
	if (v.banned_until_ms <= t->now)
		v.banned_until_ms = 0;
	return v;
}

static void same(const struct pool_view *a, const struct pool_view *b, const char *what)
{
	if (a->storm != b->storm || a->banned_until_ms != b->banned_until_ms ||
	    a->hits != b->hits)
		fail_msg("%s: storm %d and %d, until %lld and %lld, hits %d and %d", what, a->storm,
		    b->storm, (long long)a->banned_until_ms, (long long)b->banned_until_ms, a->hits,
		    b->hits);
}

static void properties(void **state)
{
	const struct pool_policy p = pool_policy_default();
	struct rng r = {20260701};
	int storms = 0;
	int bans = 0;
	int round;

	(void)state;
	for (round = 0; round < 20000; round++) {
		struct times t = times_draw(&r);
		struct times other = t;
		struct pool_view v = pool_judge(&p, t.hit, t.n, t.now);
		struct pool_view w = count_up(&p, &t);
		size_t i;

		same(&v, &w, "counted by hand");
		storms += v.storm;
		bans += v.banned_until_ms != 0;
		assert_true(v.banned_until_ms == 0 || (v.banned_until_ms > t.now &&
		    v.banned_until_ms <= t.hit[0] + p.ban_max_ms));
		/* Another clock. */
		for (i = 0; i < t.n; i++)
			other.hit[i] += 12345;
		w = pool_judge(&p, other.hit, t.n, t.now + 12345);
		w.banned_until_ms -= w.banned_until_ms == 0 ? 0 : 12345;
		same(&v, &w, "on another clock");
		/* What is older than the history changes nothing. */
		for (i = 0; i < t.n && t.hit[i] > t.now - pool_history_ms(&p); i++)
			;
		w = pool_judge(&p, t.hit, i, t.now);
		same(&v, &w, "without what is old");
		/* One more hit never shortens a ban, nor ends a storm. */
		memmove(&other.hit[1], &t.hit[0], t.n * sizeof(t.hit[0]));
		other.hit[0] = t.now;
		w = pool_judge(&p, other.hit, t.n + 1, t.now);
		assert_true(w.banned_until_ms >= v.banned_until_ms && (w.storm || !v.storm));
	}
	/* The dice reached both sides. */
	assert_true(storms > 1000 && storms < 19000 && bans > 1000 && bans < 19000);
}

/* More than are looked at: the same as if all were. */
static void only_the_newest(void **state)
{
	const struct pool_policy p = pool_policy_default();
	struct rng r = {7};
	int round;

	(void)state;
	for (round = 0; round < 500; round++) {
		struct times t = {.n = HITS, .now = INT64_C(1000000000)};
		int64_t at = t.now;
		struct pool_view all;
		struct pool_view few;
		size_t i;

		for (i = 0; i < HITS; i++) {
			at -= (int64_t)rng_below(&r, (uint32_t)(round % 12 * MIN + 1));
			t.hit[i] = at;
		}
		all = count_up(&p, &t);
		few = pool_judge(&p, t.hit, t.n, t.now);
		assert_int_equal(all.storm, few.storm);
		assert_int_equal(all.banned_until_ms, few.banned_until_ms);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(judgements), cmocka_unit_test(properties),
		cmocka_unit_test(only_the_newest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
