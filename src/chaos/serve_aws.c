/* The EC2 instance metadata service, as
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html
 * and configuring-instance-metadata-service.html describe it. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/str.h"
#include "chaos/cloud.h"
#include "chaos/http.h"

static const char AWS_TOKEN[] = "X-aws-ec2-metadata-token";
static const char AWS_TTL[] = "X-aws-ec2-metadata-token-ttl-seconds";
static const char AWS_TOKEN_PATH[] = "/latest/api/token";
static const char AWS_TEXT[] = "text/plain";

enum { AWS_TTL_MAX_S = 21600, AWS_TOKEN_LEN = 16 + 16 + 32, AWS_REGION_MAX = 32 };

/* ---- what is not there, or not allowed ---- */

static void aws_page(struct http_answer *a, unsigned int status, const char *words)
{
	http_answer_set(a, status, "text/html");
	buf_printf(&a->body, "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n"
	    "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n"
	    "\t\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n"
	    "<html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n"
	    " <head>\n  <title>%u - %s</title>\n </head>\n"
	    " <body>\n  <h1>%u - %s</h1>\n </body>\n</html>\n", status, words, status, words);
}

/* ---- tokens ---- */

/* A token says when it runs out and proves that this instance gave it: 16 digits
 * of boot time, 16 that make each another one, 32 of a digest over the secret. */
static bool aws_sign(const struct instance *i, const char head[33], char out[HTTP_TAG_MAX])
{
	uint8_t text[INSTANCE_SECRET + 32];

	memcpy(text, i->secret, INSTANCE_SECRET);
	memcpy(text + INSTANCE_SECRET, head, 32);
	return http_tag(text, sizeof(text), out);
}

static bool aws_token_make(const struct instance *i, int64_t until_ms, char out[AWS_TOKEN_LEN + 1])
{
	char tag[HTTP_TAG_MAX];

	(void)snprintf(out, AWS_TOKEN_LEN + 1, "%016llx%016llx", (unsigned long long)until_ms,
	    (unsigned long long)i->seen.requests);
	if (!aws_sign(i, out, tag))
		return false;
	(void)snprintf(out + 32, AWS_TOKEN_LEN + 1 - 32, "%s", tag);
	return true;
}

static bool aws_token_holds(const struct instance *i, const char *token, struct moment now)
{
	char tag[HTTP_TAG_MAX];
	char digits[17];
	uint8_t until[8];
	uint64_t until_ms = 0;
	size_t k;

	if (strlen(token) != AWS_TOKEN_LEN || !aws_sign(i, token, tag) ||
	    memcmp(token + 32, tag, 32) != 0)
		return false;
	(void)snprintf(digits, sizeof(digits), "%.16s", token);
	if (!str_unhex(digits, until, sizeof(until)))
		return false;
	for (k = 0; k < sizeof(until); k++)
		until_ms = until_ms << 8 | until[k];
	return (uint64_t)now.boot_ms < until_ms;
}

/* The seconds of a TTL header; 0 when it is none. */
static int64_t aws_ttl(const char *text)
{
	struct error e;
	int64_t n = 0;

	if (text == NULL || text[0] == '\0' || text[strspn(text, "0123456789")] != '\0' ||
	    str_parse_count(text, 1, AWS_TTL_MAX_S, &n, &e) != ST_OK)
		return 0;
	return n;
}

static void aws_put_token(const struct instance *i, const struct http_request *r, struct moment now,
    struct http_answer *a)
{
	int64_t ttl_s = aws_ttl(http_header(r, AWS_TTL));
	char token[AWS_TOKEN_LEN + 1];
	char shown[24];

	if (http_header(r, "X-Forwarded-For") != NULL) {
		aws_page(a, 403, "Forbidden");
		return;
	}
	if (ttl_s == 0) {
		aws_page(a, 400, "Bad Request");
		return;
	}
	if (i->o.token_ttl_ms >= 0 && ttl_s * 1000 > i->o.token_ttl_ms)
		ttl_s = i->o.token_ttl_ms / 1000;
	if (!aws_token_make(i, now.boot_ms + ttl_s * 1000, token)) {
		aws_page(a, 500, "Internal Server Error");
		return;
	}
	http_answer_set(a, 200, AWS_TEXT);
	buf_str(&a->body, token);
	(void)snprintf(shown, sizeof(shown), "%lld", (long long)ttl_s);
	http_answer_add(a, AWS_TTL, shown);
}

