/* A request and its answer as the clouds' tables see them: no sockets. */
#ifndef EBB_CHAOS_HTTP_H
#define EBB_CHAOS_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

enum {
	HTTP_FIELDS_MAX = 48,     /* of query and of headers; what comes after them is not seen */
	HTTP_BODY_MAX = 16 << 10, /* of a request */
	HTTP_ADDED_MAX = 6,
	HTTP_TAG_MAX = 33,
};

struct http_field {
	const char *name;
	const char *value;
};

struct http_request {
	const char *method; /* HEAD comes as GET */
	const char *path;   /* decoded, without the query */
	struct http_field query[HTTP_FIELDS_MAX]; /* decoded */
	size_t n_query;
	struct http_field header[HTTP_FIELDS_MAX];
	size_t n_headers;
	const char *body;   /* may be NULL when empty */
	size_t body_len;
	int64_t since_ms;   /* when it came, in boot time */
	char waits_for[HTTP_TAG_MAX]; /* as the answer that let it wait said; "" at first */
};

struct http_answer {
	unsigned int status;
	const char *type;   /* a string constant */
	struct buf body;    /* freed by http_answer_free */
	struct {
		const char *name; /* a string constant */
		char value[160];
	} added[HTTP_ADDED_MAX];
	size_t n_added;
	bool wait;          /* ask again at the next change, at until_ms at the latest; the */
	int64_t until_ms;   /* rest means nothing. waits_for goes into the request */
	char waits_for[HTTP_TAG_MAX];
};

/* The first of that name, in any case; NULL when there is none. A query field
 * without a value is "". */
const char *http_header(const struct http_request *r, const char *name);
const char *http_query(const struct http_request *r, const char *name);

/* Sets status and content type and empties the body. */
void http_answer_set(struct http_answer *a, unsigned int status, const char *type);
/* Adds a header; what is over HTTP_ADDED_MAX is left out, a long value is cut. */
void http_answer_add(struct http_answer *a, const char *name, const char *value);
void http_answer_free(struct http_answer *a);

/* The first 16 bytes of a digest of the data, as 32 lower-case digits. False when
 * there is no memory. */
bool http_tag(const void *data, size_t len, char out[HTTP_TAG_MAX]) MUST_USE;

#endif
