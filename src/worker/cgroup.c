#include "worker/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"
#include "worker/procs.h"
#include "worker/spawn.h"

enum {
	SMALL = 64 << 10,
	MOUNTS_MAX = 16 << 20,
	MOVE_ROUNDS = 10,      /* what is moved may fork meanwhile */
	REMOVE_ROUNDS = 100,   /* the kernel may need a moment to forget the dead */
	REMOVE_PAUSE_MS = 2,
	WALK_FDS = 8,
};

static const char name_prefix[] = "ebb-";

/* ---- where this process is ---- */

bool cgroup_parse_path(const char *text, struct buf *path)
{
	const char *line = text;

	while (strncmp(line, "0::/", 4) != 0) {
		line = strchr(line, '\n');
		if (line == NULL)
			return false;
		line++;
	}
	buf_append(path, line + 3, strcspn(line + 3, "\n"));
	return !path->failed;
}

/* A field of mountinfo up to the next space, with its \040 undone. */
static void add_field(const char *p, struct buf *out)
{
	for (; *p != ' ' && *p != '\n' && *p != '\0'; p++) {
		if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' &&
		    p[3] >= '0' && p[3] <= '7') {
			buf_char(out, (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + p[3] - '0'));
			p += 3;
		} else {
			buf_char(out, *p);
		}
	}
}

/* The nth field from here, from 0; NULL: the line has fewer. */
static const char *field_at(const char *line, int n)
{
	for (; n > 0; n--) {
		line += strcspn(line, " \n");
		if (*line != ' ')
			return NULL;
		line++;
	}
	return line;
}

/* ID PARENT DEVICE ROOT POINT OPTIONS... - TYPE SOURCE OPTIONS */
static bool mount_shows(const char *line, const char *path, struct buf *folder)
{
	const char *root = field_at(line, 3);
	const char *point = field_at(line, 4);
	const char *type = field_at(line, 6);
	struct buf top = {0};
	bool shows;

	while (type != NULL && strncmp(type, "- ", 2) != 0)
		type = field_at(type, 1);
	if (root == NULL || point == NULL || type == NULL || *root != '/' || strncmp(type, "- cgroup2 ", 10) != 0)
		return false;
	add_field(root, &top);
	if (top.len == 1)
		buf_cut(&top, 0); /* the whole hierarchy */
	shows = top.data != NULL && strncmp(path, top.data, top.len) == 0 &&
	    (path[top.len] == '/' || path[top.len] == '\0');
	if (shows) {
		buf_clear(folder);
		add_field(point, folder);
		if (strcmp(path + top.len, "/") != 0)
			buf_str(folder, path + top.len);
		shows = !folder->failed;
	}
	buf_free(&top);
	return shows;
}

bool cgroup_parse_mounts(const char *text, const char *path, struct buf *folder)
{
	const char *line;
	const char *next;
	bool found = false;

	/* A later one may cover an earlier one. */
	for (line = text; *line != '\0'; line = next) {
		found = mount_shows(line, path, folder) || found;
		next = strchr(line, '\n');
		next = next == NULL ? line + strlen(line) : next + 1;
	}
	return found;
}

static enum status find_own(struct buf *folder, struct error *e)
{
	struct buf text = {0};
	struct buf path = {0};
	enum status st = file_read("/proc/self/cgroup", SMALL, &text, e);

	if (st == ST_OK && (text.len == 0 || !cgroup_parse_path(text.data, &path)))
		st = error_set(e, ST_NOT_FOUND, "this machine has no cgroups of version 2");
	buf_clear(&text);
	if (st == ST_OK)
		st = file_read("/proc/self/mountinfo", MOUNTS_MAX, &text, e);
	if (st == ST_OK && (text.len == 0 || !cgroup_parse_mounts(text.data, path.data, folder)))
		st = error_set(e, ST_NOT_FOUND, "no cgroup2 is mounted that shows %s", path.data);
	buf_free(&text);
	buf_free(&path);
	return st;
}

int64_t cgroup_memory_max(void)
{
	struct buf folder = {0};
	struct buf file = {0};
	int64_t least = INT64_MAX;
	char *slash = NULL;

	if (find_own(&folder, NULL) == ST_OK)
		slash = folder.data + folder.len;
	for (; slash != NULL; slash = strrchr(folder.data, '/')) {
		int64_t max;

		*slash = '\0';
		buf_clear(&file);
		buf_printf(&file, "%s/memory.max", folder.data);
		max = file.failed ? -1 : file_number(file.data, NULL);
		if (max >= 0 && max < least)
			least = max;
	}
	buf_free(&folder);
	buf_free(&file);
	return least;
}

