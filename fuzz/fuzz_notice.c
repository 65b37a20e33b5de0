/* What clouds, clusters and senders of events say. The first byte says which of them speaks:
 * moments, a source (its answers follow as records: flags, status, two bytes of length, the
 * body), or a file of events. Whatever they say, what is asked of them is a well-formed
 * question, they are not asked in a circle, and what comes of it is a line of JSON. */
#include <jansson.h>
#include <string.h>

#include "fuzz.h"
#include "notice/dates.h"
#include "notice/event.h"
#include "notice/source.h"

enum { ANSWERS_MAX = 200, AT_ONCE_MAX = 64, NOW_UNIX_MS = 1795335600 };

static int64_t now_ms;

static void check_printable(const char *text, size_t size)
{
	size_t len = strnlen(text, size);
	size_t i;

	MUST(len < size);
	for (i = 0; i < len; i++)
		MUST((unsigned char)text[i] >= 0x20 && text[i] != 0x7f);
}

static void check_event(struct source_sink *s, const struct notice *n)
{
	struct buf line = {0};
	struct buf words = {0};
	json_t *o;

	(void)s;
	MUST(n->kind < NOTICE_KINDS && n->was < NOTICE_KINDS && n->action < NOTICE_ACTIONS);
	check_printable(n->id, sizeof(n->id));
	check_printable(n->detail, sizeof(n->detail));
	check_printable(n->source, sizeof(n->source));
	MUST(n->deadline_boot_ms == 0 || n->deadline_boot_ms >= n->seen_boot_ms);
	MUST(notice_response(n, now_ms) <= NOTICE_RELAX);
	notice_json(n, now_ms, &line);
	MUST(!line.failed && strchr(line.data, '\n') == NULL);
	o = json_loads(line.data, 0, NULL);
	MUST(json_is_object(o));
	json_decref(o);
	notice_say(n, now_ms, &words);
	buf_free(&words);
	buf_free(&line);
}

static void check_machine(struct source_sink *s, const struct notice_machine *m)
{
	(void)s;
	check_printable(m->node, sizeof(m->node));
	check_printable(m->zone, sizeof(m->zone));
	check_printable(m->type, sizeof(m->type));
	MUST(strcmp(m->lifecycle, "") == 0 || strcmp(m->lifecycle, "spot") == 0 ||
	    strcmp(m->lifecycle, "on-demand") == 0);
}

static void check_text(struct source_sink *s, const char *text)
{
	(void)s;
	check_printable(text, 256);
}

static void check_ask(const struct source_ask *ask)
{
	size_t i;

	check_printable(ask->path, sizeof(ask->path));
	MUST(ask->path[0] == '/' && strchr(ask->path, ' ') == NULL);
	MUST(ask->n_headers <= SOURCE_HEADERS_MAX && ask->timeout_ms > 0);
	for (i = 0; i < ask->n_headers; i++)
		check_printable(ask->header[i], sizeof(ask->header[i]));
}

struct input {
	const uint8_t *p;
	size_t left;
};

static unsigned take_byte(struct input *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->p++;
}

/* flags: 1 no answer, 2 timed out, 4 partial, 8 no Google, 16 an hour passes, 32 the ETag is
 * the body, 64 no date, 128 the machine's clock jumps. */
static char *take_answer(struct input *in, unsigned flags, struct source_answer *a)
{
	static const int statuses[] = {200, 404, 401, 403, 500, 302, 410, 204};
	unsigned status = take_byte(in);
	size_t len = take_byte(in) * 256;
	char *body;

	len += take_byte(in);
	if (len > in->left)
		len = in->left;
	body = malloc(len + 1);
	if (body == NULL)
		abort();
	memcpy(body, in->p, len);
	body[len] = '\0';
	in->p += len;
	in->left -= len;
	memset(a, 0, sizeof(*a));
	a->fault = flags & 1 ? SOURCE_NO_ANSWER : flags & 2 ? SOURCE_TIMED_OUT : SOURCE_ANSWERED;
	a->why = "it broke";
	a->status = a->fault == SOURCE_ANSWERED ? statuses[status % 8] : 0;
	a->body = body;
	a->len = len;
	a->partial = (flags & 4) != 0 && a->status == 200;
	a->etag = flags & 32 && len < 64 ? body : "e1";
	a->flavor_google = (flags & 8) == 0;
	a->now_boot_ms = now_ms;
	a->now_unix_ms = NOW_UNIX_MS * INT64_C(1000) + (flags & 128 ? -7200000 : 0);
	a->date_unix_ms = flags & 64 ? 0 : NOW_UNIX_MS * INT64_C(1000);
	return body;
}

