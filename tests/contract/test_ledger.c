/* The suite that every ledger back end passes. */
#include "contract/ledger_fix.h"

static const struct ledger_run_def def_two = {
	.title = "", .spec = "{\"spec\":2}", .stages = stage_names, .n_stages = 1,
};

/* ---- opening ---- */

static void opens(void **state)
{
	struct fix *f = *state;
	const struct ledger_options no_create = {.busy_ms = 100};
	const struct ledger_options read_only = {.read_only = true, .busy_ms = 100};
	char url[sizeof(f->url) + 8];
	struct ledger *l;
	struct ledger_run run;
	struct error err;

	(void)snprintf(url, sizeof(url), "%s.none", f->url);
	IS(ST_NOT_FOUND, ledger_open(url, &no_create, &l, &err));
	assert_null(l);
	IS(ST_NOT_FOUND, ledger_open(url, &read_only, &l, &err));
	IS(ST_CONFIG, ledger_open("nosuch://x", &no_create, &l, &err));
	IS(ST_CONFIG, ledger_open("", &no_create, &l, &err));
	ledger_close(NULL);

	OK(ledger_open(f->url, &read_only, &l, &err));
	OK(ledger_run_by_name(l, f->run.name, &run, &err));
	ledger_run_free(&run);
	IS(ST_DENIED, ledger_run_set_state(l, f->run.id, RUN_FINISHED, &err));
	IS(ST_DENIED, ledger_begin(l, &err));
	verify_ok(l);
	ledger_close(l);
	assert_true(ledger_bytes(f->l) > 0);
	OK(ledger_shrink(f->l, &err));
}

/* ---- runs ---- */

static void runs(void **state)
{
	struct fix *f = *state;
	struct ledger_run run;
	struct ledger_run *list;
	struct error err;
	uint8_t key[LEDGER_ID_SIZE];
	size_t n;

	assert_string_equal(f->run.name, "r1");
	assert_string_equal(f->run.title, "run");
	assert_string_equal(f->run.spec, "{\"spec\":1}");
	assert_int_equal(f->run.generation, 1);
	assert_int_equal(f->run.state, RUN_ACTIVE);
	assert_true(f->run.created_wall_ms > 0);
	id_of("run", key);
	IS(ST_EXISTS, ledger_run_create(f->l, key, &one_stage, &run, &err));
	OK(ledger_run_by_key(f->l, key, &run, &err));
	assert_int_equal(run.id, f->run.id);
	assert_memory_equal(run.key, key, sizeof(key));
	ledger_run_free(&run);

	run = run_make(f->l, "second");
	assert_string_equal(run.name, "r2");
	OK(ledger_run_remove(f->l, run.id, &err));
	IS(ST_NOT_FOUND, ledger_run_remove(f->l, run.id, &err));
	ledger_run_free(&run);
	/* A number is used once. */
	run = run_make(f->l, "second");
	assert_string_equal(run.name, "r3");
	OK(ledger_run_set_state(f->l, run.id, RUN_FINISHED, &err));
	ledger_run_free(&run);
	OK(ledger_run_by_name(f->l, "", &run, &err));
	assert_string_equal(run.name, "r3");
	assert_int_equal(run.state, RUN_FINISHED);
	ledger_run_free(&run);
	IS(ST_NOT_FOUND, ledger_run_by_name(f->l, "r2", &run, &err));
	IS(ST_NOT_FOUND, ledger_run_set_state(f->l, 99, RUN_FINISHED, &err));

	OK(ledger_run_list(f->l, &list, &n, &err));
	assert_int_equal(n, 2);
	assert_string_equal(list[0].name, "r1");
	assert_string_equal(list[1].name, "r3");
	ledger_run_list_free(list, n);
}

static void another_spec(void **state)
{
	struct fix *f = *state;
	struct ledger_run stale = f->run;
	struct ledger_run run;
	struct error err;

	OK(ledger_run_set_spec(f->l, &f->run, "{\"spec\":3}", &err));
	assert_string_equal(f->run.spec, "{\"spec\":3}");
	OK(ledger_run_by_name(f->l, "r1", &run, &err));
	assert_string_equal(run.spec, "{\"spec\":3}");
	assert_int_equal(run.stage, f->run.stage);
	ledger_run_free(&run);
	stale.generation = 0;
	stale.spec = NULL;
	IS(ST_FENCED, ledger_run_set_spec(f->l, &stale, "{}", &err));
	assert_null(stale.spec);
}

/* ---- transitions ---- */

