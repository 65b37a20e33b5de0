/* What one stage does: the command, its input and how that is cut, what becomes
 * of its output, and what it may cost, as given by the user, apart from where
 * and how fast it runs. Kept as JSON in the run's row (model/pipeline.h), so
 * that `ebb retry` and a second worker need no command line and no file. Pure. */
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
	SPEC_LIST = 0,  /* one shard for each item of a list, or number of a count */
	SPEC_BYTES = 1, /* files cut into byte ranges, each on the command's stdin */
	SPEC_FILES = 2, /* one shard for each file, or for a group of small ones */
	SPEC_ALL = 3,   /* one shard that gets everything */
};

enum spec_source_kind {
	SOURCE_GIVEN = 0, /* read by the caller: map's list */
	SOURCE_GLOB = 1,
	SOURCE_LIST = 2,  /* a file with an item a line */
	SOURCE_COUNT = 3, /* the numbers from 0 to count-1 */
	SOURCE_STAGE = 4, /* the output of an earlier stage, by its sealed manifest */
};

struct spec_source {
	enum spec_source_kind kind;
	char *text;           /* pattern, path of the list, or the stage's name */
	int64_t count;        /* SOURCE_COUNT */
};

/* How a command gets its shard. $EBB_INPUT says the same in each case. */
enum spec_input {
	SPEC_WORDS = 0, /* in place of {}; as last word when the command names none */
	SPEC_STDIN = 1, /* contents on stdin (of an item that is no file: the item, a line) */
	SPEC_LISTED = 2,/* {} and $EBB_INPUT name a file with an input a line */
	SPEC_URL = 3,   /* as SPEC_WORDS, files as file:// URLs */
};

enum spec_output {
	SPEC_OUT_STDOUT = 0, /* to ebb's own stdout, at least once */
	SPEC_OUT_NAME = 1,   /* stdout is committed under the name that `out` makes */
	SPEC_OUT_FILES = 2,  /* what is put into $EBB_OUTPUT, under the folder that `out` makes */
	SPEC_OUT_KEPT = 3,   /* stdout is kept in the state folder for later stages */
};

/* Whom the stop signal is for. */
enum spec_stop_to {
	SPEC_STOP_MAIN = 0,   /* follow shells down to the one real program */
	SPEC_STOP_LEADER = 1, /* the process that ebb started */
	SPEC_STOP_GROUP = 2,
};

struct spec_after_stop {
	int exit_code;
	enum cause cause;     /* CAUSE_DONE, CAUSE_CHECKPOINTED, CAUSE_INTERRUPTED, CAUSE_FAILED */
};

struct spec_secret {
	char *name;           /* of the environment variable */
	char *from;           /* "env:NAME" or "file:PATH"; never the secret itself */
};

struct spec {
	char *name;          /* of the stage; "map" for `ebb map` */
	struct spec_source *source;
	size_t n_sources;
	char **command;      /* words; one word with a space or a shell character
	                      * in it is a shell string */
	size_t n_command;
	bool shell;          /* run command[0] by a shell */
	char **shell_words;  /* which one; none: bash -euo pipefail -c */
	size_t n_shell_words;
	enum spec_input input;
	enum spec_output output;
	char *out;           /* template of the output's name or folder; NULL: none */
	char *out_root;      /* folder that outputs must stay in, as given */
	enum spec_shard shard;
	int64_t shard_size;  /* SPEC_BYTES; SPEC_FILES: group up to so much; 0: one each */
	char *records;       /* SPEC_BYTES: "lines", ... */
	int64_t batch;       /* SPEC_BYTES: a process for so many records; 0: one for all */
	bool keep_order;     /* deliver stdout in input order */
	bool tag;            /* put the item before each line of stdout */
	int64_t timeout_ms;  /* 0: none */
	struct retry_policy retry;
	int64_t allow_failed;/* so many shards may fail for good ... */
	int64_t allow_failed_ppm; /* ... or so many in a million, if more */
	bool stop_on_failed; /* one more ends the run; else the rest of the stage is done */
	int stop_signal;     /* 0: SIGTERM */
	enum spec_stop_to stop_to;
	struct spec_after_stop *after_stop;
	size_t n_after_stop;
	int checkpoint_exit; /* 0: 85 */
	int64_t checkpoint_every_ms; /* of batches; 0: 1 s */
	int64_t cpu_milli;   /* thousandths of a CPU that a shard needs; 0: one slot */
	int64_t memory;      /* bytes that a shard may use; 0: not limited */
	int gpus;            /* that a shard needs */
	char **env;          /* NAME=value */
	size_t n_env;
	struct spec_secret *secret;
	size_t n_secrets;
	char **files;        /* local files that belong to the stage's identity */
	size_t n_files;
	char *version;       /* the user's own; part of the identity; NULL: none */
};

void spec_free(struct spec *s); /* what it owns */

/* The number of the signal that tells it to stop. */
int spec_stop_signal(const struct spec *s);
/* A stop can end it well: some exit after one is as good as done, or as saved. */
bool spec_stops_well(const struct spec *s);

/* Sets `shell` from the words: one word that is more than a plain program name. */
void spec_detect_shell(struct spec *s);

/* The command as one line for people. */
void spec_title(const struct spec *s, struct buf *out);

#endif
