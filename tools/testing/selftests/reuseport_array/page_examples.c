// SPDX-License-Identifier: GPL-2.0
/* Run the examples of Documentation/bpf/map_reuseport_sockarray.rst. */
#include "common.h"

#include "examples/batch.c"
#include "examples/connection_id.c"
#include "examples/prefix.c"
#include "examples/restart.c"
#include "examples/spread.c"
#include "example_restart.skel.h"

#define WORKERS		4
#define LONG_HEADER	0x80

/* A datagram starts with a byte of flags and the first byte of a connection id. */
static __u32 datagram(__u8 flags, __u8 id)
{
	__u8 bytes[sizeof(__u32)] = { flags, id, 0xca, 0xfe };
	__u32 number;

	memcpy(&number, bytes, sizeof(number));
	return number;
}

FIXTURE(example_udp)
{
	struct example_connection_id *skel;
	int workers[WORKERS];
};

FIXTURE_VARIANT(example_udp)
{
	struct kind kind;
};

ADD_UDP_KINDS(example_udp);

FIXTURE_SETUP(example_udp)
{
	struct sockaddr_storage ss;
	socklen_t len = fill_address(&ss, variant->kind.family, variant->kind.dual, PORT);
	__u32 slot;

	enter_netns(_metadata);
	self->skel = example_connection_id__open_and_load();
	ASSERT_NE(NULL, self->skel);
	for (slot = 0; slot < WORKERS; slot++) {
		self->workers[slot] = open_worker(self->skel, slot, (struct sockaddr *)&ss, len);
		ASSERT_LE(0, self->workers[slot]);
	}
}

FIXTURE_TEARDOWN(example_udp)
{
	example_connection_id__destroy(self->skel);
}

/* A datagram of a known connection arrives at the worker that its id names. */
TEST_F(example_udp, known_connection)
{
	__u32 slot;

	for (slot = 0; slot < WORKERS; slot++)
		expect_at(_metadata, &variant->kind, self->workers, WORKERS, slot,
			  datagram(0, slot));
}

/* The first datagram of a connection arrives, whatever its id. */
TEST_F(example_udp, new_connection)
{
	__u32 sent = datagram(LONG_HEADER, 0xff), got = 0;
	int client, i;

	for (i = 0; i < 10; i++) {
		client = send_from(client_family(&variant->kind), SOCK_DGRAM, PORT, sent);
		ASSERT_LE(0, client);
		receive(_metadata, &variant->kind, self->workers, WORKERS, &got);
		EXPECT_EQ(sent, got);
		close(client);
	}
}

/* An id that names no worker gets an error. */
TEST_F(example_udp, no_such_connection)
{
	expect_refused(_metadata, &variant->kind, datagram(0, WORKERS));
	close(self->workers[1]);
	expect_refused(_metadata, &variant->kind, datagram(0, 1));
	expect_at(_metadata, &variant->kind, self->workers, 1, 0, datagram(0, 0));
}

/* A second worker for a slot gets an error, and nothing changes. */
TEST_F(example_udp, slot_taken)
{
	struct sockaddr_storage ss;
	socklen_t len = fill_address(&ss, variant->kind.family, variant->kind.dual, PORT);

	EXPECT_EQ(-EEXIST, open_worker(self->skel, 2, (struct sockaddr *)&ss, len));
	expect_at(_metadata, &variant->kind, self->workers, WORKERS, 2, datagram(0, 2));
}

/* A program attached before bind() creates a separate group, so that bind() fails. */
TEST_F(example_udp, program_before_bind)
{
	int fd = open_socket(_metadata, &variant->kind);
	struct sockaddr_storage ss;
	socklen_t len = fill_address(&ss, variant->kind.family, variant->kind.dual, PORT);

	set_reuseport(_metadata, fd, 1);
	attach(_metadata, fd, self->skel->progs.select_by_connection_id);
	EXPECT_EQ(-1, bind(fd, (struct sockaddr *)&ss, len));
	EXPECT_EQ(EADDRINUSE, errno);
}

FIXTURE(example_tcp)
{
	struct example_spread *skel;
	int workers[WORKERS];
};

FIXTURE_VARIANT(example_tcp)
{
	struct kind kind;
};

ADD_TCP_KINDS(example_tcp);

FIXTURE_SETUP(example_tcp)
{
	struct sockaddr_storage ss;
	socklen_t len = fill_address(&ss, variant->kind.family, variant->kind.dual, PORT);
	__u32 slot;

	enter_netns(_metadata);
	self->skel = example_spread__open_and_load();
	ASSERT_NE(NULL, self->skel);
	for (slot = 0; slot < WORKERS; slot++) {
		self->workers[slot] = open_listener(self->skel, slot, (struct sockaddr *)&ss, len);
		ASSERT_LE(0, self->workers[slot]);
	}
}

