#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/sys.h"

/* The one piece of state that is not const: where lines go belongs to the
 * process, as stderr does. */
static struct {
	pthread_mutex_t lock;
	enum log_level level;
	bool json;
	char progress[256];
} log_state = {PTHREAD_MUTEX_INITIALIZER, LOG_INFO, false, ""};

void log_setup(enum log_level level, bool json)
{
	log_state.level = level;
	log_state.json = json;
}

bool log_is_json(void)
{
	return log_state.json;
}

/* stderr may be gone or full: there is nobody left to tell. */
static void write_stderr(const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDERR_FILENO, data, len);

		if (n == -1 && errno == EAGAIN) {
			/* Somebody has made it non-blocking. */
			struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};

			(void)poll(&p, 1, -1);
		} else if (n == -1 && errno != EINTR) {
			return;
		}
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
}

static void json_line(struct buf *b, enum log_level level, const char *text)
{
	static const char *const names[] = {"error", "warning", "info", "debug"};
	int64_t ms = sys_wall_ns() / 1000000;

	buf_printf(b, "{\"time_ms\":%lld,\"level\":\"%s\",\"message\":", (long long)ms, names[level]);
	str_json(b, text, strlen(text));
	buf_str(b, "}\n");
}

static void text_line(struct buf *b, enum log_level level, const char *text)
{
	if (log_state.progress[0] != '\0')
		buf_str(b, "\r\033[K");
	if (level == LOG_ERROR)
		buf_str(b, "ebb: ");
	else if (level == LOG_WARN)
		buf_str(b, "ebb: warning: ");
	buf_str(b, text);
	buf_char(b, '\n');
	if (log_state.progress[0] != '\0')
		buf_str(b, log_state.progress);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	char text[2048];
	struct buf b = {0};
	va_list ap;

	if (level > log_state.level)
		return;
	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	(void)pthread_mutex_lock(&log_state.lock);
	if (log_state.json)
		json_line(&b, level, text);
	else
		text_line(&b, level, text);
	if (b.failed) {
		write_stderr(text, strlen(text));
		write_stderr("\n", 1);
	} else {
		write_stderr(b.data, b.len);
	}
	(void)pthread_mutex_unlock(&log_state.lock);
	buf_free(&b);
}

void log_raw(const char *data, size_t len)
{
	(void)pthread_mutex_lock(&log_state.lock);
	if (log_state.progress[0] != '\0')
		write_stderr("\r\033[K", 4);
	write_stderr(data, len);
	if (log_state.progress[0] != '\0') {
		if (len > 0 && data[len - 1] != '\n')
			write_stderr("\n", 1);
		write_stderr(log_state.progress, strlen(log_state.progress));
	}
	(void)pthread_mutex_unlock(&log_state.lock);
}

void log_progress(const char *text)
{
	char line[300];
	int n;

	(void)pthread_mutex_lock(&log_state.lock);
	if (log_state.progress[0] != '\0' || text[0] != '\0') {
		(void)snprintf(log_state.progress, sizeof(log_state.progress), "%s", text);
		n = snprintf(line, sizeof(line), "\r\033[K%s", log_state.progress);
		write_stderr(line, (size_t)n);
	}
	(void)pthread_mutex_unlock(&log_state.lock);
}
