/* ebb notify: takes an event that tells of a machine's end, and asks the workers on it to
 * drain, from a webhook, a Lambda function or an operator's hand. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/sys.h"
#include "cli/common.h"
#include "notice/event.h"

enum { NOBODY_MEANT = 1, WORKERS_AT_FIRST = 256, WORKERS_AT_MOST = 1 << 20, NODE_SIZE = 64 };

struct notify_values {
	const char *state;
	const char *run;
	bool dry_run;
	bool json;
};

#define NOTIFY_AT(field) offsetof(struct notify_values, field)

static const struct option notify_options[] = {
	{'n', "dry-run", OPTION_FLAG, NOTIFY_AT(dry_run), NULL, "say who is meant, and ask nobody"},
	{0, "json", OPTION_FLAG, NOTIFY_AT(json), NULL, "a line on stdout for each event"},
	{0, "run", OPTION_TEXT, NOTIFY_AT(run), "NAME", "only workers of this run"},
	{0, "state", OPTION_TEXT, NOTIFY_AT(state), "DIR",
	    "the state folder (default $EBB_STATE, else .ebb)"},
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

struct notifying {
	const struct notify_values *v;
	struct common_view view;
	struct ledger_run *run;    /* all runs, for their names */
	size_t n_runs;
	struct ledger_worker *worker;
	size_t n_workers;
	int64_t only_run;          /* that the event in hand is for; 0: all, -1: one that there is
	                            * not */
	size_t asked;
	size_t bad;
	struct buf out;
};

/* ---- what it was given ---- */

static enum status notify_read_fd(int fd, const char *name, struct buf *out, struct error *e)
{
	char piece[4096];
	ssize_t n;

	while ((n = sys_read(fd, piece, sizeof(piece))) > 0) {
		buf_append(out, piece, (size_t)n);
		if (out->len > EVENT_TEXT_MAX)
			return error_set(e, ST_CONFIG, "%s: the events are longer than %d KiB", name,
			    EVENT_TEXT_MAX >> 10);
	}
	if (n == -1)
		return error_os(e, errno, "cannot read %.200s", name);
	buf_str(out, "");
	return buf_check(out, e);
}

static enum status notify_read(const char *file, struct event_list *events, struct error *e)
{
	bool from_stdin = file == NULL || strcmp(file, "-") == 0;
	struct buf text = {0};
	enum status st;
	int fd = STDIN_FILENO;

	if (file == NULL && isatty(STDIN_FILENO))
		return error_set(e, ST_CONFIG, "give an event as a file, or on stdin; such as echo "
		    "'{\"event\":\"notice\",\"worker\":\"w2\",\"deadline\":120}' | ebb notify");
	if (!from_stdin)
		fd = sys_open(file, O_RDONLY, 0);
	if (fd == -1) {
		(void)error_os(e, errno, "cannot read %.200s", file);
		return ST_CONFIG;
	}
	st = notify_read_fd(fd, from_stdin ? "stdin" : file, &text, e);
	if (st == ST_OK)
		st = event_read(text.data, text.len, sys_wall_ns() / 1000000, events, e);
	if (!from_stdin)
		(void)sys_close(fd);
	buf_free(&text);
	return st;
}

/* ---- who is meant ---- */

static enum status notify_load(struct notifying *x, struct error *e)
{
	int64_t run = x->v->run == NULL ? 0 : x->view.run.id;
	size_t max = WORKERS_AT_FIRST;
	enum status st = ledger_run_list(x->view.ledger, &x->run, &x->n_runs, e);

	while (st == ST_OK) {
		free(x->worker);
		x->worker = mem_zero(max * sizeof(*x->worker));
		if (x->worker == NULL)
			return error_set(e, ST_NO_MEMORY, "out of memory");
		st = ledger_workers(x->view.ledger, run, x->worker, max, &x->n_workers, e);
		if (st != ST_OK || x->n_workers < max || max >= WORKERS_AT_MOST)
			break;
		max *= 8;
	}
	return st;
}

static const char *notify_run_name(const struct notifying *x, int64_t id)
{
	size_t i;

	for (i = 0; i < x->n_runs; i++) {
		if (x->run[i].id == id)
			return x->run[i].name;
	}
	return "";
}

/* As people name a worker: ebb drain takes the same. */
static bool notify_is_called(const struct ledger_worker *w, const char *name)
{
	char label[24];
	char pid[24];

	(void)snprintf(label, sizeof(label), "w%d", w->number);
	(void)snprintf(pid, sizeof(pid), "%d", (int)w->pid);
	return strcmp(name, label) == 0 || strcmp(name, pid) == 0 || strcmp(name, w->name) == 0 ||
	    (strlen(name) >= 6 && strncmp(name, w->name, strlen(name)) == 0);
}

