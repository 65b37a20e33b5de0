/* The API server of a Kubernetes cluster, about the own pod and its node:
 * https://kubernetes.io/docs/reference/using-api/api-concepts/ (watches),
 * .../concepts/workloads/pods/{pod-lifecycle,disruptions}/ (deletionTimestamp,
 * DisruptionTarget), and the taints that say of a node that it is about to go. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "notice/dates.h"
#include "notice/json.h"
#include "notice/source.h"

enum {
	KUBE_RETRY_MS = 1000,
	KUBE_DENIED_MS = 600000,   /* rights may be given meanwhile */
	KUBE_WATCH_S = 290,        /* so long the server goes on with an answer */
	KUBE_SPARE_MS = 20000,
	KUBE_NAME_SIZE = 254,      /* a DNS name */
	KUBE_MOST_MS = 86400000,
	KUBE_POD = 0,              /* the lines */
	KUBE_NODE = 1,
};

#define KUBE_FOLDER "/var/run/secrets/kubernetes.io/serviceaccount"

/* What a taint of a node says. */
struct kube_taint {
	const char *key;
	enum notice_kind kind;
	int64_t window_ms;
};

static const struct kube_taint kube_taints[] = {
	{"aws-node-termination-handler/spot-itn", NOTICE_TAKEN, 120000},
	{"aws-node-termination-handler/asg-lifecycle-termination", NOTICE_TAKEN, 0},
	{"aws-node-termination-handler/rebalance-recommendation", NOTICE_REBALANCE, 0},
	{"aws-node-termination-handler/scheduled-maintenance", NOTICE_MAINTENANCE, 0},
	{"karpenter.sh/disrupted", NOTICE_TAKEN, 0},
	{"karpenter.sh/disruption", NOTICE_TAKEN, 0}, /* before its version 1.0 */
	{"cloud.google.com/impending-node-termination", NOTICE_TAKEN, 15000},
	{"ToBeDeletedByClusterAutoscaler", NOTICE_TAKEN, 0},
	{"node.cloudprovider.kubernetes.io/shutdown", NOTICE_PREEMPTED, 0},
};
enum { KUBE_TAINTS = sizeof(kube_taints) / sizeof(kube_taints[0]) };

struct kube_line {
	int64_t next_ms;
	bool heard;              /* a line of this answer */
	bool hinted;
	bool trouble;
};

struct kube_state {
	struct kube_line line[2];
	bool secure;             /* only then it gets the token */
	char folder[SOURCE_PATH_SIZE];
	char space[KUBE_NAME_SIZE];
	char pod[KUBE_NAME_SIZE];
	char node[KUBE_NAME_SIZE];  /* "": not known yet */
	char pod_uid[64];        /* of the first pod of that name: this one */
	bool node_seen;
	bool machine_said;
	bool deleted;            /* said of the pod */
	bool disrupted;
	bool tainted[KUBE_TAINTS];
	struct notice_machine machine;
	char asked[SOURCE_PATH_SIZE];
	int64_t asked_ms;
};

/* ---- where it is, and who this is ---- */

static const char *kube_folder(void)
{
	const char *f = getenv("EBB_SERVICE_ACCOUNT_DIR");

	return f == NULL || f[0] == '\0' ? KUBE_FOLDER : f;
}

/* The first word of a file of the service account; "" when there is none. */
static void kube_read(const char *folder, const char *name, char *out, size_t size)
{
	struct buf text = {0};
	char path[SOURCE_PATH_SIZE + 16];
	struct error e;
	size_t len;

	out[0] = '\0';
	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (file_read(path, size - 1, &text, &e) == ST_OK && text.data != NULL) {
		len = strcspn(text.data, " \t\r\n");
		(void)snprintf(out, size, "%.*s", (int)len, text.data);
		explicit_bzero(text.data, text.len);
	}
	buf_free(&text);
}

/* The downward API's variable, under ebb's name or the usual one. */
static const char *kube_variable(const char *own, const char *usual)
{
	const char *v = getenv(own);

	if (v == NULL || v[0] == '\0')
		v = getenv(usual);
	return v == NULL ? "" : v;
}

