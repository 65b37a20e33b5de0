#include "cli/drive.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/sys.h"
#include "cli/common.h"
#include "cli/result_file.h"
#include "cli/summary.h"
#include "notice/detect.h"
#include "observe/report.h"
#include "store/store.h"
#include "worker/care.h"
#include "worker/fingerprint.h"
#include "worker/fit.h"
#include "worker/name.h"
#include "worker/sweep.h"

enum { LOG_CAP = 16 << 20, LOCK_WAIT_MS = 1000, BUSY_MS = 5000, LEAVE_WAIT_MS = 10000 };

struct driving {
	const struct drive *d;
	struct state *state;
	struct buf path;     /* of the ledger */
	struct ledger *ledger;
	struct worker_body *body;
	struct ledger_run run;
	uint8_t key[PIPELINE_KEY_SIZE];
	struct worker_stage *stage; /* as many as the pipeline has */
	char lock[64];
	char holders[128];   /* " (pid 12)", for messages */
	int lock_fd;
	bool nothing_to_do;  /* finished, and all is as it was */
	bool created;        /* the run is new with this start */
	bool running;        /* others work on it: it cannot begin anew */
};

static enum status open_ledger(struct driving *g, struct error *e)
{
	struct ledger_options lo = {.create = true, .busy_ms = BUSY_MS};
	enum status st;

	state_path(g->state, &g->path, "ledger.db");
	st = buf_check(&g->path, e);
	return st == ST_OK ? ledger_open(g->path.data, &lo, &g->ledger, e) : st;
}

static void close_ledger(struct driving *g)
{
	ledger_close(g->ledger);
	g->ledger = NULL;
}

static void note_holders(struct driving *g)
{
	struct buf b = {0};

	sweep_name_workers(g->ledger, g->run.id, &b);
	(void)snprintf(g->holders, sizeof(g->holders), "%s%s%s", b.len > 0 ? " (" : "",
	    b.len > 0 ? b.data : "", b.len > 0 ? ")" : "");
	buf_free(&b);
}

/* The lock is held: by a process that works, or by one that was frozen and
 * whose lease is over. */
static enum status end_frozen_holder(struct driving *g, struct error *e)
{
	bool killed = false;
	enum status st = open_ledger(g, e);

	if (st != ST_OK)
		return st;
	st = ledger_run_by_key(g->ledger, g->key, &g->run, e);
	if (st == ST_OK)
		killed = sweep_end_frozen(g->state, g->ledger, g->run.id, e);
	if (st == ST_OK && !killed)
		note_holders(g);
	close_ledger(g);
	if (killed)
		return state_lock_wait(g->state, g->lock, 5000, &g->lock_fd, e);
	return ST_BUSY;
}

/* ST_OK with lock_fd, or -1 to join. ST_BUSY: somebody else runs it. */
static enum status lock_run(struct driving *g, struct error *e)
{
	bool join = strcmp(g->d->if_running, "join") == 0;
	bool wait = strcmp(g->d->if_running, "wait") == 0;
	bool said = false;
	enum status st;

	for (;;) {
		st = state_lock_wait(g->state, g->lock, join ? 0 : LOCK_WAIT_MS, &g->lock_fd, e);
		if (st == ST_BUSY)
			st = end_frozen_holder(g, e);
		if (st != ST_BUSY && st != ST_NOT_FOUND)
			return st;
		if (join && st == ST_BUSY) {
			g->lock_fd = -1;
			return ST_OK;
		}
		if (!wait)
			return error_set(e, ST_BUSY, "%s is running already%s; --if-running wait, "
			    "join or skip says what to do then", g->run.name[0] == '\0'
			    ? "this" : g->run.name, g->holders);
		if (!said)
			log_line(LOG_INFO, "%s is running already; waiting for it", g->run.name);
		said = true;
		ledger_run_free(&g->run);
		(void)poll(NULL, 0, 200);
	}
}

/* The files of what was accepted for one shard. */
struct accepted {
	struct ledger_file *files;
	size_t n;
	bool *in_place;    /* for each: it has its final name */
	const char **name; /* of those */
	size_t n_in_place;
};

static enum status find_placed(struct store *store, struct accepted *of, struct error *e)
{
	size_t i;

