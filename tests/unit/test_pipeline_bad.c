/* Pipeline files that are wrong: what is said, with line and column. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pipeline_case.h"

struct bad_file {
	const char *text;
	const char *said; /* all of it, a line each */
};

static void bad_one(const struct bad_file *row, const struct pipeline_given *given, size_t n_given)
{
	struct buf all = {0};
	struct result r;
	size_t i;

	read_given(&r, row->text, given, n_given);
	buf_str(&all, "");
	for (i = 0; i < r.problems.n; i++) {
		pipeline_problem_text(&r.problems.list[i], "f.yaml", &all);
		buf_char(&all, '\n');
	}
	if (strcmp(all.data, row->said) != 0)
		fail_msg("\n%s\nsays:\n%s\nnot:\n%s", row->text, all.data, row->said);
	assert_int_equal(r.st, ST_CONFIG);
	assert_int_equal(r.p.n_stages, 0);
	assert_null(r.p.stage);
	assert_null(r.spots.stage);
	assert_int_equal(strncmp(r.e.text, all.data, strcspn(all.data, "\n")), 0);
	buf_free(&all);
	release(&r);
}

static void bad(const struct bad_file *rows, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		bad_one(&rows[i], NULL, 0);
}

static void bad_not_yaml(void **state)
{
	static const struct bad_file rows[] = {
		{"",
		    "f.yaml:1:1: the file is empty; expected version: 1, name: and stages:\n"},
		{"# nothing\n",
		    "f.yaml:1:1: the file is empty; expected version: 1, name: and stages:\n"},
		{"[]\n",
		    "f.yaml:1:1: the file is a list; expected a map with version: 1, name: and stages:\n"},
		{"just text\n",
		    "f.yaml:1:1: the file is a text; expected a map with version: 1, name: and stages:\n"},
		{"a: [1,\n",
		    "f.yaml:2:1: this is not YAML: did not find expected node content\n"},
		{"a: b: c\n",
		    "f.yaml:1:5: this is not YAML: invalid nested block mapping on the same line\n"},
		{"a: \"\\q\"\n",
		    "f.yaml:1:5: this is not YAML: invalid escape 'q' in double-quoted string\n"},
		{"\tx: 1\n",
		    "f.yaml:1:1: this is not YAML: invalid tab as indendation in a mapping\n"},
		{HEAD "\001: 2\n",
		    "f.yaml:3:1: there is a control character (byte 0x01); expected text\n"},
		{"version: 1\n"
		    "name: \377\n",
		    "f.yaml:2:1: this line is not UTF-8\n"},
		{HEAD "---\n"
		    "b: 2\n",
		    "f.yaml:3:1: a second document begins here; expected one\n"},
		{HEAD "stages: &x {}\n",
		    "f.yaml:3:9: there is an anchor (&); anchors and aliases are not used here, write the value out or quote it\n"},
		{HEAD "stages: *x\n",
		    "f.yaml:3:9: there is an alias (*); anchors and aliases are not used here, write the value out, or quote it if it is a pattern\n"},
		{HEAD "stages: !!map {}\n",
		    "f.yaml:3:15: there is a tag (!); tags are not used here, quote the text if it begins with !\n"},
		{HEAD "? [a]\n"
		    ": b\n",
		    "f.yaml:3:3: a key is a list or a map; expected a text\n"},
		{HEAD "stages: [[[[[[[[[[[[[[[[[\n",
		    "f.yaml:3:24: lists and maps are nested more than 16 deep\n"},
	};

	(void)state;
	bad(rows, COUNT(rows));
}

static void bad_ways_to_write_a_text(void **state)
{
	static const struct bad_file rows[] = {
		{HEAD "x: >\n  a\n", "f.yaml:4:1: a folded text (>) is not used here; write | for a text of "
		    "several lines, or quote it\n"},
		{HEAD "x: \"a\\\n  b\"\n", "f.yaml:3:5: a line in double quotes ends with a backslash, which "
		    "is not used here; write | for a text of several lines\n"},
	};

	(void)state;
	bad(rows, COUNT(rows));
}

