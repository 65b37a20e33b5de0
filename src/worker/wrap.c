/* Between a child's end and the ledger: what its end means, its stderr's place
 * in the log, and its output's bytes made durable and summed up. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/copy.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/sys.h"
#include "worker/contract.h"
#include "worker/input.h"
#include "worker/out_folder.h"
#include "worker/save.h"
#include "worker/work.h"

enum { LOG_APPEND_MAX = 16 << 20 };

int64_t wrap_oom_kills(void)
{
	int64_t n = file_number("/proc/vmstat", "\noom_kill ");

	return n < 0 ? 0 : n;
}

/* The kernel says so of the attempt's cgroup. Without one it is a guess: ended by
 * the signal, and the kernel has killed somebody. */
static bool killed_for_memory(struct attempt *a)
{
	int64_t before = a->w->oom_kills;

	if (a->end.memory.limit > 0)
		return a->end.memory.kills > 0;
	if (a->end.exit_signal != SIGKILL)
		return false;
	a->w->oom_kills = wrap_oom_kills();
	return a->w->oom_kills > before;
}

static void note_memory(struct attempt *a)
{
	const struct cgroup_use *use = &a->end.memory;
	struct buf text = {0};

	if (use->limit == 0)
		return;
	buf_str(&text, use->own ? "killed at its memory limit of "
	    : "killed because the machine or a cgroup above it had no more memory, below its own "
	    "limit of ");
	str_size(&text, use->limit);
	if (use->peak > 0) {
		buf_str(&text, " (peak ");
		str_size(&text, use->peak);
		buf_char(&text, ')');
	}
	if (!text.failed)
		(void)snprintf(a->rec.note, sizeof(a->rec.note), "%.250s", text.data);
	buf_free(&text);
}

static void classify_start_failure(struct attempt *a)
{
	struct error e;

	const char *program = a->g->launch.program == NULL ? "the command"
	    : a->g->launch.program;

	if (a->end.fate == GUARDIAN_EXEC_FAILED && a->end.os_errno == ENOENT)
		(void)error_set(&e, ST_NOT_FOUND, "%s could not be run: it is gone, or the "
		    "interpreter in its first line (#!) is not there", program);
	else
		(void)error_os(&e, a->end.os_errno, "%s could not be %s", program,
		    a->end.fate == GUARDIAN_EXEC_FAILED ? "run" : "started");
	(void)snprintf(a->rec.note, sizeof(a->rec.note), "%.250s", e.text);
	a->rec.cause = CAUSE_INFRASTRUCTURE;
	if (a->end.fate == GUARDIAN_EXEC_FAILED && !a->g->success_seen)
		a->no_retry = true;
	/* Permissions do not change by waiting. */
	if (status_of_errno(a->end.os_errno) == ST_DENIED)
		a->no_retry = true;
	if (a->end.os_errno == E2BIG) {
		a->rec.cause = CAUSE_FAILED;
		a->no_retry = true;
	}
}

/* An end of its own, or by a signal. */
static void classify_exit(struct attempt *a)
{
	const struct guardian_end *end = &a->end;

	a->rec.cause = contract_cause(a);
	if (a->stopped)
		return;
	if (end->exit_code == 0) {
		a->rec.cause = CAUSE_DONE;
	} else if (end->exit_code == 126 || end->exit_code == 127) {
		a->rec.cause = CAUSE_INFRASTRUCTURE;
		a->no_retry = !a->g->success_seen;
	} else if (killed_for_memory(a)) {
		a->rec.cause = CAUSE_OUT_OF_MEMORY;
		note_memory(a);
	}
}

void wrap_classify(struct attempt *a)
{
	const struct guardian_end *end = &a->end;
	struct ledger_attempt *r = &a->rec;

	r->slot = end->lane + 1;
	r->exit_code = end->exit_code;
	r->exit_signal = end->exit_signal;
	r->started_wall_ms = (sys_wall_ns() - (sys_boot_ns() - end->started_boot_ns)) / 1000000;
	if (a->first_started_ns != 0)
		r->started_wall_ms -= (end->started_boot_ns - a->first_started_ns) / 1000000;
	r->cpu_ms = (end->cpu_us + a->batch_cpu_us) / 1000;
	r->max_rss_kib = end->max_rss_kib;
	r->out_bytes = end->out_bytes;
	r->err_bytes = end->err_bytes;
	/* Those are known and make no others suspect. */
	a->w->oom_kills += end->memory.kills;
	if (end->fate != GUARDIAN_EXITED)
		classify_start_failure(a);
	else if (end->fenced)
		r->cause = CAUSE_LOST;
	else if (end->timed_out)
		r->cause = CAUSE_TIMED_OUT;
	else
		classify_exit(a);
}

bool wrap_needed(const struct attempt *a)
{
	return a->pump != NULL || a->end.trash != 0 || a->g->spec->shard == SPEC_ALL ||
	    a->end.err_bytes > 0 || a->end.out_bytes > 0 || a->own_file ||
	    attempt_fills_folder(a) || a->rec.cause == CAUSE_FAILED;
}

