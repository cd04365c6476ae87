// SPDX-License-Identifier: GPL-2.0
/* Programs that look up a socket in the map and assign it to a packet of another port. */
#include "assign.skel.h"
#include "common.h"

#define WORKERS	2

enum hook { SK_LOOKUP, TC };

/* Packets to PORT, where no socket is bound, are assigned. The servers have a port each, so that
 * each is a group of its own.
 */
FIXTURE(assign)
{
	struct assign *skel;
	int servers[WORKERS];
	int map;
};

FIXTURE_VARIANT(assign)
{
	struct kind kind;
	enum hook hook;
};

#define ADD_HOOKS(name, family, type, dual)						\
	FIXTURE_VARIANT_ADD(assign, name##_sk_lookup) { { family, type, dual }, SK_LOOKUP };	\
	FIXTURE_VARIANT_ADD(assign, name##_tc) { { family, type, dual }, TC }

ADD_HOOKS(tcp4, AF_INET, SOCK_STREAM, false);
ADD_HOOKS(tcp6, AF_INET6, SOCK_STREAM, false);
ADD_HOOKS(tcp_dual, AF_INET6, SOCK_STREAM, true);
ADD_HOOKS(udp4, AF_INET, SOCK_DGRAM, false);
ADD_HOOKS(udp6, AF_INET6, SOCK_DGRAM, false);
ADD_HOOKS(udp_dual, AF_INET6, SOCK_DGRAM, true);

static void attach_netns(struct __test_metadata *_metadata, struct bpf_program *prog)
{
	int netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	ASSERT_LE(0, netns);
	/* the link lives as long as the process */
	ASSERT_NE(NULL, bpf_program__attach_netns(prog, netns));
	close(netns);
}

static void attach_tc(struct __test_metadata *_metadata, struct bpf_program *prog,
		      enum bpf_tc_attach_point where)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = 1, .attach_point = where);
	LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = bpf_program__fd(prog));

	ASSERT_EQ(0, bpf_tc_hook_create(&hook));
	ASSERT_EQ(0, bpf_tc_attach(&hook, &opts));
}

FIXTURE_SETUP(assign)
{
	int i;

	enter_netns(_metadata);
	self->skel = assign__open_and_load();
	ASSERT_NE(NULL, self->skel);
	self->skel->bss->port = PORT;
	self->map = bpf_map__fd(self->skel->maps.sockets);
	for (i = 0; i < WORKERS; i++) {
		self->servers[i] = new_server_at(_metadata, &variant->kind, OTHER_PORT + i);
		ASSERT_EQ(0, put(self->map, i, self->servers[i], BPF_NOEXIST));
	}
	if (variant->hook == TC)
		attach_tc(_metadata, self->skel->progs.assign_tc, BPF_TC_INGRESS);
	else
		attach_netns(_metadata, self->skel->progs.assign_lookup);
}

FIXTURE_TEARDOWN(assign)
{
	assign__destroy(self->skel);
}

/* The socket in the slot that the program looks up gets the packet. */
TEST_F(assign, each_slot)
{
	int i;

	for (i = 0; i < WORKERS; i++) {
		self->skel->bss->slot = i;
		expect_at(_metadata, &variant->kind, self->servers, WORKERS, i, 60 + i);
		EXPECT_EQ(0, self->skel->bss->result);
		EXPECT_EQ(OTHER_PORT + i, self->skel->bss->found_port);
	}
}

/* An empty slot, and an index beyond the last one, give the program no socket. */
TEST_F(assign, no_socket)
{
	static const __u32 slots[] = { WORKERS, SLOTS - 1, SLOTS, UINT32_MAX };
	int i;

	for (i = 0; i < ARRAY_SIZE(slots); i++) {
		self->skel->bss->slot = slots[i];
		self->skel->bss->result = 0;
		expect_refused(_metadata, &variant->kind, i);
		EXPECT_EQ(-1, self->skel->bss->result);
	}
}

/* A socket that has left its group is not found, and the one that takes its slot is. */
TEST_F(assign, socket_that_left)
{
	close(self->servers[0]);
	expect_refused(_metadata, &variant->kind, 1);
	EXPECT_EQ(-1, self->skel->bss->result);
	ASSERT_EQ(0, del(self->map, 1));
	ASSERT_EQ(0, put(self->map, 0, self->servers[1], BPF_NOEXIST));
	expect_at(_metadata, &variant->kind, self->servers + 1, 1, 0, 2);
}