static void bad_keys(void **state)
{
	static const struct bad_file rows[] = {
		{HEAD,
		    "f.yaml:1:1: \"stages\" is missing; expected a map of stages\n"},
		{"name: p\n"
		    "version: 2\n"
		    "stages: {}\n",
		    "f.yaml:2:10: \"version\" is \"2\"; this ebb reads version 1\n"
		    "f.yaml:3:9: \"stages\" is empty; expected a map of stages\n"},
		{STAGE "    sharp: {by: all}\n",
		    "f.yaml:7:5: there is no key \"sharp\" here; did you mean \"shard\"?\n"},
		{STAGE "    zzz: 1\n",
		    "f.yaml:7:5: there is no key \"zzz\" here; expected input, shard, run, input_as, output, resources, slots, timeout, retry, allow_failed, on_failed, stop, after_stop, checkpoint, batch, env, secrets, shell, version\n"},
		{HEAD "stage: {}\n",
		    "f.yaml:1:1: \"stages\" is missing; expected a map of stages\n"
		    "f.yaml:3:1: there is no key \"stage\" here; did you mean \"stages\"?\n"},
		{STAGE "    run: dog\n",
		    "f.yaml:7:5: \"run\" is here for the second time; the first is in line 6\n"},
		{STAGE "    retry: {failure: 3}\n",
		    "f.yaml:7:13: there is no key \"failure\" here; did you mean \"failures\"?\n"},
		{STAGE "    shard: {by: all, by: list}\n",
		    "f.yaml:7:22: \"by\" is here for the second time; the first is in line 7\n"},
		{"version: 1\n"
		    "name: a/b\n"
		    "stages: {-x: {input: a, run: b}}\n",
		    "f.yaml:2:7: \"a/b\" is no name; expected at most 48 letters, digits, _ . and -, a letter or digit first\n"
		    "f.yaml:3:10: \"-x\" is no name of a stage; expected at most 48 letters, digits, _ . and -, a letter or digit first\n"},
		{STAGES "  one:\n",
		    "f.yaml:4:3: stage \"one\" is empty; expected a map with input: and run:\n"},
		{STAGES "  one: [1]\n",
		    "f.yaml:4:8: stage \"one\" is a list; expected a map with input: and run:\n"},
		{STAGES "  one: {}\n",
		    "f.yaml:4:8: \"input\" is missing; expected a pattern, {stage: NAME}, {list: FILE}, {count: N}, or a list of these\n"
		    "f.yaml:4:8: \"run\" is missing; expected a text for a shell, or a list of words\n"},
		{HEAD "stages: [a]\n",
		    "f.yaml:3:9: \"stages\" is a list; expected a map of stages\n"},
		{"version: 1\n"
		    "name:\n"
		    "stages:\n"
		    "  a: {input: x, run: y}\n",
		    "f.yaml:2:1: \"name\" is empty; expected a name of at most 48 letters, digits, _ . and -\n"},
		{STAGE "drain: 5s\n"
		    "files: x\n",
		    "f.yaml:7:8: \"drain\" is a text; expected a map\n"
		    "f.yaml:8:8: \"files\" is a text; expected a list of texts\n"},
		{STAGE "files: [[x], ]\n",
		    "f.yaml:7:9: \"files\" is a list; expected a list of texts\n"},
	};

	(void)state;
	bad(rows, COUNT(rows));
}

