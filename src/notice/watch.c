#include "notice/watch.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/curl.h"
#include "base/sys.h"
#include "notice/dates.h"
#include "notice/detect.h"
#include "notice/source.h"

enum {
	SOURCES_MAX = 8,
	WORDS_MAX = 64,
	STACK_BYTES = 512 << 10,
	CONNECT_MS = 1500,
	LONGEST_WAIT_MS = 60000,
};

static const struct notice_source *const watch_sources[] = {&source_aws, &source_gcp, &source_azure,
	&source_kubernetes};
static const unsigned watch_bits[] = {NOTICE_ON_AWS, NOTICE_ON_GCP, NOTICE_ON_AZURE,
	NOTICE_ON_KUBERNETES};
enum { N_SOURCES = sizeof(watch_sources) / sizeof(watch_sources[0]) };

/* One conversation. */
struct talk {
	struct watched *s;
	unsigned line;
	CURL *easy;                /* NULL before its first question */
	struct curl_slist *headers;
	struct source_ask ask;
	bool open;                 /* asked, and not answered yet */
	bool last;                 /* it is an acknowledgement */
	bool too_large;
	struct buf body;
	char etag[64];
	bool flavor_google;
	int64_t date_unix_ms;
	int64_t date_boot_ms;      /* when that came */
	char problem[CURL_ERROR_SIZE];
};

struct watched {
	struct source_sink sink;   /* first */
	struct notice_watch *w;
	const struct notice_source *of;
	void *state;
	struct source_place place;
	char trouble[256];         /* the last one that was said */
	struct talk talk[SOURCE_LINES_MAX + 1]; /* the last one for acknowledgements */
};

struct notice_watch {
	const struct curl_api *curl;
	CURLM *multi;
	unsigned platforms;
	struct watched *source[SOURCES_MAX];
	size_t n_sources;
	pthread_t thread;
	bool running;
	int event_fd;
	atomic_bool stop;
	atomic_bool acknowledge;
	pthread_mutex_t lock;
	pthread_cond_t told;       /* acknowledgements are through */
	bool ack_done;
	bool ack_heard;
	struct notice_word word[WORDS_MAX]; /* a ring, under the lock */
	size_t first;
	size_t n_words;
};

/* ---- words, from the thread to whoever takes them ---- */

static void watch_put_word(struct notice_watch *w, const struct notice_word *word)
{
	uint64_t one = 1;

	(void)pthread_mutex_lock(&w->lock);
	/* Nobody takes them: the newest counts. */
	if (w->n_words == WORDS_MAX) {
		w->first = (w->first + 1) % WORDS_MAX;
		w->n_words--;
	}
	w->word[(w->first + w->n_words++) % WORDS_MAX] = *word;
	(void)pthread_mutex_unlock(&w->lock);
	(void)!write(w->event_fd, &one, sizeof(one));
}

bool notice_watch_take(struct notice_watch *w, struct notice_word *out)
{
	uint64_t count;
	bool any;

	if (w->event_fd == -1)
		return false;
	(void)pthread_mutex_lock(&w->lock);
	any = w->n_words > 0;
	if (any) {
		*out = w->word[w->first];
		w->first = (w->first + 1) % WORDS_MAX;
		w->n_words--;
	}
	if (w->n_words == 0)
		(void)!read(w->event_fd, &count, sizeof(count));
	(void)pthread_mutex_unlock(&w->lock);
	return any;
}

static void sink_event(struct source_sink *sink, const struct notice *n)
{
	struct notice_word word = {.kind = NOTICE_WORD_EVENT, .event = *n};

	watch_put_word(((struct watched *)sink)->w, &word);
}

static void sink_machine(struct source_sink *sink, const struct notice_machine *m)
{
	struct notice_word word = {.kind = NOTICE_WORD_MACHINE, .machine = *m};

	watch_put_word(((struct watched *)sink)->w, &word);
}

static void sink_trouble(struct source_sink *sink, const char *text)
{
	struct watched *s = (struct watched *)sink;
	struct notice_word word = {.kind = NOTICE_WORD_TROUBLE};

	if (strcmp(text, s->trouble) == 0)
		return;
	(void)snprintf(s->trouble, sizeof(s->trouble), "%s", text);
	(void)snprintf(word.trouble, sizeof(word.trouble), "%s", text);
	(void)snprintf(word.machine.source, sizeof(word.machine.source), "%s", s->of->name);
	watch_put_word(s->w, &word);
}

