/* What a metadata service is asked, and a trigger file: the lines of the input, each
 * by its first character. Whatever they say, there is an answer with a status and a
 * type, or a reason to wait; what is JSON is well-formed. */
#include <jansson.h>
#include <stdbool.h>
#include <string.h>

#include "chaos/cloud.h"
#include "chaos/command.h"
#include "chaos/fault.h"
#include "chaos/http.h"
#include "chaos/instance.h"
#include "fuzz.h"

enum { LINES_MAX = 200, LINE_MAX_BYTES = 4096, COUNT = 3 };

static const struct cloud *const clouds[] = {&cloud_aws, &cloud_gcp, &cloud_azure};

struct player {
	struct instance machine[3];
	struct moment now;
	struct http_request r;
	/* Fields are lent to the request: one line each. */
	char text[HTTP_FIELDS_MAX * 2][LINE_MAX_BYTES];
	size_t n_text;
	char body[LINE_MAX_BYTES];
};

static void begin(struct player *p)
{
	static const uint8_t secret[INSTANCE_SECRET] = "not so secret";
	struct instance_options o = instance_options_default();
	size_t k;

	p->now = (struct moment){1000000, 1782864000000};
	o.notice_after_ms = 500;
	o.first_delay_ms = 10;
	o.foreign = true;
	o.iam_role = "role";
	for (k = 0; k < 3; k++)
		instance_init(&p->machine[k], clouds[k], &o, (int)k + 1, secret, p->now);
}

/* Splits "name=value" in the player's own copy. */
static void add_field(struct player *p, struct http_field *list, size_t *n, const char *line,
    size_t len)
{
	char *copy = p->text[p->n_text];
	char *equals;

	if (*n == HTTP_FIELDS_MAX || p->n_text == sizeof(p->text) / sizeof(p->text[0]))
		return;
	memcpy(copy, line, len);
	copy[len] = '\0';
	p->n_text++;
	equals = strchr(copy, '=');
	if (equals != NULL)
		*equals++ = '\0';
	list[(*n)++] = (struct http_field){copy, equals};
}

static void check_answer(struct player *p, struct http_answer *a, size_t cloud)
{
	uint64_t random = 1;
	json_t *j;

	if (a->wait) {
		MUST(a->until_ms > p->now.boot_ms && a->waits_for[0] != '\0');
		memcpy(p->r.waits_for, a->waits_for, sizeof(p->r.waits_for));
		return;
	}
	MUST(a->status >= 200 && a->status <= 599 && a->type != NULL && !a->body.failed);
	if (strncmp(a->type, "application/json", 16) == 0 && a->body.len > 0) {
		j = json_loadb(a->body.data, a->body.len, JSON_DECODE_ANY, NULL);
		MUST(j != NULL);
		json_decref(j);
	}
	MUST(p->machine[cloud].seen.polls >= 0 && p->machine[cloud].incarnation >= 1);
	fault_apply(FAULT_REDIRECT, &random, p->r.path, a);
}

static void ask_all(struct player *p, const char *path, size_t len)
{
	static char copy[LINE_MAX_BYTES];
	size_t k;

	memcpy(copy, path, len);
	copy[len] = '\0';
	p->r.path = copy;
	p->r.since_ms = p->now.boot_ms;
	for (k = 0; k < 3; k++) {
		struct http_answer a = {0};

		instance_advance(&p->machine[k], p->now);
		clouds[k]->answer(&p->machine[k], &p->r, p->now, &a);
		check_answer(p, &a, k);
		http_answer_free(&a);
	}
}

static void command(struct player *p, const char *line, size_t len)
{
	struct command c;
	struct error e;
	size_t k;

	if (command_parse(line, len, COUNT, &c, &e) != ST_OK)
		return;
	MUST(c.instance >= 0 && c.instance <= COUNT && c.in_ms >= -1);
	for (k = 0; k < 3; k++)
		(void)!instance_apply(&p->machine[k], &c, p->now, &e);
}

static void step(struct player *p, const char *line, size_t len)
{
	static const char *const methods[] = {"GET", "PUT", "POST", "DELETE"};
	struct fault_options o = {0};
	struct error e;

	switch (line[0]) {
	case '?':
		add_field(p, p->r.query, &p->r.n_query, line + 1, len - 1);
		break;
	case ':':
		add_field(p, p->r.header, &p->r.n_headers, line + 1, len - 1);
		break;
	case 'b':
		memcpy(p->body, line + 1, len - 1);
		p->r.body = p->body;
		p->r.body_len = len - 1;
		break;
	case 'm':
		p->r.method = methods[len % 4];
		break;
	case '+':
		p->now.boot_ms += 100 * (int64_t)len;
		p->now.wall_ms += 100 * (int64_t)len;
		break;
	case '0':
		memset(&p->r, 0, sizeof(p->r));
		p->r.method = "GET";
		p->n_text = 0;
		break;
	case '%':
		add_field(p, p->r.query, &p->r.n_query, line + 1, len - 1);
		if (p->n_text > 0 && fault_parse(p->text[p->n_text - 1], &o, &e) == ST_OK)
			MUST(o.malformed_percent >= 0 && o.malformed_percent <= 100);
		break;
	case '/':
		ask_all(p, line, len);
		break;
	default:
		command(p, line, len);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct player p;
	const char *text = (const char *)data;
	int lines;

	memset(&p.r, 0, sizeof(p.r));
	p.r.method = "GET";
	p.n_text = 0;
	begin(&p);
	for (lines = 0; size > 0 && lines < LINES_MAX; lines++) {
		const char *end = memchr(text, '\n', size);
		size_t len = end == NULL ? size : (size_t)(end - text);

		if (len > 0 && len < LINE_MAX_BYTES)
			step(&p, text, len);
		len += end != NULL;
		text += len;
		size -= len;
	}
	return 0;
}
