// SPDX-License-Identifier: GPL-2.0
/* Many slots in one call. A batch does what the same calls one by one would do, up to
 * the first error: how many were done stands in its count, and the rest is untouched.
 */
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "common.h"

#define MANY		1000
#define CHUNK		32	/* the kernel takes so many from memory at a time */
#define SOME		(2 * CHUNK + 1)
#define RESCHED		4096	/* it passes by so many empty slots in one go */
#define WIDE		100000

/* Sizes of a batch, and places in one of SOME, around the ends of chunks. */
static const __u32 sizes[] = { 1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, SOME, MANY };
static const __u32 places[] = { 0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, SOME - 1 };

/* Memory that ends at the address returned: what follows faults. */
static void *edge_of_memory(struct __test_metadata *_metadata)
{
	size_t page = sysconf(_SC_PAGESIZE);
	char *two;

	two = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, two);
	ASSERT_EQ(0, mprotect(two + page, page, PROT_NONE));
	return two + page;
}

static void allow_sockets(struct __test_metadata *_metadata)
{
	struct rlimit limit = { 2 * MANY + 100, 2 * MANY + 100 };

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
}

static void open_servers(struct __test_metadata *_metadata, const struct kind *kind, int *servers,
			 int n)
{
	int i;

	for (i = 0; i < n; i++)
		servers[i] = new_server_at(_metadata, kind, PORT + i % 10);
}

/* Update and delete. */
struct batch {
	__u32 keys[MANY];
	union {
		__u32 values4[MANY];
		__u64 values8[MANY];
	};
	int servers[MANY];
	__u32 value_size;
	__u32 count;	/* of the last batch */
	int other_map;
	int no_inet;
	int map;
};

FIXTURE(batch)
{
	struct batch batch;
};

FIXTURE_VARIANT(batch)
{
	struct kind kind;
	__u32 value_size;
};

FIXTURE_VARIANT_ADD(batch, tcp4_value4) { { AF_INET, SOCK_STREAM }, 4 };
FIXTURE_VARIANT_ADD(batch, tcp6_value8) { { AF_INET6, SOCK_STREAM }, 8 };
FIXTURE_VARIANT_ADD(batch, udp4_value8) { { AF_INET, SOCK_DGRAM }, 8 };
FIXTURE_VARIANT_ADD(batch, udp6_value4) { { AF_INET6, SOCK_DGRAM }, 4 };

FIXTURE_SETUP(batch)
{
	struct batch *b = &self->batch;

	enter_netns(_metadata);
	allow_sockets(_metadata);
	b->value_size = variant->value_size;
	b->map = create_map(variant->value_size, MANY, 0);
	ASSERT_LE(0, b->map);
	b->other_map = create_map(variant->value_size, MANY, 0);
	ASSERT_LE(0, b->other_map);
	b->no_inet = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ASSERT_LE(0, b->no_inet);
}

FIXTURE_TEARDOWN(batch)
{
}

static void set(struct batch *b, __u32 i, __u32 key, int fd)
{
	b->keys[i] = key;
	if (b->value_size == sizeof(b->values4[i]))
		b->values4[i] = fd;
	else
		b->values8[i] = fd;
}

/* Server i goes to slot i, for the first @n. */
static void set_in_order(struct batch *b, __u32 n)
{
	__u32 i;

	for (i = 0; i < n; i++)
		set(b, i, i, b->servers[i]);
}

static int update_from(struct batch *b, const void *keys, const void *values, __u32 n, __u64 flags)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts, .elem_flags = flags);

	b->count = n;
	return bpf_map_update_batch(b->map, keys, values, &b->count, &opts);
}

static int update(struct batch *b, __u32 n, __u64 flags)
{
	return update_from(b, b->keys, b->values8, n, flags);
}

static int delete_from(struct batch *b, const void *keys, __u32 n)
{
	b->count = n;
	return bpf_map_delete_batch(b->map, keys, &b->count, NULL);
}

static int delete(struct batch *b, __u32 n)
{
	return delete_from(b, b->keys, n);
}

/* put() for both value sizes. */
static int store(const struct batch *b, int map, __u32 index, int fd, __u64 flags)
{
	if (b->value_size == sizeof(fd))
		return put4(map, index, fd, flags);
	return put(map, index, fd, flags);
}

/* Whether a slot is empty is told before what is wrong with a socket. */
static bool empty(const struct batch *b, __u32 index)
{
	return store(b, b->map, index, b->no_inet, BPF_EXIST) == -ENOENT;
}

/* In a map of fds one sees that the slot is taken and that the socket has one. */
static bool has(const struct batch *b, __u32 index, int fd)
{
	if (b->value_size == sizeof(__u64))
		return holds(b->map, index, fd);
	return store(b, b->map, index, b->no_inet, BPF_EXIST) == -ENOTSUPP &&
	       store(b, b->other_map, MANY - 1, fd, BPF_ANY) == -EBUSY;
}

static bool is_free(const struct batch *b, int fd)
{
	return !store(b, b->other_map, MANY - 1, fd, BPF_NOEXIST) &&
	       !del(b->other_map, MANY - 1);
}

/* The first @n servers are where set_in_order() says, and the slots up to @end are empty. */
static void expect_in_order(struct __test_metadata *_metadata, const struct batch *b, __u32 n,
			    __u32 end)
{
	__u32 i;

	for (i = 0; i < n; i++)
		ASSERT_TRUE(has(b, i, b->servers[i]))
			TH_LOG("slot %u of %u", i, n);
	for (; i < end; i++)
		ASSERT_TRUE(empty(b, i))
			TH_LOG("slot %u, from %u on all should be empty", i, n);
}

