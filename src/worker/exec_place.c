#include "worker/exec_place.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sys.h"
#include "worker/control.h"
#include "worker/procs.h"
#include "worker/task_env.h"

enum { EXEC_EPOCH = 1, MADE_MAX = 32 };

struct exec_place {
	char *dir;
	struct control *control;
	char *made[MADE_MAX]; /* "NAME=value", our own */
	size_t n_made;
	char **env;
};

/* Not ours to hand down: those of an ebb around this one. */
static const char *const outer_names[] = {TASK_ENV_WORKER, TASK_ENV_ROW, TASK_ENV_OUTER};

static enum status make_folder(struct exec_place *p, struct error *e)
{
	const char *tmp = getenv("TMPDIR");
	char *base = realpath(tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp", NULL);
	struct buf path = {0};
	uint64_t token;
	enum status st;

	if (base == NULL)
		return error_os(e, errno, "cannot use %s for temporary files ($TMPDIR)",
		    tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp");
	sys_random(&token, sizeof(token));
	buf_printf(&path, "%s/ebb-exec.%016llx", strcmp(base, "/") == 0 ? "" : base,
	    (unsigned long long)token);
	free(base);
	st = buf_check(&path, e);
	if (st != ST_OK)
		return st;
	if (sys_mkdir(path.data, 0700) == -1) {
		st = error_os(e, errno, "cannot create %s ($TMPDIR)", path.data);
		buf_free(&path);
		return st;
	}
	p->dir = path.data;
	return ST_OK;
}

static enum status add_made(struct exec_place *p, const char *name, const char *value,
    const char *end, struct error *e)
{
	struct buf b = {0};

	buf_printf(&b, "%s=%s%s", name, value, end);
	p->made[p->n_made] = b.failed ? NULL : b.data;
	if (p->made[p->n_made] == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	p->n_made++;
	return ST_OK;
}

static enum status make_variables(struct exec_place *p, struct error *e)
{
	const struct {
		const char *name;
		const char *value;
		const char *end;
	} vars[] = {
		{"EBB_CONTRACT", "1", ""}, {"EBB_EPOCH", "1", ""}, {"EBB_ATTEMPT", "1", ""},
		{"EBB_FAILURES", "0", ""}, {"EBB_INTERRUPTIONS", "0", ""}, {"EBB_INDEX", "0", ""},
		{"EBB_COUNT", "1", ""}, {"EBB_SLOT", "0", ""}, {"EBB_OFFSET", "0", ""},
		{"EBB_RUN", "", ""}, {"EBB_STAGE", "", ""}, {"EBB_SHARD", "", ""},
		{"EBB_INPUT", "", ""}, {"EBB_OUTPUT", "", ""}, {"EBB_CHECKPOINT", "", ""},
		{"EBB_DEADLINE", "", ""}, {"EBB_SCRATCH", p->dir, "/scratch"},
		{"EBB_CONTROL", control_page_path(p->control, 0), ""},
		{"EBB_NOTICE_FILE", control_notice_path(p->control, 0), ""},
	};
	struct buf outer = {0};
	enum status st = ST_OK;
	size_t i;

	for (i = 0; st == ST_OK && i < sizeof(vars) / sizeof(vars[0]); i++)
		st = add_made(p, vars[i].name, vars[i].value, vars[i].end, e);
	task_env_outer(&outer);
	if (st == ST_OK)
		st = buf_check(&outer, e);
	if (st == ST_OK && outer.len > 0)
		p->made[p->n_made++] = outer.data;
	else
		buf_free(&outer);
	return st;
}

static bool place_same_name(const char *text, const char *name, size_t len)
{
	return strncmp(text, name, len) == 0 && text[len] == '=';
}

/* Is that variable of the process's environment not handed down as it is? */
static bool place_replaces(const struct exec_place *p, const char *text)
{
	size_t i;

	if (strncmp(text, "EBB_", 4) != 0)
		return false;
	for (i = 0; i < p->n_made; i++)
		if (place_same_name(text, p->made[i], strcspn(p->made[i], "=")))
			return true;
	for (i = 0; i < sizeof(outer_names) / sizeof(outer_names[0]); i++)
		if (place_same_name(text, outer_names[i], strlen(outer_names[i])))
			return true;
	return false;
}

static enum status make_env(struct exec_place *p, struct error *e)
{
	size_t n = 0;
	size_t i;

	while (environ != NULL && environ[n] != NULL)
		n++;
	p->env = mem_zero((n + MADE_MAX + 1) * sizeof(*p->env));
	if (p->env == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	memcpy(p->env, p->made, p->n_made * sizeof(*p->env));
	n = p->n_made;
	for (i = 0; environ != NULL && environ[i] != NULL; i++)
		if (!place_replaces(p, environ[i]))
			p->env[n++] = environ[i];
	return ST_OK;
}

static enum status make_scratch(const struct exec_place *p, struct error *e)
{
	struct buf path = {0};
	enum status st;

	buf_printf(&path, "%s/scratch", p->dir);
	st = buf_check(&path, e);
	if (st == ST_OK && sys_mkdir(path.data, 0700) == -1)
		st = error_os(e, errno, "cannot create %s", path.data);
	buf_free(&path);
	return st;
}

enum status exec_place_create(struct exec_place **out, struct error *e)
{
	const struct control_begin begin = {.epoch = EXEC_EPOCH};
	struct exec_place *p = mem_zero(sizeof(*p));
	enum status st;

	if (p == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = make_folder(p, e);
	if (st == ST_OK)
		st = make_scratch(p, e);
	if (st == ST_OK)
		st = control_create(p->dir, 1, &p->control, e);
	if (st == ST_OK)
		st = control_reset(p->control, 0, &begin, e);
	if (st == ST_OK)
		st = make_variables(p, e);
	if (st == ST_OK)
		st = make_env(p, e);
	if (st != ST_OK) {
		exec_place_destroy(p);
		return st;
	}
	*out = p;
	return ST_OK;
}

void exec_place_destroy(struct exec_place *p)
{
	struct error e;
	size_t i;

	if (p == NULL)
		return;
	control_destroy(p->control);
	if (p->dir != NULL && file_remove_tree(p->dir, &e) != ST_OK)
		log_line(LOG_WARN, "%s", e.text);
	for (i = 0; i < p->n_made; i++)
		free(p->made[i]);
	free(p->env);
	free(p->dir);
	free(p);
}

struct control *exec_place_control(struct exec_place *p)
{
	return p->control;
}

char *const *exec_place_env(const struct exec_place *p)
{
	return p->env;
}
