/* Pipeline files. What stands before a first NUL is the value of the parameter
 * "p", the rest is the file. A good one keeps what the format promises; what is
 * said about a bad one can be shown. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "fuzz.h"
#include "model/template.h"
#include "pipeline/read.h"

static void check_sources(const struct pipeline *p, const struct spec *s)
{
	size_t i;

	MUST(s->n_sources > 0);
	for (i = 0; i < s->n_sources; i++) {
		const struct spec_source *from = &s->source[i];

		MUST(from->kind != SOURCE_GIVEN);
		MUST((from->kind == SOURCE_COUNT) == (from->text == NULL));
		MUST((from->kind == SOURCE_COUNT) == (from->count > 0));
		/* Each comes after those it reads. */
		if (from->kind == SOURCE_STAGE) {
			MUST(pipeline_find(p, from->text) >= 0);
			MUST(pipeline_find(p, from->text) < (int)(s - p->stage));
		}
	}
}

static void check_template(const char *text, bool shell)
{
	struct template *t;
	struct error e;

	MUST(template_parse(text, shell ? TEMPLATE_SHELL : TEMPLATE_PLAIN, &t, &e) == ST_OK);
	template_free(t);
}

static void check_stage(const struct pipeline *p, const struct spec *s)
{
	size_t i;

	MUST(s->name != NULL && pipeline_find(p, s->name) == (int)(s - p->stage));
	check_sources(p, s);
	MUST(s->n_command > 0 && s->command[0][0] != '\0');
	MUST(!s->shell || s->n_command == 1);
	for (i = 0; i < s->n_command; i++)
		check_template(s->command[i], s->shell && s->n_shell_words == 0);
	MUST((s->shard == SPEC_BYTES) == (s->records != NULL));
	MUST(s->shard != SPEC_BYTES || (s->shard_size > 0 && s->input == SPEC_STDIN));
	MUST(s->batch == 0 || s->shard == SPEC_BYTES);
	MUST((s->out != NULL) == (s->output == SPEC_OUT_NAME || s->output == SPEC_OUT_FILES));
	MUST(s->timeout_ms >= 0 && s->memory >= 0 && s->gpus >= 0 && s->allow_failed >= 0);
	MUST(s->allow_failed_ppm >= 0 && s->allow_failed_ppm <= 1000000);
	MUST(s->retry.backoff_min_ms <= s->retry.backoff_max_ms);
	for (i = 0; i < s->n_env; i++)
		MUST(i == 0 || strcmp(s->env[i - 1], s->env[i]) < 0);
}

static void check_good(const struct pipeline *p)
{
	struct buf once = {0};
	struct buf twice = {0};
	struct pipeline again;
	struct error e;
	size_t i;

	MUST(p->n_stages > 0 && p->n_stages <= PIPELINE_STAGES_MAX && p->name[0] != '\0');
	for (i = 0; i < p->n_stages; i++)
		check_stage(p, &p->stage[i]);
	MUST(pipeline_encode(p, &once, &e) == ST_OK);
	MUST(pipeline_decode(once.data, &again, &e) == ST_OK);
	MUST(pipeline_encode(&again, &twice, &e) == ST_OK);
	MUST(strcmp(once.data, twice.data) == 0);
	pipeline_free(&again);
	buf_free(&once);
	buf_free(&twice);
}

static void check_bad(const struct pipeline_problems *problems, const struct pipeline *p)
{
	size_t i;
	size_t k;

	MUST(problems->n > 0 && p->stage == NULL && p->name == NULL && p->param == NULL);
	for (i = 0; i < problems->n; i++) {
		const struct pipeline_problem *it = &problems->list[i];

		MUST(it->line >= 0 && it->text[0] != '\0');
		MUST(str_is_utf8(it->text, strlen(it->text)));
		MUST(it->line == 0 || it->column > 0);
		for (k = 0; it->text[k] != '\0'; k++)
			MUST((unsigned char)it->text[k] >= 0x20 && it->text[k] != 0x7f);
		MUST(i == 0 || it[-1].line <= it->line);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = size > 0 ? memchr(data, '\0', size) : NULL;
	size_t value_len = nul == NULL ? 0 : (size_t)(nul - data);
	char *value = malloc(value_len + 1);
	/* A copy of its own, so that reading beyond the text is seen. */
	size_t len = nul == NULL ? size : size - value_len - 1;
	char *file = malloc(len > 0 ? len : 1);
	const struct pipeline_given given = {"p", value};
	const struct pipeline_text text = {.data = file, .len = len, .file_name = "f"};
	struct pipeline_problems problems = {0};
	struct pipeline_spots spots;
	struct pipeline p;
	struct error e;
	enum status st;

	if (value == NULL || file == NULL)
		abort();
	memcpy(value, data, value_len);
	value[value_len] = '\0';
	memcpy(file, data + size - len, len);
	st = pipeline_read(&text, &given, nul == NULL ? 0 : 1, &p, &spots, &problems, &e);
	MUST(st == ST_OK || st == ST_CONFIG);
	if (st == ST_OK)
		check_good(&p);
	else
		check_bad(&problems, &p);
	pipeline_free(&p);
	pipeline_spots_free(&spots);
	pipeline_problems_free(&problems);
	free(value);
	free(file);
	return 0;
}
