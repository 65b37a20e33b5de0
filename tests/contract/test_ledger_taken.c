/* Machines that are taken away, shards that then ask for On-Demand, and pools in a
 * storm: the suite that every ledger back end passes. */
#include "contract/ledger_fix.h"

enum { WAIT_MS = 600000 };

static int64_t here_ms(void)
{
	return sys_boot_ns() / 1000000;
}

static const struct retry_policy patient = {
	.limit = {0}, .on_demand_after = 2, .on_demand_wait_ms = WAIT_MS, .alone_after = 1000,
};

/* A worker of this boot whose lease holds. */
static int64_t joins(struct fix *f, const char *name, const char *pool, const char *lifecycle)
{
	struct ledger_worker w = {.run = f->run.id, .pid = 100, .slots = 3,
	    .generation = f->run.generation, .lease_until_boot_ms = here_ms() + 30000};
	struct error err;

	(void)snprintf(w.name, sizeof(w.name), "%s", name);
	(void)snprintf(w.pool, sizeof(w.pool), "%s", pool);
	(void)snprintf(w.lifecycle, sizeof(w.lifecycle), "%s", lifecycle);
	OK(sys_boot_id(w.boot_id, &err));
	OK(ledger_worker_add(f->l, &w, &err));
	return w.id;
}

static struct ledger_worker row_of(struct fix *f, int64_t id)
{
	struct ledger_worker w;
	struct error err;

	OK(ledger_worker_get(f->l, id, &w, &err));
	return w;
}

static void buried(struct fix *f, int64_t worker, const struct retry_policy *policy)
{
	struct error err;
	int64_t lost;

	OK(worker_end(f->l, worker, CAUSE_LOST, policy, NULL, NULL, &lost, &err));
}

/* The worker claims one shard, of that ordinal, and is lost with it. */
static void lost_with(struct fix *f, int64_t worker, int64_t ordinal)
{
	struct ledger_shard s;

	claim_n(f->l, f->stage, worker, 1, 1, &s);
	assert_int_equal(s.ordinal, ordinal);
	ledger_shard_free(&s);
	buried(f, worker, &patient);
}

/* So many times, each on a worker of a pool of its own. */
static void lost_times(struct fix *f, int n)
{
	char name[32];

	while (n-- > 0) {
		static int number;

		(void)snprintf(name, sizeof(name), "lost%d", number++);
		lost_with(f, joins(f, name, name, "spot"), 0);
	}
}

static struct ledger_asking asking(struct fix *f)
{
	struct ledger_asking a;
	struct error err;

	OK(ledger_asking(f->l, f->run.id, &a, &err));
	return a;
}

/* ---- what is known of machines ---- */

