#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "ledger/sqlite.h"

enum { TITLE_MAX = 1 << 16, SPEC_MAX = 64 << 20 };

static int64_t wall_ms(void)
{
	return sys_wall_ns() / 1000000;
}

/* ---- reading runs ---- */

#define RUN_COLUMNS \
	"id, name, key, generation, state, stage, created_wall_ms, changed_wall_ms, title, spec, " \
	"place, carries"

static enum status run_from(struct q *q, struct ledger_run *out, struct error *e)
{
	size_t len;
	int state = col_small(q, 4);
	enum status st;

	memset(out, 0, sizeof(*out));
	if (state < RUN_ACTIVE || state > RUN_CANCELLED)
		return sqlite_damaged(q->l, "a run is in a state that does not exist", e);
	out->id = col_int(q, 0);
	col_text(q, 1, out->name, sizeof(out->name));
	out->generation = col_small(q, 3);
	out->state = (enum run_state)state;
	out->stage = col_int(q, 5);
	out->created_wall_ms = col_int(q, 6);
	out->changed_wall_ms = col_int(q, 7);
	out->carries = col_int(q, 11) != 0;
	st = col_fixed(q, 2, out->key, LEDGER_ID_SIZE, e);
	if (st == ST_OK)
		st = col_dup(q, 8, TITLE_MAX, &out->title, &len, e);
	if (st == ST_OK)
		st = col_dup(q, 9, SPEC_MAX, &out->spec, &len, e);
	if (st == ST_OK)
		st = col_dup(q, 10, TITLE_MAX, &out->place, &len, e);
	if (st == ST_OK && (out->title == NULL || out->spec == NULL || out->place == NULL))
		st = sqlite_damaged(q->l, "a run has no title, spec or place", e);
	if (st != ST_OK)
		ledger_run_free(out);
	return st;
}

/* The one run that an open statement finds; closes it. */
static enum status one_run(struct q *q, struct ledger_run *out, bool *found, struct error *e)
{
	enum status st = ST_OK;

	*found = q_row(q);
	if (*found)
		st = run_from(q, out, e);
	st = q_end(q, st, e);
	if (st != ST_OK && *found)
		ledger_run_free(out);
	return st;
}

enum status sqlite_run_by_key(struct ledger *base, const uint8_t key[LEDGER_ID_SIZE],
    struct ledger_run *out, struct error *e)
{
	struct q q;
	bool found;
	enum status st;

	q_open(&q, sq(base), "SELECT " RUN_COLUMNS " FROM run WHERE key = ?");
	q_blob(&q, key, LEDGER_ID_SIZE);
	st = one_run(&q, out, &found, e);
	if (st == ST_OK && !found)
		st = error_set(e, ST_NOT_FOUND, "the ledger has no such run");
	return st;
}

enum status sqlite_run_by_name(struct ledger *base, const char *name, struct ledger_run *out,
    struct error *e)
{
	struct q q;
	bool found;
	enum status st;

	if (name[0] == '\0') {
		q_open(&q, sq(base), "SELECT " RUN_COLUMNS " FROM run ORDER BY id DESC LIMIT 1");
	} else {
		q_open(&q, sq(base), "SELECT " RUN_COLUMNS " FROM run WHERE name = ?");
		q_text(&q, name);
	}
	st = one_run(&q, out, &found, e);
	if (st == ST_OK && !found && name[0] != '\0') {
		q_open(&q, sq(base), "SELECT " RUN_COLUMNS " FROM run WHERE title = ?1 "
		    "OR substr(title, 1, length(?1) + 1) = ?1 || ' ' ORDER BY id DESC LIMIT 1");
		q_text(&q, name);
		st = one_run(&q, out, &found, e);
	}
	if (st == ST_OK && !found)
		st = name[0] == '\0' ? error_set(e, ST_NOT_FOUND, "the ledger has no run yet") :
		    error_set(e, ST_NOT_FOUND, "the ledger has no run named %.64s", name);
	return st;
}

