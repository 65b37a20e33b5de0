/* Several workers in a run: the suite that every ledger back end passes. */
#include "contract/ledger_fix.h"

static struct ledger_worker worker_of(struct ledger *l, int64_t id)
{
	struct ledger_worker w;
	struct error err;

	OK(ledger_worker_get(l, id, &w, &err));
	return w;
}

static int64_t in_pool(struct fix *f, const char *name, const char *pool, int64_t run)
{
	struct ledger_worker w = {.run = run, .pid = 100, .slots = 3};
	struct error err;

	(void)snprintf(w.name, sizeof(w.name), "%s", name);
	(void)snprintf(w.pool, sizeof(w.pool), "%s", pool);
	(void)snprintf(w.lifecycle, sizeof(w.lifecycle), "spot");
	OK(ledger_worker_add(f->l, &w, &err));
	return w.id;
}

static int64_t drain(struct fix *f, int64_t run, const char *who, int64_t deadline,
    const char *reason)
{
	const struct ledger_drain d = {who, deadline, reason};
	struct error err;
	int64_t n;

	OK(ledger_worker_drain(f->l, run, &d, &n, &err));
	return n;
}

static bool asked(struct fix *f, int64_t id)
{
	return worker_of(f->l, id).drain_boot_ms > 0;
}

static void leaves(struct fix *f, int64_t id)
{
	const struct retry_policy policy = retry_policy_default();
	struct error err;
	int64_t lost;

	OK(worker_end(f->l, id, CAUSE_INTERRUPTED, &policy, NULL, NULL, &lost, &err));
}

static void what_is_known(void **state)
{
	struct fix *f = *state;
	int64_t id = in_pool(f, "deadbeef01", "cheap", f->run.id);
	struct ledger_worker w = worker_of(f->l, id);
	struct ledger_worker list[3];
	struct error err;
	size_t n;

	assert_string_equal(w.name, "deadbeef01");
	assert_string_equal(w.pool, "cheap");
	assert_string_equal(w.lifecycle, "spot");
	assert_int_equal(w.slots, 3);
	assert_true(w.joined_wall_ms > 0);
	assert_true(w.left_wall_ms == 0 && !w.gone && w.drain_boot_ms == 0);
	assert_string_equal(worker_of(f->l, f->worker).pool, "local");
	OK(ledger_workers(f->l, f->run.id, list, 3, &n, &err));
	assert_int_equal(n, 2);
	assert_memory_equal(&list[1], &w, sizeof(w));
	leaves(f, id);
	w = worker_of(f->l, id);
	assert_true(w.gone && w.left_wall_ms >= w.joined_wall_ms);
	IS(ST_NOT_FOUND, ledger_worker_get(f->l, id + 1, &w, &err));
}

/* From 1 in each run, and never given twice. */
static void numbers(void **state)
{
	struct fix *f = *state;
	struct ledger_run other = run_make(f->l, "other");
	int64_t second = worker_make(f->l, "b", f->run.id);

	assert_int_equal(worker_of(f->l, f->worker).number, 1);
	assert_int_equal(worker_of(f->l, second).number, 2);
	leaves(f, second);
	assert_int_equal(worker_of(f->l, worker_make(f->l, "c", f->run.id)).number, 3);
	assert_int_equal(worker_of(f->l, worker_make(f->l, "d", other.id)).number, 1);
	ledger_run_free(&other);
}

static void drain_by_name(void **state)
{
	struct fix *f = *state;
	struct ledger_run other = run_make(f->l, "other");
	int64_t a = in_pool(f, "deadbeef01", "cheap", f->run.id);
	int64_t b = in_pool(f, "deadbeef02", "w3", f->run.id);
	int64_t c = in_pool(f, "cafecafe03", "cheap", other.id);

	assert_int_equal(drain(f, f->run.id, "nobody", 0, NULL), 0);
	assert_int_equal(drain(f, f->run.id, "deadb", 0, NULL), 0);
	assert_int_equal(drain(f, f->run.id, "W3", 0, NULL), 0);
	/* A worker, and not the pool of that name. */
	assert_int_equal(drain(f, f->run.id, "w2", 0, "why"), 1);
	assert_true(asked(f, a) && !asked(f, b) && !asked(f, c) && !asked(f, f->worker));
	assert_string_equal(worker_of(f->l, a).drain_reason, "why");
	assert_int_equal(drain(f, 0, "cafecafe0", 0, NULL), 1);
	assert_true(asked(f, c));
	assert_int_equal(drain(f, f->run.id, "100", 0, NULL), 2);
	assert_true(asked(f, b) && !asked(f, f->worker));
	ledger_run_free(&other);
}

