/* One table for each cloud: what its metadata service answers. */
#ifndef EBB_CHAOS_CLOUD_H
#define EBB_CHAOS_CLOUD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chaos/instance.h"

struct http_answer;
struct http_request;

struct cloud {
	const char *name;
	const char *type;        /* of an instance, unless told otherwise */
	const char *zone;
	int64_t window_ms;       /* from notice to end */
	bool has_rebalance;
	bool has_hibernate;
	const char *token_path;  /* of requests that a hop limit of 1 swallows; NULL: none */
	/* Clients find the service by these variables; NULL-terminated. `scheme`: the value
	 * is a URL, else host and port. */
	const char *const *variables;
	bool variables_are_urls;
	/* Writes the made-up id of the instance of that number. */
	void (*make_id)(int number, char out[INSTANCE_ID_MAX]);
	/* MUST fill `a`, which is zeroed, and may change the instance's state as the
	 * service would. MUST be ready for any text in the request. */
	void (*answer)(struct instance *i, const struct http_request *r, struct moment now,
	    struct http_answer *a);
};

extern const struct cloud cloud_aws;
extern const struct cloud cloud_gcp;
extern const struct cloud cloud_azure;

/* NULL when there is none of that name. */
const struct cloud *cloud_find(const char *name);

#endif
