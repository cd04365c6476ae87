// SPDX-License-Identifier: GPL-2.0
/* KUnit tests of BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, for what user space cannot
 * arrange: races of a few instructions, and the internal state of the kernel.
 *
 * reuseport_array.c includes this file, so its static functions can be called and
 * redirected. The sockets are real; their fds are in the table that kernel threads
 * share.
 */
#include <kunit/test.h>
#include <kunit/test-bug.h>
#include <linux/anon_inodes.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/in.h>
#include <linux/sizes.h>
#include <linux/socket.h>
#include <linux/vmalloc.h>
#include <net/sock.h>

#define TEST_PORT	4433
#define TEST_SLOTS	8

struct test_server {
	int fd;
	struct sock *sk;
};

static void test_close(void *fd)
{
	close_fd((long)fd);
	/* A kernel thread leaves the rest to a worker, and does not wait for it. */
	flush_delayed_fput();
}

static void test_close_early(struct kunit *test, const struct test_server *server)
{
	kunit_release_action(test, test_close, (void *)(long)server->fd);
}

static struct test_server test_socket(struct kunit *test, int family, int type)
{
	struct test_server server = {};
	struct socket *sock;
	int err;

	server.fd = __sys_socket(family, type, type == SOCK_RAW ? IPPROTO_UDP : 0);
	KUNIT_ASSERT_LE(test, 0, server.fd);
	err = kunit_add_action_or_reset(test, test_close, (void *)(long)server.fd);
	KUNIT_ASSERT_EQ(test, 0, err);

	sock = sockfd_lookup(server.fd, &err);
	KUNIT_ASSERT_NOT_NULL(test, sock);
	server.sk = sock->sk;
	sockfd_put(sock);
	return server;
}

static void test_bind(struct kunit *test, const struct test_server *server)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(TEST_PORT),
	};

	/* The type of the address differs between kernels. */
	KUNIT_ASSERT_EQ(test, 0, kernel_bind(server->sk->sk_socket, (void *)&address,
					     sizeof(address)));
}

/* A member of the group of TEST_PORT. */
static struct test_server test_server(struct kunit *test, int type)
{
	struct test_server server = test_socket(test, AF_INET, type);

	sock_set_reuseport(server.sk);
	test_bind(test, &server);
	if (type == SOCK_STREAM)
		KUNIT_ASSERT_EQ(test, 0, kernel_listen(server.sk->sk_socket, 1));
	return server;
}

static void test_free(void *map)
{
	reuseport_array_ops.map_free(map);
}

static void test_free_early(struct kunit *test, struct bpf_map *map)
{
	kunit_release_action(test, test_free, map);
}

static struct bpf_map *test_map(struct kunit *test, u32 value_size, u32 slots)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_REUSEPORT_SOCKARRAY,
		.key_size = sizeof(u32),
		.value_size = value_size,
		.max_entries = slots,
	};
	struct bpf_map *map;

	KUNIT_ASSERT_EQ(test, 0, reuseport_array_ops.map_alloc_check(&attr));
	map = reuseport_array_ops.map_alloc(&attr);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, map);
	map->ops = &reuseport_array_ops;
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, test_free, map));
	return map;
}

static struct bpf_map *test_new_map(struct kunit *test)
{
	return test_map(test, sizeof(u64), TEST_SLOTS);
}

static int test_put_value(struct bpf_map *map, u32 index, u64 value, u64 flags)
{
	u32 narrow = value;

	if (map->value_size == sizeof(narrow))
		return bpf_fd_reuseport_array_update_elem(map, &index, &narrow, flags);
	return bpf_fd_reuseport_array_update_elem(map, &index, &value, flags);
}

static int test_put(struct bpf_map *map, u32 index, const struct test_server *server, u64 flags)
{
	return test_put_value(map, index, server->fd, flags);
}

static struct sock *test_get(struct bpf_map *map, u32 index)
{
	guard(rcu)();
	return reuseport_array_lookup(map, index);
}

static struct reuseport_array *test_array_of(const struct test_server *server)
{
	return *reuseport_backref(server->sk);
}

/* The race tests replace reuseport_array_clear_backref(), which runs after free has read
 * the slot and before it looks at the socket. The replacement must not sleep, because of
 * RCU. It does what inet_shutdown() and inet_listen() amount to.
 */
struct test_race {
	struct test_server server;
	struct bpf_map *other;
	int calls;
	int err;
};

