/* ebb exec: one command under the task contract, without a ledger. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "cli/common.h"
#include "model/spec.h"
#include "notice/watch.h"
#include "worker/exec.h"

struct exec_values {
	int64_t grace_ms;
	const char *stop_file;
	const char *notice;
	bool no_acknowledge;
	const char *stop_signal;
	const char *stop_to;
	bool wait_all;
};

static const struct option exec_cmd_options[] = {
	{0, "grace", OPTION_DURATION, offsetof(struct exec_values, grace_ms), "TIME",
	    "from the stop signal to KILL ($EBB_GRACE, else 30s)", .min = 0, .max = 86400000},
	{0, "stop-file", OPTION_TEXT, offsetof(struct exec_values, stop_file), "PATH",
	    "stop when this file appears, as by TERM"},
	{0, "notice", OPTION_TEXT, offsetof(struct exec_values, notice), "LIST",
	    "sources of interruption notices: auto (default), none, or names (ebb help watch)"},
	{0, "no-acknowledge", OPTION_FLAG, offsetof(struct exec_values, no_acknowledge), NULL,
	    "do not tell the platform (Azure) that it may go on once the command has ended"},
	{0, "stop-signal", OPTION_TEXT, offsetof(struct exec_values, stop_signal), "NAME",
	    "what the command is told to stop with: TERM (default), INT, USR1, ..."},
	{0, "stop-to", OPTION_CHOICE, offsetof(struct exec_values, stop_to), "WHOM",
	    "main (default): the one real program below shells; leader; group",
	    .choices = "main|leader|group"},
	{0, "wait-all", OPTION_FLAG, offsetof(struct exec_values, wait_all), NULL,
	    "wait for processes that outlive the command, instead of ending them"},
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

/* "TERM", "SIGTERM", "15". STOP would leave the command where it is. */
static enum status parse_signal(const char *name, int *sig, struct error *e)
{
	struct error ignored;
	int64_t number;
	int i;

	if (strncmp(name, "SIG", 3) == 0)
		name += 3;
	if (str_parse_count(name, 1, SIGRTMAX, &number, &ignored) == ST_OK && number != SIGSTOP) {
		*sig = (int)number;
		return ST_OK;
	}
	for (i = 1; i < SIGRTMIN; i++) {
		const char *abbreviation = sigabbrev_np(i);

		if (abbreviation != NULL && i != SIGSTOP && strcmp(abbreviation, name) == 0) {
			*sig = i;
			return ST_OK;
		}
	}
	return error_set(e, ST_CONFIG, "--stop-signal: \"%.40s\" is no signal that asks a program to "
	    "stop; for example TERM, INT or USR1", name);
}

static enum status exec_options_from(const struct exec_values *v, struct exec_options *opt,
    struct error *e)
{
	enum status st = common_grace(v->grace_ms, &opt->grace_ms, &opt->grace_given, e);

	opt->stop_file = v->stop_file;
	opt->notice = v->notice;
	opt->no_acknowledge = v->no_acknowledge;
	opt->wait_all = v->wait_all;
	opt->stop_signal = SIGTERM;
	if (v->stop_to != NULL && strcmp(v->stop_to, "leader") == 0)
		opt->stop_to = STOP_TO_LEADER;
	else if (v->stop_to != NULL && strcmp(v->stop_to, "group") == 0)
		opt->stop_to = STOP_TO_GROUP;
	if (st == ST_OK && v->notice != NULL && notice_watch_check(v->notice, e) != ST_OK)
		st = error_prefix(e, ST_CONFIG, "--notice");
	if (st == ST_OK && v->stop_signal != NULL)
		st = parse_signal(v->stop_signal, &opt->stop_signal, e);
	return st;
}

static int exec_words(struct exec_options opt, char **words, int n)
{
	static char bash[] = "bash";
	static char euo[] = "-euo";
	static char pipefail[] = "pipefail";
	static char command[] = "-c";
	struct spec s = {.command = words, .n_command = (size_t)n};
	char *shell[] = {bash, euo, pipefail, command, words[0], NULL};
	struct error e;
	int code;

	spec_detect_shell(&s);
	opt.argv = s.shell ? shell : words;
	if (exec_run(&opt, &code, &e) != ST_OK)
		log_line(LOG_ERROR, "%s", e.text);
	return code;
}

static int exec_main(int argc, char **argv)
{
	struct exec_values v = {.grace_ms = -1};
	struct exec_options opt = {.argv = NULL};
	struct error e;
	bool help;
	int next;
	enum status st = options_parse(&verb_exec, argc, argv, &v, &next, &help, &e);

	if (st == ST_OK && help) {
		struct buf b = {0};

		options_help(&verb_exec, &b);
		return common_print(&b);
	}
	if (st == ST_OK && next < argc && strcmp(argv[next], "--") == 0)
		next++;
	if (st == ST_OK && next >= argc)
		st = error_set(&e, ST_CONFIG, "there is no command; for example: ebb exec -- "
		    "./train.sh");
	if (st == ST_OK)
		st = exec_options_from(&v, &opt, &e);
	if (st != ST_OK)
		return common_fail(st, &e);
	return exec_words(opt, argv + next, argc - next);
}

const struct verb verb_exec = {
	.name = "exec",
	.max_words = -1,
	.usage = "ebb exec [options] -- COMMAND [WORDS]",
	.summary = "ebb exec: run one command that is told in time when it has to stop",
	.text = "examples:\n"
	    "  ebb exec --grace 90s -- python train.py\n"
	    "  ebb exec --stop-file /run/drain -- ./server --port 80\n"
	    "  ENTRYPOINT [\"ebb\", \"exec\", \"--\"]        as process 1 of a container\n"
	    "\n"
	    "INT, TERM, HUP or the stop file: the command's control page flips (ebb task\n"
	    "should-stop), the file $EBB_NOTICE_FILE appears, and the stop signal goes to\n"
	    "the command. When the grace is over, or at a second INT, all is killed. Other\n"
	    "signals are passed on. On a terminal the command is in the foreground, and\n"
	    "Ctrl-C and Ctrl-Z are its own.\n"
	    "\n"
	    "One word with a blank or a shell character in it is run by bash -euo pipefail\n"
	    "-c. Processes that outlive the command are ended.\n"
	    "\n"
	    "Exit: the command's own code, 128+N when signal N ended it, 127 when it was not\n"
	    "found, 126 when it cannot be run, 125 when ebb itself failed, 2 usage.\n",
	.options = exec_cmd_options,
	.run = exec_main,
};
