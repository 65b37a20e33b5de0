#include "model/identity.h"

#include <string.h>

static void take_identity(struct hash *h, uint8_t out[IDENTITY_SIZE])
{
	uint8_t full[HASH_SIZE];

	hash_final(h, full);
	memcpy(out, full, IDENTITY_SIZE);
}

static void number(struct hash *h, int64_t n)
{
	hash_u64(h, sizeof(n));
	hash_u64(h, (uint64_t)n);
}

void identity_of_item(struct hash *h, const uint8_t fingerprint[HASH_SIZE], const char *item,
    size_t len, uint8_t out[IDENTITY_SIZE])
{
	hash_field(h, fingerprint, HASH_SIZE);
	hash_field(h, item, len);
	take_identity(h, out);
}

void identity_of_range(struct hash *h, const uint8_t fingerprint[HASH_SIZE], const char *path,
    const struct file_version *version, int64_t offset, int64_t length,
    uint8_t out[IDENTITY_SIZE])
{
	hash_field(h, fingerprint, HASH_SIZE);
	hash_field(h, path, strlen(path));
	number(h, version->size);
	number(h, version->mtime_ns);
	number(h, offset);
	number(h, length);
	take_identity(h, out);
}