FIXTURE_TEARDOWN(example_tcp)
{
	example_spread__destroy(self->skel);
}

/* Of many connections each worker gets some. */
TEST_F(example_tcp, spread)
{
	int hits[WORKERS] = {}, client, i;
	__u32 got;

	for (i = 0; i < 200; i++) {
		client = send_from(client_family(&variant->kind), SOCK_STREAM, PORT, i);
		ASSERT_LE(0, client);
		hits[receive(_metadata, &variant->kind, self->workers, WORKERS, &got)]++;
		ASSERT_EQ(i, got);
		close(client);
	}
	for (i = 0; i < WORKERS; i++)
		EXPECT_LT(0, hits[i]);
}

/* While one worker is left, all connections succeed, waiting ones included. */
TEST_F(example_tcp, workers_that_leave)
{
	int last = WORKERS - 1, clients[8], i;
	__u32 got;

	for (i = 0; i < ARRAY_SIZE(clients); i++) {
		clients[i] = send_from(client_family(&variant->kind), SOCK_STREAM, PORT, i);
		ASSERT_LE(0, clients[i]);
	}
	for (i = 0; i < last; i++)
		close(self->workers[i]);
	for (i = 0; i < ARRAY_SIZE(clients); i++)
		receive(_metadata, &variant->kind, &self->workers[last], 1, &got);
	EXPECT_TRUE(nothing_arrived(&self->workers[last], 1));
	expect_at(_metadata, &variant->kind, &self->workers[last], 1, 0, 77);
	expect_at(_metadata, &variant->kind, &self->workers[last], 1, 0, 78);
}

FIXTURE(example_restart)
{
	struct example_restart *skel;
	int current;
};

FIXTURE_VARIANT(example_restart)
{
	struct kind kind;
};

ADD_KINDS(example_restart);

FIXTURE_SETUP(example_restart)
{
	enter_netns(_metadata);
	self->skel = example_restart__open_and_load();
	ASSERT_NE(NULL, self->skel);
	self->current = bpf_map__fd(self->skel->maps.current);
}

FIXTURE_TEARDOWN(example_restart)
{
	example_restart__destroy(self->skel);
}

/* Restart twice, with more and with fewer sockets than before. */
TEST_F(example_restart, three_generations)
{
	static const __u32 sizes[] = { 2, WORKERS, 1 };
	int servers[WORKERS + 1], old = -1, map, g, i;
	__u32 got;

	for (g = 0; g < ARRAY_SIZE(sizes); g++) {
		for (i = 0; i < sizes[g]; i++)
			servers[i] = new_server(_metadata, &variant->kind);
		if (!g)
			attach(_metadata, servers[0], self->skel->progs.select_current);
		/* the old process's sockets are still open, but get nothing */
		servers[sizes[g]] = old;
		map = take_over(self->current, servers, sizes[g]);
		ASSERT_LE(0, map);

		for (i = 0; i < 8; i++) {
			int client = send_from(client_family(&variant->kind), variant->kind.type,
					       PORT, i);

			ASSERT_LE(0, client);
			EXPECT_GT(sizes[g], receive(_metadata, &variant->kind, servers,
						    sizes[g] + (old >= 0), &got));
			EXPECT_EQ(i, got);
			close(client);
		}
		close(old);
		close(map);
		old = servers[0];
		for (i = 1; i < sizes[g]; i++)
			close(servers[i]);
	}
}

/* A take-over that fails changes nothing. */
TEST_F(example_restart, failed)
{
	int server = new_server(_metadata, &variant->kind);
	int again[2] = { new_server(_metadata, &variant->kind), server };

	attach(_metadata, server, self->skel->progs.select_current);
	ASSERT_LE(0, take_over(self->current, &server, 1));
	EXPECT_EQ(-EBUSY, take_over(self->current, again, 2));
	expect_at(_metadata, &variant->kind, &server, 1, 0, 5);
	EXPECT_TRUE(nothing_arrived(again, 1));
}

/* Inner maps may differ in max_entries only. */
TEST_F(example_restart, other_value_size)
{
	int narrow = create_map(sizeof(__u32), WORKERS, 0);
	int longer = create_map(sizeof(__u64), 10 * WORKERS, 0);

	EXPECT_EQ(-EINVAL, put4(self->current, 0, narrow, BPF_ANY));
	EXPECT_EQ(0, put4(self->current, 0, longer, BPF_ANY));
}

