#include "shard/inputs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "shard/list.h"

/* Paths, each with its NUL, one behind the other. */
struct paths {
	char *data;
	size_t len;
	size_t cap;
	size_t *at;       /* where each begins */
	size_t n;
	size_t cap_at;
};

struct inputs {
	enum spec_source_kind kind;
	struct paths paths; /* SOURCE_GLOB */
	size_t next;
	struct list *list;  /* SOURCE_LIST */
	int64_t number;     /* SOURCE_COUNT */
	int64_t count;
};

static bool has_signs(const char *part, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (strchr("*?[\\", part[i]) != NULL)
			return true;
	}
	return false;
}

static enum status add_path(struct paths *p, const char *path, size_t len, struct error *e)
{
	void *data = p->data;
	void *at = p->at;
	enum status st;

	if (p->len + len + 1 > INPUTS_GLOB_BYTES_MAX)
		return error_set(e, ST_CONFIG, "too many files; write their names into a file and "
		    "use {list: FILE}");
	st = mem_grow(&data, &p->cap, p->len + len + 1, 1, e);
	p->data = data;
	if (st != ST_OK)
		return st;
	st = mem_grow(&at, &p->cap_at, p->n + 1, sizeof(*p->at), e);
	p->at = at;
	if (st != ST_OK)
		return st;
	memcpy(p->data + p->len, path, len + 1);
	p->at[p->n++] = p->len;
	p->len += len + 1;
	return ST_OK;
}

static int by_path(const void *a, const void *b, void *data)
{
	return strcmp((const char *)data + *(const size_t *)a,
	    (const char *)data + *(const size_t *)b);
}

static void sort_paths(struct paths *p)
{
	size_t kept = 0;
	size_t i;

	if (p->n < 2)
		return;
	qsort_r(p->at, p->n, sizeof(*p->at), by_path, p->data);
	for (i = 1; i < p->n; i++) {
		if (strcmp(p->data + p->at[kept], p->data + p->at[i]) != 0)
			p->at[++kept] = p->at[i];
	}
	p->n = kept + 1;
}

/* ---- walking ---- */

struct walk {
	struct paths *paths;
	struct buf path;    /* so far; "" or ends with a slash between parts */
	int depth;
};

static enum status walk_parts(struct walk *w, const char *rest, struct error *e);

static void cut_path(struct walk *w, size_t len)
{
	w->path.len = len;
	if (w->path.data != NULL)
		w->path.data[len] = '\0';
}

/* Names in the folder at the path, as texts with NUL one behind the other. A
 * folder that is not there has none. */
static enum status folder_names(const struct walk *w, struct buf *names, struct error *e)
{
	const char *path = w->path.len == 0 ? "." : w->path.data;
	const struct dirent *entry;
	DIR *d = opendir(path);
	enum status st = ST_OK;

	if (d == NULL) {
		if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == ENAMETOOLONG)
			return ST_OK;
		return error_os(e, errno, "cannot read the folder %s", path);
	}
	errno = 0;
	while ((entry = readdir(d)) != NULL) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			buf_append(names, entry->d_name, strlen(entry->d_name) + 1);
		errno = 0;
	}
	if (errno != 0)
		st = error_os(e, errno, "cannot read the folder %s", path);
	(void)closedir(d);
	return st == ST_OK ? buf_check(names, e) : st;
}

/* Is there a folder at the path (not over a link)? */
static bool is_real_folder(const char *path)
{
	struct stat sb;

	return lstat(path, &sb) == 0 && S_ISDIR(sb.st_mode);
}

static enum status take_file(struct walk *w, struct error *e)
{
	struct stat sb;

	if (stat(w->path.data, &sb) == -1) {
		if (errno == EACCES)
			return error_os(e, errno, "cannot look at %s", w->path.data);
		return ST_OK;
	}
	return S_ISREG(sb.st_mode) ? add_path(w->paths, w->path.data, w->path.len, e) : ST_OK;
}

/* The name is a part of the path; goes on with the rest. */
static enum status walk_into(struct walk *w, const char *name, size_t len, const char *rest,
    struct error *e)
{
	size_t before = w->path.len;
	enum status st;

	buf_append(&w->path, name, len);
	if (*rest != '\0')
		buf_char(&w->path, '/');
	st = buf_check(&w->path, e);
	if (st != ST_OK)
		return st;
	if (++w->depth > INPUTS_DEPTH_MAX)
		st = error_set(e, ST_CONFIG, "%.200s is more than %d folders deep", w->path.data,
		    INPUTS_DEPTH_MAX);
	else
		st = *rest == '\0' ? take_file(w, e) : walk_parts(w, rest, e);
	w->depth--;
	cut_path(w, before);
	return st;
}

/* Each name of the folder that fits the part. */
static enum status walk_matches(struct walk *w, const char *part, size_t len, const char *rest,
    struct error *e)
{
	struct buf names = {0};
	char *pattern = mem_dup(part, len);
	enum status st;
	size_t at;

	if (pattern == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = folder_names(w, &names, e);
	for (at = 0; st == ST_OK && at < names.len; at += strlen(names.data + at) + 1) {
		if (fnmatch(pattern, names.data + at, FNM_PERIOD | FNM_PATHNAME) == 0)
			st = walk_into(w, names.data + at, strlen(names.data + at), rest, e);
	}
	free(pattern);
	buf_free(&names);
	return st;
}

/* "**": the rest here, and in each folder below. `again` begins with the "**". */
static enum status walk_below(struct walk *w, const char *again, const char *rest,
    struct error *e)
{
	struct buf names = {0};
	enum status st;
	size_t at;

