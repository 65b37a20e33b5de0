#include "worker/request.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"

void request_list_add(struct request_list *l, struct request *r)
{
	r->next = NULL;
	if (l->first == NULL)
		l->first = r;
	else
		l->last->next = r;
	l->last = r;
}

struct request *request_list_take(struct request_list *l)
{
	struct request *r = l->first;

	if (r != NULL)
		l->first = r->next;
	return r;
}

struct request *request_create(const struct wire_head *head)
{
	struct request *r = mem_zero(sizeof(*r));

	if (r == NULL)
		return NULL;
	r->head = *head;
	r->stdin_fd = -1;
	r->end.id = head->id;
	r->end.lane = -1;
	r->end.exit_code = -1;
	return r;
}

void request_drop_parts(struct request *r)
{
	if (r->stdin_fd != -1)
		(void)sys_close(r->stdin_fd);
	r->stdin_fd = -1;
	free(r->body);
	r->body = NULL;
}

void request_destroy(struct request *r)
{
	if (r == NULL)
		return;
	request_drop_parts(r);
	free(r);
}

void request_set_end(struct request *r, enum guardian_fate fate, int os_errno)
{
	r->end.fate = (int32_t)fate;
	r->end.os_errno = os_errno;
	request_drop_parts(r);
}

bool request_body_ok(const struct request *r)
{
	size_t want = 1 + (size_t)r->head.argc + r->head.envc;
	size_t size = r->head.body_bytes;
	size_t strings = 0;
	const char *p = r->body;
	const char *end = p + size;

	if (r->head.flags & WIRE_STDOUT_PATH)
		want++;
	if (r->head.argc == 0 || size == 0 || end[-1] != '\0')
		return false;
	for (; p < end; p += strlen(p) + 1)
		strings++;
	return strings == want;
}

char *request_path(const struct request *r)
{
	return r->body;
}

const char *request_stdout_path(const struct request *r)
{
	if (!(r->head.flags & WIRE_STDOUT_PATH))
		return NULL;
	return r->body + strlen(r->body) + 1;
}

char *request_args(const struct request *r)
{
	char *p = r->body + strlen(r->body) + 1;

	if (r->head.flags & WIRE_STDOUT_PATH)
		p += strlen(p) + 1;
	return p;
}
