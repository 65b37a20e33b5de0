#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/template.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static enum status expand_in(const char *text, enum template_mode mode, const char *item,
    size_t item_len, struct buf *out, struct error *e)
{
	struct template_values v = {.item = item, .item_len = item_len, .number = 7, .slot = 2};
	struct template *t;
	enum status st = template_parse(text, mode, &t, e);

	if (st != ST_OK) {
		assert_null(t);
		return st;
	}
	st = template_expand(t, &v, out, e);
	template_free(t);
	return st;
}

static void plain(const char *text, const char *item, size_t item_len, const char *want)
{
	struct buf out = {0};
	struct error e;

	buf_str(&out, "");
	assert_int_equal(expand_in(text, TEMPLATE_PLAIN, item, item_len, &out, &e), ST_OK);
	assert_string_equal(out.data, want);
	buf_free(&out);
}

/* What GNU parallel 20221122 makes of {} {.} {/} {//} {/.}. */
static void forms_as_parallel(void **state)
{
	static const struct {
		const char *item, *no_ext, *base, *folder, *base_no_ext;
	} rows[] = {
		{"a/b/", "a/b/", "", "a", ""},
		{"/", "/", "", "/", ""},
		{"a", "a", "a", ".", "a"},
		{"a//b", "a//b", "b", "a", "b"},
		{"//a", "//a", "a", "/", "a"},
		{"", "", "", ".", ""},
		{".bashrc", "", ".bashrc", ".", ""},
		{"x/.bashrc", "x/", ".bashrc", "x", ""},
		{"a.", "a", "a.", ".", "a"},
		{"a..", "a.", "a..", ".", "a."},
		{"a.b/c", "a.b/c", "c", "a.b", "c"},
		{"a.b/", "a.b/", "", ".", ""},
		{"/.", "/", ".", "/", ""},
		{".", "", ".", ".", ""},
		{"..", ".", "..", ".", "."},
		{"a/..", "a/.", "..", "a", "."},
		{"///", "///", "", "/", ""},
		{"a///", "a///", "", ".", ""},
		{"/a", "/a", "a", "/", "a"},
		{"/a/", "/a/", "", "/", ""},
		{"./a", "./a", "a", ".", "a"},
		{"a/.", "a/", ".", "a", ""},
		{"a b.c", "a b", "a b.c", ".", "a b"},
		{"-x.tar.gz", "-x.tar", "-x.tar.gz", ".", "-x.tar"},
		{"\xff\xfe/\xc3.\x80", "\xff\xfe/\xc3", "\xc3.\x80", "\xff\xfe", "\xc3"},
	};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		char want[256];

		(void)snprintf(want, sizeof(want), "[%s][%s][%s][%s][%s]", rows[i].item,
		    rows[i].no_ext, rows[i].base, rows[i].folder, rows[i].base_no_ext);
		plain("[{}][{.}][{/}][{//}][{/.}]", rows[i].item, strlen(rows[i].item), want);
		plain("[{1}][{1.}][{1/}][{1//}][{1/.}]", rows[i].item, strlen(rows[i].item), want);
		plain("[{-1}][{-1.}][{-1/}][{-1//}][{-1/.}]", rows[i].item, strlen(rows[i].item),
		    want);
	}
}

static void several_arguments(void **state)
{
	static const char item[] = "a.b/c.d.e\0x/y.z\0";

	(void)state;
	plain("[{.}][{/}][{//}][{/.}][{#}][{%}]", item, 15,
	    "[a.b/c.d x/y][c.d.e y.z][a.b x][c.d y][7][2]");
	plain("{2}-{1}-{-1}-{-2}-{01}-{-01}", item, 15,
	    "x/y.z-a.b/c.d.e-x/y.z-a.b/c.d.e-a.b/c.d.e-x/y.z");
	plain("[{}][{3}]", item, 16, "[a.b/c.d.e x/y.z ][]");
	plain("{2/.}", item, 15, "y");
}

static void newlines_in_names(void **state)
{
	(void)state;
	plain("[{/}][{.}][{//}]", "a\n/b\n.c/d\n.e\n", 13, "[d\n.e\n][a\n/b\n.c/d\n][a\n/b\n.c]");
}

static void other_braces_stay(void **state)
{
	static const char *const texts[] = {
		"{0}", "{-0}", "{1#}", "{2%}", "{+1}", "{ 1}", "{ }", "{", "}", "{{", "{1", "{-}",
		"{-1", "{/", "{//.}", "{..}", "{./}", "{a}", "{1,2}", "{1..3}", "{1234567}", "{##}",
		"awk '{print $1}'", "{=1=}",
	};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(texts); i++)
		plain(texts[i], "v", 1, texts[i]);
	plain("{{}}", "v", 1, "{v}");
	plain("", "v", 1, "");
	plain("{{1}", "v", 1, "{v");
}

