/* Thin wrappers: they check arguments and hand on. */
#include "ledger/ledger.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "ledger/backend.h"

static const struct ledger_backend *const registry[] = {
	&ledger_sqlite, /* also what a plain path means */
};

enum { BACKENDS = sizeof(registry) / sizeof(registry[0]) };

/* Length of "scheme" in "scheme:...", 0 when there is none. */
static size_t scheme_len(const char *url)
{
	size_t n = 0;

	while (islower((unsigned char)url[n]) || (n > 0 && (isdigit((unsigned char)url[n]) ||
	    url[n] == '+' || url[n] == '-')))
		n++;
	return url[n] == ':' ? n : 0;
}

static const struct ledger_backend *backend_of(const char *url, const char **rest)
{
	size_t n = scheme_len(url);
	int i;

	*rest = url;
	if (n == 0)
		return registry[0];
	for (i = 0; i < BACKENDS; i++) {
		if (strlen(registry[i]->scheme) == n && strncmp(registry[i]->scheme, url, n) == 0) {
			*rest = url + n + 1;
			return registry[i];
		}
	}
	/* A file may have a colon in its name. */
	return strncmp(url + n, "://", 3) == 0 ? NULL : registry[0];
}

enum status ledger_open(const char *path, const struct ledger_options *opt, struct ledger **out,
    struct error *e)
{
	const char *rest;
	const struct ledger_backend *b = backend_of(path, &rest);
	enum status st;

	assert(!(opt->create && opt->read_only));
	*out = NULL;
	if (b == NULL)
		return error_set(e, ST_CONFIG, "no ledger of the kind \"%.*s:\" is built in; "
		    "use a path or sqlite:PATH", (int)scheme_len(path), path);
	if (*rest == '\0')
		return error_set(e, ST_CONFIG, "the ledger's path is empty");
	st = b->open(rest, opt, out, e);
	if (st != ST_OK)
		return st;
	(*out)->backend = b;
	(*out)->read_only = opt->read_only;
	(*out)->in_group = false;
	return ST_OK;
}

void ledger_close(struct ledger *l)
{
	if (l != NULL)
		l->backend->close(l);
}

static enum status must_write(const struct ledger *l, struct error *e)
{
	if (l->read_only)
		return error_set(e, ST_DENIED, "the ledger was opened only for reading");
	return ST_OK;
}

/* ---- groups ---- */

enum status ledger_begin(struct ledger *l, struct error *e)
{
	enum status st = must_write(l, e);

	assert(!l->in_group);
	if (st == ST_OK)
		st = l->backend->begin(l, e);
	l->in_group = st == ST_OK;
	return st;
}

enum status ledger_commit(struct ledger *l, struct error *e)
{
	assert(l->in_group);
	l->in_group = false;
	return l->backend->commit(l, e);
}

void ledger_rollback(struct ledger *l)
{
	if (l->in_group)
		l->backend->rollback(l);
	l->in_group = false;
}

bool ledger_in_group(const struct ledger *l)
{
	return l->in_group;
}

enum status ledger_changes(struct ledger *l, uint64_t *stamp, struct error *e)
{
	assert(!l->in_group);
	*stamp = 0;
	return l->backend->changes(l, stamp, e);
}

enum status ledger_lock_holder(struct ledger *l, int32_t *pid, struct error *e)
{
	*pid = 0;
	if (l->backend->lock_holder == NULL)
		return error_set(e, ST_NOT_FOUND, "this kind of ledger has no write lock");
	return l->backend->lock_holder(l, pid, e);
}

/* ---- runs and stages ---- */

void ledger_run_free(struct ledger_run *r)
{
	free(r->title);
	free(r->place);
	free(r->spec);
	r->title = NULL;
	r->place = NULL;
	r->spec = NULL;
}

void ledger_run_list_free(struct ledger_run *list, size_t n)
{
	size_t i;

	for (i = 0; list != NULL && i < n; i++)
		ledger_run_free(&list[i]);
	free(list);
}

enum status ledger_run_by_key(struct ledger *l, const uint8_t key[LEDGER_ID_SIZE],
    struct ledger_run *out, struct error *e)
{
	memset(out, 0, sizeof(*out));
	return l->backend->run_by_key(l, key, out, e);
}

