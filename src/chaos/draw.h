/* Numbers drawn from a seed, the same ones again for the same seed. Pure. */
#ifndef EBB_CHAOS_DRAW_H
#define EBB_CHAOS_DRAW_H

#include <stddef.h>
#include <stdint.h>

/* The next 64 bits; *state begins as the seed, any of which is a good one. */
uint64_t draw_bits(uint64_t *state);
/* One of 0 to n-1, each as likely as the others; n at least 1. */
uint64_t draw_below(uint64_t *state, uint64_t n);
/* The wait for something that comes once in `mean_ms` on average, whenever it came
 * last (exponential); at most 100 times the mean. */
int64_t draw_wait_ms(uint64_t *state, int64_t mean_ms);
/* Brings `take` drawn ones of the list to its beginning, in any order. */
void draw_some(uint64_t *state, int *list, size_t n, size_t take);

#endif
