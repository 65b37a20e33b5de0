#include "cli/pipeline_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "model/template.h"
#include "pipeline/yaml.h"

void pipeline_file_free(struct pipeline_file *f)
{
	pipeline_free(&f->pipeline);
	pipeline_spots_free(&f->spots);
	pipeline_problems_free(&f->problems);
}

/* "NAME=VALUE" texts; `names` holds the copies of the names. */
static enum status split_given(const struct option_texts *set, struct pipeline_given *given,
    char **names, struct error *e)
{
	size_t i;

	for (i = 0; i < set->n; i++) {
		const char *eq = strchr(set->list[i], '=');

		if (eq == NULL)
			return error_set(e, ST_CONFIG, "--set %.60s: expected NAME=VALUE, such as "
			    "--set date=2026-07-01", set->list[i]);
		names[i] = mem_dup(set->list[i], (size_t)(eq - set->list[i]));
		if (names[i] == NULL)
			return error_set(e, ST_NO_MEMORY, "out of memory");
		given[i].name = names[i];
		given[i].value = eq + 1;
	}
	return ST_OK;
}

static enum status read_text(const char *path, struct buf *text, struct error *e)
{
	struct stat sb;

	if (stat(path, &sb) == 0 && S_ISDIR(sb.st_mode))
		return error_set(e, ST_CONFIG, "%s is a folder; expected a pipeline file", path);
	buf_str(text, "");
	return file_read(path, YAML_SIZE_MAX, text, e);
}

enum status pipeline_file_read(const char *path, const struct option_texts *set,
    struct pipeline_file *out, struct error *e)
{
	struct pipeline_given *given = mem_zero((set->n + 1) * sizeof(*given));
	char **names = mem_zero((set->n + 1) * sizeof(*names));
	struct buf text = {0};
	enum status st;
	size_t i;

	memset(out, 0, sizeof(*out));
	if (given == NULL || names == NULL) {
		free(given);
		free(names);
		return error_set(e, ST_NO_MEMORY, "out of memory");
	}
	st = split_given(set, given, names, e);
	if (st == ST_OK)
		st = read_text(path, &text, e);
	if (st == ST_OK) {
		const struct pipeline_text t = {.data = text.data, .len = text.len,
		    .file_name = path};

		st = pipeline_read(&t, given, set->n, &out->pipeline, &out->spots, &out->problems,
		    e);
	}
	for (i = 0; i < set->n; i++)
		free(names[i]);
	free(names);
	free(given);
	buf_free(&text);
	return st;
}

static enum status set_stage_root(struct spec *s, const char *root, struct error *e)
{
	struct buf whole = {0};
	char *copy = mem_dup(root, strlen(root));

	buf_printf(&whole, "%s/%s", root, s->out);
	if (copy == NULL || whole.failed) {
		free(copy);
		buf_free(&whole);
		return error_set(e, ST_NO_MEMORY, "out of memory");
	}
	free(s->out);
	free(s->out_root);
	s->out = whole.data;
	s->out_root = copy;
	return ST_OK;
}

/* The folder's own name is no template, and a link on the way no other folder. */
static enum status real_root(const char *root, char **out, struct error *e)
{
	enum status st = file_mkdirs(root, 0777, e);
	const char *p;

	if (st != ST_OK)
		return error_prefix(e, st, "--output-root");
	*out = realpath(root, NULL);
	if (*out == NULL)
		return error_os(e, errno, "--output-root: %s", root);
	for (p = *out; *p != '\0'; p++) {
		if (template_match(p) == 0)
			continue;
		free(*out);
		*out = NULL;
		return error_set(e, ST_CONFIG, "--output-root: \"%.60s\" holds a replacement string, "
		    "as {} is one; expected a folder without", root);
	}
	return ST_OK;
}

enum status pipeline_file_check_outputs(struct pipeline_file *f, const char *path,
    struct error *e)
{
	const struct pipeline *p = &f->pipeline;
	size_t i;

	for (i = 0; i < p->n_stages; i++) {
		const struct pipeline_spot *at = &f->spots.stage[i].output;

		if (p->stage[i].out != NULL && p->stage[i].out[0] == '/')
			pipeline_problem_add(&f->problems, at->line, at->column, "the output name "
			    "\"%.60s\" is absolute, and outputs are to go to another folder; expected "
			    "a name that is seen from there", p->stage[i].out);
	}
	return pipeline_problems_status(&f->problems, path, e);
}

enum status pipeline_file_set_root(struct pipeline_file *f, const char *path, const char *root,
    struct error *e)
{
	struct pipeline *p = &f->pipeline;
	char *real = NULL;
	enum status st = pipeline_file_check_outputs(f, path, e);
	size_t i;

	if (st == ST_OK)
		st = real_root(root, &real, e);
	for (i = 0; st == ST_OK && real != NULL && i < p->n_stages; i++) {
		if (p->stage[i].out != NULL)
			st = set_stage_root(&p->stage[i], real, e);
	}
	free(real);
	return st;
}

enum status pipeline_file_enter(const char *path, struct error *e)
{
	struct buf dir = {0};
	enum status st;

	file_dirname(path, &dir);
	st = buf_check(&dir, e);
	if (st == ST_OK && chdir(dir.data) == -1)
		st = error_os(e, errno, "cannot enter the folder %s", dir.data);
	buf_free(&dir);
	return st;
}

void pipeline_file_say(const char *path, const struct pipeline_problems *p, enum log_level level,
    const char *mark)
{
	size_t i;

	for (i = 0; i < p->n; i++) {
		struct buf line = {0};

		pipeline_problem_text(&p->list[i], path, &line);
		if (!line.failed)
			log_line(level, "%s%s", line.data, mark);
		buf_free(&line);
	}
	if (p->more > 0)
		log_line(level, "%s: ... and %zu more", path, p->more);
}
