/* The Compute Engine metadata server, as
 * https://cloud.google.com/compute/docs/metadata/querying-metadata describes it:
 * a tree that is built for each request; paths walk it, and its rendering is what
 * an ETag stands for. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/str.h"
#include "chaos/cloud.h"
#include "chaos/http.h"

static const char GCP_ROOT[] = "/computeMetadata/v1";
static const char GCP_PROJECT[] = "ebb-chaos";
static const char GCP_EMAIL[] = "ebb-chaos@ebb-chaos.iam.gserviceaccount.com";
static const char GCP_TEXT[] = "application/text";
static const char GCP_JSON[] = "application/json";
static const char GCP_HTML[] = "text/html; charset=UTF-8";
static const int64_t GCP_NUMBER = 100000000000;

enum { GCP_ETAG_LEN = 16, GCP_DEPTH_MAX = 8, GCP_WAIT_MAX_S = 24 * 3600, GCP_NAME_MAX = 96 };

/* ---- the tree, with names as they stand in paths ---- */

static json_t *gcp_account(void)
{
	return json_pack("{s:[s], s:s, s:[s]}", "aliases", "default", "email", GCP_EMAIL, "scopes",
	    "https://www.googleapis.com/auth/cloud-platform");
}

static json_t *gcp_scheduling(const struct instance *i)
{
	return json_pack("{s:s, s:s, s:s}", "automatic-restart", i->o.on_demand ? "TRUE" : "FALSE",
	    "on-host-maintenance", i->o.on_demand ? "MIGRATE" : "TERMINATE", "preemptible",
	    i->o.on_demand ? "FALSE" : "TRUE");
}

static const char *gcp_maintenance(const struct instance *i, struct moment now)
{
	if (!instance_has_maintenance(i, now))
		return "NONE";
	return i->o.on_demand ? "MIGRATE_ON_HOST_MAINTENANCE" : "TERMINATE_ON_HOST_MAINTENANCE";
}

/* Machines have a number of their own beside the name. */
static json_int_t gcp_id(const struct instance *i)
{
	char guid[37];

	if (!instance_guid(i, "id", guid))
		return 1;
	return (json_int_t)(strtoull(guid, NULL, 16) << 20) + i->number;
}

static json_t *gcp_network(const struct instance *i)
{
	char ip[24];
	char mac[24];

	(void)snprintf(ip, sizeof(ip), "10.128.0.%d", 1 + i->number);
	(void)snprintf(mac, sizeof(mac), "42:01:0a:80:00:%02x", (unsigned int)(1 + i->number));
	return json_pack("[{s:s, s:s, s:s, s:i}]", "ip", ip, "mac", mac, "network",
	    "projects/100000000000/networks/default", "mtu", 1460);
}

static json_t *gcp_instance(const struct instance *i, struct moment now)
{
	char host[GCP_NAME_MAX + 64];
	char type[160];
	char zone[160];

	(void)snprintf(host, sizeof(host), "%s.%s.c.%s.internal", i->id, instance_zone(i), GCP_PROJECT);
	(void)snprintf(type, sizeof(type), "projects/%lld/machineTypes/%s", (long long)GCP_NUMBER,
	    instance_type(i));
	(void)snprintf(zone, sizeof(zone), "projects/%lld/zones/%s", (long long)GCP_NUMBER,
	    instance_zone(i));
	return json_pack("{s:{}, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:o, s:s, s:o, s:{s:o, s:o}, "
	    "s:[], s:s}",
	    "attributes", "cpu-platform", "Intel Broadwell", "description", "", "hostname", host,
	    "id", gcp_id(i), "image", "projects/debian-cloud/global/images/debian-12",
	    "machine-type", type, "maintenance-event", gcp_maintenance(i, now),
	    "name", i->id, "network-interfaces", gcp_network(i), "preempted",
	    instance_has_notice(i, now) ? "TRUE" : "FALSE", "scheduling", gcp_scheduling(i),
	    "service-accounts", GCP_EMAIL, gcp_account(), "default", gcp_account(), "tags",
	    "zone", zone);
}

static json_t *gcp_tree(const struct instance *i, struct moment now)
{
	return json_pack("{s:o, s:{s:{}, s:I, s:s}}", "instance", gcp_instance(i, now), "project",
	    "attributes", "numeric-project-id", (json_int_t)GCP_NUMBER, "project-id", GCP_PROJECT);
}