static void described(void **state)
{
	struct fix *f = *state;
	int64_t id = joins(f, "deadbeef", "cheap", "");
	struct ledger_node n = {.node = "i-0ab", .zone = "us-east-1a", .instance_type = "m5.large",
	    .lifecycle = "spot", .life_until_boot_ms = 4711};
	struct ledger_worker w;
	char longer[300];
	struct error err;

	OK(ledger_worker_describe(f->l, id, &n, &err));
	w = row_of(f, id);
	assert_string_equal(w.node, "i-0ab");
	assert_string_equal(w.zone, "us-east-1a");
	assert_string_equal(w.instance_type, "m5.large");
	assert_string_equal(w.lifecycle, "spot");
	assert_int_equal(w.life_until_boot_ms, 4711);
	assert_true(w.warned_boot_ms == 0 && w.taken_boot_ms == 0 && !w.drain_notice);
	/* What is not said stays; a later word replaces an earlier one. */
	memset(longer, 'n', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	n = (struct ledger_node){.zone = "", .node = longer, .lifecycle = "on-demand"};
	OK(ledger_worker_describe(f->l, id, &n, &err));
	w = row_of(f, id);
	assert_int_equal(strlen(w.node), sizeof(w.node) - 1);
	assert_string_equal(w.zone, "us-east-1a");
	assert_string_equal(w.lifecycle, "on-demand");
	assert_int_equal(w.life_until_boot_ms, 4711);
	IS(ST_NOT_FOUND, ledger_worker_describe(f->l, id + 1, &n, &err));
}

static void by_node(void **state)
{
	struct fix *f = *state;
	const struct ledger_node node = {.node = "i-0ab"};
	int64_t a = joins(f, "aaaaaaaa", "cheap", "spot");
	int64_t b = joins(f, "bbbbbbbb", "i-0ab", "spot");
	int64_t c = joins(f, "cccccccc", "cheap", "spot");
	struct ledger_drain d = {.who = "i-0ab", .reason = "notice", .notice = true};
	struct error err;
	int64_t n;

	/* A pool of that name, while no worker is on such a node. */
	OK(ledger_worker_warn(f->l, f->run.id, "i-0ab", true, &n, &err));
	assert_int_equal(n, 1);
	assert_true(row_of(f, b).warned_boot_ms > 0);
	OK(ledger_worker_describe(f->l, a, &node, &err));
	OK(ledger_worker_describe(f->l, c, &node, &err));
	OK(ledger_worker_drain(f->l, 0, &d, &n, &err));
	assert_int_equal(n, 2);
	assert_true(row_of(f, a).drain_notice && row_of(f, c).drain_notice);
	assert_true(row_of(f, a).taken_boot_ms > 0 && row_of(f, c).taken_boot_ms > 0);
	assert_true(row_of(f, b).taken_boot_ms == 0 && row_of(f, b).drain_boot_ms == 0);
	d.who = "i-0a";
	OK(ledger_worker_drain(f->l, 0, &d, &n, &err));
	assert_int_equal(n, 0);
}

static void warned(void **state)
{
	struct fix *f = *state;
	int64_t id = joins(f, "deadbeef", "cheap", "spot");
	struct error err;
	int64_t since;
	int64_t n;

	OK(ledger_worker_warn(f->l, f->run.id, "deadbeef", true, &n, &err));
	since = row_of(f, id).warned_boot_ms;
	assert_true(n == 1 && since > 0 && row_of(f, f->worker).warned_boot_ms == 0);
	while (here_ms() == since)
		;
	OK(ledger_worker_warn(f->l, f->run.id, NULL, true, &n, &err));
	assert_int_equal(n, 2);
	assert_int_equal(row_of(f, id).warned_boot_ms, since);
	OK(ledger_worker_warn(f->l, f->run.id, "cheap", false, &n, &err));
	assert_true(n == 1 && row_of(f, id).warned_boot_ms == 0);
	assert_true(row_of(f, f->worker).warned_boot_ms > 0);
	OK(ledger_worker_warn(f->l, f->run.id, "nobody", true, &n, &err));
	assert_int_equal(n, 0);
}

/* A request of an operator becomes a notice; a notice stays one. */
static void notices(void **state)
{
	struct fix *f = *state;
	int64_t id = joins(f, "deadbeef", "cheap", "spot");
	struct ledger_drain d = {.who = "deadbeef", .reason = "so I wish"};
	struct error err;
	int64_t n;

	OK(ledger_worker_drain(f->l, 0, &d, &n, &err));
	assert_true(!row_of(f, id).drain_notice && row_of(f, id).taken_boot_ms == 0);
	d.notice = true;
	OK(ledger_worker_drain(f->l, 0, &d, &n, &err));
	assert_true(row_of(f, id).drain_notice && row_of(f, id).taken_boot_ms > 0);
	assert_string_equal(row_of(f, id).drain_reason, "so I wish");
	d.notice = false;
	OK(ledger_worker_drain(f->l, 0, &d, &n, &err));
	assert_true(row_of(f, id).drain_notice);
}

static void taken_once(void **state)
{
	struct fix *f = *state;
	int64_t id = joins(f, "deadbeef", "cheap", "spot");
	struct error err;
	int64_t lost;

	OK(ledger_worker_taken(f->l, id, 4711, &err));
	OK(ledger_worker_taken(f->l, id, 4712, &err));
	assert_int_equal(row_of(f, id).taken_boot_ms, 4711);
	buried(f, id, &patient);
	assert_int_equal(row_of(f, id).taken_boot_ms, 4711);
	IS(ST_NOT_FOUND, ledger_worker_taken(f->l, id + 1, 1, &err));
	/* Who leaves was not taken; who is lost was, on whatever machine. */
	id = joins(f, "leaves", "cheap", "spot");
	OK(worker_end(f->l, id, CAUSE_INTERRUPTED, &patient, NULL, NULL, &lost, &err));
	assert_int_equal(row_of(f, id).taken_boot_ms, 0);
	buried(f, id, &patient);
	assert_int_equal(row_of(f, id).taken_boot_ms, 0);
	id = joins(f, "dear", "dear", "on-demand");
	buried(f, id, &patient);
	assert_true(row_of(f, id).taken_boot_ms > 0);
	OK(ledger_worker_taken(f->l, f->worker, 0, &err));
	assert_true(row_of(f, f->worker).taken_boot_ms > 4711);
}

static void another_boot(void **state)
{
	struct fix *f = *state;
	struct ledger_worker w = {.run = f->run.id, .name = "old", .boot_id = "another",
	    .pool = "cheap", .life_until_boot_ms = 99};
	struct ledger_worker got;
	struct error err;
	int64_t hits[4];
	int64_t n;
	size_t n_hits;

	OK(ledger_worker_add(f->l, &w, &err));
	OK(ledger_worker_taken(f->l, w.id, 4711, &err));
	OK(ledger_worker_warn(f->l, 0, "old", true, &n, &err));
	got = row_of(f, w.id);
	assert_true(got.life_until_boot_ms == 0 && got.warned_boot_ms == 0 &&
	    got.taken_boot_ms == 0);
	OK(ledger_pool_hits(f->l, f->run.id, "cheap", 0, hits, 4, &n_hits, &err));
	assert_int_equal(n_hits, 0);
}

static void hits_of_a_pool(void **state)
{
	static const int64_t at[] = {3000, 1000, 2000, 5000};
	struct fix *f = *state;
	const struct ledger_node node = {.node = "i-0ab"};
	struct ledger_run other = run_make(f->l, "other");
	int64_t hits[4];
	struct error err;
	size_t n;
	size_t i;

	for (i = 0; i < 4; i++) {
		char name[32];
		int64_t id;

		(void)snprintf(name, sizeof(name), "worker%zu", i);
		id = joins(f, name, i == 3 ? "dear" : "cheap", i == 1 ? "" : "spot");
		OK(ledger_worker_taken(f->l, id, at[i], &err));
	}
	OK(ledger_worker_taken(f->l, joins(f, "od", "cheap", "on-demand"), 6000, &err));
	OK(ledger_pool_hits(f->l, f->run.id, "cheap", 0, hits, 4, &n, &err));
	assert_int_equal(n, 3);
	assert_true(hits[0] == 3000 && hits[1] == 2000 && hits[2] == 1000);
	OK(ledger_pool_hits(f->l, f->run.id, "cheap", 0, hits, 2, &n, &err));
	assert_true(n == 2 && hits[0] == 3000 && hits[1] == 2000);
	OK(ledger_pool_hits(f->l, f->run.id, "cheap", 1000, hits, 4, &n, &err));
	assert_int_equal(n, 2);
	OK(ledger_pool_hits(f->l, other.id, "cheap", 0, hits, 4, &n, &err));
	assert_int_equal(n, 0);
	/* Several workers on one machine are one machine. */
	for (i = 0; i < 3; i++) {
		char name[32];
		int64_t id;

		(void)snprintf(name, sizeof(name), "same%zu", i);
		id = joins(f, name, "big", "spot");
		OK(ledger_worker_describe(f->l, id, &node, &err));
		OK(ledger_worker_taken(f->l, id, 7000 + (int64_t)i, &err));
	}
	OK(ledger_pool_hits(f->l, f->run.id, "big", 0, hits, 4, &n, &err));
	assert_true(n == 1 && hits[0] == 7002);
	ledger_run_free(&other);
}

/* ---- what counts ---- */

static struct shard ends(struct fix *f, int64_t worker, enum cause cause, bool by_notice)
{
	struct ledger_attempt a;
	struct ledger_shard s;
	struct shard now;
	struct error err;

	claim_n(f->l, f->stage, worker, 1, 1, &s);
	a = attempt_of(s.s.epoch, worker, cause, 10);
	a.by_notice = by_notice;
	OK(ledger_end(f->l, s.row, &a, &patient, false, 0, &now, &err));
	ledger_shard_free(&s);
	return now;
}

static void what_counts(void **state)
{
	static const struct {
		const char *lifecycle;
		enum cause cause;
		bool by_notice;
		bool counts;
	} table[] = {
		{"spot", CAUSE_INTERRUPTED, true, true},
		{"spot", CAUSE_INTERRUPTED, false, false},
		{"spot", CAUSE_CHECKPOINTED, true, true},
		{"spot", CAUSE_CHECKPOINTED, false, false},
		{"spot", CAUSE_FAILED, true, false},
		{"spot", CAUSE_CANCELLED, true, false},
		{"spot", CAUSE_LOST, false, true},
		{"on-demand", CAUSE_INTERRUPTED, true, false},
		{"on-demand", CAUSE_LOST, false, false},
		{"", CAUSE_INTERRUPTED, true, true},
	};
	struct fix *f = *state;
	struct ledger_attempt list[16];
	struct ledger_shard s;
	struct error err;
	int expected = 0;
	size_t i;
	size_t n;

	plan_many(f->l, f->stage, "i", 1);
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		char name[32];
		int64_t worker;
		struct shard now;

		(void)snprintf(name, sizeof(name), "worker%zu", i);
		worker = joins(f, name, name, table[i].lifecycle);
		now = ends(f, worker, table[i].cause, table[i].by_notice);
		expected += table[i].counts;
		if (now.taken != expected || now.asks != (expected >= 2))
			fail_msg("row %zu: taken %d, asks %d", i, now.taken, now.asks);
		assert_int_equal(row_of(f, worker).taken_boot_ms != 0,
		    table[i].counts || table[i].lifecycle[0] == 'o');
	}
	s = shard_at(f->l, f->stage, 0);
	assert_int_equal(s.s.taken, expected);
	OK(ledger_attempts(f->l, s.row, 16, list, &n, &err));
	for (i = 0; i < n; i++)
		assert_int_equal(list[i].by_notice, table[i].by_notice);
	ledger_shard_free(&s);
}

