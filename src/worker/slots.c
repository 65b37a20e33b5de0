#include "worker/slots.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/sys.h"

enum { SLOTS_VERSION = 2, BOOT_ID_SIZE = 37 };

static const char table_magic[8] = {'E', 'B', 'B', 'S', 'L', 'O', 'T', 'S'};

/* The file: docs/formats-slots.md. */
struct table {
	char magic[8];
	uint32_t version;
	uint32_t count;
	char token[40];
	char boot_id[40];
	int32_t worker_pid;
	int32_t guardian_pid;
	int64_t fence_boot_ns;
	int64_t spare[2];
	struct slots_account account;
	struct slot slots[];
};

_Static_assert(sizeof(struct slot) == 72, "layout of the file");
_Static_assert(sizeof(struct slots_time) == 56, "layout of the file");
_Static_assert(offsetof(struct table, account) == 128, "layout of the file");
_Static_assert(offsetof(struct slots_account, time) == 64, "layout of the file");
_Static_assert(sizeof(struct table) == 192 + SLOTS_STAGES * 56, "layout of the file");
_Static_assert(offsetof(struct table, fence_boot_ns) == 104, "layout of the file");

struct slots {
	struct table *table;
	size_t size;
};

static size_t table_size(int n)
{
	return sizeof(struct table) + (size_t)n * sizeof(struct slot);
}

static enum status map_fd(int fd, size_t size, const char *path, struct slots **out,
    struct error *e)
{
	struct slots *s = mem_zero(sizeof(*s));
	void *p;

	if (s == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		free(s);
		return error_os(e, errno, "cannot map %s", path);
	}
	s->table = p;
	s->size = size;
	*out = s;
	return ST_OK;
}

/* Every byte is written, so that the disk cannot be found full by a store into
 * the mapping, which would be a SIGBUS. */
static enum status write_new(const char *tmp, const char *path, const struct table *t,
    struct slots **out, struct error *e)
{
	size_t size = table_size((int)t->count);
	int fd = sys_open(tmp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	struct slots *s = NULL;
	enum status st;

	if (fd == -1)
		return error_os(e, errno, "cannot create %s", tmp);
	st = file_write_all(fd, t, size, tmp, e);
	if (st == ST_OK)
		st = map_fd(fd, size, tmp, &s, e);
	if (sys_close(fd) == -1 && st == ST_OK)
		st = error_os(e, errno, "cannot close %s", tmp);
	if (st == ST_OK && sys_rename(tmp, path) == -1)
		st = error_os(e, errno, "cannot rename %s to %s", tmp, path);
	if (st == ST_OK) {
		*out = s;
		return ST_OK;
	}
	slots_close(s);
	(void)!sys_unlink(tmp);
	return st;
}

static bool token_ok(const char *token)
{
	return strnlen(token, SLOTS_TOKEN_SIZE) == SLOTS_TOKEN_SIZE - 1 &&
	    strspn(token, "0123456789abcdef") == SLOTS_TOKEN_SIZE - 1;
}

enum status slots_create(const char *path, int n, const char token[SLOTS_TOKEN_SIZE],
    struct slots **out, struct error *e)
{
	struct table *t;
	struct buf tmp = {0};
	enum status st;

	if (n < 1 || n > SLOTS_MAX || !token_ok(token))
		return error_set(e, ST_CONFIG, "a slot table of %d slots or with such a token "
		    "is not possible", n);
	t = mem_zero(table_size(n));
	if (t == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	memcpy(t->magic, table_magic, sizeof(table_magic));
	t->version = SLOTS_VERSION;
	t->count = (uint32_t)n;
	memcpy(t->token, token, SLOTS_TOKEN_SIZE);
	t->worker_pid = getpid();
	st = sys_boot_id(t->boot_id, e);
	/* Under another name first: a table that is there is whole, and one that a
	 * frozen worker still has mapped is replaced and not cut. */
	buf_printf(&tmp, "%s.new.%ld", path, (long)getpid());
	if (st == ST_OK)
		st = buf_check(&tmp, e);
	if (st == ST_OK) {
		(void)!sys_unlink(tmp.data);
		st = write_new(tmp.data, path, t, out, e);
	}
	buf_free(&tmp);
	free(t);
	return st;
}

static enum status table_check(const struct slots *s, const char *path, struct error *e)
{
	const struct table *t = s->table;