static void missing_arguments(void **state)
{
	static const char *const texts[] = {"{2}", "{-2}", "x{9/}", "{999999}"};
	struct buf out = {0};
	struct error e;
	size_t i;

	(void)state;
	buf_str(&out, "kept");
	for (i = 0; i < COUNT(texts); i++) {
		assert_int_equal(expand_in(texts[i], TEMPLATE_PLAIN, "a", 1, &out, &e), ST_CONFIG);
		assert_string_equal(out.data, "kept");
	}
	assert_int_equal(expand_in("{-2/}", TEMPLATE_PLAIN, "a", 1, &out, &e), ST_CONFIG);
	assert_string_equal(e.text, "{-2/} names argument 2, but the item has 1");
	buf_free(&out);
}

static void what_is_used(void **state)
{
	static const struct {
		const char *text;
		bool item, slot;
		int max_arg;
	} rows[] = {
		{"plain", false, false, 0}, {"{#}", false, false, 0}, {"{%}", false, true, 0},
		{"{}", true, false, 0}, {"{2/.}{-3}", true, false, 3}, {"{x}{0}", false, false, 0},
	};
	struct template *t;
	struct error e;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		assert_int_equal(template_parse(rows[i].text, TEMPLATE_SHELL, &t, &e), ST_OK);
		assert_int_equal(template_uses_item(t), rows[i].item);
		assert_int_equal(template_uses_slot(t), rows[i].slot);
		assert_int_equal(template_max_arg(t), rows[i].max_arg);
		template_free(t);
	}
	template_free(NULL);
}

static void shell_text(const char *text, const char *want)
{
	struct buf out = {0};
	struct error e;
	enum status st = expand_in(text, TEMPLATE_SHELL, "a b\0it's\0c", 10, &out, &e);

	if (st != ST_OK)
		fail_msg("%s: %s", text, e.text);
	assert_string_equal(out.data, want);
	buf_free(&out);
}

static void shell_quoting(void **state)
{
	(void)state;
	shell_text("cat {}", "cat 'a b' 'it'\\''s' 'c'");
	shell_text("cat {1}>{3}", "cat 'a b'>'c'");
	shell_text("p-{#}-{%}", "p-'7'-'2'");
	shell_text("echo \"part {#}\" '{%}'", "echo \"part 7\" '2'");
	shell_text("echo \"$(cat {3})\" \"${x}\" ${1}", "echo \"$(cat 'c')\" \"${x}\" ${1}");
	shell_text("cat {3} # not {3}, don't\ncat {3}", "cat 'c' # not {3}, don't\ncat 'c'");
	shell_text("cat <<E\n$ {#} don't\nE\ncat {3}", "cat <<E\n$ 7 don't\nE\ncat 'c'");
}

static void shell_places_refused(void **state)
{
	static const struct {
		const char *text, *place;
	} rows[] = {
		{"echo '{}'", "character 7 of the command stands inside single quotes"},
		{"echo $'\\'{}'", "single quotes"},
		{"echo \"{}\"", "double quotes"},
		{"echo \"a\\\"{}\"", "double quotes"},
		{"echo \"${x:-{}}\"", "double quotes"},
		{"echo \"$(echo a)\"\"{1}\"", "double quotes"},
		{"echo `cat {}`", "backticks"},
		{"echo \"`cat {}`\"", "backticks"},
		{"echo \\{}", "backslash"},
		{"echo $(( {} + 1 ))", "arithmetic"},
		{"((x = {}))", "arithmetic"},
		{"echo $(( (1) + ({}) ))", "arithmetic"},
		{"cat <<EOF\n{}\nEOF", "here-document"},
		{"cat <<'E F' <<\"X\"\nX\nE F\n{}\nX\n", "here-document"},
		{"cat <<-\\E\n\t\tF\n{}\n", "here-document"},
		{"x=$(case y in y) cat {};; esac)", "cannot be told"},
		{"echo $[ {} ]", "cannot be told"},
		{"cat <<E\nx\\\nE\n{}\nE\n", "cannot be told"},
		{"echo $(( ${x:-{}} ))", "double quotes"},
		{"echo \"$x{#}\"", "variable's name"},
		{"cat <<E\n$n{#}\nE", "variable's name"},
	};
	struct buf out = {0};
	struct error e;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		enum status st = expand_in(rows[i].text, TEMPLATE_SHELL, "a", 1, &out, &e);

		if (st != ST_CONFIG || strstr(e.text, rows[i].place) == NULL)
			fail_msg("%s: status %d, %s", rows[i].text, st, st != ST_OK ? e.text : "");
	}
	buf_free(&out);
}

