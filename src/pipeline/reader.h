/* What the readers of keys share: the parameters, the pipeline that is filled,
 * and the list of problems. A reader that finds something wrong adds a problem
 * and leaves its field as it was. Running out of memory is noted in the
 * problems. */
#ifndef EBB_PIPELINE_READER_H
#define EBB_PIPELINE_READER_H

#include "pipeline/keys.h"
#include "pipeline/params.h"
#include "pipeline/read.h"
#include "pipeline/yaml.h"

/* A source of a stage that names another stage. */
struct stage_ref {
	size_t stage;    /* that reads, by its number in the file */
	size_t source;   /* which of its sources */
	int line;
	int column;
};

struct reader {
	struct pipeline_problems *problems;
	struct params params;
	struct pipeline *out;
	struct pipeline_spots *spots;
	char **files;    /* of the whole pipeline */
	size_t n_files;
	struct stage_ref *refs;
	size_t n_refs;
	size_t cap_refs;
	/* Of the stage that is being read. */
	size_t run_values; /* parameters put into its command */
	bool gpu_slots;
};

/* Adds a problem at the node's place. */
#define READER_PROBLEM(r, n, ...)                                                         \
	pipeline_problem_add((r)->problems, (n)->line, (n)->column, __VA_ARGS__)

void reader_no_memory(struct reader *r);

/* Reads each key of a map by the table into the struct; tells of unknown and of
 * missing ones. A node that is no map is a problem. */
void reader_map(struct reader *r, const struct key *keys, const struct yaml_node *n, void *into);

/* "KEY is a list; expected ..." */
void reader_wants(struct reader *r, const struct key *k, const struct yaml_node *n);
/* "there is no key "sharp" here; did you mean "shard"?" */
void reader_unknown_key(struct reader *r, const struct key *keys, const struct yaml_node *n);

/* The node's text with its parameters, which the caller frees; NULL after a
 * problem: it is no text, has a NUL byte, or is empty. `k` is for the message. */
char *reader_text(struct reader *r, const struct key *k, const struct yaml_node *n,
    enum params_mode mode) MUST_USE;
/* The same, where an empty text is fine; *used as of params_expand. */
char *reader_any_text(struct reader *r, const struct key *k, const struct yaml_node *n,
    enum params_mode mode, size_t *used) MUST_USE;

/* Adds a word that it takes over. */
void reader_add_word(struct reader *r, char ***words, size_t *n, char *take_word);

typedef void (*reader_take_fn)(struct reader *r, const struct key *k, const struct yaml_node *n,
    void *into);

/* values.c: by the key's offset. */
void take_text(struct reader *r, const struct key *k, const struct yaml_node *n, void *into);
void take_name(struct reader *r, const struct key *k, const struct yaml_node *n, void *into);
void take_count(struct reader *r, const struct key *k, const struct yaml_node *n, void *into);
void take_count64(struct reader *r, const struct key *k, const struct yaml_node *n, void *into);
void take_size(struct reader *r, const struct key *k, const struct yaml_node *n, void *into);
void take_duration(struct reader *r, const struct key *k, const struct yaml_node *n, void *into);
void take_cpu(struct reader *r, const struct key *k, const struct yaml_node *n, void *into);
void take_choice(struct reader *r, const struct key *k, const struct yaml_node *n, void *into);
void take_choice_text(struct reader *r, const struct key *k, const struct yaml_node *n,
    void *into);
void take_choice_first(struct reader *r, const struct key *k, const struct yaml_node *n,
    void *into);
void take_signal(struct reader *r, const struct key *k, const struct yaml_node *n, void *into);
void take_backoff(struct reader *r, const struct key *k, const struct yaml_node *n, void *into);
/* The choice by its number, or -1 after a problem. */
int read_choice(struct reader *r, const struct key *k, const struct yaml_node *n);

/* stage.c: into struct spec. */
void take_input(struct reader *r, const struct key *k, const struct yaml_node *n, void *into);
void take_run(struct reader *r, const struct key *k, const struct yaml_node *n, void *into);
void take_output(struct reader *r, const struct key *k, const struct yaml_node *n, void *into);
void take_slots(struct reader *r, const struct key *k, const struct yaml_node *n, void *into);
void take_share(struct reader *r, const struct key *k, const struct yaml_node *n, void *into);
void take_after_stop(struct reader *r, const struct key *k, const struct yaml_node *n, void *into);
void take_env(struct reader *r, const struct key *k, const struct yaml_node *n, void *into);
void take_secrets(struct reader *r, const struct key *k, const struct yaml_node *n, void *into);
void take_shell(struct reader *r, const struct key *k, const struct yaml_node *n, void *into);
/* Defaults, and what keys of a stage say about each other. Only for a stage
 * whose keys are all right by themselves. */
void stage_finish(struct reader *r, const struct yaml_node *n, struct spec *s);

/* order.c: checks that the stages named exist and form no cycle, and brings
 * stages and spots into their order. */
void order_stages(struct reader *r);

#endif
