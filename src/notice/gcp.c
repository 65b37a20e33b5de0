/* Google Cloud's metadata server: https://cloud.google.com/compute/docs/metadata/
 * querying-metadata (wait_for_change, last_etag, timeout_sec), and .../instances/
 * preemptible (preempted; 24 h of life). */
#include <stdio.h>
#include <string.h>

#include "notice/source.h"

enum {
	GCP_RETRY_MS = 1000,
	GCP_ASK_TIMEOUT_MS = 3000,
	GCP_WAIT_S = 60,             /* a question waits so long for a change */
	GCP_WINDOW_MS = 30000,
	GCP_DAY_MS = 86400000,
	GCP_FACT_TRIES = 3,
};

enum gcp_step {
	GCP_STEP_ID = 0, GCP_STEP_ZONE, GCP_STEP_TYPE, GCP_STEP_PREEMPTIBLE, GCP_STEP_WATCH,
};

#define GCP_BASE "/computeMetadata/v1/instance/"

static const char *const gcp_fact_paths[GCP_STEP_WATCH] = {
	GCP_BASE "id", GCP_BASE "zone", GCP_BASE "machine-type", GCP_BASE "scheduling/preemptible",
};

static const char *const gcp_watched[] = {GCP_BASE "preempted", GCP_BASE "maintenance-event"};

struct gcp_line {
	enum gcp_step step;
	int64_t next_ms;
	char etag[64];
	char said[64];           /* the last value that was news */
	bool trouble;
	int fact_tries;
	const char *asked;       /* path of the last question */
	int64_t asked_ms;        /* its time-out */
	int64_t begun_ms;        /* when it was asked */
};

struct gcp_state {
	struct gcp_line line[2];
	struct notice_machine machine;
};

static void gcp_begin(void *state, const struct source_config *c)
{
	struct gcp_state *s = state;

	(void)c;
	(void)snprintf(s->machine.source, sizeof(s->machine.source), "gcp");
	s->line[0].step = GCP_STEP_WATCH; /* facts are the second one's: they are not urgent */
}

static void gcp_ask(void *state, unsigned line, int64_t now, struct source_ask *ask)
{
	struct gcp_state *s = state;
	struct gcp_line *l = &s->line[line];
	char path[SOURCE_PATH_SIZE];

	l->begun_ms = now;
	if (l->step < GCP_STEP_WATCH)
		source_get(ask, gcp_fact_paths[l->step], GCP_ASK_TIMEOUT_MS);
	else if (l->etag[0] == '\0')
		source_get(ask, gcp_watched[line], GCP_ASK_TIMEOUT_MS);
	else {
		(void)snprintf(path, sizeof(path), "%s?wait_for_change=true&timeout_sec=%d&last_etag=%s",
		    gcp_watched[line], GCP_WAIT_S, l->etag);
		source_get(ask, path, GCP_WAIT_S * 1000 + GCP_ASK_TIMEOUT_MS);
	}
	source_header(ask, "Metadata-Flavor: Google");
	ask->at_boot_ms = l->next_ms;
	l->asked = l->step < GCP_STEP_WATCH ? gcp_fact_paths[l->step] : gcp_watched[line];
	l->asked_ms = ask->timeout_ms;
}

/* "projects/123/zones/europe-west4-a" */
static const char *gcp_last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? path : slash + 1;
}

/* Preemptible machines end after 24 h; the server says the same of Spot ones, which do
 * not. So one that has lived longer than that is one of those. */
static void gcp_set_life(struct notice_machine *m, const char *word, int64_t now_boot_ms)
{
	bool spot = strcmp(word, "TRUE") == 0;

	(void)snprintf(m->lifecycle, sizeof(m->lifecycle), "%s", spot ? "spot" : "on-demand");
	if (spot && now_boot_ms < GCP_DAY_MS)
		m->life_until_boot_ms = GCP_DAY_MS; /* CLOCK_BOOTTIME began with the machine */
}

static void gcp_take_fact(struct gcp_state *s, const struct source_answer *a,
    struct source_sink *sink)
{
	struct notice_machine *m = &s->machine;
	struct gcp_line *l = &s->line[1];
	char word[256];

	if (a->status == 200 && source_word(a, word, sizeof(word))) {
		if (l->step == GCP_STEP_ID)
			(void)snprintf(m->node, sizeof(m->node), "%.63s", word);
		else if (l->step == GCP_STEP_ZONE)
			(void)snprintf(m->zone, sizeof(m->zone), "%.31s", gcp_last_part(word));
		else if (l->step == GCP_STEP_TYPE)
			(void)snprintf(m->type, sizeof(m->type), "%.31s", gcp_last_part(word));
		else
			gcp_set_life(m, word, a->now_boot_ms);
	}
	if (++l->step == GCP_STEP_WATCH)
		sink->machine(sink, m);
}

/* ---- what is gcp_watched ---- */

static bool gcp_preempted_is(const char *word, const struct source_answer *a, struct notice *n)
{
	source_notice(a, "gcp", NOTICE_PREEMPTED, n);
	n->action = NOTICE_TERMINATE;
	n->window_ms = GCP_WINDOW_MS;
	return strcmp(word, "TRUE") == 0 || strcmp(word, "FALSE") == 0;
}

