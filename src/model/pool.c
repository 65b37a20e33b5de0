#include "model/pool.h"

enum { MINUTE_MS = 60000 };

struct pool_policy pool_policy_default(void)
{
	const struct pool_policy p = {
		.storm_hits = 3,
		.storm_within_ms = 10 * MINUTE_MS,
		.ban_ms = 5 * MINUTE_MS,
		.ban_max_ms = 60 * MINUTE_MS,
	};

	return p;
}

/* The ban after the nth hit of a storm, from 1. */
static int64_t ban_of(const struct pool_policy *p, size_t n)
{
	int64_t ban = p->ban_ms;

	for (; n > 1 && ban < p->ban_max_ms; n--)
		ban *= 2;
	return ban < p->ban_max_ms ? ban : p->ban_max_ms;
}

/* Hits of a storm that are enough for the longest ban. */
static int hits_to_longest(const struct pool_policy *p)
{
	int64_t ban = p->ban_ms;
	int n = 1;

	for (; ban > 0 && ban < p->ban_max_ms; n++)
		ban *= 2;
	return n;
}

int64_t pool_history_ms(const struct pool_policy *p)
{
	/* A hit whose ban may still hold, those of its storm that count, and those that
	 * make the first of them one. */
	return p->ban_max_ms + p->storm_within_ms * (hits_to_longest(p) + 1);
}

static int64_t hit_at(const int64_t *hits, size_t i, int64_t now_ms)
{
	return hits[i] < now_ms ? hits[i] : now_ms;
}

/* The last of storm_hits within storm_within_ms. */
static bool is_of_storm(const struct pool_policy *p, const int64_t *hits, size_t n, size_t i,
    int64_t now_ms)
{
	size_t first = i + (size_t)p->storm_hits - 1;

	return first < n &&
	    hit_at(hits, i, now_ms) - hit_at(hits, first, now_ms) <= p->storm_within_ms;
}

struct pool_view pool_judge(const struct pool_policy *p, const int64_t *hits, size_t n,
    int64_t now_ms)
{
	struct pool_view v = {0};
	size_t of_storm = 0;
	size_t i;

	if (n > POOL_HITS_MAX)
		n = POOL_HITS_MAX;
	/* From the oldest to the newest. */
	for (i = n; i-- > 0;) {
		int64_t at = hit_at(hits, i, now_ms);
		int64_t until;

		v.hits += now_ms - at <= p->storm_within_ms;
		of_storm = is_of_storm(p, hits, n, i, now_ms) ? of_storm + 1 : 0;
		until = of_storm == 0 ? 0 : at + ban_of(p, of_storm);
		if (until > v.banned_until_ms)
			v.banned_until_ms = until;
	}
	v.storm = v.hits >= p->storm_hits;
	if (v.banned_until_ms <= now_ms)
		v.banned_until_ms = 0;
	return v;
}
