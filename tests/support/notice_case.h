/* A source of notices (src/notice/source.h) that is driven by hand: a test reads the
 * question, gives the answer, and looks at what came of it. Clocks are the test's own. */
#ifndef EBB_TESTS_NOTICE_CASE_H
#define EBB_TESTS_NOTICE_CASE_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "notice/source.h"

enum { CASE_EVENTS = 32, CASE_BOOT_MS = 5000000 };
/* 2026-11-22T08:20:00Z */
#define CASE_UNIX_MS INT64_C(1795335600000)

struct notice_case {
	struct source_sink sink; /* first */
	const struct notice_source *of;
	void *state;
	int64_t boot_ms;
	int64_t unix_ms;         /* the machine's clock */
	int64_t date_ms;         /* the platform's; 0: it does not say */
	struct source_ask ask;
	struct notice event[CASE_EVENTS];
	size_t n;
	struct notice_machine machine;
	int machines;
	char trouble[256];
	int troubles;            /* times that something was said of trouble */
	int hints;
	char hint[256];
};

static inline void case_event(struct source_sink *s, const struct notice *n)
{
	struct notice_case *c = (struct notice_case *)s;

	assert(c->n < CASE_EVENTS);
	c->event[c->n++] = *n;
}

static inline void case_machine(struct source_sink *s, const struct notice_machine *m)
{
	struct notice_case *c = (struct notice_case *)s;

	c->machine = *m;
	c->machines++;
}

/* As watch.c: the same text is said once. */
static inline void case_trouble(struct source_sink *s, const char *text)
{
	struct notice_case *c = (struct notice_case *)s;

	if (strcmp(text, c->trouble) == 0)
		return;
	(void)snprintf(c->trouble, sizeof(c->trouble), "%s", text);
	c->troubles++;
}

static inline void case_hint(struct source_sink *s, const char *text)
{
	struct notice_case *c = (struct notice_case *)s;

	(void)snprintf(c->hint, sizeof(c->hint), "%s", text);
	c->hints++;
}

static inline struct notice_case *case_begin(const struct notice_source *of, const char *endpoint)
{
	const struct source_config config = {.endpoint = endpoint};
	struct notice_case *c = calloc(1, sizeof(*c));

	assert(c != NULL);
	c->sink = (struct source_sink){case_event, case_machine, case_trouble, case_hint};
	c->of = of;
	c->state = calloc(1, of->state_size);
	assert(c->state != NULL);
	c->boot_ms = CASE_BOOT_MS;
	c->unix_ms = CASE_UNIX_MS;
	c->date_ms = CASE_UNIX_MS;
	of->begin(c->state, &config);
	return c;
}

static inline void case_end(struct notice_case *c)
{
	if (c->of->end != NULL)
		c->of->end(c->state);
	free(c->state);
	free(c);
}

static inline void case_pass(struct notice_case *c, int64_t ms)
{
	c->boot_ms += ms;
	c->unix_ms += ms;
	if (c->date_ms != 0)
		c->date_ms += ms;
}

/* Waits until the next question is due; how long that took, and what it is. */
static inline int64_t case_ask(struct notice_case *c, unsigned line)
{
	int64_t wait;

	c->of->ask(c->state, line, c->boot_ms, &c->ask);
	wait = c->ask.at_boot_ms - c->boot_ms;
	if (wait <= 0)
		return 0;
	case_pass(c, wait);
	c->of->ask(c->state, line, c->boot_ms, &c->ask);
	return wait;
}

static inline struct source_answer case_base(const struct notice_case *c)
{
	return (struct source_answer){.body = "", .etag = "", .why = "", .now_boot_ms = c->boot_ms,
		.now_unix_ms = c->unix_ms, .date_unix_ms = c->date_ms};
}

/* Answers the question with these, of a copy of its own, so that reading beyond it is
 * seen. */
static inline void case_say(struct notice_case *c, unsigned line, struct source_answer a,
    const char *body, size_t len)
{
	char *copy = malloc(len + 1);

	assert(copy != NULL);
	memcpy(copy, body, len);
	copy[len] = '\0';
	a.body = copy;
	a.len = len;
	c->of->answer(c->state, line, &a, &c->sink);
	free(copy);
}

static inline void case_answer(struct notice_case *c, unsigned line, int status, const char *body)
{
	struct source_answer a = case_base(c);

	a.status = status;
	case_say(c, line, a, body, strlen(body));
}

static inline void case_fail(struct notice_case *c, unsigned line, enum source_fault fault,
    const char *why)
{
	struct source_answer a = case_base(c);

	a.fault = fault;
	a.why = why;
	case_say(c, line, a, "", 0);
}

static inline bool case_has_header(const struct notice_case *c, const char *header)
{
	size_t i;

	for (i = 0; i < c->ask.n_headers; i++) {
		if (strcmp(c->ask.header[i], header) == 0)
			return true;
	}
	return false;
}

#endif