/* Letters of a DNS name; nothing else goes into a question. */
static bool kube_is_name(const char *text)
{
	size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789.-");

	return len > 0 && len < KUBE_NAME_SIZE && text[len] == '\0';
}

static enum status kube_find(struct source_place *out, struct error *e)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST");
	const char *port = getenv("KUBERNETES_SERVICE_PORT");
	const char *folder = kube_folder();
	bool v6 = host != NULL && strchr(host, ':') != NULL;
	char space[KUBE_NAME_SIZE];

	kube_read(folder, "namespace", space, sizeof(space));
	if (!kube_is_name(space))
		return error_set(e, ST_NOT_FOUND, "kubernetes: there is no service account in %.200s; the "
		    "pod needs automountServiceAccountToken: true", folder);
	if ((size_t)snprintf(out->ca_file, sizeof(out->ca_file), "%s/ca.crt", folder) >=
	    sizeof(out->ca_file))
		return error_set(e, ST_NOT_FOUND, "kubernetes: EBB_SERVICE_ACCOUNT_DIR is too long");
	if (host == NULL || host[0] == '\0')
		return ST_OK;
	if (strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:") !=
	    strlen(host) || (port != NULL && strspn(port, "0123456789") != strlen(port)) ||
	    (size_t)snprintf(out->endpoint, sizeof(out->endpoint), "https://%s%s%s:%s", v6 ? "[" : "",
	    host, v6 ? "]" : "", port == NULL || port[0] == '\0' ? "443" : port) >=
	    sizeof(out->endpoint))
		return error_set(e, ST_NOT_FOUND, "kubernetes: KUBERNETES_SERVICE_HOST and "
		    "KUBERNETES_SERVICE_PORT are no place");
	return ST_OK;
}

static void kube_begin(void *state, const struct source_config *c)
{
	struct kube_state *s = state;
	const char *pod = kube_variable("EBB_POD_NAME", "POD_NAME");
	const char *node = kube_variable("EBB_NODE_NAME", "NODE_NAME");
	char host[KUBE_NAME_SIZE] = "";

	s->secure = strncmp(c->endpoint, "https://", 8) == 0;
	(void)snprintf(s->folder, sizeof(s->folder), "%s", kube_folder());
	kube_read(s->folder, "namespace", s->space, sizeof(s->space));
	/* The name of a pod is its host's, unless it was given another one. */
	if (pod[0] == '\0' && gethostname(host, sizeof(host) - 1) == 0)
		pod = host;
	(void)snprintf(s->pod, sizeof(s->pod), "%s", kube_is_name(pod) ? pod : "");
	(void)snprintf(s->node, sizeof(s->node), "%s", kube_is_name(node) ? node : "");
	(void)snprintf(s->machine.source, sizeof(s->machine.source), "kubernetes");
	(void)snprintf(s->machine.node, sizeof(s->machine.node), "%.63s", s->pod);
}

/* ---- questions ---- */

static void kube_ask(void *state, unsigned line, int64_t now, struct source_ask *ask)
{
	struct kube_state *s = state;
	char token[SOURCE_HEADER_SIZE - 64];

	if (line == KUBE_POD)
		(void)snprintf(s->asked, sizeof(s->asked), "/api/v1/namespaces/%s/pods?watch=true"
		    "&fieldSelector=metadata.name%%3D%s&timeoutSeconds=%d", s->space, s->pod, KUBE_WATCH_S);
	else
		(void)snprintf(s->asked, sizeof(s->asked), "/api/v1/nodes?watch=true"
		    "&fieldSelector=metadata.name%%3D%s&timeoutSeconds=%d", s->node, KUBE_WATCH_S);
	source_get(ask, s->asked, KUBE_WATCH_S * 1000 + KUBE_SPARE_MS);
	ask->by_lines = true;
	ask->at_boot_ms = s->line[line].next_ms;
	s->line[line].heard = false;
	s->asked_ms = ask->timeout_ms;
	if (line == KUBE_NODE && s->node[0] == '\0') {
		ask->at_boot_ms = INT64_MAX;
		return;
	}
	if (ask->at_boot_ms > now || !s->secure)
		return;
	/* It is replaced from time to time. */
	kube_read(s->folder, "token", token, sizeof(token));
	if (token[0] != '\0')
		source_header(ask, "Authorization: Bearer %s", token);
	explicit_bzero(token, sizeof(token));
}