	for (i = 0; i < of->n; i++) {
		const struct ledger_file *f = &of->files[i];
		struct store_sum sum = {.size = f->size};
		enum status there = ST_NOT_FOUND;

		memcpy(sum.hash, f->hash, HASH_SIZE);
		if (f->final_path[0] != '\0')
			there = store_check(store, f->final_path, &sum, e);
		if (there != ST_OK && there != ST_NOT_FOUND && there != ST_EXISTS)
			return there; /* it cannot be told */
		of->in_place[i] = there == ST_OK;
		if (there == ST_OK)
			of->name[of->n_in_place++] = f->final_path;
		if (store_discard(store, f->private_path, e) != ST_OK)
			log_line(LOG_WARN, "%s", e->text);
	}
	return of->n_in_place == 0 ? ST_OK
	    : store_sync_names(store, of->name, of->n_in_place, e);
}

/* Of several files, those that are in place stay ebb's own. */
static enum status give_up_accepted(struct driving *g, const struct ledger_shard *s,
    const struct accepted *of, struct error *e)
{
	enum status st = ledger_begin(g->ledger, e);
	size_t i;

	if (st != ST_OK)
		return st;
	for (i = 0; st == ST_OK && i < of->n; i++) {
		if (of->in_place[i])
			st = ledger_output_placed(g->ledger, s->row, s->s.epoch, &of->files[i], e);
	}
	if (st == ST_OK)
		st = ledger_output_gone(g->ledger, s->row, s->s.epoch, e);
	if (st == ST_OK)
		return ledger_commit(g->ledger, e);
	ledger_rollback(g->ledger);
	return st;
}

/* What was accepted for one shard: in place already, or dropped. */
static enum status settle_accepted(struct driving *g, struct store *store,
    const struct ledger_shard *s, struct error *e)
{
	struct accepted of = {.files = NULL};
	enum status st = s->files == NULL ? ST_OK
	    : ledger_files_parse(s->files, &of.files, &of.n, e);

	of.in_place = mem_zero((of.n + 1) * sizeof(*of.in_place));
	of.name = mem_zero((of.n + 1) * sizeof(*of.name));
	if (of.in_place == NULL || of.name == NULL) {
		st = error_set(e, ST_NO_MEMORY, "out of memory");
		goto out;
	}
	if (st == ST_OK)
		st = find_placed(store, &of, e);
	if (st == ST_OK)
		st = of.n_in_place == of.n ? ledger_published(g->ledger, s->row, s->s.epoch, e)
		    : give_up_accepted(g, s, &of, e);
out:
	ledger_files_free(of.files, of.n);
	free(of.in_place);
	free(of.name);
	return st;
}

/* What the stage of an older generation had accepted. */
static enum status drop_accepted(struct driving *g, const struct ledger_stage *older,
    struct error *e)
{
	struct ledger_query q = {.stage = older->id, .state = SHARD_ACCEPTED, .ordinal = -1,
	    .max = 1};
	struct store *store = NULL;
	struct ledger_shard s;
	size_t n = 1;
	enum status st = store_open("file:", state_dir(g->state), &store, e);

	while (st == ST_OK) {
		st = ledger_shards(g->ledger, &q, &s, &n, e);
		if (st != ST_OK || n == 0)
			break;
		st = settle_accepted(g, store, &s, e);
		ledger_shard_free(&s);
	}
	store_close(store);
	return st;
}

/* A manifest that is there always matches what is there. */
static enum status retire_manifest(struct driving *g, const struct ledger_stage *older,
    struct error *e)
{
	struct buf path = {0};
	struct buf dir = {0};
	enum status st;

	state_path(g->state, &dir, "runs/%s", g->run.name);
	state_path(g->state, &path, "runs/%s/_ebb_manifest.%s.%s.json", g->run.name, g->run.name,
	    older->name);
	st = path.failed ? buf_check(&path, e) : buf_check(&dir, e);
	sys_point("generation.retire.before");
	if (st == ST_OK && sys_unlink(path.data) == 0)
		st = file_sync_dir(dir.data, e);
	else if (st == ST_OK && errno != ENOENT && errno != ENOTDIR)
		st = error_os(e, errno, "cannot remove the manifest %s", path.data);
	sys_point("generation.retire.after");
	buf_free(&path);
	buf_free(&dir);
	return st;
}

