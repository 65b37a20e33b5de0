/* Starting ebb as a child, with its words to a log file. */
#ifndef EBB_CHAOS_CHILD_H
#define EBB_CHAOS_CHILD_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* A list of texts that grows, from {0}; ends with NULL once it holds any. */
struct words {
	char **list;
	size_t n;
	size_t cap;
	_Bool failed;
};

void words_add(struct words *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
void words_free(struct words *w);

struct child {
	const char *program;      /* path */
	const struct words *args; /* after the program's name */
	const struct words *env;  /* "NAME=value" beside, or in place of, the caller's */
	const char *log;          /* stdout and stderr are added to it */
};

/* The child leads a process group of its own and ends with the calling thread
 * (SIGKILL). stdin is empty. What would lead it to another metadata service or
 * another state than its arguments say is not in its environment. */
enum status child_start(const struct child *c, int32_t *pid, struct error *e) MUST_USE;

#endif
