/* SPDX-License-Identifier: GPL-2.0 */
/* The maps of layout 1, see layout1.bpf.c. They stay as they are. */
#ifndef __REUSEPORTCTL_LAYOUT1_H
#define __REUSEPORTCTL_LAYOUT1_H

#include <linux/bpf.h>
#include <linux/types.h>

#define MAX_GENERATIONS	8
#define MAX_SLOTS	1024

struct state {
	__u32 current;
	__u32 newest;
	__u32 generations[MAX_GENERATIONS];
};

struct generation {
	struct bpf_spin_lock lock;
	__u32 number;
	__u32 slots;
	__u32 live;
	__u32 pid;
	char comm[16];
	__u64 started;
	__u64 since;
	__u16 live_slots[MAX_SLOTS];
};

struct counter {
	__u64 packets;
	__u64 flows;
	__u64 seen;
};

struct peer {
	__be32 address[4];
	__be16 port;
	__u16 zero;
};

struct flow {
	__u32 generation;
	__u32 slot;
	__u64 packets;
	__u64 seen;
};

enum udp_mode { UDP_NONE, UDP_FLOW, UDP_ID };

struct steering {
	__u32 mode;
	__u32 id_offset;
	__u32 id_len;
	__u32 slots;
};

struct service_config {
	struct steering steering;
	__u32 protocol;
	__u32 family;
	__be32 address[4];
	__be16 port;
	__u16 v6only;
	__u32 uid;
	__u32 interface;
	__u32 zero;
	__u64 netns;
};

#endif
