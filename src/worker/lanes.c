#include "worker/lanes.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"
#include "worker/cgroup.h"
#include "worker/control.h"
#include "worker/orphans.h"
#include "worker/procs.h"
#include "worker/slots.h"
#include "worker/spawn.h"
#include "worker/spool.h"
#include "worker/stop_target.h"
#include "worker/task_env.h"

#define MS_NS INT64_C(1000000)

enum {
	KILL_AFTER_MS = 5000,   /* from a time-out's TERM to its KILL */
	LINGER_MS = 2000,       /* longest time that an end is held back */
	LINGER_LOOK_MS = 10,
	TRIM_MS = 200,          /* between two looks at the sizes of stderr */
	TRIM_FAST_MS = 25,
};

enum lane_state { LANE_FREE, LANE_RUNNING, LANE_ENDING };

struct lane {
	struct request *req;
	enum lane_state state;
	int32_t pid;       /* of the leader, and so of its group */
	int32_t next;      /* in the chain of pids; -1: last */
	int64_t act_ns;    /* RUNNING: next step of the time-out; ENDING: give up */
	struct task_tag tag;
	bool has_scratch;  /* its folder is there, empty */
};

struct lanes {
	int n;
	struct lane *lane;
	int32_t *chain;    /* heads of chains by pid, of running lanes; -1: empty */
	int32_t mask;
	int *idle;         /* stack of free lanes */
	int n_idle;
	int *ending;       /* those whose leader was reaped */
	int n_ending;
	int64_t act_ns;    /* no time-out before this */
	int64_t trim_ns;   /* the next look; INT64_MAX: nothing runs */
	int64_t look_ns;   /* the next look at ending lanes */
	struct slots *slots;
	struct spawner *spawner;
	struct spool *spool;
	struct orphans *orphans;
	struct task_env *env;
	struct control *control; /* NULL: none */
	struct cgroups *cgroups; /* NULL: none */
	const char *scratch_dir; /* NULL: none */
	uint32_t n_trash;
	struct request_list *done;
};

static bool lane_is_leader(void *ctx, int32_t pid);
static bool lane_is_running(void *ctx, const struct task_tag *tag);

static bool make_arrays(struct lanes *l, int n)
{
	int32_t size = 4;
	int i;

	while (size < 2 * n)
		size *= 2;
	l->n = n;
	l->mask = size - 1;
	l->lane = mem_zero((size_t)n * sizeof(*l->lane));
	l->idle = mem_zero((size_t)n * sizeof(*l->idle));
	l->ending = mem_zero((size_t)n * sizeof(*l->ending));
	l->chain = mem_zero((size_t)size * sizeof(*l->chain));
	if (l->lane == NULL || l->idle == NULL || l->ending == NULL || l->chain == NULL)
		return false;
	memset(l->chain, -1, (size_t)size * sizeof(*l->chain));
	for (i = n; i > 0; i--)
		l->idle[l->n_idle++] = i - 1;
	return true;
}

/* Files of all lanes must fit into the limit on open files. It is raised for
 * this process; the children get back what it was. */
static struct spawner *make_spawner(int lanes)
{
	struct rlimit old;
	struct rlimit new;
	rlim_t need = (rlim_t)lanes * 5 + 256;

	if (getrlimit(RLIMIT_NOFILE, &old) == -1 || old.rlim_cur >= need)
		return spawner_create(NULL);
	new = old;
	new.rlim_cur = need < old.rlim_max ? need : old.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &new) == -1)
		return spawner_create(NULL);
	return spawner_create(&old);
}

struct lanes *lanes_create(const struct guardian_options *opt, struct request_list *done)
{
	struct lanes *l = mem_zero(sizeof(*l));
	const char *token = slots_token(opt->slots);
	struct orphans_view view = {.is_leader = lane_is_leader, .is_running = lane_is_running};
	struct error e;