static bool notify_is_on(const struct ledger_worker *w, const struct event *ev)
{
	size_t i;

	for (i = 0; i < ev->n_names; i++) {
		/* What the ledger keeps of a name. */
		if (w->node[0] != '\0' && strncmp(w->node, ev->name[i], NODE_SIZE - 1) == 0)
			return true;
	}
	return false;
}

static bool notify_means(const struct notifying *x, const struct event *ev,
    const struct ledger_worker *w)
{
	if (x->only_run != 0 && x->only_run != w->run)
		return false;
	switch (ev->whom) {
	case EVENT_NODE:
		return notify_is_on(w, ev);
	case EVENT_WORKER:
		return notify_is_called(w, ev->name[0]);
	case EVENT_POOL:
		return strcmp(w->pool, ev->name[0]) == 0;
	case EVENT_RUN:
	case EVENT_ALL:
		break;
	}
	return true;
}

/* By its name, or that of a pipeline, as other verbs take it. */
static enum status notify_find_run(struct notifying *x, const struct event *ev, struct error *e)
{
	struct ledger_run run = {0};
	enum status st = ST_OK;

	x->only_run = 0;
	if (ev->run[0] == '\0')
		return ST_OK;
	st = ledger_run_by_name(x->view.ledger, ev->run, &run, e);
	x->only_run = st == ST_OK ? run.id : -1;
	if (st == ST_OK)
		ledger_run_free(&run);
	return st == ST_NOT_FOUND ? ST_OK : st;
}

/* "w2" is one worker of each run. */
static bool notify_is_ambiguous(const struct notifying *x, const struct event *ev)
{
	int64_t run = 0;
	size_t i;

	for (i = 0; ev->whom == EVENT_WORKER && i < x->n_workers; i++) {
		if (!notify_means(x, ev, &x->worker[i]))
			continue;
		if (run != 0 && run != x->worker[i].run)
			return true;
		run = x->worker[i].run;
	}
	return false;
}

/* ---- what is asked of them ---- */

static enum notice_response notify_response(const struct event *ev, int64_t deadline_boot_ms,
    int64_t now)
{
	struct notice n;

	notice_begin(&n, ev->kind, ev->source, now, 0);
	n.action = ev->action;
	n.deadline_boot_ms = deadline_boot_ms;
	n.was = NOTICE_REBALANCE; /* of a drain nothing can be taken back */
	return notice_response(&n, now);
}

static const char *notify_verb(enum notice_response r)
{
	static const char *const words[] = {
		[NOTICE_GO_ON] = "nothing", [NOTICE_BE_CAREFUL] = "careful",
		[NOTICE_END_OF_LIFE] = "end-of-life", [NOTICE_DRAIN] = "drain", [NOTICE_RELAX] = "relax",
	};

	return words[r];
}

static enum status notify_ask(struct notifying *x, const struct event *ev, enum notice_response r,
    int64_t deadline_boot_ms, const struct ledger_worker *w, struct error *e)
{
	const struct ledger_drain drain = {.who = w->name, .deadline_boot_ms = deadline_boot_ms,
		.reason = ev->detail[0] != '\0' ? ev->detail : notice_kind_name(ev->kind), .notice = true};
	const struct ledger_node node = {.life_until_boot_ms = deadline_boot_ms};
	int64_t n = 0;

	if (x->v->dry_run)
		return ST_OK;
	switch (r) {
	case NOTICE_DRAIN:
		return ledger_worker_drain(x->view.ledger, w->run, &drain, &n, e);
	case NOTICE_END_OF_LIFE:
		return ledger_worker_describe(x->view.ledger, w->id, &node, e);
	case NOTICE_BE_CAREFUL:
	case NOTICE_RELAX:
		return ledger_worker_warn(x->view.ledger, w->run, w->name, r == NOTICE_BE_CAREFUL, &n, e);
	case NOTICE_GO_ON:
		break;
	}
	return ST_OK;
}

/* ---- what is said of it ---- */

