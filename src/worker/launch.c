/* From a claimed shard to a request at the guardian: words, environment,
 * private name, stdin. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "base/sys.h"
#include "worker/account.h"
#include "worker/batch.h"
#include "worker/input.h"
#include "worker/out_folder.h"
#include "worker/work.h"

static const char *const bash_words[] = {"bash", "-euo", "pipefail", "-c"};

enum { BASH_WORDS = sizeof(bash_words) / sizeof(bash_words[0]) };

/* Words that stand before a shell text. */
static size_t n_shell_words(const struct spec *s)
{
	if (!s->shell)
		return 0;
	return s->n_shell_words > 0 ? s->n_shell_words : BASH_WORDS;
}

static const char *shell_word(const struct spec *s, size_t i)
{
	return s->n_shell_words > 0 ? s->shell_words[i] : bash_words[i];
}

static enum status parse_words(struct launch *la, struct error *e)
{
	const struct spec *s = la->spec;
	enum template_mode mode = s->shell ? TEMPLATE_SHELL : TEMPLATE_PLAIN;
	bool names_item = false;
	size_t i;

	la->words = mem_zero((s->n_command + 1) * sizeof(struct template *));
	if (la->words == NULL)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	for (i = 0; i < s->n_command; i++) {
		enum status st = template_parse(s->command[i], mode, &la->words[i], e);

		if (st != ST_OK)
			return st;
		names_item = names_item || template_uses_item(la->words[i]);
		la->uses_slot = la->uses_slot || template_uses_slot(la->words[i]);
	}
	/* As xargs and parallel do: a command that names no item gets it last. A
	 * byte range comes on stdin. */
	la->append_item = !names_item && s->shard != SPEC_BYTES &&
	    (s->input == SPEC_WORDS || s->input == SPEC_URL);
	return ST_OK;
}

enum status launch_prepare(struct launch *la, const struct spec *spec, struct error *e)
{
	const char *name = spec->shell ? shell_word(spec, 0) : spec->command[0];
	enum status st;

	memset(la, 0, sizeof(*la));
	la->spec = spec;
	st = parse_words(la, e);
	if (st == ST_OK && spec->out != NULL)
		st = template_parse(spec->out, TEMPLATE_PLAIN, &la->out, e);
	if (st != ST_OK)
		return st;
	if (!spec->shell && template_uses_item(la->words[0]))
		return ST_OK; /* the item is the program: looked up for each */
	st = guardian_find_program(name, &la->program, e);
	/* Told before anything runs: it is the line that is wrong. */
	return st == ST_DENIED ? ST_CONFIG : st;
}

void launch_release(struct launch *la)
{
	size_t i;

	for (i = 0; la->words != NULL && i < la->spec->n_command; i++)
		template_free(la->words[i]);
	free(la->words);
	template_free(la->out);
	free(la->program);
}

enum status worker_check_spec(const struct spec *spec, struct error *e)
{
	struct launch la;
	enum status st = launch_prepare(&la, spec, e);

	launch_release(&la);
	return st;
}

/* All strings of a request in one buffer, as offsets until it stops growing. */
struct strings {
	struct buf text;
	size_t *offset;
	size_t n;
	size_t cap;
};

static enum status strings_mark(struct strings *s, struct error *e)
{
	void *p = s->offset;
	enum status st = mem_grow(&p, &s->cap, s->n + 1, sizeof(*s->offset), e);

	if (st != ST_OK)
		return st;
	s->offset = p;
	s->offset[s->n++] = s->text.len;
	return ST_OK;
}

static enum status strings_end(struct strings *s, struct error *e)
{
	buf_char(&s->text, '\0');
	return buf_check(&s->text, e);
}

static void strings_free(struct strings *s)
{
	buf_free(&s->text);
	free(s->offset);
}

/* The pointers, NULL-terminated; freed by the caller. */
static const char **strings_vector(const struct strings *s)
{
	const char **v = mem_zero((s->n + 1) * sizeof(*v));
	size_t i;

	for (i = 0; v != NULL && i < s->n; i++)
		v[i] = s->text.data + s->offset[i];
	return v;
}

