/* A worker on which different shards fail that others then get done lacks something
 * that they have: it sets itself aside. On the loop's thread. */
#ifndef EBB_WORKER_ASIDE_H
#define EBB_WORKER_ASIDE_H

#include "worker/work.h"

struct aside;

enum status aside_create(struct aside **out, struct error *e) MUST_USE;
void aside_destroy(struct aside *s); /* NULL is fine */

/* An attempt has ended here otherwise than done, and that is recorded. */
void aside_note_end(const struct attempt *a);
/* One was done here: its stage can be done here, whatever failed before. */
void aside_note_done(const struct attempt *a);

/* To be called now and then. When ASIDE_SHARDS different shards have failed here, with
 * none of their stage done here since, the ledger is asked: if others have done so many
 * of them, and somebody stays who is neither dead nor leaving, this worker says so,
 * claims nothing more, gives back what has not begun, lets what runs finish and leaves.
 * While it reads a list that nobody else can read, it stays. */
void aside_look(struct work *w);

enum { ASIDE_SHARDS = 3 };

#endif
