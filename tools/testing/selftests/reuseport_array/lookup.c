// SPDX-License-Identifier: GPL-2.0
/* Lookup of cookies, and the order of keys. */
#include "common.h"

FIXTURE(lookup)
{
	int server;
	int map;
};

FIXTURE_VARIANT(lookup)
{
	struct kind kind;
};

ADD_KINDS(lookup);

FIXTURE_SETUP(lookup)
{
	enter_netns(_metadata);
	self->map = new_map(_metadata);
	self->server = new_server(_metadata, &variant->kind);
}

FIXTURE_TEARDOWN(lookup)
{
}

/* The value is the cookie that SO_COOKIE returns, before the lookup and after. */
TEST_F(lookup, value_is_the_cookie)
{
	int other = new_server(_metadata, &variant->kind);
	__u64 asked_before = cookie_of(self->server);
	__u64 cookie;

	ASSERT_NE(0, asked_before);
	ASSERT_EQ(0, put(self->map, 1, self->server, BPF_ANY));
	ASSERT_EQ(0, put(self->map, 2, other, BPF_ANY));

	EXPECT_EQ(0, get(self->map, 1, &cookie));
	EXPECT_EQ(asked_before, cookie);

	EXPECT_EQ(0, get(self->map, 2, &cookie));
	EXPECT_NE(asked_before, cookie);
	EXPECT_EQ(cookie_of(other), cookie);
}

/* A new cookie: those created on one CPU are in ascending order. */
static __u64 tick(struct __test_metadata *_metadata)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	__u64 cookie = cookie_of(fd);

	ASSERT_NE(0, cookie);
	close(fd);
	return cookie;
}

/* The first lookup creates the cookie, not socket(), bind() or the update. */
TEST_F(lookup, cookie_is_made_on_first_lookup)
{
	__u64 before, first, after, second;
	cpu_set_t one_cpu;

	CPU_ZERO(&one_cpu);
	CPU_SET(sched_getcpu(), &one_cpu);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(one_cpu), &one_cpu));

	ASSERT_EQ(0, put(self->map, 0, self->server, BPF_ANY));
	before = tick(_metadata);
	ASSERT_EQ(0, get(self->map, 0, &first));
	after = tick(_metadata);
	ASSERT_EQ(0, get(self->map, 0, &second));

	EXPECT_LT(before, first);
	EXPECT_LT(first, after);
	EXPECT_EQ(first, second);
	EXPECT_EQ(first, cookie_of(self->server));
}

/* An empty slot and an index outside the map: ENOENT. */
TEST_F(lookup, nothing_there)
{
	__u64 cookie;

	ASSERT_EQ(0, put(self->map, 0, self->server, BPF_ANY));
	EXPECT_EQ(-ENOENT, get(self->map, 1, &cookie));
	EXPECT_EQ(-ENOENT, get(self->map, SLOTS - 1, &cookie));
	EXPECT_EQ(-ENOENT, get(self->map, SLOTS, &cookie));
	EXPECT_EQ(-ENOENT, get(self->map, INT32_MAX, &cookie));
	EXPECT_EQ(-ENOENT, get(self->map, UINT32_MAX, &cookie));
}

/* Values of 4 bytes are too small for a cookie: ENOSPC for each slot. */
TEST_F(lookup, four_bytes_are_too_few)
{
	int map = create_map(sizeof(__u32), SLOTS, 0);
	__u64 cookie = 0;

	ASSERT_LE(0, map);
	ASSERT_EQ(0, put4(map, 0, self->server, BPF_ANY));
	EXPECT_EQ(-ENOSPC, get(map, 0, &cookie));
	EXPECT_EQ(-ENOSPC, get(map, 1, &cookie));
	EXPECT_EQ(-ENOSPC, get(map, SLOTS, &cookie));
	EXPECT_EQ(0, cookie);
}

/* Lookup flags: EINVAL. */
TEST_F(lookup, flags)
{
	__u32 index = 0;
	__u64 cookie;

	ASSERT_EQ(0, put(self->map, 0, self->server, BPF_ANY));
	EXPECT_EQ(-EINVAL, bpf_map_lookup_elem_flags(self->map, &index, &cookie, BPF_EXIST));
	EXPECT_EQ(-EINVAL, bpf_map_lookup_elem_flags(self->map, &index, &cookie, BPF_F_LOCK));
}

/* Lookup and delete in one call is not supported, and deletes nothing. */
TEST_F(lookup, and_delete)
{
	__u32 index = 0;
	__u64 cookie;

	ASSERT_EQ(0, put(self->map, 0, self->server, BPF_ANY));
	EXPECT_EQ(-ENOTSUPP, bpf_map_lookup_and_delete_elem(self->map, &index, &cookie));
	EXPECT_TRUE(holds(self->map, 0, self->server));
}

/* The keys are all indices in order, of empty slots too, as in every array. */
TEST_F(lookup, keys)
{
	__u32 key, next = ~0;

	ASSERT_EQ(0, put(self->map, 2, self->server, BPF_ANY));
	ASSERT_EQ(0, bpf_map_get_next_key(self->map, NULL, &next));
	ASSERT_EQ(0, next);
	for (key = 0; key < SLOTS - 1; key++) {
		ASSERT_EQ(0, bpf_map_get_next_key(self->map, &key, &next));
		ASSERT_EQ(key + 1, next);
	}
	EXPECT_EQ(-ENOENT, bpf_map_get_next_key(self->map, &key, &next));
}

/* After a key that does not exist comes the first one. */
TEST_F(lookup, keys_past_the_end)
{
	static const __u32 past[] = { SLOTS, SLOTS + 1, INT32_MAX, UINT32_MAX };
	__u32 next;
	int i;

	for (i = 0; i < ARRAY_SIZE(past); i++) {
		next = ~0;
		EXPECT_EQ(0, bpf_map_get_next_key(self->map, &past[i], &next));
		EXPECT_EQ(0, next);
	}
}

/* A map of one slot has one key. */
TEST_F(lookup, keys_of_one_slot)
{
	int map = create_map(sizeof(__u64), 1, 0);
	__u32 key = 0, next = ~0;

	ASSERT_LE(0, map);
	EXPECT_EQ(0, bpf_map_get_next_key(map, NULL, &next));
	EXPECT_EQ(0, next);
	EXPECT_EQ(-ENOENT, bpf_map_get_next_key(map, &key, &next));
}

TEST_HARNESS_MAIN
