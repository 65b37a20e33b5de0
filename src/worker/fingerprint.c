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

static void add_words(struct hash *h, char *const *words, size_t n)
{
	size_t i;

	hash_field(h, &n, sizeof(n));
	for (i = 0; i < n; i++)
		hash_field(h, words[i], strlen(words[i]));
}

/* How a stage is fed, and what a pipeline's file says beside the command. */
static enum status add_options(struct hash *h, const struct spec *s, struct error *e)
{
	const int64_t numbers[] = {(int64_t)s->input, (int64_t)s->output, (int64_t)s->shard,
	    s->shard_size, s->batch};
	const char *const texts[] = {s->out, s->records, s->version};
	enum status st = ST_OK;
	size_t i;

	hash_field(h, numbers, sizeof(numbers));
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		hash_field(h, texts[i] == NULL ? "" : texts[i],
		    texts[i] == NULL ? 0 : strlen(texts[i]));
	add_words(h, s->shell_words, s->n_shell_words);
	add_words(h, s->env, s->n_env);
	for (i = 0; st == ST_OK && i < s->n_files; i++) {
		if (!file_version_of(s->files[i]).exists)
			return error_set(e, ST_CONFIG, "%s, which \"files:\" names, is not there",
			    s->files[i]);
		st = add_file(h, s->files[i], e);
	}
	return st;
}

enum status fingerprint_of(const struct spec *s, uint8_t out[HASH_SIZE], struct error *e)
{
	struct hash *h = hash_create();
	enum status st;
	size_t i;

	if (h == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	hash_field(h, "ebb stage 2", 11);
	st = add_options(h, s, e);
	for (i = 0; st == ST_OK && i < s->n_command; i++) {
		hash_field(h, s->command[i], strlen(s->command[i]));
		st = s->shell ? add_shell_words(h, s->command[i], e)
		    : add_file(h, s->command[i], e);
	}
	hash_final(h, out);
	hash_destroy(h);
	return st;
}
