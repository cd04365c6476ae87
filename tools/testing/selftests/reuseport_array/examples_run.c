// SPDX-License-Identifier: GPL-2.0
/* The programs of the examples, run with every packet that makes a difference to them. */
#include "common.h"
#include "packet.h"

#include "examples/connection_id.c"
#include "example_restart.skel.h"
#include "examples/restart.c"
#include "examples/spread.c"

#define WORKERS		4
#define LONG_HEADER	0x80

static __u64 cookie_of_slot(struct __test_metadata *_metadata, int map, __u32 slot)
{
	__u64 cookie = 0;
	int err = get(map, slot, &cookie);

	ASSERT_TRUE(!err || err == -ENOENT);
	return cookie;
}

FIXTURE(connection_id)
{
	struct example_connection_id *skel;
	int workers[WORKERS];
	__u64 cookies[WORKERS];
	int prog;
};

FIXTURE_VARIANT(connection_id)
{
	struct kind kind;
};

ADD_UDP_KINDS(connection_id);

FIXTURE_SETUP(connection_id)
{
	struct sockaddr_storage ss;
	socklen_t len = fill_address(&ss, variant->kind.family, variant->kind.dual, PORT);
	__u32 slot;

	enter_netns(_metadata);
	self->skel = example_connection_id__open_and_load();
	ASSERT_NE(NULL, self->skel);
	self->prog = bpf_program__fd(self->skel->progs.select_by_connection_id);
	for (slot = 0; slot < WORKERS; slot++) {
		self->workers[slot] = open_worker(self->skel, slot, (struct sockaddr *)&ss, len);
		ASSERT_LE(0, self->workers[slot]);
		self->cookies[slot] = cookie_of(self->workers[slot]);
	}
}

FIXTURE_TEARDOWN(connection_id)
{
	example_connection_id__destroy(self->skel);
}

/* All 65,536 ways in which a datagram can begin. */
TEST_F(connection_id, every_start)
{
	struct frame frame;
	__u32 start, hash;
	__u64 cookie;
	__u8 *bytes;

	make_frame(&frame, client_family(&variant->kind), SOCK_DGRAM, PORT, 0, "12", 2);
	bytes = frame.bytes + frame.len - 2;
	for (start = 0; start <= UINT16_MAX; start++) {
		bytes[0] = start >> 8;
		bytes[1] = start;
		hash = start * 0x9e3779b1;

		if (bytes[0] & LONG_HEADER) {
			ASSERT_EQ(SK_PASS, run_with_packet(self->prog, self->workers[0], hash, 0,
							   &frame, &cookie));
			ASSERT_EQ(self->cookies[hash % WORKERS], cookie);
		} else if (bytes[1] < WORKERS) {
			ASSERT_EQ(SK_PASS, run_with_packet(self->prog, self->workers[0], hash, 0,
							   &frame, &cookie));
			ASSERT_EQ(self->cookies[bytes[1]], cookie);
		} else {
			ASSERT_EQ(SK_DROP, run_with_packet(self->prog, self->workers[0], hash, 0,
							   &frame, &cookie));
			ASSERT_EQ(0, cookie);
		}
	}
}

/* A datagram too short to have an id is dropped. */
TEST_F(connection_id, no_id)
{
	struct frame frame;
	__u64 cookie;
	__u32 len;

	for (len = 0; len <= 2; len++) {
		make_frame(&frame, client_family(&variant->kind), SOCK_DGRAM, PORT, 0, "\0\0",
			   len);
		EXPECT_EQ(len < 2 ? SK_DROP : SK_PASS,
			  run_with_packet(self->prog, self->workers[0], 0, 0, &frame, &cookie));
	}
}

/* The ids of a worker that has exited are dropped, the others are not affected. */
TEST_F(connection_id, worker_exits)
{
	struct frame frame;
	__u64 cookie;
	__u8 slot;

	close(self->workers[1]);
	for (slot = 0; slot < WORKERS; slot++) {
		__u8 start[2] = { 0, slot };

		make_frame(&frame, client_family(&variant->kind), SOCK_DGRAM, PORT, 0, start, 2);
		EXPECT_EQ(slot == 1 ? SK_DROP : SK_PASS,
			  run_with_packet(self->prog, self->workers[0], 0, 0, &frame, &cookie));
		EXPECT_EQ(slot == 1 ? 0 : self->cookies[slot], cookie);
	}
}

