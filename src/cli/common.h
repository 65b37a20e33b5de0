/* What several verbs need: where the state is, which run is meant, and how an
 * error becomes an exit code. */
#ifndef EBB_CLI_COMMON_H
#define EBB_CLI_COMMON_H

#include "cli/options.h"
#include "cli/verbs.h"
#include "ledger/ledger.h"
#include "worker/state.h"

/* --state, else EBB_STATE, else ./.ebb. */
const char *common_state_dir(const char *option);

/* Appends the path as it is from any folder. NULL and "" append nothing. */
enum status common_absolute(const char *path, struct buf *out, struct error *e) MUST_USE;

/* Makes the folder that a run works in the current one. Everything relative that
 * is still needed has to be made absolute before. */
enum status common_enter_run(const struct state *state, const struct ledger_run *run,
    struct error *e) MUST_USE;

/* How long commands may go on after INT or TERM: `option` if it is not negative,
 * else EBB_GRACE, else 30 s; *given says that it is not the last of these. */
enum status common_grace(int64_t option, int64_t *ms, bool *given, struct error *e) MUST_USE;

/* Logs the error and returns the exit code of its class. */
int common_fail(enum status st, const struct error *e);

enum { COMMON_WORDS_MAX = 4 };

/* Parses options and words in any order (after "--" only words); words[] is
 * filled and NULL-terminated. When the verb has nothing more to do (help was asked for and shown,
 * or the words are wrong and that was said) returns false and *code is the exit
 * code. */
bool common_parse(const struct verb *v, int argc, char **argv, void *values,
    const char *words[COMMON_WORDS_MAX + 1], int *code);

/* Opens the state folder's ledger to look at it, and the run of that name
 * (NULL or "": the newest) with the stages of its newest generation. */
struct common_view {
	struct state *state;
	struct ledger *ledger;
	struct ledger_run run;
	struct ledger_stage *stage;
	size_t n_stages;
	size_t first;             /* the stages that are meant: [first, end), all of */
	size_t end;               /* them before common_view_select */
	struct ledger_stage all;  /* sums over all stages */
};

enum status common_view_open(const char *state_option, const char *run, bool writable,
    struct common_view *out, struct error *e) MUST_USE;
void common_view_close(struct common_view *v);
/* Looks at another run from now on; all of its stages are meant. */
enum status common_view_turn(struct common_view *v, const char *run, struct error *e) MUST_USE;
/* Reads run and stages again. */
enum status common_view_refresh(struct common_view *v, struct error *e) MUST_USE;
/* Only the stage of that name is meant from now on; NULL changes nothing.
 * ST_NOT_FOUND names those that there are. */
enum status common_view_select(struct common_view *v, const char *stage, struct error *e) MUST_USE;
/* Somebody works on that run now. */
bool common_is_running(const struct common_view *v, const struct ledger_run *r);
/* "running", "stopped" (active, and nobody works on it), "finished" or "cancelled". */
const char *common_state_name(const struct ledger_run *r, bool running);
/* Appends a shard's name as common_find_shard takes it: where several stages are
 * meant, with that of its stage and a colon before it. */
void common_shard_name(const struct common_view *v, size_t stage, const struct ledger_shard *s,
    struct buf *out);

/* Finds the one shard that a person means, in the stages that are meant: a number
 * (place in the list, from 1; "#3" is one unless a shard is called so), a name (item,
 * or item#part), or a prefix that fits only one; each also with STAGE: before it.
 * ST_NOT_FOUND, ST_CONFIG (a prefix of several: some are named) and ST_EXISTS (the
 * name of several) otherwise. */
enum status common_find_shard(struct common_view *v, const char *word, struct ledger_shard *out,
    struct error *e) MUST_USE;

/* The path of an attempt's stderr log. */
void common_log_path(const struct common_view *v, int64_t row, int64_t epoch, struct buf *out);

/* Writes to stdout; EXIT_UNREACHABLE if that fails. */
int common_print(struct buf *out);

#endif
