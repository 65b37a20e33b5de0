/* The guardian's receiving side: cuts the worker's stream into requests. */
#ifndef EBB_WORKER_INBOX_H
#define EBB_WORKER_INBOX_H

#include <stdbool.h>

#include "base/status.h"

struct inbox;
struct request_list;

/* fd is borrowed. NULL when there is no memory. */
struct inbox *inbox_create(int fd) MUST_USE;
void inbox_destroy(struct inbox *in);

/* Takes what has arrived, without waiting, and adds it to the list. False when
 * the worker is gone or sends what no worker sends. */
bool inbox_read(struct inbox *in, struct request_list *out) MUST_USE;

/* True while there was no memory even for the head of a request: call
 * inbox_read again in a moment, whether or not fd is readable. */
bool inbox_stalled(const struct inbox *in);

#endif