/* With progress, which spares the budget of interruptions. */
static void with_progress_too(void **state)
{
	struct fix *f = *state;
	int64_t worker = joins(f, "deadbeef", "cheap", "spot");
	struct ledger_checkpoint c = {.offset = 5};
	struct ledger_attempt a;
	struct ledger_shard s;
	struct shard now;
	struct error err;

	plan_many(f->l, f->stage, "i", 1);
	claim_n(f->l, f->stage, worker, 1, 1, &s);
	c.epoch = s.s.epoch;
	OK(ledger_checkpoint(f->l, s.row, &c, &err));
	a = attempt_of(s.s.epoch, worker, CAUSE_INTERRUPTED, 10);
	a.by_notice = true;
	OK(ledger_end(f->l, s.row, &a, &patient, false, 0, &now, &err));
	assert_true(now.taken == 1 && now.count[CAUSE_INTERRUPTED] == 0);
	ledger_shard_free(&s);
}

/* An end that is refused says nothing of its machine. */
static void fenced_end(void **state)
{
	struct fix *f = *state;
	int64_t worker = joins(f, "deadbeef", "cheap", "spot");
	struct ledger_attempt a;
	struct ledger_shard s;
	struct shard now;
	struct error err;

	plan_many(f->l, f->stage, "i", 1);
	claim_n(f->l, f->stage, worker, 1, 1, &s);
	a = attempt_of(s.s.epoch + 1, worker, CAUSE_INTERRUPTED, 10);
	a.by_notice = true;
	IS(ST_FENCED, ledger_end(f->l, s.row, &a, &patient, false, 0, &now, &err));
	assert_int_equal(row_of(f, worker).taken_boot_ms, 0);
	ledger_shard_free(&s);
}

