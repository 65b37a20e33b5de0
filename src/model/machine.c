#include "model/machine.h"

#include <string.h>

static const char *const state_names[SHARD_STATES] = {
	"ready", "leased", "accepted", "published", "failed", "set-aside",
};

static const char *const cause_names[CAUSE_COUNT] = {
	"done", "checkpointed", "interrupted", "lost", "failed", "timed-out",
	"out-of-memory", "infrastructure", "cancelled", "superseded",
};

static const char *const event_names[EV_KINDS] = {
	"claim", "give-back", "end", "accept", "accept-empty", "published", "output-gone",
	"refused", "retry", "input-changed", "checkpoint",
};

/* What a commit-like event needs of its epoch. */
enum guard {
	GUARD_NONE,
	GUARD_CURRENT, /* the epoch of the latest claim */
	GUARD_FLOOR,   /* any epoch from the floor up to the latest */
};

/* What happens beside the change of state. */
enum action {
	ACT_NONE,
	ACT_NEW_EPOCH,  /* epoch + 1 */
	ACT_UNCLAIM,    /* raise the floor past this epoch, count nothing */
	ACT_END,        /* count the cause, raise the floor, judge the budget */
	ACT_FLOOR,      /* raise the floor past the latest epoch */
	ACT_FRESH,      /* clear the budget and raise the floor */
};

struct transition {
	enum shard_state from;
	enum shard_event_kind event;
	enum guard guard;
	enum shard_state to;
	enum action action;
};

/* An event that is not listed for a state is refused, or fenced when it
 * carries an epoch. ACT_END may end in failed or set-aside instead. */
static const struct transition table[] = {
	{SHARD_READY, EV_CLAIM, GUARD_NONE, SHARD_LEASED, ACT_NEW_EPOCH},
	/* Not done yet: its budget stays, so that an input that never rests ends. */
	{SHARD_READY, EV_INPUT_CHANGED, GUARD_NONE, SHARD_READY, ACT_FLOOR},
	{SHARD_LEASED, EV_GIVE_BACK, GUARD_CURRENT, SHARD_READY, ACT_UNCLAIM},
	{SHARD_LEASED, EV_END, GUARD_CURRENT, SHARD_READY, ACT_END},
	{SHARD_LEASED, EV_CHECKPOINT, GUARD_CURRENT, SHARD_LEASED, ACT_NONE},
	{SHARD_LEASED, EV_ACCEPT, GUARD_FLOOR, SHARD_ACCEPTED, ACT_NONE},
	{SHARD_LEASED, EV_ACCEPT_EMPTY, GUARD_FLOOR, SHARD_PUBLISHED, ACT_NONE},
	{SHARD_LEASED, EV_INPUT_CHANGED, GUARD_NONE, SHARD_READY, ACT_FLOOR},
	{SHARD_ACCEPTED, EV_PUBLISHED, GUARD_FLOOR, SHARD_PUBLISHED, ACT_NONE},
	{SHARD_ACCEPTED, EV_OUTPUT_GONE, GUARD_FLOOR, SHARD_READY, ACT_FLOOR},
	{SHARD_ACCEPTED, EV_REFUSED, GUARD_FLOOR, SHARD_FAILED, ACT_FLOOR},
	{SHARD_ACCEPTED, EV_INPUT_CHANGED, GUARD_NONE, SHARD_READY, ACT_FRESH},
	{SHARD_PUBLISHED, EV_INPUT_CHANGED, GUARD_NONE, SHARD_READY, ACT_FRESH},
	{SHARD_FAILED, EV_RETRY, GUARD_NONE, SHARD_READY, ACT_FRESH},
	{SHARD_FAILED, EV_INPUT_CHANGED, GUARD_NONE, SHARD_READY, ACT_FRESH},
	{SHARD_SET_ASIDE, EV_RETRY, GUARD_NONE, SHARD_READY, ACT_FRESH},
	{SHARD_SET_ASIDE, EV_INPUT_CHANGED, GUARD_NONE, SHARD_READY, ACT_FRESH},
};

enum { TABLE_ROWS = sizeof(table) / sizeof(table[0]) };

const char *shard_state_name(enum shard_state s)
{
	return state_names[s];
}

const char *cause_name(enum cause c)
{
	return cause_names[c];
}

bool shard_state_of_name(const char *name, enum shard_state *out)
{
	int i;

	for (i = 0; i < SHARD_STATES; i++) {
		if (strcmp(name, state_names[i]) == 0) {
			*out = (enum shard_state)i;
			return true;
		}
	}
	return false;
}

struct retry_policy retry_policy_default(void)
{
	struct retry_policy p = {
		.limit = {
			[CAUSE_FAILED] = 3,
			[CAUSE_INTERRUPTED] = 20,
			[CAUSE_LOST] = 20,
			[CAUSE_TIMED_OUT] = 3,
			[CAUSE_OUT_OF_MEMORY] = 3,
			[CAUSE_INFRASTRUCTURE] = 10,
		},
		.backoff_min_ms = 1000,
		.backoff_max_ms = 60000,
		.alone_after = 3,
		.on_demand_after = 3,
		.on_demand_wait_ms = 600000,
	};

