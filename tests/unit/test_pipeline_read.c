/* Pipeline files: what comes out of good ones. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "pipeline_case.h"

/* A good file; what is wrong is shown otherwise. The JSON it becomes is read
 * back to the same. */
static void good_given(struct result *r, const char *text, const struct pipeline_given *given,
    size_t n_given)
{
	struct buf once = {0};
	struct buf twice = {0};
	struct pipeline again;
	struct error e;

	read_given(r, text, given, n_given);
	if (r->st != ST_OK)
		fail_msg("%s", r->e.text);
	assert_int_equal(r->problems.n, 0);
	assert_int_equal(r->spots.n, r->p.n_stages);
	assert_int_equal(pipeline_encode(&r->p, &once, &e), ST_OK);
	assert_int_equal(pipeline_decode(once.data, &again, &e), ST_OK);
	assert_int_equal(pipeline_encode(&again, &twice, &e), ST_OK);
	assert_string_equal(once.data, twice.data);
	pipeline_free(&again);
	buf_free(&once);
	buf_free(&twice);
}

static void good(struct result *r, const char *text)
{
	good_given(r, text, NULL, 0);
}

/* ---- good files ---- */

static const char full[] =
    "version: 1\n"
    "name: section-sizes\n"
    "params: {date: required, size: 4MiB, who: {default: required}}\n"
    "files: [sections.awk, add-up.awk]\n"
    "drain: {reserve: 7s}\n"
    "stages:\n"
    "  total:\n"
    "    input: [{stage: parse}]\n"
    "    run: ./add-up.awk\n"
    "    output: out/sections-${date}.tsv\n"
    "  parse:\n"
    "    input: data/${date}/*.txt\n"
    "    shard: {by: bytes, size: \"${size}\", records: paragraphs}\n"
    "    run: ./sections.awk | sort\n"
    "    input_as: stdin\n"
    "    resources: {cpu: 1.5, memory: 1GiB}\n"
    "    slots: gpu\n"
    "    timeout: 10m\n"
    "    retry: {failures: 4, interruptions: 21, infrastructure: 11, losses: 22, timeouts: 5,\n"
    "      out_of_memory: 6, on_demand_after: 7, on_demand_wait: 90s, backoff: 2s..70s}\n"
    "    allow_failed: 1.5%\n"
    "    on_failed: continue\n"
    "    stop: {signal: USR1, to: group}\n"
    "    after_stop: {3: checkpointed, 0: done}\n"
    "    checkpoint: {exit: 86, every: 2s}\n"
    "    batch: 10,000\n"
    "    env: {WHO: \"${who}\", EMPTY: , A: 1}\n"
    "    secrets: {TOKEN: file:/run/token, KEY: env:OTHER}\n"
    "    shell: [sh, -euc]\n"
    "    version: 2\n";

