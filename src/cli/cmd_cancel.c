/* ebb cancel: a run ends, what is done stays. */
#include <stddef.h>

#include "base/log.h"
#include "cli/common.h"

struct cancel_values {
	const char *state;
};

static const struct option cancel_options[] = {
	{0, "state", OPTION_TEXT, offsetof(struct cancel_values, state), "DIR",
	    "the state folder (default $EBB_STATE, else .ebb)"},
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

static enum status cancel(struct common_view *v, bool *was_over, struct error *e)
{
	const struct ledger_event ev = {.kind = "cancel"};
	struct ledger_run now = {0};
	enum status st = ledger_begin(v->ledger, e);

	if (st != ST_OK)
		return st;
	st = ledger_run_by_key(v->ledger, v->run.key, &now, e);
	if (st == ST_OK) {
		*was_over = now.state != RUN_ACTIVE;
		ledger_run_free(&now);
	}
	if (st == ST_OK && !*was_over)
		st = ledger_run_set_state(v->ledger, v->run.id, RUN_CANCELLED, e);
	if (st == ST_OK && !*was_over)
		st = ledger_event_add(v->ledger, v->run.id, &ev, e);
	if (st == ST_OK)
		return ledger_commit(v->ledger, e);
	ledger_rollback(v->ledger);
	return st;
}

static int cancel_main(int argc, char **argv)
{
	struct cancel_values v = {0};
	struct common_view view = {0};
	struct error e;
	bool was_over = false;
	int code;
	const char *words[COMMON_WORDS_MAX + 1];
	enum status st;

	if (!common_parse(&verb_cancel, argc, argv, &v, words, &code))
		return code;
	st = words[0] == NULL ? error_set(&e, ST_CONFIG, "which run? ebb status names them")
	    : common_view_open(v.state, words[0], true, &view, &e);
	if (st != ST_OK)
		return common_fail(st, &e);
	st = cancel(&view, &was_over, &e);
	if (st != ST_OK)
		code = common_fail(st, &e);
	else
		code = EXIT_DONE;
	if (st == ST_OK)
		log_line(LOG_INFO, "%s %s", view.run.name, was_over ? "is over already"
		    : "is cancelled; its workers end what they run");
	common_view_close(&view);
	return code;
}

const struct verb verb_cancel = {
	.name = "cancel",
	.max_words = 1,
	.usage = "ebb cancel [options] RUN",
	.summary = "ebb cancel: end a run; what is done stays",
	.text = "example:\n  ebb cancel r7\n"
	    "\n"
	    "Its workers tell what they run to stop (TERM, after 5 s KILL) and leave with 1.\n"
	    "A pipeline that is started again after that begins anew and takes over what was\n"
	    "done; an ebb map starts over.\n",
	.options = cancel_options,
	.run = cancel_main,
};
