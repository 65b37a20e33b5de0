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
 * none of their stage done here since, the ledger is asked what others made of them. If
 * they have done so many, and somebody stays who is neither dead nor leaving, this worker
 * says so, claims nothing more, gives back what has not begun, lets what runs finish and
 * leaves. While it reads a list that nobody else can read, it stays. */
void aside_look(struct work *w);

/* It is to claim nothing now: so many have failed here, and others, who are at work, have
 * not tried them yet. A worker that fails fast would else use up the budgets of many
 * shards before a slower one gets to them. Not for longer than some minutes, and not
 * soon again after a shard has failed on others too. */
bool aside_waits(const struct work *w);

enum { ASIDE_SHARDS = 3 };

#endif