enum status ledger_run_by_name(struct ledger *l, const char *name, struct ledger_run *out,
    struct error *e)
{
	memset(out, 0, sizeof(*out));
	return l->backend->run_by_name(l, name, out, e);
}

enum status ledger_run_list(struct ledger *l, struct ledger_run **out, size_t *n, struct error *e)
{
	*out = NULL;
	*n = 0;
	return l->backend->run_list(l, out, n, e);
}

enum status ledger_run_create(struct ledger *l, const uint8_t key[LEDGER_ID_SIZE],
    const struct ledger_run_def *def, struct ledger_run *out, struct error *e)
{
	enum status st = must_write(l, e);

	assert(def->n_stages > 0);
	memset(out, 0, sizeof(*out));
	return st == ST_OK ? l->backend->run_create(l, key, def, out, e) : st;
}

enum status ledger_run_renew(struct ledger *l, struct ledger_run *run,
    const struct ledger_run_def *def, struct error *e)
{
	enum status st = must_write(l, e);

	assert(def->n_stages > 0);
	return st == ST_OK ? l->backend->run_renew(l, run, def, e) : st;
}

enum status ledger_run_set_spec(struct ledger *l, struct ledger_run *run, const char *spec,
    struct error *e)
{
	enum status st = must_write(l, e);

	return st == ST_OK ? l->backend->run_set_spec(l, run, spec, e) : st;
}

enum status ledger_run_set_state(struct ledger *l, int64_t run, enum run_state state,
    struct error *e)
{
	enum status st = must_write(l, e);

	return st == ST_OK ? l->backend->run_set_state(l, run, state, e) : st;
}

enum status ledger_generation_prune(struct ledger *l, int64_t run, int max_rows, bool *more,
    struct error *e)
{
	enum status st = must_write(l, e);

	assert(max_rows > 0);
	*more = false;
	return st == ST_OK ? l->backend->generation_prune(l, run, max_rows, more, e) : st;
}

enum status ledger_run_remove(struct ledger *l, int64_t run, struct error *e)
{
	enum status st = must_write(l, e);

	return st == ST_OK ? l->backend->run_remove(l, run, e) : st;
}

int64_t ledger_stage_done(const struct ledger_stage *s)
{
	return s->count[SHARD_ACCEPTED] + s->count[SHARD_PUBLISHED];
}

int64_t ledger_stage_failed(const struct ledger_stage *s)
{
	return s->count[SHARD_FAILED] + s->count[SHARD_SET_ASIDE];
}

void ledger_stages_add(struct ledger_stage *sum, const struct ledger_stage *s)
{
	int k;

	sum->plan_complete = sum->plan_complete && s->plan_complete;
	sum->sealed = sum->sealed && s->sealed;
	sum->planned += s->planned;
	for (k = 0; k < SHARD_STATES; k++)
		sum->count[k] += s->count[k];
	sum->attempts += s->attempts;
	for (k = 0; k < CAUSE_COUNT; k++)
		sum->ended[k] += s->ended[k];
	sum->run_ms += s->run_ms;
	sum->lost_ms += s->lost_ms;
	sum->with_files += s->with_files;
}

void ledger_stages_sum(const struct ledger_stage *list, size_t n, struct ledger_stage *out)
{
	size_t i;

	memset(out, 0, sizeof(*out));
	out->plan_complete = true;
	out->sealed = true;
	for (i = 0; i < n; i++)
		ledger_stages_add(out, &list[i]);
}

enum status ledger_stage_get(struct ledger *l, int64_t stage, struct ledger_stage *out,
    struct error *e)
{
	memset(out, 0, sizeof(*out));
	return l->backend->stage_get(l, stage, out, e);
}

enum status ledger_run_stages(struct ledger *l, int64_t run, int generation,
    struct ledger_stage *out, size_t max, size_t *n, struct error *e)
{
	*n = 0;
	return l->backend->run_stages(l, run, generation, out, max, n, e);
}

enum status ledger_stage_seal(struct ledger *l, int64_t stage, int64_t allow_failed,
    struct error *e)
{
	enum status st = must_write(l, e);

