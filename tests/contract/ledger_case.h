/* What the ledger's test programs share: making items, attempts and workers in
 * a line, and failing with the ledger's own text. */
#ifndef EBB_TESTS_LEDGER_CASE_H
#define EBB_TESTS_LEDGER_CASE_H

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/sys.h"
#include "ledger/ledger.h"

/* The call must return that status. `err` is in scope. */
#define IS(want, call)                                                              \
	do {                                                                        \
		enum status st_ = (call);                                           \
		if (st_ != (want)) {                                                \
			print_error("%s: %s and not %s: %s\n", #call, status_name(st_), \
			    status_name(want), st_ == ST_OK ? "" : err.text);       \
			fail();                                                     \
		}                                                                   \
	} while (0)
#define OK(call) IS(ST_OK, call)

static inline void id_of(const char *text, uint8_t id[LEDGER_ID_SIZE])
{
	struct hash *h = hash_create();
	uint8_t digest[HASH_SIZE];

	assert_non_null(h);
	hash_update(h, text, strlen(text));
	hash_final(h, digest);
	hash_destroy(h);
	memcpy(id, digest, LEDGER_ID_SIZE);
}

static inline struct ledger_item item_of(const char *text)
{
	struct ledger_item it = {
		.item = text, .item_len = strlen(text), .part = -1, .length = -1,
	};

	id_of(text, it.id);
	return it;
}

static inline struct ledger_item item_with_final(const char *text, const char *final)
{
	struct ledger_item it = item_of(text);

	it.final = final;
	it.final_len = strlen(final);
	return it;
}

static inline struct ledger_item file_item(const char *text, int64_t size, int64_t mtime_ns)
{
	struct ledger_item it = item_of(text);

	it.version = (struct file_version){.exists = true, .size = size, .mtime_ns = mtime_ns};
	return it;
}

static const char *const stage_names[] = {"map", "reduce"};
static const struct ledger_run_def one_stage = {
	.title = "again", .spec = "{}", .stages = stage_names, .n_stages = 1,
};

static inline struct ledger_run run_make(struct ledger *l, const char *key)
{
	uint8_t id[LEDGER_ID_SIZE];
	struct ledger_run run;
	struct error err;

	id_of(key, id);
	OK(ledger_run_create(l, id, &(struct ledger_run_def){.title = key, .spec = "{\"spec\":1}",
	    .stages = stage_names, .n_stages = 1}, &run, &err));
	return run;
}

/* Plans items by their texts from `first` on; no chunk is recorded. */
static inline void plan_texts(struct ledger *l, int64_t stage, int64_t first,
    const char *const *texts, size_t n)
{
	struct error err;
	size_t bad;
	size_t i;

	for (i = 0; i < n; i++) {
		struct ledger_item it = item_of(texts[i]);

		OK(ledger_plan_items(l, stage, first + (int64_t)i, &it, 1, NULL, &bad, &err));
	}
}

/* n items "<prefix>0".. in chunks, and the end of the plan. */
static inline void plan_many(struct ledger *l, int64_t stage, const char *prefix, int64_t n)
{
	static struct ledger_item items[LEDGER_CHUNK];
	static char texts[LEDGER_CHUNK][48];
	struct error err;
	int64_t dropped;
	int64_t at = 0;
	size_t bad;

	while (at < n) {
		size_t k = 0;

		for (; k < LEDGER_CHUNK && at + (int64_t)k < n; k++) {
			(void)snprintf(texts[k], sizeof(texts[k]), "%s%lld", prefix,
			    (long long)at + (long long)k);
			items[k] = item_of(texts[k]);
		}
		OK(ledger_plan_items(l, stage, at, items, k, NULL, &bad, &err));
		at += (int64_t)k;
	}
	OK(ledger_plan_finish(l, stage, n, &dropped, &err));
}

static inline int64_t worker_make(struct ledger *l, const char *name, int64_t run)
{
	struct ledger_worker w = {.run = run, .pid = (int32_t)getpid(), .start_ticks = 7};
	struct error err;

	(void)snprintf(w.name, sizeof(w.name), "%s", name);
	OK(sys_boot_id(w.boot_id, &err));
	w.lease_until_boot_ms = sys_boot_ns() / 1000000 + 30000;
	OK(ledger_worker_add(l, &w, &err));
	assert_true(w.id > 0);
	return w.id;
}

