// SPDX-License-Identifier: GPL-2.0
/* QUIC: which socket gets a packet, by its connection id. Ids that a server has sent are put into
 * the table of the program here, where quic_learn puts them otherwise.
 */
#include "steer.h"

#define ADD(name, ...)	FIXTURE_VARIANT_ADD(steer, name) { __VA_ARGS__ }

ADD(ipv4, AF_INET, SOCK_DGRAM, false, { UDP_QUIC });
ADD(ipv6, AF_INET6, SOCK_DGRAM, false, { UDP_QUIC });
ADD(dual, AF_INET6, SOCK_DGRAM, true, { UDP_QUIC });

#define INITIAL		0xc0
#define ZERO_RTT	0xd0
#define HANDSHAKE	0xe0
#define SHORT		0x40
/* of version 2 */
#define RETRY_2		0xc0
#define ZERO_RTT_2	0xe0
#define HANDSHAKE_2	0xf0
#define VERSION_1	1
#define VERSION_2	0x6b3343cf
#define VERSION_NEW	0xfaceb00c	/* of which nothing is known */
#define ID_LEN		8

struct id {
	__u8 bytes[20];
	__u8 len;
};

/* An id that differs from those of other numbers, and looks like no cookie. */
static struct id new_id(__u32 number, __u8 len)
{
	struct id id = { .len = len };
	__u32 i;

	for (i = 0; i < len; i++)
		id.bytes[i] = (number + 1) * 0x9e3779b1 >> (i % 4 * 8) ^ i ^ 0x5a;
	return id;
}

/* A datagram with a QUIC header: @first SHORT, or a long header of that type and version. What
 * follows the ids would be encrypted. Returns its length.
 */
static __u32 write_packet(__u8 *payload, __u8 first, __u32 version, const struct id *id)
{
	__u8 *at = payload;

	*at++ = first | 0x0f;
	if (first & 0x80) {
		*at++ = version >> 24;
		*at++ = version >> 16;
		*at++ = version >> 8;
		*at++ = version;
		*at++ = id->len;
	}
	memcpy(at, id->bytes, id->len);
	at += id->len;
	if (first & 0x80)
		*at++ = 0;	/* the client's own id has no bytes, as Chrome's */
	memset(at, 0xa5, 32);
	return at + 32 - payload;
}

/* Who gets it? Returns a cookie. The upper half of @hash selects; the lower one is the client's, as
 * each address has another hash.
 */
static __u64 send_packet(struct __test_metadata *_metadata, const FIXTURE_DATA(steer) *self,
			 __u16 client, __u32 hash, __u8 first, __u32 version, const struct id *id)
{
	__u8 payload[128];
	struct frame frame;
	__u32 len = write_packet(payload, first, version, id);

	make_frame(&frame, self->family, SOCK_DGRAM, PORT, client, payload, len);
	return receiver(_metadata, self, (hash & 0xffff0000) | client, &frame);
}

static __u64 by_hash(const FIXTURE_DATA(steer) *self, int g, __u32 hash)
{
	return self->cookies[g][slot_of(hash, SLOTS)];
}

static struct quic_service read_info(struct __test_metadata *_metadata,
				     const FIXTURE_DATA(steer) *self)
{
	struct quic_service info;
	__u32 zero = 0;

	ASSERT_EQ(0, bpf_map_lookup_elem(bpf_map__fd(self->skel->maps.quic_service), &zero,
					 &info));
	return info;
}

static void write_info(struct __test_metadata *_metadata, const FIXTURE_DATA(steer) *self,
		       const struct quic_service *info)
{
	__u32 zero = 0;

	ASSERT_EQ(0, bpf_map_update_elem(bpf_map__fd(self->skel->maps.quic_service), &zero, info,
					 BPF_ANY));
}

/* The server sends its ids in long headers, of this length. */
static void learn_from_server(struct __test_metadata *_metadata, const FIXTURE_DATA(steer) *self,
			      __u8 len)
{
	struct quic_service info = { .learns = 1, .lengths = { len } };

	write_info(_metadata, self, &info);
}

static __u32 bucket_of(const FIXTURE_DATA(steer) *self, const struct id *id)
{
	struct quic_id key = { .len = id->len };

	memcpy(key.words, id->bytes, id->len);
	return ((__u64)quic_hash(&self->skel->rodata->flow_table, &key) * BUCKETS) >> 32;
}