static void test_move(struct sock *sk, struct reuseport_array *array)
{
	struct kunit *test = kunit_get_current_test();
	struct test_race *race = test->priv;

	race->calls++;
	kunit_deactivate_static_stub(test, reuseport_array_clear_backref);
	reuseport_detach_sock(sk);
	race->err = reuseport_alloc(sk, true) ?:
		      test_put(race->other, 1, &race->server, BPF_NOEXIST);
	reuseport_array_clear_backref(sk, array);
}

static void test_leave(struct sock *sk, struct reuseport_array *array)
{
	struct kunit *test = kunit_get_current_test();
	struct test_race *race = test->priv;

	race->calls++;
	kunit_deactivate_static_stub(test, reuseport_array_clear_backref);
	reuseport_detach_sock(sk);
	race->err = rcu_access_pointer(array->ptrs[3]) ? -EBUSY : 0;
	reuseport_array_clear_backref(sk, array);
}

static struct bpf_map *test_prepare_race(struct kunit *test, struct test_race *race,
					 int type)
{
	struct bpf_map *map = test_new_map(test);

	race->server = test_server(test, type);
	race->other = test_new_map(test);
	test->priv = race;
	KUNIT_ASSERT_EQ(test, 0, test_put(map, 3, &race->server, BPF_NOEXIST));
	return map;
}

static const struct test_protocol {
	const char *name;
	int type;
} test_protocols[] = {
	{ "TCP", SOCK_STREAM },
	{ "UDP", SOCK_DGRAM },
};

KUNIT_ARRAY_PARAM_DESC(test_protocol, test_protocols, name);

static void socket_moves_while_map_is_freed(struct kunit *test)
{
	const struct test_protocol *protocol = test->param_value;
	struct test_race race = {};
	struct bpf_map *map = test_prepare_race(test, &race, protocol->type);

	kunit_activate_static_stub(test, reuseport_array_clear_backref, test_move);
	test_free_early(test, map);
	KUNIT_ASSERT_EQ(test, 1, race.calls);
	KUNIT_ASSERT_EQ(test, 0, race.err);

	KUNIT_EXPECT_PTR_EQ(test, test_array_of(&race.server), to_reuseport_array(race.other));
	KUNIT_EXPECT_EQ(test, -EBUSY, test_put(race.other, 2, &race.server, BPF_ANY));
	test_close_early(test, &race.server);
	KUNIT_EXPECT_NULL(test, test_get(race.other, 1));
	KUNIT_EXPECT_NULL(test, test_get(race.other, 2));
}

static void socket_leaves_while_map_is_freed(struct kunit *test)
{
	const struct test_protocol *protocol = test->param_value;
	struct test_race race = {};
	struct bpf_map *map = test_prepare_race(test, &race, protocol->type);

	kunit_activate_static_stub(test, reuseport_array_clear_backref, test_leave);
	test_free_early(test, map);
	KUNIT_ASSERT_EQ(test, 1, race.calls);
	KUNIT_EXPECT_EQ(test, 0, race.err);
	KUNIT_EXPECT_NULL(test, test_array_of(&race.server));
	KUNIT_EXPECT_EQ(test, -EINVAL, test_put(race.other, 1, &race.server, BPF_ANY));
}

/* tcp_migrate_req: the listener is in the closed section of its group, and still hashed. */
static void listener_about_to_be_unhashed(struct kunit *test)
{
	u8 *migrate = &init_net.ipv4.sysctl_tcp_migrate_req, before = *migrate;
	struct test_server server = test_server(test, SOCK_STREAM);
	struct test_server neighbour = test_server(test, SOCK_STREAM);
	struct bpf_map *map = test_new_map(test);

	KUNIT_ASSERT_EQ(test, 0, test_put(map, 0, &server, BPF_ANY));
	KUNIT_ASSERT_EQ(test, 0, test_put(map, 1, &neighbour, BPF_ANY));
	WRITE_ONCE(*migrate, 1);
	reuseport_stop_listen_sock(server.sk);
	WRITE_ONCE(*migrate, before);

	KUNIT_ASSERT_TRUE(test, sk_hashed(server.sk));
	KUNIT_ASSERT_EQ(test, TCP_LISTEN, server.sk->sk_state);
	KUNIT_ASSERT_NOT_NULL(test, rcu_access_pointer(server.sk->sk_reuseport_cb));
	KUNIT_EXPECT_NULL(test, test_get(map, 0));
	KUNIT_EXPECT_EQ(test, -EINVAL, test_put(map, 0, &server, BPF_ANY));
	KUNIT_EXPECT_EQ(test, -EINVAL, test_put(map, 1, &server, BPF_EXIST));
	KUNIT_EXPECT_NULL(test, test_get(map, 0));
	KUNIT_EXPECT_PTR_EQ(test, neighbour.sk, test_get(map, 1));
	KUNIT_EXPECT_NULL(test, test_array_of(&server));

	/* What listen() does, and close() relies on. */
	KUNIT_ASSERT_EQ(test, 0, reuseport_alloc(server.sk, true));
	KUNIT_EXPECT_EQ(test, 0, test_put(map, 0, &server, BPF_NOEXIST));
}

