/* What a rehearsal says while it goes on. */
#ifndef EBB_CHAOS_TELL_H
#define EBB_CHAOS_TELL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct tell {
	int64_t began_ms; /* CLOCK_BOOTTIME */
	bool quiet;       /* nothing is said */
};

/* A line after the time since the beginning: "+2.0 s machine 1: killed". */
void tell_line(const struct tell *t, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
