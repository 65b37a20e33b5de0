/* The items of one source of a stage: files that fit a pattern, lines of a list
 * file, or numbers. Relative names are those of the current folder.
 *
 * The order is a part of what runs are known by, and is the same on every
 * machine and in every locale:
 * - A pattern: the paths, as they are built from the pattern, sorted bytewise as
 *   whole texts ("a-b/x" before "a/x", since "-" is less than "/"); each once.
 * - A list: the order of its lines, empty ones left out, repeated ones kept.
 * - A count: 0, 1, 2, ...
 *
 * Patterns: * ? [a-z] [!a-z] as in fnmatch(3), never over a slash; a backslash
 * takes the meaning from the character behind it; "**" as a whole part of the
 * path stands for any number of folders, none included ("a/" "**" "/x" fits a/x
 * and a/b/c/x), and at the end for all files below. Names that begin with a dot
 * are taken only if the pattern's part does, by "**" never. Bytes are compared,
 * not characters. What fits is taken if it is a regular file, or a link to one;
 * folders, FIFOs, devices and dangling links that fit are passed over. "**" does
 * not follow links to folders, other parts do. A pattern without any of these
 * signs names one file: if that is there and is no regular file, it is an error.
 *
 * Lists and counts are streamed; the paths of a pattern are held in memory, up
 * to INPUTS_GLOB_BYTES_MAX. */
#ifndef EBB_SHARD_INPUTS_H
#define EBB_SHARD_INPUTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/mem.h"
#include "base/status.h"
#include "model/spec.h"

enum {
	INPUTS_PATTERN_MAX = 4095,         /* bytes of a pattern */
	INPUTS_DEPTH_MAX = 100,            /* folders in one another */
	INPUTS_GLOB_BYTES_MAX = 1 << 30,   /* paths of one pattern */
};

struct inputs;

/* For SOURCE_GLOB, SOURCE_LIST and SOURCE_COUNT. Strings of *source are
 * borrowed. ST_CONFIG: a folder, FIFO or device named directly, or as list
 * file; a pattern that is too long or ends with a
 * slash; too many paths. ST_NOT_FOUND: no list file.
 * ST_DENIED: a folder that a pattern leads into may not be read (what cannot be
 * seen must not be left out in silence). A pattern that nothing fits is no
 * error: the first answer is the end. */
enum status inputs_open(const struct spec_source *source, struct inputs **out,
    struct error *e) MUST_USE;
void inputs_close(struct inputs *in); /* NULL is fine */

/* The next item in *item (cleared first, never empty but at the end); *end is
 * true after the last. Errors of lists as of list_next; after one, it is good
 * for inputs_close only. */
enum status inputs_next(struct inputs *in, struct buf *item, bool *end, struct error *e) MUST_USE;

#endif
