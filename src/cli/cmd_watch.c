/* ebb watch: hears what is going to happen to this machine, for any program. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/sys.h"
#include "cli/common.h"
#include "notice/detect.h"
#include "notice/watch.h"
#include "worker/hook.h"

enum { WATCH_NOTHING = 1, HOOKS_MAX = 16, WAITING_MAX = 64, FILE_MS = 100 };

struct watch_values {
	const char *source;
	const char *stop_file;
	struct option_texts exec;
	int64_t timeout_ms;
	int64_t exec_timeout_ms;
	int64_t poll_ms;
	bool once;
	bool quiet;
};

#define WATCH_AT(field) offsetof(struct watch_values, field)

static const struct option watch_options[] = {
	{0, "source", OPTION_TEXT, WATCH_AT(source), "LIST",
	    "auto (default), none, or names with commas, each with =URL if it is elsewhere"},
	{0, "exec", OPTION_TEXTS, WATCH_AT(exec), "[KIND=]COMMAND",
	    "what a shell runs at an event (of that kind); may be given several times"},
	{0, "exec-timeout", OPTION_DURATION, WATCH_AT(exec_timeout_ms), "TIME",
	    "a command that takes longer is ended (default 60s)", .min = 1, .max = 86400000},
	{0, "once", OPTION_FLAG, WATCH_AT(once), NULL, "end after the first event"},
	{0, "timeout", OPTION_DURATION, WATCH_AT(timeout_ms), "TIME", "end after so long",
	    .min = 1, .max = INT64_C(31536000000)},
	{0, "poll", OPTION_DURATION, WATCH_AT(poll_ms), "TIME",
	    "ask so often (default: aws 2s, azure 1s; gcp answers by itself)", .min = 50, .max = 3600000},
	{0, "stop-file", OPTION_TEXT, WATCH_AT(stop_file), "PATH",
	    "a notice when this file is there"},
	{'q', "quiet", OPTION_FLAG, WATCH_AT(quiet), NULL, "no lines on stdout, only the commands"},
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

struct watch_hook {
	bool any;               /* for all kinds */
	enum notice_kind kind;
	const char *command;
};

/* A command that has not been started yet. */
struct waiting {
	const char *command;
	struct notice event;
};

struct watching {
	const struct watch_values *v;
	struct notice_watch *watch;
	struct watch_hook hook[HOOKS_MAX];
	size_t n_hooks;
	struct waiting waiting[WAITING_MAX];
	size_t n_waiting;
	struct hook *running;
	bool file_seen;
	bool heard;
	bool hook_failed;
	bool over;
	bool by_int;
	bool broken;            /* stdout */
	int sigfd;
};

/* ---- hooks ---- */

/* The kind that a word before "=" was probably meant to be; NULL: a variable of the
 * command's. */
static const char *near_kind(const char *word)
{
	int i;

	for (i = 0; word[0] != '\0' && i < NOTICE_KINDS; i++) {
		const char *name = notice_kind_name((enum notice_kind)i);

		if (str_distance(word, strlen(word), name, strlen(name)) <= 2)
			return name;
	}
	return NULL;
}

static enum status parse_hooks(struct watching *w, struct error *e)
{
	size_t i;

	if (w->v->exec.n > HOOKS_MAX)
		return error_set(e, ST_CONFIG, "--exec: at most %d commands", HOOKS_MAX);
	for (i = 0; i < w->v->exec.n; i++) {
		struct watch_hook *h = &w->hook[w->n_hooks++];
		const char *text = w->v->exec.list[i];
		const char *eq = strchr(text, '=');
		char word[16] = "";

		if (eq != NULL && (size_t)(eq - text) < sizeof(word))
			memcpy(word, text, (size_t)(eq - text));
		h->any = eq == NULL || !notice_kind_of(word, &h->kind);
		if (h->any && near_kind(word) != NULL)
			return error_set(e, ST_CONFIG, "--exec: there is no kind of event \"%s\"; did you mean "
			    "\"%s=\"?", word, near_kind(word));
		h->command = h->any ? text : eq + 1;
		if (h->command[0] == '\0')
			return error_set(e, ST_CONFIG, "--exec: there is no command in \"%.60s\"; such as "
			    "--exec 'notice=systemctl stop my.service'", text);
	}
	return ST_OK;
}

