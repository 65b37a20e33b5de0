/* The local folder as a store. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "base/sys.h"
#include "store/backend.h"

/* Where rename works: within one mount of one device. A folder that is bind
 * mounted from the same disk is another mount. */
struct mount_place {
	dev_t dev;
	uint64_t mount;
};

struct mark {
	char text[17];
};

struct file_store {
	char *private_dir;
	char mark[17];       /* of private_dir, among all states */
	struct mount_place private_place;
};

/* 16 hex digits of a path's hash. */
static struct mark mark_of(const char *path)
{
	struct mark m = {""};
	struct buf hex = {0};
	struct hash *h = hash_create();
	uint8_t sum[HASH_SIZE];

	if (h != NULL) {
		hash_field(h, path, strlen(path));
		hash_final(h, sum);
		str_hex(&hex, sum, 8);
		if (!hex.failed)
			memcpy(m.text, hex.data, sizeof(m.text));
	}
	hash_destroy(h);
	buf_free(&hex);
	return m;
}

static int place_of(const char *path, struct mount_place *out)
{
	struct statx sx;

	if (statx(AT_FDCWD, path, 0, STATX_BASIC_STATS | STATX_MNT_ID, &sx) == -1)
		return -1;
	out->dev = makedev(sx.stx_dev_major, sx.stx_dev_minor);
	out->mount = (sx.stx_mask & STATX_MNT_ID) != 0 ? sx.stx_mnt_id : 0;
	return 0;
}

static bool same_place(const struct mount_place *a, const struct mount_place *b)
{
	return a->dev == b->dev && a->mount == b->mount;
}

static void file_close(void *self)
{
	struct file_store *fs = self;

	free(fs->private_dir);
	free(fs);
}

static enum status file_open(const char *rest, const char *private_dir, void **self,
    struct error *e)
{
	struct file_store *fs;
	struct mount_place place;
	char *real;

	if (rest[0] != '\0')
		return error_set(e, ST_CONFIG, "file: takes no path, names are relative to the "
		    "current folder");
	if (place_of(private_dir, &place) == -1)
		return error_os(e, errno, "cannot look at %s", private_dir);
	fs = mem_zero(sizeof(*fs));
	if (fs == NULL || (fs->private_dir = mem_dup(private_dir, strlen(private_dir))) == NULL) {
		free(fs);
		return error_set(e, ST_NO_MEMORY, "out of memory");
	}
	fs->private_place = place;
	real = realpath(private_dir, NULL);
	if (real != NULL)
		memcpy(fs->mark, mark_of(real).text, sizeof(fs->mark));
	free(real);
	if (fs->mark[0] == '\0') {
		file_close(fs);
		return error_set(e, ST_NO_MEMORY, "out of memory");
	}
	*self = fs;
	return ST_OK;
}

/* The nearest folder above `path` that exists. */
static enum status existing_above(const char *path, struct buf *dir, struct mount_place *place,
    struct error *e)
{
	file_dirname(path, dir);
	for (;;) {
		struct buf up = {0};

		if (dir->failed || dir->data == NULL)
			return error_set(e, ST_NO_MEMORY, "out of memory");
		if (place_of(dir->data, place) == 0)
			return ST_OK;
		if ((errno != ENOENT && errno != ENOTDIR) || strcmp(dir->data, ".") == 0 ||
		    strcmp(dir->data, "/") == 0)
			return error_os(e, errno, "cannot look at the folder %s", dir->data);
		file_dirname(dir->data, &up);
		buf_free(dir);
		*dir = up;
	}
}

/* On another file system: a hidden folder whose name is this private folder's
 * own, so that two states never meet in it, and a link to it, by which
 * housekeeping finds what is left there. */
static enum status foreign_folder(struct file_store *fs, struct buf *dir, struct error *e)
{
	struct buf link = {0};
	char *real;
	enum status st;

	buf_printf(dir, "/.ebb-private.%s", fs->mark);
	if (dir->data == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = buf_check(dir, e);
	if (st == ST_OK && access(dir->data, F_OK) == 0)
		return ST_OK;
	if (st == ST_OK)
		st = file_mkdirs(dir->data, 0700, e);
	if (st != ST_OK)
		return st;
	real = realpath(dir->data, NULL);
	if (real == NULL)
		return error_os(e, errno, "cannot resolve %s", dir->data);
	buf_printf(&link, "%s/at.%s", fs->private_dir, mark_of(real).text);
	st = buf_check(&link, e);
	if (st == ST_OK && symlink(real, link.data) == -1 && errno != EEXIST)
		st = error_os(e, errno, "cannot make the link %s", link.data);
	free(real);
	buf_free(&link);
	return st;
}

static enum status file_private_name(void *self, const char *final, const char *leaf,
    struct buf *out, struct error *e)
{
	struct file_store *fs = self;
	struct buf dir = {0};
	struct mount_place place = fs->private_place;
	enum status st = ST_OK;

	if (final[0] != '\0')
		st = existing_above(final, &dir, &place, e);
	if (st == ST_OK && same_place(&place, &fs->private_place)) {
		buf_printf(out, "%s/%s", fs->private_dir, leaf);
	} else if (st == ST_OK) {
		st = foreign_folder(fs, &dir, e);
		if (st == ST_OK)
			buf_printf(out, "%s/%s", dir.data, leaf);
	}
	buf_free(&dir);
	return st == ST_OK ? buf_check(out, e) : st;
}

static enum status sum_file(const char *name, bool sync, struct store_sum *out, struct error *e)
{
	struct stat sb;
	struct hash *h;
	enum status st;
	int fd = sys_open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);

