/* Planning, items and names, for every ledger back end. */
#include "contract/ledger_fix.h"

/* ---- planning ---- */

static void plans_and_finds_again(void **state)
{
	static const char *const texts[] = {"a", "b", "c", "d"};
	struct fix *f = *state;
	uint8_t digest[HASH_SIZE] = {1};
	uint8_t got[HASH_SIZE];
	struct ledger_stage s;
	struct error err;
	int64_t dropped;

	plan_texts(f->l, f->stage, 0, texts, 4);
	s = stage_of(f->l, f->stage);
	assert_int_equal(s.planned, 4);
	assert_int_equal(s.count[SHARD_READY], 4);
	assert_false(s.plan_complete);
	IS(ST_BUSY, ledger_stage_seal(f->l, f->stage, 0, &err));
	IS(ST_FENCED, ledger_plan_finish(f->l, f->stage, 5, &dropped, &err));
	OK(ledger_plan_finish(f->l, f->stage, 4, &dropped, &err));
	assert_int_equal(dropped, 0);
	OK(ledger_plan_finish(f->l, f->stage, 4, &dropped, &err));
	assert_true(stage_of(f->l, f->stage).plan_complete);

	IS(ST_NOT_FOUND, ledger_plan_chunk_get(f->l, f->stage, 0, got, &err));
	OK(ledger_plan_chunk_put(f->l, f->stage, 0, digest, &err));
	OK(ledger_plan_chunk_put(f->l, f->stage, 1, digest, &err));
	OK(ledger_plan_chunk_get(f->l, f->stage, 0, got, &err));
	assert_memory_equal(got, digest, sizeof(got));
	OK(ledger_plan_restart(f->l, f->stage, 0, &err));
	IS(ST_NOT_FOUND, ledger_plan_chunk_get(f->l, f->stage, 0, got, &err));
	IS(ST_NOT_FOUND, ledger_plan_chunk_get(f->l, f->stage, 1, got, &err));
}

static void planners_fence_each_other(void **state)
{
	static const char *const texts[] = {"a", "b"};
	struct fix *f = *state;
	struct ledger_item it = item_of("c");
	struct error err;
	int64_t dropped;
	size_t bad;

	plan_texts(f->l, f->stage, 0, texts, 2);
	IS(ST_FENCED, ledger_plan_items(f->l, f->stage, 0, &it, 1, NULL, &bad, &err));
	IS(ST_FENCED, ledger_plan_items(f->l, f->stage, 3, &it, 1, NULL, &bad, &err));
	IS(ST_FENCED, ledger_plan_restart(f->l, f->stage, 3, &err));
	OK(ledger_plan_finish(f->l, f->stage, 2, &dropped, &err));
	IS(ST_FENCED, ledger_plan_items(f->l, f->stage, 2, &it, 1, NULL, &bad, &err));
	OK(ledger_plan_restart(f->l, f->stage, 2, &err));
	OK(ledger_plan_items(f->l, f->stage, 2, &it, 1, NULL, &bad, &err));
	IS(ST_NOT_FOUND, ledger_plan_items(f->l, 99, 0, &it, 1, NULL, &bad, &err));
	assert_int_equal(stage_of(f->l, f->stage).planned, 3);
}

static void items_are_kept_as_they_are(void **state)
{
	struct fix *f = *state;
	struct ledger_item it = file_item("x", 12, 34);
	struct ledger_shard s;
	struct error err;
	char *big = malloc(LEDGER_ITEM_MAX + 1);
	size_t bad;

	it.item = "one\0tw\xff";
	it.item_len = 7;
	it.part = 3;
	it.offset = 100;
	it.length = INT64_MAX;
	it.final = "out\xfe";
	it.final_len = 4;
	OK(ledger_plan_items(f->l, f->stage, 0, &it, 1, NULL, &bad, &err));
	s = shard_at(f->l, f->stage, 0);
	assert_int_equal(s.item_len, 7);
	assert_memory_equal(s.item, "one\0tw\xff", 8);
	assert_int_equal(s.part, 3);
	assert_int_equal(s.offset, 100);
	assert_int_equal(s.length, INT64_MAX);
	assert_string_equal(s.final, "out\xfe");
	assert_null(s.files);
	assert_true(s.version.exists);
	assert_int_equal(s.version.size, 12);
	assert_int_equal(s.version.mtime_ns, 34);
	assert_int_equal(s.s.state, SHARD_READY);
	ledger_shard_free(&s);

	assert_non_null(big);
	memset(big, 'x', LEDGER_ITEM_MAX + 1);
	it = item_of("big");
	it.item = big;
	it.item_len = LEDGER_ITEM_MAX + 1;
	IS(ST_CONFIG, ledger_plan_items(f->l, f->stage, 1, &it, 1, NULL, &bad, &err));
	it.item_len = LEDGER_ITEM_MAX;
	OK(ledger_plan_items(f->l, f->stage, 1, &it, 1, NULL, &bad, &err));
	it = item_of("");
	OK(ledger_plan_items(f->l, f->stage, 2, &it, 1, NULL, &bad, &err));
	s = shard_at(f->l, f->stage, 2);
	assert_int_equal(s.item_len, 0);
	assert_string_equal(s.item, "");
	ledger_shard_free(&s);
	free(big);
}

