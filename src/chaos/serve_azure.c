/* The Azure instance metadata service with its scheduled events, as
 * https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service and
 * .../linux/scheduled-events describe them. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "chaos/cloud.h"
#include "chaos/http.h"

static const char AZURE_JSON[] = "application/json; charset=utf-8";
static const char AZURE_TEXT[] = "text/plain; charset=utf-8";
static const char AZURE_FOREIGN[] = "another-machine";

enum {
	AZURE_NAME_MAX = 64,
	AZURE_ACKS_MAX = 100,
	AZURE_MAINTENANCE_MS = 15 * 60 * 1000, /* how long a freeze is announced ahead */
};

static const char *const azure_instance_versions[] = {
	"2017-03-01", "2017-04-02", "2017-08-01", "2017-12-01", "2018-02-01", "2018-04-02",
	"2018-10-01", "2019-02-01", "2019-03-11", "2019-04-30", "2019-06-01", "2019-06-04",
	"2019-08-01", "2019-08-15", "2019-11-01", "2020-06-01", "2020-09-01", "2020-10-01",
	"2020-12-01", "2021-01-01", "2021-02-01", "2021-03-01", "2021-05-01", "2021-10-01",
	"2021-11-01", "2021-11-15", "2021-12-13", "2023-07-01", "2023-11-15", NULL,
};
static const char *const azure_event_versions[] = {
	"2017-08-01", "2017-11-01", "2019-01-01", "2019-04-01", "2019-08-01", "2020-07-01", NULL,
};

/* ---- errors ---- */

static void azure_error(struct http_answer *a, unsigned int status, const char *words)
{
	http_answer_set(a, status, AZURE_JSON);
	buf_printf(&a->body, "{ \"error\": \"%s\" }", words);
}

/* The version asked for; NULL, and the answer says what is wrong. */
static const char *azure_version(const struct http_request *r, const char *const *versions,
    struct http_answer *a)
{
	const char *asked = http_query(r, "api-version");
	size_t n = 0;
	size_t k;

	if (asked == NULL || asked[0] == '\0') {
		for (n = 0; versions[n] != NULL; n++)
			;
		http_answer_set(a, 400, AZURE_JSON);
		buf_str(&a->body, "{ \"error\": \"Bad request. api-version was not specified in the "
		    "request. For more information refer to aka.ms/azureimds\", \"newest-versions\": [");
		for (k = 1; k <= 3; k++)
			buf_printf(&a->body, "%s \"%s\"", k == 1 ? "" : ",", versions[n - k]);
		buf_str(&a->body, " ] }");
		return NULL;
	}
	for (k = 0; versions[k] != NULL; k++) {
		if (strcmp(versions[k], asked) == 0)
			return versions[k];
	}
	azure_error(a, 404, "Not found. Invalid version requested");
	return NULL;
}

/* ---- the instance ---- */

static void azure_location(const struct instance *i, char out[AZURE_NAME_MAX])
{
	const char *dash = strrchr(instance_zone(i), '-');
	size_t len = dash == NULL ? strlen(instance_zone(i)) : (size_t)(dash - instance_zone(i));

	(void)snprintf(out, AZURE_NAME_MAX, "%.*s", (int)len, instance_zone(i));
}

static const char *azure_zone(const struct instance *i)
{
	const char *dash = strrchr(instance_zone(i), '-');

	return dash == NULL ? "" : dash + 1;
}

static json_t *azure_compute(const struct instance *i)
{
	char location[AZURE_NAME_MAX];
	char vm_id[37];

	azure_location(i, location);
	if (!instance_guid(i, "vmId", vm_id))
		return NULL;
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, "
	    "s:s, s:s, s:s, s:s}",
	    "azEnvironment", "AzurePublicCloud",
	    "evictionPolicy", i->o.on_demand ? "" : i->o.action == NOTICE_STOP ? "Deallocate" : "Delete",
	    "location", location, "name", i->id, "offer", "debian-12", "osType", "Linux",
	    "placementGroupId", "", "platformFaultDomain", "0", "platformUpdateDomain", "0",
	    "priority", i->o.on_demand ? "Regular" : "Spot", "publisher", "Debian",
	    "resourceGroupName", "ebb-chaos", "sku", "12",
	    "subscriptionId", "00000000-0000-0000-0000-000000000000", "tags", "",
	    "version", "0.20240101.1", "vmId", vm_id, "vmSize", instance_type(i),
	    "zone", azure_zone(i));
}

