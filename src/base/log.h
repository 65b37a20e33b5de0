/* Lines on stderr, as text for people or as one JSON object a line. Safe from
 * any thread; a line is written with one write(2) where stderr takes it whole. */
#ifndef EBB_BASE_LOG_H
#define EBB_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Before any thread starts. Lines above `level` are dropped. With json each
 * line is {"time":...,"level":...,"message":...}. */
void log_setup(enum log_level level, bool json);
bool log_is_json(void);

/* A message without a line end. LOG_ERROR and LOG_WARN lines begin with
 * "ebb: " and "ebb: warning: " in text form, the others stand as they are. */
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Bytes of somebody else's stderr (a task's), as they are, in one go. */
void log_raw(const char *data, size_t len);

/* The progress line of a terminal, which log_line erases before it writes and
 * draws again after; "" takes it away. Only for text on a terminal. */
void log_progress(const char *text);

#endif