/* A listener that left the open section of its group, and then listened without SO_REUSEPORT, is
 * still in the closed section when it stops again.
 */
static void listener_that_stops_twice(struct kunit *test)
{
	u8 *migrate = &init_net.ipv4.sysctl_tcp_migrate_req, before = *migrate;
	struct test_server server = test_server(test, SOCK_STREAM);
	struct bpf_map *map = test_new_map(test);
	struct sock_reuseport *reuse = rcu_access_pointer(server.sk->sk_reuseport_cb);

	WRITE_ONCE(*migrate, 1);
	reuseport_stop_listen_sock(server.sk);
	reuseport_stop_listen_sock(server.sk);
	WRITE_ONCE(*migrate, before);
	KUNIT_EXPECT_TRUE(test, inet_sk(server.sk)->reuseport_closed);
	KUNIT_EXPECT_EQ(test, 0, reuse->num_socks);
	KUNIT_EXPECT_EQ(test, 1, reuse->num_closed_socks);

	/* What listen() does. It leaves no entry behind that would make an update fail. */
	KUNIT_ASSERT_EQ(test, 0, reuseport_alloc(server.sk, true));
	KUNIT_EXPECT_EQ(test, 0, test_put(map, 0, &server, BPF_NOEXIST));
}

/* A full group removes a socket from its closed section; the socket may be listening again. */
static void listener_that_stops_without_a_group(struct kunit *test)
{
	struct test_server server = test_server(test, SOCK_STREAM);

	reuseport_detach_sock(server.sk);
	reuseport_stop_listen_sock(server.sk);
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(server.sk->sk_reuseport_cb));
}

/* It listened once; then a program was attached, which created a group; then it connected. */
static void connected_socket_in_a_group(struct kunit *test)
{
	struct test_server server = test_server(test, SOCK_STREAM);
	struct bpf_map *map = test_new_map(test);

	WRITE_ONCE(server.sk->sk_state, TCP_ESTABLISHED);
	KUNIT_EXPECT_EQ(test, -EINVAL, test_put(map, 0, &server, BPF_ANY));
	WRITE_ONCE(server.sk->sk_state, TCP_LISTEN);
	KUNIT_EXPECT_EQ(test, 0, test_put(map, 0, &server, BPF_ANY));
}

static void test_free_clone(struct sock *child)
{
	sk_sockets_allocated_dec(child);
	child->sk_destruct = NULL;
	bh_unlock_sock(child);
	sk_free(child);
}

/* A clone that cannot charge its filter is freed while it is a copy of its parent. */
static void test_fail_to_clone(struct kunit *test, struct sock *sk)
{
	int room = xchg(&init_net.core.sysctl_optmem_max, 0);
	struct sock *child;

	local_bh_disable();
	child = sk_clone_lock(sk, GFP_ATOMIC);
	if (child)
		test_free_clone(child);
	local_bh_enable();
	WRITE_ONCE(init_net.core.sysctl_optmem_max, room);
	KUNIT_EXPECT_NULL(test, child);
}

static void test_attach_filter(struct kunit *test, struct sock *sk)
{
	struct sock_filter accept = BPF_STMT(BPF_RET | BPF_K, U32_MAX);
	struct sock_fprog_kern fprog = { .len = 1, .filter = &accept };
	struct sk_filter *filter;

	filter = kzalloc(sizeof(*filter), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, filter);
	KUNIT_ASSERT_EQ(test, 0, bpf_prog_create(&filter->prog, &fprog));
	refcount_set(&filter->refcnt, 1);
	atomic_add(bpf_prog_size(filter->prog->len), &sk->sk_omem_alloc);
	rcu_assign_pointer(sk->sk_filter, filter);
}