	if (memcmp(t->magic, table_magic, sizeof(table_magic)) != 0)
		return error_set(e, ST_CORRUPT, "%s is not a slot table", path);
	if (t->version != SLOTS_VERSION)
		return error_set(e, ST_CONFIG, "%s is a slot table of version %u, this ebb knows "
		    "version %d", path, t->version, SLOTS_VERSION);
	if (t->count < 1 || t->count > SLOTS_MAX || s->size != table_size((int)t->count))
		return error_set(e, ST_CORRUPT, "%s: %zu bytes cannot be %u slots", path, s->size,
		    t->count);
	if (!token_ok(t->token) || strnlen(t->boot_id, BOOT_ID_SIZE) != BOOT_ID_SIZE - 1)
		return error_set(e, ST_CORRUPT, "%s: its token or boot id is damaged", path);
	return ST_OK;
}

enum status slots_open(const char *path, struct slots **out, struct error *e)
{
	int fd = sys_open(path, O_RDWR | O_NOFOLLOW, 0);
	struct slots *s = NULL;
	struct stat sb;
	enum status st;

	if (fd == -1)
		return error_os(e, errno, "cannot open %s", path);
	if (fstat(fd, &sb) == -1)
		st = error_os(e, errno, "cannot look at %s", path);
	else if (!S_ISREG(sb.st_mode) || sb.st_size < (off_t)table_size(1) ||
	    sb.st_size > (off_t)table_size(SLOTS_MAX))
		st = error_set(e, ST_CORRUPT, "%s is not a slot table: its size is %lld bytes", path,
		    (long long)sb.st_size);
	else
		st = map_fd(fd, (size_t)sb.st_size, path, &s, e);
	(void)sys_close(fd);
	if (s == NULL)
		return st;
	st = table_check(s, path, e);
	if (st == ST_OK)
		*out = s;
	else
		slots_close(s);
	return st;
}

void slots_close(struct slots *s)
{
	if (s == NULL)
		return;
	(void)munmap(s->table, s->size);
	free(s);
}

int slots_count(const struct slots *s)
{
	return (int)s->table->count;
}

const char *slots_token(const struct slots *s)
{
	return s->table->token;
}

int32_t slots_guardian_pid(const struct slots *s)
{
	return __atomic_load_n(&s->table->guardian_pid, __ATOMIC_ACQUIRE);
}

void slots_guardian_set(struct slots *s, int32_t pid)
{
	__atomic_store_n(&s->table->guardian_pid, pid, __ATOMIC_RELEASE);
}

int32_t slots_worker_pid(const struct slots *s)
{
	return s->table->worker_pid;
}

bool slots_of_this_boot(const struct slots *s)
{
	char now[BOOT_ID_SIZE];

	return sys_boot_id(now, NULL) == ST_OK && memcmp(now, s->table->boot_id, sizeof(now)) == 0;
}

struct slot *slots_at(struct slots *s, int i)
{
	return &s->table->slots[i];
}

struct slots_account *slots_account(struct slots *s)
{
	return &s->table->account;
}

void slots_fence_set(struct slots *s, int64_t boot_ns)
{
	__atomic_store_n(&s->table->fence_boot_ns, boot_ns, __ATOMIC_RELEASE);
}

int64_t slots_fence_get(const struct slots *s)
{
	return __atomic_load_n(&s->table->fence_boot_ns, __ATOMIC_ACQUIRE);
}

static const struct slot *slot_of_attempt(struct slots *s, int64_t row, int64_t epoch)
{
	int i;

	for (i = 0; i < slots_count(s); i++) {
		const struct slot *at = slots_at(s, i);

		if (__atomic_load_n(&at->state, __ATOMIC_ACQUIRE) != SLOT_FREE && at->row == row &&
		    at->epoch == epoch)
			return at;
	}
	return NULL;
}

int64_t slots_started_ns(struct slots *s, int64_t row, int64_t epoch)
{
	const struct slot *at = slot_of_attempt(s, row, epoch);

	return at == NULL ? -1 : at->started_boot_ns;
}

int64_t slots_ran_ns(struct slots *s, int64_t row, int64_t epoch, int64_t until_boot_ns)
{
	const struct slot *at = slot_of_attempt(s, row, epoch);

	if (at == NULL)
		return -1;
	if (at->state == SLOT_ENDED && at->ended_boot_ns < until_boot_ns)
		until_boot_ns = at->ended_boot_ns;
	return at->ran_ns + (until_boot_ns > at->started_boot_ns
	    ? until_boot_ns - at->started_boot_ns : 0);
}