static void fresh_again(void **state)
{
	const struct file_version changed = {.exists = true, .size = 9, .mtime_ns = 9};
	const struct retry_policy last = {.limit = {[CAUSE_LOST] = 4}, .on_demand_after = 1,
	    .on_demand_wait_ms = WAIT_MS, .alone_after = 1000};
	struct fix *f = *state;
	struct ledger_shard s;
	struct error err;
	int64_t worker;
	int64_t n;

	plan_many(f->l, f->stage, "i", 1);
	lost_times(f, 3);
	s = shard_at(f->l, f->stage, 0);
	assert_true(s.s.taken == 3 && s.s.asks && s.asks_boot_ms > 0);
	assert_int_equal(asking(f).ready, 1);
	OK(ledger_input_changed(f->l, s.row, &changed, &err));
	ledger_shard_free(&s);
	s = shard_at(f->l, f->stage, 0);
	assert_true(s.s.taken == 0 && !s.s.asks && s.asks_boot_ms == 0 &&
	    s.spot_from_boot_ms == 0);
	ledger_shard_free(&s);
	/* And by a fresh budget: that of losses is left of the input before. */
	worker = joins(f, "again", "again", "");
	claim_n(f->l, f->stage, worker, 1, 1, &s);
	ledger_shard_free(&s);
	buried(f, worker, &last);
	s = shard_at(f->l, f->stage, 0);
	assert_true(s.s.taken == 1 && s.s.asks);
	ledger_shard_free(&s);
	assert_int_equal(state_at(f->l, f->stage, 0), SHARD_SET_ASIDE);
	assert_int_equal(asking(f).ready, 0);
	OK(ledger_retry(f->l, f->stage, 0, &n, &err));
	s = shard_at(f->l, f->stage, 0);
	assert_true(n == 1 && s.s.state == SHARD_READY && s.s.taken == 0 && !s.s.asks);
	ledger_shard_free(&s);
}