/* A batch of any size is put in, refused when it comes again, and taken out. */
TEST_F(batch, sizes)
{
	struct batch *b = &self->batch;
	__u32 i, n;

	open_servers(_metadata, &variant->kind, b->servers, MANY);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		n = sizes[i];
		set_in_order(b, n);
		ASSERT_EQ(0, update(b, n, BPF_NOEXIST));
		ASSERT_EQ(n, b->count);
		expect_in_order(_metadata, b, n, MANY);

		ASSERT_EQ(-EBUSY, update(b, n, BPF_ANY));
		ASSERT_EQ(0, b->count);

		ASSERT_EQ(0, delete(b, n));
		ASSERT_EQ(n, b->count);
		expect_in_order(_metadata, b, 0, MANY);
		while (n--)
			ASSERT_TRUE(is_free(b, b->servers[n]));
	}
}

/* Keys come in any order, and each gets its own value. */
TEST_F(batch, any_order)
{
	struct batch *b = &self->batch;
	__u32 i;

	open_servers(_metadata, &variant->kind, b->servers, SOME);
	for (i = 0; i < SOME; i++)
		set(b, i, (SOME - i) * 617 % MANY, b->servers[i]);
	ASSERT_EQ(0, update(b, SOME, BPF_ANY));
	for (i = 0; i < SOME; i++)
		ASSERT_TRUE(has(b, b->keys[i], b->servers[i]));

	/* the socket that leaves a slot shows who was in it, for values of 4 bytes too */
	for (i = 0; i < SOME; i += 2) {
		close(b->servers[i]);
		ASSERT_TRUE(empty(b, b->keys[i]));
	}
	for (i = 1; i < SOME; i += 2)
		ASSERT_TRUE(has(b, b->keys[i], b->servers[i]));
}

/* A batch of nothing is no error, whatever the pointers. */
TEST_F(batch, nothing)
{
	struct batch *b = &self->batch;

	open_servers(_metadata, &variant->kind, b->servers, 1);
	set_in_order(b, 1);
	ASSERT_EQ(0, update(b, 1, BPF_ANY));
	EXPECT_EQ(0, update_from(b, NULL, NULL, 0, BPF_ANY));
	EXPECT_EQ(0, b->count);
	EXPECT_EQ(0, update_from(b, NULL, NULL, 0, BPF_NOEXIST));
	EXPECT_EQ(0, b->count);
	EXPECT_EQ(0, delete_from(b, NULL, 0));
	EXPECT_EQ(0, b->count);
	expect_in_order(_metadata, b, 1, MANY);
}

/* What is unknown is refused before anything is done. */
TEST_F(batch, flags)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	struct batch *b = &self->batch;
	__u32 bit, count;

	open_servers(_metadata, &variant->kind, b->servers, 2);
	set_in_order(b, 2);
	ASSERT_EQ(0, update(b, 1, BPF_NOEXIST));

	for (bit = 2; bit < 64; bit++)
		EXPECT_EQ(-EINVAL, update(b, 2, 1ULL << bit));
	EXPECT_EQ(-EINVAL, update(b, 2, BPF_NOEXIST | BPF_EXIST));

	opts.elem_flags = BPF_NOEXIST;
	count = 1;
	EXPECT_EQ(-EINVAL, bpf_map_delete_batch(b->map, b->keys, &count, &opts));
	opts.elem_flags = BPF_F_LOCK;
	EXPECT_EQ(-EINVAL, bpf_map_delete_batch(b->map, b->keys, &count, &opts));

	opts.elem_flags = BPF_ANY;
	for (bit = 0; bit < 64; bit++) {
		opts.flags = 1ULL << bit;
		EXPECT_EQ(-EINVAL, bpf_map_delete_batch(b->map, b->keys, &count, &opts));
		EXPECT_EQ(-EINVAL, bpf_map_update_batch(b->map, b->keys + 1,
							b->values8, &count, &opts));
	}
	expect_in_order(_metadata, b, 1, MANY);
}