static bool has_hook(const struct watching *w, enum notice_kind kind)
{
	size_t i;

	for (i = 0; i < w->n_hooks; i++) {
		if (!w->hook[i].any && w->hook[i].kind == kind)
			return true;
	}
	return false;
}

/* What is being taken was not announced: whoever hooked the announcement means it. */
static bool hook_fits(const struct watching *w, const struct watch_hook *h, const struct notice *n)
{
	return h->any || h->kind == n->kind || (n->kind == NOTICE_PREEMPTED &&
	    h->kind == NOTICE_TAKEN && !has_hook(w, NOTICE_PREEMPTED));
}

static void queue_hooks(struct watching *w, const struct notice *n)
{
	size_t i;

	for (i = 0; i < w->n_hooks; i++) {
		if (!hook_fits(w, &w->hook[i], n))
			continue;
		if (w->n_waiting == WAITING_MAX) {
			log_line(LOG_WARN, "more than %d commands wait; one is left out", WAITING_MAX);
			return;
		}
		w->waiting[w->n_waiting++] = (struct waiting){w->hook[i].command, *n};
	}
}

static void next_hook(struct watching *w)
{
	struct waiting first;
	struct error e;

	while (w->running == NULL && w->n_waiting > 0) {
		first = w->waiting[0];
		memmove(w->waiting, w->waiting + 1, --w->n_waiting * sizeof(w->waiting[0]));
		if (hook_start(first.command, &first.event, NULL, sys_boot_ns() / 1000000 +
		    w->v->exec_timeout_ms, &w->running, &e) == ST_OK)
			continue;
		log_line(LOG_ERROR, "%s: %s", first.command, e.text);
		w->hook_failed = true;
	}
}

static void check_hook(struct watching *w)
{
	struct hook_end end;
	struct buf text = {0};

	if (w->running == NULL || !hook_ended(w->running, &end))
		return;
	hook_destroy(w->running);
	w->running = NULL;
	w->hook_failed = w->hook_failed || !end.good;
	if (!end.good) {
		hook_say(&end, &text);
		log_line(LOG_WARN, "the command of an event ended badly: %s",
		    text.failed ? "" : text.data);
		buf_free(&text);
	}
	next_hook(w);
}

/* ---- events ---- */

static void take_event(struct watching *w, const struct notice *n)
{
	struct buf line = {0};

	if (w->over)
		return;
	notice_json(n, sys_boot_ns() / 1000000, &line);
	buf_char(&line, '\n');
	if (!w->v->quiet && common_print(&line) != EXIT_DONE)
		w->broken = w->over = true;
	buf_free(&line);
	w->heard = true;
	queue_hooks(w, n);
	next_hook(w);
	w->over = w->over || w->v->once;
}

static void own_notice(const char *source, const char *detail, struct notice *n)
{
	notice_begin(n, NOTICE_TAKEN, source, sys_boot_ns() / 1000000, sys_wall_ns() / 1000000);
	notice_text(n->detail, sizeof(n->detail), detail, strlen(detail));
}

static void say_machine(const struct notice_machine *m)
{
	log_line(LOG_INFO, "%s: this is %s%s%s%s%s%s%s", m->source,
	    m->node[0] == '\0' ? "a machine without a name" : m->node,
	    m->type[0] == '\0' ? "" : ", ", m->type, m->zone[0] == '\0' ? "" : ", ", m->zone,
	    m->lifecycle[0] == '\0' ? "" : ", ", m->lifecycle);
}