/* Looking a socket up leaves no reference behind: once closed, its port is free. */
TEST_F(assign, no_reference_stays)
{
	struct kind plain = variant->kind;
	int i, fd;

	for (i = 0; i < 20; i++)
		expect_at(_metadata, &variant->kind, self->servers, WORKERS, 0, i);
	close(self->servers[0]);
	fd = open_socket(_metadata, &plain);
	if (plain.type == SOCK_STREAM)
		set_reuseport(_metadata, fd, 1);
	bind_to(_metadata, &plain, fd, OTHER_PORT);
	EXPECT_TRUE(is_empty(self->map, 0));
}

/* A lookup in an inner map follows the outer one, which alone holds the new map. */
TEST_F(assign, map_in_a_map)
{
	int old = self->map, new = new_map(_metadata), outer = bpf_map__fd(self->skel->maps.outer);

	if (variant->hook == TC)
		SKIP(return, "the program for tc has no outer map");

	self->skel->bss->inner = true;
	expect_refused(_metadata, &variant->kind, 1);
	ASSERT_EQ(0, put4(outer, 0, old, BPF_ANY));
	expect_at(_metadata, &variant->kind, self->servers, WORKERS, 0, 2);

	ASSERT_EQ(0, del(old, 1));
	ASSERT_EQ(0, put(new, 0, self->servers[1], BPF_NOEXIST));
	ASSERT_EQ(0, put4(outer, 0, new, BPF_ANY));
	close(new);
	expect_at(_metadata, &variant->kind, self->servers, WORKERS, 1, 3);
}

/* A socket of another protocol is found, but not assigned by sk_lookup. */
TEST_F(assign, other_protocol)
{
	struct kind other = variant->kind;

	if (variant->hook == TC)
		SKIP(return, "at tc it is up to the program");

	other.type = other.type == SOCK_STREAM ? SOCK_DGRAM : SOCK_STREAM;
	ASSERT_EQ(0, put(self->map, 0, new_server_at(_metadata, &other, OTHER_PORT), BPF_EXIST));
	expect_refused(_metadata, &variant->kind, 1);
	EXPECT_EQ(-EPROTOTYPE, self->skel->bss->result);
}

/* At egress, with bottom halves off, a program finds the socket as well. */
TEST_F(assign, egress)
{
	int client;

	if (variant->hook == TC)
		SKIP(return, "the interface has its program already");

	attach_tc(_metadata, self->skel->progs.look_at_egress, BPF_TC_EGRESS);
	self->skel->bss->slot = 1;
	self->skel->bss->found_port = 0;
	client = send_from(client_family(&variant->kind), variant->kind.type, PORT, 1);
	ASSERT_LE(0, client);
	close(client);
	EXPECT_EQ(OTHER_PORT + 1, self->skel->bss->found_port);
}

/* One map for both: sk_lookup assigns a member of the group, whose program selects another. */
FIXTURE(both)
{
	struct assign *skel;
	int servers[WORKERS];
};

FIXTURE_VARIANT(both)
{
	struct kind kind;
};

ADD_KINDS(both);

FIXTURE_SETUP(both)
{
	int i, map;

	enter_netns(_metadata);
	self->skel = assign__open_and_load();
	ASSERT_NE(NULL, self->skel);
	self->skel->bss->port = PORT;
	map = bpf_map__fd(self->skel->maps.sockets);
	for (i = 0; i < WORKERS; i++) {
		self->servers[i] = new_server_at(_metadata, &variant->kind, OTHER_PORT);
		ASSERT_EQ(0, put(map, i, self->servers[i], BPF_NOEXIST));
	}
	attach(_metadata, self->servers[0], self->skel->progs.select_worker);
	attach_netns(_metadata, self->skel->progs.assign_lookup);
}

FIXTURE_TEARDOWN(both)
{
	assign__destroy(self->skel);
}

/* Whichever member is assigned, the worker that the group's program selects gets the packet. */
TEST_F(both, worker)
{
	int i, j;

	for (i = 0; i < WORKERS; i++) {
		for (j = 0; j < WORKERS; j++) {
			self->skel->bss->slot = i;
			self->skel->bss->worker = j;
			expect_at(_metadata, &variant->kind, self->servers, WORKERS, j, 10 * i + j);
			EXPECT_EQ(cookie_of(self->servers[j]), self->skel->bss->found_cookie);
		}
	}
}

TEST_HARNESS_MAIN
