/* ebb completion: what a shell needs to complete ebb's words, from the tables
 * that drive the verbs. */
#include <string.h>

#include "base/log.h"
#include "cli/common.h"

static const struct option completion_options[] = {
	{0, NULL, OPTION_FLAG, 0, NULL, NULL},
};

/* What a value is, for a shell. */
enum value_is { VALUE_FREE, VALUE_FILE, VALUE_FOLDER, VALUE_CHOICE };

static enum value_is value_kind(const struct option *o)
{
	if (o->choices != NULL)
		return VALUE_CHOICE;
	if (o->arg != NULL && strcmp(o->arg, "FILE") == 0)
		return VALUE_FILE;
	if (o->arg != NULL && strcmp(o->arg, "DIR") == 0)
		return VALUE_FOLDER;
	return VALUE_FREE;
}

static void add_choices(const char *choices, struct buf *b)
{
	for (; *choices != '\0'; choices++)
		buf_char(b, *choices == '|' ? ' ' : *choices);
}

/* "-j|--jobs": the words of one option, for a case. */
static void add_pattern(const struct option *o, struct buf *b)
{
	if (o->letter != 0)
		buf_printf(b, "-%c|", o->letter);
	buf_printf(b, "--%s", o->name);
}

/* ---- bash ---- */

static void bash_value(const struct option *o, struct buf *b)
{
	if (o->kind == OPTION_FLAG)
		return;
	buf_str(b, "\t\t");
	add_pattern(o, b);
	buf_str(b, ") ");
	switch (value_kind(o)) {
	case VALUE_FREE:
		buf_str(b, "return");
		break;
	case VALUE_FILE:
		buf_str(b, "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); "
		    "return");
		break;
	case VALUE_FOLDER:
		buf_str(b, "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- \"$cur\"); "
		    "return");
		break;
	case VALUE_CHOICE:
		buf_str(b, "mapfile -t COMPREPLY < <(compgen -W '");
		add_choices(o->choices, b);
		buf_str(b, "' -- \"$cur\"); return");
		break;
	}
	buf_str(b, " ;;\n");
}

static void bash_verb(const struct verb *v, struct buf *b)
{
	const struct option *o;
	bool values = false;
	size_t i;

	buf_printf(b, "\t%s)\n", verb_word(v));
	if (v->subs != NULL)
		buf_str(b, "\t\twords=--help\n\t\tif ((COMP_CWORD > 2)); then case ${COMP_WORDS[2]} in\n");
	for (i = 0; v->subs != NULL && v->subs[i] != NULL; i++)
		bash_verb(v->subs[i], b);
	if (v->subs != NULL) {
		buf_str(b, "\t\tesac; else words+='");
		for (i = 0; v->subs[i] != NULL; i++)
			buf_printf(b, " %s", verb_word(v->subs[i]));
		buf_str(b, "'; fi ;;\n");
		return;
	}
	for (o = v->options; o->name != NULL; o++)
		values = values || o->kind != OPTION_FLAG;
	if (values) {
		buf_str(b, "\t\tcase $prev in\n");
		for (o = v->options; o->name != NULL; o++)
			bash_value(o, b);
		buf_str(b, "\t\tesac\n");
	}
	buf_str(b, "\t\twords='--help");
	for (o = v->options; o->name != NULL; o++)
		buf_printf(b, " --%s", o->name);
	if (v->words != NULL) {
		buf_char(b, ' ');
		add_choices(v->words, b);
	}
	buf_str(b, "' ;;\n");
}

static void bash_script(struct buf *b)
{
	size_t i;

	buf_str(b, "# bash completion for ebb; made by: ebb completion bash\n"
	    "_ebb() {\n"
	    "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words i\n"
	    "\tCOMPREPLY=()\n"
	    "\t# The command that ebb is to run, and what comes after it, is not ebb's.\n"
	    "\tfor ((i = 2; i < COMP_CWORD; i++)); do\n"
	    "\t\tcase ${COMP_WORDS[i]} in --|:::*) compopt -o default; return ;; esac\n"
	    "\tdone\n"
	    "\tif ((COMP_CWORD == 1)); then\n\t\tmapfile -t COMPREPLY < <(compgen -W '");
	for (i = 0; verbs[i] != NULL; i++)
		buf_printf(b, "%s ", verbs[i]->name);
	buf_str(b, "--help --version' -- \"$cur\")\n\t\treturn\n\tfi\n"
	    "\tcase ${COMP_WORDS[1]} in\n");
	for (i = 0; verbs[i] != NULL; i++)
		bash_verb(verbs[i], b);
	buf_str(b, "\tesac\n"
	    "\tcase ${COMP_WORDS[1]} in\n\thelp) words+=' states");
	for (i = 0; verbs[i] != NULL; i++)
		buf_printf(b, " %s", verbs[i]->name);
	buf_str(b, "' ;;\n\tcompletion) words+=' bash zsh' ;;\n\t");
	for (i = 0; verbs[i] != NULL; i++) {
		if (verbs[i]->subs != NULL)
			buf_printf(b, "%s) ;;\n\t", verbs[i]->name);
	}
	buf_str(b, "*) [[ $cur == -* ]] || "
	    "{ compopt -o default; return; } ;;\n\tesac\n"
	    "\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
	    "}\ncomplete -F _ebb ebb\n");
}

/* ---- zsh ---- */

