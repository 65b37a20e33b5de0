/* GNU parallel's --joblog: one line an attempt, tab-separated. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "worker/work.h"

enum status joblog_open(struct work *w, struct error *e)
{
	struct ledger_stage all;
	bool going_on;

	if (w->opt->joblog == NULL)
		return ST_OK;
	stages_sum(w, &all);
	going_on = all.attempts > 0;
	w->joblog = fopen(w->opt->joblog, going_on ? "ae" : "we");
	if (w->joblog == NULL)
		return error_os(e, errno, "cannot open the job log %s", w->opt->joblog);
	(void)setvbuf(w->joblog, NULL, _IOLBF, 0);
	if (ftell(w->joblog) == 0 &&
	    fputs("Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n",
	    w->joblog) == EOF)
		return error_os(e, errno, "cannot write the job log %s", w->opt->joblog);
	return ST_OK;
}

void joblog_write(struct work *w, const struct attempt *a)
{
	const struct ledger_attempt *r = &a->rec;
	int64_t run_ns = a->end.ended_boot_ns - a->end.started_boot_ns;
	struct buf command = {0};
	struct buf shown = {0};

	if (w->joblog == NULL)
		return;
	/* As parallel does, the exit value of a command that a signal ended is 0. */
	if (launch_show(&a->g->launch, &a->shard, &command, NULL) == ST_OK)
		str_display(&shown, command.data, command.len, 0);
	if (fprintf(w->joblog, "%lld\t:\t%lld.%03d\t%10.3f\t0\t%lld\t%d\t%d\t%s\n",
	    (long long)a->shard.ordinal + 1, (long long)(r->started_wall_ms / 1000),
	    (int)(r->started_wall_ms % 1000), (double)run_ns / 1e9, (long long)r->out_bytes,
	    r->exit_code < 0 ? 0 : r->exit_code, r->exit_signal,
	    shown.data == NULL ? "" : shown.data) < 0) {
		log_line(LOG_WARN, "the job log %s cannot be written: %s", w->opt->joblog,
		    strerror(errno));
		(void)fclose(w->joblog);
		w->joblog = NULL;
	}
	buf_free(&command);
	buf_free(&shown);
}
