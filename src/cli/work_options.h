/* Options that map, run and worker have in common: how this worker works, and for
 * the first two how a run is begun. One table and one way into struct drive. */
#ifndef EBB_CLI_WORK_OPTIONS_H
#define EBB_CLI_WORK_OPTIONS_H

#include "cli/drive.h"
#include "cli/options.h"

/* The first member of a verb's values, so that the offsets below hold there. */
struct work_values {
	const char *jobs;
	const char *pool;
	const char *lifecycle;
	const char *stop_file;
	const char *joblog;
	const char *state;
	const char *log;
	const char *if_running;
	const char *result;
	const char *notice;
	const char *on_notice;
	const char *on_drained;
	const char *on_rebalance;
	const char *node;
	int64_t hook_timeout_ms;
	bool no_acknowledge;
	bool fresh;
	bool no_stderr;
	bool quiet;
	int64_t grace_ms;
	int64_t lease_ms;
	int64_t state_max;
};

#define WORK_DEFAULTS \
	{ \
		.if_running = "fail", .grace_ms = -1, .lease_ms = 30000, .state_max = (int64_t)10 << 30 \
	}

#define WORK_AT(field) offsetof(struct work_values, field)

/* Rows of a table of options. */
#define WORK_JOBS_OPTION \
	{'j', "jobs", OPTION_TEXT, WORK_AT(jobs), "N", \
	    "commands at once: 8, 50%, +1, -1, auto (default: CPU affinity and cgroup quota)"}

#define WORK_START_OPTIONS \
	{0, "fresh", OPTION_FLAG, WORK_AT(fresh), NULL, "start over instead of going on"}, \
	{0, "if-running", OPTION_CHOICE, WORK_AT(if_running), "WHAT", \
	    "when the same run is running already: fail (default), wait, join, skip", \
	    .choices = "fail|wait|join|skip"}, \
	{0, "result", OPTION_TEXT, WORK_AT(result), "FILE", \
	    "write there as JSON what became of it, whatever that is (docs/formats.md)"}, \
	{0, "state-max", OPTION_SIZE, WORK_AT(state_max), "SIZE", \
	    "old logs and runs go when the state grows past it (default 10GiB)"}

#define WORK_OPTIONS \
	{0, "grace", OPTION_DURATION, WORK_AT(grace_ms), "TIME", \
	    "after INT or TERM, running commands may go on so long ($EBB_GRACE, else 30s)", \
	    .min = 0, .max = 86400000}, \
	{0, "lease", OPTION_DURATION, WORK_AT(lease_ms), "TIME", \
	    "a worker silent for so long has lost its shards (default 30s)", \
	    .min = 200, .max = 86400000}, \
	{0, "pool", OPTION_TEXT, WORK_AT(pool), "NAME", \
	    "what this worker counts among (default local)"}, \
	{0, "lifecycle", OPTION_CHOICE, WORK_AT(lifecycle), "KIND", \
	    "whether its machine may be taken away: spot, on-demand", \
	    .choices = "spot|on-demand"}, \
	{0, "stop-file", OPTION_TEXT, WORK_AT(stop_file), "PATH", \
	    "stop as after TERM when this file is there (default runs/RUN/stop in the state)"}, \
	{0, "notice", OPTION_TEXT, WORK_AT(notice), "LIST", \
	    "sources of interruption notices: auto (default), none, or names (ebb help watch)"}, \
	{0, "node", OPTION_TEXT, WORK_AT(node), "NAME", \
	    "what events from outside call this machine (default: as its platform does)"}, \
	{0, "on-notice", OPTION_TEXT, WORK_AT(on_notice), "COMMAND", \
	    "what a shell runs when this worker begins to leave"}, \
	{0, "on-drained", OPTION_TEXT, WORK_AT(on_drained), "COMMAND", \
	    "what it runs when nothing is in its hands any more"}, \
	{0, "on-rebalance", OPTION_TEXT, WORK_AT(on_rebalance), "COMMAND", \
	    "what it runs when the platform recommends to rebalance"}, \
	{0, "hook-timeout", OPTION_DURATION, WORK_AT(hook_timeout_ms), "TIME", \
	    "each of these is ended when it takes longer (default 10s)", \
	    .min = 100, .max = 3600000}, \
	{0, "no-acknowledge", OPTION_FLAG, WORK_AT(no_acknowledge), NULL, \
	    "do not tell the platform (Azure) that it may go on once this worker has left"}, \
	{0, "joblog", OPTION_TEXT, WORK_AT(joblog), "FILE", \
	    "a line for each attempt, as GNU parallel's"}, \
	{0, "no-stderr", OPTION_FLAG, WORK_AT(no_stderr), NULL, \
	    "keep the commands' stderr in the logs only (ebb logs shows it)"}, \
	{'q', "quiet", OPTION_FLAG, WORK_AT(quiet), NULL, "say nothing when all goes well"}, \
	{0, "log", OPTION_CHOICE, WORK_AT(log), "FORM", \
	    "text (default) or json: ebb's own lines on stderr", .choices = "text|json"}

/* Paths of the values that hold in another folder too. */
struct work_paths {
	struct buf state;
	struct buf joblog;
	struct buf result;
	struct buf stop_file;
};

/* Makes the paths in *v absolute; they live in *paths, to be freed in any case. The
 * result file's is the first, so that a later failure can be written there. */
enum status work_make_absolute(struct work_values *v, struct work_paths *paths,
    struct error *e) MUST_USE;
void work_paths_free(struct work_paths *paths);

/* From here on ebb's own lines look as --log says. */
void work_log_setup(const struct work_values *v);

/* Fills what the values say; borrows their texts. ST_CONFIG names the option. */
enum status work_fill_drive(const struct work_values *v, struct drive *d,
    struct error *e) MUST_USE;

#endif