/* The last line that says something, for the summary. */
static void note_last_line(struct attempt *a, const char *data, size_t len)
{
	size_t end = len;
	size_t start;
	struct buf shown = {0};

	if (a->rec.cause == CAUSE_OUT_OF_MEMORY && a->end.memory.limit > 0)
		return; /* it is known better */
	while (end > 0 && (data[end - 1] == '\n' || data[end - 1] == '\r' || data[end - 1] == ' '))
		end--;
	start = end;
	while (start > 0 && data[start - 1] != '\n' && end - start < 200)
		start--;
	str_display(&shown, data + start, end - start, sizeof(a->rec.note) - 8);
	if (!shown.failed && shown.len > 0)
		(void)snprintf(a->rec.note, sizeof(a->rec.note), "%s", shown.data);
	buf_free(&shown);
}

static void spool_path(const struct attempt *a, const char *suffix, struct buf *out)
{
	buf_printf(out, "%s/spool/%llu.%s", a->w->body->dir, (unsigned long long)a->id, suffix);
}

/* runs/<run>/logs/<row>/<epoch>.err */
static enum status log_path(const struct attempt *a, struct buf *out, struct error *e)
{
	enum status st = state_mkdir(a->w->opt->state, out, e, "runs/%s/logs/%lld",
	    a->w->opt->run.name, (long long)a->shard.row);

	if (st == ST_OK) {
		buf_printf(out, "/%lld.err", (long long)a->shard.s.epoch);
		st = buf_check(out, e);
	}
	return st;
}

/* Many programs clean up after a failed write, so that there is room again when
 * one looks: what they said counts too. */
static void note_full_disk(struct attempt *a, const char *data, size_t len)
{
	static const char *const words[] = {"No space left on device", "Disk quota exceeded"};
	size_t i;

	for (i = 0; i < 2; i++) {
		if (memmem(data, len, words[i], strlen(words[i])) != NULL)
			a->said_full = true;
	}
}

static void read_log(struct attempt *a, const char *path)
{
	enum { CHUNK = 65536 };
	char *chunk = sys_alloc(CHUNK);
	int fd = chunk == NULL ? -1 : sys_open(path, O_RDONLY, 0);
	ssize_t n;

	while (fd != -1 && (n = sys_read(fd, chunk, CHUNK)) > 0) {
		if (a->w->opt->show_stderr && !log_is_json())
			log_raw(chunk, (size_t)n);
		note_last_line(a, chunk, (size_t)n);
		note_full_disk(a, chunk, (size_t)n);
	}
	if (fd != -1)
		(void)sys_close(fd);
	free(chunk);
}

static void warn_of_log(const struct attempt *a)
{
	struct buf name = {0};
	struct buf shown = {0};

	attempt_name(a, &name);
	if (!name.failed)
		str_display(&shown, name.data, name.len, 200);
	log_line(LOG_WARN, "the log of %s could not be kept", shown.data == NULL ? "a shard" :
	    shown.data);
	buf_free(&name);
	buf_free(&shown);
}

/* Of a batch, behind those before it, as far as the cap allows. */
static enum status append_log(const struct buf *from, const struct buf *to, struct error *e)
{
	struct stat sb;
	enum status st = ST_OK;
	int fd = sys_open(to->data, O_WRONLY | O_APPEND | O_NOFOLLOW, 0);

	if (fd == -1)
		return error_os(e, errno, "cannot open %s", to->data);
	if (stat(from->data, &sb) == 0 && lseek(fd, 0, SEEK_END) < LOG_APPEND_MAX)
		st = copy_bytes(from->data, sb.st_size, fd, to->data, e);
	(void)sys_close(fd);
	(void)!sys_unlink(from->data);
	return st;
}

/* A log that cannot be kept is said so and costs nothing else. */
static void keep_stderr(struct attempt *a)
{
	struct buf from = {0};
	struct buf to = {0};
	struct error e;
	enum status st;

	spool_path(a, "err", &from);
	if (from.failed)
		return;
	read_log(a, from.data);
	st = log_path(a, &to, &e);
	if (st == ST_OK && a->has_log)
		st = append_log(&from, &to, &e);
	else if (st == ST_OK && sys_rename(from.data, to.data) == -1)
		st = ST_DENIED;
	a->has_log = true;
	if (st != ST_OK) {
		warn_of_log(a);
		(void)!sys_unlink(from.data);
	}
	buf_free(&from);
	buf_free(&to);
}

/* Output that was spooled gets its private name. */
static enum status adopt_spool(struct attempt *a, struct error *e)
{
	struct buf from = {0};
	enum status st;

	spool_path(a, "out", &from);
	st = buf_check(&from, e);
	if (st == ST_OK && sys_rename(from.data, a->private_path) == -1)
		st = error_os(e, errno, "cannot rename %s to %s", from.data, a->private_path);
	buf_free(&from);
	return st;
}

