// SPDX-License-Identifier: GPL-2.0
/* Update and delete: which sockets are accepted, and each error. */
#include <linux/filter.h>
#include <sys/epoll.h>

#include "common.h"

/* Every kind of socket goes into maps of both value sizes. */
FIXTURE(update)
{
	int servers[3];
	int map;
	int other_map;
};

FIXTURE_VARIANT(update)
{
	struct kind kind;
	__u32 value_size;
};

#define ADD_SIZES(name, family, ...)							\
	FIXTURE_VARIANT_ADD(update, name##_value4) { { family, __VA_ARGS__ }, 4 };	\
	FIXTURE_VARIANT_ADD(update, name##_value8) { { family, __VA_ARGS__ }, 8 }

ADD_SIZES(tcp4, AF_INET, SOCK_STREAM);
ADD_SIZES(tcp6, AF_INET6, SOCK_STREAM);
ADD_SIZES(tcp_dual, AF_INET6, SOCK_STREAM, true);
ADD_SIZES(udp4, AF_INET, SOCK_DGRAM);
ADD_SIZES(udp6, AF_INET6, SOCK_DGRAM);
ADD_SIZES(udp_dual, AF_INET6, SOCK_DGRAM, true);

FIXTURE_SETUP(update)
{
	int i;

	enter_netns(_metadata);
	self->map = create_map(variant->value_size, SLOTS, 0);
	self->other_map = create_map(variant->value_size, SLOTS, 0);
	ASSERT_LE(0, self->map);
	ASSERT_LE(0, self->other_map);
	for (i = 0; i < ARRAY_SIZE(self->servers); i++)
		self->servers[i] = new_server(_metadata, &variant->kind);
}

FIXTURE_TEARDOWN(update)
{
}

/* put() for both value sizes, each with nothing behind the value. */
static int store(const FIXTURE_VARIANT(update) *variant, int map, __u32 index, int fd, __u64 flags)
{
	if (variant->value_size == sizeof(fd))
		return put4(map, index, fd, flags);
	return put(map, index, fd, flags);
}

/* A server goes into any slot, from the first to the last. */
TEST_F(update, any_slot)
{
	EXPECT_EQ(0, store(variant, self->map, 0, self->servers[0], BPF_ANY));
	EXPECT_EQ(0, store(variant, self->map, 1, self->servers[1], BPF_NOEXIST));
	EXPECT_EQ(0, store(variant, self->map, SLOTS - 1, self->servers[2], BPF_ANY));
	if (variant->value_size == sizeof(__u64)) {
		EXPECT_TRUE(holds(self->map, 0, self->servers[0]));
		EXPECT_TRUE(holds(self->map, 1, self->servers[1]));
		EXPECT_TRUE(holds(self->map, SLOTS - 1, self->servers[2]));
	}
}

/* BPF_NOEXIST requires an empty slot, BPF_EXIST a filled one. */
TEST_F(update, exist_flags)
{
	EXPECT_EQ(-ENOENT, store(variant, self->map, 0, self->servers[0], BPF_EXIST));
	EXPECT_EQ(0, store(variant, self->map, 0, self->servers[0], BPF_NOEXIST));
	EXPECT_EQ(-EEXIST, store(variant, self->map, 0, self->servers[1], BPF_NOEXIST));
	EXPECT_EQ(0, store(variant, self->map, 0, self->servers[1], BPF_EXIST));
	EXPECT_EQ(0, store(variant, self->map, 0, self->servers[2], BPF_ANY));
}

/* Other flags are invalid, in the low and in the high bits. */
TEST_F(update, unknown_flags)
{
	int bit;

	EXPECT_EQ(-EINVAL, store(variant, self->map, 0, self->servers[0],
				 BPF_NOEXIST | BPF_EXIST));
	EXPECT_EQ(-EINVAL, store(variant, self->map, 0, self->servers[0], BPF_F_LOCK));
	for (bit = 2; bit < 64; bit++)
		EXPECT_EQ(-EINVAL, store(variant, self->map, 0, self->servers[0], 1ULL << bit));
	EXPECT_EQ(0, store(variant, self->map, 0, self->servers[0], BPF_NOEXIST));
}

/* An index that is not below max_entries: E2BIG. */
TEST_F(update, index_past_the_end)
{
	static const __u32 past[] = { SLOTS, SLOTS + 1, INT32_MAX, UINT32_MAX };
	int i;

	for (i = 0; i < ARRAY_SIZE(past); i++) {
		EXPECT_EQ(-E2BIG, store(variant, self->map, past[i], self->servers[0], BPF_ANY));
		EXPECT_EQ(-E2BIG, del(self->map, past[i]));
	}
}

/* A socket can be in one slot of all maps only; an update does not move it. */
TEST_F(update, busy)
{
	int fd = self->servers[0];

	ASSERT_EQ(0, store(variant, self->map, 0, fd, BPF_ANY));
	ASSERT_EQ(0, store(variant, self->other_map, 1, self->servers[1], BPF_ANY));

	EXPECT_EQ(-EBUSY, store(variant, self->map, 0, fd, BPF_ANY));
	EXPECT_EQ(-EBUSY, store(variant, self->map, 0, fd, BPF_EXIST));
	EXPECT_EQ(-EBUSY, store(variant, self->map, 1, fd, BPF_ANY));
	EXPECT_EQ(-EBUSY, store(variant, self->map, 1, fd, BPF_NOEXIST));
	EXPECT_EQ(-EBUSY, store(variant, self->other_map, 0, fd, BPF_ANY));
	EXPECT_EQ(-EBUSY, store(variant, self->other_map, 1, fd, BPF_EXIST));
	/* nothing has changed */
	EXPECT_EQ(0, del(self->map, 0));
	EXPECT_EQ(-ENOENT, del(self->map, 1));
	EXPECT_EQ(-ENOENT, del(self->other_map, 0));
	EXPECT_EQ(0, del(self->other_map, 1));
}

/* A dup()ed fd is the same socket. */
TEST_F(update, busy_by_another_name)
{
	int again = dup(self->servers[0]);

	ASSERT_EQ(0, store(variant, self->map, 0, self->servers[0], BPF_ANY));
	EXPECT_EQ(-EBUSY, store(variant, self->map, 1, again, BPF_ANY));
}

/* A socket that was replaced can be added elsewhere at once. */
TEST_F(update, replaced_is_free)
{
	ASSERT_EQ(0, store(variant, self->map, 0, self->servers[0], BPF_ANY));
	ASSERT_EQ(0, store(variant, self->map, 0, self->servers[1], BPF_ANY));
	EXPECT_EQ(0, store(variant, self->map, 1, self->servers[0], BPF_NOEXIST));
	EXPECT_EQ(0, store(variant, self->map, 1, self->servers[2], BPF_EXIST));
	EXPECT_EQ(0, store(variant, self->other_map, 0, self->servers[0], BPF_NOEXIST));
}

/* Closing a replaced socket does not remove the new one. */
TEST_F(update, replaced_has_no_slot)
{
	ASSERT_EQ(0, store(variant, self->map, 0, self->servers[0], BPF_ANY));
	ASSERT_EQ(0, store(variant, self->map, 0, self->servers[1], BPF_ANY));
	close(self->servers[0]);
	EXPECT_EQ(-EBUSY, store(variant, self->map, 1, self->servers[1], BPF_ANY));
	EXPECT_EQ(0, del(self->map, 0));
}

/* Delete empties one slot, once, and its socket can be added elsewhere at once. */
TEST_F(update, delete)
{
	EXPECT_EQ(-ENOENT, del(self->map, 0));
	ASSERT_EQ(0, store(variant, self->map, 0, self->servers[0], BPF_ANY));
	ASSERT_EQ(0, store(variant, self->map, 1, self->servers[1], BPF_ANY));
	EXPECT_EQ(0, del(self->map, 0));
	EXPECT_EQ(-ENOENT, del(self->map, 0));
	EXPECT_EQ(0, store(variant, self->other_map, 0, self->servers[0], BPF_NOEXIST));
	EXPECT_EQ(0, del(self->map, 1));
}

/* A socket without SO_REUSEPORT is in no group. */
TEST_F(update, no_reuseport)
{
	int fd = open_socket(_metadata, &variant->kind);

	bind_to(_metadata, &variant->kind, fd, OTHER_PORT);
	start_listening(_metadata, &variant->kind, fd);
	EXPECT_EQ(-EINVAL, store(variant, self->map, 0, fd, BPF_ANY));
}

/* SO_REUSEPORT must be set before the socket is bound. */
TEST_F(update, late_reuseport)
{
	int fd = open_socket(_metadata, &variant->kind);

	bind_to(_metadata, &variant->kind, fd, OTHER_PORT);
	start_listening(_metadata, &variant->kind, fd);
	set_reuseport(_metadata, fd, 1);
	EXPECT_EQ(-EINVAL, store(variant, self->map, 0, fd, BPF_ANY));
}

/* A socket cannot be added before it is bound and, with TCP, listens. */
TEST_F(update, not_in_use_yet)
{
	int fd = open_socket(_metadata, &variant->kind);

	EXPECT_EQ(-EINVAL, store(variant, self->map, 0, fd, BPF_ANY));
	set_reuseport(_metadata, fd, 1);
	EXPECT_EQ(-EINVAL, store(variant, self->map, 0, fd, BPF_ANY));
	bind_to(_metadata, &variant->kind, fd, PORT);
	if (variant->kind.type == SOCK_STREAM)
		EXPECT_EQ(-EINVAL, store(variant, self->map, 0, fd, BPF_ANY));
	start_listening(_metadata, &variant->kind, fd);
	EXPECT_EQ(0, store(variant, self->map, 0, fd, BPF_ANY));
}

static void attach_filter(struct __test_metadata *_metadata, int fd)
{
	struct sock_filter zero = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog filter = { .len = 1, .filter = &zero };

	ASSERT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &filter,
				sizeof(filter)));
}