static void never_asks(void **state)
{
	const struct retry_policy never = {.limit = {0}, .alone_after = 1000};
	struct fix *f = *state;
	struct ledger_shard s;
	int i;

	plan_many(f->l, f->stage, "i", 1);
	for (i = 0; i < 5; i++) {
		char name[16];
		int64_t worker;

		(void)snprintf(name, sizeof(name), "w%d", i);
		worker = joins(f, name, name, "spot");
		claim_n(f->l, f->stage, worker, 1, 1, &s);
		ledger_shard_free(&s);
		buried(f, worker, &never);
	}
	s = shard_at(f->l, f->stage, 0);
	assert_true(s.s.taken == 5 && !s.s.asks);
	ledger_shard_free(&s);
}

/* The third of a pool makes it a storm, which the first two could not know. */
static void storms(void **state)
{
	struct fix *f = *state;
	struct ledger_shard s;
	int i;

	plan_many(f->l, f->stage, "i", 1);
	for (i = 0; i < 6; i++) {
		char name[16];
		int64_t worker;

		(void)snprintf(name, sizeof(name), "w%d", i);
		worker = joins(f, name, "cheap", "");
		lost_with(f, worker, 0);
	}
	s = shard_at(f->l, f->stage, 0);
	assert_int_equal(s.s.taken, 2);
	assert_int_equal(s.s.count[CAUSE_LOST], 6);
	ledger_shard_free(&s);
	/* Another pool is in none. */
	lost_with(f, joins(f, "other", "dear", ""), 0);
	s = shard_at(f->l, f->stage, 0);
	assert_int_equal(s.s.taken, 3);
	ledger_shard_free(&s);
}

/* ---- who claims what ---- */

static int64_t next_of(struct fix *f, int64_t worker, size_t expected)
{
	struct ledger_shard s[8];
	struct error err;
	int64_t next;
	size_t n;

	OK(ledger_claim(f->l, f->stage, worker, INT64_MAX, 8, s, &n, &next, &err));
	assert_int_equal(n, expected);
	free_n(s, n);
	return next;
}

static void give_all_back(struct fix *f)
{
	struct ledger_query q = {.stage = f->stage, .state = SHARD_LEASED, .ordinal = -1, .max = 8};
	struct ledger_shard s[8];
	struct error err;
	size_t n;
	size_t i;

	OK(ledger_shards(f->l, &q, s, &n, &err));
	for (i = 0; i < n; i++)
		OK(ledger_give_back(f->l, s[i].row, s[i].s.epoch, &err));
	free_n(s, n);
}

