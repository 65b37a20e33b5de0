/* Runs every file of the folders named through the fuzz target that this is
 * linked with, and says so in TAP. A crash ends it, as a test should. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "fuzz.h"

enum { REPLAY_MAX = 16 << 20 };

static int is_input(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static int replay_file(const char *path, const char *name, int number)
{
	struct buf data = {0};
	struct error e;

	if (file_read(path, REPLAY_MAX, &data, &e) != ST_OK) {
		(void)printf("not ok %d - %s # %s\n", number, name, e.text);
		buf_free(&data);
		return 1;
	}
	(void)LLVMFuzzerTestOneInput((const uint8_t *)(data.data != NULL ? data.data : ""), data.len);
	(void)printf("ok %d - %s\n", number, name);
	(void)fflush(stdout);
	buf_free(&data);
	return 0;
}

/* Adds to *number; the sum of what went wrong. */
static int replay_folder(const char *folder, int *number)
{
	struct dirent **entries;
	int n = scandir(folder, &entries, is_input, alphasort);
	int failed = 0;
	int i;

	if (n == -1) {
		(void)printf("not ok %d - %s # %s\n", ++*number, folder, strerror(errno));
		return 1;
	}
	for (i = 0; i < n; i++) {
		struct buf path = {0};

		buf_printf(&path, "%s/%s", folder, entries[i]->d_name);
		if (path.failed)
			abort();
		failed += replay_file(path.data, entries[i]->d_name, ++*number);
		buf_free(&path);
		free(entries[i]);
	}
	free(entries);
	return failed;
}

int main(int argc, char **argv)
{
	int number = 0;
	int failed = 0;
	int i;

	for (i = 1; i < argc; i++)
		failed += replay_folder(argv[i], &number);
	(void)printf("1..%d\n", number);
	return failed > 0;
}
