/* Stores: where outputs are. This is the contract of every back end; store.c
 * holds the thin wrappers and the registry, store_file.c the local folder.
 *
 * An output comes into being in steps, each of which can be repeated, and can
 * be taken over by another worker from what the ledger's row says:
 *   private   written under a name that belongs to one (shard, epoch)
 *   sealed    its bytes are durable; size and hash are known
 *   (the ledger accepts it)
 *   published it has its final name, durably
 * A final name is only ever given by store_publish, which never overwrites
 * what ebb did not put there itself.
 *
 * Calls are synchronous and may be made from several threads at once.
 * Names are paths relative to the working folder, or absolute. */
#ifndef EBB_STORE_STORE_H
#define EBB_STORE_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/status.h"

struct store;

struct store_sum {
	int64_t size;
	uint8_t hash[HASH_SIZE];
};

/* "file:" (or ""), relative to the current folder. `private_dir` is where
 * private files go when the final name is on the same file system. */
enum status store_open(const char *url, const char *private_dir, struct store **out,
    struct error *e) MUST_USE;
void store_close(struct store *s); /* NULL is fine */

/* The private name for `leaf` (unique per shard and epoch, no slash) of an
 * output that will be called `final`: in private_dir, or, when that is on
 * another file system or mount, in a hidden folder `.ebb-private.<mark>` of the
 * nearest existing folder above `final`, made when it is first used, with a link
 * `at.<mark>` in private_dir to it. */
enum status store_private_name(struct store *s, const char *final, const char *leaf,
    struct buf *out, struct error *e) MUST_USE;

/* Makes the bytes of a private file durable and sums them up. Its name
 * becomes durable with store_sync_names. */
enum status store_seal(struct store *s, const char *private_name, struct store_sum *out,
    struct error *e) MUST_USE;

/* Makes the folder entries of these names durable; of names that follow each
 * other in one folder, that folder once. */
enum status store_sync_names(struct store *s, const char *const *names, size_t n,
    struct error *e) MUST_USE;

/* Gives a sealed private file its final name and makes missing folders on the
 * way. Not durable until store_sync_names of the final name.
 * `previous`: what ebb published under this name last, NULL if never.
 * - private gone, final there with the sum `mine`: done already, ST_OK;
 * - private and a right final gone: ST_NOT_FOUND (the shard must run again);
 * - final is there and is neither `mine` nor `previous`: ST_EXISTS, nothing
 *   was changed. */
enum status store_publish(struct store *s, const char *private_name, const char *final,
    const struct store_sum *mine, const struct store_sum *previous, struct error *e) MUST_USE;

/* Removes a private file; none there is fine. */
enum status store_discard(struct store *s, const char *private_name, struct error *e) MUST_USE;

/* Does `name` hold exactly this? ST_NOT_FOUND, or ST_EXISTS with other bytes. */
enum status store_check(struct store *s, const char *name, const struct store_sum *sum,
    struct error *e) MUST_USE;

#endif