/* A server's packet has had this id. */
static void server_sends(struct __test_metadata *_metadata, const FIXTURE_DATA(steer) *self, int g,
			 __u32 slot, const struct id *id)
{
	int map = bpf_map__fd(self->skel->maps.quic_ids), way;
	__u32 index = bucket_of(self, id);
	struct quic_bucket bucket;
	struct timespec now;

	ASSERT_EQ(0, bpf_map_lookup_elem(map, &index, &bucket));
	for (way = 0; way < FLOW_WAYS && bucket.entries[way].kind; way++)
		;
	ASSERT_GT(FLOW_WAYS, way);
	clock_gettime(CLOCK_MONOTONIC, &now);
	bucket.entries[way] = (struct quic_entry){
		.len = id->len,
		.kind = QUIC_PENDING,
		.slot = slot,
		.generation = NUMBER(g),
		.seen = (now.tv_sec * 1000000000ULL + now.tv_nsec) >> TICK_SHIFT,
	};
	memcpy(bucket.entries[way].words, id->bytes, id->len);
	ASSERT_EQ(0, bpf_map_update_elem(map, &index, &bucket, BPF_ANY));
}

/* How many ids of a kind, or addresses (QUIC_FREE), are recorded. */
static int count_entries(struct __test_metadata *_metadata, const FIXTURE_DATA(steer) *self,
			 enum quic_kind kind)
{
	struct flow_bucket flows;
	struct quic_bucket ids;
	int count = 0, way;
	__u32 index;

	for (index = 0; index < BUCKETS; index++) {
		ASSERT_EQ(0, bpf_map_lookup_elem(bpf_map__fd(self->skel->maps.quic_ids), &index,
						 &ids));
		ASSERT_EQ(0, bpf_map_lookup_elem(bpf_map__fd(self->skel->maps.flows), &index,
						 &flows));
		for (way = 0; way < FLOW_WAYS; way++)
			count += kind ? ids.entries[way].kind == kind :
					flows.flows[way].generation != 0;
	}
	return count;
}

/* An id that begins with a socket's cookie leads to it, whatever comes after it. */
TEST_F_TIMEOUT(steer, cookies, 600)
{
	int map = bpf_map__fd(self->skel->maps.quic_cookies), g, i;
	struct id id = new_id(0, 20);
	__u32 slot;
	__u64 got;

	learn_from_server(_metadata, self, ID_LEN);
	make_generation(_metadata, self, variant, 2);
	switch_to(_metadata, self, 2);
	for (g = 1; g <= 2; g++) {
		for (slot = 0; slot < SLOTS; slot++) {
			struct quic_cookie entry = {
				.cookie = self->cookies[g][slot],
				.target = { NUMBER(g), slot },
			};
			__u32 index = entry.cookie & (BUCKETS - 1);

			ASSERT_EQ(0, bpf_map_update_elem(map, &index, &entry, BPF_ANY));
		}
	}
	close(self->sockets[1][5]);
	for (g = 1; g <= 2; g++) {
		for (slot = 0; slot < SLOTS; slot++) {
			for (i = 0; i < 8; i++)
				id.bytes[i] = self->cookies[g][slot] >> (56 - 8 * i);
			for (id.len = 0; id.len <= 20; id.len++) {
				__u64 expected = g == 1 && slot == 5 ? by_hash(self, 2, 0) :
								       self->cookies[g][slot];

				got = send_packet(_metadata, self, 7, 0, INITIAL, VERSION_1, &id);
				ASSERT_EQ(id.len < 8 ? by_hash(self, 2, 0) : expected, got);
				if (id.len < 8)
					continue;
				got = send_packet(_metadata, self, 8, 0, SHORT, 0, &id);
				ASSERT_EQ(expected, got);
			}
		}
	}
	EXPECT_EQ(0, count_entries(_metadata, self, QUIC_KNOWN));
	EXPECT_EQ(0, count_entries(_metadata, self, QUIC_FREE));
}

/* All packets of a handshake go where the first one went; another first id is another connection,
 * from the same address as well, and goes to the current generation.
 */
