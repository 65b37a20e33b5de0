/* Would the state be gone with the machine? */
#ifndef EBB_WORKER_STATE_RISK_H
#define EBB_WORKER_STATE_RISK_H

#include "base/mem.h"

/* Who made the machine, as the firmware says. */
#define STATE_RISK_VENDOR_FILE "/sys/class/dmi/id/sys_vendor"

/* Appends why a reclaim or a reboot of this machine takes the folder `dir` (or
 * the place where it will be made), as a sentence for a person: it is in memory,
 * in a container's own layer, or on a local disk of a cloud's machine. Nothing
 * when no such reason is known. `vendor_file` is STATE_RISK_VENDOR_FILE, or what
 * a test puts in its place. */
void state_risk(const char *dir, const char *vendor_file, struct buf *out);

#endif
