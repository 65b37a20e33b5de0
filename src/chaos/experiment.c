#include "chaos/experiment.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "chaos/cloud.h"
#include "pipeline/keys.h"
#include "pipeline/reader.h"

enum {
	ACTION_TARGETS_UNSAID = -1,
	EXPERIMENT_DAY_MS = 24 * 3600 * 1000,
	EXPERIMENT_MACHINES_MAX = 64, /* each is a process, a port and a thread */
	EXPERIMENT_SLOTS_MAX = 1024,
	ACTION_FREEZE_MS = 5000,
	ACTION_CAPACITY_MS = 20000,
};

static const char *const action_words[ACTION_KINDS] = {
	"notice", "rebalance", "kill", "freeze", "hibernate", "capacity", "trace",
};

const char *action_name(enum action_kind k)
{
	return action_words[k];
}

const char *lifecycle_name(int lifecycle)
{
	return lifecycle == LIFECYCLE_ON_DEMAND ? "on-demand" : "spot";
}

/* ---- keys ---- */

#define EXPERIMENT_AT(field) offsetof(struct experiment, field)

static const struct key experiment_keys[] = {
	{.name = "version", .kind = KEY_VERSION},
	{.name = "pipeline", .kind = KEY_TEXT, .required = true, .offset = EXPERIMENT_AT(pipeline)},
	{.name = "set", .kind = KEY_PARAMS},
	{.name = "cloud", .kind = KEY_CHOICE, .offset = EXPERIMENT_AT(cloud),
	    .choices = EXPERIMENT_CLOUDS},
	{.name = "notice_window", .kind = KEY_DURATION, .offset = EXPERIMENT_AT(window_ms), .min = 100,
	    .max = EXPERIMENT_DAY_MS},
	{.name = "real_windows", .kind = KEY_PARAMS},
	{.name = "replace_after", .kind = KEY_DURATION, .offset = EXPERIMENT_AT(replace_ms), .min = 0,
	    .max = EXPERIMENT_DAY_MS},
	{.name = "lease", .kind = KEY_DURATION, .offset = EXPERIMENT_AT(lease_ms), .min = 200,
	    .max = EXPERIMENT_DAY_MS},
	{.name = "timeout", .kind = KEY_DURATION, .offset = EXPERIMENT_AT(timeout_ms), .min = 100,
	    .max = (int64_t)30 * EXPERIMENT_DAY_MS},
	{.name = "seed", .kind = KEY_COUNT64, .offset = EXPERIMENT_AT(seed), .min = 0, .max = INT64_MAX},
	{.name = "fleet", .kind = KEY_STAGES},
	{.name = "actions", .kind = KEY_STAGES},
	{0},
};

#define POOL_AT(field) offsetof(struct fleet_pool, field)

static const struct key pool_keys[] = {
	{.name = "pool", .kind = KEY_NAME, .required = true, .offset = POOL_AT(name)},
	{.name = "lifecycle", .kind = KEY_CHOICE, .offset = POOL_AT(lifecycle),
	    .choices = "spot|on-demand"},
	{.name = "zone", .kind = KEY_NAME, .offset = POOL_AT(zone)},
	{.name = "workers", .kind = KEY_COUNT, .offset = POOL_AT(workers), .min = 1,
	    .max = EXPERIMENT_MACHINES_MAX},
	{.name = "slots", .kind = KEY_COUNT, .offset = POOL_AT(slots), .min = 1,
	    .max = EXPERIMENT_SLOTS_MAX},
	{0},
};

/* An action with what has to be looked at again. */
struct action_text {
	struct chaos_action a; /* first */
	char *targets;
};

#define ACTION_AT(field) offsetof(struct action_text, field)

static const struct key random_keys[] = {
	{.name = "mean", .kind = KEY_DURATION, .required = true, .offset = ACTION_AT(a.mean_ms), .min = 10,
	    .max = EXPERIMENT_DAY_MS},
	{0},
};

