/* An attempt: one try of a shard, and lists of them. */
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "worker/work.h"

void attempt_push(struct attempt_list *l, struct attempt *a)
{
	a->next = NULL;
	if (l->last == NULL)
		l->first = a;
	else
		l->last->next = a;
	l->last = a;
	l->n++;
}

struct attempt *attempt_pop(struct attempt_list *l)
{
	struct attempt *a = l->first;

	if (a == NULL)
		return NULL;
	l->first = a->next;
	if (l->first == NULL)
		l->last = NULL;
	l->n--;
	a->next = NULL;
	return a;
}

struct attempt *attempt_create(struct stage *g, struct ledger_shard *take_shard)
{
	struct work *w = g->w;
	struct attempt *a = mem_zero(sizeof(*a));

	if (a == NULL)
		return NULL;
	a->w = w;
	a->g = g;
	a->shard = *take_shard;
	memset(take_shard, 0, sizeof(*take_shard));
	a->memory = resources_memory(&w->resources, g->spec,
	    a->shard.s.count[CAUSE_OUT_OF_MEMORY]);
	a->all_next = w->all;
	if (w->all != NULL)
		w->all->all_prev = a;
	w->all = a;
	w->open++;
	g->open++;
	return a;
}

void attempt_free(struct attempt *a)
{
	if (a->all_prev != NULL)
		a->all_prev->all_next = a->all_next;
	else
		a->w->all = a->all_next;
	if (a->all_next != NULL)
		a->all_next->all_prev = a->all_prev;
	a->w->open--;
	a->g->open--;
	ledger_shard_free(&a->shard);
	ledger_checkpoint_free(&a->from);
	free(a->folder);
	free(a->own_copy);
	free(a->own_part);
	free(a->private_path);
	if (a->list_path != NULL)
		(void)!sys_unlink(a->list_path);
	free(a->list_path);
	ledger_files_free(a->files, a->n_files);
	free(a->previous);
	free(a->in_place);
	free(a);
}

void attempt_name(const struct attempt *a, struct buf *out)
{
	if (a->w->n_stages > 1)
		buf_printf(out, "%s:", a->g->spec->name);
	shard_name(&a->shard, out);
}

enum status attempt_room(struct attempt *a, size_t n, struct error *e)
{
	a->files = mem_zero((n + 1) * sizeof(*a->files));
	a->previous = mem_zero((n + 1) * sizeof(*a->previous));
	a->in_place = mem_zero((n + 1) * sizeof(*a->in_place));
	return a->files == NULL || a->previous == NULL || a->in_place == NULL
	    ? error_set(e, ST_NO_MEMORY, "out of memory") : ST_OK;
}

enum status attempt_add_file(struct attempt *a, char **take_private, const char *final,
    const struct store_sum *sum, struct error *e)
{
	struct ledger_file *f = &a->files[a->n_files];

	f->final_path = mem_dup(final, strlen(final));
	if (f->final_path == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	f->private_path = *take_private;
	*take_private = NULL;
	f->size = sum->size;
	memcpy(f->hash, sum->hash, HASH_SIZE);
	a->n_files++;
	return ST_OK;
}

bool attempt_fills_folder(const struct attempt *a)
{
	return a->g->spec->output == SPEC_OUT_FILES;
}
