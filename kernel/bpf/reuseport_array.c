// SPDX-License-Identifier: GPL-2.0
/* BPF_MAP_TYPE_REUSEPORT_SOCKARRAY: an array whose slots hold sockets of
 * SO_REUSEPORT groups. User space puts them there, a program of type
 * BPF_PROG_TYPE_SK_REUSEPORT picks one per packet.
 *
 * The ways in, and what each holds:
 *
 *   update, delete	syscall; reuseport_lock
 *   lookup		syscall, or a program by way of bpf_sk_select_reuseport();
 *			RCU
 *   detach		a socket leaves its group; its caller, in
 *			net/core/sock_reuseport.c, holds reuseport_lock
 *   free		the last reference to the map is gone; RCU
 *
 * A socket sits in at most one slot of all maps. The slot points to the socket,
 * the socket's sk_reuseport_slot back to the slot. reuseport_lock also guards
 * the groups, so whoever holds it sees slot, socket and group agree: a socket
 * in a slot is a live member of its group.
 *
 * What keeps a socket alive: nothing here holds a reference. A socket that can
 * be in a slot is SOCK_RCU_FREE, and it leaves its group, hence its slot, before
 * its grace period begins. Read from a slot under RCU, it is still a socket; it
 * may by then have left its group, which the reader sees in sk_reuseport_cb.
 *
 * What keeps the array alive: a file or a program for everyone but detach, which
 * comes from the socket. Free may thus run at the same time as detach, and it
 * does without reuseport_lock, so that freeing one large map holds up nobody.
 * No update can run any more then, which leaves these cases:
 *
 *  - Both go for the same socket. Detach takes the pointer out of the socket by
 *    xchg(), free by cmpxchg(): one of them gets it. If free does, detach finds
 *    no slot and never touches the array. If detach does, it still has the slot
 *    to clear; it is inside an RCU read-side section since before it took the
 *    pointer, and free waits for a grace period before the memory goes.
 *
 *  - Free has read a socket from a slot, then the socket leaves its group, joins
 *    one again and is put into another map. Its pointer names that map's slot
 *    now. That is why free compares: only the address of the very slot it looks
 *    at may be wiped.
 *
 *  - Free has read a socket from a slot, then the socket is closed. RCU keeps
 *    its memory until free has looked.
 *
 * Update reads a pointer that free may be wiping at that moment. It then finds
 * the socket busy, or no longer busy; both were true a moment ago. Free never
 * writes the pointer of a socket that says anything but "this array", so an
 * update that found NULL has the pointer to itself under reuseport_lock.
 */
#include <linux/bpf.h>
#include <linux/btf_ids.h>
#include <linux/net.h>
#include <linux/sched.h>
#include <linux/sock_diag.h>
#include <net/sock_reuseport.h>
#include <net/tcp_states.h>

/* Slots that free looks at before it lets others run. */
#define REUSEPORT_ARRAY_STRETCH	4096

static struct reuseport_array *to_reuseport_array(const struct bpf_map *map)
{
	return container_of(map, struct reuseport_array, map);
}

static int reuseport_array_alloc_check(union bpf_attr *attr)
{
	/* A socket's fd goes in. Its cookie comes out, where that fits. */
	if (attr->value_size != sizeof(u32) && attr->value_size != sizeof(u64))
		return -EINVAL;

	return array_map_alloc_check(attr);
}

static struct bpf_map *reuseport_array_alloc(union bpf_attr *attr)
{
	struct reuseport_array *array;
	int err;

	array = bpf_map_area_alloc(struct_size(array, slots, attr->max_entries),
				   bpf_map_attr_numa_node(attr));
	if (!array)
		return ERR_PTR(-ENOMEM);

	bpf_map_init_from_attr(&array->map, attr);

	err = bpf_map_init_elem_count(&array->map);
	if (err) {
		bpf_map_area_free(array);
		return ERR_PTR(err);
	}

	return &array->map;
}

