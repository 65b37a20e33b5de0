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
	IS(ST_FENCED, ledger_plan_items(f->l, f->stage, 0, &it, 1, 0, &bad, &err));
	IS(ST_FENCED, ledger_plan_items(f->l, f->stage, 3, &it, 1, 0, &bad, &err));
	IS(ST_FENCED, ledger_plan_restart(f->l, f->stage, 3, &err));
	OK(ledger_plan_finish(f->l, f->stage, 2, &dropped, &err));
	IS(ST_FENCED, ledger_plan_items(f->l, f->stage, 2, &it, 1, 0, &bad, &err));
	OK(ledger_plan_restart(f->l, f->stage, 2, &err));
	OK(ledger_plan_items(f->l, f->stage, 2, &it, 1, 0, &bad, &err));
	IS(ST_NOT_FOUND, ledger_plan_items(f->l, 99, 0, &it, 1, 0, &bad, &err));
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
	OK(ledger_plan_items(f->l, f->stage, 0, &it, 1, 0, &bad, &err));
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
	IS(ST_CONFIG, ledger_plan_items(f->l, f->stage, 1, &it, 1, 0, &bad, &err));
	it.item_len = LEDGER_ITEM_MAX;
	OK(ledger_plan_items(f->l, f->stage, 1, &it, 1, 0, &bad, &err));
	it = item_of("");
	OK(ledger_plan_items(f->l, f->stage, 2, &it, 1, 0, &bad, &err));
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
		OK(ledger_plan_items(f->l, f->stage, i, &it, 1, 0, &bad, &err));
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