/* Rows keep what was done wherever their items stand now. */
static void restart_with_other_lists(void **state)
{
	static const char *const first[] = {"a", "b", "c", "d", "e"};
	static const char *const second[] = {"new", "e", "b", "x", "c"};
	struct fix *f = *state;
	struct ledger_shard got[5];
	struct ledger_attempt a;
	struct ledger_stage s;
	struct error err;
	int64_t dropped;
	int64_t row_d;

	plan_texts(f->l, f->stage, 0, first, 5);
	OK(ledger_plan_finish(f->l, f->stage, 5, &dropped, &err));
	claim_n(f->l, f->stage, f->worker, 5, 5, got);
	/* a, b done; c given back; d and e stay leased */
	a = attempt_of(1, f->worker, CAUSE_DONE, 10);
	OK(ledger_accept(f->l, got[0].row, &a, NULL, 0, NULL, &err));
	OK(ledger_accept(f->l, got[1].row, &a, NULL, 0, NULL, &err));
	OK(ledger_give_back(f->l, got[2].row, 1, &err));
	row_d = got[3].row;

	OK(ledger_plan_restart(f->l, f->stage, 0, &err));
	s = stage_of(f->l, f->stage);
	assert_int_equal(s.planned, 0);
	assert_int_equal(s.count[SHARD_PUBLISHED], 0);
	verify_ok(f->l);
	plan_texts(f->l, f->stage, 0, second, 5);
	verify_ok(f->l);
	OK(ledger_plan_finish(f->l, f->stage, 5, &dropped, &err));
	assert_int_equal(dropped, 2); /* a and d */

	assert_int_equal(state_at(f->l, f->stage, 0), SHARD_READY);
	assert_int_equal(state_at(f->l, f->stage, 1), SHARD_LEASED);
	assert_int_equal(state_at(f->l, f->stage, 2), SHARD_PUBLISHED);
	assert_int_equal(state_at(f->l, f->stage, 3), SHARD_READY);
	assert_int_equal(state_at(f->l, f->stage, 4), SHARD_READY);
	s = stage_of(f->l, f->stage);
	assert_int_equal(s.planned, 5);
	assert_int_equal(s.count[SHARD_READY], 3);
	assert_int_equal(s.count[SHARD_LEASED], 1);
	assert_int_equal(s.count[SHARD_PUBLISHED], 1);
	assert_int_equal(s.attempts, 2);

	/* d has left the list: its attempt is void; e's is not. */
	IS(ST_FENCED, ledger_accept(f->l, row_d, &a, NULL, 0, NULL, &err));
	OK(ledger_accept(f->l, got[4].row, &a, NULL, 0, NULL, &err));
	free_n(got, 5);

	/* What has left the list is found again when it comes back. */
	OK(ledger_plan_restart(f->l, f->stage, 5, &err));
	plan_texts(f->l, f->stage, 5, first, 1);
	OK(ledger_plan_finish(f->l, f->stage, 6, &dropped, &err));
	assert_int_equal(dropped, 0);
	assert_int_equal(state_at(f->l, f->stage, 5), SHARD_PUBLISHED);
	verify_ok(f->l);
}

