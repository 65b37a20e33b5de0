/* ebb help: the verbs, one verb, or the table of states. */
#include <string.h>

#include "base/log.h"
#include "cli/common.h"
#include "model/machine.h"
#include "pipeline/keys.h"
#include "pipeline/schema.h"

static const struct option help_options[] = {
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

static void overview(struct buf *b)
{
	size_t i;

	buf_str(b, "ebb: batch work on machines that can be taken away\n"
	    "Kill it, reclaim the machine, reboot: run the same line again and it goes on.\n\n"
	    "usage: ebb VERB [options] ...\n\nverbs:\n");
	for (i = 0; verbs[i] != NULL; i++)
		buf_printf(b, "  %-11s %s\n", verbs[i]->name,
		    strchr(verbs[i]->summary, ':') == NULL ? verbs[i]->summary
		    : strchr(verbs[i]->summary, ':') + 2);
	buf_str(b, "\nexamples:\n"
	    "  ebb map --out '{}.gz' -- gzip -9c {} ::: *.log\n"
	    "  ebb status\n"
	    "  ebb help map\n"
	    "\nebb help states prints what can become of a shard; ebb help pipeline the keys of a\n"
	    "pipeline file; ebb help schema its JSON Schema; ebb --version the version.\n");
}

/* The page about ebb itself: ebb(1). */
static void man_overview(struct buf *b)
{
	size_t i;

	buf_printf(b, ".TH EBB 1 \"\" \"ebb %s\" \"User Commands\"\n.SH NAME\nebb \\- batch work on "
	    "machines that can be taken away\n.SH SYNOPSIS\n.B ebb\n.I verb\n[options] ...\n"
	    ".SH DESCRIPTION\nRuns a command for each item of a list or each piece of a file and "
	    "keeps what was done in a small ledger. Kill it, reclaim the machine, reboot: run the "
	    "same line again and it goes on. Output gets its name only when it is complete.\n"
	    ".SH VERBS\n", EBB_VERSION);
	for (i = 0; verbs[i] != NULL; i++) {
		const char *what = strchr(verbs[i]->summary, ':');

		buf_printf(b, ".TP\n.BR ebb\\-%s (1)\n%s\n", verbs[i]->name,
		    what == NULL ? verbs[i]->summary : what + 2);
	}
	buf_str(b, ".SH ENVIRONMENT\n.TP\n.B EBB_STATE\nthe state folder, instead of ./.ebb\n"
	    ".TP\n.B EBB_GRACE\nhow long commands may go on after INT or TERM (30s)\n"
	    ".TP\n.B TMPDIR\nwhere commands keep scratch files; looked at when a disk is full\n"
	    ".PP\nA command finds EBB_RUN, EBB_SHARD, EBB_INDEX (from 0), EBB_EPOCH, EBB_ATTEMPT "
	    "(from 1), EBB_FAILURES, EBB_INTERRUPTIONS and EBB_SLOT (from 0, one less than {%}) in its environment.\n"
	    ".SH EXIT STATUS\n.nf\n0   all done\n1   some failed\n2   usage or input\n"
	    "3   state or output unreachable\n4   the same line is running already\n"
	    "75  stopped by TERM, start it again\n130 stopped by Ctrl\\-C\n.fi\n");
}

/* `ebb help --man [VERB]` is what the build makes the manual pages with. */
static int print_man(const char *name)
{
	const struct verb *v = name == NULL ? NULL : verb_find(name);
	struct buf b = {0};

	if (name == NULL) {
		man_overview(&b);
	} else if (v != NULL) {
		options_man(v, &b);
	} else {
		log_line(LOG_ERROR, "no verb \"%.60s\"; ebb help lists them", name);
		return EXIT_BAD_USAGE;
	}
	return common_print(&b);
}

/* False when it is no topic. */
static bool print_topic(const char *name, struct buf *out)
{
	struct error e;

	if (strcmp(name, "states") == 0)
		shard_machine_print(out);
	else if (strcmp(name, "pipeline") == 0)
		keys_print(out);
	else if (strcmp(name, "schema") == 0)
		out->failed = pipeline_schema(out, &e) != ST_OK;
	else
		return false;
	return true;
}

static int help_main(int argc, char **argv)
{
	struct buf b = {0};
	const struct verb *v;

	if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
		argv[1] = argv[0];
	if (argc >= 2 && strcmp(argv[1], "--man") == 0)
		return print_man(argc > 2 ? argv[2] : NULL);
	if (argc < 2) {
		overview(&b);
	} else if (!print_topic(argv[1], &b)) {
		v = verb_find(argv[1]);
		if (v == NULL) {
			log_line(LOG_ERROR, "no verb \"%.60s\"; ebb help lists them", argv[1]);
			return EXIT_BAD_USAGE;
		}
		if (argc > 2 && verb_find_sub(v, argv[2]) != NULL)
			v = verb_find_sub(v, argv[2]);
		options_help(v, &b);
	}
	return common_print(&b);
}

const struct verb verb_help = {
	.name = "help",
	.usage = "ebb help [VERB | states | pipeline | schema]",
	.summary = "ebb help: what a verb does, with examples; states, pipeline files",
	.options = help_options,
	.run = help_main,
};