static void everything(void **state)
{
	const struct pipeline_given given = {"date", "2026-07-01"};
	struct result r;
	const struct spec *s;

	(void)state;
	good_given(&r, full, &given, 1);
	assert_string_equal(r.p.name, "section-sizes");
	assert_int_equal(r.p.drain_reserve_ms, 7000);
	assert_int_equal(r.p.n_params, 3);
	assert_string_equal(r.p.param[0].name, "date");
	assert_string_equal(r.p.param[0].value, "2026-07-01");
	assert_string_equal(r.p.param[2].value, "required");
	assert_int_equal(r.p.n_stages, 2);
	s = &r.p.stage[0];
	assert_string_equal(s->name, "parse");
	assert_int_equal(s->n_sources, 1);
	assert_int_equal(s->source[0].kind, SOURCE_GLOB);
	assert_string_equal(s->source[0].text, "data/2026-07-01/*.txt");
	assert_int_equal(s->shard, SPEC_BYTES);
	assert_int_equal(s->shard_size, 4 << 20);
	assert_string_equal(s->records, "paragraphs");
	assert_string_equal(s->command[0], "./sections.awk | sort");
	assert_true(s->shell);
	assert_int_equal(s->input, SPEC_STDIN);
	assert_int_equal(s->output, SPEC_OUT_KEPT);
	assert_false(s->keep_order);
	assert_int_equal(s->cpu_milli, 1500);
	assert_int_equal(s->memory, 1 << 30);
	assert_int_equal(s->gpus, 1);
	assert_int_equal(s->timeout_ms, 600000);
	assert_int_equal(s->retry.limit[CAUSE_FAILED], 4);
	assert_int_equal(s->retry.limit[CAUSE_INTERRUPTED], 21);
	assert_int_equal(s->retry.limit[CAUSE_INFRASTRUCTURE], 11);
	assert_int_equal(s->retry.limit[CAUSE_LOST], 22);
	assert_int_equal(s->retry.limit[CAUSE_TIMED_OUT], 5);
	assert_int_equal(s->retry.limit[CAUSE_OUT_OF_MEMORY], 6);
	assert_int_equal(s->retry.on_demand_after, 7);
	assert_int_equal(s->retry.on_demand_wait_ms, 90000);
	assert_int_equal(s->retry.backoff_min_ms, 2000);
	assert_int_equal(s->retry.backoff_max_ms, 70000);
	assert_int_equal(s->allow_failed_ppm, 15000);
	assert_false(s->stop_on_failed);
	assert_int_equal(s->stop_signal, SIGUSR1);
	assert_int_equal(s->stop_to, SPEC_STOP_GROUP);
	assert_int_equal(s->n_after_stop, 2);
	assert_int_equal(s->after_stop[0].exit_code, 0);
	assert_int_equal(s->after_stop[0].cause, CAUSE_DONE);
	assert_int_equal(s->after_stop[1].cause, CAUSE_CHECKPOINTED);
	assert_int_equal(s->checkpoint_exit, 86);
	assert_int_equal(s->checkpoint_every_ms, 2000);
	assert_int_equal(s->batch, 10000);
	assert_int_equal(s->n_env, 3);
	assert_string_equal(s->env[0], "A=1");
	assert_string_equal(s->env[1], "EMPTY=");
	assert_string_equal(s->env[2], "WHO=required");
	assert_int_equal(s->n_secrets, 2);
	assert_string_equal(s->secret[0].name, "KEY");
	assert_string_equal(s->secret[0].from, "env:OTHER");
	assert_string_equal(s->secret[1].from, "file:/run/token");
	assert_int_equal(s->n_shell_words, 2);
	assert_string_equal(s->shell_words[1], "-euc");
	assert_string_equal(s->version, "2");
	assert_int_equal(s->n_files, 2);
	s = &r.p.stage[1];
	assert_string_equal(s->name, "total");
	assert_int_equal(s->source[0].kind, SOURCE_STAGE);
	assert_int_equal(s->shard, SPEC_ALL);
	assert_string_equal(s->command[0], "./add-up.awk");
	assert_false(s->shell);
	assert_int_equal(s->output, SPEC_OUT_NAME);
	assert_string_equal(s->out, "out/sections-2026-07-01.tsv");
	assert_string_equal(s->files[1], "add-up.awk");
	assert_int_equal(r.spots.stage[0].name.line, 11);
	assert_int_equal(r.spots.stage[0].input.column, 12);
	assert_int_equal(r.spots.stage[1].output.line, 10);
	assert_int_equal(r.spots.files.line, 4);
	release(&r);
}

static void defaults(void **state)
{
	const struct retry_policy policy = retry_policy_default();
	const struct spec *s;
	struct result r;

	(void)state;
	good(&r, STAGE);
	s = &r.p.stage[0];
	assert_int_equal(s->shard, SPEC_FILES);
	assert_int_equal(s->shard_size, 0);
	assert_int_equal(s->input, SPEC_STDIN);
	assert_int_equal(s->output, SPEC_OUT_STDOUT);
	assert_true(s->keep_order);
	assert_true(s->stop_on_failed);
	assert_memory_equal(s->retry.limit, policy.limit, sizeof(policy.limit));
	assert_int_equal(s->retry.backoff_min_ms, policy.backoff_min_ms);
	assert_int_equal(s->retry.backoff_max_ms, policy.backoff_max_ms);
	assert_int_equal(s->retry.alone_after, policy.alone_after);
	assert_int_equal(s->retry.on_demand_after, 3);
	assert_int_equal(s->retry.on_demand_wait_ms, 600000);
	assert_int_equal(s->n_shell_words, 0);
	assert_int_equal(r.p.drain_reserve_ms, 0);
	assert_null(s->records);
	release(&r);
}

