#include "pipeline/yaml.h"

#include <libfyaml.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

struct builder {
	struct pipeline_problems *problems;
	const char *input;
	struct yaml_node *root;
	struct yaml_node *open[YAML_DEPTH_MAX]; /* lists and maps */
	struct yaml_node **tail[YAML_DEPTH_MAX];/* where the next one is hung up */
	struct yaml_node *key[YAML_DEPTH_MAX];  /* of the value to come */
	size_t depth;
	size_t n_nodes;
	int line;                               /* of what was seen last */
	int column;
	bool refused;                           /* and `problems` says why */
	bool no_memory;
};

void yaml_free(struct yaml_node *root)
{
	while (root != NULL) {
		struct yaml_node *next = root->next;

		yaml_free(root->key);
		yaml_free(root->first);
		free(root->text);
		free(root);
		root = next;
	}
}

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
	const struct yaml_node *n;

	for (n = map->first; n != NULL; n = n->next) {
		if (n->key != NULL && strcmp(n->key->text, key) == 0)
			return n;
	}
	return NULL;
}

const char *yaml_kind_text(enum yaml_kind kind)
{
	return kind == YAML_TEXT ? "a text" : kind == YAML_LIST ? "a list" : "a map";
}

/* ---- before the parser sees it ---- */

/* A problem at `at`, or none. */
static bool text_is_fit(const char *text, size_t len, struct pipeline_problems *problems)
{
	int line = 1;
	size_t begin = 0;
	size_t i;

	for (i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '\n') {
			if (!str_is_utf8(text + begin, i - begin))
				break;
			begin = i + 1;
			line++;
		} else if ((c < 0x20 && c != '\t' && c != '\r') || c == 0x7f) {
			pipeline_problem_add(problems, line, (int)(i - begin) + 1,
			    "there is a control character (byte 0x%02x); expected text", c);
			return false;
		} else if (i - begin >= YAML_LINE_MAX) {
			pipeline_problem_add(problems, line, 1,
			    "this line has more than %d bytes", YAML_LINE_MAX);
			return false;
		}
	}
	if (str_is_utf8(text + begin, i - begin))
		return true;
	pipeline_problem_add(problems, line, 1, "this line is not UTF-8");
	return false;
}

/* ---- the tree ---- */

static void refuse_at(struct builder *b, const char *why)
{
	if (!b->refused)
		pipeline_problem_add(b->problems, b->line, b->column, "%s", why);
	b->refused = true;
}

static struct yaml_node *new_yaml_node(struct builder *b, enum yaml_kind kind)
{
	struct yaml_node *n = NULL;

	if (++b->n_nodes > YAML_NODES_MAX) {
		refuse_at(b, "too many values; a pipeline file has at most 100,000");
		return NULL;
	}
	n = mem_zero(sizeof(*n));
	if (n == NULL) {
		b->no_memory = true;
		return NULL;
	}
	n->kind = kind;
	n->line = b->line;
	n->column = b->column;
	return n;
}

/* One line break of any kind at p; its length, or 0. */
static size_t line_break(const char *p, const char *end)
{
	if (p < end && *p == '\r')
		return p + 1 < end && p[1] == '\n' ? 2 : 1;
	return p < end && *p == '\n' ? 1 : 0;
}

/* White space at p up to `end`: blanks within a line stay; over the end of a
 * line they go, and n line breaks become n-1, or a blank if it is one. Returns
 * how far it goes. */
static size_t fold_blanks(const char *p, const char *end, struct buf *out)
{
	const char *q = p;
	size_t breaks = 0;
	size_t len;

	while (q < end && ((len = line_break(q, end)) > 0 || *q == ' ' || *q == '\t')) {
		breaks += len > 0;
		q += len > 0 ? len : 1;
	}
	if (breaks == 0)
		buf_append(out, p, (size_t)(q - p));
	else if (breaks == 1)
		buf_char(out, ' ');
	for (; breaks > 1; breaks--)
		buf_char(out, '\n');
	return (size_t)(q - p);
}

/* The text between single quotes. libfyaml 0.7.12 loses what is behind two ''
 * in a row (and memory), so it is asked for the place only. */
static char *single_quoted(const struct builder *b, struct fy_token *token, size_t *len)
{
	const struct fy_mark *begin = fy_token_start_mark(token);
	const struct fy_mark *behind = fy_token_end_mark(token);
	const char *p = b->input + begin->input_pos;
	const char *end = b->input + behind->input_pos;
	struct buf out = {0};

	buf_str(&out, "");
	while (p < end) {
		/* The closing quote, at the latest. */
		size_t n = strcspn(p, "' \t\r\n");

		if (n > (size_t)(end - p))
			n = (size_t)(end - p);
		buf_append(&out, p, n);
		p += n;
		if (p < end && *p == '\'') {
			buf_char(&out, '\'');
			p += 2;
		} else {
			p += fold_blanks(p, end, &out);
		}
	}
	*len = out.len;
	return out.failed ? NULL : out.data;
}