/* Each way an update can be refused, at each place: what precedes it is done. */
TEST_F(batch, refused_at)
{
	int *old, closed, no_socket, no_group, busy;
	struct batch *b = &self->batch;
	__u32 c, p, i;

	old = b->servers + SOME;
	open_servers(_metadata, &variant->kind, b->servers, 2 * SOME + 1);
	no_socket = epoll_create1(EPOLL_CLOEXEC);
	ASSERT_LE(0, no_socket);
	no_group = open_socket(_metadata, &variant->kind);
	busy = b->servers[2 * SOME];
	closed = dup(no_group);
	close(closed);
	ASSERT_EQ(0, store(b, b->other_map, 0, busy, BPF_ANY));

	const struct {
		int err;
		__u64 flags;
		int fd;
	} cases[] = {
		{ -EBADF, BPF_ANY, closed },
		{ -ENOTSOCK, BPF_ANY, no_socket },
		{ -ENOTSUPP, BPF_ANY, b->no_inet },
		{ -EINVAL, BPF_ANY, no_group },
		{ -EBUSY, BPF_ANY, busy },
		{ -E2BIG, BPF_ANY },
		{ -EEXIST, BPF_NOEXIST },
		{ -ENOENT, BPF_EXIST },
	};

	for (c = 0; c < ARRAY_SIZE(cases); c++) {
		for (p = 0; p < ARRAY_SIZE(places); p++) {
			bool all_taken = cases[c].err == -ENOENT;
			bool one_taken = cases[c].err == -EEXIST;
			__u32 place = places[p];

			for (i = 0; i < SOME; i++)
				if (i == place ? one_taken : all_taken)
					ASSERT_EQ(0, store(b, b->map, i, old[i], BPF_ANY));
			set_in_order(b, SOME);
			if (cases[c].fd)
				set(b, place, place, cases[c].fd);
			if (cases[c].err == -E2BIG)
				b->keys[place] = MANY;

			ASSERT_EQ(cases[c].err, update(b, SOME, cases[c].flags))
				TH_LOG("at %u", place);
			ASSERT_EQ(place, b->count)
				TH_LOG("%s", strerror(-cases[c].err));

			expect_in_order(_metadata, b, place, place);
			for (i = place; i < SOME; i++) {
				ASSERT_TRUE((i == place ? one_taken : all_taken) ?
					    has(b, i, old[i]) : empty(b, i));
				ASSERT_TRUE(is_free(b, b->servers[i]));
			}
			for (i = 0; i < SOME; i++)
				del(b->map, i);
		}
	}
	EXPECT_EQ(-EBUSY, store(b, b->map, 0, busy, BPF_ANY));
}

/* After an error a caller can go on: with the rest, or with all but the one refused. */
TEST_F(batch, go_on)
{
	struct batch *b = &self->batch;
	__u32 p, place;

	open_servers(_metadata, &variant->kind, b->servers, SOME);
	for (p = 0; p < ARRAY_SIZE(places); p++) {
		place = places[p];
		set_in_order(b, SOME);
		set(b, place, place, b->no_inet);
		ASSERT_EQ(-ENOTSUPP, update(b, SOME, BPF_NOEXIST));
		ASSERT_EQ(place, b->count);

		set_in_order(b, SOME);
		ASSERT_EQ(0, update_from(b, b->keys + place,
					 (void *)b->values8 + place * b->value_size,
					 SOME - place, BPF_NOEXIST));
		ASSERT_EQ(SOME - place, b->count);
		expect_in_order(_metadata, b, SOME, MANY);
		ASSERT_EQ(0, delete(b, SOME));
	}
}

/* In 8 bytes all 64 bits count, in 4 bytes there are no more to count. */
TEST_F(batch, high_bits)
{
	struct batch *b = &self->batch;

	open_servers(_metadata, &variant->kind, b->servers, 3);
	set_in_order(b, 3);
	if (b->value_size == sizeof(__u64)) {
		b->values8[1] |= 1ULL << 32;
		EXPECT_EQ(-EINVAL, update(b, 3, BPF_ANY));
	} else {
		b->values4[1] |= 1U << 31;
		EXPECT_EQ(-EBADF, update(b, 3, BPF_ANY));
	}
	EXPECT_EQ(1, b->count);
	expect_in_order(_metadata, b, 1, MANY);
}

/* One socket for two slots: the first gets it. */
TEST_F(batch, same_socket_twice)
{
	struct batch *b = &self->batch;
	__u32 first, second;

	open_servers(_metadata, &variant->kind, b->servers, SOME);
	for (first = 0; first < ARRAY_SIZE(places); first++) {
		for (second = first + 1; second < ARRAY_SIZE(places); second++) {
			set_in_order(b, SOME);
			set(b, places[second], places[second], b->servers[places[first]]);
			ASSERT_EQ(-EBUSY, update(b, SOME, BPF_ANY));
			ASSERT_EQ(places[second], b->count);
			expect_in_order(_metadata, b, places[second], SOME);
			ASSERT_EQ(0, delete(b, places[second]));
		}
	}
}

/* One slot for two sockets: the second replaces the first, unless it must not. */
TEST_F(batch, same_key_twice)
{
	struct batch *b = &self->batch;
	__u32 first, second;

	open_servers(_metadata, &variant->kind, b->servers, SOME);
	for (first = 0; first < ARRAY_SIZE(places); first++) {
		for (second = first + 1; second < ARRAY_SIZE(places); second++) {
			int replaced = b->servers[places[first]];
			int last = b->servers[places[second]];

			set_in_order(b, SOME);
			b->keys[places[second]] = places[first];
			ASSERT_EQ(-EEXIST, update(b, SOME, BPF_NOEXIST));
			ASSERT_EQ(places[second], b->count);
			expect_in_order(_metadata, b, places[second], SOME);
			ASSERT_EQ(0, delete(b, places[second]));

			ASSERT_EQ(0, update(b, SOME, BPF_ANY));
			ASSERT_EQ(SOME, b->count);
			ASSERT_TRUE(has(b, places[first], last));
			ASSERT_TRUE(is_free(b, replaced));
			ASSERT_TRUE(empty(b, places[second]));

			/* there is one slot less than keys */
			ASSERT_EQ(-ENOENT, delete(b, SOME));
			ASSERT_EQ(places[second], b->count);
			ASSERT_TRUE(is_free(b, last));
			delete_from(b, b->keys + places[second] + 1,
				    SOME - places[second] - 1);
			expect_in_order(_metadata, b, 0, SOME);
		}
	}
}

