/* How many commands may sensibly run at once. */
#ifndef EBB_CLI_CPUS_H
#define EBB_CLI_CPUS_H

/* The smaller of the CPU affinity and the cgroup's CPU quota (v2 cpu.max, v1
 * cpu.cfs_quota_us, rounded up), at least 1. */
int cpus_available(void);

#endif
