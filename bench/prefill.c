/* prefill LEDGER COUNT: brings a planned run to COUNT shards done without
 * running anything, so that `bench/run recovery` need not wait for 10^6 commands.
 * It does through ledger.h what a worker does: joins the run, claims, accepts in
 * groups, leaves. Only for a run without output files that nobody works on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "base/sys.h"
#include "ledger/ledger.h"

enum { GROUP = 256, LEASE_MS = 3600000 };

struct prefill {
	struct ledger *ledger;
	struct ledger_run run;
	struct ledger_worker me;
	int64_t done;
};

static enum status join(struct prefill *p, struct error *e)
{
	enum status st = ledger_run_by_name(p->ledger, "", &p->run, e);

	if (st != ST_OK)
		return st;
	(void)snprintf(p->me.name, sizeof(p->me.name), "prefill-%lld", (long long)getpid());
	p->me.run = p->run.id;
	p->me.pid = (int32_t)getpid();
	p->me.lease_until_boot_ms = sys_boot_ns() / 1000000 + LEASE_MS;
	st = sys_boot_id(p->me.boot_id, e);
	return st == ST_OK ? ledger_worker_add(p->ledger, &p->me, e) : st;
}

static enum status accept_one(struct prefill *p, const struct ledger_shard *s, struct error *e)
{
	const struct ledger_attempt a = {
		.epoch = s->s.epoch, .worker = p->me.id, .cause = CAUSE_DONE, .slot = 1,
		.started_wall_ms = sys_wall_ns() / 1000000, .run_ms = 1, .cpu_ms = 1,
		.max_rss_kib = 1536,
	};

	return ledger_accept(p->ledger, s->row, &a, NULL, 0, &s->version, e);
}

/* Claims and accepts up to max shards, durable together. */
static enum status do_group(struct prefill *p, size_t max, struct error *e)
{
	struct ledger_shard shards[GROUP];
	size_t n = 0;
	size_t i;
	int64_t next;
	enum status st = ledger_begin(p->ledger, e);

	if (st != ST_OK)
		return st;
	st = ledger_claim(p->ledger, p->run.stage, p->me.id, INT64_MAX, max, shards, &n, &next, e);
	if (st == ST_OK && n == 0)
		st = error_set(e, ST_NOT_FOUND, "no more shards are ready after %lld",
		    (long long)p->done);
	for (i = 0; st == ST_OK && i < n; i++)
		st = accept_one(p, &shards[i], e);
	for (i = 0; i < n; i++)
		ledger_shard_free(&shards[i]);
	if (st != ST_OK) {
		ledger_rollback(p->ledger);
		return st;
	}
	p->done += (int64_t)n;
	return ledger_commit(p->ledger, e);
}

static enum status fill(struct prefill *p, int64_t count, struct error *e)
{
	const struct retry_policy policy = retry_policy_default();
	const struct retry_policy *policies[] = {&policy};
	const struct ledger_burial how = {.cause = CAUSE_INTERRUPTED, .policy = policies,
	    .n_policies = 1};
	struct ledger_stage stage;
	int64_t lost;
	enum status st = join(p, e);

	if (st == ST_OK)
		st = ledger_stage_get(p->ledger, p->run.stage, &stage, e);
	if (st == ST_OK && !stage.plan_complete)
		st = error_set(e, ST_CONFIG, "the plan is not complete");
	if (st == ST_OK)
		p->done = stage.count[SHARD_PUBLISHED];
	while (st == ST_OK && p->done < count) {
		size_t left = (size_t)(count - p->done);

		st = do_group(p, left < GROUP ? left : GROUP, e);
	}
	if (st == ST_OK)
		st = ledger_worker_end(p->ledger, p->me.id, &how, &lost, e);
	return st;
}

int main(int argc, char **argv)
{
	const struct ledger_options lo = {.busy_ms = 5000};
	struct prefill p = {0};
	struct error e;
	int64_t count;
	enum status st;

	if (argc != 3 || str_parse_count(argv[2], 1, INT64_MAX, &count, &e) != ST_OK) {
		(void)fprintf(stderr, "usage: prefill LEDGER COUNT\n");
		return 2;
	}
	st = ledger_open(argv[1], &lo, &p.ledger, &e);
	if (st == ST_OK)
		st = fill(&p, count, &e);
	if (st != ST_OK)
		(void)fprintf(stderr, "prefill: %s\n", e.text);
	ledger_run_free(&p.run);
	ledger_close(p.ledger);
	return st == ST_OK ? 0 : 1;
}