	if (fd == -1)
		return error_os(e, errno, "cannot open %s", name);
	h = hash_create();
	if (h == NULL)
		st = error_set(e, ST_NO_MEMORY, "out of memory");
	else if (fstat(fd, &sb) == -1 || !S_ISREG(sb.st_mode))
		st = error_set(e, ST_EXISTS, "%s is not a regular file", name);
	else if (sync && sys_fsync(fd) == -1)
		st = error_os(e, errno, "cannot sync %s", name);
	else
		st = hash_fd(h, fd, name, out->hash, &out->size, e);
	hash_destroy(h);
	if (sys_close(fd) == -1 && st == ST_OK)
		st = error_os(e, errno, "cannot close %s", name);
	return st;
}

static enum status file_seal(void *self, const char *private_name, struct store_sum *out,
    struct error *e)
{
	(void)self;
	return sum_file(private_name, true, out, e);
}

static enum status file_sync_names(void *self, const char *const *names, size_t n,
    struct error *e)
{
	struct buf last = {0};
	struct buf dir = {0};
	enum status st = ST_OK;
	size_t i;

	(void)self;
	for (i = 0; st == ST_OK && i < n; i++) {
		buf_clear(&dir);
		file_dirname(names[i], &dir);
		st = buf_check(&dir, e);
		if (st != ST_OK || (last.len > 0 && strcmp(last.data, dir.data) == 0))
			continue;
		st = file_sync_dir(dir.data, e);
		buf_clear(&last);
		buf_str(&last, dir.data);
	}
	buf_free(&last);
	buf_free(&dir);
	return st;
}

static bool same_sum(const struct store_sum *a, const struct store_sum *b)
{
	return a->size == b->size && memcmp(a->hash, b->hash, HASH_SIZE) == 0;
}

/* What stands at a final name: ST_NOT_FOUND, or ST_OK with its sum. A thing
 * that is no regular file gets a sum that is nobody's. */
static enum status look_at(const char *name, struct store_sum *out, struct error *e)
{
	struct stat sb;

	if (lstat(name, &sb) == -1)
		return errno == ENOENT || errno == ENOTDIR
		    ? ST_NOT_FOUND : error_os(e, errno, "cannot look at %s", name);
	if (!S_ISREG(sb.st_mode)) {
		out->size = -1;
		return ST_OK;
	}
	return sum_file(name, false, out, e);
}

static enum status make_parents(const char *final, struct error *e)
{
	struct buf dir = {0};
	enum status st;

	file_dirname(final, &dir);
	st = buf_check(&dir, e);
	if (st == ST_OK)
		st = file_mkdirs(dir.data, 0777, e);
	buf_free(&dir);
	return st;
}

/* The private file is there and so is something with the final name. */
static enum status replace(const char *private_name, const char *final,
    const struct store_sum *mine, const struct store_sum *previous, struct error *e)
{
	struct store_sum there = {0};
	enum status st = look_at(final, &there, e);

	if (st == ST_NOT_FOUND)
		return error_set(e, ST_TRANSIENT, "%s came and went while it was looked at", final);
	if (st != ST_OK)
		return st;
	if (!same_sum(&there, mine) && (previous == NULL || !same_sum(&there, previous)))
		return error_set(e, ST_EXISTS,
		    "%s exists and was not written by ebb; move it away, or choose another output name",
		    final);
	if (sys_rename(private_name, final) == -1)
		return error_os(e, errno, "cannot rename %s to %s", private_name, final);
	return ST_OK;
}

/* The private file is gone: somebody finished this before, or it is lost. */
static enum status published_before(const char *private_name, const char *final,
    const struct store_sum *mine, struct error *e)
{
	struct store_sum there = {0};
	enum status st = look_at(final, &there, e);

	if (st == ST_OK && same_sum(&there, mine))
		return ST_OK;
	if (st == ST_OK || st == ST_NOT_FOUND)
		return error_set(e, ST_NOT_FOUND, "%s is gone and %s is not it", private_name,
		    final);
	return st;
}

static enum status file_publish(void *self, const char *private_name, const char *final,
    const struct store_sum *mine, const struct store_sum *previous, struct error *e)
{
	struct stat sb;
	enum status st;

	(void)self;
	if (sys_rename_noreplace(private_name, final) == 0)
		return ST_OK;
	if (errno == ENOENT || errno == ENOTDIR) {
		if (lstat(private_name, &sb) == -1)
			return published_before(private_name, final, mine, e);
		st = make_parents(final, e);
		if (st != ST_OK)
			return st;
		if (sys_rename_noreplace(private_name, final) == 0)
			return ST_OK;
	}
	if (errno == EEXIST)
		return replace(private_name, final, mine, previous, e);
	st = error_os(e, errno, "cannot rename %s to %s", private_name, final);
	/* The private file was there just now: it is not "gone". */
	return st == ST_NOT_FOUND ? ST_TRANSIENT : st;
}

static enum status file_discard(void *self, const char *private_name, struct error *e)
{
	(void)self;
	if (sys_unlink(private_name) == -1 && errno != ENOENT && errno != ENOTDIR)
		return error_os(e, errno, "cannot remove %s", private_name);
	return ST_OK;
}

static enum status file_check(void *self, const char *name, const struct store_sum *sum,
    struct error *e)
{
	struct store_sum there = {0};
	enum status st = look_at(name, &there, e);

	(void)self;
	if (st == ST_NOT_FOUND)
		return error_set(e, ST_NOT_FOUND, "%s is not there", name);
	if (st == ST_OK && !same_sum(&there, sum))
		return error_set(e, ST_EXISTS, "%s holds other bytes", name);
	return st;
}

const struct store_backend store_backend_file = {
	.scheme = "file",
	.open = file_open,
	.close = file_close,
	.private_name = file_private_name,
	.seal = file_seal,
	.sync_names = file_sync_names,
	.publish = file_publish,
	.discard = file_discard,
	.check = file_check,
};