static void claims_in_order(void **state)
{
	struct fix *f = *state;
	struct ledger_shard got[20];
	struct error err;
	int64_t next;
	size_t n;
	size_t i;

	plan_many(f->l, f->stage, "i", 10);
	OK(ledger_claim(f->l, f->stage, f->worker, 4, 20, got, &n, &next, &err));
	assert_int_equal(n, 4);
	assert_int_equal(next, -1);
	for (i = 0; i < n; i++) {
		assert_int_equal(got[i].ordinal, i);
		assert_int_equal(got[i].s.state, SHARD_LEASED);
		assert_int_equal(got[i].s.epoch, 1);
		assert_int_equal(got[i].worker, f->worker);
	}
	OK(ledger_give_back(f->l, got[2].row, 1, &err));
	IS(ST_FENCED, ledger_give_back(f->l, got[2].row, 1, &err));
	free_n(got, 4);
	claim_n(f->l, f->stage, f->worker, 2, 2, got);
	assert_int_equal(got[0].ordinal, 2);
	assert_int_equal(got[0].s.epoch, 2);
	assert_int_equal(got[0].attempts, 0);
	assert_int_equal(got[1].ordinal, 4);
	free_n(got, 2);
	claim_n(f->l, f->stage, f->worker, 20, 5, got);
	free_n(got, 5);
	claim_n(f->l, f->stage, f->worker, 20, 0, got);
	IS(ST_FENCED, ledger_claim(f->l, f->stage, 99, 10, 1, got, &n, &next, &err));
	IS(ST_NOT_FOUND, ledger_claim(f->l, 99, f->worker, 10, 1, got, &n, &next, &err));
	assert_int_equal(stage_of(f->l, f->stage).count[SHARD_LEASED], 10);
}

static void delays_and_budgets(void **state)
{
	struct fix *f = *state;
	const struct retry_policy policy = retry_policy_default();
	struct ledger_shard got[3];
	struct ledger_attempt a;
	struct ledger_attempt kept[8];
	struct shard now;
	struct error err;
	int64_t next;
	int64_t soon;
	int64_t n_retried;
	size_t n;
	int i;

	plan_many(f->l, f->stage, "i", 2);
	claim_n(f->l, f->stage, f->worker, 1, 1, got);
	a = attempt_of(1, f->worker, CAUSE_FAILED, 100);
	a.exit_code = 3;
	memcpy(a.note, "it broke", 9);
	soon = sys_boot_ns() / 1000000 + 60000;
	OK(ledger_end(f->l, got[0].row, &a, &policy, false, 60000, &now, &err));
	assert_int_equal(now.state, SHARD_READY);
	assert_int_equal(now.count[CAUSE_FAILED], 1);
	IS(ST_FENCED, ledger_end(f->l, got[0].row, &a, &policy, false, 0, &now, &err));
	assert_int_equal(now.count[CAUSE_FAILED], 1);
	free_n(got, 1);
	OK(ledger_claim(f->l, f->stage, f->worker, 10, 3, got, &n, &next, &err));
	assert_int_equal(n, 1);
	assert_int_equal(got[0].ordinal, 1);
	assert_true(next >= soon && next < soon + 10000);
	free_n(got, 1);
	OK(ledger_claim(f->l, f->stage, f->worker, 0, 3, got, &n, &next, &err));
	assert_int_equal(next, -1);

	/* fails for good at the third, with delays that are over at once */
	OK(ledger_retry(f->l, f->stage, 0, &n_retried, &err));
	assert_int_equal(n_retried, 0);
	got[0] = shard_at(f->l, f->stage, 1);
	a = attempt_of(got[0].s.epoch, f->worker, CAUSE_FAILED, 100);
	OK(ledger_end(f->l, got[0].row, &a, &policy, false, 1, &now, &err));
	for (i = 2; i <= 3; i++) {
		int64_t until = sys_boot_ns() / 1000000 + 2;

		free_n(got, 1);
		while (sys_boot_ns() / 1000000 < until)
			usleep(500);
		claim_n(f->l, f->stage, f->worker, 1, 1, got);
		assert_int_equal(got[0].attempts, i - 1);
		a.epoch = got[0].s.epoch;
		OK(ledger_end(f->l, got[0].row, &a, &policy, false, 1, &now, &err));
	}
	assert_int_equal(now.state, SHARD_FAILED);
	OK(ledger_attempts(f->l, got[0].row, 8, kept, &n, &err));
	assert_int_equal(n, 3);
	assert_int_equal(kept[0].epoch, 1);
	assert_int_equal(kept[2].epoch, 3);
	assert_int_equal(kept[2].cause, CAUSE_FAILED);
	assert_int_equal(kept[2].max_rss_kib, 4);
	OK(ledger_attempts(f->l, got[0].row, 2, kept, &n, &err));
	assert_int_equal(n, 2);
	assert_int_equal(kept[0].epoch, 2);
	free_n(got, 1);

	OK(ledger_retry(f->l, f->stage, 0, &n_retried, &err));
	assert_int_equal(n_retried, 1);
	got[0] = shard_at(f->l, f->stage, 1);
	assert_int_equal(got[0].s.state, SHARD_READY);
	assert_int_equal(got[0].s.count[CAUSE_FAILED], 0);
	assert_int_equal(got[0].attempts, 3);
	OK(ledger_retry(f->l, f->stage, got[0].row, &n_retried, &err));
	assert_int_equal(n_retried, 0);
	IS(ST_NOT_FOUND, ledger_retry(f->l, f->stage, 9999, &n_retried, &err));
	free_n(got, 1);
	assert_int_equal(stage_of(f->l, f->stage).lost_ms, 400);
	assert_int_equal(stage_of(f->l, f->stage).ended[CAUSE_FAILED], 4);

	got[0] = shard_at(f->l, f->stage, 0);
	OK(ledger_attempts(f->l, got[0].row, 2, kept, &n, &err));
	assert_string_equal(kept[0].note, "it broke");
	assert_int_equal(kept[0].exit_code, 3);
	assert_true(got[0].not_before_boot_ms >= soon);
	free_n(got, 1);
}

