/* How many commands may sensibly run at once. */
#ifndef EBB_CLI_CPUS_H
#define EBB_CLI_CPUS_H

#include "base/status.h"

/* The smaller of the CPU affinity and the cgroup's CPU quota (v2 cpu.max, v1
 * cpu.cfs_quota_us, rounded up), at least 1. */
int cpus_available(void);

enum { CPUS_JOBS_MAX = 512 }; /* half of what a worker keeps in flight */

/* What -j says: 8, 50%, +1, -1, auto, NULL for auto. ST_CONFIG else. */
enum status cpus_parse_jobs(const char *jobs, int *slots, struct error *e) MUST_USE;

#endif
