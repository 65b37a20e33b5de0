/* Planning. A row's ordinal says where it stands:
 *   0 and up             in the list
 *   -row                 unseen: planned before the last restart, not yet since
 *   SQLITE_DROPPED - row has left the list; it is kept, so that an item which
 *                        comes back finds what was done for it */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ledger/files.h"
#include "ledger/sqlite.h"

struct plan_call {
	struct sqlite_ledger *l;
	struct stage_info stage;
	const struct ledger_carry *carry; /* or NULL */
	int64_t next_row;
};

/* ---- identities ---- */

/* first 16 bytes of SHA-256(id, occurrence as 8 bytes little-endian) */
static void occurrence_id(struct hash *h, const uint8_t id[LEDGER_ID_SIZE], int64_t occurrence,
    uint8_t out[LEDGER_ID_SIZE])
{
	uint8_t digest[HASH_SIZE];

	hash_update(h, id, LEDGER_ID_SIZE);
	hash_u64(h, (uint64_t)occurrence);
	hash_final(h, digest);
	memcpy(out, digest, LEDGER_ID_SIZE);
}

/* A stage and the same stage of the generations before its own. */
#define WITH_OLDER \
	"(SELECT o.id FROM stage AS s JOIN stage AS o ON o.run = s.run AND o.name = s.name " \
	"AND o.generation <= s.generation WHERE s.id = ?)"

