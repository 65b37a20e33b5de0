#include "chaos/tell.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/sys.h"

void tell_line(const struct tell *t, const char *fmt, ...)
{
	char text[1024];
	struct buf since = {0};
	va_list ap;

	if (t->quiet)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	str_duration(&since, sys_boot_ns() / 1000000 - t->began_ms);
	log_line(LOG_INFO, "+%s %s", since.failed ? "?" : since.data, text);
	buf_free(&since);
}
