/* The words of `ebb map`: options are the table's; what is left is inputs,
 * command and lists. */
#ifndef EBB_CLI_MAP_WORDS_H
#define EBB_CLI_MAP_WORDS_H

#include "cli/options.h"
#include "shard/list.h"

struct map_words {
	const char **inputs;       /* before "--" */
	size_t n_inputs;
	char **command;            /* in argv */
	size_t n_command;
	struct list_source *sources;
	size_t n_sources;
};

/* argv of the verb. Values as for options_parse. Sources are, in order: words
 * before "--", each :::, ::::, :::+ and ::::+, each file of `arg_files`. None
 * of them: stdin; a terminal there is ST_CONFIG, with an example. */
enum status map_words_parse(const struct verb *v, int argc, char **argv, void *values,
    const struct option_texts *arg_files, struct map_words *out, bool *help,
    struct error *e) MUST_USE;
void map_words_free(struct map_words *w);

#endif
