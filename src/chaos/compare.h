/* Outputs against outputs, and against what manifests say of them. */
#ifndef EBB_CHAOS_COMPARE_H
#define EBB_CHAOS_COMPARE_H

#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"

struct compared {
	int64_t files;       /* of the first folder; entries of manifests */
	int64_t bytes;
	int64_t differences;
	struct buf text;     /* the first of them, joined by "; "; freed by the caller */
};

/* Every file below `folder` against the one of the same name below `reference`, and the
 * other way round: name, size, contents; links by where they lead. Folders count for
 * nothing, nor do those where ebb keeps unfinished output (.ebb-private...). */
enum status compare_trees(const char *folder, const char *reference, struct compared *out,
    struct error *e) MUST_USE;

/* Each file that the manifest names against the file there: size and SHA-256. Relative
 * names are seen from `place`, and so are those below the folder `moved` (NULL: none),
 * less its name. Adds to *out. ST_CORRUPT: it is no manifest. */
enum status compare_manifest(const char *path, const char *place, const char *moved,
    struct compared *out, struct error *e) MUST_USE;

#endif