static void restart_in_the_middle(void **state)
{
	struct fix *f = *state;
	struct ledger_shard s;
	uint8_t digest[HASH_SIZE] = {0};
	struct error err;
	int64_t dropped;
	int64_t i;

	plan_many(f->l, f->stage, "i", 3000);
	for (i = 0; i < 3; i++)
		OK(ledger_plan_chunk_put(f->l, f->stage, i, digest, &err));
	OK(ledger_plan_restart(f->l, f->stage, 2048, &err));
	OK(ledger_plan_chunk_get(f->l, f->stage, 1, digest, &err));
	IS(ST_NOT_FOUND, ledger_plan_chunk_get(f->l, f->stage, 2, digest, &err));
	assert_int_equal(stage_of(f->l, f->stage).planned, 2048);
	for (i = 2048; i < 2500; i++) {
		char text[32];
		struct ledger_item it;
		size_t bad;

		(void)snprintf(text, sizeof(text), "i%lld", (long long)i + 10);
		it = item_of(text);
		OK(ledger_plan_items(f->l, f->stage, i, &it, 1, NULL, &bad, &err));
	}
	/* Restarted again before it was finished. */
	OK(ledger_plan_restart(f->l, f->stage, 2300, &err));
	OK(ledger_plan_finish(f->l, f->stage, 2300, &dropped, &err));
	assert_int_equal(dropped, 700);
	s = shard_at(f->l, f->stage, 2299);
	assert_string_equal(s.item, "i2309");
	ledger_shard_free(&s);
	assert_int_equal(stage_of(f->l, f->stage).count[SHARD_READY], 2300);
}

static void repeated_items(void **state)
{
	static const char *const texts[] = {"a", "b", "a", "a", "b", "c"};
	static const char *const after[] = {"a", "c", "b"};
	struct fix *f = *state;
	struct ledger_shard got[3];
	struct ledger_attempt a;
	struct error err;
	int64_t dropped;

	plan_texts(f->l, f->stage, 0, texts, 6);
	OK(ledger_plan_finish(f->l, f->stage, 6, &dropped, &err));
	assert_int_equal(occurrence_at(f->l, f->stage, 0), 0);
	assert_int_equal(occurrence_at(f->l, f->stage, 2), 1);
	assert_int_equal(occurrence_at(f->l, f->stage, 3), 2);
	assert_int_equal(occurrence_at(f->l, f->stage, 4), 1);
	claim_n(f->l, f->stage, f->worker, 3, 3, got);
	a = attempt_of(1, f->worker, CAUSE_DONE, 1);
	OK(ledger_accept(f->l, got[2].row, &a, NULL, 0, NULL, &err));
	free_n(got, 3);

	/* a b | a c b: numbers go on from the rows before the restart */
	OK(ledger_plan_restart(f->l, f->stage, 2, &err));
	verify_ok(f->l);
	plan_texts(f->l, f->stage, 2, after, 3);
	OK(ledger_plan_finish(f->l, f->stage, 5, &dropped, &err));
	assert_int_equal(dropped, 1); /* the third a */
	assert_int_equal(occurrence_at(f->l, f->stage, 2), 1);
	assert_int_equal(state_at(f->l, f->stage, 2), SHARD_PUBLISHED);
	assert_int_equal(occurrence_at(f->l, f->stage, 3), 0);
	assert_int_equal(occurrence_at(f->l, f->stage, 4), 1);

	/* All anew, one a less. */
	OK(ledger_plan_restart(f->l, f->stage, 0, &err));
	plan_texts(f->l, f->stage, 0, after, 3);
	OK(ledger_plan_finish(f->l, f->stage, 3, &dropped, &err));
	assert_int_equal(dropped, 2);
	assert_int_equal(occurrence_at(f->l, f->stage, 0), 0);
	verify_ok(f->l);
}

/* The plan is taken over by another handle, and back. */
static void two_planners_in_turn(void **state)
{
	static const char *const texts[] = {"a", "b", "a", "c"};
	struct fix *f = *state;
	struct ledger *other = open_again(f);
	struct error err;
	int64_t dropped;

	plan_texts(f->l, f->stage, 0, texts, 2);
	plan_texts(other, f->stage, 2, texts, 4);
	plan_texts(f->l, f->stage, 6, texts, 4);
	OK(ledger_plan_finish(other, f->stage, 10, &dropped, &err));
	assert_int_equal(occurrence_at(f->l, f->stage, 2), 1);
	assert_int_equal(occurrence_at(f->l, f->stage, 6), 3);
	assert_int_equal(occurrence_at(f->l, f->stage, 7), 2);
	assert_int_equal(occurrence_at(f->l, f->stage, 9), 1);
	ledger_close(other);
}

