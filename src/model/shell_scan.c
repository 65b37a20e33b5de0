#include "model/shell_scan.h"

#include <ctype.h>
#include <string.h>

/* What is open; the bottom of the stack, CODE, is not stored. */
enum context {
	CODE,
	PAREN,       /* ( $( <( */
	PARAM,       /* ${ outside quotes */
	PARAM_QUOTED, /* ${ inside double quotes or arithmetic */
	SINGLE,
	ANSI,        /* $' */
	DOUBLE,
	BACKTICK,
	ARITH,       /* $(( and (( */
	ARITH_PAREN, /* a parenthesis in it */
	COMMENT,
	HEREDOC,
};

static enum context top(const struct shell_scan *s)
{
	return s->depth == 0 ? CODE : (enum context)s->stack[s->depth - 1];
}

static void push(struct shell_scan *s, enum context c)
{
	if (s->depth == SHELL_DEPTH_MAX) {
		s->unsure = true;
		return;
	}
	s->stack[s->depth++] = (unsigned char)c;
	s->word_start = true;
}

static void pop(struct shell_scan *s)
{
	if (s->depth > 0)
		s->depth--;
	s->word_start = false;
}

static bool open_anywhere(const struct shell_scan *s, enum context c)
{
	return memchr(s->stack, (int)c, s->depth) != NULL;
}

void shell_scan_start(struct shell_scan *s)
{
	memset(s, 0, sizeof(*s));
	s->word_start = true;
}

enum shell_place shell_scan_place(const struct shell_scan *s)
{
	if (s->unsure)
		return SHELL_UNSURE;
	if (top(s) == COMMENT)
		return SHELL_COMMENT;
	if (open_anywhere(s, BACKTICK))
		return SHELL_BACKTICK;
	switch (top(s)) {
	case SINGLE:
	case ANSI:
		return SHELL_SINGLE;
	case DOUBLE:
	case PARAM_QUOTED:
		return SHELL_DOUBLE;
	case HEREDOC:
		return SHELL_HEREDOC;
	case ARITH:
	case ARITH_PAREN:
		return SHELL_ARITH;
	default:
		return s->escaped ? SHELL_BACKSLASH : SHELL_WORD;
	}
}

bool shell_scan_in_name(const struct shell_scan *s)
{
	return s->name;
}

void shell_scan_word(struct shell_scan *s)
{
	s->word_start = false;
	s->line_start = false;
	s->escaped = false;
	s->name = false;
}

/* A backtick ends the innermost `...` whatever else is open in it. */
static size_t step_backtick(struct shell_scan *s)
{
	if (!open_anywhere(s, BACKTICK)) {
		push(s, BACKTICK);
		return 1;
	}
	while (top(s) != BACKTICK)
		pop(s);
	pop(s);
	return 1;
}

static size_t step_dollar(struct shell_scan *s, const char *p)
{
	enum context c = top(s);
	bool quoted = c == DOUBLE || c == PARAM_QUOTED || c == ARITH || c == ARITH_PAREN;

	s->word_start = false;
	if (strncmp(p, "$((", 3) == 0) {
		push(s, ARITH);
		return 3;
	}
	if (p[1] == '(') {
		push(s, PAREN);
		return 2;
	}
	if (p[1] == '{') {
		push(s, quoted ? PARAM_QUOTED : PARAM);
		return 2;
	}
	if (p[1] == '[') /* arithmetic of old */
		s->unsure = true;
	if (p[1] == '\'' && !quoted) {
		push(s, ANSI);
		return 2;
	}
	if (p[1] == '$')
		return 2;
	s->name = isalpha((unsigned char)p[1]) || p[1] == '_';
	return 1;
}

/* Notes "<<MARK", whose text begins after the line. */
static size_t step_heredoc_mark(struct shell_scan *s, const char *p)
{
	const char *q = p + 2;
	bool tabs = *q == '-';
	const char *mark;
	char quote = '\0';

	if (tabs)
		q++;
	while (*q == ' ' || *q == '\t')
		q++;
	for (mark = q; *q != '\0' && *q != '\n'; q++) {
		if (quote != '\0') {
			if (*q == quote)
				quote = '\0';
		} else if (*q == '\'' || *q == '"') {
			quote = *q;
		} else if (*q == '\\' && q[1] != '\0' && q[1] != '\n') {
			q++;
		} else if (strchr(" \t;&|<>()`", *q) != NULL) {
			break;
		}
	}
	s->word_start = false;
	if (s->n_heredocs == SHELL_HEREDOCS_MAX || q == mark || quote != '\0') {
		s->unsure = true;
		return (size_t)(q - p);
	}
	s->heredocs[s->n_heredocs].mark = mark;
	s->heredocs[s->n_heredocs].len = (size_t)(q - mark);
	s->heredocs[s->n_heredocs].tabs = tabs;
	s->heredocs[s->n_heredocs].quoted = strcspn(mark, "\\\"'") < (size_t)(q - mark);
	s->n_heredocs++;
	return (size_t)(q - p);
}

/* Length of the line at p, without \n, if it is the mark of the first
 * here-document that is open; -1 if it is another line. */
static ptrdiff_t heredoc_end(const struct shell_scan *s, const char *p)
{
	const char *mark = s->heredocs[0].mark;
	const char *end = mark + s->heredocs[0].len;
	const char *q = p;

	if (s->heredocs[0].tabs)
		q += strspn(q, "\t");
	for (; mark < end; mark++) {
		if (*mark == '\'' || *mark == '"')
			continue;
		if (*mark == '\\' && mark + 1 < end)
			mark++;
		if (*q == '\0' || *q != *mark)
			return -1;
		q++;
	}
	return *q == '\n' || *q == '\0' ? q - p : -1;
}

