// SPDX-License-Identifier: GPL-2.0
/* BPF_MAP_TYPE_REUSEPORT_SOCKARRAY: an array whose slots hold sockets of
 * SO_REUSEPORT groups. User space puts them there, a program of type
 * BPF_PROG_TYPE_SK_REUSEPORT picks one per packet.
 *
 * The ways in, and what each holds:
 *
 *   update, delete	syscall, one slot or a batch; reuseport_lock
 *   lookup		syscall, one slot or a batch; or a program, by way of
 *			bpf_sk_select_reuseport(); RCU
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
 * its grace period begins. Read from a slot under RCU, it is still a socket. It
 * may by then have left the slot, and its group, which the reader sees in
 * sk_reuseport_cb; one that stays in the group's closed section can still be
 * selected, and packets find it closed.
 *
 * What keeps the array alive: a file or a program; for a program that found it in
 * an outer map, the grace period before free. Not so for detach, which comes from
 * the socket. Free may thus run at the same time as detach, and it does without
 * reuseport_lock, so that freeing one large map holds up nobody.
 * No update can run any more then, which leaves these cases:
 *
 *  - Both go for the same socket. Detach takes the pointer out of the socket by
 *    xchg(), free by cmpxchg(): one of them gets it. If free does, detach finds
 *    no slot and never touches the array. If detach does, it still has the slot
 *    to clear, and free waits for a grace period before the memory goes. The
 *    grace period waits for detach: spin_lock_bh(&reuseport_lock), taken before
 *    the pointer was, is an RCU read-side section too, by way of the disabled
 *    bottom halves or, on PREEMPT_RT, of the lock.
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
#include <kunit/static_stub.h>
#include <linux/bpf.h>
#include <linux/btf_ids.h>
#include <linux/file.h>
#include <linux/net.h>
#include <linux/sched.h>
#include <linux/sock_diag.h>
#include <linux/uaccess.h>
#include <net/inet_sock.h>
#include <net/mptcp.h>
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
static void reuseport_array_forget(struct sock *sk, struct sock __rcu **slot)
{
	KUNIT_STATIC_STUB_REDIRECT(reuseport_array_forget, sk, slot);
	cmpxchg(&sk->sk_reuseport_slot, slot, NULL);
}

static void reuseport_array_release(struct sock __rcu **slot)
{
	struct sock *sk = rcu_dereference(*slot);

	if (sk)
		reuseport_array_forget(sk, slot);
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
	struct reuseport_array *array = to_reuseport_array(map);
	u32 index = *(u32 *)key;
	struct sock __rcu **slot;
	struct sock *sk;

	if (map->value_size != sizeof(u64))
		return -ENOSPC;
	if (index >= map->max_entries)
		return -ENOENT;

	slot = &array->slots[array_index_nospec(index, map->max_entries)];

	/* An RCU read-side section, and what a new cookie needs. */
	guard(preempt)();
	sk = rcu_dereference_sched(*slot);
	if (!sk)
		return -ENOENT;

	*(u64 *)value = __sock_gen_cookie(bpf_mptcp_owner(sk));
	return 0;
}

/* What can be wrong with an update: the flags do not suit the slot, the socket is of
 * another kind, is in no group that packets find, or sits in a slot already. It is
 * asked twice, first without reuseport_lock: then @old and @reuse are there to be
 * compared with NULL only, and the answer may be stale, but good enough to turn a bad
 * call away, so that it does not take the lock.
 */
static int reuseport_array_flags_check(const struct sock *old, u64 flags)
{
	if (old && flags == BPF_NOEXIST)
		return -EEXIST;
	if (!old && flags == BPF_EXIST)
		return -ENOENT;

	return 0;
}

static int reuseport_array_socket_check(const struct sock *sk, const struct sock_reuseport *reuse)
{
	/* Packets find a socket that is hashed, which another lock guards than
	 * reuseport_lock. A TCP socket is hashed while it is connected as well,
	 * and may be in a group from an earlier listen().
	 */
	if (!reuse || hlist_unhashed_lockless(&sk->sk_node) || !sock_flag(sk, SOCK_RCU_FREE))
		return -EINVAL;
	if (sk->sk_protocol == IPPROTO_TCP && READ_ONCE(sk->sk_state) != TCP_LISTEN)
		return -EINVAL;

	if (READ_ONCE(sk->sk_reuseport_slot))
		return -EBUSY;

	return 0;
}