enum status sqlite_run_list(struct ledger *base, struct ledger_run **out, size_t *n,
    struct error *e)
{
	void *list = NULL;
	size_t cap = 0;
	struct q q;
	enum status st = ST_OK;

	q_open(&q, sq(base), "SELECT " RUN_COLUMNS " FROM run ORDER BY id");
	while (st == ST_OK && q_row(&q)) {
		st = mem_grow(&list, &cap, *n + 1, sizeof(**out), e);
		if (st == ST_OK)
			st = run_from(&q, (struct ledger_run *)list + *n, e);
		if (st == ST_OK)
			++*n;
	}
	st = q_end(&q, st, e);
	*out = list;
	if (st != ST_OK) {
		ledger_run_list_free(list, *n);
		*out = NULL;
		*n = 0;
	}
	return st;
}

/* ---- making and changing runs ---- */

/* *first is the id of the first one. */
static enum status new_stages(struct sqlite_ledger *l, int64_t run, int generation,
    const struct ledger_run_def *def, int64_t *first, struct error *e)
{
	enum status st = ST_OK;
	size_t i;

	for (i = 0; st == ST_OK && i < def->n_stages; i++) {
		struct q q;

		q_open(&q, l, "INSERT INTO stage(run, generation, number, name) "
		    "VALUES (?, ?, ?, ?)");
		q_int(&q, run);
		q_int(&q, generation);
		q_int(&q, (int64_t)i);
		q_text(&q, def->stages[i]);
		st = q_run(&q, e);
		if (i == 0)
			*first = sqlite3_last_insert_rowid(l->db);
	}
	return st;
}

static enum status new_run_number(struct sqlite_ledger *l, int64_t *number, struct error *e)
{
	struct q q;
	enum status st;

	q_open(&q, l, "SELECT value FROM meta WHERE name = 'next_run'");
	st = q_value(&q, 0, number, e);
	if (st != ST_OK)
		return st;
	if (*number <= 0)
		return sqlite_damaged(l, "it does not know the number of its next run", e);
	q_open(&q, l, "UPDATE meta SET value = value + 1 WHERE name = 'next_run'");
	return q_run(&q, e);
}

static enum status insert_run(struct sqlite_ledger *l, const uint8_t key[LEDGER_ID_SIZE],
    const struct ledger_run_def *def, int64_t *run, struct error *e)
{
	char name[LEDGER_NAME_MAX];
	int64_t now = wall_ms();
	int64_t stage = 0;
	struct q q;
	enum status st = new_run_number(l, run, e);

	if (st == ST_OK)
		st = new_stages(l, *run, 1, def, &stage, e);
	if (st != ST_OK)
		return st;
	(void)snprintf(name, sizeof(name), "r%lld", (long long)*run);
	q_open(&q, l, "INSERT INTO run(id, name, key, generation, state, stage, created_wall_ms, "
	    "changed_wall_ms, title, spec, place, carries) "
	    "VALUES (?, ?, ?, 1, 0, ?, ?, ?, ?, ?, ?, 0)");
	q_int(&q, *run);
	q_text(&q, name);
	q_blob(&q, key, LEDGER_ID_SIZE);
	q_int(&q, stage);
	q_int(&q, now);
	q_int(&q, now);
	q_text(&q, def->title);
	q_text(&q, def->spec);
	q_text(&q, def->place == NULL ? "." : def->place);
	return q_run(&q, e);
}

static enum status no_run(int64_t run, struct error *e)
{
	return error_set(e, ST_NOT_FOUND, "the ledger has no run of number %lld", (long long)run);
}

static enum status run_by_id(struct sqlite_ledger *l, int64_t run, struct ledger_run *out,
    struct error *e)
{
	struct q q;
	bool found;
	enum status st;

