/* What a platform says about the life of the machine that ebb runs on. Pure. */
#ifndef EBB_MODEL_NOTICE_H
#define EBB_MODEL_NOTICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"

enum notice_kind {
	NOTICE_REBALANCE = 0, /* it is likelier than usual to be taken; nothing is decided */
	NOTICE_MAINTENANCE,   /* planned; it may survive that */
	NOTICE_TAKEN,         /* "notice": it will be taken away at the deadline */
	NOTICE_PREEMPTED,     /* it is being taken away */
	NOTICE_WITHDRAWN,     /* what was said before (`was`) does not hold any more */
	NOTICE_KINDS,
};

enum notice_action {
	NOTICE_UNKNOWN_ACTION = 0,
	NOTICE_TERMINATE,
	NOTICE_STOP,
	NOTICE_HIBERNATE,
	NOTICE_REBOOT,
	NOTICE_REDEPLOY,
	NOTICE_FREEZE,
	NOTICE_MIGRATE,
	NOTICE_ACTIONS,
};

enum { NOTICE_ID_MAX = 128, NOTICE_DETAIL_MAX = 192, NOTICE_SOURCE_MAX = 16 };

struct notice {
	enum notice_kind kind;
	enum notice_kind was;           /* of NOTICE_WITHDRAWN */
	enum notice_action action;
	char source[NOTICE_SOURCE_MAX]; /* "aws" */
	char id[NOTICE_ID_MAX];         /* of the platform's own event; "" */
	char detail[NOTICE_DETAIL_MAX]; /* one line for people; printable */
	int64_t seen_boot_ms;           /* CLOCK_BOOTTIME */
	int64_t seen_unix_ms;
	int64_t deadline_boot_ms;       /* 0: the platform does not say */
	int64_t window_ms;              /* what this platform usually leaves; 0: not known */
};

const char *notice_kind_name(enum notice_kind k);     /* "rebalance", "notice", ... */
const char *notice_action_name(enum notice_action a); /* "terminate", ...; "unknown" */
/* Of a platform's word, in any case of letters; NOTICE_UNKNOWN_ACTION. */
enum notice_action notice_action_of(const char *word);
/* False when there is no such kind. */
bool notice_kind_of(const char *word, enum notice_kind *out) MUST_USE;

/* One without an action and a deadline, seen at that moment. */
void notice_begin(struct notice *n, enum notice_kind kind, const char *source,
    int64_t seen_boot_ms, int64_t seen_unix_ms);
/* Copies what is printable of a text from outside, cut to fit. */
void notice_text(char *out, size_t size, const char *text, size_t len);

/* When it will be over at the latest: its deadline, else when it was seen plus
 * `given_ms` (a grace that was asked for; -1: none was), else plus its window, else plus
 * 30 s. A hibernation comes without a window: the moment when it was seen. */
int64_t notice_deadline_boot_ms(const struct notice *n, int64_t given_ms);

/* What a worker does about it. */
enum notice_response {
	NOTICE_GO_ON,       /* record it */
	NOTICE_BE_CAREFUL,  /* no long shards, save early, ask for a replacement */
	NOTICE_END_OF_LIFE, /* the machine ends (or starts anew) at the deadline, far ahead:
	                     * drain in time */
	NOTICE_DRAIN,       /* now */
	NOTICE_RELAX,       /* what made it careful is withdrawn */
};
/* `now_boot_ms` tells near from far: maintenance that ends the machine within
 * NOTICE_NEAR_MS is a drain. */
enum { NOTICE_NEAR_MS = 150000 };
enum notice_response notice_response(const struct notice *n, int64_t now_boot_ms);

/* Keeps in *ends (deadline 0: nothing yet) the announced end of the machine that comes
 * first: takes one that is an NOTICE_END_OF_LIFE, one of the same source and id in place
 * of what that said before, and forgets one that is withdrawn. True: *ends has changed. */
bool notice_keep_end(struct notice *ends, const struct notice *n);

/* One line of JSON without a line end: docs/formats.md. */
void notice_json(const struct notice *n, int64_t now_boot_ms, struct buf *out);
/* One line for people. */
void notice_say(const struct notice *n, int64_t now_boot_ms, struct buf *out);

/* What the platform says about the machine itself; "" and 0: not known. */
struct notice_machine {
	char source[NOTICE_SOURCE_MAX];
	char node[64];             /* instance id, pod */
	char zone[32];
	char type[32];
	char lifecycle[16];        /* "spot", "on-demand" */
	int64_t life_until_boot_ms;/* when it ends at the latest */
};

#endif
