/* Which platform this machine is on, from the machine itself: its DMI tables and the
 * environment. Asks nobody. */
#ifndef EBB_NOTICE_DETECT_H
#define EBB_NOTICE_DETECT_H

#include <stddef.h>
#include <stdint.h>

enum notice_platform {
	NOTICE_ON_AWS = 1,
	NOTICE_ON_GCP = 2,
	NOTICE_ON_AZURE = 4,
	NOTICE_ON_KUBERNETES = 8, /* in a pod, whatever machine that is on */
	NOTICE_ON_SLURM = 16,     /* in a job */
	NOTICE_ON_ECS = 32,       /* in a task; on Fargate there is no metadata of an instance */
};

/* The bits together; 0: a plain machine. `sysfs` is "/sys" but in tests. A variable that
 * names a platform's metadata service (AWS_EC2_METADATA_SERVICE_ENDPOINT,
 * GCE_METADATA_HOST, AZURE_POD_IDENTITY_AUTHORITY_HOST) counts as that platform;
 * AWS_EC2_METADATA_DISABLED=true is respected. */
unsigned notice_detect(const char *sysfs);

/* TERM there says that this process's place is taken away, and not that somebody wants
 * it to stop. */
unsigned notice_term_is_notice(unsigned platforms);

/* What a platform usually leaves between its notice and the end:
 * docs/interruptions.md. */
struct notice_usual {
	unsigned platform;
	const char *name;
	int64_t window_ms;
};
const struct notice_usual *notice_usual_windows(size_t *n);

#endif
