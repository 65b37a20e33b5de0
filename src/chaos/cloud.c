#include "chaos/cloud.h"

#include <string.h>

const struct cloud *cloud_find(const char *name)
{
	static const struct cloud *const all[] = {&cloud_aws, &cloud_gcp, &cloud_azure};
	size_t i;

	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (strcmp(all[i]->name, name) == 0)
			return all[i];
	}
	return NULL;
}
