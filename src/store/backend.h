/* For authors of store back ends: the table of functions. store.h says what
 * each does. MUST: be safe to call from several threads; leave nothing half
 * done under a final name. MUST NOT: replace a final name by anything but an
 * atomic step after checking it. */
#ifndef EBB_STORE_BACKEND_H
#define EBB_STORE_BACKEND_H

#include "store/store.h"

struct store_backend {
	const char *scheme; /* "file" */
	enum status (*open)(const char *rest, const char *private_dir, void **self,
	    struct error *e);
	void (*close)(void *self);
	enum status (*private_name)(void *self, const char *final, const char *leaf,
	    struct buf *out, struct error *e);
	enum status (*seal)(void *self, const char *private_name, struct store_sum *out,
	    struct error *e);
	enum status (*sync_names)(void *self, const char *const *names, size_t n,
	    struct error *e);
	enum status (*publish)(void *self, const char *private_name, const char *final,
	    const struct store_sum *mine, const struct store_sum *previous, struct error *e);
	enum status (*discard)(void *self, const char *private_name, struct error *e);
	enum status (*check)(void *self, const char *name, const struct store_sum *sum,
	    struct error *e);
};

extern const struct store_backend store_backend_file;

#endif