static void bad_values(void **state)
{
	static const struct bad_file rows[] = {
		{STAGE "    timeout: 10\n",
		    "f.yaml:7:14: \"timeout\" is \"10\", which has no unit; expected a duration with a unit, such as 500ms, 30s, 10m or 2h\n"},
		{STAGE "    timeout: 10 parsecs\n",
		    "f.yaml:7:14: \"timeout\" is \"10 parsecs\"; expected a duration with a unit, such as 500ms, 30s, 10m or 2h\n"},
		{STAGE "    timeout: 1ms\n",
		    "f.yaml:7:14: \"timeout\" is \"1ms\", which is out of bounds; expected 10 ms to 365d00h\n"},
		{STAGE "    timeout: [1s]\n",
		    "f.yaml:7:14: \"timeout\" is a list; expected a duration with a unit, such as 500ms, 30s, 10m or 2h\n"},
		{STAGE "    timeout:\n",
		    "f.yaml:7:5: \"timeout\" is empty; expected a duration with a unit, such as 500ms, 30s, 10m or 2h\n"},
		{STAGE "    timeout: -3s\n",
		    "f.yaml:7:14: \"timeout\" is \"-3s\"; expected a duration with a unit, such as 500ms, 30s, 10m or 2h\n"},
		{STAGE "    resources: {cpu: many, memory: 512, gpu: -1}\n",
		    "f.yaml:7:22: \"cpu\" is \"many\"; expected a number of processors, such as 1, 0.5 or 2.25, from 0.001 to 4096\n"
		    "f.yaml:7:36: \"memory\" is \"512\", which has no unit; expected a size with a unit, such as 64KiB, 4MiB or 1.5GB\n"
		    "f.yaml:7:46: \"gpu\" is \"-1\"; expected a whole number from 0 to 64\n"},
		{STAGE "    resources: {cpu: 0, memory: 1KiB, gpu: 65}\n",
		    "f.yaml:7:22: \"cpu\" is \"0\"; expected a number of processors, such as 1, 0.5 or 2.25, from 0.001 to 4096\n"
		    "f.yaml:7:33: \"memory\" is \"1KiB\", which is out of bounds; expected 1.0 MiB to 64.0 TiB\n"
		    "f.yaml:7:44: \"gpu\" is \"65\"; expected a whole number from 0 to 64\n"},
		{STAGE "    resources: 3\n",
		    "f.yaml:7:16: \"resources\" is a text; expected a map\n"},
		{STAGE "    retry: {failures: 0, losses: x, backoff: 3}\n",
		    "f.yaml:7:23: \"failures\" is \"0\"; expected a whole number from 1 to 1000000\n"
		    "f.yaml:7:34: \"losses\" is \"x\"; expected a whole number from 1 to 1000000\n"
		    "f.yaml:7:46: \"backoff\" is \"3\", which has no unit; expected a duration with a unit, such as 500ms, 30s, 10m or 2h\n"},
		{STAGE "    retry: {backoff: 9s..1s}\n",
		    "f.yaml:7:22: \"backoff\" goes from 9s down to 1s; expected two durations, such as 1s..60s\n"},
		{STAGE "    retry: {backoff: 1s..}\n",
		    "f.yaml:7:22: \"backoff\" is \"\"; expected a duration with a unit, such as 500ms, 30s, 10m or 2h\n"},
		{STAGE "    allow_failed: 101%\n"
		    "    on_failed: explode\n",
		    "f.yaml:7:19: \"allow_failed\" is \"101%\"; expected a whole number, or a share such as 1%, at most 100%\n"
		    "f.yaml:8:16: \"on_failed\" is \"explode\"; expected one of stop, continue\n"},
		{STAGE "    allow_failed: -1\n",
		    "f.yaml:7:19: \"allow_failed\" is \"-1\"; expected a whole number, or a share such as 1%, at most 100%\n"},
		{STAGE "    allow_failed: 1.5\n",
		    "f.yaml:7:19: \"allow_failed\" is \"1.5\"; expected a whole number, or a share such as 1%, at most 100%\n"},
		{STAGE "    stop: {signal: SIGTERM, to: mian}\n",
		    "f.yaml:7:20: \"signal\" is \"SIGTERM\"; expected one of TERM, INT, HUP, QUIT, USR1, USR2, ALRM, CONT; did you mean \"TERM\"?\n"
		    "f.yaml:7:33: \"to\" is \"mian\"; expected one of main, leader, group; did you mean \"main\"?\n"},
		{STAGE "    stop: {signal: KILL}\n",
		    "f.yaml:7:20: \"signal\" is \"KILL\"; expected one of TERM, INT, HUP, QUIT, USR1, USR2, ALRM, CONT\n"},
		{STAGE "    after_stop: {256: done, x: done, 3: finished}\n",
		    "f.yaml:7:18: \"256\" is no exit code; expected a whole number from 0 to 255\n"
		    "f.yaml:7:29: \"x\" is no exit code; expected a whole number from 0 to 255\n"
		    "f.yaml:7:41: \"3\" is \"finished\"; expected one of done, checkpointed, interrupted, failed\n"},
		{STAGE "    after_stop: {3: done, 03: failed}\n",
		    "f.yaml:7:17: exit code 3 is here twice\n"},
		{STAGE "    checkpoint: {exit: 0, every: 1}\n",
		    "f.yaml:7:24: \"exit\" is \"0\"; expected a whole number from 1 to 255\n"
		    "f.yaml:7:34: \"every\" is \"1\", which has no unit; expected a duration with a unit, such as 500ms, 30s, 10m or 2h\n"},
		{STAGE "    slots: tpu\n",
		    "f.yaml:7:12: \"slots\" is \"tpu\"; expected one of cpu, gpu; did you mean \"cpu\"?\n"},
		{STAGE "    batch: 0\n",
		    "f.yaml:7:12: \"batch\" is \"0\"; expected a whole number from 1 to 1000000000\n"},
		{STAGE "    input_as: [stdin]\n",
		    "f.yaml:7:15: \"input_as\" is a list; expected one of path, stdin, list, url\n"},
		{STAGE "drain: {reserve: 2h}\n",
		    "f.yaml:7:18: \"reserve\" is \"2h\", which is out of bounds; expected 100 ms to 1h00m\n"},
		{STAGE "    shell: []\n",
		    "f.yaml:7:12: \"shell\" is empty; expected a list of words, such as [bash, -c], or a text of them\n"},
		{STAGE "    shell: ' '\n",
		    "f.yaml:7:12: \"shell\" is blank; expected a list of words, such as [bash, -c], or a text of them\n"},
		{STAGE "    version: {}\n",
		    "f.yaml:7:14: \"version\" is a map; expected a text\n"},
		{STAGE "    version: \"a\\0b\"\n",
		    "f.yaml:7:14: \"version\" has a NUL byte in it\n"},
	};

	(void)state;
	bad(rows, COUNT(rows));
}

