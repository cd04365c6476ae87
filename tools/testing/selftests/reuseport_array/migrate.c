// SPDX-License-Identifier: GPL-2.0
/* Listeners that stop while connections wait, which migrate to another listener. */
#include <netinet/tcp.h>

#include "common.h"
#include "steer.skel.h"

#define LISTENERS	3

enum how { CLOSE, SHUTDOWN, DISCONNECT };

/* Migration is enabled by a sysctl or by the program's attach type. */
FIXTURE(migrate)
{
	int listeners[LISTENERS];
	struct steer *skel;
	int map;
};

FIXTURE_VARIANT(migrate)
{
	struct kind kind;
	bool sysctl;
	enum how how;
};

#define ADD_HOWS(name, family, dual, sysctl)							\
	FIXTURE_VARIANT_ADD(migrate, name##_close) {						\
		{ family, SOCK_STREAM, dual }, sysctl, CLOSE };					\
	FIXTURE_VARIANT_ADD(migrate, name##_shutdown) {						\
		{ family, SOCK_STREAM, dual }, sysctl, SHUTDOWN };				\
	FIXTURE_VARIANT_ADD(migrate, name##_disconnect) {					\
		{ family, SOCK_STREAM, dual }, sysctl, DISCONNECT }

ADD_HOWS(sysctl4, AF_INET, false, true);
ADD_HOWS(sysctl6, AF_INET6, false, true);
ADD_HOWS(sysctl_dual, AF_INET6, true, true);
ADD_HOWS(prog4, AF_INET, false, false);
ADD_HOWS(prog6, AF_INET6, false, false);
ADD_HOWS(prog_dual, AF_INET6, true, false);

static void allow_migration(struct __test_metadata *_metadata)
{
	ASSERT_EQ(0, write_file("/proc/sys/net/ipv4/tcp_migrate_req", "1"));
}

FIXTURE_SETUP(migrate)
{
	int i;

	enter_netns(_metadata);
	self->skel = steer__open_and_load();
	ASSERT_NE(NULL, self->skel);
	self->map = bpf_map__fd(self->skel->maps.sockets);
	for (i = 0; i < LISTENERS; i++) {
		self->listeners[i] = new_server(_metadata, &variant->kind);
		ASSERT_EQ(0, put(self->map, i, self->listeners[i], BPF_ANY));
	}
	if (variant->sysctl) {
		allow_migration(_metadata);
		attach(_metadata, self->listeners[0], self->skel->progs.select_slot);
	} else {
		attach(_metadata, self->listeners[0], self->skel->progs.select_or_migrate);
	}
}

FIXTURE_TEARDOWN(migrate)
{
	steer__destroy(self->skel);
}

static void stop(struct __test_metadata *_metadata, int fd, enum how how)
{
	switch (how) {
	case CLOSE:
		ASSERT_EQ(0, close(fd));
		break;
	case SHUTDOWN:
		ASSERT_EQ(0, shutdown(fd, SHUT_RDWR));
		break;
	case DISCONNECT:
		ASSERT_EQ(0, disconnect(fd));
		break;
	}
}

/* The listener leaves its slot at once; its waiting connection migrates. */
TEST_F(migrate, waiting_connection)
{
	int client = send_from(client_family(&variant->kind), SOCK_STREAM, PORT, 42);
	__u32 got = 0;
	int who;

	ASSERT_LE(0, client);
	self->skel->bss->heir = 2;
	stop(_metadata, self->listeners[0], variant->how);
	EXPECT_TRUE(is_empty(self->map, 0));
	EXPECT_TRUE(holds(self->map, 1, self->listeners[1]));
	EXPECT_TRUE(holds(self->map, 2, self->listeners[2]));

	who = 1 + receive(_metadata, &variant->kind, self->listeners + 1, LISTENERS - 1, &got);
	EXPECT_EQ(42, got);
	if (variant->sysctl)
		return;
	EXPECT_EQ(2, who);
	EXPECT_EQ(1, self->skel->bss->migrations);
	EXPECT_EQ(0, self->skel->bss->result);
}

/* A connection in the handshake migrates when the handshake completes. */
TEST_F(migrate, request)
{
	int client = open_socket(_metadata, &(struct kind){ client_family(&variant->kind),
							    SOCK_STREAM });
	__u32 number = 43, got = 0;
	int i, seconds = 30;

	/* TCP_DEFER_ACCEPT: until data arrives the listener has a request socket */
	for (i = 0; i < LISTENERS; i++)
		ASSERT_EQ(0, setsockopt(self->listeners[i], IPPROTO_TCP, TCP_DEFER_ACCEPT,
					&seconds, sizeof(seconds)));
	ASSERT_EQ(0, connect_to(client, client_family(&variant->kind), PORT));
	EXPECT_TRUE(nothing_arrived(self->listeners, LISTENERS));

	self->skel->bss->heir = 1;
	stop(_metadata, self->listeners[0], variant->how);
	EXPECT_TRUE(is_empty(self->map, 0));

	ASSERT_EQ(sizeof(number), send(client, &number, sizeof(number), MSG_NOSIGNAL));
	receive(_metadata, &variant->kind, self->listeners + 1, LISTENERS - 1, &got);
	EXPECT_EQ(43, got);
	if (!variant->sysctl)
		EXPECT_LE(1, self->skel->bss->migrations);
}