static void drain_a_pool(void **state)
{
	struct fix *f = *state;
	struct ledger_run other = run_make(f->l, "other");
	int64_t a = in_pool(f, "deadbeef01", "cheap", f->run.id);
	int64_t b = in_pool(f, "deadbeef02", "dear", f->run.id);
	int64_t c = in_pool(f, "cafecafe03", "cheap", other.id);

	assert_int_equal(drain(f, f->run.id, "cheap", 0, NULL), 1);
	assert_true(asked(f, a) && !asked(f, b) && !asked(f, c));
	assert_int_equal(drain(f, 0, "cheap", 0, NULL), 2);
	assert_true(asked(f, c));
	leaves(f, a);
	assert_int_equal(drain(f, f->run.id, NULL, 0, NULL), 2);
	assert_true(asked(f, b) && asked(f, f->worker));
	ledger_run_free(&other);
}

/* The earlier deadline counts; when and why stay. */
static void asked_again(void **state)
{
	struct fix *f = *state;
	char longer[200];
	struct ledger_worker w;
	int64_t at;

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(drain(f, 0, NULL, 0, "first"), 1);
	at = worker_of(f->l, f->worker).drain_boot_ms;
	assert_true(at > 0 && worker_of(f->l, f->worker).drain_deadline_boot_ms == 0);
	assert_int_equal(drain(f, 0, NULL, at + 9000, longer), 1);
	assert_int_equal(drain(f, 0, NULL, at + 99000, NULL), 1);
	assert_int_equal(drain(f, 0, NULL, 0, NULL), 1);
	w = worker_of(f->l, f->worker);
	assert_int_equal(w.drain_boot_ms, at);
	assert_int_equal(w.drain_deadline_boot_ms, at + 9000);
	assert_string_equal(w.drain_reason, "first");
	assert_int_equal(drain(f, 0, NULL, at + 5000, NULL), 1);
	assert_int_equal(worker_of(f->l, f->worker).drain_deadline_boot_ms, at + 5000);
	leaves(f, f->worker);
	assert_int_equal(drain(f, 0, NULL, 0, NULL), 0);
	f->worker = worker_make(f->l, "other", f->run.id);
	assert_int_equal(drain(f, 0, NULL, 0, longer), 1);
	assert_int_equal(strlen(worker_of(f->l, f->worker).drain_reason), 63);
}

static void changes(void **state)
{
	struct fix *f = *state;
	struct ledger *other = open_again(f);
	struct error err;
	uint64_t first;
	uint64_t now;

	OK(ledger_changes(f->l, &first, &err));
	assert_int_equal(drain(f, 0, NULL, 0, NULL), 1);
	OK(ledger_changes(f->l, &now, &err));
	assert_true(now == first);
	OK(ledger_begin(other, &err));
	OK(note_event(other, f->run.id, "x", "", &err));
	OK(ledger_changes(f->l, &now, &err));
	assert_true(now == first);
	OK(ledger_commit(other, &err));
	OK(ledger_changes(f->l, &now, &err));
	assert_true(now != first);
	first = now;
	OK(ledger_changes(f->l, &now, &err));
	assert_true(now == first);
	ledger_close(other);
}

/* ---- shards that fail on one worker and are done on another ---- */

static void comes_to(struct fix *f, int64_t worker, enum cause cause)
{
	const struct retry_policy policy = {.limit = {0}};
	struct ledger_attempt a;
	struct ledger_shard s;
	struct shard now;
	struct error err;

	claim_n(f->l, f->stage, worker, 1, 1, &s);
	a = attempt_of(s.s.epoch, worker, cause, 10);
	if (cause == CAUSE_DONE)
		OK(ledger_accept(f->l, s.row, &a, NULL, 0, NULL, &err));
	else
		OK(ledger_end(f->l, s.row, &a, &policy, false, 0, &now, &err));
	ledger_shard_free(&s);
}

