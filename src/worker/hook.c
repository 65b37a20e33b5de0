#include "worker/hook.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/sys.h"
#include "worker/spawn.h"

enum { EVENT_VARIABLES = 6 };

struct hook {
	int32_t pid;
	int pidfd;
	int64_t begun_ms;
	int64_t until_ms;
	bool killed;
	bool reaped;
	struct hook_end end;
};

static int64_t hook_now_ms(void)
{
	return sys_boot_ns() / 1000000;
}

/* NUL-ended strings, EVENT_VARIABLES of them. */
static void event_variables(const struct notice *n, struct buf *out)
{
	buf_printf(out, "EBB_EVENT=%s", notice_kind_name(n->kind));
	buf_char(out, '\0');
	buf_printf(out, "EBB_EVENT_SOURCE=%s", n->source);
	buf_char(out, '\0');
	buf_printf(out, "EBB_EVENT_ACTION=%s", notice_action_name(n->action));
	buf_char(out, '\0');
	buf_printf(out, "EBB_EVENT_ID=%s", n->id);
	buf_char(out, '\0');
	buf_str(out, "EBB_EVENT_DEADLINE=");
	if (n->deadline_boot_ms != 0 || n->kind == NOTICE_TAKEN || n->kind == NOTICE_PREEMPTED)
		buf_printf(out, "%lld", (long long)((n->seen_unix_ms +
		    notice_deadline_boot_ms(n, -1) - n->seen_boot_ms) / 1000));
	buf_char(out, '\0');
	buf_str(out, "EBB_EVENT_JSON=");
	notice_json(n, hook_now_ms(), out);
	buf_char(out, '\0');
}

/* The later of two of one name does not count, so what is added comes first. */
static char **hook_env(const struct buf *own, char *const *extra)
{
	size_t n_extra = 0;
	size_t n_base = 0;
	size_t n = 0;
	char *p = own->data;
	char **env;
	size_t i;

	while (extra != NULL && extra[n_extra] != NULL)
		n_extra++;
	while (environ != NULL && environ[n_base] != NULL)
		n_base++;
	env = mem_zero((EVENT_VARIABLES + n_extra + n_base + 1) * sizeof(*env));
	if (env == NULL)
		return NULL;
	for (i = 0; i < EVENT_VARIABLES; i++, p += strlen(p) + 1)
		env[n++] = p;
	for (i = 0; i < n_extra; i++)
		env[n++] = extra[i];
	for (i = 0; i < n_base; i++) {
		if (strncmp(environ[i], "EBB_EVENT", 9) != 0)
			env[n++] = environ[i];
	}
	return env;
}

static enum status hook_spawn(struct hook *h, const char *command, char *const *env,
    struct error *e)
{
	char shell[] = "/bin/sh";
	char dash_c[] = "-c";
	char *text = mem_dup(command, strlen(command));
	char *argv[] = {NULL, shell, dash_c, text, NULL}; /* spawn_child wants argv[-1] */
	struct spawner *sp = spawner_create(NULL);
	struct spawn s = {.path = shell, .argv = argv + 1, .envp = env, .out = 2, .err = 2};
	enum spawn_result r = SPAWN_SETUP_FAILED;
	sigset_t all;
	sigset_t before;
	int err;

	s.in = sys_open("/dev/null", O_RDONLY, 0);
	if (text == NULL)
		errno = ENOMEM;
	if (sp != NULL && text != NULL && s.in != -1) {
		(void)sigfillset(&all);
		(void)pthread_sigmask(SIG_SETMASK, &all, &before);
		r = spawn_child(sp, &s, &h->pid);
		err = errno;
		(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
		errno = err;
	}
	err = errno;
	if (s.in != -1)
		(void)sys_close(s.in);
	spawner_destroy(sp);
	free(text);
	return r == SPAWN_OK ? ST_OK : error_os(e, err, "cannot start the hook");
}

enum status hook_start(const char *command, const struct notice *n, char *const *extra,
    int64_t until_boot_ms, struct hook **out, struct error *e)
{
	struct hook *h = mem_zero(sizeof(*h));
	struct buf own = {0};
	char **env = NULL;
	enum status st;

	*out = NULL;
	if (h == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	event_variables(n, &own);
	st = buf_check(&own, e);
	if (st == ST_OK)
		env = hook_env(&own, extra);
	if (st == ST_OK && env == NULL)
		st = error_set(e, ST_NO_MEMORY, "out of memory");
	if (st == ST_OK)
		st = hook_spawn(h, command, env, e);
	free(env);
	buf_free(&own);
	if (st != ST_OK) {
		free(h);
		return st;
	}
	h->begun_ms = hook_now_ms();
	h->until_ms = until_boot_ms;
	h->pidfd = (int)syscall(SYS_pidfd_open, h->pid, 0);
	*out = h;
	return ST_OK;
}

int hook_fd(const struct hook *h)
{
	return h->pidfd;
}

int64_t hook_until_boot_ms(const struct hook *h)
{
	return h->until_ms;
}

void hook_hurry(struct hook *h, int64_t until_boot_ms)
{
	if (until_boot_ms < h->until_ms)
		h->until_ms = until_boot_ms;
}

static void hook_kill(struct hook *h)
{
	/* Not reaped: its number, and that of its group, is nobody else's. */
	(void)kill(-h->pid, SIGKILL);
	h->killed = true;
}

static bool hook_reap(struct hook *h, int flags)
{
	siginfo_t si = {0};
	int status = 0;

	if (waitid(P_PID, (id_t)h->pid, &si, WEXITED | WNOWAIT | flags) == -1 || si.si_pid == 0)
		return false;
	(void)kill(-h->pid, SIGKILL); /* what it left running */
	while (waitpid(h->pid, &status, 0) == -1 && errno == EINTR)
		;
	h->reaped = true;
	h->end.timed_out = h->killed;
	h->end.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	h->end.exit_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	h->end.good = h->end.exit_code == 0;
	h->end.ms = hook_now_ms() - h->begun_ms;
	return true;
}

bool hook_ended(struct hook *h, struct hook_end *end)
{
	if (!h->reaped && !hook_reap(h, WNOHANG)) {
		if (!h->killed && hook_now_ms() >= h->until_ms)
			hook_kill(h);
		if (!hook_reap(h, WNOHANG))
			return false;
	}
	*end = h->end;
	return true;
}

void hook_destroy(struct hook *h)
{
	if (h == NULL)
		return;
	if (!h->reaped) {
		hook_kill(h);
		(void)hook_reap(h, 0);
	}
	if (h->pidfd != -1)
		(void)sys_close(h->pidfd);
	free(h);
}

void hook_say(const struct hook_end *end, struct buf *out)
{
	if (end->timed_out)
		buf_str(out, "ended, as it took too long: ");
	else if (end->exit_signal != 0)
		buf_printf(out, "signal %d after ", end->exit_signal);
	else
		buf_printf(out, "exit %d after ", end->exit_code);
	str_duration(out, end->ms);
}
