#include "worker/out_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"
#include "worker/final_name.h"

/* Where its files will be. */
static enum status target_folder(const struct attempt *a, struct buf *out, struct error *e)
{
	const struct template_values v = {a->shard.item, a->shard.item_len, a->shard.ordinal + 1, 1};

	return final_name(a->g, &v, out, e);
}

enum status out_folder_name(struct attempt *a, struct error *e)
{
	char leaf[64];
	struct buf target = {0};
	struct buf name = {0};
	enum status st = target_folder(a, &target, e);

	(void)snprintf(leaf, sizeof(leaf), "%lld.%lld", (long long)a->shard.row,
	    (long long)a->shard.s.epoch);
	if (st == ST_OK) {
		buf_str(&target, "/file");
		st = buf_check(&target, e);
	}
	if (st == ST_OK)
		st = store_private_name(a->w->store, target.data, leaf, &name, e);
	if (st == ST_OK)
		a->private_path = name.data;
	else
		buf_free(&name);
	buf_free(&target);
	return st;
}

enum status out_folder_make(struct attempt *a, struct error *e)
{
	/* Left by a start of this attempt that came to nothing. */
	if (sys_mkdir(a->private_path, 0777) == -1 && errno == EEXIST) {
		enum status st = file_remove_tree(a->private_path, e);

		if (st != ST_OK)
			return st;
		if (sys_mkdir(a->private_path, 0777) == 0)
			return ST_OK;
	}
	return access(a->private_path, F_OK) == 0 ? ST_OK
	    : error_os(e, errno, "cannot make the folder %s", a->private_path);
}

void out_folder_remove(const struct attempt *a)
{
	struct error e;

	if (a->private_path != NULL && sys_rmdir(a->private_path) == -1 && errno != ENOENT &&
	    file_remove_tree(a->private_path, &e) != ST_OK)
		log_line(LOG_WARN, "%s", e.text);
}

/* ---- what is in it ---- */

struct found {
	char **list; /* names below the folder */
	size_t n;
	size_t cap;
};

static void found_free(struct found *f)
{
	while (f->n > 0)
		free(f->list[--f->n]);
	free(f->list);
}

static enum status found_add(struct found *f, const char *name, struct error *e)
{
	if (f->n == OUT_FOLDER_FILES_MAX)
		return error_set(e, ST_CONFIG, "more than %d files in $EBB_OUTPUT; put them into an "
		    "archive, or make the shards smaller", OUT_FOLDER_FILES_MAX);
	if (f->n == f->cap) {
		size_t cap = f->cap == 0 ? 16 : 2 * f->cap;
		char **list = sys_realloc(f->list, cap * sizeof(*list));

		if (list == NULL)
			return error_set(e, ST_NO_MEMORY, "out of memory");
		f->list = list;
		f->cap = cap;
	}
	f->list[f->n] = mem_dup(name, strlen(name));
	if (f->list[f->n] == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	f->n++;
	return ST_OK;
}

static const char *kind_of(mode_t mode)
{
	return S_ISLNK(mode) ? "a symbolic link" : S_ISFIFO(mode) ? "a FIFO"
	    : S_ISSOCK(mode) ? "a socket" : "a device";
}

/* A folder that the task made read-only would keep its files. Only files are
 * committed, with what they may; their folders are made anew. */
static enum status may_move_out(const char *path, bool is_root, struct error *e)
{
	struct stat sb;

	if (lstat(path, &sb) == -1)
		return is_root && errno == ENOENT
		    ? error_set(e, ST_CONFIG, "the command has removed the folder $EBB_OUTPUT")
		    : error_os(e, errno, "cannot look at %s", path);
	if (!S_ISDIR(sb.st_mode))
		return error_set(e, ST_CONFIG, "the command has put something else in the place of "
		    "the folder $EBB_OUTPUT");
	if ((sb.st_mode & S_IRWXU) != S_IRWXU && chmod(path, (sb.st_mode & 07777) | S_IRWXU) == -1)
		return error_os(e, errno, "cannot make %s writable", path);
	return ST_OK;
}

static enum status walk(struct found *f, struct buf *path, size_t root_len, int depth,
    struct error *e);

static enum status walk_entry(struct found *f, struct buf *path, size_t root_len, int depth,
    struct error *e)
{
	struct stat sb;

