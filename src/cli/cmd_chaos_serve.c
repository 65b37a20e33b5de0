/* ebb chaos serve: the metadata service of machines that are not there. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/sys.h"
#include "chaos/cloud.h"
#include "chaos/command.h"
#include "chaos/serve.h"
#include "cli/cmd_chaos.h"
#include "cli/common.h"

enum {
	CHAOS_TRIGGER_MAX = 64 << 10,
	CHAOS_SHOWN_MAX = 512, /* bytes of a path: a line fits into one write to a pipe */
	CHAOS_LOOK_MS = 20,    /* how often the trigger file is looked for without inotify */
};

struct chaos_serve_values {
	int64_t port;
	int64_t count;
	int64_t seed;
	const char *bind;
	const char *action;
	const char *lifecycle;
	const char *imds;
	const char *malformed;
	const char *trigger;
	const char *ready_file;
	bool log;
	struct instance_options instance;
	struct fault_options fault;
};

#define AT(field) offsetof(struct chaos_serve_values, field)
#define DAYS_MAX (INT64_C(30) * 24 * 3600 * 1000)

static const struct option chaos_serve_options[] = {
	{'p', "port", OPTION_COUNT, AT(port), "N",
	    "listen at this port, further machines at those after it (0: free ones)", NULL, 0, 65535},
	{0, "bind", OPTION_TEXT, AT(bind), "ADDRESS", "listen at this address (127.0.0.1)"},
	{0, "count", OPTION_COUNT, AT(count), "N", "play so many machines (1)", NULL, 1,
	    SERVE_COUNT_MAX},
	{0, "notice-after", OPTION_DURATION, AT(instance.notice_after_ms), "TIME",
	    "give notice of the interruption after TIME (never)", NULL, 0, DAYS_MAX},
	{0, "notice-window", OPTION_DURATION, AT(instance.window_ms), "TIME",
	    "from notice to end (aws 120s, gcp 30s, azure 30s)", NULL, 0, DAYS_MAX},
	{0, "rebalance-after", OPTION_DURATION, AT(instance.rebalance_after_ms), "TIME",
	    "aws: recommend to rebalance after TIME (never)", NULL, 0, DAYS_MAX},
	{0, "maintenance-after", OPTION_DURATION, AT(instance.maintenance_after_ms), "TIME",
	    "announce maintenance after TIME (never)", NULL, 0, DAYS_MAX},
	{0, "withdraw-after", OPTION_DURATION, AT(instance.withdraw_after_ms), "TIME",
	    "take a notice back TIME after it was given (never)", NULL, 0, DAYS_MAX},
	{0, "action", OPTION_CHOICE, AT(action), "WHAT",
	    "what the notice says: terminate, stop, or hibernate (aws)", "terminate|stop|hibernate"},
	{0, "trigger", OPTION_TEXT, AT(trigger), "FILE",
	    "do what is written into FILE, a command a line, and remove it"},
	{0, "log", OPTION_FLAG, AT(log), NULL, "print a line of JSON for each request"},
	{0, "ready-file", OPTION_TEXT, AT(ready_file), "FILE",
	    "write the first lines of stdout into FILE too"},
	{0, "instance-id", OPTION_TEXT, AT(instance.id), "ID", "id, or name, of the machine"},
	{0, "instance-type", OPTION_TEXT, AT(instance.type), "TYPE", "its type"},
	{0, "zone", OPTION_TEXT, AT(instance.zone), "ZONE",
	    "its zone (us-east-1a, us-central1-a, eastus-1)"},
	{0, "lifecycle", OPTION_CHOICE, AT(lifecycle), "WHAT", "spot or on-demand (spot)",
	    "spot|on-demand"},
	{0, "imds", OPTION_CHOICE, AT(imds), "WHICH",
	    "aws: v2 demands a token, v1 answers without one too (v2)", "v1|v2"},
	{0, "token-ttl", OPTION_DURATION, AT(instance.token_ttl_ms), "TIME",
	    "aws: no token lives longer (as long as asked for)", NULL, 1000, DAYS_MAX},
	{0, "drop-token", OPTION_FLAG, AT(fault.drop_token), NULL,
	    "aws: never answer requests for a token, as a hop limit of 1 does"},
	{0, "iam-role", OPTION_TEXT, AT(instance.iam_role), "NAME",
	    "aws: serve keys of this role that open nothing"},
	{0, "autoscaling", OPTION_FLAG, AT(instance.autoscaling), NULL,
	    "aws: the machine is in an Auto Scaling group"},
	{0, "foreign", OPTION_FLAG, AT(instance.foreign), NULL,
	    "azure: list an event of another machine too"},
	{0, "first-delay", OPTION_DURATION, AT(instance.first_delay_ms), "TIME",
	    "azure: answer the first call for events so late (0s)", NULL, 0, DAYS_MAX},
	{0, "latency", OPTION_DURATION, AT(fault.latency_ms), "TIME", "answer everything so late (0s)",
	    NULL, 0, DAYS_MAX},
	{0, "errors", OPTION_COUNT, AT(fault.errors_percent), "PERCENT",
	    "answer so many requests with 500 or 503 (0)", NULL, 0, 100},
	{0, "malformed", OPTION_TEXT, AT(malformed), "PERCENT|KIND",
	    "spoil answers: json, huge, endless, type, redirect; 10, huge, or 10:huge"},
	{0, "seed", OPTION_COUNT, AT(seed), "N", "draw these faults again (one that is printed)", NULL,
	    0, INT64_MAX},
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

/* ---- lines on stdout ---- */

/* Each line is one write, so that those of several threads do not mix. Whoever does
 * not read them any more is no reason to end. */
static void chaos_say(struct buf *b)
{
	if (!b->failed && b->len > 0)
		(void)!file_write_all(STDOUT_FILENO, b->data, b->len, "stdout", NULL);
	buf_free(b);
}

static void chaos_record(void *arg, const struct serve_record *r)
{
	size_t len = strlen(r->path);
	struct buf b = {0};

	(void)arg;
	buf_printf(&b, "{\"time_ms\":%lld,\"instance\":%d,\"method\":\"%s\",\"path\":",
	    (long long)r->wall_ms, r->instance, r->method);
	str_json(&b, r->path, len < CHAOS_SHOWN_MAX ? len : CHAOS_SHOWN_MAX);
	if (r->waits)
		buf_str(&b, ",\"waits\":true}\n");
	else
		buf_printf(&b, ",\"status\":%u,\"took_ms\":%lld,\"fault\":\"%s\"}\n", r->status,
		    (long long)r->took_ms, fault_name(r->fault));
	chaos_say(&b);
}

static void chaos_ready_line(const struct serve *s, const struct cloud *cloud, int k, int64_t seed,
    struct buf *b)
{
	const char *const *name;

	buf_printf(b, "{\"ready\":true,\"cloud\":\"%s\",\"instance\":%d,\"id\":", cloud->name, k);
	str_json(b, serve_id(s, k), strlen(serve_id(s, k)));
	buf_printf(b, ",\"endpoint\":\"%s\",\"port\":%d,\"environment\":{", serve_endpoint(s, k, true),
	    serve_port(s, k));
	for (name = cloud->variables; *name != NULL; name++)
		buf_printf(b, "%s\"%s\":\"%s\"", name == cloud->variables ? "" : ",", *name,
		    serve_endpoint(s, k, cloud->variables_are_urls));
	buf_printf(b, "},\"seed\":%lld}\n", (long long)seed);
}

static enum status chaos_ready(const struct serve *s, const struct cloud *cloud,
    const struct chaos_serve_values *v, struct error *e)
{
	struct buf b = {0};
	enum status st;
	int k;

	for (k = 1; k <= (int)v->count; k++)
		chaos_ready_line(s, cloud, k, v->seed, &b);
	st = buf_check(&b, e);
	if (st == ST_OK)
		st = file_write_all(STDOUT_FILENO, b.data, b.len, "stdout", e);
	if (st == ST_OK && v->ready_file != NULL)
		st = file_write_durable(v->ready_file, b.data, b.len, 0644, e);
	buf_free(&b);
	return st;
}

/* ---- the trigger file ---- */

struct chaos_trigger {
	const char *path;   /* NULL: there is none */
	const char *name;   /* the end of it */
	/* inotify on its folder. A user can have but 128 of these on a whole machine, and
	 * others use them too: at -1 the file is looked for again and again. */
	int fd;
	struct file_version seen; /* then: as it was at the last look */
};

static enum status chaos_trigger_open(struct chaos_trigger *t, const char *path, struct error *e)
{
	struct buf folder = {0};
	const char *slash;
	enum status st;

	*t = (struct chaos_trigger){.path = path, .name = "", .fd = -1};
	if (path == NULL)
		return ST_OK;
	slash = strrchr(path, '/');
	t->name = slash == NULL ? path : slash + 1;
	if (t->name[0] == '\0')
		return error_set(e, ST_CONFIG, "--trigger: a file was expected, and \"%s\" is a folder",
		    path);
	file_dirname(path, &folder);
	st = buf_check(&folder, e);
	if (st != ST_OK)
		return st;
	if (access(folder.data, W_OK | X_OK) != 0)
		st = error_os(e, errno, "--trigger: the folder %s", folder.data);
	else
		t->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (t->fd != -1 && inotify_add_watch(t->fd, folder.data, IN_CLOSE_WRITE | IN_MOVED_TO) == -1) {
		(void)sys_close(t->fd);
		t->fd = -1;
	}
	buf_free(&folder);
	return st;
}

/* One line: what was to be done, and whether it was. */
static void chaos_command(struct serve *s, int count, const char *line, size_t len)
{
	struct command c;
	struct error e;
	struct buf b = {0};
	enum status st = command_parse(line, len, count, &c, &e);

	if (st == ST_NOT_FOUND)
		return;
	if (st == ST_OK)
		st = serve_apply(s, &c, &e);
	if (st != ST_OK)
		log_line(LOG_WARN, "a line of the trigger file was not done: %s", e.text);
	buf_str(&b, "{\"command\":");
	str_json(&b, line, len < COMMAND_LINE_MAX ? len : COMMAND_LINE_MAX);
	buf_printf(&b, ",\"done\":%s}\n", st == ST_OK ? "true" : "false");
	chaos_say(&b);
}

/* Moved away before it is read, so that one that is put there meanwhile is not lost. */
static enum status chaos_trigger_take(const struct chaos_trigger *t, struct buf *out,
    struct error *e)
{
	struct buf taken = {0};
	enum status st;

	buf_printf(&taken, "%s.taken", t->path);
	st = buf_check(&taken, e);
	if (st != ST_OK)
		return st;
	if (sys_rename(t->path, taken.data) != 0)
		st = error_os(e, errno, "taking %s away", t->path);
	if (st == ST_OK)
		st = file_read(taken.data, CHAOS_TRIGGER_MAX, out, e);
	if (sys_unlink(taken.data) != 0 && st == ST_OK)
		st = error_os(e, errno, "removing %s", taken.data);
	buf_free(&taken);
	return st;
}

static void chaos_trigger_run(const struct chaos_trigger *t, struct serve *s, int count)
{
	struct buf text = {0};
	struct error e;
	size_t at = 0;

	if (!file_version_of(t->path).exists)
		return;
	if (chaos_trigger_take(t, &text, &e) != ST_OK) {
		log_line(LOG_WARN, "the trigger file was not done: %s", e.text);
		buf_free(&text);
		return;
	}
	while (text.data != NULL && at < text.len) {
		const char *line = text.data + at;
		const char *end = memchr(line, '\n', text.len - at);
		size_t len = end == NULL ? text.len - at : (size_t)(end - line);

		chaos_command(s, count, line, len);
		at += len + 1;
	}
	buf_free(&text);
}

static void chaos_trigger_event(const struct chaos_trigger *t, struct serve *s, int count)
{
	char events[sizeof(struct inotify_event) + NAME_MAX + 1]
	    __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n = sys_read(t->fd, events, sizeof(events));
	bool is_it = false;
	ssize_t at = 0;

	while (at < n) {
		const struct inotify_event *ev = (const struct inotify_event *)(const void *)(events + at);

		if ((ev->mask & IN_Q_OVERFLOW) != 0 || (ev->len > 0 && strcmp(ev->name, t->name) == 0))
			is_it = true;
		at += (ssize_t)(sizeof(*ev) + ev->len);
	}
	if (is_it)
		chaos_trigger_run(t, s, count);
}

/* Without inotify: a file that has not changed since the last look is complete. */
static void chaos_trigger_look(struct chaos_trigger *t, struct serve *s, int count)
{
	struct file_version now = file_version_of(t->path);

	if (now.exists && file_version_equal(&now, &t->seen)) {
		chaos_trigger_run(t, s, count);
		now.exists = false;
	}
	t->seen = now;
}

/* ---- the verb ---- */

/* Until INT or TERM. */
static void chaos_wait(struct chaos_trigger *t, int signal_fd, struct serve *s, int count)
{
	struct pollfd list[2] = {{.fd = signal_fd, .events = POLLIN}, {.fd = t->fd, .events = POLLIN}};
	bool look = t->path != NULL && t->fd == -1;

	if (t->path != NULL)
		chaos_trigger_run(t, s, count);
	while ((list[0].revents & POLLIN) == 0) {
		int n = poll(list, 2, look ? CHAOS_LOOK_MS : -1);

		if (n > 0 && (list[1].revents & POLLIN) != 0)
			chaos_trigger_event(t, s, count);
		else if (n == 0)
			chaos_trigger_look(t, s, count);
	}
}

static enum status chaos_serve_fill(const char *const *words, struct chaos_serve_values *v,
    struct serve_options *o, struct error *e)
{
	uint32_t random;
	enum status st = ST_OK;

	o->cloud = words[0] == NULL ? NULL : cloud_find(words[0]);
	if (o->cloud == NULL)
		return error_set(e, ST_CONFIG, "which cloud is to be played? ebb chaos serve aws, gcp or "
		    "azure%s%.60s", words[0] == NULL ? "" : ", and not ",
		    words[0] == NULL ? "" : words[0]);
	if (v->malformed != NULL)
		st = fault_parse(v->malformed, &v->fault, e);
	if (st != ST_OK)
		return error_prefix(e, st, "--malformed");
	if (v->fault.drop_token && o->cloud->token_path == NULL)
		return error_set(e, ST_CONFIG, "--drop-token: %s has no tokens to ask for; only aws has",
		    o->cloud->name);
	if (v->action != NULL)
		(void)!command_action_find(v->action, strlen(v->action), &v->instance.action);
	v->instance.on_demand = v->lifecycle != NULL && strcmp(v->lifecycle, "on-demand") == 0;
	v->instance.token_optional = v->imds != NULL && strcmp(v->imds, "v1") == 0;
	if (v->seed < 0) {
		sys_random(&random, sizeof(random));
		v->seed = random;
	}
	v->fault.seed = (uint64_t)v->seed;
	o->count = (int)v->count;
	o->address = v->bind;
	o->port = (int)v->port;
	o->instance = v->instance;
	o->fault = v->fault;
	o->record = v->log ? chaos_record : NULL;
	return ST_OK;
}

static enum status chaos_serve_run(const struct serve_options *o, const struct chaos_serve_values *v,
    int signal_fd, struct error *e)
{
	struct chaos_trigger trigger;
	struct serve *s = NULL;
	enum status st = chaos_trigger_open(&trigger, v->trigger, e);

	if (st == ST_OK)
		st = serve_create(o, &s, e);
	if (st == ST_OK && !serve_is_loopback(s))
		log_line(LOG_WARN, "whoever reaches %s can read and change what is played here: it asks "
		    "for no password", serve_endpoint(s, 1, true));
	if (st == ST_OK)
		st = chaos_ready(s, o->cloud, v, e);
	if (st == ST_OK)
		chaos_wait(&trigger, signal_fd, s, o->count);
	serve_destroy(s);
	if (trigger.fd != -1)
		(void)sys_close(trigger.fd);
	return st;
}

static int chaos_serve_main(int argc, char **argv)
{
	struct chaos_serve_values v = {.count = 1, .seed = -1, .instance = instance_options_default()};
	const char *words[COMMON_WORDS_MAX + 1];
	struct serve_options o = {0};
	struct error e;
	sigset_t ends;
	enum status st;
	int fd;
	int code;

	if (!common_parse(&verb_chaos_serve, argc, argv, &v, words, &code))
		return code;
	st = chaos_serve_fill(words, &v, &o, &e);
	if (st != ST_OK)
		return common_fail(st, &e);
	(void)sigemptyset(&ends);
	(void)sigaddset(&ends, SIGINT);
	(void)sigaddset(&ends, SIGTERM);
	(void)pthread_sigmask(SIG_BLOCK, &ends, NULL);
	fd = signalfd(-1, &ends, SFD_CLOEXEC);
	if (fd == -1)
		st = error_os(&e, errno, "a signalfd");
	else
		st = chaos_serve_run(&o, &v, fd, &e);
	if (fd != -1)
		(void)sys_close(fd);
	return st == ST_OK ? EXIT_DONE : common_fail(st, &e);
}

const struct verb verb_chaos_serve = {
	.name = "chaos serve",
	.max_words = 1,
	.words = "aws|gcp|azure",
	.usage = "ebb chaos serve [options] aws|gcp|azure",
	.summary = "ebb chaos serve: play a cloud's metadata service, and give notice of interruption",
	.text = "It prints a line of JSON for each machine as soon as that can be asked: where it\n"
	    "is, and the variables that lead clients there. INT or TERM ends it.\n"
	    "\nexamples:\n"
	    "  ebb chaos serve aws --port 1338 --notice-after 30s --action terminate\n"
	    "  AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:1338 my-program\n"
	    "  ebb chaos serve gcp --port 1338 --trigger now --log\n"
	    "  GCE_METADATA_HOST=127.0.0.1:1338 my-program & echo notice >now\n"
	    "\nLines of the trigger file, @N for one of several machines:\n"
	    "  notice [TIME] [terminate|stop|hibernate] [@N]   give notice, TIME before the end\n"
	    "  rebalance [@N]     recommend to rebalance (aws)\n"
	    "  maintenance [@N]   announce maintenance\n"
	    "  withdraw [@N]      take all of it back\n"
	    "  end [@N]           the machine is gone: connections close without an answer\n"
	    "\ndocs/chaos.md says what is played and what is not.\n",
	.options = chaos_serve_options,
	.run = chaos_serve_main,
};
