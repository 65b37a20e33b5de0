#include "worker/care.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"
#include "worker/name.h"
#include "worker/outputs.h"

#define DAY_MS ((int64_t)86400000)

enum { PRUNE_ROWS = 20000, BUSY_MS = 2000 };

struct care {
	struct state *state;
	struct ledger *ledger;
	const struct care_options *opt;
	struct care_report *report;
	int64_t now_ms;
};

struct care_options care_default(void)
{
	struct care_options o = {.good_log_ms = 7 * DAY_MS, .failed_log_ms = 30 * DAY_MS,
	    .run_ms = 30 * DAY_MS, .max_bytes = (int64_t)10 << 30};

	return o;
}

/* Calls fn for each entry of a folder that is there. */
typedef enum status (*entry_fn)(struct care *c, const char *dir, const char *name, void *arg,
    struct error *e);

static enum status each_entry(struct care *c, const char *dir, entry_fn fn, void *arg,
    struct error *e)
{
	DIR *d = opendir(dir);
	struct dirent *ent;
	enum status st = ST_OK;

	if (d == NULL)
		return errno == ENOENT ? ST_OK : error_os(e, errno, "cannot read %s", dir);
	while (st == ST_OK && (ent = readdir(d)) != NULL) {
		if (ent->d_name[0] != '.')
			st = fn(c, dir, ent->d_name, arg, e);
	}
	(void)closedir(d);
	return st;
}

static enum status remove_tree(struct care *c, const char *dir, const char *name,
    struct error *e)
{
	char path[PATH_MAX];

	if (c->opt->dry_run)
		return ST_OK;
	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return error_set(e, ST_PERMANENT, "a path in %s is too long", dir);
	return file_remove_tree(path, e);
}

/* workers/<name> of which neither process nor row is left. */
static enum status care_worker(struct care *c, const char *dir, const char *name, void *arg,
    struct error *e)
{
	const struct ledger_worker *list = arg;
	char lock[NAME_MAX + 16];

	for (; list->id != 0; list++) {
		if (strcmp(list->name, name) == 0)
			return ST_OK;
	}
	(void)snprintf(lock, sizeof(lock), "worker-%s", name);
	if (!state_lock_is_free(c->state, lock))
		return ST_OK;
	c->report->worker_folders++;
	if (!c->opt->dry_run)
		state_lock_remove(c->state, lock);
	return remove_tree(c, dir, name, e);
}

static enum status care_workers(struct care *c, struct error *e)
{
	enum { MAX = 1024 };
	struct ledger_worker *list = mem_zero((MAX + 1) * sizeof(*list));
	struct buf dir = {0};
	size_t n = 0;
	enum status st;

	if (list == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = ledger_workers(c->ledger, 0, list, MAX, &n, e);
	state_path(c->state, &dir, "workers");
	if (st == ST_OK)
		st = buf_check(&dir, e);
	if (st == ST_OK)
		st = each_entry(c, dir.data, care_worker, list, e);
	buf_free(&dir);
	free(list);
	return st;
}

static enum status care_private(struct care *c, const char *dir, const char *name, void *arg,
    struct error *e);

/* private/at.<mark>: a folder of private files on another file system. */
static enum status care_foreign(struct care *c, const char *dir, const char *name,
    struct error *e)
{
	char link[PATH_MAX];
	char *real = NULL;
	enum status st = ST_OK;

	if (snprintf(link, sizeof(link), "%s/%s", dir, name) < (int)sizeof(link))
		real = realpath(link, NULL);
	/* A disk that is not there now may come back: the link stays. */
	if (real != NULL && strstr(real, "/.ebb-private.") != NULL) {
		st = each_entry(c, real, care_private, NULL, e);
		if (st == ST_OK && !c->opt->dry_run && sys_rmdir(real) == 0)
			(void)!sys_unlink(link);
	}
	free(real);
	return st;
}

static bool has_leaf(const char *path, const char *name)
{
	const char *slash = path == NULL ? NULL : strrchr(path, '/');

	return slash != NULL && strcmp(slash + 1, name) == 0;
}

/* Does the shard's checkpoint name it? */
static enum status in_checkpoint(struct care *c, int64_t row, const char *name, bool *is,
    struct error *e)
{
	struct ledger_checkpoint k;
	enum status st = ledger_checkpoint_get(c->ledger, row, &k, e);
	size_t i;

