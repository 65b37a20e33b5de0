/* YAML as a tree of texts, lists and maps that know their places. Only what a
 * pipeline file needs: one document; no anchors, aliases, tags or directives,
 * so that what one reads is what is meant, and a small file cannot become a
 * large tree. */
#ifndef EBB_PIPELINE_YAML_H
#define EBB_PIPELINE_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "pipeline/problems.h"

enum yaml_kind { YAML_TEXT, YAML_LIST, YAML_MAP };

enum {
	YAML_SIZE_MAX = 1 << 20,
	YAML_DEPTH_MAX = 16,      /* lists and maps in one another */
	YAML_NODES_MAX = 100000,
	YAML_KEYS_MAX = 1000,     /* of one map */
	YAML_LINE_MAX = 1 << 16,  /* bytes of one line */
};

struct yaml_node {
	enum yaml_kind kind;
	int line;                 /* from 1; of a block of text: of its first line */
	int column;
	char *text;               /* YAML_TEXT: len bytes (there may be NUL in it) and a NUL */
	size_t len;
	struct yaml_node *key;    /* in a map: its key, which is a text without NUL */
	struct yaml_node *first;  /* YAML_LIST, YAML_MAP: what is in it, by `next` */
	struct yaml_node *next;
	size_t n;
};

/* Reads the whole text. *root is never NULL after ST_OK. ST_CONFIG: it is no
 * such text, and `problems` has why (bytes that are not UTF-8, a limit, an
 * anchor, what the parser did not expect). A key repeated in a map is a problem
 * too, but ST_OK is returned, so that the caller can look for more. */
enum status yaml_read(const char *text, size_t len, struct pipeline_problems *problems,
    struct yaml_node **root, struct error *e) MUST_USE;
void yaml_free(struct yaml_node *root); /* NULL is fine */

/* What is under a key of a map, or NULL. */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);
/* "a text", "a list", "a map" */
const char *yaml_kind_text(enum yaml_kind kind);

#endif