FIXTURE(example_prefix)
{
	struct example_prefix *skel;
	int workers[WORKERS];
};

FIXTURE_VARIANT(example_prefix)
{
	struct kind kind;
};

ADD_KINDS(example_prefix);

FIXTURE_SETUP(example_prefix)
{
	int netns, i;

	enter_netns(_metadata);
	netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, netns);
	self->skel = example_prefix__open_and_load();
	ASSERT_NE(NULL, self->skel);
	ASSERT_NE(NULL, bpf_program__attach_netns(self->skel->progs.find_group, netns));
	for (i = 0; i < WORKERS; i++) {
		self->workers[i] = new_server_at(_metadata, &variant->kind, OTHER_PORT);
		ASSERT_EQ(0, put(bpf_map__fd(self->skel->maps.workers), i, self->workers[i],
				 BPF_NOEXIST));
	}
	attach(_metadata, self->workers[0], self->skel->progs.select_worker);
}

FIXTURE_TEARDOWN(example_prefix)
{
	example_prefix__destroy(self->skel);
}

static int serve_loopback(struct example_prefix *skel, const struct kind *kind, __u32 bits,
			  __u16 port)
{
	bool v4 = client_family(kind) == AF_INET;

	return serve_prefix(skel, kind->type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP,
			    v4 ? "127.0.0.1" : "::1", bits, port);
}

/* What is sent to a port of the prefix arrives at the workers, each of which gets some. */
TEST_F(example_prefix, any_port)
{
	bool v4 = client_family(&variant->kind) == AF_INET;
	int hits[WORKERS] = {}, client, i;
	__u32 got;

	expect_refused(_metadata, &variant->kind, 1);
	ASSERT_EQ(0, serve_loopback(self->skel, &variant->kind, v4 ? 8 : 128, 0));
	for (i = 0; i < 200; i++) {
		client = send_from(client_family(&variant->kind), variant->kind.type,
				   1000 + i, i);
		ASSERT_LE(0, client);
		hits[receive(_metadata, &variant->kind, self->workers, WORKERS, &got)]++;
		ASSERT_EQ(i, got);
		close(client);
	}
	for (i = 0; i < WORKERS; i++)
		EXPECT_LT(0, hits[i]);
}

/* One port of the prefix alone, with the last worker that is left. */
TEST_F(example_prefix, one_port)
{
	int i;

	ASSERT_EQ(0, serve_loopback(self->skel, &variant->kind, 30, PORT + 10));
	expect_refused(_metadata, &variant->kind, 1);
	ASSERT_EQ(0, serve_loopback(self->skel, &variant->kind, 30, PORT));
	for (i = 0; i < WORKERS - 1; i++)
		close(self->workers[i]);
	expect_at(_metadata, &variant->kind, self->workers + i, 1, 0, 2);
	close(self->workers[i]);
	expect_refused(_metadata, &variant->kind, 3);
}

#define SOCKETS	(2 * AT_ONCE + 1)

FIXTURE(example_batch)
{
	int servers[SOCKETS];
	int map;
};

FIXTURE_VARIANT(example_batch)
{
	struct kind kind;
};

ADD_KINDS(example_batch);

FIXTURE_SETUP(example_batch)
{
	int i;

	enter_netns(_metadata);
	self->map = create_map(sizeof(__u64), 10 * SOCKETS, 0);
	ASSERT_LE(0, self->map);
	for (i = 0; i < SOCKETS; i++)
		self->servers[i] = new_server(_metadata, &variant->kind);
}

FIXTURE_TEARDOWN(example_batch)
{
}

static __u64 seen[SOCKETS];

static void remember(__u32 slot, __u64 cookie)
{
	if (slot < SOCKETS)
		seen[slot] = cookie;
}

/* A batch lookup returns each socket in the slot it was put into. */
TEST_F(example_batch, fill_and_read)
{
	int i;

	EXPECT_EQ(0, visit_slots(self->map, remember));
	ASSERT_EQ(0, fill(self->map, self->servers, SOCKETS));
	EXPECT_EQ(SOCKETS, visit_slots(self->map, remember));
	for (i = 0; i < SOCKETS; i++)
		EXPECT_EQ(cookie_of(self->servers[i]), seen[i]);
}

/* Sockets before an invalid one are in the map. */
TEST_F(example_batch, fill_stops)
{
	int bad = AT_ONCE + 5;

	close(self->servers[bad]);
	self->servers[bad] = self->servers[0];
	EXPECT_EQ(-EBUSY, fill(self->map, self->servers, SOCKETS));
	EXPECT_EQ(bad, visit_slots(self->map, remember));
}

TEST_HARNESS_MAIN
