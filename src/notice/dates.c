#include "notice/dates.h"

#include <string.h>
#include <time.h>

/* Between `least` and `most` digits; NULL when there are fewer. */
static const char *read_digits(const char *p, int least, int most, int *out)
{
	int n = 0;

	*out = 0;
	for (; n < most && *p >= '0' && *p <= '9'; n++, p++)
		*out = *out * 10 + (*p - '0');
	return n >= least ? p : NULL;
}

static const char *read_char(const char *p, char c)
{
	return p != NULL && *p == c ? p + 1 : NULL;
}

static const char *read_number(const char *p, int digits, int *out)
{
	return p == NULL ? NULL : read_digits(p, digits, digits, out);
}

/* "08:22:00". */
static const char *read_clock(const char *p, struct tm *t)
{
	p = read_char(read_number(p, 2, &t->tm_hour), ':');
	p = read_char(read_number(p, 2, &t->tm_min), ':');
	return read_number(p, 2, &t->tm_sec);
}

/* False when a field is out of its bounds (31 April too). */
static bool to_unix(const struct tm *t, int64_t *seconds)
{
	struct tm copy = *t;
	time_t at;

	if (t->tm_year < 70 || t->tm_hour > 23 || t->tm_min > 59 || t->tm_sec > 60)
		return false;
	/* A leap second is the first of the next minute to everybody else. */
	if (t->tm_sec == 60)
		copy.tm_sec = 59;
	at = timegm(&copy);
	*seconds = (int64_t)at + (t->tm_sec == 60);
	return copy.tm_mday == t->tm_mday && copy.tm_mon == t->tm_mon;
}

/* "Z" or "+01:00"; *offset in seconds. */
static const char *read_zone(const char *p, int *offset)
{
	int hours;
	int minutes;
	int sign;

	*offset = 0;
	if (p == NULL || *p == 'Z' || *p == 'z')
		return p == NULL ? NULL : p + 1;
	if (*p != '+' && *p != '-')
		return NULL;
	sign = *p == '-' ? -1 : 1;
	p = read_char(read_number(p + 1, 2, &hours), ':');
	p = read_number(p, 2, &minutes);
	if (p == NULL || hours > 23 || minutes > 59)
		return NULL;
	*offset = sign * (hours * 3600 + minutes * 60);
	return p;
}

/* ".123456": thousandths of a second. */
static const char *read_fraction(const char *p, int *ms)
{
	const char *begin = p;

	*ms = 0;
	for (; *p >= '0' && *p <= '9'; p++) {
		if (p - begin < 3)
			*ms = *ms * 10 + (*p - '0');
	}
	if (p == begin)
		return NULL;
	for (; begin + 3 > p; begin--)
		*ms *= 10;
	return p;
}

bool date_rfc3339(const char *text, int64_t *unix_ms)
{
	struct tm t = {0};
	const char *p = text;
	int64_t seconds;
	int year = 0;
	int month;
	int offset;
	int ms = 0;

	p = read_char(read_number(p, 4, &year), '-');
	p = read_char(read_number(p, 2, &month), '-');
	p = read_number(p, 2, &t.tm_mday);
	if (p == NULL || (*p != 'T' && *p != 't'))
		return false;
	p = read_clock(p + 1, &t);
	if (p != NULL && *p == '.')
		p = read_fraction(p + 1, &ms);
	p = read_zone(p, &offset);
	t.tm_year = year - 1900;
	t.tm_mon = month - 1;
	if (p == NULL || *p != '\0' || month < 1 || month > 12 || t.tm_mday < 1 ||
	    !to_unix(&t, &seconds))
		return false;
	*unix_ms = (seconds - offset) * 1000 + ms;
	return true;
}

static int month_of(const char *p)
{
	static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	int i;

	for (i = 0; i < 12; i++) {
		if (strncmp(p, names + (size_t)i * 3, 3) == 0)
			return i;
	}
	return -1;
}

/* "Mon, "; what it says is not looked at. */
static const char *skip_weekday(const char *p)
{
	static const char names[] = "Mon Tue Wed Thu Fri Sat Sun";
	const char *comma = strchr(p, ',');
	char day[4] = {0};

	if (comma == NULL)
		return p;
	if (comma - p != 3 || comma[1] != ' ')
		return NULL;
	memcpy(day, p, 3);
	return strstr(names, day) == NULL || strchr(day, ' ') != NULL ? NULL : comma + 2;
}

bool date_http(const char *text, int64_t *unix_ms)
{
	struct tm t = {0};
	const char *p = skip_weekday(text);
	int64_t seconds;
	int year = 0;

	p = p == NULL ? NULL : read_digits(p, 1, 2, &t.tm_mday);
	p = read_char(p, ' ');
	if (p == NULL || strnlen(p, 4) < 4 || (t.tm_mon = month_of(p)) < 0 || t.tm_mday < 1)
		return false;
	p = read_char(read_number(read_char(p + 3, ' '), 4, &year), ' ');
	p = read_clock(p, &t);
	t.tm_year = year - 1900;
	if (p == NULL || strcmp(p, " GMT") != 0 || !to_unix(&t, &seconds))
		return false;
	*unix_ms = seconds * 1000;
	return true;
}