	if (lstat(path->data, &sb) == -1)
		return error_os(e, errno, "cannot look at %s", path->data);
	if (S_ISREG(sb.st_mode))
		return found_add(f, path->data + root_len, e);
	if (S_ISDIR(sb.st_mode))
		return walk(f, path, root_len, depth + 1, e);
	return error_set(e, ST_CONFIG, "%.200s in $EBB_OUTPUT is %s; only files and folders are "
	    "committed", path->data + root_len, kind_of(sb.st_mode));
}

/* The folder's own entries are durable after it. */
static enum status walk(struct found *f, struct buf *path, size_t root_len, int depth,
    struct error *e)
{
	size_t len = path->len;
	enum status st;
	struct dirent *ent;
	DIR *d;

	if (depth > OUT_FOLDER_DEPTH_MAX)
		return error_set(e, ST_CONFIG, "folders in $EBB_OUTPUT are more than %d deep",
		    OUT_FOLDER_DEPTH_MAX);
	st = may_move_out(path->data, depth == 1, e);
	if (st != ST_OK)
		return st;
	d = opendir(path->data);
	if (d == NULL)
		return error_os(e, errno, "cannot read the folder %s", path->data);
	while (st == ST_OK && (errno = 0, ent = readdir(d)) != NULL) {
		if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0)
			continue;
		buf_printf(path, "/%s", ent->d_name);
		st = buf_check(path, e);
		if (st == ST_OK)
			st = walk_entry(f, path, root_len, depth, e);
		buf_cut(path, len);
	}
	if (st == ST_OK && errno != 0)
		st = error_os(e, errno, "cannot read the folder %s", path->data);
	(void)closedir(d);
	return st == ST_OK ? file_sync_dir(path->data, e) : st;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum status seal_one(struct attempt *a, const char *target, const char *name,
    struct error *e)
{
	struct buf path = {0};
	struct buf final = {0};
	struct store_sum sum;
	enum status st;

	buf_printf(&path, "%s/%s", a->private_path, name);
	st = buf_check(&path, e);
	if (st == ST_OK)
		st = final_name_below(target, name, &final, e);
	if (st == ST_OK)
		st = store_seal(a->w->store, path.data, &sum, e);
	if (st == ST_OK)
		st = attempt_add_file(a, &path.data, final.data, &sum, e);
	buf_free(&path);
	buf_free(&final);
	return st;
}

static enum status seal_found(struct attempt *a, const struct found *f, struct error *e)
{
	struct buf target = {0};
	enum status st = target_folder(a, &target, e);
	size_t i;

	if (st == ST_OK)
		st = attempt_room(a, f->n, e);
	for (i = 0; st == ST_OK && i < f->n; i++)
		st = seal_one(a, target.data, f->list[i], e);
	buf_free(&target);
	return st;
}

enum status out_folder_seal(struct attempt *a, struct error *e)
{
	struct found f = {0};
	struct buf path = {0};
	enum status st;

	buf_str(&path, a->private_path);
	st = buf_check(&path, e);
	if (st == ST_OK)
		st = walk(&f, &path, path.len + 1, 1, e);
	if (f.n > 0)
		qsort(f.list, f.n, sizeof(*f.list), by_name);
	if (st == ST_OK && f.n > 0)
		st = seal_found(a, &f, e);
	if (st == ST_OK && f.n == 0)
		out_folder_remove(a);
	found_free(&f);
	buf_free(&path);
	return st;
}
