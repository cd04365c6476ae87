// SPDX-License-Identifier: GPL-2.0
/* Packets go to the socket in the slot that the program selects. */
#include "common.h"
#include "steer.skel.h"

#define SERVERS	3

FIXTURE(steer)
{
	int servers[SERVERS];
	struct steer *skel;
	int map;
};

FIXTURE_VARIANT(steer)
{
	struct kind kind;
};

ADD_KINDS(steer);

static struct steer *load(struct __test_metadata *_metadata, __u32 value_size)
{
	struct steer *skel = steer__open();

	ASSERT_NE(NULL, skel);
	ASSERT_EQ(0, bpf_map__set_value_size(skel->maps.sockets, value_size));
	ASSERT_EQ(0, steer__load(skel));
	return skel;
}

FIXTURE_SETUP(steer)
{
	int i;

	enter_netns(_metadata);
	self->skel = load(_metadata, sizeof(__u64));
	self->map = bpf_map__fd(self->skel->maps.sockets);
	for (i = 0; i < SERVERS; i++)
		self->servers[i] = new_server(_metadata, &variant->kind);
	attach(_metadata, self->servers[0], self->skel->progs.select_slot);
}

FIXTURE_TEARDOWN(steer)
{
	steer__destroy(self->skel);
}

/* The slot decides, not the order in which sockets joined their group. */
TEST_F(steer, to_each_slot)
{
	static const __u32 slots[SERVERS] = { 5, SLOTS - 1, 0 };
	int i;

	for (i = 0; i < SERVERS; i++)
		ASSERT_EQ(0, put(self->map, slots[i], self->servers[i], BPF_ANY));
	for (i = 0; i < SERVERS; i++) {
		self->skel->bss->slot = slots[i];
		expect_at(_metadata, &variant->kind, self->servers, SERVERS, i, 100 + i);
		EXPECT_EQ(0, self->skel->bss->result);
		EXPECT_EQ(i + 1, self->skel->bss->runs);
	}
}

/* After a replacement all packets go to the new socket. */
TEST_F(steer, to_a_successor)
{
	ASSERT_EQ(0, put(self->map, 0, self->servers[0], BPF_ANY));
	expect_at(_metadata, &variant->kind, self->servers, SERVERS, 0, 1);
	ASSERT_EQ(0, put(self->map, 0, self->servers[1], BPF_EXIST));
	expect_at(_metadata, &variant->kind, self->servers, SERVERS, 1, 2);
}

/* A socket that was moved to another slot is found there. */
TEST_F(steer, to_a_moved_socket)
{
	ASSERT_EQ(0, put(self->map, 0, self->servers[0], BPF_ANY));
	ASSERT_EQ(0, del(self->map, 0));
	ASSERT_EQ(0, put(self->map, 4, self->servers[0], BPF_ANY));
	self->skel->bss->slot = 4;
	expect_at(_metadata, &variant->kind, self->servers, SERVERS, 0, 1);
	self->skel->bss->slot = 0;
	expect_refused(_metadata, &variant->kind, 2);
}

/* A UDP socket connected to the sender receives whatever the program selects. */
TEST_F(steer, to_a_connected_socket)
{
	const struct kind *kind = &variant->kind;
	__u32 sent = 7, got = 0;
	int client;

	if (kind->type != SOCK_DGRAM || kind->dual)
		SKIP(return, "it would have no peer, or leave its group");
	client = open_socket(_metadata, kind);
	bind_to(_metadata, kind, client, OTHER_PORT);
	ASSERT_EQ(0, connect_to(client, kind->family, PORT));
	ASSERT_EQ(0, connect_to(self->servers[1], kind->family, OTHER_PORT));
	ASSERT_EQ(0, put(self->map, 0, self->servers[0], BPF_ANY));
	ASSERT_EQ(connected_socket_leaves() ? -EINVAL : 0,
		  put(self->map, 1, self->servers[1], BPF_ANY));

	ASSERT_EQ(sizeof(sent), send(client, &sent, sizeof(sent), 0));
	EXPECT_EQ(1, receive(_metadata, kind, self->servers, SERVERS, &got));
	EXPECT_EQ(sent, got);
	/* others get what it selects */
	expect_at(_metadata, kind, self->servers, SERVERS, 0, 8);
}

/* A map with values of 4 bytes works the same for programs. */
TEST_F(steer, map_of_four_byte_values)
{
	struct steer *skel = load(_metadata, sizeof(__u32));
	int map = bpf_map__fd(skel->maps.sockets);
	const __u32 slot = 3;

	attach(_metadata, self->servers[0], skel->progs.select_slot);
	ASSERT_EQ(0, put4(map, slot, self->servers[1], BPF_ANY));
	skel->bss->slot = slot;
	expect_at(_metadata, &variant->kind, self->servers, SERVERS, 1, 1);
	steer__destroy(skel);
}

