#include "chaos/http.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/hash.h"

static const char *http_field_of(const struct http_field *list, size_t n, const char *name)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (strcasecmp(list[i].name, name) == 0)
			return list[i].value == NULL ? "" : list[i].value;
	}
	return NULL;
}

const char *http_header(const struct http_request *r, const char *name)
{
	return http_field_of(r->header, r->n_headers, name);
}

const char *http_query(const struct http_request *r, const char *name)
{
	return http_field_of(r->query, r->n_query, name);
}

void http_answer_set(struct http_answer *a, unsigned int status, const char *type)
{
	a->status = status;
	a->type = type;
	buf_clear(&a->body);
}

void http_answer_add(struct http_answer *a, const char *name, const char *value)
{
	if (a->n_added == HTTP_ADDED_MAX)
		return;
	a->added[a->n_added].name = name;
	(void)snprintf(a->added[a->n_added].value, sizeof(a->added[0].value), "%s", value);
	a->n_added++;
}

void http_answer_free(struct http_answer *a)
{
	buf_free(&a->body);
}

bool http_tag(const void *data, size_t len, char out[HTTP_TAG_MAX])
{
	struct hash *h = hash_create();
	uint8_t digest[HASH_SIZE];
	int i;

	if (h == NULL)
		return false;
	hash_update(h, data, len);
	hash_final(h, digest);
	hash_destroy(h);
	for (i = 0; i < 16; i++)
		(void)snprintf(out + 2 * i, 3, "%02x", digest[i]);
	return true;
}
