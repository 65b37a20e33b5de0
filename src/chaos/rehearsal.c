#include "chaos/rehearsal.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/sys.h"
#include "chaos/child.h"
#include "chaos/draw.h"
#include "chaos/fleet.h"
#include "chaos/follow.h"
#include "chaos/judge.h"
#include "chaos/keeper.h"
#include "chaos/proctree.h"
#include "chaos/schedule.h"
#include "chaos/tell.h"
#include "chaos/trace.h"
#include "chaos/verdict.h"

enum {
	REHEARSAL_TICK_MS = 20,
	REHEARSAL_LEAVE_MS = 10000, /* for workers to leave once all is done */
	REHEARSAL_LOG_SHOWN = 2000, /* bytes */
	REHEARSAL_TRACE_MAX = TRACE_BYTES_MAX,
};

struct rehearsal {
	const struct rehearsal_options *o;
	struct verdict *v;
	char *folder;               /* private; NULL: none yet */
	char token[33];
	char mark[96];              /* the beginning of those of its processes */
	struct keeper keeper;
	int signal_fd;
	sigset_t old_mask;
	bool interrupted;
	struct buf ledger_path;
	struct ledger *ledger;      /* writable, of a run that others work on */
	struct follow follow;
	struct tell tell;
	bool alone;                 /* that nobody works on the run any more was said */
	struct fleet *fleet;
	struct schedule *schedule;
	uint64_t random;
	int64_t began_ms;
	int64_t zero_ms;            /* the first shard's start; 0: not yet */
	struct trace trace[EXPERIMENT_ACTIONS_MAX]; /* of each action that has one */
	size_t tick[EXPERIMENT_ACTIONS_MAX];
	bool pending[EXPERIMENT_ACTIONS_MAX]; /* due, and nobody was there */
	bool reference_failed;      /* without interruptions it did not finish either */
	struct blow *blows;
};

static int64_t rehearsal_now_ms(void)
{
	return sys_boot_ns() / 1000000;
}

/* Waits for a signal, which is what a child's end is too, but not for long. */
static void rehearsal_pause(struct rehearsal *r)
{
	struct pollfd p = {.fd = r->signal_fd, .events = POLLIN};
	struct signalfd_siginfo si;

	if (poll(&p, 1, REHEARSAL_TICK_MS) != 1 || sys_read(r->signal_fd, &si, sizeof(si)) !=
	    (ssize_t)sizeof(si))
		return;
	if (si.ssi_signo != SIGCHLD)
		r->interrupted = true;
}

/* ---- the private folder ---- */

static enum status rehearsal_make_folder(struct rehearsal *r, struct error *e)
{
	static const char *const inside[] = {"log", "out", "ref"};
	struct buf path = {0};
	enum status st;
	size_t i;

	buf_printf(&path, "%s/ebb-chaos-XXXXXX", r->o->parent);
	st = buf_check(&path, e);
	if (st == ST_OK && mkdtemp(path.data) == NULL)
		st = error_os(e, errno, "cannot make a folder in %s", r->o->parent);
	if (st == ST_OK && (r->folder = realpath(path.data, NULL)) == NULL)
		st = error_os(e, errno, "%s", path.data);
	for (i = 0; st == ST_OK && i < sizeof(inside) / sizeof(inside[0]); i++) {
		buf_clear(&path);
		buf_printf(&path, "%s/%s", r->folder, inside[i]);
		st = buf_check(&path, e);
		if (st == ST_OK && sys_mkdir(path.data, 0700) == -1)
			st = error_os(e, errno, "cannot make %s", path.data);
	}
	buf_free(&path);
	return st;
}

/* The end of a log, for a person. */
static void rehearsal_show_log(const struct rehearsal *r, const char *name)
{
	struct buf path = {0};
	struct buf text = {0};
	size_t from;

	buf_printf(&path, "%s/log/%s", r->folder, name);
	if (!path.failed && file_read(path.data, 64 << 20, &text, NULL) == ST_OK && text.len > 0) {
		from = text.len > REHEARSAL_LOG_SHOWN ? text.len - REHEARSAL_LOG_SHOWN : 0;
		log_raw(text.data + from, text.len - from);
	}
	buf_free(&path);
	buf_free(&text);
}

/* ---- without interruptions ---- */

static enum status reference_start(struct rehearsal *r, int32_t *pid, struct error *e)
{
	const struct rehearsal_options *o = r->o;
	struct words args = {0};
	struct words env = {0};
	struct buf log = {0};
	int slots = 0;
	size_t i;
	enum status st;

