/* ebb: batch work on machines that can be taken away. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sys.h"
#include "cli/verbs.h"

const struct verb *const verbs[] = {
	&verb_map, &verb_run, &verb_worker, &verb_drain, &verb_cancel, &verb_validate, &verb_exec,
	&verb_watch, &verb_notify, &verb_status, &verb_report, &verb_shards, &verb_logs, &verb_retry,
	&verb_gc, &verb_doctor, &verb_chaos, &verb_task, &verb_completion, &verb_help, NULL,
};

const struct verb *verb_find(const char *name)
{
	size_t i;

	for (i = 0; verbs[i] != NULL; i++) {
		if (strcmp(verbs[i]->name, name) == 0)
			return verbs[i];
	}
	return NULL;
}

const char *verb_word(const struct verb *v)
{
	const char *blank = strrchr(v->name, ' ');

	return blank == NULL ? v->name : blank + 1;
}

const struct verb *verb_find_sub(const struct verb *v, const char *word)
{
	size_t i;

	for (i = 0; v->subs != NULL && v->subs[i] != NULL; i++) {
		if (strcmp(verb_word(v->subs[i]), word) == 0)
			return v->subs[i];
	}
	return NULL;
}

int main(int argc, char **argv)
{
	const struct verb *v;

	/* A reader that goes away is an error of write(2), not an end without a
	 * word; the guardian gives children the default back. */
	(void)signal(SIGPIPE, SIG_IGN);
	if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		int r = verb_help.run(1, argv);

		return argc < 2 ? EXIT_BAD_USAGE : r;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		(void)printf("ebb %s%s\n", EBB_VERSION,
		    sys_is_test_build() ? " (test build with fault injection)" : "");
		return fflush(stdout) == 0 ? EXIT_DONE : EXIT_UNREACHABLE;
	}
	v = verb_find(argv[1]);
	if (v == NULL) {
		log_line(LOG_ERROR, "no verb \"%s\"; ebb help lists them. To run a command for "
		    "each item: ebb map -- COMMAND {} ::: ITEMS", argv[1]);
		return EXIT_BAD_USAGE;
	}
	return v->run(argc - 1, argv + 1);
}
