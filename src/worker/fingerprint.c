#include "worker/fingerprint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/sys.h"

enum { CONTENT_MAX = 64 << 20 };

static enum status add_file(struct hash *h, const char *path, struct error *e)
{
	struct file_version v = file_version_of(path);
	struct hash *content;
	uint8_t sum[HASH_SIZE];
	int64_t size;
	enum status st;
	int fd;

	if (!v.exists)
		return ST_OK;
	hash_field(h, path, strlen(path));
	hash_field(h, &v.size, sizeof(v.size));
	if (v.size > CONTENT_MAX) {
		hash_field(h, &v.mtime_ns, sizeof(v.mtime_ns));
		return ST_OK;
	}
	fd = sys_open(path, O_RDONLY | O_NONBLOCK, 0);
	if (fd == -1)
		return error_os(e, errno, "cannot read %s, which the command names", path);
	content = hash_create();
	st = content == NULL ? error_set(e, ST_NO_MEMORY, "out of memory")
	    : hash_fd(content, fd, path, sum, &size, e);
	hash_destroy(content);
	(void)sys_close(fd);
	if (st == ST_OK)
		hash_field(h, sum, sizeof(sum));
	return st;
}

static enum status add_shell_words(struct hash *h, const char *text, struct error *e)
{
	static const char separators[] = " \t\n'\"|&;<>()`$=";
	enum status st = ST_OK;
	bool written = false;

	while (st == ST_OK && *text != '\0') {
		size_t len = strcspn(text, separators);
		/* What stands behind > is not what the result depends on. */
		bool counts = len > 0 && len < 4096 && !written;
		char *word = counts ? mem_dup(text, len) : NULL;

		if (word != NULL)
			st = add_file(h, word, e);
		else if (counts)
			st = error_set(e, ST_NO_MEMORY, "out of memory");
		free(word);
		written = text[len] == '>' || (written && len == 0 && text[len] != '\0');
		text += len + (text[len] != '\0');
	}
	return st;
}

enum status fingerprint_of(const struct spec *s, uint8_t out[HASH_SIZE], struct error *e)
{
	struct hash *h = hash_create();
	enum status st = ST_OK;
	size_t i;

	if (h == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	hash_field(h, "ebb stage 1", 11);
	for (i = 0; st == ST_OK && i < s->n_command; i++) {
		hash_field(h, s->command[i], strlen(s->command[i]));
		st = s->shell ? add_shell_words(h, s->command[i], e)
		    : add_file(h, s->command[i], e);
	}
	hash_final(h, out);
	hash_destroy(h);
	return st;
}
