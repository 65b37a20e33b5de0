#include "pipeline/schema.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/keys.h"

/* A value may come from a parameter. */
#define OR_PARAM "|\\$\\{"
#define NAME_PATTERN "^[A-Za-z0-9][A-Za-z0-9_.-]{0,47}$"
#define VARIABLE_PATTERN "^[A-Za-z_][A-Za-z0-9_]*$"
#define DURATION_PATTERN "([0-9]+\\.?[0-9]*|\\.[0-9]+) *(ms|s|sec|m|min|h|d)"
#define SIZE_PATTERN "([0-9]+\\.?[0-9]*|\\.[0-9]+) *(B|[kKmMgGT]|[KMGT]iB|[kKMGT]B)"

static json_t *keys_schema(const struct key *keys);

/* jansson's own functions take a NULL for a failure of the one before, and
 * json_pack with "o" passes it on: what is made here is NULL in the end if
 * anything failed. */

static json_t *pattern_schema(const char *pattern)
{
	return json_pack("{s:s,s:s}", "type", "string", "pattern", pattern);
}

static json_t *plain_text_schema(void)
{
	return json_pack("{s:[s,s,s]}", "type", "string", "number", "boolean");
}

static json_t *not_empty_schema(void)
{
	return json_pack("{s:[s,s,s],s:i}", "type", "string", "number", "boolean", "minLength", 1);
}

static json_t *list_schema(json_t *take_item, int min, json_int_t max)
{
	return json_pack("{s:s,s:o,s:i,s:I}", "type", "array", "items", take_item, "minItems", min,
	    "maxItems", max);
}

/* A map with names of the user's own. */
static json_t *named_schema(const char *pattern, json_t *take_value)
{
	return json_pack("{s:s,s:{s:o},s:b}", "type", "object", "patternProperties", pattern,
	    take_value, "additionalProperties", 0);
}

static json_t *either_schema(json_t *take_one, json_t *take_other)
{
	return json_pack("{s:[o,o]}", "anyOf", take_one, take_other);
}

static json_t *choices_list(const char *choices)
{
	json_t *list = json_array();

	while (list != NULL && *choices != '\0') {
		size_t len = strcspn(choices, "|");

		if (json_array_append_new(list, json_stringn(choices, len)) != 0) {
			json_decref(list);
			return NULL;
		}
		choices += len + (choices[len] == '|' ? 1 : 0);
	}
	return list;
}

static json_t *choice_schema(const struct key *k)
{
	return either_schema(json_pack("{s:o}", "enum", choices_list(k->choices)),
	    pattern_schema("\\$\\{"));
}

static json_t *count_schema(const struct key *k)
{
	return either_schema(json_pack("{s:s,s:I,s:I}", "type", "integer", "minimum",
	    (json_int_t)k->min, "maximum", (json_int_t)k->max),
	    pattern_schema("^[0-9][0-9,]*$" OR_PARAM));
}

static json_t *cpu_schema(const struct key *k)
{
	return either_schema(json_pack("{s:s,s:f,s:f}", "type", "number", "minimum",
	    (double)k->min / 1000, "maximum", (double)k->max / 1000),
	    pattern_schema("^[0-9]+(\\.[0-9]{1,3})?$" OR_PARAM));
}

/* Of {stage: NAME}, {list: FILE} and {count: N}: one key. */
static json_t *source_schema(const struct key *k)
{
	json_t *source = keys_schema(k->table);

	if (source != NULL && json_object_set_new(source, "minProperties", json_integer(1)) == 0 &&
	    json_object_set_new(source, "maxProperties", json_integer(1)) == 0)
		return either_schema(not_empty_schema(), source);
	json_decref(source);
	return NULL;
}

static json_t *param_schema(const struct key *k)
{
	return named_schema(VARIABLE_PATTERN, either_schema(plain_text_schema(),
	    keys_schema(k->table)));
}

