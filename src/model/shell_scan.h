/* Follows the quoting of a shell text (POSIX, with bash's additions) from its
 * beginning, to tell where a word in single quotes may be put so that the
 * shell takes it for exactly that word. Where it cannot be sure it says so.
 * Pure, without memory of its own. */
#ifndef EBB_MODEL_SHELL_SCAN_H
#define EBB_MODEL_SHELL_SCAN_H

#include <stdbool.h>
#include <stddef.h>

enum shell_place {
	SHELL_WORD,      /* a quoted word is taken as it is */
	SHELL_COMMENT,   /* ignored by the shell up to the line's end */
	SHELL_SINGLE,    /* '...' and $'...' */
	SHELL_DOUBLE,    /* "..." */
	SHELL_HEREDOC,   /* the text after << */
	SHELL_ARITH,     /* $((...)), ((...)) */
	SHELL_BACKTICK,  /* `...`, which takes backslashes away before it parses */
	SHELL_BACKSLASH, /* the next byte is escaped */
	SHELL_UNSURE,    /* nested too deeply, or a construct that is not followed */
};

enum { SHELL_DEPTH_MAX = 32, SHELL_HEREDOCS_MAX = 8 };

/* Zeroed, with shell_scan_start, before the first step. The fields belong to
 * shell_scan.c. */
struct shell_scan {
	unsigned char stack[SHELL_DEPTH_MAX]; /* constructs that are open */
	size_t depth;
	bool word_start;  /* the next byte can begin a word */
	bool line_start;  /* of a here-document */
	bool escaped;     /* the last byte was an active backslash */
	bool name;        /* the last bytes were $ and a part of a name */
	bool unsure;
	size_t n_heredocs;
	struct {
		const char *mark; /* in the text, with its quotes */
		size_t len;
		bool tabs;        /* <<-: leading tabs do not count */
		bool quoted;      /* the text is taken as it is */
	} heredocs[SHELL_HEREDOCS_MAX];
};

void shell_scan_start(struct shell_scan *s);
/* What stands at the place reached so far. */
enum shell_place shell_scan_place(const struct shell_scan *s);
/* True directly behind "$name", where a letter or digit would lengthen the
 * name. */
bool shell_scan_in_name(const struct shell_scan *s);
/* Goes over the next construct of the NUL-terminated rest p, which must not be
 * empty; returns its length, >= 1. */
size_t shell_scan_step(struct shell_scan *s, const char *p);
/* Goes over something that is one word, or a part of it, whatever its text. */
void shell_scan_word(struct shell_scan *s);
/* "inside double quotes" */
const char *shell_place_text(enum shell_place place);

#endif