/* A batch replaces a batch; who was replaced can be added elsewhere, and leaves alone. */
TEST_F(batch, replaced_is_free)
{
	struct batch *b = &self->batch;
	int *new = b->servers + SOME;
	__u32 i;

	open_servers(_metadata, &variant->kind, b->servers, 2 * SOME);
	set_in_order(b, SOME);
	ASSERT_EQ(0, update(b, SOME, BPF_NOEXIST));
	for (i = 0; i < SOME; i++)
		set(b, i, i, new[i]);
	ASSERT_EQ(0, update(b, SOME, BPF_EXIST));
	ASSERT_EQ(SOME, b->count);

	for (i = 0; i < SOME; i++) {
		ASSERT_TRUE(has(b, i, new[i]));
		if (i % 2)
			ASSERT_EQ(0, store(b, b->other_map, i, b->servers[i],
					   BPF_NOEXIST));
		close(b->servers[i]);
		ASSERT_TRUE(has(b, i, new[i]));
	}
}

/* A socket that is replaced can be added again later in the same batch. */
TEST_F(batch, moved_on)
{
	struct batch *b = &self->batch;
	__u32 i;

	open_servers(_metadata, &variant->kind, b->servers, SOME + 1);
	set_in_order(b, SOME);
	ASSERT_EQ(0, update(b, SOME, BPF_NOEXIST));

	/* a newcomer in slot 0, and all others move up by one */
	set(b, 0, 0, b->servers[SOME]);
	for (i = 1; i <= SOME; i++)
		set(b, i, i, b->servers[i - 1]);
	EXPECT_EQ(0, update(b, SOME + 1, BPF_ANY));
	EXPECT_EQ(SOME + 1, b->count);
	EXPECT_TRUE(has(b, 0, b->servers[SOME]));
	for (i = 1; i <= SOME; i++)
		ASSERT_TRUE(has(b, i, b->servers[i - 1]));
}

/* A delete stops where nothing is, or where no slot is: what precedes is empty. */
TEST_F(batch, delete_refused_at)
{
	struct batch *b = &self->batch;
	__u32 p, i, place, past;

	open_servers(_metadata, &variant->kind, b->servers, SOME);
	for (p = 0; p < ARRAY_SIZE(places); p++) {
		for (past = 0; past < 2; past++) {
			place = places[p];
			set_in_order(b, SOME);
			ASSERT_EQ(0, update(b, SOME, BPF_NOEXIST));
			if (past)
				b->keys[place] = p % 2 ? UINT32_MAX : MANY;
			else
				ASSERT_EQ(0, del(b->map, place));

			ASSERT_EQ(past ? -E2BIG : -ENOENT, delete(b, SOME));
			ASSERT_EQ(place, b->count);
			for (i = 0; i < place; i++) {
				ASSERT_TRUE(empty(b, i));
				ASSERT_TRUE(is_free(b, b->servers[i]));
			}
			for (i = place + 1; i < SOME; i++)
				ASSERT_TRUE(has(b, i, b->servers[i]));

			b->keys[place] = place;
			if (past)
				ASSERT_EQ(0, del(b->map, place));
			ASSERT_EQ(0, delete_from(b, b->keys + place + 1, SOME - place - 1));
			expect_in_order(_metadata, b, 0, SOME);
		}
	}
}

/* A key that comes twice finds its slot empty the second time. */
TEST_F(batch, delete_twice)
{
	struct batch *b = &self->batch;
	__u32 first, second;

	open_servers(_metadata, &variant->kind, b->servers, SOME);
	for (first = 0; first < ARRAY_SIZE(places); first++) {
		for (second = first + 1; second < ARRAY_SIZE(places); second++) {
			__u32 place = places[second];

			set_in_order(b, SOME);
			ASSERT_EQ(0, update(b, SOME, BPF_NOEXIST));
			b->keys[place] = places[first];
			ASSERT_EQ(-ENOENT, delete(b, SOME));
			ASSERT_EQ(place, b->count);
			b->keys[place] = place;
			ASSERT_EQ(0, delete_from(b, b->keys + place, SOME - place));
			expect_in_order(_metadata, b, 0, SOME);
		}
	}
}

/* Memory that ends early: what was done in full chunks stays done, and is counted. */
TEST_F(batch, fault)
{
	char *edge = edge_of_memory(_metadata);
	struct batch *b = &self->batch;
	__u32 p, what, done, readable;
	void *keys, *values;

	open_servers(_metadata, &variant->kind, b->servers, SOME);
	set_in_order(b, SOME);
	for (p = 0; p < ARRAY_SIZE(places); p++) {
		readable = places[p];
		done = readable / CHUNK * CHUNK;
		for (what = 0; what < 2; what++) {
			keys = b->keys;
			values = b->values8;
			if (what) {
				keys = edge - readable * sizeof(*b->keys);
				memcpy(keys, b->keys, readable * sizeof(*b->keys));
			} else {
				values = edge - readable * b->value_size;
				memcpy(values, b->values8, readable * b->value_size);
			}
			ASSERT_EQ(-EFAULT, update_from(b, keys, values, SOME, BPF_NOEXIST));
			ASSERT_EQ(done, b->count);
			expect_in_order(_metadata, b, done, SOME);
			ASSERT_EQ(0, update_from(b, b->keys + done,
						 (void *)b->values8 + done * b->value_size,
						 SOME - done, BPF_NOEXIST));
			expect_in_order(_metadata, b, SOME, MANY);
			ASSERT_EQ(0, delete(b, SOME));
		}

		keys = edge - readable * sizeof(*b->keys);
		memcpy(keys, b->keys, readable * sizeof(*b->keys));
		ASSERT_EQ(0, update(b, SOME, BPF_NOEXIST));
		ASSERT_EQ(-EFAULT, delete_from(b, keys, SOME));
		ASSERT_EQ(done, b->count);
		ASSERT_TRUE(!done || empty(b, done - 1));
		ASSERT_TRUE(has(b, done, b->servers[done]));
		ASSERT_EQ(0, delete_from(b, b->keys + done, SOME - done));
		expect_in_order(_metadata, b, 0, SOME);
	}
}