/* ---- files of a cgroup ---- */

/* 0 or errno. */
static int put_word(const char *folder, const char *leaf, const char *word)
{
	struct buf path = {0};
	int err = ENOMEM;
	int fd;

	buf_printf(&path, "%s/%s", folder, leaf);
	if (!path.failed) {
		fd = sys_open(path.data, O_WRONLY, 0);
		err = fd == -1 ? errno : 0;
		if (fd != -1 && sys_write(fd, word, strlen(word)) == -1)
			err = errno;
		if (fd != -1)
			(void)sys_close(fd);
	}
	buf_free(&path);
	return err;
}

static enum status read_leaf(const char *folder, const char *leaf, struct buf *out,
    struct error *e)
{
	struct buf path = {0};
	enum status st;

	buf_printf(&path, "%s/%s", folder, leaf);
	st = buf_check(&path, e);
	if (st == ST_OK)
		st = file_read(path.data, SMALL, out, e);
	buf_free(&path);
	return st;
}

/* -1: it has no such file, or no number there. */
static int64_t leaf_number(const char *folder, const char *leaf, const char *after)
{
	struct buf path = {0};
	int64_t n = -1;

	buf_printf(&path, "%s/%s", folder, leaf);
	if (!path.failed)
		n = file_number(path.data, after);
	buf_free(&path);
	return n;
}

static bool is_descendant(int32_t pid, int32_t of)
{
	struct proc_stat st;

	while (pid != of) {
		if (pid <= 1 || !proc_stat_read(pid, &st))
			return false;
		pid = st.ppid;
	}
	return true;
}

/* Is every process in it this one or below it? One that has ended meanwhile is
 * nobody's. */
static enum status check_alone(const char *folder, struct error *e)
{
	struct buf list = {0};
	enum status st = read_leaf(folder, "cgroup.procs", &list, e);
	char *save = NULL;
	char *word = list.len == 0 ? NULL : strtok_r(list.data, "\n", &save);
	struct proc_stat now;

	for (; st == ST_OK && word != NULL; word = strtok_r(NULL, "\n", &save)) {
		int32_t one = (int32_t)strtol(word, NULL, 10); /* 0: not to be seen from here */

		if (!is_descendant(one, (int32_t)getpid()) && (one == 0 || proc_stat_read(one, &now)))
			st = error_set(e, ST_BUSY, "%s holds other processes too (such as %d); "
			    "systemd-run --user --scope -p Delegate=yes ebb ... starts ebb in a "
			    "cgroup of its own", folder, one);
	}
	buf_free(&list);
	return st;
}

static enum status move_all(const char *from, const char *to, struct error *e)
{
	struct buf list = {0};
	enum status st = read_leaf(from, "cgroup.procs", &list, e);
	char *save = NULL;
	char *word = list.len == 0 ? NULL : strtok_r(list.data, "\n", &save);

	for (; st == ST_OK && word != NULL; word = strtok_r(NULL, "\n", &save)) {
		int err = put_word(to, "cgroup.procs", word);

		if (err != 0 && err != ESRCH)
			st = error_os(e, err, "cannot move process %s to %s", word, to);
	}
	buf_free(&list);
	return st;
}

/* ---- the folder of a worker ---- */

static int remove_walked(const char *path, const struct stat *sb, int type, struct FTW *at)
{
	(void)sb;
	(void)at;
	if (type == FTW_DP)
		(void)!sys_rmdir(path);
	return 0;
}

/* Whoever is in main goes back to where it came from, which is possible when that
 * hands nothing on any more. */
static void move_back(const char *folder)
{
	struct buf leaf = {0};
	struct buf base = {0};

	buf_printf(&leaf, "%s/main", folder);
	file_dirname(folder, &base);
	if (!leaf.failed && !base.failed && access(leaf.data, F_OK) == 0) {
		(void)put_word(folder, "cgroup.subtree_control", "-memory");
		(void)put_word(base.data, "cgroup.subtree_control", "-memory");
		(void)move_all(leaf.data, base.data, NULL);
	}
	buf_free(&leaf);
	buf_free(&base);
}

static void remove_folder(const char *folder)
{
	static const struct timespec pause = {.tv_nsec = REMOVE_PAUSE_MS * 1000000};
	int i;

	for (i = 0; i < REMOVE_ROUNDS; i++) {
		(void)nftw(folder, remove_walked, WALK_FDS, FTW_DEPTH | FTW_PHYS);
		if (access(folder, F_OK) == -1)
			return;
		move_back(folder);
		(void)nanosleep(&pause, NULL);
	}
}

