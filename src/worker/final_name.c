#include "worker/final_name.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

/* One spelling for one file: no "./", no "//". */
static void normalise(struct buf *name)
{
	char *from = name->data;
	char *to = name->data;

	while (from != NULL && *from != '\0') {
		bool start = to == name->data || to[-1] == '/';

		if (start && from[0] == '.' && from[1] == '/')
			from += 2;
		else if (start && from[0] == '/' && to > name->data)
			from++;
		else
			*to++ = *from++;
	}
	if (to != NULL) {
		*to = '\0';
		name->len = (size_t)(to - name->data);
	}
}

static bool climbs(const char *path)
{
	while (path != NULL) {
		while (*path == '/')
			path++;
		if (strncmp(path, "..", 2) == 0 && (path[2] == '/' || path[2] == '\0'))
			return true;
		path = strchr(path, '/');
	}
	return false;
}

/* What follows `root` in the name, NULL if it is not below it. */
static const char *below_root(const char *final, const char *root)
{
	size_t len = strlen(root);

	while (len > 1 && root[len - 1] == '/')
		len--;
	if (strncmp(final, root, len) != 0 || (final[len] != '/' && root[len - 1] != '/'))
		return NULL;
	return final + len;
}

/* A name inside the folder that outputs may be in. */
static enum status check_final(const struct spec *spec, const char *final, size_t len,
    struct error *e)
{
	const char *root = spec->out_root;
	const char *rest = root == NULL ? NULL : below_root(final, root);

	if (memchr(final, '\0', len) != NULL || len == 0 || final[len - 1] == '/')
		return error_set(e, ST_CONFIG, "the output name \"%.200s\" is not a file name", final);
	if (root == NULL && final[0] != '/')
		rest = final;
	if (rest != NULL && !climbs(rest))
		return ST_OK;
	return error_set(e, ST_CONFIG, "the output name \"%.200s\" is outside of the folder %s; use "
	    "a name in it, such as 'out/{/}' (ebb map --out-root FOLDER allows another)", final,
	    root == NULL ? "that ebb was started in" : root);
}

/* Names belong to the folder that the state is in; those of a run that was
 * started elsewhere are kept whole, so that two folders may share a state. */
static enum status anchor(const struct state *state, struct buf *name, struct error *e)
{
	struct buf whole = {0};
	char cwd[PATH_MAX];

	if (name->data == NULL || name->data[0] == '/' ||
	    strcmp(state_place(state), ".") == 0)
		return ST_OK;
	if (getcwd(cwd, sizeof(cwd)) == NULL)
		return error_os(e, errno, "cannot tell the current folder");
	buf_printf(&whole, "%s/%s", cwd, name->data);
	buf_free(name);
	*name = whole;
	return buf_check(name, e);
}

enum status final_name(const struct stage *g, const struct template_values *v, struct buf *name,
    struct error *e)
{
	enum status st = template_expand(g->launch.out, v, name, e);

	if (st == ST_OK)
		st = buf_check(name, e);
	if (st == ST_OK && name->len == 0)
		st = error_set(e, ST_CONFIG, "the output name is empty");
	if (st != ST_OK)
		return st;
	if (strlen(name->data) == name->len)
		normalise(name);
	/* "out/pages/" is a good name for a folder. */
	while (g->spec->output == SPEC_OUT_FILES && name->len > 1 &&
	    name->data[name->len - 1] == '/')
		buf_cut(name, name->len - 1);
	st = check_final(g->spec, name->data, name->len, e);
	return st == ST_OK ? anchor(g->w->opt->state, name, e) : st;
}

enum status final_name_below(const char *folder, const char *name, struct buf *out,
    struct error *e)
{
	buf_printf(out, "%s/%s", folder, name);
	normalise(out);
	return buf_check(out, e);
}