/* A line of the run's history, of nobody in particular. */
static inline enum status note_event(struct ledger *l, int64_t run, const char *kind,
    const char *text, struct error *err)
{
	struct ledger_event ev = {0};
	size_t len = strlen(text);

	(void)snprintf(ev.kind, sizeof(ev.kind), "%s", kind);
	memcpy(ev.text, text, len < sizeof(ev.text) ? len : sizeof(ev.text) - 1);
	return ledger_event_add(l, run, &ev, err);
}

/* Exactly n shards are claimed. */
static inline void claim_n(struct ledger *l, int64_t stage, int64_t worker, size_t max, size_t n,
    struct ledger_shard *out)
{
	struct error err;
	int64_t next;
	size_t got;

	OK(ledger_claim(l, stage, worker, INT64_MAX, max, out, &got, &next, &err));
	assert_int_equal(got, n);
}

static inline void free_n(struct ledger_shard *s, size_t n)
{
	while (n > 0)
		ledger_shard_free(&s[--n]);
}

static inline struct ledger_attempt attempt_of(int64_t epoch, int64_t worker, enum cause cause,
    int64_t run_ms)
{
	struct ledger_attempt a = {
		.epoch = epoch, .worker = worker, .cause = cause, .slot = 1, .run_ms = run_ms,
		.started_wall_ms = 1700000000000, .cpu_ms = 3, .max_rss_kib = 4, .out_bytes = 5,
		.err_bytes = 6,
	};

	return a;
}

static inline struct ledger_stage stage_of(struct ledger *l, int64_t stage)
{
	struct ledger_stage s;
	struct error err;

	OK(ledger_stage_get(l, stage, &s, &err));
	return s;
}

static inline void verify_ok(struct ledger *l)
{
	struct buf problem = {0};
	struct error err;

	OK(ledger_verify(l, &problem, &err));
	assert_string_equal(problem.data, "");
	buf_free(&problem);
}

/* The shard in place `ordinal`; freed by the caller. */
static inline struct ledger_shard shard_at(struct ledger *l, int64_t stage, int64_t ordinal)
{
	struct ledger_query q = {.stage = stage, .state = -1, .ordinal = ordinal, .max = 1};
	struct ledger_shard s;
	struct error err;
	size_t n;

	OK(ledger_shards(l, &q, &s, &n, &err));
	assert_int_equal(n, 1);
	return s;
}

static inline enum shard_state state_at(struct ledger *l, int64_t stage, int64_t ordinal)
{
	struct ledger_shard s = shard_at(l, stage, ordinal);

	ledger_shard_free(&s);
	return s.s.state;
}

/* Ended, with one policy for all stages. */
static inline enum status worker_end(struct ledger *l, int64_t worker, enum cause cause,
    const struct retry_policy *policy, int64_t (*ran_ms)(void *, int64_t, int64_t), void *arg,
    int64_t *lost, struct error *err)
{
	const struct ledger_burial how = {.cause = cause, .policy = &policy, .n_policies = 1,
	    .ran_ms = ran_ms, .arg = arg};

	return ledger_worker_end(l, worker, &how, lost, err);
}

static inline int32_t occurrence_at(struct ledger *l, int64_t stage, int64_t ordinal)
{
	struct ledger_shard s = shard_at(l, stage, ordinal);

	ledger_shard_free(&s);
	return s.occurrence;
}

/* Accepts with one file and publishes. */
static inline void publish_file(struct ledger *l, const struct ledger_shard *s,
    const char *final, uint8_t fill)
{
	struct ledger_attempt a = attempt_of(s->s.epoch, s->worker, CAUSE_DONE, 10);
	char private_path[] = "tmp/x";
	char name[256];
	struct ledger_file f = {.private_path = private_path, .final_path = name, .size = 42};
	struct error err;

	(void)snprintf(name, sizeof(name), "%s", final);
	memset(f.hash, fill, sizeof(f.hash));
	OK(ledger_accept(l, s->row, &a, &f, 1, NULL, &err));
	OK(ledger_published(l, s->row, s->s.epoch, &err));
}

#endif