/* A selection that fails returns an error, and nothing arrives. */
static void expect_error(struct __test_metadata *_metadata, FIXTURE_DATA(steer) *self,
			 const struct kind *kind, __u32 slot, int err)
{
	self->skel->bss->slot = slot;
	self->skel->bss->result = 1;
	expect_refused(_metadata, kind, slot);
	EXPECT_EQ(err, self->skel->bss->result);
	EXPECT_TRUE(nothing_arrived(self->servers, SERVERS));
}

/* An empty slot, or one whose socket has left: ENOENT. */
TEST_F(steer, empty_slot)
{
	const struct kind *kind = &variant->kind;

	expect_error(_metadata, self, kind, 0, -ENOENT);

	ASSERT_EQ(0, put(self->map, 0, self->servers[0], BPF_ANY));
	ASSERT_EQ(0, put(self->map, 1, self->servers[1], BPF_ANY));
	ASSERT_EQ(0, del(self->map, 0));
	expect_error(_metadata, self, kind, 0, -ENOENT);
	close(self->servers[1]);
	self->servers[1] = new_server(_metadata, kind);
	expect_error(_metadata, self, kind, 1, -ENOENT);
}

/* A slot that does not exist: ENOENT. */
TEST_F(steer, slot_past_the_end)
{
	int i;

	for (i = 0; i < SERVERS; i++)
		ASSERT_EQ(0, put(self->map, i, self->servers[i], BPF_ANY));
	expect_error(_metadata, self, &variant->kind, SLOTS, -ENOENT);
	expect_error(_metadata, self, &variant->kind, 1 << 20, -ENOENT);
	expect_error(_metadata, self, &variant->kind, INT32_MAX, -ENOENT);
	expect_error(_metadata, self, &variant->kind, UINT32_MAX, -ENOENT);
}

/* A socket of the other protocol: EPROTOTYPE, for each port and family. */
TEST_F(steer, other_protocol)
{
	struct kind other = variant->kind;
	int fds[3], i;

	other.type = other.type == SOCK_STREAM ? SOCK_DGRAM : SOCK_STREAM;
	fds[0] = new_server_at(_metadata, &other, PORT);
	fds[1] = new_server_at(_metadata, &other, OTHER_PORT);
	other.family = other.family == AF_INET ? AF_INET6 : AF_INET;
	other.dual = false;
	fds[2] = new_server_at(_metadata, &other, OTHER_PORT + 1);
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		ASSERT_EQ(0, put(self->map, i, fds[i], BPF_ANY));
		expect_error(_metadata, self, &variant->kind, i, -EPROTOTYPE);
	}
	EXPECT_TRUE(nothing_arrived(fds, ARRAY_SIZE(fds)));
}

/* A socket of the other family: EAFNOSUPPORT. */
TEST_F(steer, other_family)
{
	struct kind other = {
		.family = variant->kind.family == AF_INET ? AF_INET6 : AF_INET,
		.type = variant->kind.type,
	};
	int fd = new_server_at(_metadata, &other, OTHER_PORT);

	ASSERT_EQ(0, put(self->map, 0, fd, BPF_ANY));
	expect_error(_metadata, self, &variant->kind, 0, -EAFNOSUPPORT);
	EXPECT_TRUE(nothing_arrived(&fd, 1));
}

/* A socket of another group: EBADFD. */
TEST_F(steer, other_group)
{
	int fd = new_server_at(_metadata, &variant->kind, OTHER_PORT);

	ASSERT_EQ(0, put(self->map, 0, fd, BPF_ANY));
	expect_error(_metadata, self, &variant->kind, 0, -EBADFD);
	EXPECT_TRUE(nothing_arrived(&fd, 1));
}

/* Sockets of two network namespaces may share a map, but not their packets. */
TEST_F(steer, other_namespace)
{
	int stranger;

	ASSERT_EQ(0, put(self->map, 0, self->servers[0], BPF_ANY));

	enter_netns(_metadata);
	stranger = new_server(_metadata, &variant->kind);
	ASSERT_EQ(0, put(self->map, 1, stranger, BPF_ANY));
	attach(_metadata, stranger, self->skel->progs.select_slot);

	EXPECT_TRUE(holds(self->map, 0, self->servers[0]));
	EXPECT_TRUE(holds(self->map, 1, stranger));
	expect_error(_metadata, self, &variant->kind, 0, -EBADFD);
	EXPECT_TRUE(nothing_arrived(&stranger, 1));

	self->skel->bss->slot = 1;
	expect_at(_metadata, &variant->kind, &stranger, 1, 0, 7);
	EXPECT_TRUE(nothing_arrived(self->servers, SERVERS));
}

