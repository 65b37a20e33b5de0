#include "base/hash.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/sys.h"

struct hash {
	EVP_MD_CTX *ctx;
};

/* OpenSSL's digest calls fail only when the algorithm is missing or there is
 * no memory inside the library; a wrong hash must never get out. */
static void must(int ok)
{
	if (ok != 1)
		abort();
}

struct hash *hash_create(void)
{
	struct hash *h = mem_zero(sizeof(*h));

	if (h == NULL)
		return NULL;
	h->ctx = EVP_MD_CTX_new();
	if (h->ctx == NULL) {
		free(h);
		return NULL;
	}
	must(EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL));
	return h;
}

void hash_destroy(struct hash *h)
{
	if (h == NULL)
		return;
	EVP_MD_CTX_free(h->ctx);
	free(h);
}

void hash_update(struct hash *h, const void *data, size_t len)
{
	must(EVP_DigestUpdate(h->ctx, data, len));
}

void hash_u64(struct hash *h, uint64_t n)
{
	uint8_t le[8];
	size_t i;

	for (i = 0; i < sizeof(le); i++)
		le[i] = (uint8_t)(n >> (8 * i));
	hash_update(h, le, sizeof(le));
}

void hash_field(struct hash *h, const void *data, size_t len)
{
	hash_u64(h, len);
	hash_update(h, data, len);
}

void hash_final(struct hash *h, uint8_t out[HASH_SIZE])
{
	unsigned int len = HASH_SIZE;

	must(EVP_DigestFinal_ex(h->ctx, out, &len));
	/* NULL: the same algorithm again, without looking it up. */
	must(EVP_DigestInit_ex(h->ctx, NULL, NULL));
}

enum status hash_fd(struct hash *h, int fd, const char *name, uint8_t out[HASH_SIZE],
    int64_t *size, struct error *e)
{
	enum { CHUNK = 131072 };
	char *chunk = sys_alloc(CHUNK);
	int64_t off = 0;
	ssize_t n;

	if (chunk == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	while ((n = sys_pread(fd, chunk, CHUNK, off)) > 0) {
		hash_update(h, chunk, (size_t)n);
		off += n;
	}
	free(chunk);
	hash_final(h, out);
	*size = off;
	if (n == -1)
		return error_os(e, errno, "cannot read %s", name);
	return ST_OK;
}
