#include "chaos/follow.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "model/pipeline.h"

enum { FOLLOW_BUSY_MS = 1000 };

/* What goes by when others have gone on. */
static bool follow_may_pass(enum status st)
{
	return st == ST_OK || st == ST_NOT_FOUND || st == ST_BUSY || st == ST_TRANSIENT;
}

static void follow_count(struct follow *f, const struct ledger_stage *list, size_t n)
{
	ledger_stages_sum(list, n, &f->all);
	f->begun = f->begun || f->all.attempts > 0 || f->all.count[SHARD_LEASED] > 0 ||
	    ledger_stage_done(&f->all) > 0;
	f->over = f->run.state != RUN_ACTIVE;
}

static enum status follow_read(struct follow *f, struct error *e)
{
	struct ledger_stage *list = mem_zero(PIPELINE_STAGES_MAX * sizeof(*list));
	struct ledger_run run = {0};
	size_t n = 0;
	enum status st;

	if (list == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = ledger_run_by_name(f->ledger, f->name, &run, e);
	if (st == ST_OK) {
		ledger_run_free(&f->run);
		f->run = run;
		f->known = true;
		st = ledger_run_stages(f->ledger, run.id, 0, list, PIPELINE_STAGES_MAX, &n, e);
	}
	if (st == ST_OK)
		follow_count(f, list, n);
	free(list);
	return st;
}

enum status follow_look(struct follow *f, struct error *e)
{
	const struct ledger_options lo = {.read_only = true, .busy_ms = FOLLOW_BUSY_MS};
	uint64_t stamp = 0;
	enum status st = ST_OK;

	if (f->ledger == NULL && access(f->path, F_OK) != 0)
		return ST_OK;
	if (f->ledger == NULL)
		st = ledger_open(f->path, &lo, &f->ledger, e);
	/* It is just being made. */
	if (st != ST_OK && !f->known)
		return ST_OK;
	if (st == ST_OK)
		st = ledger_changes(f->ledger, &stamp, e);
	if (st == ST_OK && f->known && stamp == f->stamp)
		return ST_OK;
	if (st == ST_OK)
		st = follow_read(f, e);
	if (st == ST_OK)
		f->stamp = stamp;
	return follow_may_pass(st) ? ST_OK : st;
}

void follow_close(struct follow *f)
{
	ledger_run_free(&f->run);
	ledger_close(f->ledger);
	memset(f, 0, sizeof(*f));
}
