#include "worker/batch.h"

#include <sys/stat.h>

#include "base/log.h"
#include "base/sys.h"
#include "worker/contract.h"
#include "worker/loop.h"
#include "worker/save.h"

enum { SAVE_EVERY_MS = 1000, SAVE_ROOM_MS = 500 };

bool batch_is_on(const struct attempt *a)
{
	return a->g->spec->batch > 0;
}

static bool must_stop(const struct attempt *a)
{
	return a->w->stop_level > 0 || a->w->failed_stop;
}

static void save_now(struct attempt *a)
{
	const struct control_view at = {.offset = a->batch_at};

	save_begin(a, &at);
}

/* It ends here: as saved, if all that was done is. */
static void end_here(struct attempt *a)
{
	a->stopped = true;
	a->end.fate = GUARDIAN_EXITED;
	a->end.exit_signal = 0;
	a->end.exit_code = a->saved_at == a->batch_at ? contract_again(a->g->spec) : -1;
	if (a->end.lane < 0)
		a->end.started_boot_ns = a->end.ended_boot_ns = sys_boot_ns();
	a->batch_over = true;
	loop_judge(a);
}

static void stop_here(struct attempt *a)
{
	if (a->saved_at < a->batch_at)
		save_now(a);
	else
		end_here(a);
}

static void next_batch(struct attempt *a)
{
	struct error e;
	enum status st = loop_send(a, &e);

	if (st != ST_OK)
		loop_end_unstarted(a, st, &e);
}

static void go_on(struct attempt *a)
{
	int64_t every = a->g->spec->checkpoint_every_ms;
	int64_t since = sys_boot_ns() / 1000000 - a->save_began_ms;

	if (must_stop(a))
		stop_here(a);
	else if (since >= (every > 0 ? every : SAVE_EVERY_MS))
		save_now(a);
	else
		next_batch(a);
}

void batch_saved(struct attempt *a, enum status st)
{
	if (st == ST_OK)
		a->saved_at = a->batch_at;
	if (st == ST_FENCED || must_stop(a))
		end_here(a);
	else
		next_batch(a);
}

/* A batch is done: so far the input is processed, and so long is the output. */
static enum status count_batch(struct attempt *a, struct error *e)
{
	int64_t fed = 0;
	struct stat sb;
	enum status st = pump_wait(a->pump, &fed, e);

	if (st == ST_OK && stat(a->private_path, &sb) == -1)
		st = error_set(e, ST_NOT_FOUND, "the output of a batch is gone");
	if (st != ST_OK)
		return st;
	a->batch_at += fed;
	a->batch_size = sb.st_size;
	a->batch_ms = (a->end.ended_boot_ns - a->end.started_boot_ns) / 1000000;
	if (a->first_started_ns == 0)
		a->first_started_ns = a->end.started_boot_ns;
	a->batch_cpu_us += a->end.cpu_us;
	return ST_OK;
}

bool batch_took_end(struct attempt *a)
{
	const struct guardian_end *end = &a->end;
	bool good = end->fate == GUARDIAN_EXITED && end->exit_code == 0 && !end->timed_out &&
	    !end->fenced;
	struct error e;

	if (!batch_is_on(a) || a->batch_over)
		return false;
	if (!good) {
		/* What was done before this batch is worth keeping. One that never began
		 * is no end of an attempt that has run. */
		if (end->fate == GUARDIAN_NOT_STARTED ? a->first_started_ns == 0
		    : !a->stopped || a->batch_at == a->saved_at)
			return false;
		pump_drop(a->pump);
		a->pump = NULL;
		stop_here(a);
		return true;
	}
	if (count_batch(a, &e) != ST_OK)
		return false; /* the same is found out when the pump is finished */
	if (a->batch_at >= a->shard.length)
		return false; /* the last one */
	wrap_keep_stderr(a);
	pump_drop(a->pump);
	a->pump = NULL;
	go_on(a);
	return true;
}

bool batch_can_wait(struct attempt *a, int64_t left_ms)
{
	return batch_is_on(a) && a->batch_ms + a->batch_ms / 2 + SAVE_ROOM_MS <= left_ms;
}
