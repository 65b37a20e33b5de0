/* A ledger file from anywhere: opened for reading and asked everything. It may
 * be refused or turn out damaged; it must not crash, hang or be changed. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ledger/ledger.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX = 16 };

static void ask_shards(struct ledger *l, int64_t stage)
{
	struct ledger_shard out[MAX];
	struct ledger_attempt attempts[MAX];
	struct ledger_query q = {.stage = stage, .ordinal = -1, .max = MAX, .item_prefix = "a"};
	int64_t after = 0;
	struct ledger_file *files;
	struct error e;
	size_t n_files;
	size_t n;
	size_t k;

	for (q.state = -1; q.state < SHARD_STATES; q.state++) {
		q.item_prefix_len = q.state == SHARD_FAILED;
		if (ledger_shards(l, &q, out, &n, &e) != ST_OK)
			continue;
		while (n > 0) {
			n--;
			if (ledger_attempts(l, out[n].row, MAX, attempts, &k, &e) != ST_OK)
				k = 0;
			if (out[n].files != NULL &&
			    ledger_files_parse(out[n].files, &files, &n_files, &e) == ST_OK)
				ledger_files_free(files, n_files);
			ledger_shard_free(&out[n]);
		}
	}
	q = (struct ledger_query){.stage = stage, .state = -1, .ordinal = 1, .max = 1};
	if (ledger_shards(l, &q, out, &n, &e) == ST_OK && n > 0)
		ledger_shard_free(&out[0]);
	if (ledger_plan_inputs(l, stage, &after, MAX, out, &n, &e) == ST_OK) {
		while (n > 0)
			ledger_shard_free(&out[--n]);
	}
}

static void ask_run(struct ledger *l, const struct ledger_run *run)
{
	struct ledger_event events[MAX];
	struct ledger_left left[MAX];
	struct ledger_asking asking;
	struct ledger_stage stage;
	int64_t hits[MAX];
	struct ledger_run same;
	uint8_t digest[HASH_SIZE];
	struct error e;
	size_t n;

	if (ledger_run_by_key(l, run->key, &same, &e) == ST_OK)
		ledger_run_free(&same);
	(void)!ledger_stage_get(l, run->stage, &stage, &e);
	(void)!ledger_plan_chunk_get(l, run->stage, 0, digest, &e);
	(void)!ledger_events(l, run->id, MAX, events, &n, &e);
	(void)!ledger_asking(l, run->id, &asking, &e);
	(void)!ledger_pool_hits(l, run->id, "local", 0, hits, MAX, &n, &e);
	if (ledger_outputs_left(l, run->id, NULL, MAX, left, &n, &e) == ST_OK) {
		while (n > 0)
			free(left[--n].final);
	}
	ask_shards(l, run->stage);
}

static void ask(struct ledger *l)
{
	struct ledger_worker workers[MAX];
	struct ledger_output output;
	struct ledger_run *runs;
	struct buf problem = {0};
	struct ledger_run run;
	struct error e;
	size_t n;
	size_t i;

	if (ledger_run_by_name(l, "", &run, &e) == ST_OK)
		ledger_run_free(&run);
	if (ledger_run_list(l, &runs, &n, &e) == ST_OK) {
		for (i = 0; i < n && i < MAX; i++)
			ask_run(l, &runs[i]);
		ledger_run_list_free(runs, n);
	}
	(void)!ledger_workers(l, 0, workers, MAX, &n, &e);
	(void)!ledger_output_get(l, "out/a", 5, &output, &e);
	(void)!ledger_verify(l, &problem, &e);
	buf_free(&problem);
	(void)ledger_bytes(l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const beside[] = {"", "-wal", "-shm", "-journal"};
	const struct ledger_options opt = {.read_only = true};
	char path[64];
	char name[80];
	struct ledger *l;
	struct error e;
	size_t i;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/ebb-fuzz-ledger.%ld",
	    access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (long)getpid());
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd == -1 || file_write_all(fd, data, size, path, &e) != ST_OK)
		abort();
	(void)close(fd);
	if (ledger_open(path, &opt, &l, &e) == ST_OK) {
		ask(l);
		ledger_close(l);
	}
	for (i = 0; i < sizeof(beside) / sizeof(beside[0]); i++) {
		(void)snprintf(name, sizeof(name), "%s%s", path, beside[i]);
		(void)unlink(name);
	}
	return 0;
}