static enum ledger_elsewhere elsewhere(struct fix *f, int64_t worker, int64_t ordinal)
{
	struct ledger_shard s = shard_at(f->l, f->stage, ordinal);
	enum ledger_elsewhere got;
	struct error err;

	OK(ledger_elsewhere(f->l, worker, &s.row, 1, &got, &err));
	ledger_shard_free(&s);
	return got;
}

static void done_elsewhere(void **state)
{
	struct fix *f = *state;
	int64_t bad = f->worker;
	int64_t good = worker_make(f->l, "good", f->run.id);
	int64_t other = worker_make(f->l, "other", f->run.id);

	plan_many(f->l, f->stage, "i", 6);
	comes_to(f, bad, CAUSE_FAILED);
	assert_int_equal(elsewhere(f, bad, 0), ELSEWHERE_NOTHING);
	comes_to(f, good, CAUSE_DONE);
	assert_int_equal(elsewhere(f, bad, 0), ELSEWHERE_DONE);
	assert_int_equal(elsewhere(f, good, 0), ELSEWHERE_NOTHING);
	assert_int_equal(elsewhere(f, other, 0), ELSEWHERE_NOTHING);
	/* Failed on others too, and then done. */
	comes_to(f, bad, CAUSE_INFRASTRUCTURE);
	comes_to(f, other, CAUSE_FAILED);
	assert_int_equal(elsewhere(f, bad, 1), ELSEWHERE_FAILED);
	assert_int_equal(elsewhere(f, other, 1), ELSEWHERE_NOTHING);
	comes_to(f, good, CAUSE_DONE);
	assert_int_equal(elsewhere(f, bad, 1), ELSEWHERE_DONE);
	assert_int_equal(elsewhere(f, other, 1), ELSEWHERE_DONE);
	assert_int_equal(elsewhere(f, good, 1), ELSEWHERE_NOTHING);
	/* Done where it had failed. */
	comes_to(f, bad, CAUSE_FAILED);
	comes_to(f, bad, CAUSE_DONE);
	assert_int_equal(elsewhere(f, bad, 2), ELSEWHERE_NOTHING);
	/* Stopped or lost is not failed, here or there. */
	comes_to(f, bad, CAUSE_INTERRUPTED);
	comes_to(f, bad, CAUSE_LOST);
	comes_to(f, good, CAUSE_DONE);
	assert_int_equal(elsewhere(f, bad, 3), ELSEWHERE_NOTHING);
	comes_to(f, bad, CAUSE_FAILED);
	comes_to(f, good, CAUSE_INTERRUPTED);
	assert_int_equal(elsewhere(f, bad, 4), ELSEWHERE_NOTHING);
}

static void several_elsewhere(void **state)
{
	struct fix *f = *state;
	int64_t good = worker_make(f->l, "good", f->run.id);
	int64_t rows[3] = {INT64_C(1) << 40};
	enum ledger_elsewhere got[3] = {ELSEWHERE_DONE, ELSEWHERE_DONE, ELSEWHERE_DONE};
	struct ledger_shard s;
	struct error err;
	int i;

	plan_many(f->l, f->stage, "i", 2);
	for (i = 0; i < 2; i++) {
		comes_to(f, f->worker, CAUSE_FAILED);
		comes_to(f, good, i == 0 ? CAUSE_DONE : CAUSE_FAILED);
		s = shard_at(f->l, f->stage, i);
		rows[i + 1] = s.row;
		ledger_shard_free(&s);
	}
	OK(ledger_elsewhere(f->l, f->worker, rows, 3, got, &err));
	assert_true(got[0] == ELSEWHERE_NOTHING && got[1] == ELSEWHERE_DONE &&
	    got[2] == ELSEWHERE_FAILED);
	OK(ledger_elsewhere(f->l, f->worker, rows, 0, got, &err));
}