/* A worker that joined may still be there, whoever held the lock. Those of a run
 * that is over are about to leave. */
static enum status wait_for_others(struct driving *g, struct error *e)
{
	int64_t end = sys_boot_ns() / 1000000 + (g->run.state == RUN_ACTIVE ? 0 : LEAVE_WAIT_MS);
	struct ledger_worker one;
	int64_t lost;
	enum status st;
	size_t n;

	for (;;) {
		st = sweep_workers(g->state, g->ledger, g->run.id, 0, g->d->pipeline,
		    false, &lost, e);
		if (st == ST_OK)
			st = ledger_workers(g->ledger, g->run.id, &one, 1, &n, e);
		if (st != ST_OK || n == 0)
			return st;
		if (sys_boot_ns() / 1000000 >= end)
			break;
		(void)poll(NULL, 0, 20);
	}
	note_holders(g);
	g->running = true;
	return error_set(e, ST_BUSY, "%s has to begin anew, and others work on it%s; ebb drain "
	    "--run %s --all ends that", g->run.name, g->holders, g->run.name);
}

static enum status next_generation(struct driving *g, const struct ledger_run_def *def,
    struct error *e)
{
	struct ledger_stage *older = mem_zero(PIPELINE_STAGES_MAX * sizeof(*older));
	size_t n = 0;
	size_t i;
	enum status st;

	if (older == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = wait_for_others(g, e);
	if (st == ST_OK)
		st = ledger_run_stages(g->ledger, g->run.id, 0, older, PIPELINE_STAGES_MAX, &n, e);
	for (i = 0; st == ST_OK && i < n; i++) {
		st = drop_accepted(g, &older[i], e);
		if (st == ST_OK)
			st = retire_manifest(g, &older[i], e);
	}
	free(older);
	if (st != ST_OK)
		return st;
	sys_point("generation.before");
	st = ledger_run_renew(g->ledger, &g->run, def, e);
	sys_point("generation.after");
	return st;
}

/* The stages of the generation before, for shards that are done already: what
 * was killed while it was planned takes over the rest, and so do others. */
static enum status find_carry(struct driving *g, struct error *e)
{
	bool is_map = g->d->pipeline->name[0] == '\0';
	struct ledger_stage *older;
	size_t n = 0;
	size_t i;
	enum status st;

	if (g->run.generation < 2 || !((is_map && g->d->skip_done) || g->run.carries))
		return ST_OK;
	older = mem_zero(PIPELINE_STAGES_MAX * sizeof(*older));
	if (older == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = ledger_run_stages(g->ledger, g->run.id, g->run.generation - 1, older,
	    PIPELINE_STAGES_MAX, &n, e);
	for (i = 0; st == ST_OK && i < n; i++) {
		int number = pipeline_find(g->d->pipeline, older[i].name);

		if (number >= 0)
			g->stage[number].carry_from = older[i].id;
	}
	free(older);
	return st;
}

/* A fresh budget for what failed in an earlier start. */
static enum status retry_failed(struct driving *g, struct error *e)
{
	struct ledger_stage *list = mem_zero(PIPELINE_STAGES_MAX * sizeof(*list));
	int64_t retried;
	size_t n = 0;
	size_t i;
	enum status st;

	if (list == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = ledger_run_stages(g->ledger, g->run.id, 0, list, PIPELINE_STAGES_MAX, &n, e);
	for (i = 0; st == ST_OK && i < n; i++) {
		if (list[i].sealed || (g->d->retry_stage != NULL &&
		    strcmp(g->d->retry_stage, list[i].name) != 0))
			continue;
		st = ledger_retry(g->ledger, list[i].id, 0, &retried, e);
	}
	free(list);
	return st;
}

static struct worker_options worker_options(const struct driving *g)
{
	const struct drive *d = g->d;
	struct worker_options wo = {
		.state = g->state, .run_lock = g->lock,
		.ledger = g->path.data, .pipeline = d->pipeline, .run = g->run,
		.input = d->input, .slots = d->slots,
		.lease_ms = d->lease_ms, .grace_ms = d->grace_ms, .grace_given = d->grace_given,
		.notice = d->notice, .on_notice = d->on_notice, .on_drained = d->on_drained,
		.on_rebalance = d->on_rebalance, .hook_timeout_ms = d->hook_timeout_ms,
		.node = d->node, .no_acknowledge = d->no_acknowledge, .halt = d->halt,
		.pool = d->pool, .lifecycle = d->lifecycle, .stop_file = d->stop_file,
		.joins = g->lock_fd == -1,
		.joblog = d->joblog, .show_stderr = d->show_stderr, .progress = !d->quiet,
		.log_cap_bytes = LOG_CAP,
	};

