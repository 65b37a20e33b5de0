#include "notice/detect.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/sys.h"

/* The first line of a file below sysfs, "" when there is none. */
static void read_line(const char *sysfs, const char *name, char *out, size_t size)
{
	char path[512];
	ssize_t n = 0;
	int fd;

	out[0] = '\0';
	if ((size_t)snprintf(path, sizeof(path), "%s/%s", sysfs, name) >= sizeof(path))
		return;
	fd = sys_open(path, O_RDONLY, 0);
	if (fd == -1)
		return;
	n = sys_read(fd, out, size - 1);
	(void)sys_close(fd);
	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
}

static bool line_is(const char *sysfs, const char *name, const char *value)
{
	char line[256];

	read_line(sysfs, name, line, sizeof(line));
	return strcmp(line, value) == 0;
}

static bool line_begins(const char *sysfs, const char *name, const char *value)
{
	char line[256];

	read_line(sysfs, name, line, sizeof(line));
	return strncasecmp(line, value, strlen(value)) == 0;
}

static bool is_set(const char *name)
{
	const char *v = getenv(name);

	return v != NULL && v[0] != '\0';
}

static bool on_aws(const char *sysfs)
{
	const char *off = getenv("AWS_EC2_METADATA_DISABLED");
	const char *where = getenv("AWS_EXECUTION_ENV");

	if (off != NULL && strcasecmp(off, "true") == 0)
		return false;
	if (is_set("AWS_EC2_METADATA_SERVICE_ENDPOINT"))
		return true;
	if (where != NULL && strcmp(where, "AWS_ECS_FARGATE") == 0)
		return false;
	/* Nitro machines say so; on Xen it is in the version and the UUID. */
	return line_is(sysfs, "class/dmi/id/sys_vendor", "Amazon EC2") ||
	    line_begins(sysfs, "class/dmi/id/board_vendor", "Amazon EC2") ||
	    line_begins(sysfs, "hypervisor/uuid", "ec2");
}

/* An environment variable, or a line of DMI. */
struct sign {
	unsigned platform;
	const char *variable;
	const char *file;     /* below class/dmi/id */
	const char *value;
};

static const struct sign signs[] = {
	{NOTICE_ON_GCP, "GCE_METADATA_HOST", "class/dmi/id/product_name", "Google Compute Engine"},
	/* Of all of Azure's machines, and of no other of Microsoft's. */
	{NOTICE_ON_AZURE, "AZURE_POD_IDENTITY_AUTHORITY_HOST", "class/dmi/id/chassis_asset_tag",
	    "7783-7084-3265-9085-8269-3286-77"},
	{NOTICE_ON_KUBERNETES, "KUBERNETES_SERVICE_HOST", NULL, NULL},
	{NOTICE_ON_SLURM, "SLURM_JOB_ID", NULL, NULL},
	{NOTICE_ON_ECS, "ECS_CONTAINER_METADATA_URI_V4", NULL, NULL},
};

unsigned notice_detect(const char *sysfs)
{
	unsigned found = on_aws(sysfs) ? NOTICE_ON_AWS : 0;
	size_t i;

	for (i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
		const struct sign *s = &signs[i];

		if (is_set(s->variable) || (s->file != NULL && line_is(sysfs, s->file, s->value)))
			found |= s->platform;
	}
	return found;
}

const struct notice_usual *notice_usual_windows(size_t *n)
{
	static const struct notice_usual list[] = {
		{NOTICE_ON_AWS, "aws", 120000},
		{NOTICE_ON_GCP, "gcp", 30000},
		{NOTICE_ON_AZURE, "azure", 30000},
		{NOTICE_ON_KUBERNETES, "kubernetes", 30000}, /* unless the pod says otherwise */
		{NOTICE_ON_ECS, "ecs", 30000},
	};

	*n = sizeof(list) / sizeof(list[0]);
	return list;
}

unsigned notice_term_is_notice(unsigned platforms)
{
	return platforms & (NOTICE_ON_KUBERNETES | NOTICE_ON_SLURM | NOTICE_ON_ECS);
}
