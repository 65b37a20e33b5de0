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

enum status outputs_remove_kept(const struct state *state, struct ledger *l,
    const struct ledger_run *run, struct error *e)
{
	struct removal_of_left r = {.state = state, .ledger = l, .run = run->id};
	struct left_page p = {.n = 0};
	struct buf kept = {0};
	enum outputs_fate fate;
	size_t i;
	enum status st = store_open("file:", state_dir(state), &r.store, e);

	state_name(state, &kept, "runs/%s/stages/", run->name);
	if (st == ST_OK)
		st = buf_check(&kept, e);
	do {
		if (st == ST_OK)
			st = page_next(&p, l, run->id, e);
		for (i = 0; st == ST_OK && i < p.n; i++) {
			if (strncmp(p.names[i].final, kept.data, kept.len) == 0)
				st = remove_one(&r, &p.names[i], &fate, e);
		}
	} while (st == ST_OK && p.n == OUTPUTS_PAGE);
	page_free(&p);
	store_close(r.store);
	buf_free(&kept);
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
