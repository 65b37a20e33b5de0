/* A folder of its own for a test, in memory where there is /dev/shm. */
#ifndef EBB_TESTS_SCRATCH_H
#define EBB_TESTS_SCRATCH_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"

enum { SCRATCH_MAX = 256 };

static inline void scratch_make(char dir[SCRATCH_MAX])
{
	(void)snprintf(dir, SCRATCH_MAX, "%s/ebb-test-XXXXXX",
	    access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (mkdtemp(dir) == NULL)
		abort();
}

static inline void scratch_remove(const char *dir)
{
	struct error e;

	if (file_remove_tree(dir, &e) != ST_OK) {
		fprintf(stderr, "%s\n", e.text);
		abort();
	}
}

#endif
