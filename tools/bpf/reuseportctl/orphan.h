/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 2: programs of services whose pins are gone. */
#ifndef __REUSEPORTCTL_ORPHAN_H
#define __REUSEPORTCTL_ORPHAN_H

#include "group.h"

struct orphan {
	__u32 id;		/* of the program */
	__u64 loaded;		/* CLOCK_MONOTONIC, ns */
	int generations;	/* file descriptor of its map */
	struct held_socket *sockets;	/* in its maps, and in our network namespace */
	int nr_sockets;
	int nr_unseen;		/* in another network namespace, or closed just now */
};

/* List them. Return how many, or -1. */
int orphans_find(struct orphan **list);
void orphans_free(struct orphan *list, int count);
/* Detach the program from its group, and empty its maps. */
int orphan_release(const struct orphan *orphan);

#endif
