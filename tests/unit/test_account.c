/* The account of a worker's slots, on a clock that the test holds: intervals
 * follow each other, so the sums are known to the nanosecond. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/mem.h"
#include "token.h"
#include "worker/account.h"

enum { LANES = 3, COME = 1000, ONE = 1, TWO = 2 };

struct book {
	char dir[64];
	struct slots *slots;
	struct account *account;
	struct slots_time sums[SLOTS_STAGES];
};

static int open_book(void **state)
{
	static const int64_t ids[] = {71, 72};
	struct book *b = mem_zero(sizeof(*b));
	char token[SLOTS_TOKEN_SIZE];
	char path[80];
	struct error e;

	new_token(token);
	(void)snprintf(b->dir, sizeof(b->dir), "/tmp/ebb-account-XXXXXX");
	if (mkdtemp(b->dir) == NULL)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/slots", b->dir);
	if (slots_create(path, LANES, token, &b->slots, &e) != ST_OK)
		return -1;
	b->account = account_open(b->slots, ids, 2, COME);
	*state = b;
	return b->account == NULL ? -1 : 0;
}

static int close_book(void **state)
{
	struct book *b = *state;
	struct error e;

	account_destroy(b->account);
	slots_close(b->slots);
	return file_remove_tree(b->dir, &e) == ST_OK ? (free(b), 0) : -1;
}

/* What the guardian does. */
static void start(struct book *b, int lane, int stage, int64_t at)
{
	struct slot *s = slots_at(b->slots, lane);

	s->started_boot_ns = at;
	s->stage = stage;
	s->starts++;
	s->state = SLOT_STARTED;
}

static void end(struct book *b, int lane, int64_t at)
{
	slots_at(b->slots, lane)->ended_boot_ns = at;
	slots_at(b->slots, lane)->state = SLOT_ENDED;
}

static void check_sum(struct book *b, int64_t until)
{
	int64_t all = 0;
	int i;
	int k;

	account_sums(b->slots, until, b->sums);
	for (i = 0; i < SLOTS_STAGES; i++) {
		for (k = 0; k < SPENT_SLOT_KINDS; k++)
			all += b->sums[i].ns[k];
	}
	assert_int_equal(all, LANES * (until - COME));
}

static int64_t spent(const struct book *b, int stage, enum spent_kind kind)
{
	return b->sums[stage].ns[kind];
}

static void waits_at_first(void **state)
{
	struct book *b = *state;

	check_sum(b, 1500);
	assert_int_equal(spent(b, 0, SPENT_WAITING), LANES * 500);
	assert_int_equal(b->sums[ONE].stage, 71);
	assert_int_equal(b->sums[TWO].stage, 72);
}

static void a_child_that_was_looked_at(void **state)
{
	struct book *b = *state;

	account_rest(b->account, SPENT_WAITING, ONE, 1100);
	start(b, 0, ONE, 1200);
	account_look(b->account, 1300);
	check_sum(b, 1400);
	assert_int_equal(spent(b, ONE, SPENT_RUNNING), 200);
	end(b, 0, 1450);
	check_sum(b, 1500); /* ended, and nobody has told yet */
	assert_int_equal(spent(b, ONE, SPENT_RUNNING), 250);
	account_ended(b->account, 0, ONE, 1200, 1450);
	check_sum(b, 1500);
	assert_int_equal(spent(b, ONE, SPENT_RUNNING), 250);
	assert_int_equal(spent(b, ONE, SPENT_WAITING), 100 + 50 + 2 * 400);
}

static void children_that_were_too_quick(void **state)
{
	struct book *b = *state;

	start(b, 1, ONE, 1100);
	end(b, 1, 1200);
	start(b, 1, TWO, 1250);
	end(b, 1, 1300);
	account_ended(b->account, 1, ONE, 1100, 1200);
	account_ended(b->account, 1, TWO, 1250, 1300);
	check_sum(b, 2000);
	assert_int_equal(spent(b, ONE, SPENT_RUNNING), 100);
	assert_int_equal(spent(b, TWO, SPENT_RUNNING), 50);
}

/* The guardian has begun the next one, and the end of the one before is on its
 * way. */
static void the_next_is_there_before_the_end_is_told(void **state)
{
	struct book *b = *state;

	start(b, 0, ONE, 1100);
	end(b, 0, 1200);
	start(b, 0, TWO, 1210);
	account_look(b->account, 1215);
	account_rest(b->account, SPENT_IDLE, 0, 1220);
	account_ended(b->account, 0, ONE, 1100, 1200);
	account_look(b->account, 1230);
	check_sum(b, 1300);
	assert_int_equal(spent(b, ONE, SPENT_RUNNING), 100);
	assert_int_equal(spent(b, TWO, SPENT_RUNNING), 90);
	assert_int_equal(spent(b, 0, SPENT_WAITING), 100 + 2 * 220);
	assert_int_equal(spent(b, 0, SPENT_IDLE), 10 + 2 * 80);
}

static void resting_changes(void **state)
{
	struct book *b = *state;

	start(b, 0, ONE, 1100);
	account_rest(b->account, SPENT_IDLE, 0, 1200);
	account_rest(b->account, SPENT_IDLE, 0, 1300); /* nothing new */
	account_rest(b->account, SPENT_WAITING, TWO, 1400);
	end(b, 0, 1500);
	account_ended(b->account, 0, ONE, 1100, 1500);
	check_sum(b, 1600);
	assert_int_equal(spent(b, ONE, SPENT_RUNNING), 400);
	assert_int_equal(spent(b, 0, SPENT_IDLE), 2 * 200);
	assert_int_equal(spent(b, TWO, SPENT_WAITING), 100 + 2 * 200);
}