static void take_words(struct watching *w)
{
	struct notice_word word;

	while (notice_watch_take(w->watch, &word)) {
		if (word.kind == NOTICE_WORD_EVENT)
			take_event(w, &word.event);
		else if (word.kind == NOTICE_WORD_MACHINE)
			say_machine(&word.machine);
		else if (word.kind == NOTICE_WORD_HINT)
			log_line(LOG_INFO, "%s", word.trouble);
		else if (word.trouble[0] != '\0')
			log_line(LOG_WARN, "%s", word.trouble);
		else
			log_line(LOG_INFO, "%s: it answers as it should again", word.machine.source);
	}
}

static void look_at_file(struct watching *w)
{
	bool there = w->v->stop_file != NULL && access(w->v->stop_file, F_OK) == 0;
	struct notice n;

	if (there && !w->file_seen) {
		own_notice("file", w->v->stop_file, &n);
		take_event(w, &n);
	}
	w->file_seen = there;
}

static void take_signal(struct watching *w)
{
	unsigned platforms = notice_watch_platforms(w->watch);
	struct signalfd_siginfo si;
	struct notice n;

	while (sys_read(w->sigfd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		bool again = w->over;

		if (si.ssi_signo == SIGTERM && notice_term_is_notice(platforms)) {
			own_notice(platforms & NOTICE_ON_SLURM ? "slurm" : platforms & NOTICE_ON_ECS ? "ecs"
			    : "kubernetes", "TERM", &n);
			take_event(w, &n);
		}
		w->by_int = w->by_int || si.ssi_signo == SIGINT;
		if (again || si.ssi_signo == SIGINT) { /* a second one: at once */
			w->n_waiting = 0;
			hook_destroy(w->running);
			w->running = NULL;
		}
		w->over = true;
	}
}

/* ---- the loop ---- */

static int sooner(int ms, int64_t left)
{
	if (left < 0)
		left = 0;
	return ms == -1 || left < ms ? (int)(left > 60000 ? 60000 : left) : ms;
}

static int watch_wait_ms(const struct watching *w, int64_t end_ms)
{
	int64_t now = sys_boot_ns() / 1000000;
	int ms = w->v->stop_file != NULL && !w->over ? FILE_MS : -1;

	if (end_ms != 0 && !w->over)
		ms = sooner(ms, end_ms - now);
	if (w->running != NULL)
		ms = sooner(ms, hook_until_boot_ms(w->running) - now);
	return ms;
}

static void watch_loop(struct watching *w)
{
	int64_t now = sys_boot_ns() / 1000000;
	int64_t end_ms = w->v->timeout_ms > 0 ? now + w->v->timeout_ms : 0;

	while (!w->over || w->running != NULL) {
		struct pollfd p[3] = {{.fd = w->sigfd, .events = POLLIN},
		    {.fd = w->over ? -1 : notice_watch_fd(w->watch), .events = POLLIN},
		    {.fd = w->running == NULL ? -1 : hook_fd(w->running), .events = POLLIN}};

		if (poll(p, 3, watch_wait_ms(w, end_ms)) == -1 && errno != EINTR)
			break;
		take_signal(w);
		if (!w->over) {
			take_words(w);
			look_at_file(w);
		}
		check_hook(w);
		if (end_ms != 0 && sys_boot_ns() / 1000000 >= end_ms)
			w->over = true;
	}
}

static enum status open_signals(struct watching *w, struct error *e)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) == -1)
		return error_os(e, errno, "cannot block signals");
	w->sigfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return w->sigfd == -1 ? error_os(e, errno, "cannot wait for signals") : ST_OK;
}

static enum status watch_begin(struct watching *w, struct error *e)
{
	const struct notice_watch_options opt = {.sources = w->v->source, .poll_ms = w->v->poll_ms};
	enum status st = parse_hooks(w, e);

