/* A small stand-in for ebb: does what ebb does for each item (private file
 * written by a child, fsync, accept in SQLite, rename, fsync of the folder,
 * published) through base/sys.h, and goes on where it was when it is started
 * again. With a bug named on the command line it leaves a step out, which the
 * crash and power-cut machinery must notice.
 *
 * fault-probe STATE OUT ITEMS [no-sync|no-dir-sync|early-accept|rename-first]
 * fault-probe clock      prints boot id, boot clock and wall clock (ns) */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/sys.h"

struct probe {
	sqlite3 *db;
	const char *out;
	const char *bug;
	struct error e;
};

struct names {
	struct buf private;
	struct buf final;
};

static bool has_bug(const struct probe *p, const char *name)
{
	return strcmp(p->bug, name) == 0;
}

static enum status sql(struct probe *p, const char *text)
{
	if (sqlite3_exec(p->db, text, NULL, NULL, NULL) != SQLITE_OK)
		return error_set(&p->e, ST_TRANSIENT, "database: %s", sqlite3_errmsg(p->db));
	return ST_OK;
}

PRINTF_LIKE(2, 3) static enum status sql_item(struct probe *p, const char *format, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return sql(p, text);
}

/* 0: not accepted, 1: accepted, 2: published. */
static enum status item_state(struct probe *p, int item, int *state)
{
	sqlite3_stmt *s;
	int rc;

	if (sqlite3_prepare_v2(p->db, "SELECT published FROM item WHERE id = ?", -1, &s, NULL) !=
	    SQLITE_OK)
		return error_set(&p->e, ST_TRANSIENT, "database: %s", sqlite3_errmsg(p->db));
	(void)sqlite3_bind_int(s, 1, item);
	rc = sqlite3_step(s);
	*state = rc == SQLITE_ROW ? 1 + sqlite3_column_int(s, 0) : 0;
	(void)sqlite3_finalize(s);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return error_set(&p->e, ST_TRANSIENT, "database: %s", sqlite3_errmsg(p->db));
	return ST_OK;
}

static enum status open_db(struct probe *p, const char *state)
{
	struct buf path = {0};
	enum status st;

	buf_printf(&path, "%s/probe.db", state);
	st = buf_check(&path, &p->e);
	if (st == ST_OK && sqlite3_open_v2(path.data, &p->db,
	    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, sys_sqlite_vfs()) != SQLITE_OK)
		st = error_set(&p->e, ST_TRANSIENT, "cannot open %s", path.data);
	buf_free(&path);
	if (st == ST_OK)
		st = sql(p, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
		            "CREATE TABLE IF NOT EXISTS item(id INTEGER PRIMARY KEY, published INT)");
	return st;
}

/* In the child, which knows nothing of ebb: plain system calls. */
_Noreturn static void child(const char *path, int item)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	char line[64];
	int i;

	sys_point("probe.child");
	for (i = 0; i < 50; i++) {
		int n = snprintf(line, sizeof(line), "item %d line %d\n", item, i);

		if (write(fd, line, (size_t)n) != n)
			_exit(1);
	}
	_exit(fd == -1);
}

static enum status run_child(struct probe *p, const char *path, int item)
{
	pid_t pid = fork();
	int how;

	if (pid == 0)
		child(path, item);
	if (pid == -1 || waitpid(pid, &how, 0) != pid)
		return error_os(&p->e, errno, "cannot run item %d", item);
	if (how != 0)
		return error_set(&p->e, ST_TRANSIENT, "item %d failed", item);
	return ST_OK;
}

static enum status sync_output(struct probe *p, const char *path)
{
	enum status st = ST_OK;

	if (!has_bug(p, "no-sync"))
		st = file_sync(path, &p->e);
	if (st == ST_OK && !has_bug(p, "no-dir-sync"))
		st = file_sync_dir(p->out, &p->e);
	return st;
}

static enum status accept_item(struct probe *p, int item)
{
	enum status st;

	sys_point("probe.accept.before");
	st = sql_item(p, "INSERT INTO item VALUES(%d, 0)", item);
	sys_point("probe.accept.after");
	return st;
}

