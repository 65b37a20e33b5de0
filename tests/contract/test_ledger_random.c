/* Two handles in random order, and many shards, for every ledger back end. */
#include "contract/ledger_fix.h"

/* ---- two handles, random sequences, many shards ---- */

struct dice {
	uint64_t s;
};

static uint32_t roll(struct dice *d, uint32_t n)
{
	d->s ^= d->s << 13;
	d->s ^= d->s >> 7;
	d->s ^= d->s << 17;
	return (uint32_t)(d->s >> 33) % n;
}

struct play {
	struct fix *f;
	struct ledger *l[2];
	int64_t worker[2];
	bool in_group[2];
	struct dice dice;
	int names;
};

/* What a call may say when its shard has gone on without it. */
static void fine(enum status st, const struct error *err)
{
	if (st != ST_OK && st != ST_FENCED && st != ST_EXISTS) {
		print_error("%s\n", err->text);
		fail();
	}
}

static void play_shard(struct play *p, struct ledger *l, int64_t worker)
{
	const struct retry_policy policy = retry_policy_default();
	struct ledger_query q = {
		.stage = p->f->stage, .state = (int)roll(&p->dice, SHARD_STATES), .ordinal = -1,
		.from = roll(&p->dice, 50), .max = 1,
	};
	struct file_version v = {.exists = roll(&p->dice, 2) == 0, .size = roll(&p->dice, 3)};
	struct ledger_shard s;
	struct ledger_attempt a;
	struct shard now;
	struct error err;
	char priv[] = "p";
	char fin[16];
	struct ledger_file file = {.private_path = priv, .final_path = fin};
	int64_t epoch;
	int64_t n_retried;
	size_t n;

	OK(ledger_shards(l, &q, &s, &n, &err));
	if (n == 0)
		return;
	(void)snprintf(fin, sizeof(fin), "f%lld", (long long)s.ordinal);
	epoch = s.s.epoch - (roll(&p->dice, 8) == 0);
	a = attempt_of(epoch, worker, (enum cause)(1 + roll(&p->dice, CAUSE_COUNT - 1)),
	    roll(&p->dice, 100));
	switch (roll(&p->dice, 7)) {
	case 0: fine(ledger_accept(l, s.row, &a, NULL, 0, &v, &err), &err); break;
	case 1: fine(ledger_accept(l, s.row, &a, &file, 1, NULL, &err), &err); break;
	case 2: fine(ledger_end(l, s.row, &a, &policy, false, roll(&p->dice, 3), &now, &err),
		    &err); break;
	case 3: fine(ledger_give_back(l, s.row, epoch, &err), &err); break;
	case 4: fine(ledger_published(l, s.row, epoch, &err), &err); break;
	case 5: fine(ledger_output_gone(l, s.row, epoch, &err), &err); break;
	case 6:
		if (roll(&p->dice, 4) == 0)
			fine(ledger_input_changed(l, s.row, &v, &err), &err);
		else
			fine(ledger_retry(l, p->f->stage, roll(&p->dice, 2) == 0 ? 0 : s.row,
			    &n_retried, &err), &err);
		break;
	}
	ledger_shard_free(&s);
}

/* Some items, in an order of their own; a few with names. */
static void play_plan(struct play *p, struct ledger *l)
{
	struct ledger_stage s = stage_of(l, p->f->stage);
	struct error err;
	char text[16];
	char fin[16];
	int64_t dropped;
	int64_t at;
	size_t bad;
	int left = (int)roll(&p->dice, 30);

	at = s.planned > 0 ? roll(&p->dice, (uint32_t)s.planned) : 0;
	OK(ledger_plan_restart(l, p->f->stage, at, &err));
	while (left-- > 0) {
		struct ledger_item it;

		(void)snprintf(text, sizeof(text), "%u", roll(&p->dice, 60));
		(void)snprintf(fin, sizeof(fin), "f%u", roll(&p->dice, 500));
		it = roll(&p->dice, 3) == 0 ? item_with_final(text, fin) : item_of(text);
		it.version.exists = roll(&p->dice, 4) == 0;
		switch (ledger_plan_items(l, p->f->stage, at, &it, 1, NULL, &bad, &err)) {
		case ST_OK: at++; break;
		case ST_EXISTS: break;
		default: print_error("%s\n", err.text); fail();
		}
	}
	if (roll(&p->dice, 3) > 0)
		OK(ledger_plan_finish(l, p->f->stage, at, &dropped, &err));
}

static void play_once(struct play *p, int who)
{
	const struct retry_policy policy = retry_policy_default();
	struct ledger *l = p->l[who];
	struct ledger_shard got[8];
	struct error err;
	char name[16];
	int64_t next;
	int64_t lost;
	size_t n;

	switch (roll(&p->dice, 12)) {
	case 0: play_plan(p, l); break;
	case 1:
		OK(worker_end(l, p->worker[who], CAUSE_LOST, &policy, NULL, NULL, &lost,
		    &err));
		(void)snprintf(name, sizeof(name), "p%d", p->names++);
		p->worker[who] = worker_make(l, name, p->f->run.id);
		break;
	case 2:
	case 3:
	case 4:
		OK(ledger_claim(l, p->f->stage, p->worker[who], 1000, roll(&p->dice, 8), got, &n,
		    &next, &err));
		free_n(got, n);
		break;
	case 5:
		OK(ledger_take_accepted(l, p->f->stage, p->worker[who], 0, 8, got, &n, &err));
		free_n(got, n);
		break;
	default: play_shard(p, l, p->worker[who]); break;
	}
}