/* Moves all of `base` into main, and hands memory on then. */
static enum status make_room(const char *base, const char *folder, struct error *e)
{
	struct buf leaf = {0};
	int err = EBUSY;
	enum status st;
	int i;

	buf_printf(&leaf, "%s/main", folder);
	st = buf_check(&leaf, e);
	if (st == ST_OK)
		st = check_alone(base, e);
	if (st == ST_OK && sys_mkdir(leaf.data, 0755) == -1)
		st = error_os(e, errno, "cannot make the cgroup %s", leaf.data);
	for (i = 0; st == ST_OK && err == EBUSY && i < MOVE_ROUNDS; i++) {
		st = move_all(base, leaf.data, e);
		err = put_word(base, "cgroup.subtree_control", "+memory");
	}
	if (st == ST_OK && err != 0)
		st = error_os(e, err, "the cgroup %s cannot hand memory on", base);
	buf_free(&leaf);
	return st;
}

static enum status check_controller(const char *base, struct error *e)
{
	struct buf list = {0};
	enum status st = read_leaf(base, "cgroup.controllers", &list, e);
	char *save = NULL;
	char *word = st != ST_OK || list.len == 0 ? NULL : strtok_r(list.data, " \n", &save);

	while (word != NULL && strcmp(word, "memory") != 0)
		word = strtok_r(NULL, " \n", &save);
	if (st == ST_OK && word == NULL)
		st = error_set(e, ST_NOT_FOUND, "%s has no memory controller: cgroup v1 has it, or "
		    "the cgroup above does not hand it on", base);
	buf_free(&list);
	return st;
}

static enum status write_note(const char *note, const char *folder, struct error *e)
{
	int fd = sys_open(note, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	enum status st;

	if (fd == -1)
		return error_os(e, errno, "cannot make %s", note);
	st = file_write_all(fd, folder, strlen(folder), note, e);
	(void)sys_close(fd);
	return st;
}

/* Can a child begin in it? Linux 5.7; a seccomp filter may say no. */
static enum status try_child(const char *folder, struct error *e)
{
	struct buf path = {0};
	enum status st;
	int fd = -1;

	buf_printf(&path, "%s/0", folder);
	st = buf_check(&path, e);
	if (st == ST_OK && (sys_mkdir(path.data, 0755) == -1 ||
	    (fd = sys_open(path.data, O_RDONLY | O_DIRECTORY, 0)) == -1 ||
	    !spawn_can_enter(fd)))
		st = error_os(e, errno, "no process can begin in the cgroup %s", path.data);
	if (fd != -1)
		(void)sys_close(fd);
	buf_free(&path);
	return st;
}

static enum status fill_folder(const char *base, const char *folder, struct error *e)
{
	int err = put_word(base, "cgroup.subtree_control", "+memory");
	enum status st = ST_OK;

	if (err == EBUSY) {
		err = 0;
		st = make_room(base, folder, e);
	}
	if (st == ST_OK && err == 0)
		err = put_word(folder, "cgroup.subtree_control", "+memory");
	if (st == ST_OK && err != 0)
		st = error_os(e, err, "the cgroup %s cannot hand memory on", base);
	return st == ST_OK ? try_child(folder, e) : st;
}

static enum status open_in(const char *base, const char *name, const char *note, struct error *e)
{
	struct buf folder = {0};
	enum status st = check_controller(base, e);

	buf_printf(&folder, "%s/%s%s", base, name_prefix, name);
	if (st == ST_OK)
		st = buf_check(&folder, e);
	if (st == ST_OK && note != NULL)
		st = write_note(note, folder.data, e);
	if (st == ST_OK && sys_mkdir(folder.data, 0755) == -1)
		st = error_os(e, errno, "cannot make a cgroup in %s", base);
	else if (st == ST_OK) {
		st = fill_folder(base, folder.data, e);
		if (st != ST_OK || note == NULL)
			remove_folder(folder.data);
	}
	if (st != ST_OK && note != NULL)
		(void)!sys_unlink(note);
	buf_free(&folder);
	return st;
}

enum status cgroup_open(const char *name, const char *note, struct error *e)
{
	struct buf base = {0};
	enum status st = find_own(&base, e);

	if (st == ST_OK)
		st = open_in(base.data, name, note, e);
	buf_free(&base);
	return st;
}

enum status cgroup_check(struct buf *where, struct error *e)
{
	char name[32];
	enum status st = find_own(where, e);