	if (st != ST_OK)
		return st;
	*is = has_leaf(k.folder, name);
	for (i = 0; i < k.n_files; i++)
		*is = *is || has_leaf(k.files[i].private_path, name);
	ledger_checkpoint_free(&k);
	return ST_OK;
}

/* private/<row>.<epoch>: needed while the row is leased or accepted with it. */
static enum status care_private(struct care *c, const char *dir, const char *name, void *arg,
    struct error *e)
{
	struct ledger_shard s;
	char *end;
	int64_t row = strtoll(name, &end, 10);
	int64_t epoch = *end == '.' ? strtoll(end + 1, &end, 10) : 0;
	enum status st;
	bool needed;

	(void)arg;
	if (strncmp(name, "at.", 3) == 0)
		return care_foreign(c, dir, name, e);
	/* row.epoch of an output, row.epoch.number of a checkpoint's folder */
	if (row <= 0 || epoch <= 0 || (*end != '\0' && *end != '.'))
		return ST_OK;
	st = ledger_shard_get(c->ledger, row, &s, e);
	if (st == ST_OK) {
		needed = s.s.epoch == epoch && (s.s.state == SHARD_LEASED ||
		    s.s.state == SHARD_ACCEPTED);
		ledger_shard_free(&s);
		if (!needed)
			st = in_checkpoint(c, row, name, &needed, e);
		if (st != ST_OK || needed)
			return st;
	} else if (st != ST_NOT_FOUND) {
		return st;
	}
	c->report->private_files++;
	return remove_tree(c, dir, name, e);
}

static int64_t age_ms(const struct care *c, const char *dir, const char *name)
{
	char path[PATH_MAX];
	struct stat sb;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (lstat(path, &sb) == -1)
		return 0;
	return c->now_ms - (int64_t)sb.st_mtim.tv_sec * 1000;
}

/* logs/<row>/ */
static enum status care_log(struct care *c, const char *dir, const char *name, void *arg,
    struct error *e)
{
	const int64_t *keep = arg; /* of good ones, of others */
	struct ledger_shard s;
	bool good = false;
	int64_t age = age_ms(c, dir, name);
	enum status st;

	if (age <= keep[0] && age <= keep[1])
		return ST_OK;
	st = ledger_shard_get(c->ledger, strtoll(name, NULL, 10), &s, e);
	if (st == ST_OK) {
		good = s.s.state == SHARD_PUBLISHED;
		ledger_shard_free(&s);
	} else if (st != ST_NOT_FOUND) {
		return st;
	}
	if (age <= keep[good ? 0 : 1])
		return ST_OK;
	c->report->logs++;
	return remove_tree(c, dir, name, e);
}

static enum status care_files(struct care *c, const struct ledger_run *run, int64_t *keep,
    struct error *e)
{
	struct buf path = {0};
	enum status st;

	state_path(c->state, &path, "runs/%s/private", run->name);
	st = buf_check(&path, e);
	if (st == ST_OK)
		st = each_entry(c, path.data, care_private, NULL, e);
	state_path(c->state, &path, "runs/%s/checkpoints", run->name);
	if (st == ST_OK)
		st = buf_check(&path, e);
	if (st == ST_OK)
		st = each_entry(c, path.data, care_private, NULL, e);
	state_path(c->state, &path, "runs/%s/logs", run->name);
	if (st == ST_OK)
		st = buf_check(&path, e);
	if (st == ST_OK)
		st = each_entry(c, path.data, care_log, keep, e);
	buf_free(&path);
	return st;
}

static enum status remove_run(struct care *c, const struct ledger_run *run, struct error *e)
{
	struct buf runs = {0};
	enum status st;

