#include "chaos/targets.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

/* Digits and ")" to the end of the text, 1 to max. */
static bool targets_argument(const char *p, int max, int *out)
{
	int v = 0;

	if (*p < '1' || *p > '9')
		return false;
	for (; isdigit((unsigned char)*p); p++) {
		v = v * 10 + (*p - '0');
		if (v > max)
			return false;
	}
	*out = v;
	return strcmp(p, ")") == 0;
}

enum status targets_parse(const char *text, struct targets *out, struct error *e)
{
	static const struct {
		const char *begin;
		enum targets_kind kind;
		int max;
	} forms[] = {
		{"COUNT(", TARGETS_COUNT, TARGETS_COUNT_MAX}, {"PERCENT(", TARGETS_PERCENT, 100},
	};
	size_t i;

	*out = (struct targets){.kind = TARGETS_ALL};
	if (strcmp(text, "ALL") == 0)
		return ST_OK;
	for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		size_t len = strlen(forms[i].begin);

		out->kind = forms[i].kind;
		if (strncmp(text, forms[i].begin, len) == 0 &&
		    targets_argument(text + len, forms[i].max, &out->n))
			return ST_OK;
	}
	return error_set(e, ST_CONFIG, "\"%.40s\": expected ALL, COUNT(N) with N from 1 to %d, or "
	    "PERCENT(N) with N from 1 to 100, such as 'PERCENT(50)'", text, TARGETS_COUNT_MAX);
}

void targets_say(const struct targets *t, struct buf *out)
{
	if (t->kind == TARGETS_ALL)
		buf_str(out, "ALL");
	else
		buf_printf(out, "%s(%d)", t->kind == TARGETS_COUNT ? "COUNT" : "PERCENT", t->n);
}

size_t targets_number(const struct targets *t, size_t of)
{
	size_t n = of;

	if (t->kind == TARGETS_COUNT)
		n = (size_t)t->n;
	else if (t->kind == TARGETS_PERCENT)
		n = (of * (size_t)t->n + 50) / 100;
	if (n < 1)
		n = 1;
	return n < of ? n : of;
}