	(void)snprintf(name, sizeof(name), "doctor-%ld", (long)getpid());
	return st == ST_OK ? open_in(where->data, name, NULL, e) : st;
}

void cgroup_remove(const char *note)
{
	struct buf folder = {0};
	const char *name;

	if (file_read(note, SMALL, &folder, NULL) == ST_OK && folder.len > 0) {
		name = strrchr(folder.data, '/');
		if (name != NULL && strncmp(name + 1, name_prefix, strlen(name_prefix)) == 0)
			remove_folder(folder.data);
	}
	buf_free(&folder);
}

/* ---- children ---- */

struct limited {
	uint32_t number; /* of its folder; 0: none is there */
	int64_t limit;   /* 0: it has ended, the folder is still to be removed */
};

struct cgroups {
	const char *note;
	struct buf folder; /* empty: not known yet, or none */
	bool looked;
	bool said;
	uint32_t n;
	struct limited *lane;
};

struct cgroups *cgroups_create(const char *note, int lanes)
{
	struct cgroups *c = mem_zero(sizeof(*c));

	if (c == NULL)
		return NULL;
	c->note = note;
	c->lane = mem_zero((size_t)lanes * sizeof(*c->lane));
	if (c->lane == NULL) {
		free(c);
		return NULL;
	}
	return c;
}

void cgroups_destroy(struct cgroups *c)
{
	if (c == NULL)
		return;
	buf_free(&c->folder);
	free(c->lane);
	free(c);
}

static void child_path(const struct cgroups *c, int lane, struct buf *out)
{
	buf_printf(out, "%s/%u", c->folder.data, c->lane[lane].number);
}

/* The descriptor, or -1 with errno. */
static int make_child(const char *path, int64_t bytes)
{
	char number[24];
	int err;

	if (sys_mkdir(path, 0755) == -1)
		return -1;
	(void)snprintf(number, sizeof(number), "%lld", (long long)bytes);
	/* Swapping would put off the end, and killing one of several processes would
	 * leave the rest to fail in their own ways. Neither file is everywhere. */
	(void)put_word(path, "memory.swap.max", "0");
	(void)put_word(path, "memory.oom.group", "1");
	err = put_word(path, "memory.max", number);
	if (err == 0)
		return sys_open(path, O_RDONLY | O_DIRECTORY, 0);
	errno = err;
	return -1;
}

static void remove_child(struct cgroups *c, int lane)
{
	struct buf path = {0};

	child_path(c, lane, &path);
	if (!path.failed && (sys_rmdir(path.data) == 0 || errno == ENOENT))
		c->lane[lane].number = 0;
	buf_free(&path);
}

int cgroups_begin(struct cgroups *c, int lane, int64_t bytes)
{
	struct buf path = {0};
	int fd = -1;

	if (c == NULL || bytes <= 0)
		return 0;
	if (!c->looked && file_read(c->note, SMALL, &c->folder, NULL) != ST_OK)
		buf_clear(&c->folder);
	c->looked = true;
	if (c->folder.len == 0)
		return 0;
	if (c->lane[lane].number != 0)
		remove_child(c, lane);
	c->lane[lane].number = ++c->n;
	c->lane[lane].limit = bytes;
	child_path(c, lane, &path);
	errno = ENOMEM;
	if (!path.failed)
		fd = make_child(path.data, bytes);
	if (fd == -1) {
		if (!c->said)
			log_line(LOG_INFO, "a command runs without its memory limit: cannot make a "
			    "cgroup in %s: %s", c->folder.data, strerror(errno));
		c->said = true;
		c->lane[lane].limit = 0;
		remove_child(c, lane);
	}
	buf_free(&path);
	return fd == -1 ? 0 : fd;
}

void cgroups_end(struct cgroups *c, int lane, struct cgroup_use *use)
{
	struct buf path = {0};
	int64_t kills;

	memset(use, 0, sizeof(*use));
	if (c == NULL || c->lane[lane].limit == 0)
		return;
	use->limit = c->lane[lane].limit;
	c->lane[lane].limit = 0;
	child_path(c, lane, &path);
	if (!path.failed) {
		/* Of this cgroup alone: a limit that the command set itself, further down,
		 * is its own affair. */
		kills = leaf_number(path.data, "memory.events.local", "\noom_kill");
		use->kills = kills > INT32_MAX ? INT32_MAX : kills < 0 ? 0 : (int32_t)kills;
		if (kills > 0) {
			use->own = leaf_number(path.data, "memory.events.local", "\noom ") > 0;
			use->peak = leaf_number(path.data, "memory.peak", NULL);
		}
	}
	buf_free(&path);
	remove_child(c, lane);
}