/* The part of an update that needs no lock: find the socket that @value names and
 * turn a bad call away. On success the file in @fd keeps the socket until fdput().
 */
static __always_inline int
reuseport_array_update_prepare(struct bpf_map *map, u32 index, const void *value, u64 flags,
			       struct fd *fd, struct sock **sk)
{
	struct reuseport_array *array = to_reuseport_array(map);
	struct socket *sock;
	u64 nr;
	int err;

	if (index >= map->max_entries)
		return -E2BIG;

	if (map->value_size == sizeof(u64)) {
		nr = *(const u64 *)value;
		if (nr > S32_MAX)
			return -EINVAL;
	} else {
		nr = *(const u32 *)value;
	}

	*fd = fdget(nr);
	if (fd_empty(*fd))
		return -EBADF;

	err = -ENOTSOCK;
	sock = sock_from_file(fd_file(*fd));
	if (!sock)
		goto put;

	*sk = bpf_mptcp_first_subflow(sock->sk);
	err = reuseport_array_flags_check(rcu_access_pointer(array->slots[index]), flags);
	if (err)
		goto put;

	/* Nothing changes this later, so the lock does not matter. */
	err = -EINVAL;
	if (!*sk)
		goto put;
	err = -ENOTSUPP;
	if (!sk_is_tcp(*sk) && !sk_is_udp(*sk))
		goto put;

	err = reuseport_array_socket_check(*sk, rcu_access_pointer((*sk)->sk_reuseport_cb));
	if (!err)
		return 0;
put:
	fdput(*fd);
	return err;
}

/* The part of an update that needs the lock: look again, then do it. */
static __always_inline int
reuseport_array_set_slot(struct bpf_map *map, u32 index, struct sock *sk, u64 flags)
{
	struct sock __rcu **slot = &to_reuseport_array(map)->slots[index];
	struct sock_reuseport *reuse;
	struct sock *old;
	int err;

	lockdep_assert_held(&reuseport_lock);

	old = rcu_dereference_protected(*slot, lockdep_is_held(&reuseport_lock));
	reuse = rcu_dereference_protected(sk->sk_reuseport_cb,
					  lockdep_is_held(&reuseport_lock));
	err = reuseport_array_flags_check(old, flags);
	if (!err)
		err = reuseport_array_socket_check(sk, reuse);
	if (err)
		return err;

	/* A listener that is being shut down with migration stays in the group's
	 * closed section, and is still hashed for a moment.
	 */
	if (reuse->num_closed_socks && reuseport_sock_index(sk, reuse, true) >= 0)
		return -EINVAL;

	inet_sk(sk)->reuseport_index = index;
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
	u32 index = *(u32 *)key;
	struct sock *sk;
	struct fd fd;
	int err;

	if (flags > BPF_EXIST)
		return -EINVAL;

	err = reuseport_array_update_prepare(map, index, value, flags, &fd, &sk);
	if (err)
		return err;

	spin_lock_bh(&reuseport_lock);
	err = reuseport_array_set_slot(map, index, sk, flags);
	spin_unlock_bh(&reuseport_lock);

	fdput(fd);
	return err;
}

/* The two parts of a deletion, likewise. */
static int reuseport_array_delete_check(const struct bpf_map *map, u32 index)
{
	if (index >= map->max_entries)
		return -E2BIG;

	return rcu_access_pointer(to_reuseport_array(map)->slots[index]) ? 0 : -ENOENT;
}

static int reuseport_array_clear_slot(struct bpf_map *map, u32 index)
{
	struct sock *sk;

	sk = rcu_dereference_protected(to_reuseport_array(map)->slots[index],
				       lockdep_is_held(&reuseport_lock));
	if (!sk)
		return -ENOENT;

	__bpf_sk_reuseport_detach(sk);
	return 0;
}

static long reuseport_array_delete_elem(struct bpf_map *map, void *key)
{
	u32 index = *(u32 *)key;
	int err;

	err = reuseport_array_delete_check(map, index);
	if (err)
		return err;

	spin_lock_bh(&reuseport_lock);
	err = reuseport_array_clear_slot(map, index);
	spin_unlock_bh(&reuseport_lock);

	return err;
}