	return st == ST_OK ? l->backend->stage_seal(l, stage, allow_failed, e) : st;
}

/* ---- planning ---- */

static enum status check_plan_item(const struct ledger_item *it, struct error *e)
{
	if (it->item_len > LEDGER_ITEM_MAX)
		return error_set(e, ST_CONFIG, "an item of %zu bytes is longer than the limit of %d",
		    it->item_len, LEDGER_ITEM_MAX);
	if (it->final != NULL && (it->final_len == 0 || it->final_len > LEDGER_ITEM_MAX))
		return error_set(e, ST_CONFIG, "an output name of %zu bytes is empty or longer than "
		    "the limit of %d", it->final_len, LEDGER_ITEM_MAX);
	return ST_OK;
}

enum status ledger_plan_items(struct ledger *l, int64_t stage, int64_t first,
    const struct ledger_item *items, size_t n, const struct ledger_carry *carry, size_t *bad,
    struct error *e)
{
	enum status st = must_write(l, e);
	size_t i;

	assert(first >= 0);
	*bad = 0;
	for (i = 0; st == ST_OK && i < n; i++) {
		st = check_plan_item(&items[i], e);
		*bad = i;
	}
	if (st != ST_OK)
		return st;
	return l->backend->plan_items(l, stage, first, items, n, carry, bad, e);
}

enum status ledger_plan_chunk_get(struct ledger *l, int64_t stage, int64_t index,
    uint8_t digest[HASH_SIZE], struct error *e)
{
	return l->backend->plan_chunk_get(l, stage, index, digest, e);
}

enum status ledger_plan_chunk_put(struct ledger *l, int64_t stage, int64_t index,
    const uint8_t digest[HASH_SIZE], struct error *e)
{
	enum status st = must_write(l, e);

	assert(index >= 0);
	return st == ST_OK ? l->backend->plan_chunk_put(l, stage, index, digest, e) : st;
}

enum status ledger_plan_restart(struct ledger *l, int64_t stage, int64_t first, struct error *e)
{
	enum status st = must_write(l, e);

	assert(first >= 0);
	return st == ST_OK ? l->backend->plan_restart(l, stage, first, e) : st;
}

enum status ledger_plan_unseen(struct ledger *l, int64_t stage, struct ledger_unseen *out,
    struct error *e)
{
	memset(out, 0, sizeof(*out));
	return l->backend->plan_unseen(l, stage, out, e);
}

enum status ledger_plan_finish(struct ledger *l, int64_t stage, int64_t total, int64_t *dropped,
    struct error *e)
{
	enum status st = must_write(l, e);

	*dropped = 0;
	return st == ST_OK ? l->backend->plan_finish(l, stage, total, dropped, e) : st;
}

enum status ledger_plan_inputs(struct ledger *l, int64_t stage, int64_t *after_row, size_t max,
    struct ledger_shard *out, size_t *n, struct error *e)
{
	*n = 0;
	return l->backend->plan_inputs(l, stage, after_row, max, out, n, e);
}

/* ---- shards ---- */

void ledger_shard_free(struct ledger_shard *s)
{
	free(s->item);
	free(s->final);
	free(s->files);
	s->item = NULL;
	s->final = NULL;
	s->files = NULL;
}

enum status ledger_claim(struct ledger *l, int64_t stage, int64_t worker, int64_t below,
    size_t max, struct ledger_shard *out, size_t *n, int64_t *next_boot_ms, struct error *e)
{
	enum status st = must_write(l, e);

	*n = 0;
	*next_boot_ms = -1;
	if (st != ST_OK)
		return st;
	return l->backend->claim(l, stage, worker, below, max, out, n, next_boot_ms, e);
}

enum status ledger_accept(struct ledger *l, int64_t row, const struct ledger_attempt *a,
    const struct ledger_file *files, size_t n_files, const struct file_version *after,
    struct error *e)
{
	enum status st = must_write(l, e);

	if (st != ST_OK)
		return st;
	return l->backend->accept(l, row, a, files, n_files, after, e);
}