static void bad_stages(void **state)
{
	static const struct bad_file rows[] = {
		{STAGES "  a: {input: {stage: b}, run: x}\n"
		    "  b: {input: {stage: c}, run: x}\n"
		    "  c: {input: [y, {stage: a}], run: x}\n",
		    "f.yaml:4:22: the stages form a cycle: a reads b reads c reads a\n"},
		{STAGES "  a: {input: {stage: a}, run: x}\n",
		    "f.yaml:4:22: the stages form a cycle: a reads a\n"},
		{STAGES "  parse: {input: a, run: b}\n"
		    "  total: {input: {stage: prase}, run: x}\n",
		    "f.yaml:5:26: there is no stage \"prase\"; did you mean \"parse\"?\n"},
		{STAGES "  a: {input: {stage: total}, run: x}\n"
		    "  z: {input: {stage: z}, run: x}\n",
		    "f.yaml:4:22: there is no stage \"total\"; expected a name under stages:, such as \"a\"\n"
		    "f.yaml:5:22: the stages form a cycle: z reads z\n"},
		{STAGES "  a: {input: {stages: b}, run: x}\n",
		    "f.yaml:4:15: there is no key \"stages\" here; did you mean \"stage\"?\n"},
		{STAGES "  a: {input: {stage: b, list: c}, run: x}\n",
		    "f.yaml:4:14: an input has 2 keys; expected one of {stage: NAME}, {list: FILE} and {count: N}, or a list of several\n"},
		{STAGES "  a: {input: [[x]], run: x}\n",
		    "f.yaml:4:15: there is a list in the list of inputs; expected a pattern, {stage: NAME}, {list: FILE} or {count: N}\n"},
		{STAGES "  a: {input: [], run: x}\n",
		    "f.yaml:4:14: \"input\" is an empty list; expected a pattern, {stage: NAME}, {list: FILE}, {count: N}, or a list of these\n"},
		{STAGES "  a: {input: , run: x}\n",
		    "f.yaml:4:7: \"input\" is empty; expected a pattern, {stage: NAME}, {list: FILE}, {count: N}, or a list of these\n"},
		{STAGES "  a: {input: {count: 0}, run: x}\n",
		    "f.yaml:4:22: \"count\" is \"0\"; expected a whole number from 1 to 1000000000\n"},
		{STAGES "  a: {input: {list: }, run: x}\n",
		    "f.yaml:4:15: \"list\" is empty; expected a text\n"},
	};

	(void)state;
	bad(rows, COUNT(rows));
}

