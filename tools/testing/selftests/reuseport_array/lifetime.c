// SPDX-License-Identifier: GPL-2.0
/* The lifetime of a map, and its sockets after it is freed. */
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "common.h"
#include "steer.skel.h"

#define SERVERS	3

FIXTURE(lifetime)
{
	int servers[SERVERS];
	int map;
	int other_map;
};

FIXTURE_VARIANT(lifetime)
{
	struct kind kind;
};

ADD_KINDS(lifetime);

FIXTURE_SETUP(lifetime)
{
	int i;

	enter_netns(_metadata);
	self->map = new_map(_metadata);
	self->other_map = new_map(_metadata);
	for (i = 0; i < SERVERS; i++) {
		self->servers[i] = new_server(_metadata, &variant->kind);
		ASSERT_EQ(0, put(self->map, i, self->servers[i], BPF_ANY));
	}
}

FIXTURE_TEARDOWN(lifetime)
{
}

/* A map is freed some time after its last fd is closed: until then EBUSY. */
static int put_when_free(int map, __u32 index, int fd)
{
	int err;

	EVENTUALLY((err = put(map, index, fd, BPF_NOEXIST)) != -EBUSY);
	return err;
}

/* The sockets of a freed map can be added to another one. */
TEST_F(lifetime, sockets_outlive_the_map)
{
	int i;

	close(self->map);
	for (i = 0; i < SERVERS; i++) {
		EXPECT_EQ(0, put_when_free(self->other_map, i, self->servers[i]));
		EXPECT_TRUE(holds(self->other_map, i, self->servers[i]));
	}
}

/* Freeing a map closes no socket. */
TEST_F(lifetime, sockets_serve_without_the_map)
{
	int i;

	for (i = 1; i < SERVERS; i++)
		close(self->servers[i]);
	close(self->map);
	ASSERT_EQ(0, put_when_free(self->other_map, 0, self->servers[0]));
	expect_at(_metadata, &variant->kind, self->servers, 1, 0, 1);
}

/* Sockets may be closed before, during and after freeing of their map. */
TEST_F(lifetime, sockets_and_map_go_together)
{
	close(self->servers[0]);
	close(self->map);
	close(self->servers[1]);
	ASSERT_EQ(0, put_when_free(self->other_map, 0, self->servers[2]));
	close(self->servers[2]);
	EXPECT_TRUE(is_empty(self->other_map, 0));
}

/* Leave the group of @fd and join it again, with a new socket if necessary. */
static int come_back(struct __test_metadata *_metadata, const struct kind *kind, int fd)
{
	if (kind->type == SOCK_STREAM) {
		ASSERT_EQ(0, shutdown(fd, SHUT_RDWR));
		ASSERT_EQ(0, listen(fd, 1));
		return fd;
	}
	close(fd);
	return new_server(_metadata, kind);
}

/* A socket that leaves a map while that is freed can still be in one slot only. */
TEST_F(lifetime, leave_while_the_map_is_freed)
{
	int round, fd = self->servers[0];

	for (round = 0; round < 50; round++) {
		close(self->map);
		fd = come_back(_metadata, &variant->kind, fd);
		EXPECT_EQ(0, put(self->other_map, 0, fd, BPF_NOEXIST));
		self->map = new_map(_metadata);
		EXPECT_EQ(-EBUSY, put(self->map, 0, fd, BPF_ANY));
		EXPECT_TRUE(holds(self->other_map, 0, fd));
		EXPECT_EQ(0, del(self->other_map, 0));
		EXPECT_EQ(0, put(self->map, 0, fd, BPF_ANY));
	}
	close(fd);
	EXPECT_TRUE(is_empty(self->map, 0));
}

/* A program holds the map that it uses, and a group holds the program. */
TEST_F(lifetime, program_holds_the_map)
{
	struct steer *skel = steer__open_and_load();
	int none = -1, i;

	ASSERT_NE(NULL, skel);
	close(self->map);
	for (i = 0; i < SERVERS; i++)
		ASSERT_EQ(0, put_when_free(bpf_map__fd(skel->maps.sockets), i, self->servers[i]));
	attach(_metadata, self->servers[0], skel->progs.select_slot);
	skel->bss->slot = 2;
	steer__destroy(skel);

	expect_at(_metadata, &variant->kind, self->servers, SERVERS, 2, 1);
	EXPECT_EQ(-EBUSY, put(self->other_map, 0, self->servers[2], BPF_ANY));

	/* the program releases the map */
	ASSERT_EQ(0, setsockopt(self->servers[0], SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &none,
				sizeof(none)));
	EXPECT_EQ(0, put_when_free(self->other_map, 0, self->servers[2]));
}