static json_t *azure_network(const struct instance *i)
{
	char ip[24];
	char mac[24];

	(void)snprintf(ip, sizeof(ip), "10.0.0.%d", 3 + i->number);
	(void)snprintf(mac, sizeof(mac), "000D3AEBB0%02X", (unsigned int)i->number);
	return json_pack("{s:[{s:{s:[{s:s, s:s}], s:[{s:s, s:s}]}, s:{s:[]}, s:s}]}", "interface",
	    "ipv4", "ipAddress", "privateIpAddress", ip, "publicIpAddress", "", "subnet", "address",
	    "10.0.0.0", "prefix", "24", "ipv6", "ipAddress", "macAddress", mac);
}

/* What the path below /metadata/instance names, lent from the tree; NULL: nothing. */
static json_t *azure_walk(json_t *tree, const char *path)
{
	json_t *at = tree;

	while (at != NULL && *path == '/' && path[1] != '\0') {
		size_t len = strcspn(path + 1, "/");
		char name[AZURE_NAME_MAX];

		if (len == 0 || len >= sizeof(name))
			return NULL;
		(void)snprintf(name, sizeof(name), "%.*s", (int)len, path + 1);
		if (json_is_array(at))
			at = strspn(name, "0123456789") == len
			    ? json_array_get(at, strtoul(name, NULL, 10)) : NULL;
		else
			at = json_object_get(at, name);
		path += 1 + len;
	}
	return at;
}

static void azure_names(json_t *folder, struct buf *out)
{
	const char *name;
	json_t *value;
	size_t k;

	json_array_foreach(folder, k, value)
		buf_printf(out, "%s%zu/", k == 0 ? "" : "\n", k);
	k = 0;
	json_object_foreach(folder, name, value) {
		buf_printf(out, "%s%s%s", k == 0 ? "" : "\n", name,
		    json_is_object(value) || json_is_array(value) ? "/" : "");
		k++;
	}
}

static void azure_dump(json_t *value, struct http_answer *a)
{
	char *text = json_dumps(value, JSON_COMPACT);

	if (text == NULL) {
		azure_error(a, 500, "Out of memory");
		return;
	}
	http_answer_set(a, 200, AZURE_JSON);
	buf_str(&a->body, text);
	free(text);
}

static void azure_show(json_t *value, bool text, struct http_answer *a)
{
	if (!json_is_string(value) && !text) {
		azure_dump(value, a);
	} else if (!text) {
		azure_error(a, 400, "Bad request. A single value is text: format=text is required");
	} else {
		http_answer_set(a, 200, AZURE_TEXT);
		if (json_is_string(value))
			buf_str(&a->body, json_string_value(value));
		else
			azure_names(value, &a->body);
	}
}

static void azure_instance(struct instance *i, const struct http_request *r, const char *path,
    struct http_answer *a)
{
	const char *version = azure_version(r, azure_instance_versions, a);
	const char *format = http_query(r, "format");
	json_t *tree;
	json_t *value;

	if (version == NULL)
		return;
	tree = json_pack("{s:o, s:o}", "compute", azure_compute(i), "network", azure_network(i));
	value = tree == NULL ? NULL : azure_walk(tree, path);
	if (tree == NULL)
		azure_error(a, 500, "Out of memory");
	else if (value == NULL)
		azure_error(a, 404, "Not found");
	else
		azure_show(value, format != NULL && strcasecmp(format, "text") == 0, a);
	json_decref(tree);
}

/* ---- scheduled events ---- */

struct played_event {
	char id[37];
	const char *type;
	const char *resource;
	const char *source;
	const char *description;
	int64_t not_before_ms;
	int64_t duration_s;
	bool started;
	bool notice; /* the one that takes the machine away */
};

enum { AZURE_EVENTS_MAX = 3 };

/* The events that show now; returns how many, or -1 without memory. */
static int azure_events(const struct instance *i, struct moment now,
    struct played_event out[AZURE_EVENTS_MAX])
{
	char what[40];
	int n = 0;