/* A batch that ends where memory ends does not look further. */
TEST_F(batch, up_to_the_edge)
{
	char *key_edge = edge_of_memory(_metadata), *value_edge = edge_of_memory(_metadata);
	struct batch *b = &self->batch;
	void *keys, *values;
	__u32 p, n;

	open_servers(_metadata, &variant->kind, b->servers, SOME);
	set_in_order(b, SOME);
	for (p = 0; p < ARRAY_SIZE(places); p++) {
		n = places[p];
		keys = key_edge - n * sizeof(*b->keys);
		memcpy(keys, b->keys, n * sizeof(*b->keys));
		values = value_edge - n * b->value_size;
		memcpy(values, b->values8, n * b->value_size);
		ASSERT_EQ(0, update_from(b, keys, values, n, BPF_NOEXIST));
		ASSERT_EQ(n, b->count);
		ASSERT_EQ(0, delete_from(b, keys, n));
		ASSERT_EQ(n, b->count);
	}
}

/* A frozen map takes no batch and gives up none. */
TEST_F(batch, frozen)
{
	struct batch *b = &self->batch;

	open_servers(_metadata, &variant->kind, b->servers, 2);
	set_in_order(b, 2);
	ASSERT_EQ(0, update(b, 1, BPF_ANY));
	ASSERT_EQ(0, bpf_map_freeze(b->map));
	EXPECT_EQ(-EPERM, update(b, 2, BPF_ANY));
	EXPECT_EQ(-EPERM, update(b, 0, BPF_ANY));
	EXPECT_EQ(-EPERM, delete(b, 1));
	if (b->value_size == sizeof(__u64)) {
		EXPECT_TRUE(holds(b->map, 0, b->servers[0]));
		EXPECT_TRUE(is_empty(b->map, 1));
	}
}

/* A map created for reading only takes no batch, one for writing only shows none. */
TEST_F(batch, one_way_maps)
{
	struct batch *b = &self->batch;
	__u32 token, count = 1, key;
	__u64 cookie;

	open_servers(_metadata, &variant->kind, b->servers, 1);
	set_in_order(b, 1);
	b->map = create_map(variant->value_size, SLOTS, BPF_F_WRONLY);
	ASSERT_LE(0, b->map);
	EXPECT_EQ(0, update(b, 1, BPF_NOEXIST));
	EXPECT_EQ(-EPERM, bpf_map_lookup_batch(b->map, NULL, &token, &key, &cookie, &count,
					       NULL));
	EXPECT_EQ(0, delete(b, 1));

	b->map = create_map(variant->value_size, SLOTS, BPF_F_RDONLY);
	ASSERT_LE(0, b->map);
	EXPECT_EQ(-EPERM, update(b, 1, BPF_ANY));
	EXPECT_EQ(-EPERM, delete(b, 1));
	EXPECT_EQ(variant->value_size == sizeof(__u64) ? -ENOENT : -ENOTSUPP,
		  bpf_map_lookup_batch(b->map, NULL, &token, &key, &cookie, &count, NULL));
	EXPECT_EQ(0, count);
}

/* Lookup and delete in one step is not for this map, and deletes nothing. */
TEST_F(batch, lookup_and_delete)
{
	struct batch *b = &self->batch;
	__u32 token, count = 1, key;
	__u64 cookie;

	open_servers(_metadata, &variant->kind, b->servers, 1);
	set_in_order(b, 1);
	ASSERT_EQ(0, update(b, 1, BPF_NOEXIST));
	EXPECT_EQ(-ENOTSUPP, bpf_map_lookup_and_delete_batch(b->map, NULL, &token, &key,
							     &cookie, &count, NULL));
	expect_in_order(_metadata, b, 1, MANY);
}

/* The lookup: a walk over the slots that are filled. */
struct walk {
	__u32 keys[MANY];	/* of the slots that are filled, in order */
	int servers[MANY];	/* what is in them */
	__u32 filled;
	int map;
	/* what a batch returns */
	__u32 seen_keys[MANY + 1];
	__u64 seen_cookies[MANY + 1];
	__u32 token;
	__u32 count;
};

FIXTURE(walk)
{
	struct walk walk;
};

FIXTURE_VARIANT(walk)
{
	struct kind kind;
};

FIXTURE_VARIANT_ADD(walk, tcp4) { { AF_INET, SOCK_STREAM } };
FIXTURE_VARIANT_ADD(walk, tcp6) { { AF_INET6, SOCK_STREAM } };
FIXTURE_VARIANT_ADD(walk, udp4) { { AF_INET, SOCK_DGRAM } };
FIXTURE_VARIANT_ADD(walk, udp6) { { AF_INET6, SOCK_DGRAM } };

FIXTURE_SETUP(walk)
{
	struct walk *w = &self->walk;

	enter_netns(_metadata);
	allow_sockets(_metadata);
	w->map = create_map(sizeof(__u64), MANY, 0);
	ASSERT_LE(0, w->map);
}

FIXTURE_TEARDOWN(walk)
{
}

