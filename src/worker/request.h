/* Between the worker and its guardian: a stream of requests one way, of
 * struct guardian_end the other way. Both ends are the same program, forked,
 * so the structs go as they are. Private to guardian*.c and what they use. */
#ifndef EBB_WORKER_REQUEST_H
#define EBB_WORKER_REQUEST_H

#include <stddef.h>
#include <stdint.h>

#include "worker/guardian.h"

enum { WIRE_BODY_MAX = 4 << 20 };

enum wire_kind { WIRE_SPAWN = 1, WIRE_KILL, WIRE_STOP, WIRE_KILL_ALL };
enum wire_flag { WIRE_STDIN = 1, WIRE_STDOUT_PATH = 2, WIRE_APPEND = 4, WIRE_ONE_LOG = 8 };

/* The body of WIRE_SPAWN: NUL-ended strings, path, stdout_path if that flag is
 * set, argc arguments, envc variables. With WIRE_STDIN a descriptor travels
 * beside the first byte of the head. The other kinds have no body. */
struct wire_head {
	uint32_t kind;
	uint32_t flags;
	uint32_t body_bytes;
	uint32_t argc;
	uint32_t envc;
	int32_t sig;
	int32_t lane;  /* -1: any */
	int32_t to;    /* WIRE_STOP: enum spec_stop_to */
	uint64_t id;
	int64_t row;
	int64_t epoch;
	int64_t timeout_ms;
	int64_t offset;
	int64_t memory;
	int64_t ran_ns; /* for the slot table, as the next */
	int32_t stage;
	int32_t spare;
};

/* One request on the guardian's side, from the inbox until its end is sent. */
struct request {
	struct request *next;
	struct wire_head head;
	char *body;    /* owned; NULL when there is none, or no memory for it */
	int stdin_fd;  /* owned; -1: none */
	int os_errno;  /* not 0: it cannot be started, and why */
	struct guardian_end end;
};

struct request_list { /* from {0} */
	struct request *first;
	struct request *last;
};

void request_list_add(struct request_list *l, struct request *r);
struct request *request_list_take(struct request_list *l); /* the first or NULL */

/* NULL when there is no memory. */
struct request *request_create(const struct wire_head *head) MUST_USE;
/* Closes the descriptor and frees the body: all that the end does not need. */
void request_drop_parts(struct request *r);
void request_destroy(struct request *r); /* NULL is fine */

/* The request's end, not started. */
void request_set_end(struct request *r, enum guardian_fate fate, int os_errno);

/* False when the body is not what the head says. */
bool request_body_ok(const struct request *r);
char *request_path(const struct request *r);
const char *request_stdout_path(const struct request *r); /* NULL: none */
char *request_args(const struct request *r); /* the first one; the rest follow it */

#endif