/* libfyaml 0.7.12 gives back wrong bytes for some folded texts, and for some
 * double-quoted ones in which a line ends with a backslash. Neither is needed. */
static bool is_read_wrongly(struct builder *b, struct fy_token *token)
{
	enum fy_scalar_style style = fy_token_scalar_style(token);
	const char *p = b->input + fy_token_start_mark(token)->input_pos;
	const char *end = b->input + fy_token_end_mark(token)->input_pos;

	if (style == FYSS_FOLDED) {
		refuse_at(b, "a folded text (>) is not used here; write | for a text of several "
		    "lines, or quote it");
		return true;
	}
	for (; style == FYSS_DOUBLE_QUOTED && p + 1 < end; p++) {
		if (*p != '\\')
			continue;
		p++;
		if (line_break(p, end) == 0)
			continue;
		refuse_at(b, "a line in double quotes ends with a backslash, which is not used "
		    "here; write | for a text of several lines");
		return true;
	}
	return false;
}

static char *text_of_token(const struct builder *b, struct fy_token *token, size_t *len)
{
	const char *text;

	if (fy_token_scalar_style(token) == FYSS_SINGLE_QUOTED)
		return single_quoted(b, token, len);
	text = fy_token_get_text(token, len);
	/* A block without a line comes as one NUL, which no block can hold. */
	if (text == NULL || (*len == 1 && text[0] == '\0' &&
	    fy_token_scalar_style(token) == FYSS_LITERAL))
		*len = 0;
	return mem_dup(text == NULL ? "" : text, *len);
}

static struct yaml_node *new_yaml_text(struct builder *b, struct fy_token *token)
{
	enum fy_scalar_style style = fy_token_scalar_style(token);
	struct yaml_node *n = new_yaml_node(b, YAML_TEXT);

	if (n == NULL)
		return NULL;
	if (fy_token_start_mark(token) != NULL && is_read_wrongly(b, token)) {
		yaml_free(n);
		return NULL;
	}
	/* The parser's mark of a quoted text is behind the quote. */
	if ((style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED) && n->column > 1)
		n->column--;
	n->text = text_of_token(b, token, &n->len);
	if (n->text == NULL) {
		b->no_memory = true;
		yaml_free(n);
		return NULL;
	}
	return n;
}

/* Takes the text for the key of the next value. */
static void take_yaml_key(struct builder *b, struct yaml_node *take_text)
{
	struct yaml_node *map = b->open[b->depth - 1];

	if (strlen(take_text->text) != take_text->len || take_text->len > 200) {
		pipeline_problem_add(b->problems, take_text->line, take_text->column,
		    "a key has a NUL byte or more than 200 bytes");
		b->refused = true;
	} else if (map->n >= YAML_KEYS_MAX) {
		refuse_at(b, "too many keys; a map has at most 1,000");
	}
	b->key[b->depth - 1] = take_text;
}

/* Hangs the value up where it belongs. */
static void take_yaml_value(struct builder *b, struct yaml_node *take_node)
{
	struct yaml_node *parent = b->depth > 0 ? b->open[b->depth - 1] : NULL;
	const struct yaml_node *same;

	if (parent == NULL) {
		b->root = take_node;
		return;
	}
	if (parent->kind == YAML_MAP) {
		take_node->key = b->key[b->depth - 1];
		b->key[b->depth - 1] = NULL;
		same = yaml_get(parent, take_node->key->text);
		if (same != NULL)
			pipeline_problem_add(b->problems, take_node->key->line,
			    take_node->key->column, "\"%.60s\" is here for the second time; the "
			    "first is in line %d", take_node->key->text, same->key->line);
	}
	*b->tail[b->depth - 1] = take_node;
	b->tail[b->depth - 1] = &take_node->next;
	parent->n++;
}

static bool wants_key(const struct builder *b)
{
	return b->depth > 0 && b->open[b->depth - 1]->kind == YAML_MAP &&
	    b->key[b->depth - 1] == NULL;
}

static void on_yaml_text(struct builder *b, struct fy_token *token)
{
	bool is_key = wants_key(b);
	struct yaml_node *n = new_yaml_text(b, token);

	if (n == NULL)
		return;
	if (is_key)
		take_yaml_key(b, n);
	else
		take_yaml_value(b, n);
}

static void on_yaml_open(struct builder *b, enum yaml_kind kind)
{
	struct yaml_node *n;

	if (wants_key(b)) {
		refuse_at(b, "a key is a list or a map; expected a text");
		return;
	}
	if (b->depth == YAML_DEPTH_MAX) {
		refuse_at(b, "lists and maps are nested more than 16 deep");
		return;
	}
	n = new_yaml_node(b, kind);
	if (n == NULL)
		return;
	take_yaml_value(b, n);
	b->open[b->depth] = n;
	b->tail[b->depth] = &n->first;
	b->key[b->depth] = NULL;
	b->depth++;
}

