/* Replacement strings in commands and output names, as GNU parallel has them:
 *   {}   the item             {.}  without its last extension
 *   {/}  its base name        {//} its folder ("." if none)
 *   {/.} base name without its last extension
 *   {#}  number of the item, from 1      {%}  slot, from 1
 *   {n} {n.} {n/} {n//} {n/.}  the same of argument n (from 1); negative n
 *   counts from the end. With several arguments {}, {.} and so on are those of
 *   all of them, joined by one space (each quoted on its own in a shell text).
 * Any other text in braces stands for itself. Pure.
 *
 * Where this differs from parallel 20221122, and why:
 * - An argument that the item does not have is an error; there it is an empty
 *   word, or another argument, and the command runs with it.
 * - A base name and an extension are found in names that hold a newline too.
 * - {0}, {-0}, {1#} and {1%} stand for themselves; there they are all
 *   arguments or nothing.
 * - In a shell text, "${1}" and all else behind "${" is the shell's own. */
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
	TEMPLATE_SHELL, /* each value in single quotes, for a POSIX shell */
};

/* Parses text. In TEMPLATE_SHELL a value may stand only where the shell takes
 * a quoted word for that word, $(...) inside double quotes included. Inside
 * the user's own quotes, between backticks, in a here-document or arithmetic,
 * and behind a backslash it is ST_CONFIG (it would be quoted twice, or run):
 * the text shows the place and says what to do. {#} and {%} are digits and may
 * stand anywhere. In a comment nothing is replaced. */
enum status template_parse(const char *text, enum template_mode mode, struct template **out,
    struct error *e) MUST_USE;
void template_free(struct template *t);
/* True if it has any replacement string that depends on the item ({#} and {%}
 * do not). */
bool template_uses_item(const struct template *t);
bool template_uses_slot(const struct template *t);
/* The number of arguments that an item must have at least: the largest number
 * named, of {-n} it is n (0: none). */
int template_max_arg(const struct template *t);

/* The length of the replacement string that the text begins with, or 0. */
size_t template_match(const char *text);

struct template_values {
	const char *item;    /* arguments joined by NUL */
	size_t item_len;
	int64_t number;      /* {#} */
	int slot;            /* {%} */
};

/* Appends the expansion to *out. ST_CONFIG: an argument number that the item
 * does not have, and *out has the bytes it had; ST_NO_MEMORY, as in buf_check. */
enum status template_expand(const struct template *t, const struct template_values *v,
    struct buf *out, struct error *e) MUST_USE;

#endif
