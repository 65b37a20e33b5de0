/* The guardian's process. Private to guardian*.c. */
#ifndef EBB_WORKER_GUARDIAN_LOOP_H
#define EBB_WORKER_GUARDIAN_LOOP_H

struct guardian_options;

/* Called in the process that was forked, with all signals blocked; does not
 * return. `sock` leads to the worker. First of all an int goes back: 0, or the
 * errno with which the guardian could not be set up. */
_Noreturn void guardian_main(const struct guardian_options *opt, int sock);

#endif