static enum status publish(struct probe *p, const struct names *n, int item)
{
	enum status st = ST_OK;

	sys_point("probe.publish.before");
	if (sys_rename_noreplace(n->private.data, n->final.data) == -1 && errno != ENOENT)
		return error_os(&p->e, errno, "cannot publish %s", n->final.data);
	sys_point("probe.publish.renamed");
	if (!has_bug(p, "no-dir-sync"))
		st = file_sync_dir(p->out, &p->e);
	if (st == ST_OK)
		st = sql_item(p, "UPDATE item SET published = 1 WHERE id = %d", item);
	sys_point("probe.publish.after");
	return st;
}

static enum status run_item(struct probe *p, const struct names *n, int item)
{
	enum status st = ST_OK;

	if (has_bug(p, "early-accept"))
		st = accept_item(p, item);
	if (st == ST_OK)
		st = run_child(p, n->private.data, item);
	if (st == ST_OK && has_bug(p, "rename-first")) {
		if (sys_rename(n->private.data, n->final.data) == -1)
			return error_os(&p->e, errno, "cannot rename %s", n->private.data);
		st = sync_output(p, n->final.data);
		return st == ST_OK ? accept_item(p, item) : st;
	}
	if (st == ST_OK)
		st = sync_output(p, n->private.data);
	if (st == ST_OK && !has_bug(p, "early-accept"))
		st = accept_item(p, item);
	return st;
}

static enum status do_item(struct probe *p, int item)
{
	struct names n = {0};
	int state = 0;
	enum status st = item_state(p, item, &state);

	buf_printf(&n.private, "%s/.%d.part", p->out, item);
	buf_printf(&n.final, "%s/%d.txt", p->out, item);
	if (st == ST_OK)
		st = buf_check(&n.private, &p->e);
	if (st == ST_OK)
		st = buf_check(&n.final, &p->e);
	if (st == ST_OK && state == 1 && access(n.private.data, F_OK) == -1 &&
	    access(n.final.data, F_OK) == -1) {
		st = sql_item(p, "DELETE FROM item WHERE id = %d", item);
		state = 0;
	}
	if (st == ST_OK && state == 0)
		st = run_item(p, &n, item);
	if (st == ST_OK && state < 2)
		st = publish(p, &n, item);
	buf_free(&n.private);
	buf_free(&n.final);
	return st;
}

static enum status run(struct probe *p, const char *state, int items)
{
	enum status st = file_mkdirs(state, 0700, &p->e);
	struct buf done = {0};
	int i;

	if (st == ST_OK)
		st = file_mkdirs(p->out, 0755, &p->e);
	if (st == ST_OK)
		st = open_db(p, state);
	for (i = 0; st == ST_OK && i < items; i++)
		st = do_item(p, i);
	buf_printf(&done, "%s/finished", state);
	if (st == ST_OK)
		st = buf_check(&done, &p->e);
	if (st == ST_OK)
		st = file_write_durable(done.data, "all\n", 4, 0644, &p->e);
	buf_free(&done);
	(void)sqlite3_close(p->db);
	return st;
}

static int print_clock(void)
{
	char id[37];

	if (sys_boot_id(id, NULL) != ST_OK)
		return 3;
	(void)printf("%s %lld %lld\n", id, (long long)sys_boot_ns(), (long long)sys_wall_ns());
	return 0;
}

int main(int argc, char **argv)
{
	struct probe p = {.bug = ""};

	if (argc == 2 && strcmp(argv[1], "clock") == 0)
		return print_clock();
	if (argc < 4) {
		(void)fprintf(stderr, "usage: fault-probe STATE OUT ITEMS [BUG]\n");
		return 2;
	}
	p.out = argv[2];
	if (argc > 4)
		p.bug = argv[4];
	if (run(&p, argv[1], (int)strtol(argv[3], NULL, 10)) != ST_OK) {
		(void)fprintf(stderr, "ebb: %s\n", p.e.text);
		return 3;
	}
	return 0;
}
