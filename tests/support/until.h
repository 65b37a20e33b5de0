/* Waiting for a condition, with a limit: tests never sleep for readiness. */
#ifndef EBB_TESTS_UNTIL_H
#define EBB_TESTS_UNTIL_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

static inline int64_t until_now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Evaluates `cond` every 2 ms, for at most `ms`; true when it became true. */
#define UNTIL(cond, ms)                                                       \
	({                                                                    \
		int64_t end_ = until_now_ms() + (ms);                         \
		struct timespec pause_ = {.tv_nsec = 2000000};                \
		bool ok_;                                                     \
		while (!(ok_ = (cond)) && until_now_ms() < end_)              \
			(void)nanosleep(&pause_, NULL);                       \
		ok_;                                                          \
	})

#endif