static void notify_json_worker(struct notifying *x, const struct ledger_worker *w, bool first)
{
	const char *run = notify_run_name(x, w->run);

	buf_printf(&x->out, "%s{\"run\":", first ? "" : ",");
	str_json(&x->out, run, strlen(run));
	buf_printf(&x->out, ",\"worker\":\"w%d\",\"name\":", w->number);
	str_json(&x->out, w->name, strlen(w->name));
	buf_str(&x->out, ",\"node\":");
	str_json(&x->out, w->node, strlen(w->node));
	buf_char(&x->out, '}');
}

static void notify_json_begin(struct notifying *x, const struct event *ev,
    enum notice_response r)
{
	if (ev->problem[0] != '\0') {
		buf_str(&x->out, "{\"problem\":");
		str_json(&x->out, ev->problem, strlen(ev->problem));
		buf_str(&x->out, ",\"asked\":\"nothing\",\"workers\":[");
		return;
	}
	buf_printf(&x->out, "{\"event\":\"%s\",\"source\":", notice_kind_name(ev->kind));
	str_json(&x->out, ev->source, strlen(ev->source));
	buf_str(&x->out, ",\"id\":");
	str_json(&x->out, ev->id, strlen(ev->id));
	buf_str(&x->out, ",\"detail\":");
	str_json(&x->out, ev->detail, strlen(ev->detail));
	if (ev->has_deadline)
		buf_printf(&x->out, ",\"seconds_left\":%.3f", (double)ev->left_ms / 1e3);
	buf_printf(&x->out, ",\"asked\":\"%s\",\"dry_run\":%s,\"workers\":[", notify_verb(r),
	    x->v->dry_run ? "true" : "false");
}

static void notify_tell(const struct notifying *x, const struct event *ev,
    enum notice_response r, const struct ledger_worker *w)
{
	static const char *const words[] = {
		[NOTICE_GO_ON] = "goes on", [NOTICE_BE_CAREFUL] = "is told to be careful",
		[NOTICE_END_OF_LIFE] = "is told when it ends", [NOTICE_DRAIN] = "is asked to drain",
		[NOTICE_RELAX] = "is told that it is over",
	};
	struct buf line = {0};

	buf_printf(&line, "%s w%d", notify_run_name(x, w->run), w->number);
	if (w->node[0] != '\0')
		buf_printf(&line, " on %s", w->node);
	buf_printf(&line, " %s%s", x->v->dry_run ? "is meant: it " : "", words[r]);
	if (ev->has_deadline && (r == NOTICE_DRAIN || r == NOTICE_END_OF_LIFE)) {
		buf_str(&line, " within ");
		str_duration(&line, ev->left_ms);
	}
	if (ev->detail[0] != '\0')
		buf_printf(&line, " (%s)", ev->detail);
	if (!line.failed)
		log_line(LOG_INFO, "%s", line.data);
	buf_free(&line);
}

static void notify_tell_nobody(const struct event *ev, enum notice_response r)
{
	static const char *const whom[] = {
		[EVENT_NODE] = "on the machine ", [EVENT_WORKER] = "called ", [EVENT_POOL] = "in the pool ",
		[EVENT_RUN] = "on the run ", [EVENT_ALL] = "",
	};
	const char *name = ev->whom == EVENT_RUN ? ev->run : ev->n_names > 0 ? ev->name[0] : "";

	if (ev->nothing || r == NOTICE_GO_ON)
		log_line(LOG_INFO, "%s: nobody has to do anything", ev->nothing ? ev->detail
		    : "it ends no machine at a known moment");
	else
		log_line(LOG_INFO, "nobody at work %s%s is meant%s%s", whom[ev->whom], name,
		    ev->n_names > 1 ? " (nor by its other names)" : "",
		    ev->whom == EVENT_NODE ? "; ebb status RUN --json says where workers are" : "");
}

/* ---- one after the other ---- */

static enum status notify_one(struct notifying *x, struct event *ev, struct error *e)
{
	int64_t now = sys_boot_ns() / 1000000;
	int64_t deadline = ev->has_deadline ? now + ev->left_ms : 0;
	enum notice_response r = ev->nothing ? NOTICE_GO_ON : notify_response(ev, deadline, now);
	enum status st = notify_find_run(x, ev, e);
	size_t n = 0;
	size_t i;

