#include "shard/list_source.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"

enum {
	READ_SIZE = 1 << 16,
	/* The longest line that is no error, with \r, and one read behind it. */
	BUFFER_SIZE = LIST_ITEM_MAX + 1 + READ_SIZE,
};

struct source {
	/* Words. */
	const char *const *words;
	size_t n_words;
	/* A file. */
	const char *name;
	int fd;
	bool owned;       /* fd is to be closed */
	bool regular;     /* reading never waits */
	bool eof;
	bool skip_empty;
	char end;         /* '\n' or '\0' */
	char *buffer;
	size_t begin;     /* of what has not been passed */
	size_t filled;
	size_t searched;  /* no end of a value before this */
	/* Both. */
	size_t number;    /* of the value shown or passed last, from 1 */
	bool shown;
	const char *data;
	size_t len;
	size_t raw_len;   /* with its end */
};

static enum status open_error(const char *name, int os_errno, struct error *e)
{
	enum status st = error_os(e, os_errno, "cannot open %s", name);

	return os_errno == ELOOP || os_errno == ENAMETOOLONG || os_errno == ENXIO ? ST_CONFIG : st;
}

static enum status open_file(struct source *s, const char *file, struct error *e)
{
	struct stat st;

	if (strcmp(file, "-") == 0) {
		s->name = "standard input";
		s->fd = STDIN_FILENO;
	} else {
		s->name = file;
		s->fd = sys_open(file, O_RDONLY | O_NOCTTY, 0);
		if (s->fd == -1)
			return open_error(file, errno, e);
		s->owned = true;
	}
	if (fstat(s->fd, &st) == -1)
		return error_os(e, errno, "cannot read %s", s->name);
	if (S_ISDIR(st.st_mode))
		return error_set(e, ST_CONFIG, "%s is a folder, not a list", s->name);
	s->regular = S_ISREG(st.st_mode);
	s->buffer = sys_alloc(BUFFER_SIZE);
	if (s->buffer == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	return ST_OK;
}

enum status source_open(const struct list_source *spec, const struct list_options *opt,
    struct source **out, struct error *e)
{
	struct source *s = mem_zero(sizeof(*s));
	enum status st = ST_OK;

	*out = NULL;
	if (s == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	s->fd = -1;
	s->words = spec->words;
	s->n_words = spec->n_words;
	s->skip_empty = opt->skip_empty;
	s->end = opt->nul ? '\0' : '\n';
	if (s->words == NULL && spec->file != NULL)
		st = open_file(s, spec->file, e);
	if (st != ST_OK) {
		source_close(s);
		return st;
	}
	*out = s;
	return ST_OK;
}

void source_close(struct source *s)
{
	if (s == NULL)
		return;
	if (s->owned)
		(void)sys_close(s->fd);
	free(s->buffer);
	free(s);
}

enum status source_blame(const struct source *s, enum status st, struct error *e)
{
	if (s->buffer == NULL)
		return error_prefix(e, st, "value %zu after :::", s->number);
	return error_prefix(e, st, "%s %zu of %s", s->end == '\n' ? "line" : "value", s->number,
	    s->name);
}

static enum status check_value(const struct source *s, struct error *e)
{
	if (s->len > LIST_ITEM_MAX) {
		(void)error_set(e, ST_CONFIG, "a value has more than %d bytes", LIST_ITEM_MAX);
		return source_blame(s, ST_CONFIG, e);
	}
	if (s->buffer != NULL && s->end == '\n' && memchr(s->data, '\0', s->len) != NULL) {
		(void)error_set(e, ST_CONFIG, "there is a NUL byte; are values separated by NUL?");
		return source_blame(s, ST_CONFIG, e);
	}
	return ST_OK;
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/* Reads once; *waits is true if there was nothing to read yet. */
static enum status fill(struct source *s, bool may_wait, bool *waits, struct error *e)
{
	ssize_t n;

	*waits = !may_wait && !s->regular && !readable(s->fd);
	if (*waits)
		return ST_OK;
	if (BUFFER_SIZE - s->filled < READ_SIZE) {
		memmove(s->buffer, s->buffer + s->begin, s->filled - s->begin);
		s->filled -= s->begin;
		s->searched -= s->begin;
		s->begin = 0;
	}
	n = sys_read(s->fd, s->buffer + s->filled, READ_SIZE);
	if (n == -1 && errno == EAGAIN) {
		/* Somebody has made the descriptor non-blocking. */
		struct pollfd p = {.fd = s->fd, .events = POLLIN};

		*waits = !may_wait;
		if (may_wait)
			(void)poll(&p, 1, -1);
		return ST_OK;
	}
	if (n == -1)
		return error_os(e, errno, "cannot read %s", s->name);
	s->filled += (size_t)n;
	s->eof = n == 0;
	return ST_OK;
}

/* Shows the value that is complete in the buffer, if one is. */
static bool show_from_buffer(struct source *s)
{
	const char *from = s->buffer + s->searched;
	const char *hit = NULL;

	if (s->searched < s->filled)
		hit = memchr(from, s->end, s->filled - s->searched);
	s->searched = hit != NULL ? (size_t)(hit - s->buffer) : s->filled;
	if (hit == NULL && (!s->eof || s->begin == s->filled) &&
	    s->filled - s->begin <= LIST_ITEM_MAX + 1)
		return false;
	s->shown = true;
	s->number++;
	s->data = s->buffer + s->begin;
	s->len = s->searched - s->begin;
	s->raw_len = s->len;
	if (hit != NULL) {
		s->raw_len++;
		if (s->end == '\n' && s->len > 0 && s->data[s->len - 1] == '\r')
			s->len--;
	}
	return true;
}

static enum status peek_file(struct source *s, bool may_wait, enum source_step *step,
    struct error *e)
{
	for (;;) {
		bool waits;
		enum status st;

		if (show_from_buffer(s)) {
			*step = SOURCE_VALUE;
			if (s->len > 0 || !s->skip_empty)
				return ST_OK;
			source_pass(s);
			continue;
		}
		if (s->eof) {
			*step = SOURCE_END;
			return ST_OK;
		}
		st = fill(s, may_wait, &waits, e);
		if (st != ST_OK)
			return st;
		if (waits) {
			*step = SOURCE_WAIT;
			return ST_OK;
		}
	}
}

static void peek_word(struct source *s, enum source_step *step)
{
	*step = s->number < s->n_words ? SOURCE_VALUE : SOURCE_END;
	if (*step == SOURCE_END)
		return;
	s->shown = true;
	s->data = s->words[s->number++];
	s->len = strlen(s->data);
}

enum status source_peek(struct source *s, bool may_wait, enum source_step *step,
    const char **data, size_t *len, struct error *e)
{
	enum status st = ST_OK;

	*step = SOURCE_VALUE;
	if (!s->shown && s->buffer != NULL)
		st = peek_file(s, may_wait, step, e);
	else if (!s->shown)
		peek_word(s, step);
	if (st != ST_OK || *step != SOURCE_VALUE)
		return st;
	*data = s->data;
	*len = s->len;
	return check_value(s, e);
}

void source_pass(struct source *s)
{
	s->shown = false;
	s->begin += s->raw_len;
	s->searched = s->begin;
	s->raw_len = 0;
}
