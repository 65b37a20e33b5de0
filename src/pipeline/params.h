/* Parameters of a pipeline, and how their values get into texts. A value is
 * put in once: what it holds is never looked at for another ${NAME}, and never
 * becomes a replacement string. Pure. */
#ifndef EBB_PIPELINE_PARAMS_H
#define EBB_PIPELINE_PARAMS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/mem.h"
#include "base/status.h"

enum {
	PARAMS_MAX = 256,
	PARAM_VALUE_MAX = 64 << 10,  /* bytes */
	PARAMS_TEXT_MAX = (1 << 17) - 1, /* of a text with its values: what the kernel
	                                  * takes as one argument */
};

struct param {
	char *name;
	char *value;     /* NULL: required, and not given */
	int line;        /* of the name in the file */
	int column;
	bool given;      /* by --set */
};

struct params {
	struct param *list;
	size_t n;
	size_t cap;
};

void params_free(struct params *p); /* what it owns */

/* Takes over `take_value`, which may be NULL; name is copied. */
enum status params_add(struct params *p, const char *name, char *take_value, int line, int column,
    struct error *e) MUST_USE;
/* NULL when there is none of that name. */
struct param *params_find(const struct params *p, const char *name, size_t len);
/* The one whose name is like that, or NULL. */
const struct param *params_nearest(const struct params *p, const char *name, size_t len);
void params_sort(struct params *p); /* by name */

enum params_mode {
	PARAMS_PLAIN,    /* as it is */
	PARAMS_TEMPLATE, /* as it is, for model/template.h */
	PARAMS_WORD,     /* the same in a word of a command, where ${OTHER} stays */
	PARAMS_SHELL,    /* as one quoted word of a shell text, where ${OTHER} stays */
};

/* Replaces `out` by the text with ${NAME} replaced and "$${" turned into "${".
 * In PARAMS_SHELL a value may stand where the shell takes a quoted word for that
 * word; in a comment nothing is replaced. *used is the number of values put in.
 * ST_CONFIG: no parameter of that name (not for words and shell texts), no name
 * behind "${", a place where a value cannot be quoted, a value that would make a
 * replacement string, or a text that becomes too long. A parameter without a
 * value counts as "". */
enum status params_expand(const struct params *p, const char *text, enum params_mode mode,
    struct buf *out, size_t *used, struct error *e) MUST_USE;

#endif
