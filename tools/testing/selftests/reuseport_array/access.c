// SPDX-License-Identifier: GPL-2.0
/* Maps that are frozen, read-only or write-only. */
#include <sys/mount.h>

#include "common.h"

FIXTURE(access)
{
	int servers[2];
};

FIXTURE_VARIANT(access)
{
	struct kind kind;
};

ADD_KINDS(access);

FIXTURE_SETUP(access)
{
	int i;

	enter_netns(_metadata);
	for (i = 0; i < 2; i++)
		self->servers[i] = new_server(_metadata, &variant->kind);
}

FIXTURE_TEARDOWN(access)
{
}

/* @map, with @server in slot 0, can be read but not changed. */
static void expect_readable(struct __test_metadata *_metadata, int map, int server, int spare)
{
	__u32 first;

	EXPECT_EQ(-EPERM, put(map, 0, spare, BPF_ANY));
	EXPECT_EQ(-EPERM, put(map, 1, spare, BPF_NOEXIST));
	EXPECT_EQ(-EPERM, put(map, SLOTS, -1, BPF_ANY));
	EXPECT_EQ(-EPERM, del(map, 0));
	EXPECT_EQ(-EPERM, del(map, 1));
	EXPECT_TRUE(holds(map, 0, server));
	EXPECT_TRUE(is_empty(map, 1));
	EXPECT_EQ(0, bpf_map_get_next_key(map, NULL, &first));
}

/* A frozen map rejects update and delete, but sockets still leave it. */
TEST_F(access, frozen)
{
	int map = new_map(_metadata);
	int again;

	ASSERT_EQ(0, put(map, 0, self->servers[0], BPF_ANY));
	ASSERT_EQ(0, bpf_map_freeze(map));
	/* Linux 6.1 has another name for it. */
	again = bpf_map_freeze(map);
	EXPECT_TRUE(again == -EPERM || again == -EBUSY);
	expect_readable(_metadata, map, self->servers[0], self->servers[1]);
	close(self->servers[0]);
	EXPECT_TRUE(is_empty(map, 0));
}

/* A map created read-only stays empty. */
TEST_F(access, created_rdonly)
{
	int map = create_map(sizeof(__u64), SLOTS, BPF_F_RDONLY);

	ASSERT_LE(0, map);
	EXPECT_EQ(-EPERM, put(map, 0, self->servers[0], BPF_ANY));
	EXPECT_EQ(-EPERM, del(map, 0));
	EXPECT_TRUE(is_empty(map, 0));
}

static void expect_writable(struct __test_metadata *_metadata, int map, int server)
{
	__u64 cookie;
	__u32 first;

	EXPECT_EQ(0, put(map, 0, server, BPF_NOEXIST));
	EXPECT_EQ(-EPERM, get(map, 0, &cookie));
	EXPECT_EQ(-EPERM, get(map, SLOTS, &cookie));
	EXPECT_EQ(-EPERM, bpf_map_get_next_key(map, NULL, &first));
	EXPECT_EQ(-EBUSY, put(map, 1, server, BPF_ANY));
	EXPECT_EQ(0, del(map, 0));
	EXPECT_EQ(-ENOENT, del(map, 0));
}

/* A map created write-only cannot be read. */
TEST_F(access, created_wronly)
{
	int map = create_map(sizeof(__u64), SLOTS, BPF_F_WRONLY);

	ASSERT_LE(0, map);
	expect_writable(_metadata, map, self->servers[0]);
}

/* Flags for programs do not restrict processes. */
TEST_F(access, created_for_programs)
{
	static const __u32 flags[] = { BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG };
	int i, map;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		map = create_map(sizeof(__u64), SLOTS, flags[i]);
		ASSERT_LE(0, map);
		EXPECT_EQ(0, put(map, 0, self->servers[0], BPF_ANY));
		EXPECT_TRUE(holds(map, 0, self->servers[0]));
		EXPECT_EQ(0, del(map, 0));
	}
}

/* A pinned map may be opened read-only and write-only at the same time. */
TEST_F(access, opened_again)
{
	LIBBPF_OPTS(bpf_obj_get_opts, rdonly, .file_flags = BPF_F_RDONLY);
	LIBBPF_OPTS(bpf_obj_get_opts, wronly, .file_flags = BPF_F_WRONLY);
	char path[] = "/tmp/reuseport_array.XXXXXX", pin[64];
	int map = new_map(_metadata);

	ASSERT_EQ(0, unshare(CLONE_NEWNS));
	ASSERT_EQ(0, mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	ASSERT_NE(NULL, mkdtemp(path));
	ASSERT_EQ(0, mount("bpf", path, "bpf", 0, NULL));
	snprintf(pin, sizeof(pin), "%s/sockets", path);
	ASSERT_EQ(0, bpf_obj_pin(map, pin));

	expect_writable(_metadata, bpf_obj_get_opts(pin, &wronly), self->servers[0]);
	ASSERT_EQ(0, put(map, 0, self->servers[0], BPF_ANY));
	expect_readable(_metadata, bpf_obj_get_opts(pin, &rdonly), self->servers[0],
			self->servers[1]);
	umount2(path, MNT_DETACH);
	rmdir(path);
}

TEST_HARNESS_MAIN