static json_t *kind_schema(const struct key *k)
{
	switch (k->kind) {
	case KEY_ANY_TEXT:
		return plain_text_schema();
	case KEY_NAME:
		return pattern_schema(NAME_PATTERN OR_PARAM);
	case KEY_COUNT:
	case KEY_COUNT64:
		return count_schema(k);
	case KEY_SIZE:
		return pattern_schema("^" SIZE_PATTERN "$" OR_PARAM);
	case KEY_DURATION:
		return pattern_schema("^" DURATION_PATTERN "$" OR_PARAM);
	case KEY_BACKOFF:
		return pattern_schema("^" DURATION_PATTERN "(\\.\\." DURATION_PATTERN ")?$"
		    OR_PARAM);
	case KEY_SHARE:
		return either_schema(json_pack("{s:s,s:i}", "type", "integer", "minimum", 0),
		    pattern_schema("^[0-9][0-9,]*$|^[0-9]+(\\.[0-9]{0,4})?%$" OR_PARAM));
	case KEY_CPU:
		return cpu_schema(k);
	case KEY_CHOICE:
	case KEY_CHOICE_TEXT:
	case KEY_CHOICE_FIRST:
	case KEY_SIGNAL:
	case KEY_SLOTS:
		return choice_schema(k);
	case KEY_MAP:
		return keys_schema(k->table);
	case KEY_VERSION:
		return json_pack("{s:[i,s]}", "enum", 1, "1");
	case KEY_PARAMS:
		return param_schema(k);
	case KEY_STAGES:
		return named_schema(NAME_PATTERN, keys_schema(k->table));
	case KEY_INPUT:
		return either_schema(source_schema(k), list_schema(source_schema(k), 1, 100000));
	case KEY_RUN:
		return either_schema(not_empty_schema(), list_schema(plain_text_schema(), 1,
		    100000));
	case KEY_OUTPUT:
		return either_schema(not_empty_schema(), keys_schema(k->table));
	case KEY_AFTER_STOP:
		return named_schema("^[0-9]+$", choice_schema(k));
	case KEY_ENV:
		return named_schema(VARIABLE_PATTERN, plain_text_schema());
	case KEY_SECRETS:
		return named_schema(VARIABLE_PATTERN,
		    pattern_schema("^env:[A-Za-z_]|^file:." OR_PARAM));
	case KEY_FILES:
		return list_schema(not_empty_schema(), 0, k->max);
	case KEY_SHELL:
		return either_schema(json_pack("{s:s,s:i}", "type", "string", "minLength", 1),
		    list_schema(not_empty_schema(), 1, k->max));
	default:
		return not_empty_schema();
	}
}

/* The value's schema with a description. */
static json_t *key_schema(const struct key *k)
{
	json_t *schema = kind_schema(k);
	struct buf text = {0};
	int failed = 1;

	buf_printf(&text, "%s\nExample: %s: %s", k->help, k->name, k->example);
	if (k->fallback != NULL)
		buf_printf(&text, "\nWithout it: %s", k->fallback);
	if (schema != NULL && !text.failed)
		failed = json_object_set_new(schema, "description", json_string(text.data));
	buf_free(&text);
	if (failed == 0)
		return schema;
	json_decref(schema);
	return NULL;
}

static json_t *keys_schema(const struct key *keys)
{
	json_t *properties = json_object();
	json_t *required = json_array();
	bool ok = properties != NULL && required != NULL;
	json_t *schema;

	for (; ok && keys->name != NULL; keys++) {
		ok = json_object_set_new(properties, keys->name, key_schema(keys)) == 0;
		if (ok && keys->required)
			ok = json_array_append_new(required, json_string(keys->name)) == 0;
	}
	if (!ok) {
		json_decref(properties);
		json_decref(required);
		return NULL;
	}
	schema = json_pack("{s:s,s:o,s:b}", "type", "object", "properties", properties,
	    "additionalProperties", 0);
	if (schema == NULL || json_array_size(required) == 0) {
		json_decref(required);
		return schema;
	}
	if (json_object_set_new(schema, "required", required) == 0)
		return schema;
	json_decref(schema);
	return NULL;
}

enum status pipeline_schema(struct buf *out, struct error *e)
{
	json_t *root = json_pack("{s:s,s:s}", "$schema", "http://json-schema.org/draft-07/schema#",
	    "title", "ebb pipeline file, version 1");
	json_t *keys = keys_schema(keys_file);
	char *text = NULL;

	if (root != NULL && keys != NULL && json_object_update(root, keys) == 0)
		text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
	json_decref(root);
	json_decref(keys);
	if (text == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	buf_str(out, text);
	buf_char(out, '\n');
	free(text);
	return buf_check(out, e);
}