TEST_F_TIMEOUT(steer, handshakes, 600)
{
	const __u32 versions[] = { VERSION_1, VERSION_2, VERSION_NEW };
	__u8 initial, zero_rtt;
	struct id id, other;
	__u64 expected;
	__u32 i, hash;

	learn_from_server(_metadata, self, ID_LEN);
	make_generation(_metadata, self, variant, 2);
	for (i = 0; i < 3 * 40; i++) {
		__u32 version = versions[i % 3];

		initial = version == VERSION_2 ? ZERO_RTT : INITIAL;
		zero_rtt = version == VERSION_2 ? HANDSHAKE : ZERO_RTT;
		id = new_id(i, 8 + i % 13);
		other = new_id(1000 + i, 8 + i % 13);
		hash = i * ANY_HASH;
		expected = by_hash(self, 1, hash);
		switch_to(_metadata, self, 1);
		ASSERT_EQ(expected, send_packet(_metadata, self, i, hash, initial, version, &id));
		switch_to(_metadata, self, 2);
		ASSERT_EQ(expected, send_packet(_metadata, self, i, ~hash, initial, version, &id));
		ASSERT_EQ(expected, send_packet(_metadata, self, i, ~hash, zero_rtt, version, &id));
		ASSERT_EQ(by_hash(self, 2, ~hash),
			  send_packet(_metadata, self, i, ~hash, initial, version, &other));
	}
	EXPECT_EQ(240, count_entries(_metadata, self, QUIC_FIRST));
	EXPECT_EQ(0, count_entries(_metadata, self, QUIC_FREE));
}

/* Another CPU may have seen an id later than this one has read its clock: it has not ended. */
TEST_F_TIMEOUT(steer, seen_ahead, 600)
{
	int map = bpf_map__fd(self->skel->maps.quic_ids), way;
	struct id id = new_id(1, 12);
	struct quic_bucket bucket;
	__u32 index = bucket_of(self, &id), packet;

	learn_from_server(_metadata, self, id.len);
	server_sends(_metadata, self, 1, 0, &id);
	/* pending for the first packet, known for the second one, which comes from elsewhere */
	for (packet = 0; packet < 2; packet++) {
		ASSERT_EQ(0, bpf_map_lookup_elem(map, &index, &bucket));
		for (way = 0; way < FLOW_WAYS; way++)
			bucket.entries[way].seen += 1000;
		ASSERT_EQ(0, bpf_map_update_elem(map, &index, &bucket, BPF_ANY));
		EXPECT_EQ(self->cookies[1][0],
			  send_packet(_metadata, self, packet, ~0, SHORT, 0, &id));
	}
}

/* An id that the server has sent leads to its socket from any address, after a switch too. */
TEST_F_TIMEOUT(steer, ids, 600)
{
	struct id id;
	__u32 i, slot;
	__u8 len;

	make_generation(_metadata, self, variant, 2);
	for (len = 1; len <= 20; len++) {
		learn_from_server(_metadata, self, len);
		for (i = 0; i < 20; i++) {
			id = new_id(100 * len + i, len);
			slot = i % SLOTS;
			switch_to(_metadata, self, 1);
			server_sends(_metadata, self, 1, slot, &id);
			ASSERT_EQ(self->cookies[1][slot],
				  send_packet(_metadata, self, i, ~0, HANDSHAKE, VERSION_1, &id));
			switch_to(_metadata, self, 2);
			ASSERT_EQ(self->cookies[1][slot],
				  send_packet(_metadata, self, i, 0, SHORT, 0, &id));
			ASSERT_EQ(self->cookies[1][slot],
				  send_packet(_metadata, self, 500 + i, 0, SHORT, 0, &id));
		}
	}
	EXPECT_EQ(0, count_entries(_metadata, self, QUIC_PENDING));

	/* the server is gone */
	for (slot = 0; slot < SLOTS; slot++)
		close(self->sockets[1][slot]);
	EXPECT_EQ(by_hash(self, 2, 0), send_packet(_metadata, self, 1, 0, SHORT, 0, &id));
}

/* Up to four lengths of ids are tried. */
TEST_F_TIMEOUT(steer, lengths, 600)
{
	struct quic_service info = { .learns = 1, .lengths = { 8, 4, 20, 17 } };
	struct id id;
	__u32 i;

	write_info(_metadata, self, &info);
	for (i = 0; i < QUIC_LENGTHS; i++) {
		id = new_id(i, info.lengths[i]);
		server_sends(_metadata, self, 1, i, &id);
		EXPECT_EQ(self->cookies[1][i],
			  send_packet(_metadata, self, i, ~0, SHORT, 0, &id));
	}
}

/* A client that takes another id is known by its address, and the id is learned: it leads to the
 * socket when the address has changed. How many one address, and one id, can teach is bounded.
 */
