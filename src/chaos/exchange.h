/* One HTTP request on its way through libmicrohttpd: collected from it, answered
 * into it. */
#ifndef EBB_CHAOS_EXCHANGE_H
#define EBB_CHAOS_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "chaos/fault.h"
#include "chaos/http.h"
#include "chaos/instance.h"
#include "chaos/mhd.h"

struct exchange {
	struct MHD_Connection *connection;
	void *owner;              /* whose machine it asks */
	struct http_request r;
	struct buf path;          /* what r points into */
	struct buf body;
	size_t came_bytes;        /* of body, kept or not */
	struct moment since;
	enum fault fault;
	unsigned int status;      /* of the answer; 0: none yet */
	bool begun;               /* the fault is drawn, and since and not_before_ms are set */
	int64_t not_before_ms;    /* boot time */

	/* While it waits, in the server's list; all under its lock. */
	struct exchange *next;
	struct exchange *before;
	bool waiting;
	bool on_change;           /* a change is a reason to look again */
	bool gone;                /* the client has closed, or the server ends */
	int64_t until_ms;
	int fd;
};

/* NULL without memory. */
struct exchange *exchange_create(struct MHD_Connection *c, const char *method, const char *path);
void exchange_destroy(struct exchange *x);

/* Takes a piece of the body; false: it is so long that the connection is not worth
 * keeping. Up to that, a body over HTTP_BODY_MAX is read and forgotten. */
bool exchange_add_body(struct exchange *x, const char *data, size_t len) MUST_USE;
/* The body was longer than HTTP_BODY_MAX, or there was no memory for it. */
bool exchange_is_too_long(const struct exchange *x);
/* Once the body is there: headers, query and body into r. */
void exchange_collect(struct exchange *x, const struct mhd *mhd);

/* Queues the answer, with the body that the fault asks for. */
enum MHD_Result exchange_send(struct exchange *x, const struct mhd *mhd,
    const struct http_answer *a) MUST_USE;

#endif