static void changed_versions(void **state)
{
	struct fix *f = *state;
	struct ledger_item items[3] = {
		file_item("a", 1, 1), file_item("b", 1, 1), file_item("c", 1, 1),
	};
	struct file_version gone = {0};
	struct ledger_shard got[3];
	struct ledger_attempt a;
	struct error err;
	int64_t after_row = 0;
	int64_t dropped;
	size_t bad;
	size_t n;

	OK(ledger_plan_items(f->l, f->stage, 0, items, 3, NULL, &bad, &err));
	OK(ledger_plan_finish(f->l, f->stage, 3, &dropped, &err));
	assert_int_equal(stage_of(f->l, f->stage).with_files, 3);
	claim_n(f->l, f->stage, f->worker, 3, 3, got);
	a = attempt_of(1, f->worker, CAUSE_DONE, 1);
	/* gzip a: the input is gone when it is done, and stays gone */
	OK(ledger_accept(f->l, got[0].row, &a, NULL, 0, &gone, &err));
	OK(ledger_accept(f->l, got[1].row, &a, NULL, 0, NULL, &err));
	free_n(got, 3);
	assert_int_equal(stage_of(f->l, f->stage).with_files, 3);

	OK(ledger_plan_inputs(f->l, f->stage, &after_row, 2, got, &n, &err));
	assert_int_equal(n, 2);
	assert_string_equal(got[0].item, "a");
	assert_false(got[0].version.exists);
	assert_int_equal(got[0].s.state, SHARD_PUBLISHED);
	assert_int_equal(got[1].version.size, 1);
	free_n(got, 2);
	OK(ledger_plan_inputs(f->l, f->stage, &after_row, 2, got, &n, &err));
	assert_int_equal(n, 1);
	assert_string_equal(got[0].item, "c");
	assert_int_equal(got[0].s.state, SHARD_LEASED);
	free_n(got, 1);

	items[0].version = gone;
	items[1].version.size = 2;
	items[2].version.size = 2;
	OK(ledger_plan_restart(f->l, f->stage, 0, &err));
	OK(ledger_plan_items(f->l, f->stage, 0, items, 3, NULL, &bad, &err));
	OK(ledger_plan_finish(f->l, f->stage, 3, &dropped, &err));
	assert_int_equal(state_at(f->l, f->stage, 0), SHARD_PUBLISHED);
	assert_int_equal(state_at(f->l, f->stage, 1), SHARD_READY);
	assert_int_equal(state_at(f->l, f->stage, 2), SHARD_READY);
	assert_int_equal(stage_of(f->l, f->stage).with_files, 3);
}

/* ---- names ---- */

static void names_collide(void **state)
{
	struct fix *f = *state;
	struct ledger_item items[3] = {
		item_with_final("a", "out/a"), item_with_final("b", "out/b"),
		item_with_final("c", "out/a"),
	};
	struct ledger_output out;
	struct ledger_run run2;
	struct error err;
	int64_t dropped;
	size_t bad;

	IS(ST_EXISTS, ledger_plan_items(f->l, f->stage, 0, items, 3, NULL, &bad, &err));
	assert_int_equal(bad, 2);
	assert_non_null(strstr(err.text, "items a and c"));
	assert_non_null(strstr(err.text, "out/a"));
	assert_int_equal(stage_of(f->l, f->stage).planned, 0);
	IS(ST_NOT_FOUND, ledger_output_get(f->l, "out/a", 5, &out, &err));
	OK(ledger_plan_items(f->l, f->stage, 0, items, 2, NULL, &bad, &err));
	OK(ledger_output_get(f->l, "out/a", 5, &out, &err));
	assert_true(out.planned);
	assert_false(out.published);

	run2 = run_make(f->l, "run2");
	IS(ST_EXISTS, ledger_plan_items(f->l, run2.stage, 0, &items[2], 1, NULL, &bad, &err));
	assert_non_null(strstr(err.text, "item c"));
	assert_non_null(strstr(err.text, "run r1, item a"));

	/* b leaves the list, unpublished: its name is free. */
	OK(ledger_plan_restart(f->l, f->stage, 1, &err));
	OK(ledger_plan_finish(f->l, f->stage, 1, &dropped, &err));
	assert_int_equal(dropped, 1);
	OK(ledger_plan_items(f->l, run2.stage, 0, &items[1], 1, NULL, &bad, &err));
	OK(ledger_run_remove(f->l, f->run.id, &err));
	OK(ledger_plan_items(f->l, run2.stage, 1, &items[0], 1, NULL, &bad, &err));
	ledger_run_free(&run2);
}