/* ---- the tree as JSON and as text ---- */

/* "maintenance-event" is maintenanceEvent in JSON; names that users choose stay. */
static void gcp_camel(const char *name, char out[GCP_NAME_MAX])
{
	size_t n = 0;

	for (; *name != '\0' && n + 1 < GCP_NAME_MAX; name++) {
		if (*name == '-' && name[1] >= 'a' && name[1] <= 'z')
			out[n++] = (char)(*++name - 'a' + 'A');
		else
			out[n++] = *name;
	}
	out[n] = '\0';
}

static json_t *gcp_camel_tree(json_t *from, bool keep);

static json_t *gcp_camel_object(json_t *from, bool keep)
{
	json_t *to = json_object();
	const char *name;
	json_t *value;

	json_object_foreach(from, name, value) {
		bool keep_below = strcmp(name, "attributes") == 0 || strcmp(name, "service-accounts") == 0;
		char camel[GCP_NAME_MAX];

		gcp_camel(name, camel);
		if (json_object_set_new(to, keep ? name : camel, gcp_camel_tree(value, keep_below)) != 0) {
			json_decref(to);
			return NULL;
		}
	}
	return to;
}

static json_t *gcp_camel_tree(json_t *from, bool keep)
{
	json_t *to;
	json_t *value;
	size_t k;

	if (json_is_object(from))
		return gcp_camel_object(from, keep);
	if (!json_is_array(from))
		return json_incref(from);
	to = json_array();
	json_array_foreach(from, k, value) {
		if (json_array_append_new(to, gcp_camel_tree(value, false)) != 0) {
			json_decref(to);
			return NULL;
		}
	}
	return to;
}

static void gcp_render_json(json_t *value, struct buf *out)
{
	json_t *camel = gcp_camel_tree(value, false);
	char *text = camel == NULL ? NULL
	    : json_dumps(camel, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);

	if (text != NULL)
		buf_str(out, text);
	free(text);
	json_decref(camel);
}

static void gcp_render_scalar(json_t *value, struct buf *out)
{
	if (json_is_string(value))
		buf_str(out, json_string_value(value));
	else
		buf_printf(out, "%lld", (long long)json_integer_value(value));
}

static bool gcp_is_folder(json_t *value)
{
	return json_is_object(value) || (json_is_array(value) && json_is_object(json_array_get(value, 0)));
}

/* The names in a folder, one a line; folders end in a slash. */
static void gcp_render_names(json_t *folder, struct buf *out)
{
	const char *name;
	json_t *value;
	size_t k;

	if (json_is_array(folder)) {
		json_array_foreach(folder, k, value)
			buf_printf(out, "%zu/\n", k);
		return;
	}
	json_object_foreach(folder, name, value)
		buf_printf(out, "%s%s\n", name, gcp_is_folder(value) ? "/" : "");
}

/* Each value with its path: recursive=true&alt=text. */
static void gcp_render_deep(json_t *value, const char *path, struct buf *out)
{
	char below[512];
	const char *name;
	json_t *child;
	size_t k;

	if (json_is_object(value)) {
		json_object_foreach(value, name, child) {
			(void)snprintf(below, sizeof(below), "%s%s%s", path, path[0] == '\0' ? "" : "/", name);
			gcp_render_deep(child, below, out);
		}
	} else if (json_is_array(value)) {
		json_array_foreach(value, k, child) {
			(void)snprintf(below, sizeof(below), "%s/%zu", path, k);
			gcp_render_deep(child, below, out);
		}
	} else {
		buf_printf(out, "%s ", path);
		gcp_render_scalar(value, out);
		buf_char(out, '\n');
	}
}

static void gcp_render_text(json_t *value, struct buf *out)
{
	json_t *child;
	size_t k;

	if (gcp_is_folder(value)) {
		gcp_render_names(value, out);
	} else if (json_is_array(value)) {
		json_array_foreach(value, k, child) {
			gcp_render_scalar(child, out);
			buf_char(out, '\n');
		}
	} else {
		gcp_render_scalar(value, out);
	}
}

/* ---- requests ---- */

