#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#include "store/backend.h"

struct store {
	const struct store_backend *backend;
	void *self;
};

static const struct store_backend *const backends[] = {
	&store_backend_file,
};

static const struct store_backend *find_backend(const char *url, const char **rest)
{
	size_t i;

	*rest = url;
	for (i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		size_t len = strlen(backends[i]->scheme);

		if (strncmp(url, backends[i]->scheme, len) == 0 && url[len] == ':') {
			*rest = url + len + 1;
			return backends[i];
		}
	}
	return strstr(url, "://") == NULL ? &store_backend_file : NULL;
}

enum status store_open(const char *url, const char *private_dir, struct store **out,
    struct error *e)
{
	const char *rest;
	const struct store_backend *b = find_backend(url, &rest);
	struct store *s;
	enum status st;

	if (b == NULL)
		return error_set(e, ST_CONFIG, "no store for %s; known are: file:", url);
	s = mem_zero(sizeof(*s));
	if (s == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	s->backend = b;
	st = b->open(rest, private_dir, &s->self, e);
	if (st != ST_OK) {
		free(s);
		return st;
	}
	*out = s;
	return ST_OK;
}

void store_close(struct store *s)
{
	if (s == NULL)
		return;
	s->backend->close(s->self);
	free(s);
}

enum status store_private_name(struct store *s, const char *final, const char *leaf,
    struct buf *out, struct error *e)
{
	if (leaf[0] == '\0' || strchr(leaf, '/') != NULL)
		return error_set(e, ST_PERMANENT, "\"%s\" is no name for a private file", leaf);
	return s->backend->private_name(s->self, final, leaf, out, e);
}

enum status store_seal(struct store *s, const char *private_name, struct store_sum *out,
    struct error *e)
{
	return s->backend->seal(s->self, private_name, out, e);
}

enum status store_sync_names(struct store *s, const char *const *names, size_t n,
    struct error *e)
{
	return s->backend->sync_names(s->self, names, n, e);
}

enum status store_publish(struct store *s, const char *private_name, const char *final,
    const struct store_sum *mine, const struct store_sum *previous, struct error *e)
{
	return s->backend->publish(s->self, private_name, final, mine, previous, e);
}

enum status store_discard(struct store *s, const char *private_name, struct error *e)
{
	return s->backend->discard(s->self, private_name, e);
}

enum status store_check(struct store *s, const char *name, const struct store_sum *sum,
    struct error *e)
{
	return s->backend->check(s->self, name, sum, e);
}