	q_open(&q, l, "SELECT " RUN_COLUMNS " FROM run WHERE id = ?");
	q_int(&q, run);
	st = one_run(&q, out, &found, e);
	if (st == ST_OK && !found)
		st = no_run(run, e);
	return st;
}

static enum status check_texts(const struct ledger_run_def *def, struct error *e)
{
	size_t i;

	if (strlen(def->title) > TITLE_MAX || strlen(def->spec) > SPEC_MAX ||
	    (def->place != NULL && strlen(def->place) > TITLE_MAX))
		return error_set(e, ST_CONFIG, "the title or the options of a run are too long");
	for (i = 0; i < def->n_stages; i++) {
		if (strlen(def->stages[i]) >= LEDGER_NAME_MAX)
			return error_set(e, ST_CONFIG, "the stage's name %.80s is too long",
			    def->stages[i]);
	}
	return ST_OK;
}

enum status sqlite_run_create(struct ledger *base, const uint8_t key[LEDGER_ID_SIZE],
    const struct ledger_run_def *def, struct ledger_run *out, struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	int64_t run;
	int64_t taken;
	struct q q;
	enum status st = check_texts(def, e);

	if (st == ST_OK)
		st = op_begin(l, OP_SAVED, e);
	if (st != ST_OK)
		return st;
	q_open(&q, l, "SELECT id FROM run WHERE key = ?");
	q_blob(&q, key, LEDGER_ID_SIZE);
	st = q_value(&q, 0, &taken, e);
	if (st == ST_OK && taken != 0)
		st = error_set(e, ST_EXISTS, "run r%lld is there already", (long long)taken);
	if (st == ST_OK)
		st = insert_run(l, key, def, &run, e);
	if (st == ST_OK)
		st = run_by_id(l, run, out, e);
	st = op_end(l, st, e);
	if (st != ST_OK)
		ledger_run_free(out);
	return st;
}

#define STAGES_OF_GENERATION "(SELECT id FROM stage WHERE run = ? AND generation = ?)"

/* Leases of a generation that will not be gone on with. */
static enum status void_leases(struct sqlite_ledger *l, const struct ledger_run *run,
    struct error *e)
{
	enum status st = ST_OK;
	struct row r;
	struct q q;
	bool found;

	for (;;) {
		q_open(&q, l, "SELECT " ROW_COLUMNS " FROM shard INDEXED BY shard_open "
		    "WHERE stage IN " STAGES_OF_GENERATION " AND " IS_LEASED " LIMIT 1");
		q_int(&q, run->id);
		q_int(&q, run->generation);
		found = q_row(&q);
		if (found)
			st = row_from(&q, &r, e);
		st = q_end(&q, st, e);
		if (st != ST_OK || !found)
			return st;
		st = row_void(l, &r, e);
		if (st == ST_OK)
			st = row_put(l, &r, NULL, e);
		if (st != ST_OK)
			return st;
	}
}

static enum status may_renew(struct sqlite_ledger *l, const struct ledger_run *run,
    const struct ledger_run *now, struct error *e)
{
	struct q q;
	int64_t accepted;
	enum status st;

	if (now->generation != run->generation)
		return error_set(e, ST_FENCED, "generation %d of run %s is not the newest any more",
		    run->generation, run->name);
	q_open(&q, l, "SELECT row FROM shard INDEXED BY shard_open "
	    "WHERE stage IN " STAGES_OF_GENERATION " AND " IS_ACCEPTED " LIMIT 1");
	q_int(&q, now->id);
	q_int(&q, now->generation);
	st = q_value(&q, 0, &accepted, e);
	if (st == ST_OK && accepted != 0)
		st = error_set(e, ST_BUSY, "run %s still has outputs to publish", run->name);
	return st;
}

static enum status forget_checkpoints(struct sqlite_ledger *l, const struct ledger_run *run,
    struct error *e)
{
	struct q q;