static const struct key action_keys[] = {
	{.name = "do", .kind = KEY_CHOICE, .offset = ACTION_AT(a.kind), .choices = ACTION_CHOICES},
	{.name = "says", .kind = KEY_CHOICE_FIRST, .offset = ACTION_AT(a.stops),
	    .choices = "stop|terminate"},
	{.name = "targets", .kind = KEY_TEXT, .offset = ACTION_AT(targets)},
	{.name = "at", .kind = KEY_DURATION, .offset = ACTION_AT(a.at_ms), .min = 0,
	    .max = EXPERIMENT_DAY_MS},
	{.name = "every", .kind = KEY_DURATION, .offset = ACTION_AT(a.every_ms), .min = 10,
	    .max = EXPERIMENT_DAY_MS},
	{.name = "jitter", .kind = KEY_DURATION, .offset = ACTION_AT(a.jitter_ms), .min = 0,
	    .max = EXPERIMENT_DAY_MS},
	{.name = "random", .kind = KEY_MAP, .table = random_keys},
	{.name = "for", .kind = KEY_DURATION, .offset = ACTION_AT(a.for_ms), .min = 10,
	    .max = EXPERIMENT_DAY_MS},
	{.name = "pool", .kind = KEY_NAME, .offset = ACTION_AT(a.pool)},
	{.name = "zone", .kind = KEY_NAME, .offset = ACTION_AT(a.zone)},
	{.name = "lifecycle", .kind = KEY_CHOICE, .offset = ACTION_AT(a.lifecycle),
	    .choices = "spot|on-demand"},
	{.name = "file", .kind = KEY_TEXT, .offset = ACTION_AT(a.trace)},
	{.name = "speed", .kind = KEY_COUNT64, .offset = ACTION_AT(a.speed), .min = 1, .max = 1000000},
	{0},
};


/* ---- beginning and end ---- */

void experiment_init(struct experiment *x)
{
	*x = (struct experiment){.cloud = EXPERIMENT_CLOUD_USUAL, .window_ms = 10000,
	    .replace_ms = 1000, .lease_ms = 2000, .timeout_ms = 600000, .seed = -1};
}

static void action_free(struct chaos_action *a)
{
	free(a->pool);
	free(a->zone);
	free(a->trace);
}

void experiment_free(struct experiment *x)
{
	size_t i;

	for (i = 0; i < x->n_set; i++)
		free(x->set[i]);
	for (i = 0; i < x->n_pools; i++) {
		free(x->pool[i].name);
		free(x->pool[i].zone);
	}
	for (i = 0; i < x->n_actions; i++)
		action_free(&x->action[i]);
	free(x->set);
	free(x->pool);
	free(x->action);
	free(x->pipeline);
	memset(x, 0, sizeof(*x));
}

static void action_init(struct chaos_action *a)
{
	*a = (struct chaos_action){.kind = ACTION_NOTICE, .targets = {.n = ACTION_TARGETS_UNSAID},
	    .at_ms = -1, .lifecycle = LIFECYCLE_ANY, .speed = 1};
}

static void pool_init(struct fleet_pool *p)
{
	*p = (struct fleet_pool){.lifecycle = LIFECYCLE_SPOT, .workers = 4, .slots = 1};
}

struct chaos_action *experiment_add_action(struct experiment *x)
{
	void *list = x->action;
	size_t cap = x->n_actions;

	if (mem_grow(&list, &cap, x->n_actions + 1, sizeof(*x->action), NULL) != ST_OK)
		return NULL;
	x->action = list;
	action_init(&x->action[x->n_actions]);
	return &x->action[x->n_actions++];
}

struct fleet_pool *experiment_add_pool(struct experiment *x)
{
	void *list = x->pool;
	size_t cap = x->n_pools;

	if (mem_grow(&list, &cap, x->n_pools + 1, sizeof(*x->pool), NULL) != ST_OK)
		return NULL;
	x->pool = list;
	pool_init(&x->pool[x->n_pools]);
	return &x->pool[x->n_pools++];
}

/* ---- what goes together ---- */