/* How input, shard and command lead to how a shard is cut and given. */
static void shards_and_inputs(void **state)
{
	static const struct {
		const char *stage;
		enum spec_shard shard;
		enum spec_input input;
	} rows[] = {
		{"{input: x, run: gzip}", SPEC_FILES, SPEC_STDIN},
		{"{input: x, run: 'gzip {}'}", SPEC_FILES, SPEC_WORDS},
		{"{input: [x, y], run: [gzip, '{/}']}", SPEC_FILES, SPEC_WORDS},
		{"{input: x, run: [gzip, '{#}']}", SPEC_FILES, SPEC_STDIN},
		{"{input: {list: x}, run: 'echo {}'}", SPEC_LIST, SPEC_WORDS},
		{"{input: {list: x}, run: cat}", SPEC_LIST, SPEC_STDIN},
		{"{input: [{count: 3}, {list: x}], run: cat}", SPEC_LIST, SPEC_STDIN},
		{"{input: {stage: zero}, run: cat}", SPEC_ALL, SPEC_STDIN},
		{"{input: [{stage: zero}, x], run: cat}", SPEC_FILES, SPEC_STDIN},
		{"{input: {stage: zero}, run: cat, shard: {by: files}}", SPEC_FILES, SPEC_STDIN},
		{"{input: [x, {list: y}], run: cat, shard: {by: all}}", SPEC_ALL, SPEC_STDIN},
		{"{input: x, run: cat, shard: {size: 1MB}}", SPEC_FILES, SPEC_STDIN},
		{"{input: x, run: 'cat {}', shard: {by: bytes, size: 1MB}}", SPEC_BYTES,
		    SPEC_STDIN},
		{"{input: x, run: cat, input_as: list}", SPEC_FILES, SPEC_LISTED},
		{"{input: x, run: cat, input_as: url}", SPEC_FILES, SPEC_URL},
		{"{input: x, run: cat, input_as: path}", SPEC_FILES, SPEC_WORDS},
	};
	char text[400];
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		(void)snprintf(text, sizeof(text), STAGES "  zero: {input: z, run: cat}\n  one: "
		    "%s\n", rows[i].stage);
		good(&r, text);
		if (r.p.stage[1].shard != rows[i].shard || r.p.stage[1].input != rows[i].input)
			fail_msg("%s: %d %d", rows[i].stage, (int)r.p.stage[1].shard,
			    (int)r.p.stage[1].input);
		release(&r);
	}
}

static void commands(void **state)
{
	struct result r;

	(void)state;
	good(&r, STAGES
	    "  a: {input: x, run: ./one}\n"
	    "  b: {input: x, run: ./one two}\n"
	    "  c: {input: x, run: [echo two words]}\n"
	    "  d:\n    input: x\n    run: |\n      one\n      two\n"
	    "  e: {input: x, run: cat, output: {files: 'out/{/.}'}}\n"
	    "  f: {input: x, run: a b, shell: env bash -c}\n");
	assert_false(r.p.stage[0].shell);
	assert_true(r.p.stage[1].shell);
	assert_false(r.p.stage[2].shell);
	assert_int_equal(r.p.stage[2].n_command, 1);
	assert_true(r.p.stage[3].shell);
	assert_string_equal(r.p.stage[3].command[0], "one\ntwo\n");
	assert_int_equal(r.p.stage[4].output, SPEC_OUT_FILES);
	assert_string_equal(r.p.stage[4].out, "out/{/.}");
	assert_int_equal(r.p.stage[5].n_shell_words, 3);
	release(&r);
}

static void order_of_stages(void **state)
{
	static const char *const want[] = {"c", "e", "b", "a", "d"};
	struct result r;
	size_t i;

	(void)state;
	good(&r, STAGES
	    "  a: {input: [{stage: b}, {stage: c}], run: x}\n"
	    "  b: {input: {stage: e}, run: x}\n"
	    "  c: {input: x, run: x}\n"
	    "  d: {input: {stage: a}, run: x}\n"
	    "  e: {input: x, run: x}\n");
	for (i = 0; i < COUNT(want); i++)
		assert_string_equal(r.p.stage[i].name, want[i]);
	assert_int_equal(r.spots.stage[0].name.line, 6);
	release(&r);
}

