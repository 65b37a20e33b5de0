/* The keys of a pipeline file, as tables: they drive reading, the errors, the
 * JSON Schema and `ebb help pipeline`. Pure. */
#ifndef EBB_PIPELINE_KEYS_H
#define EBB_PIPELINE_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

enum key_kind {
	KEY_TEXT,         /* char *; not empty */
	KEY_ANY_TEXT,     /* the same, may be empty */
	KEY_NAME,         /* char *; of a pipeline */
	KEY_COUNT,        /* int in [min, max] */
	KEY_COUNT64,      /* int64_t in [min, max] */
	KEY_SIZE,         /* int64_t, bytes in [min, max] */
	KEY_DURATION,     /* int64_t, ms in [min, max] */
	KEY_CPU,          /* int64_t, thousandths in [min, max] */
	KEY_CHOICE,       /* int: which of `choices` */
	KEY_CHOICE_TEXT,  /* char *: one of `choices` */
	KEY_CHOICE_FIRST, /* bool: the first of `choices` it is */
	KEY_SIGNAL,       /* int: one of `choices` */
	KEY_MAP,          /* the keys of `table`, in the same struct */
	/* Those with readers of their own. */
	KEY_VERSION, KEY_PARAMS, KEY_FILES, KEY_STAGES, KEY_INPUT, KEY_RUN, KEY_OUTPUT,
	KEY_SLOTS, KEY_BACKOFF, KEY_SHARE, KEY_AFTER_STOP, KEY_ENV, KEY_SECRETS, KEY_SHELL,
	KEY_KINDS,
};

struct key {
	const char *name;
	enum key_kind kind;
	bool required;
	size_t offset;           /* in the struct that the table fills */
	int64_t min;
	int64_t max;
	const char *choices;     /* separated by | */
	const struct key *table; /* KEY_MAP, and what some readers look into */
	const char *fallback;    /* what holds without it, for people; may be NULL */
	const char *help;        /* one line */
	const char *example;     /* a value as it stands behind the key, that is right */
};

/* Each ends with a NULL name. keys_file fills struct pipeline, keys_stage and
 * the tables below it struct spec; the last three are for readers. */
extern const struct key keys_file[];
extern const struct key keys_stage[];
extern const struct key keys_param[];  /* of params: {NAME: {...}} */
extern const struct key keys_source[]; /* of input: {...} */
extern const struct key keys_output[]; /* of output: {...} */

/* "a duration with a unit, such as 30s, 10m or 2h" */
const char *key_expected(enum key_kind kind);

/* The key of that name, or NULL. */
const struct key *key_find(const struct key *keys, const char *name);
/* The key whose name is like that one, or NULL. */
const struct key *key_nearest(const struct key *keys, const char *name);

/* Which of the choices it is, from 0, or -1. */
int key_choice(const char *choices, const char *value);
/* "TERM, INT, HUP" */
void key_choices_print(const char *choices, struct buf *out);
/* The choice that is like that one: its length, and where it begins. 0: none. */
size_t key_choice_nearest(const char *choices, const char *value, const char **out);
/* True when a person may have meant the one by the other. */
bool key_is_near(const char *typed, size_t typed_len, const char *known, size_t known_len);

/* A name of stages and pipelines: [A-Za-z0-9][A-Za-z0-9_.-]{0,47}. */
bool key_is_name(const char *name);
/* A name of parameters and variables: [A-Za-z_][A-Za-z0-9_]*, at most 200. */
bool key_is_variable(const char *name, size_t len);

/* All keys with help, default and example, as text. */
void keys_print(struct buf *out);

#endif