static void sink_hint(struct source_sink *sink, const char *text)
{
	struct watched *s = (struct watched *)sink;
	struct notice_word word = {.kind = NOTICE_WORD_HINT};

	(void)snprintf(word.trouble, sizeof(word.trouble), "%s", text);
	(void)snprintf(word.machine.source, sizeof(word.machine.source), "%s", s->of->name);
	watch_put_word(s->w, &word);
}

/* ---- one question ---- */

static void fill_answer(const struct talk *t, struct source_answer *a)
{
	memset(a, 0, sizeof(*a));
	a->body = t->body.data == NULL ? "" : t->body.data;
	a->len = t->body.len;
	a->etag = t->etag;
	a->flavor_google = t->flavor_google;
	a->now_boot_ms = sys_boot_ns() / 1000000;
	/* A line of an answer may come long after its headers. */
	if (t->date_unix_ms != 0)
		a->date_unix_ms = t->date_unix_ms + a->now_boot_ms - t->date_boot_ms;
	a->now_unix_ms = sys_wall_ns() / 1000000;
}

/* Hands on the lines that are whole. */
static void give_lines(struct talk *t)
{
	struct source_answer a;
	long code = 0;
	char *end;

	(void)t->s->w->curl->easy_info(t->easy, CURLINFO_RESPONSE_CODE, &code);
	while (code == 200 && t->body.len > 0 &&
	    (end = memchr(t->body.data, '\n', t->body.len)) != NULL) {
		size_t len = (size_t)(end - t->body.data);

		*end = '\0';
		fill_answer(t, &a);
		a.status = (int)code;
		a.len = len;
		a.partial = true;
		t->s->of->answer(t->s->state, t->line, &a, &t->s->sink);
		memmove(t->body.data, end + 1, t->body.len - len); /* with the NUL */
		t->body.len -= len + 1;
	}
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct talk *t = arg;

	if (t->body.len + size * n > SOURCE_ANSWER_MAX) {
		t->too_large = true;
		return 0;
	}
	buf_append(&t->body, data, size * n);
	if (t->body.failed)
		return 0;
	if (t->ask.by_lines && !t->last)
		give_lines(t);
	return size * n;
}

/* The value of a header of that name, without blanks around it. */
static bool header_is(const char *line, size_t len, const char *name, char *out, size_t size)
{
	size_t name_len = strlen(name);

	if (len <= name_len || line[name_len] != ':' || strncasecmp(line, name, name_len) != 0)
		return false;
	line += name_len + 1;
	len -= name_len + 1;
	while (len > 0 && (*line == ' ' || *line == '\t')) {
		line++;
		len--;
	}
	while (len > 0 && strchr("\r\n \t", line[len - 1]) != NULL)
		len--;
	if (len >= size)
		return false;
	memcpy(out, line, len);
	out[len] = '\0';
	return true;
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
	struct talk *t = arg;
	char value[64];

	if (header_is(data, size * n, "Date", value, sizeof(value))) {
		if (!date_http(value, &t->date_unix_ms))
			t->date_unix_ms = 0;
		t->date_boot_ms = sys_boot_ns() / 1000000;
	} else if (header_is(data, size * n, "ETag", value, sizeof(value))) {
		memcpy(t->etag, value, sizeof(value));
	} else if (header_is(data, size * n, "Metadata-Flavor", value, sizeof(value))) {
		t->flavor_google = strcmp(value, "Google") == 0;
	}
	return size * n;
}