static enum status add_item_words(struct strings *out, const struct ledger_shard *s,
    struct error *e)
{
	const char *p = s->item;
	const char *end = s->item + s->item_len;
	enum status st = ST_OK;

	while (st == ST_OK) {
		size_t len = strnlen(p, (size_t)(end - p));

		st = strings_mark(out, e);
		buf_append(&out->text, p, len);
		if (st == ST_OK)
			st = strings_end(out, e);
		if (p + len >= end)
			break;
		p += len + 1;
	}
	return st;
}

static void add_quoted_item(struct buf *out, const struct ledger_shard *s)
{
	const char *p = s->item;
	const char *end = s->item + s->item_len;

	for (;;) {
		size_t len = strnlen(p, (size_t)(end - p));

		buf_char(out, ' ');
		str_shell_quote(out, p, len);
		if (p + len >= end)
			return;
		p += len + 1;
	}
}

static enum status build_argv(const struct launch *la, const struct ledger_shard *s, int slot,
    struct strings *out, struct error *e)
{
	struct template_values v = {s->item, s->item_len, s->ordinal + 1, slot};
	enum status st = ST_OK;
	size_t i;

	for (i = 0; st == ST_OK && i < n_shell_words(la->spec); i++) {
		st = strings_mark(out, e);
		buf_str(&out->text, shell_word(la->spec, i));
		if (st == ST_OK)
			st = strings_end(out, e);
	}
	for (i = 0; st == ST_OK && i < la->spec->n_command; i++) {
		st = strings_mark(out, e);
		if (st == ST_OK)
			st = template_expand(la->words[i], &v, &out->text, e);
		if (st == ST_OK && la->spec->shell && la->append_item)
			add_quoted_item(&out->text, s);
		if (st == ST_OK)
			st = strings_end(out, e);
	}
	if (st == ST_OK && !la->spec->shell && la->append_item)
		st = add_item_words(out, s, e);
	return st;
}

static enum status add_text(struct strings *out, const char *name, const char *value,
    struct error *e)
{
	enum { VALUE_SHOWN = 4096 };
	enum status st = strings_mark(out, e);

	buf_printf(&out->text, "%s=%.*s", name, VALUE_SHOWN, value);
	return st == ST_OK ? strings_end(out, e) : st;
}

static enum status add_number(struct strings *out, const char *name, int64_t value,
    struct error *e)
{
	enum status st = strings_mark(out, e);

	buf_printf(&out->text, "%s=%lld", name, (long long)value);
	return st == ST_OK ? strings_end(out, e) : st;
}

/* Absolute, for a task that changes folders; empty where stdout is the output. */
static enum status add_output(const struct attempt *a, struct strings *out, struct error *e)
{
	char real[PATH_MAX] = "";

	if (attempt_fills_folder(a) && realpath(a->private_path, real) == NULL)
		return error_os(e, errno, "cannot resolve %s", a->private_path);
	return add_text(out, "EBB_OUTPUT", real, e);
}

static enum status add_shard_env(struct work *w, const struct attempt *a, const char *input,
    struct strings *out, struct error *e)
{
	const struct ledger_shard *s = &a->shard;
	struct buf name = {0};
	enum status st = add_text(out, "EBB_CONTRACT", "1", e);