	wo.input.stage = g->stage;
	wo.input.plan = d->input.plan && g->lock_fd != -1;
	return wo;
}

/* Whether the run that is there goes on or starts over. A finished list starts
 * anew; of a pipeline, only when something is not as it was. */
static enum status starts_over(struct driving *g, bool *over, struct error *e)
{
	struct worker_options wo;
	bool unchanged = true;
	enum status st;

	*over = g->d->renew || (g->d->input.plan && (g->d->fresh || g->run.state != RUN_ACTIVE));
	if (g->d->pipeline->name[0] == '\0' || !g->d->input.plan || g->d->fresh || g->d->renew ||
	    g->run.state == RUN_CANCELLED)
		return ST_OK;
	wo = worker_options(g);
	st = worker_unchanged(&wo, g->ledger, &unchanged, e);
	*over = !unchanged;
	g->nothing_to_do = unchanged && g->run.state == RUN_FINISHED;
	return st;
}

/* What a finished list does is not what an unfinished one does: said once. */
static enum status start_over(struct driving *g, const struct ledger_run_def *def,
    struct error *e)
{
	if (g->run.state == RUN_FINISHED && g->d->pipeline->name[0] == '\0' && !g->d->fresh &&
	    !g->d->skip_done && !g->d->quiet)
		log_line(LOG_INFO, "%s was finished; starting over (--skip-done runs only what is "
		    "new or changed)", g->run.name);
	return next_generation(g, def, e);
}

static void warn_of_fit(void *arg, size_t stage, const char *text)
{
	const struct driving *g = arg;

	(void)stage;
	log_line(LOG_WARN, "%s: %s", g->run.name, text);
}

/* With the budgets, times and names of variables that the file has now: what is
 * done has been found to be still right. */
static enum status go_on_as_said(struct driving *g, const struct ledger_run_def *def,
    struct error *e)
{
	const unsigned platforms = notice_detect("/sys");
	const struct fit_say say = {warn_of_fit, g};
	enum status st = strcmp(g->run.spec, def->spec) == 0 || !g->d->input.plan ? ST_OK
	    : ledger_run_set_spec(g->ledger, &g->run, def->spec, e);

	if (platforms != 0)
		fit_check(g->ledger, &g->run, g->d->pipeline, platforms, &say);
	return st == ST_OK ? retry_failed(g, e) : st;
}

static enum status go_on(struct driving *g, const struct ledger_run_def *def, struct error *e)
{
	int64_t lost;
	bool over;
	enum status st = starts_over(g, &over, e);

	if (st == ST_OK && over)
		st = start_over(g, def, e);
	else if (st == ST_OK && !g->nothing_to_do)
		st = go_on_as_said(g, def, e);
	else if (st == ST_OK) /* who died after the last seal was not missed yet */
		st = sweep_workers(g->state, g->ledger, g->run.id, 0,
		    g->d->pipeline, false, &lost, e);
	return st;
}

/* A line that was refused before anything was planned leaves no run behind. */
static void forget_refused(struct driving *g, const struct worker_result *r)
{
	struct error e;
	enum status st;

	if (!g->created || !r->plan_failed || r->after.planned > 0 || r->after.attempts > 0)
		return;
	st = open_ledger(g, &e);
	if (st == ST_OK)
		st = care_forget_run(g->state, g->ledger, &g->run, &e);
	if (st != ST_OK)
		log_line(LOG_WARN, "%s", e.text);
}

static enum status make_run(struct driving *g, const struct ledger_run_def *def,
    struct error *e)
{
	enum status st;