static void restoring_and_saving(void **state)
{
	struct book *b = *state;

	account_set(b->account, 2, SPENT_RESTORING, ONE, 1100);
	start(b, 2, ONE, 1150);
	end(b, 2, 1250);
	account_ended(b->account, 2, ONE, 1150, 1250);
	account_set(b->account, 2, SPENT_CHECKPOINTING, ONE, 1260);
	account_rest(b->account, SPENT_IDLE, 0, 1265); /* not this slot */
	account_set(b->account, 2, SPENT_WAITING, 0, 1300);
	check_sum(b, 1400);
	assert_int_equal(spent(b, ONE, SPENT_RESTORING), 50);
	assert_int_equal(spent(b, ONE, SPENT_RUNNING), 100);
	assert_int_equal(spent(b, ONE, SPENT_CHECKPOINTING), 40);
	assert_int_equal(spent(b, 0, SPENT_IDLE), 100 + 2 * 135);
}

/* What a dead worker's table says: one slot was running, of one nobody had seen
 * the start, one was in the middle of a change. */
static void after_a_sudden_end(void **state)
{
	struct book *b = *state;
	struct slots_account *at = slots_account(b->slots);
	struct slot *s = slots_at(b->slots, 2);

	start(b, 0, ONE, 1100);
	account_look(b->account, 1200);
	start(b, 1, TWO, 1250);
	at->redo = (struct slots_redo){.total_ns = at->time[0].ns[SPENT_WAITING] + 150,
	    .since_boot_ns = COME + 150, .slot = 2, .kind = SPENT_WAITING, .armed = 1};
	end(b, 0, 1300);
	end(b, 1, 1310);
	at->closed_boot_ns = 1320;
	assert_int_equal(account_last_ns(b->slots), 1320);
	check_sum(b, 1320); /* neither of its stores was made */
	assert_int_equal(spent(b, ONE, SPENT_RUNNING), 200);
	assert_int_equal(spent(b, TWO, SPENT_RUNNING), 60);
	at->time[0].ns[SPENT_WAITING] = at->redo.total_ns;
	check_sum(b, 1320); /* the first one was */
	s->since_boot_ns = at->redo.since_boot_ns;
	check_sum(b, 1320);
	at->redo.armed = 0;
	check_sum(b, 1320);
}

static void when_it_was_last_there(void **state)
{
	struct book *b = *state;

	account_look(b->account, 1700);
	assert_int_equal(account_last_ns(b->slots), 1700);
	start(b, 0, ONE, 1750);
	assert_int_equal(account_last_ns(b->slots), 1750);
	end(b, 0, 1760);
	assert_int_equal(account_last_ns(b->slots), 1760);
	slots_account(b->slots)->came_boot_ns = 0;
	assert_int_equal(account_last_ns(b->slots), 0);
}

static void void_is_of_running(void **state)
{
	struct book *b = *state;

	start(b, 0, ONE, 1100);
	end(b, 0, 3001100);
	account_ended(b->account, 0, ONE, 1100, 3001100);
	account_void(b->account, ONE, 3);
	check_sum(b, 3002000); /* which it is not added to */
	assert_int_equal(spent(b, ONE, SPENT_RUNNING), 3000000);
	assert_int_equal(spent(b, ONE, SPENT_VOID), 3000000);
}

static void short_ones_add_up(void **state)
{
	struct book *b = *state;
	int64_t ms = 0;
	int i;

	for (i = 0; i < 1000; i++)
		ms += account_ms(b->account, 1300000);
	assert_int_equal(ms, 1300);
}

/* A slot that rests waits for a restoring, until it has a child or that is over. */
static void lending(void **state)
{
	struct book *b = *state;
	int lane;

	start(b, 0, ONE, 1000);
	account_look(b->account, 1000);
	lane = account_lend(b->account, SPENT_RESTORING, TWO, 1100);
	assert_int_equal(lane, 1);
	account_unset(b->account, lane, 1150);
	account_unset(b->account, lane, 1160);
	account_unset(b->account, -1, 1160);
	assert_int_equal(account_lend(b->account, SPENT_RESTORING, TWO, 1200), 1);
	start(b, 1, TWO, 1230);
	account_unset(b->account, 1, 1240);
	end(b, 0, 1300);
	account_ended(b->account, 0, ONE, 1000, 1300);
	account_move(b->account, ONE, 40);
	check_sum(b, 1400);
	assert_int_equal(b->sums[TWO].ns[SPENT_RESTORING], 50 + 30);
	assert_int_equal(b->sums[TWO].ns[SPENT_RUNNING], 170);
	assert_int_equal(b->sums[ONE].ns[SPENT_RUNNING], 260);
	assert_int_equal(b->sums[ONE].ns[SPENT_CHECKPOINTING], 40);
}

int main(void)
{
#define BOOK(f) cmocka_unit_test_setup_teardown(f, open_book, close_book)
	const struct CMUnitTest tests[] = {
		BOOK(waits_at_first),
		BOOK(a_child_that_was_looked_at),
		BOOK(children_that_were_too_quick),
		BOOK(the_next_is_there_before_the_end_is_told),
		BOOK(resting_changes),
		BOOK(restoring_and_saving),
		BOOK(lending),
		BOOK(after_a_sudden_end),
		BOOK(when_it_was_last_there),
		BOOK(void_is_of_running),
		BOOK(short_ones_add_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