/* ---- values ---- */

/* Appends the value; false: there is none now. */
typedef bool aws_value(const struct instance *i, struct moment now, struct buf *out);

/* "us-east-1" of "us-east-1a", and of "us-east-1-bos-1a". */
static void aws_region_of(const char *zone, char out[AWS_REGION_MAX])
{
	size_t n = strcspn(zone, "0123456789");

	n += strspn(zone + n, "0123456789");
	(void)snprintf(out, AWS_REGION_MAX, "%.*s", (int)n, zone);
}

static void aws_host(const struct instance *i, struct buf *out)
{
	char region[AWS_REGION_MAX];

	aws_region_of(instance_zone(i), region);
	buf_printf(out, "ip-10-0-0-%d.%s.compute.internal", 10 + i->number, region);
}

static bool aws_hostname(const struct instance *i, struct moment now, struct buf *out)
{
	(void)now;
	aws_host(i, out);
	return true;
}

static bool aws_instance_id(const struct instance *i, struct moment now, struct buf *out)
{
	(void)now;
	buf_str(out, i->id);
	return true;
}

static bool aws_instance_type(const struct instance *i, struct moment now, struct buf *out)
{
	(void)now;
	buf_str(out, instance_type(i));
	return true;
}

static bool aws_life_cycle(const struct instance *i, struct moment now, struct buf *out)
{
	(void)now;
	buf_str(out, i->o.on_demand ? "on-demand" : "spot");
	return true;
}

static bool aws_address(const struct instance *i, struct moment now, struct buf *out)
{
	(void)now;
	buf_printf(out, "10.0.0.%d", 10 + i->number);
	return true;
}

static bool aws_mac(const struct instance *i, struct moment now, struct buf *out)
{
	(void)now;
	buf_printf(out, "02:eb:b0:00:00:%02x", (unsigned int)i->number);
	return true;
}

static bool aws_zone(const struct instance *i, struct moment now, struct buf *out)
{
	(void)now;
	buf_str(out, instance_zone(i));
	return true;
}

static bool aws_region(const struct instance *i, struct moment now, struct buf *out)
{
	char region[AWS_REGION_MAX];

	(void)now;
	aws_region_of(instance_zone(i), region);
	buf_str(out, region);
	return true;
}

static bool aws_target_state(const struct instance *i, struct moment now, struct buf *out)
{
	if (i->o.autoscaling)
		buf_str(out, instance_has_notice(i, now) ? "Terminated" : "InService");
	return i->o.autoscaling;
}

static bool aws_rebalance(const struct instance *i, struct moment now, struct buf *out)
{
	if (!instance_has_rebalance(i, now))
		return false;
	buf_str(out, "{\"noticeTime\":\"");
	instance_time(i, i->rebalance_ms, TIME_ISO, out);
	buf_str(out, "\"}");
	return true;
}

static bool aws_history(const struct instance *i, struct moment now, struct buf *out)
{
	(void)i;
	(void)now;
	buf_str(out, "[]");
	return true;
}

static bool aws_maintenance(const struct instance *i, struct moment now, struct buf *out)
{
	enum { IN_MS = 15 * 60 * 1000, LASTS_MS = 2 * 3600 * 1000 };

	if (!instance_has_maintenance(i, now)) {
		buf_str(out, "[]");
		return true;
	}
	buf_str(out, "[ {\n  \"NotBefore\" : \"");
	instance_time(i, i->maintenance_ms + IN_MS, TIME_AWS, out);
	buf_printf(out, "\",\n  \"Code\" : \"system-reboot\",\n  \"Description\" : \"scheduled reboot\","
	    "\n  \"EventId\" : \"instance-event-0ebb00000000000%02d\",\n  \"NotAfter\" : \"", i->number);
	instance_time(i, i->maintenance_ms + IN_MS + LASTS_MS, TIME_AWS, out);
	buf_str(out, "\",\n  \"State\" : \"active\"\n} ]");
	return true;
}

