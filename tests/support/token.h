/* Random tokens for slot tables. */
#ifndef EBB_TESTS_TOKEN_H
#define EBB_TESTS_TOKEN_H

#include <stdint.h>
#include <stdio.h>

#include "base/sys.h"
#include "worker/slots.h"

static inline void new_token(char token[SLOTS_TOKEN_SIZE])
{
	uint64_t r[2];

	sys_random(r, sizeof(r));
	(void)snprintf(token, SLOTS_TOKEN_SIZE, "%016llx%016llx", (unsigned long long)r[0],
	    (unsigned long long)r[1]);
}

#endif
