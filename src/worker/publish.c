/* The publisher: takes sealed outputs, in groups, through accept (the ledger),
 * the final name (the store) and published (the ledger). One group at a time;
 * what is sealed meanwhile is the next one. Each step waits for the one before
 * to be durable, in the order of docs/architecture.md. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/sys.h"
#include "worker/out_folder.h"
#include "worker/work.h"

struct publisher {
	struct work *w;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct attempt_list given;    /* from the loop */
	struct attempt_list finished; /* for the loop */
	struct attempt_list held;     /* accepted, waiting for their turn (-k): the
	                               * thread's own */
	size_t n_held;                /* for the loop */
	bool stop;
	enum status health;
	struct error health_error;
};

enum {
	GROUP_MAX = 256,
	GATHER = 32,        /* a group of so many does not wait for more, */
	GATHER_MS = 10,     /* a smaller one so long: fewer commits and fsyncs */
	HELD_MS = 20,       /* how often -k looks whether somebody's turn has come */
};

/* A ledger operation over a whole group. */
struct group_op {
	struct op op;
	struct attempt **list;
	size_t n;
};

/* What was published under the final names of its files last. */
static enum status find_previous(struct attempt *a, struct ledger *l, struct error *e)
{
	size_t i;

	for (i = 0; i < a->n_files; i++) {
		const char *final = a->files[i].final_path;
		struct ledger_output out;
		enum status st = ST_NOT_FOUND;

		a->previous[i].size = -1;
		if (final[0] != '\0')
			st = ledger_output_get(l, final, strlen(final), &out, e);
		if (st != ST_OK && st != ST_NOT_FOUND)
			return st;
		if (st == ST_OK && out.published) {
			a->previous[i].size = out.size;
			memcpy(a->previous[i].hash, out.hash, HASH_SIZE);
		}
	}
	return ST_OK;
}

/* A file of its has the name of another shard's, which it could not know before. */
static enum status end_with_clash(struct attempt *a, struct ledger *l, struct error *e)
{
	struct ledger_attempt rec = a->rec;
	enum status st;

	rec.cause = CAUSE_FAILED;
	(void)snprintf(rec.note, sizeof(rec.note), "%.250s", a->step_error.text);
	st = ledger_end(l, a->shard.row, &rec, &a->g->spec->retry, true, 0, &a->now, e);
	return st == ST_FENCED ? ST_OK : st;
}

static enum status exec_accept(struct ledger *l, struct op *op, struct error *e)
{
	struct group_op *g = (struct group_op *)op;
	size_t i;

	for (i = 0; i < g->n; i++) {
		struct attempt *a = g->list[i];
		enum status st = find_previous(a, l, e);

		if (st != ST_OK)
			return st;
		a->step = ST_OK;
		if (!a->recovered)
			a->step = ledger_accept(l, a->shard.row, &a->rec, a->files, a->n_files,
			    &a->after, &a->step_error);
		if (a->step == ST_EXISTS) {
			st = end_with_clash(a, l, e);
			if (st != ST_OK)
				return st;
		} else if (a->step != ST_OK && a->step != ST_FENCED) {
			*e = a->step_error;
			return a->step;
		}
	}
	return ST_OK;
}

/* It stays accepted and is taken up again by the loop. */
static bool worth_another_try(enum status st)
{
	return st == ST_FULL || st == ST_TRANSIENT || st == ST_BUSY || st == ST_NO_MEMORY;
}

/* Of an output that does not come to be, those that have their names are known as
 * ebb's, else the next attempt would meet them as somebody else's. */
static enum status keep_placed(const struct attempt *a, struct ledger *l, struct error *e)
{
	enum status st = ST_OK;
	size_t i;

	for (i = 0; st == ST_OK && i < a->n_files; i++) {
		if (a->in_place[i])
			st = ledger_output_placed(l, a->shard.row, a->shard.s.epoch,
			    &a->files[i], e);
	}
	return st;
}

static enum status give_up(const struct attempt *a, struct ledger *l, struct error *e)
{
	enum status st = keep_placed(a, l, e);

	if (st == ST_OK && a->step == ST_NOT_FOUND)
		st = ledger_output_gone(l, a->shard.row, a->shard.s.epoch, e);
	else if (st == ST_OK)
		st = ledger_refused(l, a->shard.row, a->shard.s.epoch, a->step_error.text, e);
	return st;
}

