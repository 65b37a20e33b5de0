#include "chaos/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"
#include "worker/spawn.h"

static void words_take(struct words *w, char *take_word)
{
	void *list = w->list;

	if (take_word == NULL || mem_grow(&list, &w->cap, w->n + 2, sizeof(*w->list), NULL) != ST_OK) {
		free(take_word);
		w->failed = true;
		return;
	}
	w->list = list;
	w->list[w->n++] = take_word;
	w->list[w->n] = NULL;
}

void words_add(struct words *w, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n >= 0)
		text = mem_zero((size_t)n + 1);
	if (text != NULL) {
		va_start(ap, fmt);
		(void)vsnprintf(text, (size_t)n + 1, fmt, ap);
		va_end(ap);
	}
	words_take(w, text);
}

void words_free(struct words *w)
{
	size_t i;

	for (i = 0; i < w->n; i++)
		free(w->list[i]);
	free(w->list);
	memset(w, 0, sizeof(*w));
}

static bool child_is_same_variable(const char *a, const char *b)
{
	size_t len = strcspn(a, "=");

	return strncmp(a, b, len) == 0 && (b[len] == '=' || b[len] == '\0');
}

/* Variables of the caller's that are not the child's. */
static bool child_is_dropped(const char *variable, const struct words *env)
{
	static const char *const never[] = {
		"AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "GCE_METADATA_HOST",
		"AZURE_POD_IDENTITY_AUTHORITY_HOST", "EBB_STATE", "EBB_GRACE",
	};
	size_t i;

	for (i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
		if (child_is_same_variable(never[i], variable))
			return true;
	}
	for (i = 0; i < env->n; i++) {
		if (child_is_same_variable(env->list[i], variable))
			return true;
	}
	return false;
}

/* One block to free; its texts are borrowed. */
static char **child_environment(const struct words *env)
{
	size_t n_own = 0;
	size_t n = 0;
	char **out;
	size_t i;

	while (environ[n_own] != NULL)
		n_own++;
	out = mem_zero((n_own + env->n + 1) * sizeof(*out));
	if (out == NULL)
		return NULL;
	for (i = 0; i < n_own; i++) {
		if (!child_is_dropped(environ[i], env))
			out[n++] = environ[i];
	}
	for (i = 0; i < env->n; i++)
		out[n++] = env->list[i];
	return out;
}

/* A place before the first, for spawn_child; one block to free. */
static char **child_arguments(const struct child *c, char *name)
{
	char **out = mem_zero((c->args->n + 3) * sizeof(*out));
	size_t i;

	if (out == NULL)
		return NULL;
	out[1] = name;
	for (i = 0; i < c->args->n; i++)
		out[i + 2] = c->args->list[i];
	return out;
}

static enum status child_spawn(const struct spawn *s, int32_t *pid, struct error *e)
{
	struct spawner *sp = spawner_create(NULL);
	enum spawn_result r;
	sigset_t all;
	sigset_t before;
	int err;

	if (sp == NULL)
		return error_os(e, errno, "cannot start a process");
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	r = spawn_child(sp, s, pid);
	err = errno;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	spawner_destroy(sp);
	return r == SPAWN_OK ? ST_OK : error_os(e, err, "cannot start %s", s->path);
}

enum status child_start(const struct child *c, int32_t *pid, struct error *e)
{
	char name[] = "ebb";
	char *path = mem_dup(c->program, strlen(c->program));
	char **argv = child_arguments(c, name);
	char **env = child_environment(c->env);
	int in = sys_open("/dev/null", O_RDONLY, 0);
	int out = sys_open(c->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	enum status st = ST_OK;

	if (path == NULL || argv == NULL || env == NULL || c->args->failed || c->env->failed)
		st = error_set(e, ST_NO_MEMORY, "out of memory");
	else if (in == -1 || out == -1)
		st = error_os(e, errno, "cannot open %s", in == -1 ? "/dev/null" : c->log);
	if (st == ST_OK) {
		struct spawn s = {.path = path, .argv = argv + 1, .envp = env, .in = in, .out = out,
		    .err = out};

		st = child_spawn(&s, pid, e);
	}
	if (in != -1)
		(void)sys_close(in);
	if (out != -1)
		(void)sys_close(out);
	free(path);
	free(argv);
	free(env);
	return st;
}
