// SPDX-License-Identifier: GPL-2.0
/* Many sockets: in one map, and in one group. */
#include <sys/resource.h>

#include "common.h"
#include "steer.skel.h"

FIXTURE(scale)
{
	int *servers;
};

FIXTURE_VARIANT(scale)
{
	struct kind kind;
};

ADD_KINDS(scale);

#define MANY		10000
#define PORTS		100
#define CROWD		300	/* a group starts with space for 128 */

FIXTURE_SETUP(scale)
{
	struct rlimit limit = { MANY + 100, MANY + 100 };

	enter_netns(_metadata);
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	self->servers = calloc(MANY, sizeof(*self->servers));
	ASSERT_NE(NULL, self->servers);
}

FIXTURE_TEARDOWN(scale)
{
	free(self->servers);
}

/* Ten thousand sockets of a hundred groups: each stays in its slot until it leaves. */
TEST_F(scale, ten_thousand_sockets)
{
	int map = create_map(sizeof(__u64), MANY, 0);
	__u64 cookie;
	int i;

	ASSERT_LE(0, map);
	for (i = 0; i < MANY; i++) {
		self->servers[i] = new_server_at(_metadata, &variant->kind, PORT + i % PORTS);
		ASSERT_EQ(0, put(map, i, self->servers[i], BPF_NOEXIST));
	}
	for (i = 0; i < MANY; i++) {
		ASSERT_EQ(0, get(map, i, &cookie));
		ASSERT_EQ(cookie_of(self->servers[i]), cookie);
	}

	for (i = 0; i < MANY; i += 2)
		close(self->servers[i]);
	for (i = 0; i < MANY; i++)
		ASSERT_EQ(i % 2 ? 0 : -ENOENT, get(map, i, &cookie));
}

/* After a group has grown, all slots are unchanged and work. */
TEST_F(scale, group_that_grows)
{
	struct steer *skel = steer__open();
	int first, last, map, i;

	ASSERT_NE(NULL, skel);
	ASSERT_EQ(0, bpf_map__set_max_entries(skel->maps.sockets, CROWD));
	ASSERT_EQ(0, steer__load(skel));
	map = bpf_map__fd(skel->maps.sockets);

	for (i = 0; i < CROWD; i++) {
		self->servers[i] = new_server(_metadata, &variant->kind);
		ASSERT_EQ(0, put(map, i, self->servers[i], BPF_NOEXIST));
		if (!i)
			attach(_metadata, self->servers[0], skel->progs.select_slot);
	}
	for (i = 0; i < CROWD; i++) {
		ASSERT_TRUE(holds(map, i, self->servers[i]));
		skel->bss->slot = i;
		expect_at(_metadata, &variant->kind, &self->servers[i], 1, 0, i);
	}

	/* sockets that joined before and after can leave */
	first = 0;
	last = CROWD - 1;
	close(self->servers[first]);
	close(self->servers[last]);
	EXPECT_TRUE(is_empty(map, first));
	EXPECT_TRUE(is_empty(map, last));
	for (i = first + 1; i < last; i++) {
		ASSERT_TRUE(holds(map, i, self->servers[i]));
		close(self->servers[i]);
		ASSERT_TRUE(is_empty(map, i));
	}
	steer__destroy(skel);
}

TEST_HARNESS_MAIN