static void bad_together(void **state)
{
	static const struct bad_file rows[] = {
		{STAGE "    shard: {by: list}\n",
		    "f.yaml:7:12: patterns and stages are not cut by: list, which is for {list: } and {count: }; expected shard: {by: all}, files or bytes\n"},
		{STAGES "  a: {input: {count: 3}, run: x, shard: {by: bytes, size: 1MB}}\n",
		    "f.yaml:4:41: {count: } gives numbers, no files; expected shard: {by: list} or {by: all}\n"},
		{STAGE "    shard: {by: bytes}\n",
		    "f.yaml:7:12: by: bytes needs the size of a piece, such as size: 64MiB\n"},
		{STAGE "    shard: {by: all, size: 1MB}\n",
		    "f.yaml:7:12: size: is for by: bytes and by: files\n"},
		{STAGE "    shard: {records: lines}\n",
		    "f.yaml:7:12: records: is for by: bytes\n"},
		{STAGE "    batch: 10\n",
		    "f.yaml:7:12: batch: needs shard: {by: bytes} with records: lines, paragraphs or nul\n"},
		{STAGE "    batch: 10\n"
		    "    shard: {by: bytes, size: 1MB, records: whole}\n",
		    "f.yaml:7:12: batch: needs shard: {by: bytes} with records: lines, paragraphs or nul\n"},
		{STAGE "    shard: {by: bytes, size: 1MB}\n"
		    "    input_as: path\n",
		    "f.yaml:8:15: a piece of a file comes on stdin; expected input_as: stdin, or shard: {by: files}\n"},
		{STAGES "  a: {input: [x, {list: y}], run: x}\n",
		    "f.yaml:4:14: patterns and stages are not cut by: list, which is for {list: } and {count: }; expected shard: {by: all}, files or bytes\n"},
		{STAGES "  a: {input: x, run: [a, b], shell: sh -c}\n",
		    "f.yaml:4:37: shell: is for a command given as a text; this one is a list of words, which no shell reads\n"},
		{STAGES "  a: {input: x, run: 'print(\"{}\")', shell: [python3, -c]}\n",
		    "f.yaml:4:22: \"python3\" is no shell whose quoting is known, so neither {} nor parameters can be put into its text; use $EBB_INPUT and env:\n"},
		{STAGES "  a: {input: x, run: 'f {}', shell: [python3, -c]}\n",
		    "f.yaml:4:22: \"python3\" is no shell whose quoting is known, so neither {} nor parameters can be put into its text; use $EBB_INPUT and env:\n"},
		{STAGES "  a: {input: x, run: 'echo \"{}\"'}\n",
		    "f.yaml:4:22: {} at character 7 of the command stands inside double quotes; the value is quoted already: take the quotes away\n"},
		{STAGE "    env: {A: 1}\n"
		    "    secrets: {A: env:B}\n",
		    "f.yaml:8:15: A is under env: too, in line 7\n"},
	};

	(void)state;
	bad(rows, COUNT(rows));
}