static void left_to_on_demand(void **state)
{
	struct fix *f = *state;
	int64_t spot = joins(f, "spot", "cheap", "spot");
	int64_t other = joins(f, "other", "other", "");
	struct ledger_shard s[4];
	int64_t dear;
	int64_t now;
	int64_t next;

	plan_many(f->l, f->stage, "i", 4);
	lost_times(f, 2);
	/* Nobody to leave it to. */
	(void)next_of(f, spot, 4);
	give_all_back(f);
	dear = joins(f, "dear", "dear", "on-demand");
	now = here_ms();
	next = next_of(f, spot, 3);
	assert_true(next >= now && next <= here_ms() + 1000);
	assert_true(asking(f).ready == 1 && asking(f).leased == 0);
	give_all_back(f);
	/* One of which nothing is known claims in the order of the list. */
	claim_n(f->l, f->stage, other, 4, 4, s);
	assert_int_equal(s[0].ordinal, 0);
	free_n(s, 4);
	assert_true(asking(f).ready == 0 && asking(f).leased == 1);
	give_all_back(f);
	claim_n(f->l, f->stage, dear, 2, 2, s);
	assert_true(s[0].ordinal == 0 && s[0].s.asks && s[1].ordinal == 1);
	free_n(s, 2);
	give_all_back(f);
}

/* As many ask, the one that has waited longest comes first, before all others. */
static void asking_comes_first(void **state)
{
	struct fix *f = *state;
	int64_t dear = joins(f, "dear", "dear", "on-demand");
	struct ledger_shard s[6];
	struct ledger_attempt a;
	struct shard now;
	struct error err;
	int round;
	int i;

	plan_many(f->l, f->stage, "i", 6);
	for (round = 0; round < 2; round++) {
		char name[16];
		int64_t worker;

		(void)snprintf(name, sizeof(name), "w%d", round);
		worker = joins(f, name, name, "");
		claim_n(f->l, f->stage, worker, 6, 6, s);
		/* The fifth, and then the third. */
		for (i = 4; i >= 2; i -= 2) {
			int64_t at = here_ms();

			a = attempt_of(s[i].s.epoch, worker, CAUSE_INTERRUPTED, 10);
			a.by_notice = true;
			OK(ledger_end(f->l, s[i].row, &a, &patient, false, 0, &now, &err));
			while (here_ms() == at)
				;
		}
		free_n(s, 6);
		give_all_back(f);
	}
	claim_n(f->l, f->stage, dear, 3, 3, s);
	assert_true(s[0].ordinal == 4 && s[1].ordinal == 2 && s[2].ordinal == 0);
	free_n(s, 3);
	claim_n(f->l, f->stage, dear, 6, 3, s);
	assert_true(s[0].ordinal == 1 && s[1].ordinal == 3 && s[2].ordinal == 5);
	free_n(s, 3);
	give_all_back(f);
}

/* What makes an On-Demand worker none that a shard is left to. */
static void nobody_to_leave_it_to(void **state)
{
	struct fix *f = *state;
	int64_t spot = joins(f, "spot", "cheap", "spot");
	const struct ledger_drain d = {.who = "drains"};
	struct ledger_worker w = {.run = f->run.id, .lifecycle = "on-demand",
	    .generation = f->run.generation, .lease_until_boot_ms = here_ms() + 30000};
	struct ledger_run other = run_make(f->l, "other");
	struct error err;
	int64_t n;

	plan_many(f->l, f->stage, "i", 1);
	lost_times(f, 2);
	OK(sys_boot_id(w.boot_id, &err));
	(void)snprintf(w.name, sizeof(w.name), "elsewhere");
	w.run = other.id;
	OK(ledger_worker_add(f->l, &w, &err));
	w.run = f->run.id;
	(void)snprintf(w.name, sizeof(w.name), "older");
	w.generation--;
	OK(ledger_worker_add(f->l, &w, &err));
	w.generation++;
	(void)snprintf(w.name, sizeof(w.name), "late");
	w.lease_until_boot_ms = here_ms() - 1;
	OK(ledger_worker_add(f->l, &w, &err));
	w.lease_until_boot_ms = here_ms() + 30000;
	(void)snprintf(w.name, sizeof(w.name), "booted");
	w.boot_id[0] = w.boot_id[0] == '0' ? '1' : '0';
	OK(ledger_worker_add(f->l, &w, &err));
	(void)joins(f, "drains", "dear", "on-demand");
	OK(ledger_worker_drain(f->l, 0, &d, &n, &err));
	assert_int_equal(n, 1);
	buried(f, joins(f, "gone", "dear", "on-demand"), &patient);
	(void)next_of(f, spot, 1);
	give_all_back(f);
	(void)joins(f, "good", "dear", "on-demand");
	(void)next_of(f, spot, 0);
	ledger_run_free(&other);
}

