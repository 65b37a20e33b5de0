/* Readers of keys that are one value. */
#include <ctype.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "pipeline/reader.h"

/* Where the key's value is kept. */
static void *key_field(const struct key *k, void *into)
{
	return (char *)into + k->offset;
}

void take_text(struct reader *r, const struct key *k, const struct yaml_node *n, void *into)
{
	char *text = reader_text(r, k, n, PARAMS_PLAIN);

	if (text != NULL)
		*(char **)key_field(k, into) = text;
}

void take_name(struct reader *r, const struct key *k, const struct yaml_node *n, void *into)
{
	char *text = reader_text(r, k, n, PARAMS_PLAIN);

	if (text != NULL && !key_is_name(text)) {
		READER_PROBLEM(r, n, "\"%.60s\" is no name; expected at most 48 letters, digits, _ "
		    ". and -, a letter or digit first", text);
		free(text);
		return;
	}
	*(char **)key_field(k, into) = text;
}

/* The text as a whole number in the key's bounds. */
static bool read_count(struct reader *r, const struct key *k, const struct yaml_node *n,
    int64_t *out)
{
	char *text = reader_text(r, k, n, PARAMS_PLAIN);
	struct error e;
	bool ok;

	if (text == NULL)
		return false;
	ok = str_parse_count(text, k->min, k->max, out, &e) == ST_OK;
	if (!ok)
		READER_PROBLEM(r, n, "\"%s\" is \"%.60s\"; expected a whole number from %lld to "
		    "%lld", k->name, text, (long long)k->min, (long long)k->max);
	free(text);
	return ok;
}

void take_count(struct reader *r, const struct key *k, const struct yaml_node *n, void *into)
{
	int64_t v;

	if (read_count(r, k, n, &v))
		*(int *)key_field(k, into) = (int)v;
}

void take_count64(struct reader *r, const struct key *k, const struct yaml_node *n, void *into)
{
	int64_t v;

	if (read_count(r, k, n, &v))
		*(int64_t *)key_field(k, into) = v;
}

/* ---- with units ---- */

static void show_amount(struct buf *b, const struct key *k, int64_t v)
{
	if (k->kind == KEY_SIZE)
		str_size(b, v);
	else if (v < 1000)
		buf_printf(b, "%lld ms", (long long)v);
	else
		str_duration(b, v);
}

static void out_of_bounds(struct reader *r, const struct key *k, const struct yaml_node *n,
    const char *text)
{
	struct buf from = {0};
	struct buf to = {0};

	show_amount(&from, k, k->min);
	show_amount(&to, k, k->max);
	if (from.failed || to.failed)
		reader_no_memory(r);
	else
		READER_PROBLEM(r, n, "\"%s\" is \"%.60s\", which is out of bounds; expected %s to "
		    "%s", k->name, text, from.data, to.data);
	buf_free(&from);
	buf_free(&to);
}

/* A size or a duration, which must have a unit. */
static bool read_amount(struct reader *r, const struct key *k, const struct yaml_node *n,
    const char *text, int64_t *out)
{
	bool size = k->kind == KEY_SIZE;
	struct error e;
	enum status st;

	if (text[0] != '\0' && strspn(text, "0123456789.") == strlen(text)) {
		READER_PROBLEM(r, n, "\"%s\" is \"%.60s\", which has no unit; expected %s", k->name,
		    text, key_expected(size ? KEY_SIZE : KEY_DURATION));
		return false;
	}
	st = size ? str_parse_size(text, out, &e) : str_parse_duration(text, out, &e);
	if (st != ST_OK) {
		READER_PROBLEM(r, n, "\"%s\" is \"%.60s\"; expected %s", k->name, text,
		    key_expected(size ? KEY_SIZE : KEY_DURATION));
		return false;
	}
	if (*out < k->min || *out > k->max) {
		out_of_bounds(r, k, n, text);
		return false;
	}
	return true;
}

void take_size(struct reader *r, const struct key *k, const struct yaml_node *n, void *into)
{
	char *text = reader_text(r, k, n, PARAMS_PLAIN);
	int64_t v;

	if (text != NULL && read_amount(r, k, n, text, &v))
		*(int64_t *)key_field(k, into) = v;
	free(text);
}

void take_duration(struct reader *r, const struct key *k, const struct yaml_node *n, void *into)
{
	take_size(r, k, n, into);
}

