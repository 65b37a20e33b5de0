/* How many machines there were to be had, at each tick: {"metadata":
 * {"gap_seconds":G},"data":[n,...]}. Pure. */
#ifndef EBB_CHAOS_TRACE_H
#define EBB_CHAOS_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { TRACE_BYTES_MAX = 16 << 20, TRACE_TICKS_MAX = 2000000, TRACE_MACHINES_MAX = 1000000 };

struct trace {
	int64_t gap_ms;
	int32_t *available;
	size_t n; /* at least 1 */
};

/* ST_CONFIG says what was expected; *out is empty then. */
enum status trace_parse(const char *text, size_t len, struct trace *out,
    struct error *e) MUST_USE;
void trace_free(struct trace *t); /* what it owns */
/* After the last tick it stays as it was then. */
int32_t trace_at(const struct trace *t, size_t tick);

#endif
