#include "chaos/instance.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "chaos/cloud.h"
#include "chaos/http.h"

struct instance_options instance_options_default(void)
{
	return (struct instance_options){
		.rebalance_after_ms = -1, .notice_after_ms = -1, .maintenance_after_ms = -1,
		.withdraw_after_ms = -1, .window_ms = -1, .token_ttl_ms = -1, .first_delay_ms = 0,
		.action = NOTICE_TERMINATE,
	};
}

static enum status instance_check_texts(const struct instance_options *o, struct error *e)
{
	static const char safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	    "+=,.@_-";
	const struct { const char *what, *text; } texts[] = {
		{"instance-id", o->id}, {"instance-type", o->type}, {"zone", o->zone},
		{"iam-role", o->iam_role},
	};
	size_t i;

	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		const char *t = texts[i].text;

		if (t != NULL && (t[0] == '\0' || strlen(t) > 64 || t[strspn(t, safe)] != '\0'))
			return error_set(e, ST_CONFIG, "--%s: 1 to 64 letters, digits and +=,.@_- were "
			    "expected", texts[i].what);
	}
	return ST_OK;
}

static enum status instance_check_action(const struct cloud *cloud, enum notice_action action,
    struct error *e)
{
	if (action == NOTICE_HIBERNATE && !cloud->has_hibernate)
		return error_set(e, ST_CONFIG, "%s does not hibernate machines: terminate or stop "
		    "were expected", cloud->name);
	return ST_OK;
}

enum status instance_options_check(const struct instance_options *o, const struct cloud *cloud,
    struct error *e)
{
	const bool is_aws = cloud == &cloud_aws;
	const bool is_azure = cloud == &cloud_azure;
	enum status st = instance_check_texts(o, e);

	if (st == ST_OK)
		st = instance_check_action(cloud, o->action, e);
	if (st != ST_OK)
		return st;
	if (o->rebalance_after_ms >= 0 && !cloud->has_rebalance)
		return error_set(e, ST_CONFIG, "--rebalance-after: %s sends no rebalance recommendation; "
		    "only aws does", cloud->name);
	if (!is_aws && (o->token_optional || o->token_ttl_ms >= 0 || o->iam_role != NULL ||
	    o->autoscaling))
		return error_set(e, ST_CONFIG, "--imds, --token-ttl, --iam-role and --autoscaling belong "
		    "to aws, not to %s", cloud->name);
	if (!is_azure && (o->foreign || o->first_delay_ms > 0))
		return error_set(e, ST_CONFIG, "--foreign and --first-delay belong to azure, not to %s",
		    cloud->name);
	if (o->on_demand && o->notice_after_ms >= 0)
		return error_set(e, ST_CONFIG, "--notice-after: nobody takes an on-demand machine away; "
		    "leave out --lifecycle on-demand");
	if (o->token_ttl_ms >= 0 && o->token_ttl_ms < 1000)
		return error_set(e, ST_CONFIG, "--token-ttl: a second is the least that a token lives");
	return ST_OK;
}

static int64_t instance_after(struct moment now, int64_t after_ms)
{
	return after_ms < 0 ? INSTANCE_NEVER : now.boot_ms + after_ms;
}

/* A notice that shows from at_ms on. */
static void instance_plan_notice(struct instance *i, int64_t at_ms, int64_t in_ms, enum notice_action action)
{
	int64_t window = in_ms;

	if (window < 0 && action == NOTICE_HIBERNATE)
		window = 0; /* hibernation begins with the notice */
	if (window < 0)
		window = i->o.window_ms >= 0 ? i->o.window_ms : i->cloud->window_ms;
	i->notice_ms = at_ms;
	i->deadline_ms = at_ms + window;
	i->withdraw_ms = i->o.withdraw_after_ms < 0 ? INSTANCE_NEVER : at_ms + i->o.withdraw_after_ms;
	i->action = action;
	i->notices++;
	i->seen.acknowledged_ms = -1;
	i->seen.acknowledged[0] = '\0';
}

static void instance_forget_plans(struct instance *i)
{
	i->rebalance_ms = INSTANCE_NEVER;
	i->notice_ms = INSTANCE_NEVER;
	i->deadline_ms = INSTANCE_NEVER;
	i->withdraw_ms = INSTANCE_NEVER;
	i->maintenance_ms = INSTANCE_NEVER;
}