/* The same file with its keys in another order is the same pipeline. */
static void order_of_keys(void **state)
{
	struct buf one = {0};
	struct buf other = {0};
	struct result r;
	struct error e;

	(void)state;
	good(&r, HEAD "params: {b: 1, a: 2}\nstages: {s: {input: x, run: 'echo ${a}', env: {A: 1, "
	    "B: 2}, secrets: {X: env:X, Y: env:Y}, after_stop: {0: done, 1: failed}}}\n");
	assert_int_equal(pipeline_encode(&r.p, &one, &e), ST_OK);
	release(&r);
	good(&r, "stages: {s: {after_stop: {1: failed, 0: done}, secrets: {Y: env:Y, X: env:X}, "
	    "env: {B: 2, A: 1}, run: 'echo ${a}', input: x}}\nparams: {a: 2, b: 1}\n"
	    "name: p\nversion: 1\n");
	assert_int_equal(pipeline_encode(&r.p, &other, &e), ST_OK);
	release(&r);
	assert_string_equal(one.data, other.data);
	buf_free(&one);
	buf_free(&other);
}

/* How texts are written in YAML, above all where the parser has been wrong. */
static void texts(void **state)
{
	static const struct {
		const char *written;
		const char *text;
	} rows[] = {
		{"it's", "it's"},
		{"''", ""},
		{"\"\"", ""},
		{"'it''s'", "it's"},
		{"'x''''y'", "x''y"},
		{"''''''", "''"},
		{"'a''''''''''''''''''''''''''b'", "a'''''''''''''b"},
		{"'one\n        two  \n\n\n        three '", "one two\n\nthree "},
		{"'\n\n        x\n\n        '", "\nx\n"},
		{"'a\r\n        b'", "a b"},
		{"'a \t b'", "a \t b"},
		{"\"a\\n\\t\\x41\\u00e9\\\\\"", "a\n\tA\xc3\xa9\\"},
		{"\"\\\"\\\"\\\"\\\"\"", "\"\"\"\""},
		{"one\n        two", "one two"},
		{"|\n        a\n          b\n\n        c\n", "a\n  b\n\nc\n"},
		{"|-\n        a\n", "a"},
		{"|+\n        a\n", "a\n\n"},
		{"|2\n          a\n", "  a\n"},
		{"|\n", ""},
		{"~", "~"},
		{"true", "true"},
		{"0x10", "0x10"},
	};
	struct buf file = {0};
	struct buf want = {0};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		buf_clear(&file);
		buf_printf(&file, "%s    env:\n      V: %s\n", STAGE, rows[i].written);
		buf_clear(&want);
		buf_printf(&want, "V=%s", rows[i].text);
		good(&r, file.data);
		assert_int_equal(r.p.stage[0].n_env, 1);
		assert_string_equal(r.p.stage[0].env[0], want.data);
		release(&r);
	}
	buf_free(&file);
	buf_free(&want);
}

/* ---- parameters ---- */

/* What bash prints for it. */
static void run_shell(const char *command, char *out, size_t size)
{
	size_t len = 0;
	ssize_t n = 1;
	int status;
	int fds[2];
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (dup2(fds[1], STDOUT_FILENO) != -1)
			(void)execlp("bash", "bash", "-euo", "pipefail", "-c", command,
			    (char *)NULL);
		_exit(127);
	}
	assert_int_equal(close(fds[1]), 0);
	while (n > 0 && len + 1 < size) {
		n = read(fds[0], out + len, size - 1 - len);
		len += n > 0 ? (size_t)n : 0;
	}
	out[len] = '\0';
	assert_int_equal(close(fds[0]), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static const char *const wild_values[] = {
	"", "a b", "'", "\"", "a'b\"c", "$(echo no)", "`echo no`", "${x}", "${p}", "$${p}", "\\",
	"line\nline", "a\n#b", "{}", "{1}", "a{}b{#}{.}", "{'}", "*", "~", "!", ";echo no", "&",
	    "|",
	"-n", "\t", "\x01\x7f", "\xff\xfe", "\xc3\xa9", "$p", "'{}'", "\\'", "a\\", "{",
};

static void values_in_shell_texts(void **state)
{
	struct result r;
	char out[200];
	char want[200];
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(wild_values); i++) {
		const struct pipeline_given given = {"p", wild_values[i]};

		good_given(&r, HEAD "params: {p: required}\nstages:\n  s:\n    input: x\n    env: "
		    "{V: \"${p}\"}\n    run: |\n      v=x${p}y  # ${p}\n      printf '<%s>' ${p} "
		    "\"$(printf %s ${p})\" $v\n      x=3; printf '<%s>' \"${x}\" \"$${x}\"\n",
		    &given, 1);
		assert_true(r.p.stage[0].shell);
		assert_int_equal(r.p.stage[0].input, SPEC_STDIN);
		(void)snprintf(want, sizeof(want), "V=%s", wild_values[i]);
		assert_string_equal(r.p.stage[0].env[0], want);
		if (strpbrk(wild_values[i], " \t\n*~") == NULL) {
			run_shell(r.p.stage[0].command[0], out, sizeof(out));
			(void)snprintf(want, sizeof(want), "<%s><%s><x%sy><3><3>", wild_values[i],
			    wild_values[i], wild_values[i]);
			assert_string_equal(out, want);
		}
		release(&r);
		good_given(&r, HEAD "params: {p: required}\nstages:\n  s: {input: x, run: 'printf "
		    "%s ${p}'}\n", &given, 1);
		run_shell(r.p.stage[0].command[0], out, sizeof(out));
		assert_string_equal(out, wild_values[i]);
		release(&r);
	}
}