	for (i = 0; i < o->x->n_pools; i++)
		slots += o->x->pool[i].workers * o->x->pool[i].slots;
	buf_printf(&log, "%s/log/reference", r->folder);
	words_add(&env, "%s0.1", r->mark);
	words_add(&args, "run");
	words_add(&args, "--state=%s/ref-state", r->folder);
	words_add(&args, "--output-root=%s/ref", r->folder);
	words_add(&args, "--jobs=%d", slots);
	words_add(&args, "--notice=none");
	for (i = 0; i < o->n_set; i++) {
		words_add(&args, "--set");
		words_add(&args, "%s", o->set[i]);
	}
	words_add(&args, "--");
	words_add(&args, "%s", o->pipeline);
	st = buf_check(&log, e);
	if (st == ST_OK) {
		const struct child c = {.program = o->program, .args = &args, .env = &env,
		    .log = log.data};

		st = child_start(&c, pid, e);
	}
	words_free(&args);
	words_free(&env);
	buf_free(&log);
	return st;
}

static enum status reference_wait(struct rehearsal *r, int32_t pid, struct error *e)
{
	const struct proctree tree = {.root = pid, .mark = r->mark, .any_tail = true};
	int64_t end_ms = rehearsal_now_ms() + r->o->x->timeout_ms;
	int how = 0;
	pid_t got;

	while ((got = waitpid(pid, &how, WNOHANG)) == 0) {
		if (r->interrupted || rehearsal_now_ms() >= end_ms) {
			(void)proctree_kill(&tree);
			(void)waitpid(pid, &how, 0);
			return r->interrupted ? ST_OK : error_set(e, ST_PERMANENT, "the pipeline did "
			    "not finish in time without interruptions: nothing was rehearsed; "
			    "expected a larger --timeout, or --no-reference");
		}
		rehearsal_pause(r);
	}
	if (got == pid && WIFEXITED(how) && WEXITSTATUS(how) == 0)
		return ST_OK;
	rehearsal_show_log(r, "reference");
	return error_set(e, ST_PERMANENT, "the pipeline does not finish without interruptions "
	    "(exit code %d): nothing was rehearsed; ebb run %.200s shows why",
	    WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how), r->o->pipeline);
}

static enum status reference_run(struct rehearsal *r, struct error *e)
{
	int64_t began_ms = rehearsal_now_ms();
	struct buf took = {0};
	int32_t pid;
	enum status st;

	r->v->reference_ms = -1;
	if (r->o->run != NULL || r->o->no_reference || r->o->reference != NULL)
		return ST_OK;
	tell_line(&r->tell, "without interruptions, for the bytes to compare with");
	st = reference_start(r, &pid, e);
	if (st == ST_OK)
		st = reference_wait(r, pid, e);
	r->reference_failed = st != ST_OK;
	r->v->reference_ms = rehearsal_now_ms() - began_ms;
	if (st == ST_OK && !r->interrupted) {
		str_duration(&took, r->v->reference_ms);
		tell_line(&r->tell, "that took %s", took.failed ? "a while" : took.data);
		buf_free(&took);
	}
	return st;
}

/* ---- what is done when ---- */

static enum status rehearsal_load_trace(struct rehearsal *r, size_t i, struct error *e)
{
	struct chaos_action *a = &r->o->x->action[i];
	struct buf text = {0};
	enum status st;

	if (a->kind != ACTION_TRACE)
		return ST_OK;
	buf_str(&text, "");
	st = file_read(a->trace, REHEARSAL_TRACE_MAX, &text, e);
	if (st == ST_OK) {
		st = trace_parse(text.data, text.len, &r->trace[i], e);
		if (st != ST_OK)
			st = error_prefix(e, st, "%.200s", a->trace);
	}
	buf_free(&text);
	if (st == ST_OK)
		a->every_ms = r->trace[i].gap_ms / a->speed > 0 ? r->trace[i].gap_ms / a->speed : 1;
	return st;
}

/* One that is short meets its interruption too, if nobody said when that comes. */
static void rehearsal_choose_times(struct rehearsal *r)
{
	struct experiment *x = r->o->x;
	size_t i;

	for (i = 0; i < x->n_actions; i++) {
		struct chaos_action *a = &x->action[i];

		if (a->at_ms >= 0 || a->every_ms > 0 || a->mean_ms > 0)
			continue;
		a->at_ms = SCHEDULE_AT_MS;
		if (r->v->reference_ms >= 0 && r->v->reference_ms / 4 < a->at_ms)
			a->at_ms = r->v->reference_ms / 4;
	}
}

