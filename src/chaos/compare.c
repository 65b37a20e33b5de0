#include "chaos/compare.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "base/sys.h"

enum {
	COMPARE_DEPTH_MAX = 64,
	COMPARE_NAMES_MAX = 4000000,
	COMPARE_TOLD = 5,
	COMPARE_PIECE = 64 << 10,
	MANIFEST_MAX = 1 << 30,
};

static void compare_tell(struct compared *c, const char *what, const char *name)
{
	if (c->differences++ >= COMPARE_TOLD)
		return;
	buf_str(&c->text, c->differences > 1 ? "; " : "");
	str_display(&c->text, name, strlen(name), 200);
	buf_printf(&c->text, " %s", what);
}

/* ---- names ---- */

struct compare_names {
	char **list;
	size_t n;
	size_t cap;
};

static void compare_names_free(struct compare_names *s)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		free(s->list[i]);
	free(s->list);
}

static enum status compare_names_add(struct compare_names *s, const char *name, struct error *e)
{
	void *list = s->list;
	char *copy;
	enum status st;

	if (s->n >= COMPARE_NAMES_MAX)
		return error_set(e, ST_CONFIG, "more than %d output files cannot be compared",
		    COMPARE_NAMES_MAX);
	st = mem_grow(&list, &s->cap, s->n + 1, sizeof(*s->list), e);
	if (st != ST_OK)
		return st;
	s->list = list;
	copy = mem_dup(name, strlen(name));
	if (copy == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	s->list[s->n++] = copy;
	return ST_OK;
}

static enum status compare_walk(const char *root, struct buf *below, int depth,
    struct compare_names *out,
    struct error *e);

/* `below` is the folder's name with a slash, or empty; here the entry is added. */
static enum status compare_walk_entry(const char *root, struct buf *below, const struct dirent *ent,
    int depth, struct compare_names *out, struct error *e)
{
	size_t len = below->len;
	struct buf path = {0};
	struct stat sb;
	enum status st;

	if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0 ||
	    strncmp(ent->d_name, ".ebb-private", 12) == 0)
		return ST_OK;
	buf_str(below, ent->d_name);
	buf_printf(&path, "%s/%s", root, below->failed ? "" : below->data);
	st = path.failed ? buf_check(&path, e) : buf_check(below, e);
	if (st == ST_OK && lstat(path.data, &sb) == -1)
		st = error_os(e, errno, "cannot look at %s", path.data);
	buf_free(&path);
	if (st == ST_OK && S_ISDIR(sb.st_mode)) {
		buf_char(below, '/');
		st = compare_walk(root, below, depth + 1, out, e);
	} else if (st == ST_OK) {
		st = compare_names_add(out, below->data, e);
	}
	buf_cut(below, len);
	return st;
}

static enum status compare_walk(const char *root, struct buf *below, int depth,
    struct compare_names *out,
    struct error *e)
{
	struct buf path = {0};
	struct dirent *ent;
	enum status st;
	DIR *d = NULL;

	buf_printf(&path, "%s/%s", root, below->data);
	st = path.failed ? buf_check(&path, e) : buf_check(below, e);
	if (st == ST_OK && depth > COMPARE_DEPTH_MAX)
		st = error_set(e, ST_CONFIG, "%s is more than %d folders deep", path.data,
		    COMPARE_DEPTH_MAX);
	if (st == ST_OK && path.data != NULL && (d = opendir(path.data)) == NULL)
		st = error_os(e, errno, "cannot read the folder %s", path.data);
	while (st == ST_OK && d != NULL && (ent = readdir(d)) != NULL)
		st = compare_walk_entry(root, below, ent, depth, out, e);
	if (d != NULL)
		(void)closedir(d);
	buf_free(&path);
	return st;
}

static int compare_by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum status compare_names_of(const char *root, struct compare_names *out, struct error *e)
{
	struct buf below = {0};
	enum status st;

	buf_str(&below, "");
	st = compare_walk(root, &below, 0, out, e);
	buf_free(&below);
	if (out->n > 0)
		qsort(out->list, out->n, sizeof(*out->list), compare_by_name);
	return st;
}

/* ---- contents ---- */

/* Both are read from where they are to their ends. */
static bool same_bytes(int a, int b)
{
	static char one[COMPARE_PIECE];
	static char other[COMPARE_PIECE];
	int64_t at = 0;

	for (;;) {
		ssize_t n = sys_pread(a, one, sizeof(one), at);
		ssize_t got = 0;

		while (n > 0 && got < n) {
			ssize_t more = sys_pread(b, other + got, (size_t)(n - got), at + got);

			if (more <= 0)
				return false;
			got += more;
		}
		if (n < 0 || (n > 0 && memcmp(one, other, (size_t)n) != 0))
			return false;
		if (n == 0)
			return sys_pread(b, other, 1, at) == 0;
		at += n;
	}
}

static bool same_links(const char *a, const char *b)
{
	char one[PATH_MAX];
	char other[PATH_MAX];
	ssize_t n = readlink(a, one, sizeof(one));

	return n > 0 && readlink(b, other, sizeof(other)) == n && memcmp(one, other, (size_t)n) == 0;
}

static void compare_open(const char *a, const char *b, const char *name, struct compared *c)
{
	int one = sys_open(a, O_RDONLY, 0);
	int other = sys_open(b, O_RDONLY, 0);

	if (one == -1 || other == -1)
		compare_tell(c, "cannot be read", name);
	else if (!same_bytes(one, other))
		compare_tell(c, "has other bytes", name);
	if (one != -1)
		(void)sys_close(one);
	if (other != -1)
		(void)sys_close(other);
}