/* The parser's marks of &x and *x are behind the sign. */
static void mark_sign(struct builder *b, struct fy_token *token)
{
	const struct fy_mark *mark = fy_token_start_mark(token);

	if (mark != NULL) {
		b->line = mark->line + 1;
		b->column = mark->column > 0 ? mark->column : 1;
	}
}

static void check_decoration(struct builder *b, struct fy_event *event)
{
	if (fy_event_get_anchor_token(event) != NULL) {
		mark_sign(b, fy_event_get_anchor_token(event));
		refuse_at(b, "there is an anchor (&); anchors and aliases are not used here, write "
		    "the value out or quote it");
	}
	if (fy_event_get_tag_token(event) != NULL)
		refuse_at(b, "there is a tag (!); tags are not used here, quote the text if it "
		    "begins with !");
}

static void on_yaml_event(struct builder *b, struct fy_event *event)
{
	const struct fy_mark *mark = fy_event_start_mark(event);

	if (mark != NULL) {
		b->line = mark->line + 1;
		b->column = mark->column + 1;
	}
	switch (event->type) {
	case FYET_DOCUMENT_START:
		if (b->root != NULL)
			refuse_at(b, "a second document begins here; expected one");
		break;
	case FYET_SCALAR:
		check_decoration(b, event);
		on_yaml_text(b, event->scalar.value);
		break;
	case FYET_SEQUENCE_START:
		check_decoration(b, event);
		on_yaml_open(b, YAML_LIST);
		break;
	case FYET_MAPPING_START:
		check_decoration(b, event);
		on_yaml_open(b, YAML_MAP);
		break;
	case FYET_SEQUENCE_END:
	case FYET_MAPPING_END:
		b->depth--;
		break;
	case FYET_ALIAS:
		mark_sign(b, event->alias.anchor);
		refuse_at(b, "there is an alias (*); anchors and aliases are not used here, write "
		    "the value out, or quote it if it is a pattern");
		break;
	default:
		break;
	}
}

/* ---- the parser ---- */

static void report_parse_error(struct builder *b, struct fy_diag *diag)
{
	void *at = NULL;
	const struct fy_diag_error *error = fy_diag_errors_iterate(diag, &at);

	if (error == NULL)
		refuse_at(b, "this is not YAML");
	else
		pipeline_problem_add(b->problems, error->line > 0 ? error->line : 1,
		    error->column > 0 ? error->column : 1, "this is not YAML: %s", error->msg);
	b->refused = true;
}

static void parse_events(struct builder *b, const char *text, size_t len, struct fy_diag *diag)
{
	const struct fy_parse_cfg config = {
		.flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_JSON_NONE, .diag = diag,
	};
	struct fy_parser *parser = fy_parser_create(&config);
	struct fy_event *event;

	if (parser == NULL || fy_parser_set_string(parser, text, len) != 0) {
		b->no_memory = true;
		fy_parser_destroy(parser);
		return;
	}
	while (!b->refused && !b->no_memory && (event = fy_parser_parse(parser)) != NULL) {
		on_yaml_event(b, event);
		fy_parser_event_free(parser, event);
	}
	if (!b->refused && !b->no_memory && fy_parser_get_stream_error(parser))
		report_parse_error(b, diag);
	fy_parser_destroy(parser);
}

static void build_tree(struct builder *b, const char *text, size_t len)
{
	struct fy_diag_cfg config;
	struct fy_diag *diag;
	size_t i;

	fy_diag_cfg_default(&config);
	config.fp = NULL;
	config.colorize = false;
	diag = fy_diag_create(&config);
	if (diag == NULL) {
		b->no_memory = true;
		return;
	}
	fy_diag_set_collect_errors(diag, true);
	parse_events(b, text, len, diag);
	fy_diag_destroy(diag);
	/* A key whose value never came. */
	for (i = 0; i < b->depth; i++)
		yaml_free(b->key[i]);
}

enum status yaml_read(const char *text, size_t len, struct pipeline_problems *problems,
    struct yaml_node **root, struct error *e)
{
	struct builder b = {.problems = problems, .input = text, .line = 1,
	    .column = 1};

	*root = NULL;
	if (len > YAML_SIZE_MAX) {
		pipeline_problem_add(problems, 0, 0, "the file has more than 1 MiB");
		return error_set(e, ST_CONFIG, "the file has more than 1 MiB");
	}
	if (!text_is_fit(text, len, problems))
		return error_set(e, ST_CONFIG, "the file is not text");
	build_tree(&b, text, len);
	if (b.no_memory) {
		yaml_free(b.root);
		return error_set(e, ST_NO_MEMORY, "out of memory");
	}
	if (!b.refused && b.root == NULL) {
		b.line = 1;
		b.column = 1;
		refuse_at(&b, "the file is empty; expected version: 1, name: and stages:");
	}
	if (b.refused) {
		yaml_free(b.root);
		return error_set(e, ST_CONFIG, "the file is not the YAML that is expected");
	}
	*root = b.root;
	return ST_OK;
}