	while (strncmp(rest, "**/", 3) == 0) /* says the same again */
		rest += 3 + strspn(rest + 3, "/");
	st = walk_parts(w, *rest == '\0' || strcmp(rest, "**") == 0 ? "*" : rest, e);

	if (st == ST_OK)
		st = folder_names(w, &names, e);
	for (at = 0; st == ST_OK && at < names.len; at += strlen(names.data + at) + 1) {
		const char *name = names.data + at;
		size_t before = w->path.len;

		if (name[0] == '.')
			continue;
		buf_str(&w->path, name);
		st = buf_check(&w->path, e);
		if (st != ST_OK)
			break;
		if (!is_real_folder(w->path.data)) {
			cut_path(w, before);
			continue;
		}
		cut_path(w, before);
		st = walk_into(w, name, strlen(name), again, e);
	}
	buf_free(&names);
	return st;
}

static enum status walk_parts(struct walk *w, const char *rest, struct error *e)
{
	size_t slashes = strspn(rest, "/");
	size_t len = strcspn(rest + slashes, "/");
	const char *part = rest + slashes;
	const char *behind = part + len;

	/* "/x" begins at the root; "a//x" is "a/x". */
	if (slashes > 0 && w->path.len == 0)
		buf_char(&w->path, '/');
	behind += strspn(behind, "/");
	if (len == 2 && memcmp(part, "**", 2) == 0)
		return walk_below(w, part, behind, e);
	if (has_signs(part, len))
		return walk_matches(w, part, len, behind, e);
	return walk_into(w, part, len, behind, e);
}

/* ---- the sources ---- */

static const char *file_type(mode_t mode)
{
	return S_ISDIR(mode) ? "a folder" : S_ISFIFO(mode) ? "a FIFO" : S_ISSOCK(mode) ? "a socket"
	    : "a device";
}

/* A name without signs: it is that file, or none. */
static enum status open_named(struct inputs *in, const char *path, struct error *e)
{
	struct stat sb;

	if (stat(path, &sb) == -1) {
		if (errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG || errno == ELOOP)
			return ST_OK;
		return error_os(e, errno, "cannot look at %s", path);
	}
	if (S_ISDIR(sb.st_mode))
		return error_set(e, ST_CONFIG, "%s is a folder, and no file; expected a file or a "
		    "pattern such as %s/*", path, path);
	if (!S_ISREG(sb.st_mode))
		return error_set(e, ST_CONFIG, "%s is %s, and no file that can be read again", path,
		    file_type(sb.st_mode));
	return add_path(&in->paths, path, strlen(path), e);
}

static enum status open_glob(struct inputs *in, const char *pattern, struct error *e)
{
	struct walk w = {.paths = &in->paths};
	enum status st;

	if (strlen(pattern) > INPUTS_PATTERN_MAX)
		return error_set(e, ST_CONFIG, "the pattern %.60s... has more than %d bytes",
		    pattern, INPUTS_PATTERN_MAX);
	if (pattern[0] != '\0' && pattern[strlen(pattern) - 1] == '/')
		return error_set(e, ST_CONFIG, "\"%.200s\" ends with a slash and so means folders; "
		    "expected a pattern of files, such as %.200s*", pattern, pattern);
	if (!has_signs(pattern, strlen(pattern)))
		return open_named(in, pattern, e);
	buf_str(&w.path, "");
	st = buf_check(&w.path, e);
	if (st == ST_OK)
		st = walk_parts(&w, pattern, e);
	buf_free(&w.path);
	if (st == ST_OK)
		sort_paths(&in->paths);
	return st;
}

static enum status open_list_file(struct inputs *in, const char *path, struct error *e)
{
	const struct list_options opt = {.skip_empty = true};
	struct list_source source = {.file = strcmp(path, "-") == 0 ? "./-" : path};
	struct stat sb;

	/* Opening a FIFO would wait, and what comes out of it does not come again. */
	if (stat(source.file, &sb) == 0 && !S_ISREG(sb.st_mode))
		return error_set(e, ST_CONFIG, "%s is %s, and no list that can be read again", path,
		    file_type(sb.st_mode));
	return list_open(&source, 1, &opt, &in->list, e);
}

enum status inputs_open(const struct spec_source *source, struct inputs **out, struct error *e)
{
	struct inputs *in = mem_zero(sizeof(*in));
	enum status st = ST_OK;

	*out = NULL;
	if (in == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	in->kind = source->kind;
	in->count = source->count;
	if (in->kind == SOURCE_GLOB)
		st = open_glob(in, source->text, e);
	else if (in->kind == SOURCE_LIST)
		st = open_list_file(in, source->text, e);
	if (st != ST_OK) {
		inputs_close(in);
		return st;
	}
	*out = in;
	return ST_OK;
}

void inputs_close(struct inputs *in)
{
	if (in == NULL)
		return;
	list_close(in->list);
	free(in->paths.data);
	free(in->paths.at);
	free(in);
}

enum status inputs_next(struct inputs *in, struct buf *item, bool *end, struct error *e)
{
	size_t n_args;

	if (in->kind == SOURCE_LIST)
		return list_next(in->list, item, &n_args, end, e);
	buf_clear(item);
	*end = in->kind == SOURCE_GLOB ? in->next == in->paths.n : in->number == in->count;
	if (*end)
		return ST_OK;
	if (in->kind == SOURCE_GLOB)
		buf_str(item, in->paths.data + in->paths.at[in->next++]);
	else
		buf_printf(item, "%lld", (long long)in->number++);
	return buf_check(item, e);
}
