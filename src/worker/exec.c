#include "worker/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/sys.h"
#include "model/drain.h"
#include "notice/detect.h"
#include "notice/stop_file.h"
#include "notice/watch.h"
#include "worker/control.h"
#include "worker/exec_place.h"
#include "worker/exec_tty.h"
#include "worker/guardian.h"
#include "worker/procs.h"
#include "worker/spawn.h"

#define EXEC_MS_NS INT64_C(1000000)

enum {
	STOP_FILE_MS = 100, /* between two looks */
	EXEC_RESERVE_MS = 2000, /* of a notice's time, for the end of all that is left */
	EXEC_ACKNOWLEDGE_MS = 2000,
	END_ALL_MS = 10000, /* how long a process may refuse to die */
	END_PAUSE_MS = 2,
};

struct exec_run {
	const struct exec_options *opt;
	struct exec_place *place;
	struct exec_tty tty;
	struct pid_list before; /* children that this process had */
	int sigfd;
	int32_t child;          /* the command; leads its group */
	bool child_ended;
	int code;
	bool draining;
	bool killed;            /* the deadline has passed */
	int64_t deadline_ns;    /* CLOCK_BOOTTIME */
	int watch_fd;           /* requests by the control page; -1: none */
	int stop_fd;            /* the stop file's folder; -1: none */
	struct notice_watch *watch; /* NULL: not begun */
	bool by_platform;       /* it drains for that */
	struct notice ends;     /* announced for later; deadline 0: nothing is */
};

/* ---- descendants ---- */

/* Children that are alive and came or were started since. */
static void list_children(const struct exec_run *x, struct pid_list *out)
{
	struct pid_list all = {0};
	struct proc_stat st;
	size_t i;

	(void)!proc_children((int32_t)getpid(), &all); /* those found until an error */
	for (i = 0; i < all.n; i++)
		if (!pid_list_has(&x->before, all.pids[i]) && proc_stat_read(all.pids[i], &st) &&
		    st.state != 'Z')
			(void)!pid_list_add(out, all.pids[i]);
	pid_list_free(&all);
}

static bool has_children(const struct exec_run *x)
{
	struct pid_list list = {0};
	siginfo_t si = {0};
	bool any;

	if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) == -1)
		return false;
	if (getpid() == 1)
		return true; /* /proc may be that of another pid namespace */
	list_children(x, &list);
	any = list.n > 0;
	pid_list_free(&list);
	return any;
}

/* Each child with all of its descendants. Not by groups: in a session that is
 * shared with the user's other commands. */
static void kill_descendants(const struct exec_run *x)
{
	struct pid_list list = {0};
	size_t i;

	if (getpid() == 1) {
		(void)kill(-1, SIGKILL); /* everything in the container but us */
		return;
	}
	list_children(x, &list);
	for (i = 0; i < list.n; i++)
		(void)!proc_children(list.pids[i], &list);
	for (i = 0; i < list.n; i++)
		(void)kill(list.pids[i], SIGKILL);
	pid_list_free(&list);
}