static void gcp_page(struct http_answer *a, unsigned int status, const char *words)
{
	http_answer_set(a, status, GCP_HTML);
	buf_printf(&a->body, "<!DOCTYPE html>\n<html lang=en>\n  <meta charset=utf-8>\n"
	    "  <title>Error %u</title>\n  <p><b>%u.</b> %s\n", status, status, words);
}

static json_t *gcp_child(json_t *folder, const char *name, size_t len)
{
	char text[GCP_NAME_MAX];
	char *end;
	unsigned long k;

	if (len == 0 || len >= sizeof(text))
		return NULL;
	memcpy(text, name, len);
	text[len] = '\0';
	if (json_is_object(folder))
		return json_object_get(folder, text);
	if (!gcp_is_folder(folder) || strspn(text, "0123456789") != len)
		return NULL;
	k = strtoul(text, &end, 10);
	return json_array_get(folder, k);
}

/* What the path below the root names, lent from the tree; NULL: nothing. *slash:
 * it ends in one. */
static json_t *gcp_walk(json_t *tree, const char *path, bool *slash)
{
	json_t *at = tree;
	int depth;

	*slash = false;
	for (depth = 0; at != NULL && depth < GCP_DEPTH_MAX && *path == '/'; depth++) {
		size_t len = strcspn(path + 1, "/");

		if (len == 0 && path[1] == '\0') {
			*slash = true;
			return at;
		}
		at = gcp_child(at, path + 1, len);
		path += 1 + len;
	}
	return *path == '\0' ? at : NULL;
}

static bool gcp_says(const struct http_request *r, const char *name, const char *value)
{
	const char *said = http_query(r, name);

	return said != NULL && strcasecmp(said, value) == 0;
}

/* Waits while the answer is what the client has, or what it was when it came. */
static void gcp_wait(const struct http_request *r, struct moment now, const char *etag,
    struct http_answer *a)
{
	const char *last = http_query(r, "last_etag");
	const char *timeout = http_query(r, "timeout_sec");
	int64_t until_ms = INSTANCE_NEVER;
	int64_t timeout_s;
	struct error e;

	if (last == NULL || last[0] == '\0')
		last = r->waits_for[0] != '\0' ? r->waits_for : etag;
	if (strcmp(last, etag) != 0)
		return;
	if (timeout != NULL && str_parse_count(timeout, 0, GCP_WAIT_MAX_S, &timeout_s, &e) == ST_OK)
		until_ms = r->since_ms + timeout_s * 1000;
	if (now.boot_ms >= until_ms)
		return;
	a->wait = true;
	a->until_ms = until_ms;
	(void)snprintf(a->waits_for, sizeof(a->waits_for), "%s", etag);
}

/* A fake that no service of Google takes. */
static void gcp_token(struct http_answer *a)
{
	http_answer_set(a, 200, GCP_JSON);
	buf_str(&a->body, "{\"access_token\":\"ebb-chaos-not-a-token\",\"expires_in\":3599,"
	    "\"token_type\":\"Bearer\"}");
}

static bool gcp_is_token(const char *path)
{
	static const char accounts[] = "/instance/service-accounts/";
	size_t len = sizeof(accounts) - 1;
	size_t name;

	if (strncmp(path, accounts, len) != 0)
		return false;
	name = strcspn(path + len, "/");
	return strcmp(path + len + name, "/token") == 0 &&
	    ((name == 7 && strncmp(path + len, "default", name) == 0) ||
	    (name == sizeof(GCP_EMAIL) - 1 && strncmp(path + len, GCP_EMAIL, name) == 0));
}

static void gcp_show(const struct http_request *r, struct moment now, json_t *value,
    struct http_answer *a)
{
	bool deep = gcp_says(r, "recursive", "true");
	bool json = http_query(r, "alt") == NULL ? deep && gcp_is_folder(value)
	    : gcp_says(r, "alt", "json");
	char tag[HTTP_TAG_MAX];

