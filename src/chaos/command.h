/* What can be done to a played machine while it runs, and its spelling in a
 * trigger file. */
#ifndef EBB_CHAOS_COMMAND_H
#define EBB_CHAOS_COMMAND_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "model/notice.h"

enum command_kind {
	COMMAND_REBALANCE,   /* shows the recommendation */
	COMMAND_NOTICE,      /* shows the notice */
	COMMAND_MAINTENANCE, /* shows a planned maintenance */
	COMMAND_WITHDRAW,    /* nothing of these shows any more */
	COMMAND_END,         /* the machine is gone: connections are closed without an answer */
};

struct command {
	enum command_kind kind;
	int instance;       /* from 1; 0: all */
	int64_t in_ms;      /* notice: how long until the machine goes; -1: as at the start */
	int action;         /* notice: an enum notice_action; -1: as at the start */
};

enum { COMMAND_LINE_MAX = 200, COMMAND_IN_MAX_MS = 24 * 3600 * 1000 };

/* Of what a notice can say: terminate, stop, hibernate. False when it is none of these. */
_Bool command_action_find(const char *name, size_t len, enum notice_action *out) MUST_USE;

/* One line without its end: "notice", "notice @2 30s stop", "end @1". Words after
 * the first in any order. ST_NOT_FOUND: an empty line, or a comment (#).
 * ST_CONFIG says what was expected. `count` is the number of instances. */
enum status command_parse(const char *line, size_t len, int count, struct command *out,
    struct error *e) MUST_USE;

#endif
