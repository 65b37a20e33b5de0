#include "fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER_SIZE = 32, SNAPSHOT_MAX = 64 << 20 };

/* The log is opened anew for each record: the guardian closes descriptors that
 * it does not know, and their numbers are soon somebody else's. */
static struct {
	char log[PATH_MAX];
	char root[PATH_MAX];
	size_t root_len;
} rec;

/* A log with a hole in it would prove nothing. */
_Noreturn static void give_up(const char *what)
{
	(void)fprintf(stderr, "ebb-fault: cannot record: %s: %s\n", what, strerror(errno));
	abort();
}

void record_start(const char *log_path, const char *root)
{
	int fd;

	if (root == NULL || realpath(root, rec.root) == NULL)
		give_up("EBB_FAULT_ROOT");
	rec.root_len = strlen(rec.root);
	fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd == -1 || close(fd) == -1 || realpath(log_path, rec.log) == NULL)
		give_up(log_path);
}

bool record_on(void)
{
	return rec.log[0] != '\0';
}

/* Takes the root off an absolute path without symlinks. */
static bool under_root(const char *abs, char *out, size_t size)
{
	if (strncmp(abs, rec.root, rec.root_len) != 0)
		return false;
	abs += rec.root_len;
	if (*abs == '\0')
		abs = "/.";
	if (*abs != '/')
		return false;
	if (snprintf(out, size, "%s", abs + 1) >= (int)size)
		give_up("path too long");
	return true;
}

bool record_path(const char *path, char *out, size_t size)
{
	char dir[PATH_MAX];
	char real[PATH_MAX];
	char full[PATH_MAX + NAME_MAX + 2];
	char *slash;
	const char *name = path;

	if (snprintf(dir, sizeof(dir), "%s", path) >= (int)sizeof(dir))
		return false;
	slash = dir + strlen(dir);
	while (slash > dir + 1 && slash[-1] == '/')
		*--slash = '\0';
	slash = strrchr(dir, '/');
	if (slash == NULL) {
		name = path;
		(void)snprintf(dir, sizeof(dir), ".");
	} else {
		name = path + (slash - dir) + 1;
		slash[slash == dir ? 1 : 0] = '\0';
	}
	if (realpath(dir, real) == NULL)
		return false;
	if (strcmp(name, ".") == 0 || strcmp(name, "") == 0)
		return under_root(real, out, size);
	if (snprintf(full, sizeof(full), "%s/%.*s", strcmp(real, "/") == 0 ? "" : real,
	    (int)strcspn(name, "/"), name) >= (int)sizeof(full))
		return false;
	return under_root(full, out, size);
}

bool record_path_of_fd(int fd, char *out, size_t size)
{
	static const char gone[] = " (deleted)";
	char link[64];
	char abs[PATH_MAX];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, abs, sizeof(abs) - 1);
	if (n <= 0)
		return false;
	abs[n] = '\0';
	if ((size_t)n > strlen(gone) && strcmp(abs + n - strlen(gone), gone) == 0)
		return false;
	return under_root(abs, out, size);
}

uint64_t record_inode(int fd)
{
	struct stat sb;

	return fstat(fd, &sb) == -1 ? 0 : (uint64_t)sb.st_ino;
}

static void put(unsigned char *p, uint64_t v, size_t bytes)
{
	size_t i;

	for (i = 0; i < bytes; i++)
		p[i] = (unsigned char)(v >> (8 * i));
}

static void append(const unsigned char *data, size_t len)
{
	int fd = open(rec.log, O_WRONLY | O_APPEND | O_CLOEXEC);

	if (fd == -1)
		give_up(rec.log);
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n == -1 && errno != EINTR)
			give_up("write");
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	(void)close(fd);
}

void record_write_one(enum record_op op, uint64_t inode, int64_t arg, const char *path,
    const char *path2, const void *data, size_t len)
{
	size_t a = strlen(path);
	size_t b = strlen(path2);
	size_t total = HEADER_SIZE + a + b + len;
	unsigned char *r = malloc(total);

	if (r == NULL)
		give_up("malloc");
	put(r, total, 4);
	put(r + 4, (uint64_t)getpid(), 4);
	put(r + 8, (uint64_t)op, 2);
	put(r + 10, a, 2);
	put(r + 12, b, 2);
	put(r + 14, 0, 2);
	put(r + 16, inode, 8);
	put(r + 24, (uint64_t)arg, 8);
	memcpy(r + HEADER_SIZE, path, a);
	memcpy(r + HEADER_SIZE + a, path2, b);
	if (len > 0)
		memcpy(r + HEADER_SIZE + a + b, data, len);
	append(r, total);
	free(r);
}

void record_snapshot(const char *rel, int fd)
{
	char link[64];
	struct stat sb;
	char *data;
	size_t len = 0;
	int in;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	in = open(link, O_RDONLY | O_CLOEXEC);
	if (in == -1 || fstat(in, &sb) == -1)
		give_up(rel);
	if (sb.st_size > SNAPSHOT_MAX) {
		errno = EFBIG;
		give_up(rel);
	}
	data = malloc((size_t)sb.st_size + 1);
	if (data == NULL)
		give_up("malloc");
	while (len < (size_t)sb.st_size) {
		ssize_t n = pread(in, data + len, (size_t)sb.st_size - len, (off_t)len);

		if (n == -1)
			give_up(rel);
		if (n == 0)
			break;
		len += (size_t)n;
	}
	(void)close(in);
	record_write_one(REC_SNAPSHOT, (uint64_t)sb.st_ino, 0, rel, "", data, len);
	free(data);
}

static char type_letter(unsigned char type)
{
	switch (type) {
	case DT_REG: return 'f';
	case DT_DIR: return 'd';
	case DT_LNK: return 'l';
	default: return '?';
	}
}

static bool is_listed(const char *name)
{
	size_t n = strlen(name);

	/* SQLite's shared memory is made anew from the log of writes. */
	if (n > 4 && strcmp(name + n - 4, "-shm") == 0)
		return false;
	return strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

void *record_listing(const char *rel, size_t *len)
{
	char path[2 * PATH_MAX];
	unsigned char *out = NULL;
	struct dirent *ent;
	DIR *d;

	*len = 0;
	(void)snprintf(path, sizeof(path), "%s/%s", rec.root, rel);
	d = opendir(path);
	if (d == NULL)
		give_up(path);
	while ((ent = readdir(d)) != NULL) {
		size_t n = strlen(ent->d_name);
		unsigned char *bigger;

		if (!is_listed(ent->d_name))
			continue;
		bigger = realloc(out, *len + n + 10);
		if (bigger == NULL)
			give_up("malloc");
		out = bigger;
		out[*len] = (unsigned char)type_letter(ent->d_type);
		put(out + *len + 1, ent->d_ino, 8);
		memcpy(out + *len + 9, ent->d_name, n + 1);
		*len += n + 10;
	}
	(void)closedir(d);
	return out;
}
