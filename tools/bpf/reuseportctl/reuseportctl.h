/* SPDX-License-Identifier: GPL-2.0 */
/* What the program in the kernel and the tool agree on: the values of the maps.
 *
 * generations	ARRAY_OF_MAPS, a place per generation: number % MAX_GENERATIONS
 * about	the same places: what is known of each generation
 * state	which generation gets what is new
 * counters	per place and slot
 * flows	UDP peers and the slot that serves them
 * service	what the service is; the tool alone reads it
 */
#ifndef __REUSEPORTCTL_H
#define __REUSEPORTCTL_H

#include <linux/bpf.h>
#include <linux/types.h>

#define MAX_GENERATIONS		8	/* generations that may have sockets at a time */
#define MAX_SLOTS	1024	/* sockets of one generation; a power of two */

/* Which generation gets new connections and flows, and the last one that ever did. They
 * count from 1; a number is left out if another generation still has its place. One write
 * switches.
 */
struct state {
	__u32 current;
	__u32 newest;
	__u32 generations[MAX_GENERATIONS];	/* of all there were at the switch, newest first */
};

/* A generation. The first @live places of @order name the slots that may still have a
 * socket; the program takes out those that it finds empty.
 */
struct generation {
	struct bpf_spin_lock lock;
	__u32 number;		/* 0: the place is free, or is being filled */
	__u32 slots;		/* filled when it was made */
	__u32 live;
	__u32 pid;		/* of the server */
	char comm[16];
	__u64 started;		/* field 22 of its /proc/PID/stat */
	__u64 since;		/* s since the epoch */
	__u16 live_slots[MAX_SLOTS];
};

struct counter {
	__u64 packets;		/* TCP: SYNs */
	__u64 flows;		/* of these, the first of a connection or a flow */
	__u64 seen;		/* CLOCK_MONOTONIC of the last one, ns */
};

struct peer {
	__be32 address[4];	/* IPv4: ::ffff:a.b.c.d */
	__be16 port;
	__u16 zero;
};

struct flow {
	__u32 generation;
	__u32 slot;
	__u64 packets;
	__u64 seen;
};

enum udp_mode {
	UDP_NONE,		/* TCP as well: each packet stands for itself */
	UDP_FLOW,
	UDP_ID,
};

struct steering {
	__u32 mode;
	__u32 id_offset;	/* into the UDP payload */
	__u32 id_len;		/* 2, 3 or 4 */
	__u32 slots;		/* counters per generation */
};

struct service_config {
	struct steering steering;
	__u32 protocol;
	__u32 family;
	__be32 address[4];
	__be16 port;
	__u16 v6only;
	__u32 uid;		/* whose sockets these are */
	__u32 interface;	/* that they are bound to; 0: to none */
	__u32 zero;
	__u64 netns;		/* inode */
};

#endif