/* ---- the pod ---- */

/* One condition of that type that is true. */
static json_t *kube_condition(const json_t *pod, const char *type)
{
	json_t *c;
	size_t i;

	json_array_foreach(notice_json_at(pod, "status.conditions"), i, c) {
		if (strcmp(notice_json_text(c, "type"), type) == 0 &&
		    strcmp(notice_json_text(c, "status"), "True") == 0)
			return c;
	}
	return NULL;
}

static void kube_notice(const struct kube_state *s, const struct source_answer *a,
    enum notice_kind kind, struct notice *n)
{
	source_notice(a, "kubernetes", kind, n);
	if (kind != NOTICE_REBALANCE && kind != NOTICE_MAINTENANCE && kind != NOTICE_WITHDRAWN)
		n->action = NOTICE_TERMINATE;
	notice_text(n->id, sizeof(n->id), s->pod_uid, strlen(s->pod_uid));
}

static void kube_detail(struct notice *n, const char *what, const char *more)
{
	char text[NOTICE_DETAIL_MAX * 2];

	(void)snprintf(text, sizeof(text), "%s%s%s", what, more[0] == '\0' ? "" : ": ", more);
	notice_text(n->detail, sizeof(n->detail), text, strlen(text));
}

/* The moment that the server names lies the whole grace ahead of the deletion. */
static void kube_take_deletion(struct kube_state *s, const json_t *pod,
    const struct source_answer *a, struct source_sink *sink)
{
	const char *when = notice_json_text(notice_json_at(pod, "metadata"), "deletionTimestamp");
	const json_t *grace = notice_json_at(pod, "metadata.deletionGracePeriodSeconds");
	struct notice n;
	int64_t at;

	if (s->deleted || !date_rfc3339(when, &at))
		return;
	kube_notice(s, a, NOTICE_TAKEN, &n);
	source_deadline(a, at, KUBE_MOST_MS, &n);
	if (json_is_integer(grace) && json_integer_value(grace) >= 0 &&
	    json_integer_value(grace) < (n.deadline_boot_ms - a->now_boot_ms) / 1000)
		n.deadline_boot_ms = a->now_boot_ms + json_integer_value(grace) * 1000;
	kube_detail(&n, "the pod is being deleted", "");
	s->deleted = true;
	sink->event(sink, &n);
}

static void kube_take_disruption(struct kube_state *s, const json_t *pod,
    const struct source_answer *a, struct source_sink *sink)
{
	const json_t *c = kube_condition(pod, "DisruptionTarget");
	const json_t *grace = notice_json_at(pod, "spec.terminationGracePeriodSeconds");
	struct notice n;

	if ((c != NULL) == s->disrupted || s->deleted)
		return;
	s->disrupted = c != NULL;
	if (c == NULL) {
		kube_notice(s, a, NOTICE_WITHDRAWN, &n);
		n.was = NOTICE_TAKEN;
		sink->event(sink, &n);
		return;
	}
	kube_notice(s, a, NOTICE_TAKEN, &n);
	if (json_is_integer(grace) && json_integer_value(grace) > 0 &&
	    json_integer_value(grace) < KUBE_MOST_MS / 1000)
		n.window_ms = json_integer_value(grace) * 1000;
	kube_detail(&n, notice_json_text(c, "reason"), notice_json_text(c, "message"));
	sink->event(sink, &n);
}

static void kube_pod_is_gone(struct kube_state *s, const struct source_answer *a,
    struct source_sink *sink)
{
	struct notice n;

	if (s->deleted)
		return;
	s->deleted = true;
	kube_notice(s, a, NOTICE_PREEMPTED, &n);
	kube_detail(&n, "the pod was removed", "");
	sink->event(sink, &n);
}