void ledger_checkpoint_free(struct ledger_checkpoint *c)
{
	ledger_files_free(c->files, c->n_files);
	free(c->folder);
	memset(c, 0, sizeof(*c));
}

enum status ledger_checkpoint(struct ledger *l, int64_t row, const struct ledger_checkpoint *c,
    struct error *e)
{
	enum status st = must_write(l, e);

	assert(c->epoch > 0 && c->offset >= 0);
	return st == ST_OK ? l->backend->checkpoint(l, row, c, e) : st;
}

enum status ledger_checkpoint_get(struct ledger *l, int64_t row, struct ledger_checkpoint *out,
    struct error *e)
{
	memset(out, 0, sizeof(*out));
	return l->backend->checkpoint_get(l, row, out, e);
}

enum status ledger_published(struct ledger *l, int64_t row, int64_t epoch, struct error *e)
{
	enum status st = must_write(l, e);

	return st == ST_OK ? l->backend->published(l, row, epoch, e) : st;
}

enum status ledger_refused(struct ledger *l, int64_t row, int64_t epoch, const char *note,
    struct error *e)
{
	enum status st = must_write(l, e);

	return st == ST_OK ? l->backend->refused(l, row, epoch, note, e) : st;
}

enum status ledger_output_placed(struct ledger *l, int64_t row, int64_t epoch,
    const struct ledger_file *f, struct error *e)
{
	enum status st = must_write(l, e);

	return st == ST_OK ? l->backend->output_placed(l, row, epoch, f, e) : st;
}

enum status ledger_output_gone(struct ledger *l, int64_t row, int64_t epoch, struct error *e)
{
	enum status st = must_write(l, e);

	return st == ST_OK ? l->backend->output_gone(l, row, epoch, e) : st;
}

enum status ledger_end(struct ledger *l, int64_t row, const struct ledger_attempt *a,
    const struct retry_policy *policy, bool no_retry, int64_t delay_ms, struct shard *now,
    struct error *e)
{
	enum status st = must_write(l, e);

	assert(a->cause > CAUSE_DONE && a->cause < CAUSE_COUNT && delay_ms >= 0);
	memset(now, 0, sizeof(*now));
	if (st != ST_OK)
		return st;
	return l->backend->end(l, row, a, policy, no_retry, delay_ms, now, e);
}

enum status ledger_give_back(struct ledger *l, int64_t row, int64_t epoch, struct error *e)
{
	enum status st = must_write(l, e);

	return st == ST_OK ? l->backend->give_back(l, row, epoch, e) : st;
}

enum status ledger_retry(struct ledger *l, int64_t stage, int64_t row, int64_t *n,
    struct error *e)
{
	enum status st = must_write(l, e);

	*n = 0;
	return st == ST_OK ? l->backend->retry(l, stage, row, n, e) : st;
}

enum status ledger_input_changed(struct ledger *l, int64_t row,
    const struct file_version *version, struct error *e)
{
	enum status st = must_write(l, e);

	return st == ST_OK ? l->backend->input_changed(l, row, version, e) : st;
}

enum status ledger_take_accepted(struct ledger *l, int64_t stage, int64_t worker, int64_t from,
    size_t max, struct ledger_shard *out, size_t *n, struct error *e)
{
	enum status st = must_write(l, e);

	*n = 0;
	return st == ST_OK ? l->backend->take_accepted(l, stage, worker, from, max, out, n, e) : st;
}

/* ---- outputs ---- */

enum status ledger_output_get(struct ledger *l, const char *final, size_t len,
    struct ledger_output *out, struct error *e)
{
	memset(out, 0, sizeof(*out));
	return l->backend->output_get(l, final, len, out, e);
}

enum status ledger_outputs_left(struct ledger *l, int64_t run, const struct ledger_left *after,
    size_t max, struct ledger_left *out, size_t *n, struct error *e)
{
	*n = 0;
	return l->backend->outputs_left(l, run, after, max, out, n, e);
}

enum status ledger_output_forget(struct ledger *l, int64_t run, const char *final, size_t len,
    struct error *e)
{
	enum status st = must_write(l, e);

	return st == ST_OK ? l->backend->output_forget(l, run, final, len, e) : st;
}

/* ---- looking ---- */

