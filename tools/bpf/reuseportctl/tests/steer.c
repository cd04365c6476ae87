// SPDX-License-Identifier: GPL-2.0
/* The program of reuseportctl, run packet by packet with BPF_PROG_RUN and compared with what
 * the tool's maps say. Sockets are real, packets are not sent.
 */
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
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

#define ADD(name, ...)	FIXTURE_VARIANT_ADD(steer, name) { __VA_ARGS__ }

ADD(tcp4, AF_INET, SOCK_STREAM);
ADD(tcp6, AF_INET6, SOCK_STREAM);
ADD(udp4, AF_INET, SOCK_DGRAM);
ADD(flow4, AF_INET, SOCK_DGRAM, false, { UDP_FLOW });
ADD(flow6, AF_INET6, SOCK_DGRAM, false, { UDP_FLOW });
ADD(flow_dual, AF_INET6, SOCK_DGRAM, true, { UDP_FLOW });
ADD(id2, AF_INET, SOCK_DGRAM, false, { UDP_ID, 0, 2 });
ADD(id3, AF_INET6, SOCK_DGRAM, false, { UDP_ID, 1, 3 });
ADD(id4, AF_INET6, SOCK_DGRAM, true, { UDP_ID, 5, 4 });

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
	for (i = 0; i < 6; i++)
		self->skel->rodata->flow_table.key[i] = (i + 1) * 0x9e3779b97f4a7c15;
	ASSERT_EQ(0, bpf_map__set_max_entries(self->skel->maps.flows, BUCKETS));
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

/* A packet with a payload that says nothing to the program. */
static void make_plain(const FIXTURE_DATA(steer) *self, const FIXTURE_VARIANT(steer) *variant,
		       struct frame *frame, __u16 client)
{
	__u8 payload[16];

	memset(payload, 0x80, sizeof(payload));	/* there is no such generation */
	make_frame(frame, self->family, variant->type, PORT, client, payload, sizeof(payload));
}

/* What counters say of a slot, summed up. */
static struct counter read_counter(struct __test_metadata *_metadata,
				   const FIXTURE_DATA(steer) *self, int g, __u32 slot)
{
	struct counter counters[1024], sum = {};
	int cpus = libbpf_num_possible_cpus(), i;

	ASSERT_LT(0, cpus);
	ASSERT_GE(1024, cpus);
	ASSERT_EQ(0, bpf_map_lookup_elem(self->counters[g], &slot, counters));
	for (i = 0; i < cpus; i++) {
		sum.packets += counters[i].packets;
		sum.flows += counters[i].flows;
	}
	return sum;
}

/* New clients are spread evenly, each slot has its share of the hashes, and is counted. */
TEST_F(steer, spread)
{
	const __u32 packets = 4096;
	__u32 hits[SLOTS] = {}, hash, slot, i;
	struct frame frame;

	for (i = 0; i < packets; i++) {
		hash = i << 20;
		slot = slot_of(hash, SLOTS);
		make_plain(self, variant, &frame, i);
		ASSERT_EQ(self->cookies[1][slot], receiver(_metadata, self, hash, &frame));
		hits[slot]++;
	}
	for (slot = 0; slot < SLOTS; slot++) {
		EXPECT_EQ(packets / SLOTS, hits[slot]);
		EXPECT_EQ(hits[slot], read_counter(_metadata, self, 1, slot).packets);
		EXPECT_EQ(hits[slot], read_counter(_metadata, self, 1, slot).flows);
	}
}

/* One write moves new clients to the next generation, and back. */
TEST_F(steer, switch)
{
	struct frame frame;
	__u32 i, hash;

	make_generation(_metadata, self, variant, 2);
	for (i = 0; i < 3 * 64; i++) {
		if (i == 64)
			switch_to(_metadata, self, 2);
		if (i == 128)
			switch_to(_metadata, self, 1);
		hash = i * ANY_HASH;
		make_plain(self, variant, &frame, i);
		ASSERT_EQ(self->cookies[i / 64 == 1 ? 2 : 1][slot_of(hash, SLOTS)],
			  receiver(_metadata, self, hash, &frame));
	}
}

/* Sockets are closed one at a time. The packet that finds one closed goes to another, and
 * all later packets are distributed over the remaining sockets. After the last one the older
 * generation takes over, then the kernel.
 */
TEST_F(steer, sockets_that_close)
{
	__u32 client = 0, current, live, hash, slot, i;
	struct frame frame;

	make_generation(_metadata, self, variant, 2);
	switch_to(_metadata, self, 2);
	for (live = SLOTS; live-- > 0;) {
		close(self->sockets[2][live]);
		make_plain(self, variant, &frame, client++);
		ASSERT_NE(0, receiver(_metadata, self, ~0, &frame));

		current = live ? 2 : 1;
		for (i = 0; i < 256; i++) {
			hash = i << 24;
			make_plain(self, variant, &frame, client++);
			ASSERT_EQ(self->cookies[current][slot_of(hash, live ?: SLOTS)],
				  receiver(_metadata, self, hash, &frame));
		}
	}

	for (slot = 0; slot < SLOTS; slot++)
		close(self->sockets[1][slot]);
	make_plain(self, variant, &frame, client);
	EXPECT_EQ(0, receiver(_metadata, self, 7, &frame));
}

