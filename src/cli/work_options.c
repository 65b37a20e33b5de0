#include "cli/work_options.h"

#include <string.h>

#include "base/log.h"
#include "cli/common.h"
#include "cli/cpus.h"
#include "notice/watch.h"

static enum status absolute(const char **path, struct buf *out, struct error *e)
{
	enum status st = common_absolute(*path, out, e);

	if (st == ST_OK)
		*path = out->data;
	return st;
}

enum status work_make_absolute(struct work_values *v, struct work_paths *paths, struct error *e)
{
	enum status st = absolute(&v->result, &paths->result, e);

	if (st == ST_OK)
		st = absolute(&v->state, &paths->state, e);
	if (st == ST_OK)
		st = absolute(&v->joblog, &paths->joblog, e);
	return st == ST_OK ? absolute(&v->stop_file, &paths->stop_file, e) : st;
}

void work_paths_free(struct work_paths *paths)
{
	buf_free(&paths->state);
	buf_free(&paths->joblog);
	buf_free(&paths->result);
	buf_free(&paths->stop_file);
}

void work_log_setup(const struct work_values *v)
{
	log_setup(LOG_INFO, v->log != NULL && strcmp(v->log, "json") == 0);
}

static enum status check_pool(const char *pool, struct error *e)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	    "0123456789._-";

	if (pool == NULL || (pool[0] != '\0' && strlen(pool) < LEDGER_NAME_MAX &&
	    strspn(pool, allowed) == strlen(pool)))
		return ST_OK;
	return error_set(e, ST_CONFIG, "--pool: \"%.60s\" is not a name of up to %d letters, "
	    "digits, \".\", \"_\" and \"-\"", pool, LEDGER_NAME_MAX - 1);
}

enum status work_fill_drive(const struct work_values *v, struct drive *d, struct error *e)
{
	enum status st = cpus_parse_jobs(v->jobs, &d->slots, e);

	d->state = v->state;
	d->if_running = v->if_running;
	d->fresh = v->fresh;
	d->lease_ms = v->lease_ms;
	d->state_max_bytes = v->state_max;
	d->pool = v->pool;
	d->lifecycle = v->lifecycle;
	d->stop_file = v->stop_file;
	d->joblog = v->joblog;
	d->result = v->result;
	d->show_stderr = !v->no_stderr;
	d->quiet = v->quiet;
	d->notice = v->notice;
	d->on_notice = v->on_notice;
	d->on_drained = v->on_drained;
	d->on_rebalance = v->on_rebalance;
	d->node = v->node;
	d->hook_timeout_ms = v->hook_timeout_ms;
	d->no_acknowledge = v->no_acknowledge;
	if (st == ST_OK)
		st = common_grace(v->grace_ms, &d->grace_ms, &d->grace_given, e);
	if (st == ST_OK && v->notice != NULL && notice_watch_check(v->notice, e) != ST_OK)
		st = error_prefix(e, ST_CONFIG, "--notice");
	return st == ST_OK ? check_pool(v->pool, e) : st;
}
