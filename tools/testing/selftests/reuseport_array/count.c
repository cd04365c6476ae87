// SPDX-License-Identifier: GPL-2.0
/* The kernel counts the filled slots of a map. Programs can read the counter, and freeing
 * a map relies on it.
 */
#include <sys/epoll.h>

#include "common.h"
#include "count.skel.h"

#define SERVERS	70

FIXTURE(count)
{
	struct count *skel;
	int servers[SERVERS];
	int sockets;
	int others;
};

FIXTURE_VARIANT(count)
{
	struct kind kind;
};

ADD_KINDS(count);

FIXTURE_SETUP(count)
{
	int i;

	enter_netns(_metadata);
	/* fail without the map, before anything is skipped */
	close(new_map(_metadata));
	if (access("/sys/kernel/btf/vmlinux", R_OK))
		SKIP(return, "this kernel has no BTF (CONFIG_DEBUG_INFO_BTF): no way to ask");

	self->skel = count__open_and_load();
	ASSERT_NE(NULL, self->skel);
	self->sockets = bpf_map__fd(self->skel->maps.sockets);
	self->others = bpf_map__fd(self->skel->maps.others);
	for (i = 0; i < SERVERS; i++)
		self->servers[i] = new_server(_metadata, &variant->kind);
}

FIXTURE_TEARDOWN(count)
{
	count__destroy(self->skel);
}

/* Expect these numbers of filled slots in the two maps. */
static void expect_filled(struct __test_metadata *_metadata, struct count *skel, int in_sockets,
			  int in_others)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	char packet[64] = {};

	opts.data_in = packet;
	opts.data_size_in = sizeof(packet);
	skel->bss->in_sockets = -1;
	skel->bss->in_others = -1;
	ASSERT_EQ(0, bpf_prog_test_run_opts(bpf_program__fd(skel->progs.count), &opts));
	ASSERT_EQ(in_sockets, skel->bss->in_sockets);
	ASSERT_EQ(in_others, skel->bss->in_others);
}

#define EXPECT_FILLED(in_sockets, in_others) \
	expect_filled(_metadata, self->skel, in_sockets, in_others)

/* Filling and emptying a slot changes the counter. */
TEST_F(count, update_and_delete)
{
	int i;

	EXPECT_FILLED(0, 0);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, put(self->sockets, i * 10, self->servers[i], BPF_ANY));
		EXPECT_FILLED(i + 1, 0);
	}
	ASSERT_EQ(0, put(self->others, 0, self->servers[3], BPF_NOEXIST));
	EXPECT_FILLED(3, 1);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, del(self->sockets, i * 10));
		EXPECT_FILLED(2 - i, 1);
	}
	ASSERT_EQ(0, del(self->others, 0));
	EXPECT_FILLED(0, 0);
}

#define MAPS_DEBUG	"/sys/fs/bpf/maps.debug"

/* cur_entries of a map in the kernel's map iterator, or -1. */
static long long listed_entries(struct __test_metadata *_metadata, int map)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info), id;
	long long entries = -1, n;
	char line[256];
	FILE *list;

	ASSERT_EQ(0, bpf_map_get_info_by_fd(map, &info, &len));
	list = fopen(MAPS_DEBUG, "r");
	ASSERT_NE(NULL, list);
	while (fgets(line, sizeof(line), list))
		if (sscanf(line, "%u %*s %*u %lld", &id, &n) == 2 && id == info.id)
			entries = n;
	fclose(list);
	return entries;
}

/* The counter can be read in bpffs. */
TEST_F(count, maps_debug)
{
	if (access(MAPS_DEBUG, R_OK))
		SKIP(return, "no " MAPS_DEBUG " (CONFIG_BPF_PRELOAD)");

	EXPECT_EQ(0, listed_entries(_metadata, self->sockets));
	ASSERT_EQ(0, put(self->sockets, 0, self->servers[0], BPF_ANY));
	ASSERT_EQ(0, put(self->sockets, 9, self->servers[1], BPF_ANY));
	EXPECT_EQ(2, listed_entries(_metadata, self->sockets));
	EXPECT_EQ(0, listed_entries(_metadata, self->others));
	close(self->servers[1]);
	EXPECT_EQ(1, listed_entries(_metadata, self->sockets));
}

/* Replacing a socket does not change the counter, nor does closing the old one. */
TEST_F(count, replace)
{
	ASSERT_EQ(0, put(self->sockets, 0, self->servers[0], BPF_ANY));
	ASSERT_EQ(0, put(self->sockets, 0, self->servers[1], BPF_ANY));
	EXPECT_FILLED(1, 0);
	ASSERT_EQ(0, put(self->sockets, 0, self->servers[2], BPF_EXIST));
	EXPECT_FILLED(1, 0);

	close(self->servers[0]);
	EXPECT_FILLED(1, 0);
	ASSERT_EQ(0, put(self->others, 0, self->servers[1], BPF_ANY));
	EXPECT_FILLED(1, 1);
	close(self->servers[1]);
	EXPECT_FILLED(1, 0);
	close(self->servers[2]);
	EXPECT_FILLED(0, 0);
}

