#include "worker/account.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct account {
	struct slots *slots;
	struct slots_account *at;
	pthread_mutex_t lock; /* the committer reads what the loop changes */
	int64_t carry_ns;
	int32_t ends[];       /* by lane: children whose end has been told */
};

int account_stage(int number)
{
	return number + 1;
}

static bool is_kind(int32_t kind)
{
	return kind >= 0 && kind < SPENT_SLOT_KINDS;
}

static bool is_stage(int32_t stage)
{
	return stage >= 0 && stage < SLOTS_STAGES;
}

struct account *account_open(struct slots *s, const int64_t *ids, size_t n_stages, int64_t now_ns)
{
	int n = slots_count(s);
	struct account *a = mem_zero(sizeof(*a) + (size_t)n * sizeof(a->ends[0]));
	size_t k;
	int i;

	if (a == NULL)
		return NULL;
	a->slots = s;
	a->at = slots_account(s);
	(void)pthread_mutex_init(&a->lock, NULL);
	for (k = 0; k < n_stages; k++)
		a->at->time[account_stage((int)k)].stage = ids[k];
	for (i = 0; i < n; i++) {
		struct slot *slot = slots_at(s, i);

		slot->since_boot_ns = now_ns;
		slot->kind = SPENT_WAITING;
	}
	a->at->rest_kind = SPENT_WAITING;
	a->at->seen_boot_ns = now_ns;
	__atomic_store_n(&a->at->came_boot_ns, now_ns, __ATOMIC_RELEASE);
	return a;
}

void account_destroy(struct account *a)
{
	if (a == NULL)
		return;
	(void)pthread_mutex_destroy(&a->lock);
	free(a);
}

/* ---- the loop's side ---- */

/* Ends the slot's interval and begins the next. A sudden end at any point
 * between the stores leaves what `redo` completes. */
static void turn(struct account *a, int lane, int64_t at_ns, enum spent_kind kind, int stage)
{
	struct slot *slot = slots_at(a->slots, lane);
	struct slots_redo *redo = &a->at->redo;
	int64_t *total = &a->at->time[slot->kind_stage].ns[slot->kind];

	if (at_ns > slot->since_boot_ns) {
		redo->total_ns = *total + at_ns - slot->since_boot_ns;
		redo->since_boot_ns = at_ns;
		redo->slot = lane;
		redo->stage = slot->kind_stage;
		redo->kind = slot->kind;
		__atomic_store_n(&redo->armed, 1, __ATOMIC_RELEASE);
		__atomic_store_n(total, redo->total_ns, __ATOMIC_RELEASE);
		__atomic_store_n(&slot->since_boot_ns, at_ns, __ATOMIC_RELEASE);
		__atomic_store_n(&redo->armed, 0, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&slot->kind_stage, stage, __ATOMIC_RELEASE);
	__atomic_store_n(&slot->kind, (int32_t)kind, __ATOMIC_RELEASE);
}

static int32_t starts_of(const struct slot *slot)
{
	return __atomic_load_n(&slot->starts, __ATOMIC_ACQUIRE);
}

/* It has no child, and nobody has told of the end of one. */
static bool is_empty(const struct account *a, int lane)
{
	return starts_of(slots_at(a->slots, lane)) == a->ends[lane];
}

/* The child that runs in the lane now, unless the end of the one before it is
 * still to be told. */
static void notice(struct account *a, int lane)
{
	struct slot *slot = slots_at(a->slots, lane);
	int32_t starts = starts_of(slot);
	int64_t started;
	int32_t stage;

	if (slot->kind == SPENT_RUNNING || starts != a->ends[lane] + 1 ||
	    __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) != SLOT_STARTED)
		return;
	started = __atomic_load_n(&slot->started_boot_ns, __ATOMIC_ACQUIRE);
	stage = __atomic_load_n(&slot->stage, __ATOMIC_ACQUIRE);
	if (__atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) != SLOT_STARTED ||
	    starts_of(slot) != starts)
		return;
	turn(a, lane, started, SPENT_RUNNING, stage);
}

static void look_locked(struct account *a)
{
	int i;

	for (i = 0; i < slots_count(a->slots); i++)
		notice(a, i);
}

void account_look(struct account *a, int64_t now_ns)
{
	(void)pthread_mutex_lock(&a->lock);
	look_locked(a);
	__atomic_store_n(&a->at->seen_boot_ns, now_ns, __ATOMIC_RELEASE);
	(void)pthread_mutex_unlock(&a->lock);
}

