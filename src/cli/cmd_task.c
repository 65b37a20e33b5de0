/* ebb task: the task contract for shell scripts, on libebb. */
#include <math.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "cli/common.h"
#include "ebb/ebb.h"

static const struct option task_options[] = {
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

/* args: the numbers after the verb's word. */
struct task_call {
	int64_t args[2];
	int n_args;
};

static int task_checkpoint(const struct task_call *c)
{
	int r = ebb_checkpoint(c->n_args > 0 ? c->args[0] : EBB_SAME_OFFSET);

	if (r == EBB_ANSWER_DURABLE)
		return EXIT_DONE;
	log_line(LOG_ERROR, "checkpoint: %s", ebb_strerror(r));
	return EXIT_SOME_FAILED;
}

static int task_progress(const struct task_call *c)
{
	ebb_progress((uint64_t)c->args[0], c->n_args > 1 ? (uint64_t)c->args[1] : 0);
	return EXIT_DONE;
}

static int task_should_stop(const struct task_call *c)
{
	(void)c;
	return ebb_should_stop() ? 0 : 1;
}

static int task_should_checkpoint(const struct task_call *c)
{
	(void)c;
	return ebb_should_checkpoint() ? 0 : 1;
}

/* Whole seconds, which a shell can count with. */
static int task_seconds_left(const struct task_call *c)
{
	double left = ebb_seconds_left();
	struct buf b = {0};

	(void)c;
	if (isinf(left) || left > 1e15)
		buf_str(&b, "inf\n");
	else
		buf_printf(&b, "%lld\n", (long long)left);
	return common_print(&b);
}

static int task_offset(const struct task_call *c)
{
	struct buf b = {0};

	(void)c;
	buf_printf(&b, "%lld\n", (long long)ebb_offset());
	return common_print(&b);
}

static int task_done(const struct task_call *c)
{
	(void)c;
	ebb_done();
	return EXIT_DONE;
}

static const struct task_action {
	const char *name;
	int min_args;
	int max_args;
	int (*run)(const struct task_call *c);
} task_actions[] = {
	{"checkpoint", 0, 1, task_checkpoint},
	{"progress", 1, 2, task_progress},
	{"should-stop", 0, 0, task_should_stop},
	{"should-checkpoint", 0, 0, task_should_checkpoint},
	{"seconds-left", 0, 0, task_seconds_left},
	{"offset", 0, 0, task_offset},
	{"done", 0, 0, task_done},
};

static const struct task_action *find_action(const char *name)
{
	size_t i;

	for (i = 0; name != NULL && i < sizeof(task_actions) / sizeof(task_actions[0]); i++)
		if (strcmp(task_actions[i].name, name) == 0)
			return &task_actions[i];
	return NULL;
}

static enum status parse_call(const struct task_action *action, const char *const *args,
    struct task_call *call, struct error *e)
{
	for (call->n_args = 0; args[call->n_args] != NULL; call->n_args++) {
		enum status st;

		if (call->n_args == action->max_args)
			return error_set(e, ST_CONFIG, "ebb task %s takes at most %d words: \"%.60s\" "
			    "is one too many", action->name, action->max_args,
			    args[call->n_args]);
		st = str_parse_count(args[call->n_args], 0, INT64_MAX, &call->args[call->n_args], e);
		if (st != ST_OK)
			return error_prefix(e, st, "ebb task %s", action->name);
	}
	if (call->n_args < action->min_args)
		return error_set(e, ST_CONFIG, "ebb task %s needs a number: how much is done",
		    action->name);
	return ST_OK;
}

static int task_main(int argc, char **argv)
{
	const char *words[COMMON_WORDS_MAX + 1];
	const struct task_action *action;
	struct task_call call = {.n_args = 0};
	struct error e;
	char nothing; /* this verb has no options */
	int code;
	enum status st;

	if (!common_parse(&verb_task, argc, argv, &nothing, words, &code))
		return code;
	action = find_action(words[0]);
	if (action == NULL) {
		st = error_set(&e, ST_CONFIG, "ebb task %.60s: there are checkpoint, progress, "
		    "should-stop, should-checkpoint, seconds-left, offset and done; ebb help task says more",
		    words[0] != NULL ? words[0] : "(nothing)");
		return common_fail(st, &e);
	}
	st = parse_call(action, words + 1, &call, &e);
	return st == ST_OK ? action->run(&call) : common_fail(st, &e);
}

const struct verb verb_task = {
	.name = "task",
	.max_words = 3,
	.usage = "ebb task checkpoint [OFFSET] | progress DONE [TOTAL] | should-stop |\n"
	    "       ebb task should-checkpoint | seconds-left |\n"
	    "       offset | done",
	.summary = "ebb task: for commands that run under ebb: when to stop, how far, save this",
	.text = "examples, in a shell script that ebb runs:\n"
	    "  if ebb task should-stop; then save; ebb task checkpoint && exit 85; fi\n"
	    "  ebb task progress \"$done\" \"$total\"\n"
	    "  tail -c +$(($(ebb task offset) + 1)) input | ...\n"
	    "\n"
	    "checkpoint    what was written to stdout so far, the folder $EBB_CHECKPOINT and\n"
	    "              OFFSET (default: as before) become durable together; waits for it.\n"
	    "              Exit 1 when they did not, with what to do\n"
	    "progress      how far it is, in units of its own\n"
	    "should-stop   exit 0 when it is time to save and leave, 1 to go on\n"
	    "should-checkpoint\n"
	    "              exit 0 when a checkpoint now would be wise (the machine is likelier\n"
	    "              than usual to be taken away), 1 when not\n"
	    "seconds-left  whole seconds until the command will be ended, or inf\n"
	    "offset        where to begin: OFFSET of the last durable checkpoint, or 0\n"
	    "done          exit 0 means done, even after ebb's stop signal\n"
	    "\n"
	    "Outside ebb should-stop exits 1, and the others exit 0 and do nothing. In C\n"
	    "there is libebb (ebb/ebb.h), in Python ebb_task.py; docs/task-contract.md is\n"
	    "the whole contract.\n",
	.options = task_options,
	.run = task_main,
};
