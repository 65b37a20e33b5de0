#include "cli/cpus.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"

static int affinity(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == -1)
		return 1;
	return CPU_COUNT(&set);
}

/* ceil(quota/period) of one cgroup folder, 0 when it has no limit. */
static int quota_of(const char *v2, const char *v1_dir)
{
	struct buf b = {0};
	long long quota = 0;
	long long period = 100000;

	if (v2 != NULL && file_read(v2, 256, &b, NULL) == ST_OK && b.len > 0) {
		char *rest;

		/* "max 100000" has no number first: 0, no limit. */
		quota = strtoll(b.data, &rest, 10);
		period = strtoll(rest, NULL, 10);
	} else if (v1_dir != NULL) {
		char path[4300];

		(void)snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", v1_dir);
		if (file_read(path, 256, &b, NULL) == ST_OK && b.len > 0)
			quota = strtoll(b.data, NULL, 10);
		buf_clear(&b);
		(void)snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", v1_dir);
		if (file_read(path, 256, &b, NULL) == ST_OK && b.len > 0)
			period = strtoll(b.data, NULL, 10);
	}
	buf_free(&b);
	return quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}

static int smaller(int a, int b)
{
	return b > 0 && b < a ? b : a;
}

/* The limit of a cgroup and of all above it. */
static int limit_of(const char *root, char *path, bool v2, int limit)
{
	for (;;) {
		char name[4200];
		char *slash;

		(void)snprintf(name, sizeof(name), "%s%s%s", root, path, v2 ? "/cpu.max" : "");
		limit = smaller(limit, v2 ? quota_of(name, NULL) : quota_of(NULL, name));
		slash = strrchr(path, '/');
		if (slash == NULL)
			return limit;
		*slash = '\0';
	}
}

int cpus_available(void)
{
	int limit = affinity();
	struct buf b = {0};
	char *line;
	char *save = NULL;

	if (file_read("/proc/self/cgroup", 1 << 16, &b, NULL) != ST_OK || b.len == 0) {
		buf_free(&b);
		return limit;
	}
	for (line = strtok_r(b.data, "\n", &save); line != NULL;
	    line = strtok_r(NULL, "\n", &save)) {
		char *controllers = strchr(line, ':');
		char *path = controllers == NULL ? NULL : strchr(controllers + 1, ':');

		if (path == NULL || strlen(path) > 4000)
			continue;
		*path++ = '\0';
		if (controllers[1] == '\0')
			limit = limit_of("/sys/fs/cgroup", path, true, limit);
		else if (strcmp(controllers + 1, "cpu") == 0 ||
		    strstr(controllers + 1, "cpu,") != NULL)
			limit = limit_of("/sys/fs/cgroup/cpu", path, false, limit);
	}
	buf_free(&b);
	return limit < 1 ? 1 : limit;
}

/* "+2", "-1": so many more or fewer than auto, and at least one. */
static enum status parse_relative(const char *jobs, int *slots, struct error *e)
{
	int64_t n = 0;
	enum status st = str_parse_count(jobs + 1, 0, 10000, &n, e);

	n = jobs[0] == '+' ? *slots + n : *slots - n;
	*slots = n < 1 ? 1 : n > CPUS_JOBS_MAX ? CPUS_JOBS_MAX : (int)n;
	return st;
}

enum status cpus_parse_jobs(const char *jobs, int *slots, struct error *e)
{
	size_t len = jobs == NULL ? 0 : strlen(jobs);
	char number[16];
	int64_t n;
	enum status st;

	*slots = cpus_available();
	if (jobs == NULL || strcmp(jobs, "auto") == 0)
		return ST_OK;
	if (len > 1 && len < sizeof(number) && jobs[len - 1] == '%') {
		memcpy(number, jobs, len - 1);
		number[len - 1] = '\0';
		st = str_parse_count(number, 1, 10000, &n, e);
		n = (n * *slots + 99) / 100;
	} else if (jobs[0] == '+' || jobs[0] == '-') {
		st = parse_relative(jobs, slots, e);
		n = *slots;
	} else {
		st = str_parse_count(jobs, 1, CPUS_JOBS_MAX, &n, e);
	}
	if (st != ST_OK)
		return error_prefix(e, st, "--jobs (8, 50%%, +1, -1, auto)");
	*slots = n > CPUS_JOBS_MAX ? CPUS_JOBS_MAX : (int)n;
	return ST_OK;
}