	q_open(&q, l, "DELETE FROM checkpoint WHERE shard IN (SELECT row FROM shard "
	    "WHERE stage IN " STAGES_OF_GENERATION ")");
	q_int(&q, run->id);
	q_int(&q, run->generation);
	return q_run(&q, e);
}

static enum status renew(struct sqlite_ledger *l, const struct ledger_run *old,
    const struct ledger_run_def *def, struct error *e)
{
	int64_t stage = 0;
	struct q q;
	enum status st = void_leases(l, old, e);

	if (st == ST_OK)
		st = forget_checkpoints(l, old, e);
	if (st == ST_OK)
		st = new_stages(l, old->id, old->generation + 1, def, &stage, e);
	if (st != ST_OK)
		return st;
	q_open(&q, l, "UPDATE run SET generation = ?, state = 0, stage = ?, changed_wall_ms = ?, "
	    "spec = ?, carries = ? WHERE id = ?");
	q_int(&q, old->generation + 1);
	q_int(&q, stage);
	q_int(&q, wall_ms());
	q_text(&q, def->spec);
	q_int(&q, def->carries);
	q_int(&q, old->id);
	return q_run(&q, e);
}

enum status sqlite_run_renew(struct ledger *base, struct ledger_run *run,
    const struct ledger_run_def *def, struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	struct ledger_run now = {0};
	enum status st = check_texts(def, e);

	if (st == ST_OK)
		st = op_begin(l, OP_SAVED, e);
	if (st != ST_OK)
		return st;
	st = run_by_id(l, run->id, &now, e);
	if (st == ST_OK)
		st = may_renew(l, run, &now, e);
	if (st == ST_OK)
		st = renew(l, &now, def, e);
	ledger_run_free(&now);
	if (st == ST_OK)
		st = run_by_id(l, run->id, &now, e);
	st = op_end(l, st, e);
	if (st != ST_OK) {
		ledger_run_free(&now);
		return st;
	}
	ledger_run_free(run);
	*run = now;
	return ST_OK;
}

