#include "worker/inbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "base/sys.h"
#include "worker/request.h"

enum { INBOX_CHUNK = 64 << 10, INBOX_FDS = 4 };

struct inbox {
	int fd;
	bool stalled;
	/* The request that is being put together. */
	struct wire_head head;
	size_t head_got;
	struct request *req; /* once its head is complete */
	size_t body_got;
	/* Descriptors that came, in order, for heads that are not complete: one at
	 * most per receive, and a receive only follows when all before is parsed.
	 * -1 is one that the kernel could not hand over. */
	int fds[INBOX_FDS];
	size_t n_fds;
	/* Received and not yet parsed: [at, len). */
	size_t at;
	size_t len;
	char chunk[INBOX_CHUNK];
};

struct inbox *inbox_create(int fd)
{
	struct inbox *in = mem_zero(sizeof(*in));

	if (in != NULL)
		in->fd = fd;
	return in;
}

void inbox_destroy(struct inbox *in)
{
	size_t i;

	if (in == NULL)
		return;
	request_destroy(in->req);
	for (i = 0; i < in->n_fds; i++)
		if (in->fds[i] != -1)
			(void)sys_close(in->fds[i]);
	free(in);
}

bool inbox_stalled(const struct inbox *in)
{
	return in->stalled;
}

static bool add_fd(struct inbox *in, int fd)
{
	if (in->n_fds == INBOX_FDS) {
		if (fd != -1)
			(void)sys_close(fd);
		return false;
	}
	in->fds[in->n_fds++] = fd;
	return true;
}

static bool take_fds(struct inbox *in, struct msghdr *msg)
{
	struct cmsghdr *c;
	bool ok = true;
	int fd;

	for (c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
		    c->cmsg_len != CMSG_LEN(sizeof(fd)))
			continue;
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		return add_fd(in, fd);
	}
	/* Our own limit on open files: the message is whole but for that. */
	if (msg->msg_flags & MSG_CTRUNC)
		ok = add_fd(in, -1);
	return ok;
}

/* False at the end of the stream. *more false when nothing is there. */
static bool receive(struct inbox *in, bool *more)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = in->chunk, .iov_len = sizeof(in->chunk)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
	    .msg_controllen = sizeof(control)};
	ssize_t n;

	do
		n = recvmsg(in->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n == -1 && errno == EINTR);
	*more = n > 0;
	if (n == -1)
		return errno == EAGAIN;
	in->at = 0;
	in->len = (size_t)n;
	return take_fds(in, &msg) && n > 0;
}

/* Moves up to `want` bytes from the chunk; dst NULL throws them away. */
static size_t move(struct inbox *in, char *dst, size_t want)
{
	size_t n = in->len - in->at < want ? in->len - in->at : want;

	if (dst != NULL)
		memcpy(dst, in->chunk + in->at, n);
	in->at += n;
	return n;
}

/* With a complete head: false on nonsense; `stalled` when there is no memory. */
static bool begin_request(struct inbox *in)
{
	struct request *r;

	if (in->head.kind < WIRE_SPAWN || in->head.kind > WIRE_KILL_ALL ||
	    in->head.body_bytes > WIRE_BODY_MAX ||
	    ((in->head.flags & WIRE_STDIN) && in->n_fds == 0))
		return false;
	r = request_create(&in->head);
	in->stalled = r == NULL;
	if (r == NULL)
		return true;
	if (in->head.flags & WIRE_STDIN) {
		r->stdin_fd = in->fds[0];
		in->n_fds--;
		memmove(in->fds, in->fds + 1, in->n_fds * sizeof(in->fds[0]));
		if (r->stdin_fd == -1)
			r->os_errno = EMFILE;
	}
	if (in->head.body_bytes > 0) {
		r->body = sys_alloc(in->head.body_bytes);
		if (r->body == NULL)
			r->os_errno = ENOMEM;
	}
	in->req = r;
	in->body_got = 0;
	return true;
}

/* Parses the chunk as far as it goes. */
static bool parse(struct inbox *in, struct request_list *out)
{
	for (;;) {
		struct request *r = in->req;

		if (r == NULL) {
			in->head_got += move(in, (char *)&in->head + in->head_got,
			    sizeof(in->head) - in->head_got);
			if (in->head_got < sizeof(in->head))
				return true;
			if (!begin_request(in))
				return false;
			if (in->stalled)
				return true;
			r = in->req;
		}
		in->body_got += move(in, r->body != NULL ? r->body + in->body_got : NULL,
		    r->head.body_bytes - in->body_got);
		if (in->body_got < r->head.body_bytes)
			return true;
		if (r->head.kind == WIRE_SPAWN && r->body != NULL && !request_body_ok(r))
			return false;
		request_list_add(out, r);
		in->req = NULL;
		in->head_got = 0;
	}
}

bool inbox_read(struct inbox *in, struct request_list *out)
{
	bool more = true;

	if (!parse(in, out))
		return false;
	if (in->stalled)
		return true;
	if (!receive(in, &more))
		return false;
	return !more || parse(in, out);
}
