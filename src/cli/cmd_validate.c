/* ebb validate: is a pipeline file right, and what would run? */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "cli/common.h"
#include "cli/pipeline_file.h"
#include "cli/precheck.h"
#include "notice/detect.h"
#include "worker/fit.h"
#include "worker/state_risk.h"

struct validate_values {
	struct option_texts set;
	const char *state;
	bool json;
};

static const struct option validate_options[] = {
	{0, "set", OPTION_TEXTS, offsetof(struct validate_values, set), "NAME=VALUE",
	    "the value of a parameter; may be given several times"},
	{0, "json", OPTION_FLAG, offsetof(struct validate_values, json), NULL, "for programs"},
	{0, "state", OPTION_TEXT, offsetof(struct validate_values, state), "DIR",
	    "the state folder meant (default $EBB_STATE, else .ebb beside the file)"},
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

/* ---- for people ---- */

static void print_input(const struct precheck_stage *sum, struct buf *out)
{
	struct buf text = {0};

	if (sum->bytes >= 0)
		str_size(&text, sum->bytes);
	else
		buf_str(&text, "-");
	if (text.failed)
		out->failed = true;
	else
		buf_printf(out, "%12s", text.data);
	buf_free(&text);
}

static void print_shards(const struct precheck_stage *sum, struct buf *out)
{
	struct buf text = {0};

	if (!sum->known)
		buf_str(&text, "?");
	else if (!sum->exact)
		buf_char(&text, '~');
	if (sum->known)
		str_count(&text, sum->shards);
	if (text.failed)
		out->failed = true;
	else
		buf_printf(out, "%12s", text.data);
	buf_free(&text);
}

static void print_table_of_stages(const struct pipeline *p, const struct precheck *pre,
    struct buf *out)
{
	int width = 5;
	size_t i;

	for (i = 0; i < p->n_stages; i++) {
		if ((int)strlen(p->stage[i].name) > width)
			width = (int)strlen(p->stage[i].name);
	}
	buf_printf(out, "%-*s%12s%12s  %s\n", width, "stage", "shards", "input", "command");
	for (i = 0; i < p->n_stages; i++) {
		struct buf title = {0};

		buf_printf(out, "%-*s", width, p->stage[i].name);
		print_shards(&pre->stage[i], out);
		print_input(&pre->stage[i], out);
		buf_str(out, "  ");
		spec_title(&p->stage[i], &title);
		if (title.failed)
			out->failed = true;
		else
			str_display(out, title.data, title.len, 100);
		buf_char(out, '\n');
		buf_free(&title);
	}
}

/* ---- for programs ---- */

static void json_problems(const struct pipeline_problems *p, const char *severity, bool *first,
    struct buf *out)
{
	size_t i;

	for (i = 0; i < p->n; i++) {
		buf_printf(out, "%s{\"severity\":\"%s\",\"line\":%d,\"column\":%d,\"text\":",
		    *first ? "" : ",", severity, p->list[i].line, p->list[i].column);
		str_json(out, p->list[i].text, strlen(p->list[i].text));
		buf_char(out, '}');
		*first = false;
	}
}

static void json_stage(const struct spec *s, const struct precheck_stage *sum, struct buf *out)
{
	struct buf title = {0};

	buf_str(out, "{\"name\":");
	str_json(out, s->name, strlen(s->name));
	if (sum->known)
		buf_printf(out, ",\"shards\":%lld,\"exact\":%s", (long long)sum->shards,
		    sum->exact ? "true" : "false");
	else
		buf_str(out, ",\"shards\":null,\"exact\":false");
	if (sum->bytes >= 0)
		buf_printf(out, ",\"input_bytes\":%lld", (long long)sum->bytes);
	else
		buf_str(out, ",\"input_bytes\":null");
	buf_printf(out, ",\"items\":%lld,\"command\":", (long long)sum->items);
	spec_title(s, &title);
	if (title.failed)
		out->failed = true;
	else
		str_json(out, title.data, title.len);
	buf_char(out, '}');
	buf_free(&title);
}

/* ---- both ---- */

struct validation {
	const char *path;
	struct pipeline_file file;
	bool looked;               /* `pre` is filled */
	struct precheck pre;
};

static bool is_valid(const struct validation *v)
{
	return v->file.problems.n == 0 && v->looked && v->pre.errors.n == 0;
}

static void print_json(const struct validation *v, struct buf *out)
{
	bool first = true;
	size_t i;

	buf_printf(out, "{\"ebb_validate\":1,\"valid\":%s,\"file\":",
	    is_valid(v) ? "true" : "false");
	str_json(out, v->path, strlen(v->path));
	buf_str(out, ",\"problems\":[");
	json_problems(&v->file.problems, "error", &first, out);
	if (v->looked) {
		json_problems(&v->pre.errors, "error", &first, out);
		json_problems(&v->pre.warnings, "warning", &first, out);
	}
	buf_str(out, "],\"stages\":[");
	for (i = 0; v->looked && i < v->file.pipeline.n_stages; i++) {
		buf_str(out, i > 0 ? "," : "");
		json_stage(&v->file.pipeline.stage[i], &v->pre.stage[i], out);
	}
	buf_str(out, "]}\n");
}

/* Where the state would be, whatever the current folder is by then. */
static void state_place_of(const char *option, const char *file, struct buf *out)
{
	const char *env = getenv("EBB_STATE");
	const char *given = option != NULL && option[0] != '\0' ? option : env;
	const char *slash = strrchr(file, '/');
	char cwd[PATH_MAX];

	if (given != NULL && given[0] != '\0') {
		if (given[0] != '/' && getcwd(cwd, sizeof(cwd)) != NULL)
			buf_printf(out, "%s/", cwd);
		buf_str(out, given);
		return;
	}
	if (file[0] != '/' && getcwd(cwd, sizeof(cwd)) != NULL)
		buf_printf(out, "%s/", cwd);
	if (slash != NULL)
		buf_append(out, file, (size_t)(slash + 1 - file));
	buf_str(out, ".ebb");
}

static void add_fit(void *arg, size_t stage, const char *text)
{
	struct validation *v = arg;
	const struct pipeline_spot *spot = &v->file.spots.stage[stage].run;

	pipeline_problem_add(&v->pre.warnings, spot->line, spot->column, "%s", text);
}

/* Does what it saved in an earlier start fit into a notice? Nothing is known where there
 * is no ledger yet. */
static void look_at_the_past(struct validation *v, const char *state)
{
	const struct ledger_options lo = {.read_only = true, .busy_ms = 1000};
	const struct fit_say say = {add_fit, v};
	struct ledger_run run = {0};
	struct ledger *l = NULL;
	struct buf path = {0};
	uint8_t key[PIPELINE_KEY_SIZE];
	struct error e;

	buf_printf(&path, "%s/ledger.db", state);
	if (!path.failed && pipeline_key(&v->file.pipeline, ".", key, &e) == ST_OK &&
	    ledger_open(path.data, &lo, &l, &e) == ST_OK &&
	    ledger_run_by_key(l, key, &run, &e) == ST_OK)
		fit_check(l, &run, &v->file.pipeline, notice_detect("/sys"), &say);
	ledger_run_free(&run);
	ledger_close(l);
	buf_free(&path);
}

static enum status look(struct validation *v, const char *state, struct error *e)
{
	struct buf place = {0};
	struct buf risk = {0};
	enum status st;

	state_place_of(state, v->path, &place);
	st = buf_check(&place, e);
	if (st == ST_OK)
		st = pipeline_file_enter(v->path, e);
	if (st == ST_OK) {
		v->looked = true;
		st = precheck_run(&v->file.pipeline, &v->file.spots, &v->pre, e);
	}
	if (st == ST_OK)
		state_risk(place.data, STATE_RISK_VENDOR_FILE, &risk);
	if (risk.len > 0)
		pipeline_problem_add(&v->pre.warnings, 0, 0, "%s", risk.data);
	if (st == ST_OK)
		look_at_the_past(v, place.data);
	buf_free(&place);
	buf_free(&risk);
	return st;
}

static int tell(const struct validation *v, bool json)
{
	struct buf out = {0};
	int code = EXIT_DONE;

	if (json) {
		print_json(v, &out);
	} else {
		pipeline_file_say(v->path, &v->file.problems, LOG_INFO, "");
		if (v->looked) {
			pipeline_file_say(v->path, &v->pre.errors, LOG_INFO, "");
			pipeline_file_say(v->path, &v->pre.warnings, LOG_INFO, " (warning)");
			print_table_of_stages(&v->file.pipeline, &v->pre, &out);
		}
	}
	code = common_print(&out);
	if (!is_valid(v) && code == EXIT_DONE) {
		size_t n = v->file.problems.n + v->file.problems.more + v->pre.errors.n +
		    v->pre.errors.more;

		log_line(LOG_ERROR, "%s is not valid: %zu %s", v->path, n,
		    n == 1 ? "problem" : "problems");
		code = EXIT_BAD_USAGE;
	}
	return code;
}

static int validate_file(const char *path, const struct validate_values *values)
{
	struct validation *v = mem_zero(sizeof(*v));
	struct error e;
	enum status st;
	int code;

	if (v == NULL)
		return common_fail(error_set(&e, ST_NO_MEMORY, "out of memory"), &e);
	v->path = path;
	st = pipeline_file_read(path, &values->set, &v->file, &e);
	if (st == ST_OK)
		st = look(v, values->state, &e);
	if (st == ST_OK || v->file.problems.n > 0)
		code = tell(v, values->json);
	else
		code = common_fail(st, &e);
	precheck_free(&v->pre);
	pipeline_file_free(&v->file);
	free(v);
	return code;
}

static int validate_main(int argc, char **argv)
{
	struct validate_values values = {0};
	const char *words[COMMON_WORDS_MAX + 1];
	struct error e;
	int code;

	if (common_parse(&verb_validate, argc, argv, &values, words, &code)) {
		if (words[0] == NULL)
			code = common_fail(error_set(&e, ST_CONFIG, "no file; usage: %s",
			    verb_validate.usage), &e);
		else
			code = validate_file(words[0], &values);
	}
	free(values.set.list);
	return code;
}

const struct verb verb_validate = {
	.name = "validate",
	.max_words = 1,
	.usage = "ebb validate [options] FILE",
	.summary = "ebb validate: is a pipeline file right, and what would run",
	.text = "examples:\n"
	    "  ebb validate pipeline.yaml --set date=2026-07-01\n"
	    "  ebb validate --json pipeline.yaml\n"
	    "\n"
	    "Tells all that is wrong, with line and column, and runs nothing. Beyond the file\n"
	    "itself it looks whether inputs, commands and files: are there, and warns of one\n"
	    "shard with everything, of far too many small ones, of a state folder that goes\n"
	    "with the machine, and of checkpoints that took longer than a notice leaves. Relative names are those of the file's folder.\n"
	    "ebb help pipeline lists the keys; ebb help schema prints the JSON Schema.\n"
	    "Exit: 0 valid (with warnings too), 2 not.\n",
	.options = validate_options,
	.run = validate_main,
};