static bool aws_spot_action(const struct instance *i, struct moment now, struct buf *out)
{
	if (!instance_has_notice(i, now))
		return false;
	buf_printf(out, "{\"action\":\"%s\",\"time\":\"", notice_action_name(i->action));
	instance_time(i, i->deadline_ms, TIME_ISO, out);
	buf_str(out, "\"}");
	return true;
}

static bool aws_spot_time(const struct instance *i, struct moment now, struct buf *out)
{
	if (!instance_has_notice(i, now) || i->action != NOTICE_TERMINATE)
		return false;
	instance_time(i, i->deadline_ms, TIME_ISO, out);
	return true;
}

static bool aws_iam_info(const struct instance *i, struct moment now, struct buf *out)
{
	if (i->o.iam_role == NULL)
		return false;
	buf_str(out, "{\n  \"Code\" : \"Success\",\n  \"LastUpdated\" : \"");
	instance_time(i, now.boot_ms, TIME_ISO, out);
	buf_printf(out, "\",\n  \"InstanceProfileArn\" : \"arn:aws:iam::000000000000:instance-profile/%s\","
	    "\n  \"InstanceProfileId\" : \"AIPAEBBCHAOSNOTREAL00\"\n}", i->o.iam_role);
	return true;
}

/* Nobody can mistake them for keys that open anything. */
static bool aws_iam_keys(const struct instance *i, struct moment now, struct buf *out)
{
	if (i->o.iam_role == NULL)
		return false;
	buf_str(out, "{\n  \"Code\" : \"Success\",\n  \"LastUpdated\" : \"");
	instance_time(i, now.boot_ms, TIME_ISO, out);
	buf_str(out, "\",\n  \"Type\" : \"AWS-HMAC\",\n  \"AccessKeyId\" : \"ASIAEBBCHAOSNOTREAL0\",\n"
	    "  \"SecretAccessKey\" : \"ebb-chaos-not-a-secret\",\n"
	    "  \"Token\" : \"ebb-chaos-not-a-token\",\n  \"Expiration\" : \"");
	instance_time(i, now.boot_ms + (int64_t)6 * 3600 * 1000, TIME_ISO, out);
	buf_str(out, "\"\n}");
	return true;
}

static bool aws_identity(const struct instance *i, struct moment now, struct buf *out)
{
	char region[AWS_REGION_MAX];

	(void)now;
	aws_region_of(instance_zone(i), region);
	buf_printf(out, "{\n  \"accountId\" : \"000000000000\",\n  \"architecture\" : \"x86_64\",\n"
	    "  \"availabilityZone\" : \"%s\",\n  \"billingProducts\" : null,\n"
	    "  \"devpayProductCodes\" : null,\n  \"marketplaceProductCodes\" : null,\n"
	    "  \"imageId\" : \"ami-0ebb0000000000000\",\n  \"instanceId\" : \"%s\",\n"
	    "  \"instanceType\" : \"%s\",\n  \"kernelId\" : null,\n  \"pendingTime\" : \"",
	    instance_zone(i), i->id, instance_type(i));
	instance_time(i, i->born.boot_ms, TIME_ISO, out);
	buf_printf(out, "\",\n  \"privateIp\" : \"10.0.0.%d\",\n  \"ramdiskId\" : null,\n"
	    "  \"region\" : \"%s\",\n  \"version\" : \"2017-09-30\"\n}", 10 + i->number, region);
	return true;
}

/* ---- the tree ---- */

/* Below a version, in the order of the listings; folders are what lies before a
 * slash. A leaf has a text or a function; "*" is the name of the role. */
