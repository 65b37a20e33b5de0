#include "worker/proc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

uint64_t proc_start_ticks(int32_t pid)
{
	char path[64];
	struct buf b = {0};
	uint64_t ticks = 0;
	char *p;
	int field;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (file_read(path, 4096, &b, NULL) == ST_OK && b.len > 0) {
		/* The command's name, in parentheses, may hold anything. */
		p = strrchr(b.data, ')');
		for (field = 2; p != NULL && field < 22; field++)
			p = strchr(p + 1, ' ');
		if (p != NULL)
			ticks = strtoull(p + 1, NULL, 10);
	}
	buf_free(&b);
	return ticks;
}