/* Two handles in turn, with groups that are kept or not: the counters are
 * always those of the rows. */
static void random_sequences(void **state)
{
	struct fix *f = *state;
	struct play p = {.f = f, .dice = {.s = 88172645463325252u}};
	struct error err;
	int round;
	int i;

	p.l[0] = f->l;
	p.l[1] = open_again(f);
	p.worker[0] = worker_make(f->l, "pa", f->run.id);
	p.worker[1] = worker_make(f->l, "pb", f->run.id);
	for (round = 0; round < 300; round++) {
		int who = (int)roll(&p.dice, 2);
		bool group = roll(&p.dice, 3) > 0;
		int64_t worker = p.worker[who];

		if (group)
			OK(ledger_begin(p.l[who], &err));
		for (i = (int)roll(&p.dice, 12); i >= 0; i--)
			play_once(&p, who);
		if (group && roll(&p.dice, 3) == 0) {
			ledger_rollback(p.l[who]);
			p.worker[who] = worker;
		} else if (group) {
			OK(ledger_commit(p.l[who], &err));
		}
		if (round % 20 == 0)
			verify_ok(p.l[1 - who]);
	}
	assert_true(stage_of(f->l, f->stage).attempts > 50);
	ledger_close(p.l[1]);
}

static void many_shards(void **state)
{
	enum { N = 100000, BATCH = 64 };
	struct fix *f = *state;
	struct ledger_shard got[BATCH];
	struct ledger_attempt a;
	struct ledger_stage s;
	struct error err;
	int64_t next;
	int64_t dropped;
	int64_t done = 0;
	size_t n = 1;
	size_t i;

	OK(ledger_begin(f->l, &err));
	plan_many(f->l, f->stage, "item ", N);
	OK(ledger_commit(f->l, &err));
	while (n > 0 && done < 20000) {
		OK(ledger_begin(f->l, &err));
		OK(ledger_claim(f->l, f->stage, f->worker, N, BATCH, got, &n, &next, &err));
		for (i = 0; i < n; i++) {
			a = attempt_of(got[i].s.epoch, f->worker, CAUSE_DONE, 1);
			OK(ledger_accept(f->l, got[i].row, &a, NULL, 0, NULL, &err));
		}
		OK(ledger_commit(f->l, &err));
		free_n(got, n);
		done += (int64_t)n;
	}
	s = stage_of(f->l, f->stage);
	assert_int_equal(s.planned, N);
	assert_int_equal(s.count[SHARD_PUBLISHED], done);
	assert_int_equal(s.ended[CAUSE_DONE], done);
	assert_int_equal(s.run_ms, done);

	/* The list without its first item: every row is found again. */
	OK(ledger_plan_restart(f->l, f->stage, 0, &err));
	OK(ledger_begin(f->l, &err));
	for (i = 1; i < N; i++) {
		char text[48];
		struct ledger_item it;
		size_t bad;

		(void)snprintf(text, sizeof(text), "item %zu", i);
		it = item_of(text);
		OK(ledger_plan_items(f->l, f->stage, (int64_t)i - 1, &it, 1, NULL, &bad, &err));
	}
	OK(ledger_plan_finish(f->l, f->stage, N - 1, &dropped, &err));
	OK(ledger_commit(f->l, &err));
	assert_int_equal(dropped, 1);
	assert_int_equal(stage_of(f->l, f->stage).count[SHARD_PUBLISHED], done - 1);
}

/* One item over and over takes no longer for the last one than for the first. */
static void one_item_many_times(void **state)
{
	enum { N = 20480 };
	static struct ledger_item items[LEDGER_CHUNK];
	struct fix *f = *state;
	struct error err;
	int64_t dropped;
	int64_t at;
	size_t bad;
	int i;

	for (i = 0; i < LEDGER_CHUNK; i++)
		items[i] = item_of("same");
	OK(ledger_begin(f->l, &err));
	for (at = 0; at < N; at += LEDGER_CHUNK)
		OK(ledger_plan_items(f->l, f->stage, at, items, LEDGER_CHUNK, NULL, &bad, &err));
	OK(ledger_commit(f->l, &err));
	assert_int_equal(occurrence_at(f->l, f->stage, N - 1), N - 1);
	OK(ledger_plan_restart(f->l, f->stage, 1024, &err));
	OK(ledger_plan_items(f->l, f->stage, 1024, items, 10, NULL, &bad, &err));
	assert_int_equal(occurrence_at(f->l, f->stage, 1024), 1024);
	OK(ledger_plan_finish(f->l, f->stage, 1034, &dropped, &err));
	assert_int_equal(dropped, N - 1034);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(random_sequences), CASE(many_shards), CASE(one_item_many_times),
	};

	return RUN_FOR_ALL(tests);
}
