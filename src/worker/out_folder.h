/* Output as files: the private folder $EBB_OUTPUT of an attempt, which is committed
 * whole or not at all. */
#ifndef EBB_WORKER_OUT_FOLDER_H
#define EBB_WORKER_OUT_FOLDER_H

#include "worker/work.h"

enum {
	OUT_FOLDER_FILES_MAX = 10000, /* their names and sums stand in the ledger */
	OUT_FOLDER_DEPTH_MAX = 32,
};

/* Names the attempt's private folder, on the file system of the folder that its
 * files will be in. The one name for these row and epoch. */
enum status out_folder_name(struct attempt *a, struct error *e) MUST_USE;

/* Makes it, empty. */
enum status out_folder_make(struct attempt *a, struct error *e) MUST_USE;

/* Makes all that is in it durable and fills a->files, sorted by name; without any
 * file it is removed. Folders without files are not kept, nor is what folders may.
 * ST_CONFIG: there is something in it that is neither file nor folder, or too much,
 * or it is no folder any more. On a pool thread. */
enum status out_folder_seal(struct attempt *a, struct error *e) MUST_USE;

/* Removes it with all that is in it, if there is one. */
void out_folder_remove(const struct attempt *a);

#endif
