/* What /proc tells about processes. */
#ifndef EBB_WORKER_PROC_H
#define EBB_WORKER_PROC_H

#include <stdint.h>

/* Field 22 of /proc/PID/stat: when it was started, in clock ticks since boot,
 * which with the pid names a process of this boot. 0: there is none. */
uint64_t proc_start_ticks(int32_t pid);

#endif