/* Text within single quotes and brackets of _arguments: the first line of it. */
static void zsh_text(const char *text, struct buf *b)
{
	for (; *text != '\0' && *text != '\n'; text++) {
		if (*text == '\'')
			buf_str(b, "'\\''");
		else if (strchr("[]:\\", *text) != NULL)
			buf_printf(b, "\\%c", *text);
		else
			buf_char(b, *text);
	}
}

static void zsh_word(const struct option *o, const char *dashes, const char *word, size_t len,
    struct buf *b)
{
	buf_printf(b, " \\\n\t\t'%s%s", o->kind == OPTION_TEXTS ? "*" : "", dashes);
	buf_append(b, word, len);
	if (o->kind != OPTION_FLAG)
		buf_char(b, len == 1 ? '+' : '=');
	buf_char(b, '[');
	zsh_text(o->help, b);
	buf_char(b, ']');
	if (o->kind != OPTION_FLAG) {
		buf_str(b, ":");
		zsh_text(o->arg == NULL ? "value" : o->arg, b);
		buf_char(b, ':');
	}
	switch (value_kind(o)) {
	case VALUE_FREE:
		break;
	case VALUE_FILE:
		buf_str(b, "_files");
		break;
	case VALUE_FOLDER:
		buf_str(b, "_files -/");
		break;
	case VALUE_CHOICE:
		buf_char(b, '(');
		add_choices(o->choices, b);
		buf_char(b, ')');
		break;
	}
	buf_char(b, '\'');
}

/* The first word that is no option. */
static void zsh_first_word(const struct verb *v, struct buf *b)
{
	if (strcmp(v->name, "completion") == 0)
		buf_str(b, " \\\n\t\t'1:shell:(bash zsh)'");
	else if (strcmp(v->name, "help") == 0)
		buf_str(b, " \\\n\t\t'1:verb:_ebb_verbs'");
	else if (v->words == NULL)
		buf_str(b, " \\\n\t\t'*::word:_files'");
	if (v->words != NULL) {
		buf_str(b, " \\\n\t\t'1:word:(");
		add_choices(v->words, b);
		buf_str(b, ")'");
	}
}

static void zsh_verb(const struct verb *v, struct buf *b)
{
	const struct option *o;
	size_t i;

	if (v->subs != NULL) {
		buf_printf(b, "\t%s)\n\t\tif ((CURRENT == 2)); then\n\t\t\tcompadd", v->name);
		for (i = 0; v->subs[i] != NULL; i++)
			buf_printf(b, " %s", verb_word(v->subs[i]));
		buf_str(b, "\n\t\t\treturn\n\t\tfi\n\t\tverb=$words[2]\n\t\tshift words\n"
		    "\t\t((CURRENT--))\n\t\tcase $verb in\n");
		for (i = 0; v->subs[i] != NULL; i++)
			zsh_verb(v->subs[i], b);
		buf_str(b, "\t\tesac ;;\n");
		return;
	}
	buf_printf(b, "\t%s)\n\t\t_arguments -s '(-)'{-h,--help}'[show help]'", verb_word(v));
	for (o = v->options; o->name != NULL; o++) {
		if (o->letter != 0)
			zsh_word(o, "-", &o->letter, 1, b);
		zsh_word(o, "--", o->name, strlen(o->name), b);
	}
	zsh_first_word(v, b);
	buf_str(b, " ;;\n");
}

static void zsh_script(struct buf *b)
{
	size_t i;

	buf_str(b, "#compdef ebb\n# zsh completion for ebb; made by: ebb completion zsh\n"
	    "_ebb_verbs() {\n\tlocal -a list=(\n");
	for (i = 0; verbs[i] != NULL; i++) {
		const char *what = strchr(verbs[i]->summary, ':');

		buf_printf(b, "\t\t'%s:", verbs[i]->name);
		zsh_text(what == NULL ? verbs[i]->summary : what + 2, b);
		buf_str(b, "'\n");
	}
	buf_str(b, "\t)\n\t_describe verb list\n}\n\n"
	    "_ebb() {\n\tif ((CURRENT == 2)); then\n\t\t_ebb_verbs\n\t\treturn\n\tfi\n"
	    "\tlocal verb=$words[2]\n\tshift words\n\t((CURRENT--))\n\tcase $verb in\n");
	for (i = 0; verbs[i] != NULL; i++)
		zsh_verb(verbs[i], b);
	buf_str(b, "\tesac\n}\n\n"
	    "if [ \"$funcstack[1]\" = _ebb ]; then\n\t_ebb \"$@\"\nelse\n\tcompdef _ebb ebb\nfi\n");
}

static int completion_main(int argc, char **argv)
{
	const char *words[COMMON_WORDS_MAX + 1];
	struct buf b = {0};
	int code;

	if (!common_parse(&verb_completion, argc, argv, NULL, words, &code))
		return code;
	if (words[0] != NULL && strcmp(words[0], "bash") == 0) {
		bash_script(&b);
	} else if (words[0] != NULL && strcmp(words[0], "zsh") == 0) {
		zsh_script(&b);
	} else {
		log_line(LOG_ERROR, "for which shell? ebb completion bash, or zsh");
		return EXIT_BAD_USAGE;
	}
	return common_print(&b);
}

const struct verb verb_completion = {
	.name = "completion",
	.max_words = 1,
	.usage = "ebb completion bash | zsh",
	.summary = "ebb completion: the script with which a shell completes ebb's words",
	.text = "make install puts both where the shells look for them. By hand:\n\n"
	    "  source <(ebb completion bash)\n"
	    "  ebb completion zsh >~/.zfunc/_ebb     # a folder in $fpath\n",
	.options = completion_options,
	.run = completion_main,
};