/* "1s..60s", or one duration for both. */
void take_backoff(struct reader *r, const struct key *k, const struct yaml_node *n, void *into)
{
	struct retry_policy *policy = key_field(k, into);
	char *text = reader_text(r, k, n, PARAMS_PLAIN);
	char *dots = text == NULL ? NULL : strstr(text, "..");
	const char *last = dots == NULL ? text : dots + 2;
	int64_t min;
	int64_t max;

	if (text == NULL)
		return;
	if (dots != NULL)
		*dots = '\0';
	if (read_amount(r, k, n, text, &min) && read_amount(r, k, n, last, &max)) {
		if (min > max) {
			READER_PROBLEM(r, n, "\"backoff\" goes from %.60s down to %.60s; expected "
			    "%s", text, last, key_expected(KEY_BACKOFF));
		} else {
			policy->backoff_min_ms = min;
			policy->backoff_max_ms = max;
		}
	}
	free(text);
}

/* "1", "0.5": thousandths. */
static bool parse_thousandths(const char *text, int64_t *out)
{
	int64_t v = 0;
	int decimals = -1;

	if (!isdigit((unsigned char)*text))
		return false;
	for (; *text != '\0'; text++) {
		if (*text == '.' && decimals < 0 && text[1] != '\0') {
			decimals = 0;
			continue;
		}
		if (!isdigit((unsigned char)*text) || v > INT32_MAX || decimals == 3)
			return false;
		v = v * 10 + (*text - '0');
		decimals += decimals >= 0;
	}
	for (decimals = decimals < 0 ? 0 : decimals; decimals < 3; decimals++)
		v *= 10;
	*out = v;
	return true;
}

void take_cpu(struct reader *r, const struct key *k, const struct yaml_node *n, void *into)
{
	char *text = reader_text(r, k, n, PARAMS_PLAIN);
	int64_t v;

	if (text == NULL)
		return;
	if (!parse_thousandths(text, &v) || v < k->min || v > k->max)
		READER_PROBLEM(r, n, "\"%s\" is \"%.60s\"; expected %s, from 0.001 to %lld",
		    k->name, text, key_expected(KEY_CPU), (long long)(k->max / 1000));
	else
		*(int64_t *)key_field(k, into) = v;
	free(text);
}

/* ---- one of several ---- */

static void not_a_choice(struct reader *r, const struct key *k, const struct yaml_node *n,
    const char *text)
{
	const char *near = NULL;
	size_t len = key_choice_nearest(k->choices, text, &near);
	struct buf list = {0};

	key_choices_print(k->choices, &list);
	if (list.failed) {
		reader_no_memory(r);
		return;
	}
	if (len > 0)
		READER_PROBLEM(r, n, "\"%s\" is \"%.60s\"; expected one of %s; did you mean "
		    "\"%.*s\"?", k->name, text, list.data, (int)len, near);
	else
		READER_PROBLEM(r, n, "\"%s\" is \"%.60s\"; expected one of %s", k->name, text,
		    list.data);
	buf_free(&list);
}

/* The choice and its text, which is freed by the caller; -1 after a problem. */
static int read_choice_text(struct reader *r, const struct key *k, const struct yaml_node *n,
    char **text)
{
	int i;

	*text = reader_text(r, k, n, PARAMS_PLAIN);
	if (*text == NULL)
		return -1;
	i = key_choice(k->choices, *text);
	if (i < 0) {
		not_a_choice(r, k, n, *text);
		free(*text);
		*text = NULL;
	}
	return i;
}

int read_choice(struct reader *r, const struct key *k, const struct yaml_node *n)
{
	char *text;
	int i = read_choice_text(r, k, n, &text);

	free(text);
	return i;
}

void take_choice(struct reader *r, const struct key *k, const struct yaml_node *n, void *into)
{
	int i = read_choice(r, k, n);

	if (i >= 0)
		*(int *)key_field(k, into) = i;
}

void take_choice_text(struct reader *r, const struct key *k, const struct yaml_node *n,
    void *into)
{
	char *text;

	if (read_choice_text(r, k, n, &text) >= 0)
		*(char **)key_field(k, into) = text;
}

void take_choice_first(struct reader *r, const struct key *k, const struct yaml_node *n,
    void *into)
{
	int i = read_choice(r, k, n);

	if (i >= 0)
		*(bool *)key_field(k, into) = i == 0;
}

void take_signal(struct reader *r, const struct key *k, const struct yaml_node *n, void *into)
{
	/* In the order of the key's choices. */
	static const int signals[] = {
		SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGCONT,
	};
	int i = read_choice(r, k, n);

	if (i >= 0)
		*(int *)key_field(k, into) = signals[i];
}
