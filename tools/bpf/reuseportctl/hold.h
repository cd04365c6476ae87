/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 3: holding a service for a change, and opening it again. */
#ifndef __REUSEPORTCTL_HOLD_H
#define __REUSEPORTCTL_HOLD_H

#include "server.h"

/* May it be open between changes? */
bool hold_can_open(const struct service *service);
/* How many sockets hold_refresh() would find now, or -1. */
int hold_nr_joined(const struct service *service);
/* Put the sockets that the server of the current generation has opened since into that, with
 * the lock held. Return how many, or -1.
 */
int hold_refresh(struct service *service);
/* What a change has to put back if it fails. */
struct hold {
	struct state state;
	struct group_prog prog;
	int nr_joined;		/* sockets that hold_begin() has put into the generation */
	bool has_begun;
};

/* Refresh the current generation and select its sockets only, so that a server which binds
 * from now on gets nothing. Attach the program if the group has none.
 */
int hold_begin(struct service *service, struct hold *hold);
/* The change did not happen: all is as before hold_begin(), apart from the sockets that have
 * joined. Print that, after the errors recorded so far, or what is left to do.
 */
void hold_undo(struct service *service, const struct hold *hold);
/* Open the service, unless a generation that is not the current one still has sockets. */
int hold_end(struct service *service);

#endif
