/* Records and byte ranges against the plain reference. The first byte says the
 * kind, how much stands before the bytes (so that they lie across the edges of
 * reads) and the size of ranges. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "records_ref.h"
#include "shard/bytes.h"
#include "shard/records.h"

enum { INPUT_MAX = 600 };

struct expected {
	const bool *starts;
	size_t len;
	size_t size;
	size_t offset;   /* of the next range */
	int32_t part;
};

static enum status check_range(void *arg, const struct bytes_range *range, struct error *e)
{
	struct expected *want = arg;
	size_t multiple = (want->offset / want->size + 1) * want->size;
	size_t end = ref_next(want->starts, want->len, multiple);

	(void)e;
	MUST(range->part == want->part);
	MUST(range->offset == (int64_t)want->offset);
	MUST(range->length == (int64_t)(end - want->offset));
	want->offset = end;
	want->part++;
	return ST_OK;
}

static void check_borders(int fd, enum records_kind kind, const bool *starts, size_t from,
    size_t len)
{
	struct error e;
	int64_t got;
	size_t at;

	for (at = from > 4 ? from - 4 : 0; at <= len; at++) {
		MUST(records_next_start(fd, kind, (int64_t)at, (int64_t)len, "input", &got, &e) == ST_OK);
		MUST(got == (int64_t)ref_next(starts, len, at));
	}
}

static void check_ranges(int fd, enum records_kind kind, const bool *starts, size_t len,
    size_t size)
{
	struct expected want = {.starts = starts, .len = len, .size = size};
	struct error e;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	MUST(bytes_cut(path, (int64_t)size, kind, check_range, &want, &e) == ST_OK);
	MUST(want.offset == len);
	MUST(want.part > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t before[] = {0, 4096 - 4, 4096 + 32768 - 4, 4096 - 2};
	static const size_t sizes[] = {1, 2, 3, 7, 16, 100, 4096, 100000};
	enum records_kind kind;
	size_t lead;
	size_t len;
	char *file;
	bool *starts;
	int fd;

	if (size < 1 || size > INPUT_MAX)
		return 0;
	kind = (enum records_kind)(data[0] & 3);
	lead = before[data[0] >> 2 & 3];
	len = lead + size - 1;
	file = malloc(len + 1);
	starts = calloc(len + 1, sizeof(*starts));
	fd = memfd_create("input", MFD_CLOEXEC);
	if (file == NULL || starts == NULL || fd == -1)
		abort();
	/* Blank lines or text. */
	memset(file, data[0] & 0x10 ? '\n' : 'x', lead);
	memcpy(file + lead, data + 1, size - 1);
	MUST(write(fd, file, len) == (ssize_t)len);
	ref_starts(file, len, kind, starts);
	check_borders(fd, kind, starts, lead, len);
	if (lead < 8192 || sizes[data[0] >> 5] >= 100)
		check_ranges(fd, kind, starts, len, sizes[data[0] >> 5]);
	(void)close(fd);
	free(file);
	free(starts);
	return 0;
}