/* Batches go through the map in bites: so much is copied from or to user space at
 * once, and so much is done at most while the lock is held. What precedes an error
 * is done and counted, what follows is untouched. Memory that cannot be read turns
 * away the bite that it is in.
 */
#define REUSEPORT_ARRAY_BITE	32

static int reuseport_array_update_bite(struct bpf_map *map, const u32 *keys,
				       const void *values, u32 *count, u64 flags,
				       struct fd *fds, struct sock **sks)
{
	u32 i, good = 0;
	int err = 0;

	for (; good < *count; good++) {
		err = reuseport_array_update_prepare(map, keys[good],
						     values + good * map->value_size,
						     flags, &fds[good], &sks[good]);
		if (err)
			break;
	}
	*count = 0;
	if (!good)
		return err;

	/* What is wrong now may be right once those before it are done: a socket
	 * that one of them replaces is free. The next bite begins there.
	 */
	err = 0;
	spin_lock_bh(&reuseport_lock);
	for (i = 0; i < good; i++) {
		err = reuseport_array_set_slot(map, keys[i], sks[i], flags);
		if (err)
			break;
	}
	spin_unlock_bh(&reuseport_lock);

	*count = i;
	for (i = 0; i < good; i++)
		fdput(fds[i]);

	return err;
}

static int reuseport_array_update_batch(struct bpf_map *map, struct file *map_file,
					const union bpf_attr *attr,
					union bpf_attr __user *uattr)
{
	void __user *uvalues = u64_to_user_ptr(attr->batch.values);
	u32 __user *ukeys = u64_to_user_ptr(attr->batch.keys);
	struct sock *sks[REUSEPORT_ARRAY_BITE];
	struct fd fds[REUSEPORT_ARRAY_BITE];
	u64 values[REUSEPORT_ARRAY_BITE];
	u32 keys[REUSEPORT_ARRAY_BITE];
	u32 size = map->value_size;
	u32 done, bite;
	int err = 0;

	if (attr->batch.flags || attr->batch.elem_flags > BPF_EXIST)
		return -EINVAL;
	if (put_user(0, &uattr->batch.count))
		return -EFAULT;

	for (done = 0; done < attr->batch.count && !err; done += bite) {
		bite = min(attr->batch.count - done, REUSEPORT_ARRAY_BITE);
		if (copy_from_user(keys, ukeys + done, bite * sizeof(*keys)) ||
		    copy_from_user(values, uvalues + (u64)done * size, bite * size)) {
			err = -EFAULT;
			break;
		}
		err = reuseport_array_update_bite(map, keys, values, &bite,
						  attr->batch.elem_flags, fds, sks);
		cond_resched();
	}

	return put_user(done, &uattr->batch.count) ? -EFAULT : err;
}

static int reuseport_array_delete_bite(struct bpf_map *map, const u32 *keys, u32 *count)
{
	u32 i, good = 0;
	int err = 0;

	for (; good < *count; good++) {
		err = reuseport_array_delete_check(map, keys[good]);
		if (err)
			break;
	}
	*count = 0;
	if (!good)
		return err;

	/* Here too the next bite asks again. */
	err = 0;
	spin_lock_bh(&reuseport_lock);
	for (i = 0; i < good; i++) {
		err = reuseport_array_clear_slot(map, keys[i]);
		if (err)
			break;
	}
	spin_unlock_bh(&reuseport_lock);

	*count = i;
	return err;
}

static int reuseport_array_delete_batch(struct bpf_map *map, const union bpf_attr *attr,
					union bpf_attr __user *uattr)
{
	u32 __user *ukeys = u64_to_user_ptr(attr->batch.keys);
	u32 keys[REUSEPORT_ARRAY_BITE];
	u32 done, bite;
	int err = 0;

	if (attr->batch.flags || attr->batch.elem_flags)
		return -EINVAL;
	if (put_user(0, &uattr->batch.count))
		return -EFAULT;

	for (done = 0; done < attr->batch.count && !err; done += bite) {
		bite = min(attr->batch.count - done, REUSEPORT_ARRAY_BITE);
		if (copy_from_user(keys, ukeys + done, bite * sizeof(*keys))) {
			err = -EFAULT;
			break;
		}
		err = reuseport_array_delete_bite(map, keys, &bite);
		cond_resched();
	}

