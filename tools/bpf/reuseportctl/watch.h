/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 1: waiting for sockets that are bound, or listen, at a port. */
#ifndef __REUSEPORTCTL_WATCH_H
#define __REUSEPORTCTL_WATCH_H

#include "endpoint.h"

struct watch;

/* Begin to watch a port. Return NULL if this kernel cannot report such sockets. */
struct watch *watch_open(const struct endpoint *endpoint);
/* Wait until a socket has been reported since the last call, for @ms at most, or until a signal.
 * Return true if one has: it may be about to enter the list of sock_diag.
 */
bool watch_wait(struct watch *watch, int ms);
void watch_close(struct watch *watch);
/* Can this kernel report both TCP and UDP sockets? */
bool watch_probe(void);

#endif