/* An attached program creates a group for an unbound socket, which still is invalid. */
TEST_F(update, group_without_port)
{
	int fd = open_socket(_metadata, &variant->kind);

	set_reuseport(_metadata, fd, 1);
	attach_filter(_metadata, fd);
	EXPECT_EQ(-EINVAL, store(variant, self->map, 0, fd, BPF_ANY));
}

/* If several errors apply, the first one in the documentation's table is returned. */
TEST_F(update, order_of_errors)
{
	int closed = dup(self->servers[0]);
	int no_socket = epoll_create1(EPOLL_CLOEXEC);
	int no_inet = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int no_group = open_socket(_metadata, &variant->kind);
	int busy = self->servers[1];
	const __u32 taken = 0, empty = 1;

	ASSERT_LE(0, no_socket);
	ASSERT_LE(0, no_inet);
	close(closed);
	ASSERT_EQ(0, store(variant, self->map, taken, self->servers[0], BPF_ANY));
	ASSERT_EQ(0, store(variant, self->other_map, 0, busy, BPF_ANY));

	/* flags, then the index, then the fd */
	EXPECT_EQ(-EINVAL, store(variant, self->map, SLOTS, closed, 3));
	EXPECT_EQ(-EINVAL, store(variant, self->map, empty, closed, 3));
	EXPECT_EQ(-E2BIG, store(variant, self->map, SLOTS, -1, BPF_EXIST));
	EXPECT_EQ(-E2BIG, store(variant, self->map, SLOTS, closed, BPF_EXIST));
	EXPECT_EQ(-E2BIG, store(variant, self->map, SLOTS, no_socket, BPF_EXIST));
	EXPECT_EQ(-E2BIG, store(variant, self->map, SLOTS, busy, BPF_EXIST));
	EXPECT_EQ(-EBADF, store(variant, self->map, taken, closed, BPF_NOEXIST));
	EXPECT_EQ(-EBADF, store(variant, self->map, empty, closed, BPF_EXIST));
	EXPECT_EQ(-ENOTSOCK, store(variant, self->map, taken, no_socket, BPF_NOEXIST));
	EXPECT_EQ(-ENOTSOCK, store(variant, self->map, empty, no_socket, BPF_EXIST));

	/* then the state of the slot, then the socket's kind, group and slot */
	EXPECT_EQ(-EEXIST, store(variant, self->map, taken, no_inet, BPF_NOEXIST));
	EXPECT_EQ(-ENOENT, store(variant, self->map, empty, no_inet, BPF_EXIST));
	EXPECT_EQ(-EEXIST, store(variant, self->map, taken, no_group, BPF_NOEXIST));
	EXPECT_EQ(-ENOENT, store(variant, self->map, empty, no_group, BPF_EXIST));
	EXPECT_EQ(-EEXIST, store(variant, self->map, taken, busy, BPF_NOEXIST));
	EXPECT_EQ(-ENOENT, store(variant, self->map, empty, busy, BPF_EXIST));
	EXPECT_EQ(-EEXIST, store(variant, self->map, taken, self->servers[0], BPF_NOEXIST));
	EXPECT_EQ(-ENOTSUPP, store(variant, self->map, taken, no_inet, BPF_EXIST));
	EXPECT_EQ(-EINVAL, store(variant, self->map, taken, no_group, BPF_EXIST));
	EXPECT_EQ(-EBUSY, store(variant, self->map, taken, busy, BPF_EXIST));
}