/* After the names were given (or not): what the ledger has to know. */
static enum status exec_published(struct ledger *l, struct op *op, struct error *e)
{
	struct group_op *g = (struct group_op *)op;
	enum status st = ST_OK;
	size_t i;

	for (i = 0; st == ST_OK && i < g->n; i++) {
		struct attempt *a = g->list[i];

		if (a->step == ST_OK)
			st = ledger_published(l, a->shard.row, a->shard.s.epoch, e);
		else if (a->step != ST_FENCED && !worth_another_try(a->step))
			st = give_up(a, l, e);
		if (st == ST_FENCED)
			st = ST_OK;
	}
	return st;
}

static void fail(struct publisher *p, enum status st, const struct error *e)
{
	(void)pthread_mutex_lock(&p->lock);
	if (p->health == ST_OK) {
		p->health = st;
		p->health_error = *e;
	}
	(void)pthread_mutex_unlock(&p->lock);
}

static enum status call_group(struct publisher *p, struct attempt **list, size_t n,
    enum status (*exec)(struct ledger *, struct op *, struct error *), struct error *e)
{
	struct group_op g = {.op = {.exec = exec}, .list = list, .n = n};
	enum status st;

	if (n == 0)
		return ST_OK;
	st = committer_call(p->w->committer, &g.op);
	if (st != ST_OK)
		*e = g.op.error;
	return st;
}

static bool has_final(const struct attempt *a)
{
	return a->files[0].final_path[0] != '\0';
}

/* fsync of the folders that the names of a group's private files and folders are in. */
static enum status sync_private(struct publisher *p, struct attempt **list, size_t n,
    struct error *e)
{
	const char *names[GROUP_MAX];
	size_t k = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		/* Accepted earlier is synced; and its folder may be gone by now. */
		if (!list[i]->recovered)
			names[k++] = list[i]->private_path;
	}
	return k == 0 ? ST_OK : store_sync_names(p->w->store, names, k, e);
}

/* The same for the final names of one attempt or several. */
static enum status sync_final(struct publisher *p, struct attempt **list, size_t n,
    struct error *e)
{
	const char **names;
	size_t room = 0;
	size_t k = 0;
	size_t i;
	size_t j;
	enum status st;

	for (i = 0; i < n; i++)
		room += list[i]->n_files;
	names = mem_zero((room + 1) * sizeof(*names));
	if (names == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	for (i = 0; i < n; i++) {
		for (j = 0; j < list[i]->n_files; j++) {
			if (list[i]->in_place[j])
				names[k++] = list[i]->files[j].final_path;
		}
	}
	st = k == 0 ? ST_OK : store_sync_names(p->w->store, names, k, e);
	free(names);
	return st;
}

static struct store_sum sum_of(const struct ledger_file *f)
{
	struct store_sum sum = {.size = f->size};

	memcpy(sum.hash, f->hash, HASH_SIZE);
	return sum;
}

/* Of several, none gets its name when one of them may not have it. */
static enum status may_have_names(struct publisher *p, struct attempt *a, struct error *e)
{
	size_t i;

