/* ebb help: the verbs, one verb, or the table of states. */
#include <string.h>

#include "base/log.h"
#include "cli/common.h"
#include "model/machine.h"

static const struct option options[] = {
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

static void overview(struct buf *b)
{
	size_t i;

	buf_str(b, "ebb: batch work on machines that can be taken away\n"
	    "Kill it, reclaim the machine, reboot: run the same line again and it goes on.\n\n"
	    "usage: ebb VERB [options] ...\n\nverbs:\n");
	for (i = 0; verbs[i] != NULL; i++)
		buf_printf(b, "  %-8s %s\n", verbs[i]->name,
		    strchr(verbs[i]->summary, ':') == NULL ? verbs[i]->summary
		    : strchr(verbs[i]->summary, ':') + 2);
	buf_str(b, "\nexamples:\n"
	    "  ebb map --out '{}.gz' -- gzip -9c {} ::: *.log\n"
	    "  ebb status\n"
	    "  ebb help map\n"
	    "\nebb help states prints what can become of a shard; ebb --version the version.\n");
}

static int run(int argc, char **argv)
{
	struct buf b = {0};
	const struct verb *v;

	if (argc < 2) {
		overview(&b);
	} else if (strcmp(argv[1], "states") == 0) {
		shard_machine_print(&b);
	} else {
		v = verb_find(argv[1]);
		if (v == NULL) {
			log_line(LOG_ERROR, "no verb \"%.60s\"; ebb help lists them", argv[1]);
			return EXIT_BAD_USAGE;
		}
		options_help(v, &b);
	}
	return common_print(&b);
}

const struct verb verb_help = {
	.name = "help",
	.usage = "ebb help [VERB | states]",
	.summary = "ebb help: what a verb does, with examples",
	.options = options,
	.run = run,
};