static bool action_is_of_spot(const struct chaos_action *a)
{
	return a->kind != ACTION_KILL && a->kind != ACTION_FREEZE;
}

static enum status action_check_times(const struct chaos_action *a, struct error *e)
{
	const char *name = action_name((enum action_kind)a->kind);
	bool has_for = a->kind == ACTION_FREEZE || a->kind == ACTION_HIBERNATE ||
	    a->kind == ACTION_CAPACITY;

	if (a->every_ms > 0 && a->mean_ms > 0)
		return error_set(e, ST_CONFIG, "%s: \"every\" and \"random\" say both when it comes "
		    "again; expected one of them", name);
	if (a->jitter_ms > 0 && a->jitter_ms >= a->every_ms)
		return error_set(e, ST_CONFIG, "%s: \"jitter\" makes each \"every\" earlier or later; "
		    "expected less than \"every\"", name);
	if (a->for_ms > 0 && !has_for)
		return error_set(e, ST_CONFIG, "%s: there is no \"for\"; expected with freeze, "
		    "hibernate or capacity", name);
	return ST_OK;
}

static enum status action_check_trace(const struct chaos_action *a, struct error *e)
{
	if (a->kind != ACTION_TRACE && (a->trace != NULL || a->speed != 1))
		return error_set(e, ST_CONFIG, "%s: a file and its speed belong to a trace",
		    action_name((enum action_kind)a->kind));
	if (a->kind != ACTION_TRACE)
		return ST_OK;
	if (a->trace == NULL)
		return error_set(e, ST_CONFIG, "trace: expected the file with the numbers of machines");
	if (a->every_ms > 0 || a->mean_ms > 0 || a->targets.n != ACTION_TARGETS_UNSAID)
		return error_set(e, ST_CONFIG, "trace: the file says when and how many; expected "
		    "no \"every\", \"random\" or \"targets\"");
	return ST_OK;
}

enum status action_finish(struct chaos_action *a, struct error *e)
{
	bool unsaid = a->targets.n == ACTION_TARGETS_UNSAID;
	enum status st = action_check_times(a, e);

	if (st == ST_OK)
		st = action_check_trace(a, e);
	if (st != ST_OK)
		return st;
	if (a->stops && a->kind != ACTION_NOTICE)
		return error_set(e, ST_CONFIG, "%s: only a notice says terminate or stop",
		    action_name((enum action_kind)a->kind));
	if (a->lifecycle == LIFECYCLE_ON_DEMAND && action_is_of_spot(a))
		return error_set(e, ST_CONFIG, "%s: nobody takes an on-demand machine away; expected "
		    "kill or freeze for these", action_name((enum action_kind)a->kind));
	if (a->kind == ACTION_CAPACITY && !unsaid && a->targets.kind != TARGETS_ALL)
		return error_set(e, ST_CONFIG, "capacity: it is for all spot machines; expected no "
		    "\"targets\", but a pool or zone");
	if (action_is_of_spot(a))
		a->lifecycle = LIFECYCLE_SPOT;
	if (unsaid && (a->kind == ACTION_CAPACITY || a->kind == ACTION_TRACE))
		a->targets = (struct targets){.kind = TARGETS_ALL};
	else if (unsaid)
		a->targets = (struct targets){.kind = TARGETS_PERCENT, .n = 50};
	if (a->for_ms == 0)
		a->for_ms = a->kind == ACTION_CAPACITY ? ACTION_CAPACITY_MS : ACTION_FREEZE_MS;
	if (a->kind == ACTION_TRACE && a->at_ms < 0)
		a->at_ms = 0;
	return ST_OK;
}

int experiment_machines(const struct experiment *x)
{
	int n = 0;
	size_t i;

	for (i = 0; i < x->n_pools; i++)
		n += x->pool[i].workers;
	return n;
}

static enum status experiment_check_action(const struct experiment *x, const struct chaos_action *a,
    struct error *e)
{
	static const struct cloud *const clouds[] = {&cloud_aws, &cloud_gcp, &cloud_azure};
	const struct cloud *c = clouds[x->cloud];
	const char *name = action_name((enum action_kind)a->kind);
	bool any = false;
	size_t i;

