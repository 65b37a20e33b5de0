/* Options of a verb, as one table: it drives parsing, bounds, --help and the
 * manual page. */
#ifndef EBB_CLI_OPTIONS_H
#define EBB_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"

enum option_kind {
	OPTION_FLAG,     /* bool */
	OPTION_TEXT,     /* const char *, borrowed from argv */
	OPTION_TEXTS,    /* struct option_texts: may be given several times */
	OPTION_COUNT,    /* int64_t in [min, max] */
	OPTION_SIZE,     /* int64_t, bytes */
	OPTION_DURATION, /* int64_t, ms */
	OPTION_CHOICE,   /* const char *, one of `choices`, separated by | */
};

struct option_texts {
	const char **list; /* freed by the caller */
	size_t n;
	size_t cap;
};

struct option {
	char letter;          /* 0: none */
	const char *name;     /* without the dashes */
	enum option_kind kind;
	size_t offset;        /* of the value in the verb's struct */
	const char *arg;      /* what the value is called in --help; NULL: a flag */
	const char *help;     /* one line; the default in it, if there is one */
	const char *choices;
	int64_t min;
	int64_t max;
};

/* An option of another program that does something alike, and what ebb has. */
struct option_hint {
	const char *words; /* as they are typed, separated by blanks: "-n --max-args" */
	const char *instead;
};

struct verb {
	const char *name;
	const char *usage;    /* lines after "usage: " */
	const char *summary;  /* one line */
	const char *text;     /* paragraphs after the options; examples first; may be NULL */
	int max_words;        /* beside options; -1: the verb looks itself */
	const char *words;    /* what the first of them can be, separated by |; NULL: anything */
	const struct verb *const *subs; /* ends with NULL: its first word is one of these verbs,
	                                   whose names are two words; may be NULL */
	const struct option *options; /* ends with a NULL name */
	const struct option_hint *hints; /* ends with NULL words; may be NULL */
	size_t n_values;      /* size of the struct that offsets point into */
	int (*run)(int argc, char **argv);
};

/* Parses argv[1..] up to the first word that is no option, or to "--" (which is
 * not passed over). *next is the index of the first word left. "--name value",
 * "--name=value", "-j8", "-j 8" and joined flags are understood. ST_CONFIG
 * names the option, what was expected, and the nearest known name or the verb's
 * hint. `values`
 * must be zeroed or hold the defaults. -h and --help set *help. */
enum status options_parse(const struct verb *v, int argc, char **argv, void *values, int *next,
    bool *help, struct error *e) MUST_USE;

/* Help as text for a person, and the same as a manual page in man(7). */
void options_help(const struct verb *v, struct buf *out);
void options_man(const struct verb *v, struct buf *out);

#endif
