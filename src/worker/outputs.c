#include "worker/outputs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sys.h"
#include "store/store.h"

enum { OUTPUTS_PAGE = 256 };

struct left_page {
	struct ledger_left names[OUTPUTS_PAGE];
	size_t n;
	struct ledger_left after; /* .final NULL: from the first one */
};

void outputs_path(const struct state *state, const char *name, struct buf *out)
{
	buf_clear(out);
	if (name[0] == '/' || strcmp(state_place(state), ".") == 0)
		buf_str(out, name);
	else
		buf_printf(out, "%s/../%s", state_dir(state), name);
}

static void page_free(struct left_page *p)
{
	while (p->n > 0)
		free(p->names[--p->n].final);
	free(p->after.final);
	p->after.final = NULL;
}

/* The names after those of this page; n is 0 after the last. */
static enum status page_next(struct left_page *p, struct ledger *l, int64_t run, struct error *e)
{
	if (p->n > 0) {
		free(p->after.final);
		p->after = p->names[--p->n];
	}
	while (p->n > 0)
		free(p->names[--p->n].final);
	return ledger_outputs_left(l, run, p->after.final == NULL ? NULL : &p->after,
	    OUTPUTS_PAGE, p->names, &p->n, e);
}

enum status outputs_count_left(struct ledger *l, int64_t run, struct buf *first, int64_t *n,
    struct error *e)
{
	struct left_page p = {.n = 0};
	enum status st;

	*n = 0;
	do {
		st = page_next(&p, l, run, e);
		if (st == ST_OK && *n == 0 && p.n > 0)
			buf_append(first, p.names[0].final, p.names[0].final_len);
		*n += st == ST_OK ? (int64_t)p.n : 0;
	} while (st == ST_OK && p.n == OUTPUTS_PAGE);
	page_free(&p);
	return st;
}

/* ---- what is left over ---- */

static enum status remove_left_file(const char *path, struct error *e)
{
	struct buf dir = {0};
	enum status st = ST_OK;

	if (sys_unlink(path) == -1)
		return error_os(e, errno, "cannot remove %s", path);
	file_dirname(path, &dir);
	st = buf_check(&dir, e);
	if (st == ST_OK)
		st = file_sync_dir(dir.data, e);
	buf_free(&dir);
	return st;
}

struct removal_of_left {
	const struct state *state;
	struct ledger *ledger;
	struct store *store;
	int64_t run;
	bool dry_run;
};

static enum status remove_one(struct removal_of_left *r, const struct ledger_left *left,
    enum outputs_fate *fate, struct error *e)
{
	struct store_sum sum = {.size = left->size};
	struct buf path = {0};
	enum status st;

	memcpy(sum.hash, left->hash, HASH_SIZE);
	outputs_path(r->state, left->final, &path);
	st = buf_check(&path, e);
	if (st == ST_OK)
		st = store_check(r->store, path.data, &sum, e);
	*fate = st == ST_EXISTS ? OUTPUTS_CHANGED : st == ST_NOT_FOUND ? OUTPUTS_GONE
	    : OUTPUTS_REMOVED;
	if (st == ST_OK && !r->dry_run)
		st = remove_left_file(path.data, e);
	if (st == ST_EXISTS || st == ST_NOT_FOUND)
		st = ST_OK;
	if (st == ST_OK && *fate != OUTPUTS_CHANGED && !r->dry_run)
		st = ledger_output_forget(r->ledger, r->run, left->final, left->final_len, e);
	buf_free(&path);
	return st;
}

enum status outputs_remove_left(const struct state *state, struct ledger *l, int64_t run,
    bool dry_run, void (*tell)(void *arg, const char *name, enum outputs_fate fate), void *arg,
    struct error *e)
{
	struct removal_of_left r = {.state = state, .ledger = l, .run = run, .dry_run = dry_run};
	struct left_page p = {.n = 0};
	enum outputs_fate fate;
	size_t i;
	enum status st = store_open("file:", state_dir(state), &r.store, e);

	do {
		if (st == ST_OK)
			st = page_next(&p, l, run, e);
		for (i = 0; st == ST_OK && i < p.n; i++) {
			st = remove_one(&r, &p.names[i], &fate, e);
			if (st == ST_OK)
				tell(arg, p.names[i].final, fate);
		}
	} while (st == ST_OK && p.n == OUTPUTS_PAGE);
	page_free(&p);
	store_close(r.store);
	return st;
}

/* ---- what was kept for stages that read it ---- */

struct kept_page {
	struct left_page left;
	size_t n;                       /* of them, in the run's own folder */
	const char *gone[OUTPUTS_PAGE]; /* of those, no file has the name any more */
	const struct ledger_left *forget[OUTPUTS_PAGE]; /* the same */
	size_t n_gone;
};