static const struct aws_leaf {
	const char *path;
	const char *text;
	aws_value *value;
} aws_leaves[] = {
	{"dynamic/instance-identity/document", NULL, aws_identity},
	{"meta-data/ami-id", "ami-0ebb0000000000000", NULL},
	{"meta-data/ami-launch-index", "0", NULL},
	{"meta-data/ami-manifest-path", "(unknown)", NULL},
	{"meta-data/autoscaling/target-lifecycle-state", NULL, aws_target_state},
	{"meta-data/block-device-mapping/ami", "/dev/xvda", NULL},
	{"meta-data/block-device-mapping/root", "/dev/xvda", NULL},
	{"meta-data/events/maintenance/history", NULL, aws_history},
	{"meta-data/events/maintenance/scheduled", NULL, aws_maintenance},
	{"meta-data/events/recommendations/rebalance", NULL, aws_rebalance},
	{"meta-data/hostname", NULL, aws_hostname},
	{"meta-data/iam/info", NULL, aws_iam_info},
	{"meta-data/iam/security-credentials/*", NULL, aws_iam_keys},
	{"meta-data/instance-action", "none", NULL},
	{"meta-data/instance-id", NULL, aws_instance_id},
	{"meta-data/instance-life-cycle", NULL, aws_life_cycle},
	{"meta-data/instance-type", NULL, aws_instance_type},
	{"meta-data/local-hostname", NULL, aws_hostname},
	{"meta-data/local-ipv4", NULL, aws_address},
	{"meta-data/mac", NULL, aws_mac},
	{"meta-data/placement/availability-zone", NULL, aws_zone},
	{"meta-data/placement/region", NULL, aws_region},
	{"meta-data/profile", "default-hvm", NULL},
	{"meta-data/reservation-id", "r-0ebb0000000000000", NULL},
	{"meta-data/security-groups", "default", NULL},
	{"meta-data/services/domain", "amazonaws.com", NULL},
	{"meta-data/services/partition", "aws", NULL},
	{"meta-data/spot/instance-action", NULL, aws_spot_action},
	{"meta-data/spot/termination-time", NULL, aws_spot_time},
};

enum { AWS_LEAVES = sizeof(aws_leaves) / sizeof(aws_leaves[0]) };

/* The versions of the tree that the service lists, besides "latest". */
static const char *const aws_versions[] = {
	"1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01",
	"2008-09-01", "2009-04-04", "2011-01-01", "2011-05-01", "2012-01-12", "2014-02-25",
	"2014-11-05", "2015-10-20", "2016-04-19", "2016-06-30", "2016-09-02", "2018-03-28",
	"2018-08-17", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03", "2021-03-23",
	"2021-07-15", "2022-09-24", "latest",
};

static bool aws_leaf_value(const struct aws_leaf *leaf, const struct instance *i, struct moment now,
    struct buf *out)
{
	if (leaf->value != NULL)
		return leaf->value(i, now, out);
	buf_str(out, leaf->text);
	return true;
}

/* The leaf's path, with the role for "*". */
static void aws_leaf_path(const struct aws_leaf *leaf, const struct instance *i, char out[160])
{
	size_t len = strlen(leaf->path);

	if (leaf->path[len - 1] == '*')
		(void)snprintf(out, 160, "%.*s%s", (int)len - 1, leaf->path,
		    i->o.iam_role == NULL ? "" : i->o.iam_role);
	else
		(void)snprintf(out, 160, "%s", leaf->path);
}

/* Appends "name" or "name/" for what is below the folder (which is "" or ends in a
 * slash); false: nothing is. */
static bool aws_list(const struct instance *i, const char *folder, struct moment now,
    struct buf *out)
{
	size_t len = strlen(folder);
	struct buf scratch = {0};
	char last[80] = "";
	bool any = false;
	size_t k;

	for (k = 0; k < AWS_LEAVES; k++) {
		char path[160];
		size_t n;

		aws_leaf_path(&aws_leaves[k], i, path);
		buf_clear(&scratch);
		if (strncmp(path, folder, len) != 0 || !aws_leaf_value(&aws_leaves[k], i, now, &scratch))
			continue;
		n = strcspn(path + len, "/");
		n += path[len + n] == '/';
		if (strncmp(last, path + len, n) == 0 && last[n] == '\0')
			continue;
		(void)snprintf(last, sizeof(last), "%.*s", (int)n, path + len);
		buf_printf(out, "%s%s", any ? "\n" : "", last);
		any = true;
	}
	buf_free(&scratch);
	return any;
}

