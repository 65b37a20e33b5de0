#include "model/notice.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

enum { USUAL_WINDOW_MS = 30000 };

static const char *const kind_names[NOTICE_KINDS] = {
	"rebalance", "maintenance", "notice", "preempted", "withdrawn",
};

static const char *const action_names[NOTICE_ACTIONS] = {
	"unknown", "terminate", "stop", "hibernate", "reboot", "redeploy", "freeze", "migrate",
};

const char *notice_kind_name(enum notice_kind k)
{
	return kind_names[k];
}

const char *notice_action_name(enum notice_action a)
{
	return action_names[a];
}

enum notice_action notice_action_of(const char *word)
{
	int i;

	for (i = 1; i < NOTICE_ACTIONS; i++) {
		if (strcasecmp(word, action_names[i]) == 0)
			return (enum notice_action)i;
	}
	return NOTICE_UNKNOWN_ACTION;
}

bool notice_kind_of(const char *word, enum notice_kind *out)
{
	int i;

	for (i = 0; i < NOTICE_KINDS; i++) {
		if (strcmp(word, kind_names[i]) == 0) {
			*out = (enum notice_kind)i;
			return true;
		}
	}
	return false;
}

void notice_begin(struct notice *n, enum notice_kind kind, const char *source,
    int64_t seen_boot_ms, int64_t seen_unix_ms)
{
	memset(n, 0, sizeof(*n));
	n->kind = kind;
	n->seen_boot_ms = seen_boot_ms;
	n->seen_unix_ms = seen_unix_ms;
	(void)snprintf(n->source, sizeof(n->source), "%s", source);
}

void notice_text(char *out, size_t size, const char *text, size_t len)
{
	struct buf b = {0};

	str_display(&b, text, len, size - 1);
	(void)snprintf(out, size, "%s", b.failed || b.data == NULL ? "" : b.data);
	buf_free(&b);
}

int64_t notice_deadline_boot_ms(const struct notice *n, int64_t given_ms)
{
	if (n->deadline_boot_ms != 0)
		return n->deadline_boot_ms;
	if (n->action == NOTICE_HIBERNATE)
		return n->seen_boot_ms;
	if (given_ms >= 0)
		return n->seen_boot_ms + given_ms;
	return n->seen_boot_ms + (n->window_ms > 0 ? n->window_ms : USUAL_WINDOW_MS);
}

/* Processes end with it. */
static bool ends_machine(enum notice_action a)
{
	return a != NOTICE_FREEZE && a != NOTICE_MIGRATE && a != NOTICE_UNKNOWN_ACTION;
}

enum notice_response notice_response(const struct notice *n, int64_t now_boot_ms)
{
	switch (n->kind) {
	case NOTICE_REBALANCE:
		return NOTICE_BE_CAREFUL;
	case NOTICE_MAINTENANCE:
		if (!ends_machine(n->action) || n->deadline_boot_ms == 0)
			return NOTICE_GO_ON;
		return n->deadline_boot_ms - now_boot_ms > NOTICE_NEAR_MS ? NOTICE_END_OF_LIFE
		    : NOTICE_DRAIN;
	case NOTICE_TAKEN:
	case NOTICE_PREEMPTED:
		return NOTICE_DRAIN;
	case NOTICE_WITHDRAWN:
		return n->was == NOTICE_REBALANCE || n->was == NOTICE_MAINTENANCE ? NOTICE_RELAX
		    : NOTICE_GO_ON;
	case NOTICE_KINDS:
		break;
	}
	return NOTICE_GO_ON;
}

bool notice_keep_end(struct notice *ends, const struct notice *n)
{
	bool same = ends->deadline_boot_ms != 0 && strcmp(ends->id, n->id) == 0 &&
	    strcmp(ends->source, n->source) == 0;

	if (n->kind == NOTICE_WITHDRAWN) {
		if (same)
			memset(ends, 0, sizeof(*ends));
		return same;
	}
	if (!same && ends->deadline_boot_ms != 0 && ends->deadline_boot_ms <= n->deadline_boot_ms)
		return false;
	*ends = *n;
	return true;
}

static void json_member(struct buf *out, const char *name, const char *value)
{
	if (value[0] == '\0')
		return;
	buf_printf(out, ",\"%s\":", name);
	str_json(out, value, strlen(value));
}

void notice_json(const struct notice *n, int64_t now_boot_ms, struct buf *out)
{
	buf_printf(out, "{\"event\":\"%s\"", notice_kind_name(n->kind));
	if (n->kind == NOTICE_WITHDRAWN)
		buf_printf(out, ",\"was\":\"%s\"", notice_kind_name(n->was));
	json_member(out, "source", n->source);
	if (n->action != NOTICE_UNKNOWN_ACTION)
		json_member(out, "action", notice_action_name(n->action));
	json_member(out, "id", n->id);
	buf_printf(out, ",\"time_unix\":%.3f", (double)n->seen_unix_ms / 1e3);
	if (n->deadline_boot_ms != 0)
		buf_printf(out, ",\"deadline_unix\":%.3f,\"seconds_left\":%.3f",
		    (double)(n->seen_unix_ms + n->deadline_boot_ms - n->seen_boot_ms) / 1e3,
		    (double)(n->deadline_boot_ms - now_boot_ms) / 1e3);
	else
		buf_str(out, ",\"deadline_unix\":null,\"seconds_left\":null");
	if (n->window_ms > 0)
		buf_printf(out, ",\"window_s\":%.3f", (double)n->window_ms / 1e3);
	json_member(out, "detail", n->detail);
	buf_char(out, '}');
}

void notice_say(const struct notice *n, int64_t now_boot_ms, struct buf *out)
{
	static const char *const said[NOTICE_KINDS] = {
		"a rebalance is recommended", "maintenance is planned",
		"this machine is going to be taken away", "this machine is being taken away",
		"what was said before is taken back",
	};

	buf_printf(out, "%s: %s", n->source, said[n->kind]);
	if (n->kind == NOTICE_WITHDRAWN)
		buf_printf(out, " (%s)", notice_kind_name(n->was));
	if (n->action != NOTICE_UNKNOWN_ACTION)
		buf_printf(out, " (%s)", notice_action_name(n->action));
	if (n->deadline_boot_ms != 0 && n->kind != NOTICE_WITHDRAWN) {
		int64_t left = n->deadline_boot_ms - now_boot_ms;

		buf_str(out, left > 0 ? " in " : " now");
		if (left > 0)
			str_duration(out, left);
	}
	if (n->detail[0] != '\0')
		buf_printf(out, ": %s", n->detail);
}