static void failed_clone_keeps_the_slot(struct kunit *test)
{
	struct test_server server = test_server(test, SOCK_STREAM);
	struct bpf_map *map = test_new_map(test);

	test_attach_filter(test, server.sk);
	KUNIT_ASSERT_EQ(test, 0, test_put(map, 0, &server, BPF_ANY));
	test_fail_to_clone(test, server.sk);
	KUNIT_EXPECT_PTR_EQ(test, server.sk, test_get(map, 0));
	KUNIT_EXPECT_EQ(test, 1, bpf_map_sum_elem_count(map));
}

/* The listener leaves its group, as the last member, just after it was copied. With object
 * debugging the kernel reports it if the group is freed again for the child.
 */
static void failed_clone_keeps_the_group(struct kunit *test)
{
	struct test_server server = test_server(test, SOCK_STREAM);
	struct sock_reuseport *reuse;

	test_attach_filter(test, server.sk);
	rcu_read_lock();
	reuse = rcu_dereference(server.sk->sk_reuseport_cb);
	reuseport_detach_sock(server.sk);
	rcu_assign_pointer(server.sk->sk_reuseport_cb, reuse);
	test_fail_to_clone(test, server.sk);
	RCU_INIT_POINTER(server.sk->sk_reuseport_cb, NULL);
	rcu_read_unlock();
	rcu_barrier();
}

static void test_detach(struct sock *sk)
{
	spin_lock_bh(&reuseport_lock);
	__bpf_sk_reuseport_detach(sk);
	spin_unlock_bh(&reuseport_lock);
}

static void detach_of_a_socket_in_no_map(struct kunit *test)
{
	struct test_server server = test_server(test, SOCK_DGRAM);
	struct test_server never = test_server(test, SOCK_DGRAM);
	struct test_server once = test_server(test, SOCK_DGRAM);
	struct test_server freed = test_server(test, SOCK_DGRAM);
	struct bpf_map *short_lived = test_new_map(test);
	struct bpf_map *map = test_new_map(test);
	u32 index = 1;

	KUNIT_ASSERT_EQ(test, 0, test_put(map, 0, &server, BPF_ANY));
	KUNIT_ASSERT_EQ(test, 0, test_put(map, 1, &once, BPF_ANY));
	KUNIT_ASSERT_EQ(test, 0, map->ops->map_delete_elem(map, &index));
	KUNIT_ASSERT_EQ(test, 0, test_put(short_lived, 1, &freed, BPF_ANY));
	test_free_early(test, short_lived);

	test_detach(never.sk);
	test_detach(once.sk);
	test_detach(freed.sk);
	KUNIT_EXPECT_PTR_EQ(test, server.sk, test_get(map, 0));
	KUNIT_EXPECT_NULL(test, test_get(map, 1));
	KUNIT_EXPECT_EQ(test, 1, bpf_map_sum_elem_count(map));
}

/* The slots that are filled are the last ones. */
static const struct test_filling {
	const char *name;
	u32 slots;
	u32 filled;
} test_fillings[] = {
	{ "1 slot, empty", 1, 0 },
	{ "1 slot, filled", 1, 1 },
	{ "8 slots, none filled", TEST_SLOTS, 0 },
	{ "8 slots, 1 filled", TEST_SLOTS, 1 },
	{ "8 slots, all filled", TEST_SLOTS, TEST_SLOTS },
	{ "one batch, 1 filled", REUSEPORT_ARRAY_RESCHED_BATCH, 1 },
	{ "one batch and 1 slot, 2 filled", REUSEPORT_ARRAY_RESCHED_BATCH + 1, 2 },
	{ "three batches, 1 filled", 3 * REUSEPORT_ARRAY_RESCHED_BATCH, 1 },
};

KUNIT_ARRAY_PARAM_DESC(test_filling, test_fillings, name);