	shard_name(s, &name);
	if (st == ST_OK)
		st = add_text(out, "EBB_RUN", w->opt->run.name, e);
	if (st == ST_OK)
		st = add_text(out, "EBB_STAGE", a->g->spec->name, e);
	if (st == ST_OK)
		st = add_text(out, "EBB_SHARD", name.data == NULL ? "" : name.data, e);
	if (st == ST_OK)
		st = add_text(out, "EBB_INPUT", input, e);
	if (st == ST_OK)
		st = add_number(out, "EBB_INDEX", s->ordinal, e);
	if (st == ST_OK && a->g->last.plan_complete)
		st = add_number(out, "EBB_COUNT", a->g->last.planned, e);
	else if (st == ST_OK)
		st = add_text(out, "EBB_COUNT", "", e);
	if (st == ST_OK)
		st = add_output(a, out, e);
	if (st == ST_OK)
		st = add_text(out, "EBB_CHECKPOINT", a->folder == NULL ? "" : a->folder, e);
	if (st == ST_OK)
		st = add_number(out, "EBB_ATTEMPT", s->attempts + 1, e);
	if (st == ST_OK)
		st = add_number(out, "EBB_FAILURES", s->s.count[CAUSE_FAILED], e);
	if (st == ST_OK)
		st = add_number(out, "EBB_INTERRUPTIONS",
		    s->s.count[CAUSE_INTERRUPTED] + s->s.count[CAUSE_LOST], e);
	buf_free(&name);
	return st;
}

/* What the user gave comes last, but for what is ebb's own. */
static enum status add_spec_env(const struct spec *s, struct strings *out, struct error *e)
{
	enum status st = ST_OK;
	size_t i;

	for (i = 0; st == ST_OK && i < s->n_env; i++) {
		st = strings_mark(out, e);
		buf_str(&out->text, s->env[i]);
		if (st == ST_OK)
			st = strings_end(out, e);
	}
	for (i = 0; st == ST_OK && i < s->n_secrets; i++) {
		st = strings_mark(out, e);
		if (st == ST_OK)
			st = present_secret(&s->secret[i], &out->text, e);
		if (st == ST_OK)
			st = strings_end(out, e);
	}
	return st;
}

/* The path where there is one, else what the item is; nothing for several. */
static const char *input_text(const struct attempt *a)
{
	if (a->list_path != NULL)
		return a->list_path;
	if (a->g->spec->shard == SPEC_ALL || strlen(a->shard.item) < a->shard.item_len)
		return "";
	return a->shard.item;
}

static enum status build_env(struct work *w, const struct attempt *a, struct strings *out,
    struct error *e)
{
	struct buf gpus = {0};
	enum status st = add_spec_env(a->g->spec, out, e);

	if (st == ST_OK && a->g->spec->gpus > 0) {
		resources_gpu_list(a->gpus, &gpus);
		st = buf_check(&gpus, e);
		if (st == ST_OK)
			st = add_text(out, "CUDA_VISIBLE_DEVICES", gpus.data, e);
		buf_free(&gpus);
	}

	return st == ST_OK ? add_shard_env(w, a, input_text(a), out, e) : st;
}

enum status launch_show(const struct launch *la, const struct ledger_shard *s, struct buf *out,
    struct error *e)
{
	struct strings argv = {0};
	enum status st = build_argv(la, s, 1, &argv, e);
	size_t i;

	if (st == ST_OK && la->spec->shell) {
		buf_str(out, argv.text.data + argv.offset[n_shell_words(la->spec)]);
	} else {
		for (i = 0; st == ST_OK && i < argv.n; i++) {
			const char *word = argv.text.data + argv.offset[i];

			if (i > 0)
				buf_char(out, ' ');
			str_shell_quote(out, word, strlen(word));
		}
	}
	strings_free(&argv);
	return st == ST_OK ? buf_check(out, e) : st;
}

/* Where the output goes until it is accepted. */
static enum status private_name(struct work *w, struct attempt *a, struct error *e)
{
	char leaf[64];
	struct buf b = {0};
	enum status st;

	(void)snprintf(leaf, sizeof(leaf), "%lld.%lld", (long long)a->shard.row,
	    (long long)a->shard.s.epoch);
	st = store_private_name(w->store, a->shard.final == NULL ? "" : a->shard.final, leaf, &b,
	    e);
	if (st == ST_OK)
		a->private_path = b.data;
	else
		buf_free(&b);
	return st;
}