	if (st != ST_OK)
		return st;
	if (ev->problem[0] == '\0' && notify_is_ambiguous(x, ev))
		(void)snprintf(ev->problem, sizeof(ev->problem), "several runs have a worker %.30s; say which "
		    "with \"run\" or --run", ev->name[0]);
	notify_json_begin(x, ev, r);
	for (i = 0; st == ST_OK && ev->problem[0] == '\0' && r != NOTICE_GO_ON && i < x->n_workers; i++) {
		const struct ledger_worker *w = &x->worker[i];

		if (!notify_means(x, ev, w))
			continue;
		st = notify_ask(x, ev, r, deadline, w, e);
		if (st != ST_OK)
			break;
		notify_json_worker(x, w, n++ == 0);
		if (!x->v->json)
			notify_tell(x, ev, r, w);
	}
	buf_str(&x->out, "]}\n");
	x->asked += n;
	x->bad += ev->problem[0] != '\0';
	if (ev->problem[0] != '\0')
		log_line(LOG_ERROR, "%s", ev->problem);
	else if (st == ST_OK && n == 0)
		notify_tell_nobody(ev, r);
	return st;
}

static int notify_all(struct notifying *x, struct event_list *events)
{
	struct error e;
	enum status st = common_view_open(x->v->state, x->v->run, !x->v->dry_run, &x->view, &e);
	int code = EXIT_DONE;
	size_t i;

	if (st == ST_OK) {
		st = notify_load(x, &e);
		for (i = 0; st == ST_OK && i < events->n; i++)
			st = notify_one(x, &events->list[i], &e);
		common_view_close(&x->view);
	}
	if (x->v->json)
		code = common_print(&x->out);
	if (st != ST_OK) {
		log_line(LOG_ERROR, "%s", e.text);
		return EXIT_UNREACHABLE;
	}
	if (code != EXIT_DONE)
		return code;
	return x->bad > 0 ? EXIT_BAD_USAGE : x->asked > 0 ? EXIT_DONE : NOBODY_MEANT;
}

static int notify_main(int argc, char **argv)
{
	struct notify_values v = {0};
	struct notifying x = {.v = &v};
	struct event_list events = {NULL, 0, 0};
	struct error e;
	int code;
	const char *words[COMMON_WORDS_MAX + 1];
	enum status st;

	if (!common_parse(&verb_notify, argc, argv, &v, words, &code))
		return code;
	st = notify_read(words[0], &events, &e);
	code = st == ST_OK ? notify_all(&x, &events) : common_fail(st, &e);
	event_list_free(&events);
	ledger_run_list_free(x.run, x.n_runs);
	free(x.worker);
	buf_free(&x.out);
	return code;
}

const struct verb verb_notify = {
	.name = "notify",
	.max_words = 1,
	.usage = "ebb notify [options] [FILE|-]",
	.summary = "ebb notify: tell workers what an event says about their machine",
	.text = "examples:\n"
	    "  echo '{\"event\":\"notice\",\"worker\":\"w2\",\"deadline\":120}' | ebb notify\n"
	    "  ebb notify --dry-run event.json\n"
	    "  aws sqs receive-message --queue-url URL | ebb notify --state /shared/.ebb --json\n"
	    "\n"
	    "Reads events as JSON (one, several after one another, or a list; 1 MiB and 256\n"
	    "events at most) from FILE or stdin. ebb's own form:\n"
	    "  {\"event\": \"notice\",             or preempted, rebalance, maintenance, withdrawn\n"
	    "   \"worker\": \"w2\",                or \"node\": \"i-0abc\", \"pool\": \"spot\",\n"
	    "                                  \"run\": \"r7\" (alone, or beside these), \"all\": true\n"
	    "   \"deadline\": 120,               seconds, or \"2026-11-22T08:22:00Z\"; may be left out\n"
	    "   \"reason\": \"why\"}               may be left out\n"
	    "A line of ebb watch is one too, with whom it is for. Of Amazon EventBridge:\n"
	    "EC2 Spot Instance Interruption Warning, EC2 Interruptible Capacity Reservation\n"
	    "Instance Interruption Warning, EC2 Instance Rebalance Recommendation, EC2 Instance\n"
	    "State-change Notification, EC2 Instance-terminate Lifecycle Action, AWS Health\n"
	    "Event, ECS Task State Change; bare, or as SNS, SQS and Lambda wrap them.\n"
	    "\n"
	    "notice and preempted: the workers drain, by the deadline, as after a notice of their\n"
	    "platform. maintenance: the same, if it ends the machine within 150 s; else they are\n"
	    "told when it ends. rebalance: they start nothing long; withdrawn takes that back (who\n"
	    "drains goes on draining). What is more than ten minutes past is left out.\n"
	    "Exit: 0 somebody was asked; 1 nobody at work is meant; 2 an event is not understood\n"
	    "(the others were acted upon); 3 the state cannot be reached.\n",
	.options = notify_options,
	.run = notify_main,
};