static void deep_nesting(void **state)
{
	struct buf text = {0};
	struct buf out = {0};
	struct error e;
	int i;

	(void)state;
	for (i = 0; i < 100; i++)
		buf_str(&text, "$(");
	buf_str(&text, "{}");
	assert_int_equal(expand_in(text.data, TEMPLATE_SHELL, "a", 1, &out, &e), ST_CONFIG);
	buf_free(&text);
	buf_free(&out);
}

/* What bash prints when it runs the text. */
static void run_bash(const char *text, struct buf *out)
{
	int fds[2];
	char chunk[4096];
	int status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)dup2(fds[1], STDOUT_FILENO);
		(void)close(fds[0]);
		(void)close(fds[1]);
		(void)execlp("bash", "bash", "-euo", "pipefail", "-c", text, (char *)NULL);
		_exit(127);
	}
	(void)close(fds[1]);
	buf_clear(out);
	buf_str(out, "");
	while ((n = read(fds[0], chunk, sizeof(chunk))) > 0)
		buf_append(out, chunk, (size_t)n);
	(void)close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("bash ended with %d: %s", status, text);
}

/* "@" in the second column stands for the value. */
static const struct {
	const char *text, *want;
} shell_texts[] = {
	{"printf %s {}", "@"},
	{"printf %s pre{}post", "pre@post"},
	{"printf %s {}{}", "@@"},
	{"printf %s {}>&1", "@"},
	{"x={}; printf %s \"$x\"", "@"},
	{"y=Q; printf %s $y{}", "Q@"},
	{"unset x; printf %s ${x:-{}}", "@"},
	{"f() { printf %s \"${1}$#\"; }; f {}", "@1"},
	{"printf %s \"$(printf %s. {})\"", "@."},
	{"printf %s \"a\\\"$(printf \"%s\" {}.)'\"", "a\"@.'"},
	{"# it's {}\nprintf %s {} # don't", "@"},
	{"true \\\n# it's\nprintf %s {}", "@"},
	{"cat <<'E' >&2 2>/dev/null </dev/null\ndon't \"\nE\nprintf %s {}", "@"},
	{"cat <<-E >/dev/null\n\tdon't `echo a`\n\tE\nprintf %s {}", "@"},
	{"read -r -d '' x <<<{} || true; printf %s. {}", "@."},
	{"printf %s 'it'\\''s'{}", "it's@"},
	{"printf %s $'\\''{}$\"\"", "'@"},
	{"case x in (x) printf %s {};; esac", "@"},
	{"(printf %s {}; ( (true) ) )", "@"},
	{"[[ {} == {} ]] && printf %s {}", "@"},
	{"printf %s $((1<<2)){}", "4@"},
	{"(( 1<<2 )); printf %s {}", "@"},
	{"x=ab; printf %s ${#x}{}", "2@"},
	{"printf %s a#{}", "a#@"},
	{"printf %s `echo \"a'\"`{}", "a'@"},
	{"a=(1 {}); printf %s \"${a[1]}\"", "@"},
	{"for i in {}; do printf %s \"$i\"; done", "@"},
	{"cat <(printf %s {})", "@"},
};

static const char *const shell_values[] = {
	"a b", "it's", "$(echo x)", "`echo x`", "a\\", "-n", "\nx\n", "2", "*", "~", "\xff\xfe\x80",
	"\"!", "", "#{}", "if", "A=b", ";'\"\\`$", "{a,b}",
};

/* Whatever the value, bash sees it as one word with these bytes. */
static void bash_takes_values_unchanged(void **state)
{
	struct buf text = {0};
	struct buf got = {0};
	struct error e;
	size_t t;
	size_t v;

	(void)state;
	for (t = 0; t < COUNT(shell_texts); t++) {
		for (v = 0; v < COUNT(shell_values); v++) {
			char want[256] = "";
			const char *p;

			for (p = shell_texts[t].want; *p != '\0'; p++) {
				if (*p == '@')
					(void)strcat(want, shell_values[v]);
				else
					(void)strncat(want, p, 1);
			}
			buf_clear(&text);
			if (expand_in(shell_texts[t].text, TEMPLATE_SHELL, shell_values[v], strlen(shell_values[v]),
			        &text, &e) != ST_OK)
				fail_msg("%s: %s", shell_texts[t].text, e.text);
			run_bash(text.data, &got);
			assert_string_equal(got.data, want);
		}
	}
	buf_free(&text);
	buf_free(&got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forms_as_parallel),
		cmocka_unit_test(several_arguments),
		cmocka_unit_test(newlines_in_names),
		cmocka_unit_test(other_braces_stay),
		cmocka_unit_test(missing_arguments),
		cmocka_unit_test(what_is_used),
		cmocka_unit_test(shell_quoting),
		cmocka_unit_test(shell_places_refused),
		cmocka_unit_test(deep_nesting),
		cmocka_unit_test(bash_takes_values_unchanged),
	};

	return cmocka_run_group_tests_name("template", tests, NULL, NULL);
}