static void free_detaches_every_socket(struct kunit *test)
{
	const struct test_filling *filling = test->param_value;
	struct bpf_map *map = test_map(test, sizeof(u32), filling->slots);
	struct bpf_map *next = test_new_map(test);
	struct test_server servers[TEST_SLOTS];
	struct rcu_gp_oldstate before;
	u32 i;

	for (i = 0; i < filling->filled; i++) {
		u32 index = filling->slots - 1 - i;

		servers[i] = test_server(test, i % 2 ? SOCK_STREAM : SOCK_DGRAM);
		KUNIT_ASSERT_EQ(test, 0, test_put(map, index, &servers[i], BPF_NOEXIST));
	}
	KUNIT_EXPECT_EQ(test, filling->filled, bpf_map_sum_elem_count(map));

	/* an expedited grace period is enough, and all there is during boot */
	get_state_synchronize_rcu_full(&before);
	test_free_early(test, map);
	KUNIT_EXPECT_TRUE_MSG(test, poll_state_synchronize_rcu_full(&before),
			      "the memory was freed without a grace period");
	for (i = 0; i < filling->filled; i++) {
		KUNIT_EXPECT_NULL(test, test_array_of(&servers[i]));
		KUNIT_EXPECT_EQ(test, 0, test_put(next, i, &servers[i], BPF_NOEXIST));
	}
}

static void count_of_filled_slots(struct kunit *test)
{
	struct test_server one = test_server(test, SOCK_DGRAM);
	struct test_server two = test_server(test, SOCK_DGRAM);
	struct bpf_map *map = test_new_map(test);
	u32 index = 0;

	KUNIT_EXPECT_EQ(test, 0, bpf_map_sum_elem_count(map));
	KUNIT_ASSERT_EQ(test, 0, test_put(map, 0, &one, BPF_ANY));
	KUNIT_EXPECT_EQ(test, 1, bpf_map_sum_elem_count(map));
	KUNIT_ASSERT_EQ(test, 0, test_put(map, 0, &two, BPF_EXIST));
	KUNIT_EXPECT_EQ(test, 1, bpf_map_sum_elem_count(map));
	KUNIT_EXPECT_NULL(test, test_array_of(&one));
	KUNIT_ASSERT_EQ(test, 0, test_put(map, 1, &one, BPF_NOEXIST));
	KUNIT_EXPECT_EQ(test, 2, bpf_map_sum_elem_count(map));
	KUNIT_ASSERT_EQ(test, 0, map->ops->map_delete_elem(map, &index));
	KUNIT_EXPECT_EQ(test, 1, bpf_map_sum_elem_count(map));
	test_close_early(test, &one);
	KUNIT_EXPECT_EQ(test, 0, bpf_map_sum_elem_count(map));
}

/* Sizes that fill a slab object, or pages, to the last byte: with one slot too many the
 * allocation would double, or grow by a page.
 */
static void mem_usage_is_what_was_allocated(struct kunit *test)
{
	static const size_t sizes[] = { SZ_2K, SZ_4K, SZ_8K, SZ_128K };
	int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		u32 slots = (sizes[i] - sizeof(struct reuseport_array)) / sizeof(struct sock *);
		struct bpf_map *map = test_map(test, sizeof(u64), slots);
		size_t allocated;

		allocated = is_vmalloc_addr(map) ? get_vm_area_size(find_vm_area(map)) : ksize(map);
		KUNIT_EXPECT_EQ(test, allocated, sizes[i]);
		KUNIT_EXPECT_EQ(test, allocated + num_possible_cpus() * sizeof(s64),
				map->ops->map_mem_usage(map));
	}
}

static const struct test_create {
	const char *name;
	u32 key_size;
	u32 value_size;
	u32 max_entries;
	u32 map_flags;
	int err;
} test_creates[] = {
	{ "value of 4 bytes", 4, 4, 1, 0, 0 },
	{ "value of 8 bytes", 4, 8, 1, 0, 0 },
	{ "as many entries as can be", 4, 8, U32_MAX, 0, 0 },
	{ "no value", 4, 0, 1, 0, -EINVAL },
	{ "value of 2 bytes", 4, 2, 1, 0, -EINVAL },
	{ "value of 5 bytes", 4, 5, 1, 0, -EINVAL },
	{ "value of 16 bytes", 4, 16, 1, 0, -EINVAL },
	{ "no key", 0, 4, 1, 0, -EINVAL },
	{ "key of 8 bytes", 8, 4, 1, 0, -EINVAL },
	{ "no entries", 4, 4, 0, 0, -EINVAL },
	{ "BPF_F_NO_PREALLOC", 4, 4, 1, BPF_F_NO_PREALLOC, -EINVAL },
	{ "unknown flag", 4, 4, 1, 1U << 31, -EINVAL },
};

KUNIT_ARRAY_PARAM_DESC(test_create, test_creates, name);

