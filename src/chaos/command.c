#include "chaos/command.h"

#include <stdbool.h>
#include <string.h>

#include "base/str.h"

static const char *const command_names[] = {"rebalance", "notice", "maintenance", "withdraw", "end"};

enum {
	N_COMMANDS = sizeof(command_names) / sizeof(command_names[0]),
};

static int command_word(const char *const *names, int n, const char *word, size_t len)
{
	int i;

	for (i = 0; i < n; i++) {
		if (strlen(names[i]) == len && memcmp(names[i], word, len) == 0)
			return i;
	}
	return -1;
}

_Bool command_action_find(const char *name, size_t len, enum notice_action *out)
{
	static const enum notice_action all[] = {NOTICE_TERMINATE, NOTICE_STOP, NOTICE_HIBERNATE};
	size_t i;

	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		const char *known = notice_action_name(all[i]);

		if (strlen(known) == len && memcmp(known, name, len) == 0) {
			*out = all[i];
			return true;
		}
	}
	return false;
}

static enum status command_add(struct command *c, const char *word, int count, struct error *e)
{
	enum notice_action action;
	int64_t n = 0;
	enum status st;

	if (word[0] == '@') {
		st = str_parse_count(word + 1, 1, count, &n, e);
		if (st != ST_OK)
			return error_prefix(e, st, "the instance @N");
		c->instance = (int)n;
		return ST_OK;
	}
	if (c->kind != COMMAND_NOTICE)
		return error_set(e, ST_CONFIG, "\"%.40s\" was not expected after %s: only @N, the "
		    "number of an instance", word, command_names[c->kind]);
	if (command_action_find(word, strlen(word), &action)) {
		c->action = (int)action;
		return ST_OK;
	}
	st = str_parse_duration(word, &c->in_ms, e);
	if (st != ST_OK)
		return error_prefix(e, st, "after notice: @N, terminate, stop, hibernate, or the time "
		    "that is left");
	if (c->in_ms > COMMAND_IN_MAX_MS)
		return error_set(e, ST_CONFIG, "a notice of at most a day was expected");
	return ST_OK;
}

enum status command_parse(const char *line, size_t len, int count, struct command *out,
    struct error *e)
{
	char text[COMMAND_LINE_MAX];
	char *word;
	char *rest = NULL;
	int kind;
	enum status st = ST_OK;

	if (len >= sizeof(text) || memchr(line, '\0', len) != NULL)
		return error_set(e, ST_CONFIG, "a line of at most %d characters was expected",
		    COMMAND_LINE_MAX - 1);
	memcpy(text, line, len);
	text[len] = '\0';
	word = strtok_r(text, " \t\r", &rest);
	if (word == NULL || word[0] == '#')
		return error_set(e, ST_NOT_FOUND, "an empty line");
	kind = command_word(command_names, N_COMMANDS, word, strlen(word));
	if (kind == -1) {
		struct buf shown = {0};

		str_display(&shown, word, strlen(word), 40);
		st = error_set(e, ST_CONFIG, "\"%s\" is none of rebalance, notice, maintenance, "
		    "withdraw, end", shown.failed ? "" : shown.data);
		buf_free(&shown);
		return st;
	}
	*out = (struct command){.kind = (enum command_kind)kind, .in_ms = -1, .action = -1};
	while (st == ST_OK && (word = strtok_r(NULL, " \t\r", &rest)) != NULL)
		st = command_add(out, word, count, e);
	return st;
}
