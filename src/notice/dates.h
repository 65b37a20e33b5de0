/* Moments as platforms write them. Pure; strict: anything else is no moment. */
#ifndef EBB_NOTICE_DATES_H
#define EBB_NOTICE_DATES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"

/* "2026-11-22T08:22:00Z", with a fraction of a second or an offset (+01:00) too:
 * RFC 3339, years 1970 to 9999. */
bool date_rfc3339(const char *text, int64_t *unix_ms) MUST_USE;
/* "Mon, 19 Sep 2016 18:29:47 GMT" (RFC 9110), and without the weekday, with a day of one
 * digit: "1 Jan 2020 01:03:47 GMT", as AWS writes maintenance events. */
bool date_http(const char *text, int64_t *unix_ms) MUST_USE;

#endif