static void create_errno(struct kunit *test)
{
	const struct test_create *create = test->param_value;
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_REUSEPORT_SOCKARRAY,
		.key_size = create->key_size,
		.value_size = create->value_size,
		.max_entries = create->max_entries,
		.map_flags = create->map_flags,
	};

	KUNIT_EXPECT_EQ(test, create->err, reuseport_array_ops.map_alloc_check(&attr));
}

enum test_value {
	UDP_SERVER, TCP_SERVER, NOT_OPEN, NOT_A_SOCKET, ABOVE_S32_MAX, ABOVE_U32_MAX,
	RAW_SOCKET, UNIX_SOCKET, WITHOUT_REUSEPORT, NOT_BOUND, NOT_BOUND_ANY_MORE,
	NOT_LISTENING, NOT_RCU_FREE, IN_ANOTHER_MAP, IN_ANOTHER_SLOT, IN_THIS_SLOT,
};

static const struct test_update {
	const char *name;
	enum test_value value;
	u32 value_size;
	u32 index;
	bool taken;
	u64 flags;
	int err;
} test_updates[] = {
	{ "UDP", UDP_SERVER, 8, 0, false, BPF_ANY, 0 },
	{ "TCP", TCP_SERVER, 8, 0, false, BPF_NOEXIST, 0 },
	{ "UDP, fd of 4 bytes", UDP_SERVER, 4, 7, false, BPF_ANY, 0 },
	{ "TCP replaces another", TCP_SERVER, 4, 7, true, BPF_EXIST, 0 },
	{ "UDP replaces another", UDP_SERVER, 8, 0, true, BPF_ANY, 0 },
	{ "unknown flag", UDP_SERVER, 8, 0, true, BPF_EXIST + 1, -EINVAL },
	{ "BPF_F_LOCK", UDP_SERVER, 8, 0, true, BPF_F_LOCK, -EINVAL },
	{ "flag beyond 32 bits", UDP_SERVER, 8, 0, true, 1ULL << 32, -EINVAL },
	{ "index too large", UDP_SERVER, 8, 8, false, BPF_ANY, -E2BIG },
	{ "largest index", UDP_SERVER, 8, U32_MAX, false, BPF_ANY, -E2BIG },
	{ "bad flag before bad index", UDP_SERVER, 8, 8, false, BPF_EXIST + 1, -EINVAL },
	{ "bad index before bad value", ABOVE_S32_MAX, 8, 8, false, BPF_ANY, -E2BIG },
	{ "value above S32_MAX", ABOVE_S32_MAX, 8, 0, false, BPF_ANY, -EINVAL },
	{ "value above U32_MAX", ABOVE_U32_MAX, 8, 0, false, BPF_ANY, -EINVAL },
	{ "largest value of 4 bytes", ABOVE_S32_MAX, 4, 0, false, BPF_ANY, -EBADF },
	{ "no open fd", NOT_OPEN, 4, 0, false, BPF_ANY, -EBADF },
	{ "no open fd, 8 bytes", NOT_OPEN, 8, 0, false, BPF_ANY, -EBADF },
	{ "not a socket", NOT_A_SOCKET, 8, 0, false, BPF_ANY, -ENOTSOCK },
	{ "slot is taken", UDP_SERVER, 8, 0, true, BPF_NOEXIST, -EEXIST },
	{ "slot is empty", UDP_SERVER, 8, 0, false, BPF_EXIST, -ENOENT },
	{ "taken slot before wrong kind", UNIX_SOCKET, 8, 0, true, BPF_NOEXIST, -EEXIST },
	{ "raw", RAW_SOCKET, 8, 0, false, BPF_ANY, -ENOTSUPP },
	{ "unix", UNIX_SOCKET, 8, 0, false, BPF_ANY, -ENOTSUPP },
	{ "no SO_REUSEPORT", WITHOUT_REUSEPORT, 8, 0, false, BPF_ANY, -EINVAL },
	{ "not bound", NOT_BOUND, 8, 0, false, BPF_ANY, -EINVAL },
	{ "not bound any more, in a group", NOT_BOUND_ANY_MORE, 8, 0, false, BPF_ANY, -EINVAL },
	{ "not listening", NOT_LISTENING, 8, 0, false, BPF_ANY, -EINVAL },
	{ "freed without a grace period", NOT_RCU_FREE, 8, 0, false, BPF_ANY, -EINVAL },
	{ "in another map", IN_ANOTHER_MAP, 8, 0, false, BPF_ANY, -EBUSY },
	{ "in another slot", IN_ANOTHER_SLOT, 8, 0, false, BPF_ANY, -EBUSY },
	{ "in another slot, for a taken one", IN_ANOTHER_SLOT, 8, 0, true, BPF_EXIST, -EBUSY },
	{ "in this very slot", IN_THIS_SLOT, 8, 0, false, BPF_ANY, -EBUSY },
	{ "taken slot before its own socket", IN_THIS_SLOT, 8, 0, false, BPF_NOEXIST, -EEXIST },
};