static void bad_variables(void **state)
{
	static const struct bad_file rows[] = {
		{STAGE "    env: {1A: x, A-B: y, EBB_INPUT: z, C: [1]}\n",
		    "f.yaml:7:11: \"1A\" is no name of a variable; expected letters, digits and _, no digit first\n"
		    "f.yaml:7:18: \"A-B\" is no name of a variable; expected letters, digits and _, no digit first\n"
		    "f.yaml:7:26: EBB_INPUT is set by ebb for each shard; take another name\n"
		    "f.yaml:7:43: \"C\" is a list; expected a text\n"},
		{STAGE "    env: [A=1]\n",
		    "f.yaml:7:10: \"env\" is a list; expected a map of variables, such as {NAME: value}\n"},
		{STAGE "    secrets: {A: hunter2, B: 'env:1', C: 'file:', D: }\n",
		    "f.yaml:7:18: \"A\" is no reference to a secret; expected env:NAME or file:PATH, and never the secret itself\n"
		    "f.yaml:7:30: \"B\" is no reference to a secret; expected env:NAME or file:PATH, and never the secret itself\n"
		    "f.yaml:7:42: \"C\" is no reference to a secret; expected env:NAME or file:PATH, and never the secret itself\n"
		    "f.yaml:7:51: \"D\" is no reference to a secret; expected env:NAME or file:PATH, and never the secret itself\n"},
		{STAGE "    secrets: {A: {b: hunter2}}\n",
		    "f.yaml:7:18: \"A\" is a map; expected a text\n"},
	};

	(void)state;
	bad(rows, COUNT(rows));
}