static void runs_alone(void **state)
{
	struct fix *f = *state;
	const struct retry_policy policy = retry_policy_default();
	struct ledger_shard got[4];
	struct ledger_attempt a;
	struct shard now;
	struct error err;
	int i;

	plan_many(f->l, f->stage, "i", 4);
	claim_n(f->l, f->stage, f->worker, 1, 1, got); /* 0 is out of the way */
	for (i = 0; i < 3; i++) {
		claim_n(f->l, f->stage, f->worker, 1, 1, &got[1]);
		a = attempt_of(got[1].s.epoch, f->worker, CAUSE_LOST, 1);
		OK(ledger_end(f->l, got[1].row, &a, &policy, false, 0, &now, &err));
		ledger_shard_free(&got[1]);
	}
	assert_true(now.alone);
	OK(ledger_give_back(f->l, got[0].row, 1, &err));
	ledger_shard_free(&got[0]);
	claim_n(f->l, f->stage, f->worker, 4, 1, got); /* up to the lonely one */
	assert_int_equal(got[0].ordinal, 0);
	free_n(got, 1);
	claim_n(f->l, f->stage, f->worker, 4, 1, got);
	assert_int_equal(got[0].ordinal, 1);
	assert_true(got[0].s.alone);
	free_n(got, 1);
	claim_n(f->l, f->stage, f->worker, 4, 2, got);
	free_n(got, 2);
}

/* Of two files that were accepted, one has its name when the output is given up. */
static void output_given_up_half_way(void **state)
{
	struct fix *f = *state;
	struct ledger_item item = {.item = "a", .item_len = 1, .id = {1}, .part = -1, .length = -1};
	char priv[] = "p";
	char names[2][3] = {"g1", "g2"};
	struct ledger_file files[2] = {{.private_path = priv, .final_path = names[0], .size = 3},
	    {.private_path = priv, .final_path = names[1], .size = 4}};
	struct ledger_shard got;
	struct ledger_attempt a = attempt_of(1, f->worker, CAUSE_DONE, 1);
	struct ledger_output out;
	struct error err;
	int64_t dropped;
	size_t bad;

	OK(ledger_plan_items(f->l, f->stage, 0, &item, 1, NULL, &bad, &err));
	OK(ledger_plan_finish(f->l, f->stage, 1, &dropped, &err));
	claim_n(f->l, f->stage, f->worker, 1, 1, &got);
	IS(ST_FENCED, ledger_output_placed(f->l, got.row, 1, &files[0], &err));
	OK(ledger_accept(f->l, got.row, &a, files, 2, NULL, &err));
	IS(ST_FENCED, ledger_output_placed(f->l, got.row, 2, &files[0], &err));
	OK(ledger_output_placed(f->l, got.row, 1, &files[0], &err));
	OK(ledger_output_placed(f->l, got.row, 1, &files[0], &err));
	OK(ledger_output_gone(f->l, got.row, 1, &err));
	OK(ledger_output_get(f->l, names[0], 2, &out, &err));
	assert_true(out.published && !out.planned && out.size == 3);
	IS(ST_NOT_FOUND, ledger_output_get(f->l, names[1], 2, &out, &err));
	IS(ST_FENCED, ledger_output_placed(f->l, got.row, 1, &files[1], &err));
	free_n(&got, 1);
}