static void values_in_other_texts(void **state)
{
	const struct pipeline_given given[] = {{"p", "it's ${q}"}, {"q", "7"}};
	const struct spec *s;
	struct result r;

	(void)state;
	good_given(&r, HEAD "params: {p: required, q: 1, timeout: 3s}\nfiles: ['${p}']\nstages:\n"
	    "  'x-1':\n    input: ['${p}/*', '$${q}', '$$${q}$', {list: 'l${q}'}]\n"
	    "    shard: {by: all}\n"
	    "    run: [echo, '${p}', '${OTHER}', '$${p}', '$p', '${', '${p-x}']\n"
	    "    output: out-${q}/{}-${q}\n    timeout: ${timeout}\n", given, 2);
	s = &r.p.stage[0];
	assert_string_equal(s->files[0], "it's ${q}");
	assert_string_equal(s->source[0].text, "it's ${q}/*");
	assert_string_equal(s->source[1].text, "${q}");
	assert_string_equal(s->source[2].text, "$${q}$");
	assert_string_equal(s->source[3].text, "l7");
	assert_string_equal(s->command[1], "it's ${q}");
	assert_string_equal(s->command[2], "${OTHER}");
	assert_string_equal(s->command[3], "${p}");
	assert_string_equal(s->command[4], "$p");
	assert_string_equal(s->command[5], "${");
	assert_string_equal(s->command[6], "${p-x}");
	assert_string_equal(s->out, "out-7/{}-7");
	assert_int_equal(s->timeout_ms, 3000);
	release(&r);
}
/* 256 stages in a row, the last first; and a parameter as large as it may be. */
static void just_within_limits(void **state)
{
	struct pipeline_given given = {"p", NULL};
	struct buf text = {0};
	char *value = malloc((64 << 10) + 1);
	struct result r;
	int i;

	(void)state;
	assert_non_null(value);
	memset(value, 'x', 64 << 10);
	value[64 << 10] = '\0';
	buf_str(&text, STAGES);
	for (i = 255; i > 0; i--)
		buf_printf(&text, "  s%d: {input: {stage: s%d}, run: y}\n", i, i - 1);
	buf_str(&text, "  s0: {input: x, run: y}\n");
	good(&r, text.data);
	assert_string_equal(r.p.stage[0].name, "s0");
	assert_string_equal(r.p.stage[255].name, "s255");
	release(&r);
	buf_free(&text);
	given.value = value;
	good_given(&r, HEAD "params: {p: 1}\nstages: {a: {input: x, run: 'echo ${p}'}}\n", &given,
	    1);
	release(&r);
	free(value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything),
		cmocka_unit_test(defaults),
		cmocka_unit_test(shards_and_inputs),
		cmocka_unit_test(commands),
		cmocka_unit_test(order_of_stages),
		cmocka_unit_test(order_of_keys),
		cmocka_unit_test(texts),
		cmocka_unit_test(values_in_shell_texts),
		cmocka_unit_test(values_in_other_texts),
		cmocka_unit_test(just_within_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
