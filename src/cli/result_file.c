#include "cli/result_file.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "cli/verbs.h"

enum status result_file_check(const char *path, struct error *e)
{
	struct buf dir = {0};
	enum status st;

	if (path == NULL)
		return ST_OK;
	file_dirname(path, &dir);
	st = buf_check(&dir, e);
	if (st == ST_OK && access(dir.data, W_OK | X_OK) == -1)
		st = error_os(e, errno, "--result: cannot write into %s", dir.data);
	buf_free(&dir);
	return st;
}

static const char *state_of_code(int code)
{
	switch (code) {
	case EXIT_DONE:
		return "finished";
	case EXIT_SOME_FAILED:
		return "failed";
	case EXIT_BAD_USAGE:
		return "refused";
	case EXIT_ALREADY_RUNNING:
		return "already-running";
	case EXIT_DRAINED:
		return "drained";
	case EXIT_INTERRUPTED:
		return "interrupted";
	default:
		return "unreachable";
	}
}

static void member_text(const char *key, const char *text, struct buf *b)
{
	buf_printf(b, ",\n \"%s\":", key);
	if (text == NULL)
		buf_str(b, "null");
	else
		str_json(b, text, strlen(text));
}

static void member_counts(const struct result_facts *f, struct buf *b)
{
	const struct ledger_stage *all = f->report == NULL ? NULL : &f->report->all;
	const struct worker_result *r = f->result;

	if (all != NULL)
		buf_printf(b, ",\n \"total\":%lld,\"done\":%lld,\"failed\":%lld,\"attempts\":%lld",
		    (long long)all->planned, (long long)ledger_stage_done(all),
		    (long long)ledger_stage_failed(all), (long long)all->attempts);
	if (r != NULL)
		buf_printf(b, ",\n \"wall_ms\":%lld,\"interruptions\":%lld", (long long)r->wall_ms,
		    (long long)(r->after.ended[CAUSE_INTERRUPTED] + r->after.ended[CAUSE_LOST] -
		    r->before.ended[CAUSE_INTERRUPTED] - r->before.ended[CAUSE_LOST]));
	if (f->report != NULL) {
		buf_str(b, ",\n \"times\":{");
		report_json_times(&f->report->times, b);
		buf_char(b, '}');
	}
}

static void member_failures(const struct worker_result *r, struct buf *b)
{
	size_t i;

	buf_str(b, ",\n \"failures\":[");
	for (i = 0; r != NULL && i < r->n_failures; i++) {
		const struct worker_failure *w = &r->failures[i];

		buf_str(b, i > 0 ? ",\n  {\"name\":" : "\n  {\"name\":");
		str_json(b, w->name, strlen(w->name));
		buf_printf(b, ",\"cause\":\"%s\",\"exit\":%d,\"signal\":%d,\"tries\":%d,\"note\":",
		    cause_name(w->cause), w->exit_code, w->exit_signal, w->count);
		str_json(b, w->note, strlen(w->note));
		buf_char(b, '}');
	}
	buf_char(b, ']');
}

int result_file_write(const char *path, const struct result_facts *f)
{
	struct buf b = {0};
	struct error e;
	enum status st;

	if (path == NULL)
		return f->code;
	buf_printf(&b, "{\"ebb_result\":1,\"exit\":%d", f->code);
	member_text("state", f->state != NULL ? f->state : state_of_code(f->code), &b);
	member_text("run", f->run, &b);
	member_text("error", f->error, &b);
	member_counts(f, &b);
	member_text("manifest", f->result == NULL ? NULL : f->result->manifest, &b);
	member_failures(f->result, &b);
	buf_str(&b, "}\n");
	st = buf_check(&b, &e);
	if (st == ST_OK)
		st = file_write_durable(path, b.data, b.len, 0666, &e);
	buf_free(&b);
	if (st == ST_OK)
		return f->code;
	log_line(LOG_ERROR, "--result: %s", e.text);
	return f->code == EXIT_DONE ? EXIT_UNREACHABLE : f->code;
}