/* Any set of workers that is left. */
static void expect_next_worker(struct __test_metadata *_metadata, int prog, int member,
			       int migrating, const struct frame *frame, int map)
{
	__u64 cookie, expected;
	__u32 hash, i;

	for (hash = 0; hash < 4 * WORKERS; hash++) {
		expected = 0;
		for (i = 0; i < WORKERS && !expected; i++)
			expected = cookie_of_slot(_metadata, map, (hash + i) % WORKERS);

		EXPECT_EQ(expected ? SK_PASS : SK_DROP,
			  run_with_packet(prog, member, hash, migrating, frame, &cookie));
		EXPECT_EQ(expected, cookie);
	}
}

FIXTURE(spread)
{
	struct example_spread *skel;
	int workers[WORKERS];
	int prog;
	int map;
	int child;
};

FIXTURE_VARIANT(spread)
{
	struct kind kind;
};

ADD_TCP_KINDS(spread);

FIXTURE_SETUP(spread)
{
	struct sockaddr_storage ss;
	socklen_t len = fill_address(&ss, variant->kind.family, variant->kind.dual, PORT);
	__u32 slot;

	enter_netns(_metadata);
	self->skel = example_spread__open_and_load();
	ASSERT_NE(NULL, self->skel);
	self->prog = bpf_program__fd(self->skel->progs.select_any);
	self->map = bpf_map__fd(self->skel->maps.listeners);
	for (slot = 0; slot < WORKERS; slot++) {
		self->workers[slot] = open_listener(self->skel, slot, (struct sockaddr *)&ss, len);
		ASSERT_LE(0, self->workers[slot]);
		if (!slot) {
			ASSERT_LE(0, send_from(client_family(&variant->kind), SOCK_STREAM, PORT,
					       1));
			self->child = accept(self->workers[0], NULL, NULL);
			ASSERT_LE(0, self->child);
		}
	}
}

FIXTURE_TEARDOWN(spread)
{
	example_spread__destroy(self->skel);
}

/* New connections and waiting ones, with each of the 16 sets of workers. */
TEST_F(spread, every_set_of_workers)
{
	struct frame frame;
	__u32 set, slot;

	make_frame(&frame, client_family(&variant->kind), SOCK_STREAM, PORT, 0, NULL, 0);
	for (set = 0; set < 1 << WORKERS; set++) {
		for (slot = 0; slot < WORKERS; slot++) {
			if (!(set & 1 << slot))
				del(self->map, slot);
			else if (is_empty(self->map, slot))
				ASSERT_EQ(0, put(self->map, slot, self->workers[slot], BPF_ANY));
		}
		expect_next_worker(_metadata, self->prog, self->workers[0], 0, &frame, self->map);
		expect_next_worker(_metadata, self->prog, self->workers[0], self->child, NULL,
				   self->map);
	}
}

FIXTURE(restart)
{
	struct example_restart *skel;
	int prog;
	int current;
};

FIXTURE_VARIANT(restart)
{
	struct kind kind;
};

ADD_KINDS(restart);

FIXTURE_SETUP(restart)
{
	enter_netns(_metadata);
	self->skel = example_restart__open_and_load();
	ASSERT_NE(NULL, self->skel);
	self->prog = bpf_program__fd(self->skel->progs.select_current);
	self->current = bpf_map__fd(self->skel->maps.current);
}

FIXTURE_TEARDOWN(restart)
{
	example_restart__destroy(self->skel);
}

/* Before the first generation, and through generations of each size. */
TEST_F(restart, every_size)
{
	int servers[WORKERS], member = new_server(_metadata, &variant->kind), map, n, i;
	struct frame frame;
	__u64 cookie;

	make_frame(&frame, client_family(&variant->kind), variant->kind.type, PORT, 0, NULL, 0);
	EXPECT_EQ(SK_DROP, run_with_packet(self->prog, member, 0, 0, &frame, &cookie));

	for (n = 1; n <= WORKERS; n++) {
		for (i = 0; i < n; i++)
			servers[i] = new_server(_metadata, &variant->kind);
		map = take_over(self->current, servers, n);
		ASSERT_LE(0, map);
		expect_next_worker(_metadata, self->prog, member, 0, &frame, map);
		close(map);
	}
}

TEST_HARNESS_MAIN
