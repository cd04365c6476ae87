// SPDX-License-Identifier: GPL-2.0
/* A map is freed while a socket of it moves to another map.
 *
 * Free reads the socket from its slot and then clears the socket's back pointer. On the
 * kernels of repro-free-race it waits in between until the socket has left its group, and
 * with it the slot, is back in a group, and has been added to a second map. When free
 * continues, the socket must keep its back pointer to the slot in the second map.
 */
#include "common.h"

#define UNTIL_FREE_WAITS	2	/* seconds after the last close() of a map */
#define UNTIL_FREE_IS_DONE	2	/* after the socket has been put into the second */

FIXTURE(free_race) {
	int first;
	int second;
};

FIXTURE_SETUP(free_race)
{
	enter_netns(_metadata);
	self->first = new_map(_metadata);
	self->second = new_map(_metadata);
}

FIXTURE_TEARDOWN(free_race)
{
}

/* A listener is shut down and listens again: it stays in one slot, so that no other takes it. */
TEST_F(free_race, listener_keeps_its_slot)
{
	const struct kind tcp = { AF_INET, SOCK_STREAM };
	int server = new_server(_metadata, &tcp);

	ASSERT_EQ(0, put(self->first, 0, server, BPF_ANY));
	close(self->first);
	sleep(UNTIL_FREE_WAITS);

	ASSERT_EQ(0, shutdown(server, SHUT_RDWR));
	start_listening(_metadata, &tcp, server);
	ASSERT_EQ(0, put(self->second, 0, server, BPF_ANY));
	sleep(UNTIL_FREE_IS_DONE);

	EXPECT_EQ(-EBUSY, put(self->second, 1, server, BPF_ANY));
}

/* A socket is disconnected, bound again and closed: its slot is empty, not a freed socket. */
TEST_F(free_race, closed_socket_leaves_its_slot)
{
	const struct kind udp = { AF_INET, SOCK_DGRAM };
	int server = new_server_at(_metadata, &udp, 0);

	ASSERT_EQ(0, put(self->first, 0, server, BPF_ANY));
	close(self->first);
	sleep(UNTIL_FREE_WAITS);

	ASSERT_EQ(0, disconnect(server));
	bind_to(_metadata, &udp, server, 0);
	ASSERT_EQ(0, put(self->second, 0, server, BPF_ANY));
	sleep(UNTIL_FREE_IS_DONE);

	close(server);
	/* its grace period */
	sleep(1);
	EXPECT_TRUE(is_empty(self->second, 0));
}

TEST_HARNESS_MAIN
