/* Replacement strings in commands and output names, as GNU parallel has them:
 *   {}   the item             {.}  without its last extension
 *   {/}  its base name        {//} its folder ("." if none)
 *   {/.} base name without its last extension
 *   {#}  number of the item, from 1      {%}  slot, from 1
 *   {n} {n.} {n/} {n//} {n/.}  the same of argument n (from 1); negative n
 *   counts from the end. With several arguments {} is all of them, joined by
 *   one space (each quoted on its own in a shell string).
 * Any other text in braces stands for itself. Pure. */
#ifndef EBB_MODEL_TEMPLATE_H
#define EBB_MODEL_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"

struct template; /* one parsed text */

enum template_mode {
	TEMPLATE_PLAIN, /* replaced as it is: words of an argument vector, names */
	TEMPLATE_SHELL, /* each value quoted for a POSIX shell */
};

/* Parses text. In TEMPLATE_SHELL a replacement string inside the user's own
 * quotes is ST_CONFIG (it would be quoted twice): the text shows the place and
 * says to take the quotes away. */
enum status template_parse(const char *text, enum template_mode mode, struct template **out,
    struct error *e) MUST_USE;
void template_free(struct template *t);
/* True if it has any replacement string that depends on the item ({#} and {%}
 * do not). */
bool template_uses_item(const struct template *t);
bool template_uses_slot(const struct template *t);
/* The largest argument number named (0: none). */
int template_max_arg(const struct template *t);

struct template_values {
	const char *item;    /* arguments joined by NUL */
	size_t item_len;
	int64_t number;      /* {#} */
	int slot;            /* {%} */
};

/* Appends the expansion to *out. ST_CONFIG: an argument number that the item
 * does not have. */
enum status template_expand(const struct template *t, const struct template_values *v,
    struct buf *out, struct error *e) MUST_USE;

#endif