/* Values that are not a socket of this process. */
FIXTURE(value)
{
	int map;
};

FIXTURE_VARIANT(value)
{
	__u32 value_size;
};

FIXTURE_VARIANT_ADD(value, value4) { 4 };
FIXTURE_VARIANT_ADD(value, value8) { 8 };

FIXTURE_SETUP(value)
{
	self->map = create_map(variant->value_size, SLOTS, 0);
	ASSERT_LE(0, self->map);
}

FIXTURE_TEARDOWN(value)
{
}

static int store_wide(int map, __u64 value)
{
	__u32 index = 0;

	return bpf_map_update_elem(map, &index, &value, BPF_ANY);
}

static int store_fd(const FIXTURE_VARIANT(value) *variant, int map, int fd)
{
	if (variant->value_size == sizeof(fd))
		return put4(map, 0, fd, BPF_ANY);
	return put(map, 0, fd, BPF_ANY);
}

/* Numbers that are no open file. */
TEST_F(value, not_open)
{
	int closed = open("/proc/self/status", O_RDONLY);

	ASSERT_LE(0, closed);
	close(closed);
	EXPECT_EQ(-EBADF, store_fd(variant, self->map, closed));
	EXPECT_EQ(-EBADF, store_fd(variant, self->map, INT32_MAX));
}