	if ((a->kind == ACTION_REBALANCE && !c->has_rebalance) ||
	    (a->kind == ACTION_HIBERNATE && !c->has_hibernate))
		return error_set(e, ST_CONFIG, "%s: there is none on %s; expected cloud aws", name,
		    c->name);
	for (i = 0; i < x->n_pools; i++) {
		const struct fleet_pool *p = &x->pool[i];

		any = any || ((a->pool == NULL || strcmp(a->pool, p->name) == 0) &&
		    (a->zone == NULL || (p->zone != NULL && strcmp(a->zone, p->zone) == 0)) &&
		    (a->lifecycle == LIFECYCLE_ANY || a->lifecycle == p->lifecycle));
	}
	if (any)
		return ST_OK;
	return error_set(e, ST_CONFIG, "%s: no machine of the fleet is meant by it%s%.60s%s%.60s%s%s; "
	    "expected a pool, zone and lifecycle that the fleet has", name, a->pool == NULL ? ""
	    : ", pool ", a->pool == NULL ? "" : a->pool, a->zone == NULL ? "" : ", zone ",
	    a->zone == NULL ? "" : a->zone, a->lifecycle == LIFECYCLE_ANY ? "" : ", ",
	    a->lifecycle == LIFECYCLE_ANY ? "" : lifecycle_name(a->lifecycle));
}

enum status experiment_check(const struct experiment *x, struct error *e)
{
	enum status st = ST_OK;
	size_t i;
	size_t k;

	if (experiment_machines(x) > EXPERIMENT_MACHINES_MAX)
		return error_set(e, ST_CONFIG, "the fleet has %d machines; expected at most %d",
		    experiment_machines(x), EXPERIMENT_MACHINES_MAX);
	for (i = 0; i < x->n_pools; i++) {
		for (k = 0; k < i; k++) {
			if (strcmp(x->pool[i].name, x->pool[k].name) == 0)
				return error_set(e, ST_CONFIG, "the pool \"%s\" is there twice",
				    x->pool[i].name);
		}
	}
	for (i = 0; st == ST_OK && i < x->n_actions; i++)
		st = experiment_check_action(x, &x->action[i], e);
	return st;
}

/* ---- the file ---- */

static void experiment_read_targets(struct reader *r, const struct yaml_node *n,
    struct action_text *t)
{
	const struct yaml_node *at = yaml_get(n, "targets");
	struct error e;

	if (t->targets != NULL && targets_parse(t->targets, &t->a.targets, &e) != ST_OK)
		READER_PROBLEM(r, at, "\"targets\" is %s", e.text);
	free(t->targets);
	t->targets = NULL;
}

static void experiment_read_action(struct reader *r, const struct yaml_node *n,
    struct experiment *x)
{
	struct chaos_action *a = experiment_add_action(x);
	struct action_text t;
	size_t before = r->problems->n;
	struct error e;

	if (a == NULL) {
		reader_no_memory(r);
		return;
	}
	t = (struct action_text){.a = *a};
	t.a.kind = -1;
	t.a.line = n->line;
	reader_map(r, action_keys, n, &t);
	experiment_read_targets(r, n, &t);
	if (yaml_get(n, "do") == NULL)
		READER_PROBLEM(r, n, "\"do\" is missing; expected one of notice, rebalance, kill, "
		    "freeze, hibernate, capacity, trace");
	if (t.a.kind < 0)
		t.a.kind = ACTION_NOTICE;
	*a = t.a;
	if (r->problems->n == before && action_finish(a, &e) != ST_OK)
		READER_PROBLEM(r, n, "%s", e.text);
}

static void experiment_read_pool(struct reader *r, const struct yaml_node *n, struct experiment *x)
{
	struct fleet_pool *p = experiment_add_pool(x);

	if (p == NULL)
		reader_no_memory(r);
	else
		reader_map(r, pool_keys, n, p);
}