void account_rest(struct account *a, enum spent_kind kind, int stage, int64_t now_ns)
{
	enum spent_kind old = (enum spent_kind)a->at->rest_kind;
	int i;

	if (old == kind && a->at->rest_stage == stage)
		return;
	(void)pthread_mutex_lock(&a->lock);
	look_locked(a);
	a->at->rest_kind = (int32_t)kind;
	a->at->rest_stage = stage;
	for (i = 0; i < slots_count(a->slots); i++) {
		struct slot *slot = slots_at(a->slots, i);

		/* Of one that has had a child since, the end will say when. */
		if ((slot->kind == SPENT_WAITING || slot->kind == SPENT_IDLE) &&
		    is_empty(a, i))
			turn(a, i, now_ns, kind, stage);
	}
	(void)pthread_mutex_unlock(&a->lock);
}

void account_set(struct account *a, int lane, enum spent_kind kind, int stage, int64_t now_ns)
{
	(void)pthread_mutex_lock(&a->lock);
	if (kind == SPENT_WAITING)
		turn(a, lane, now_ns, (enum spent_kind)a->at->rest_kind, a->at->rest_stage);
	else
		turn(a, lane, now_ns, kind, stage);
	(void)pthread_mutex_unlock(&a->lock);
}

void account_unset(struct account *a, int lane, int64_t now_ns)
{
	const struct slot *slot;

	if (lane < 0 || lane >= slots_count(a->slots))
		return;
	(void)pthread_mutex_lock(&a->lock);
	slot = slots_at(a->slots, lane);
	if ((slot->kind == SPENT_RESTORING || slot->kind == SPENT_CHECKPOINTING) &&
	    is_empty(a, lane))
		turn(a, lane, now_ns, (enum spent_kind)a->at->rest_kind, a->at->rest_stage);
	(void)pthread_mutex_unlock(&a->lock);
}

int account_lend(struct account *a, enum spent_kind kind, int stage, int64_t now_ns)
{
	int lane = -1;
	int i;

	(void)pthread_mutex_lock(&a->lock);
	for (i = 0; lane < 0 && i < slots_count(a->slots); i++) {
		const struct slot *slot = slots_at(a->slots, i);

		if ((slot->kind == SPENT_WAITING || slot->kind == SPENT_IDLE) && is_empty(a, i))
			lane = i;
	}
	if (lane >= 0)
		turn(a, lane, now_ns, kind, stage);
	(void)pthread_mutex_unlock(&a->lock);
	return lane;
}

void account_move(struct account *a, int stage, int64_t ns)
{
	if (ns <= 0)
		return;
	(void)pthread_mutex_lock(&a->lock);
	a->at->time[stage].ns[SPENT_RUNNING] -= ns;
	a->at->time[stage].ns[SPENT_CHECKPOINTING] += ns;
	(void)pthread_mutex_unlock(&a->lock);
}

void account_ended(struct account *a, int lane, int stage, int64_t started_ns, int64_t ended_ns)
{
	if (lane < 0 || lane >= slots_count(a->slots) || started_ns == 0)
		return;
	(void)pthread_mutex_lock(&a->lock);
	a->ends[lane]++;
	if (slots_at(a->slots, lane)->kind != SPENT_RUNNING)
		turn(a, lane, started_ns, SPENT_RUNNING, stage);
	turn(a, lane, ended_ns, (enum spent_kind)a->at->rest_kind, a->at->rest_stage);
	(void)pthread_mutex_unlock(&a->lock);
}

void account_void(struct account *a, int stage, int64_t ms)
{
	(void)pthread_mutex_lock(&a->lock);
	a->at->time[stage].ns[SPENT_VOID] += ms * 1000000;
	(void)pthread_mutex_unlock(&a->lock);
}

int64_t account_ms(struct account *a, int64_t ns)
{
	int64_t ms = (ns + a->carry_ns) / 1000000;

	a->carry_ns = (ns + a->carry_ns) % 1000000;
	return ms;
}

/* ---- reading ---- */

struct sum {
	struct slots_time *time;
	int rest_kind;
	int rest_stage;
	int64_t until_ns;
};

static void add_time_of(struct sum *s, int kind, int stage, int64_t from_ns, int64_t to_ns)
{
	if (to_ns > from_ns && is_kind(kind) && is_stage(stage))
		s->time[stage].ns[kind] += to_ns - from_ns;
}

/* What a slot has been in since its last turn, children that nobody has told of
 * included. */
