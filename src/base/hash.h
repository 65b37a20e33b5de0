/* SHA-256 (FIPS 180-4), from OpenSSL. The one hash of identities, outputs and
 * manifests. */
#ifndef EBB_BASE_HASH_H
#define EBB_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { HASH_SIZE = 32 };

struct hash; /* one running computation; not shared between threads */

/* NULL when there is no memory. It starts ready for hash_update. */
struct hash *hash_create(void) MUST_USE;
void hash_destroy(struct hash *h);
void hash_update(struct hash *h, const void *data, size_t len);
/* A number, as 8 bytes little-endian. */
void hash_u64(struct hash *h, uint64_t n);
/* The length, as 8 bytes little-endian, and then the data: fields that are
 * hashed one after another cannot be confused. */
void hash_field(struct hash *h, const void *data, size_t len);
/* Writes the digest and starts anew. */
void hash_final(struct hash *h, uint8_t out[HASH_SIZE]);

/* Digest and length of a file's content, read from fd's offset 0 to its end. */
enum status hash_fd(struct hash *h, int fd, const char *name, uint8_t out[HASH_SIZE],
    int64_t *size, struct error *e) MUST_USE;

#endif
