/* ebb doctor: is this machine and this state fit for ebb? */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "base/sys.h"
#include "cli/common.h"
#include "cli/cpus.h"
#include "worker/cgroup.h"
#include "worker/guardian.h"

struct doctor_values {
	const char *state;
	bool json;
};

static const struct option doctor_options[] = {
	{0, "json", OPTION_FLAG, offsetof(struct doctor_values, json), NULL, "for programs"},
	{0, "state", OPTION_TEXT, offsetof(struct doctor_values, state), "DIR",
	    "the state folder (default $EBB_STATE, else .ebb)"},
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

struct findings {
	struct buf out;
	bool json;
	int n;
	int bad;
};

PRINTF_LIKE(4, 5) static void finding(struct findings *f, bool ok, const char *what,
    const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): va_start is above */
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	f->bad += ok ? 0 : 1;
	if (f->json) {
		buf_printf(&f->out, "%s{\"check\":\"%s\",\"ok\":%s,\"text\":", f->n > 0 ? "," : "",
		    what, ok ? "true" : "false");
		str_json(&f->out, text, strlen(text));
		buf_char(&f->out, '}');
	} else {
		buf_printf(&f->out, "%-4s %-10s %s\n", ok ? "ok" : "BAD", what, text);
	}
	f->n++;
}

static void check_memory(struct findings *f)
{
	struct buf where = {0};
	struct error e;

	if (cgroup_check(&where, &e) == ST_OK)
		finding(f, true, "memory", "commands are held to resources: {memory: } by cgroups in "
		    "%s", where.data);
	else
		finding(f, true, "memory", "resources: {memory: } decides what runs at once, but "
		    "nothing is held to it: %s", e.text);
	buf_free(&where);
}

static void check_machine(struct findings *f)
{
	struct rlimit files;
	char *bash = NULL;
	struct error e;

	finding(f, true, "slots", "%d (CPU affinity and cgroup quota; -j changes it)",
	    cpus_available());
	if (getrlimit(RLIMIT_NOFILE, &files) == 0)
		finding(f, files.rlim_cur >= 256, "files", "%llu open files allowed%s",
		    (unsigned long long)files.rlim_cur, files.rlim_cur >= 256 ? ""
		    : "; raise it with ulimit -n 1024");
	finding(f, prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0, "subreaper",
	    "descendants of commands can be found and ended");
	if (guardian_find_program("bash", &bash, &e) == ST_OK)
		finding(f, true, "shell", "%s runs commands given as one string", bash);
	else
		finding(f, false, "shell", "%s; commands given as one string need it", e.text);
	free(bash);
	check_memory(f);
}

/* A file made, synced, renamed and removed, as every commit does. */
static enum status try_folder(const char *dir, int64_t *sync_us, struct error *e)
{
	struct buf path = {0};
	int64_t began = sys_boot_ns();
	enum status st;

	buf_printf(&path, "%s/doctor.%ld", dir, (long)getpid());
	st = buf_check(&path, e);
	if (st == ST_OK)
		st = file_write_durable(path.data, "ebb\n", 4, 0600, e);
	*sync_us = (sys_boot_ns() - began) / 1000;
	if (st == ST_OK && sys_unlink(path.data) == -1)
		st = error_os(e, errno, "cannot remove %s", path.data);
	buf_free(&path);
	return st;
}

static void check_room(struct findings *f, const char *what, const char *dir)
{
	struct statvfs vfs;
	struct buf size = {0};

	if (statvfs(dir, &vfs) == -1) {
		finding(f, false, what, "cannot look at %s: %s", dir, strerror(errno));
		return;
	}
	str_size(&size, (int64_t)((uint64_t)vfs.f_bavail * vfs.f_frsize));
	finding(f, file_has_room(dir), what, "%s free for %s", size.failed ? "?" : size.data, dir);
	buf_free(&size);
}