TEST_F_TIMEOUT(steer, addresses, 600)
{
	struct id id = new_id(0, ID_LEN), next;
	__u64 cookie = self->cookies[1][3];
	int known, before;
	__u32 i;

	learn_from_server(_metadata, self, ID_LEN);
	make_generation(_metadata, self, variant, 2);
	switch_to(_metadata, self, 2);
	server_sends(_metadata, self, 1, 3, &id);
	EXPECT_EQ(cookie, send_packet(_metadata, self, 1, 0, SHORT, 0, &id));
	EXPECT_EQ(1, count_entries(_metadata, self, QUIC_FREE));
	next = new_id(1, ID_LEN);
	EXPECT_EQ(cookie, send_packet(_metadata, self, 1, 0, SHORT, 0, &next));
	EXPECT_EQ(cookie, send_packet(_metadata, self, 2, 0, SHORT, 0, &next));
	EXPECT_EQ(2, count_entries(_metadata, self, QUIC_FREE));
	next = new_id(2, ID_LEN);
	EXPECT_EQ(cookie, send_packet(_metadata, self, 2, 0, SHORT, 0, &next));
	EXPECT_EQ(cookie, send_packet(_metadata, self, 3, 0, SHORT, 0, &next));

	for (i = 0; i < 200; i++) {
		next = new_id(100 + i, ID_LEN);
		ASSERT_EQ(cookie, send_packet(_metadata, self, 1, 0, SHORT, 0, &next));
		ASSERT_EQ(cookie, send_packet(_metadata, self, 1000 + i, 0, SHORT, 0, &id));
	}
	known = count_entries(_metadata, self, QUIC_KNOWN);
	before = count_entries(_metadata, self, QUIC_FREE);
	EXPECT_GE(20, known);
	EXPECT_GE(20, before);
}

/* A short header of which neither the id nor the address is known goes by hash to the current
 * generation, and nothing is recorded.
 */
TEST_F_TIMEOUT(steer, unknown, 600)
{
	struct id id;
	__u32 i;

	learn_from_server(_metadata, self, ID_LEN);
	for (i = 0; i < 200; i++) {
		id = new_id(i, ID_LEN);
		ASSERT_EQ(by_hash(self, 1, i << 24),
			  send_packet(_metadata, self, i, i << 24, SHORT, 0, &id));
		ASSERT_EQ(by_hash(self, 1, i << 24),
			  send_packet(_metadata, self, i, i << 24, HANDSHAKE, VERSION_1, &id));
		ASSERT_EQ(by_hash(self, 1, i << 24),
			  send_packet(_metadata, self, i, i << 24, INITIAL, 0, &id));
		ASSERT_EQ(by_hash(self, 1, i << 24),
			  send_packet(_metadata, self, i, i << 24, RETRY_2, VERSION_2, &id));
		ASSERT_EQ(by_hash(self, 1, i << 24),
			  send_packet(_metadata, self, i, i << 24, HANDSHAKE_2, VERSION_2, &id));
	}
	EXPECT_EQ(0, count_entries(_metadata, self, QUIC_FIRST));
	EXPECT_EQ(0, count_entries(_metadata, self, QUIC_KNOWN));
	EXPECT_EQ(0, count_entries(_metadata, self, QUIC_FREE));

	/* a connection may begin with early data */
	send_packet(_metadata, self, 1, 0, ZERO_RTT, VERSION_1, &id);
	EXPECT_EQ(1, count_entries(_metadata, self, QUIC_FIRST));
	id = new_id(1000, ID_LEN);
	send_packet(_metadata, self, 1, 0, ZERO_RTT_2, VERSION_2, &id);
	EXPECT_EQ(2, count_entries(_metadata, self, QUIC_FIRST));
}

/* What an id teaches, and what that teaches in turn, ends after three times. */
TEST_F_TIMEOUT(steer, depth, 600)
{
	struct id id = new_id(0, ID_LEN);
	__u32 i;

	learn_from_server(_metadata, self, ID_LEN);
	server_sends(_metadata, self, 1, 3, &id);
	for (i = 0; i < 10; i++) {
		send_packet(_metadata, self, i, 0, SHORT, 0, &id);
		id = new_id(1 + i, ID_LEN);
		send_packet(_metadata, self, i, 0, SHORT, 0, &id);
	}
	EXPECT_EQ(4, count_entries(_metadata, self, QUIC_KNOWN));
	EXPECT_EQ(4, count_entries(_metadata, self, QUIC_FREE));
}