	if (st == ST_OK)
		st = open_signals(w, e);
	if (st == ST_OK)
		st = notice_watch_start(&opt, &w->watch, e);
	if (st == ST_OK && w->v->source != NULL && strcmp(w->v->source, "none") == 0 &&
	    w->v->stop_file == NULL)
		return error_set(e, ST_CONFIG, "--source none leaves nothing to watch but a --stop-file");
	if (st == ST_OK && notice_watch_platforms(w->watch) == 0 && w->v->stop_file == NULL)
		st = error_set(e, ST_CONFIG, "this machine is on no platform that ebb knows, so there is "
		    "nothing to watch; name a --source (%s) or a --stop-file", notice_watch_names());
	return st;
}

static int watch_exit(const struct watching *w)
{
	if (w->broken)
		return EXIT_UNREACHABLE;
	if (w->by_int)
		return EXIT_INTERRUPTED;
	if (w->v->once || w->v->timeout_ms > 0)
		return w->heard && !w->hook_failed ? EXIT_DONE : WATCH_NOTHING;
	return EXIT_DONE;
}

static int watch_main(int argc, char **argv)
{
	struct watch_values v = {.exec_timeout_ms = 60000};
	struct watching *w = mem_zero(sizeof(*w));
	struct error e;
	int code = EXIT_UNREACHABLE;
	const char *words[COMMON_WORDS_MAX + 1];
	enum status st = ST_NO_MEMORY;

	if (w == NULL)
		return common_fail(st, &(struct error){"out of memory"});
	w->v = &v;
	w->sigfd = -1;
	if (common_parse(&verb_watch, argc, argv, &v, words, &code)) {
		st = watch_begin(w, &e);
		if (st == ST_OK) {
			watch_loop(w);
			code = watch_exit(w);
		} else {
			code = common_fail(st, &e);
		}
	}
	hook_destroy(w->running);
	notice_watch_stop(w->watch);
	if (w->sigfd != -1)
		(void)sys_close(w->sigfd);
	free(v.exec.list);
	free(w);
	return code;
}

const struct verb verb_watch = {
	.name = "watch",
	.max_words = 0,
	.usage = "ebb watch [options]",
	.summary = "ebb watch: say what is going to happen to this machine",
	.text = "examples:\n"
	    "  ebb watch --once --timeout 1h && ./save.sh\n"
	    "  ebb watch --exec 'notice=systemctl stop worker' --exec 'rebalance=./early.sh'\n"
	    "  ebb watch --source aws=http://127.0.0.1:1338\n"
	    "\n"
	    "Prints a line of JSON for each event, of one of these kinds:\n"
	    "  rebalance    it is likelier than usual to be taken away\n"
	    "  notice       it will be taken away, in most cases at a known moment\n"
	    "  preempted    it is being taken away (runs the commands of notice, if it has none)\n"
	    "  maintenance  something is planned that it may survive\n"
	    "  withdrawn    what was said before does not hold any more\n"
	    "Commands find the event in EBB_EVENT, EBB_EVENT_SOURCE, EBB_EVENT_ACTION, EBB_EVENT_ID,\n"
	    "EBB_EVENT_DEADLINE (whole unix seconds) and EBB_EVENT_JSON. They run one after the other.\n"
	    "\n"
	    "Sources: aws, gcp, azure, kubernetes; auto: those that this machine is on.\n"
	    "Where the platform's metadata service is, its own tools' variables say too:\n"
	    "AWS_EC2_METADATA_SERVICE_ENDPOINT, GCE_METADATA_HOST,\n"
	    "AZURE_POD_IDENTITY_AUTHORITY_HOST. In a Kubernetes pod, a Slurm job and an ECS task\n"
	    "TERM is a notice.\n"
	    "Exit: 0 TERM, or an event was heard (--once, --timeout) and its commands ended well;\n"
	    "1 --timeout passed without one, or a command failed; 2 usage, or nothing to watch;\n"
	    "3 stdout cannot be written; 130 Ctrl-C.\n",
	.options = watch_options,
	.run = watch_main,
};