static bool gcp_maintenance_is(const char *word, const struct source_answer *a, struct notice *n)
{
	bool migrates = strcmp(word, "MIGRATE_ON_HOST_MAINTENANCE") == 0;
	bool ends = strcmp(word, "TERMINATE_ON_HOST_MAINTENANCE") == 0;

	source_notice(a, "gcp", NOTICE_MAINTENANCE, n);
	n->action = migrates ? NOTICE_MIGRATE : NOTICE_TERMINATE;
	(void)snprintf(n->detail, sizeof(n->detail), "%s", migrates
	    ? "it will be moved to another host" : "its host is maintained, and it ends with that");
	/* 60 minutes ahead for machines with GPUs, a minute for others; the least. */
	if (ends)
		n->deadline_boot_ms = a->now_boot_ms + 60000;
	return migrates || ends || strcmp(word, "NONE") == 0;
}

/* False when it is none of the words that it may be. */
static bool gcp_take_value(struct gcp_line *l, unsigned line, const struct source_answer *a,
    struct source_sink *sink)
{
	char word[sizeof(l->said)];
	struct notice n;
	bool quiet;

	if (!source_word(a, word, sizeof(word)) ||
	    !(line == 0 ? gcp_preempted_is(word, a, &n) : gcp_maintenance_is(word, a, &n)))
		return false;
	quiet = strcmp(word, line == 0 ? "FALSE" : "NONE") == 0;
	if (strcmp(word, l->said) == 0)
		return true;
	if (!quiet) {
		sink->event(sink, &n);
	} else if (l->said[0] != '\0') {
		n.was = n.kind;
		n.kind = NOTICE_WITHDRAWN;
		n.deadline_boot_ms = 0;
		n.detail[0] = '\0';
		sink->event(sink, &n);
	}
	(void)snprintf(l->said, sizeof(l->said), "%s", quiet ? "" : word);
	return true;
}

/* Goes into the next question, so nothing but what can stand in one. */
static void gcp_keep_etag(struct gcp_line *l, const char *etag)
{
	size_t len = strspn(etag, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-");

	l->etag[0] = '\0';
	if (len > 0 && len < sizeof(l->etag) && etag[len] == '\0')
		(void)snprintf(l->etag, sizeof(l->etag), "%s", etag);
}

/* Whoever else answers at that address does not say that he is Google. */
static bool gcp_take_answer(struct gcp_state *s, unsigned line, const struct source_answer *a,
    struct source_sink *sink)
{
	struct gcp_line *l = &s->line[line];
	bool good = false;

	if (a->fault != SOURCE_ANSWERED || !a->flavor_google)
		return false;
	if (l->step < GCP_STEP_WATCH)
		return a->status == 200 || a->status == 404;
	if (a->status == 200) {
		good = gcp_take_value(l, line, a, sink);
		gcp_keep_etag(l, good ? a->etag : "");
	} else if (line == 1 && a->status == 404) {
		good = true; /* an older server */
		l->next_ms = a->now_boot_ms + GCP_WAIT_S * 1000;
	}
	return good;
}

/* The two ask the same server: what is wrong is said by the first that notices. */
static void gcp_tell(struct gcp_state *s, unsigned line, bool good, const struct source_answer *a,
    struct source_sink *sink)
{
	struct gcp_line *l = &s->line[line];

	if (!good && !s->line[1 - line].trouble) {
		l->trouble = true;
		source_complain(sink, "gcp", l->asked, l->asked_ms, a);
	} else if (good && l->trouble) {
		l->trouble = false;
		sink->trouble(sink, "");
	}
}

static void gcp_answer(void *state, unsigned line, const struct source_answer *a,
    struct source_sink *sink)
{
	struct gcp_state *s = state;
	struct gcp_line *l = &s->line[line];
	bool waited = l->step == GCP_STEP_WATCH && l->etag[0] != '\0';
	bool fact = l->step < GCP_STEP_WATCH;
	bool good = gcp_take_answer(s, line, a, sink);

	/* A wait may end without an answer, by a proxy or a server that restarts. */
	if (good || !waited || a->fault == SOURCE_ANSWERED)
		gcp_tell(s, line, good, a, sink);
	if (!good) {
		l->etag[0] = '\0';
		l->next_ms = a->now_boot_ms + GCP_RETRY_MS;
	}
	if (fact && (good || ++l->fact_tries == GCP_FACT_TRIES)) {
		l->fact_tries = 0;
		gcp_take_fact(s, a, sink);
	} else if (good && !fact && (waited || l->etag[0] == '\0') &&
	    l->next_ms < l->begun_ms + GCP_RETRY_MS) {
		/* Without an ETag, or from a server that does not wait. */
		l->next_ms = l->begun_ms + GCP_RETRY_MS;
	}
}

const struct notice_source source_gcp = {
	.name = "gcp",
	.endpoint = "http://169.254.169.254",
	.endpoint_env = "GCE_METADATA_HOST",
	.state_size = sizeof(struct gcp_state),
	.n_lines = 2,
	.begin = gcp_begin,
	.ask = gcp_ask,
	.answer = gcp_answer,
};