	if (l == NULL) {
		errno = ENOMEM;
		return NULL;
	}
	view.ctx = l;
	l->slots = opt->slots;
	l->done = done;
	l->act_ns = INT64_MAX;
	l->trim_ns = INT64_MAX;
	l->look_ns = INT64_MAX;
	l->spawner = make_spawner(opt->lanes);
	l->spool = spool_create(opt->spool_dir, opt->lanes, opt->err_cap);
	l->orphans = orphans_create(token, &view);
	l->env = task_env_create(token);
	l->scratch_dir = opt->scratch_dir;
	if (opt->cgroup_note != NULL)
		l->cgroups = cgroups_create(opt->cgroup_note, opt->lanes);
	if (opt->control_dir != NULL &&
	    control_create(opt->control_dir, opt->lanes, &l->control, &e) != ST_OK) {
		lanes_destroy(l);
		errno = EIO;
		return NULL;
	}
	if (!make_arrays(l, opt->lanes) || l->spawner == NULL || l->spool == NULL ||
	    l->orphans == NULL || l->env == NULL ||
	    (l->cgroups == NULL && opt->cgroup_note != NULL)) {
		lanes_destroy(l);
		errno = ENOMEM;
		return NULL;
	}
	return l;
}

void lanes_destroy(struct lanes *l)
{
	int i;

	if (l == NULL)
		return;
	for (i = 0; l->lane != NULL && i < l->n; i++)
		request_destroy(l->lane[i].req);
	control_destroy(l->control);
	cgroups_destroy(l->cgroups);
	task_env_destroy(l->env);
	orphans_destroy(l->orphans);
	spool_destroy(l->spool);
	spawner_destroy(l->spawner);
	free(l->lane);
	free(l->idle);
	free(l->ending);
	free(l->chain);
	free(l);
}

bool lanes_have_free(const struct lanes *l)
{
	return l->n_idle > 0;
}

bool lanes_have_child(const struct lanes *l)
{
	return l->n_idle < l->n;
}

/* ---- running lanes by pid ---- */

static void chain_add(struct lanes *l, int i)
{
	int32_t *head = &l->chain[l->lane[i].pid & l->mask];

	l->lane[i].next = *head;
	*head = i;
}

static void chain_remove(struct lanes *l, int i)
{
	int32_t *at = &l->chain[l->lane[i].pid & l->mask];

	while (*at != i)
		at = &l->lane[*at].next;
	*at = l->lane[i].next;
}

/* -1: no running lane's leader. */
static int find_pid(const struct lanes *l, int32_t pid)
{
	int32_t i = l->chain[pid & l->mask];

	while (i != -1 && l->lane[i].pid != pid)
		i = l->lane[i].next;
	return i;
}

static bool lane_is_leader(void *ctx, int32_t pid)
{
	return find_pid(ctx, pid) != -1;
}

static bool lane_is_running(void *ctx, const struct task_tag *tag)
{
	const struct lanes *l = ctx;
	int first = tag->slot >= 0 ? tag->slot : 0;
	int last = tag->slot >= 0 ? tag->slot : l->n - 1;
	int i;

	for (i = first; i <= last && i < l->n; i++)
		if (l->lane[i].state == LANE_RUNNING && task_tag_matches(tag, &l->lane[i].tag))
			return true;
	return false;
}

/* ---- the slot table ---- */

static void slot_state(struct slot *s, enum slot_state state)
{
	__atomic_store_n(&s->state, (int32_t)state, __ATOMIC_RELEASE);
}

/* FREE first: a reader after a sudden end never sees fields of two attempts
 * under a state that claims them. */
static void slot_starting(struct slot *s, const struct request *r)
{
	slot_state(s, SLOT_FREE);
	__atomic_store_n(&s->row, r->head.row, __ATOMIC_RELEASE);
	__atomic_store_n(&s->epoch, r->head.epoch, __ATOMIC_RELEASE);
	__atomic_store_n(&s->started_boot_ns, r->end.started_boot_ns, __ATOMIC_RELEASE);
	__atomic_store_n(&s->stage, r->head.stage, __ATOMIC_RELEASE);
	__atomic_store_n(&s->ran_ns, r->head.ran_ns, __ATOMIC_RELEASE);
	__atomic_store_n(&s->pgid, 0, __ATOMIC_RELEASE);
	slot_state(s, SLOT_STARTING);
}

