/* ebb logs: what a shard's attempts wrote to stderr. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "base/sys.h"
#include "cli/common.h"
#include "worker/name.h"

struct logs_values {
	const char *state;
	const char *run;
	const char *stage;
	bool all;
};

static const struct option logs_options[] = {
	{0, "all", OPTION_FLAG, offsetof(struct logs_values, all), NULL,
	    "of all attempts (default: the last)"},
	{0, "run", OPTION_TEXT, offsetof(struct logs_values, run), "RUN",
	    "of this run (default: the newest)"},
	{0, "stage", OPTION_TEXT, offsetof(struct logs_values, stage), "NAME",
	    "a shard of that stage (default: of any)"},
	{0, "state", OPTION_TEXT, offsetof(struct logs_values, state), "DIR",
	    "the state folder (default $EBB_STATE, else .ebb)"},
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

enum { ATTEMPTS = 100 };

static void attempt_line(const struct ledger_attempt *a, int number, struct buf *b)
{
	buf_printf(b, "==> attempt %d: %s", number, cause_name(a->cause));
	if (a->exit_signal > 0)
		buf_printf(b, ", signal %d", a->exit_signal);
	else if (a->exit_code >= 0)
		buf_printf(b, ", exit %d", a->exit_code);
	buf_str(b, ", ran ");
	str_duration(b, a->run_ms);
	/* Else it is the last line that follows, unless ebb knows better. */
	if ((a->err_bytes == 0 || a->cause == CAUSE_OUT_OF_MEMORY) && a->note[0] != '\0')
		buf_printf(b, ": %s", a->note);
	buf_str(b, a->err_bytes == 0 ? ", wrote nothing to stderr <==\n" : " <==\n");
}

/* The bytes as they are: a log is for whoever asked for it. */
static int copy_out(const char *path)
{
	char chunk[16384];
	int fd = sys_open(path, O_RDONLY, 0);
	ssize_t n;

	if (fd == -1) {
		log_line(LOG_ERROR, "the log %s is gone: %s", path, strerror(errno));
		return EXIT_DONE;
	}
	while ((n = sys_read(fd, chunk, sizeof(chunk))) > 0) {
		if (fwrite(chunk, 1, (size_t)n, stdout) != (size_t)n)
			break;
	}
	(void)sys_close(fd);
	return n == 0 && fflush(stdout) == 0 ? EXIT_DONE : EXIT_UNREACHABLE;
}

static int show_attempts(struct common_view *view, const struct ledger_shard *s, bool all)
{
	struct ledger_attempt list[ATTEMPTS];
	struct error e;
	size_t n = 0;
	size_t i;
	int code = EXIT_DONE;
	enum status st = ledger_attempts(view->ledger, s->row, ATTEMPTS, list, &n, &e);

	if (st != ST_OK)
		return common_fail(st, &e);
	if (n == 0) {
		struct buf b = {0};

		buf_printf(&b, "no attempt of this shard has ended yet; it is %s\n",
		    shard_state_name(s->s.state));
		return common_print(&b);
	}
	for (i = all ? 0 : n - 1; code == EXIT_DONE && i < n; i++) {
		struct buf head = {0};
		struct buf path = {0};

		attempt_line(&list[i], s->attempts - (int)(n - 1 - i), &head);
		code = common_print(&head);
		common_log_path(view, s->row, list[i].epoch, &path);
		if (code == EXIT_DONE && list[i].err_bytes > 0 && !path.failed)
			code = copy_out(path.data);
		buf_free(&path);
	}
	return code;
}

static int logs_main(int argc, char **argv)
{
	struct logs_values v = {0};
	struct common_view view;
	struct ledger_shard s;
	struct error e;
	int code;
	const char *words[COMMON_WORDS_MAX + 1];
	enum status st;

	if (!common_parse(&verb_logs, argc, argv, &v, words, &code))
		return code;
	if (words[0] == NULL) {
		st = error_set(&e, ST_CONFIG, "which shard? ebb logs SHARD; ebb shards lists them");
		return common_fail(st, &e);
	}
	st = common_view_open(v.state, v.run, false, &view, &e);
	if (st != ST_OK)
		return common_fail(st, &e);
	st = common_view_select(&view, v.stage, &e);
	if (st == ST_OK)
		st = common_find_shard(&view, words[0], &s, &e);
	if (st == ST_OK) {
		code = show_attempts(&view, &s, v.all);
		ledger_shard_free(&s);
	} else {
		code = common_fail(st, &e);
	}
	common_view_close(&view);
	return code;
}

const struct verb verb_logs = {
	.name = "logs",
	.max_words = 1,
	.usage = "ebb logs [options] SHARD",
	.summary = "ebb logs: what a shard wrote to stderr, and how its attempts ended",
	.text = "SHARD is a name (a.log, a.log#3), a number from ebb shards (17, or #17 where\n"
	    "an item is called 17), or a prefix that fits one shard only; of a pipeline also\n"
	    "STAGE:NAME.\n"
	    "\nexamples:\n  ebb logs access-07-01.log.gz#3\n  ebb logs --all 17\n",
	.options = logs_options,
	.run = logs_main,
};
