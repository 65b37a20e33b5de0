#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

PRINTF_LIKE(2, 0) static void text_v(struct error *e, const char *fmt, va_list ap)
{
	if (e == NULL)
		return;
	if (vsnprintf(e->text, sizeof(e->text), fmt, ap) < 0)
		e->text[0] = '\0';
}

enum status error_set(struct error *e, enum status st, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	text_v(e, fmt, ap);
	va_end(ap);
	return st;
}

enum status error_os(struct error *e, int os_errno, const char *fmt, ...)
{
	va_list ap;
	char buf[128];

	va_start(ap, fmt);
	text_v(e, fmt, ap);
	va_end(ap);
	if (e != NULL) {
		size_t used = strlen(e->text);

		(void)snprintf(e->text + used, sizeof(e->text) - used, ": %s",
		    strerror_r(os_errno, buf, sizeof(buf)));
	}
	return status_of_errno(os_errno);
}

enum status error_prefix(struct error *e, enum status st, const char *fmt, ...)
{
	char old[ERROR_TEXT_MAX];
	va_list ap;
	size_t used;

	if (e == NULL)
		return st;
	memcpy(old, e->text, sizeof(old));
	va_start(ap, fmt);
	text_v(e, fmt, ap);
	va_end(ap);
	used = strlen(e->text);
	(void)snprintf(e->text + used, sizeof(e->text) - used, ": %s", old);
	return st;
}

enum status status_of_errno(int os_errno)
{
	switch (os_errno) {
	case ENOENT:
	case ENOTDIR:
		return ST_NOT_FOUND;
	case EEXIST:
	case ENOTEMPTY:
		return ST_EXISTS;
	case EBUSY:
	case EAGAIN:
	case ETXTBSY:
		return ST_BUSY;
	case EACCES:
	case EPERM:
	case EROFS:
		return ST_DENIED;
	case ENOSPC:
	case EDQUOT:
		return ST_FULL;
	case ENOMEM:
		return ST_NO_MEMORY;
	case EIO:
	case EMFILE:
	case ENFILE:
	case ETIMEDOUT:
	case ECONNRESET:
	case ECONNREFUSED:
		return ST_TRANSIENT;
	default:
		return ST_PERMANENT;
	}
}

const char *status_name(enum status st)
{
	static const char *const names[] = {
		[ST_OK] = "ok",
		[ST_NOT_FOUND] = "not-found",
		[ST_EXISTS] = "exists",
		[ST_BUSY] = "busy",
		[ST_FENCED] = "fenced",
		[ST_THROTTLED] = "throttled",
		[ST_TRANSIENT] = "transient",
		[ST_UNKNOWN_OUTCOME] = "unknown-outcome",
		[ST_DENIED] = "denied",
		[ST_CORRUPT] = "corrupt",
		[ST_FULL] = "full",
		[ST_CONFIG] = "config",
		[ST_NO_MEMORY] = "no-memory",
		[ST_PERMANENT] = "permanent",
	};

	return names[st];
}
