/* A small process that outlives this one for a moment: if this one is killed, what it
 * has started is ended all the same, also what stands still and cannot end itself. */
#ifndef EBB_CHAOS_KEEPER_H
#define EBB_CHAOS_KEEPER_H

#include <stdint.h>

#include "base/status.h"

struct keeper {
	int fd;      /* the end that closes with this process; -1: none */
	int32_t pid;
};

/* Processes with this in their environment (a mark as of struct proctree, whose tail may
 * be any). To be called while this process has one thread. */
enum status keeper_start(const char *mark, struct keeper *out, struct error *e) MUST_USE;
/* It ends what is left, and itself. */
void keeper_stop(struct keeper *k);

#endif
