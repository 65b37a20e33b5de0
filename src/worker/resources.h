/* What shards need beside a slot (CPUs, memory, GPUs), and what this worker has
 * of it. On the loop's thread. */
#ifndef EBB_WORKER_RESOURCES_H
#define EBB_WORKER_RESOURCES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"
#include "model/spec.h"

enum { RESOURCES_GPUS_MAX = 64 };

struct resources {
	int64_t cpu_milli;      /* 1000 for each slot */
	int64_t memory;         /* bytes: of the machine, or of the cgroup if less;
	                         * INT64_MAX if nothing asks for memory */
	int gpus;               /* $EBB_GPUS, else those of /proc/driver/nvidia/gpus */
	int64_t cpu_used;
	int64_t memory_used;
	int running;
	bool gpu_taken[RESOURCES_GPUS_MAX];
};

/* `memory`: some stage asks for it. */
void resources_find(struct resources *r, int slots, bool memory);

/* Can a shard of that stage ever run here? ST_CONFIG says what is missing. */
enum status resources_suffice(const struct resources *r, const struct spec *s,
    struct error *e) MUST_USE;
/* The bytes that a shard asks for, of whose attempts so many ended out of memory:
 * what its stage says, twice that after each of them, and no more than there is
 * unless its stage says more. 0: not limited. */
int64_t resources_memory(const struct resources *r, const struct spec *s, int ends);
/* Does it fit beside what runs, with so many bytes? A shard that needs more CPUs or
 * memory than there are fits when nothing else runs. */
bool resources_fit(const struct resources *r, const struct spec *s, int64_t memory);
/* Stages that need nothing special may be queued ahead of a free slot. */
bool resources_are_special(const struct spec *s);

/* `gpus` is a bit for each one taken. */
void resources_take(struct resources *r, const struct spec *s, int64_t memory, uint64_t *gpus);
void resources_give(struct resources *r, const struct spec *s, int64_t memory, uint64_t gpus);

/* "0,3" for CUDA_VISIBLE_DEVICES. */
void resources_gpu_list(uint64_t gpus, struct buf *out);

#endif
