/* One shard's output to ebb's stdout. At least once: a crash between the last
 * write and the record of it delivers again. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sys.h"
#include "worker/work.h"

static enum status write_out(const char *data, size_t len, struct error *e)
{
	while (len > 0) {
		ssize_t n = sys_write(STDOUT_FILENO, data, len);

		if (n == -1 && errno == EAGAIN) {
			/* Somebody else's non-blocking descriptor. */
			struct pollfd p = {STDOUT_FILENO, POLLOUT, 0};

			(void)poll(&p, 1, -1);
			continue;
		}
		if (n == -1)
			return error_os(e, errno, "cannot write to stdout");
		data += n;
		len -= (size_t)n;
	}
	return ST_OK;
}

static void add_tag(struct buf *out, const struct ledger_shard *s)
{
	size_t i;

	/* Pieces of one file are told apart; equal items look as they were given. */
	if (s->part >= 0)
		shard_name(s, out);
	for (i = 0; s->part < 0 && i < s->item_len; i++)
		buf_char(out, s->item[i] == '\0' ? ' ' : s->item[i]);
	buf_char(out, '\t');
}

/* Each line with the item and a tab before it. */
static void tag_lines(struct buf *out, const struct ledger_shard *s, const char *data, size_t len,
    bool *at_line_start)
{
	while (len > 0) {
		const char *nl = memchr(data, '\n', len);
		size_t n = nl == NULL ? len : (size_t)(nl - data) + 1;

		if (*at_line_start)
			add_tag(out, s);
		buf_append(out, data, n);
		*at_line_start = nl != NULL;
		data += n;
		len -= n;
	}
}

enum status deliver_output(const char *path, const struct ledger_shard *s, bool tag,
    struct error *e)
{
	enum { CHUNK = 65536 };
	char *chunk = sys_alloc(CHUNK);
	struct buf tagged = {0};
	bool at_line_start = true;
	enum status st = ST_OK;
	ssize_t n = 0;
	int fd;

	if (chunk == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	fd = sys_open(path, O_RDONLY, 0);
	if (fd == -1) {
		free(chunk);
		return error_os(e, errno, "cannot open %s", path);
	}
	while (st == ST_OK && (n = sys_read(fd, chunk, CHUNK)) > 0) {
		if (!tag) {
			st = write_out(chunk, (size_t)n, e);
			continue;
		}
		buf_clear(&tagged);
		tag_lines(&tagged, s, chunk, (size_t)n, &at_line_start);
		st = buf_check(&tagged, e);
		if (st == ST_OK)
			st = write_out(tagged.data, tagged.len, e);
	}
	if (st == ST_OK && n == -1)
		st = error_os(e, errno, "cannot read %s", path);
	(void)sys_close(fd);
	free(chunk);
	buf_free(&tagged);
	return st;
}
