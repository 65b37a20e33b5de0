#include "chaos/machine.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "chaos/child.h"
#include "chaos/cloud.h"
#include "chaos/experiment.h"
#include "chaos/proctree.h"
#include "chaos/serve.h"
#include "worker/procs.h"

/* Where workers look for the service of a cloud. */
static const struct played {
	const struct cloud *cloud;
	const char *variable;
} played[] = { /* in the order of EXPERIMENT_CLOUDS */
	{&cloud_aws, "AWS_EC2_METADATA_SERVICE_ENDPOINT"},
	{&cloud_gcp, "GCE_METADATA_HOST"},
	{&cloud_azure, "AZURE_POD_IDENTITY_AUTHORITY_HOST"},
};

void machine_mark_prefix(const char *token, char *out, size_t size)
{
	(void)snprintf(out, size, "EBB_CHAOS_MACHINE=%s.", token);
}

/* ---- beginning ---- */

static enum status machine_serve(struct machine *m, const struct machine_plan *p, struct error *e)
{
	struct serve_options o = {.cloud = played[p->x->cloud].cloud, .count = 1,
	    .instance = instance_options_default()};

	o.cloud->make_id(m->number * 1000 + m->instances, m->id);
	o.instance.id = m->id;
	o.instance.zone = m->zone;
	o.instance.on_demand = m->lifecycle == LIFECYCLE_ON_DEMAND;
	o.instance.window_ms = p->x->window_ms;
	return serve_create(&o, &m->serve, e);
}

static void machine_words(const struct machine *m, const struct machine_plan *p, bool begins,
    struct words *w)
{
	size_t i;

	words_add(w, begins ? "run" : "worker");
	if (begins) {
		words_add(w, "--if-running=join");
		words_add(w, "--output-root=%s/out", p->folder);
	} else {
		words_add(w, "--run=%s", p->run);
	}
	words_add(w, "--state=%s/state", p->folder);
	words_add(w, "--pool=%s", m->pool);
	words_add(w, "--lifecycle=%s", lifecycle_name(m->lifecycle));
	words_add(w, "--lease=%lldms", (long long)p->x->lease_ms);
	words_add(w, "--jobs=%d", m->slots);
	words_add(w, "--notice=%s", played[p->x->cloud].cloud->name);
	for (i = 0; begins && i < p->n_set; i++) {
		words_add(w, "--set");
		words_add(w, "%s", p->set[i]);
	}
	if (begins) {
		words_add(w, "--");
		words_add(w, "%s", p->pipeline);
	}
}

enum status machine_start(struct machine *m, const struct machine_plan *p, bool begins,
    struct error *e)
{
	struct words args = {0};
	struct words env = {0};
	struct buf log = {0};
	struct child c = {.program = p->program, .args = &args, .env = &env};
	char prefix[96];
	enum status st;

	m->instances++;
	machine_mark_prefix(p->token, prefix, sizeof(prefix));
	(void)snprintf(m->mark, sizeof(m->mark), "%s%d.%d", prefix, m->number, m->instances);
	buf_printf(&log, "%s/log/machine-%d.%d", p->folder, m->number, m->instances);
	st = buf_check(&log, e);
	if (st == ST_OK)
		st = machine_serve(m, p, e);
	if (st == ST_OK) {
		c.log = log.data;
		machine_words(m, p, begins, &args);
		words_add(&env, "%s", m->mark);
		words_add(&env, "%s=%s", played[p->x->cloud].variable, serve_endpoint(m->serve, 1, true));
		st = child_start(&c, &m->pid, e);
	}
	words_free(&args);
	words_free(&env);
	buf_free(&log);
	m->up = st == ST_OK;
	if (st != ST_OK)
		machine_gone(m);
	return st;
}

/* ---- what its cloud says ---- */

enum status machine_notice(struct machine *m, enum notice_action action, int64_t in_ms,
    struct error *e)
{
	const struct command c = {.kind = COMMAND_NOTICE, .instance = 1, .in_ms = in_ms,
	    .action = (int)action};

	return serve_apply(m->serve, &c, e);
}

enum status machine_rebalance(struct machine *m, struct error *e)
{
	const struct command c = {.kind = COMMAND_REBALANCE, .instance = 1, .in_ms = -1,
	    .action = -1};

	return serve_apply(m->serve, &c, e);
}

void machine_withdraw(struct machine *m)
{
	const struct command c = {.kind = COMMAND_WITHDRAW, .instance = 1, .in_ms = -1, .action = -1};
	struct error e;

	if (m->serve != NULL)
		(void)!serve_apply(m->serve, &c, &e);
}

/* ---- its processes ---- */

static bool machine_tree(const struct machine *m, struct proctree *out)
{
	const struct ledger_worker *w = &m->worker;
	struct proc_stat now;
	char boot[37];
	struct error e;

	*out = (struct proctree){.root = m->up ? m->pid : 0,
	    .mark = m->mark[0] != '\0' ? m->mark : NULL};
	if (w->id == 0)
		return true;
	out->root = w->pid;
	return sys_boot_id(boot, &e) == ST_OK && strcmp(boot, w->boot_id) == 0 &&
	    proc_stat_read(w->pid, &now) && now.state != 'Z' &&
	    (uint64_t)now.start_boot_ns == w->start_ticks;
}

bool machine_stop(struct machine *m)
{
	struct proctree t;

	if (!machine_tree(m, &t))
		return false;
	proctree_stop(&t);
	m->frozen = true;
	return true;
}

bool machine_go_on(struct machine *m)
{
	struct proctree t;

	m->frozen = false;
	if (!machine_tree(m, &t))
		return false;
	proctree_go_on(&t);
	return true;
}

bool machine_kill(struct machine *m)
{
	struct proctree t;

	return machine_tree(m, &t) && proctree_kill(&t);
}

void machine_gone(struct machine *m)
{
	serve_destroy(m->serve);
	m->serve = NULL;
	m->up = false;
	m->frozen = false;
	m->deadline_ms = 0;
	m->freeze_ms = 0;
	m->thaw_ms = 0;
}