static bool make_easy(struct talk *t)
{
	const struct curl_api *c = t->s->w->curl;

	if (t->easy != NULL)
		return true;
	t->easy = c->easy_init();
	if (t->easy == NULL)
		return false;
	(void)c->easy_set(t->easy, CURLOPT_WRITEFUNCTION, on_body);
	(void)c->easy_set(t->easy, CURLOPT_WRITEDATA, t);
	(void)c->easy_set(t->easy, CURLOPT_HEADERFUNCTION, on_header);
	(void)c->easy_set(t->easy, CURLOPT_HEADERDATA, t);
	(void)c->easy_set(t->easy, CURLOPT_PRIVATE, t);
	(void)c->easy_set(t->easy, CURLOPT_ERRORBUFFER, t->problem);
	(void)c->easy_set(t->easy, CURLOPT_NOSIGNAL, 1L);
	(void)c->easy_set(t->easy, CURLOPT_NOPROXY, "*");
	(void)c->easy_set(t->easy, CURLOPT_FOLLOWLOCATION, 0L);
	(void)c->easy_set(t->easy, CURLOPT_PROTOCOLS_STR, "http,https");
	(void)c->easy_set(t->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
	(void)c->easy_set(t->easy, CURLOPT_BUFFERSIZE, 4096L);
	(void)c->easy_set(t->easy, CURLOPT_USERAGENT, "ebb/" EBB_VERSION);
	(void)c->easy_set(t->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	(void)c->easy_set(t->easy, CURLOPT_TCP_KEEPALIVE, 1L);
	/* An end does not wait for a name server. */
	(void)c->easy_set(t->easy, CURLOPT_QUICK_EXIT, 1L);
	if (t->s->place.ca_file[0] != '\0')
		(void)c->easy_set(t->easy, CURLOPT_CAINFO, t->s->place.ca_file);
	return true;
}

static bool fill_easy(struct talk *t)
{
	const struct curl_api *c = t->s->w->curl;
	const struct source_ask *ask = &t->ask;
	char url[SOURCE_PATH_SIZE + 256];
	bool post = strcmp(ask->method, "GET") != 0;
	size_t i;

	c->slist_free(t->headers);
	t->headers = NULL;
	for (i = 0; i < ask->n_headers; i++) {
		struct curl_slist *l = c->slist_append(t->headers, ask->header[i]);

		if (l == NULL)
			return false;
		t->headers = l;
	}
	if ((size_t)snprintf(url, sizeof(url), "%s%s", t->s->place.endpoint, ask->path) >= sizeof(url))
		return false;
	if (post) {
		(void)c->easy_set(t->easy, CURLOPT_POSTFIELDSIZE, (long)strlen(ask->body));
		(void)c->easy_set(t->easy, CURLOPT_POSTFIELDS, ask->body);
	} else {
		(void)c->easy_set(t->easy, CURLOPT_HTTPGET, 1L);
	}
	(void)c->easy_set(t->easy, CURLOPT_CUSTOMREQUEST, ask->method);
	(void)c->easy_set(t->easy, CURLOPT_HTTPHEADER, t->headers);
	(void)c->easy_set(t->easy, CURLOPT_TIMEOUT_MS, (long)ask->timeout_ms);
	return c->easy_set(t->easy, CURLOPT_URL, url) == CURLE_OK;
}

/* False when there is no memory; it is tried again. */
static bool begin_talk(struct talk *t)
{
	buf_clear(&t->body);
	t->too_large = false;
	t->etag[0] = '\0';
	t->flavor_google = false;
	t->date_unix_ms = 0;
	t->problem[0] = '\0';
	t->open = make_easy(t) && fill_easy(t) &&
	    t->s->w->curl->multi_add(t->s->w->multi, t->easy) == CURLM_OK;
	return t->open;
}

static enum source_fault fault_of(const struct talk *t, CURLcode code)
{
	if (t->too_large)
		return SOURCE_TOO_LARGE;
	if (code == CURLE_OK)
		return SOURCE_ANSWERED;
	return code == CURLE_OPERATION_TIMEDOUT ? SOURCE_TIMED_OUT : SOURCE_NO_ANSWER;
}

static void end_acknowledgement(struct notice_watch *w, bool heard)
{
	(void)pthread_mutex_lock(&w->lock);
	w->ack_done = true;
	w->ack_heard = w->ack_heard || heard;
	(void)pthread_cond_broadcast(&w->told);
	(void)pthread_mutex_unlock(&w->lock);
}

/* curl's words, without how long it took: the same trouble is said once. */
static const char *reason_of(struct talk *t, CURLcode code)
{
	char *at = strstr(t->problem, " after ");
	char *end = at == NULL ? NULL : at + 7 + strspn(at + 7, "0123456789");

	if (end != NULL && end > at + 7 && strncmp(end, " ms", 3) == 0)
		memmove(at, end + 3, strlen(end + 3) + 1);
	return t->problem[0] != '\0' ? t->problem : t->s->w->curl->easy_text(code);
}

static void end_talk(struct talk *t, CURLcode code)
{
	const struct curl_api *c = t->s->w->curl;
	struct source_answer a;
	long status = 0;

	(void)c->easy_info(t->easy, CURLINFO_RESPONSE_CODE, &status);
	(void)c->multi_remove(t->s->w->multi, t->easy);
	t->open = false;
	fill_answer(t, &a);
	a.fault = fault_of(t, code);
	a.why = reason_of(t, code);
	a.status = (int)status;
	if (t->last)
		end_acknowledgement(t->s->w, code == CURLE_OK && status == 200);
	else
		t->s->of->answer(t->s->state, t->line, &a, &t->s->sink);
}

/* ---- the thread ---- */

/* Asks what is due; the earliest moment at which something else will be. */
static int64_t ask_due(struct watched *s, int64_t now)
{
	int64_t next = now + LONGEST_WAIT_MS;
	unsigned i;

	for (i = 0; i < s->of->n_lines; i++) {
		struct talk *t = &s->talk[i];

		if (t->open)
			continue;
		s->of->ask(s->state, i, now, &t->ask);
		if (t->ask.at_boot_ms <= now && !begin_talk(t))
			t->ask.at_boot_ms = now + 1000;
		if (!t->open && t->ask.at_boot_ms < next)
			next = t->ask.at_boot_ms;
	}
	return next;
}

static void ask_to_acknowledge(struct notice_watch *w)
{
	bool any = false;
	size_t i;

	for (i = 0; i < w->n_sources; i++) {
		struct watched *s = w->source[i];
		struct talk *t = &s->talk[SOURCE_LINES_MAX];

		if (s->of->acknowledge == NULL || t->open || !s->of->acknowledge(s->state, &t->ask))
			continue;
		t->last = true;
		any = begin_talk(t) || any;
	}
	if (!any)
		end_acknowledgement(w, false);
}

static void take_answers(struct notice_watch *w)
{
	CURLMsg *m;
	int left;

	while ((m = w->curl->multi_read(w->multi, &left)) != NULL) {
		CURLcode code = m->data.result;
		char *p = NULL;

		if (m->msg != CURLMSG_DONE)
			continue;
		(void)w->curl->easy_info(m->easy_handle, CURLINFO_PRIVATE, &p);
		end_talk((struct talk *)(void *)p, code);
	}
}

/* In the thread too: what is said to the other side at the end of a connection may raise
 * SIGPIPE, which is blocked here. */
static void drop_talks(struct notice_watch *w, struct watched *s)
{
	unsigned i;

	for (i = 0; i <= SOURCE_LINES_MAX; i++) {
		struct talk *t = &s->talk[i];

		if (t->open)
			(void)w->curl->multi_remove(w->multi, t->easy);
		if (t->easy != NULL)
			w->curl->easy_cleanup(t->easy);
		t->easy = NULL;
		t->open = false;
	}
}

static void *watch_thread(void *arg)
{
	struct notice_watch *w = arg;
	size_t i;

	while (!atomic_load(&w->stop)) {
		int64_t now = sys_boot_ns() / 1000000;
		int64_t next = now + LONGEST_WAIT_MS;
		int running;

		if (atomic_exchange(&w->acknowledge, false))
			ask_to_acknowledge(w);
		for (i = 0; i < w->n_sources; i++) {
			int64_t at = ask_due(w->source[i], now);

			next = at < next ? at : next;
		}
		(void)w->curl->multi_perform(w->multi, &running);
		take_answers(w);
		now = sys_boot_ns() / 1000000;
		/* An answer makes the next question due. */
		for (i = 0; i < w->n_sources; i++) {
			int64_t at = ask_due(w->source[i], now);

			next = at < next ? at : next;
		}
		(void)w->curl->multi_poll(w->multi, NULL, 0, next <= now ? 0 : (int)(next - now), NULL);
	}
	for (i = 0; i < w->n_sources; i++)
		drop_talks(w, w->source[i]);
	(void)w->curl->multi_cleanup(w->multi);
	w->multi = NULL;
	return NULL;
}

/* ---- which ones ---- */

const char *notice_watch_names(void)
{
	return "auto, none, aws, gcp, azure, kubernetes";
}

static int source_number(const char *name, size_t len)
{
	int i;

	for (i = 0; i < N_SOURCES; i++) {
		if (strlen(watch_sources[i]->name) == len &&
		    strncmp(watch_sources[i]->name, name, len) == 0)
			return i;
	}
	return -1;
}

/* As tools write it: a URL, or a host with or without a port. */
static enum status set_endpoint(const struct notice_source *of, const char *text, size_t len,
    struct source_place *out, struct error *e)
{
	bool url = len > 7 && (strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0);
	size_t i;

	while (len > 0 && text[len - 1] == '/')
		len--;
	for (i = 0; i < len; i++) {
		if (text[i] <= ' ' || text[i] > '~' || strchr("\"<>\\^`{|}@?#", text[i]) != NULL)
			break;
	}
	if (i < len || len == 0 || len + 8 >= sizeof(out->endpoint) ||
	    (!url && memmem(text, len, "://", 3) != NULL))
		return error_set(e, ST_CONFIG, "the endpoint of %s is no URL such as %s", of->name,
		    of->endpoint != NULL ? of->endpoint : "https://10.0.0.1:443");
	(void)snprintf(out->endpoint, sizeof(out->endpoint), "%s%.*s", url ? "" : "http://", (int)len,
	    text);
	return ST_OK;
}

/* What was named, else the variable of the platform's own tools, else where it always is. */
static enum status watch_find_place(const struct notice_source *of, const char *where,
    size_t where_len, struct source_place *out, struct error *e)
{
	const char *env = of->endpoint_env == NULL ? NULL : getenv(of->endpoint_env);
	enum status st = of->find == NULL ? ST_OK : of->find(out, e);

	if (st != ST_OK)
		return st;
	if (where != NULL)
		return set_endpoint(of, where, where_len, out, e);
	if (env != NULL && env[0] != '\0')
		return set_endpoint(of, env, strlen(env), out, e);
	if (of->endpoint != NULL)
		return set_endpoint(of, of->endpoint, strlen(of->endpoint), out, e);
	return out->endpoint[0] != '\0' ? ST_OK
	    : error_set(e, ST_NOT_FOUND, "nothing says where %s is", of->name);
}

static enum status add_source(struct notice_watch *w, int number, const char *where,
    size_t where_len, const struct notice_watch_options *opt, struct error *e)
{
	const struct notice_source *of = watch_sources[number];
	struct source_config config = {.poll_ms = opt->poll_ms};
	struct source_place place = {{0}, {0}};
	struct watched *s;
	enum status st;
	unsigned i;

	if (w->platforms & watch_bits[number])
		return ST_OK; /* named twice */
	st = watch_find_place(of, where, where_len, &place, e);
	if (st != ST_OK)
		return st;
	s = mem_zero(sizeof(*s));
	if (s == NULL || (s->state = mem_zero(of->state_size)) == NULL) {
		free(s);
		return error_set(e, ST_NO_MEMORY, "out of memory");
	}
	w->source[w->n_sources++] = s;
	w->platforms |= watch_bits[number];
	s->sink = (struct source_sink){sink_event, sink_machine, sink_trouble, sink_hint};
	s->w = w;
	s->of = of;
	s->place = place;
	for (i = 0; i <= SOURCE_LINES_MAX; i++)
		s->talk[i] = (struct talk){.s = s, .line = i};
	config.endpoint = s->place.endpoint;
	of->begin(s->state, &config);
	return ST_OK;
}

static enum status add_named(struct notice_watch *w, const struct notice_watch_options *opt,
    struct error *e)
{
	const char *p = opt->sources;
	enum status st = ST_OK;

	while (st == ST_OK && *p != '\0') {
		size_t len = strcspn(p, ",");
		const char *eq = memchr(p, '=', len);
		size_t name_len = eq == NULL ? len : (size_t)(eq - p);
		int number = source_number(p, name_len);

		if (number < 0)
			return error_set(e, ST_CONFIG, "there is no source of notices \"%.*s\"; there are: %s",
			    name_len > 40 ? 40 : (int)name_len, p, notice_watch_names());
		st = add_source(w, number, eq == NULL ? NULL : eq + 1, eq == NULL ? 0
		    : (size_t)(p + len - eq - 1), opt, e);
		p += len;
		p += *p == ',';
	}
	return st;
}

static enum status add_sources(struct notice_watch *w, const struct notice_watch_options *opt,
    struct error *e)
{
	unsigned found = notice_detect(opt->sysfs == NULL ? "/sys" : opt->sysfs);
	enum status st = ST_OK;
	int i;

	if (opt->sources != NULL && strcmp(opt->sources, "none") == 0)
		return ST_OK;
	if (opt->sources != NULL && strcmp(opt->sources, "auto") != 0)
		return add_named(w, opt, e);
	for (i = 0; st == ST_OK && i < N_SOURCES; i++) {
		if (!(found & watch_bits[i]))
			continue;
		st = add_source(w, i, NULL, 0, opt, e);
		if (st == ST_NOT_FOUND) /* a pod without a service account: TERM is left */
			st = ST_OK;
	}
	w->platforms |= found;
	return st;
}

/* ---- beginning and end ---- */

static enum status begin_thread(struct notice_watch *w, struct error *e)
{
	pthread_attr_t attr;
	sigset_t all;
	sigset_t before;
	int err;

	w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->multi = w->curl->multi_init();
	if (w->event_fd == -1 || w->multi == NULL)
		return error_set(e, ST_NO_MEMORY, "cannot watch for notices: out of memory or descriptors");
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&w->thread, &attr, watch_thread, w);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)pthread_attr_destroy(&attr);
	if (err != 0)
		return error_os(e, err, "cannot watch for notices: no thread");
	w->running = true;
	return ST_OK;
}