/* New connections cannot be steered to a listener that has stopped. */
TEST_F(migrate, new_connection)
{
	stop(_metadata, self->listeners[0], variant->how);
	expect_refused(_metadata, &variant->kind, 1);
	EXPECT_EQ(-ENOENT, self->skel->bss->result);
	self->skel->bss->slot = 1;
	expect_at(_metadata, &variant->kind, self->listeners + 1, LISTENERS - 1, 0, 2);
}

/* If there is no target, only this connection is lost. */
TEST_F(migrate, no_heir)
{
	int client = send_from(client_family(&variant->kind), SOCK_STREAM, PORT, 44);
	__u32 got = 0;

	ASSERT_LE(0, client);
	self->skel->bss->heir = 5;
	stop(_metadata, self->listeners[0], variant->how);
	EXPECT_TRUE(is_empty(self->map, 0));
	if (variant->sysctl) {
		receive(_metadata, &variant->kind, self->listeners + 1, LISTENERS - 1, &got);
		EXPECT_EQ(44, got);
	} else {
		EXPECT_EQ(1, self->skel->bss->migrations);
		EXPECT_EQ(-ENOENT, self->skel->bss->result);
		EXPECT_TRUE(nothing_arrived(self->listeners + 1, LISTENERS - 1));
	}
}

/* All listeners of a group may stop in turn. */
TEST_F(migrate, down_to_the_last)
{
	int i;

	for (i = 0; i < LISTENERS; i++) {
		stop(_metadata, self->listeners[i], variant->how);
		EXPECT_TRUE(is_empty(self->map, i));
	}
}

/* A listener that was shut down is kept in its group, though not in its slot. */
FIXTURE(stopped)
{
	int listeners[2];
	int target;
	int map;
};

FIXTURE_VARIANT(stopped)
{
	struct kind kind;
	enum how how;
};

FIXTURE_VARIANT_ADD(stopped, tcp4_shutdown) { { AF_INET, SOCK_STREAM }, SHUTDOWN };
FIXTURE_VARIANT_ADD(stopped, tcp6_shutdown) { { AF_INET6, SOCK_STREAM }, SHUTDOWN };
FIXTURE_VARIANT_ADD(stopped, dual_shutdown) { { AF_INET6, SOCK_STREAM, true }, SHUTDOWN };
FIXTURE_VARIANT_ADD(stopped, tcp4_disconnect) { { AF_INET, SOCK_STREAM }, DISCONNECT };
FIXTURE_VARIANT_ADD(stopped, tcp6_disconnect) { { AF_INET6, SOCK_STREAM }, DISCONNECT };
FIXTURE_VARIANT_ADD(stopped, dual_disconnect) { { AF_INET6, SOCK_STREAM, true }, DISCONNECT };

FIXTURE_SETUP(stopped)
{
	int i;

	enter_netns(_metadata);
	allow_migration(_metadata);
	self->map = new_map(_metadata);
	for (i = 0; i < 2; i++) {
		self->listeners[i] = new_server(_metadata, &variant->kind);
		ASSERT_EQ(0, put(self->map, i, self->listeners[i], BPF_ANY));
	}
	self->target = new_server_at(_metadata, &variant->kind, OTHER_PORT);
	stop(_metadata, self->listeners[0], variant->how);
	ASSERT_TRUE(is_empty(self->map, 0));
}

FIXTURE_TEARDOWN(stopped)
{
}

/* It cannot be added while it does not listen. */
TEST_F(stopped, update)
{
	EXPECT_EQ(-EINVAL, put(self->map, 0, self->listeners[0], BPF_ANY));
	EXPECT_EQ(-EINVAL, put(self->map, 1, self->listeners[0], BPF_ANY));
	EXPECT_TRUE(holds(self->map, 1, self->listeners[1]));
}

/* When it listens again it is not back in its slot, but can be added. */
TEST_F(stopped, listen_again)
{
	ASSERT_EQ(0, listen(self->listeners[0], 1));
	EXPECT_TRUE(is_empty(self->map, 0));
	EXPECT_EQ(0, put(self->map, 0, self->listeners[0], BPF_NOEXIST));
	EXPECT_TRUE(holds(self->map, 0, self->listeners[0]));
}