enum status ledger_shards(struct ledger *l, const struct ledger_query *q,
    struct ledger_shard *out, size_t *n, struct error *e)
{
	assert(q->state >= -1 && q->state < SHARD_STATES);
	*n = 0;
	return l->backend->shards(l, q, out, n, e);
}

enum status ledger_shard_get(struct ledger *l, int64_t row, struct ledger_shard *out,
    struct error *e)
{
	return l->backend->shard_get(l, row, out, e);
}

enum status ledger_worst_shards(struct ledger *l, int64_t run, int64_t stage,
    enum ledger_worst which, size_t max, struct ledger_worst_shard *out, size_t *n,
    struct error *e)
{
	*n = 0;
	return l->backend->worst_shards(l, run, stage, which, max, out, n, e);
}

enum status ledger_attempts(struct ledger *l, int64_t row, size_t max, struct ledger_attempt *out,
    size_t *n, struct error *e)
{
	*n = 0;
	return l->backend->attempts(l, row, max, out, n, e);
}

enum status ledger_past(struct ledger *l, int64_t stage, int stop_signal, struct ledger_past *out,
    struct error *e)
{
	memset(out, 0, sizeof(*out));
	return l->backend->past(l, stage, stop_signal, out, e);
}

enum status ledger_elsewhere(struct ledger *l, int64_t worker, const int64_t *rows, size_t n,
    enum ledger_elsewhere *out, struct error *e)
{
	memset(out, 0, n * sizeof(*out));
	return l->backend->elsewhere(l, worker, rows, n, out, e);
}

/* ---- workers ---- */

enum status ledger_worker_add(struct ledger *l, struct ledger_worker *w, struct error *e)
{
	enum status st = must_write(l, e);

	assert(memchr(w->name, '\0', sizeof(w->name)) != NULL);
	assert(memchr(w->boot_id, '\0', sizeof(w->boot_id)) != NULL);
	assert(memchr(w->pool, '\0', sizeof(w->pool)) != NULL);
	assert(memchr(w->lifecycle, '\0', sizeof(w->lifecycle)) != NULL);
	assert(memchr(w->node, '\0', sizeof(w->node)) != NULL);
	assert(memchr(w->zone, '\0', sizeof(w->zone)) != NULL);
	assert(memchr(w->instance_type, '\0', sizeof(w->instance_type)) != NULL);
	return st == ST_OK ? l->backend->worker_add(l, w, e) : st;
}

enum status ledger_worker_renew(struct ledger *l, int64_t worker, int64_t until_boot_ms,
    struct error *e)
{
	enum status st = must_write(l, e);

	return st == ST_OK ? l->backend->worker_renew(l, worker, until_boot_ms, e) : st;
}

enum status ledger_workers(struct ledger *l, int64_t run, struct ledger_worker *out, size_t max,
    size_t *n, struct error *e)
{
	*n = 0;
	return l->backend->workers(l, run, out, max, n, e);
}

enum status ledger_worker_get(struct ledger *l, int64_t worker, struct ledger_worker *out,
    struct error *e)
{
	memset(out, 0, sizeof(*out));
	return l->backend->worker_get(l, worker, out, e);
}

enum status ledger_worker_drain(struct ledger *l, int64_t run, const struct ledger_drain *drain,
    int64_t *n, struct error *e)
{
	enum status st = must_write(l, e);

	assert(drain->deadline_boot_ms >= 0);
	*n = 0;
	return st == ST_OK ? l->backend->worker_drain(l, run, drain, n, e) : st;
}

enum status ledger_worker_warn(struct ledger *l, int64_t run, const char *who, bool on,
    int64_t *n, struct error *e)
{
	enum status st = must_write(l, e);

	*n = 0;
	return st == ST_OK ? l->backend->worker_warn(l, run, who, on, n, e) : st;
}

enum status ledger_worker_describe(struct ledger *l, int64_t worker,
    const struct ledger_node *node, struct error *e)
{
	enum status st = must_write(l, e);

	assert(node->life_until_boot_ms >= 0);
	return st == ST_OK ? l->backend->worker_describe(l, worker, node, e) : st;
}

