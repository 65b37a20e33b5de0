#include "worker/resources.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "worker/cgroup.h"

enum { SLOT_MILLI = 1000 };

static int64_t find_memory(void)
{
	int64_t kib = file_number("/proc/meminfo", "MemTotal:");
	int64_t all = kib < 0 ? INT64_MAX : kib * 1024;
	int64_t limit = cgroup_memory_max();

	if (limit == INT64_MAX)
		limit = file_number("/sys/fs/cgroup/memory/memory.limit_in_bytes", NULL);
	return limit >= 0 && limit < all ? limit : all;
}

static int find_gpus(void)
{
	const char *given = getenv("EBB_GPUS");
	DIR *d;
	struct dirent *ent;
	struct error e;
	int64_t n = 0;

	if (given != NULL && str_parse_count(given, 0, RESOURCES_GPUS_MAX, &n, &e) == ST_OK)
		return (int)n;
	d = opendir("/proc/driver/nvidia/gpus");
	if (d == NULL)
		return 0;
	while ((ent = readdir(d)) != NULL)
		n += ent->d_name[0] != '.' && n < RESOURCES_GPUS_MAX;
	(void)closedir(d);
	return (int)n;
}

void resources_find(struct resources *r, int slots, bool memory)
{
	memset(r, 0, sizeof(*r));
	r->cpu_milli = (int64_t)slots * SLOT_MILLI;
	r->memory = memory ? find_memory() : INT64_MAX;
	r->gpus = find_gpus();
}

enum status resources_suffice(const struct resources *r, const struct spec *s, struct error *e)
{
	if (s->gpus > r->gpus)
		return error_set(e, ST_CONFIG, "stage %s needs %d GPU%s, and this machine has %d "
		    "(EBB_GPUS=N says otherwise)", s->name, s->gpus, s->gpus == 1 ? "" : "s", r->gpus);
	return ST_OK;
}

static int64_t cpu_of(const struct spec *s)
{
	return s->cpu_milli > 0 ? s->cpu_milli : SLOT_MILLI;
}

static int free_gpus(const struct resources *r)
{
	int n = 0;
	int i;

	for (i = 0; i < r->gpus; i++)
		n += !r->gpu_taken[i];
	return n;
}

bool resources_are_special(const struct spec *s)
{
	return s->cpu_milli > 0 || s->memory > 0 || s->gpus > 0;
}

int64_t resources_memory(const struct resources *r, const struct spec *s, int ends)
{
	int64_t asked = s->memory;

	for (; ends > 0 && asked > 0 && asked < r->memory; ends--)
		asked = asked > r->memory / 2 ? r->memory : asked * 2;
	return asked;
}

bool resources_fit(const struct resources *r, const struct spec *s, int64_t memory)
{
	if (s->gpus > free_gpus(r))
		return false;
	return r->running == 0 || (r->cpu_used + cpu_of(s) <= r->cpu_milli &&
	    memory <= r->memory - r->memory_used);
}

void resources_take(struct resources *r, const struct spec *s, int64_t memory, uint64_t *gpus)
{
	int need = s->gpus;
	int i;

	*gpus = 0;
	r->running++;
	r->cpu_used += cpu_of(s);
	r->memory_used += memory;
	for (i = 0; need > 0 && i < r->gpus; i++) {
		if (r->gpu_taken[i])
			continue;
		r->gpu_taken[i] = true;
		*gpus |= UINT64_C(1) << i;
		need--;
	}
}

void resources_give(struct resources *r, const struct spec *s, int64_t memory, uint64_t gpus)
{
	int i;

	r->running--;
	r->cpu_used -= cpu_of(s);
	r->memory_used -= memory;
	for (i = 0; i < RESOURCES_GPUS_MAX; i++) {
		if (gpus & (UINT64_C(1) << i))
			r->gpu_taken[i] = false;
	}
}

void resources_gpu_list(uint64_t gpus, struct buf *out)
{
	bool first = true;
	int i;

	for (i = 0; i < RESOURCES_GPUS_MAX; i++) {
		if (!(gpus & (UINT64_C(1) << i)))
			continue;
		buf_printf(out, "%s%d", first ? "" : ",", i);
		first = false;
	}
}
