#include "notice/json.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "model/notice.h"

/* How deep it is nested, without looking whether it is well-formed. */
static size_t json_depth(const char *text, size_t len)
{
	size_t depth = 0;
	size_t most = 0;
	bool quoted = false;
	size_t i;

	for (i = 0; i < len; i++) {
		if (quoted && text[i] == '\\') {
			i++;
		} else if (text[i] == '"') {
			quoted = !quoted;
		} else if (!quoted && (text[i] == '{' || text[i] == '[')) {
			depth++;
			most = depth > most ? depth : most;
		} else if (!quoted && (text[i] == '}' || text[i] == ']') && depth > 0) {
			depth--;
		}
	}
	return most;
}

static enum status json_read(const char *text, size_t len, size_t flags, size_t *used,
    struct json_t **out, struct error *e)
{
	char words[192];
	json_error_t why;

	*out = NULL;
	if (json_depth(text, len) > NOTICE_JSON_DEPTH)
		return error_set(e, ST_CONFIG, "it is nested deeper than %d levels", NOTICE_JSON_DEPTH);
	*out = json_loadb(text, len, flags, &why);
	if (*out == NULL) {
		notice_text(words, sizeof(words), why.text, strlen(why.text)); /* it quotes the text */
		return error_set(e, ST_CONFIG, "it is no JSON: line %d: %s", why.line, words);
	}
	*used = (size_t)why.position;
	return ST_OK;
}

enum status notice_json_load(const char *text, size_t len, struct json_t **out, struct error *e)
{
	size_t used;

	return json_read(text, len, 0, &used, out, e);
}

enum status notice_json_next(const char *text, size_t len, size_t *used, struct json_t **out,
    struct error *e)
{
	return json_read(text, len, JSON_DISABLE_EOF_CHECK, used, out, e);
}

const char *notice_json_text(const struct json_t *object, const char *name)
{
	const char *v = json_string_value(json_object_get(object, name));

	return v == NULL ? "" : v;
}

struct json_t *notice_json_at(const struct json_t *object, const char *path)
{
	json_t *at = NULL;
	char name[64];

	do {
		size_t len = strcspn(path, ".");

		if (len >= sizeof(name))
			return NULL;
		memcpy(name, path, len);
		name[len] = '\0';
		at = json_object_get(object, name);
		object = at;
		path += len;
	} while (at != NULL && *path++ != '\0');
	return at;
}