enum status sqlite_run_set_spec(struct ledger *base, struct ledger_run *run, const char *spec,
    struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	char *copy = mem_dup(spec, strlen(spec));
	struct q q;
	enum status st;

	if (copy == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	st = op_begin(l, OP_PLAIN, e);
	if (st == ST_OK) {
		q_open(&q, l, "UPDATE run SET spec = ?, changed_wall_ms = ? WHERE id = ? AND "
		    "generation = ?");
		q_text(&q, spec);
		q_int(&q, wall_ms());
		q_int(&q, run->id);
		q_int(&q, run->generation);
		st = q_run(&q, e);
		if (st == ST_OK && sqlite3_changes64(l->db) == 0)
			st = error_set(e, ST_FENCED, "%s has begun another generation", run->name);
		st = op_end(l, st, e);
	}
	if (st == ST_OK) {
		free(run->spec);
		run->spec = copy;
	} else {
		free(copy);
	}
	return st;
}

enum status sqlite_run_set_state(struct ledger *base, int64_t run, enum run_state state,
    struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	struct q q;
	enum status st = op_begin(l, OP_PLAIN, e);

	if (st != ST_OK)
		return st;
	q_open(&q, l, "UPDATE run SET state = ?, changed_wall_ms = ? WHERE id = ?");
	q_int(&q, state);
	q_int(&q, wall_ms());
	q_int(&q, run);
	st = q_run(&q, e);
	if (st == ST_OK && sqlite3_changes64(l->db) == 0)
		st = no_run(run, e);
	return op_end(l, st, e);
}

/* ---- taking away ---- */

/* Removes up to *room shards of a stage with their attempts. */
static enum status prune_shards(struct sqlite_ledger *l, int64_t stage, int64_t *room,
    struct error *e)
{
	struct q q;
	enum status st;

	q_open(&q, l, "DELETE FROM attempt WHERE shard IN (SELECT row FROM shard WHERE stage = ? "
	    "ORDER BY ordinal LIMIT ?)");
	q_int(&q, stage);
	q_int(&q, *room);
	st = q_run(&q, e);
	if (st != ST_OK)
		return st;
	q_open(&q, l, "DELETE FROM checkpoint WHERE shard IN (SELECT row FROM shard WHERE stage = ? "
	    "ORDER BY ordinal LIMIT ?)");
	q_int(&q, stage);
	q_int(&q, *room);
	st = q_run(&q, e);
	if (st != ST_OK)
		return st;
	q_open(&q, l, "DELETE FROM shard WHERE row IN (SELECT row FROM shard WHERE stage = ? "
	    "ORDER BY ordinal LIMIT ?)");
	q_int(&q, stage);
	q_int(&q, *room);
	st = q_run(&q, e);
	if (st == ST_OK)
		*room -= sqlite3_changes64(l->db);
	return st;
}

/* Marks a stage's rows as gone; the counters stay as they were. */
static enum status prune_stage(struct sqlite_ledger *l, int64_t stage, struct error *e)
{
	struct q q;
	enum status st;

	q_open(&q, l, "UPDATE stage SET pruned = 1 WHERE id = ?");
	q_int(&q, stage);
	st = q_run(&q, e);
	if (st != ST_OK)
		return st;
	q_open(&q, l, "DELETE FROM chunk WHERE stage = ?");
	q_int(&q, stage);
	st = q_run(&q, e);
	if (st != ST_OK)
		return st;
	q_open(&q, l, "DELETE FROM lease WHERE stage = ?");
	q_int(&q, stage);
	return q_run(&q, e);
}

/* The oldest stage of an older generation that still has rows; 0: none. */
static enum status stage_to_prune(struct sqlite_ledger *l, int64_t run, int64_t *stage,
    struct error *e)
{
	struct q q;

	q_open(&q, l, "SELECT id FROM stage WHERE run = ? "
	    "AND generation < (SELECT generation FROM run WHERE run.id = stage.run) "
	    "AND (pruned = 0 OR EXISTS (SELECT 1 FROM shard WHERE shard.stage = stage.id)) "
	    "ORDER BY id LIMIT 1");
	q_int(&q, run);
	return q_value(&q, 0, stage, e);
}

enum status sqlite_generation_prune(struct ledger *base, int64_t run, int max_rows, bool *more,
    struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	int64_t room = max_rows;
	int64_t stage = 0;
	enum status st = op_begin(l, OP_SAVED, e);

	if (st != ST_OK)
		return st;
	st = stage_to_prune(l, run, &stage, e);
	while (st == ST_OK && stage != 0 && room > 0) {
		st = prune_stage(l, stage, e);
		if (st == ST_OK)
			st = prune_shards(l, stage, &room, e);
		if (st == ST_OK)
			st = stage_to_prune(l, run, &stage, e);
	}
	*more = st == ST_OK && stage != 0;
	return op_end(l, st, e);
}

enum status sqlite_run_remove(struct ledger *base, int64_t run, struct error *e)
{
	static const char *const sql[] = {
		("DELETE FROM attempt WHERE shard IN (SELECT row FROM shard WHERE stage IN "
		"(SELECT id FROM stage WHERE run = ?))"),
		("DELETE FROM checkpoint WHERE shard IN (SELECT row FROM shard WHERE stage IN "
		"(SELECT id FROM stage WHERE run = ?))"),
		"DELETE FROM shard WHERE stage IN (SELECT id FROM stage WHERE run = ?)",
		"DELETE FROM chunk WHERE stage IN (SELECT id FROM stage WHERE run = ?)",
		"DELETE FROM lease WHERE stage IN (SELECT id FROM stage WHERE run = ?)",
		"DELETE FROM stage WHERE run = ?",
		"DELETE FROM output WHERE run = ? AND published = 0",
		"UPDATE output SET run = 0, stage = 0, shard = 0, planned = 0 WHERE run = ?",
		"DELETE FROM worker WHERE run = ?",
		"DELETE FROM spent WHERE run = ?",
		"DELETE FROM event WHERE run = ?",
		"DELETE FROM run WHERE id = ?",
	};
	struct sqlite_ledger *l = sq(base);
	enum status st = op_begin(l, OP_SAVED, e);
	struct q q;
	size_t i;

	if (st != ST_OK)
		return st;
	for (i = 0; st == ST_OK && i < sizeof(sql) / sizeof(sql[0]); i++) {
		q_open(&q, l, sql[i]);
		q_int(&q, run);
		st = q_run(&q, e);
	}
	if (st == ST_OK && sqlite3_changes64(l->db) == 0)
		st = no_run(run, e);
	return op_end(l, st, e);
}

/* ---- stages ---- */

static void add_pending(const struct sqlite_ledger *l, struct ledger_stage *out)
{
	size_t i;
	int k;

	for (i = 0; i < l->n_pending; i++) {
		const struct counters *c = &l->pending[i];

		if (c->stage != out->id)
			continue;
		out->planned += c->add[COUNTER_PLANNED];
		for (k = 0; k < SHARD_STATES; k++)
			out->count[k] += c->add[COUNTER_STATE + k];
		out->attempts += c->add[COUNTER_ATTEMPTS];
		for (k = 0; k < CAUSE_COUNT; k++)
			out->ended[k] += c->add[COUNTER_ENDED + k];
		out->run_ms += c->add[COUNTER_RUN_MS];
		out->lost_ms += c->add[COUNTER_LOST_MS];
		out->with_files += c->add[COUNTER_WITH_FILES];
	}
}

#define STAGE_COLUMNS \
	"id, run, generation, plan_complete, sealed, number, name, " COUNTER_COLUMNS

static void stage_from(const struct q *q, struct ledger_stage *out)
{
	const int first = 7; /* column of the first counter */
	int i;

	out->id = col_int(q, 0);
	out->run = col_int(q, 1);
	out->generation = col_small(q, 2);
	out->plan_complete = col_int(q, 3) != 0;
	out->sealed = col_int(q, 4) != 0;
	out->number = col_small(q, 5);
	col_text(q, 6, out->name, sizeof(out->name));
	out->planned = col_int(q, first + COUNTER_PLANNED);
	for (i = 0; i < SHARD_STATES; i++)
		out->count[i] = col_int(q, first + COUNTER_STATE + i);
	out->attempts = col_int(q, first + COUNTER_ATTEMPTS);
	for (i = 0; i < CAUSE_COUNT; i++)
		out->ended[i] = col_int(q, first + COUNTER_ENDED + i);
	out->run_ms = col_int(q, first + COUNTER_RUN_MS);
	out->lost_ms = col_int(q, first + COUNTER_LOST_MS);
	out->with_files = col_int(q, first + COUNTER_WITH_FILES);
}

static enum status no_stage(int64_t stage, struct error *e)
{
	return error_set(e, ST_NOT_FOUND, "the ledger has no stage of number %lld",
	    (long long)stage);
}

enum status sqlite_stage_get(struct ledger *base, int64_t stage, struct ledger_stage *out,
    struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	struct q q;
	bool found;
	enum status st;

	q_open(&q, l, "SELECT " STAGE_COLUMNS " FROM stage WHERE id = ?");
	q_int(&q, stage);
	found = q_row(&q);
	if (found)
		stage_from(&q, out);
	st = q_close(&q, e);
	if (st == ST_OK && !found)
		return no_stage(stage, e);
	add_pending(l, out);
	return st;
}

enum status sqlite_run_stages(struct ledger *base, int64_t run, int generation,
    struct ledger_stage *out, size_t max, size_t *n, struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	struct q q;
	size_t i;
	enum status st;

	q_open(&q, l, "SELECT " STAGE_COLUMNS " FROM stage WHERE run = ?1 AND generation = "
	    "iif(?2 > 0, ?2, (SELECT generation FROM run WHERE id = ?1)) ORDER BY number");
	q_int(&q, run);
	q_int(&q, generation);
	while (*n < max && q_row(&q)) {
		memset(&out[*n], 0, sizeof(*out));
		stage_from(&q, &out[(*n)++]);
	}
	st = q_close(&q, e);
	for (i = 0; i < *n; i++)
		add_pending(l, &out[i]);
	return st;
}

enum status stage_info_get(struct sqlite_ledger *l, int64_t stage, struct stage_info *out,
    struct error *e)
{
	struct q q;
	bool found;
	size_t i;
	enum status st;

	memset(out, 0, sizeof(*out));
	q_open(&q, l, "SELECT stage.id, stage.run, run.generation, stage.generation, plan_complete, "
	    "sealed, plan_seq, planned FROM stage JOIN run ON run.id = stage.run "
	    "WHERE stage.id = ?");
	q_int(&q, stage);
	found = q_row(&q);
	if (found) {
		out->id = col_int(&q, 0);
		out->run = col_int(&q, 1);
		out->newest = col_small(&q, 2);
		out->generation = col_small(&q, 3);
		out->plan_complete = col_int(&q, 4) != 0;
		out->sealed = col_int(&q, 5) != 0;
		out->plan_seq = col_int(&q, 6);
		out->planned = col_int(&q, 7);
	}
	st = q_close(&q, e);
	if (st == ST_OK && !found)
		return no_stage(stage, e);
	for (i = 0; i < l->n_pending; i++) {
		if (l->pending[i].stage == stage)
			out->planned += l->pending[i].add[COUNTER_PLANNED];
	}
	return st;
}

enum status stage_must_be_open(const struct stage_info *s, struct error *e)
{
	if (s->newest != s->generation)
		return error_set(e, ST_FENCED, "generation %d of run r%lld is not the newest any "
		    "more", s->generation, (long long)s->run);
	if (s->sealed)
		return error_set(e, ST_FENCED, "generation %d of run r%lld is sealed",
		    s->generation, (long long)s->run);
	return ST_OK;
}

/* With its last stage sealed a run is finished. */
static enum status finish_run_of(struct sqlite_ledger *l, int64_t run, struct error *e)
{
	struct q q;

	q_open(&q, l, "UPDATE run SET state = 1, changed_wall_ms = ?1 WHERE id = ?2 AND state = 0 "
	    "AND NOT EXISTS (SELECT 1 FROM stage WHERE stage.run = ?2 "
	    "AND stage.generation = run.generation AND sealed = 0)");
	q_int(&q, wall_ms());
	q_int(&q, run);
	return q_run(&q, e);
}

enum status sqlite_stage_seal(struct ledger *base, int64_t stage, int64_t allow_failed,
    struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	struct ledger_stage s = {0};
	struct q q;
	int64_t done;
	enum status st = op_begin(l, OP_PLAIN, e);

	if (st != ST_OK)
		return st;
	st = sqlite_stage_get(base, stage, &s, e);
	done = s.count[SHARD_PUBLISHED];
	if (ledger_stage_failed(&s) <= allow_failed)
		done += ledger_stage_failed(&s);
	if (st == ST_OK && !s.sealed && (!s.plan_complete || done != s.planned))
		st = error_set(e, ST_BUSY, "the stage cannot be sealed: %lld of %lld shards are "
		    "published%s", (long long)s.count[SHARD_PUBLISHED], (long long)s.planned,
		    s.plan_complete ? "" : " and its plan is not complete");
	if (st == ST_OK && !s.sealed) {
		q_open(&q, l, "UPDATE stage SET sealed = 1 WHERE id = ?");
		q_int(&q, stage);
		st = q_run(&q, e);
		if (st == ST_OK)
			st = finish_run_of(l, s.run, e);
	}
	return op_end(l, st, e);
}