KUNIT_ARRAY_PARAM_DESC(test_update, test_updates, name);

static const struct file_operations test_no_socket = {
};

static u64 test_make_value(struct kunit *test, struct bpf_map *map, enum test_value kind)
{
	struct test_server server;
	int fd;

	switch (kind) {
	case TCP_SERVER:
		return test_server(test, SOCK_STREAM).fd;
	case NOT_OPEN:
		return S32_MAX;
	case ABOVE_S32_MAX:
		return BIT_ULL(31);
	case ABOVE_U32_MAX:
		return test_server(test, SOCK_DGRAM).fd | BIT_ULL(32);
	case NOT_A_SOCKET:
		fd = anon_inode_getfd("[test]", &test_no_socket, NULL, O_CLOEXEC);
		KUNIT_ASSERT_LE(test, 0, fd);
		KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, test_close,
								   (void *)(long)fd));
		return fd;
	case RAW_SOCKET:
		return test_socket(test, AF_INET, SOCK_RAW).fd;
	case UNIX_SOCKET:
		return test_socket(test, AF_UNIX, SOCK_STREAM).fd;
	case WITHOUT_REUSEPORT:
		server = test_socket(test, AF_INET, SOCK_DGRAM);
		test_bind(test, &server);
		return server.fd;
	case NOT_BOUND:
		server = test_socket(test, AF_INET, SOCK_DGRAM);
		sock_set_reuseport(server.sk);
		return server.fd;
	case NOT_BOUND_ANY_MORE:
		/* connect() to AF_UNSPEC, then attach a program */
		server = test_server(test, SOCK_DGRAM);
		server.sk->sk_prot->unhash(server.sk);
		KUNIT_ASSERT_EQ(test, 0, reuseport_alloc(server.sk, false));
		return server.fd;
	case NOT_RCU_FREE:
		server = test_server(test, SOCK_DGRAM);
		sock_reset_flag(server.sk, SOCK_RCU_FREE);
		return server.fd;
	case NOT_LISTENING:
		server = test_socket(test, AF_INET, SOCK_STREAM);
		sock_set_reuseport(server.sk);
		test_bind(test, &server);
		return server.fd;
	default:
		break;
	}

	server = test_server(test, SOCK_DGRAM);
	if (kind == IN_ANOTHER_MAP)
		map = test_new_map(test);
	if (kind != UDP_SERVER)
		KUNIT_ASSERT_EQ(test, 0, test_put(map, kind == IN_THIS_SLOT ? 0 : 1, &server,
						  BPF_NOEXIST));
	return server.fd;
}

static void update_errno(struct kunit *test)
{
	const struct test_update *update = test->param_value;
	struct bpf_map *map = test_map(test, update->value_size, TEST_SLOTS);
	struct test_server holder;
	struct sock *before;
	u64 value;

	if (update->taken) {
		holder = test_server(test, SOCK_DGRAM);
		KUNIT_ASSERT_EQ(test, 0, test_put(map, update->index, &holder, BPF_NOEXIST));
	}
	value = test_make_value(test, map, update->value);
	before = test_get(map, update->index);

	KUNIT_EXPECT_EQ(test, update->err,
			test_put_value(map, update->index, value, update->flags));
	if (update->err) {
		KUNIT_EXPECT_PTR_EQ(test, before, test_get(map, update->index));
	} else {
		KUNIT_EXPECT_PTR_NE(test, before, test_get(map, update->index));
		if (before)
			KUNIT_EXPECT_NULL(test, *reuseport_backref(before));
	}
}