/* A list of maps. */
static void experiment_read_list(struct reader *r, const struct yaml_node *root, const char *key,
    size_t most,
    void (*one)(struct reader *, const struct yaml_node *, struct experiment *),
    struct experiment *x)
{
	const struct yaml_node *n = yaml_get(root, key);
	const struct yaml_node *item;

	if (n == NULL)
		return;
	if (n->kind != YAML_LIST || n->n < 1 || n->n > most) {
		READER_PROBLEM(r, n, "\"%s\" is %s%s; expected a list of 1 to %zu maps", key,
		    n->kind == YAML_LIST && n->n > most ? "too long " : "", yaml_kind_text(n->kind),
		    most);
		return;
	}
	for (item = n->first; item != NULL; item = item->next) {
		if (item->kind == YAML_MAP)
			one(r, item, x);
		else
			READER_PROBLEM(r, item, "there is %s in the list \"%s\"; expected a map",
			    yaml_kind_text(item->kind), key);
	}
}

static void experiment_read_sets(struct reader *r, const struct yaml_node *root,
    struct experiment *x)
{
	const struct yaml_node *n = yaml_get(root, "set");
	const struct yaml_node *value;

	if (n == NULL)
		return;
	if (n->kind != YAML_MAP || n->n > EXPERIMENT_SETS_MAX) {
		READER_PROBLEM(r, n, "\"set\" is %s; expected a map of at most %d parameters, such as "
		    "{size: 2MiB}", yaml_kind_text(n->kind), EXPERIMENT_SETS_MAX);
		return;
	}
	for (value = n->first; value != NULL; value = value->next) {
		struct buf b = {0};

		if (value->kind != YAML_TEXT || strlen(value->text) != value->len) {
			READER_PROBLEM(r, value, "the value of \"%.60s\" is %s; expected a text",
			    value->key->text, yaml_kind_text(value->kind));
			continue;
		}
		buf_printf(&b, "%s=%s", value->key->text, value->text);
		if (b.failed)
			reader_no_memory(r);
		else
			reader_add_word(r, &x->set, &x->n_set, b.data);
	}
}

static void experiment_read_windows(struct reader *r, const struct yaml_node *root,
    struct experiment *x)
{
	const struct yaml_node *n = yaml_get(root, "real_windows");
	bool yes = n != NULL && n->kind == YAML_TEXT && strcmp(n->text, "true") == 0;

	if (n != NULL && !yes && (n->kind != YAML_TEXT || strcmp(n->text, "false") != 0))
		READER_PROBLEM(r, n, "\"real_windows\" is %.40s; expected true or false",
		    n->kind == YAML_TEXT ? n->text : yaml_kind_text(n->kind));
	if (yes && yaml_get(root, "notice_window") != NULL)
		READER_PROBLEM(r, n, "\"real_windows\" and \"notice_window\" exclude each other; "
		    "expected one of them");
	if (yes)
		x->window_ms = -1;
}

/* The pool that an item of "fleet" or "actions" names; NULL: none. */
static const struct yaml_node *experiment_pool_of(const struct yaml_node *item)
{
	const struct yaml_node *n = item->kind == YAML_MAP ? yaml_get(item, "pool") : NULL;

	return n != NULL && n->kind == YAML_TEXT ? n : NULL;
}

/* Its first item before `end` with that name. */
static const struct yaml_node *experiment_find_pool(const struct yaml_node *fleet, const char *name,
    const struct yaml_node *end)
{
	const struct yaml_node *item;

	for (item = fleet->first; item != end; item = item->next) {
		const struct yaml_node *n = experiment_pool_of(item);

		if (n != NULL && strcmp(n->text, name) == 0)
			return n;
	}
	return NULL;
}