/* Known peers stay with the socket that had their first packet, whatever the hash. */
TEST_F(steer, flows)
{
	const __u32 peers = 1000;
	struct frame frame;
	__u64 first, now;
	__u32 i;

	if (variant->steering.mode != UDP_FLOW)
		SKIP(return, "another mode");

	make_generation(_metadata, self, variant, 2);
	for (i = 0; i < peers; i++) {
		make_plain(self, variant, &frame, i);
		first = receiver(_metadata, self, i * ANY_HASH, &frame);
		ASSERT_EQ(self->cookies[1][slot_of(i * ANY_HASH, SLOTS)], first);
	}
	switch_to(_metadata, self, 2);
	for (i = 0; i < 2 * peers; i++) {
		make_plain(self, variant, &frame, i);
		now = receiver(_metadata, self, ~i, &frame);
		first = i < peers ? self->cookies[1][slot_of(i * ANY_HASH, SLOTS)] :
				    self->cookies[2][slot_of(~i, SLOTS)];
		ASSERT_EQ(first, now);
	}

	/* the old server is gone: its peers are new ones */
	for (i = 0; i < SLOTS; i++)
		close(self->sockets[1][i]);
	for (i = 0; i < peers; i++) {
		make_plain(self, variant, &frame, i);
		ASSERT_EQ(self->cookies[2][slot_of(i, SLOTS)],
			  receiver(_metadata, self, i, &frame));
	}
}

/* The one flow that is known. */
static struct flow only_flow(struct __test_metadata *_metadata, const FIXTURE_DATA(steer) *self)
{
	struct flow_bucket bucket;
	struct flow found = {};
	int flows = 0, i;
	__u32 index;

	for (index = 0; index < BUCKETS; index++) {
		ASSERT_EQ(0, bpf_map_lookup_elem(bpf_map__fd(self->skel->maps.flows), &index,
						 &bucket));
		for (i = 0; i < FLOW_WAYS; i++) {
			if (bucket.flows[i].generation) {
				found = bucket.flows[i];
				flows++;
			}
		}
	}
	EXPECT_EQ(1, flows);
	return found;
}

/* A peer is its address and its port, in the same form for both families. */
TEST_F(steer, peer)
{
	__be32 address[4] = {};
	struct frame frame;
	struct flow flow;

	if (variant->steering.mode != UDP_FLOW)
		SKIP(return, "another mode");

	if (self->family == AF_INET) {
		address[2] = htonl(0xffff);
		address[3] = htonl(INADDR_LOOPBACK);
	} else {
		address[3] = htonl(1);
	}
	make_plain(self, variant, &frame, 7);
	receiver(_metadata, self, 0, &frame);
	receiver(_metadata, self, 1, &frame);
	flow = only_flow(_metadata, self);
	EXPECT_EQ(0, memcmp(address, flow.address, sizeof(address)));
	EXPECT_EQ(htons(CLIENT_PORT + 7), flow.port);
	EXPECT_EQ(NUMBER(1), flow.generation);
	EXPECT_EQ(0, flow.slot);
	EXPECT_EQ(2, flow.packets);
	EXPECT_EQ(2, read_counter(_metadata, self, 1, 0).packets);
	EXPECT_EQ(1, read_counter(_metadata, self, 1, 0).flows);
}

/* Write an id into a payload as a server would. */
static void write_id(const struct steering *steering, __u8 *payload, __u32 number, __u32 slot)
{
	__u8 *id = payload + steering->id_offset;

	if (steering->id_len == 4)
		*id++ = number >> 8;
	*id++ = number;
	if (steering->id_len > 2)
		*id++ = slot >> 8;
	*id = slot;
}

/* Is this the number of generation g, as far as an id has room for it? */
static bool names(const struct steering *steering, __u32 number, int g)
{
	return !((number - NUMBER(g)) & (steering->id_len == 4 ? 0xffff : 0xff));
}

/* Each id that names a socket leads to it, every other one counts for nothing. */
TEST_F(steer, ids)
{
	__u32 number, slot, hash = 0;
	__u64 expected;
	struct frame frame;
	__u8 payload[16];

	if (variant->steering.mode != UDP_ID)
		SKIP(return, "another mode");

	make_generation(_metadata, self, variant, 2);
	switch_to(_metadata, self, 2);
	close(self->sockets[1][3]);
	for (number = 0; number <= NUMBER(2); number++) {
		for (slot = 0; slot <= UINT8_MAX; slot++) {
			memset(payload, 0xff, sizeof(payload));
			write_id(&variant->steering, payload, number, slot);
			make_frame(&frame, self->family, SOCK_DGRAM, PORT, slot, payload,
				   sizeof(payload));
			hash += ANY_HASH;
			expected = self->cookies[2][slot_of(hash, SLOTS)];
			if (names(&variant->steering, number, 1) && slot < SLOTS && slot != 3)
				expected = self->cookies[1][slot];
			if (names(&variant->steering, number, 2) && slot < SLOTS)
				expected = self->cookies[2][slot];
			ASSERT_EQ(expected, receiver(_metadata, self, hash, &frame));
		}
	}
}

/* A datagram that is too short to have an id is the packet of a new peer. */
TEST_F(steer, short_datagrams)
{
	__u32 enough = variant->steering.id_offset + variant->steering.id_len, len;
	__u8 payload[16] = {};
	struct frame frame;

	if (variant->steering.mode != UDP_ID)
		SKIP(return, "another mode");

	write_id(&variant->steering, payload, NUMBER(1), 5);
	for (len = 0; len <= enough; len++) {
		make_frame(&frame, self->family, SOCK_DGRAM, PORT, 0, payload, len);
		EXPECT_EQ(self->cookies[1][len < enough ? 2 : 5],
			  receiver(_metadata, self, 2U << 29, &frame));
	}
}

TEST_HARNESS_MAIN