	if (!g->d->input.plan)
		return error_set(e, ST_CONFIG, "that run was started in another folder; change to it");
	st = ledger_run_create(g->ledger, g->key, def, &g->run, e);
	g->created = st == ST_OK;
	/* Two that were started at the same moment, of which one joins. */
	return st == ST_EXISTS ? ledger_run_by_key(g->ledger, g->key, &g->run, e) : st;
}

static enum status use_run(struct driving *g, const struct ledger_run_def *def, struct error *e)
{
	if (g->d->join != NULL)
		return g->run.generation == g->d->join->generation ? ST_OK
		    : error_set(e, ST_TRANSIENT, "%s was started anew just now; join it again",
		    g->run.name);
	if (g->run.state == RUN_CANCELLED && !g->d->input.plan)
		return error_set(e, ST_CONFIG, "%s was cancelled; the same line again begins it anew",
		    g->run.name);
	if (g->lock_fd != -1)
		return go_on(g, def, e);
	/* It would do what the others do not. */
	if (g->d->pipeline->name[0] != '\0' && strcmp(g->run.spec, def->spec) != 0) {
		note_holders(g);
		g->running = true;
		return error_set(e, ST_BUSY, "%s is running already%s, from a file that has changed "
		    "since; ebb worker --run %s joins it as it began", g->run.name, g->holders,
		    g->run.name);
	}
	return ST_OK;
}

/* Finds the run's row, or makes one, or begins its next generation. */
static enum status find_run(struct driving *g, struct error *e)
{
	const char *stages[PIPELINE_STAGES_MAX];
	struct ledger_run_def def = {.stages = stages, .n_stages = g->d->pipeline->n_stages,
	    .place = state_place(g->state), .carries = g->d->skip_done};
	struct buf json = {0};
	struct buf title = {0};
	enum status st;
	size_t i;

	for (i = 0; i < def.n_stages; i++)
		stages[i] = g->d->pipeline->stage[i].name;
	ledger_run_free(&g->run);
	pipeline_title(g->d->pipeline, &title);
	if (strcmp(state_place(g->state), ".") != 0)
		buf_printf(&title, "  in %s", state_place(g->state));
	st = pipeline_encode(g->d->pipeline, &json, e);
	if (st == ST_OK)
		st = buf_check(&title, e);
	if (st != ST_OK)
		goto out;
	def.title = title.data;
	def.spec = json.data;
	st = ledger_run_by_key(g->ledger, g->key, &g->run, e);
	if (st == ST_OK)
		st = use_run(g, &def, e);
	else if (st == ST_NOT_FOUND)
		st = make_run(g, &def, e);
	if (st == ST_OK)
		st = find_carry(g, e);
out:
	buf_free(&json);
	buf_free(&title);
	return st;
}

static enum status take_run(struct driving *g, struct error *e)
{
	struct buf name = {0};
	size_t i;
	enum status st = state_open(common_state_dir(g->d->state), g->d->join == NULL, &g->state, e);

