/* Text for and from people: units, quoting, safe display. Pure. */
#ifndef EBB_BASE_STR_H
#define EBB_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"

/* "4096", "64k", "4MiB", "1.5GB": a size in bytes. KiB/MiB/GiB/TiB and k/M/G/T
 * are powers of 1024, kB/MB/GB/TB powers of 1000. ST_CONFIG with the text of
 * what was expected otherwise, negative and overflowing values included. */
enum status str_parse_size(const char *text, int64_t *bytes, struct error *e) MUST_USE;
/* "90" (seconds), "250ms", "10m", "1.5h", "7d": a duration in ms. */
enum status str_parse_duration(const char *text, int64_t *ms, struct error *e) MUST_USE;
/* A whole number in [min, max]; commas as thousands separators are accepted. */
enum status str_parse_count(const char *text, int64_t min, int64_t max, int64_t *n,
    struct error *e) MUST_USE;

/* "1,204". */
void str_count(struct buf *b, int64_t n);
/* "0.4 s", "11 s", "4m12s", "3h05m", "2d04h". */
void str_duration(struct buf *b, int64_t ms);
/* "512 B", "4.0 MiB". */
void str_size(struct buf *b, int64_t bytes);

/* One word for a POSIX shell: as it is when that is safe, else in single
 * quotes. Any byte but NUL goes through unchanged. */
void str_shell_quote(struct buf *b, const char *data, size_t len);
/* For terminals and logs: control characters and bytes that are not UTF-8 are
 * shown as \n, \t, \xHH, so that a name can neither move the cursor nor break
 * a line. At most max bytes of output (0: no limit), cut with "...". */
void str_display(struct buf *b, const char *data, size_t len, size_t max);
/* True when it is well-formed UTF-8 (and so may stand in JSON). */
bool str_is_utf8(const char *data, size_t len);
/* A JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD. */
void str_json(struct buf *b, const char *data, size_t len);
/* Lower-case hex. */
void str_hex(struct buf *b, const uint8_t *data, size_t len);
/* The reverse: exactly out_len bytes from 2*out_len characters, or false. */
bool str_unhex(const char *hex, uint8_t *out, size_t out_len) MUST_USE;

/* Levenshtein distance of two words, for "did you mean"; 64 when one of them has
 * 64 bytes or more. */
size_t str_distance(const char *a, size_t a_len, const char *b, size_t b_len);

#endif
