/* Status classes and error text, the one way in which ebb's functions fail.
 *
 * A fallible function returns an enum status, which must be looked at, and
 * fills a caller-owned struct error with one line for a person. Decisions
 * switch on the class, never on the text. An error is logged once, by the
 * layer that decides what to do about it. */
#ifndef EBB_BASE_STATUS_H
#define EBB_BASE_STATUS_H

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

enum status {
	ST_OK = 0,
	ST_NOT_FOUND,       /* the thing named does not exist */
	ST_EXISTS,          /* create-if-absent lost, or a target is taken */
	ST_BUSY,            /* somebody else holds it; asking again may work */
	ST_FENCED,          /* the caller's epoch or lease is no longer valid */
	ST_THROTTLED,       /* asked to slow down */
	ST_TRANSIENT,       /* may work when tried again */
	ST_UNKNOWN_OUTCOME, /* it may or may not have happened: read back */
	ST_DENIED,          /* permission */
	ST_CORRUPT,         /* data that cannot be what was written */
	ST_FULL,            /* disk or quota full */
	ST_CONFIG,          /* the user's input, file or option is wrong */
	ST_NO_MEMORY,
	ST_PERMANENT,       /* will not work however often it is tried */
};

enum { ERROR_TEXT_MAX = 512 };

/* Owned by the caller, who may pass it on the stack uninitialised: it has a
 * meaning only after a function returned something else than ST_OK. The text
 * is one line without a full stop; it names the thing, what is wrong with it
 * and, where there is one, what to do. Longer texts are cut. */
struct error {
	char text[ERROR_TEXT_MAX];
};

/* Fills *e (NULL is fine) and returns st, so that callers can write
 * `return error_set(e, ST_CONFIG, "...")`. */
enum status error_set(struct error *e, enum status st, const char *fmt, ...)
    PRINTF_LIKE(3, 4) __attribute__((cold));

/* The same for a failed system call: appends ": " and the text of os_errno,
 * and returns the class that os_errno belongs to. */
enum status error_os(struct error *e, int os_errno, const char *fmt, ...)
    PRINTF_LIKE(3, 4) __attribute__((cold));

/* Puts "<words>: " before the text that e already holds; returns st. */
enum status error_prefix(struct error *e, enum status st, const char *fmt, ...)
    PRINTF_LIKE(3, 4) __attribute__((cold));

/* The class of an errno value: ENOSPC and EDQUOT are ST_FULL, ENOENT is
 * ST_NOT_FOUND and so on; what has no class of its own is ST_PERMANENT. */
enum status status_of_errno(int os_errno);

/* A short constant name for logs and JSON: "ok", "not-found", ... */
const char *status_name(enum status st);

#endif