static u64 reuseport_array_mem_usage(const struct bpf_map *map)
{
	struct reuseport_array *array = to_reuseport_array(map);

	return struct_size(array, slots, map->max_entries) +
	       sizeof(*map->elem_count) * num_possible_cpus();
}

/* See the second and third case at the top of this file. */
static void reuseport_array_release(struct sock __rcu **slot)
{
	struct sock *sk = rcu_dereference(*slot);

	if (sk)
		cmpxchg(&sk->sk_reuseport_slot, slot, NULL);
}

static void reuseport_array_free(struct bpf_map *map)
{
	struct reuseport_array *array = to_reuseport_array(map);
	u32 i = 0, stretch;

	/* Only detach still changes the count, and it counts down last: zero
	 * means that no socket's pointer names a slot of this array.
	 */
	if (bpf_map_sum_elem_count(map)) {
		while (i < map->max_entries) {
			stretch = min(map->max_entries - i, REUSEPORT_ARRAY_STRETCH);

			rcu_read_lock();
			while (stretch--)
				reuseport_array_release(&array->slots[i++]);
			rcu_read_unlock();
			cond_resched();
		}
	}

	/* A detach that was quicker may still be clearing its slot. */
	synchronize_rcu();

	bpf_map_free_elem_count(map);
	bpf_map_area_free(array);
}

static int reuseport_array_get_next_key(struct bpf_map *map, void *key, void *next_key)
{
	u32 index = key ? *(u32 *)key : U32_MAX;
	u32 last = map->max_entries - 1;

	if (index == last)
		return -ENOENT;

	*(u32 *)next_key = index < last ? index + 1 : 0;
	return 0;
}

static void *reuseport_array_lookup_elem(struct bpf_map *map, void *key)
{
	return reuseport_array_lookup(map, *(u32 *)key);
}

int bpf_fd_reuseport_array_lookup_elem(struct bpf_map *map, void *key, void *value)
{
	struct sock *sk;

	if (map->value_size != sizeof(u64))
		return -ENOSPC;

	guard(rcu)();
	sk = reuseport_array_lookup(map, *(u32 *)key);
	if (!sk)
		return -ENOENT;

	*(u64 *)value = sock_gen_cookie(sk);
	return 0;
}

/* Which file descriptor does user space mean? */
static int reuseport_array_value_fd(const struct bpf_map *map, const void *value, int *fd)
{
	if (map->value_size == sizeof(u64)) {
		u64 wide = *(const u64 *)value;

		if (wide > S32_MAX)
			return -EINVAL;
		*fd = wide;
	} else {
		*fd = *(const int *)value;
	}

	return 0;
}

/* All that can be wrong with an update. Without reuseport_lock @old and @reuse
 * are there to be compared with NULL only, and the answer may be stale: good
 * enough to turn a bad call away, so that it never takes the lock.
 */
static int reuseport_array_update_check(const struct sock *sk, const struct sock *old,
					const struct sock_reuseport *reuse, u64 flags)
{
	if (old && flags == BPF_NOEXIST)
		return -EEXIST;
	if (!old && flags == BPF_EXIST)
		return -ENOENT;

	if (!sk_is_tcp(sk) && !sk_is_udp(sk))
		return -ENOTSUPP;

	/* Packets find a socket that is hashed. A TCP socket is hashed while it
	 * is connected as well, and may be in a group from an earlier listen().
	 */
	if (!reuse || !sk_hashed(sk) || !sock_flag(sk, SOCK_RCU_FREE))
		return -EINVAL;
	if (sk_is_tcp(sk) && READ_ONCE(sk->sk_state) != TCP_LISTEN)
		return -EINVAL;

	if (READ_ONCE(sk->sk_reuseport_slot))
		return -EBUSY;

	return 0;
}

static int reuseport_array_set_slot(struct bpf_map *map, struct sock __rcu **slot,
				    struct sock *sk, u64 flags)
{
	struct sock_reuseport *reuse;
	struct sock *old;
	int err;

	lockdep_assert_held(&reuseport_lock);