/* @filled slots, each @step behind the one before it. */
static void fill(struct __test_metadata *_metadata, struct walk *w, const struct kind *kind,
		 __u32 first, __u32 step, __u32 filled)
{
	__u32 i, count = filled;
	__u64 values[MANY];

	open_servers(_metadata, kind, w->servers, filled);
	w->filled = filled;
	for (i = 0; i < filled; i++) {
		w->keys[i] = first + i * step;
		values[i] = w->servers[i];
	}
	ASSERT_EQ(0, bpf_map_update_batch(w->map, w->keys, values, &count, NULL));
	ASSERT_EQ(filled, count);
}

static int lookup(struct walk *w, __u32 *from, __u32 n)
{
	w->count = n;
	return bpf_map_lookup_batch(w->map, from, &w->token, w->seen_keys,
				    w->seen_cookies, &w->count, NULL);
}

/* The last batch went on from the slot filled as number @from. */
static void expect_seen(struct __test_metadata *_metadata, const struct walk *w, __u32 from)
{
	__u32 i;

	ASSERT_LE(from + w->count, w->filled);
	for (i = 0; i < w->count; i++) {
		ASSERT_EQ(w->keys[from + i], w->seen_keys[i]);
		ASSERT_EQ(cookie_of(w->servers[from + i]), w->seen_cookies[i]);
	}
}

/* A walk by batches of @n from number @from on returns each slot once, and ends. */
static void expect_rest(struct __test_metadata *_metadata, struct walk *w, __u32 *token,
			__u32 from, __u32 n)
{
	int err;

	do {
		memset(w->seen_keys, 0xff, sizeof(w->seen_keys));
		err = lookup(w, token, n);
		ASSERT_EQ(from + n > w->filled ? -ENOENT : 0, err);
		ASSERT_EQ(err ? w->filled - from : n, w->count);
		expect_seen(_metadata, w, from);
		ASSERT_EQ(UINT32_MAX, w->seen_keys[w->count]);
		from += w->count;
		token = &w->token;
	} while (!err);

	/* once at the end, always at the end */
	if (from) {
		ASSERT_EQ(-ENOENT, lookup(w, token, n));
		ASSERT_EQ(0, w->count);
	}
}

static void expect_walks(struct __test_metadata *_metadata, struct walk *w)
{
	__u32 i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		expect_rest(_metadata, w, NULL, 0, sizes[i]);
}

/* Every slot is filled. */
TEST_F(walk, full)
{
	struct walk *w = &self->walk;

	fill(_metadata, w, &variant->kind, 0, 1, MANY);
	expect_walks(_metadata, w);
}

/* Slots are empty at the beginning, in between and at the end. */
TEST_F(walk, gaps)
{
	struct walk *w = &self->walk;

	fill(_metadata, w, &variant->kind, 3, 7, 2 * SOME);
	expect_walks(_metadata, w);
}

/* As many as a batch or a few batches hold, to the slot. */
TEST_F(walk, around_the_chunk)
{
	struct walk *w = &self->walk;
	__u32 i, count;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		fill(_metadata, w, &variant->kind, 0, 1, sizes[i]);
		expect_walks(_metadata, w);
		count = sizes[i];
		ASSERT_EQ(0, bpf_map_delete_batch(w->map, w->keys, &count, NULL));
		while (count--)
			close(w->servers[count]);
	}
}

/* In an empty map the end comes first, and there is no place to go on from. */
TEST_F(walk, empty)
{
	struct walk *w = &self->walk;

	fill(_metadata, w, &variant->kind, 0, 1, 1);
	close(w->servers[0]);
	w->token = 1234;
	EXPECT_EQ(-ENOENT, lookup(w, NULL, SOME));
	EXPECT_EQ(0, w->count);
	EXPECT_EQ(1234, w->token);
}

/* A lookup of nothing is no error, whatever the pointers, and leads nowhere. */
TEST_F(walk, nothing)
{
	struct walk *w = &self->walk;
	__u32 count = 0;

	fill(_metadata, w, &variant->kind, 0, 1, 2);
	EXPECT_EQ(0, bpf_map_lookup_batch(w->map, NULL, NULL, NULL, NULL, &count, NULL));
	EXPECT_EQ(0, count);
	EXPECT_EQ(0, lookup(w, NULL, 1));
	EXPECT_EQ(0, lookup(w, &w->token, 0));
	EXPECT_EQ(0, w->count);
	expect_rest(_metadata, w, &w->token, 1, 1);
}

/* Few slots of many are filled: the walk lets others run, and loses nothing. */
TEST_F(walk, sparse)
{
	static const __u32 filled[][5] = {
		{ 0, RESCHED - 1, RESCHED, 50000, WIDE - 1 },
		{ 1, RESCHED, RESCHED + 1, 2 * RESCHED, WIDE - 2 },
		{ WIDE - 5, WIDE - 4, WIDE - 3, WIDE - 2, WIDE - 1 },
		{ 20000, 40000, 60000, 80000, WIDE - 2 },
	};
	struct walk *w = &self->walk;
	__u32 i, n, count;

	w->map = create_map(sizeof(__u64), WIDE, 0);
	ASSERT_LE(0, w->map);
	for (i = 0; i < ARRAY_SIZE(filled); i++) {
		__u64 values[5];

		open_servers(_metadata, &variant->kind, w->servers, 5);
		w->filled = 5;
		memcpy(w->keys, filled[i], sizeof(filled[i]));
		for (n = 0; n < 5; n++)
			values[n] = w->servers[n];
		count = 5;
		ASSERT_EQ(0, bpf_map_update_batch(w->map, w->keys, values, &count, NULL));

		for (n = 1; n <= 6; n++)
			expect_rest(_metadata, w, NULL, 0, n);
		for (n = 0; n < 5; n++)
			close(w->servers[n]);
	}
}

