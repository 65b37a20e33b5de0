/* The guardian's lanes: at most one child in each, from its start to the
 * moment when nothing of its attempt can write any more. Private to the
 * guardian process. Times are CLOCK_MONOTONIC in ns, handed in. */
#ifndef EBB_WORKER_LANES_H
#define EBB_WORKER_LANES_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "worker/request.h"

struct lanes;
struct guardian_options;

/* opt and what it points to stay the caller's and must live as long. Requests
 * that have ended are added to *done. NULL with errno on failure. */
struct lanes *lanes_create(const struct guardian_options *opt, struct request_list *done) MUST_USE;
/* With children: they are forgotten and not ended. NULL is fine. */
void lanes_destroy(struct lanes *l);

bool lanes_have_free(const struct lanes *l);
bool lanes_have_child(const struct lanes *l);

/* Starts a request in a free lane, and takes it over. If it cannot be started
 * it is done at once. */
void lanes_start(struct lanes *l, struct request *take_req, int64_t now_ns);

/* Reaps all children that have ended. Call after every SIGCHLD. */
void lanes_reap(struct lanes *l, int64_t now_ns);

/* Time-outs, stderr caps, ends that are held back. */
void lanes_tick(struct lanes *l, int64_t now_ns);
/* When lanes_tick wants to be called; INT64_MAX: not at all. */
int64_t lanes_next_ns(const struct lanes *l);

/* Signals the group of a running request; false when no such runs. */
bool lanes_signal(struct lanes *l, uint64_t id, int sig);
/* The stop signal of a running request; `to` is an enum spec_stop_to. */
void lanes_stop_task(struct lanes *l, uint64_t id, int sig, int to);
void lanes_signal_all(struct lanes *l, int sig);
/* Kills all because the fence has passed, daemons of unknown attempts too. */
void lanes_fence(struct lanes *l);

/* Kills all descendants until there is none. False when some could not be
 * ended in limit_ms. `wait_mask` lets SIGCHLD through. */
bool lanes_end_all(struct lanes *l, const sigset_t *wait_mask, int limit_ms);

#endif