/* A bucket that is full of known ids takes no other one. */
TEST_F_TIMEOUT(steer, full, 600)
{
	struct id ids[FLOW_WAYS + 2], id;
	__u32 found = 0, i;

	learn_from_server(_metadata, self, ID_LEN);
	for (i = 0; found < FLOW_WAYS + 2; i++) {
		id = new_id(i, ID_LEN);
		if (bucket_of(self, &id) == 7)
			ids[found++] = id;
	}
	for (i = 0; i < FLOW_WAYS; i++) {
		server_sends(_metadata, self, 1, i % SLOTS, &ids[i]);
		send_packet(_metadata, self, i, 0, HANDSHAKE, VERSION_1, &ids[i]);
	}
	send_packet(_metadata, self, 100, 0, INITIAL, VERSION_1, &ids[FLOW_WAYS]);
	/* of a known address, which may teach it */
	send_packet(_metadata, self, 0, 0, SHORT, 0, &ids[FLOW_WAYS + 1]);
	/* the hash would select another slot */
	for (i = 0; i < FLOW_WAYS; i++)
		EXPECT_EQ(self->cookies[1][i % SLOTS],
			  send_packet(_metadata, self, 200 + i, (i + 4) << 29, SHORT, 0, &ids[i]));
	EXPECT_EQ(0, count_entries(_metadata, self, QUIC_FIRST));
}

/* Without the server's packets, a handshake teaches the id that the client uses next. */
TEST_F_TIMEOUT(steer, without_server, 600)
{
	struct id first = new_id(0, ID_LEN), id = new_id(1, ID_LEN), other = new_id(2, ID_LEN);
	__u64 cookie = by_hash(self, 1, 0);

	make_generation(_metadata, self, variant, 2);
	EXPECT_EQ(cookie, send_packet(_metadata, self, 1, 0, INITIAL, VERSION_1, &first));
	switch_to(_metadata, self, 2);
	EXPECT_EQ(cookie, send_packet(_metadata, self, 1, ~0, HANDSHAKE, VERSION_1, &id));
	EXPECT_EQ(ID_LEN, read_info(_metadata, self).lengths[0]);
	EXPECT_EQ(cookie, send_packet(_metadata, self, 2, ~0, SHORT, 0, &id));
	EXPECT_EQ(by_hash(self, 2, ~0),
		  send_packet(_metadata, self, 1, ~0, INITIAL, VERSION_1, &other));
}

/* No number of packets from invented addresses moves a connection: first packets, short headers,
 * two from each, with ids that differ or are the same.
 */
TEST_F_TIMEOUT(steer, flood, 600)
{
	const __u32 connections = 64, packets = 4 * FLOW_WAYS * BUCKETS;
	struct id id;
	__u32 i;

	learn_from_server(_metadata, self, ID_LEN);
	make_generation(_metadata, self, variant, 2);
	for (i = 0; i < connections; i++) {
		id = new_id(i, ID_LEN);
		server_sends(_metadata, self, 1, i % SLOTS, &id);
		send_packet(_metadata, self, i, 0, HANDSHAKE, VERSION_1, &id);
	}
	switch_to(_metadata, self, 2);
	for (i = 0; i < packets; i++) {
		id = new_id(100000 + i / 2, 8 + i % 3);
		send_packet(_metadata, self, 1000 + i / 2, i, i % 4 < 2 ? INITIAL : SHORT,
			    VERSION_1, &id);
		send_packet(_metadata, self, 1000 + i / 2, i, i % 4 ? HANDSHAKE : ZERO_RTT,
			    VERSION_2, &id);
	}
	for (i = 0; i < connections; i++) {
		id = new_id(i, ID_LEN);
		ASSERT_EQ(self->cookies[1][i % SLOTS],
			  send_packet(_metadata, self, 20000 + i, 0, SHORT, 0, &id));
	}
}

/* Each length byte, and a packet that ends anywhere: it goes to some socket, and a socket only
 * that the hash selects.
 */
TEST_F_TIMEOUT(steer, malformed, 600)
{
	__u8 payload[128];
	struct frame frame;
	struct id id;
	__u32 len, i;

	learn_from_server(_metadata, self, ID_LEN);
	for (i = 0; i <= UINT8_MAX; i++) {
		id = new_id(i, 20);
		write_packet(payload, INITIAL, VERSION_1, &id);
		payload[5] = i;
		for (len = 0; len <= 64; len++) {
			make_frame(&frame, self->family, SOCK_DGRAM, PORT, i, payload, len);
			ASSERT_EQ(by_hash(self, 1, 3U << 29),
				  receiver(_metadata, self, 3U << 29, &frame));
		}
	}
	for (len = 0; len <= 64; len++) {
		id = new_id(len, ID_LEN);
		write_packet(payload, SHORT, 0, &id);
		make_frame(&frame, self->family, SOCK_DGRAM, PORT, len, payload, len);
		ASSERT_EQ(by_hash(self, 1, 5U << 29),
			  receiver(_metadata, self, 5U << 29, &frame));
	}
}

TEST_HARNESS_MAIN
