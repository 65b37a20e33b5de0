#include "pipeline/read.h"

#include <stdlib.h>
#include <string.h>

#include "pipeline/reader.h"

void pipeline_spots_free(struct pipeline_spots *s)
{
	free(s->stage);
	memset(s, 0, sizeof(*s));
}

static struct pipeline_spot spot_of(const struct yaml_node *n)
{
	struct pipeline_spot spot = {0};

	if (n != NULL) {
		spot.line = n->line;
		spot.column = n->column;
	}
	return spot;
}

/* ---- parameters ---- */

/* The value of a default, "required" being none; false after a problem. */
static bool param_default(struct reader *r, const struct key *keys, const struct yaml_node *n,
    char **out)
{
	const struct yaml_node *value = n;

	*out = NULL;
	if (n->kind == YAML_MAP) {
		for (value = n->first; value != NULL; value = value->next) {
			if (strcmp(value->key->text, keys->name) != 0)
				reader_unknown_key(r, keys, value);
		}
		value = yaml_get(n, keys->name);
	} else if (n->kind == YAML_TEXT && strcmp(n->text, "required") == 0) {
		return true;
	}
	if (value == NULL || value->kind != YAML_TEXT) {
		READER_PROBLEM(r, n, "\"%.60s\" is %s; expected required, a value, or "
		    "{default: VALUE}", n->key->text,
		    value == NULL ? "a map without default" : yaml_kind_text(value->kind));
		return false;
	}
	if (strlen(value->text) != value->len || value->len > PARAM_VALUE_MAX) {
		READER_PROBLEM(r, value, "the value of \"%.60s\" has a NUL byte or more than %d "
		    "bytes", n->key->text, PARAM_VALUE_MAX);
		return false;
	}
	*out = mem_dup(value->text, value->len);
	if (*out == NULL)
		reader_no_memory(r);
	return *out != NULL;
}

static void declare_params(struct reader *r, const struct key *k, const struct yaml_node *n)
{
	const struct yaml_node *value;
	struct error e;
	char *text;

	if (n->kind != YAML_MAP) {
		reader_wants(r, k, n);
		return;
	}
	if (n->n > PARAMS_MAX) {
		READER_PROBLEM(r, n, "there are %zu parameters; expected at most %d", n->n,
		    PARAMS_MAX);
		return;
	}
	for (value = n->first; value != NULL; value = value->next) {
		const char *name = value->key->text;

		if (!key_is_variable(name, strlen(name)))
			READER_PROBLEM(r, value->key, "\"%.60s\" is no name of a parameter; "
			    "expected letters, digits and _, no digit first", name);
		else if (params_find(&r->params, name, strlen(name)) == NULL &&
		    param_default(r, k->table, value, &text) &&
		    params_add(&r->params, name, text, value->key->line, value->key->column,
		    &e) != ST_OK)
			reader_no_memory(r);
	}
}

static void set_given_param(struct reader *r, const struct pipeline_given *g)
{
	struct param *p = params_find(&r->params, g->name, strlen(g->name));
	const struct param *near = params_nearest(&r->params, g->name, strlen(g->name));

	if (p == NULL && near != NULL) {
		pipeline_problem_add(r->problems, 0, 0, "--set %.60s: there is no such parameter; "
		    "did you mean \"%s\"?", g->name, near->name);
		return;
	}
	if (p == NULL) {
		pipeline_problem_add(r->problems, 0, 0, "--set %.60s: there is no such parameter; "
		    "the file declares its own under params:", g->name);
		return;
	}
	if (p->given || strlen(g->value) > PARAM_VALUE_MAX) {
		pipeline_problem_add(r->problems, 0, 0, "--set %s: %s", p->name,
		    p->given ? "it is given twice" : "the value has more than 64 KiB");
		return;
	}
	free(p->value);
	p->value = mem_dup(g->value, strlen(g->value));
	p->given = true;
	if (p->value == NULL)
		reader_no_memory(r);
}

static void read_params(struct reader *r, const struct yaml_node *root,
    const struct pipeline_given *given, size_t n_given)
{
	const struct yaml_node *n = yaml_get(root, "params");
	size_t i;

	if (n != NULL)
		declare_params(r, key_find(keys_file, "params"), n);
	for (i = 0; i < n_given; i++)
		set_given_param(r, &given[i]);
	for (i = 0; i < r->params.n; i++) {
		const struct param *p = &r->params.list[i];

		if (p->value == NULL && !p->given)
			pipeline_problem_add(r->problems, p->line, p->column, "parameter \"%s\" "
			    "has no value; expected --set %s=VALUE", p->name, p->name);
	}
	params_sort(&r->params);
}

/* Hands them over to the pipeline. */
static void give_params(struct reader *r)
{
	size_t i;

	r->out->param = mem_zero((r->params.n + 1) * sizeof(*r->out->param));
	if (r->out->param == NULL) {
		reader_no_memory(r);
		return;
	}
	for (i = 0; i < r->params.n; i++) {
		r->out->param[i].name = r->params.list[i].name;
		r->out->param[i].value = r->params.list[i].value;
		r->params.list[i].name = NULL;
		r->params.list[i].value = NULL;
	}
	r->out->n_params = i;
}

/* ---- stages ---- */

static void copy_file_names(struct reader *r, struct spec *s)
{
	size_t i;

	for (i = 0; i < r->n_files; i++) {
		char *copy = mem_dup(r->files[i], strlen(r->files[i]));

		if (copy == NULL)
			reader_no_memory(r);
		else
			reader_add_word(r, &s->files, &s->n_files, copy);
	}
}