static void aws_list_versions(struct http_answer *a)
{
	size_t k;

	http_answer_set(a, 200, AWS_TEXT);
	for (k = 0; k < sizeof(aws_versions) / sizeof(aws_versions[0]); k++)
		buf_printf(&a->body, "%s%s", k == 0 ? "" : "\n", aws_versions[k]);
}

/* The path below the version, "" for the version itself; NULL: no such version. */
static const char *aws_below_version(const char *path)
{
	size_t len = strcspn(path, "/");
	size_t k;

	for (k = 0; k < sizeof(aws_versions) / sizeof(aws_versions[0]); k++) {
		if (strlen(aws_versions[k]) == len && strncmp(path, aws_versions[k], len) == 0)
			return path[len] == '/' ? path + len + 1 : path + len;
	}
	return NULL;
}

static void aws_get(const struct instance *i, const char *path, struct moment now,
    struct http_answer *a)
{
	size_t len = strlen(path);
	char folder[160];
	size_t k;
	int n;

	/* A value answers with a slash after it too: botocore asks for the zone so. */
	if (len > 0 && path[len - 1] == '/')
		len--;
	http_answer_set(a, 200, AWS_TEXT);
	for (k = 0; k < AWS_LEAVES; k++) {
		char full[160];

		aws_leaf_path(&aws_leaves[k], i, full);
		if (strncmp(full, path, len) != 0 || full[len] != '\0')
			continue;
		if (!aws_leaf_value(&aws_leaves[k], i, now, &a->body))
			aws_page(a, 404, "Not Found");
		return;
	}
	n = snprintf(folder, sizeof(folder), "%.*s%s", (int)len, path, len == 0 ? "" : "/");
	if (n >= (int)sizeof(folder) || !aws_list(i, folder, now, &a->body))
		aws_page(a, 404, "Not Found");
}

static bool aws_is_poll(const char *path)
{
	return strcmp(path, "meta-data/spot/instance-action") == 0 ||
	    strcmp(path, "meta-data/spot/termination-time") == 0;
}

static void aws_play(struct instance *i, const struct http_request *r, struct moment now,
    struct http_answer *a)
{
	const char *token = http_header(r, AWS_TOKEN);
	const char *path = r->path[0] == '/' ? r->path + 1 : r->path;
	const char *below = aws_below_version(path);

	http_answer_add(a, "Server", "EC2ws");
	if (strcmp(r->path, AWS_TOKEN_PATH) == 0 && strcmp(r->method, "PUT") == 0) {
		aws_put_token(i, r, now, a);
	} else if (strcmp(r->method, "GET") != 0 || strcmp(r->path, AWS_TOKEN_PATH) == 0) {
		http_answer_add(a, "Allow", strcmp(r->path, AWS_TOKEN_PATH) == 0 ? "PUT" : "GET, HEAD");
		aws_page(a, 405, "Method Not Allowed");
	} else if (token == NULL ? !i->o.token_optional : !aws_token_holds(i, token, now)) {
		aws_page(a, 401, "Unauthorized");
	} else if (path[0] == '\0') {
		aws_list_versions(a);
	} else if (below == NULL) {
		aws_page(a, 404, "Not Found");
	} else {
		if (aws_is_poll(below))
			instance_note_poll(i, now);
		aws_get(i, below, now, a);
	}
}

static void aws_make_id(int number, char out[INSTANCE_ID_MAX])
{
	(void)snprintf(out, INSTANCE_ID_MAX, "i-0ebb0000000000%03x", (unsigned int)number);
}

static const char *const aws_variables[] = {"AWS_EC2_METADATA_SERVICE_ENDPOINT", NULL};

const struct cloud cloud_aws = {
	.name = "aws",
	.type = "m5.large",
	.zone = "us-east-1a",
	.window_ms = 120000,
	.has_rebalance = true,
	.has_hibernate = true,
	.token_path = AWS_TOKEN_PATH,
	.variables = aws_variables,
	.variables_are_urls = true,
	.make_id = aws_make_id,
	.answer = aws_play,
};