static size_t step_heredoc(struct shell_scan *s, const char *p)
{
	ptrdiff_t len = s->line_start ? heredoc_end(s, p) : -1;

	if (len < 0) {
		/* Lines are joined, and the mark may be a part of one. */
		if (!s->heredocs[0].quoted && p[0] == '\\' && p[1] == '\n')
			s->unsure = true;
		s->line_start = *p == '\n';
		s->name = *p == '$' || (s->name && (isalnum((unsigned char)*p) || *p == '_'));
		return 1;
	}
	s->n_heredocs--;
	memmove(&s->heredocs[0], &s->heredocs[1], s->n_heredocs * sizeof(s->heredocs[0]));
	if (s->n_heredocs == 0) {
		pop(s);
		s->word_start = true;
	}
	return p[len] == '\n' ? (size_t)len + 1 : (size_t)len;
}

static size_t step_double(struct shell_scan *s, const char *p)
{
	enum context c = top(s);

	switch (*p) {
	case '\\':
		s->escaped = true;
		return 1;
	case '$':
		return step_dollar(s, p);
	case '`':
		return step_backtick(s);
	case '"':
		if (c == DOUBLE)
			pop(s);
		else
			push(s, DOUBLE);
		return 1;
	case '}':
		if (c == PARAM_QUOTED)
			pop(s);
		return 1;
	case '\'':
		/* It quotes in ${x#'}'}, and does not in ${x:-'}. */
		if (c == PARAM_QUOTED)
			s->unsure = true;
		return 1;
	default:
		return 1;
	}
}

static size_t step_arith(struct shell_scan *s, const char *p)
{
	switch (*p) {
	case '\\':
		s->escaped = true;
		return 1;
	case '$':
		return step_dollar(s, p);
	case '`':
		return step_backtick(s);
	case '(':
		push(s, ARITH_PAREN);
		return 1;
	case ')':
		if (top(s) == ARITH && p[1] == ')') {
			pop(s);
			return 2;
		}
		if (top(s) == ARITH)
			s->unsure = true; /* two subshells after all */
		pop(s);
		return 1;
	default:
		return 1;
	}
}

/* Parentheses, redirections and what else ends a word. */
static size_t step_meta(struct shell_scan *s, const char *p)
{
	size_t len = 1;

	switch (*p) {
	case '(':
		if (p[1] == '(' && s->word_start) {
			push(s, ARITH);
			return 2;
		}
		push(s, PAREN);
		return 1;
	case ')':
		if (top(s) == PAREN)
			pop(s);
		break;
	case '<':
		if (strncmp(p, "<<<", 3) == 0)
			len = 3;
		else if (p[1] == '<')
			return step_heredoc_mark(s, p);
		break;
	case '\n':
		if (s->n_heredocs > 0) {
			push(s, HEREDOC);
			s->line_start = true;
		}
		break;
	default:
		break;
	}
	s->word_start = true;
	return len;
}

static size_t step_code(struct shell_scan *s, const char *p)
{
	bool start = s->word_start;
	bool param = top(s) == PARAM;

	if (!param && strchr("()<>\n;&| \t", *p) != NULL)
		return step_meta(s, p);
	s->word_start = false;
	switch (*p) {
	case '\\':
		if (p[1] == '\n') { /* as if neither were there */
			s->word_start = start;
			return 2;
		}
		s->escaped = true;
		return 1;
	case '\'':
		push(s, SINGLE);
		return 1;
	case '"':
		push(s, DOUBLE);
		return 1;
	case '`':
		return step_backtick(s);
	case '$':
		return step_dollar(s, p);
	case '}':
		if (param)
			pop(s);
		return 1;
	case '#':
		if (start && !param)
			push(s, COMMENT);
		return 1;
	case 'c':
		/* The ) of its patterns would be taken for the end. */
		if (start && s->depth > 0 && strncmp(p, "case", 4) == 0 &&
		    !isalnum((unsigned char)p[4]))
			s->unsure = true;
		return 1;
	default:
		return 1;
	}
}

size_t shell_scan_step(struct shell_scan *s, const char *p)
{
	enum context c = top(s);

	if (s->escaped) {
		s->escaped = false;
		s->word_start = false;
		s->name = false;
		return 1;
	}
	if (c == HEREDOC)
		return step_heredoc(s, p);
	s->name = s->name && (isalnum((unsigned char)*p) || *p == '_');
	if (*p == '`' && (c == SINGLE || c == ANSI || c == COMMENT) && open_anywhere(s, BACKTICK))
		s->unsure = true; /* shells differ in what ends first */
	switch (c) {
	case SINGLE:
		if (*p == '\'')
			pop(s);
		return 1;
	case ANSI:
		if (*p == '\\')
			s->escaped = true;
		else if (*p == '\'')
			pop(s);
		return 1;
	case COMMENT:
		if (*p != '\n')
			return 1;
		pop(s);
		return step_meta(s, p);
	case DOUBLE:
	case PARAM_QUOTED:
		return step_double(s, p);
	case ARITH:
	case ARITH_PAREN:
		return step_arith(s, p);
	default:
		return step_code(s, p);
	}
}

const char *shell_place_text(enum shell_place place)
{
	static const char *const texts[] = {
		[SHELL_WORD] = "as a word",
		[SHELL_COMMENT] = "in a comment",
		[SHELL_SINGLE] = "inside single quotes",
		[SHELL_DOUBLE] = "inside double quotes",
		[SHELL_HEREDOC] = "in a here-document",
		[SHELL_ARITH] = "in an arithmetic expression",
		[SHELL_BACKTICK] = "between backticks",
		[SHELL_BACKSLASH] = "behind a backslash",
		[SHELL_UNSURE] = "where its quoting cannot be told",
	};

	return texts[place];
}