static void slot_started(struct slot *s, int32_t pgid)
{
	__atomic_store_n(&s->pgid, pgid, __ATOMIC_RELEASE);
	__atomic_store_n(&s->starts, s->starts + 1, __ATOMIC_RELEASE);
	slot_state(s, SLOT_STARTED);
}

static void slot_ended(struct slot *s, int64_t boot_ns)
{
	__atomic_store_n(&s->ended_boot_ns, boot_ns, __ATOMIC_RELEASE);
	slot_state(s, SLOT_ENDED);
}

/* ---- what a task finds, and leaves ---- */

static bool scratch_path(const struct lanes *l, struct buf *out, int i)
{
	buf_printf(out, "%s/%d", l->scratch_dir, i);
	return !out->failed;
}

/* Its time is set back, so that it shows whether anything was ever put into it. */
static void make_lane_scratch(struct lanes *l, int i)
{
	static const struct timespec long_ago[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
	struct buf path = {0};

	if (scratch_path(l, &path, i) && (sys_mkdir(path.data, 0700) == 0 || errno == EEXIST))
		l->lane[i].has_scratch = utimensat(AT_FDCWD, path.data, long_ago,
		    AT_SYMLINK_NOFOLLOW) == 0;
	buf_free(&path);
}

/* An empty folder that nobody has touched serves the next one too. */
static bool is_untouched(const char *path)
{
	struct stat sb;

	return lstat(path, &sb) == 0 && S_ISDIR(sb.st_mode) && sb.st_mtim.tv_sec == 1 &&
	    sb.st_mtim.tv_nsec == 0 && (sb.st_mode & 0777) == 0700;
}

/* A task that finds no scratch folder, or no page, can do without. */
static void prepare_lane(struct lanes *l, int i, const struct request *r)
{
	struct control_begin begin = {.epoch = r->head.epoch, .offset = r->head.offset};
	struct error e;

	if (l->scratch_dir != NULL && !l->lane[i].has_scratch)
		make_lane_scratch(l, i);
	if (r->head.timeout_ms > 0)
		begin.deadline_boot_ns = sys_boot_ns() + r->head.timeout_ms * MS_NS;
	if (l->control != NULL)
		(void)!control_reset(l->control, i, &begin, &e);
}

/* A folder that is not empty is moved out of the way: removing it takes its
 * time, which is the worker's. */
static void clear_lane(struct lanes *l, int i, struct guardian_end *end)
{
	struct control_view view;
	struct buf path = {0};
	struct buf trash = {0};
	struct error e;

	if (l->control != NULL && control_read(l->control, i, &view, &e) == ST_OK)
		end->task_done = view.task_done;
	if (l->scratch_dir == NULL || !scratch_path(l, &path, i))
		return;
	if (l->lane[i].has_scratch && is_untouched(path.data)) {
		buf_free(&path);
		return;
	}
	l->lane[i].has_scratch = false;
	if (sys_rmdir(path.data) == -1 && errno != ENOENT) {
		buf_printf(&trash, "%s/trash.%u", l->scratch_dir, ++l->n_trash);
		if (!trash.failed && sys_rename(path.data, trash.data) == 0)
			end->trash = l->n_trash;
	}
	buf_free(&path);
	buf_free(&trash);
}

/* ---- start ---- */

static enum spawn_result start_child(struct lanes *l, int i, struct request *r, int out, int err)
{
	struct slot *slot = slots_at(l->slots, i);
	struct spawn s = {
		.path = request_path(r),
		.in = r->stdin_fd != -1 ? r->stdin_fd : STDIN_FILENO,
		.out = out,
		.err = err,
	};
	enum spawn_result result;
	int saved;

	prepare_lane(l, i, r);
	if (!task_env_build(l->env, r, i, l->control, l->scratch_dir)) {
		errno = ENOMEM;
		return SPAWN_SETUP_FAILED;
	}
	s.argv = task_env_argv(l->env);
	s.envp = task_env_envp(l->env);
	s.cgroup_fd = cgroups_begin(l->cgroups, i, r->head.memory);
	r->end.started_boot_ns = sys_boot_ns();
	slot_starting(slot, r);
	sys_point("guardian.spawn.before");
	result = spawn_child(l->spawner, &s, &l->lane[i].pid);
	saved = errno;
	sys_point("guardian.spawn.after");
	if (result == SPAWN_OK)
		slot_started(slot, l->lane[i].pid);
	else
		slot_state(slot, SLOT_FREE);
	if (s.cgroup_fd > 0)
		(void)sys_close(s.cgroup_fd);
	if (result != SPAWN_OK)
		cgroups_end(l->cgroups, i, &r->end.memory);
	errno = saved;
	return result;
}

static void lane_refuse(struct lanes *l, struct request *r, enum guardian_fate fate, int os_errno)
{
	r->end.started_boot_ns = 0;
	request_set_end(r, fate, os_errno);
	request_list_add(l->done, r);
}

static void set_running(struct lanes *l, int i, struct request *r, int64_t now_ns)
{
	struct lane *lane = &l->lane[i];

	lane->req = r;
	lane->state = LANE_RUNNING;
	lane->tag = (struct task_tag){.row = r->head.row, .epoch = r->head.epoch, .slot = i};
	lane->act_ns = INT64_MAX;
	if (r->head.timeout_ms > 0 && r->head.timeout_ms < (INT64_MAX - now_ns) / MS_NS)
		lane->act_ns = now_ns + r->head.timeout_ms * MS_NS;
	if (lane->act_ns < l->act_ns)
		l->act_ns = lane->act_ns;
	if (l->trim_ns == INT64_MAX)
		l->trim_ns = now_ns + TRIM_MS * MS_NS;
	r->end.lane = i;
	l->n_idle--;
	chain_add(l, i);
}

/* Puts the lane that the caller asked for last among the idle ones. */
static void prefer_lane(struct lanes *l, int lane)
{
	int last = l->n_idle - 1;
	int k;

	for (k = 0; k < last; k++) {
		if (l->idle[k] == lane) {
			l->idle[k] = l->idle[last];
			l->idle[last] = lane;
			return;
		}
	}
}

static int choose_lane(struct lanes *l, const struct request *r)
{
	if (r->head.lane >= 0)
		prefer_lane(l, r->head.lane);
	return l->idle[l->n_idle - 1];
}

void lanes_start(struct lanes *l, struct request *r, int64_t now_ns)
{
	int i = choose_lane(l, r);
	const char *out_path;
	enum spawn_result result;
	int out;
	int err;
	int e = r->os_errno;

	if (e != 0) {
		lane_refuse(l, r, GUARDIAN_SETUP_FAILED, e);
		return;
	}
	out_path = request_stdout_path(r);
	e = spool_begin(l->spool, i, out_path, (r->head.flags & WIRE_APPEND) != 0, &out, &err);
	if (e != 0) {
		lane_refuse(l, r, GUARDIAN_SETUP_FAILED, e);
		return;
	}
	result = start_child(l, i, r, r->head.flags & WIRE_ONE_LOG ? err : out, err);
	if (result != SPAWN_OK) {
		e = errno;
		/* What earlier batches wrote stays. */
		spool_cancel(l->spool, i, r->head.flags & WIRE_APPEND ? NULL : out_path);
		lane_refuse(l, r, result == SPAWN_EXEC_FAILED ? GUARDIAN_EXEC_FAILED
		    : GUARDIAN_SETUP_FAILED, e);
		return;
	}
	request_drop_parts(r);
	set_running(l, i, r, now_ns);
}

/* ---- end ---- */

static bool group_is_gone(const struct lane *lane)
{
	return kill(-lane->pid, 0) == -1 && errno == ESRCH;
}

static void set_free(struct lanes *l, int i)
{
	l->lane[i].req = NULL;
	l->lane[i].state = LANE_FREE;
	l->idle[l->n_idle++] = i;
	if (l->n_idle == l->n)
		l->trim_ns = INT64_MAX;
}

static void lane_finish(struct lanes *l, int i, bool clean)
{
	struct request *r = l->lane[i].req;
	struct spool_sizes sizes;
	bool reuse = clean && !orphans_any_foreign(l->orphans);
	int e = spool_end(l->spool, i, r->head.id, reuse, &sizes);

	if (e != 0) {
		r->end.fate = GUARDIAN_SETUP_FAILED;
		r->end.os_errno = e;
	}
	r->end.out_bytes = sizes.out;
	r->end.err_bytes = sizes.err;
	clear_lane(l, i, &r->end);
	cgroups_end(l->cgroups, i, &r->end.memory);
	r->end.ended_boot_ns = sys_boot_ns();
	slot_ended(slots_at(l->slots, i), r->end.ended_boot_ns);
	sys_point("guardian.end");
	request_list_add(l->done, r);
	set_free(l, i);
}

/* Ends are held back until the group and everything else of the attempt is
 * gone. */
static void lane_settle(struct lanes *l, int64_t now_ns)
{
	int kept = 0;
	int i;

	if (l->n_ending == 0)
		return;
	orphans_sweep(l->orphans, now_ns);
	for (i = 0; i < l->n_ending; i++) {
		struct lane *lane = &l->lane[l->ending[i]];
		bool left = !group_is_gone(lane) || orphans_any_of(l->orphans, &lane->tag);
		bool clean = !left && !orphans_undecided(l->orphans);

		if (left)
			lane->req->end.leftovers = true;
		if (clean || now_ns >= lane->act_ns)
			lane_finish(l, l->ending[i], clean);
		else
			l->ending[kept++] = l->ending[i];
	}
	l->n_ending = kept;
	l->look_ns = kept > 0 ? now_ns + LINGER_LOOK_MS * MS_NS : INT64_MAX;
}

/* The leader is a zombie: its pid, and so the group's number, is not anyone
 * else's before wait4. */
static void leader_ended(struct lanes *l, int i, int64_t now_ns)
{
	struct lane *lane = &l->lane[i];
	struct guardian_end *end = &lane->req->end;
	struct rusage ru;
	int status = 0;

	(void)kill(-lane->pid, SIGKILL);
	while (wait4(lane->pid, &status, 0, &ru) == -1 && errno == EINTR)
		;
	end->fate = GUARDIAN_EXITED;
	if (WIFEXITED(status))
		end->exit_code = WEXITSTATUS(status);
	else
		end->exit_signal = WTERMSIG(status);
	end->fenced = end->fenced && end->exit_signal == SIGKILL;
	end->cpu_us = (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000000 + ru.ru_utime.tv_usec +
	    ru.ru_stime.tv_usec;
	end->max_rss_kib = ru.ru_maxrss;
	chain_remove(l, i);
	lane->state = LANE_ENDING;
	lane->act_ns = now_ns + LINGER_MS * MS_NS;
	l->ending[l->n_ending++] = i;
}

/* One that we did not start. If it died of the kill of a group whose leader has
 * ended, that attempt had left it behind. */
static void orphan_ended(struct lanes *l, const siginfo_t *si)
{
	pid_t group = getpgid(si->si_pid);
	int i;

	for (i = 0; i < l->n_ending; i++) {
		struct lane *lane = &l->lane[l->ending[i]];

		if (lane->pid == group && si->si_code == CLD_KILLED && si->si_status == SIGKILL)
			lane->req->end.leftovers = true;
	}
	(void)waitpid(si->si_pid, NULL, WNOHANG);
}

void lanes_reap(struct lanes *l, int64_t now_ns)
{
	bool any = false;

	for (;;) {
		siginfo_t si = {0};
		int i;

		if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) == -1 || si.si_pid == 0)
			break;
		i = find_pid(l, si.si_pid);
		if (i != -1)
			leader_ended(l, i, now_ns);
		else
			orphan_ended(l, &si);
		any = true;
	}
	if (any)
		lane_settle(l, now_ns);
}