enum status notice_watch_start(const struct notice_watch_options *opt, struct notice_watch **out,
    struct error *e)
{
	struct notice_watch *w = mem_zero(sizeof(*w));
	pthread_condattr_t attr;
	enum status st;

	*out = NULL;
	if (w == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	w->event_fd = -1;
	(void)pthread_mutex_init(&w->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&w->told, &attr);
	(void)pthread_condattr_destroy(&attr);
	st = add_sources(w, opt, e);
	if (st == ST_OK && w->n_sources > 0)
		st = curl_api_get(&w->curl, e);
	if (st == ST_OK && w->n_sources > 0)
		st = begin_thread(w, e);
	if (st != ST_OK) {
		notice_watch_stop(w);
		return st;
	}
	*out = w;
	return ST_OK;
}

static void free_watched(struct notice_watch *w, struct watched *s)
{
	unsigned i;

	for (i = 0; i <= SOURCE_LINES_MAX; i++) {
		struct talk *t = &s->talk[i];

		if (t->headers != NULL)
			w->curl->slist_free(t->headers);
		buf_free(&t->body);
		explicit_bzero(&t->ask, sizeof(t->ask));
	}
	if (s->of->end != NULL)
		s->of->end(s->state);
	free(s->state);
	free(s);
}

void notice_watch_stop(struct notice_watch *w)
{
	size_t i;

	if (w == NULL)
		return;
	if (w->running) {
		atomic_store(&w->stop, true);
		(void)w->curl->multi_wakeup(w->multi);
		(void)pthread_join(w->thread, NULL);
	}
	for (i = 0; i < w->n_sources; i++)
		free_watched(w, w->source[i]);
	if (w->multi != NULL)
		(void)w->curl->multi_cleanup(w->multi);
	if (w->event_fd != -1)
		(void)sys_close(w->event_fd);
	(void)pthread_cond_destroy(&w->told);
	(void)pthread_mutex_destroy(&w->lock);
	free(w);
}

unsigned notice_watch_platforms(const struct notice_watch *w)
{
	return w->platforms;
}

int notice_watch_fd(const struct notice_watch *w)
{
	return w->event_fd;
}

bool notice_watch_acknowledge(struct notice_watch *w, int64_t timeout_ms)
{
	struct timespec until;
	bool heard;
	int err = 0;

	if (!w->running)
		return false;
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(timeout_ms / 1000);
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	(void)pthread_mutex_lock(&w->lock);
	w->ack_done = false;
	w->ack_heard = false;
	atomic_store(&w->acknowledge, true);
	(void)w->curl->multi_wakeup(w->multi);
	while (!w->ack_done && err == 0)
		err = pthread_cond_timedwait(&w->told, &w->lock, &until);
	heard = w->ack_heard;
	(void)pthread_mutex_unlock(&w->lock);
	return heard;
}

