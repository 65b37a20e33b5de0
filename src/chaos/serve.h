/* Metadata services of played machines, over HTTP: each machine on a port of its
 * own. Threads of its own answer; every function may be called from any thread,
 * but serve_destroy once and last. */
#ifndef EBB_CHAOS_SERVE_H
#define EBB_CHAOS_SERVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "chaos/fault.h"
#include "chaos/instance.h"

struct cloud;
struct command;

/* A request that was answered or could not be, or one that begins to wait for a
 * change. Texts live as long as the call. */
struct serve_record {
	bool waits;         /* it is not over: took_ms, status and fault mean nothing yet */
	int instance;       /* from 1 */
	int64_t wall_ms;    /* when it came */
	int64_t took_ms;    /* waiting included */
	const char *method;
	const char *path;   /* decoded */
	unsigned int status; /* 0: the connection was closed without an answer */
	enum fault fault;
};

enum { SERVE_COUNT_MAX = 256 };

struct serve_options {
	const struct cloud *cloud;
	int count;           /* of machines, 1 to SERVE_COUNT_MAX */
	const char *address; /* to listen at, as digits; NULL: 127.0.0.1 */
	int port;            /* of the first; the next ones follow. 0: any that are free */
	struct instance_options instance; /* texts must outlive the server */
	struct fault_options fault;
	/* Called once for each request at its end, and before that when it begins to wait, by
	 * one thread at a time; NULL: nobody wants to know. While it runs nothing is answered,
	 * and it must not call back into the server. */
	void (*record)(void *arg, const struct serve_record *r);
	void *arg;
};

struct serve;

/* Starts to listen and to answer. ST_CONFIG: options; ST_NOT_FOUND: libmicrohttpd
 * is not installed; ST_BUSY: a port is taken. Nothing is left running after a
 * failure. */
enum status serve_create(const struct serve_options *options, struct serve **out,
    struct error *e) MUST_USE;
/* Closes all connections, answered or not. NULL is fine. */
void serve_destroy(struct serve *s);

/* `instance` counts from 1. The endpoint is "http://127.0.0.1:1338" (an IPv6
 * address in brackets); with `scheme` false without the http://. */
int serve_port(const struct serve *s, int instance);
const char *serve_endpoint(const struct serve *s, int instance, bool scheme);
const char *serve_id(const struct serve *s, int instance);
/* An address that only this machine reaches. */
bool serve_is_loopback(const struct serve *s);

/* Does it now, to the instance that it names or to all; those who wait for a change
 * are answered within milliseconds. ST_CONFIG: this cloud cannot, and nothing was
 * done. */
enum status serve_apply(struct serve *s, const struct command *c, struct error *e) MUST_USE;
struct instance_seen serve_seen(struct serve *s, int instance);
/* The clock of `seen`: CLOCK_BOOTTIME in ms. */
struct moment serve_now(void);

#endif
