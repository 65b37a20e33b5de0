#include "model/spec.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static void free_words(char **words, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		free(words[i]);
	free(words);
}

void spec_free(struct spec *s)
{
	size_t i;

	for (i = 0; i < s->n_sources; i++)
		free(s->source[i].text);
	free(s->source);
	for (i = 0; i < s->n_secrets; i++) {
		free(s->secret[i].name);
		free(s->secret[i].from);
	}
	free(s->secret);
	free(s->after_stop);
	free_words(s->command, s->n_command);
	free_words(s->shell_words, s->n_shell_words);
	free_words(s->env, s->n_env);
	free_words(s->files, s->n_files);
	free(s->name);
	free(s->out);
	free(s->out_root);
	free(s->records);
	free(s->version);
	memset(s, 0, sizeof(*s));
}

void spec_detect_shell(struct spec *s)
{
	s->shell = s->n_command == 1 &&
	    strpbrk(s->command[0], " \t\n|&;<>()$`\\\"'*?[#~=%!") != NULL;
}

int spec_stop_signal(const struct spec *s)
{
	return s->stop_signal == 0 ? SIGTERM : s->stop_signal;
}

bool spec_stops_well(const struct spec *s)
{
	size_t i;

	for (i = 0; i < s->n_after_stop; i++) {
		if (s->after_stop[i].cause == CAUSE_DONE ||
		    s->after_stop[i].cause == CAUSE_CHECKPOINTED)
			return true;
	}
	return false;
}

void spec_title(const struct spec *s, struct buf *out)
{
	size_t i;

	if (s->shell) {
		str_display(out, s->command[0], strlen(s->command[0]), 0);
		return;
	}
	for (i = 0; i < s->n_command; i++) {
		struct buf word = {0};

		if (i > 0)
			buf_char(out, ' ');
		str_shell_quote(&word, s->command[i], strlen(s->command[i]));
		if (word.failed)
			out->failed = true;
		else
			str_display(out, word.data, word.len, 0);
		buf_free(&word);
	}
}