	return p;
}

int64_t retry_delay_ms(const struct retry_policy *p, enum cause cause, int n, uint64_t random)
{
	int64_t bound = p->backoff_min_ms;
	int64_t delay;

	if (cause == CAUSE_INTERRUPTED || cause == CAUSE_LOST || cause == CAUSE_CHECKPOINTED)
		return 0;
	for (; n > 1 && bound < p->backoff_max_ms; n--)
		bound *= 2;
	if (bound > p->backoff_max_ms)
		bound = p->backoff_max_ms;
	if (bound <= 0)
		return 0;
	delay = (int64_t)(random % (uint64_t)bound) + 1;
	return delay < bound / 10 ? bound / 10 : delay;
}

static const struct transition *find_row(enum shard_state from, enum shard_event_kind event)
{
	int i;

	for (i = 0; i < TABLE_ROWS; i++) {
		if (table[i].from == from && table[i].event == event)
			return &table[i];
	}
	return NULL;
}

static bool carries_epoch(enum shard_event_kind k)
{
	return k != EV_CLAIM && k != EV_RETRY && k != EV_INPUT_CHANGED;
}

/* The event was meant for this epoch and has already had its effect. */
static bool is_repeat(const struct shard *in, const struct shard_event *ev)
{
	if (ev->epoch != in->epoch || ev->epoch < in->floor)
		return false;
	if (ev->kind == EV_ACCEPT)
		return in->state == SHARD_ACCEPTED || in->state == SHARD_PUBLISHED;
	if (ev->kind == EV_ACCEPT_EMPTY || ev->kind == EV_PUBLISHED)
		return in->state == SHARD_PUBLISHED;
	return false;
}

static void judge_budget(const struct shard_event *ev, const struct retry_policy *p,
    struct shard *out)
{
	int limit = p->limit[ev->cause];
	bool counts = ev->cause != CAUSE_CANCELLED && ev->cause != CAUSE_SUPERSEDED &&
	    ev->cause != CAUSE_DONE && !ev->progressed;

	if (counts)
		out->count[ev->cause]++;
	if (ev->cause == CAUSE_LOST && out->count[CAUSE_LOST] >= p->alone_after)
		out->alone = true;
	if (ev->taken)
		out->taken++;
	if (p->on_demand_after > 0 && out->taken >= p->on_demand_after)
		out->asks = true;
	if (ev->no_retry || (counts && limit > 0 && out->count[ev->cause] >= limit))
		out->state = ev->cause == CAUSE_LOST ? SHARD_SET_ASIDE : SHARD_FAILED;
}

static void apply(const struct transition *t, const struct shard_event *ev,
    const struct retry_policy *policy, struct shard *out)
{
	out->state = t->to;
	switch (t->action) {
	case ACT_NONE:
		break;
	case ACT_NEW_EPOCH:
		out->epoch++;
		break;
	case ACT_UNCLAIM:
	case ACT_FLOOR:
		out->floor = out->epoch + 1;
		break;
	case ACT_END:
		out->floor = out->epoch + 1;
		judge_budget(ev, policy, out);
		break;
	case ACT_FRESH:
		memset(out->count, 0, sizeof(out->count));
		out->alone = false;
		out->floor = out->epoch + 1;
		break;
	}
	/* How its machines fared says nothing of another input. */
	if (t->action == ACT_FRESH || ev->kind == EV_INPUT_CHANGED) {
		out->taken = 0;
		out->asks = false;
	}
}

enum shard_verdict shard_step(const struct shard *in, const struct shard_event *ev,
    const struct retry_policy *policy, struct shard *out)
{
	const struct transition *t = find_row(in->state, ev->kind);

	*out = *in;
	if (carries_epoch(ev->kind)) {
		if (is_repeat(in, ev))
			return STEP_ALREADY;
		if (ev->epoch < in->floor || ev->epoch > in->epoch || t == NULL)
			return STEP_FENCED;
		if (t->guard == GUARD_CURRENT && ev->epoch != in->epoch)
			return STEP_FENCED;
	} else if (t == NULL) {
		return STEP_REFUSED;
	}
	apply(t, ev, policy, out);
	return STEP_TAKEN;
}

void shard_machine_print(struct buf *out)
{
	static const char *const guards[] = {"-", "epoch is the latest", "epoch >= floor"};
	static const char *const actions[] = {
		"-", "epoch + 1", "floor past the epoch",
		"count the cause, floor past the epoch; failed or set-aside when its limit is reached",
		"floor past the epoch", "fresh budget, floor past the epoch",
	};
	int i;

	buf_printf(out, "%-10s %-14s %-20s %-10s %s\n", "state", "event", "if", "becomes", "and");
	for (i = 0; i < TABLE_ROWS; i++)
		buf_printf(out, "%-10s %-14s %-20s %-10s %s\n", state_names[table[i].from],
		    event_names[table[i].event], guards[table[i].guard],
		    state_names[table[i].to], actions[table[i].action]);
}
