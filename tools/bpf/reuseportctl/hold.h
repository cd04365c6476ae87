/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 3: holding a service for a change, and opening it again. */
#ifndef __REUSEPORTCTL_HOLD_H
#define __REUSEPORTCTL_HOLD_H

#include "server.h"

/* May it be open between changes? */
bool hold_can_open(const struct service *service);
/* How many sockets would join now, or -1. */
int hold_nr_joined(const struct service *service);
struct refresh {
	int nr_joined;		/* sockets that the server has opened since */
	int nr_left;		/* UDP sockets that it has connected to a peer */
	bool has_attached;	/* the program, which the group had lost */
};

/* With the lock held, put the sockets that the server of the current generation has opened since
 * into that, take connected UDP sockets out of the slots of all, so that no other peer's
 * datagrams are steered to them, and attach the program if the group has none.
 */
int hold_refresh(struct service *service, struct refresh *done);
/* Print what a refresh has done besides. */
void hold_report(const struct service *service, const struct refresh *done);
/* What a change has to put back if it fails. */
struct hold {
	struct state state;
	struct group_prog prog;
	struct refresh done;
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
