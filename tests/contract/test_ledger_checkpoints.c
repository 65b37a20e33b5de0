/* Durable progress within a shard: the suite that every ledger back end passes. */
#include "contract/ledger_fix.h"

static struct ledger_checkpoint made(int64_t epoch, int64_t offset)
{
	return (struct ledger_checkpoint){.epoch = epoch, .offset = offset};
}

static void is_there(struct fix *f, int64_t row, int64_t epoch, int64_t offset)
{
	struct ledger_checkpoint c;
	struct error err;

	OK(ledger_checkpoint_get(f->l, row, &c, &err));
	assert_int_equal(c.epoch, epoch);
	assert_int_equal(c.offset, offset);
	ledger_checkpoint_free(&c);
}

static void kept_and_replaced(void **state)
{
	struct fix *f = *state;
	char one[] = "1.1";
	char odd[] = "2.\xff";
	char none[] = "";
	char folder[] = "ck/\xfe 1";
	struct ledger_file files[] = {
		{.private_path = one, .final_path = none, .size = 5},
		{.private_path = odd, .final_path = none, .size = INT64_C(1) << 40},
	};
	struct ledger_checkpoint c = made(1, 7);
	struct ledger_checkpoint got;
	struct ledger_shard s;
	struct error err;

	plan_many(f->l, f->stage, "i", 1);
	claim_n(f->l, f->stage, f->worker, 1, 1, &s);
	is_there(f, s.row, 0, 0);
	c.files = files;
	c.n_files = 2;
	c.folder = folder;
	OK(ledger_checkpoint(f->l, s.row, &c, &err));
	OK(ledger_checkpoint_get(f->l, s.row, &got, &err));
	assert_int_equal(got.offset, 7);
	assert_int_equal(got.n_files, 2);
	assert_string_equal(got.files[1].private_path, odd);
	assert_int_equal(got.files[1].size, INT64_C(1) << 40);
	assert_string_equal(got.folder, folder);
	ledger_checkpoint_free(&got);
	c = made(1, 9);
	OK(ledger_checkpoint(f->l, s.row, &c, &err));
	is_there(f, s.row, 1, 9);
	assert_int_equal(state_at(f->l, f->stage, 0), SHARD_LEASED);
	IS(ST_NOT_FOUND, ledger_checkpoint(f->l, 9999, &c, &err));
	ledger_shard_free(&s);
}

static void fenced_by_epochs(void **state)
{
	struct fix *f = *state;
	struct ledger_checkpoint c = made(1, 3);
	struct ledger_shard s;
	struct error err;

	plan_many(f->l, f->stage, "i", 1);
	claim_n(f->l, f->stage, f->worker, 1, 1, &s);
	OK(ledger_give_back(f->l, s.row, 1, &err));
	IS(ST_FENCED, ledger_checkpoint(f->l, s.row, &c, &err));
	ledger_shard_free(&s);
	claim_n(f->l, f->stage, f->worker, 1, 1, &s);
	IS(ST_FENCED, ledger_checkpoint(f->l, s.row, &c, &err));
	c = made(2, 4);
	OK(ledger_checkpoint(f->l, s.row, &c, &err));
	ledger_shard_free(&s);
	is_there(f, s.row, 2, 4);
}

/* Interruptions without progress are limited, those with it are not. */
static void progress_spares_the_budget(void **state)
{
	struct fix *f = *state;
	const struct retry_policy twice = {.limit = {[CAUSE_INTERRUPTED] = 2, [CAUSE_LOST] = 2}};
	struct ledger_checkpoint c;
	struct ledger_attempt a;
	struct ledger_shard s;
	struct shard now;
	struct error err;
	int64_t lost = 0;
	int64_t w;
	int i;

	plan_many(f->l, f->stage, "i", 1);
	for (i = 1; i <= 5; i++) {
		claim_n(f->l, f->stage, f->worker, 1, 1, &s);
		c = made(s.s.epoch, i);
		OK(ledger_checkpoint(f->l, s.row, &c, &err));
		a = attempt_of(s.s.epoch, f->worker, CAUSE_INTERRUPTED, 1);
		OK(ledger_end(f->l, s.row, &a, &twice, false, 0, &now, &err));
		assert_int_equal(now.state, SHARD_READY);
		ledger_shard_free(&s);
	}
	for (i = 0; i < 3; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "x%d", i);
		w = worker_make(f->l, name, f->run.id);
		claim_n(f->l, f->stage, w, 1, 1, &s);
		c = made(s.s.epoch, 10 + i);
		OK(ledger_checkpoint(f->l, s.row, &c, &err));
		ledger_shard_free(&s);
		OK(worker_end(f->l, w, CAUSE_LOST, &twice, NULL, NULL, &lost, &err));
		assert_int_equal(state_at(f->l, f->stage, 0), SHARD_READY);
	}
	claim_n(f->l, f->stage, f->worker, 1, 1, &s);
	is_there(f, s.row, s.s.epoch - 1, 12);
	for (i = 0; i < 2; i++) {
		a = attempt_of(s.s.epoch, f->worker, CAUSE_INTERRUPTED, 1);
		OK(ledger_end(f->l, s.row, &a, &twice, false, 0, &now, &err));
		ledger_shard_free(&s);
		if (i == 0)
			claim_n(f->l, f->stage, f->worker, 1, 1, &s);
	}
	assert_int_equal(now.state, SHARD_FAILED);
}

static void gone_when_done_or_void(void **state)
{
	struct fix *f = *state;
	const struct file_version v = {.exists = true, .size = 1, .mtime_ns = 2};
	struct ledger_checkpoint c;
	struct ledger_attempt a;
	struct ledger_shard s[2];
	struct error err;
	size_t i;

	plan_many(f->l, f->stage, "i", 2);
	claim_n(f->l, f->stage, f->worker, 2, 2, s);
	for (i = 0; i < 2; i++) {
		c = made(s[i].s.epoch, 5);
		OK(ledger_checkpoint(f->l, s[i].row, &c, &err));
	}
	a = attempt_of(s[0].s.epoch, f->worker, CAUSE_DONE, 1);
	OK(ledger_accept(f->l, s[0].row, &a, NULL, 0, NULL, &err));
	OK(ledger_input_changed(f->l, s[1].row, &v, &err));
	is_there(f, s[0].row, 0, 0);
	is_there(f, s[1].row, 0, 0);
	free_n(s, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(kept_and_replaced), CASE(fenced_by_epochs), CASE(progress_spares_the_budget),
		CASE(gone_when_done_or_void),
	};

	return RUN_FOR_ALL(tests);
}