static enum status rehearsal_make_schedule(struct rehearsal *r, struct error *e)
{
	struct experiment *x = r->o->x;
	uint32_t drawn;

	if (x->seed < 0) {
		sys_random(&drawn, sizeof(drawn));
		x->seed = drawn;
	}
	r->v->seed = x->seed;
	r->random = (uint64_t)x->seed ^ UINT64_C(0x5eed);
	rehearsal_choose_times(r);
	r->schedule = schedule_create(x->action, x->n_actions, (uint64_t)x->seed);
	return r->schedule != NULL ? ST_OK : error_set(e, ST_NO_MEMORY, "out of memory");
}

static enum status rehearsal_act(struct rehearsal *r, size_t i, int64_t now_ms, struct error *e)
{
	const struct chaos_action *a = &r->o->x->action[i];
	size_t hit = 0;
	enum status st;

	if (a->kind == ACTION_TRACE)
		return fleet_set_available(r->fleet, a, trace_at(&r->trace[i], r->tick[i]++), now_ms, e);
	st = fleet_act(r->fleet, a, now_ms, &r->random, &hit, e);
	/* What comes once waits for somebody; what comes again is left out. */
	r->pending[i] = hit == 0 && a->every_ms == 0 && a->mean_ms == 0 &&
	    a->kind != ACTION_CAPACITY;
	return st;
}

static enum status rehearsal_act_all(struct rehearsal *r, struct error *e)
{
	int64_t now_ms = rehearsal_now_ms();
	enum status st = ST_OK;
	size_t i;

	if (r->zero_ms == 0 && r->follow.begun)
		r->zero_ms = now_ms;
	if (r->zero_ms == 0)
		return ST_OK;
	for (i = 0; st == ST_OK && i < r->o->x->n_actions; i++) {
		if (r->pending[i])
			st = rehearsal_act(r, i, now_ms, e);
	}
	while (st == ST_OK && schedule_take(r->schedule, now_ms - r->zero_ms, &i))
		st = rehearsal_act(r, i, now_ms, e);
	return st;
}

/* ---- the rehearsal ---- */

static enum status rehearsal_begin_fleet(struct rehearsal *r, struct error *e)
{
	const struct rehearsal_options *o = r->o;
	const struct fleet_options fo = {
		.plan = {.x = o->x, .program = o->program, .folder = r->folder,
		    .pipeline = o->pipeline, .set = o->set, .n_set = o->n_set, .token = r->token,
		    .run = "r1"},
		.outside = r->ledger, .run = r->follow.run.id, .tell = &r->tell,
	};

	r->began_ms = rehearsal_now_ms();
	return fleet_create(&fo, &r->fleet, e);
}

/* Whoever started the workers of a run has to start them again. */
static void rehearsal_warn_of_end(const struct rehearsal *r)
{
	const struct experiment *x = r->o->x;
	size_t i;

	for (i = 0; r->o->run != NULL && i < x->n_actions; i++) {
		const struct chaos_action *a = &x->action[i];

		if (a->kind != ACTION_FREEZE && fleet_takes_all(r->fleet, a))
			tell_line(&r->tell, "this takes every worker of %s (%zu): nobody will be left to "
			    "finish it; ebb worker --run %s starts another", r->o->run,
			    fleet_up(r->fleet), r->o->run);
	}
}

static void rehearsal_watch_workers(struct rehearsal *r)
{
	bool alone = r->o->run != NULL && fleet_up(r->fleet) == 0;
	struct buf most = {0};

	if (alone && !r->alone) {
		str_duration(&most, r->o->x->timeout_ms);
		tell_line(&r->tell, "nobody works on %s any more; ebb worker --run %s (or the line that "
		    "it was started with) goes on; waiting until --timeout (%s)", r->o->run, r->o->run,
		    most.failed ? "" : most.data);
		buf_free(&most);
	}
	r->alone = alone;
}

/* Until it is over, or cannot be any more; then *why is what stopped it. */
static enum status rehearsal_go_on(struct rehearsal *r, const char **why, struct error *e)
{
	int64_t end_ms = r->began_ms + r->o->x->timeout_ms;
	enum status st = fleet_step(r->fleet, rehearsal_now_ms(), r->follow.known, e);