/* Another worker that ends may be at it too. */
static enum status remove_kept_files(struct store *store, struct kept_page *p, struct error *e)
{
	size_t i;

	p->n_gone = 0;
	for (i = 0; i < p->n; i++) {
		const struct ledger_left *left = &p->left.names[i];
		struct store_sum sum = {.size = left->size};
		enum status st;

		memcpy(sum.hash, left->hash, HASH_SIZE);
		st = store_check(store, left->final, &sum, e);
		if (st == ST_OK && sys_unlink(left->final) == -1 && errno != ENOENT)
			return error_os(e, errno, "cannot remove %s", left->final);
		if (st != ST_OK && st != ST_NOT_FOUND && st != ST_EXISTS)
			return st;
		if (st == ST_EXISTS)
			continue; /* somebody else changed it */
		p->gone[p->n_gone] = left->final;
		p->forget[p->n_gone++] = left;
	}
	return p->n_gone == 0 ? ST_OK : store_sync_names(store, p->gone, p->n_gone, e);
}

static enum status forget_kept(struct ledger *l, int64_t run, const struct kept_page *p,
    struct error *e)
{
	enum status st = ledger_begin(l, e);
	size_t i;

	if (st != ST_OK)
		return st;
	for (i = 0; st == ST_OK && i < p->n_gone; i++) {
		st = ledger_output_forget(l, run, p->forget[i]->final, p->forget[i]->final_len, e);
		if (st == ST_NOT_FOUND)
			st = ST_OK;
	}
	if (st == ST_OK)
		return ledger_commit(l, e);
	ledger_rollback(l);
	return st;
}

/* The next names that begin with `prefix`. */
static enum status kept_next(struct kept_page *p, struct ledger *l, int64_t run,
    const struct buf *prefix, struct error *e)
{
	enum status st = page_next(&p->left, l, run, e);

	p->n = 0;
	while (st == ST_OK && p->n < p->left.n &&
	    strncmp(p->left.names[p->n].final, prefix->data, prefix->len) == 0)
		p->n++;
	return st;
}

enum status outputs_remove_kept(const struct state *state, struct ledger *l,
    const struct ledger_run *run, struct error *e)
{
	struct kept_page *p = mem_zero(sizeof(*p));
	struct store *store = NULL;
	struct buf prefix = {0};
	enum status st;

	if (p == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	/* In the order of the bytes they all follow their folder's. */
	state_name(state, &prefix, "runs/%s/stages/", run->name);
	st = buf_check(&prefix, e);
	if (st == ST_OK) {
		p->left.after.final = mem_dup(prefix.data, prefix.len);
		p->left.after.final_len = prefix.len;
		st = p->left.after.final == NULL ? error_set(e, ST_NO_MEMORY, "out of memory")
		    : store_open("file:", state_dir(state), &store, e);
	}
	do {
		if (st == ST_OK)
			st = kept_next(p, l, run->id, &prefix, e);
		if (st == ST_OK && p->n > 0)
			st = remove_kept_files(store, p, e);
		if (st == ST_OK && p->n > 0)
			st = forget_kept(l, run->id, p, e);
	} while (st == ST_OK && p->n == OUTPUTS_PAGE);
	page_free(&p->left);
	store_close(store);
	buf_free(&prefix);
	free(p);
	return st;
}

/* ---- of removed runs ---- */

/* In one group: a run that plans such a name meanwhile keeps it. */
static enum status forget_page(const struct state *state, struct ledger *l, const struct left_page *p,
    bool dry_run, int64_t *n, struct error *e)
{
	struct buf path = {0};
	enum status st = dry_run ? ST_OK : ledger_begin(l, e);
	bool begun = st == ST_OK && !dry_run;
	size_t i;

	for (i = 0; st == ST_OK && i < p->n; i++) {
		outputs_path(state, p->names[i].final, &path);
		st = buf_check(&path, e);
		if (st != ST_OK || access(path.data, F_OK) == 0 || errno != ENOENT)
			continue;
		++*n;
		if (dry_run)
			continue;
		st = ledger_output_forget(l, 0, p->names[i].final, p->names[i].final_len, e);
		if (st == ST_NOT_FOUND)
			st = ST_OK;
	}
	buf_free(&path);
	if (begun && st == ST_OK)
		st = ledger_commit(l, e);
	else if (begun)
		ledger_rollback(l);
	return st;
}

enum status outputs_forget_gone(const struct state *state, struct ledger *l, bool dry_run,
    int64_t *n, struct error *e)
{
	struct left_page p = {.n = 0};
	enum status st;

	*n = 0;
	do {
		st = page_next(&p, l, 0, e);
		if (st == ST_OK && p.n > 0)
			st = forget_page(state, l, &p, dry_run, n, e);
	} while (st == ST_OK && p.n == OUTPUTS_PAGE);
	page_free(&p);
	return st;
}