/* A socket deleted from the map still gets packets by the group's hash. */
TEST_F(steer, delete_does_not_close)
{
	int none = -1, i;

	for (i = 1; i < SERVERS; i++)
		close(self->servers[i]);
	ASSERT_EQ(0, put(self->map, 0, self->servers[0], BPF_ANY));
	ASSERT_EQ(0, del(self->map, 0));
	ASSERT_EQ(0, setsockopt(self->servers[0], SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &none,
				sizeof(none)));
	expect_at(_metadata, &variant->kind, self->servers, 1, 0, 1);
}

/* Packets in the queue of a socket stay there after it is replaced. */
TEST_F(steer, replaced_keeps_what_has_arrived)
{
	__u32 got = 0;
	int client;

	ASSERT_EQ(0, put(self->map, 0, self->servers[0], BPF_ANY));
	client = send_from(client_family(&variant->kind), variant->kind.type, PORT, 77);
	ASSERT_LE(0, client);
	ASSERT_EQ(0, put(self->map, 0, self->servers[1], BPF_EXIST));
	EXPECT_EQ(0, receive(_metadata, &variant->kind, self->servers, SERVERS, &got));
	EXPECT_EQ(77, got);
}

/* A dual-stack server also gets IPv6 packets. */
FIXTURE(dual)
{
	int servers[2];
	struct steer *skel;
};

FIXTURE_VARIANT(dual)
{
	struct kind kind;
	struct kind client;
};

FIXTURE_VARIANT_ADD(dual, tcp) {
	{ AF_INET6, SOCK_STREAM, true }, { AF_INET6, SOCK_STREAM }
};

FIXTURE_VARIANT_ADD(dual, udp) {
	{ AF_INET6, SOCK_DGRAM, true }, { AF_INET6, SOCK_DGRAM }
};

FIXTURE_SETUP(dual)
{
	int i, map;

	enter_netns(_metadata);
	self->skel = load(_metadata, sizeof(__u64));
	map = bpf_map__fd(self->skel->maps.sockets);
	for (i = 0; i < 2; i++) {
		self->servers[i] = new_server(_metadata, &variant->kind);
		ASSERT_EQ(0, put(map, i, self->servers[i], BPF_ANY));
	}
	attach(_metadata, self->servers[0], self->skel->progs.select_slot);
}

FIXTURE_TEARDOWN(dual)
{
	steer__destroy(self->skel);
}

/* Clients of both families reach the socket in one slot. */
TEST_F(dual, both_families)
{
	self->skel->bss->slot = 1;
	expect_at(_metadata, &variant->client, self->servers, 2, 1, 6);
	expect_at(_metadata, &variant->kind, self->servers, 2, 1, 4);
	self->skel->bss->slot = 0;
	expect_at(_metadata, &variant->kind, self->servers, 2, 0, 4);
	expect_at(_metadata, &variant->client, self->servers, 2, 0, 6);
}

/* With UDP the sender of a packet chooses the slot, for instance with QUIC. */
FIXTURE(payload)
{
	int servers[SERVERS];
	struct steer *skel;
};

FIXTURE_VARIANT(payload)
{
	struct kind kind;
};

ADD_UDP_KINDS(payload);

FIXTURE_SETUP(payload)
{
	int i, map;

	enter_netns(_metadata);
	self->skel = load(_metadata, sizeof(__u64));
	self->skel->bss->slot_from_payload = true;
	map = bpf_map__fd(self->skel->maps.sockets);
	for (i = 0; i < SERVERS; i++) {
		self->servers[i] = new_server(_metadata, &variant->kind);
		ASSERT_EQ(0, put(map, SERVERS - 1 - i, self->servers[i], BPF_ANY));
	}
	attach(_metadata, self->servers[0], self->skel->progs.select_slot);
}

FIXTURE_TEARDOWN(payload)
{
	steer__destroy(self->skel);
}

/* Each datagram goes to the slot it names. */
TEST_F(payload, names_the_slot)
{
	__u32 slot;
	int round;

	for (round = 0; round < 2; round++)
		for (slot = 0; slot < SERVERS; slot++)
			expect_at(_metadata, &variant->kind, self->servers, SERVERS,
				  SERVERS - 1 - slot, slot);
}

/* A datagram with an index outside the map is dropped, without an effect on others. */
TEST_F(payload, names_no_slot)
{
	static const __u32 slots[] = {
		SERVERS, SLOTS - 1, SLOTS, 4095, 1U << 31, INT32_MAX, UINT32_MAX
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(slots); i++) {
		expect_refused(_metadata, &variant->kind, slots[i]);
		EXPECT_EQ(-ENOENT, self->skel->bss->result);
	}
	EXPECT_TRUE(nothing_arrived(self->servers, SERVERS));
	expect_at(_metadata, &variant->kind, self->servers, SERVERS, SERVERS - 1, 0);
}

TEST_HARNESS_MAIN