static void kube_take_pod(struct kube_state *s, const char *type, const json_t *pod,
    const struct source_answer *a, struct source_sink *sink)
{
	const json_t *meta = notice_json_at(pod, "metadata");
	const char *uid = notice_json_text(meta, "uid");
	const char *node = notice_json_text(notice_json_at(pod, "spec"), "nodeName");

	if (strcmp(notice_json_text(meta, "name"), s->pod) != 0)
		return;
	if (s->pod_uid[0] == '\0')
		(void)snprintf(s->pod_uid, sizeof(s->pod_uid), "%.63s", uid);
	/* Another one took the name: this one is not wanted any more. */
	if (strncmp(uid, s->pod_uid, sizeof(s->pod_uid) - 1) != 0 || strcmp(type, "DELETED") == 0) {
		kube_pod_is_gone(s, a, sink);
		return;
	}
	if (s->node[0] == '\0' && kube_is_name(node))
		(void)snprintf(s->node, sizeof(s->node), "%s", node);
	kube_take_disruption(s, pod, a, sink);
	kube_take_deletion(s, pod, a, sink);
}

/* ---- its node ---- */

static void kube_label(const json_t *labels, const char *name, char *out, size_t size)
{
	const char *v = notice_json_text(labels, name);

	if (v[0] != '\0')
		notice_text(out, size, v, strlen(v));
}

/* By the labels of those who make machines; what they say of the others is left open. */
static const char *kube_lifecycle(const json_t *labels)
{
	static const char *const names[] = {
		"karpenter.sh/capacity-type", "eks.amazonaws.com/capacityType",
		"kubernetes.azure.com/scalesetpriority", "cloud.google.com/gke-spot",
		"cloud.google.com/gke-preemptible",
	};
	const char *found = "";
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *v = notice_json_text(labels, names[i]);

		if (strcasecmp(v, "spot") == 0 || strcmp(v, "true") == 0)
			return "spot";
		if (strcasecmp(v, "on-demand") == 0 || strcasecmp(v, "ON_DEMAND") == 0 ||
		    strcasecmp(v, "regular") == 0)
			found = "on-demand";
	}
	return found;
}

static void kube_take_machine(struct kube_state *s, const json_t *node, struct source_sink *sink)
{
	const json_t *labels = notice_json_at(node, "metadata.labels");
	struct notice_machine *m = &s->machine;

	kube_label(labels, "topology.kubernetes.io/zone", m->zone, sizeof(m->zone));
	kube_label(labels, "node.kubernetes.io/instance-type", m->type, sizeof(m->type));
	(void)snprintf(m->lifecycle, sizeof(m->lifecycle), "%s", kube_lifecycle(labels));
	s->node_seen = true;
	s->machine_said = true;
	sink->machine(sink, m);
}

static void kube_say_taint(struct kube_state *s, size_t i, bool on, const struct source_answer *a,
    struct source_sink *sink)
{
	const struct kube_taint *t = &kube_taints[i];
	struct notice n;
	char text[NOTICE_DETAIL_MAX];

	if (s->tainted[i] == on)
		return;
	s->tainted[i] = on;
	kube_notice(s, a, on ? t->kind : NOTICE_WITHDRAWN, &n);
	n.was = on ? n.was : t->kind;
	n.id[0] = '\0';
	n.window_ms = on ? t->window_ms : 0;
	(void)snprintf(text, sizeof(text), "taint %s of node %.100s", t->key, s->node);
	kube_detail(&n, text, "");
	sink->event(sink, &n);
}

static void kube_take_node(struct kube_state *s, const char *type, const json_t *node,
    const struct source_answer *a, struct source_sink *sink)
{
	const json_t *taints = notice_json_at(node, "spec.taints");
	struct notice n;
	json_t *taint;
	size_t i;
	size_t k;

	if (strcmp(notice_json_text(notice_json_at(node, "metadata"), "name"), s->node) != 0)
		return;
	if (strcmp(type, "DELETED") == 0) {
		kube_notice(s, a, NOTICE_PREEMPTED, &n);
		kube_detail(&n, "its node was removed from the cluster", s->node);
		sink->event(sink, &n);
		return;
	}
	if (!s->node_seen)
		kube_take_machine(s, node, sink);
	for (i = 0; i < KUBE_TAINTS; i++) {
		bool on = false;

		json_array_foreach(taints, k, taint)
			on = on || strcmp(notice_json_text(taint, "key"), kube_taints[i].key) == 0;
		kube_say_taint(s, i, on, a, sink);
	}
}

/* ---- answers ---- */

