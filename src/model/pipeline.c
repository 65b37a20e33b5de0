#include "model/pipeline.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

void pipeline_free(struct pipeline *p)
{
	size_t i;

	for (i = 0; i < p->n_params; i++) {
		free(p->param[i].name);
		free(p->param[i].value);
	}
	free(p->param);
	for (i = 0; i < p->n_stages; i++)
		spec_free(&p->stage[i]);
	free(p->stage);
	free(p->name);
	free(p->notice);
	free(p->on_notice);
	free(p->on_drained);
	free(p->on_rebalance);
	memset(p, 0, sizeof(*p));
}

int pipeline_find(const struct pipeline *p, const char *stage)
{
	size_t i;

	for (i = 0; i < p->n_stages; i++) {
		if (strcmp(p->stage[i].name, stage) == 0)
			return (int)i;
	}
	return -1;
}

/* ---- JSON ----
 * One table says where each member of a stage is kept; what is zero, false or
 * NULL is left out. */

enum member_kind {
	MEMBER_TEXT,  /* char * */
	MEMBER_WORDS, /* char **, and its number */
	MEMBER_BOOL,
	MEMBER_INT,
	MEMBER_ENUM,  /* stored by number: the numbers never change */
	MEMBER_INT64,
};

struct member {
	const char *key;
	enum member_kind kind;
	size_t offset;
	size_t offset_n; /* of the number of words */
	int max;         /* MEMBER_ENUM */
};

#define AT(field) offsetof(struct spec, field)
#define AT_RETRY(what) AT(retry.limit) + CAUSE_##what * sizeof(int)

static const struct member members[] = {
	{"name", MEMBER_TEXT, AT(name), 0, 0},
	{"command", MEMBER_WORDS, AT(command), AT(n_command), 0},
	{"shell", MEMBER_BOOL, AT(shell), 0, 0},
	{"shell_words", MEMBER_WORDS, AT(shell_words), AT(n_shell_words), 0},
	{"input", MEMBER_ENUM, AT(input), 0, SPEC_URL},
	{"output", MEMBER_ENUM, AT(output), 0, SPEC_OUT_KEPT},
	{"out", MEMBER_TEXT, AT(out), 0, 0},
	{"out_root", MEMBER_TEXT, AT(out_root), 0, 0},
	{"shard", MEMBER_ENUM, AT(shard), 0, SPEC_ALL},
	{"shard_size", MEMBER_INT64, AT(shard_size), 0, 0},
	{"records", MEMBER_TEXT, AT(records), 0, 0},
	{"batch", MEMBER_INT64, AT(batch), 0, 0},
	{"keep_order", MEMBER_BOOL, AT(keep_order), 0, 0},
	{"tag", MEMBER_BOOL, AT(tag), 0, 0},
	{"timeout_ms", MEMBER_INT64, AT(timeout_ms), 0, 0},
	{"interruptions", MEMBER_INT, AT_RETRY(INTERRUPTED), 0, 0},
	{"losses", MEMBER_INT, AT_RETRY(LOST), 0, 0},
	{"failures", MEMBER_INT, AT_RETRY(FAILED), 0, 0},
	{"timeouts", MEMBER_INT, AT_RETRY(TIMED_OUT), 0, 0},
	{"out_of_memory", MEMBER_INT, AT_RETRY(OUT_OF_MEMORY), 0, 0},
	{"infrastructure", MEMBER_INT, AT_RETRY(INFRASTRUCTURE), 0, 0},
	{"backoff_min_ms", MEMBER_INT64, AT(retry.backoff_min_ms), 0, 0},
	{"backoff_max_ms", MEMBER_INT64, AT(retry.backoff_max_ms), 0, 0},
	{"alone_after", MEMBER_INT, AT(retry.alone_after), 0, 0},
	{"on_demand_after", MEMBER_INT, AT(retry.on_demand_after), 0, 0},
	{"on_demand_wait_ms", MEMBER_INT64, AT(retry.on_demand_wait_ms), 0, 0},
	{"allow_failed", MEMBER_INT64, AT(allow_failed), 0, 0},
	{"allow_failed_ppm", MEMBER_INT64, AT(allow_failed_ppm), 0, 0},
	{"stop_on_failed", MEMBER_BOOL, AT(stop_on_failed), 0, 0},
	{"stop_signal", MEMBER_INT, AT(stop_signal), 0, 0},
	{"stop_to", MEMBER_ENUM, AT(stop_to), 0, SPEC_STOP_GROUP},
	{"checkpoint_exit", MEMBER_INT, AT(checkpoint_exit), 0, 0},
	{"checkpoint_every_ms", MEMBER_INT64, AT(checkpoint_every_ms), 0, 0},
	{"cpu_milli", MEMBER_INT64, AT(cpu_milli), 0, 0},
	{"memory", MEMBER_INT64, AT(memory), 0, 0},
	{"gpus", MEMBER_INT, AT(gpus), 0, 0},
	{"env", MEMBER_WORDS, AT(env), AT(n_env), 0},
	{"files", MEMBER_WORDS, AT(files), AT(n_files), 0},
	{"version", MEMBER_TEXT, AT(version), 0, 0},
};

