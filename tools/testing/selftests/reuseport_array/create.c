// SPDX-License-Identifier: GPL-2.0
/* Which maps can be created, and the capability that it requires. */
#include <linux/capability.h>
#include <sys/syscall.h>

#include "common.h"

static int create_type(enum bpf_map_type type, __u32 key_size, __u32 value_size, __u32 entries,
		       const struct bpf_map_create_opts *opts)
{
	int fd = bpf_map_create(type, "sockets", key_size, value_size, entries, opts);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int create(__u32 key_size, __u32 value_size, __u32 entries, __u32 flags)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = flags);

	return create_type(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, key_size, value_size, entries, &opts);
}

/* A key has 4 bytes, a value 4 or 8, and there is at least one slot. */
TEST(sizes)
{
	static const struct {
		__u32 key_size;
		__u32 value_size;
		__u32 entries;
		int err;
	} cases[] = {
		{ 4, 4, 1, 0 },
		{ 4, 8, 1, 0 },
		{ 4, 4, 1000, 0 },
		{ 4, 8, 1000, 0 },
		{ 4, 8, 1000000, 0 },
		{ 0, 4, 1, -EINVAL },
		{ 1, 4, 1, -EINVAL },
		{ 2, 8, 1, -EINVAL },
		{ 5, 8, 1, -EINVAL },
		{ 8, 8, 1, -EINVAL },
		{ ~0, 8, 1, -EINVAL },
		{ 4, 0, 1, -EINVAL },
		{ 4, 1, 1, -EINVAL },
		{ 4, 3, 1, -EINVAL },
		{ 4, 5, 1, -EINVAL },
		{ 4, 7, 1, -EINVAL },
		{ 4, 9, 1, -EINVAL },
		{ 4, 12, 1, -EINVAL },
		{ 4, 16, 1, -EINVAL },
		{ 4, ~0, 1, -EINVAL },
		{ 4, 4, 0, -EINVAL },
		{ 4, 8, 0, -EINVAL },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++)
		EXPECT_EQ(cases[i].err, create(cases[i].key_size, cases[i].value_size,
					       cases[i].entries, 0)) {
			TH_LOG("key %u, value %u, %u entries", cases[i].key_size,
			       cases[i].value_size, cases[i].entries);
		}
}

/* Flags for access and the NUMA node are supported, in all valid combinations. */
TEST(known_flags)
{
	static const __u32 known[] = {
		BPF_F_RDONLY, BPF_F_WRONLY, BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG, BPF_F_NUMA_NODE,
		BPF_F_RDONLY | BPF_F_WRONLY_PROG,
		BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_NUMA_NODE,
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(known); i++) {
		EXPECT_EQ(0, create(4, 4, SLOTS, known[i]))
			TH_LOG("flags %#x", known[i]);
		EXPECT_EQ(0, create(4, 8, SLOTS, known[i]))
			TH_LOG("flags %#x", known[i]);
	}
}

/* All other flags, including unknown ones, are invalid. */
TEST(unknown_flags)
{
	__u32 known = BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG |
		      BPF_F_NUMA_NODE;
	/* makes the kernel read map_token_fd */
	__u32 not_of_the_type = BPF_F_TOKEN_FD;
	__u32 bit;

	EXPECT_EQ(0, create(4, 8, SLOTS, 0));
	for (bit = 1; bit; bit <<= 1) {
		if (bit & (known | not_of_the_type))
			continue;
		EXPECT_EQ(-EINVAL, create(4, 8, SLOTS, bit))
			TH_LOG("flag %#x", bit);
	}
}

/* Read-only and write-only exclude each other. */
TEST(contradictory_flags)
{
	EXPECT_EQ(0, create(4, 8, SLOTS, 0));
	EXPECT_EQ(-EINVAL, create(4, 8, SLOTS, BPF_F_RDONLY | BPF_F_WRONLY));
	EXPECT_EQ(-EINVAL, create(4, 8, SLOTS, BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG));
}

/* This type does not use map_extra. */
TEST(map_extra)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts);

	EXPECT_EQ(0, create_type(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, 4, 8, SLOTS, &opts));
	opts.map_extra = 1;
	EXPECT_EQ(-EINVAL, create_type(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, 4, 8, SLOTS, &opts));
}