static void delete_errno(struct kunit *test)
{
	struct test_server server = test_server(test, SOCK_DGRAM);
	struct bpf_map *map = test_new_map(test);
	u32 last = TEST_SLOTS - 1, beyond = TEST_SLOTS, largest = U32_MAX;

	KUNIT_ASSERT_EQ(test, 0, test_put(map, last, &server, BPF_ANY));
	KUNIT_EXPECT_EQ(test, -E2BIG, map->ops->map_delete_elem(map, &beyond));
	KUNIT_EXPECT_EQ(test, -E2BIG, map->ops->map_delete_elem(map, &largest));
	KUNIT_EXPECT_EQ(test, 0, map->ops->map_delete_elem(map, &last));
	KUNIT_EXPECT_NULL(test, test_array_of(&server));
	KUNIT_EXPECT_EQ(test, -ENOENT, map->ops->map_delete_elem(map, &last));
}

static int test_lookup(struct bpf_map *map, u32 index, u64 *cookie)
{
	return bpf_fd_reuseport_array_lookup_elem(map, &index, cookie);
}

static void lookup_errno(struct kunit *test)
{
	struct test_server server = test_server(test, SOCK_DGRAM);
	struct bpf_map *wide = test_new_map(test);
	struct bpf_map *narrow = test_map(test, sizeof(u32), TEST_SLOTS);
	struct test_server first = test_server(test, SOCK_DGRAM);
	u32 last = TEST_SLOTS - 1;
	u64 cookie = 0;

	/* In slot 0, which is what array_index_nospec() makes of an index out of bounds. */
	KUNIT_ASSERT_EQ(test, 0, test_put(wide, 0, &first, BPF_ANY));
	KUNIT_ASSERT_EQ(test, 0, test_put(wide, last, &server, BPF_ANY));
	KUNIT_EXPECT_EQ(test, -ENOSPC, test_lookup(narrow, 0, &cookie));
	KUNIT_EXPECT_EQ(test, -ENOENT, test_lookup(wide, 1, &cookie));
	KUNIT_EXPECT_EQ(test, -ENOENT, test_lookup(wide, last + 1, &cookie));
	KUNIT_EXPECT_EQ(test, 0, atomic64_read(&server.sk->sk_cookie));
	KUNIT_EXPECT_EQ(test, 0, test_lookup(wide, last, &cookie));
	KUNIT_EXPECT_NE(test, 0, cookie);
	KUNIT_EXPECT_EQ(test, cookie, atomic64_read(&server.sk->sk_cookie));
}

static void every_key_in_order(struct kunit *test)
{
	struct bpf_map *map = test_new_map(test);
	u32 i, key, beyond = TEST_SLOTS;

	KUNIT_ASSERT_EQ(test, 0, map->ops->map_get_next_key(map, NULL, &key));
	for (i = 0; i < TEST_SLOTS - 1; i++) {
		KUNIT_EXPECT_EQ(test, i, key);
		KUNIT_ASSERT_EQ(test, 0, map->ops->map_get_next_key(map, &key, &key));
	}
	KUNIT_EXPECT_EQ(test, i, key);
	KUNIT_EXPECT_EQ(test, -ENOENT, map->ops->map_get_next_key(map, &key, &key));
	KUNIT_EXPECT_EQ(test, 0, map->ops->map_get_next_key(map, &beyond, &key));
	KUNIT_EXPECT_EQ(test, 0, key);
}

static struct kunit_case reuseport_array_cases[] = {
	KUNIT_CASE_PARAM(socket_moves_while_map_is_freed, test_protocol_gen_params),
	KUNIT_CASE_PARAM(socket_leaves_while_map_is_freed, test_protocol_gen_params),
	KUNIT_CASE(listener_about_to_be_unhashed),
	KUNIT_CASE(listener_that_stops_twice),
	KUNIT_CASE(listener_that_stops_without_a_group),
	KUNIT_CASE(connected_socket_in_a_group),
	KUNIT_CASE(failed_clone_keeps_the_slot),
	KUNIT_CASE(failed_clone_keeps_the_group),
	KUNIT_CASE(detach_of_a_socket_in_no_map),
	KUNIT_CASE_PARAM(free_detaches_every_socket, test_filling_gen_params),
	KUNIT_CASE(count_of_filled_slots),
	KUNIT_CASE(mem_usage_is_what_was_allocated),
	KUNIT_CASE_PARAM(create_errno, test_create_gen_params),
	KUNIT_CASE_PARAM(update_errno, test_update_gen_params),
	KUNIT_CASE(delete_errno),
	KUNIT_CASE(lookup_errno),
	KUNIT_CASE(every_key_in_order),
	{}
};

static struct kunit_suite reuseport_array_suite = {
	.name = "reuseport_array",
	.test_cases = reuseport_array_cases,
};

kunit_test_suite(reuseport_array_suite);