static void outputs_gone_and_inputs_changed(void **state)
{
	struct fix *f = *state;
	struct ledger_item items[2] = {item_with_final("a", "fa"), item_with_final("b", "fb")};
	struct file_version v = {.exists = true, .size = 5, .mtime_ns = 6};
	char priv[] = "p";
	char fa[] = "fa";
	struct ledger_file file = {.private_path = priv, .final_path = fa, .size = 3};
	struct ledger_shard got[2];
	struct ledger_shard s;
	struct ledger_attempt a;
	struct ledger_output out;
	struct error err;
	int64_t dropped;
	size_t bad;

	OK(ledger_plan_items(f->l, f->stage, 0, items, 2, NULL, &bad, &err));
	OK(ledger_plan_finish(f->l, f->stage, 2, &dropped, &err));
	claim_n(f->l, f->stage, f->worker, 2, 2, got);
	a = attempt_of(1, f->worker, CAUSE_DONE, 1);
	IS(ST_FENCED, ledger_output_gone(f->l, got[0].row, 1, &err));
	OK(ledger_accept(f->l, got[0].row, &a, &file, 1, NULL, &err));
	OK(ledger_output_gone(f->l, got[0].row, 1, &err));
	IS(ST_FENCED, ledger_accept(f->l, got[0].row, &a, &file, 1, NULL, &err));
	IS(ST_FENCED, ledger_published(f->l, got[0].row, 1, &err));
	s = shard_at(f->l, f->stage, 0);
	assert_int_equal(s.s.state, SHARD_READY);
	assert_null(s.files);
	ledger_shard_free(&s);

	/* A leased one: its attempt is void. */
	OK(ledger_input_changed(f->l, got[1].row, &v, &err));
	IS(ST_FENCED, ledger_accept(f->l, got[1].row, &a, NULL, 0, NULL, &err));
	s = shard_at(f->l, f->stage, 1);
	assert_int_equal(s.version.size, 5);
	assert_int_equal(s.worker, 0);
	ledger_shard_free(&s);
	free_n(got, 2);
	IS(ST_NOT_FOUND, ledger_input_changed(f->l, 9999, &v, &err));

	/* A published one: the name stays known with what is there. */
	claim_n(f->l, f->stage, f->worker, 2, 2, got);
	publish_file(f->l, &got[0], "fa", 1);
	OK(ledger_input_changed(f->l, got[0].row, &v, &err));
	OK(ledger_output_get(f->l, "fa", 2, &out, &err));
	assert_true(out.planned && out.published);
	free_n(got, 2);
	claim_n(f->l, f->stage, f->worker, 2, 1, got);
	publish_file(f->l, &got[0], "fa", 2);
	OK(ledger_output_get(f->l, "fa", 2, &out, &err));
	assert_int_equal(out.hash[0], 2);
	free_n(got, 1);

	/* Sealed: nothing changes any more. */
	got[0] = shard_at(f->l, f->stage, 1);
	a.epoch = got[0].s.epoch;
	IS(ST_BUSY, ledger_stage_seal(f->l, f->stage, 0, &err));
	OK(ledger_accept(f->l, got[0].row, &a, NULL, 0, NULL, &err));
	OK(ledger_stage_seal(f->l, f->stage, 0, &err));
	OK(ledger_stage_seal(f->l, f->stage, 0, &err));
	assert_true(stage_of(f->l, f->stage).sealed);
	IS(ST_FENCED, ledger_input_changed(f->l, got[0].row, &v, &err));
	IS(ST_FENCED, ledger_plan_restart(f->l, f->stage, 0, &err));
	free_n(got, 1);
}

/* ---- groups ---- */

