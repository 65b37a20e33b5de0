#include "ledger/files.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static void put_name(struct buf *out, const char *key, const char *name)
{
	size_t len = strlen(name);

	if (str_is_utf8(name, len)) {
		buf_printf(out, "\"%s\":", key);
		str_json(out, name, len);
		return;
	}
	buf_printf(out, "\"%s_hex\":\"", key);
	str_hex(out, (const uint8_t *)name, len);
	buf_char(out, '"');
}

enum status ledger_files_format(const struct ledger_file *files, size_t n, struct buf *out,
    struct error *e)
{
	size_t before = out->len;
	size_t i;

	buf_char(out, '[');
	for (i = 0; i < n; i++) {
		buf_str(out, i == 0 ? "{" : ",{");
		put_name(out, "private", files[i].private_path);
		buf_char(out, ',');
		put_name(out, "final", files[i].final_path);
		buf_printf(out, ",\"size\":%lld,\"hash\":\"", (long long)files[i].size);
		str_hex(out, files[i].hash, HASH_SIZE);
		buf_str(out, "\"}");
	}
	buf_char(out, ']');
	if (out->len - before > LEDGER_FILES_JSON_MAX)
		return error_set(e, ST_CONFIG, "a shard has %zu output files, whose names are more "
		    "than %d MiB", n, LEDGER_FILES_JSON_MAX >> 20);
	return buf_check(out, e);
}

/* A new string of a name in text or in hex; NULL with the status that says why. */
static char *get_name(const json_t *o, const char *key, const char *key_hex, enum status *why)
{
	const char *text = json_string_value(json_object_get(o, key));
	const char *hex = json_string_value(json_object_get(o, key_hex));
	size_t len = text != NULL ? strlen(text) : hex != NULL ? strlen(hex) / 2 : 0;
	char *name;

	*why = ST_CORRUPT;
	if (text == NULL && (hex == NULL || strlen(hex) % 2 != 0))
		return NULL;
	name = text != NULL ? mem_dup(text, len) : mem_zero(len + 1);
	if (name == NULL) {
		*why = ST_NO_MEMORY;
		return NULL;
	}
	if (text == NULL && (!str_unhex(hex, (uint8_t *)name, len) || strlen(name) != len)) {
		free(name);
		return NULL;
	}
	return name;
}

static enum status get_file(const json_t *o, struct ledger_file *f)
{
	const json_t *size = json_object_get(o, "size");
	const char *hash = json_string_value(json_object_get(o, "hash"));
	enum status why;

	f->private_path = get_name(o, "private", "private_hex", &why);
	if (f->private_path == NULL)
		return why;
	f->final_path = get_name(o, "final", "final_hex", &why);
	if (f->final_path == NULL)
		return why;
	f->size = json_integer_value(size);
	if (!json_is_integer(size) || f->size < 0 || hash == NULL ||
	    strlen(hash) != (size_t)2 * HASH_SIZE || !str_unhex(hash, f->hash, HASH_SIZE))
		return ST_CORRUPT;
	return ST_OK;
}

enum status ledger_files_parse(const char *json, struct ledger_file **out, size_t *n,
    struct error *e)
{
	json_error_t why;
	json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, &why);
	size_t count = json_array_size(root);
	struct ledger_file *files = NULL;
	enum status st = ST_CORRUPT;
	size_t i;

	*out = NULL;
	*n = 0;
	if (root == NULL && json_error_code(&why) == json_error_out_of_memory)
		st = ST_NO_MEMORY;
	if (!json_is_array(root))
		goto bad;
	files = mem_zero(count == 0 ? 1 : count * sizeof(*files));
	if (files == NULL) {
		st = ST_NO_MEMORY;
		goto bad;
	}
	for (i = 0; i < count; i++) {
		st = get_file(json_array_get(root, i), &files[i]);
		if (st != ST_OK) {
			ledger_files_free(files, i + 1);
			goto bad;
		}
	}
	json_decref(root);
	*out = files;
	*n = count;
	return ST_OK;
bad:
	json_decref(root);
	return error_set(e, st, st == ST_CORRUPT ?
	    "the ledger's record of a shard's files is damaged" : "out of memory");
}

void ledger_files_free(struct ledger_file *files, size_t n)
{
	size_t i;

	for (i = 0; files != NULL && i < n; i++) {
		free(files[i].private_path);
		free(files[i].final_path);
	}
	free(files);
}