static void bad_parameters(void **state)
{
	static const struct bad_file rows[] = {
		{HEAD "params: {date: required}\n"
		    "stages: {a: {input: x, run: y}}\n",
		    "f.yaml:3:10: parameter \"date\" has no value; expected --set date=VALUE\n"},
		{HEAD "params: {1: 2, b-c: 3, d: [1], e: {defualt: 1}, f: {}}\n"
		    "stages: {a: {input: x, run: y}}\n",
		    "f.yaml:3:10: \"1\" is no name of a parameter; expected letters, digits and _, no digit first\n"
		    "f.yaml:3:16: \"b-c\" is no name of a parameter; expected letters, digits and _, no digit first\n"
		    "f.yaml:3:27: \"d\" is a list; expected required, a value, or {default: VALUE}\n"
		    "f.yaml:3:35: \"e\" is a map without default; expected required, a value, or {default: VALUE}\n"
		    "f.yaml:3:36: there is no key \"defualt\" here; did you mean \"default\"?\n"
		    "f.yaml:3:52: \"f\" is a map without default; expected required, a value, or {default: VALUE}\n"},
		{HEAD "params: [a]\n"
		    "stages: {a: {input: x, run: y}}\n",
		    "f.yaml:3:9: \"params\" is a list; expected a map of parameters, such as {date: required}\n"},
		{HEAD "params: {p: 1, dir: 2}\n"
		    "stages:\n"
		    "  a: {input: '${dri}/x', run: x}\n",
		    "f.yaml:5:14: \"input\": there is no parameter \"dri\"; did you mean ${dir}? ($${ stands for ${ itself)\n"},
		{HEAD "params: {p: 1, dir: 2}\n"
		    "stages:\n"
		    "  a: {input: '${nothing}', run: x}\n",
		    "f.yaml:5:14: \"input\": there is no parameter \"nothing\"; declare it under params: ($${ stands for ${ itself)\n"},
		{HEAD "params: {p: 1, dir: 2}\n"
		    "stages:\n"
		    "  a: {input: '${', run: x}\n",
		    "f.yaml:5:14: \"input\": \"${\" is not followed by the name of a parameter and \"}\"; write $${ for ${ itself\n"},
		{HEAD "params: {p: 1, dir: 2}\n"
		    "stages:\n"
		    "  a: {input: '${p-x}', run: x}\n",
		    "f.yaml:5:14: \"input\": \"${\" is not followed by the name of a parameter and \"}\"; write $${ for ${ itself\n"},
		{HEAD "params: {p: 1, dir: 2}\n"
		    "stages:\n"
		    "  a: {input: x, run: 'echo \"${p}\"'}\n",
		    "f.yaml:5:22: \"run\": ${p} in line 1 of the command stands inside double quotes; its value cannot be quoted there; leave your quotes out, or pass it by env: {p: \"${p}\"} and use the variable\n"},
		{HEAD "params: {p: 1, dir: 2}\n"
		    "stages:\n"
		    "  a:\n"
		    "    input: x\n"
		    "    run: |\n"
		    "      cat <<E\n"
		    "      ${p}\n"
		    "      E\n",
		    "f.yaml:8:1: \"run\": ${p} in line 2 of the command stands in a here-document; its value cannot be quoted there; pass it by env: {p: \"${p}\"} and use the variable\n"},
		{HEAD "params: {p: 1, dir: 2}\n"
		    "stages:\n"
		    "  a: {input: x, run: 'echo \\${p}'}\n",
		    "f.yaml:5:22: \"run\": ${p} in line 1 of the command stands behind a backslash; its value cannot be quoted there; leave your quotes out, or pass it by env: {p: \"${p}\"} and use the variable\n"},
		{HEAD "params: {p: 1, dir: 2}\n"
		    "stages:\n"
		    "  a: {input: x, run: 'echo `echo ${p}`'}\n",
		    "f.yaml:5:22: \"run\": ${p} in line 1 of the command stands between backticks; its value cannot be quoted there; pass it by env: {p: \"${p}\"} and use the variable\n"},
		{HEAD "params: {p: 1, dir: 2}\n"
		    "stages:\n"
		    "  a: {input: x, run: 'echo $((${p}))'}\n",
		    "f.yaml:5:22: \"run\": ${p} in line 1 of the command stands in an arithmetic expression; its value cannot be quoted there; pass it by env: {p: \"${p}\"} and use the variable\n"},
		{HEAD "params: {p: 1, dir: 2}\n"
		    "stages:\n"
		    "  a: {input: x, run: 'cat <<${p}'}\n",
		    "f.yaml:5:22: \"run\": ${p} in line 1 of the command stands where its quoting cannot be told; its value cannot be quoted there; pass it by env: {p: \"${p}\"} and use the variable\n"},
		{HEAD "params: {p: 1, dir: 2}\n"
		    "stages:\n"
		    "  a: {input: x, run: [bash, -euc, 'echo ${p}']}\n",
		    "f.yaml:5:35: a parameter in a text for bash would be run as a part of it; write run: as one text, which quotes it, or pass it by env:\n"},
		{HEAD "params: {p: 1, dir: 2}\n"
		    "stages:\n"
		    "  a: {input: x, run: 'print(${p})', shell: python3 -c}\n",
		    "f.yaml:5:22: \"python3\" is no shell whose quoting is known, so neither {} nor parameters can be put into its text; use $EBB_INPUT and env:\n"},
		{HEAD "params: {p: 1, dir: 2}\n"
		    "stages:\n"
		    "  a: {input: x, run: [echo, '{${p}}'], output: '{${dir}}'}\n",
		    "f.yaml:5:29: \"run\": the value of parameter \"p\" would make {1}, which ebb replaces; pass it by env:, or take another value\n"
		    "f.yaml:5:48: \"output\": the value of parameter \"dir\" would make {2}, which ebb replaces; pass it by env:, or take another value\n"},
		{HEAD "params: {p: ''}\n"
		    "stages: {a: {input: '${p}', run: '${p}'}}\n",
		    "f.yaml:4:21: \"input\" is empty once its parameters are put in\n"},
		{HEAD "params: {p: 1, dir: 2}\n"
		    "stages:\n"
		    "  a: {input: x, run: 'echo ${p}', timeout: '${p}'}\n",
		    "f.yaml:5:44: \"timeout\" is \"1\", which has no unit; expected a duration with a unit, such as 500ms, 30s, 10m or 2h\n"},
	};

	(void)state;
	bad(rows, COUNT(rows));
}