static void reap_strangers(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

/* Until none is left: one that is killed may have forked just before. */
static void end_descendants(struct exec_run *x)
{
	struct timespec pause = {.tv_nsec = END_PAUSE_MS * EXEC_MS_NS};
	int64_t until = sys_boot_ns() + END_ALL_MS * EXEC_MS_NS;

	for (;;) {
		reap_strangers();
		if (!has_children(x))
			return;
		if (sys_boot_ns() > until) {
			log_line(LOG_WARN, "a process that the command left behind cannot be killed; "
			    "look for processes in state D");
			return;
		}
		kill_descendants(x);
		(void)nanosleep(&pause, NULL);
	}
}

/* ---- signals ---- */

static void send_signal(const struct exec_run *x, int sig)
{
	struct stop_target t;
	struct pid_list list = {0};
	size_t i;

	if (!x->child_ended) {
		stop_target_find(x->child, x->opt->stop_to, sig, &t);
		(void)stop_target_send(&t, sig);
		return;
	}
	list_children(x, &list);
	for (i = 0; i < list.n; i++)
		(void)kill(list.pids[i], sig);
	pid_list_free(&list);
}

static void kill_all(struct exec_run *x)
{
	x->killed = true;
	if (!x->child_ended)
		(void)kill(-x->child, SIGKILL);
	kill_descendants(x);
}

static void exec_tell(struct exec_run *x)
{
	struct error e;

	if (control_stop(exec_place_control(x->place), 0, x->by_platform ? EBB_STOP_NOTICE
	    : EBB_STOP_DRAIN, EBB_PLAN_CHECKPOINT, x->deadline_ns, &e) != ST_OK)
		log_line(LOG_WARN, "%s", e.text);
}

/* During a drain an earlier deadline, or a better reason, is told without another signal. */
static void exec_drain(struct exec_run *x, int64_t deadline_ns, bool by_platform)
{
	bool first = !x->draining;
	bool closer = !first && x->deadline_ns > deadline_ns;

	if (!first && !closer && (x->by_platform || !by_platform))
		return;
	x->draining = true;
	x->by_platform = x->by_platform || by_platform;
	if (first || closer)
		x->deadline_ns = deadline_ns;
	exec_tell(x);
	if (!first)
		return;
	send_signal(x, x->opt->stop_signal);
	if (!x->child_ended)
		(void)kill(-x->child, SIGCONT); /* should it be stopped */
}

static int64_t grace_from_now_ns(const struct exec_run *x)
{
	return sys_boot_ns() + x->opt->grace_ms * EXEC_MS_NS;
}

static bool term_is_notice(const struct exec_run *x)
{
	return x->watch != NULL && notice_term_is_notice(notice_watch_platforms(x->watch)) != 0;
}

/* ---- what the platform says ---- */

static void exec_leave(struct exec_run *x, const struct notice *n)
{
	int64_t now_ms = sys_boot_ns() / EXEC_MS_NS;
	int64_t left = notice_deadline_boot_ms(n, x->opt->grace_given ? x->opt->grace_ms : -1) - now_ms;

	left = left > 0 ? drain_budget_ms(left, EXEC_RESERVE_MS) : 0;
	exec_drain(x, (now_ms + left) * EXEC_MS_NS, true);
}

/* How long until what is announced for later is near; -1: nothing is. */
static int64_t exec_until_near_ms(const struct exec_run *x)
{
	int64_t left = x->ends.deadline_boot_ms - NOTICE_NEAR_MS - sys_boot_ns() / EXEC_MS_NS;

	if (x->ends.deadline_boot_ms == 0 || x->draining)
		return -1;
	return left < 0 ? 0 : left;
}

static void exec_take_notice(struct exec_run *x, const struct notice *n)
{
	int64_t now_ms = sys_boot_ns() / EXEC_MS_NS;
	enum notice_response response = notice_response(n, now_ms);
	struct buf text = {0};

	notice_say(n, now_ms, &text);
	log_line(LOG_INFO, "%s", text.failed ? n->source : text.data);
	buf_free(&text);
	if (response == NOTICE_DRAIN)
		exec_leave(x, n);
	else if (response == NOTICE_END_OF_LIFE || (response == NOTICE_RELAX &&
	    n->was == NOTICE_MAINTENANCE))
		(void)notice_keep_end(&x->ends, n);
}

static void exec_hear(struct exec_run *x)
{
	struct notice_word word;

	while (x->watch != NULL && notice_watch_take(x->watch, &word)) {
		if (word.kind == NOTICE_WORD_EVENT)
			exec_take_notice(x, &word.event);
		else if (word.kind != NOTICE_WORD_MACHINE && word.trouble[0] != '\0')
			log_line(LOG_INFO, "notices: %s", word.trouble);
	}
}

/* After the command has been started: it does not wait for this. */
static void exec_listen(struct exec_run *x)
{
	const struct notice_watch_options opt = {.sources = x->opt->notice};
	struct error e;

	if (notice_watch_start(&opt, &x->watch, &e) != ST_OK)
		log_line(LOG_WARN, "no notices are heard: %s", e.text);
	if (x->opt->stop_file != NULL)
		x->stop_fd = stop_file_fd(x->opt->stop_file);
}

static void exec_stop_listening(struct exec_run *x)
{
	int64_t left = (x->deadline_ns - sys_boot_ns()) / EXEC_MS_NS;

	if (x->watch != NULL && x->by_platform && !x->opt->no_acknowledge && left > 0)
		(void)notice_watch_acknowledge(x->watch, left < EXEC_ACKNOWLEDGE_MS ? left : EXEC_ACKNOWLEDGE_MS);
	notice_watch_stop(x->watch);
	if (x->stop_fd != -1)
		(void)sys_close(x->stop_fd);
}

/* ---- signals, taken ---- */

static void exec_take_signal(struct exec_run *x, int sig)
{
	switch (sig) {
	case SIGCHLD:
		break; /* exec_reap is called in any case */
	case SIGINT:
		if (x->draining)
			x->deadline_ns = 0;
		else
			exec_drain(x, grace_from_now_ns(x), false);
		break;
	case SIGTERM:
	case SIGHUP:
		exec_drain(x, grace_from_now_ns(x), sig == SIGTERM && term_is_notice(x));
		break;
	case SIGCONT:
		if (!x->child_ended)
			exec_tty_continued(&x->tty, x->child);
		break;
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
		if (!x->child_ended)
			(void)kill(-x->child, sig);
		break;
	default:
		send_signal(x, sig);
		break;
	}
}

static void take_signals(struct exec_run *x)
{
	struct signalfd_siginfo si;

	while (sys_read(x->sigfd, &si, sizeof(si)) == (ssize_t)sizeof(si))
		exec_take_signal(x, (int)si.ssi_signo);
}

/* Faults of our own are not put off. A signal that is ignored from before would
 * be received if it were blocked. */
static bool is_taken(int sig)
{
	struct sigaction sa;

	switch (sig) {
	case SIGSEGV:
	case SIGBUS:
	case SIGFPE:
	case SIGILL:
	case SIGTRAP:
	case SIGSYS:
	case SIGABRT:
	case SIGPIPE: /* ebb ignores it; it means nobody else */
		return false;
	default:
		return sig == SIGCHLD || sigaction(sig, NULL, &sa) == -1 ||
		    sa.sa_handler != SIG_IGN;
	}
}

/* All are blocked; those that are taken come through the descriptor. */
static enum status setup_sigfd(struct exec_run *x, struct error *e)
{
	sigset_t all;
	sigset_t taken;
	int sig;

	(void)sigfillset(&all);
	(void)sigemptyset(&taken);
	for (sig = 1; sig < NSIG; sig++)
		if (sig != SIGKILL && sig != SIGSTOP && is_taken(sig))
			(void)sigaddset(&taken, sig);
	(void)signal(SIGCHLD, SIG_DFL); /* ignored, it would leave nothing to wait for */
	(void)signal(SIGPIPE, SIG_DFL); /* for the command; blocked here */
	if (sigprocmask(SIG_SETMASK, &all, NULL) == -1)
		return error_os(e, errno, "cannot block signals");
	x->sigfd = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
	if (x->sigfd == -1)
		return error_os(e, errno, "cannot wait for signals");
	return ST_OK;
}

/* ---- the child ---- */

static void child_gone(struct exec_run *x)
{
	int status = 0;

	/* Not reaped yet: the group's number is nobody else's. */
	if (!x->opt->wait_all)
		(void)kill(-x->child, SIGKILL);
	while (waitpid(x->child, &status, 0) == -1 && errno == EINTR)
		;
	x->child_ended = true;
	/* What it left may not have heard of the drain. */
	if (x->draining && !x->killed && x->opt->wait_all)
		send_signal(x, x->opt->stop_signal);
	x->code = WIFEXITED(status) ? WEXITSTATUS(status) : EXEC_EXIT_SIGNAL + WTERMSIG(status);
}

static void child_stopped(struct exec_run *x)
{
	int status;

	if (waitpid(x->child, &status, WUNTRACED | WNOHANG) == x->child && WIFSTOPPED(status) &&
	    !x->draining)
		exec_tty_stopped(&x->tty, x->child, WSTOPSIG(status));
}

static void exec_reap(struct exec_run *x)
{
	for (;;) {
		siginfo_t si = {0};

		if (waitid(P_ALL, 0, &si, WEXITED | WSTOPPED | WNOHANG | WNOWAIT) == -1 ||
		    si.si_pid == 0)
			return;
		if (si.si_pid != x->child || x->child_ended)
			(void)!waitpid(si.si_pid, NULL, WUNTRACED | WNOHANG);
		else if (si.si_code == CLD_STOPPED || si.si_code == CLD_TRAPPED)
			child_stopped(x);
		else
			child_gone(x);
	}
}

static enum status exec_start(struct exec_run *x, const char *path, int *code, struct error *e)
{
	struct spawner *sp = spawner_create(NULL);
	char *const *words = x->opt->argv;
	struct spawn s = {.envp = exec_place_env(x->place), .in = 0, .out = 1, .err = 2,
		.take_tty = x->tty.eager, .tty = x->tty.fd};
	enum spawn_result r = SPAWN_SETUP_FAILED;
	size_t n = 0;
	char **argv;
	int err;

	while (words[n] != NULL)
		n++;
	argv = mem_zero((n + 2) * sizeof(*argv)); /* spawn_child wants argv[-1] */
	s.path = mem_dup(path, strlen(path));
	errno = ENOMEM;
	if (sp != NULL && argv != NULL && s.path != NULL) {
		memcpy(argv + 1, words, n * sizeof(*argv));
		s.argv = argv + 1;
		r = spawn_child(sp, &s, &x->child);
	}
	err = errno;
	free(argv);
	free(s.path);
	spawner_destroy(sp);
	if (r == SPAWN_OK)
		return ST_OK;
	if (r == SPAWN_EXEC_FAILED)
		*code = err == ENOENT ? EXEC_EXIT_NOT_FOUND : EXEC_EXIT_DENIED;
	return error_os(e, err, "cannot run %s", path);
}

/* ---- the loop ---- */

/* Nobody keeps checkpoints here; who asks through the page gets that answer. */
static void answer_request(struct exec_run *x)
{
	struct control *c = exec_place_control(x->place);
	bool written[1] = {false};
	struct control_view v;
	struct error e;

	control_take_written(c, written);
	if (control_read(c, 0, &v, &e) == ST_OK && v.pending &&
	    control_answer(c, 0, &v, EBB_ANSWER_FAILED, &e) != ST_OK)
		log_line(LOG_WARN, "%s", e.text);
}

/* Milliseconds until something has to be looked at; -1: nothing. */
static int exec_wait_ms(const struct exec_run *x)
{
	int64_t left;
	int64_t near = exec_until_near_ms(x);

	if (x->draining && !x->killed) {
		left = (x->deadline_ns - sys_boot_ns() + EXEC_MS_NS - 1) / EXEC_MS_NS;
		return left < 0 ? 0 : left > 60000 ? 60000 : (int)left;
	}
	if (x->opt->stop_file != NULL && !x->draining)
		return STOP_FILE_MS;
	return near > 60000 ? 60000 : (int)near;
}

static bool exec_is_over(const struct exec_run *x)
{
	return x->child_ended && (!x->opt->wait_all || x->killed || !has_children(x));
}

static void exec_loop(struct exec_run *x)
{
	struct pollfd p[4] = {{.fd = x->sigfd, .events = POLLIN},
	    {.fd = x->watch_fd, .events = POLLIN},
	    {.fd = x->watch == NULL ? -1 : notice_watch_fd(x->watch), .events = POLLIN},
	    {.fd = x->stop_fd, .events = POLLIN}};

	while (!exec_is_over(x)) {
		if (poll(p, 4, exec_wait_ms(x)) == -1 && errno != EINTR)
			break;
		take_signals(x);
		exec_hear(x);
		if (p[3].revents != 0)
			stop_file_drain(x->stop_fd);
		if (p[1].revents != 0)
			answer_request(x);
		if (!x->draining && stop_file_is_there(x->opt->stop_file))
			exec_drain(x, grace_from_now_ns(x), false);
		if (exec_until_near_ms(x) == 0)
			exec_leave(x, &x->ends);
		if (x->draining && !x->killed && sys_boot_ns() >= x->deadline_ns)
			kill_all(x);
		exec_reap(x);
	}
}

/* No file of ours may come to lie under 0, 1 or 2. */
static enum status fill_standard_fds(struct error *e)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR); /* NOLINT(android-cloexec-open): it is the child's */
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd == -1)
		return error_os(e, errno, "cannot open /dev/null");
	(void)sys_close(fd);
	return ST_OK;
}

