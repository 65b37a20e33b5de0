/* Templates: what the getters say holds for the expansion. The first byte says
 * the mode, a NUL ends the text, the rest is the item. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "model/template.h"

static void expand(const struct template *t, const char *item, size_t len, int slot,
    struct buf *out, enum status *st)
{
	const struct template_values v = {
		.item = item, .item_len = len, .number = 42, .slot = slot,
	};
	struct error e;

	buf_clear(out);
	buf_str(out, "");
	*st = template_expand(t, &v, out, &e);
	MUST(*st == ST_OK || *st == ST_CONFIG);
	MUST(*st == ST_OK || out->len == 0);
}

static bool equal(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static void check(const struct template *t, const char *text, const char *item, size_t len)
{
	struct buf one = {0};
	struct buf other = {0};
	enum status st;
	int n_args = 1;
	size_t i;

	for (i = 0; i < len; i++)
		n_args += item[i] == '\0';
	expand(t, item, len, 3, &one, &st);
	MUST((st == ST_OK) == (template_max_arg(t) <= n_args));
	MUST(template_max_arg(t) == 0 || template_uses_item(t));
	if (st == ST_OK && !template_uses_slot(t)) {
		expand(t, item, len, 12345, &other, &st);
		MUST(st == ST_OK && equal(&one, &other));
	}
	if (st == ST_OK && !template_uses_item(t)) {
		expand(t, "another", 7, 3, &other, &st);
		MUST(st == ST_OK && (equal(&one, &other) || template_uses_slot(t)));
		MUST(strchr(text, '{') != NULL || strcmp(one.data, text) == 0);
	}
	buf_free(&one);
	buf_free(&other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct template *t;
	struct error e;
	const char *nul;
	char *text;
	size_t len;
	enum status st;

	if (size < 1)
		return 0;
	text = malloc(size);
	if (text == NULL)
		abort();
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	nul = memchr(text, '\0', size);
	len = nul + 1 < text + size ? (size_t)(text + size - 1 - (nul + 1)) : 0;
	st = template_parse(text, data[0] & 1 ? TEMPLATE_SHELL : TEMPLATE_PLAIN, &t, &e);
	MUST(st == ST_OK || (st == ST_CONFIG && (data[0] & 1) != 0));
	if (st == ST_OK) {
		/* A copy of its own, so that reading beyond the item is seen. */
		char *item = malloc(len > 0 ? len : 1);

		if (item == NULL)
			abort();
		if (len > 0)
			memcpy(item, nul + 1, len);
		check(t, text, item, len);
		free(item);
	}
	template_free(t);
	free(text);
	return 0;
}