static void groups(void **state)
{
	struct fix *f = *state;
	struct ledger *other = open_again(f);
	struct ledger_item it = item_with_final("z", "name");
	struct ledger_item clash = item_with_final("y", "name");
	struct ledger_shard got[4];
	struct ledger_attempt a;
	struct ledger_stage s;
	struct error err;
	size_t bad;
	int i;

	plan_many(f->l, f->stage, "i", 4);
	OK(ledger_begin(f->l, &err));
	claim_n(f->l, f->stage, f->worker, 4, 4, got);
	a = attempt_of(1, f->worker, CAUSE_DONE, 10);
	for (i = 0; i < 2; i++)
		OK(ledger_accept(f->l, got[i].row, &a, NULL, 0, NULL, &err));
	/* a call that fails leaves the group as it was */
	a.epoch = 7;
	IS(ST_FENCED, ledger_accept(f->l, got[2].row, &a, NULL, 0, NULL, &err));
	IS(ST_NOT_FOUND, ledger_accept(f->l, 9999, &a, NULL, 0, NULL, &err));
	s = stage_of(f->l, f->stage);
	assert_int_equal(s.count[SHARD_PUBLISHED], 2);
	assert_int_equal(s.count[SHARD_LEASED], 2);
	assert_int_equal(s.run_ms, 20);
	assert_int_equal(stage_of(other, f->stage).count[SHARD_READY], 4);
	OK(ledger_commit(f->l, &err));
	assert_int_equal(stage_of(other, f->stage).count[SHARD_PUBLISHED], 2);

	OK(ledger_begin(f->l, &err));
	a.epoch = 1;
	OK(ledger_accept(f->l, got[2].row, &a, NULL, 0, NULL, &err));
	ledger_rollback(f->l);
	ledger_rollback(f->l);
	assert_int_equal(stage_of(f->l, f->stage).count[SHARD_PUBLISHED], 2);

	/* what fails after it has written takes itself back */
	OK(ledger_plan_restart(f->l, f->stage, 4, &err));
	OK(ledger_begin(f->l, &err));
	OK(ledger_plan_items(f->l, f->stage, 4, &it, 1, NULL, &bad, &err));
	IS(ST_EXISTS, ledger_plan_items(f->l, f->stage, 5, &clash, 1, NULL, &bad, &err));
	assert_int_equal(stage_of(f->l, f->stage).planned, 5);
	it = item_of("w");
	OK(ledger_plan_items(f->l, f->stage, 5, &it, 1, NULL, &bad, &err));
	OK(ledger_commit(f->l, &err));
	assert_int_equal(stage_of(other, f->stage).planned, 6);
	verify_ok(other);

	/* planned, undone, planned again */
	OK(ledger_begin(f->l, &err));
	it = item_of("v");
	OK(ledger_plan_items(f->l, f->stage, 6, &it, 1, NULL, &bad, &err));
	ledger_rollback(f->l);
	OK(ledger_plan_items(f->l, f->stage, 6, &it, 1, NULL, &bad, &err));
	assert_int_equal(occurrence_at(f->l, f->stage, 6), 0);
	free_n(got, 4);
	ledger_close(other);

	/* closing takes back what is open */
	other = open_again(f);
	OK(ledger_begin(other, &err));
	OK(ledger_run_set_state(other, f->run.id, RUN_CANCELLED, &err));
	ledger_close(other);
	OK(ledger_run_set_state(f->l, f->run.id, RUN_ACTIVE, &err));
}

/* ---- generations ---- */

/* Four rows of the older stage go in two calls; its names and the newer stage stay. */
static void prune_older(struct fix *f, int64_t old_stage)
{
	struct ledger_output out;
	struct error err;
	bool more;

	OK(ledger_generation_prune(f->l, f->run.id, 3, &more, &err));
	assert_true(more);
	OK(ledger_generation_prune(f->l, f->run.id, 3, &more, &err));
	assert_false(more);
	assert_int_equal(stage_of(f->l, old_stage).planned, 4);
	OK(ledger_output_get(f->l, "fd", 2, &out, &err));
	assert_int_equal(state_at(f->l, f->stage, 0), SHARD_PUBLISHED);
}