static void read_stage(struct reader *r, const struct key *k, const struct yaml_node *n)
{
	struct pipeline_stage_spots *spots = &r->spots->stage[r->out->n_stages];
	struct spec *s = &r->out->stage[r->out->n_stages++];
	size_t before = r->problems->n + r->problems->more;

	spots->name = spot_of(n->key);
	s->name = mem_dup(n->key->text, strlen(n->key->text));
	if (s->name == NULL) {
		reader_no_memory(r);
		return;
	}
	if (!key_is_name(s->name))
		READER_PROBLEM(r, n->key, "\"%.60s\" is no name of a stage; expected at most 48 "
		    "letters, digits, _ . and -, a letter or digit first", s->name);
	if (n->kind != YAML_MAP) {
		READER_PROBLEM(r, n, "stage \"%.60s\" is %s; expected a map with input: and run:",
		    s->name, n->len == 0 && n->n == 0 ? "empty" : yaml_kind_text(n->kind));
		return;
	}
	spots->input = spot_of(yaml_get(n, "input"));
	spots->run = spot_of(yaml_get(n, "run"));
	spots->output = spot_of(yaml_get(n, "output"));
	s->retry = retry_policy_default();
	s->stop_on_failed = true;
	r->run_values = 0;
	r->gpu_slots = false;
	reader_map(r, k->table, n, s);
	if (r->problems->n + r->problems->more == before && !r->problems->no_memory)
		stage_finish(r, n, s);
	copy_file_names(r, s);
}

static void read_stages(struct reader *r, const struct yaml_node *root)
{
	const struct key *k = key_find(keys_file, "stages");
	const struct yaml_node *n = yaml_get(root, k->name);
	const struct yaml_node *value;

	if (n == NULL)
		return; /* told already */
	if (n->kind != YAML_MAP || n->n == 0) {
		reader_wants(r, k, n);
		return;
	}
	if (n->n > PIPELINE_STAGES_MAX) {
		READER_PROBLEM(r, n, "there are %zu stages; expected at most %d", n->n,
		    PIPELINE_STAGES_MAX);
		return;
	}
	r->out->stage = mem_zero(n->n * sizeof(*r->out->stage));
	r->spots->stage = mem_zero(n->n * sizeof(*r->spots->stage));
	if (r->out->stage == NULL || r->spots->stage == NULL) {
		reader_no_memory(r);
		return;
	}
	for (value = n->first; value != NULL && !r->problems->no_memory; value = value->next)
		read_stage(r, k, value);
	r->spots->n = r->out->n_stages;
}

static bool is_read_by_another(const struct pipeline *p, const char *name)
{
	size_t i;
	size_t k;

	for (i = 0; i < p->n_stages; i++) {
		for (k = 0; k < p->stage[i].n_sources; k++) {
			const struct spec_source *from = &p->stage[i].source[k];

			if (from->kind == SOURCE_STAGE && strcmp(from->text, name) == 0)
				return true;
		}
	}
	return false;
}

static void default_outputs(struct pipeline *p)
{
	size_t i;

	for (i = 0; i < p->n_stages; i++) {
		struct spec *s = &p->stage[i];

		if (s->out != NULL)
			continue;
		s->output = is_read_by_another(p, s->name) ? SPEC_OUT_KEPT : SPEC_OUT_STDOUT;
		s->keep_order = s->output == SPEC_OUT_STDOUT;
	}
}

/* ---- the file ---- */

static void read_tree(struct reader *r, const struct yaml_node *root,
    const struct pipeline_given *given, size_t n_given)
{
	if (root->kind != YAML_MAP) {
		READER_PROBLEM(r, root, "the file is %s; expected a map with version: 1, name: and "
		    "stages:", yaml_kind_text(root->kind));
		return;
	}
	read_params(r, root, given, n_given);
	reader_map(r, keys_file, root, r->out);
	if (!r->problems->no_memory)
		read_stages(r, root);
	if (!r->problems->no_memory)
		order_stages(r);
	if (r->problems->no_memory || r->problems->n > 0)
		return;
	default_outputs(r->out);
	give_params(r);
}

static void reader_release(struct reader *r)
{
	size_t i;

	for (i = 0; i < r->n_files; i++)
		free(r->files[i]);
	free(r->files);
	free(r->refs);
	params_free(&r->params);
}

enum status pipeline_read(const struct pipeline_text *text, const struct pipeline_given *given,
    size_t n_given, struct pipeline *out, struct pipeline_spots *spots,
    struct pipeline_problems *problems, struct error *e)
{
	struct reader r = {.problems = problems, .out = out, .spots = spots};
	struct yaml_node *root;
	enum status st;

	memset(out, 0, sizeof(*out));
	memset(spots, 0, sizeof(*spots));
	st = yaml_read(text->data, text->len, problems, &root, e);
	if (st == ST_OK)
		read_tree(&r, root, given, n_given);
	if (st == ST_OK)
		spots->notice = spot_of(yaml_get(root, "notice"));
	yaml_free(root);
	reader_release(&r);
	if (st == ST_NO_MEMORY)
		return st;
	pipeline_problems_sort(problems);
	st = pipeline_problems_status(problems, text->file_name, e);
	if (st != ST_OK) {
		pipeline_free(out);
		pipeline_spots_free(spots);
	}
	return st;
}