static enum status exec_prepare(struct exec_run *x, struct error *e)
{
	enum status st = fill_standard_fds(e);

	if (st != ST_OK)
		return st;
	(void)!proc_children((int32_t)getpid(), &x->before);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) == -1)
		return error_os(e, errno, "cannot become a subreaper");
	st = setup_sigfd(x, e);
	if (st == ST_OK)
		st = exec_place_create(&x->place, e);
	if (st != ST_OK)
		return st;
	x->watch_fd = control_fd(exec_place_control(x->place));
	exec_tty_open(&x->tty);
	return ST_OK;
}

enum status exec_run(const struct exec_options *opt, int *code, struct error *e)
{
	struct exec_run x = {.opt = opt, .sigfd = -1, .tty = {.fd = -1}, .watch_fd = -1,
	    .stop_fd = -1};
	char *path = NULL;
	enum status st = guardian_find_program(opt->argv[0], &path, e);

	*code = st == ST_NOT_FOUND ? EXEC_EXIT_NOT_FOUND
	    : st == ST_NO_MEMORY ? EXEC_EXIT_BROKEN : EXEC_EXIT_DENIED;
	if (st == ST_OK) {
		*code = EXEC_EXIT_BROKEN;
		st = exec_prepare(&x, e);
	}
	if (st == ST_OK)
		st = exec_start(&x, path, code, e);
	if (st == ST_OK) {
		exec_listen(&x);
		exec_loop(&x);
		*code = x.code;
		if (!opt->wait_all || x.killed)
			end_descendants(&x);
		exec_stop_listening(&x);
	}
	exec_tty_close(&x.tty, x.child);
	exec_place_destroy(x.place);
	pid_list_free(&x.before);
	if (x.sigfd != -1)
		(void)sys_close(x.sigfd);
	free(path);
	return st;
}
