/* A source of notices as a pure machine: it says what to ask next, and makes of the
 * answer what that means. Who does the asking is watch.c; so each source can be tested
 * and fuzzed without a network. Private to src/notice. */
#ifndef EBB_NOTICE_SOURCE_H
#define EBB_NOTICE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "model/notice.h"

struct json_t;

enum {
	SOURCE_LINES_MAX = 2,     /* conversations at once with one endpoint */
	SOURCE_HEADERS_MAX = 3,
	SOURCE_HEADER_SIZE = 8192,/* a token may be long */
	SOURCE_PATH_SIZE = 1024,
	SOURCE_ANSWER_MAX = 256 << 10,
};

/* What is to be asked. */
struct source_ask {
	int64_t at_boot_ms;       /* not before; only looked at by watch.c */
	int64_t timeout_ms;
	const char *method;       /* "GET", "PUT", "POST" */
	char path[SOURCE_PATH_SIZE];
	char header[SOURCE_HEADERS_MAX][SOURCE_HEADER_SIZE]; /* "Name: value" */
	size_t n_headers;
	char body[512];
	bool by_lines;            /* each line of the answer is one of its own, as it comes */
};

enum source_fault {
	SOURCE_ANSWERED = 0,
	SOURCE_NO_ANSWER,  /* no connection, or it broke; `why` says more */
	SOURCE_TIMED_OUT,
	SOURCE_TOO_LARGE,  /* cut off */
};

struct source_answer {
	enum source_fault fault;
	const char *why;       /* for people, when it was not answered */
	int status;            /* HTTP */
	const char *body;      /* len bytes and a NUL; may hold anything */
	size_t len;
	bool partial;          /* by_lines: more of the same answer follows */
	const char *etag;      /* "" */
	bool flavor_google;    /* Metadata-Flavor: Google */
	int64_t date_unix_ms;  /* the platform's clock now: its Date header, and what has passed
	                        * since that came; 0: none */
	int64_t now_boot_ms;   /* when it was there, on both clocks */
	int64_t now_unix_ms;
};

/* Where a source puts what it has found out. */
struct source_sink {
	void (*event)(struct source_sink *s, const struct notice *n);
	void (*machine)(struct source_sink *s, const struct notice_machine *m);
	/* For people; said once until it changes. "" when all is well again. */
	void (*trouble)(struct source_sink *s, const char *text);
	/* Worth knowing, and no trouble; said once by the source. */
	void (*hint)(struct source_sink *s, const char *text);
};

/* Where a source is that is not always in the same place. */
struct source_place {
	char endpoint[256];    /* with its scheme */
	char ca_file[256];     /* who signs its certificate; "": whom the system trusts */
};

struct source_config {
	const char *endpoint;  /* without a slash at its end */
	int64_t poll_ms;       /* 0: as the platform asks for */
};

struct notice_source {
	const char *name;
	const char *endpoint;      /* where it is when nothing else says so; NULL: see find */
	const char *endpoint_env;  /* the variable of the platform's own tools; NULL: none */
	size_t state_size;
	unsigned n_lines;
	/* NULL for one with an endpoint. ST_NOT_FOUND: it is not here, and the text says what
	 * is missing; where nobody named it, it is left out then. */
	enum status (*find)(struct source_place *out, struct error *e);
	void (*begin)(void *state, const struct source_config *c);
	/* The next question of a line; always fills *ask. */
	void (*ask)(void *state, unsigned line, int64_t now_boot_ms, struct source_ask *ask);
	void (*answer)(void *state, unsigned line, const struct source_answer *a,
	    struct source_sink *sink);
	/* The machine may be taken now. False: there is nothing to say. NULL: never. */
	bool (*acknowledge)(void *state, struct source_ask *ask);
	/* Secrets in it are wiped. NULL: there are none. */
	void (*end)(void *state);
};

extern const struct notice_source source_aws;
extern const struct notice_source source_gcp;
extern const struct notice_source source_azure;
extern const struct notice_source source_kubernetes;

/* ---- helpers of the sources (source.c) ---- */

/* A question with these parts and no headers. */
void source_get(struct source_ask *ask, const char *path, int64_t timeout_ms);
void source_header(struct source_ask *ask, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A notice as seen now, with its source's name. */
void source_notice(const struct source_answer *a, const char *source, enum notice_kind kind,
    struct notice *out);
/* Sets its deadline from a moment that the platform names. By the platform's own
 * clock (the Date of the answer), where it has said what time it is there: this machine's
 * may be wrong. Never further away than `most_ms`; what is past is now. */
void source_deadline(const struct source_answer *a, int64_t moment_unix_ms, int64_t most_ms,
    struct notice *n);
/* The answer as one short word (blanks around it cut off); false when it is anything
 * else: empty, long, or with bytes that are not printable ASCII. */
bool source_word(const struct source_answer *a, char *out, size_t size) MUST_USE;
/* The answer as JSON (json_decref); NULL when it is none. */
struct json_t *source_json(const struct source_answer *a) MUST_USE;
/* Describes an answer that is none of those that were expected. */
void source_complain(struct source_sink *sink, const char *name, const char *path,
    int64_t timeout_ms, const struct source_answer *a);

#endif