void instance_init(struct instance *i, const struct cloud *cloud,
    const struct instance_options *options, int number, const uint8_t secret[INSTANCE_SECRET],
    struct moment now)
{
	memset(i, 0, sizeof(*i));
	i->cloud = cloud;
	i->o = *options;
	i->number = number;
	i->born = now;
	memcpy(i->secret, secret, INSTANCE_SECRET);
	if (options->id != NULL)
		(void)snprintf(i->id, sizeof(i->id), "%s", options->id);
	else
		cloud->make_id(number, i->id);
	instance_forget_plans(i);
	i->end_ms = INSTANCE_NEVER;
	i->rebalance_ms = instance_after(now, options->rebalance_after_ms);
	i->maintenance_ms = instance_after(now, options->maintenance_after_ms);
	i->first_poll_ms = -1;
	i->incarnation = 1;
	i->seen = (struct instance_seen){.last_poll_ms = -1, .last_request_ms = -1,
	    .acknowledged_ms = -1};
	i->action = options->action;
	if (options->notice_after_ms >= 0)
		instance_plan_notice(i, now.boot_ms + options->notice_after_ms, -1, options->action);
}

void instance_advance(struct instance *i, struct moment now)
{
	if (now.boot_ms >= i->withdraw_ms)
		instance_forget_plans(i);
}

int64_t instance_next_change(const struct instance *i, int64_t after_ms)
{
	const int64_t times[] = {i->rebalance_ms, i->notice_ms, i->deadline_ms, i->withdraw_ms,
	    i->maintenance_ms, i->end_ms};
	int64_t next = INSTANCE_NEVER;
	size_t k;

	for (k = 0; k < sizeof(times) / sizeof(times[0]); k++) {
		if (times[k] > after_ms && times[k] < next)
			next = times[k];
	}
	return next;
}

enum status instance_apply(struct instance *i, const struct command *c, struct moment now,
    struct error *e)
{
	enum notice_action action = c->action < 0 ? i->o.action : (enum notice_action)c->action;
	enum status st = ST_OK;

	instance_advance(i, now);
	switch (c->kind) {
	case COMMAND_REBALANCE:
		if (!i->cloud->has_rebalance)
			return error_set(e, ST_CONFIG, "%s sends no rebalance recommendation; only aws "
			    "does", i->cloud->name);
		i->rebalance_ms = now.boot_ms;
		break;
	case COMMAND_NOTICE:
		if (i->o.on_demand)
			return error_set(e, ST_CONFIG, "nobody takes an on-demand machine away");
		st = instance_check_action(i->cloud, action, e);
		if (st == ST_OK)
			instance_plan_notice(i, now.boot_ms, c->in_ms, action);
		break;
	case COMMAND_MAINTENANCE:
		i->maintenance_ms = now.boot_ms;
		break;
	case COMMAND_WITHDRAW:
		instance_forget_plans(i);
		break;
	case COMMAND_END:
		i->end_ms = now.boot_ms;
		break;
	}
	return st;
}

void instance_note_poll(struct instance *i, struct moment now)
{
	i->seen.polls++;
	i->seen.last_poll_ms = now.boot_ms;
}

bool instance_has_notice(const struct instance *i, struct moment now)
{
	return now.boot_ms >= i->notice_ms;
}

bool instance_has_rebalance(const struct instance *i, struct moment now)
{
	return now.boot_ms >= i->rebalance_ms;
}

bool instance_has_maintenance(const struct instance *i, struct moment now)
{
	return now.boot_ms >= i->maintenance_ms;
}

bool instance_has_ended(const struct instance *i, struct moment now)
{
	return now.boot_ms >= i->end_ms;
}

const char *instance_type(const struct instance *i)
{
	return i->o.type != NULL ? i->o.type : i->cloud->type;
}

const char *instance_zone(const struct instance *i)
{
	return i->o.zone != NULL ? i->o.zone : i->cloud->zone;
}

bool instance_guid(const struct instance *i, const char *what, char out[37])
{
	uint8_t text[INSTANCE_SECRET + INSTANCE_ID_MAX + 64] = {0};
	char tag[HTTP_TAG_MAX];

	memcpy(text, i->secret, INSTANCE_SECRET);
	(void)snprintf((char *)text + INSTANCE_SECRET, sizeof(text) - INSTANCE_SECRET, "%s %s", i->id,
	    what);
	if (!http_tag(text, sizeof(text), tag))
		return false;
	(void)snprintf(out, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", tag, tag + 8, tag + 12, tag + 16, tag + 20);
	return true;
}

void instance_time(const struct instance *i, int64_t boot_ms, enum time_form form, struct buf *out)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	static const char days[] = "SunMonTueWedThuFriSat";
	time_t wall_s = (time_t)((i->born.wall_ms + boot_ms - i->born.boot_ms) / 1000);
	struct tm tm;

	if (gmtime_r(&wall_s, &tm) == NULL)
		return; /* only a year that does not fit into an int */
	if (form == TIME_ISO) {
		buf_printf(out, "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900, tm.tm_mon + 1,
		    tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
		return;
	}
	if (form == TIME_RFC1123)
		buf_printf(out, "%.3s, %02d", days + (ptrdiff_t)3 * tm.tm_wday, tm.tm_mday);
	else
		buf_printf(out, "%d", tm.tm_mday);
	buf_printf(out, " %.3s %04d %02d:%02d:%02d GMT", months + (ptrdiff_t)3 * tm.tm_mon,
	    tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}
