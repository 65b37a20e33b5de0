/* The control page with a task that does to the file whatever the input says:
 * what ebb reads from it stays within its bounds, and the lane can be used
 * again. Each step is one byte that says what, and what it needs. */
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "fuzz.h"
#include "scratch.h"
#include "worker/control.h"

enum { STEPS_MAX = 400, OFFSET = 100 };

struct input {
	const uint8_t *p;
	size_t left;
};

static char dir[SCRATCH_MAX];
static struct control *control;

static void remove_all(void)
{
	control_destroy(control);
	scratch_remove(dir);
}

static void prepare(void)
{
	struct error e;

	if (control != NULL)
		return;
	scratch_make(dir);
	MUST(control_create(dir, 1, &control, &e) == ST_OK);
	MUST(atexit(remove_all) == 0);
}

static uint64_t take(struct input *in, size_t bytes)
{
	uint64_t n = 0;

	while (bytes-- > 0 && in->left > 0) {
		n = n << 8 | *in->p++;
		in->left--;
	}
	return n;
}

static void step_write(struct input *in, int fd)
{
	off_t at = (off_t)(take(in, 2) % (EBB_CONTROL_SIZE + 64));
	size_t len = (size_t)take(in, 1);

	if (len > in->left)
		len = in->left;
	MUST(pwrite(fd, in->p, len, at) == (ssize_t)len);
	in->p += len;
	in->left -= len;
}

/* One of the task's numbers, with a value that means something. */
static void step_number(struct input *in, int fd)
{
	off_t at = EBB_CONTROL_TASK + (off_t)(take(in, 1) % 6) * 8;
	uint64_t n = take(in, 1);

	if (n & 0x80)
		n = take(in, 8);
	else if (n & 0x40)
		n = (uint64_t)sys_boot_ns() + n;
	MUST(pwrite(fd, &n, sizeof(n), at) == (ssize_t)sizeof(n));
}

static void step_read(struct input *in, uint64_t *last)
{
	struct control_view v;
	struct error e;

	MUST(control_read(control, 0, &v, &e) == ST_OK);
	MUST(v.done >= 0 && v.total >= 0 && (v.total == 0 || v.done <= v.total));
	MUST(v.progress_boot_ns >= 0 && v.progress_boot_ns <= sys_boot_ns());
	MUST(v.offset >= 0);
	MUST(!v.sensible || (v.pending && v.offset >= OFFSET));
	if (!v.pending)
		return;
	MUST(v.request > *last);
	*last = v.request;
	MUST(control_answer(control, 0, &v, v.sensible && take(in, 1) % 2 == 0
	    ? EBB_ANSWER_DURABLE : EBB_ANSWER_REFUSED, &e) == ST_OK);
	MUST(control_read(control, 0, &v, &e) == ST_OK);
	MUST(!v.pending);
}

static void begin(int *fd, uint64_t *last)
{
	const struct control_begin b = {.epoch = 3, .offset = OFFSET};
	struct control_view v;
	struct stat sb;
	struct error e;

	if (*fd != -1)
		(void)close(*fd);
	MUST(control_reset(control, 0, &b, &e) == ST_OK);
	MUST(control_read(control, 0, &v, &e) == ST_OK);
	MUST(!v.pending && !v.task_done && v.done == 0 && v.progress_boot_ns == 0);
	*fd = open(control_page_path(control, 0), O_RDWR | O_CLOEXEC);
	MUST(*fd != -1 && fstat(*fd, &sb) == 0 && sb.st_size == EBB_CONTROL_SIZE);
	*last = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {.p = data, .left = size};
	uint64_t last = 0;
	int fd = -1;
	int step;

	prepare();
	begin(&fd, &last);
	for (step = 0; step < STEPS_MAX && in.left > 0; step++) {
		struct error e;

		switch (take(&in, 1) % 8) {
		case 0:
		case 1:
			step_write(&in, fd);
			break;
		case 2:
		case 3:
			step_number(&in, fd);
			break;
		case 4:
			step_read(&in, &last);
			break;
		case 5:
			MUST(ftruncate(fd, (off_t)(take(&in, 2) % 8192)) == 0);
			break;
		case 6:
			MUST(control_stop(control, 0, (enum ebb_stop_reason)take(&in, 1),
			    (enum ebb_stop_plan)take(&in, 1), (int64_t)take(&in, 8), &e) == ST_OK);
			break;
		default:
			if (take(&in, 1) % 2 == 0)
				(void)unlink(control_page_path(control, 0));
			begin(&fd, &last);
			break;
		}
	}
	step_read(&in, &last);
	(void)close(fd);
	return 0;
}