static void generations(void **state)
{
	struct fix *f = *state;
	struct ledger_item items[4] = {
		item_with_final("a", "fa"), item_with_final("b", "fb"), item_of("c"),
		item_with_final("d", "fd"),
	};
	struct ledger_run stale = f->run;
	struct ledger_left left[2];
	struct ledger_shard got[4];
	struct ledger_shard s;
	struct ledger_attempt a;
	struct ledger_output out;
	struct error err;
	int64_t old_stage = f->stage;
	int64_t dropped;
	int64_t next;
	size_t bad;
	size_t n;
	char p[] = "p";
	char fd[] = "fd";
	struct ledger_file file = {.private_path = p, .final_path = fd};

	items[1].version = (struct file_version){.exists = true, .size = 1, .mtime_ns = 1};
	OK(ledger_plan_items(f->l, f->stage, 0, items, 4, NULL, &bad, &err));
	OK(ledger_plan_finish(f->l, f->stage, 4, &dropped, &err));
	claim_n(f->l, f->stage, f->worker, 4, 4, got);
	publish_file(f->l, &got[0], "fa", 1);
	publish_file(f->l, &got[1], "fb", 2);
	a = attempt_of(1, f->worker, CAUSE_DONE, 1);
	OK(ledger_accept(f->l, got[3].row, &a, &file, 1, NULL, &err));
	IS(ST_BUSY, ledger_run_renew(f->l, &f->run, &def_two, &err));
	OK(ledger_published(f->l, got[3].row, 1, &err));
	/* c is still leased: void from now on */
	OK(ledger_run_renew(f->l, &f->run, &def_two, &err));
	assert_int_equal(f->run.generation, 2);
	assert_string_equal(f->run.spec, "{\"spec\":2}");
	assert_int_not_equal(f->run.stage, old_stage);
	IS(ST_FENCED, ledger_run_renew(f->l, &stale, &one_stage, &err));
	f->stage = f->run.stage;
	IS(ST_FENCED, ledger_accept(f->l, got[2].row, &a, NULL, 0, NULL, &err));
	IS(ST_FENCED, ledger_claim(f->l, old_stage, f->worker, 9, 1, &s, &n, &next, &err));
	IS(ST_FENCED, ledger_plan_items(f->l, old_stage, 4, items, 1, NULL, &bad, &err));
	free_n(got, 4);
	OK(ledger_output_get(f->l, "fa", 2, &out, &err));
	assert_true(!out.planned && out.published);

	/* a is carried over, b has another version, c was not done, d is gone */
	items[1].version.size = 2;
	IS(ST_CONFIG, ledger_plan_items(f->l, f->stage, 0, items, 3, from(f->stage), &bad, &err));
	OK(ledger_plan_items(f->l, f->stage, 0, items, 3, from(old_stage), &bad, &err));
	OK(ledger_plan_finish(f->l, f->stage, 3, &dropped, &err));
	s = shard_at(f->l, f->stage, 0);
	assert_int_equal(s.s.state, SHARD_PUBLISHED);
	assert_non_null(s.files);
	assert_int_equal(s.attempts, 0);
	ledger_shard_free(&s);
	assert_int_equal(state_at(f->l, f->stage, 1), SHARD_READY);
	assert_int_equal(state_at(f->l, f->stage, 2), SHARD_READY);
	OK(ledger_output_get(f->l, "fa", 2, &out, &err));
	assert_true(out.planned && out.published);
	assert_int_equal(out.hash[0], 1);
	OK(ledger_output_get(f->l, "fb", 2, &out, &err));
	assert_true(out.planned && out.published);
	OK(ledger_outputs_left(f->l, f->run.id, NULL, 2, left, &n, &err));
	assert_int_equal(n, 1);
	assert_string_equal(left[0].final, "fd");
	free(left[0].final);
	verify_ok(f->l);

	prune_older(f, old_stage);
	/* the same identity again is the second occurrence, in the new stage only */
	OK(ledger_plan_restart(f->l, f->stage, 3, &err));
	OK(ledger_plan_items(f->l, f->stage, 3, &items[2], 1, from(old_stage), &bad, &err));
	assert_int_equal(occurrence_at(f->l, f->stage, 3), 1);
}

/* ---- workers ---- */

static int64_t only_first_row(void *arg, int64_t row, int64_t epoch)
{
	assert_int_equal(epoch, 1);
	return row == *(int64_t *)arg ? 70 : -1;
}

