/* The end of a stage: its manifest, with bytes that depend on nothing but
 * inputs and outputs, and the seal. */
#include <fcntl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "base/sys.h"
#include "worker/work.h"

enum { SEAL_PAGE = 512 };

struct writer {
	int fd;
	const char *path;
	struct buf out;
};

static enum status flush(struct writer *wr, size_t at_least, struct error *e)
{
	enum status st = buf_check(&wr->out, e);

	if (st != ST_OK || wr->out.len < at_least)
		return st;
	st = file_write_all(wr->fd, wr->out.data, wr->out.len, wr->path, e);
	buf_clear(&wr->out);
	return st;
}

static enum status add_shard(struct writer *wr, const struct ledger_shard *s, struct error *e)
{
	struct ledger_file *files = NULL;
	struct buf name = {0};
	size_t n = 0;
	enum status st = ST_OK;
	size_t i;

	if (s->files != NULL)
		st = ledger_files_parse(s->files, &files, &n, e);
	if (st != ST_OK)
		return st;
	shard_name(s, &name);
	buf_printf(&wr->out, "%s\n{\"ordinal\":%lld,\"shard\":", s->ordinal == 0 ? "" : ",",
	    (long long)s->ordinal);
	str_json(&wr->out, name.data == NULL ? "" : name.data, name.len);
	if (s->length >= 0)
		buf_printf(&wr->out, ",\"offset\":%lld,\"length\":%lld", (long long)s->offset,
		    (long long)s->length);
	buf_str(&wr->out, ",\"files\":[");
	for (i = 0; i < n; i++) {
		if (files[i].final_path[0] == '\0')
			continue;
		buf_str(&wr->out, "{\"name\":");
		str_json(&wr->out, files[i].final_path, strlen(files[i].final_path));
		buf_printf(&wr->out, ",\"size\":%lld,\"sha256\":\"", (long long)files[i].size);
		str_hex(&wr->out, files[i].hash, HASH_SIZE);
		buf_str(&wr->out, "\"}");
	}
	buf_str(&wr->out, "]}");
	if (name.failed)
		wr->out.failed = true;
	buf_free(&name);
	ledger_files_free(files, n);
	return flush(wr, 65536, e);
}

/* Ranges of one file must follow each other without a gap, from 0. Where it
 * ends is not asked: it may have grown since its last range was done. */
static enum status check_tiling(const struct ledger_shard *prev, const struct ledger_shard *s,
    struct error *e)
{
	bool same = prev->item != NULL && s->part > 0;
	int64_t want = same ? prev->offset + prev->length : 0;

	if (s->length < 0)
		return ST_OK;
	if (s->offset != want || (same && strcmp(prev->item, s->item) != 0))
		return error_set(e, ST_CORRUPT, "the shards of %s do not cover it: a gap at %lld",
		    s->item, (long long)want);
	return ST_OK;
}

static enum status add_shards(struct work *w, struct ledger *l, struct writer *wr,
    struct error *e)
{
	struct ledger_shard page[SEAL_PAGE];
	struct ledger_shard prev = {0};
	struct ledger_query q = {.stage = w->stage, .state = SHARD_PUBLISHED, .ordinal = -1,
	    .max = SEAL_PAGE};
	enum status st;
	size_t n;
	size_t i;

	do {
		n = SEAL_PAGE;
		st = ledger_shards(l, &q, page, &n, e);
		if (st != ST_OK)
			break;
		for (i = 0; i < n; i++) {
			if (st == ST_OK)
				st = check_tiling(&prev, &page[i], e);
			if (st == ST_OK)
				st = add_shard(wr, &page[i], e);
			q.from = page[i].ordinal + 1;
			ledger_shard_free(&prev);
			prev = page[i];
		}
	} while (st == ST_OK && n == SEAL_PAGE);
	ledger_shard_free(&prev);
	return st;
}

static enum status write_manifest(struct work *w, struct ledger *l, const char *path,
    struct error *e)
{
	struct writer wr = {.path = path};
	enum status st;

	wr.fd = sys_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	if (wr.fd == -1)
		return error_os(e, errno, "cannot create %s", path);
	buf_printf(&wr.out, "{\"ebb_manifest\":1,\"stage\":\"map\",\"shards\":%lld,\"list\":[",
	    (long long)w->last.planned);
	/* Shards without output are counted above and not listed: a list of 10^6
	 * commands run for their effect needs no file of 10^6 lines. */
	st = w->spec->out == NULL && w->spec->shard == SPEC_LIST ? ST_OK
	    : add_shards(w, l, &wr, e);
	buf_str(&wr.out, "\n]}\n");
	if (st == ST_OK)
		st = flush(&wr, 0, e);
	if (st == ST_OK && sys_fsync(wr.fd) == -1)
		st = error_os(e, errno, "cannot sync %s", path);
	if (sys_close(wr.fd) == -1 && st == ST_OK)
		st = error_os(e, errno, "cannot close %s", path);
	buf_free(&wr.out);
	return st;
}

static enum status publish_manifest(struct work *w, struct ledger *l, const char *private_path,
    const char *path, struct error *e)
{
	struct buf dir = {0};
	enum status st = write_manifest(w, l, private_path, e);

	if (st != ST_OK)
		return st;
	sys_point("seal.rename.before");
	file_dirname(path, &dir);
	st = buf_check(&dir, e);
	if (st == ST_OK && sys_rename(private_path, path) == -1)
		st = error_os(e, errno, "cannot rename %s to %s", private_path, path);
	if (st == ST_OK)
		st = file_sync_dir(dir.data, e);
	sys_point("seal.rename.after");
	buf_free(&dir);
	return st;
}

enum status seal_stage(struct work *w, struct ledger *l, char **manifest, struct error *e)
{
	struct buf dir = {0};
	struct buf path = {0};
	struct buf private_path = {0};
	enum status st = ledger_lease_take(l, w->stage, "seal", w->me.id, e);

	if (st != ST_OK)
		return st;
	sys_point("seal.before");
	st = state_mkdir(w->opt->state, &dir, e, "runs/%s", w->opt->run.name);
	buf_printf(&path, "%s/_ebb_manifest.%s.map.json", dir.data == NULL ? "" : dir.data,
	    w->opt->run.name);
	buf_printf(&private_path, "%s.%s", path.data == NULL ? "" : path.data, w->body->token);
	if (st == ST_OK && (path.failed || private_path.failed))
		st = error_set(e, ST_NO_MEMORY, "out of memory");
	if (st == ST_OK)
		st = publish_manifest(w, l, private_path.data, path.data, e);
	if (st == ST_OK)
		st = ledger_begin(l, e);
	if (st == ST_OK) {
		st = ledger_stage_seal(l, w->stage, e);
		if (st == ST_OK)
			st = ledger_run_set_state(l, w->opt->run.id, RUN_FINISHED, e);
		if (st == ST_OK)
			st = ledger_commit(l, e);
		else
			ledger_rollback(l);
	}
	sys_point("seal.after");
	if (st == ST_OK) {
		*manifest = path.data;
		path.data = NULL;
	}
	buf_free(&dir);
	buf_free(&path);
	buf_free(&private_path);
	return st;
}
