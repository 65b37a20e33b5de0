/* Events that tell from outside that a machine, or a worker on it, is about to go: of
 * Amazon EventBridge, also as SNS, SQS and Lambda hand them on, and a plain form of
 * ebb's own (docs: ebb help notify). Pure. */
#ifndef EBB_NOTICE_EVENT_H
#define EBB_NOTICE_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "model/notice.h"

enum {
	EVENT_TEXT_MAX = 1 << 20,  /* bytes of all of them together */
	EVENTS_MAX = 256,
	EVENT_NAMES = 16,
	EVENT_NAME_SIZE = 128,
};

enum event_whom {
	EVENT_NODE,     /* whoever is on a machine of one of these names */
	EVENT_WORKER,
	EVENT_POOL,
	EVENT_RUN,
	EVENT_ALL,
};

struct event {
	char problem[256];         /* "" or what is wrong with it; the rest is nothing then */
	bool nothing;              /* it says of nobody that he is about to go: `detail` why */
	enum notice_kind kind;     /* of NOTICE_WITHDRAWN, what was said before is not known */
	enum notice_action action;
	enum event_whom whom;
	char name[EVENT_NAMES][EVENT_NAME_SIZE]; /* of the node(s), worker or pool */
	size_t n_names;
	char run[64];              /* only workers of this run; "": of all */
	char source[NOTICE_SOURCE_MAX];
	char id[NOTICE_ID_MAX];    /* the sender's own; "" */
	char detail[NOTICE_DETAIL_MAX]; /* a line for people; printable */
	bool has_deadline;
	int64_t left_ms;           /* until then, from now on; 0 when it is past */
};

struct event_list {
	struct event *list;
	size_t n;
	size_t cap;
};

/* Appends what is in a text: one event, a JSON array of them, or one after the other,
 * each bare or wrapped. One that is not understood is in the list with its problem, so
 * that it keeps no other from being heard. ST_CONFIG: the whole is no JSON, too large, or
 * has too many; nothing of it counts then. */
enum status event_read(const char *text, size_t len, int64_t now_unix_ms, struct event_list *out,
    struct error *e) MUST_USE;
void event_list_free(struct event_list *l);

#endif