/* A renamed item takes over the name of the one it was. */
static void names_move_within_a_run(void **state)
{
	struct fix *f = *state;
	struct ledger_item items[2] = {
		item_with_final("a", "out"), item_with_final("b", "out"),
	};
	struct ledger_left left;
	struct ledger_shard got;
	struct ledger_output out;
	struct ledger_run run2;
	struct error err;
	int64_t dropped;
	size_t bad;
	size_t n;

	OK(ledger_plan_items(f->l, f->stage, 0, items, 1, NULL, &bad, &err));
	claim_n(f->l, f->stage, f->worker, 1, 1, &got);
	publish_file(f->l, &got, "out", 7);
	ledger_shard_free(&got);
	OK(ledger_plan_restart(f->l, f->stage, 0, &err));
	OK(ledger_plan_items(f->l, f->stage, 0, &items[1], 1, NULL, &bad, &err));
	IS(ST_EXISTS, ledger_plan_items(f->l, f->stage, 1, &items[0], 1, NULL, &bad, &err));
	OK(ledger_plan_finish(f->l, f->stage, 1, &dropped, &err));
	OK(ledger_output_get(f->l, "out", 3, &out, &err));
	assert_true(out.planned && out.published);
	assert_int_equal(out.hash[0], 7);

	/* b leaves too: the file is there, and still this run's */
	OK(ledger_outputs_left(f->l, f->run.id, NULL, 1, &left, &n, &err));
	assert_int_equal(n, 0);
	OK(ledger_plan_restart(f->l, f->stage, 0, &err));
	OK(ledger_plan_finish(f->l, f->stage, 0, &dropped, &err));
	assert_int_equal(dropped, 1);
	OK(ledger_output_get(f->l, "out", 3, &out, &err));
	assert_true(!out.planned && out.published);
	run2 = run_make(f->l, "run2");
	IS(ST_EXISTS, ledger_plan_items(f->l, run2.stage, 0, &items[0], 1, NULL, &bad, &err));
	OK(ledger_outputs_left(f->l, f->run.id, NULL, 1, &left, &n, &err));
	assert_int_equal(n, 1);
	assert_string_equal(left.final, "out");
	assert_int_equal(left.size, 42);
	OK(ledger_output_forget(f->l, f->run.id, left.final, left.final_len, &err));
	IS(ST_NOT_FOUND, ledger_output_forget(f->l, f->run.id, left.final, left.final_len, &err));
	free(left.final);
	OK(ledger_plan_items(f->l, run2.stage, 0, &items[0], 1, NULL, &bad, &err));
	/* a comes back after somebody else has taken its name */
	IS(ST_FENCED, ledger_plan_items(f->l, f->stage, 0, &items[0], 1, NULL, &bad, &err));
	OK(ledger_plan_restart(f->l, f->stage, 0, &err));
	IS(ST_EXISTS, ledger_plan_items(f->l, f->stage, 0, &items[0], 1, NULL, &bad, &err));
	ledger_run_free(&run2);
}