	c->report->runs++;
	if (c->opt->dry_run)
		return ST_OK;
	sys_point("gc.before");
	state_path(c->state, &runs, "runs");
	st = buf_check(&runs, e);
	/* Files first: rows without files are found again, files without rows
	 * are not. */
	if (st == ST_OK)
		st = remove_tree(c, runs.data, run->name, e);
	sys_point("gc.files");
	if (st == ST_OK)
		st = ledger_run_remove(c->ledger, run->id, e);
	sys_point("gc.after");
	buf_free(&runs);
	return st;
}

static bool is_over(const struct ledger_run *run)
{
	return run->state == RUN_FINISHED || run->state == RUN_CANCELLED;
}

/* Removes the run unless somebody works on it: its lock is held meanwhile, so
 * that nobody begins to. *kept is true when it is to stay. */
static enum status try_remove_run(struct care *c, const struct ledger_run *run, bool *kept,
    struct error *e)
{
	struct ledger_run now = {0};
	struct buf lock = {0};
	int fd = -1;
	enum status st;

	*kept = true;
	run_lock_name(run->key, &lock);
	st = buf_check(&lock, e);
	if (st == ST_OK)
		st = state_lock(c->state, lock.data, &fd, e);
	if (st == ST_OK)
		st = ledger_run_by_key(c->ledger, run->key, &now, e);
	if (st == ST_OK && is_over(&now) && now.generation == run->generation) {
		*kept = false;
		st = remove_run(c, run, e);
		if (st == ST_OK && !c->opt->dry_run)
			state_lock_remove(c->state, lock.data);
	} else if (st == ST_NOT_FOUND) { /* somebody else has removed it */
		*kept = false;
		state_lock_remove(c->state, lock.data);
		st = ST_OK;
	}
	ledger_run_free(&now);
	if (fd != -1)
		(void)sys_close(fd);
	buf_free(&lock);
	return st == ST_BUSY && *kept ? ST_OK : st;
}

static enum status care_runs(struct care *c, int64_t *log_keep, int64_t run_keep_ms,
    struct error *e)
{
	struct ledger_run *runs;
	size_t n;
	size_t i;
	enum status st = ledger_run_list(c->ledger, &runs, &n, e);

	if (st != ST_OK)
		return st;
	for (i = 0; st == ST_OK && i < n; i++) {
		bool more = true;
		bool kept = true;

		if (is_over(&runs[i]) && c->now_ms - runs[i].changed_wall_ms > run_keep_ms)
			st = try_remove_run(c, &runs[i], &kept, e);
		if (st != ST_OK || !kept)
			continue;
		st = care_files(c, &runs[i], log_keep, e);
		/* An unfinished generation may still take done items over (--skip-done). */
		while (st == ST_OK && more && !c->opt->dry_run && is_over(&runs[i]))
			st = ledger_generation_prune(c->ledger, runs[i].id, PRUNE_ROWS, &more, e);
	}
	ledger_run_list_free(runs, n);
	return st;
}

/* Over the cap: good logs, all logs, then finished runs, whatever their age. */
static enum status care_cap(struct care *c, struct error *e)
{
	static const int64_t steps[][3] = {
		{-1, INT64_MAX, INT64_MAX}, {-1, -1, INT64_MAX}, {-1, -1, -1},
	};
	enum status st = ST_OK;
	size_t i;

	for (i = 0; st == ST_OK && i < 3; i++) {
		int64_t keep[2] = {steps[i][0], steps[i][1]};

		c->report->bytes_after = file_tree_bytes(state_dir(c->state));
		if (c->opt->max_bytes == 0 || c->report->bytes_after <= c->opt->max_bytes ||
		    c->opt->dry_run)
			return ST_OK;
		st = care_runs(c, keep, steps[i][2], e);
		if (st == ST_OK)
			st = ledger_shrink(c->ledger, e);
	}
	c->report->bytes_after = file_tree_bytes(state_dir(c->state));
	if (st == ST_OK && c->report->bytes_after > c->opt->max_bytes)
		return error_set(e, ST_FULL, "the state %s is over its cap; what is left belongs to "
		    "unfinished runs (ebb status lists them)", state_dir(c->state));
	return st;
}

enum status care_run(struct state *state, struct ledger *l, const struct care_options *opt,
    struct care_report *report, struct error *e)
{
	struct care c = {state, l, opt, report, sys_wall_ns() / 1000000};
	int64_t keep[2] = {opt->good_log_ms, opt->failed_log_ms};
	enum status st;

