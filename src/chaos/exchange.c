#include "chaos/exchange.h"

#include <stdlib.h>
#include <string.h>

enum {
	EXCHANGE_BODY_GIVE_UP = 1 << 20,
	EXCHANGE_PIECE = 16 << 10,
};

struct exchange *exchange_create(struct MHD_Connection *c, const char *method, const char *path)
{
	static const char *const methods[] = {"GET", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"};
	struct exchange *x = mem_zero(sizeof(*x));
	size_t k;

	if (x == NULL)
		return NULL;
	x->connection = c;
	x->fd = -1;
	buf_str(&x->path, path);
	if (x->path.failed) {
		free(x);
		return NULL;
	}
	x->r.path = x->path.data == NULL ? "" : x->path.data;
	x->r.method = strcmp(method, "HEAD") == 0 ? "GET" : "other";
	for (k = 0; k < sizeof(methods) / sizeof(methods[0]); k++) {
		if (strcmp(methods[k], method) == 0)
			x->r.method = methods[k];
	}
	return x;
}

void exchange_destroy(struct exchange *x)
{
	if (x == NULL)
		return;
	buf_free(&x->path);
	buf_free(&x->body);
	free(x);
}

bool exchange_add_body(struct exchange *x, const char *data, size_t len)
{
	x->came_bytes += len;
	if (x->came_bytes <= HTTP_BODY_MAX)
		buf_append(&x->body, data, len);
	return x->came_bytes <= EXCHANGE_BODY_GIVE_UP;
}

bool exchange_is_too_long(const struct exchange *x)
{
	return x->came_bytes > HTTP_BODY_MAX || x->body.failed;
}

static enum MHD_Result exchange_take_header(void *arg, enum MHD_ValueKind kind, const char *name,
    const char *value)
{
	struct http_request *r = arg;

	(void)kind;
	if (r->n_headers < HTTP_FIELDS_MAX)
		r->header[r->n_headers++] = (struct http_field){name, value};
	return MHD_YES;
}

static enum MHD_Result exchange_take_query(void *arg, enum MHD_ValueKind kind, const char *name,
    const char *value)
{
	struct http_request *r = arg;

	(void)kind;
	if (r->n_query < HTTP_FIELDS_MAX)
		r->query[r->n_query++] = (struct http_field){name, value};
	return MHD_YES;
}

void exchange_collect(struct exchange *x, const struct mhd *mhd)
{
	(void)mhd->get_connection_values(x->connection, MHD_HEADER_KIND, exchange_take_header, &x->r);
	(void)mhd->get_connection_values(x->connection, MHD_GET_ARGUMENT_KIND, exchange_take_query,
	    &x->r);
	x->r.body = x->body.data;
	x->r.body_len = x->body.len;
}

/* A body without an end, or of the length that was announced: blanks, which many a
 * reader of JSON passes over for as long as they come. */
static ssize_t exchange_blanks(void *arg, uint64_t pos, char *out, size_t max)
{
	size_t n = max < EXCHANGE_PIECE ? max : EXCHANGE_PIECE;

	(void)arg;
	(void)pos;
	memset(out, ' ', n);
	return (ssize_t)n;
}

enum MHD_Result exchange_send(struct exchange *x, const struct mhd *mhd,
    const struct http_answer *a)
{
	struct MHD_Response *response;
	enum MHD_Result done;
	char *body = a->body.data;
	size_t k;

	if (x->fault == FAULT_HUGE || x->fault == FAULT_ENDLESS)
		response = mhd->create_response_from_callback(
		    x->fault == FAULT_HUGE ? (uint64_t)FAULT_HUGE_BYTES : MHD_SIZE_UNKNOWN,
		    EXCHANGE_PIECE, exchange_blanks, NULL, NULL);
	else
		response = mhd->create_response_from_buffer(a->body.len, body, MHD_RESPMEM_MUST_COPY);
	if (response == NULL)
		return MHD_NO;
	(void)mhd->add_response_header(response, "Content-Type", a->type);
	for (k = 0; k < a->n_added; k++)
		(void)mhd->add_response_header(response, a->added[k].name, a->added[k].value);
	done = mhd->queue_response(x->connection, a->status, response);
	mhd->destroy_response(response);
	if (done == MHD_YES)
		x->status = a->status;
	return done;
}