	*why = "it was cancelled";
	if (st == ST_OK)
		rehearsal_warn_of_end(r);
	while (st == ST_OK && !r->interrupted) {
		st = fleet_step(r->fleet, rehearsal_now_ms(), r->follow.known, e);
		if (st == ST_OK)
			st = follow_look(&r->follow, e);
		r->v->wall_ms = rehearsal_now_ms() - r->began_ms;
		if (st != ST_OK || r->follow.over)
			return st;
		st = rehearsal_act_all(r, e);
		rehearsal_watch_workers(r);
		if (fleet_is_stuck(r->fleet)) {
			*why = "all workers have left";
			return st;
		}
		if (rehearsal_now_ms() >= end_ms) {
			*why = "its time (--timeout) is over";
			return st;
		}
		rehearsal_pause(r);
	}
	return st;
}

/* Workers find out that all is done, and leave; whoever does not is ended. */
static void rehearsal_end_fleet(struct rehearsal *r)
{
	const struct proctree all = {.mark = r->mark, .any_tail = true};
	int64_t end_ms = rehearsal_now_ms() + (r->follow.over ? REHEARSAL_LEAVE_MS : 0);
	struct error e;

	fleet_settle(r->fleet);
	if (r->o->run != NULL)
		return;
	while (!proctree_is_empty(&all) && rehearsal_now_ms() < end_ms && !r->interrupted) {
		if (fleet_step(r->fleet, rehearsal_now_ms(), true, &e) != ST_OK)
			break;
		rehearsal_pause(r);
	}
	if (!r->interrupted && r->follow.over)
		judge_left(r->v, &all);
	(void)proctree_kill(&all);
	if (!r->interrupted && !r->follow.over)
		judge_left(r->v, &all);
}

static enum status rehearsal_keep_blows(struct rehearsal *r, struct error *e)
{
	size_t n;
	const struct blow *list = fleet_blows(r->fleet, &n);

	r->blows = mem_zero((n + 1) * sizeof(*r->blows));
	if (r->blows == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	if (n > 0)
		memcpy(r->blows, list, n * sizeof(*r->blows));
	r->v->blow = r->blows;
	r->v->n_blows = n;
	r->v->zero_ms = r->zero_ms;
	r->v->instances = fleet_instances(r->fleet);
	r->v->machines = r->o->run != NULL ? r->v->instances : experiment_machines(r->o->x);
	return ST_OK;
}

static enum status rehearsal_judge(struct rehearsal *r, const char *why, struct error *e)
{
	const struct judge_case c = {.follow = &r->follow, .folder = r->folder,
	    .state = r->o->state, .reference = r->o->reference,
	    .made_reference = r->o->run == NULL && !r->o->no_reference, .why = why,
	    .why_code = fleet_bad_exit(r->fleet, &(int){0})};
	enum status st = rehearsal_keep_blows(r, e);

	return st == ST_OK ? judge_all(r->v, &c, e) : st;
}

static enum status rehearsal_hold(struct rehearsal *r, struct error *e)
{
	const char *why;
	enum status st = reference_run(r, e);

	if (st == ST_OK && !r->interrupted)
		st = rehearsal_make_schedule(r, e);
	if (st != ST_OK || r->interrupted)
		return st;
	if (r->o->run == NULL)
		tell_line(&r->tell, "with interruptions");
	st = rehearsal_begin_fleet(r, e);
	if (st == ST_OK)
		st = rehearsal_go_on(r, &why, e);
	if (r->fleet != NULL)
		rehearsal_end_fleet(r);
	return st == ST_OK && !r->interrupted ? rehearsal_judge(r, why, e) : st;
}

/* ---- beginning and end ---- */

static enum status rehearsal_catch_signals(struct rehearsal *r, struct error *e)
{
	sigset_t all;

	(void)sigemptyset(&all);
	(void)sigaddset(&all, SIGINT);
	(void)sigaddset(&all, SIGTERM);
	(void)sigaddset(&all, SIGHUP);
	(void)sigaddset(&all, SIGCHLD);
	(void)pthread_sigmask(SIG_BLOCK, &all, &r->old_mask);
	r->signal_fd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (r->signal_fd == -1)
		return error_os(e, errno, "a signalfd");
	/* Whose parent is killed comes here, and not to somebody who never looks. */
	if (r->o->run == NULL && prctl(PR_SET_CHILD_SUBREAPER, 1) == -1)
		return error_os(e, errno, "becoming the parent of what is left");
	return ST_OK;
}

static void rehearsal_make_token(struct rehearsal *r)
{
	uint8_t bytes[16];
	struct buf hex = {0};

	sys_random(bytes, sizeof(bytes));
	str_hex(&hex, bytes, sizeof(bytes));
	(void)snprintf(r->token, sizeof(r->token), "%s", hex.failed ? "" : hex.data);
	buf_free(&hex);
	machine_mark_prefix(r->token, r->mark, sizeof(r->mark));
}

static enum status rehearsal_open_outside(struct rehearsal *r, struct error *e)
{
	const struct ledger_options lo = {.busy_ms = 5000};
	enum status st;

