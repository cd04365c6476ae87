/* SPDX-License-Identifier: GPL-2.0 */
/* The program of reuseportctl, run packet by packet with BPF_PROG_RUN: what the tests of all modes
 * share. Sockets are real, packets are not sent.
 */
#ifndef __STEER_H
#define __STEER_H

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "../reuseportctl.h"
#include "reuseportctl.skel.h"
#include "kselftest_harness.h"
#include "reuseport_array/packet.h"

#ifndef ENOTSUPP
#define ENOTSUPP	524
#endif

#define PORT		4433
#define SLOTS		8	/* sockets of a generation */
#define BUCKETS		4096	/* of flows: none has to evict one here */
#define ANY_HASH	0x9e3779b1
#define NUMBER(g)	(254 + (g))	/* of generation g: short ids have its low byte only */

FIXTURE(steer)
{
	struct reuseportctl_bpf *skel;
	int prog;
	int family;			/* of the packets */
	int member;			/* a socket of the group that is in no map */
	int sockets[3][SLOTS];		/* of generations 1 and 2; there is none before */
	__u64 cookies[3][SLOTS];
	int counters[3];
	struct state state;
};

FIXTURE_VARIANT(steer)
{
	int family;
	int type;
	bool v4_clients;		/* of a socket bound to :: */
	struct steering steering;
};

static int new_socket(struct __test_metadata *_metadata, const FIXTURE_VARIANT(steer) *variant)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(PORT) };
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	bool is_ipv4 = variant->family == AF_INET;
	int fd = socket(variant->family, variant->type | SOCK_CLOEXEC, 0), one = 1;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)));
	ASSERT_EQ(0, bind(fd, is_ipv4 ? (void *)&in : (void *)&in6,
			  is_ipv4 ? sizeof(in) : sizeof(in6)));
	if (variant->type == SOCK_STREAM)
		ASSERT_EQ(0, listen(fd, 8));
	return fd;
}

static int make_counters(struct __test_metadata *_metadata)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "slot_counters", sizeof(__u32),
				sizeof(struct counter), SLOTS, NULL);

	ASSERT_LE(0, fd);
	return fd;
}

/* What the tool writes when it makes a generation: a map of sockets, and what it is. */
static void make_generation(struct __test_metadata *_metadata, FIXTURE_DATA(steer) *self,
			    const FIXTURE_VARIANT(steer) *variant, int g)
{
	struct generation info = { .number = NUMBER(g), .slots = SLOTS, .live = SLOTS };
	__u32 index = NUMBER(g) % MAX_GENERATIONS, slot;
	socklen_t len = sizeof(__u64);
	int map;

	map = bpf_map_create(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, "sockets", sizeof(__u32),
			     sizeof(__u64), SLOTS, NULL);
	ASSERT_LE(0, map);
	for (slot = 0; slot < SLOTS; slot++) {
		int fd = new_socket(_metadata, variant);
		__u64 value = fd;

		self->sockets[g][slot] = fd;
		ASSERT_EQ(0, getsockopt(fd, SOL_SOCKET, SO_COOKIE, &self->cookies[g][slot],
					&len));
		ASSERT_EQ(0, bpf_map_update_elem(map, &slot, &value, BPF_ANY));
		info.live_slots[slot] = slot;
	}
	ASSERT_EQ(0, bpf_map_update_elem(bpf_map__fd(self->skel->maps.generation_info), &index,
					 &info, BPF_ANY));
	ASSERT_EQ(0, bpf_map_update_elem(bpf_map__fd(self->skel->maps.generations), &index, &map,
					 BPF_ANY));
	self->counters[g] = make_counters(_metadata);
	ASSERT_EQ(0, bpf_map_update_elem(bpf_map__fd(self->skel->maps.counters), &index,
					 &self->counters[g], BPF_ANY));
	close(map);
}

/* The switch. */
static void switch_to(struct __test_metadata *_metadata, FIXTURE_DATA(steer) *self, int g)
{
	__u32 zero = 0;
	int i;

	self->state.current = NUMBER(g);
	self->state.newest = NUMBER(g);
	for (i = g; i > 1; i--)
		self->state.older[NUMBER(i) % MAX_GENERATIONS] = NUMBER(i - 1);
	ASSERT_EQ(0, bpf_map_update_elem(bpf_map__fd(self->skel->maps.state), &zero, &self->state,
					 BPF_ANY));
}

FIXTURE_SETUP(steer)
{
	struct frame frame;
	int counters, err, i;
	__u64 cookie;

	ASSERT_EQ(0, unshare(CLONE_NEWNET));
	self->skel = reuseportctl_bpf__open();
	ASSERT_NE(NULL, self->skel);
	self->skel->rodata->steering = variant->steering;
	self->skel->rodata->steering.slots = SLOTS;
	counters = make_counters(_metadata);
	ASSERT_EQ(0, bpf_map__set_inner_map_fd(self->skel->maps.counters, counters));
	self->skel->rodata->flow_table.buckets = BUCKETS;
	self->skel->rodata->flow_table.timeout = 1U << 20;
	self->skel->rodata->flow_table.drain_timeout = 1U << 20;
	for (i = 0; i < 7; i++)
		self->skel->rodata->flow_table.key[i] = (i + 1) * 0x9e3779b97f4a7c15;
	ASSERT_EQ(0, bpf_map__set_max_entries(self->skel->maps.flows, BUCKETS));
	self->skel->rodata->flow_table.id_buckets = BUCKETS;
	ASSERT_EQ(0, bpf_map__set_max_entries(self->skel->maps.quic_ids, BUCKETS));
	self->skel->rodata->quic.cookie_mask = BUCKETS - 1;
	ASSERT_EQ(0, bpf_map__set_max_entries(self->skel->maps.quic_cookies, BUCKETS));
	bpf_program__set_autoload(self->skel->progs.quic_learn, false);
	ASSERT_EQ(0, reuseportctl_bpf__load(self->skel));
	self->prog = bpf_program__fd(self->skel->progs.steer);
	self->family = variant->v4_clients ? AF_INET : variant->family;
	self->member = new_socket(_metadata, variant);

	make_frame(&frame, self->family, variant->type, PORT, 0, NULL, 0);
	err = run_with_packet(self->prog, self->member, 0, 0, &frame, &cookie);
	if (err == -ENOTSUPP)
		SKIP(return, "this kernel does not run such programs with BPF_PROG_RUN");

	/* without a generation the kernel chooses */
	ASSERT_EQ(SK_PASS, err);
	ASSERT_EQ(0, cookie);
	make_generation(_metadata, self, variant, 1);
	switch_to(_metadata, self, 1);
}

FIXTURE_TEARDOWN(steer)
{
	reuseportctl_bpf__destroy(self->skel);
}

/* Which socket gets a packet? Returns its cookie, or 0 if the kernel chooses. */
static __u64 receiver(struct __test_metadata *_metadata, const FIXTURE_DATA(steer) *self,
		      __u32 hash, const struct frame *frame)
{
	__u64 cookie = 0;

	ASSERT_EQ(SK_PASS, run_with_packet(self->prog, self->member, hash, 0, frame, &cookie));
	return cookie;
}

/* The slot that has this share of all hashes, of so many. */
static __u32 slot_of(__u32 hash, __u32 live)
{
	return ((__u64)hash * live) >> 32;
}


#endif
