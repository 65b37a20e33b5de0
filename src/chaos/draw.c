#include "chaos/draw.h"

#include <math.h>

/* splitmix64, by Sebastiano Vigna. */
uint64_t draw_bits(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

uint64_t draw_below(uint64_t *state, uint64_t n)
{
	/* What lies beyond the last whole multiple would favour small numbers. */
	uint64_t most = UINT64_MAX - UINT64_MAX % n;
	uint64_t v;

	do
		v = draw_bits(state);
	while (v >= most);
	return v % n;
}

int64_t draw_wait_ms(uint64_t *state, int64_t mean_ms)
{
	/* In (0, 1]. */
	double u = ((double)(draw_bits(state) >> 11) + 1) / (double)(UINT64_C(1) << 53);
	double wait = -log(u) * (double)mean_ms;
	double most = (double)mean_ms * 100;

	return (int64_t)(wait < most ? wait : most);
}

void draw_some(uint64_t *state, int *list, size_t n, size_t take)
{
	size_t i;

	for (i = 0; i < take && i < n; i++) {
		size_t other = i + (size_t)draw_below(state, n - i);
		int swap = list[i];

		list[i] = list[other];
		list[other] = swap;
	}
}