	for (i = 0; a->n_files > 1 && i < a->n_files; i++) {
		const struct ledger_file *f = &a->files[i];
		struct store_sum mine = sum_of(f);
		enum status st = store_check(p->w->store, f->final_path, &mine, e);

		if (st == ST_EXISTS && a->previous[i].size >= 0)
			st = store_check(p->w->store, f->final_path, &a->previous[i], e);
		if (st == ST_EXISTS)
			return error_set(e, ST_EXISTS, "%s exists and was not written by ebb; move it "
			    "away, or choose another folder", f->final_path);
		if (st != ST_OK && st != ST_NOT_FOUND)
			return st;
	}
	return ST_OK;
}

/* When it has come to nothing: a publisher before this one may have been killed
 * after it had given some of the names. */
static void find_in_place(struct publisher *p, struct attempt *a)
{
	struct error e;
	size_t i;

	for (i = 0; a->n_files > 1 && i < a->n_files; i++) {
		struct store_sum mine = sum_of(&a->files[i]);

		a->in_place[i] = a->in_place[i] ||
		    store_check(p->w->store, a->files[i].final_path, &mine, &e) == ST_OK;
	}
}

static void give_names(struct publisher *p, struct attempt *a)
{
	size_t i;

	a->step = may_have_names(p, a, &a->step_error);
	for (i = 0; a->step == ST_OK && i < a->n_files; i++) {
		const struct ledger_file *f = &a->files[i];
		struct store_sum mine = sum_of(f);

		sys_point("publish.rename.before");
		a->step = store_publish(p->w->store, f->private_path, f->final_path, &mine,
		    a->previous[i].size >= 0 ? &a->previous[i] : NULL, &a->step_error);
		a->in_place[i] = a->step == ST_OK;
		sys_point("publish.rename.after");
	}
	if (a->step != ST_OK && !worth_another_try(a->step))
		find_in_place(p, a);
}

/* Output without a place goes to stdout. The private file is removed after the
 * record of it is durable. */
static void deliver_one(struct publisher *p, struct attempt *a)
{
	sys_point("deliver.before");
	a->step = deliver_output(a->files[0].private_path, &a->shard, a->g->spec->tag, &a->step_error);
	sys_point("deliver.after");
	/* A reader that went away is nobody's failure: the run stops. */
	if (a->step != ST_OK && a->step != ST_NOT_FOUND)
		fail(p, a->step, &a->step_error);
}

/* What is left of it in private places and needed no more. */
static void drop_private(struct publisher *p, const struct attempt *a)
{
	struct error e;
	bool drop = a->step == ST_OK ? !has_final(a)
	    : a->step != ST_NOT_FOUND && !worth_another_try(a->step);

	if (attempt_fills_folder(a) && !worth_another_try(a->step))
		out_folder_remove(a);
	else if (drop && store_discard(p->w->store, a->files[0].private_path, &e) != ST_OK)
		log_line(LOG_WARN, "%s", e.text);
}

static void finish_all(struct publisher *p, struct attempt **list, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		drop_private(p, list[i]);
	(void)pthread_mutex_lock(&p->lock);
	for (i = 0; i < n; i++)
		attempt_push(&p->finished, list[i]);
	(void)pthread_mutex_unlock(&p->lock);
	(void)uv_async_send(&p->w->wake);
}

/* A group whose record is on its way: it rides along with the next commit,
 * which is the next group's accept if there is one. */
struct published_op {
	struct group_op group;
	struct publisher *p;
	struct attempt *list[GROUP_MAX];
};

static void done_published(struct op *op)
{
	struct published_op *o = (struct published_op *)op;

	sys_point("published.after");
	/* If it failed, the committer's health says so. */
	if (op->status == ST_OK)
		finish_all(o->p, o->list, o->group.n);
	free(o);
}

/* Nothing has to be removed after the record is durable. */
static bool can_ride_along(struct attempt *const *list, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (list[i]->step != ST_OK || !has_final(list[i]) || attempt_fills_folder(list[i]))
			return false;
	}
	return true;
}

static enum status record_published(struct publisher *p, struct attempt **list, size_t n,
    struct error *e)
{
	struct published_op *o = can_ride_along(list, n) ? mem_zero(sizeof(*o)) : NULL;
	enum status st;

	if (o == NULL) {
		st = call_group(p, list, n, exec_published, e);
		sys_point("published.after");
		if (st == ST_OK)
			finish_all(p, list, n);
		return st;
	}
	o->p = p;
	memcpy(o->list, list, n * sizeof(struct attempt *));
	o->group.op.exec = exec_published;
	o->group.op.done = done_published;
	o->group.list = o->list;
	o->group.n = n;
	committer_submit(p->w->committer, &o->group.op);
	return ST_OK;
}

/* Names or delivery, then the record of it. */
static enum status publish_group(struct publisher *p, struct attempt **list, size_t n,
    struct error *e)
{
	enum status st;
	size_t i;