/* The same for the last listener of its group, which creates a new group. */
TEST_F(stopped, listen_again_alone)
{
	stop(_metadata, self->listeners[1], variant->how);
	EXPECT_TRUE(is_empty(self->map, 1));
	ASSERT_EQ(0, listen(self->listeners[0], 1));
	EXPECT_TRUE(is_empty(self->map, 0));
	EXPECT_EQ(0, put(self->map, 0, self->listeners[0], BPF_NOEXIST));
	close(self->listeners[0]);
	EXPECT_TRUE(is_empty(self->map, 0));
}

/* A listener that listens without SO_REUSEPORT for a while, and stops again, can be added when it
 * is back.
 */
TEST_F(stopped, listen_without_reuseport)
{
	close(self->listeners[1]);
	set_reuseport(_metadata, self->listeners[0], 0);
	ASSERT_EQ(0, listen(self->listeners[0], 1));
	EXPECT_EQ(-EINVAL, put(self->map, 0, self->listeners[0], BPF_ANY));
	stop(_metadata, self->listeners[0], variant->how);
	set_reuseport(_metadata, self->listeners[0], 1);
	ASSERT_EQ(0, listen(self->listeners[0], 1));
	EXPECT_EQ(0, put(self->map, 0, self->listeners[0], BPF_NOEXIST));
	EXPECT_TRUE(holds(self->map, 0, self->listeners[0]));
	close(self->listeners[0]);
	EXPECT_TRUE(is_empty(self->map, 0));
}

/* A connection to such a listener is not stopped itself: when it listens it can be added. */
TEST_F(stopped, connection_without_reuseport)
{
	int client, child;

	close(self->listeners[1]);
	set_reuseport(_metadata, self->listeners[0], 0);
	ASSERT_EQ(0, listen(self->listeners[0], 1));
	client = send_from(client_family(&variant->kind), SOCK_STREAM, PORT, 1);
	ASSERT_LE(0, client);
	child = accept(self->listeners[0], NULL, NULL);
	ASSERT_LE(0, child);
	ASSERT_EQ(0, disconnect(child));
	set_reuseport(_metadata, child, 1);
	bind_to(_metadata, &variant->kind, child, OTHER_PORT + 1);
	start_listening(_metadata, &variant->kind, child);
	EXPECT_EQ(0, put(self->map, 0, child, BPF_NOEXIST));
	EXPECT_TRUE(holds(self->map, 0, child));
	close(client);
}

/* When it is closed later, the socket that is in its slot by then stays. */
TEST_F(stopped, close)
{
	int successor = new_server(_metadata, &variant->kind);

	ASSERT_EQ(0, put(self->map, 0, successor, BPF_NOEXIST));
	close(self->listeners[0]);
	EXPECT_TRUE(holds(self->map, 0, successor));
	EXPECT_TRUE(holds(self->map, 1, self->listeners[1]));
}

/* The same after its group has grown, which it does at 128 sockets. */
TEST_F(stopped, group_that_grows)
{
	int i;

	for (i = 0; i < 130; i++)
		new_server(_metadata, &variant->kind);
	EXPECT_TRUE(is_empty(self->map, 0));
	EXPECT_TRUE(holds(self->map, 1, self->listeners[1]));
	EXPECT_EQ(-EINVAL, put(self->map, 0, self->listeners[0], BPF_ANY));
	ASSERT_EQ(0, listen(self->listeners[0], 1));
	EXPECT_TRUE(is_empty(self->map, 0));
	EXPECT_EQ(0, put(self->map, 0, self->listeners[0], BPF_NOEXIST));
	close(self->listeners[0]);
	EXPECT_TRUE(is_empty(self->map, 0));
}

/* After connect() it still is in its group, but cannot be added. */
TEST_F(stopped, connect)
{
	ASSERT_EQ(0, connect_to(self->listeners[0], variant->kind.family, OTHER_PORT));
	EXPECT_EQ(-EINVAL, put(self->map, 0, self->listeners[0], BPF_ANY));
	EXPECT_EQ(-EINVAL, put(self->map, 1, self->listeners[0], BPF_EXIST));
	EXPECT_TRUE(holds(self->map, 1, self->listeners[1]));
}

/* When it listens again after connect(), it can be added. */
TEST_F(stopped, connect_and_listen_again)
{
	ASSERT_EQ(0, connect_to(self->listeners[0], variant->kind.family, OTHER_PORT));
	ASSERT_EQ(0, disconnect(self->listeners[0]));
	EXPECT_EQ(-EINVAL, put(self->map, 0, self->listeners[0], BPF_ANY));
	ASSERT_EQ(0, listen(self->listeners[0], 1));
	EXPECT_TRUE(is_empty(self->map, 0));
	EXPECT_EQ(0, put(self->map, 0, self->listeners[0], BPF_NOEXIST));
}

TEST_HARNESS_MAIN
