#include "chaos/judge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "chaos/compare.h"
#include "chaos/fleet.h"
#include "chaos/follow.h"
#include "chaos/proctree.h"
#include "chaos/verdict.h"
#include "model/pipeline.h"
#include "worker/procs.h"

/* ---- processes ---- */

void judge_left(struct verdict *v, const struct proctree *all)
{
	struct pid_list left = {0};
	struct buf what = {0};

	proctree_list(all, &left);
	if (left.n == 0) {
		verdict_set(v, CHECK_LEFT, CHECK_HOLDS, "no process of the fleet is left");
	} else {
		char path[64];

		(void)snprintf(path, sizeof(path), "/proc/%d/comm", left.pids[0]);
		if (file_read(path, 4096, &what, NULL) == ST_OK && what.len > 0)
			buf_cut(&what, strcspn(what.data, "\n"));
		verdict_set(v, CHECK_LEFT, CHECK_FAILS, "%zu processes were still there and were ended, "
		    "the first of them %d (%s)", left.n, left.pids[0],
		    what.failed || what.data == NULL ? "" : what.data);
	}
	buf_free(&what);
	pid_list_free(&left);
}

/* ---- bytes ---- */

static void judge_say_compared(struct verdict *v, enum check_name check, const struct compared *c,
    const char *good)
{
	struct buf size = {0};

	str_size(&size, c->bytes);
	if (c->differences > 0)
		verdict_set(v, check, CHECK_FAILS, "%lld difference%s: %s%s", (long long)c->differences,
		    c->differences == 1 ? "" : "s", c->text.data, c->differences > 5 ? "; ..." : "");
	else
		verdict_set(v, check, CHECK_HOLDS, "%lld file%s, %s: %s", (long long)c->files,
		    c->files == 1 ? "" : "s", size.failed ? "" : size.data, good);
	buf_free(&size);
}

static enum status judge_own_bytes(struct verdict *v, const struct judge_case *c, struct error *e)
{
	struct compared found = {0};
	struct buf out = {0};
	struct buf ref = {0};
	enum status st;

	buf_printf(&out, "%s/out", c->folder);
	if (c->reference != NULL)
		buf_str(&ref, c->reference);
	else
		buf_printf(&ref, "%s/ref", c->folder);
	st = out.failed ? buf_check(&out, e) : buf_check(&ref, e);
	if (st == ST_OK)
		st = compare_trees(out.data, ref.data, &found, e);
	if (st == ST_OK)
		judge_say_compared(v, CHECK_BYTES, &found, "the same as without interruptions");
	buf_free(&out);
	buf_free(&ref);
	buf_free(&found.text);
	return st;
}

/* ---- manifests ---- */

struct manifests {
	const struct judge_case *c;
	struct buf state;      /* folder */
	struct buf place;      /* that the run works in */
	struct pipeline pipeline;
	struct ledger_stage *stage;
	size_t n;
};

static enum status manifests_open(struct manifests *m, const struct judge_case *c,
    struct error *e)
{
	const struct ledger_run *run = &c->follow->run;
	enum status st;

	memset(m, 0, sizeof(*m));
	m->c = c;
	if (c->folder != NULL)
		buf_printf(&m->state, "%s/state", c->folder);
	else
		buf_str(&m->state, c->state);
	if (run->place[0] == '/')
		buf_str(&m->place, run->place);
	else
		buf_printf(&m->place, "%s/../%s", m->state.failed ? "" : m->state.data, run->place);
	st = m->state.failed ? buf_check(&m->state, e) : buf_check(&m->place, e);
	if (st == ST_OK)
		st = pipeline_decode(run->spec, &m->pipeline, e);
	m->stage = mem_zero(PIPELINE_STAGES_MAX * sizeof(*m->stage));
	if (st == ST_OK && m->stage == NULL)
		st = error_set(e, ST_NO_MEMORY, "out of memory");
	return st == ST_OK ? ledger_run_stages(c->follow->ledger, run->id, 0, m->stage,
	    PIPELINE_STAGES_MAX, &m->n, e) : st;
}

static void manifests_close(struct manifests *m)
{
	buf_free(&m->state);
	buf_free(&m->place);
	pipeline_free(&m->pipeline);
	free(m->stage);
}

/* Outputs that somebody gets, and not what stages keep for each other. */
static bool manifests_is_for_people(const struct manifests *m, const char *stage)
{
	int i = pipeline_find(&m->pipeline, stage);

	return i >= 0 && (m->pipeline.stage[i].output == SPEC_OUT_NAME ||
	    m->pipeline.stage[i].output == SPEC_OUT_FILES);
}

/* With `reference` the files are those below it that have the names. */
static enum status manifests_compare(const struct manifests *m, const char *reference,
    struct compared *out, struct error *e)
{
	const char *run = m->c->follow->run.name;
	char *real = realpath(m->place.data, NULL);
	enum status st = ST_OK;
	size_t i;