/* The map of a killed process is freed, even with sockets of others in it. */
TEST_F(lifetime, kill)
{
	int status, ready[2];
	pid_t child;
	char c;

	ASSERT_EQ(0, del(self->map, 0));
	ASSERT_EQ(0, pipe2(ready, O_CLOEXEC));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		c = put(create_map(sizeof(__u64), 1, 0), 0, self->servers[0], BPF_ANY);
		if (write(ready[1], &c, 1) == 1)
			pause();
		_exit(1);
	}

	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &c, 1));
	EXPECT_EQ(0, c);
	EXPECT_EQ(-EBUSY, put(self->map, 0, self->servers[0], BPF_ANY));
	ASSERT_EQ(0, kill(child, SIGKILL));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, put_when_free(self->map, 0, self->servers[0]));
}

/* A large map without a socket, or with one in its last slot, can be freed. */
TEST_F(lifetime, large_map)
{
	const __u32 entries = 1 << 16;
	int large = create_map(sizeof(__u64), entries, 0);

	ASSERT_LE(0, large);
	close(large);
	large = create_map(sizeof(__u64), entries, 0);
	ASSERT_LE(0, large);
	ASSERT_EQ(0, del(self->map, 0));
	ASSERT_EQ(0, put(large, entries - 1, self->servers[0], BPF_ANY));
	EXPECT_TRUE(holds(large, entries - 1, self->servers[0]));
	close(large);
	EXPECT_EQ(0, put_when_free(self->map, 0, self->servers[0]));
}

/* A map with a NUMA node can be used and freed. */
TEST_F(lifetime, map_on_a_node)
{
	int map = create_map(sizeof(__u64), SLOTS, BPF_F_NUMA_NODE);

	ASSERT_LE(0, map);
	ASSERT_EQ(0, del(self->map, 0));
	ASSERT_EQ(0, put(map, 0, self->servers[0], BPF_ANY));
	EXPECT_TRUE(holds(map, 0, self->servers[0]));
	close(map);
	EXPECT_EQ(0, put_when_free(self->map, 0, self->servers[0]));
}

/* An inner map removed from its outer map is freed when its fd is closed. */
TEST_F(lifetime, inner_map)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .inner_map_fd = self->map);
	int outer = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "outer", sizeof(__u32),
				   sizeof(__u32), 1, &opts);

	ASSERT_LE(0, outer);
	ASSERT_EQ(0, put4(outer, 0, self->map, BPF_ANY));
	close(self->map);
	EXPECT_EQ(-EBUSY, put(self->other_map, 0, self->servers[0], BPF_ANY));
	ASSERT_EQ(0, put4(outer, 0, self->other_map, BPF_ANY));
	EXPECT_EQ(0, put_when_free(self->other_map, 0, self->servers[0]));
}

/* A pinned map outlives its last fd, with its sockets, and can be opened again. */
TEST_F(lifetime, pinned)
{
	char path[] = "/tmp/reuseport_array.XXXXXX", pin[64];
	int i, again;

	ASSERT_EQ(0, unshare(CLONE_NEWNS));
	ASSERT_EQ(0, mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	ASSERT_NE(NULL, mkdtemp(path));
	ASSERT_EQ(0, mount("bpf", path, "bpf", 0, NULL));
	snprintf(pin, sizeof(pin), "%s/sockets", path);

	ASSERT_EQ(0, bpf_obj_pin(self->map, pin));
	close(self->map);
	again = bpf_obj_get(pin);
	ASSERT_LE(0, again);
	for (i = 0; i < SERVERS; i++)
		EXPECT_TRUE(holds(again, i, self->servers[i]));
	close(self->servers[1]);
	EXPECT_TRUE(is_empty(again, 1));
	EXPECT_EQ(-EBUSY, put(self->other_map, 0, self->servers[0], BPF_ANY));

	/* unpinned, it is freed like any other map */
	ASSERT_EQ(0, unlink(pin));
	EXPECT_TRUE(holds(again, 0, self->servers[0]));
	close(again);
	EXPECT_EQ(0, put_when_free(self->other_map, 0, self->servers[0]));
	umount(path);
	rmdir(path);
}

TEST_HARNESS_MAIN