enum status ledger_worker_taken(struct ledger *l, int64_t worker, int64_t boot_ms,
    struct error *e)
{
	enum status st = must_write(l, e);

	assert(boot_ms >= 0);
	return st == ST_OK ? l->backend->worker_taken(l, worker, boot_ms, e) : st;
}

enum status ledger_pool_hits(struct ledger *l, int64_t run, const char *pool,
    int64_t since_boot_ms, int64_t *times, size_t max, size_t *n, struct error *e)
{
	*n = 0;
	return l->backend->pool_hits(l, run, pool, since_boot_ms, times, max, n, e);
}

enum status ledger_asking(struct ledger *l, int64_t run, struct ledger_asking *out,
    struct error *e)
{
	memset(out, 0, sizeof(*out));
	return l->backend->asking(l, run, out, e);
}

enum status ledger_worker_end(struct ledger *l, int64_t worker, const struct ledger_burial *how,
    int64_t *lost, struct error *e)
{
	enum status st = must_write(l, e);

	assert(how->cause > CAUSE_DONE && how->cause < CAUSE_COUNT && how->n_policies > 0);
	*lost = 0;
	return st == ST_OK ? l->backend->worker_end(l, worker, how, lost, e) : st;
}

enum status ledger_worker_list(struct ledger *l, int64_t run, struct ledger_worker **out,
    size_t *n, struct error *e)
{
	*out = NULL;
	*n = 0;
	return l->backend->worker_list(l, run, out, n, e);
}

/* ---- time ---- */

const char *ledger_spent_name(enum spent_kind kind)
{
	static const char *const names[SPENT_KINDS] = {
		"running", "restoring", "checkpointing", "waiting", "idle", "void", "net", "lost",
	};

	assert((int)kind >= 0 && (int)kind < SPENT_KINDS);
	return names[kind];
}

enum status ledger_spent_put(struct ledger *l, int64_t worker, int64_t present_ms,
    const struct ledger_spent *rows, size_t n, struct error *e)
{
	enum status st = must_write(l, e);
	size_t i;

	for (i = 0; i < n; i++)
		assert((int)rows[i].kind >= 0 && (int)rows[i].kind < SPENT_SAID_KINDS);
	return st == ST_OK ? l->backend->spent_put(l, worker, present_ms, rows, n, e) : st;
}

enum status ledger_spent(struct ledger *l, int64_t run, int generation, struct ledger_spent **out,
    size_t *n, struct error *e)
{
	*out = NULL;
	*n = 0;
	return l->backend->spent(l, run, generation, out, n, e);
}

enum status ledger_lease_take(struct ledger *l, int64_t stage, const char *name, int64_t worker,
    struct error *e)
{
	enum status st = must_write(l, e);

	return st == ST_OK ? l->backend->lease_take(l, stage, name, worker, e) : st;
}

enum status ledger_lease_release(struct ledger *l, int64_t stage, const char *name,
    int64_t worker, struct error *e)
{
	enum status st = must_write(l, e);

	return st == ST_OK ? l->backend->lease_release(l, stage, name, worker, e) : st;
}

/* ---- events and care ---- */

enum status ledger_event_add(struct ledger *l, int64_t run, const struct ledger_event *ev,
    struct error *e)
{
	enum status st = must_write(l, e);

	return st == ST_OK ? l->backend->event_add(l, run, ev, e) : st;
}

enum status ledger_events(struct ledger *l, int64_t run, size_t max, struct ledger_event *out,
    size_t *n, struct error *e)
{
	*n = 0;
	return l->backend->events(l, run, max, out, n, e);
}

enum status ledger_verify(struct ledger *l, struct buf *problem, struct error *e)
{
	enum status st;

	assert(!l->in_group);
	buf_clear(problem);
	buf_str(problem, "");
	st = l->backend->verify(l, problem, e);
	return st == ST_OK ? buf_check(problem, e) : st;
}

enum status ledger_shrink(struct ledger *l, struct error *e)
{
	enum status st = must_write(l, e);

	assert(!l->in_group);
	return st == ST_OK ? l->backend->shrink(l, e) : st;
}

int64_t ledger_bytes(struct ledger *l)
{
	return l->backend->bytes(l);
}
