/* Several stages in a run: the suite that every ledger back end passes. */
#include "contract/ledger_fix.h"

static const struct ledger_run_def two_stages = {
	.title = "two", .spec = "{}", .stages = stage_names, .n_stages = 2,
};

static void make_two(struct fix *f, struct ledger_run *run, struct ledger_stage stage[2])
{
	uint8_t key[LEDGER_ID_SIZE];
	struct error err;
	size_t n;

	id_of("two", key);
	OK(ledger_run_create(f->l, key, &two_stages, run, &err));
	OK(ledger_run_stages(f->l, run->id, 0, stage, 2, &n, &err));
	assert_int_equal(n, 2);
}

static void stages_have_names(void **state)
{
	struct fix *f = *state;
	static char long_name[LEDGER_NAME_MAX + 1];
	const char *const bad_names[] = {long_name};
	struct ledger_run_def bad = {.title = "", .spec = "", .stages = bad_names, .n_stages = 1};
	struct ledger_stage stage[3];
	struct ledger_run run;
	struct ledger_run none;
	uint8_t key[LEDGER_ID_SIZE];
	struct error err;
	size_t n;

	make_two(f, &run, stage);
	assert_int_equal(stage[0].id, run.stage);
	assert_string_equal(stage[0].name, "map");
	assert_string_equal(stage[1].name, "reduce");
	assert_int_equal(stage[0].number, 0);
	assert_int_equal(stage[1].number, 1);
	OK(ledger_run_stages(f->l, run.id, 1, stage, 3, &n, &err));
	assert_int_equal(n, 2);
	OK(ledger_run_stages(f->l, run.id, 7, stage, 3, &n, &err));
	assert_int_equal(n, 0);
	OK(ledger_run_stages(f->l, run.id, 0, stage, 1, &n, &err));
	assert_int_equal(n, 1);
	OK(ledger_stage_get(f->l, stage[0].id, &stage[2], &err));
	assert_string_equal(stage[2].name, "map");
	memset(long_name, 'x', LEDGER_NAME_MAX);
	id_of("bad", key);
	IS(ST_CONFIG, ledger_run_create(f->l, key, &bad, &none, &err));
	IS(ST_NOT_FOUND, ledger_run_by_key(f->l, key, &none, &err));
	ledger_run_free(&run);
}

static void publish_all(struct fix *f, int64_t stage, int64_t worker, size_t n)
{
	struct ledger_shard got[8];
	struct error err;
	size_t i;

	claim_n(f->l, stage, worker, n, n, got);
	for (i = 0; i < n; i++) {
		struct ledger_attempt a = attempt_of(got[i].s.epoch, worker, CAUSE_DONE, 1);

		OK(ledger_accept(f->l, got[i].row, &a, NULL, 0, NULL, &err));
	}
	free_n(got, n);
}

static void run_state_is(struct fix *f, enum run_state want)
{
	struct ledger_run run;
	struct error err;

	OK(ledger_run_by_name(f->l, "r2", &run, &err));
	assert_int_equal(run.state, want);
	ledger_run_free(&run);
}

static void finished_with_the_last(void **state)
{
	struct fix *f = *state;
	struct ledger_stage stage[2];
	struct ledger_run run;
	struct error err;
	int64_t w;

	make_two(f, &run, stage);
	w = worker_make(f->l, "w2", run.id);
	plan_many(f->l, stage[0].id, "i", 2);
	publish_all(f, stage[0].id, w, 2);
	OK(ledger_stage_seal(f->l, stage[0].id, 0, &err));
	run_state_is(f, RUN_ACTIVE);
	/* The same items in another stage are other shards. */
	plan_many(f->l, stage[1].id, "i", 2);
	assert_int_equal(stage_of(f->l, stage[1].id).count[SHARD_READY], 2);
	publish_all(f, stage[1].id, w, 2);
	OK(ledger_stage_seal(f->l, stage[1].id, 0, &err));
	run_state_is(f, RUN_FINISHED);
	ledger_run_free(&run);
}

static void some_may_fail(void **state)
{
	struct fix *f = *state;
	const struct retry_policy once = {.limit = {[CAUSE_FAILED] = 1}};
	struct ledger_shard got[3];
	struct ledger_attempt a;
	struct shard now;
	struct error err;

	plan_many(f->l, f->stage, "i", 3);
	claim_n(f->l, f->stage, f->worker, 1, 1, got);
	a = attempt_of(got[0].s.epoch, f->worker, CAUSE_FAILED, 1);
	OK(ledger_end(f->l, got[0].row, &a, &once, false, 0, &now, &err));
	assert_int_equal(now.state, SHARD_FAILED);
	free_n(got, 1);
	IS(ST_BUSY, ledger_stage_seal(f->l, f->stage, 1, &err));
	publish_all(f, f->stage, f->worker, 2);
	IS(ST_BUSY, ledger_stage_seal(f->l, f->stage, 0, &err));
	OK(ledger_stage_seal(f->l, f->stage, 1, &err));
	assert_true(stage_of(f->l, f->stage).sealed);
}