/* What a removed run has published stays ebb's own, for any run to replace. */
static void names_outlive_their_run(void **state)
{
	struct fix *f = *state;
	struct ledger_item items[3] = {
		item_with_final("a", "out/a"), item_with_final("b", "out/b"),
		item_with_final("c", "out/c"),
	};
	struct ledger_left left[2];
	struct ledger_shard got;
	struct ledger_output out;
	struct ledger_run run2;
	struct error err;
	size_t bad;
	size_t n;
	int i;

	OK(ledger_plan_items(f->l, f->stage, 0, items, 3, NULL, &bad, &err));
	for (i = 0; i < 2; i++) {
		claim_n(f->l, f->stage, f->worker, 1, 1, &got);
		publish_file(f->l, &got, i == 0 ? "out/a" : "out/b", i == 0 ? 1 : 2);
		ledger_shard_free(&got);
	}
	run2 = run_make(f->l, "run2");
	IS(ST_EXISTS, ledger_plan_items(f->l, run2.stage, 0, items, 1, NULL, &bad, &err));
	assert_non_null(strstr(err.text, " --forget r1"));
	OK(ledger_run_remove(f->l, f->run.id, &err));
	IS(ST_NOT_FOUND, ledger_output_get(f->l, "out/c", 5, &out, &err));
	OK(ledger_output_get(f->l, "out/a", 5, &out, &err));
	assert_true(!out.planned && out.published);
	assert_int_equal(out.hash[0], 1);

	OK(ledger_outputs_left(f->l, 0, NULL, 1, left, &n, &err));
	assert_int_equal(n, 1);
	assert_string_equal(left[0].final, "out/a");
	OK(ledger_outputs_left(f->l, 0, &left[0], 1, &left[1], &n, &err));
	assert_int_equal(n, 1);
	assert_string_equal(left[1].final, "out/b");
	free(left[0].final);
	OK(ledger_outputs_left(f->l, 0, &left[1], 1, left, &n, &err));
	assert_int_equal(n, 0);
	OK(ledger_output_forget(f->l, 0, "out/b", 5, &err));
	IS(ST_NOT_FOUND, ledger_output_forget(f->l, 0, "out/b", 5, &err));
	free(left[1].final);

	OK(ledger_plan_items(f->l, run2.stage, 0, items, 3, NULL, &bad, &err));
	OK(ledger_output_get(f->l, "out/a", 5, &out, &err));
	assert_true(out.planned && out.published); /* with what is there now */
	assert_int_equal(out.hash[0], 1);
	IS(ST_NOT_FOUND, ledger_output_forget(f->l, 0, "out/a", 5, &err));
	ledger_run_free(&run2);
}

/* Files of a folder output get their names when they are accepted. */
static void names_at_accept(void **state)
{
	struct fix *f = *state;
	static const char *const texts[] = {"a", "b"};
	char priv[] = "tmp/1";
	char final[2][16] = {"out/1", "out/\xff"};
	struct ledger_file files[2] = {
		{.private_path = priv, .final_path = final[0], .size = 1},
		{.private_path = priv, .final_path = final[1], .size = 2},
	};
	struct ledger_file *parsed;
	struct ledger_shard got[2];
	struct ledger_shard s;
	struct ledger_output out;
	struct ledger_attempt a;
	struct error err;
	size_t n;

	plan_texts(f->l, f->stage, 0, texts, 2);
	claim_n(f->l, f->stage, f->worker, 2, 2, got);
	a = attempt_of(1, f->worker, CAUSE_DONE, 1);
	OK(ledger_accept(f->l, got[0].row, &a, files, 2, NULL, &err));
	OK(ledger_accept(f->l, got[0].row, &a, files, 2, NULL, &err)); /* again */
	IS(ST_EXISTS, ledger_accept(f->l, got[1].row, &a, &files[1], 1, NULL, &err));
	assert_non_null(strstr(err.text, "out/"));
	assert_int_equal(state_at(f->l, f->stage, 1), SHARD_LEASED);
	s = shard_at(f->l, f->stage, 0);
	assert_int_equal(s.s.state, SHARD_ACCEPTED);
	assert_int_equal(s.attempts, 1);
	OK(ledger_files_parse(s.files, &parsed, &n, &err));
	assert_int_equal(n, 2);
	assert_string_equal(parsed[0].private_path, "tmp/1");
	assert_string_equal(parsed[1].final_path, "out/\xff");
	assert_int_equal(parsed[1].size, 2);
	ledger_files_free(parsed, n);
	ledger_shard_free(&s);

	OK(ledger_output_get(f->l, "out/1", 5, &out, &err));
	assert_false(out.published);
	OK(ledger_published(f->l, got[0].row, 1, &err));
	OK(ledger_published(f->l, got[0].row, 1, &err)); /* again */
	IS(ST_FENCED, ledger_published(f->l, got[1].row, 1, &err));
	OK(ledger_output_get(f->l, "out/\xff", 5, &out, &err));
	assert_true(out.published);
	assert_int_equal(out.size, 2);
	free_n(got, 2);
	IS(ST_CORRUPT, ledger_files_parse("[{}]", &parsed, &n, &err));
	IS(ST_CORRUPT, ledger_files_parse("nonsense", &parsed, &n, &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(plans_and_finds_again), CASE(planners_fence_each_other),
		CASE(items_are_kept_as_they_are), CASE(restart_with_other_lists),
		CASE(restart_in_the_middle), CASE(repeated_items), CASE(two_planners_in_turn),
		CASE(changed_versions), CASE(names_collide), CASE(names_move_within_a_run),
		CASE(names_outlive_their_run), CASE(names_at_accept),
	};

	return RUN_FOR_ALL(tests);
}