	g->stage = mem_zero(g->d->pipeline->n_stages * sizeof(*g->stage));
	if (st == ST_OK && g->stage == NULL)
		st = error_set(e, ST_NO_MEMORY, "out of memory");
	for (i = 0; st == ST_OK && i < g->d->pipeline->n_stages; i++)
		st = fingerprint_of(&g->d->pipeline->stage[i], g->stage[i].fingerprint, e);
	if (st == ST_OK)
		st = pipeline_key(g->d->pipeline, state_place(g->state), g->key, e);
	if (st == ST_OK && g->d->join != NULL)
		memcpy(g->key, g->d->join->key, sizeof(g->key));
	if (st != ST_OK)
		return st;
	run_lock_name(g->key, &name);
	st = buf_check(&name, e);
	if (st == ST_OK)
		(void)snprintf(g->lock, sizeof(g->lock), "%s", name.data);
	if (st == ST_OK && g->d->join == NULL)
		st = lock_run(g, e);
	buf_free(&name);
	if (st == ST_OK)
		st = worker_body_create(g->state, &g->lock_fd, g->lock_fd == -1 ? 0 : 1,
		    g->d->slots, LOG_CAP, &g->body, e);
	if (st == ST_OK)
		st = open_ledger(g, e);
	return st == ST_OK ? find_run(g, e) : st;
}

/* Where the run's time went. One that cannot be told is left out. */
static bool run_times(struct driving *g, struct report *out)
{
	const struct report_options ro = {.events = 0};
	const struct ledger_options lo = {.read_only = true, .busy_ms = BUSY_MS};
	struct ledger *l;
	struct error e;
	enum status st = ledger_open(g->path.data, &lo, &l, &e);

	if (st != ST_OK)
		return false;
	st = report_load(l, &g->run, &ro, out, &e);
	ledger_close(l);
	return st == ST_OK;
}

/* What a result file or the last lines can say of the run. */
static int conclude(struct driving *g, struct result_facts *f)
{
	struct report report = {0};
	int code;

	if (run_times(g, &report))
		f->report = &report;
	f->run = g->run.name;
	if (f->result != NULL)
		f->code = summary_print(f->options, f->result, f->report == NULL ? NULL
		    : &report.times, g->d->quiet);
	code = result_file_write(g->d->result, f);
	f->report = NULL;
	report_free(&report);
	return code;
}

static int work(struct driving *g)
{
	const struct worker_options wo = worker_options(g);
	struct result_facts f = {.options = &wo};
	struct worker_result result;
	struct ledger *l = g->ledger;
	struct error e;
	enum status st;
	int code;

	g->ledger = NULL;
	st = worker_run(g->body, l, &wo, &result, &e);
	if (st == ST_OK) {
		f.result = &result;
		f.error = result.fatal != ST_OK ? result.fatal_error.text
		    : result.plan_failed ? result.plan_error.text : NULL;
	} else {
		f.code = common_fail(st, &e);
		f.error = e.text;
	}
	if (st == ST_OK && result.cancelled)
		f.state = "cancelled";
	code = conclude(g, &f);
	if (st == ST_OK)
		forget_refused(g, &result);
	worker_result_free(&result);
	return code;
}

/* It was not even begun. */
static int give_up(struct driving *g, enum status st, const struct error *e)
{
	struct result_facts f = {.error = e->text};

	if (g->run.name[0] != '\0')
		f.run = g->run.name;
	if (st == ST_BUSY && g->body == NULL && strcmp(g->d->if_running, "skip") == 0) {
		log_line(LOG_INFO, "%s is running already; skipped", g->run.name);
		f.state = "skipped";
		f.error = NULL;
		f.code = EXIT_DONE;
	} else if (st == ST_BUSY && (g->body == NULL || g->running)) {
		log_line(LOG_ERROR, "%s", e->text);
		f.code = EXIT_ALREADY_RUNNING;
	} else {
		f.code = common_fail(st, e);
	}
	return result_file_write(g->d->result, &f);
}

static int say_unchanged(struct driving *g)
{
	struct result_facts f = {.code = EXIT_DONE, .state = "unchanged"};

	log_line(g->d->quiet ? LOG_DEBUG : LOG_INFO, "%s is finished and nothing has changed: "
	    "nothing to do (--fresh starts over)", g->run.name);
	close_ledger(g);
	return conclude(g, &f);
}

int drive_run(const struct drive *d)
{
	struct driving g = {.d = d, .lock_fd = -1};
	struct error e;
	enum status st = result_file_check(d->result, &e);
	int code;

	if (st == ST_OK)
		st = take_run(&g, &e);
	if (st != ST_OK) {
		code = give_up(&g, st, &e);
	} else if (g.nothing_to_do) {
		/* Left by one that was killed when all was done. */
		if (care_private_files(g.state, g.ledger, &g.run, &e) != ST_OK)
			log_line(LOG_WARN, "%s", e.text);
		code = say_unchanged(&g);
	} else {
		code = work(&g);
		care_after_run(g.state, d->state_max_bytes);
	}
	close_ledger(&g);
	worker_body_destroy(g.body);
	ledger_run_free(&g.run);
	buf_free(&g.path);
	free(g.stage);
	if (g.lock_fd != -1)
		(void)sys_close(g.lock_fd);
	state_close(g.state);
	return code;
}
