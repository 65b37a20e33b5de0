#include "model/spec.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static const char *const limit_keys[CAUSE_COUNT] = {
	[CAUSE_INTERRUPTED] = "interruptions",
	[CAUSE_LOST] = "losses",
	[CAUSE_FAILED] = "failures",
	[CAUSE_TIMED_OUT] = "timeouts",
	[CAUSE_OUT_OF_MEMORY] = "out_of_memory",
	[CAUSE_INFRASTRUCTURE] = "infrastructure",
	[CAUSE_SUPERSEDED] = "superseded",
};

void spec_free(struct spec *s)
{
	size_t i;

	for (i = 0; i < s->n_command; i++)
		free(s->command[i]);
	free(s->command);
	free(s->out);
	free(s->out_root);
	free(s->records);
	memset(s, 0, sizeof(*s));
}

void spec_detect_shell(struct spec *s)
{
	s->shell = s->n_command == 1 &&
	    strpbrk(s->command[0], " \t\n|&;<>()$`\\\"'*?[#~=%!") != NULL;
}

static json_t *bytes_json(const char *text)
{
	/* Words are bytes; JSON is UTF-8. What is not is kept as hex. */
	struct buf hex = {0};
	json_t *j;

	if (str_is_utf8(text, strlen(text)))
		return json_string(text);
	str_hex(&hex, (const uint8_t *)text, strlen(text));
	j = hex.failed ? NULL : json_pack("{s:s}", "hex", hex.data);
	buf_free(&hex);
	return j;
}

static char *bytes_of_json(const json_t *j)
{
	const char *text = json_string_value(j);
	size_t len;
	char *out;

	if (text != NULL)
		return mem_dup(text, strlen(text));
	text = json_string_value(json_object_get(j, "hex"));
	if (text == NULL)
		return NULL;
	len = strlen(text) / 2;
	out = mem_dup(text, len);
	if (out != NULL && !str_unhex(text, (uint8_t *)out, len)) {
		free(out);
		return NULL;
	}
	return out;
}

static json_t *retry_json(const struct retry_policy *p)
{
	json_t *j = json_object();
	int c;

	for (c = 0; c < CAUSE_COUNT; c++) {
		if (limit_keys[c] != NULL &&
		    json_object_set_new(j, limit_keys[c], json_integer(p->limit[c])) != 0)
			goto fail;
	}
	if (json_object_set_new(j, "backoff_min_ms", json_integer(p->backoff_min_ms)) != 0 ||
	    json_object_set_new(j, "backoff_max_ms", json_integer(p->backoff_max_ms)) != 0 ||
	    json_object_set_new(j, "alone_after", json_integer(p->alone_after)) != 0)
		goto fail;
	return j;
fail:
	json_decref(j);
	return NULL;
}

static void retry_of_json(const json_t *j, struct retry_policy *p)
{
	int c;

	*p = retry_policy_default();
	for (c = 0; c < CAUSE_COUNT; c++) {
		json_t *v = limit_keys[c] == NULL ? NULL : json_object_get(j, limit_keys[c]);

		if (json_is_integer(v))
			p->limit[c] = (int)json_integer_value(v);
	}
	if (json_is_integer(json_object_get(j, "backoff_min_ms")))
		p->backoff_min_ms = json_integer_value(json_object_get(j, "backoff_min_ms"));
	if (json_is_integer(json_object_get(j, "backoff_max_ms")))
		p->backoff_max_ms = json_integer_value(json_object_get(j, "backoff_max_ms"));
	if (json_is_integer(json_object_get(j, "alone_after")))
		p->alone_after = (int)json_integer_value(json_object_get(j, "alone_after"));
}

static bool set_text(json_t *root, const char *key, const char *text)
{
	return text == NULL || json_object_set_new(root, key, bytes_json(text)) == 0;
}

