#include "observe/pools.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/sys.h"
#include "model/pool.h"

/* ---- loading ---- */

static enum status judge_pool(struct ledger *l, int64_t run, const char *pool, struct pools *p,
    struct error *e)
{
	const struct pool_policy policy = pool_policy_default();
	int64_t now = sys_boot_ns() / 1000000;
	int64_t hits[POOL_HITS_MAX];
	struct pool_view view;
	struct pool_ban *ban = &p->ban[p->n_bans];
	size_t n;
	enum status st = ledger_pool_hits(l, run, pool, now - pool_history_ms(&policy), hits,
	    POOL_HITS_MAX, &n, e);

	if (st != ST_OK)
		return st;
	view = pool_judge(&policy, hits, n, now);
	if (view.banned_until_ms == 0)
		return ST_OK;
	memcpy(ban->pool, pool, sizeof(ban->pool));
	ban->hits = view.hits;
	ban->until_boot_ms = view.banned_until_ms;
	ban->until_wall_ms = sys_wall_ns() / 1000000 + view.banned_until_ms - now;
	p->n_bans++;
	return ST_OK;
}

static bool is_taken_spot(const struct ledger_worker *w)
{
	return w->taken_boot_ms != 0 && strcmp(w->lifecycle, "spot") == 0;
}

/* The first of its pool that is a spot worker and was taken. */
static bool is_first_taken(const struct ledger_worker *list, size_t i)
{
	size_t k = i;

	if (!is_taken_spot(&list[i]))
		return false;
	while (k-- > 0) {
		if (is_taken_spot(&list[k]) && strcmp(list[k].pool, list[i].pool) == 0)
			return false;
	}
	return true;
}

enum status pools_load(struct ledger *l, int64_t run, struct pools *out, struct error *e)
{
	struct ledger_worker *list = NULL;
	size_t n = 0;
	size_t i;
	enum status st;

	memset(out, 0, sizeof(*out));
	st = ledger_asking(l, run, &out->asking, e);
	if (st == ST_OK)
		st = ledger_worker_list(l, run, &list, &n, e);
	if (st == ST_OK) {
		out->ban = mem_zero((n + 1) * sizeof(*out->ban));
		if (out->ban == NULL)
			st = error_set(e, ST_NO_MEMORY, "out of memory");
	}
	for (i = 0; st == ST_OK && out->ban != NULL && i < n; i++) {
		if (is_first_taken(list, i))
			st = judge_pool(l, run, list[i].pool, out, e);
	}
	free(list);
	if (st != ST_OK)
		pools_free(out);
	return st;
}

void pools_free(struct pools *p)
{
	free(p->ban);
	memset(p, 0, sizeof(*p));
}

/* ---- showing ---- */

static void add_ban_end(struct buf *b, int64_t wall_ms)
{
	time_t at = (time_t)(wall_ms / 1000);
	struct tm tm;
	char text[16];

	if (localtime_r(&at, &tm) != NULL && strftime(text, sizeof(text), "%H:%M:%S", &tm) > 0)
		buf_str(b, text);
}

void pools_text(const struct pools *p, struct buf *out)
{
	long long ready = (long long)p->asking.ready;
	size_t i;

	if (ready + p->asking.leased > 0)
		buf_printf(out, "  %lld shard%s ask%s for On-Demand (%lld at work)\n",
		    ready + (long long)p->asking.leased, ready + p->asking.leased == 1 ? "" : "s",
		    ready + p->asking.leased == 1 ? "s" : "", (long long)p->asking.leased);
	for (i = 0; i < p->n_bans; i++) {
		buf_str(out, "  pool ");
		str_display(out, p->ban[i].pool, strlen(p->ban[i].pool), 0);
		buf_printf(out, ": %d machine%s taken of late; no replacement from it until ",
		    p->ban[i].hits, p->ban[i].hits == 1 ? "" : "s");
		add_ban_end(out, p->ban[i].until_wall_ms);
		buf_char(out, '\n');
	}
}

void pools_json(const struct pools *p, struct buf *out)
{
	size_t i;

	buf_printf(out, ",\"on_demand\":{\"ready\":%lld,\"leased\":%lld},\"banned_pools\":[",
	    (long long)p->asking.ready, (long long)p->asking.leased);
	for (i = 0; i < p->n_bans; i++) {
		buf_str(out, i > 0 ? ",{\"pool\":" : "{\"pool\":");
		str_json(out, p->ban[i].pool, strlen(p->ban[i].pool));
		buf_printf(out, ",\"taken\":%d,\"until_ms\":%lld}", p->ban[i].hits,
		    (long long)p->ban[i].until_wall_ms);
	}
	buf_char(out, ']');
}

static void add_known(struct buf *out, const char *before, const char *word, const char *after)
{
	if (word[0] == '\0')
		return;
	buf_str(out, before);
	str_display(out, word, strlen(word), 0);
	buf_str(out, after);
}

void pools_worker_text(const struct ledger_worker *w, struct buf *out)
{
	add_known(out, ", on ", w->node, "");
	add_known(out, ", in ", w->zone, "");
	add_known(out, ", a ", w->instance_type, "");
	if (w->warned_boot_ms != 0)
		buf_str(out, ", warned");
	if (w->taken_boot_ms != 0)
		buf_str(out, ", taken");
}

static void add_known_member(struct buf *out, const char *key, const char *text)
{
	buf_printf(out, ",\"%s\":", key);
	str_json(out, text, strlen(text));
}

void pools_worker_json(const struct ledger_worker *w, struct buf *out)
{
	add_known_member(out, "node", w->node);
	add_known_member(out, "zone", w->zone);
	add_known_member(out, "instance_type", w->instance_type);
	buf_printf(out, ",\"warned\":%s,\"taken\":%s", w->warned_boot_ms != 0 ? "true" : "false",
	    w->taken_boot_ms != 0 ? "true" : "false");
}