	old = rcu_dereference_protected(*slot, lockdep_is_held(&reuseport_lock));
	reuse = rcu_dereference_protected(sk->sk_reuseport_cb,
					  lockdep_is_held(&reuseport_lock));
	err = reuseport_array_update_check(sk, old, reuse, flags);
	if (err)
		return err;

	/* A listener that is being shut down with migration stays in the group's
	 * closed section, and is still hashed for a moment.
	 */
	if (reuseport_sock_index(sk, reuse, true) >= 0)
		return -EINVAL;

	sk->sk_reuseport_map = map;
	WRITE_ONCE(sk->sk_reuseport_slot, slot);
	/* Replaced in one step: no packet finds the slot empty. */
	rcu_assign_pointer(*slot, sk);

	if (old)
		WRITE_ONCE(old->sk_reuseport_slot, NULL);
	else
		bpf_map_inc_elem_count(map);

	return 0;
}

int bpf_fd_reuseport_array_update_elem(struct bpf_map *map, void *key,
				       const void *value, u64 flags)
{
	struct reuseport_array *array = to_reuseport_array(map);
	u32 index = *(u32 *)key;
	struct sock __rcu **slot;
	struct socket *sock;
	struct sock *sk;
	int err, fd;

	if (flags > BPF_EXIST)
		return -EINVAL;
	if (index >= map->max_entries)
		return -E2BIG;

	err = reuseport_array_value_fd(map, value, &fd);
	if (err)
		return err;

	/* The file keeps the socket for as long as this call takes. */
	sock = sockfd_lookup(fd, &err);
	if (!sock)
		return err;

	sk = sock->sk;
	slot = &array->slots[index];
	err = sk ? reuseport_array_update_check(sk, rcu_access_pointer(*slot),
						rcu_access_pointer(sk->sk_reuseport_cb),
						flags) : -EINVAL;
	if (!err) {
		spin_lock_bh(&reuseport_lock);
		err = reuseport_array_set_slot(map, slot, sk, flags);
		spin_unlock_bh(&reuseport_lock);
	}

	sockfd_put(sock);
	return err;
}

static long reuseport_array_delete_elem(struct bpf_map *map, void *key)
{
	struct reuseport_array *array = to_reuseport_array(map);
	u32 index = *(u32 *)key;
	struct sock __rcu **slot;
	struct sock *sk;

	if (index >= map->max_entries)
		return -E2BIG;

	slot = &array->slots[index];
	if (!rcu_access_pointer(*slot))
		return -ENOENT;

	spin_lock_bh(&reuseport_lock);
	sk = rcu_dereference_protected(*slot, lockdep_is_held(&reuseport_lock));
	if (sk)
		__bpf_sk_reuseport_detach(sk);
	spin_unlock_bh(&reuseport_lock);

	return sk ? 0 : -ENOENT;
}

/**
 * __bpf_sk_reuseport_detach - Empty the slot that holds a socket.
 * @sk: The socket. A map that is being freed may let go of it at any moment.
 *
 * Context: reuseport_lock is held.
 */
void __bpf_sk_reuseport_detach(struct sock *sk)
{
	struct sock __rcu **slot;

	lockdep_assert_held(&reuseport_lock);

	/* From before the pointer is taken until the map was last touched. */
	guard(rcu)();
	slot = xchg(&sk->sk_reuseport_slot, NULL);
	if (!slot)
		return;

	RCU_INIT_POINTER(*slot, NULL);
	bpf_map_dec_elem_count(sk->sk_reuseport_map);
}

BTF_ID_LIST_SINGLE(reuseport_array_btf_ids, struct, reuseport_array)
const struct bpf_map_ops reuseport_array_ops = {
	.map_meta_equal = bpf_map_meta_equal,
	.map_alloc_check = reuseport_array_alloc_check,
	.map_alloc = reuseport_array_alloc,
	.map_free = reuseport_array_free,
	.map_get_next_key = reuseport_array_get_next_key,
	.map_lookup_elem = reuseport_array_lookup_elem,
	.map_delete_elem = reuseport_array_delete_elem,
	.map_mem_usage = reuseport_array_mem_usage,
	.map_btf_id = &reuseport_array_btf_ids[0],
};
