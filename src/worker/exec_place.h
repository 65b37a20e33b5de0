/* What `ebb exec` gives its command: a private folder with the control page, the
 * notice file and scratch space, and the environment of the task contract. */
#ifndef EBB_WORKER_EXEC_PLACE_H
#define EBB_WORKER_EXEC_PLACE_H

#include "base/status.h"

struct control;
struct exec_place;

/* Makes the folder in $TMPDIR (else /tmp), mode 0700. */
enum status exec_place_create(struct exec_place **out, struct error *e) MUST_USE;
/* Removes the folder and all in it, and frees. NULL is fine. A folder that
 * cannot be removed is said in a warning. */
void exec_place_destroy(struct exec_place *p);

/* Has one lane, 0, for epoch 1. Lent. */
struct control *exec_place_control(struct exec_place *p);

/* This process's environment with the variables of the contract: those that mean
 * nothing without a run are empty. NULL-terminated; lent. */
char *const *exec_place_env(const struct exec_place *p);

#endif