/* A name that one stage writes is not another's, and with a new generation all
 * stages of the older one are over. */
static void generations_of_two(void **state)
{
	struct fix *f = *state;
	struct ledger_item it = item_with_final("a", "out");
	struct ledger_item other = item_with_final("b", "out");
	struct ledger_stage stage[2];
	struct ledger_stage next_stage[2];
	struct ledger_shard got;
	struct ledger_run run;
	struct error err;
	int64_t dropped;
	int64_t next;
	int64_t w;
	size_t bad;
	size_t n;
	bool more = true;

	make_two(f, &run, stage);
	w = worker_make(f->l, "w2", run.id);
	OK(ledger_plan_items(f->l, stage[0].id, 0, &it, 1, NULL, &bad, &err));
	IS(ST_EXISTS, ledger_plan_items(f->l, stage[1].id, 0, &other, 1, NULL, &bad, &err));
	plan_many(f->l, stage[1].id, "i", 2);
	claim_n(f->l, stage[1].id, w, 1, 1, &got);
	free_n(&got, 1);
	OK(ledger_run_renew(f->l, &run, &two_stages, &err));
	assert_int_equal(run.generation, 2);
	OK(ledger_run_stages(f->l, run.id, 0, next_stage, 2, &n, &err));
	assert_int_equal(n, 2);
	assert_int_equal(next_stage[0].id, run.stage);
	assert_true(next_stage[0].id > stage[1].id);
	/* What was leased is void, in the second stage too. */
	assert_int_equal(state_at(f->l, stage[1].id, 0), SHARD_READY);
	IS(ST_FENCED, ledger_claim(f->l, stage[1].id, w, 9, 1, &got, &n, &next, &err));
	IS(ST_FENCED, ledger_plan_finish(f->l, stage[0].id, 1, &dropped, &err));
	OK(ledger_plan_items(f->l, next_stage[1].id, 0, &other, 1, NULL, &bad, &err));
	claim_n(f->l, next_stage[1].id, w, 1, 1, &got);
	publish_file(f->l, &got, "out", 3);
	free_n(&got, 1);
	while (more)
		OK(ledger_generation_prune(f->l, run.id, 1, &more, &err));
	assert_int_equal(state_at(f->l, next_stage[1].id, 0), SHARD_PUBLISHED);
	assert_int_equal(stage_of(f->l, stage[1].id).planned, 2);
	ledger_run_free(&run);
}

/* Carried from an older generation, and no checkpoint with it. */
static void renewed(void **state)
{
	struct fix *f = *state;
	struct ledger_item it = item_of("a");
	struct ledger_stage stage[2];
	struct ledger_shard got;
	struct ledger_checkpoint c = {.offset = 3};
	struct ledger_run run;
	struct error err;
	int64_t w;
	size_t bad;

	make_two(f, &run, stage);
	w = worker_make(f->l, "w2", run.id);
	OK(ledger_plan_items(f->l, stage[0].id, 0, &it, 1, NULL, &bad, &err));
	publish_all(f, stage[0].id, w, 1);
	plan_many(f->l, stage[1].id, "i", 1);
	claim_n(f->l, stage[1].id, w, 1, 1, &got);
	c.epoch = got.s.epoch;
	OK(ledger_checkpoint(f->l, got.row, &c, &err));
	OK(ledger_run_renew(f->l, &run, &two_stages, &err));
	OK(ledger_checkpoint_get(f->l, got.row, &c, &err));
	assert_int_equal(c.epoch, 0);
	free_n(&got, 1);
	OK(ledger_plan_items(f->l, run.stage, 0, &it, 1, from(stage[0].id), &bad, &err));
	assert_int_equal(state_at(f->l, run.stage, 0), SHARD_PUBLISHED);
	ledger_run_free(&run);
}

/* ---- time ---- */

/* The ms of that kind in the list, in all. */
static int64_t spent_in(struct ledger *l, int64_t run, int64_t worker, int64_t stage,
    enum spent_kind kind)
{
	struct ledger_spent *list;
	struct error err;
	int64_t ms = 0;
	size_t n;
	size_t i;