/* {"type":"ADDED","object":{...}}. False when it is not that. */
static bool kube_take_line(struct kube_state *s, unsigned line, const struct source_answer *a,
    struct source_sink *sink)
{
	json_t *o = source_json(a);
	const char *type = notice_json_text(o, "type");
	const json_t *object = json_object_get(o, "object");
	bool good = json_is_object(object);

	if (strcmp(type, "ADDED") == 0 || strcmp(type, "MODIFIED") == 0 || strcmp(type, "DELETED") == 0) {
		if (good && line == KUBE_POD)
			kube_take_pod(s, type, object, a, sink);
		else if (good)
			kube_take_node(s, type, object, a, sink);
	} else {
		/* ERROR (410: it was too slow) ends the answer, and it is asked anew. */
		good = good && (strcmp(type, "BOOKMARK") == 0 || strcmp(type, "ERROR") == 0);
	}
	json_decref(o);
	return good;
}

static void kube_denied(struct kube_state *s, unsigned line, const struct source_answer *a,
    struct source_sink *sink)
{
	struct kube_line *l = &s->line[line];
	char text[256];

	l->next_ms = a->now_boot_ms + KUBE_DENIED_MS;
	if (!l->hinted && line == KUBE_POD)
		(void)snprintf(text, sizeof(text), "kubernetes: the service account may not watch its own "
		    "pod, so only TERM is heard; a Role with {apiGroups: [\"\"], resources: [pods], verbs: "
		    "[watch]} in the namespace %.60s lets it", s->space);
	else if (!l->hinted)
		(void)snprintf(text, sizeof(text), "kubernetes: the service account may not watch nodes, so "
		    "their taints are not heard; a ClusterRole with {apiGroups: [\"\"], resources: [nodes], "
		    "verbs: [watch]} lets it");
	if (!l->hinted)
		sink->hint(sink, text);
	l->hinted = true;
	/* What is known of the machine is its name. */
	if (!s->machine_said)
		sink->machine(sink, &s->machine);
	s->machine_said = true;
}

static void kube_tell(struct kube_state *s, unsigned line, bool good,
    const struct source_answer *a, struct source_sink *sink)
{
	struct kube_line *l = &s->line[line];
	char path[64];

	if (!good && !s->line[1 - line].trouble) {
		(void)snprintf(path, sizeof(path), line == KUBE_POD ? "the watch of pods"
		    : "the watch of nodes");
		l->trouble = true;
		source_complain(sink, "kubernetes", path, s->asked_ms, a);
	} else if (good && l->trouble) {
		l->trouble = false;
		sink->trouble(sink, "");
	}
}

static void kube_answer(void *state, unsigned line, const struct source_answer *a,
    struct source_sink *sink)
{
	struct kube_state *s = state;
	struct kube_line *l = &s->line[line];
	bool good = a->fault == SOURCE_ANSWERED && a->status == 200;

	if (a->partial) {
		good = a->len == 0 || kube_take_line(s, line, a, sink);
		l->heard = l->heard || good;
		kube_tell(s, line, good, a, sink);
		return;
	}
	l->next_ms = a->now_boot_ms + KUBE_RETRY_MS;
	if (a->fault == SOURCE_ANSWERED && a->status == 403) {
		kube_denied(s, line, a, sink);
		return;
	}
	/* Without a line break at its end it is no whole line. Ended by a time-out, or broken off
	 * after it had begun: as if it had ended. */
	if (!good && l->heard && a->fault != SOURCE_TOO_LARGE)
		return;
	if (a->fault == SOURCE_ANSWERED && a->status == 410)
		return;
	if (good && line == KUBE_POD && s->pod_uid[0] == '\0' && !l->hinted) {
		char text[256];

		(void)snprintf(text, sizeof(text), "kubernetes: there is no pod %.60s in the namespace "
		    "%.60s; set EBB_POD_NAME from the downward API", s->pod, s->space);
		sink->hint(sink, text);
		l->hinted = true;
	}
	kube_tell(s, line, good, a, sink);
}

const struct notice_source source_kubernetes = {
	.name = "kubernetes",
	.find = kube_find,
	.state_size = sizeof(struct kube_state),
	.n_lines = 2,
	.begin = kube_begin,
	.ask = kube_ask,
	.answer = kube_answer,
};