	if (instance_has_notice(i, now)) {
		out[n] = (struct played_event){.type = "Preempt", .resource = i->id, .source = "Platform",
		    .description = "Virtual machine is being evicted.", .duration_s = -1, .notice = true,
		    .not_before_ms = i->deadline_ms,
		    .started = i->seen.acknowledged_ms >= 0 || now.boot_ms >= i->deadline_ms};
		(void)snprintf(what, sizeof(what), "notice %d", i->notices);
		if (!instance_guid(i, what, out[n++].id))
			return -1;
	}
	if (instance_has_maintenance(i, now)) {
		out[n] = (struct played_event){.type = "Freeze", .resource = i->id, .source = "Platform",
		    .description = "Host server is undergoing maintenance.", .duration_s = 9,
		    .not_before_ms = i->maintenance_ms + AZURE_MAINTENANCE_MS,
		    .started = now.boot_ms >= i->maintenance_ms + AZURE_MAINTENANCE_MS};
		if (!instance_guid(i, "maintenance", out[n++].id))
			return -1;
	}
	if (i->o.foreign) {
		int64_t at_ms = i->born.boot_ms + AZURE_MAINTENANCE_MS;

		out[n] = (struct played_event){.type = "Preempt", .resource = AZURE_FOREIGN,
		    .source = "Platform", .description = "Virtual machine is being evicted.",
		    .duration_s = -1, .not_before_ms = at_ms,
		    .started = i->foreign_started || now.boot_ms >= at_ms};
		if (!instance_guid(i, "foreign", out[n++].id))
			return -1;
	}
	return n;
}

static json_t *azure_event_json(const struct instance *i, const struct played_event *ev,
    const char *version)
{
	struct buf at = {0};
	json_t *j;
	int bad = 0;

	if (!ev->started)
		instance_time(i, ev->not_before_ms, TIME_RFC1123, &at);
	j = at.failed ? NULL : json_pack("{s:s, s:s, s:s, s:s, s:[s], s:s}", "EventId", ev->id,
	    "EventStatus", ev->started ? "Started" : "Scheduled", "EventType", ev->type,
	    "ResourceType", "VirtualMachine", "Resources", ev->resource, "NotBefore",
	    at.data == NULL ? "" : at.data);
	buf_free(&at);
	if (j != NULL && strcmp(version, "2019-04-01") >= 0)
		bad |= json_object_set_new(j, "Description", json_string(ev->description));
	if (j != NULL && strcmp(version, "2019-08-01") >= 0)
		bad |= json_object_set_new(j, "EventSource", json_string(ev->source));
	if (j != NULL && strcmp(version, "2020-07-01") >= 0)
		bad |= json_object_set_new(j, "DurationInSeconds", json_integer(ev->duration_s));
	if (bad != 0) {
		json_decref(j);
		return NULL;
	}
	return j;
}