/* A socket that leaves during a walk is not returned, one that stays is returned once. */
TEST_F(walk, while_sockets_leave)
{
	struct walk *w = &self->walk;
	__u32 seen = 0;
	int err;

	fill(_metadata, w, &variant->kind, 0, 1, MANY);
	ASSERT_EQ(0, lookup(w, NULL, 100));
	/* of those seen, the last one seen, of those to come */
	close(w->servers[50]);
	close(w->servers[99]);
	close(w->servers[100]);
	close(w->servers[500]);
	ASSERT_EQ(100, w->count);
	do {
		err = lookup(w, &w->token, 99);
		while (w->count--) {
			__u32 key = w->seen_keys[w->count];

			seen++;
			ASSERT_TRUE(key > 100 && key < MANY && key != 500);
			ASSERT_EQ(cookie_of(w->servers[key]), w->seen_cookies[w->count]);
		}
	} while (!err);
	ASSERT_EQ(-ENOENT, err);
	EXPECT_EQ(MANY - 100 - 2, seen);
}

/* The first lookup makes the cookie, in a batch as well. */
TEST_F(walk, cookies)
{
	struct walk *w = &self->walk;
	int i;

	fill(_metadata, w, &variant->kind, 0, 1, SLOTS);
	ASSERT_EQ(-ENOENT, lookup(w, NULL, SLOTS + 1));
	ASSERT_EQ(SLOTS, w->count);
	for (i = 0; i < SLOTS; i++) {
		EXPECT_NE(0, w->seen_cookies[i]);
		EXPECT_EQ(cookie_of(w->servers[i]), w->seen_cookies[i]);
		EXPECT_TRUE(holds(w->map, i, w->servers[i]));
	}
}

/* What iterators do: a batch that does not fit is asked for again with twice the buffer, and a map
 * without this operation is read slot by slot. Return how many slots were found, or an error.
 */
static int iterate(int map, __u32 entries)
{
	__u32 size = 4, token, key, done = 0, count, found = 0, *keys = NULL;
	__u64 *cookies = NULL, cookie;
	void *from = NULL;
	int err;

	do {
		keys = realloc(keys, size * sizeof(*keys));
		cookies = realloc(cookies, size * sizeof(*cookies));
		count = size;
		err = bpf_map_lookup_batch(map, from, &token, keys, cookies, &count, NULL);
		if (err == -ENOSPC) {
			size *= 2;
			if (size > 64 * entries)
				break;
			continue;
		}
		done += count;
		from = &token;
	} while (!err || err == -ENOSPC);
	free(cookies);
	free(keys);
	if (err == -ENOENT)
		return done;
	if (err != -ENOTSUPP)
		return err;

	for (key = 0; key < entries; key++) {
		err = get(map, key, &cookie);
		found += !err;
		if (err && err != -ENOENT)
			return err;
	}
	return found;
}

/* An iterator ends: with the slots, or with the reason why a slot cannot be read. */
TEST_F(walk, iterator)
{
	struct walk *w = &self->walk;
	int narrow = create_map(sizeof(__u32), SLOTS, 0), wide = new_map(_metadata), i, server;

	ASSERT_LE(0, narrow);
	for (i = 0; i < SLOTS; i++) {
		server = new_server(_metadata, &variant->kind);
		ASSERT_EQ(0, put(wide, i, server, BPF_ANY));
		w->servers[i] = new_server(_metadata, &variant->kind);
		ASSERT_EQ(0, put4(narrow, i, w->servers[i], BPF_ANY));
	}
	EXPECT_EQ(SLOTS, iterate(wide, SLOTS));
	EXPECT_EQ(-ENOSPC, iterate(narrow, SLOTS));
}

/* A cookie does not fit into 4 bytes, so there is no such batch: not ENOSPC, which would ask for a
 * larger buffer.
 */
TEST_F(walk, four_bytes_are_too_few)
{
	struct walk *w = &self->walk;
	__u32 key = 0, count = 1;
	int server;

	w->map = create_map(sizeof(__u32), SLOTS, 0);
	ASSERT_LE(0, w->map);
	server = new_server(_metadata, &variant->kind);
	ASSERT_EQ(0, bpf_map_update_batch(w->map, &key, &server, &count, NULL));
	w->token = 1234;
	EXPECT_EQ(-ENOTSUPP, lookup(w, NULL, 2));
	EXPECT_EQ(0, w->count);
	EXPECT_EQ(-ENOTSUPP, lookup(w, &w->token, 2));
	EXPECT_EQ(0, w->count);
	EXPECT_EQ(1234, w->token);
	EXPECT_EQ(0, w->seen_keys[0]);
	EXPECT_EQ(0, w->seen_cookies[0]);
}

/* A place behind the last slot is the end. */
TEST_F(walk, from_beyond)
{
	static const __u32 beyond[] = { MANY, MANY + 1, INT32_MAX, UINT32_MAX };
	struct walk *w = &self->walk;
	__u32 i, from;

	fill(_metadata, w, &variant->kind, 0, 1, 2);
	for (i = 0; i < ARRAY_SIZE(beyond); i++) {
		from = beyond[i];
		EXPECT_EQ(-ENOENT, lookup(w, &from, 1));
		EXPECT_EQ(0, w->count);
	}
}