/* What was done before it failed here was of another input. */
static void done_elsewhere_before(void **state)
{
	const struct file_version changed = {.exists = true, .size = 9, .mtime_ns = 9};
	struct fix *f = *state;
	int64_t good = worker_make(f->l, "good", f->run.id);
	struct ledger_shard s;
	struct error err;

	plan_many(f->l, f->stage, "i", 1);
	comes_to(f, good, CAUSE_DONE);
	s = shard_at(f->l, f->stage, 0);
	OK(ledger_input_changed(f->l, s.row, &changed, &err));
	ledger_shard_free(&s);
	comes_to(f, f->worker, CAUSE_FAILED);
	assert_int_equal(elsewhere(f, f->worker, 0), ELSEWHERE_NOTHING);
	comes_to(f, good, CAUSE_DONE);
	assert_int_equal(elsewhere(f, f->worker, 0), ELSEWHERE_DONE);
}

static void history(void **state)
{
	struct fix *f = *state;
	const struct ledger_event mine = {.worker = f->worker, .boot_ms = 77, .kind = "drain",
	    .text = "TERM"};
	struct ledger_event out[2];
	struct error err;
	size_t n;

	OK(ledger_begin(f->l, &err));
	assert_true(ledger_in_group(f->l));
	OK(ledger_event_add(f->l, f->run.id, &mine, &err));
	OK(ledger_commit(f->l, &err));
	assert_false(ledger_in_group(f->l));
	OK(note_event(f->l, f->run.id, "cancel", "", &err));
	OK(ledger_events(f->l, f->run.id, 2, out, &n, &err));
	assert_int_equal(n, 2);
	assert_int_equal(out[0].worker, f->worker);
	assert_int_equal(out[0].boot_ms, 77);
	assert_string_equal(out[0].text, "TERM");
	assert_true(out[1].worker == 0 && out[1].boot_ms > 77 && out[1].wall_ms > 0);
}

static int64_t titled(struct fix *f, const char *title, const char *place)
{
	const struct ledger_run_def def = {.title = title, .spec = "{}", .place = place,
	    .stages = stage_names, .n_stages = 1};
	uint8_t key[LEDGER_ID_SIZE];
	struct ledger_run run;
	struct error err;

	id_of(title, key);
	OK(ledger_run_create(f->l, key, &def, &run, &err));
	assert_string_equal(run.place, place == NULL ? "." : place);
	ledger_run_free(&run);
	return run.id;
}

static int64_t named(struct fix *f, const char *name)
{
	struct ledger_run run;
	struct error err;

	OK(ledger_run_by_name(f->l, name, &run, &err));
	ledger_run_free(&run);
	return run.id;
}

static void runs_by_pipeline(void **state)
{
	struct fix *f = *state;
	int64_t old = titled(f, "sizes date=1", "../there");
	int64_t newer = titled(f, "sizes date=2", NULL);
	int64_t plain = titled(f, "plain", NULL);
	struct ledger_run run;
	struct error err;

	assert_int_equal(named(f, "sizes"), newer);
	assert_int_equal(named(f, "sizes date=1"), old);
	assert_int_equal(named(f, "plain"), plain);
	IS(ST_NOT_FOUND, ledger_run_by_name(f->l, "size", &run, &err));
	IS(ST_NOT_FOUND, ledger_run_by_name(f->l, "sizes date", &run, &err));
	/* Its own name comes first. */
	(void)titled(f, "r2 x", NULL);
	assert_int_equal(named(f, "r2"), old);
	assert_int_equal(named(f, "r1"), f->run.id);
}

/* Whether a new generation takes over what was done is known to all. */
static void carrying(void **state)
{
	struct fix *f = *state;
	struct ledger_run_def def = one_stage;
	struct ledger_run run;
	struct error err;

	assert_false(f->run.carries);
	def.carries = true;
	def.place = "elsewhere";
	OK(ledger_run_renew(f->l, &f->run, &def, &err));
	assert_true(f->run.carries);
	OK(ledger_run_by_name(f->l, f->run.name, &run, &err));
	assert_true(run.carries);
	assert_string_equal(run.place, ".");
	ledger_run_free(&run);
	OK(ledger_run_renew(f->l, &f->run, &one_stage, &err));
	assert_false(f->run.carries);
	f->stage = f->run.stage;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(what_is_known), CASE(numbers), CASE(drain_by_name), CASE(drain_a_pool),
		CASE(asked_again), CASE(changes), CASE(history), CASE(runs_by_pipeline),
		CASE(carrying), CASE(done_elsewhere), CASE(several_elsewhere),
		CASE(done_elsewhere_before),
	};

	return RUN_FOR_ALL(tests);
}