/* A call that fails does not change the counter. */
TEST_F(count, refused)
{
	int no_socket = epoll_create1(EPOLL_CLOEXEC);

	ASSERT_EQ(0, put(self->sockets, 0, self->servers[0], BPF_ANY));
	EXPECT_EQ(-EBUSY, put(self->sockets, 1, self->servers[0], BPF_ANY));
	EXPECT_EQ(-EBUSY, put(self->sockets, 0, self->servers[0], BPF_ANY));
	EXPECT_EQ(-EBUSY, put(self->others, 0, self->servers[0], BPF_ANY));
	EXPECT_EQ(-EEXIST, put(self->sockets, 0, self->servers[1], BPF_NOEXIST));
	EXPECT_EQ(-ENOENT, put(self->sockets, 1, self->servers[1], BPF_EXIST));
	EXPECT_EQ(-ENOTSOCK, put(self->sockets, 1, no_socket, BPF_ANY));
	EXPECT_EQ(-E2BIG, put(self->sockets, 100, self->servers[1], BPF_ANY));
	EXPECT_EQ(-ENOENT, del(self->sockets, 1));
	EXPECT_EQ(-E2BIG, del(self->sockets, 100));
	EXPECT_FILLED(1, 0);
}

/* A socket that leaves its group is subtracted once. */
TEST_F(count, leave)
{
	int i;

	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, put(self->sockets, i, self->servers[i], BPF_ANY));
	EXPECT_FILLED(3, 0);

	close(self->servers[0]);
	EXPECT_FILLED(2, 0);
	/* a listener leaves before it is closed */
	if (variant->kind.type == SOCK_STREAM) {
		ASSERT_EQ(0, shutdown(self->servers[1], SHUT_RDWR));
		EXPECT_FILLED(1, 0);
	}
	close(self->servers[1]);
	EXPECT_FILLED(1, 0);
	ASSERT_EQ(0, del(self->sockets, 2));
	EXPECT_FILLED(0, 0);
	close(self->servers[2]);
	EXPECT_FILLED(0, 0);
}

/* A socket is subtracted from the map it is in, not from an earlier one. */
TEST_F(count, moved)
{
	int fd = self->servers[0];
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, put(self->sockets, i, fd, BPF_ANY));
		EXPECT_FILLED(1, 0);
		ASSERT_EQ(0, del(self->sockets, i));
		ASSERT_EQ(0, put(self->others, i, fd, BPF_ANY));
		EXPECT_FILLED(0, 1);
		ASSERT_EQ(0, del(self->others, i));
		EXPECT_FILLED(0, 0);
	}
	ASSERT_EQ(0, put(self->others, 0, fd, BPF_ANY));
	close(fd);
	EXPECT_FILLED(0, 0);
}

/* A batch counts its completed elements, also after an error. */
TEST_F(count, batch)
{
	__u32 keys[SERVERS], done, i;
	__u64 values[SERVERS];

	for (i = 0; i < SERVERS; i++) {
		keys[i] = i;
		values[i] = self->servers[i];
	}
	done = SERVERS;
	ASSERT_EQ(0, bpf_map_update_batch(self->sockets, keys, values, &done, NULL));
	EXPECT_FILLED(SERVERS, 0);

	done = SERVERS;
	ASSERT_EQ(-EBUSY, bpf_map_update_batch(self->others, keys, values, &done, NULL));
	EXPECT_FILLED(SERVERS, 0);

	/* the same key twice: the second one is empty and not counted */
	keys[50] = 3;
	done = SERVERS;
	ASSERT_EQ(-ENOENT, bpf_map_delete_batch(self->sockets, keys, &done, NULL));
	ASSERT_EQ(50, done);
	EXPECT_FILLED(SERVERS - 50, 0);

	/* the 50 that are in no slot go into the other map */
	done = SERVERS;
	ASSERT_EQ(-EBUSY, bpf_map_update_batch(self->others, keys, values, &done, NULL));
	ASSERT_EQ(50, done);
	EXPECT_FILLED(SERVERS - 50, 50);
	done = 1;
	ASSERT_EQ(0, bpf_map_delete_batch(self->others, keys + 50, &done, NULL));
	EXPECT_FILLED(SERVERS - 50, 49);
	for (i = 0; i < SERVERS; i++)
		close(self->servers[i]);
	EXPECT_FILLED(0, 0);
}

static void run_on(struct __test_metadata *_metadata, int cpu)
{
	cpu_set_t one_cpu;

	CPU_ZERO(&one_cpu);
	CPU_SET(cpu, &one_cpu);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(one_cpu), &one_cpu));
}

/* A slot may be filled on one CPU and emptied on another. */
TEST_F(count, every_cpu)
{
	int cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int i;

	for (i = 0; i < SERVERS; i++) {
		run_on(_metadata, i % cpus);
		ASSERT_EQ(0, put(self->sockets, i, self->servers[i], BPF_ANY));
	}
	EXPECT_FILLED(SERVERS, 0);
	for (i = 0; i < SERVERS; i++) {
		run_on(_metadata, (i + 1) % cpus);
		if (i % 2)
			close(self->servers[i]);
		else
			ASSERT_EQ(0, del(self->sockets, i));
		EXPECT_FILLED(SERVERS - 1 - i, 0);
	}
}

/* Freeing a map does not change the counter of the map its sockets go to next. */
TEST_F(count, freed)
{
	int map = new_map(_metadata);
	int i;

	for (i = 0; i < SLOTS; i++)
		ASSERT_EQ(0, put(map, i, self->servers[i], BPF_ANY));
	EXPECT_FILLED(0, 0);
	close(map);
	for (i = 0; i < SLOTS; i++) {
		ASSERT_TRUE(EVENTUALLY(!put(self->sockets, i, self->servers[i], BPF_NOEXIST)));
		EXPECT_FILLED(i + 1, 0);
	}
	for (i = 0; i < SLOTS; i++)
		close(self->servers[i]);
	EXPECT_FILLED(0, 0);
}

TEST_HARNESS_MAIN
