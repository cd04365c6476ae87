// SPDX-License-Identifier: GPL-2.0
/* A socket that is in a SOCKMAP as well. */
#include "common.h"

FIXTURE(sockmap)
{
	int server;
	int array;
	int sockmap;
};

FIXTURE_VARIANT(sockmap)
{
	struct kind kind;
};

ADD_KINDS(sockmap);

FIXTURE_SETUP(sockmap)
{
	enter_netns(_metadata);
	self->array = new_map(_metadata);
	self->server = new_server(_metadata, &variant->kind);
	self->sockmap = bpf_map_create(BPF_MAP_TYPE_SOCKMAP, "sockmap", sizeof(__u32),
				       sizeof(__u64), SLOTS, NULL);
	ASSERT_LE(0, self->sockmap);
}

FIXTURE_TEARDOWN(sockmap)
{
}

/* A socket of our map can be added to a SOCKMAP. */
TEST_F(sockmap, ours_first)
{
	ASSERT_EQ(0, put(self->array, 0, self->server, BPF_ANY));
	ASSERT_EQ(0, put(self->sockmap, 1, self->server, BPF_ANY));
	EXPECT_TRUE(holds(self->array, 0, self->server));
	EXPECT_TRUE(holds(self->sockmap, 1, self->server));
}

/* A socket of a SOCKMAP can be added to our map. */
TEST_F(sockmap, ours_second)
{
	ASSERT_EQ(0, put(self->sockmap, 1, self->server, BPF_ANY));
	ASSERT_EQ(0, put(self->array, 0, self->server, BPF_ANY));
	EXPECT_TRUE(holds(self->array, 0, self->server));
	EXPECT_TRUE(holds(self->sockmap, 1, self->server));
}

/* A socket deleted from one map stays in the other. */
TEST_F(sockmap, delete)
{
	ASSERT_EQ(0, put(self->sockmap, 1, self->server, BPF_ANY));
	ASSERT_EQ(0, put(self->array, 0, self->server, BPF_ANY));

	ASSERT_EQ(0, del(self->array, 0));
	EXPECT_TRUE(holds(self->sockmap, 1, self->server));
	ASSERT_EQ(0, put(self->array, 0, self->server, BPF_ANY));
	ASSERT_EQ(0, del(self->sockmap, 1));
	EXPECT_TRUE(holds(self->array, 0, self->server));
}

/* close() takes the socket out of both. */
TEST_F(sockmap, close)
{
	ASSERT_EQ(0, put(self->sockmap, 1, self->server, BPF_ANY));
	ASSERT_EQ(0, put(self->array, 0, self->server, BPF_ANY));
	close(self->server);
	EXPECT_TRUE(is_empty(self->array, 0));
	EXPECT_TRUE(is_empty(self->sockmap, 1));
}

/* A socket that was in a SOCKMAP before can be added. */
TEST_F(sockmap, afterwards)
{
	ASSERT_EQ(0, put(self->sockmap, 1, self->server, BPF_ANY));
	ASSERT_EQ(0, del(self->sockmap, 1));
	EXPECT_TRUE(EVENTUALLY(put(self->array, 0, self->server, BPF_ANY) != -EBUSY));
	EXPECT_TRUE(holds(self->array, 0, self->server));
}

TEST_HARNESS_MAIN