	OK(ledger_spent(l, run, 0, &list, &n, &err));
	for (i = 0; i < n; i++) {
		if (list[i].worker == worker && list[i].stage == stage && list[i].kind == kind)
			ms += list[i].ms;
	}
	free(list);
	return ms;
}

static int64_t worker_of(struct ledger *l, const struct ledger_run *run, const char *name)
{
	struct ledger_worker w = {.run = run->id, .pid = 1, .generation = run->generation,
	    .slots = 2};
	struct error err;

	(void)snprintf(w.name, sizeof(w.name), "%s", name);
	OK(sys_boot_id(w.boot_id, &err));
	OK(ledger_worker_add(l, &w, &err));
	return w.id;
}

static void time_is_said_and_counted(void **state)
{
	struct fix *f = *state;
	int64_t w = worker_of(f->l, &f->run, "w2");
	const struct ledger_spent first[] = {
		{.stage = f->stage, .kind = SPENT_RUNNING, .ms = 10},
		{.kind = SPENT_WAITING, .ms = 7}, {.kind = SPENT_IDLE, .ms = 0},
	};
	const struct ledger_spent then[] = {{.stage = f->stage, .kind = SPENT_RUNNING, .ms = 40}};
	struct ledger_worker *list;
	struct ledger_shard got[2];
	struct ledger_attempt a;
	struct shard now;
	struct error err;
	size_t n;

	OK(ledger_spent_put(f->l, w, 9, first, 3, &err));
	OK(ledger_spent_put(f->l, w, 20, then, 1, &err));
	OK(ledger_spent_put(f->l, w, 20, then, 1, &err));
	assert_int_equal(spent_in(f->l, f->run.id, w, f->stage, SPENT_RUNNING), 40);
	assert_int_equal(spent_in(f->l, f->run.id, w, 0, SPENT_WAITING), 7);
	IS(ST_NOT_FOUND, ledger_spent_put(f->l, 999, 20, then, 1, &err));

	plan_many(f->l, f->stage, "i", 2);
	claim_n(f->l, f->stage, w, 2, 2, got);
	a = attempt_of(got[0].s.epoch, w, CAUSE_DONE, 30);
	OK(ledger_accept(f->l, got[0].row, &a, NULL, 0, NULL, &err));
	a = attempt_of(got[1].s.epoch, w, CAUSE_CHECKPOINTED, 10);
	a.kept_ms = 6;
	a.checkpoint_ms = 2;
	a.restore_ms = 1;
	OK(ledger_end(f->l, got[1].row, &a, &(struct retry_policy){0}, false, 0, &now, &err));
	assert_int_equal(spent_in(f->l, f->run.id, w, f->stage, SPENT_NET), 36);
	assert_int_equal(spent_in(f->l, f->run.id, w, f->stage, SPENT_LOST), 4);
	assert_int_equal(stage_of(f->l, f->stage).run_ms, 36);
	assert_int_equal(stage_of(f->l, f->stage).lost_ms, 4);
	OK(ledger_attempts(f->l, got[1].row, 1, &a, &n, &err));
	assert_int_equal(a.kept_ms * 100 + a.checkpoint_ms * 10 + a.restore_ms, 621);

	OK(ledger_worker_list(f->l, f->run.id, &list, &n, &err));
	assert_int_equal(n, 2);
	assert_int_equal(list[1].present_ms, 20);
	assert_int_equal(list[1].slots, 2);
	free(list);
	free_n(got, 2);
}

/* A group that is taken back takes back its time, and generations are apart. */
static void time_of_groups_and_generations(void **state)
{
	struct fix *f = *state;
	int64_t w = worker_of(f->l, &f->run, "w2");
	const struct ledger_spent row = {.kind = SPENT_IDLE, .ms = 5};
	struct ledger_shard got[1];
	struct ledger_attempt a;
	struct ledger_spent *list;
	struct error err;
	size_t n;

	plan_many(f->l, f->stage, "i", 1);
	claim_n(f->l, f->stage, w, 1, 1, got);
	a = attempt_of(got[0].s.epoch, w, CAUSE_DONE, 30);
	OK(ledger_begin(f->l, &err));
	OK(ledger_accept(f->l, got[0].row, &a, NULL, 0, NULL, &err));
	OK(ledger_spent_put(f->l, w, 9, &row, 1, &err));
	ledger_rollback(f->l);
	OK(ledger_spent(f->l, f->run.id, 0, &list, &n, &err));
	assert_int_equal(n, 0);
	OK(ledger_accept(f->l, got[0].row, &a, NULL, 0, NULL, &err));
	OK(ledger_spent_put(f->l, w, 9, &row, 1, &err));
	OK(ledger_run_renew(f->l, &f->run, &one_stage, &err));
	OK(ledger_spent(f->l, f->run.id, 0, &list, &n, &err));
	assert_int_equal(n, 0);
	OK(ledger_spent(f->l, f->run.id, 1, &list, &n, &err));
	assert_int_equal(n, 2);
	free(list);
	free_n(got, 1);
}

