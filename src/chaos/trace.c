#include "chaos/trace.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static bool trace_gap(const json_t *root, int64_t *ms)
{
	const json_t *gap = json_object_get(json_object_get(root, "metadata"), "gap_seconds");
	double s = json_number_value(gap);

	*ms = s >= 0.001 && s <= 864000 ? (int64_t)(s * 1000) : 0;
	return *ms >= 1;
}

static enum status trace_fill(const json_t *data, struct trace *out, struct error *e)
{
	size_t i;

	out->n = json_array_size(data);
	out->available = mem_zero(out->n * sizeof(*out->available));
	if (out->available == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	for (i = 0; i < out->n; i++) {
		const json_t *one = json_array_get(data, i);
		json_int_t v = json_integer_value(one);

		if (!json_is_integer(one) || v < 0 || v > TRACE_MACHINES_MAX)
			return error_set(e, ST_CONFIG, "number %zu of \"data\" is none from 0 to %d: "
			    "expected how many machines there were", i + 1, TRACE_MACHINES_MAX);
		out->available[i] = (int32_t)v;
	}
	return ST_OK;
}

enum status trace_parse(const char *text, size_t len, struct trace *out, struct error *e)
{
	json_error_t why;
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	const json_t *data = json_object_get(root, "data");
	enum status st;

	memset(out, 0, sizeof(*out));
	if (root == NULL)
		st = error_set(e, ST_CONFIG, "line %d: %.200s; expected {\"metadata\":"
		    "{\"gap_seconds\":600},\"data\":[4,3,4]}", why.line, why.text);
	else if (!trace_gap(root, &out->gap_ms))
		st = error_set(e, ST_CONFIG, "expected the time between two numbers under metadata, "
		    "gap_seconds: 0.001 to 864000");
	else if (json_array_size(data) < 1 || json_array_size(data) > TRACE_TICKS_MAX)
		st = error_set(e, ST_CONFIG, "expected 1 to %d numbers of machines in the list \"data\"",
		    TRACE_TICKS_MAX);
	else
		st = trace_fill(data, out, e);
	json_decref(root);
	if (st != ST_OK)
		trace_free(out);
	return st;
}

void trace_free(struct trace *t)
{
	free(t->available);
	memset(t, 0, sizeof(*t));
}

int32_t trace_at(const struct trace *t, size_t tick)
{
	return t->available[tick < t->n ? tick : t->n - 1];
}