static void drop_output(struct attempt *a)
{
	struct buf from = {0};
	struct error e;

	if (attempt_fills_folder(a)) {
		out_folder_remove(a);
	} else if (a->own_file) {
		/* The first part of it may be what the next attempt goes on from. */
		const char *own = a->own_part != NULL ? a->own_part : a->private_path;

		if (!a->saved && store_discard(a->w->store, own, &e) != ST_OK)
			log_line(LOG_WARN, "%s", e.text);
		if (a->own_part != NULL && store_discard(a->w->store, a->private_path, &e) != ST_OK)
			log_line(LOG_WARN, "%s", e.text);
	} else if (a->end.out_bytes > 0) {
		spool_path(a, "out", &from);
		if (!from.failed)
			(void)!sys_unlink(from.data);
		buf_free(&from);
	}
}

static enum status seal_output(struct attempt *a, struct error *e)
{
	const char *final = a->shard.final == NULL ? "" : a->shard.final;
	struct store_sum sum;
	char *path;
	enum status st = ST_OK;

	if (attempt_fills_folder(a))
		return out_folder_seal(a, e);
	if (a->shard.final == NULL && a->end.out_bytes == 0 && a->from.n_files == 0) {
		drop_output(a);
		return ST_OK;
	}
	if (!a->own_file)
		st = adopt_spool(a, e);
	else
		st = save_join(a, e);
	if (st == ST_OK)
		st = store_seal(a->w->store, a->private_path, &sum, e);
	if (st != ST_OK)
		return st;
	st = attempt_room(a, 1, e);
	path = st == ST_OK ? mem_dup(a->private_path, strlen(a->private_path)) : NULL;
	if (st == ST_OK && path == NULL)
		st = error_set(e, ST_NO_MEMORY, "out of memory");
	if (st == ST_OK)
		st = attempt_add_file(a, &path, final, &sum, e);
	free(path);
	return st;
}

/* A full disk makes programs fail in their own words; the file systems are
 * asked instead. */
static void find_full_disk(struct attempt *a)
{
	const char *tmp = getenv("TMPDIR");
	const char *places[] = {
		".", tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp", state_dir(a->w->opt->state),
		attempt_fills_folder(a) ? a->private_path
		    : a->shard.final == NULL ? "." : a->shard.final,
	};
	size_t i;

	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (!file_has_room(places[i])) {
			a->rec.cause = CAUSE_INFRASTRUCTURE;
			(void)snprintf(a->rec.note, sizeof(a->rec.note),
			    "disk full: no room on the file system of %.200s", places[i]);
			return;
		}
	}
	if (a->said_full)
		a->rec.cause = CAUSE_INFRASTRUCTURE;
}

void wrap_keep_stderr(struct attempt *a)
{
	if (a->end.err_bytes > 0)
		keep_stderr(a);
}

static void fail_infrastructure(struct attempt *a, const struct error *e)
{
	a->rec.cause = CAUSE_INFRASTRUCTURE;
	(void)snprintf(a->rec.note, sizeof(a->rec.note), "%.250s", e->text);
}

/* What it left in its scratch folder. */
static void remove_trash(const struct attempt *a)
{
	struct buf path = {0};
	struct error e;

	if (a->end.trash == 0)
		return;
	buf_printf(&path, "%s/scratch/trash.%u", a->w->body->dir, a->end.trash);
	if (buf_check(&path, &e) != ST_OK || file_remove_tree(path.data, &e) != ST_OK)
		log_line(LOG_WARN, "%s", e.text);
	buf_free(&path);
}

void wrap_run(struct attempt *a)
{
	struct error e;
	bool checked = a->pump != NULL || a->shard.final != NULL;
	enum status st = pump_finish(a->pump, &e);

	a->pump = NULL;
	remove_trash(a);
	save_drop_folder(a);
	if (a->end.err_bytes > 0)
		keep_stderr(a);
	if (a->rec.cause == CAUSE_DONE && st != ST_OK) {
		fail_infrastructure(a, &e);
		/* Its range was cut from another version. */
		a->no_retry = st == ST_CORRUPT;
	}
	a->after = input_version(a->g, a->shard.item, a->shard.item_len);
	if (a->rec.cause == CAUSE_DONE && checked && a->shard.part < 0 &&
	    a->shard.version.exists &&
	    !file_version_equal(&a->after, &a->shard.version)) {
		a->input_changed = true;
		a->rec.cause = CAUSE_FAILED;
		(void)snprintf(a->rec.note, sizeof(a->rec.note),
		    "the input changed while it was worked on");
	}
	if (a->rec.cause == CAUSE_DONE) {
		st = seal_output(a, &e);
		if (st != ST_OK)
			fail_infrastructure(a, &e);
		if (st == ST_CONFIG) /* what it left there is the task's own doing */
			a->rec.cause = CAUSE_FAILED;
	}
	if (a->rec.cause == CAUSE_FAILED && !a->input_changed)
		find_full_disk(a);
	if (a->rec.cause != CAUSE_DONE)
		drop_output(a);
}
