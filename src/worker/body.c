/* What a worker has before it has threads: name, lock, slot table, guardian. */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/sys.h"
#include "worker/work.h"

static enum status make_token(char out[SLOTS_TOKEN_SIZE], struct error *e)
{
	uint8_t random[(SLOTS_TOKEN_SIZE - 1) / 2];
	struct buf hex = {0};
	enum status st;

	sys_random(random, sizeof(random));
	str_hex(&hex, random, sizeof(random));
	st = buf_check(&hex, e);
	if (st == ST_OK)
		memcpy(out, hex.data, SLOTS_TOKEN_SIZE);
	buf_free(&hex);
	return st;
}

static void lock_name(const struct worker_body *b, char out[64])
{
	(void)snprintf(out, 64, "worker-%s", b->token);
}

static enum status make_places(struct worker_body *b, int slots, struct error *e)
{
	struct buf path = {0};
	char name[64];
	enum status st;

	lock_name(b, name);
	st = state_lock(b->state, name, &b->lock_fd, e);
	if (st == ST_OK)
		st = state_mkdir(b->state, &path, e, "workers/%s/spool", b->token);
	if (st == ST_OK) {
		state_path(b->state, &path, "workers/%s", b->token);
		b->dir = path.failed ? NULL : mem_dup(path.data, path.len);
		buf_str(&path, "/cgroup");
		b->cgroup_note = path.failed ? NULL : mem_dup(path.data, path.len);
		state_path(b->state, &path, "workers/%s/slots", b->token);
		st = b->dir == NULL || b->cgroup_note == NULL
		    ? error_set(e, ST_NO_MEMORY, "out of memory") : buf_check(&path, e);
	}
	if (st == ST_OK)
		st = slots_create(path.data, slots, b->token, &b->slots, e);
	buf_free(&path);
	return st;
}

/* A folder of this worker whose name tasks get, wherever they change to. */
static enum status absolute_dir(struct worker_body *b, const char *leaf, struct buf *out,
    struct error *e)
{
	char cwd[PATH_MAX];

	if (b->dir[0] != '/') {
		if (getcwd(cwd, sizeof(cwd)) == NULL)
			return error_os(e, errno, "cannot tell the current folder");
		buf_printf(out, "%s/", cwd);
	}
	buf_printf(out, "%s/%s", b->dir, leaf);
	if (buf_check(out, e) != ST_OK)
		return ST_NO_MEMORY;
	if (sys_mkdir(out->data, 0700) == -1)
		return error_os(e, errno, "cannot make the folder %s", out->data);
	return ST_OK;
}

/* Bookkeeping that wakes up waits for its turn instead of taking the CPU from a
 * command or from the guardian that starts the next one; its share stays the same.
 * For threads that are made from here on, and not for the guardian. */
static void stand_back(void)
{
	const struct sched_param none = {0};

	/* Without it all is as right, and some per cent slower. Another policy is the
	 * user's. */
	if (sched_getscheduler(0) == SCHED_OTHER)
		(void)sched_setscheduler(0, SCHED_BATCH, &none);
}

static enum status start_guardian(struct worker_body *b, const int *keep_fds, int n_keep_fds,
    int slots, int64_t log_cap_bytes, struct error *e)
{
	int keep[8];
	struct buf spool = {0};
	struct buf control = {0};
	struct buf scratch = {0};
	struct guardian_options go = {.lanes = slots, .slots = b->slots, .err_cap = log_cap_bytes,
	    .keep_fds = keep, .cgroup_note = b->cgroup_note};
	enum status st;
	int i;

	for (i = 0; i < n_keep_fds && i < 7; i++)
		keep[i] = keep_fds[i];
	keep[i] = b->lock_fd;
	go.n_keep_fds = i + 1;
	buf_printf(&spool, "%s/spool", b->dir);
	st = buf_check(&spool, e);
	if (st == ST_OK)
		st = absolute_dir(b, "control", &control, e);
	if (st == ST_OK)
		st = absolute_dir(b, "scratch", &scratch, e);
	if (st == ST_OK) {
		go.spool_dir = spool.data;
		go.control_dir = control.data;
		go.scratch_dir = scratch.data;
		st = guardian_start(&go, &b->guardian, e);
		stand_back();
	}
	if (st == ST_OK)
		st = control_attach(control.data, slots, &b->control, e);
	buf_free(&spool);
	buf_free(&control);
	buf_free(&scratch);
	return st;
}

enum status worker_body_create(struct state *state, const int *keep_fds, int n_keep_fds,
    int slots, int64_t log_cap_bytes, struct worker_body **out, struct error *e)
{
	struct worker_body *b = mem_zero(sizeof(*b));
	enum status st;

	if (b == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	b->state = state;
	b->lock_fd = -1;
	st = make_token(b->token, e);
	if (st == ST_OK)
		st = make_places(b, slots, e);
	if (st == ST_OK)
		st = start_guardian(b, keep_fds, n_keep_fds, slots, log_cap_bytes, e);
	if (st != ST_OK) {
		worker_body_destroy(b);
		return st;
	}
	*out = b;
	return ST_OK;
}

void worker_body_destroy(struct worker_body *b)
{
	struct error e;
	char name[64];

	if (b == NULL)
		return;
	guardian_stop(b->guardian);
	control_destroy(b->control);
	slots_close(b->slots);
	if (b->cgroup_note != NULL)
		cgroup_remove(b->cgroup_note);
	if (b->dir != NULL && file_remove_tree(b->dir, &e) != ST_OK)
		log_line(LOG_WARN, "%s", e.text);
	if (b->lock_fd != -1) {
		lock_name(b, name);
		state_lock_remove(b->state, name);
		(void)sys_close(b->lock_fd);
	}
	free(b->dir);
	free(b->cgroup_note);
	free(b);
}