/* After the wait anybody may take it; each end begins another wait. */
static void after_the_wait(void **state)
{
	const struct retry_policy hasty = {.limit = {0}, .on_demand_after = 1,
	    .on_demand_wait_ms = 40, .alone_after = 1000};
	struct fix *f = *state;
	int64_t spot = joins(f, "spot", "cheap", "spot");
	struct ledger_attempt a;
	struct ledger_shard s;
	struct shard now;
	struct error err;
	int64_t first_asked;
	int64_t next;
	int i;

	plan_many(f->l, f->stage, "i", 1);
	(void)joins(f, "dear", "dear", "on-demand");
	claim_n(f->l, f->stage, spot, 1, 1, &s);
	a = attempt_of(s.s.epoch, spot, CAUSE_INTERRUPTED, 10);
	a.by_notice = true;
	OK(ledger_end(f->l, s.row, &a, &hasty, false, 0, &now, &err));
	ledger_shard_free(&s);
	s = shard_at(f->l, f->stage, 0);
	first_asked = s.asks_boot_ms;
	ledger_shard_free(&s);
	for (i = 0; i < 2; i++) {
		next = next_of(f, spot, 0);
		assert_true(next > 0 && next <= here_ms() + 40);
		while (here_ms() < next)
			;
		claim_n(f->l, f->stage, spot, 1, 1, &s);
		a = attempt_of(s.s.epoch, spot, CAUSE_FAILED, 10);
		OK(ledger_end(f->l, s.row, &a, &hasty, false, 0, &now, &err));
		assert_true(now.asks && now.taken == 1);
		ledger_shard_free(&s);
	}
	s = shard_at(f->l, f->stage, 0);
	assert_int_equal(s.asks_boot_ms, first_asked);
	ledger_shard_free(&s);
}

/* A delay holds for On-Demand workers too. */
static void delayed(void **state)
{
	struct fix *f = *state;
	int64_t dear = joins(f, "dear", "dear", "on-demand");
	struct ledger_attempt a;
	struct ledger_shard s;
	struct shard now;
	struct error err;
	int64_t until;

	plan_many(f->l, f->stage, "i", 1);
	lost_times(f, 2);
	claim_n(f->l, f->stage, dear, 1, 1, &s);
	a = attempt_of(s.s.epoch, dear, CAUSE_FAILED, 10);
	until = here_ms() + 60000;
	OK(ledger_end(f->l, s.row, &a, &patient, false, 60000, &now, &err));
	ledger_shard_free(&s);
	assert_true(now.asks);
	assert_true(next_of(f, dear, 0) >= until);
}

/* One that must run alone still does, wherever it comes. */
static void alone_and_asking(void **state)
{
	const struct retry_policy lonely = {.limit = {0}, .on_demand_after = 1, .alone_after = 1,
	    .on_demand_wait_ms = WAIT_MS};
	struct fix *f = *state;
	int64_t dear = joins(f, "dear", "dear", "on-demand");
	int64_t spot = joins(f, "spot", "cheap", "");
	struct ledger_shard s[4];
	struct error err;

	plan_many(f->l, f->stage, "i", 3);
	claim_n(f->l, f->stage, spot, 2, 2, s);
	OK(ledger_give_back(f->l, s[0].row, s[0].s.epoch, &err));
	free_n(s, 2);
	buried(f, spot, &lonely);
	claim_n(f->l, f->stage, dear, 3, 1, s);
	assert_true(s[0].ordinal == 1 && s[0].s.alone);
	free_n(s, 1);
	give_all_back(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(described), CASE(by_node), CASE(warned), CASE(notices), CASE(taken_once),
		CASE(another_boot), CASE(hits_of_a_pool), CASE(what_counts),
		CASE(with_progress_too), CASE(fenced_end), CASE(fresh_again), CASE(never_asks),
		CASE(storms), CASE(left_to_on_demand), CASE(asking_comes_first),
		CASE(nobody_to_leave_it_to), CASE(after_the_wait), CASE(delayed),
		CASE(alone_and_asking),
	};

	return RUN_FOR_ALL(tests);
}
