#include "chaos/fault.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "chaos/http.h"

static const char *const fault_names[] = {"none", "status", "json", "huge", "endless", "type",
	"redirect", "silent"};

const char *fault_name(enum fault f)
{
	return fault_names[f];
}

static bool fault_find(const char *name, enum fault *out)
{
	enum fault f;

	for (f = FAULT_JSON; f <= FAULT_REDIRECT; f++) {
		if (strcmp(fault_names[f], name) == 0) {
			*out = f;
			return true;
		}
	}
	return false;
}

enum status fault_parse(const char *text, struct fault_options *out, struct error *e)
{
	const char *colon = strchr(text, ':');
	size_t len = colon == NULL ? strlen(text) : (size_t)(colon - text);
	char number[8] = "";
	enum status st;

	out->malformed = FAULT_NONE;
	out->malformed_percent = 100;
	if (fault_find(text, &out->malformed))
		return ST_OK;
	if (len < sizeof(number))
		memcpy(number, text, len);
	st = str_parse_count(number, 0, 100, &out->malformed_percent, e);
	if (st == ST_OK && (colon == NULL || fault_find(colon + 1, &out->malformed)))
		return ST_OK;
	return error_set(e, ST_CONFIG, "\"%.40s\": a share of 0 to 100 (percent), one of json, huge, "
	    "endless, type, redirect, or both as 10:huge were expected", text);
}

/* splitmix64, by Sebastiano Vigna: any seed is a good one. */
static uint64_t fault_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

enum fault fault_draw(const struct fault_options *o, bool is_token, uint64_t *state)
{
	/* The same number of draws whatever comes of them, so that a seed means the same
	 * sequence for one kind of fault whether or not the other is on. */
	bool error = (int64_t)(fault_random(state) % 100) < o->errors_percent;
	bool malformed = (int64_t)(fault_random(state) % 100) < o->malformed_percent;
	enum fault any = (enum fault)(FAULT_JSON + fault_random(state) % 5);

	if (o->drop_token && is_token)
		return FAULT_SILENT;
	if (error)
		return FAULT_STATUS;
	if (!malformed)
		return FAULT_NONE;
	return o->malformed == FAULT_NONE ? any : o->malformed;
}

void fault_apply(enum fault f, uint64_t *state, const char *path, struct http_answer *a)
{
	char place[160];

	switch (f) {
	case FAULT_STATUS:
		http_answer_set(a, fault_random(state) % 2 == 0 ? 500 : 503, "text/plain");
		buf_str(&a->body, "the service has a fault for now\n");
		break;
	case FAULT_JSON:
		buf_cut(&a->body, a->body.len / 2);
		break;
	case FAULT_TYPE:
		http_answer_set(a, 200, "text/html; charset=utf-8");
		buf_str(&a->body, "<!DOCTYPE html><html><body>Please log in.</body></html>\n");
		break;
	case FAULT_REDIRECT:
		http_answer_set(a, 302, "text/html");
		/* Each leads one further, so that no client can tell a circle by the URL. */
		(void)snprintf(place, sizeof(place), "/moved/%u%.120s",
		    (unsigned int)(fault_random(state) % 1000000),
		    strncmp(path, "/moved/", 7) == 0 ? "/" : path);
		http_answer_add(a, "Location", place);
		break;
	case FAULT_NONE:
	case FAULT_HUGE:
	case FAULT_ENDLESS:
	case FAULT_SILENT:
		break;
	}
}