static void workers(void **state)
{
	struct fix *f = *state;
	const struct retry_policy policy = retry_policy_default();
	struct ledger_worker list[4];
	struct ledger_worker dup = {.run = 1};
	struct ledger_shard got[4];
	struct ledger_shard again[4];
	struct ledger_attempt a;
	struct error err;
	char p[] = "p";
	char fin[] = "f";
	struct ledger_file file = {.private_path = p, .final_path = fin};
	int64_t second;
	int64_t lost;
	int64_t next;
	size_t n;

	OK(ledger_workers(f->l, f->run.id, list, 4, &n, &err));
	assert_int_equal(n, 1);
	assert_string_equal(list[0].name, "w");
	assert_int_equal(list[0].pid, getpid());
	assert_int_equal(list[0].start_ticks, 7);
	assert_int_equal(strlen(list[0].boot_id), 36);
	memcpy(dup.name, "w", 2);
	IS(ST_EXISTS, ledger_worker_add(f->l, &dup, &err));
	second = worker_make(f->l, "w2", f->run.id);
	OK(ledger_workers(f->l, 0, list, 4, &n, &err));
	assert_int_equal(n, 2);
	OK(ledger_workers(f->l, 77, list, 4, &n, &err));
	assert_int_equal(n, 0);
	OK(ledger_worker_renew(f->l, second, 12345, &err));
	OK(ledger_workers(f->l, 0, list, 4, &n, &err));
	assert_int_equal(list[1].lease_until_boot_ms, 12345);

	plan_many(f->l, f->stage, "i", 4);
	claim_n(f->l, f->stage, f->worker, 4, 4, got);
	a = attempt_of(1, f->worker, CAUSE_DONE, 1);
	OK(ledger_accept(f->l, got[3].row, &a, &file, 1, NULL, &err));
	OK(ledger_lease_take(f->l, f->stage, "plan", f->worker, &err));
	OK(ledger_take_accepted(f->l, f->stage, second, 0, 4, again, &n, &err));
	assert_int_equal(n, 0); /* its holder is there */
	OK(ledger_take_accepted(f->l, f->stage, f->worker, 0, 4, again, &n, &err));
	assert_int_equal(n, 1);
	free_n(again, 1);

	OK(worker_end(f->l, f->worker, CAUSE_LOST, &policy, only_first_row, &got[0].row,
	    &lost, &err));
	assert_int_equal(lost, 1);
	OK(worker_end(f->l, f->worker, CAUSE_LOST, &policy, NULL, NULL, &lost, &err));
	assert_int_equal(lost, 0);
	IS(ST_FENCED, ledger_worker_renew(f->l, f->worker, 1, &err));
	IS(ST_FENCED, ledger_claim(f->l, f->stage, f->worker, 9, 1, again, &n, &next, &err));
	IS(ST_FENCED, ledger_take_accepted(f->l, f->stage, f->worker, 0, 1, again, &n, &err));
	IS(ST_FENCED, ledger_accept(f->l, got[0].row, &a, NULL, 0, NULL, &err));
	OK(ledger_lease_take(f->l, f->stage, "plan", second, &err));

	claim_n(f->l, f->stage, second, 4, 3, again);
	assert_int_equal(again[0].s.count[CAUSE_LOST], 1);
	assert_int_equal(again[0].attempts, 1);
	assert_int_equal(again[1].s.count[CAUSE_LOST], 0);
	assert_int_equal(again[1].attempts, 0);
	assert_int_equal(again[1].s.epoch, 2);
	free_n(again, 3);
	OK(ledger_take_accepted(f->l, f->stage, second, 4, 4, again, &n, &err));
	assert_int_equal(n, 0); /* its ordinal is 3 */
	OK(ledger_take_accepted(f->l, f->stage, second, 3, 4, again, &n, &err));
	assert_int_equal(n, 1);
	assert_int_equal(again[0].worker, second);
	assert_non_null(again[0].files);
	/* the epoch of what was accepted still counts */
	OK(ledger_published(f->l, again[0].row, again[0].s.epoch, &err));
	free_n(again, 1);
	free_n(got, 4);
	OK(worker_end(f->l, second, CAUSE_INTERRUPTED, &policy, NULL, NULL, &lost, &err));
	assert_int_equal(lost, 3);
	assert_int_equal(stage_of(f->l, f->stage).ended[CAUSE_INTERRUPTED], 3);
	assert_int_equal(stage_of(f->l, f->stage).count[SHARD_READY], 3);
}

static void leases(void **state)
{
	struct fix *f = *state;
	int64_t second = worker_make(f->l, "w2", f->run.id);
	struct error err;

	OK(ledger_lease_take(f->l, f->stage, "plan", f->worker, &err));
	OK(ledger_lease_take(f->l, f->stage, "plan", f->worker, &err));
	IS(ST_BUSY, ledger_lease_take(f->l, f->stage, "plan", second, &err));
	assert_non_null(strstr(err.text, "worker w "));
	OK(ledger_lease_take(f->l, f->stage, "seal", second, &err));
	OK(ledger_lease_release(f->l, f->stage, "plan", second, &err)); /* not its own */
	IS(ST_BUSY, ledger_lease_take(f->l, f->stage, "plan", second, &err));
	OK(ledger_lease_release(f->l, f->stage, "plan", f->worker, &err));
	OK(ledger_lease_take(f->l, f->stage, "plan", second, &err));
	IS(ST_FENCED, ledger_lease_take(f->l, f->stage, "plan", 99, &err));
}

