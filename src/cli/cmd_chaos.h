/* What `ebb chaos` can do: one verb of the second row for each, in a file of its
 * own (cmd_chaos_<word>.c). */
#ifndef EBB_CLI_CMD_CHAOS_H
#define EBB_CLI_CMD_CHAOS_H

struct verb;

extern const struct verb verb_chaos_run;
extern const struct verb verb_chaos_serve;

#endif