#undef AT
#undef AT_RETRY

enum { MEMBERS = sizeof(members) / sizeof(members[0]) };

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


static json_t *words_json(char *const *words, size_t n)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < n; i++) {
		if (json_array_append_new(list, bytes_json(words[i])) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static int64_t number_at(const struct member *m, const char *at)
{
	if (m->kind == MEMBER_BOOL)
		return *(const bool *)at;
	if (m->kind == MEMBER_INT64)
		return *(const int64_t *)at;
	return *(const int *)at;
}

/* The member as JSON; *absent when it has nothing to say. */
static json_t *member_json(const struct member *m, const struct spec *s, bool *absent)
{
	const char *at = (const char *)s + m->offset;
	int64_t n;

	*absent = false;
	if (m->kind == MEMBER_TEXT) {
		const char *text = *(char *const *)at;

		*absent = text == NULL;
		return text == NULL ? NULL : bytes_json(text);
	}
	if (m->kind == MEMBER_WORDS) {
		size_t n_words = *(const size_t *)((const char *)s + m->offset_n);

		*absent = n_words == 0;
		return *absent ? NULL : words_json(*(char **const *)at, n_words);
	}
	n = number_at(m, at);
	*absent = n == 0;
	return *absent ? NULL : m->kind == MEMBER_BOOL ? json_true() : json_integer(n);
}

static json_t *sources_json(const struct spec *s)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < s->n_sources; i++) {
		const struct spec_source *from = &s->source[i];
		json_t *j = json_pack("{s:i,s:I}", "kind", (int)from->kind, "count",
		    (json_int_t)from->count);

		if ((from->text != NULL &&
		    json_object_set_new(j, "text", bytes_json(from->text)) != 0) ||
		    json_array_append_new(list, j) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *after_stop_json(const struct spec *s)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < s->n_after_stop; i++) {
		json_t *j = json_pack("[i,i]", s->after_stop[i].exit_code,
		    (int)s->after_stop[i].cause);

		if (json_array_append_new(list, j) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *secrets_json(const struct spec *s)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < s->n_secrets; i++) {
		json_t *j = json_pack("[s,o]", s->secret[i].name, bytes_json(s->secret[i].from));

		if (json_array_append_new(list, j) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *stage_json(const struct spec *s)
{
	json_t *root = json_object();
	bool ok = root != NULL;
	size_t i;

	for (i = 0; ok && i < MEMBERS; i++) {
		bool absent;
		json_t *j = member_json(&members[i], s, &absent);

		ok = absent || json_object_set_new(root, members[i].key, j) == 0;
	}
	if (ok && s->n_sources > 0)
		ok = json_object_set_new(root, "sources", sources_json(s)) == 0;
	if (ok && s->n_after_stop > 0)
		ok = json_object_set_new(root, "after_stop", after_stop_json(s)) == 0;
	if (ok && s->n_secrets > 0)
		ok = json_object_set_new(root, "secrets", secrets_json(s)) == 0;
	if (ok)
		return root;
	json_decref(root);
	return NULL;
}

static json_t *params_json(const struct pipeline *p)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < p->n_params; i++) {
		json_t *j = json_pack("[s,o]", p->param[i].name, bytes_json(p->param[i].value));

		if (json_array_append_new(list, j) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

/* What is left to its default is left out. */
static bool drain_to_json(const struct pipeline *p, json_t *root)
{
	bool good = p->hook_timeout_ms == 0 || json_object_set_new(root, "hook_timeout_ms",
	    json_integer(p->hook_timeout_ms)) == 0;

	good = good && (p->notice == NULL ||
	    json_object_set_new(root, "notice", bytes_json(p->notice)) == 0);
	good = good && (p->on_notice == NULL ||
	    json_object_set_new(root, "on_notice", bytes_json(p->on_notice)) == 0);
	good = good && (p->on_drained == NULL ||
	    json_object_set_new(root, "on_drained", bytes_json(p->on_drained)) == 0);
	return good && (p->on_rebalance == NULL ||
	    json_object_set_new(root, "on_rebalance", bytes_json(p->on_rebalance)) == 0);
}

enum status pipeline_encode(const struct pipeline *p, struct buf *json, struct error *e)
{
	json_t *stages = json_array();
	json_t *root;
	char *text = NULL;
	size_t i;

	for (i = 0; i < p->n_stages; i++) {
		if (json_array_append_new(stages, stage_json(&p->stage[i])) != 0) {
			json_decref(stages);
			return error_set(e, ST_NO_MEMORY, "out of memory");
		}
	}
	root = json_pack("{s:i,s:o,s:o,s:I,s:o}", "pipeline", 1, "name", bytes_json(p->name),
	    "params", params_json(p), "drain_reserve_ms", (json_int_t)p->drain_reserve_ms,
	    "stages", stages);
	if (root != NULL && drain_to_json(p, root))
		text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(root);
	if (text == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	buf_str(json, text);
	free(text);
	return buf_check(json, e);
}

/* Each returns false for what pipeline_encode does not write. */

static bool words_of_json(const json_t *list, char ***words, size_t *n_words)
{
	size_t n = json_array_size(list);
	size_t i;

	*words = mem_zero((n + 1) * sizeof(**words));
	if (*words == NULL || n == 0)
		return false;
	for (i = 0; i < n; i++) {
		(*words)[i] = bytes_of_json(json_array_get(list, i));
		if ((*words)[i] == NULL)
			return false;
		(*n_words)++;
	}
	return true;
}

static bool member_of_json(const struct member *m, const json_t *j, struct spec *s)
{
	char *at = (char *)s + m->offset;
	json_int_t n = json_integer_value(j);

	switch (m->kind) {
	case MEMBER_TEXT:
		*(char **)at = bytes_of_json(j);
		return *(char **)at != NULL;
	case MEMBER_WORDS:
		return words_of_json(j, (char ***)at, (size_t *)((char *)s + m->offset_n));
	case MEMBER_BOOL:
		*(bool *)at = json_is_true(j);
		return json_is_boolean(j);
	case MEMBER_INT:
		*(int *)at = (int)n;
		return json_is_integer(j) && n >= INT32_MIN && n <= INT32_MAX;
	case MEMBER_ENUM:
		*(int *)at = (int)n;
		return json_is_integer(j) && n >= 0 && n <= m->max;
	case MEMBER_INT64:
		*(int64_t *)at = n;
		return json_is_integer(j);
	}
	return false;
}

static bool sources_of_json(const json_t *list, struct spec *s)
{
	size_t n = json_array_size(list);
	size_t i;

	s->source = mem_zero((n + 1) * sizeof(*s->source));
	for (i = 0; s->source != NULL && i < n; i++) {
		const json_t *j = json_array_get(list, i);
		const json_t *text = json_object_get(j, "text");
		json_int_t kind = json_integer_value(json_object_get(j, "kind"));
		struct spec_source *from = &s->source[s->n_sources++];

		if (kind < SOURCE_GIVEN || kind > SOURCE_STAGE)
			return false;
		from->kind = (enum spec_source_kind)kind;
		from->count = json_integer_value(json_object_get(j, "count"));
		if (text != NULL && (from->text = bytes_of_json(text)) == NULL)
			return false;
	}
	return s->source != NULL;
}

static bool after_stop_of_json(const json_t *list, struct spec *s)
{
	size_t n = json_array_size(list);
	size_t i;

	s->after_stop = mem_zero((n + 1) * sizeof(*s->after_stop));
	for (i = 0; s->after_stop != NULL && i < n; i++) {
		const json_t *j = json_array_get(list, i);
		json_int_t cause = json_integer_value(json_array_get(j, 1));

		if (json_array_size(j) != 2 || cause < 0 || cause >= CAUSE_COUNT)
			return false;
		s->after_stop[i].exit_code = (int)json_integer_value(json_array_get(j, 0));
		s->after_stop[i].cause = (enum cause)cause;
		s->n_after_stop++;
	}
	return s->after_stop != NULL;
}

static bool secrets_of_json(const json_t *list, struct spec *s)
{
	size_t n = json_array_size(list);
	size_t i;

	s->secret = mem_zero((n + 1) * sizeof(*s->secret));
	for (i = 0; s->secret != NULL && i < n; i++) {
		const json_t *j = json_array_get(list, i);

		s->n_secrets++;
		s->secret[i].name = bytes_of_json(json_array_get(j, 0));
		s->secret[i].from = bytes_of_json(json_array_get(j, 1));
		if (s->secret[i].name == NULL || s->secret[i].from == NULL)
			return false;
	}
	return s->secret != NULL;
}

static bool stage_of_json(const json_t *root, struct spec *s)
{
	const json_t *j;
	size_t i;

	for (i = 0; i < MEMBERS; i++) {
		j = json_object_get(root, members[i].key);
		if (j != NULL && !member_of_json(&members[i], j, s))
			return false;
	}
	j = json_object_get(root, "sources");
	if (j != NULL && !sources_of_json(j, s))
		return false;
	j = json_object_get(root, "after_stop");
	if (j != NULL && !after_stop_of_json(j, s))
		return false;
	j = json_object_get(root, "secrets");
	if (j != NULL && !secrets_of_json(j, s))
		return false;
	return s->n_command > 0 && s->name != NULL;
}

static bool params_of_json(const json_t *list, struct pipeline *p)
{
	size_t n = json_array_size(list);
	size_t i;

	p->param = mem_zero((n + 1) * sizeof(*p->param));
	for (i = 0; p->param != NULL && i < n; i++) {
		const json_t *j = json_array_get(list, i);

		p->n_params++;
		p->param[i].name = bytes_of_json(json_array_get(j, 0));
		p->param[i].value = bytes_of_json(json_array_get(j, 1));
		if (p->param[i].name == NULL || p->param[i].value == NULL)
			return false;
	}
	return p->param != NULL;
}

static bool text_of_json(const json_t *root, const char *name, char **out)
{
	const json_t *j = json_object_get(root, name);

	*out = j == NULL ? NULL : bytes_of_json(j);
	return j == NULL || *out != NULL;
}

static bool drain_of_json(const json_t *root, struct pipeline *p)
{
	p->hook_timeout_ms = json_integer_value(json_object_get(root, "hook_timeout_ms"));
	return text_of_json(root, "notice", &p->notice) &&
	    text_of_json(root, "on_notice", &p->on_notice) &&
	    text_of_json(root, "on_drained", &p->on_drained) &&
	    text_of_json(root, "on_rebalance", &p->on_rebalance);
}

static bool pipeline_of_json(const json_t *root, struct pipeline *p)
{
	const json_t *stages = json_object_get(root, "stages");
	size_t n = json_array_size(stages);
	size_t i;

	if (json_integer_value(json_object_get(root, "pipeline")) != 1 || n == 0 ||
	    n > PIPELINE_STAGES_MAX)
		return false;
	p->drain_reserve_ms = json_integer_value(json_object_get(root, "drain_reserve_ms"));
	p->name = bytes_of_json(json_object_get(root, "name"));
	p->stage = mem_zero(n * sizeof(*p->stage));
	if (p->name == NULL || p->stage == NULL || !drain_of_json(root, p) ||
	    !params_of_json(json_object_get(root, "params"), p))
		return false;
	for (i = 0; i < n; i++) {
		p->n_stages++;
		if (!stage_of_json(json_array_get(stages, i), &p->stage[i]))
			return false;
	}
	return true;
}

enum status pipeline_decode(const char *json, struct pipeline *out, struct error *e)
{
	json_error_t je;
	json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, &je);
	bool ok;

	memset(out, 0, sizeof(*out));
	if (root == NULL)
		return error_set(e, ST_CORRUPT, "the run's specification is damaged: %s", je.text);
	ok = pipeline_of_json(root, out);
	json_decref(root);
	if (ok)
		return ST_OK;
	pipeline_free(out);
	return error_set(e, ST_CORRUPT, "the run's specification is not of this version of ebb");
}

/* ---- identity ---- */

static void key_text(struct hash *h, const char *text)
{
	hash_field(h, text == NULL ? "" : text, text == NULL ? 0 : strlen(text));
}

static void key_of_map(struct hash *h, const struct spec *s)
{
	size_t i;

	for (i = 0; i < s->n_command; i++)
		key_text(h, s->command[i]);
	hash_field(h, &s->shell, sizeof(s->shell));
	key_text(h, s->out);
	key_text(h, s->out_root);
	key_text(h, s->shard == SPEC_BYTES ? "bytes" : "list");
	hash_field(h, &s->shard_size, sizeof(s->shard_size));
	key_text(h, s->records);
}

enum status pipeline_key(const struct pipeline *p, const char *place,
    uint8_t out[PIPELINE_KEY_SIZE], struct error *e)
{
	struct hash *h = hash_create();
	uint8_t full[HASH_SIZE];
	size_t i;

	if (h == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	key_text(h, p->name[0] == '\0' ? "ebb run 1 map" : "ebb run 1 pipeline");
	key_text(h, place);
	if (p->name[0] == '\0') {
		key_of_map(h, &p->stage[0]);
	} else {
		key_text(h, p->name);
		for (i = 0; i < p->n_params; i++) {
			key_text(h, p->param[i].name);
			key_text(h, p->param[i].value);
		}
	}
	hash_final(h, full);
	hash_destroy(h);
	memcpy(out, full, PIPELINE_KEY_SIZE);
	return ST_OK;
}

void pipeline_title(const struct pipeline *p, struct buf *out)
{
	size_t i;

	if (p->name[0] == '\0') {
		spec_title(&p->stage[0], out);
		return;
	}
	str_display(out, p->name, strlen(p->name), 0);
	for (i = 0; i < p->n_params; i++) {
		buf_printf(out, " %s=", p->param[i].name);
		str_display(out, p->param[i].value, strlen(p->param[i].value), 60);
	}
}

size_t pipeline_policies(const struct pipeline *p,
    const struct retry_policy *out[PIPELINE_STAGES_MAX])
{
	size_t i;

	for (i = 0; i < p->n_stages && i < PIPELINE_STAGES_MAX; i++)
		out[i] = &p->stage[i].retry;
	return i;
}