static void converse(const struct notice_source *of, struct input *in)
{
	struct source_sink sink = {check_event, check_machine, check_text, check_text};
	const struct source_config config = {.endpoint = "https://127.0.0.1"};
	void *state = calloc(1, of->state_size);
	struct source_ask *ask = calloc(1, sizeof(*ask));
	int at_once = 0;
	int i;

	if (state == NULL || ask == NULL)
		abort();
	now_ms = 100000;
	of->begin(state, &config);
	for (i = 0; i < ANSWERS_MAX && in->left > 0; i++) {
		unsigned flags = take_byte(in);
		unsigned line = of->n_lines > 1 && (i & 1) ? 1 : 0;
		struct source_answer a;
		char *body;

		of->ask(state, line, now_ms, ask);
		check_ask(ask);
		at_once = ask->at_boot_ms > now_ms ? 0 : at_once + 1;
		MUST(at_once < AT_ONCE_MAX);
		if (ask->at_boot_ms > now_ms)
			now_ms = ask->at_boot_ms < now_ms + 3600000 ? ask->at_boot_ms : now_ms + 3600000;
		now_ms += flags & 16 ? 3600000 : 0;
		body = take_answer(in, flags, &a);
		if (a.partial && !ask->by_lines)
			a.partial = false;
		if (a.partial)
			at_once = 0;
		of->answer(state, line, &a, &sink);
		free(body);
		if (of->acknowledge != NULL && of->acknowledge(state, ask)) {
			json_t *o = json_loads(ask->body, 0, NULL);

			MUST(json_is_object(o));
			json_decref(o);
		}
	}
	if (of->end != NULL)
		of->end(state);
	free(state);
	free(ask);
}

static void read_moments(struct input *in)
{
	char *text = malloc(in->left + 1);
	int64_t at = -1;

	if (text == NULL)
		abort();
	memcpy(text, in->p, in->left);
	text[in->left] = '\0';
	if (date_rfc3339(text, &at))
		MUST(at > -86400000 && at < INT64_C(253402387200000));
	if (date_http(text, &at))
		MUST(at >= 0 && at < INT64_C(253402387200000) && at % 1000 == 0);
	free(text);
}

static void read_events(struct input *in)
{
	struct event_list l = {NULL, 0, 0};
	char *text = malloc(in->left + 1);
	struct error e;
	size_t i;
	size_t k;

	if (text == NULL)
		abort();
	memcpy(text, in->p, in->left);
	if (event_read(text, in->left, NOW_UNIX_MS * INT64_C(1000), &l, &e) != ST_OK) {
		MUST(l.n == 0);
		check_printable(e.text, sizeof(e.text));
	}
	for (i = 0; i < l.n; i++) {
		const struct event *ev = &l.list[i];

		check_printable(ev->problem, sizeof(ev->problem));
		if (ev->problem[0] != '\0')
			continue;
		MUST(ev->kind < NOTICE_KINDS && ev->n_names <= EVENT_NAMES && ev->left_ms >= 0);
		MUST(ev->n_names > 0 || ev->nothing || ev->whom == EVENT_RUN || ev->whom == EVENT_ALL);
		for (k = 0; k < ev->n_names; k++)
			check_printable(ev->name[k], sizeof(ev->name[k]));
		check_printable(ev->run, sizeof(ev->run));
		check_printable(ev->detail, sizeof(ev->detail));
		check_printable(ev->source, sizeof(ev->source));
		check_printable(ev->id, sizeof(ev->id));
	}
	event_list_free(&l);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data + 1, size - 1};

	if (size < 1)
		return 0;
	MUST(setenv("EBB_SERVICE_ACCOUNT_DIR", "/nonexistent", 1) == 0);
	MUST(setenv("EBB_POD_NAME", "job-1", 1) == 0);
	switch (data[0] % 6) {
	case 0:
		read_moments(&in);
		break;
	case 1:
		converse(&source_aws, &in);
		break;
	case 2:
		converse(&source_gcp, &in);
		break;
	case 3:
		converse(&source_azure, &in);
		break;
	case 4:
		converse(&source_kubernetes, &in);
		break;
	default:
		read_events(&in);
		break;
	}
	return 0;
}
