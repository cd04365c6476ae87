// SPDX-License-Identifier: GPL-2.0
/* TCP, and UDP by hash, by flow and by id: which socket gets a packet is compared with what the
 * tool's maps say.
 */
#include "steer.h"

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

/* A canary gets its share of new clients, spread over its slots like any, and the rest goes to the
 * current generation. If it loses its sockets, that gets everything.
 */
TEST_F(steer, canary)
{
	const __u32 packets = 20000, share = (1ULL << 32) / 20 - 1;
	__u32 hits[3][SLOTS] = {}, hash, slot, zero = 0, tried = 0, i;
	struct frame frame;
	int g;

	make_generation(_metadata, self, variant, 2);
	self->state.canary = NUMBER(2);
	self->state.share = share;
	switch_to(_metadata, self, 2);
	self->state.current = NUMBER(1);
	ASSERT_EQ(0, bpf_map_update_elem(bpf_map__fd(self->skel->maps.state), &zero, &self->state,
					 BPF_ANY));
	for (i = 0; i < packets; i++) {
		hash = i * ANY_HASH;
		g = share_hash(hash) <= share ? 2 : 1;
		slot = slot_of(hash, SLOTS);
		make_plain(self, variant, &frame, i);
		ASSERT_EQ(self->cookies[g][slot], receiver(_metadata, self, hash, &frame));
		hits[g][slot]++;
		tried += g == 2;
	}
	EXPECT_LT(packets / 20 - packets / 200, tried);
	EXPECT_GT(packets / 20 + packets / 200, tried);
	for (slot = 0; slot < SLOTS; slot++) {
		EXPECT_LT(tried / SLOTS / 2, hits[2][slot]);
		EXPECT_LT(packets / SLOTS * 9 / 10, hits[1][slot]);
		close(self->sockets[2][slot]);
	}
	for (i = 0; i < 1000; i++) {
		make_plain(self, variant, &frame, packets + i);
		hash = i * ANY_HASH;
		slot = receiver(_metadata, self, hash, &frame) ==
		       self->cookies[1][slot_of(hash, SLOTS)];
		/* a packet that finds a slot of the canary empty may go to any */
		if (i > SLOTS * 40)
			ASSERT_EQ(1, slot);
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

/* Another CPU may have seen a peer later than this one has read its clock: the flow goes on. */
TEST_F(steer, flow_seen_ahead)
{
	int map = bpf_map__fd(self->skel->maps.flows), i;
	struct flow_bucket bucket;
	struct frame frame;
	__u32 index;

	if (variant->steering.mode != UDP_FLOW)
		SKIP(return, "another mode");

	make_plain(self, variant, &frame, 7);
	ASSERT_EQ(self->cookies[1][0], receiver(_metadata, self, 0, &frame));
	for (index = 0; index < BUCKETS; index++) {
		ASSERT_EQ(0, bpf_map_lookup_elem(map, &index, &bucket));
		for (i = 0; i < FLOW_WAYS; i++)
			bucket.flows[i].seen += 1000;
		ASSERT_EQ(0, bpf_map_update_elem(map, &index, &bucket, BPF_ANY));
	}
	EXPECT_EQ(self->cookies[1][0], receiver(_metadata, self, ~0, &frame));
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
