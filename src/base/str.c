#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct unit {
	const char *name;
	double factor;
};

/* A non-negative decimal number and a unit out of a table. */
static bool parse_with_unit(const char *text, const struct unit *units, double max, int64_t *out)
{
	char *end;
	double v;

	if (!isdigit((unsigned char)text[0]) && text[0] != '.')
		return false;
	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
		return false;
	errno = 0;
	v = strtod(text, &end);
	if (errno != 0 || !isfinite(v))
		return false;
	while (*end == ' ')
		end++;
	for (; units->name != NULL; units++) {
		if (strcmp(end, units->name) == 0) {
			v *= units->factor;
			if (v > max)
				return false;
			*out = (int64_t)llround(v);
			return true;
		}
	}
	return false;
}

enum status str_parse_size(const char *text, int64_t *bytes, struct error *e)
{
	static const struct unit units[] = {
		{"", 1}, {"B", 1},
		{"k", 1024}, {"K", 1024}, {"KiB", 1024}, {"kB", 1e3}, {"KB", 1e3},
		{"m", 1048576}, {"M", 1048576}, {"MiB", 1048576}, {"MB", 1e6},
		{"g", 1073741824}, {"G", 1073741824}, {"GiB", 1073741824}, {"GB", 1e9},
		{"T", 1099511627776}, {"TiB", 1099511627776}, {"TB", 1e12},
		{NULL, 0},
	};

	if (parse_with_unit(text, units, 9e18, bytes))
		return ST_OK;
	return error_set(e, ST_CONFIG, "\"%.60s\" is not a size; expected a number with a unit, "
	    "such as 64KiB, 4MiB or 1.5GB", text);
}

enum status str_parse_duration(const char *text, int64_t *ms, struct error *e)
{
	static const struct unit units[] = {
		{"", 1000}, {"ms", 1}, {"s", 1000}, {"sec", 1000}, {"m", 60000}, {"min", 60000},
		{"h", 3600000}, {"d", 86400000}, {NULL, 0},
	};

	if (parse_with_unit(text, units, 9e15, ms))
		return ST_OK;
	return error_set(e, ST_CONFIG, "\"%.60s\" is not a duration; expected seconds, or a number with a "
	    "unit, such as 500ms, 30s, 10m, 2h or 7d", text);
}

enum status str_parse_count(const char *text, int64_t min, int64_t max, int64_t *n,
    struct error *e)
{
	char digits[24];
	size_t len = 0;
	const char *p = text;
	char *end;

	if (*p == '-' || *p == '+')
		digits[len++] = *p++;
	for (; *p != '\0' && len < sizeof(digits) - 1; p++) {
		if (*p == ',' && p > text)
			continue;
		digits[len++] = *p;
	}
	digits[len] = '\0';
	errno = 0;
	*n = strtoll(digits, &end, 10);
	if (*p != '\0' || len == 0 || end == digits || *end != '\0' || errno != 0 ||
	    *n < min || *n > max)
		return error_set(e, ST_CONFIG,
		    "\"%.60s\" is not a whole number from %lld to %lld", text,
		    (long long)min, (long long)max);
	return ST_OK;
}

void str_count(struct buf *b, int64_t n)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%lld", (long long)(n < 0 ? -n : n));
	int i;

	if (n < 0)
		buf_char(b, '-');
	for (i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			buf_char(b, ',');
		buf_char(b, digits[i]);
	}
}

void str_duration(struct buf *b, int64_t ms)
{
	int64_t s = ms / 1000;

	if (ms < 10000)
		buf_printf(b, "%.1f s", (double)ms / 1000.0);
	else if (s < 100)
		buf_printf(b, "%lld s", (long long)s);
	else if (s < 3600)
		buf_printf(b, "%lldm%02llds", (long long)(s / 60), (long long)(s % 60));
	else if (s < 86400)
		buf_printf(b, "%lldh%02lldm", (long long)(s / 3600), (long long)(s / 60 % 60));
	else
		buf_printf(b, "%lldd%02lldh", (long long)(s / 86400), (long long)(s / 3600 % 24));
}

void str_size(struct buf *b, int64_t bytes)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
	double v = (double)bytes / 1024;
	size_t u = 0;

	if (bytes < 1024) {
		buf_printf(b, "%lld B", (long long)bytes);
		return;
	}
	while (v >= 1023.95 && u + 1 < sizeof(units) / sizeof(units[0])) {
		v /= 1024;
		u++;
	}
	buf_printf(b, "%.1f %s", v, units[u]);
}

static bool shell_safe(const char *data, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (!isalnum((unsigned char)data[i]) && strchr("_-./:=@%+,", data[i]) == NULL)
			return false;
		if (data[i] == '\0')
			return false;
	}
	return len > 0;
}

