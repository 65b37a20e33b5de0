/* --result FILE: what became of a start, for whoever called ebb. */
#ifndef EBB_CLI_RESULT_FILE_H
#define EBB_CLI_RESULT_FILE_H

#include "observe/report.h"
#include "worker/worker.h"

/* What is not known is NULL. */
struct result_facts {
	const char *run;     /* name */
	const char *state;   /* NULL: what the exit code says */
	const char *error;   /* why it ended so */
	int code;
	const struct worker_options *options; /* with result */
	const struct worker_result *result;
	const struct report *report;
};

/* Can the file be written, as far as one can see? Asked before anything runs. NULL
 * is fine. */
enum status result_file_check(const char *path, struct error *e) MUST_USE;
/* Writes it durably. Returns f->code, or when the file cannot be written (which is
 * said) EXIT_UNREACHABLE in place of EXIT_DONE. With path NULL nothing is done. */
int result_file_write(const char *path, const struct result_facts *f);

#endif