	memset(report, 0, sizeof(*report));
	report->bytes_before = file_tree_bytes(state_dir(state));
	st = care_workers(&c, e);
	if (st == ST_OK)
		st = care_runs(&c, keep, opt->run_ms, e);
	if (st == ST_OK)
		st = outputs_forget_gone(state, l, opt->dry_run, &report->names, e);
	if (st == ST_OK && !opt->dry_run)
		st = ledger_shrink(l, e);
	return st == ST_OK ? care_cap(&c, e) : st;
}

/* A worker that joined goes on when the one that holds the lock has left. */
static enum status no_worker_of(struct state *state, struct ledger *l,
    const struct ledger_run *run, struct error *e)
{
	enum { MAX = 64 };
	struct ledger_worker *list = mem_zero(MAX * sizeof(*list));
	char lock[LEDGER_NAME_MAX + 16];
	size_t n = 0;
	size_t i;
	enum status st = list == NULL ? error_set(e, ST_NO_MEMORY, "out of memory")
	    : ledger_workers(l, run->id, list, MAX, &n, e);

	for (i = 0; st == ST_OK && i < n; i++) {
		(void)snprintf(lock, sizeof(lock), "worker-%s", list[i].name);
		if (!state_lock_is_free(state, lock))
			st = error_set(e, ST_BUSY, "%s is running (pid %ld)", run->name,
			    (long)list[i].pid);
	}
	free(list);
	return st;
}

enum status care_hold_run(struct state *state, struct ledger *l, const struct ledger_run *run,
    int *fd, struct error *e)
{
	struct buf lock = {0};
	enum status st = no_worker_of(state, l, run, e);

	run_lock_name(run->key, &lock);
	if (st == ST_OK)
		st = buf_check(&lock, e);
	if (st == ST_OK) {
		st = state_lock(state, lock.data, fd, e);
		if (st == ST_BUSY)
			st = error_set(e, ST_BUSY, "%s is running", run->name);
	}
	buf_free(&lock);
	return st;
}

enum status care_forget_run(struct state *state, struct ledger *l, const struct ledger_run *run,
    struct error *e)
{
	static const struct care_options opt = {0};
	struct care_report report = {0};
	struct care c = {state, l, &opt, &report, 0};

	return remove_run(&c, run, e);
}

enum status care_private_files(struct state *state, struct ledger *l,
    const struct ledger_run *run, struct error *e)
{
	static const struct care_options opt = {0};
	struct care_report report = {0};
	struct care c = {state, l, &opt, &report, 0};
	struct buf path = {0};
	enum status st;

	state_path(state, &path, "runs/%s/private", run->name);
	st = buf_check(&path, e);
	if (st == ST_OK)
		st = each_entry(&c, path.data, care_private, NULL, e);
	state_path(state, &path, "runs/%s/checkpoints", run->name);
	if (st == ST_OK)
		st = buf_check(&path, e);
	if (st == ST_OK)
		st = each_entry(&c, path.data, care_private, NULL, e);
	buf_free(&path);
	return st;
}

static bool due(struct state *state, int64_t max_bytes)
{
	struct buf path = {0};
	struct stat sb;
	bool is_due = true;

	state_path(state, &path, "gc.stamp");
	if (!path.failed && stat(path.data, &sb) == 0)
		is_due = sys_wall_ns() / 1000000 - (int64_t)sb.st_mtim.tv_sec * 1000 > DAY_MS;
	buf_free(&path);
	return is_due || file_tree_bytes(state_dir(state)) > max_bytes;
}

void care_after_run(struct state *state, int64_t max_bytes)
{
	struct ledger_options lo = {.busy_ms = BUSY_MS};
	struct care_options opt = care_default();
	struct care_report report;
	struct ledger *l = NULL;
	struct buf path = {0};
	struct error e;
	enum status st;

	opt.max_bytes = max_bytes;
	if (!due(state, max_bytes))
		return;
	state_path(state, &path, "ledger.db");
	st = buf_check(&path, &e);
	if (st == ST_OK)
		st = ledger_open(path.data, &lo, &l, &e);
	if (st == ST_OK)
		st = care_run(state, l, &opt, &report, &e);
	ledger_close(l);
	if (st == ST_OK) {
		state_path(state, &path, "gc.stamp");
		st = buf_check(&path, &e);
		if (st == ST_OK)
			st = file_write_durable(path.data, "", 0, 0600, &e);
	}
	if (st != ST_OK)
		log_line(LOG_WARN, "housekeeping: %s", e.text);
	buf_free(&path);
}