	buf_printf(&r->ledger_path, "%s/ledger.db", r->o->state);
	st = buf_check(&r->ledger_path, e);
	if (st != ST_OK)
		return st;
	r->follow = (struct follow){.path = r->ledger_path.data, .name = r->o->run};
	st = ledger_open(r->ledger_path.data, &lo, &r->ledger, e);
	if (st == ST_OK)
		st = follow_look(&r->follow, e);
	if (st == ST_OK && !r->follow.known)
		st = error_set(e, ST_NOT_FOUND, "there is no run %.60s in %s", r->o->run, r->o->state);
	if (st == ST_OK && r->follow.over)
		st = error_set(e, ST_CONFIG, "%s is over: there is nothing to interrupt",
		    r->follow.run.name);
	return st;
}

static enum status rehearsal_open_own(struct rehearsal *r, struct error *e)
{
	enum status st = rehearsal_make_folder(r, e);

	if (st == ST_OK) {
		buf_printf(&r->ledger_path, "%s/state/ledger.db", r->folder);
		st = buf_check(&r->ledger_path, e);
	}
	r->follow = (struct follow){.path = r->ledger_path.data, .name = "r1"};
	return st;
}

/* The folder stays when there is something to look at in it. */
static void rehearsal_leave_folder(struct rehearsal *r, enum status st)
{
	struct error ignored;
	bool failed = !r->interrupted && (st == ST_OK ? !verdict_holds(r->v) : r->reference_failed);

	if (r->folder == NULL)
		return;
	if (failed || r->o->keep) {
		r->v->folder = mem_dup(r->folder, strlen(r->folder));
	} else if (file_remove_tree(r->folder, &ignored) != ST_OK) {
		log_line(LOG_WARN, "%s", ignored.text);
	}
}

enum status rehearsal_run(const struct rehearsal_options *o, struct verdict *out,
    struct rehearsal **made, bool *interrupted, struct error *e)
{
	struct rehearsal *r = mem_zero(sizeof(*r));
	enum status st;
	size_t i;

	memset(out, 0, sizeof(*out));
	*made = r;
	*interrupted = false;
	if (r == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	r->o = o;
	r->v = out;
	r->tell = (struct tell){.began_ms = rehearsal_now_ms(), .quiet = o->quiet};
	r->signal_fd = -1;
	r->keeper.fd = -1;
	rehearsal_make_token(r);
	st = rehearsal_catch_signals(r, e);
	if (st == ST_OK && o->run == NULL)
		st = keeper_start(r->mark, &r->keeper, e);
	for (i = 0; st == ST_OK && i < o->x->n_actions; i++)
		st = rehearsal_load_trace(r, i, e);
	if (st == ST_OK)
		st = o->run != NULL ? rehearsal_open_outside(r, e) : rehearsal_open_own(r, e);
	if (st == ST_OK)
		st = rehearsal_hold(r, e);
	fleet_destroy(r->fleet);
	r->fleet = NULL;
	keeper_stop(&r->keeper);
	follow_close(&r->follow);
	ledger_close(r->ledger);
	r->ledger = NULL;
	rehearsal_leave_folder(r, st);
	*interrupted = r->interrupted;
	return r->interrupted ? ST_OK : st;
}

void rehearsal_free(struct rehearsal *r)
{
	size_t i;

	if (r == NULL)
		return;
	for (i = 0; i < EXPERIMENT_ACTIONS_MAX; i++)
		trace_free(&r->trace[i]);
	if (r->signal_fd != -1) {
		(void)sys_close(r->signal_fd);
		(void)pthread_sigmask(SIG_SETMASK, &r->old_mask, NULL);
	}
	schedule_destroy(r->schedule);
	buf_free(&r->ledger_path);
	free(r->blows);
	free(r->folder);
	free(r);
}