/* The map is allocated on the requested NUMA node, which must exist. */
TEST(numa_node)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NUMA_NODE);

	EXPECT_EQ(0, create_type(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, 4, 8, SLOTS, &opts));
	opts.numa_node = 1 << 20;
	EXPECT_EQ(-EINVAL, create_type(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, 4, 8, SLOTS, &opts));
}

/* The kernel reports the attributes of a map. */
TEST(info)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	int map = create_map(sizeof(__u32), SLOTS, BPF_F_RDONLY_PROG);

	ASSERT_LE(0, map);
	ASSERT_EQ(0, bpf_map_get_info_by_fd(map, &info, &len));
	EXPECT_EQ(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, info.type);
	EXPECT_EQ(4, info.key_size);
	EXPECT_EQ(4, info.value_size);
	EXPECT_EQ(SLOTS, info.max_entries);
	EXPECT_EQ(BPF_F_RDONLY_PROG, info.map_flags);
}

/* The memory usage of a map in bytes, as reported by the kernel. */
static long memory_of(int map)
{
	char path[64], line[128];
	long bytes = -1;
	FILE *info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", map);
	info = fopen(path, "r");
	if (!info)
		return -errno;

	while (fgets(line, sizeof(line), info))
		if (sscanf(line, "memlock: %ld", &bytes) == 1)
			break;
	fclose(info);
	return bytes;
}

/* The memory usage includes all slots. */
TEST(memory)
{
	const __u32 entries = 100000;
	int small = create_map(sizeof(__u64), 1, 0);
	int large = create_map(sizeof(__u64), 1 + entries, 0);

	ASSERT_LE(0, small);
	ASSERT_LE(0, large);
	EXPECT_LT(0, memory_of(small));
	/* Linux 6.1 does not ask the map type. */
	if (memory_of(small) % sysconf(_SC_PAGESIZE) == 0)
		SKIP(return, "this kernel guesses, in pages, from the size of an element");
	EXPECT_EQ(entries * sizeof(void *), memory_of(large) - memory_of(small));
}

/* A map larger than the machine's memory: ENOMEM. */
TEST(no_memory)
{
	__u64 memory = (__u64)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);

	if (memory / sizeof(void *) >= UINT32_MAX)
		SKIP(return, "there is memory for the largest map");

	EXPECT_EQ(-ENOMEM, create(4, 4, UINT32_MAX, 0));
	EXPECT_EQ(-ENOMEM, create(4, 8, UINT32_MAX, 0));
}

/* Reduce the effective capabilities of this process to @effective. */
static int set_capabilities(__u64 effective)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data))
		return -errno;

	data[0].effective = data[0].permitted & effective;
	data[1].effective = data[1].permitted & (effective >> 32);
	return syscall(SYS_capset, &header, data) ? -errno : 0;
}

/* CAP_BPF is required and sufficient, even if unprivileged users may create other maps. */
TEST(needs_cap_bpf)
{
	int sysctl = open("/proc/sys/kernel/unprivileged_bpf_disabled", O_RDWR | O_CLOEXEC);
	bool free_for_all;
	char before;

	ASSERT_EQ(1, pread(sysctl, &before, 1, 0));
	/* once it is 1 it cannot be changed */
	free_for_all = pwrite(sysctl, "0", 1, 0) == 1;

	ASSERT_EQ(0, set_capabilities(0));
	EXPECT_EQ(-EPERM, create(4, 4, SLOTS, 0));
	EXPECT_EQ(-EPERM, create(4, 8, SLOTS, 0));
	if (free_for_all)
		EXPECT_EQ(0, create_type(BPF_MAP_TYPE_ARRAY, 4, 8, SLOTS, NULL));

	ASSERT_EQ(0, set_capabilities(1ULL << CAP_BPF));
	EXPECT_EQ(0, create(4, 4, SLOTS, 0));
	EXPECT_EQ(0, create(4, 8, SLOTS, 0));

	ASSERT_EQ(0, set_capabilities(~(1ULL << CAP_BPF | 1ULL << CAP_SYS_ADMIN)));
	EXPECT_EQ(-EPERM, create(4, 8, SLOTS, 0));

	ASSERT_EQ(0, set_capabilities(~0ULL));
	if (free_for_all)
		EXPECT_EQ(1, pwrite(sysctl, &before, 1, 0));
}

TEST_HARNESS_MAIN