	return put_user(done, &uattr->batch.count) ? -EFAULT : err;
}

/* Read filled slots from *@index on until there are @count of them, or so many slots
 * were empty that others should run. Return how many there are.
 */
static u32 reuseport_array_lookup_bite(struct bpf_map *map, u32 *index, u32 *keys,
				       u64 *cookies, u32 count)
{
	struct reuseport_array *array = to_reuseport_array(map);
	u32 end = *index + min(map->max_entries - *index, REUSEPORT_ARRAY_STRETCH);
	struct sock *sk;
	u32 found = 0;

	guard(rcu)();
	for (; *index < end && found < count; ++*index) {
		sk = rcu_dereference(array->slots[*index]);
		if (!sk)
			continue;
		keys[found] = *index;
		cookies[found++] = sock_gen_cookie(bpf_mptcp_owner(sk));
	}

	return found;
}

/* The place where the next batch goes on is the index of the first slot that this one
 * has not told of.
 */
static int reuseport_array_lookup_batch(struct bpf_map *map, const union bpf_attr *attr,
					union bpf_attr __user *uattr)
{
	u32 __user *ufrom = u64_to_user_ptr(attr->batch.in_batch);
	u32 __user *uto = u64_to_user_ptr(attr->batch.out_batch);
	u64 __user *uvalues = u64_to_user_ptr(attr->batch.values);
	u32 __user *ukeys = u64_to_user_ptr(attr->batch.keys);
	u64 cookies[REUSEPORT_ARRAY_BITE];
	u32 keys[REUSEPORT_ARRAY_BITE];
	u32 from = 0, to, bite, done;
	int err = 0;

	if (attr->batch.flags || attr->batch.elem_flags)
		return -EINVAL;
	if (put_user(0, &uattr->batch.count))
		return -EFAULT;
	if (map->value_size != sizeof(*cookies))
		return -ENOSPC;
	if (ufrom && get_user(from, ufrom))
		return -EFAULT;

	for (done = 0; done < attr->batch.count; done += bite) {
		if (from >= map->max_entries) {
			err = -ENOENT;
			break;
		}
		from = array_index_nospec(from, map->max_entries);
		to = from;
		bite = min(attr->batch.count - done, REUSEPORT_ARRAY_BITE);
		bite = reuseport_array_lookup_bite(map, &to, keys, cookies, bite);
		if (copy_to_user(ukeys + done, keys, bite * sizeof(*keys)) ||
		    copy_to_user(uvalues + done, cookies, bite * sizeof(*cookies))) {
			err = -EFAULT;
			break;
		}
		from = to;
		cond_resched();
	}

	if (put_user(done, &uattr->batch.count) || (done && put_user(from, uto)))
		err = -EFAULT;
	return err;
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

	/* Also what keeps the array from here on, see the top of this file. */
	lockdep_assert_held(&reuseport_lock);

	slot = xchg(&sk->sk_reuseport_slot, NULL);
	if (!slot)
		return;

	RCU_INIT_POINTER(*slot, NULL);
	slot -= inet_sk(sk)->reuseport_index;
	bpf_map_dec_elem_count(&container_of(slot, struct reuseport_array, slots[0])->map);
}

BTF_ID_LIST_SINGLE(reuseport_array_btf_ids, struct, reuseport_array)
const struct bpf_map_ops reuseport_array_ops = {
	.map_alloc_check = reuseport_array_alloc_check,
	.map_alloc = reuseport_array_alloc,
	.map_mem_usage = reuseport_array_mem_usage,
	.map_free = reuseport_array_free,
	.map_get_next_key = reuseport_array_get_next_key,
	.map_lookup_elem = reuseport_array_lookup_elem,
	.map_delete_elem = reuseport_array_delete_elem,
	.map_lookup_batch = reuseport_array_lookup_batch,
	.map_update_batch = reuseport_array_update_batch,
	.map_delete_batch = reuseport_array_delete_batch,
	.map_meta_equal = bpf_map_meta_equal,
	.map_btf_id = &reuseport_array_btf_ids[0],
};

#ifdef CONFIG_BPF_REUSEPORT_ARRAY_KUNIT_TEST
#include "tests/reuseport_array_test.c"
#endif
