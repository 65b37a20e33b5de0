/* The machines of a rehearsal, and what is done to them. Either it plays them itself,
 * each with a worker of its own that has a successor when it is lost, or they are the
 * workers of a run that goes on anyhow (outside). Times are CLOCK_BOOTTIME in ms. */
#ifndef EBB_CHAOS_FLEET_H
#define EBB_CHAOS_FLEET_H

#include "chaos/experiment.h"
#include "chaos/machine.h"

struct ledger;
struct fleet;
struct tell;

/* One action on one machine. */
struct blow {
	enum action_kind kind;
	int machine;          /* its number */
	int32_t pid;          /* of its worker */
	int64_t boot_ms;
	int64_t deadline_ms;  /* 0: none was given */
	bool missed;          /* its worker was still there at the deadline */
};

struct fleet_options {
	struct machine_plan plan; /* outside only x is needed */
	struct ledger *outside;   /* NULL: it plays the machines; else the ledger, writable */
	int64_t run;              /* whose workers these are */
	const struct tell *tell;
};

/* Nothing is started yet. The options' texts are borrowed. */
enum status fleet_create(const struct fleet_options *o, struct fleet **out,
    struct error *e) MUST_USE;
/* Kills what it has started and is still there; wakes what stands still outside. NULL
 * is fine. */
void fleet_destroy(struct fleet *f);

/* Sees who has ended, does what is due, starts who may come. With `known` the run
 * stands in the ledger, so that anybody can join it; until then the first machine is
 * alone. To be called every few ms. */
enum status fleet_step(struct fleet *f, int64_t now_ms, bool known, struct error *e) MUST_USE;

/* Does the action to as many machines as its targets say, drawn from *random among those
 * that are up, undisturbed and meant by it. *hit is how many. A failure of one machine
 * is the failure of all. */
enum status fleet_act(struct fleet *f, const struct chaos_action *a, int64_t now_ms,
    uint64_t *random,
    size_t *hit, struct error *e) MUST_USE;
/* Of the machines meant by the trace there are so many to be had: those after them get
 * notice and stay away until there are more. */
enum status fleet_set_available(struct fleet *f, const struct chaos_action *a, int32_t n,
    int64_t now_ms, struct error *e) MUST_USE;

/* Nobody is up, and nobody will come by himself. */
bool fleet_is_stuck(const struct fleet *f);
size_t fleet_up(const struct fleet *f);
/* The action, done once and now, leaves nobody undisturbed. */
bool fleet_takes_all(const struct fleet *f, const struct chaos_action *a);
/* The run is over: nobody comes back, nothing more is done to anybody, who stands still
 * goes on. */
void fleet_settle(struct fleet *f);

/* In the order in which they were done; lent until the next call of fleet_act. */
const struct blow *fleet_blows(const struct fleet *f, size_t *n);
/* Instances so far, the first ones included. */
int fleet_instances(const struct fleet *f);
/* A machine whose worker gave up, and its exit code; 0: there is none. */
int fleet_bad_exit(const struct fleet *f, int *machine);

#endif