	for (i = 0; i < n; i++) {
		struct attempt *a = list[i];

		if (a->step == ST_OK && has_final(a))
			give_names(p, a);
		else if (a->step == ST_OK)
			deliver_one(p, a);
	}
	if (committer_health(p->w->committer, NULL) != ST_OK)
		return error_set(e, ST_TRANSIENT, "the ledger is gone");
	if (p->health != ST_OK) {
		*e = p->health_error;
		return p->health;
	}
	st = sync_final(p, list, n, e);
	sys_point("published.before");
	return st == ST_OK ? record_published(p, list, n, e) : st;
}

/* Smallest ordinal that may still produce output before ours. */
struct open_op {
	struct op op;
	int64_t stage;
	int64_t first;
};

static enum status exec_first_open(struct ledger *l, struct op *op, struct error *e)
{
	struct open_op *o = (struct open_op *)op;
	static const enum shard_state states[] = {SHARD_READY, SHARD_LEASED};
	size_t i;

	o->first = INT64_MAX;
	for (i = 0; i < 2; i++) {
		struct ledger_query q = {.stage = o->stage, .state = (int)states[i],
		    .ordinal = -1, .max = 1};
		struct ledger_shard s;
		size_t n = 1;
		enum status st = ledger_shards(l, &q, &s, &n, e);

		if (st != ST_OK)
			return st;
		if (n == 1) {
			if (s.ordinal < o->first)
				o->first = s.ordinal;
			ledger_shard_free(&s);
		}
	}
	return ST_OK;
}

static void tell_held(struct publisher *p)
{
	(void)pthread_mutex_lock(&p->lock);
	p->n_held = p->held.n;
	(void)pthread_mutex_unlock(&p->lock);
}

static int by_ordinal(const void *x, const void *y)
{
	const struct attempt *const *a = x;
	const struct attempt *const *b = y;

	return ((*a)->shard.ordinal > (*b)->shard.ordinal) -
	    ((*a)->shard.ordinal < (*b)->shard.ordinal);
}

static bool keeps_order(const struct spec *s)
{
	return s->keep_order && s->output == SPEC_OUT_STDOUT;
}

/* Takes the stage's attempts out of those that are held. */
static size_t take_held(struct publisher *p, const struct stage *g, struct attempt **out)
{
	struct attempt_list held = p->held;
	struct attempt *a;
	size_t n = 0;

	memset(&p->held, 0, sizeof(p->held));
	while ((a = attempt_pop(&held)) != NULL) {
		if (a->g == g)
			out[n++] = a;
		else
			attempt_push(&p->held, a);
	}
	return n;
}

/* Of what is held back of a stage, everything whose turn has come. */
static enum status publish_in_order(struct publisher *p, const struct stage *g, struct error *e)
{
	struct open_op o = {.op = {.exec = exec_first_open}, .stage = g->id};
	struct attempt **all;
	size_t n;
	size_t due = 0;
	enum status st;

	st = committer_call(p->w->committer, &o.op);
	if (st != ST_OK) {
		*e = o.op.error;
		return st;
	}
	all = mem_zero(p->held.n * sizeof(struct attempt *));
	if (all == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	n = take_held(p, g, all);
	qsort(all, n, sizeof(struct attempt *), by_ordinal);
	while (due < n && all[due]->shard.ordinal < o.first)
		due++;
	while (due < n)
		attempt_push(&p->held, all[--n]);
	tell_held(p);
	for (n = 0; st == ST_OK && n < due; n += GROUP_MAX)
		st = publish_group(p, all + n, due - n < GROUP_MAX ? due - n : GROUP_MAX, e);
	free(all);
	return st;
}

static enum status publish_held(struct publisher *p, struct error *e)
{
	enum status st = ST_OK;
	size_t i;

	for (i = 0; st == ST_OK && p->held.n > 0 && i < p->w->n_stages; i++) {
		if (keeps_order(p->w->stage[i].spec))
			st = publish_in_order(p, &p->w->stage[i], e);
	}
	return st;
}

static enum status take_through(struct publisher *p, struct attempt **list, size_t n,
    struct error *e)
{
	size_t n_now = 0;
	enum status st;
	size_t i;

