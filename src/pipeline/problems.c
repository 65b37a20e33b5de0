#include "pipeline/problems.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

enum { TEXT_MAX = 400 };

void pipeline_problems_free(struct pipeline_problems *p)
{
	size_t i;

	for (i = 0; i < p->n; i++)
		free(p->list[i].text);
	memset(p, 0, sizeof(*p));
}

void pipeline_problem_add(struct pipeline_problems *p, int line, int column, const char *fmt, ...)
{
	struct buf shown = {0};
	char text[TEXT_MAX];
	va_list ap;

	if (p->n == PIPELINE_PROBLEMS_MAX) {
		p->more++;
		return;
	}
	va_start(ap, fmt);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): va_start is above */
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	str_display(&shown, text, strlen(text), 0);
	if (shown.failed) {
		p->no_memory = true;
		return;
	}
	p->list[p->n].line = line;
	p->list[p->n].column = column;
	p->list[p->n].text = shown.data;
	p->n++;
}

static bool problem_is_before(const struct pipeline_problem *a, const struct pipeline_problem *b)
{
	return a->line != b->line ? a->line < b->line : a->column < b->column;
}

void pipeline_problems_sort(struct pipeline_problems *p)
{
	size_t i;
	size_t j;

	/* A few, and those of one place stay in the order they were found. */
	for (i = 1; i < p->n; i++) {
		struct pipeline_problem it = p->list[i];

		for (j = i; j > 0 && problem_is_before(&it, &p->list[j - 1]); j--)
			p->list[j] = p->list[j - 1];
		p->list[j] = it;
	}
}

void pipeline_problem_text(const struct pipeline_problem *p, const char *file, struct buf *out)
{
	str_display(out, file, strlen(file), 0);
	if (p->line > 0)
		buf_printf(out, ":%d:%d", p->line, p->column);
	buf_printf(out, ": %s", p->text);
}

enum status pipeline_problems_status(const struct pipeline_problems *p, const char *file,
    struct error *e)
{
	struct buf first = {0};
	size_t others = p->n + p->more - 1;
	enum status st;

	if (p->no_memory)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	if (p->n == 0)
		return ST_OK;
	pipeline_problem_text(&p->list[0], file, &first);
	st = buf_check(&first, e);
	if (st != ST_OK)
		return st;
	if (others > 0)
		(void)error_set(e, ST_CONFIG, "%s (and %zu more)", first.data, others);
	else
		(void)error_set(e, ST_CONFIG, "%s", first.data);
	buf_free(&first);
	return ST_CONFIG;
}