static void compare_files(const char *a, const char *b, const char *name, struct compared *c)
{
	struct stat one;
	struct stat other;

	c->files++;
	if (lstat(a, &one) == -1 || lstat(b, &other) == -1) {
		compare_tell(c, "cannot be looked at", name);
		return;
	}
	c->bytes += one.st_size;
	if ((one.st_mode & S_IFMT) != (other.st_mode & S_IFMT))
		compare_tell(c, "is not of the same kind", name);
	else if (S_ISLNK(one.st_mode) && !same_links(a, b))
		compare_tell(c, "leads elsewhere", name);
	else if (S_ISREG(one.st_mode) && one.st_size != other.st_size)
		compare_tell(c, "has another size", name);
	else if (S_ISREG(one.st_mode))
		compare_open(a, b, name, c);
}

static enum status compare_one(const char *folder, const char *reference, const char *name,
    struct compared *c, struct error *e)
{
	struct buf a = {0};
	struct buf b = {0};
	enum status st;

	buf_printf(&a, "%s/%s", folder, name);
	buf_printf(&b, "%s/%s", reference, name);
	st = a.failed ? buf_check(&a, e) : buf_check(&b, e);
	if (st == ST_OK)
		compare_files(a.data, b.data, name, c);
	buf_free(&a);
	buf_free(&b);
	return st;
}

enum status compare_trees(const char *folder, const char *reference, struct compared *out,
    struct error *e)
{
	struct compare_names a = {0};
	struct compare_names b = {0};
	size_t i = 0;
	size_t k = 0;
	enum status st = compare_names_of(folder, &a, e);

	memset(out, 0, sizeof(*out));
	if (st == ST_OK)
		st = compare_names_of(reference, &b, e);
	while (st == ST_OK && (i < a.n || k < b.n)) {
		int order = i == a.n ? 1 : k == b.n ? -1 : strcmp(a.list[i], b.list[k]);

		if (order == 0)
			st = compare_one(folder, reference, a.list[i], out, e);
		else
			compare_tell(out, order < 0 ? "is only there with interruptions"
			    : "is only there without interruptions", order < 0 ? a.list[i] : b.list[k]);
		i += order <= 0;
		k += order >= 0;
	}
	compare_names_free(&a);
	compare_names_free(&b);
	return st == ST_OK && out->text.failed ? buf_check(&out->text, e) : st;
}

/* ---- manifests ---- */

static void compare_entry(const char *path, const char *name, int64_t size, const char *sha256,
    struct compared *c)
{
	int fd = sys_open(path, O_RDONLY, 0);
	struct hash *h = hash_create();
	uint8_t want[HASH_SIZE];
	uint8_t is[HASH_SIZE];
	struct error e;
	int64_t n;

	c->files++;
	if (fd == -1) {
		compare_tell(c, "is in the manifest and not there", name);
	} else if (h == NULL || hash_fd(h, fd, name, is, &n, &e) != ST_OK) {
		compare_tell(c, "cannot be read", name);
	} else {
		c->bytes += n;
		if (n != size)
			compare_tell(c, "has another size than its manifest says", name);
		else if (!str_unhex(sha256, want, HASH_SIZE) || memcmp(is, want, HASH_SIZE) != 0)
			compare_tell(c, "has other bytes than its manifest says", name);
	}
	hash_destroy(h);
	if (fd != -1)
		(void)sys_close(fd);
}

static void compare_manifest_place(const char *name, const char *place, const char *moved,
    struct buf *path)
{
	size_t len = moved == NULL ? 0 : strlen(moved);

	if (name[0] != '/')
		buf_printf(path, "%s/%s", place, name);
	else if (len > 0 && strncmp(name, moved, len) == 0 && name[len] == '/')
		buf_printf(path, "%s%s", place, name + len);
	else
		buf_str(path, name);
}

static enum status compare_manifest_shard(const json_t *shard, const char *place, const char *moved,
    struct compared *c, struct error *e)
{
	const json_t *files = json_object_get(shard, "files");
	const json_t *one;
	size_t i;

	json_array_foreach(files, i, one) {
		const char *name = json_string_value(json_object_get(one, "name"));
		const char *sha256 = json_string_value(json_object_get(one, "sha256"));
		struct buf path = {0};

		if (name == NULL || sha256 == NULL || strlen(sha256) != (size_t)2 * HASH_SIZE)
			return error_set(e, ST_CORRUPT, "an entry has no name or no sha256");
		compare_manifest_place(name, place, moved, &path);
		if (path.failed)
			return buf_check(&path, e);
		compare_entry(path.data, name, json_integer_value(json_object_get(one, "size")), sha256,
		    c);
		buf_free(&path);
	}
	return ST_OK;
}

enum status compare_manifest(const char *path, const char *place, const char *moved,
    struct compared *out, struct error *e)
{
	struct buf text = {0};
	json_error_t why;
	json_t *root = NULL;
	const json_t *one;
	size_t i;
	enum status st;

	buf_str(&text, "");
	st = file_read(path, MANIFEST_MAX, &text, e);
	if (st == ST_OK)
		root = json_loadb(text.data, text.len, 0, &why);
	buf_free(&text);
	if (st != ST_OK)
		return st;
	if (!json_is_array(json_object_get(root, "list")))
		st = error_set(e, ST_CORRUPT, "%s is no manifest", path);
	json_array_foreach(json_object_get(root, "list"), i, one) {
		if (st == ST_OK)
			st = compare_manifest_shard(one, place, moved, out, e);
	}
	json_decref(root);
	return st;
}