/* A negative fd: EBADF with values of 4 bytes, EINVAL with 8. */
TEST_F(value, negative)
{
	int err = variant->value_size == sizeof(__u64) ? -EINVAL : -EBADF;

	EXPECT_EQ(err, store_fd(variant, self->map, -1));
	EXPECT_EQ(err, store_fd(variant, self->map, -2));
	EXPECT_EQ(err, store_fd(variant, self->map, INT32_MIN));
}

/* Files that are no sockets. */
TEST_F(value, not_a_socket)
{
	int ends[2];

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	EXPECT_EQ(-ENOTSOCK, store_fd(variant, self->map, ends[0]));
	EXPECT_EQ(-ENOTSOCK, store_fd(variant, self->map, ends[1]));
	EXPECT_EQ(-ENOTSOCK, store_fd(variant, self->map, open("/", O_RDONLY | O_CLOEXEC)));
	EXPECT_EQ(-ENOTSOCK, store_fd(variant, self->map,
				      open("/proc/self/status", O_RDONLY | O_CLOEXEC)));
	EXPECT_EQ(-ENOTSOCK, store_fd(variant, self->map, epoll_create1(EPOLL_CLOEXEC)));
	EXPECT_EQ(-ENOTSOCK, store_fd(variant, self->map, self->map));
}

