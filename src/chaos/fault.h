/* What may go wrong with a metadata service, drawn from a seed. Pure. */
#ifndef EBB_CHAOS_FAULT_H
#define EBB_CHAOS_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct http_answer;

enum fault {
	FAULT_NONE,
	FAULT_STATUS,   /* 500 or 503 */
	FAULT_JSON,     /* the body ends in the middle */
	FAULT_HUGE,     /* FAULT_HUGE_BYTES of body */
	FAULT_ENDLESS,  /* a body without an end */
	FAULT_TYPE,     /* a page for people instead of the answer, and says so */
	FAULT_REDIRECT, /* to another path of the same service, for ever */
	FAULT_SILENT,   /* no answer at all */
};

#define FAULT_HUGE_BYTES (INT64_C(64) << 20)

struct fault_options {
	int64_t latency_ms;
	int64_t errors_percent;
	int64_t malformed_percent;
	enum fault malformed; /* FAULT_NONE: any of the five */
	bool drop_token;      /* requests for a token get FAULT_SILENT */
	uint64_t seed;
};

const char *fault_name(enum fault f);
/* "10", "huge" (always), "10:huge" into malformed_percent and malformed. ST_CONFIG
 * says what was expected. */
enum status fault_parse(const char *text, struct fault_options *out, struct error *e) MUST_USE;
/* The fault of the next request; *state is from the seed, and changes. */
enum fault fault_draw(const struct fault_options *o, bool is_token, uint64_t *state);
/* Changes a finished answer; those with bodies of such lengths, and silence, are
 * the sender's to make. */
void fault_apply(enum fault f, uint64_t *state, const char *path, struct http_answer *a);

#endif
