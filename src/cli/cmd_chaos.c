/* ebb chaos: rehearsals of interruptions; the first word says which. */
#include "cli/cmd_chaos.h"

#include <string.h>

#include "base/log.h"
#include "cli/common.h"

static const struct option chaos_options[] = {
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

static const struct verb *const chaos_verbs[] = {&verb_chaos_run, &verb_chaos_serve, NULL};

static int chaos_main(int argc, char **argv)
{
	const char *word = argc < 2 ? "" : argv[1];
	const struct verb *v = verb_find_sub(&verb_chaos, word);
	struct buf b = {0};

	if (v != NULL)
		return v->run(argc - 1, argv + 1);
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
		options_help(&verb_chaos, &b);
		return common_print(&b);
	}
	if (word[0] == '\0')
		log_line(LOG_ERROR, "which rehearsal? ebb chaos run or ebb chaos serve; ebb help chaos "
		    "says more");
	else
		log_line(LOG_ERROR, "ebb chaos %.60s: there are run and serve; ebb help chaos says more",
		    word);
	return EXIT_BAD_USAGE;
}

const struct verb verb_chaos = {
	.name = "chaos",
	.usage = "ebb chaos run [options] FILE\n       ebb chaos serve [options] aws|gcp|azure",
	.summary = "ebb chaos: rehearse interruptions: of a pipeline, or for any program",
	.text = "examples:\n"
	    "  ebb chaos run --targets 'PERCENT(50)' logs.yaml\n"
	    "  ebb help chaos run\n"
	    "  ebb chaos serve aws --port 1338 --notice-after 30s\n"
	    "  ebb help chaos serve\n",
	.options = chaos_options,
	.subs = chaos_verbs,
	.run = chaos_main,
};