/* All 64 bits are checked, even if the low half is a valid fd. */
TEST(high_bits_of_value)
{
	struct kind kind = { AF_INET, SOCK_DGRAM };
	int server, map, bit;

	enter_netns(_metadata);
	map = new_map(_metadata);
	server = new_server(_metadata, &kind);

	for (bit = 31; bit < 64; bit++)
		EXPECT_EQ(-EINVAL, store_wide(map, 1ULL << bit | server))
			TH_LOG("bit %d", bit);
	EXPECT_EQ(-EINVAL, store_wide(map, 1ULL << 31));
	EXPECT_EQ(-EINVAL, store_wide(map, 1ULL << 32));
	EXPECT_EQ(-EINVAL, store_wide(map, UINT32_MAX));
	EXPECT_EQ(-EINVAL, store_wide(map, UINT64_MAX));
	EXPECT_TRUE(is_empty(map, 0));
	EXPECT_EQ(0, store_wide(map, server));
}

/* Sockets that are neither TCP nor UDP, including similar ones. */
FIXTURE(foreign)
{
	int map;
	int fd;
};

FIXTURE_VARIANT(foreign)
{
	int family;
	int type;
	int protocol;
};

#define IPPROTO_TCP_MULTIPATH	262

FIXTURE_VARIANT_ADD(foreign, raw4) { AF_INET, SOCK_RAW, IPPROTO_RAW };
FIXTURE_VARIANT_ADD(foreign, raw6) { AF_INET6, SOCK_RAW, IPPROTO_RAW };
FIXTURE_VARIANT_ADD(foreign, raw4_tcp) { AF_INET, SOCK_RAW, IPPROTO_TCP };
FIXTURE_VARIANT_ADD(foreign, raw6_tcp) { AF_INET6, SOCK_RAW, IPPROTO_TCP };
FIXTURE_VARIANT_ADD(foreign, raw4_udp) { AF_INET, SOCK_RAW, IPPROTO_UDP };
FIXTURE_VARIANT_ADD(foreign, raw6_udp) { AF_INET6, SOCK_RAW, IPPROTO_UDP };
FIXTURE_VARIANT_ADD(foreign, ping4) { AF_INET, SOCK_DGRAM, IPPROTO_ICMP };
FIXTURE_VARIANT_ADD(foreign, ping6) { AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6 };
FIXTURE_VARIANT_ADD(foreign, udplite4) { AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE };
FIXTURE_VARIANT_ADD(foreign, udplite6) { AF_INET6, SOCK_DGRAM, IPPROTO_UDPLITE };
FIXTURE_VARIANT_ADD(foreign, raw4_mptcp) { AF_INET, SOCK_RAW, IPPROTO_TCP_MULTIPATH };
FIXTURE_VARIANT_ADD(foreign, raw6_mptcp) { AF_INET6, SOCK_RAW, IPPROTO_TCP_MULTIPATH };
FIXTURE_VARIANT_ADD(foreign, unix_stream) { AF_UNIX, SOCK_STREAM, 0 };
FIXTURE_VARIANT_ADD(foreign, unix_dgram) { AF_UNIX, SOCK_DGRAM, 0 };
FIXTURE_VARIANT_ADD(foreign, unix_seqpacket) { AF_UNIX, SOCK_SEQPACKET, 0 };
FIXTURE_VARIANT_ADD(foreign, packet) { AF_PACKET, SOCK_DGRAM, 0 };
FIXTURE_VARIANT_ADD(foreign, packet_raw) { AF_PACKET, SOCK_RAW, 0 };
FIXTURE_VARIANT_ADD(foreign, netlink) { AF_NETLINK, SOCK_RAW, 0 };