/* ---- time ---- */

static void timeout_step(struct lane *lane, int64_t now_ns)
{
	struct guardian_end *end = &lane->req->end;

	(void)kill(-lane->pid, end->timed_out ? SIGKILL : SIGTERM);
	lane->act_ns = end->timed_out ? INT64_MAX : now_ns + KILL_AFTER_MS * MS_NS;
	end->timed_out = true;
}

static void check_timeouts(struct lanes *l, int64_t now_ns)
{
	int i;

	l->act_ns = INT64_MAX;
	for (i = 0; i < l->n; i++) {
		struct lane *lane = &l->lane[i];

		if (lane->state != LANE_RUNNING)
			continue;
		if (now_ns >= lane->act_ns)
			timeout_step(lane, now_ns);
		if (lane->act_ns < l->act_ns)
			l->act_ns = lane->act_ns;
	}
}

static void trim(struct lanes *l, int64_t now_ns)
{
	bool fast = false;
	int i;

	for (i = 0; i < l->n; i++)
		if (l->lane[i].state != LANE_FREE && spool_trim(l->spool, i))
			fast = true;
	l->trim_ns = now_ns + (fast ? TRIM_FAST_MS : TRIM_MS) * MS_NS;
}

void lanes_tick(struct lanes *l, int64_t now_ns)
{
	if (now_ns >= l->act_ns)
		check_timeouts(l, now_ns);
	if (now_ns >= l->look_ns)
		lane_settle(l, now_ns);
	if (now_ns >= l->trim_ns)
		trim(l, now_ns);
}

