/* JSON from outside, with a limit on how deep it is nested: the reader of the library
 * goes down by calling itself, and the stack of a thread has an end. Pure. */
#ifndef EBB_NOTICE_JSON_H
#define EBB_NOTICE_JSON_H

#include <stddef.h>

#include "base/status.h"

struct json_t;

enum { NOTICE_JSON_DEPTH = 32 };

/* The value, to be released with json_decref. ST_CONFIG when it is none, or is nested
 * deeper than NOTICE_JSON_DEPTH; the text says where. */
enum status notice_json_load(const char *text, size_t len, struct json_t **out,
    struct error *e) MUST_USE;
/* The first of several that stand one after the other; *used is how much of the text it
 * and what is before it takes. */
enum status notice_json_next(const char *text, size_t len, size_t *used, struct json_t **out,
    struct error *e) MUST_USE;
/* A member that is a string, else "" (also when it is no object at all). Lives as long as
 * the object. */
const char *notice_json_text(const struct json_t *object, const char *name);
/* A member of a member of ... : "status.conditions". NULL when there is none. */
struct json_t *notice_json_at(const struct json_t *object, const char *path);

#endif