static json_t *azure_events_json(const struct instance *i, struct moment now, const char *version)
{
	struct played_event events[AZURE_EVENTS_MAX];
	int n = azure_events(i, now, events);
	json_t *list = n < 0 ? NULL : json_array();
	int k;

	for (k = 0; list != NULL && k < n; k++) {
		if (json_array_append_new(list, azure_event_json(i, &events[k], version)) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

/* The number of the document grows whenever another one than the last is given. */
static bool azure_count(struct instance *i, struct moment now)
{
	json_t *list = azure_events_json(i, now, "2020-07-01");
	char *text = list == NULL ? NULL : json_dumps(list, JSON_COMPACT);
	char tag[HTTP_TAG_MAX];
	bool ok = text != NULL && http_tag(text, strlen(text), tag);

	if (ok && strcmp(tag, i->document) != 0) {
		if (i->document[0] != '\0' || json_array_size(list) > 0)
			i->incarnation++;
		(void)snprintf(i->document, sizeof(i->document), "%s", tag);
	}
	free(text);
	json_decref(list);
	return ok;
}

static void azure_get_events(struct instance *i, const struct http_request *r, const char *version,
    struct moment now, struct http_answer *a)
{
	json_t *list;
	json_t *root;

	if (r->waits_for[0] == '\0')
		instance_note_poll(i, now);
	if (i->first_poll_ms < 0)
		i->first_poll_ms = now.boot_ms;
	if (now.boot_ms < i->first_poll_ms + i->o.first_delay_ms) {
		a->wait = true; /* the service is only being switched on */
		a->until_ms = i->first_poll_ms + i->o.first_delay_ms;
		(void)snprintf(a->waits_for, sizeof(a->waits_for), "first");
		return;
	}
	list = azure_count(i, now) ? azure_events_json(i, now, version) : NULL;
	root = json_pack("{s:I, s:o}", "DocumentIncarnation", (json_int_t)i->incarnation, "Events", list);
	if (root == NULL)
		azure_error(a, 500, "Out of memory");
	else
		azure_dump(root, a);
	json_decref(root);
}

/* False: there is no such event. */
static bool azure_start_event(struct instance *i, const char *id, struct moment now)
{
	struct played_event events[AZURE_EVENTS_MAX];
	int n = azure_events(i, now, events);
	int k;

	for (k = 0; k < n; k++) {
		if (strcasecmp(events[k].id, id) != 0)
			continue;
		if (strcmp(events[k].resource, AZURE_FOREIGN) == 0) {
			i->foreign_started = true;
		} else if (!events[k].notice) {
			i->maintenance_ms = now.boot_ms - AZURE_MAINTENANCE_MS;
		} else if (i->seen.acknowledged_ms < 0) {
			i->seen.acknowledged_ms = now.boot_ms;
			(void)snprintf(i->seen.acknowledged, sizeof(i->seen.acknowledged), "%s", id);
		}
		return true;
	}
	return false;
}

/* {"StartRequests":[{"EventId":"..."}]}: all of them are known, or nothing happens. */
static void azure_post_events(struct instance *i, const struct http_request *r, struct moment now,
    struct http_answer *a)
{
	json_t *root = json_loadb(r->body_len == 0 ? "" : r->body, r->body_len, JSON_REJECT_DUPLICATES,
	    NULL);
	json_t *list = json_object_get(root, "StartRequests");
	struct instance before = *i;
	json_t *one;
	size_t k;

	if (!json_is_array(list) || json_array_size(list) == 0 || json_array_size(list) > AZURE_ACKS_MAX)
		azure_error(a, 400, "Bad request. Expected {'StartRequests': [{'EventId': '...'}]}");
	else
		http_answer_set(a, 200, AZURE_JSON);
	json_array_foreach(list, k, one) {
		const char *id = json_string_value(json_object_get(one, "EventId"));

		if (a->status == 200 && (id == NULL || !azure_start_event(i, id, now))) {
			azure_error(a, 400, "Bad request. Unknown EventId in StartRequests");
			*i = before;
		}
	}
	json_decref(root);
}

static void azure_scheduled_events(struct instance *i, const struct http_request *r,
    struct moment now, struct http_answer *a)
{
	const char *version = azure_version(r, azure_event_versions, a);

	if (version == NULL)
		return;
	if (strcmp(r->method, "GET") == 0)
		azure_get_events(i, r, version, now, a);
	else if (strcmp(r->method, "POST") == 0)
		azure_post_events(i, r, now, a);
	else
		azure_error(a, 405, "Method not allowed");
}

static void azure_play(struct instance *i, const struct http_request *r, struct moment now,
    struct http_answer *a)
{
	static const char root[] = "/metadata/instance";
	const size_t len = sizeof(root) - 1;
	const char *asked = http_header(r, "Metadata");

	http_answer_add(a, "Server", "IMDS/150.870.65.1854");
	if (asked == NULL || strcasecmp(asked, "true") != 0)
		azure_error(a, 400, "Bad request. Required metadata header not specified");
	else if (http_header(r, "X-Forwarded-For") != NULL)
		azure_error(a, 400, "Bad request. X-Forwarded-For is not allowed");
	else if (strcasecmp(r->path, "/metadata/scheduledevents") == 0)
		azure_scheduled_events(i, r, now, a);
	else if (strncasecmp(r->path, root, len) != 0 || (r->path[len] != '/' && r->path[len] != '\0'))
		azure_error(a, 404, "Not found");
	else if (strcmp(r->method, "GET") != 0)
		azure_error(a, 405, "Method not allowed");
	else
		azure_instance(i, r, r->path + len, a);
}

static void azure_make_id(int number, char out[INSTANCE_ID_MAX])
{
	(void)snprintf(out, INSTANCE_ID_MAX, "ebb-chaos-%d", number);
}

static const char *const azure_variables[] = {"AZURE_POD_IDENTITY_AUTHORITY_HOST", NULL};

const struct cloud cloud_azure = {
	.name = "azure",
	.type = "Standard_D2s_v5",
	.zone = "eastus-1",
	.window_ms = 30000,
	.variables = azure_variables,
	.variables_are_urls = true,
	.make_id = azure_make_id,
	.answer = azure_play,
};