int64_t lanes_next_ns(const struct lanes *l)
{
	int64_t next = l->act_ns;

	if (l->look_ns < next)
		next = l->look_ns;
	if (l->trim_ns < next)
		next = l->trim_ns;
	return next;
}

/* ---- signals ---- */

bool lanes_signal(struct lanes *l, uint64_t id, int sig)
{
	int i;

	for (i = 0; i < l->n; i++) {
		if (l->lane[i].state != LANE_FREE && l->lane[i].req->head.id == id) {
			if (l->lane[i].state == LANE_RUNNING)
				(void)kill(-l->lane[i].pid, sig);
			return true;
		}
	}
	return false;
}

void lanes_stop_task(struct lanes *l, uint64_t id, int sig, int to)
{
	static const enum stop_to whom[] = {
		[SPEC_STOP_MAIN] = STOP_TO_MAIN, [SPEC_STOP_LEADER] = STOP_TO_LEADER,
		[SPEC_STOP_GROUP] = STOP_TO_GROUP,
	};
	struct stop_target target;
	int i;

	for (i = 0; i < l->n; i++) {
		if (l->lane[i].state != LANE_RUNNING || l->lane[i].req->head.id != id)
			continue;
		stop_target_find(l->lane[i].pid, whom[to], sig, &target);
		(void)stop_target_send(&target, sig);
	}
}