/* ---- looking ---- */

static size_t listed(struct fix *f, int state, int64_t from, const char *prefix, size_t max)
{
	struct ledger_shard out[64];
	struct ledger_query q = {
		.stage = f->stage, .state = state, .ordinal = -1, .from = from, .max = max,
		.item_prefix = prefix, .item_prefix_len = prefix == NULL ? 0 : strlen(prefix),
	};
	struct error err;
	size_t n;
	size_t i;

	OK(ledger_shards(f->l, &q, out, &n, &err));
	for (i = 1; i < n; i++)
		assert_true(out[i].ordinal > out[i - 1].ordinal);
	free_n(out, n);
	return n;
}

static void listings(void **state)
{
	struct fix *f = *state;
	const struct retry_policy policy = retry_policy_default();
	struct ledger_query q = {.stage = 1, .state = SHARD_LEASED, .ordinal = 1, .max = 1};
	struct ledger_shard got[12];
	struct ledger_attempt a;
	struct shard now;
	struct error err;
	size_t n;
	int i;

	plan_many(f->l, f->stage, "i", 40);
	claim_n(f->l, f->stage, f->worker, 12, 12, got);
	for (i = 0; i < 12; i++) {
		a = attempt_of(1, f->worker, i % 2 == 0 ? CAUSE_DONE : CAUSE_FAILED, 1);
		if (i % 2 == 0)
			OK(ledger_accept(f->l, got[i].row, &a, NULL, 0, NULL, &err));
		else
			OK(ledger_end(f->l, got[i].row, &a, &policy, i % 4 == 1, 60000, &now,
			    &err));
	}
	free_n(got, 12);
	assert_int_equal(listed(f, -1, 0, NULL, 64), 40);
	assert_int_equal(listed(f, -1, 35, NULL, 64), 5);
	assert_int_equal(listed(f, -1, 0, NULL, 7), 7);
	assert_int_equal(listed(f, SHARD_PUBLISHED, 0, NULL, 64), 6);
	assert_int_equal(listed(f, SHARD_FAILED, 0, NULL, 64), 3);
	assert_int_equal(listed(f, SHARD_FAILED, 2, NULL, 64), 2);
	assert_int_equal(listed(f, SHARD_READY, 0, NULL, 64), 31); /* delayed ones too */
	assert_int_equal(listed(f, SHARD_READY, 3, NULL, 2), 2);
	assert_int_equal(listed(f, SHARD_LEASED, 0, NULL, 64), 0);
	assert_int_equal(listed(f, -1, 0, "i1", 64), 11);
	assert_int_equal(listed(f, SHARD_READY, 0, "i1", 64), 9); /* without 10 and 1 */
	assert_int_equal(listed(f, SHARD_PUBLISHED, 0, "i1", 64), 1);
	assert_int_equal(listed(f, -1, 0, "x", 64), 0);
	q.stage = f->stage;
	OK(ledger_shards(f->l, &q, got, &n, &err));
	assert_int_equal(n, 0);
}

static void events(void **state)
{
	struct fix *f = *state;
	struct ledger_event out[3];
	char longer[400];
	struct error err;
	size_t n;

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	OK(note_event(f->l, f->run.id, "start", "one", &err));
	OK(note_event(f->l, f->run.id, "drain", "two", &err));
	OK(note_event(f->l, f->run.id + 1, "other", "run", &err));
	OK(note_event(f->l, f->run.id, "seal", longer, &err));
	OK(ledger_events(f->l, f->run.id, 2, out, &n, &err));
	assert_int_equal(n, 2);
	assert_string_equal(out[0].kind, "drain");
	assert_string_equal(out[0].text, "two");
	assert_string_equal(out[1].kind, "seal");
	assert_int_equal(strlen(out[1].text), 255);
	assert_true(out[1].wall_ms > 0);
	OK(ledger_events(f->l, f->run.id, 3, out, &n, &err));
	assert_int_equal(n, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(opens), CASE(runs), CASE(another_spec), CASE(claims_in_order), CASE(delays_and_budgets),
		CASE(runs_alone), CASE(output_given_up_half_way), CASE(outputs_gone_and_inputs_changed),
		CASE(groups),
		CASE(generations), CASE(workers), CASE(leases), CASE(listings), CASE(events),
	};

	return RUN_FOR_ALL(tests);
}
