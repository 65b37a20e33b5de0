/* Hears what the platform says: asks its metadata service, in a thread of its own, and
 * hands on what is news. Where there is no platform there is no thread, no library is
 * loaded, and the network is left alone.
 *
 * Answers are limited in size (256 KiB) and time, redirects are not followed, proxies not
 * used, and nothing of an answer is believed that is not of the form that the platform
 * documents. What is wrong is said once, and asked again. */
#ifndef EBB_NOTICE_WATCH_H
#define EBB_NOTICE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "model/notice.h"

struct notice_watch;

struct notice_watch_options {
	const char *sources;    /* "auto" (NULL too), "none", or names with commas between them,
	                         * each of which may say where: "aws=http://127.0.0.1:1338,gcp" */
	const char *sysfs;      /* NULL: "/sys" */
	int64_t poll_ms;        /* 0: as each platform asks for */
};

/* The names that `sources` may hold, for messages. */
const char *notice_watch_names(void);

/* ST_CONFIG: a name that is none, an endpoint that is no http(s) URL, no libcurl. */
enum status notice_watch_start(const struct notice_watch_options *opt, struct notice_watch **out,
    struct error *e) MUST_USE;
/* Ends the thread, at once. NULL is fine. */
void notice_watch_stop(struct notice_watch *w);

/* Bits of notice/detect.h: what "auto" found, or what was named. */
unsigned notice_watch_platforms(const struct notice_watch *w);
/* Readable while there is something to take; -1: there never will be. */
int notice_watch_fd(const struct notice_watch *w);

enum notice_word_kind {
	NOTICE_WORD_EVENT,
	NOTICE_WORD_MACHINE,
	NOTICE_WORD_TROUBLE,
	NOTICE_WORD_HINT,         /* worth knowing, and no trouble: a right that is missing */
};
struct notice_word {
	enum notice_word_kind kind;
	struct notice event;
	struct notice_machine machine;
	char trouble[256];        /* TROUBLE: "" when it is over; HINT. machine.source is whose */
};
/* False when there is nothing (any more). */
bool notice_watch_take(struct notice_watch *w, struct notice_word *out) MUST_USE;

/* Tells the platform that it may take the machine now, where it wants to know (Azure), if
 * it has announced that and the announcement is for this machine alone. Waits for the
 * answer, timeout_ms at most. False: there was nothing to tell, or it was not heard. */
bool notice_watch_acknowledge(struct notice_watch *w, int64_t timeout_ms);

#endif