FIXTURE_SETUP(foreign)
{
	enter_netns(_metadata);
	write_file("/proc/sys/net/ipv4/ping_group_range", "0 0");
	self->map = new_map(_metadata);
	self->fd = socket(variant->family, variant->type | SOCK_CLOEXEC, variant->protocol);
	if (self->fd < 0 && (errno == EPROTONOSUPPORT || errno == EAFNOSUPPORT))
		SKIP(return, "no such sockets in this kernel");
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(foreign)
{
}

/* A new socket of another kind: ENOTSUPP. */
TEST_F(foreign, fresh)
{
	EXPECT_EQ(-ENOTSUPP, put(self->map, 0, self->fd, BPF_ANY));
	EXPECT_EQ(-ENOTSUPP, put(self->map, 0, self->fd, BPF_NOEXIST));
	EXPECT_TRUE(is_empty(self->map, 0));
}

/* The same after SO_REUSEPORT, bind() and listen(). */
TEST_F(foreign, as_a_server)
{
	struct kind kind = { variant->family, variant->type };
	int one = 1;

	/* not every kind supports each step */
	setsockopt(self->fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (kind.family == AF_INET || kind.family == AF_INET6)
		bind_to(_metadata, &kind, self->fd, PORT);
	listen(self->fd, 1);
	EXPECT_EQ(-ENOTSUPP, put(self->map, 0, self->fd, BPF_ANY));
}

/* Sockets that have a peer. */
FIXTURE(connected)
{
	struct kind stream;
	struct kind datagram;
	int listener;
	int map;
};

FIXTURE_VARIANT(connected)
{
	int family;
};

FIXTURE_VARIANT_ADD(connected, ipv4) { AF_INET };
FIXTURE_VARIANT_ADD(connected, ipv6) { AF_INET6 };

FIXTURE_SETUP(connected)
{
	enter_netns(_metadata);
	self->map = new_map(_metadata);
	self->stream = (struct kind){ variant->family, SOCK_STREAM };
	self->datagram = (struct kind){ variant->family, SOCK_DGRAM };
	self->listener = new_server_at(_metadata, &self->stream, OTHER_PORT);
}

FIXTURE_TEARDOWN(connected)
{
}

/* Neither end of a TCP connection can be added, though both have SO_REUSEPORT. */
TEST_F(connected, tcp)
{
	int client = open_socket(_metadata, &self->stream);
	int child;

	set_reuseport(_metadata, client, 1);
	bind_to(_metadata, &self->stream, client, PORT);
	ASSERT_EQ(0, connect_to(client, variant->family, OTHER_PORT));
	child = accept(self->listener, NULL, NULL);
	ASSERT_LE(0, child);

	EXPECT_EQ(-EINVAL, put(self->map, 0, client, BPF_ANY));
	EXPECT_EQ(-EINVAL, put(self->map, 0, child, BPF_ANY));
}

/* A TCP client that listened before and has a group again is not a listener. */
TEST_F(connected, tcp_with_a_group)
{
	int client = new_server(_metadata, &self->stream);

	ASSERT_EQ(0, disconnect(client));
	attach_filter(_metadata, client);
	ASSERT_EQ(0, connect_to(client, variant->family, OTHER_PORT));
	EXPECT_EQ(-EINVAL, put(self->map, 0, client, BPF_ANY));
}

/* A UDP socket whose address was chosen by connect() is in no group. */
TEST_F(connected, udp_unbound)
{
	int client = open_socket(_metadata, &self->datagram);

	set_reuseport(_metadata, client, 1);
	ASSERT_EQ(0, connect_to(client, variant->family, OTHER_PORT));
	EXPECT_EQ(-EINVAL, put(self->map, 0, client, BPF_ANY));
}

/* A UDP socket bound to an address stays in its group, up to Linux 6.12: it can be added. */
TEST_F(connected, udp_bound)
{
	int server = new_server(_metadata, &self->datagram);

	ASSERT_EQ(0, connect_to(server, variant->family, OTHER_PORT));
	if (connected_socket_leaves()) {
		EXPECT_EQ(-EINVAL, put(self->map, 0, server, BPF_ANY));
		EXPECT_TRUE(is_empty(self->map, 0));
		return;
	}
	EXPECT_EQ(0, put(self->map, 0, server, BPF_ANY));
	EXPECT_TRUE(holds(self->map, 0, server));
}

TEST_HARNESS_MAIN