void lanes_signal_all(struct lanes *l, int sig)
{
	int i;

	for (i = 0; i < l->n; i++)
		if (l->lane[i].state == LANE_RUNNING)
			(void)kill(-l->lane[i].pid, sig);
}

void lanes_fence(struct lanes *l)
{
	int i;

	for (i = 0; i < l->n; i++)
		if (l->lane[i].state == LANE_RUNNING)
			l->lane[i].req->end.fenced = true;
	lanes_signal_all(l, SIGKILL);
	orphans_kill_all(l->orphans);
}

bool lanes_end_all(struct lanes *l, const sigset_t *wait_mask, int limit_ms)
{
	struct timespec pause = {.tv_nsec = 5 * MS_NS};
	int64_t until = sys_boot_ns() + limit_ms * MS_NS;
	bool none = false;
	int i;

	lanes_signal_all(l, SIGKILL);
	while (!none && sys_boot_ns() < until) {
		pid_t pid;

		orphans_kill_all(l->orphans);
		do
			pid = waitpid(-1, NULL, WNOHANG);
		while (pid > 0);
		none = pid == -1 && errno == ECHILD;
		if (!none)
			(void)ppoll(NULL, 0, &pause, wait_mask);
	}
	for (i = 0; i < l->n; i++)
		if (l->lane[i].state != LANE_FREE)
			slot_ended(slots_at(l->slots, i), sys_boot_ns());
	return none;
}