static void add_open(struct sum *s, const struct slot *slot, int64_t since_ns)
{
	int state = __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE);
	int64_t until = s->until_ns > since_ns ? s->until_ns : since_ns;
	int64_t ended = slot->ended_boot_ns < until ? slot->ended_boot_ns : until;
	int64_t begin = slot->started_boot_ns > since_ns ? slot->started_boot_ns : since_ns;
	bool runs = state == SLOT_STARTED || (state == SLOT_ENDED && ended > since_ns);

	if (slot->kind == SPENT_RUNNING) {
		if (state != SLOT_ENDED || ended < since_ns)
			ended = until;
		add_time_of(s, SPENT_RUNNING, slot->kind_stage, since_ns, ended);
		add_time_of(s, s->rest_kind, s->rest_stage, ended, until);
	} else if (runs && begin < until) {
		if (state == SLOT_STARTED)
			ended = until;
		add_time_of(s, slot->kind, slot->kind_stage, since_ns, begin);
		add_time_of(s, SPENT_RUNNING, slot->stage, begin, ended);
		add_time_of(s, s->rest_kind, s->rest_stage, ended, until);
	} else {
		add_time_of(s, slot->kind, slot->kind_stage, since_ns, until);
	}
}

void account_sums(struct slots *s, int64_t until_ns, struct slots_time out[SLOTS_STAGES])
{
	const struct slots_account *at = slots_account(s);
	const struct slots_redo *redo = &at->redo;
	bool armed = redo->armed != 0 && is_kind(redo->kind) && is_stage(redo->stage);
	struct sum sum = {.time = out, .rest_kind = at->rest_kind, .rest_stage = at->rest_stage,
	    .until_ns = until_ns};
	int i;

	memcpy(out, at->time, sizeof(at->time));
	if (armed)
		out[redo->stage].ns[redo->kind] = redo->total_ns;
	for (i = 0; i < slots_count(s); i++) {
		const struct slot *slot = slots_at(s, i);

		int64_t since = armed && redo->slot == i ? redo->since_boot_ns
		    : slot->since_boot_ns;

		add_open(&sum, slot, since > at->came_boot_ns ? since : at->came_boot_ns);
	}
}

static enum status record(struct slots *s, struct ledger *l, int64_t worker, int64_t until_ns,
    struct error *e)
{
	struct slots_time *time = mem_zero(SLOTS_STAGES * sizeof(*time));
	struct ledger_spent *rows = mem_zero((size_t)SLOTS_STAGES * SPENT_SAID_KINDS *
	    sizeof(*rows));
	size_t n = 0;
	enum status st;
	int i;
	int k;

	if (time == NULL || rows == NULL) {
		st = error_set(e, ST_NO_MEMORY, "out of memory");
		goto out;
	}
	account_sums(s, until_ns, time);
	for (i = 0; i < SLOTS_STAGES; i++) {
		for (k = 0; k < SPENT_SAID_KINDS; k++) {
			if (time[i].ns[k] > 0)
				rows[n++] = (struct ledger_spent){.stage = time[i].stage,
				    .kind = (enum spent_kind)k, .ms = time[i].ns[k] / 1000000};
		}
	}
	st = ledger_spent_put(l, worker, (until_ns - slots_account(s)->came_boot_ns) / 1000000,
	    rows, n, e);
out:
	free(time);
	free(rows);
	return st;
}

enum status account_record(struct account *a, struct ledger *l, int64_t worker, int64_t until_ns,
    struct error *e)
{
	enum status st;

	(void)pthread_mutex_lock(&a->lock);
	st = record(a->slots, l, worker, until_ns, e);
	(void)pthread_mutex_unlock(&a->lock);
	return st;
}

int64_t account_last_ns(struct slots *s)
{
	const struct slots_account *at = slots_account(s);
	int64_t last = at->seen_boot_ns;
	int i;

	if (at->came_boot_ns <= 0)
		return 0;
	if (at->closed_boot_ns > last)
		return at->closed_boot_ns;
	for (i = 0; i < slots_count(s); i++) {
		const struct slot *slot = slots_at(s, i);

		if (slot->since_boot_ns > last)
			last = slot->since_boot_ns;
		if (slot->state != SLOT_FREE && slot->started_boot_ns > last)
			last = slot->started_boot_ns;
		if (slot->state == SLOT_ENDED && slot->ended_boot_ns > last)
			last = slot->ended_boot_ns;
	}
	return last;
}

enum status account_bury(struct slots *s, struct ledger *l, int64_t worker, int64_t known_ms,
    struct error *e)
{
	int64_t last = account_last_ns(s);

	/* After a power cut the file may be older than what was recorded. */
	if (last == 0 || (last - slots_account(s)->came_boot_ns) / 1000000 < known_ms)
		return ST_OK;
	return record(s, l, worker, last, e);
}