	for (i = 0; i < n; i++)
		list[i]->step = ST_OK;
	st = sync_private(p, list, n, e);
	sys_point("accept.before");
	if (st == ST_OK)
		st = call_group(p, list, n, exec_accept, e);
	sys_point("accept.after");
	if (st != ST_OK)
		return st;
	for (i = 0; i < n; i++) {
		if (list[i]->step == ST_OK && keeps_order(list[i]->g->spec))
			attempt_push(&p->held, list[i]);
		else
			list[n_now++] = list[i];
	}
	tell_held(p);
	return n_now == 0 ? ST_OK : publish_group(p, list, n_now, e);
}

/* With the lock held: until `more` is signalled or the time is over. */
static void wait_ms(struct publisher *p, int64_t ms)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += ms * 1000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_nsec -= 1000000000;
		ts.tv_sec++;
	}
	(void)pthread_cond_timedwait(&p->more, &p->lock, &ts);
}

static size_t take_given(struct publisher *p, struct attempt **list, bool *stop)
{
	int64_t since;
	size_t n = 0;

	(void)pthread_mutex_lock(&p->lock);
	while (p->given.n == 0 && !p->stop && p->held.n == 0)
		(void)pthread_cond_wait(&p->more, &p->lock);
	since = sys_boot_ns();
	if (p->given.n == 0 && !p->stop)
		wait_ms(p, HELD_MS);
	while (p->given.n > 0 && p->given.n < GATHER && !p->stop &&
	    sys_boot_ns() - since < GATHER_MS * 1000000)
		wait_ms(p, GATHER_MS);
	while (n < GROUP_MAX && p->given.n > 0)
		list[n++] = attempt_pop(&p->given);
	*stop = p->stop && p->given.n == 0;
	(void)pthread_mutex_unlock(&p->lock);
	return n;
}

static void *publisher_thread(void *arg)
{
	struct publisher *p = arg;
	struct attempt *list[GROUP_MAX];
	struct error e;
	bool stop = false;

	while (!stop) {
		size_t n = take_given(p, list, &stop);
		enum status st = n > 0 ? take_through(p, list, n, &e) : ST_OK;

		if (st == ST_OK)
			st = publish_held(p, &e);
		if (st != ST_OK) {
			fail(p, st, &e);
			(void)uv_async_send(&p->w->wake);
			return NULL;
		}
	}
	return NULL;
}

enum status publisher_start(struct work *w, struct error *e)
{
	struct publisher *p = mem_zero(sizeof(*p));
	pthread_condattr_t attr;
	int r;

	if (p == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	p->w = w;
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&p->more, &attr);
	(void)pthread_condattr_destroy(&attr);
	r = pthread_create(&p->thread, NULL, publisher_thread, p);
	if (r != 0) {
		free(p);
		return error_os(e, r, "cannot start a thread");
	}
	w->publisher = p;
	return ST_OK;
}

void publisher_give(struct publisher *p, struct attempt *a)
{
	(void)pthread_mutex_lock(&p->lock);
	attempt_push(&p->given, a);
	(void)pthread_cond_signal(&p->more);
	(void)pthread_mutex_unlock(&p->lock);
}

struct attempt_list publisher_take(struct publisher *p)
{
	struct attempt_list taken;

	(void)pthread_mutex_lock(&p->lock);
	taken = p->finished;
	memset(&p->finished, 0, sizeof(p->finished));
	(void)pthread_mutex_unlock(&p->lock);
	return taken;
}

enum status publisher_health(struct publisher *p, struct error *e)
{
	enum status st;

	(void)pthread_mutex_lock(&p->lock);
	st = p->health;
	if (st != ST_OK && e != NULL)
		*e = p->health_error;
	(void)pthread_mutex_unlock(&p->lock);
	return st;
}

size_t publisher_held(struct publisher *p)
{
	size_t n;

	(void)pthread_mutex_lock(&p->lock);
	n = p->n_held;
	(void)pthread_mutex_unlock(&p->lock);
	return n;
}

void publisher_stop(struct publisher *p)
{
	if (p == NULL)
		return;
	(void)pthread_mutex_lock(&p->lock);
	p->stop = true;
	(void)pthread_cond_signal(&p->more);
	(void)pthread_mutex_unlock(&p->lock);
	(void)pthread_join(p->thread, NULL);
}

void publisher_destroy(struct publisher *p)
{
	if (p == NULL)
		return;
	(void)pthread_mutex_destroy(&p->lock);
	(void)pthread_cond_destroy(&p->more);
	free(p);
}