static json_t *command_json(const struct spec *s)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < s->n_command; i++) {
		if (json_array_append_new(list, bytes_json(s->command[i])) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

enum status spec_encode(const struct spec *s, struct buf *json, struct error *e)
{
	json_t *root = json_pack("{s:i,s:o,s:b,s:s,s:I,s:b,s:b,s:I,s:o}",
	    "spec", 1,
	    "command", command_json(s),
	    "shell", s->shell,
	    "shard", s->shard == SPEC_BYTES ? "bytes" : "list",
	    "shard_size", (json_int_t)s->shard_size,
	    "keep_order", s->keep_order,
	    "tag", s->tag,
	    "timeout_ms", (json_int_t)s->timeout_ms,
	    "retry", retry_json(&s->retry));
	char *text = NULL;

	if (root != NULL && set_text(root, "out", s->out) &&
	    set_text(root, "out_root", s->out_root) && set_text(root, "records", s->records))
		text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(root);
	if (text == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	buf_str(json, text);
	free(text);
	return buf_check(json, e);
}

static bool command_of_json(const json_t *list, struct spec *out)
{
	size_t n = json_array_size(list);
	size_t i;

	out->command = mem_zero((n + 1) * sizeof(*out->command));
	if (out->command == NULL || n == 0)
		return false;
	for (i = 0; i < n; i++) {
		out->command[i] = bytes_of_json(json_array_get(list, i));
		if (out->command[i] == NULL)
			return false;
		out->n_command++;
	}
	return true;
}

static char *text_of(const json_t *root, const char *key)
{
	json_t *j = json_object_get(root, key);

	return j == NULL ? NULL : bytes_of_json(j);
}

enum status spec_decode(const char *json, struct spec *out, struct error *e)
{
	json_error_t je;
	json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, &je);
	const char *shard;

	memset(out, 0, sizeof(*out));
	if (root == NULL)
		return error_set(e, ST_CORRUPT, "the run's specification is damaged: %s", je.text);
	shard = json_string_value(json_object_get(root, "shard"));
	if (json_integer_value(json_object_get(root, "spec")) != 1 || shard == NULL ||
	    !command_of_json(json_object_get(root, "command"), out)) {
		json_decref(root);
		spec_free(out);
		return error_set(e, ST_CORRUPT, "the run's specification is not of this version of ebb");
	}
	out->shell = json_is_true(json_object_get(root, "shell"));
	out->shard = strcmp(shard, "bytes") == 0 ? SPEC_BYTES : SPEC_LIST;
	out->shard_size = json_integer_value(json_object_get(root, "shard_size"));
	out->keep_order = json_is_true(json_object_get(root, "keep_order"));
	out->tag = json_is_true(json_object_get(root, "tag"));
	out->timeout_ms = json_integer_value(json_object_get(root, "timeout_ms"));
	out->out = text_of(root, "out");
	out->out_root = text_of(root, "out_root");
	out->records = text_of(root, "records");
	retry_of_json(json_object_get(root, "retry"), &out->retry);
	json_decref(root);
	return ST_OK;
}

static void key_text(struct hash *h, const char *text)
{
	hash_field(h, text == NULL ? "" : text, text == NULL ? 0 : strlen(text));
}

enum status spec_key(const struct spec *s, const char *place, uint8_t out[SPEC_KEY_SIZE],
    struct error *e)
{
	struct hash *h = hash_create();
	uint8_t full[HASH_SIZE];
	size_t i;

	if (h == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	key_text(h, "ebb run 1 map");
	key_text(h, place);
	for (i = 0; i < s->n_command; i++)
		key_text(h, s->command[i]);
	hash_field(h, &s->shell, sizeof(s->shell));
	key_text(h, s->out);
	key_text(h, s->out_root);
	key_text(h, s->shard == SPEC_BYTES ? "bytes" : "list");
	hash_field(h, &s->shard_size, sizeof(s->shard_size));
	key_text(h, s->records);
	hash_final(h, full);
	hash_destroy(h);
	memcpy(out, full, SPEC_KEY_SIZE);
	return ST_OK;
}

void spec_title(const struct spec *s, struct buf *out)
{
	size_t i;

	if (s->shell) {
		str_display(out, s->command[0], strlen(s->command[0]), 0);
		return;
	}
	for (i = 0; i < s->n_command; i++) {
		struct buf word = {0};

		if (i > 0)
			buf_char(out, ' ');
		str_shell_quote(&word, s->command[i], strlen(s->command[i]));
		if (word.failed)
			out->failed = true;
		else
			str_display(out, word.data, word.len, 0);
		buf_free(&word);
	}
}