static void the_worst_shards(void **state)
{
	static const struct {int64_t ms; enum cause cause;} ends[] = {
		{10, CAUSE_INTERRUPTED}, {500, CAUSE_FAILED}, {20, CAUSE_LOST}, {30, CAUSE_LOST},
	};
	const struct retry_policy policy = {.limit = {[CAUSE_FAILED] = 9, [CAUSE_LOST] = 9,
	    [CAUSE_INTERRUPTED] = 9}};
	struct fix *f = *state;
	struct ledger_worst_shard worst[3];
	struct ledger_shard got[4];
	struct shard now;
	struct error err;
	size_t n;
	size_t i;

	plan_many(f->l, f->stage, "i", 3);
	for (i = 0; i < 4; i++) {
		struct ledger_attempt a;

		claim_n(f->l, f->stage, f->worker, 1, 1, &got[i]);
		a = attempt_of(got[i].s.epoch, f->worker, ends[i].cause, ends[i].ms);
		OK(ledger_end(f->l, got[i].row, &a, &policy, false, i < 2 ? 60000 : 0, &now, &err));
	}
	assert_int_equal(got[2].row, got[3].row);
	OK(ledger_worst_shards(f->l, f->run.id, 0, LEDGER_SLOWEST, 2, worst, &n, &err));
	assert_int_equal(n, 2);
	assert_int_equal(worst[0].row, got[1].row);
	assert_int_equal(worst[1].row, got[2].row);
	assert_int_equal(worst[1].ms, 50);
	assert_int_equal(worst[1].longest_ms, 30);
	OK(ledger_worst_shards(f->l, f->run.id, f->stage, LEDGER_MOST_INTERRUPTED, 3, worst, &n, &err));
	assert_int_equal(n, 2);
	assert_int_equal(worst[0].row, got[2].row);
	assert_int_equal(worst[0].interruptions, 2);
	assert_int_equal(worst[1].row, got[0].row);
	OK(ledger_worst_shards(f->l, f->run.id, 999, LEDGER_SLOWEST, 3, worst, &n, &err));
	assert_int_equal(n, 0);
	free_n(got, 4);
}

/* Each stage's shards end by its own policy; one beyond them has the last. */
static void each_by_its_own_policy(void **state)
{
	static const struct retry_policy patient = {.limit = {[CAUSE_LOST] = 9}};
	static const struct retry_policy strict = {.limit = {[CAUSE_LOST] = 1}};
	const struct retry_policy *policies[] = {&patient, &strict};
	struct ledger_burial how = {.cause = CAUSE_LOST, .policy = policies, .n_policies = 2};
	struct fix *f = *state;
	struct ledger_stage stage[2];
	struct ledger_shard got[2];
	struct error err;
	int64_t lost;
	size_t n;
	int i;

	OK(ledger_run_renew(f->l, &f->run, &two_stages, &err));
	f->stage = f->run.stage;
	OK(ledger_run_stages(f->l, f->run.id, 0, stage, 2, &n, &err));
	for (i = 0; i < 2; i++)
		plan_many(f->l, stage[i].id, i == 0 ? "a" : "b", 1);
	for (n = 2; n >= 1; n--) {
		int64_t w = worker_make(f->l, n == 2 ? "x" : "y", f->run.id);

		for (i = 0; i < 2; i++)
			claim_n(f->l, stage[i].id, w, 1, 1, &got[i]);
		how.n_policies = n;
		OK(ledger_worker_end(f->l, w, &how, &lost, &err));
		assert_int_equal(lost, 2);
		assert_int_equal(state_at(f->l, stage[0].id, 0), SHARD_READY);
		assert_int_equal(state_at(f->l, stage[1].id, 0), n == 2 ? SHARD_SET_ASIDE : SHARD_READY);
		free_n(got, 2);
		if (n == 2) {
			int64_t retried;

			OK(ledger_retry(f->l, stage[1].id, 0, &retried, &err));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(stages_have_names), CASE(finished_with_the_last), CASE(some_may_fail),
		CASE(generations_of_two), CASE(renewed),
		CASE(time_is_said_and_counted),
		CASE(time_of_groups_and_generations), CASE(the_worst_shards),
		CASE(each_by_its_own_policy),
	};

	return RUN_FOR_ALL(tests);
}