static void experiment_unknown_pool(struct reader *r, const struct yaml_node *fleet,
    const struct yaml_node *n)
{
	const struct yaml_node *item;
	const char *near = NULL;
	const char *any = NULL;
	size_t best = 64;

	for (item = fleet->first; item != NULL; item = item->next) {
		const struct yaml_node *known = experiment_pool_of(item);
		size_t apart = known == NULL ? best : str_distance(n->text, n->len, known->text, known->len);

		if (known != NULL && any == NULL)
			any = known->text;
		if (apart < best && key_is_near(n->text, n->len, known->text, known->len)) {
			best = apart;
			near = known->text;
		}
	}
	if (near != NULL)
		READER_PROBLEM(r, n, "there is no pool \"%.60s\" in the fleet; did you mean \"%.60s\"?",
		    n->text, near);
	else if (any != NULL)
		READER_PROBLEM(r, n, "there is no pool \"%.60s\" in the fleet; expected one under fleet:, "
		    "such as \"%.60s\"", n->text, any);
}

/* The names of pools, of a fleet and of actions that were not too long. */
static void experiment_check_pools(struct reader *r, const struct yaml_node *root)
{
	const struct yaml_node *fleet = yaml_get(root, "fleet");
	const struct yaml_node *actions = yaml_get(root, "actions");
	const struct yaml_node *item;

	if (fleet == NULL || fleet->kind != YAML_LIST || fleet->n > EXPERIMENT_POOLS_MAX)
		return;
	for (item = fleet->first; item != NULL; item = item->next) {
		const struct yaml_node *n = experiment_pool_of(item);
		const struct yaml_node *was = n == NULL ? NULL : experiment_find_pool(fleet, n->text, item);

		if (was != NULL)
			READER_PROBLEM(r, n, "the pool \"%.60s\" is there twice, first in line %d; expected "
			    "another name", n->text, was->line);
	}
	if (actions == NULL || actions->kind != YAML_LIST || actions->n > EXPERIMENT_ACTIONS_MAX)
		return;
	for (item = actions->first; item != NULL; item = item->next) {
		const struct yaml_node *n = experiment_pool_of(item);

		if (n != NULL && experiment_find_pool(fleet, n->text, NULL) == NULL)
			experiment_unknown_pool(r, fleet, n);
	}
}

static void experiment_read_tree(struct reader *r, const struct yaml_node *root,
    struct experiment *x)
{
	if (root->kind != YAML_MAP) {
		READER_PROBLEM(r, root, "the file is %s; expected a map with pipeline:, fleet: and "
		    "actions:", yaml_kind_text(root->kind));
		return;
	}
	reader_map(r, experiment_keys, root, x);
	experiment_read_sets(r, root, x);
	experiment_read_windows(r, root, x);
	experiment_read_list(r, root, "fleet", EXPERIMENT_POOLS_MAX, experiment_read_pool, x);
	experiment_read_list(r, root, "actions", EXPERIMENT_ACTIONS_MAX, experiment_read_action, x);
	experiment_check_pools(r, root);
	if (yaml_get(root, "actions") == NULL)
		READER_PROBLEM(r, root, "\"actions\" is missing; expected a list such as "
		    "[{do: notice, at: 2s, targets: PERCENT(50)}]");
}

bool experiment_is_one(const char *text, size_t len)
{
	struct pipeline_problems problems = {0};
	struct yaml_node *root = NULL;
	struct error e;
	bool is = yaml_read(text, len, &problems, &root, &e) == ST_OK && root->kind == YAML_MAP &&
	    yaml_get(root, "stages") == NULL &&
	    (yaml_get(root, "pipeline") != NULL || yaml_get(root, "actions") != NULL);

	yaml_free(root);
	pipeline_problems_free(&problems);
	return is;
}

enum status experiment_read(const char *text, size_t len, const char *file,
    struct pipeline_problems *problems, struct experiment *out, struct error *e)
{
	struct reader r = {.problems = problems};
	struct yaml_node *root = NULL;
	enum status st = yaml_read(text, len, problems, &root, e);

	if (st == ST_OK)
		experiment_read_tree(&r, root, out);
	yaml_free(root);
	if (st == ST_NO_MEMORY)
		return st;
	pipeline_problems_sort(problems);
	return st == ST_OK || problems->n > 0 ? pipeline_problems_status(problems, file, e) : st;
}