/* `older`: of older generations too, and only what was tried or taken over. */
static enum status index_rows(struct sqlite_ledger *l, struct plan_index *x, int64_t first_row,
    bool older, struct error *e)
{
	uint8_t id[LEDGER_ID_SIZE];
	struct q q;
	enum status st = ST_OK;

	x->ident = ident_create(first_row);
	if (x->ident == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	q_open(&q, l, older ? "SELECT row, id FROM shard WHERE stage IN " WITH_OLDER
	    " AND (state = 3 OR attempts > 0)" : "SELECT row, id FROM shard WHERE stage = ?");
	q_int(&q, x->stage);
	while (st == ST_OK && q_row(&q)) {
		st = col_fixed(&q, 1, id, sizeof(id), e);
		if (st == ST_OK)
			st = ident_add(x->ident, id, col_int(&q, 0), e);
	}
	return q_end(&q, st, e);
}

/* Makes x the index of that stage as it is now. */
static enum status index_ready(struct sqlite_ledger *l, struct plan_index *x, int64_t stage,
    int64_t seq, bool older, int64_t next_row, struct error *e)
{
	struct q q;
	int64_t first_row;
	enum status st;

	if (x->ident != NULL && x->stage == stage && x->seq == seq)
		return ST_OK;
	plan_index_drop(x);
	x->stage = stage;
	x->seq = seq;
	q_open(&q, l, older ? "SELECT min(row) FROM shard WHERE stage IN " WITH_OLDER
	    : "SELECT min(row) FROM shard WHERE stage = ?");
	q_int(&q, stage);
	st = q_value(&q, next_row, &first_row, e);
	if (st == ST_OK)
		st = index_rows(l, x, first_row, older, e);
	if (st != ST_OK)
		plan_index_drop(x);
	return st;
}

/* A planned row, as far as planning looks at it. */
struct known {
	struct row r;     /* r.row 0: there is none */
	int64_t repeats;  /* equal items seen after it */
	bool has_names;   /* a final name or files */
};

/* stage 0: of any. */
static enum status known_row(struct sqlite_ledger *l, int64_t stage, int64_t row,
    const uint8_t id[LEDGER_ID_SIZE], struct known *k, struct error *e)
{
	struct q q;
	size_t len;
	enum status st = ST_OK;

	q_open(&q, l, "SELECT " ROW_COLUMNS ", id, repeats, "
	    "final IS NOT NULL OR files IS NOT NULL FROM shard WHERE row = ?");
	q_int(&q, row);
	if (q_row(&q)) {
		const void *stored = col_bytes(&q, ROW_END, &len);

		if (len == LEDGER_ID_SIZE && memcmp(stored, id, len) == 0 &&
		    (stage == 0 || col_int(&q, 1) == stage)) {
			st = row_from(&q, &k->r, e);
			k->repeats = col_int(&q, ROW_END + 1);
			k->has_names = col_int(&q, ROW_END + 2) != 0;
		}
	}
	return q_end(&q, st, e);
}

static enum status find_row_of(struct sqlite_ledger *l, const struct plan_index *x,
    const uint8_t id[LEDGER_ID_SIZE], struct known *k, struct error *e)
{
	struct ident_walk walk;
	int64_t row;
	enum status st = ST_OK;

	memset(k, 0, sizeof(*k));
	ident_find(x->ident, id, &walk);
	while (st == ST_OK && k->r.row == 0 && ident_next(x->ident, &walk, &row))
		st = known_row(l, x->stage, row, id, k, e);
	return st;
}

/* ---- taking over from an older generation ---- */

static bool same_name(const char *a, size_t a_len, const char *b, size_t b_len)
{
	if (a == NULL || b == NULL)
		return a == NULL && b == NULL;
	return a_len == b_len && memcmp(a, b, a_len) == 0;
}

/* Are all these outputs still the row's own, and (with `carry`) in their place? */
static enum status owns_all(struct sqlite_ledger *l, int64_t row, const char *json,
    const struct ledger_carry *carry, bool *all, struct error *e)
{
	struct ledger_file *files = NULL;
	size_t n = 0;
	size_t i;
	enum status st = ledger_files_parse(json, &files, &n, e);

	for (i = 0; st == ST_OK && *all && i < n; i++) {
		if (files[i].final_path[0] == '\0')
			continue;
		st = output_is_mine(l, row, files[i].final_path, strlen(files[i].final_path), all,
		    e);
		if (st == ST_OK && *all && carry != NULL && carry->is_there != NULL)
			*all = carry->is_there(carry->arg, &files[i]);
	}
	ledger_files_free(files, n);
	return st;
}

/* The newest row of that identity: what an older one did may have been done
 * otherwise since. */
static enum status find_newest_of(struct sqlite_ledger *l, const struct plan_index *x,
    const uint8_t id[LEDGER_ID_SIZE], struct known *k, struct error *e)
{
	struct ident_walk walk;
	int64_t row;
	enum status st = ST_OK;

	memset(k, 0, sizeof(*k));
	ident_find(x->ident, id, &walk);
	while (st == ST_OK && ident_next(x->ident, &walk, &row)) {
		struct known one = {0};

		if (row > k->r.row)
			st = known_row(l, 0, row, id, &one, e);
		if (one.r.row != 0)
			*k = one;
	}
	return st;
}

/* The published row of an older generation that this item repeats: old->r.row
 * is 0 when there is none. *files is a new string or NULL. */
static enum status find_old(struct plan_call *p, const struct ledger_item *it,
    const uint8_t id[LEDGER_ID_SIZE], struct known *old, char **files, struct error *e)
{
	char *final = NULL;
	size_t final_len;
	bool usable;
	enum status st = find_newest_of(p->l, &p->l->carry, id, old, e);

	*files = NULL;
	if (st != ST_OK || old->r.row == 0)
		return st;
	usable = old->r.s.state == SHARD_PUBLISHED &&
	    file_version_equal(&old->r.version, &it->version);
	if (usable)
		st = row_names(p->l, old->r.row, &final, &final_len, files, e);
	if (st == ST_OK && usable)
		usable = same_name(final, final_len, it->final, it->final_len);
	if (st == ST_OK && usable && *files != NULL)
		st = owns_all(p->l, old->r.row, *files, p->carry, &usable, e);
	free(final);
	if (st != ST_OK || !usable) {
		free(*files);
		*files = NULL;
		old->r.row = 0;
	}
	return st;
}

static enum status take_names(struct plan_call *p, int64_t row, const char *json, struct error *e)
{
	struct ledger_file *files = NULL;
	size_t n = 0;
	size_t i;
	enum status st = ledger_files_parse(json, &files, &n, e);

	for (i = 0; st == ST_OK && i < n; i++) {
		if (files[i].final_path[0] != '\0')
			st = output_plan(p->l, &p->stage, row, files[i].final_path,
			    strlen(files[i].final_path), e);
	}
	ledger_files_free(files, n);
	return st;
}

/* ---- new rows ---- */

struct new_row {
	const struct ledger_item *item;
	const uint8_t *id;
	int64_t occurrence;
	int64_t first_row; /* of its first occurrence, 0 for that itself */
};

static enum status insert_row(struct plan_call *p, const struct new_row *new, const struct row *r,
    const char *files, struct error *e)
{
	const struct ledger_item *it = new->item;
	struct q q;

	q_open(&q, p->l, "INSERT INTO shard(row, stage, ordinal, id, state, epoch, floor, "
	    "n_checkpointed, n_interrupted, n_lost, n_failed, n_timed_out, n_out_of_memory, "
	    "n_infrastructure, alone, n_taken, asks_since, spot_from, attempts, worker, "
	    "not_before, was_file, v_exists, v_size, "
	    "v_mtime_ns, part, offset, length, occurrence, first_row, repeats, item, final, files) "
	    "VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ?, ?, ?, ?, ?, ?, ?, "
	    "?, ?, 0, ?, ?, ?)");
	q_int(&q, r->row);
	q_int(&q, r->stage);
	q_int(&q, r->ordinal);
	q_blob(&q, new->id, LEDGER_ID_SIZE);
	q_int(&q, r->s.state);
	q_int(&q, r->s.epoch);
	q_int(&q, r->s.floor);
	q_int(&q, r->was_file);
	q_int(&q, it->version.exists);
	q_int(&q, it->version.size);
	q_int(&q, it->version.mtime_ns);
	q_int(&q, it->part);
	q_int(&q, it->offset);
	q_int(&q, it->length);
	q_int(&q, new->occurrence);
	if (new->first_row != 0)
		q_int(&q, new->first_row);
	else
		q_blob(&q, NULL, 0);
	q_blob(&q, it->item_len == 0 ? "" : it->item, it->item_len);
	q_blob(&q, it->final, it->final_len);
	q_text(&q, files);
	return q_run(&q, e);
}

static enum status add_row(struct plan_call *p, const struct new_row *new, int64_t ordinal,
    struct error *e)
{
	const struct ledger_item *it = new->item;
	struct row r = {
		.row = p->next_row, .stage = p->stage.id, .ordinal = ordinal,
		.was_file = it->version.exists,
	};
	struct known old = {0};
	char *files = NULL;
	enum status st = ST_OK;

	if (p->carry != NULL)
		st = find_old(p, it, new->id, &old, &files, e);
	if (st == ST_OK && old.r.row != 0) {
		r.s.state = SHARD_PUBLISHED;
		r.s.epoch = old.r.s.epoch;
		r.s.floor = old.r.s.floor;
		r.was_file = r.was_file || old.r.was_file;
	}
	if (st == ST_OK)
		st = insert_row(p, new, &r, files, e);
	if (st == ST_OK && it->final != NULL)
		st = output_plan(p->l, &p->stage, r.row, it->final, it->final_len, e);
	if (st == ST_OK && files != NULL)
		st = take_names(p, r.row, files, e);
	if (st == ST_OK)
		st = ident_add(p->l->plan.ident, new->id, r.row, e);
	if (st == ST_OK)
		st = row_count(p->l, &r, 1, e);
	p->next_row++;
	free(files);
	return st;
}

/* ---- known rows ---- */

/* True when what a known row has done cannot stand: another input, another
 * name, or a name that somebody else has written since. */
static enum status is_stale(struct plan_call *p, const struct known *k,
    const struct ledger_item *it, const char *final, size_t final_len, const char *files,
    bool *stale, struct error *e)
{
	bool mine = true;
	enum status st = ST_OK;

	*stale = !file_version_equal(&k->r.version, &it->version) ||
	    !same_name(final, final_len, it->final, it->final_len);
	if (!*stale && k->r.s.state == SHARD_PUBLISHED && files != NULL)
		st = owns_all(p->l, k->r.row, files, NULL, &mine, e);
	*stale = *stale || !mine;
	return st;
}

static enum status update_known(struct plan_call *p, const struct known *k,
    const struct ledger_item *it, bool stale, struct error *e)
{
	struct q q;
	enum status st;

	q_open(&q, p->l, "UPDATE shard SET ordinal = ?, was_file = ?, v_exists = ?, v_size = ?, "
	    "v_mtime_ns = ?, part = ?, offset = ?, length = ?, final = ? WHERE row = ?");
	q_int(&q, k->r.ordinal);
	q_int(&q, k->r.was_file);
	q_int(&q, it->version.exists);
	q_int(&q, it->version.size);
	q_int(&q, it->version.mtime_ns);
	q_int(&q, it->part);
	q_int(&q, it->offset);
	q_int(&q, it->length);
	q_blob(&q, it->final, it->final_len);
	q_int(&q, k->r.row);
	st = q_run(&q, e);
	if (st == ST_OK && stale)
		st = row_put(p->l, &k->r, "", e);
	return st;
}

static enum status find_again(struct plan_call *p, struct known *k, const struct ledger_item *it,
    int64_t ordinal, struct error *e)
{
	char *final = NULL;
	char *files = NULL;
	size_t final_len = 0;
	bool stale = false;
	enum status st = ST_OK;

	if (k->has_names)
		st = row_names(p->l, k->r.row, &final, &final_len, &files, e);
	if (st == ST_OK)
		st = is_stale(p, k, it, final, final_len, files, &stale, e);
	if (st == ST_OK && stale)
		st = row_void(p->l, &k->r, e);
	if (st == ST_OK && final != NULL && !same_name(final, final_len, it->final, it->final_len))
		st = output_release(p->l, k->r.row, final, final_len, e);
	k->r.ordinal = ordinal;
	k->r.was_file = k->r.was_file || it->version.exists;
	if (st == ST_OK)
		st = update_known(p, k, it, stale, e);
	if (st == ST_OK && it->final != NULL)
		st = output_plan(p->l, &p->stage, k->r.row, it->final, it->final_len, e);
	if (st == ST_OK && !stale && files != NULL)
		st = take_names(p, k->r.row, files, e);
	if (st == ST_OK)
		st = row_count(p->l, &k->r, 1, e);
	free(final);
	free(files);
	return st;
}

static enum status put_repeats(struct plan_call *p, int64_t row, int64_t repeats, struct error *e)
{
	struct q q;

	q_open(&q, p->l, "UPDATE shard SET repeats = ? WHERE row = ?");
	q_int(&q, repeats);
	q_int(&q, row);
	return q_run(&q, e);
}

static enum status plan_one(struct plan_call *p, const struct ledger_item *it, int64_t ordinal,
    struct error *e)
{
	uint8_t id[LEDGER_ID_SIZE];
	struct new_row new = {.item = it, .id = it->id};
	struct known k;
	enum status st = find_row_of(p->l, &p->l->plan, it->id, &k, e);

	if (st == ST_OK && k.r.row != 0 && k.r.ordinal >= 0) {
		new.occurrence = k.repeats + 1;
		new.first_row = k.r.row;
		new.id = id;
		occurrence_id(p->l->hash, it->id, new.occurrence, id);
		st = put_repeats(p, k.r.row, new.occurrence, e);
		if (st == ST_OK)
			st = find_row_of(p->l, &p->l->plan, id, &k, e);
		if (st == ST_OK && k.r.row != 0 && k.r.ordinal >= 0)
			return sqlite_damaged(p->l, "it counts a repeated item wrongly", e);
	}
	if (st != ST_OK)
		return st;
	if (k.r.row != 0)
		return find_again(p, &k, it, ordinal, e);
	return add_row(p, &new, ordinal, e);
}

/* ---- plan_items ---- */

static enum status check_carry(struct plan_call *p, struct error *e)
{
	struct stage_info old;
	int64_t pruned;
	struct q q;
	enum status st = stage_info_get(p->l, p->carry->stage, &old, e);

	if (st != ST_OK)
		return st;
	q_open(&q, p->l, "SELECT pruned FROM stage WHERE id = ?");
	q_int(&q, old.id);
	st = q_value(&q, 0, &pruned, e);
	if (st != ST_OK || pruned != 0) {
		p->carry = NULL;
		return st;
	}
	if (old.run != p->stage.run || old.id >= p->stage.id)
		return error_set(e, ST_CONFIG, "stage %lld is not of an older generation of this run",
		    (long long)p->carry->stage);
	return index_ready(p->l, &p->l->carry, old.id, old.plan_seq, true, p->next_row, e);
}

static enum status may_plan(const struct stage_info *s, int64_t first, struct error *e)
{
	enum status st = stage_must_be_open(s, e);

	if (st != ST_OK)
		return st;
	if (s->plan_complete)
		return error_set(e, ST_FENCED, "the plan is complete with %lld shards",
		    (long long)s->planned);
	if (s->planned != first)
		return error_set(e, ST_FENCED, "the plan goes on at shard %lld and not at %lld; "
		    "another process is planning", (long long)s->planned, (long long)first);
	return ST_OK;
}

static enum status plan_begin(struct plan_call *p, int64_t stage, int64_t first, struct error *e)
{
	struct q q;
	enum status st = stage_info_get(p->l, stage, &p->stage, e);

	if (st == ST_OK)
		st = may_plan(&p->stage, first, e);
	if (st != ST_OK)
		return st;
	q_open(&q, p->l, "SELECT value FROM meta WHERE name = 'next_row'");
	st = q_value(&q, 0, &p->next_row, e);
	if (st == ST_OK && (p->next_row <= 0 || p->next_row >= -SQLITE_DROPPED))
		st = sqlite_damaged(p->l, "it does not know the number of its next row", e);
	if (st == ST_OK)
		st = index_ready(p->l, &p->l->plan, stage, p->stage.plan_seq, false, p->next_row, e);
	if (st == ST_OK && p->carry != NULL)
		st = check_carry(p, e);
	return st;
}

static enum status plan_end(struct plan_call *p, struct error *e)
{
	struct q q;
	enum status st;

	q_open(&q, p->l, "UPDATE meta SET value = ? WHERE name = 'next_row'");
	q_int(&q, p->next_row);
	st = q_run(&q, e);
	if (st != ST_OK)
		return st;
	q_open(&q, p->l, "UPDATE stage SET plan_seq = plan_seq + 1 WHERE id = ?");
	q_int(&q, p->stage.id);
	st = q_run(&q, e);
	p->l->plan.seq = p->stage.plan_seq + 1;
	return st;
}

enum status sqlite_plan_items(struct ledger *base, int64_t stage, int64_t first,
    const struct ledger_item *items, size_t n, const struct ledger_carry *carry, size_t *bad,
    struct error *e)
{
	struct plan_call p = {.l = sq(base), .carry = carry};
	size_t i;
	enum status st = op_begin(p.l, OP_SAVED, e);

	if (st != ST_OK)
		return st;
	st = plan_begin(&p, stage, first, e);
	p.l->op_planned = p.l->op_planned || st == ST_OK;
	for (i = 0; st == ST_OK && i < n; i++) {
		*bad = i;
		st = plan_one(&p, &items[i], first + (int64_t)i, e);
	}
	if (st == ST_OK)
		st = plan_end(&p, e);
	return op_end(p.l, st, e);
}

/* ---- chunks ---- */

enum status sqlite_plan_chunk_get(struct ledger *base, int64_t stage, int64_t index,
    uint8_t digest[HASH_SIZE], struct error *e)
{
	struct q q;
	enum status st = ST_OK;
	bool found;

	q_open(&q, sq(base), "SELECT digest FROM chunk WHERE stage = ? AND number = ?");
	q_int(&q, stage);
	q_int(&q, index);
	found = q_row(&q);
	if (found)
		st = col_fixed(&q, 0, digest, HASH_SIZE, e);
	st = q_end(&q, st, e);
	if (st == ST_OK && !found)
		st = error_set(e, ST_NOT_FOUND, "chunk %lld is not planned", (long long)index);
	return st;
}

enum status sqlite_plan_chunk_put(struct ledger *base, int64_t stage, int64_t index,
    const uint8_t digest[HASH_SIZE], struct error *e)
{
	struct sqlite_ledger *l = sq(base);
	struct q q;
	enum status st = op_begin(l, OP_PLAIN, e);

	if (st != ST_OK)
		return st;
	q_open(&q, l, "INSERT OR REPLACE INTO chunk(stage, number, digest) VALUES (?, ?, ?)");
	q_int(&q, stage);
	q_int(&q, index);
	q_blob(&q, digest, HASH_SIZE);
	st = q_run(&q, e);
	return op_end(l, st, e);
}
