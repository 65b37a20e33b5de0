/* How many machines an action is for: ALL, COUNT(2), PERCENT(50). Pure. */
#ifndef EBB_CHAOS_TARGETS_H
#define EBB_CHAOS_TARGETS_H

#include <stddef.h>

#include "base/mem.h"
#include "base/status.h"

enum targets_kind { TARGETS_ALL, TARGETS_COUNT, TARGETS_PERCENT };

struct targets {
	enum targets_kind kind;
	int n; /* COUNT: at least 1; PERCENT: 1 to 100 */
};

enum { TARGETS_COUNT_MAX = 256 };

/* Exactly as written above, in capitals and without blanks. ST_CONFIG says what was
 * expected. */
enum status targets_parse(const char *text, struct targets *out, struct error *e) MUST_USE;
/* The way back. */
void targets_say(const struct targets *t, struct buf *out);
/* Of so many that there are. A share is rounded half up, but of any there are it is at
 * least one. */
size_t targets_number(const struct targets *t, size_t of);

#endif