/* The input must be there. An item whose file changed since it was planned is
 * worked on as it is now, but not from a checkpoint of what it was (ST_FENCED);
 * a range must be of the version that it was cut from. */
static enum status check_input(struct attempt *a, struct error *e)
{
	struct file_version now;
	struct file_version *planned = &a->shard.version;

	if (!planned->exists)
		return ST_OK;
	/* All of them are looked at by a thread, when the command has ended. */
	if (a->g->spec->shard == SPEC_ALL)
		return ST_OK;
	now = input_version(a->g, a->shard.item, a->shard.item_len);
	if (file_version_equal(&now, planned))
		return ST_OK;
	if (!now.exists)
		return error_set(e, ST_NOT_FOUND, "the input %s was removed after it was listed",
		    a->shard.item);
	if (a->shard.part >= 0)
		return error_set(e, ST_CONFIG, "the input %s changed after it was cut; the same line "
		    "again cuts it anew", a->shard.item);
	if (a->from.epoch > 0)
		return error_set(e, ST_FENCED, "the input %s is not what its checkpoint was made of",
		    a->shard.item);
	*planned = now;
	return ST_OK;
}

static enum status send_request(struct work *w, struct attempt *a, struct strings *argv,
    struct strings *env, struct error *e)
{
	struct guardian_spawn req = {
		.row = a->shard.row,
		.epoch = a->shard.s.epoch,
		.id = a->id,
		.stdin_fd = -1,
		.lane = a->lane,
		.stdout_path = a->own_file ? a->private_path : NULL,
		.one_log = attempt_fills_folder(a),
		.offset = batch_is_on(a) ? a->batch_at : a->from.offset,
		.append = batch_is_on(a) && a->first_started_ns != 0,
		.timeout_ms = a->g->spec->timeout_ms,
		.memory = a->memory,
		.stage = account_stage(a->g->number),
		.ran_ns = a->ran_ns,
	};
	const char **args = strings_vector(argv);
	const char **vars = strings_vector(env);
	char *found = NULL;
	enum status st = ST_OK;

	if (args == NULL || vars == NULL) {
		free(args);
		free(vars);
		return error_set(e, ST_NO_MEMORY, "out of memory");
	}
	if (a->g->launch.program == NULL)
		st = guardian_find_program(args[0], &found, e);
	if (st == ST_OK && present_on_stdin(a->g->spec))
		st = pump_start(a, &a->pump, &req.stdin_fd, e);
	if (st == ST_OK) {
		req.path = found != NULL ? found : a->g->launch.program;
		req.argv = args;
		req.env = vars;
		st = guardian_send(w->body->guardian, &req, e);
		if (st != ST_OK && req.stdin_fd != -1)
			(void)close(req.stdin_fd);
	}
	free(found);
	free(args);
	free(vars);
	return st;
}

enum status launch_attempt(struct work *w, struct attempt *a, struct error *e)
{
	struct strings argv = {0};
	struct strings env = {0};
	struct buf item = {0};
	struct ledger_shard shown;
	char none[] = "";
	enum status st = check_input(a, e);

	if (st == ST_OK && a->private_path == NULL)
		st = attempt_fills_folder(a) ? out_folder_name(a, e) : private_name(w, a, e);
	a->own_file = !attempt_fills_folder(a) && (a->shard.final != NULL || a->folder != NULL);
	if (st == ST_OK && attempt_fills_folder(a))
		st = out_folder_make(a, e);
	if (st == ST_OK)
		st = present_item(a, &item, e);
	shown = a->shard;
	shown.item = item.data != NULL ? item.data : none;
	shown.item_len = item.len;
	if (st == ST_OK)
		st = build_argv(&a->g->launch, &shown, a->lane + 1, &argv, e);
	if (st == ST_OK)
		st = build_env(w, a, &env, e);
	if (st == ST_OK)
		st = send_request(w, a, &argv, &env, e);
	strings_free(&argv);
	strings_free(&env);
	buf_free(&item);
	return st;
}
