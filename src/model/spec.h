/* What a stage does: the command and how its input is cut, as given by the
 * user, apart from where and how fast it runs. Kept as JSON in the run's row,
 * so that `ebb retry` and a second worker need no command line. Pure. */
#ifndef EBB_MODEL_SPEC_H
#define EBB_MODEL_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/status.h"
#include "model/machine.h"

enum spec_shard {
	SPEC_LIST = 0,  /* one shard for each item of a list */
	SPEC_BYTES = 1, /* files cut into byte ranges, each on the command's stdin */
};

struct spec {
	char **command;      /* words; one word with a space or a shell character
	                      * in it is a shell string */
	size_t n_command;
	bool shell;          /* run command[0] by bash -euo pipefail -c */
	char *out;           /* template of the output's name; NULL: ebb's stdout */
	char *out_root;      /* folder that outputs must stay in, as given */
	enum spec_shard shard;
	int64_t shard_size;  /* SPEC_BYTES */
	char *records;       /* SPEC_BYTES: "lines", ... */
	bool keep_order;     /* deliver stdout in input order */
	bool tag;            /* put the item before each line of stdout */
	int64_t timeout_ms;  /* 0: none */
	struct retry_policy retry;
};

void spec_free(struct spec *s); /* what it owns */

/* Sets `shell` from the words: one word that is more than a plain program name. */
void spec_detect_shell(struct spec *s);

enum status spec_encode(const struct spec *s, struct buf *json, struct error *e) MUST_USE;
/* ST_CORRUPT when it is not what spec_encode writes. */
enum status spec_decode(const char *json, struct spec *out, struct error *e) MUST_USE;

/* The run's identity: everything but the list, the budgets and what only
 * changes how results are shown. `place` is the working folder as seen from
 * the state folder, so that a project may be moved as a whole. */
enum { SPEC_KEY_SIZE = 16 };
enum status spec_key(const struct spec *s, const char *place, uint8_t out[SPEC_KEY_SIZE],
    struct error *e) MUST_USE;

/* The command as one line for people. */
void spec_title(const struct spec *s, struct buf *out);

#endif