	for (i = 0; st == ST_OK && i < m->n; i++) {
		struct buf path = {0};

		if (!m->stage[i].sealed ||
		    (reference != NULL && !manifests_is_for_people(m, m->stage[i].name)))
			continue;
		buf_printf(&path, "%s/runs/%s/_ebb_manifest.%s.%s.json", m->state.data, run, run,
		    m->stage[i].name);
		st = buf_check(&path, e);
		if (st == ST_OK)
			st = compare_manifest(path.data, reference != NULL ? reference : m->place.data,
			    reference != NULL ? real : NULL, out, e);
		buf_free(&path);
	}
	free(real);
	return st;
}

/* A manifest that is not there, or none, is a check that fails and no trouble. */
static enum status judge_manifests(struct verdict *v, const struct manifests *m, struct error *e)
{
	struct compared found = {0};
	enum status st = manifests_compare(m, NULL, &found, e);

	if (st == ST_NO_MEMORY)
		return st;
	if (st != ST_OK)
		verdict_set(v, CHECK_MANIFESTS, CHECK_FAILS, "%s", e->text);
	else
		judge_say_compared(v, CHECK_MANIFESTS, &found, "as the manifests say");
	buf_free(&found.text);
	return ST_OK;
}

static enum status judge_others_bytes(struct verdict *v, const struct manifests *m,
    struct error *e)
{
	struct compared found = {0};
	enum status st = manifests_compare(m, m->c->reference, &found, e);

	if (st == ST_OK)
		judge_say_compared(v, CHECK_BYTES, &found, "the same as in the reference");
	buf_free(&found.text);
	return st;
}

static enum status judge_outputs(struct verdict *v, const struct judge_case *c, struct error *e)
{
	struct manifests m;
	bool has = c->reference != NULL || c->made_reference;
	enum status st = manifests_open(&m, c, e);

	if (st == ST_OK)
		st = judge_manifests(v, &m, e);
	if (st != ST_OK || !has)
		;
	else if (c->follow->run.state != RUN_FINISHED)
		verdict_set(v, CHECK_BYTES, CHECK_FAILS, "not compared, as it is not finished");
	else if (c->folder != NULL)
		st = judge_own_bytes(v, c, e);
	else
		st = judge_others_bytes(v, &m, e);
	manifests_close(&m);
	return st;
}

/* ---- all of it ---- */

/* A notice that nobody heard before all was done has shown nothing. */
static size_t judge_count_felt(const struct verdict *v)
{
	size_t n = 0;
	size_t i;

	for (i = 0; i < v->n_blows; i++) {
		const struct blow *b = &v->blow[i];

		n += b->kind == ACTION_KILL || b->kind == ACTION_FREEZE || b->missed ||
		    (v->felt != NULL && v->felt[i].heard_ms >= 0);
	}
	return n;
}

static void judge_disturbed(struct verdict *v, const struct judge_case *c)
{
	const char *more = c->folder == NULL ? "an earlier --at shows more" : "more input, longer "
	    "commands, an earlier --at or fewer machines (--workers) show more";
	const char *sooner = c->folder == NULL ? "" : "; notices of --cloud gcp are heard soonest";
	size_t felt = judge_count_felt(v);

	if (felt > 0)
		verdict_set(v, CHECK_DISTURBED, CHECK_HOLDS, "%zu of %zu interruptions were felt", felt,
		    v->n_blows);
	else if (v->n_blows > 0)
		verdict_set(v, CHECK_DISTURBED, CHECK_FAILS, "it was over before a worker heard of its "
		    "notice: %s%s", more, sooner);
	else
		verdict_set(v, CHECK_DISTURBED, CHECK_FAILS, "it was over before anything was done to "
		    "it: %s", more);
}

enum status judge_all(struct verdict *v, const struct judge_case *c, struct error *e)
{
	char why[200];
	size_t i;
	enum status st;

	for (i = 0; i < CHECKS; i++) {
		if (v->check[i].text.data == NULL)
			verdict_set(v, (enum check_name)i, CHECK_SKIPPED, "%s", i == CHECK_BYTES
			    ? "there is nothing to compare with" : i == CHECK_LEFT
			    ? "its processes are not those of this rehearsal" : "not looked at");
	}
	(void)snprintf(why, sizeof(why), "%s", c->why);
	if (c->why_code != 0)
		(void)snprintf(why, sizeof(why), "%s, one with exit code %d", c->why, c->why_code);
	st = follow_look(c->follow, e);
	if (st == ST_OK && !c->follow->known) {
		verdict_set(v, CHECK_FINISHED, CHECK_FAILS, "it was never begun: %s", why);
		judge_disturbed(v, c);
		return ST_OK;
	}
	if (st == ST_OK)
		st = verdict_look(v, c->follow->ledger, &c->follow->run, why, e);
	judge_disturbed(v, c);
	return st == ST_OK ? judge_outputs(v, c, e) : st;
}
