#include "worker/task_env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"
#include "worker/control.h"
#include "worker/procs.h"
#include "worker/request.h"

enum {
	OWN_WORKER, OWN_ROW, OWN_EPOCH, OWN_SLOT, OWN_OFFSET, OWN_DEADLINE,
	OWN_CONTROL, OWN_NOTICE, OWN_SCRATCH, /* paths */
	OWN_OUTER, OWN_COUNT,
	OWN_PATHS = OWN_CONTROL,
};

struct name {
	char *text; /* "NAME=..." */
	size_t len;       /* without the '=' */
};

struct task_env {
	struct name *base; /* the process's environment without the own names */
	size_t n_base;
	struct name *added;
	size_t cap_added;
	char **argv;
	size_t cap_argv;
	char **envp;
	size_t cap_envp;
	struct buf outer; /* the variable for an ebb in an ebb; empty when there is none */
	char own[OWN_PATHS][80];
	struct buf path[OWN_OUTER - OWN_PATHS];
};

static const char *const tag_names[OWN_COUNT] = {
	[OWN_WORKER] = TASK_ENV_WORKER,
	[OWN_ROW] = TASK_ENV_ROW,
	[OWN_EPOCH] = TASK_ENV_EPOCH,
	[OWN_SLOT] = TASK_ENV_SLOT,
	[OWN_OFFSET] = "EBB_OFFSET",
	[OWN_DEADLINE] = "EBB_DEADLINE",
	[OWN_CONTROL] = "EBB_CONTROL",
	[OWN_NOTICE] = "EBB_NOTICE_FILE",
	[OWN_SCRATCH] = "EBB_SCRATCH",
	[OWN_OUTER] = TASK_ENV_OUTER,
};

static size_t name_len(const char *text)
{
	return strcspn(text, "=");
}

