/* A machine that is played: what it is, what its cloud will do to it and when,
 * and what was asked of it. Pure: the time is always an argument. */
#ifndef EBB_CHAOS_INSTANCE_H
#define EBB_CHAOS_INSTANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "chaos/command.h"

struct buf;
struct cloud;

/* The same moment on both clocks: CLOCK_BOOTTIME decides, CLOCK_REALTIME is shown. */
struct moment {
	int64_t boot_ms;
	int64_t wall_ms;
};

#define INSTANCE_NEVER INT64_MAX

/* Strings are borrowed and must outlive the instance. Times are in ms; those after
 * which something happens count from the start, and -1 is never. */
struct instance_options {
	const char *id;           /* NULL: made up, another one for each instance */
	const char *type;         /* NULL: the cloud's usual one; also zone */
	const char *zone;
	bool on_demand;
	int64_t rebalance_after_ms;
	int64_t notice_after_ms;
	int64_t maintenance_after_ms;
	int64_t withdraw_after_ms; /* after each notice */
	int64_t window_ms;         /* from notice to end; -1: what the cloud gives */
	enum notice_action action;
	bool token_optional;       /* aws: IMDSv1 is answered too */
	int64_t token_ttl_ms;      /* aws: no token lives longer; -1: as long as asked for */
	const char *iam_role;      /* aws: NULL: no role */
	bool autoscaling;          /* aws: it belongs to an Auto Scaling group */
	bool foreign;              /* azure: events of another machine are listed too */
	int64_t first_delay_ms;    /* azure: before the first answer of scheduled events */
};

/* All options at their defaults. */
struct instance_options instance_options_default(void);
/* ST_CONFIG: something that this cloud does not have, or a role that cannot be one. */
enum status instance_options_check(const struct instance_options *o, const struct cloud *cloud,
    struct error *e) MUST_USE;

/* What clients did. Times are in boot ms, -1: never. */
struct instance_seen {
	int64_t requests;
	int64_t polls;            /* requests for a notice that were answered, or wait */
	int64_t last_poll_ms;
	int64_t last_request_ms;
	int64_t acknowledged_ms;  /* azure: the notice's event was acknowledged */
	char acknowledged[40];    /* id of that event */
};

enum { INSTANCE_ID_MAX = 80, INSTANCE_SECRET = 16 };

/* Open for the clouds' tables and for tests. */
struct instance {
	const struct cloud *cloud;
	struct instance_options o;
	int number;               /* from 1 */
	char id[INSTANCE_ID_MAX];
	uint8_t secret[INSTANCE_SECRET]; /* what tokens and event ids are made of */
	struct moment born;
	/* Boot time, INSTANCE_NEVER while nothing is planned. */
	int64_t rebalance_ms;
	int64_t notice_ms;
	int64_t deadline_ms;
	int64_t withdraw_ms;
	int64_t maintenance_ms;
	int64_t end_ms;
	enum notice_action action;
	int notices;              /* how many there were: each is another event */
	int64_t first_poll_ms;    /* azure; -1 */
	bool foreign_started;     /* azure: acknowledged */
	int64_t incarnation;      /* azure: of the document of events */
	char document[40];        /* azure: tag of the events it had then */
	struct instance_seen seen;
};

/* `options` were checked. */
void instance_init(struct instance *i, const struct cloud *cloud,
    const struct instance_options *options, int number, const uint8_t secret[INSTANCE_SECRET],
    struct moment now);

/* Brings the state up to now: a notice that was to be withdrawn is. */
void instance_advance(struct instance *i, struct moment now);
/* The next moment after `after_ms` at which anything changes; INSTANCE_NEVER. */
int64_t instance_next_change(const struct instance *i, int64_t after_ms);
/* Does what the command says, now. ST_CONFIG: this cloud cannot. */
enum status instance_apply(struct instance *i, const struct command *c, struct moment now,
    struct error *e) MUST_USE;
void instance_note_poll(struct instance *i, struct moment now);

/* What of it shows at that moment. */
bool instance_has_notice(const struct instance *i, struct moment now);
bool instance_has_rebalance(const struct instance *i, struct moment now);
bool instance_has_maintenance(const struct instance *i, struct moment now);
bool instance_has_ended(const struct instance *i, struct moment now);

const char *instance_type(const struct instance *i);
const char *instance_zone(const struct instance *i);

/* A number of its own, the same for the same instance and what: for names and ids. */
bool instance_guid(const struct instance *i, const char *what, char out[37]) MUST_USE;

enum time_form {
	TIME_ISO,     /* 2017-09-18T08:22:00Z */
	TIME_RFC1123, /* Mon, 19 Sep 2016 18:29:47 GMT */
	TIME_AWS,     /* 1 Jan 2020 01:03:47 GMT */
};
/* A moment of boot time as its wall clock, counted from the start. */
void instance_time(const struct instance *i, int64_t boot_ms, enum time_form form, struct buf *out);

#endif