void str_shell_quote(struct buf *b, const char *data, size_t len)
{
	size_t i;

	if (shell_safe(data, len)) {
		buf_append(b, data, len);
		return;
	}
	buf_char(b, '\'');
	for (i = 0; i < len; i++) {
		if (data[i] == '\'')
			buf_str(b, "'\\''");
		else
			buf_char(b, data[i]);
	}
	buf_char(b, '\'');
}

/* Length of the well-formed UTF-8 sequence at data, 0 if there is none
 * (RFC 3629: no overlong forms, no surrogates, up to U+10FFFF). */
static size_t utf8_len(const unsigned char *d, size_t len)
{
	if (len == 0)
		return 0;
	if (d[0] < 0x80)
		return 1;
	if (d[0] >= 0xc2 && d[0] <= 0xdf)
		return len >= 2 && (d[1] & 0xc0) == 0x80 ? 2 : 0;
	if (d[0] >= 0xe0 && d[0] <= 0xef) {
		if (len < 3 || (d[1] & 0xc0) != 0x80 || (d[2] & 0xc0) != 0x80)
			return 0;
		if ((d[0] == 0xe0 && d[1] < 0xa0) || (d[0] == 0xed && d[1] > 0x9f))
			return 0;
		return 3;
	}
	if (d[0] >= 0xf0 && d[0] <= 0xf4) {
		if (len < 4 || (d[1] & 0xc0) != 0x80 || (d[2] & 0xc0) != 0x80 ||
		    (d[3] & 0xc0) != 0x80)
			return 0;
		if ((d[0] == 0xf0 && d[1] < 0x90) || (d[0] == 0xf4 && d[1] > 0x8f))
			return 0;
		return 4;
	}
	return 0;
}

bool str_is_utf8(const char *data, size_t len)
{
	size_t n;

	for (; len > 0; data += n, len -= n) {
		n = utf8_len((const unsigned char *)data, len);
		if (n == 0)
			return false;
	}
	return true;
}

void str_display(struct buf *b, const char *data, size_t len, size_t max)
{
	size_t start = b->len;

	while (len > 0) {
		const unsigned char *d = (const unsigned char *)data;
		size_t n = utf8_len(d, len);
		bool control = n == 1 && (d[0] < 0x20 || d[0] == 0x7f);
		bool c1 = n == 2 && d[0] == 0xc2 && d[1] < 0xa0;

		if (max > 0 && b->len - start + 4 > max) {
			buf_str(b, "...");
			return;
		}
		if (n == 0 || c1)
			n = 1;
		if (d[0] == '\n')
			buf_str(b, "\\n");
		else if (d[0] == '\t')
			buf_str(b, "\\t");
		else if (control || c1 || (n == 1 && d[0] >= 0x80))
			buf_printf(b, "\\x%02x", d[0]);
		else
			buf_append(b, data, n);
		data += n;
		len -= n;
	}
}

void str_json(struct buf *b, const char *data, size_t len)
{
	buf_char(b, '"');
	while (len > 0) {
		const unsigned char *d = (const unsigned char *)data;
		size_t n = utf8_len(d, len);

		if (n == 0) {
			buf_str(b, "\xef\xbf\xbd");
			n = 1;
		} else if (d[0] == '"' || d[0] == '\\') {
			buf_char(b, '\\');
			buf_append(b, data, 1);
		} else if (d[0] == '\n') {
			buf_str(b, "\\n");
		} else if (d[0] < 0x20 || d[0] == 0x7f) {
			buf_printf(b, "\\u%04x", d[0]);
		} else {
			buf_append(b, data, n);
		}
		data += n;
		len -= n;
	}
	buf_char(b, '"');
}

void str_hex(struct buf *b, const uint8_t *data, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	size_t i;

	for (i = 0; i < len; i++) {
		buf_char(b, digits[data[i] >> 4]);
		buf_char(b, digits[data[i] & 15]);
	}
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

bool str_unhex(const char *hex, uint8_t *out, size_t out_len)
{
	size_t i;

	for (i = 0; i < out_len; i++) {
		int hi = hex_value(hex[2 * i]);
		int lo = hi < 0 ? -1 : hex_value(hex[2 * i + 1]);

		if (lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return hex[2 * out_len] == '\0';
}

size_t str_distance(const char *a, size_t an, const char *b, size_t bn)
{
	size_t row[64];
	size_t i;
	size_t j;

	if (an >= 64 || bn >= 64)
		return 64;
	for (j = 0; j <= bn; j++)
		row[j] = j;
	for (i = 1; i <= an; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (j = 1; j <= bn; j++) {
			size_t above = row[j];
			size_t best = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);

			if (above + 1 < best)
				best = above + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
			diagonal = above;
		}
	}
	return row[bn];
}