static bool name_equal(const struct name *a, const struct name *b)
{
	return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

static bool is_own(const struct name *n)
{
	size_t i;

	if (n->len < 4 || memcmp(n->text, "EBB_", 4) != 0)
		return false;
	for (i = 0; i < OWN_COUNT; i++)
		if (strlen(tag_names[i]) == n->len && memcmp(tag_names[i], n->text, n->len) == 0)
			return true;
	return false;
}

void task_env_outer(struct buf *out)
{
	const char *worker = getenv(TASK_ENV_WORKER);
	const char *row = getenv(TASK_ENV_ROW);
	const char *epoch = getenv(TASK_ENV_EPOCH);
	const char *slot = getenv(TASK_ENV_SLOT);
	const char *outer = getenv(TASK_ENV_OUTER);

	if (worker == NULL || row == NULL || epoch == NULL || slot == NULL)
		return;
	buf_printf(out, TASK_ENV_OUTER "=%s/%s/%s/%s", worker, row, epoch, slot);
	if (outer != NULL)
		buf_printf(out, " %s", outer);
}

struct task_env *task_env_create(const char *token)
{
	struct task_env *t = mem_zero(sizeof(*t));
	size_t n = 0;
	size_t i;

	if (t == NULL)
		return NULL;
	while (environ != NULL && environ[n] != NULL)
		n++;
	t->base = mem_zero((n + 1) * sizeof(*t->base));
	task_env_outer(&t->outer);
	if (t->base == NULL || t->outer.failed) {
		task_env_destroy(t);
		return NULL;
	}
	for (i = 0; i < n; i++) {
		struct name one = {.text = environ[i], .len = name_len(environ[i])};

		if (!is_own(&one))
			t->base[t->n_base++] = one;
	}
	(void)snprintf(t->own[OWN_WORKER], sizeof(t->own[0]), TASK_ENV_WORKER "=%s", token);
	return t;
}

void task_env_destroy(struct task_env *t)
{
	size_t i;

	if (t == NULL)
		return;
	free(t->base);
	free(t->added);
	free(t->argv);
	free(t->envp);
	for (i = 0; i < OWN_OUTER - OWN_PATHS; i++)
		buf_free(&t->path[i]);
	buf_free(&t->outer);
	free(t);
}

/* Makes room for n pointers and two more. */
static bool room(char ***array, size_t *cap, size_t n)
{
	void *p = *array;

	if (mem_grow(&p, cap, n + 2, sizeof(**array), NULL) != ST_OK)
		return false;
	*array = p;
	return true;
}

static bool is_replaced(const struct task_env *t, size_t n_added, const struct name *base)
{
	size_t i;

	for (i = 0; i < n_added; i++)
		if (name_equal(&t->added[i], base))
			return true;
	return false;
}

/* p: the first of the request's variables. */
static bool build_envp(struct task_env *t, const struct request *r, char *p)
{
	size_t n_added = 0;
	size_t n = 0;
	void *added = t->added;
	size_t i;

	if (!room(&t->envp, &t->cap_envp, OWN_COUNT + r->head.envc + t->n_base) ||
	    mem_grow(&added, &t->cap_added, r->head.envc + 1, sizeof(*t->added), NULL) != ST_OK)
		return false;
	t->added = added;
	for (i = 0; i < OWN_PATHS; i++)
		t->envp[n++] = t->own[i];
	for (i = 0; i < OWN_OUTER - OWN_PATHS; i++)
		t->envp[n++] = t->path[i].data;
	if (t->outer.len > 0)
		t->envp[n++] = t->outer.data;
	for (i = 0; i < r->head.envc; i++, p += strlen(p) + 1) {
		struct name one = {.text = p, .len = name_len(p)};

		if (is_own(&one))
			continue;
		t->added[n_added++] = one;
		t->envp[n++] = p;
	}
	for (i = 0; i < t->n_base; i++)
		if (!is_replaced(t, n_added, &t->base[i]))
			t->envp[n++] = t->base[i].text;
	t->envp[n] = NULL;
	return true;
}

static bool set_path(struct task_env *t, int own, const char *path)
{
	struct buf *b = &t->path[own - OWN_PATHS];

	buf_clear(b);
	buf_printf(b, "%s=%s", tag_names[own], path);
	return !b->failed;
}

static bool set_paths(struct task_env *t, int lane, const struct control *control,
    const char *scratch_dir)
{
	struct buf scratch = {0};
	bool ok;

	if (scratch_dir != NULL)
		buf_printf(&scratch, "%s/%d", scratch_dir, lane);
	ok = !scratch.failed &&
	    set_path(t, OWN_CONTROL, control == NULL ? "" : control_page_path(control, lane)) &&
	    set_path(t, OWN_NOTICE, control == NULL ? "" : control_notice_path(control, lane)) &&
	    set_path(t, OWN_SCRATCH, scratch.data == NULL ? "" : scratch.data);
	buf_free(&scratch);
	return ok;
}

/* Unix seconds at which the time-out ends it. */
static void set_deadline(struct task_env *t, int64_t timeout_ms)
{
	if (timeout_ms > 0)
		(void)snprintf(t->own[OWN_DEADLINE], sizeof(t->own[0]), "EBB_DEADLINE=%lld",
		    (long long)((sys_wall_ns() / 1000000 + timeout_ms) / 1000));
	else
		(void)snprintf(t->own[OWN_DEADLINE], sizeof(t->own[0]), "EBB_DEADLINE=");
}

bool task_env_build(struct task_env *t, const struct request *r, int lane,
    const struct control *control, const char *scratch_dir)
{
	char *p = request_args(r);
	size_t i;

	if (!room(&t->argv, &t->cap_argv, r->head.argc))
		return false;
	for (i = 0; i < r->head.argc; i++, p += strlen(p) + 1)
		t->argv[i + 1] = p;
	t->argv[i + 1] = NULL;
	(void)snprintf(t->own[OWN_ROW], sizeof(t->own[0]), TASK_ENV_ROW "=%lld",
	    (long long)r->head.row);
	(void)snprintf(t->own[OWN_EPOCH], sizeof(t->own[0]), TASK_ENV_EPOCH "=%lld",
	    (long long)r->head.epoch);
	(void)snprintf(t->own[OWN_SLOT], sizeof(t->own[0]), TASK_ENV_SLOT "=%d", lane);
	(void)snprintf(t->own[OWN_OFFSET], sizeof(t->own[0]), "EBB_OFFSET=%lld",
	    (long long)r->head.offset);
	set_deadline(t, r->head.timeout_ms);
	return set_paths(t, lane, control, scratch_dir) && build_envp(t, r, p);
}

char **task_env_argv(struct task_env *t)
{
	return t->argv + 1;
}

char **task_env_envp(struct task_env *t)
{
	return t->envp;
}
