/* Who a shard is: the hash of what its result depends on. Fields are hashed
 * with their lengths (hash_field), in the order given here. Pure. */
#ifndef EBB_MODEL_IDENTITY_H
#define EBB_MODEL_IDENTITY_H

#include <stddef.h>
#include <stdint.h>

#include "base/file.h"
#include "base/hash.h"

enum { IDENTITY_SIZE = 16 };

/* An item of a list: fingerprint, item. Its input's version is kept beside it
 * in the ledger, not in the identity, since commands such as `sed -i` change
 * the very file that they were given. */
void identity_of_item(struct hash *h, const uint8_t fingerprint[HASH_SIZE], const char *item,
    size_t len, uint8_t out[IDENTITY_SIZE]);

/* A byte range: fingerprint, path, size and mtime of the file, offset, length:
 * ranges of two versions of a file never mix. */
void identity_of_range(struct hash *h, const uint8_t fingerprint[HASH_SIZE], const char *path,
    const struct file_version *version, int64_t offset, int64_t length,
    uint8_t out[IDENTITY_SIZE]);

#endif