	http_answer_set(a, 200, json ? GCP_JSON : GCP_TEXT);
	if (json)
		gcp_render_json(value, &a->body);
	else if (deep && gcp_is_folder(value))
		gcp_render_deep(value, "", &a->body);
	else
		gcp_render_text(value, &a->body);
	if (a->body.failed || !http_tag(a->body.data, a->body.len, tag)) {
		gcp_page(a, 500, "Out of memory.");
		return;
	}
	tag[GCP_ETAG_LEN] = '\0';
	http_answer_add(a, "ETag", tag);
	if (gcp_says(r, "wait_for_change", "true"))
		gcp_wait(r, now, tag, a);
}

/* `path` is below the root, and begins with a slash or is empty. */
static void gcp_get(struct instance *i, const struct http_request *r, const char *path,
    struct moment now, struct http_answer *a)
{
	bool is_poll = strcmp(path, "/instance/preempted") == 0;
	json_t *tree = gcp_tree(i, now);
	json_t *value;
	bool slash;

	if (tree == NULL) {
		gcp_page(a, 500, "Out of memory.");
		return;
	}
	value = gcp_walk(tree, path, &slash);
	if (value == NULL || (slash && !gcp_is_folder(value) && !json_is_array(value))) {
		gcp_page(a, 404, "The requested URL was not found on this server.");
	} else if (gcp_is_folder(value) && !slash && !gcp_says(r, "recursive", "true")) {
		char place[160];

		(void)snprintf(place, sizeof(place), "%s%s/", GCP_ROOT, path);
		gcp_page(a, 301, "The document has moved.");
		http_answer_add(a, "Location", place);
	} else {
		gcp_show(r, now, value, a);
		/* One that waits is one poll, however often it is looked at. */
		if (is_poll && r->waits_for[0] == '\0')
			instance_note_poll(i, now);
	}
	json_decref(tree);
}

static bool gcp_is_asked_well(const struct http_request *r)
{
	const char *flavor = http_header(r, "Metadata-Flavor");
	const char *old = http_header(r, "X-Google-Metadata-Request");

	return (flavor != NULL && strcmp(flavor, "Google") == 0) ||
	    (old != NULL && strcasecmp(old, "True") == 0);
}

static void gcp_play(struct instance *i, const struct http_request *r, struct moment now,
    struct http_answer *a)
{
	const size_t root = sizeof(GCP_ROOT) - 1;

	http_answer_add(a, "Metadata-Flavor", "Google");
	http_answer_add(a, "Server", "Metadata Server for VM");
	if (strcmp(r->method, "GET") != 0) {
		gcp_page(a, 405, "Only GET is allowed.");
	} else if (http_header(r, "X-Forwarded-For") != NULL) {
		gcp_page(a, 403, "Your client does not have permission to get this URL: it sent "
		    "X-Forwarded-For.");
	} else if (strcmp(r->path, "/") == 0) {
		http_answer_set(a, 200, GCP_TEXT); /* where clients look whether it is there */
		buf_str(&a->body, "computeMetadata/\n");
	} else if (strcmp(r->path, "/computeMetadata") == 0 || strcmp(r->path, "/computeMetadata/") == 0) {
		http_answer_set(a, 200, GCP_TEXT);
		buf_str(&a->body, "v1/\n");
	} else if (strncmp(r->path, GCP_ROOT, root) != 0 ||
	    (r->path[root] != '/' && r->path[root] != '\0')) {
		gcp_page(a, 404, "The requested URL was not found on this server.");
	} else if (!gcp_is_asked_well(r)) {
		gcp_page(a, 403, "Your client does not have permission to get this URL. Missing "
		    "required header: Metadata-Flavor");
	} else if (gcp_is_token(r->path + root)) {
		gcp_token(a);
	} else {
		gcp_get(i, r, r->path + root, now, a);
	}
}

static void gcp_make_id(int number, char out[INSTANCE_ID_MAX])
{
	(void)snprintf(out, INSTANCE_ID_MAX, "ebb-chaos-%d", number);
}

/* The first is what clients of today read, the others those of google-auth before
 * 2.0. */
static const char *const gcp_variables[] = {"GCE_METADATA_HOST", "GCE_METADATA_ROOT",
	"GCE_METADATA_IP", NULL};

const struct cloud cloud_gcp = {
	.name = "gcp",
	.type = "n1-standard-2",
	.zone = "us-central1-a",
	.window_ms = 30000,
	.variables = gcp_variables,
	.make_id = gcp_make_id,
	.answer = gcp_play,
};