/* A lookup takes no flags. */
TEST_F(walk, flags)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	struct walk *w = &self->walk;
	__u32 bit;

	fill(_metadata, w, &variant->kind, 0, 1, 2);
	w->count = 1;
	for (bit = 0; bit < 64; bit++) {
		opts.elem_flags = 1ULL << bit;
		opts.flags = 0;
		EXPECT_EQ(-EINVAL, bpf_map_lookup_batch(w->map, NULL, &w->token,
							w->seen_keys, w->seen_cookies,
							&w->count, &opts));
		opts.elem_flags = 0;
		opts.flags = 1ULL << bit;
		EXPECT_EQ(-EINVAL, bpf_map_lookup_batch(w->map, NULL, &w->token,
							w->seen_keys, w->seen_cookies,
							&w->count, &opts));
	}
}

/* A frozen map can be walked. */
TEST_F(walk, frozen)
{
	struct walk *w = &self->walk;

	fill(_metadata, w, &variant->kind, 0, 1, 2);
	ASSERT_EQ(0, bpf_map_freeze(w->map));
	expect_rest(_metadata, w, NULL, 0, 1);
}

/* Memory that ends early: the count is that of the slots returned, and the walk continues. */
TEST_F(walk, fault)
{
	char *edge = edge_of_memory(_metadata);
	struct walk *w = &self->walk;
	__u32 p, what, writable;
	void *keys, *values;

	fill(_metadata, w, &variant->kind, 5, 2, 2 * SOME);
	for (p = 0; p < ARRAY_SIZE(places); p++) {
		writable = places[p];
		for (what = 0; what < 2; what++) {
			keys = what ? edge - writable * sizeof(__u32) : (void *)w->seen_keys;
			values = what ? (void *)w->seen_cookies :
					edge - writable * sizeof(__u64);
			w->count = SOME;
			ASSERT_EQ(-EFAULT, bpf_map_lookup_batch(w->map, NULL, &w->token,
								keys, values, &w->count, NULL));
			ASSERT_EQ(writable / CHUNK * CHUNK, w->count);
			memmove(w->seen_keys, keys, w->count * sizeof(__u32));
			memmove(w->seen_cookies, values, w->count * sizeof(__u64));
			expect_seen(_metadata, w, 0);
			expect_rest(_metadata, w, w->count ? &w->token : NULL,
				    w->count, CHUNK + 1);
		}
	}
}

/* A fault in the middle of a walk leaves the place as it was if nothing was told. */
TEST_F(walk, fault_and_repeat)
{
	void *edge = edge_of_memory(_metadata);
	struct walk *w = &self->walk;
	__u32 token, count;

	fill(_metadata, w, &variant->kind, 0, 1, 2 * SOME);
	ASSERT_EQ(0, lookup(w, NULL, SOME));
	token = w->token;
	count = SOME;
	ASSERT_EQ(-EFAULT, bpf_map_lookup_batch(w->map, &token, &token, edge,
						w->seen_cookies, &count, NULL));
	EXPECT_EQ(0, count);
	EXPECT_EQ(w->token, token);
	expect_rest(_metadata, w, &token, SOME, SOME);
}

/* A place that can be neither read nor written. */
TEST_F(walk, fault_of_the_token)
{
	void *edge = edge_of_memory(_metadata);
	struct walk *w = &self->walk;

	fill(_metadata, w, &variant->kind, 0, 1, SOME);
	EXPECT_EQ(-EFAULT, lookup(w, edge, 1));
	EXPECT_EQ(0, w->count);
	w->count = 1;
	EXPECT_EQ(-EFAULT, bpf_map_lookup_batch(w->map, NULL, edge, w->seen_keys,
						w->seen_cookies, &w->count, NULL));
	EXPECT_EQ(-EFAULT, bpf_map_lookup_batch(w->map, NULL, NULL, w->seen_keys,
						w->seen_cookies, &w->count, NULL));
	expect_rest(_metadata, w, NULL, 0, CHUNK);
}

/* A batch whose count cannot be written fails, and does nothing. */
TEST_F(walk, fault_of_the_count)
{
	static const int commands[] = {
		BPF_MAP_LOOKUP_BATCH, BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH
	};
	size_t page = sysconf(_SC_PAGESIZE);
	struct walk *w = &self->walk;
	union bpf_attr *attr;
	__u64 value;
	__u32 i;

	fill(_metadata, w, &variant->kind, 0, 1, 1);
	value = new_server(_metadata, &variant->kind);
	attr = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, attr);
	attr->batch.map_fd = w->map;
	attr->batch.count = 1;
	attr->batch.keys = (uintptr_t)w->keys;
	attr->batch.out_batch = (uintptr_t)&w->token;
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		bool lookup = commands[i] == BPF_MAP_LOOKUP_BATCH;

		ASSERT_EQ(0, mprotect(attr, page, PROT_READ | PROT_WRITE));
		attr->batch.values = (uintptr_t)(lookup ? w->seen_cookies : &value);
		ASSERT_EQ(0, mprotect(attr, page, PROT_READ));
		EXPECT_EQ(-1, syscall(__NR_bpf, commands[i], attr, sizeof(*attr)));
		EXPECT_EQ(EFAULT, errno);
		EXPECT_TRUE(holds(w->map, w->keys[0], w->servers[0]));
	}
}

TEST_HARNESS_MAIN
