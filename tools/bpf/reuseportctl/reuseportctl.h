/* SPDX-License-Identifier: GPL-2.0 */
/* The maps of a service, shared by the BPF program and the tool.
 *
 * layout		the version of all this, and of the tool that wrote it
 * service		what the service is; only the tool reads it
 * state		the current generation; one write to it is the switch
 * generations		ARRAY_OF_MAPS: the sockets of each generation
 * generation_info	what else there is to know of each generation
 * counters		per CPU: packets and flows of each slot
 * flows		LRU hash: UDP peers, and the slot that serves each
 *
 * Generation N has index N % MAX_GENERATIONS in generations and generation_info, and the
 * index times the slots per generation plus the slot in counters.
 *
 * A change to a structure below, to a map or to what one means is a new LAYOUT_VERSION: see
 * upgrade.c for what else it takes. Only struct layout must never change.
 */
#ifndef __REUSEPORTCTL_H
#define __REUSEPORTCTL_H

#include <linux/bpf.h>
#include <linux/types.h>

/* 1: reuseportctl 1.0, which had no map layout, and generation_info was named about */
#define LAYOUT_VERSION	2

#define MAX_GENERATIONS	8	/* that may have sockets at the same time */
#define MAX_SLOTS	1024	/* sockets of one generation; a power of two */

struct layout {
	__u32 version;
	char tool[28];		/* the version of reuseportctl */
};

/* New connections and flows go to @current. @newest is the last generation that was ever
 * current; numbers start at 1, and one is skipped if its index is in use.
 */
struct state {
	__u32 current;
	__u32 newest;
	__u32 generations[MAX_GENERATIONS];	/* all there were at the switch, newest first */
};

/* The first @live entries of @live_slots are the slots that may still have a socket; the
 * program drops those that it finds empty.
 */
struct generation {
	struct bpf_spin_lock lock;
	__u32 number;		/* 0: the index is free, or is being filled */
	__u32 slots;		/* filled when the generation was made */
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
	UDP_NONE,		/* each packet is independent; also for TCP */
	UDP_FLOW,
	UDP_ID,
};

struct steering {
	__u32 mode;
	__u32 id_offset;	/* into the UDP payload */
	__u32 id_len;		/* 2, 3 or 4 */
	__u32 slots;		/* counters per generation */
};

/* What the sockets of the group have in common. */
struct service_config {
	struct steering steering;
	__u32 protocol;
	__u32 family;
	__be32 address[4];
	__be16 port;
	__u16 v6only;
	__u32 uid;		/* that the sockets belong to */
	__u32 interface;	/* that they are bound to; 0: none */
	__u32 zero;
	__u64 netns;		/* inode */
};

#endif
