// SPDX-License-Identifier: GPL-2.0
/* Connected UDP sockets: which of them stay in the map, and what they receive. */
#include <stdio.h>
#include <sys/utsname.h>

#include "common.h"
#include "steer.skel.h"

#include "examples/connection_id.c"
#include "examples/peer_socket.c"

#define WORKERS	4

/* From Linux 6.13 on connect() takes every UDP socket out of its group. Before, it did so
 * only with a socket that was bound to the wildcard address.
 */
static bool connect_leaves_group(const struct kind *kind)
{
	struct utsname uts;
	int major, minor;

	if (kind->dual)
		return true;
	if (uname(&uts) || sscanf(uts.release, "%d.%d", &major, &minor) != 2)
		return false;
	return major > 6 || (major == 6 && minor >= 13);
}

FIXTURE(connected_udp)
{
	struct steer *skel;
	int servers[2];
	int map;
};

FIXTURE_VARIANT(connected_udp)
{
	struct kind kind;
};

ADD_UDP_KINDS(connected_udp);

FIXTURE_SETUP(connected_udp)
{
	int i;

	enter_netns(_metadata);
	self->skel = steer__open_and_load();
	ASSERT_NE(NULL, self->skel);
	self->map = bpf_map__fd(self->skel->maps.sockets);
	for (i = 0; i < 2; i++)
		self->servers[i] = new_server(_metadata, &variant->kind);
	attach(_metadata, self->servers[0], self->skel->progs.select_slot);
}

FIXTURE_TEARDOWN(connected_udp)
{
	steer__destroy(self->skel);
}

/* The program selects slot 1, and a sender that servers[1] is not connected to sends. */
static void expect_strangers(struct __test_metadata *_metadata, FIXTURE_DATA(connected_udp) *self,
			     const struct kind *kind)
{
	self->skel->bss->slot = 1;
	if (connect_leaves_group(kind)) {
		EXPECT_TRUE(is_empty(self->map, 1));
		expect_refused(_metadata, kind, 7);
		EXPECT_EQ(-ENOENT, self->skel->bss->result);
		return;
	}
	EXPECT_TRUE(holds(self->map, 1, self->servers[1]));
	expect_at(_metadata, kind, self->servers, 2, 1, 7);
}

/* A socket that is connected while in a slot leaves it, or receives from strangers too. */
TEST_F(connected_udp, connect_in_slot)
{
	const struct kind *kind = &variant->kind;

	ASSERT_EQ(0, put(self->map, 1, self->servers[1], BPF_ANY));
	ASSERT_EQ(0, connect_to(self->servers[1], kind->family, OTHER_PORT));
	expect_strangers(_metadata, self, kind);
}

/* A socket that is connected first is in no group, or is accepted and receives the same. */
TEST_F(connected_udp, put_connected)
{
	const struct kind *kind = &variant->kind;

	ASSERT_EQ(0, connect_to(self->servers[1], kind->family, OTHER_PORT));
	EXPECT_EQ(connect_leaves_group(kind) ? -EINVAL : 0,
		  put(self->map, 1, self->servers[1], BPF_ANY));
	expect_strangers(_metadata, self, kind);
}

/* Deleted before it is connected, it receives nothing from strangers on any kernel. */
TEST_F(connected_udp, delete_then_connect)
{
	const struct kind *kind = &variant->kind;

	ASSERT_EQ(0, put(self->map, 1, self->servers[1], BPF_ANY));
	ASSERT_EQ(0, del(self->map, 1));
	ASSERT_EQ(0, connect_to(self->servers[1], kind->family, OTHER_PORT));
	self->skel->bss->slot = 1;
	expect_refused(_metadata, kind, 7);
	EXPECT_TRUE(nothing_arrived(self->servers, 2));
}

/* The example: one socket per peer, in addition to the sockets in the map. */
FIXTURE(peer_socket)
{
	struct example_connection_id *skel;
	/* and the one connected to the peer */
	int sockets[WORKERS + 1];
	int client;
};

FIXTURE_VARIANT(peer_socket)
{
	struct kind kind;
};

ADD_UDP_KINDS(peer_socket);

FIXTURE_SETUP(peer_socket)
{
	const struct kind *kind = &variant->kind;
	struct sockaddr_storage address, peer;
	socklen_t len = fill_address(&address, kind->family, kind->dual, PORT);
	__u32 slot;

	enter_netns(_metadata);
	self->skel = example_connection_id__open_and_load();
	ASSERT_NE(NULL, self->skel);
	for (slot = 0; slot < WORKERS; slot++) {
		self->sockets[slot] = open_worker(self->skel, slot, (struct sockaddr *)&address,
						  len);
		ASSERT_LE(0, self->sockets[slot]);
	}

	self->client = socket(kind->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ASSERT_LE(0, self->client);
	fill_address(&peer, kind->family, false, OTHER_PORT);
	ASSERT_EQ(0, bind(self->client, (struct sockaddr *)&peer, len));
	ASSERT_EQ(0, connect_to(self->client, kind->family, PORT));
	self->sockets[WORKERS] = open_peer_socket((struct sockaddr *)&address,
						  (struct sockaddr *)&peer, len);
	ASSERT_LE(0, self->sockets[WORKERS]);
}

FIXTURE_TEARDOWN(peer_socket)
{
	example_connection_id__destroy(self->skel);
}

/* Its peer's datagrams arrive there, whatever the program selects for their ids. */
TEST_F(peer_socket, peer)
{
	__u8 sent[4] = {}, slot;
	__u32 got;

	for (slot = 0; slot <= WORKERS; slot++) {
		sent[1] = slot;
		ASSERT_EQ(sizeof(sent), send(self->client, sent, sizeof(sent), 0));
		EXPECT_EQ(WORKERS, receive(_metadata, &variant->kind, self->sockets, WORKERS + 1,
					   &got));
		EXPECT_EQ(0, memcmp(sent, &got, sizeof(sent)));
	}
}

/* Those of anyone else never do. */
TEST_F(peer_socket, stranger)
{
	__u32 number;
	__u8 slot;

	for (slot = 0; slot < WORKERS; slot++) {
		memcpy(&number, (__u8[4]){ 0, slot }, sizeof(number));
		expect_at(_metadata, &variant->kind, self->sockets, WORKERS + 1, slot, number);
	}
	memcpy(&number, (__u8[4]){ 0, WORKERS }, sizeof(number));
	expect_refused(_metadata, &variant->kind, number);
	EXPECT_TRUE(nothing_arrived(self->sockets, WORKERS + 1));
}

TEST_HARNESS_MAIN
