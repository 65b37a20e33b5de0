/* How a shard is put before its command: what stands in place of {}, what
 * $EBB_INPUT says, and whether stdin is fed. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "base/sys.h"
#include "worker/input.h"
#include "worker/work.h"

bool present_on_stdin(const struct spec *s)
{
	return s->shard == SPEC_BYTES || s->input == SPEC_STDIN;
}

/* Calls each for each input of a shard: once, but for groups and for everything. */
static enum status each_input(const struct attempt *a,
    enum status (*each)(void *arg, const char *text, struct error *e), void *arg,
    struct error *e)
{
	const char *p = a->shard.item;
	const char *end = p + a->shard.item_len;
	struct input *in = NULL;
	struct buf text = {0};
	bool last = false;
	enum status st = ST_OK;

	if (a->g->spec->shard != SPEC_ALL) {
		for (; st == ST_OK && p <= end; p += strlen(p) + 1)
			st = each(arg, p, e);
		return st;
	}
	st = input_open(a->g, &in, e);
	while (st == ST_OK && !last) {
		st = input_next(in, &text, &last, e);
		if (st == ST_OK && !last)
			st = each(arg, text.data, e);
	}
	input_close(in);
	buf_free(&text);
	return st;
}

static enum status add_word(void *arg, const char *text, struct error *e)
{
	struct buf *item = arg;

	if (item->len + strlen(text) > LEDGER_ITEM_MAX)
		return error_set(e, ST_CONFIG, "the inputs of this shard are too many for a command "
		    "line; use input_as: list, or stdin");
	if (item->data != NULL)
		buf_char(item, '\0');
	buf_str(item, text);
	return buf_check(item, e);
}

/* file:///absolute/path with what is not plain percent-encoded (RFC 3986, 2.3);
 * what is no file stays as it is. */
static enum status add_url(void *arg, const char *text, struct error *e)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	    "0123456789-._~/";
	struct buf url = {0};
	char cwd[PATH_MAX] = "";
	enum status st;

	if (!file_version_of(text).exists)
		return add_word(arg, text, e);
	if (text[0] != '/' && getcwd(cwd, sizeof(cwd)) == NULL)
		return error_os(e, errno, "cannot tell the current folder");
	buf_str(&url, "file://");
	for (const char *part = cwd; part != NULL; part = part == cwd ? text : NULL) {
		if (part == text && text[0] != '/')
			buf_char(&url, '/');
		for (const char *p = part; *p != '\0'; p++) {
			if (strchr(plain, *p) != NULL)
				buf_char(&url, *p);
			else
				buf_printf(&url, "%%%02X", (unsigned char)*p);
		}
	}
	st = buf_check(&url, e);
	if (st == ST_OK)
		st = add_word(arg, url.data, e);
	buf_free(&url);
	return st;
}

struct list_file {
	int fd;
	const char *path;
	struct buf out;
};

static enum status flush_list(struct list_file *f, size_t at_least, struct error *e)
{
	enum status st = buf_check(&f->out, e);

	if (st != ST_OK || f->out.len < at_least)
		return st;
	st = file_write_all(f->fd, f->out.data, f->out.len, f->path, e);
	buf_clear(&f->out);
	return st;
}

static enum status add_line(void *arg, const char *text, struct error *e)
{
	enum { FLUSH_AT = 1 << 16 };
	struct list_file *f = arg;

	if (strchr(text, '\n') != NULL)
		return error_set(e, ST_CONFIG, "an input's name has a newline in it; input_as: list "
		    "cannot name it");
	buf_str(&f->out, text);
	buf_char(&f->out, '\n');
	return flush_list(f, FLUSH_AT, e);
}

/* Beside the spool of this worker, and gone with the attempt. */
static enum status write_list(struct attempt *a, struct error *e)
{
	struct list_file f = {.fd = -1};
	struct buf path = {0};
	enum status st;

	buf_printf(&path, "%s/spool/%llu.in", a->w->body->dir, (unsigned long long)a->id);
	st = buf_check(&path, e);
	if (st != ST_OK)
		return st;
	free(a->list_path);
	a->list_path = path.data;
	f.path = path.data;
	f.fd = sys_open(f.path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (f.fd == -1)
		return error_os(e, errno, "cannot create %s", f.path);
	st = each_input(a, add_line, &f, e);
	if (st == ST_OK)
		st = flush_list(&f, 0, e);
	if (sys_close(f.fd) == -1 && st == ST_OK)
		st = error_os(e, errno, "cannot close %s", f.path);
	buf_free(&f.out);
	return st;
}

enum status present_item(struct attempt *a, struct buf *item, struct error *e)
{
	const struct spec *s = a->g->spec;

	if (s->input == SPEC_LISTED) {
		enum status st = write_list(a, e);

		return st == ST_OK ? add_word(item, a->list_path, e) : st;
	}
	if (s->input == SPEC_URL)
		return each_input(a, add_url, item, e);
	if (s->input == SPEC_WORDS && s->shard == SPEC_ALL)
		return each_input(a, add_word, item, e);
	buf_append(item, a->shard.item, a->shard.item_len);
	return buf_check(item, e);
}

/* ---- the environment that the file gives ---- */

enum { SECRET_MAX = 64 << 10 };

static enum status read_secret(const struct spec_secret *s, struct buf *value, struct error *e)
{
	enum status st;

	if (strncmp(s->from, "env:", 4) == 0) {
		const char *from = getenv(s->from + 4);

		if (from == NULL)
			return error_set(e, ST_CONFIG, "the secret %s: the variable %s is not set",
			    s->name, s->from + 4);
		buf_str(value, from);
		return buf_check(value, e);
	}
	st = file_read(s->from + strlen("file:"), SECRET_MAX, value, e);
	if (st != ST_OK)
		return error_prefix(e, st, "a secret");
	while (value->len > 0 && value->data[value->len - 1] == '\n')
		value->data[--value->len] = '\0';
	if (memchr(value->data == NULL ? "" : value->data, '\0', value->len) != NULL)
		return error_set(e, ST_CONFIG, "the secret %s holds a NUL", s->name);
	return ST_OK;
}

enum status present_secret(const struct spec_secret *s, struct buf *out, struct error *e)
{
	struct buf value = {0};
	enum status st = read_secret(s, &value, e);

	if (st == ST_OK) {
		buf_printf(out, "%s=%s", s->name, value.data == NULL ? "" : value.data);
		st = buf_check(out, e);
	}
	buf_free(&value);
	return st;
}