static void bad_given_values(void **state)
{
	static const struct pipeline_given given[] = {
		{"date", "1"}, {"dtae", "2"}, {"other", "3"}, {"date", "4"},
	};
	static const struct bad_file row = {
		HEAD "params: {date: required}\nstages: {a: {input: x, run: y, timeout: 1}}\n",
		"f.yaml: --set dtae: there is no such parameter; did you mean \"date\"?\n"
		"f.yaml: --set other: there is no such parameter; the file declares its own under "
		"params:\n"
		"f.yaml: --set date: it is given twice\n"
		"f.yaml:4:41: \"timeout\" is \"1\", which has no unit; expected a duration with a unit, "
		"such as 500ms, 30s, 10m or 2h\n",
	};

	(void)state;
	bad_one(&row, given, COUNT(given));
}

/* A text made of a head and a numbered line repeated. */
static char *repeated(const char *head, const char *before, const char *behind, size_t times)
{
	struct buf b = {0};
	size_t i;

	buf_str(&b, head);
	for (i = 0; i < times; i++)
		buf_printf(&b, "%s%zu%s", before, i, behind);
	assert_false(b.failed);
	return b.data;
}

static void limits(void **state)
{
	static const struct {
		const char *head;
		const char *before;
		const char *behind;
		size_t times;
		const char *said;
	} rows[] = {
		{STAGES, "  s", ": {input: x, run: y}\n", 257, "there are 257 stages; expected at most 256"},
		{HEAD "params:\n", "  p", ": 1\n", 257, "there are 257 parameters; expected at most 256"},
		{STAGE "    env:\n", "      E", ": 1\n", 1001, "too many keys; a map has at most 1,000"},
		{HEAD "files:\n", "  - ", "\n", 1001, "\"files\" has 1001 texts; expected at most 1000"},
		{HEAD "files:\n", "  - [a,b,c,d,e,f,g,h,i,j,k,l,m,n,", "]\n", 7000,
		    "too many values; a pipeline file has at most 100,000"},
		{HEAD, "# 012345678901234567890123456789012345678901234567890123456789", "\n", 16500, "the file has more than 1 MiB"},
		{HEAD "name: ", "01234567890123456789", "", 2900, "this line has more than 65536 bytes"},
	};
	struct result r;
	size_t i;
	size_t k;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		char *text = repeated(rows[i].head, rows[i].before, rows[i].behind, rows[i].times);

		read_given(&r, text, NULL, 0);
		assert_int_equal(r.st, ST_CONFIG);
		for (k = 0; k < r.problems.n &&
		    strstr(r.problems.list[k].text, rows[i].said) == NULL; k++)
			;
		if (k == r.problems.n)
			fail_msg("%s: %s", rows[i].said, r.e.text);
		release(&r);
		free(text);
	}
}

static void many_problems(void **state)
{
	char *text = repeated(STAGE, "    k", ": 1\n", 30);
	struct result r;

	(void)state;
	read_given(&r, text, NULL, 0);
	assert_int_equal(r.problems.n, PIPELINE_PROBLEMS_MAX);
	assert_int_equal(r.problems.more, 10);
	assert_non_null(strstr(r.e.text, "(and 29 more)"));
	release(&r);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_not_yaml),
		cmocka_unit_test(bad_ways_to_write_a_text),
		cmocka_unit_test(bad_keys),
		cmocka_unit_test(bad_values),
		cmocka_unit_test(bad_stages),
		cmocka_unit_test(bad_together),
		cmocka_unit_test(bad_variables),
		cmocka_unit_test(bad_parameters),
		cmocka_unit_test(bad_given_values),
		cmocka_unit_test(limits),
		cmocka_unit_test(many_problems),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