static void check_ledger(struct findings *f, struct state *s)
{
	struct ledger_options lo = {.busy_ms = 2000};
	struct buf path = {0};
	struct buf problem = {0};
	struct ledger *l = NULL;
	struct error e;
	enum status st;

	state_path(s, &path, "ledger.db");
	st = buf_check(&path, &e);
	if (st == ST_OK)
		st = ledger_open(path.data, &lo, &l, &e);
	if (st == ST_NOT_FOUND) {
		finding(f, true, "ledger", "none yet; the first run makes it");
	} else if (st == ST_OK) {
		st = ledger_verify(l, &problem, &e);
		if (st == ST_OK)
			finding(f, problem.len == 0, "ledger", "%s", problem.len == 0
			    ? "every page and every counter is right" : problem.data);
	}
	if (st != ST_OK && st != ST_NOT_FOUND)
		finding(f, false, "ledger", "%s", e.text);
	ledger_close(l);
	buf_free(&path);
	buf_free(&problem);
}

/* A state that is not there: may it be made? */
static void check_future(struct findings *f, const char *dir)
{
	struct buf at = {0};
	struct buf up = {0};

	buf_str(&at, dir);
	do {
		buf_clear(&up);
		file_dirname(at.failed ? "." : at.data, &up);
		buf_clear(&at);
		buf_str(&at, up.failed ? "." : up.data);
	} while (!at.failed && access(at.data, F_OK) == -1 && errno == ENOENT &&
	    strcmp(at.data, "/") != 0 && strcmp(at.data, ".") != 0);
	if (at.failed) {
		finding(f, false, "state", "out of memory");
	} else if (access(at.data, W_OK | X_OK) == -1) {
		finding(f, false, "state", "%s is not there, and cannot be made in %s: %s", dir,
		    at.data, strerror(errno));
	} else {
		finding(f, true, "state", "%s is not there yet; the first run makes it", dir);
		check_room(f, "room", at.data);
	}
	buf_free(&at);
	buf_free(&up);
}

static void check_state(struct findings *f, const char *dir)
{
	struct state *s = NULL;
	struct error e;
	int64_t sync_us;
	enum status st = state_open(dir, false, &s, &e);

	if (st == ST_NOT_FOUND) {
		check_future(f, dir);
		return;
	}
	if (st != ST_OK) {
		finding(f, false, "state", "%s", e.text);
		return;
	}
	st = try_folder(dir, &sync_us, &e);
	if (st == ST_OK)
		finding(f, true, "state", "%s can be written; a durable write takes %.1f ms", dir,
		    (double)sync_us / 1000.0);
	else
		finding(f, false, "state", "%s", e.text);
	check_room(f, "room", dir);
	check_ledger(f, s);
	state_close(s);
}

static int doctor_main(int argc, char **argv)
{
	struct doctor_values v = {0};
	struct findings f = {0};
	const char *tmp = getenv("TMPDIR");
	int code;
	const char *words[COMMON_WORDS_MAX + 1];

	if (!common_parse(&verb_doctor, argc, argv, &v, words, &code))
		return code;
	f.json = v.json;
	if (f.json)
		buf_str(&f.out, "{\"ebb_doctor\":1,\"findings\":[");
	check_machine(&f);
	check_state(&f, common_state_dir(words[0] != NULL ? words[0] : v.state));
	check_room(&f, "scratch", tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp");
	if (f.json)
		buf_str(&f.out, "]}\n");
	code = common_print(&f.out);
	return code != EXIT_DONE ? code : f.bad > 0 ? EXIT_SOME_FAILED : EXIT_DONE;
}

const struct verb verb_doctor = {
	.name = "doctor",
	.max_words = 1,
	.usage = "ebb doctor [options] [STATE]",
	.summary = "ebb doctor: is this machine and this state fit for ebb; what to do if not",
	.text = "examples:\n  ebb doctor\n  ebb doctor --json /srv/state\n",
	.options = doctor_options,
	.run = doctor_main,
};