static int32_t occurrence_at(struct fix *f, int64_t ordinal)
{
	struct ledger_shard s = shard_at(f->l, f->stage, ordinal);

	ledger_shard_free(&s);
	return s.occurrence;
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
	assert_int_equal(occurrence_at(f, 0), 0);
	assert_int_equal(occurrence_at(f, 2), 1);
	assert_int_equal(occurrence_at(f, 3), 2);
	assert_int_equal(occurrence_at(f, 4), 1);
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
	assert_int_equal(occurrence_at(f, 2), 1);
	assert_int_equal(state_at(f->l, f->stage, 2), SHARD_PUBLISHED);
	assert_int_equal(occurrence_at(f, 3), 0);
	assert_int_equal(occurrence_at(f, 4), 1);

	/* All anew, one a less. */
	OK(ledger_plan_restart(f->l, f->stage, 0, &err));
	plan_texts(f->l, f->stage, 0, after, 3);
	OK(ledger_plan_finish(f->l, f->stage, 3, &dropped, &err));
	assert_int_equal(dropped, 2);
	assert_int_equal(occurrence_at(f, 0), 0);
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
	assert_int_equal(occurrence_at(f, 2), 1);
	assert_int_equal(occurrence_at(f, 6), 3);
	assert_int_equal(occurrence_at(f, 7), 2);
	assert_int_equal(occurrence_at(f, 9), 1);
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

	OK(ledger_plan_items(f->l, f->stage, 0, items, 3, 0, &bad, &err));
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
	OK(ledger_plan_items(f->l, f->stage, 0, items, 3, 0, &bad, &err));
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

	IS(ST_EXISTS, ledger_plan_items(f->l, f->stage, 0, items, 3, 0, &bad, &err));
	assert_int_equal(bad, 2);
	assert_non_null(strstr(err.text, "items a and c"));
	assert_non_null(strstr(err.text, "out/a"));
	assert_int_equal(stage_of(f->l, f->stage).planned, 0);
	IS(ST_NOT_FOUND, ledger_output_get(f->l, "out/a", 5, &out, &err));
	OK(ledger_plan_items(f->l, f->stage, 0, items, 2, 0, &bad, &err));
	OK(ledger_output_get(f->l, "out/a", 5, &out, &err));
	assert_true(out.planned);
	assert_false(out.published);

	run2 = run_make(f->l, "run2");
	IS(ST_EXISTS, ledger_plan_items(f->l, run2.stage, 0, &items[2], 1, 0, &bad, &err));
	assert_non_null(strstr(err.text, "item c"));
	assert_non_null(strstr(err.text, "run r1, item a"));

	/* b leaves the list, unpublished: its name is free. */
	OK(ledger_plan_restart(f->l, f->stage, 1, &err));
	OK(ledger_plan_finish(f->l, f->stage, 1, &dropped, &err));
	assert_int_equal(dropped, 1);
	OK(ledger_plan_items(f->l, run2.stage, 0, &items[1], 1, 0, &bad, &err));
	OK(ledger_run_remove(f->l, f->run.id, &err));
	OK(ledger_plan_items(f->l, run2.stage, 1, &items[0], 1, 0, &bad, &err));
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

	OK(ledger_plan_items(f->l, f->stage, 0, items, 1, 0, &bad, &err));
	claim_n(f->l, f->stage, f->worker, 1, 1, &got);
	publish_file(f->l, &got, "out", 7);
	ledger_shard_free(&got);
	OK(ledger_plan_restart(f->l, f->stage, 0, &err));
	OK(ledger_plan_items(f->l, f->stage, 0, &items[1], 1, 0, &bad, &err));
	IS(ST_EXISTS, ledger_plan_items(f->l, f->stage, 1, &items[0], 1, 0, &bad, &err));
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
	IS(ST_EXISTS, ledger_plan_items(f->l, run2.stage, 0, &items[0], 1, 0, &bad, &err));
	OK(ledger_outputs_left(f->l, f->run.id, NULL, 1, &left, &n, &err));
	assert_int_equal(n, 1);
	assert_string_equal(left.final, "out");
	assert_int_equal(left.size, 42);
	OK(ledger_output_forget(f->l, f->run.id, left.final, left.final_len, &err));
	IS(ST_NOT_FOUND, ledger_output_forget(f->l, f->run.id, left.final, left.final_len, &err));
	free(left.final);
	OK(ledger_plan_items(f->l, run2.stage, 0, &items[0], 1, 0, &bad, &err));
	/* a comes back after somebody else has taken its name */
	IS(ST_FENCED, ledger_plan_items(f->l, f->stage, 0, &items[0], 1, 0, &bad, &err));
	OK(ledger_plan_restart(f->l, f->stage, 0, &err));
	IS(ST_EXISTS, ledger_plan_items(f->l, f->stage, 0, &items[0], 1, 0, &bad, &err));
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

	OK(ledger_plan_items(f->l, f->stage, 0, items, 3, 0, &bad, &err));
	for (i = 0; i < 2; i++) {
		claim_n(f->l, f->stage, f->worker, 1, 1, &got);
		publish_file(f->l, &got, i == 0 ? "out/a" : "out/b", i == 0 ? 1 : 2);
		ledger_shard_free(&got);
	}
	run2 = run_make(f->l, "run2");
	IS(ST_EXISTS, ledger_plan_items(f->l, run2.stage, 0, items, 1, 0, &bad, &err));
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

	OK(ledger_plan_items(f->l, run2.stage, 0, items, 3, 0, &bad, &err));
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

	OK(ledger_plan_items(f->l, f->stage, 0, items, 2, 0, &bad, &err));
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
	OK(ledger_plan_items(f->l, f->stage, 4, &it, 1, 0, &bad, &err));
	IS(ST_EXISTS, ledger_plan_items(f->l, f->stage, 5, &clash, 1, 0, &bad, &err));
	assert_int_equal(stage_of(f->l, f->stage).planned, 5);
	it = item_of("w");
	OK(ledger_plan_items(f->l, f->stage, 5, &it, 1, 0, &bad, &err));
	OK(ledger_commit(f->l, &err));
	assert_int_equal(stage_of(other, f->stage).planned, 6);
	verify_ok(other);

	/* planned, undone, planned again */
	OK(ledger_begin(f->l, &err));
	it = item_of("v");
	OK(ledger_plan_items(f->l, f->stage, 6, &it, 1, 0, &bad, &err));
	ledger_rollback(f->l);
	OK(ledger_plan_items(f->l, f->stage, 6, &it, 1, 0, &bad, &err));
	assert_int_equal(occurrence_at(f, 6), 0);
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
	OK(ledger_plan_items(f->l, f->stage, 0, items, 4, 0, &bad, &err));
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
	IS(ST_FENCED, ledger_plan_items(f->l, old_stage, 4, items, 1, 0, &bad, &err));
	free_n(got, 4);
	OK(ledger_output_get(f->l, "fa", 2, &out, &err));
	assert_true(!out.planned && out.published);

	/* a is carried over, b has another version, c was not done, d is gone */
	items[1].version.size = 2;
	IS(ST_CONFIG, ledger_plan_items(f->l, f->stage, 0, items, 3, f->stage, &bad, &err));
	OK(ledger_plan_items(f->l, f->stage, 0, items, 3, old_stage, &bad, &err));
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
	OK(ledger_plan_items(f->l, f->stage, 3, &items[2], 1, old_stage, &bad, &err));
	assert_int_equal(occurrence_at(f, 3), 1);
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

	OK(ledger_worker_end(f->l, f->worker, CAUSE_LOST, &policy, only_first_row, &got[0].row,
	    &lost, &err));
	assert_int_equal(lost, 1);
	OK(ledger_worker_end(f->l, f->worker, CAUSE_LOST, &policy, NULL, NULL, &lost, &err));
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
	OK(ledger_worker_end(f->l, second, CAUSE_INTERRUPTED, &policy, NULL, NULL, &lost, &err));
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
		switch (ledger_plan_items(l, p->f->stage, at, &it, 1, 0, &bad, &err)) {
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
		OK(ledger_worker_end(l, p->worker[who], CAUSE_LOST, &policy, NULL, NULL, &lost,
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
		OK(ledger_plan_items(f->l, f->stage, (int64_t)i - 1, &it, 1, 0, &bad, &err));
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
		OK(ledger_plan_items(f->l, f->stage, at, items, LEDGER_CHUNK, 0, &bad, &err));
	OK(ledger_commit(f->l, &err));
	assert_int_equal(occurrence_at(f, N - 1), N - 1);
	OK(ledger_plan_restart(f->l, f->stage, 1024, &err));
	OK(ledger_plan_items(f->l, f->stage, 1024, items, 10, 0, &bad, &err));
	assert_int_equal(occurrence_at(f, 1024), 1024);
	OK(ledger_plan_finish(f->l, f->stage, 1034, &dropped, &err));
	assert_int_equal(dropped, N - 1034);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(opens), CASE(runs), CASE(plans_and_finds_again),
		CASE(planners_fence_each_other), CASE(items_are_kept_as_they_are),
		CASE(restart_with_other_lists), CASE(restart_in_the_middle), CASE(repeated_items),
		CASE(two_planners_in_turn), CASE(changed_versions), CASE(names_collide),
		CASE(names_move_within_a_run),
		CASE(names_outlive_their_run), CASE(names_at_accept), CASE(claims_in_order),
		CASE(delays_and_budgets), CASE(runs_alone), CASE(outputs_gone_and_inputs_changed),
		CASE(groups), CASE(generations), CASE(workers), CASE(leases), CASE(listings),
		CASE(events), CASE(random_sequences), CASE(many_shards), CASE(one_item_many_times),
	};

	return RUN_FOR_ALL(tests);
}
