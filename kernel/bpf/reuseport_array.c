// SPDX-License-Identifier: GPL-2.0
/* BPF_MAP_TYPE_REUSEPORT_SOCKARRAY: an array whose slots hold sockets of SO_REUSEPORT groups. User
 * space fills it. A program of type BPF_PROG_TYPE_SK_REUSEPORT selects one of the sockets for a
 * packet; programs that assign sockets to packets can look them up.
 *
 * The entry points, and what protects each:
 *
 *   update, delete	syscall, one slot or a batch; reuseport_lock
 *   lookup		syscall, one slot or a batch; or a program, by bpf_map_lookup_elem() or
 *			bpf_sk_select_reuseport(); RCU
 *   detach		a socket leaves its group; net/core/sock_reuseport.c holds reuseport_lock
 *   free		the last reference to the map is gone; RCU
 *
 * A socket sits in at most one slot of all maps. The slot points to the socket, the socket's
 * reuseport_array and reuseport_index back to the slot. reuseport_lock also guards the groups and
 * so keeps slot, socket and group consistent: a socket in a slot is a live member of its group. The
 * lock is held for one element, or for one chunk of a batch, and what is done then depends neither
 * on the size of the map nor on that of the group.
 *
 * What keeps a socket alive: the map holds no reference. A socket in a slot is SOCK_RCU_FREE, and
 * it leaves its group, hence its slot, before its grace period starts. A socket that was read from
 * a slot under RCU is therefore valid memory until the RCU read-side section ends. It may have left
 * the slot and its group by then, which the reader sees in sk_reuseport_cb. A listener that stays
 * in the closed section of its group can still be selected by such a reader; the packet then finds
 * it closed.
 *
 * What keeps the array alive: a file or a program; for a program that found it in an outer map, the
 * grace period before free. Neither covers detach, which starts from the socket. Free can thus run
 * at the same time as detach, and it does not take reuseport_lock, so that freeing a large map
 * does not delay others. No update runs during free, which leaves these cases:
 *
 *   - Both reach the same socket. Detach takes the array out of the socket by xchg(), free by
 *     cmpxchg(), so one of them gets it. If free does, detach finds NULL and does not touch the
 *     array. If detach does, it still has to clear the slot, and free waits for a grace period
 *     before it releases the memory. That grace period waits for detach:
 *     spin_lock_bh(&reuseport_lock), taken before the xchg(), is an RCU read-side section as well,
 *     because of the disabled bottom halves or, on PREEMPT_RT, of the lock.
 *
 *   - Free has read a socket from a slot, then the socket leaves its group, joins one again and is
 *     added to another map. It now points to that array. This is why free compares: it may only
 *     clear a pointer to the array that it frees. The array alone identifies the slot: with no
 *     update running, a socket cannot move to another slot of this array.
 *
 *   - Free has read a socket from a slot, then the socket is closed. RCU keeps its memory until
 *     free is done with it.
 *
 * Update reads a back pointer that free may be clearing. It finds the socket busy, or no longer
 * busy, and both were true a moment ago. Free only ever writes to a socket that points to its
 * array, so an update that found NULL under reuseport_lock is the only writer.
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

/* Slots that free, or a lookup that finds them empty, passes before others may run. */
#define REUSEPORT_ARRAY_RESCHED_BATCH	4096
/* Elements of a batch that are copied at once and done in one hold of reuseport_lock. */
#define REUSEPORT_ARRAY_BATCH_CHUNK	32

static struct reuseport_array *to_reuseport_array(const struct bpf_map *map)
{
	return container_of(map, struct reuseport_array, map);
}

static int reuseport_array_alloc_check(union bpf_attr *attr)
{
	/* Values are fds in; cookies out, if a cookie fits. */
	if (attr->value_size != sizeof(u32) && attr->value_size != sizeof(u64))
		return -EINVAL;

	return array_map_alloc_check(attr);
}

static struct bpf_map *reuseport_array_alloc(union bpf_attr *attr)
{
	struct reuseport_array *array;

	array = bpf_map_area_alloc(struct_size(array, ptrs, attr->max_entries),
				   bpf_map_attr_numa_node(attr));
	if (!array)
		return ERR_PTR(-ENOMEM);

	bpf_map_init_from_attr(&array->map, attr);
	if (bpf_map_init_elem_count(&array->map)) {
		bpf_map_area_free(array);
		return ERR_PTR(-ENOMEM);
	}

	return &array->map;
}

static u64 reuseport_array_mem_usage(const struct bpf_map *map)
{
	return struct_size_t(struct reuseport_array, ptrs, map->max_entries) +
	       sizeof(*map->elem_count) * num_possible_cpus();
}

/* See the second and third case at the top of this file. */
static void reuseport_array_clear_backref(struct sock *sk, struct reuseport_array *array)
{
	KUNIT_STATIC_STUB_REDIRECT(reuseport_array_clear_backref, sk, array);
	cmpxchg(reuseport_backref(sk), array, NULL);
}

static void reuseport_array_free(struct bpf_map *map)
{
	struct reuseport_array *array = to_reuseport_array(map);
	u32 i = 0, end = 0;
	struct sock *sk;

	/* The sum of the per-CPU counters is exact enough: now only detach changes them, and
	 * it counts down after its xchg(). If the sum is zero, no socket points here.
	 */
	while (i < map->max_entries && bpf_map_sum_elem_count(map)) {
		end += min(map->max_entries - i, REUSEPORT_ARRAY_RESCHED_BATCH);

		rcu_read_lock();
		for (; i < end; i++) {
			sk = rcu_dereference(array->ptrs[i]);
			if (sk)
				reuseport_array_clear_backref(sk, array);
		}
		rcu_read_unlock();
		cond_resched();
	}

	/* A detach that was faster may still be clearing its slot. */
	synchronize_rcu();

	bpf_map_free_elem_count(map);
	bpf_map_area_free(array);
}

static int reuseport_array_get_next_key(struct bpf_map *map, void *key, void *next_key)
{
	u32 index = key ? *(u32 *)key : U32_MAX;

	if (index == map->max_entries - 1)
		return -ENOENT;

	*(u32 *)next_key = index < map->max_entries ? index + 1 : 0;
	return 0;
}

/* For programs that do not sleep: the RCU read-side section that they run in is what keeps the
 * socket. They own a reference as far as the verifier knows, but bpf_sk_release() counts none
 * for a socket that is SOCK_RCU_FREE, so neither does this.
 */
static void *reuseport_array_lookup_elem(struct bpf_map *map, void *key)
{
	return reuseport_array_lookup(map, *(u32 *)key);
}

int bpf_fd_reuseport_array_lookup_elem(struct bpf_map *map, void *key, void *value)
{
	struct sock *sk;

	if (map->value_size != sizeof(u64))
		return -ENOSPC;

	/* An RCU read-side section, and what a new cookie needs. */
	guard(preempt)();
	sk = reuseport_array_lookup(map, *(u32 *)key);
	if (!sk)
		return -ENOENT;

	*(u64 *)value = __sock_gen_cookie(bpf_mptcp_owner(sk));
	return 0;
}

/* A slot to be filled with a socket, or to be emptied: then only @index is set. */
struct reuseport_array_elem {
	struct sock *sk;
	struct fd fd;		/* keeps @sk */
	u32 index;
};

/* What can be wrong with an update or a deletion that names a slot and, for an update, a socket.
 * Called twice: without reuseport_lock, as an early reject whose answer may be stale, so that bad
 * calls do not take the lock; then under it.
 */
static __always_inline int
reuseport_array_check(struct bpf_map *map, struct reuseport_array_elem *elem, u64 flags,
		      bool update)
{
	bool filled = rcu_access_pointer(to_reuseport_array(map)->ptrs[elem->index]);
	struct sock *sk = update ? elem->sk : NULL;

	if (filled && flags == BPF_NOEXIST)
		return -EEXIST;
	if (!filled && flags == BPF_EXIST)
		return -ENOENT;
	if (!update)
		return 0;
	if (!sk) /* an MPTCP socket that has no subflow yet */
		return -EINVAL;
	/* First, for no others have a back pointer. */
	if (!sk_is_tcp(sk) && !sk_is_udp(sk))
		return -ENOTSUPP;
	/* Packets find a socket while it is hashed, which another lock guards. A TCP socket is
	 * hashed while it is connected, too, perhaps still in the group of an earlier listen(),
	 * and a listener for a moment after it has moved to the closed section.
	 */
	if (!rcu_access_pointer(sk->sk_reuseport_cb) || READ_ONCE(inet_sk(sk)->reuseport_closed) ||
	    hlist_unhashed_lockless(&sk->sk_node) || !sock_flag(sk, SOCK_RCU_FREE))
		return -EINVAL;
	if (sk->sk_protocol == IPPROTO_TCP && READ_ONCE(sk->sk_state) != TCP_LISTEN)
		return -EINVAL;

	return READ_ONCE(*reuseport_backref(sk)) ? -EBUSY : 0;
}

/* The part of an update, or without @value of a deletion, that needs no lock. On success
 * elem->fd keeps the socket until fdput().
 */
static __always_inline int
reuseport_array_prepare(struct bpf_map *map, u32 index, const void *value, u64 flags,
			struct reuseport_array_elem *elem)
{
	struct socket *sock;
	u64 nr;
	int err;

	if (index >= map->max_entries)
		return -E2BIG;
	elem->index = array_index_nospec(index, map->max_entries);
	if (!value)
		return reuseport_array_check(map, elem, flags, false);

	nr = map->value_size == sizeof(u64) ? *(const u64 *)value : *(const u32 *)value;
	if (nr > S32_MAX)
		return map->value_size == sizeof(u64) ? -EINVAL : -EBADF;
	elem->fd = fdget(nr);
	if (fd_empty(elem->fd))
		return -EBADF;
	err = -ENOTSOCK;
	sock = sock_from_file(fd_file(elem->fd));
	if (sock) {
		elem->sk = sock->sk;
		if (elem->sk && elem->sk->sk_protocol == IPPROTO_MPTCP)
			elem->sk = bpf_mptcp_first_subflow(elem->sk);
		err = reuseport_array_check(map, elem, flags, true);
	}
	if (err)
		fdput(elem->fd);
	return err;
}

/* The part that needs the lock. */
static __always_inline int
reuseport_array_commit(struct bpf_map *map, struct reuseport_array_elem *elem, u64 flags,
		       bool update)
{
	struct reuseport_array *array = to_reuseport_array(map);
	struct sock *old, *sk = update ? elem->sk : NULL;
	int err;

	err = reuseport_array_check(map, elem, flags, update);
	if (err)
		return err;
	old = rcu_dereference_protected(array->ptrs[elem->index],
					lockdep_is_held(&reuseport_lock));
	if (!update) {
		__bpf_sk_reuseport_detach(old);
		return 0;
	}

	inet_sk(sk)->reuseport_index = elem->index;
	WRITE_ONCE(*reuseport_backref(sk), array);
	/* Replaced in one step: no packet finds the slot empty. */
	rcu_assign_pointer(array->ptrs[elem->index], sk);

	if (old)
		WRITE_ONCE(*reuseport_backref(old), NULL);
	else
		bpf_map_inc_elem_count(map);
	return 0;
}

/* Update, or without @values delete, up to *@count elements, and count those done in *@count:
 * the ones before an error. The rest is unchanged. Inlined with its parts into each caller: calls
 * with return thunks, and what a deletion has no use for, are 50 to 80 instructions a slot.
 */
static __always_inline int
reuseport_array_modify(struct bpf_map *map, const u32 *keys, const void *values, u64 flags,
		       struct reuseport_array_elem *elems, u32 *count)
{
	u32 i, nr_valid = 0, nr_done = 0;
	int err = 0;

	for (; nr_valid < *count && !err; nr_valid += !err) {
		err = reuseport_array_prepare(map, keys[nr_valid], values, flags, &elems[nr_valid]);
		if (values)
			values += map->value_size;
	}

	/* An element that is wrong now may be right once those before it are done, which free
	 * the sockets that they replace. It is the first of the next chunk.
	 */
	if (nr_valid) {
		spin_lock_bh(&reuseport_lock);
		do {
			err = reuseport_array_commit(map, &elems[nr_done], flags, values);
		} while (!err && ++nr_done < nr_valid);
		spin_unlock_bh(&reuseport_lock);
	}

	for (i = 0; values && i < nr_valid; i++)
		fdput(elems[i].fd);
	*count = nr_done;
	return err;
}

int bpf_fd_reuseport_array_update_elem(struct bpf_map *map, void *key, const void *value, u64 flags)
{
	struct reuseport_array_elem elem;
	u32 count = 1;

	if (flags > BPF_EXIST)
		return -EINVAL;
	return reuseport_array_modify(map, key, value, flags, &elem, &count);
}

static long reuseport_array_delete_elem(struct bpf_map *map, void *key)
{
	struct reuseport_array_elem elem;
	u32 count = 1;

	return reuseport_array_modify(map, key, NULL, BPF_EXIST, &elem, &count);
}

/* A batch is done in chunks. Memory that cannot be read fails the whole chunk that it is in. */
static __always_inline int
reuseport_array_modify_batch(struct bpf_map *map, const union bpf_attr *attr,
			     union bpf_attr __user *uattr, bool update)
{
	void __user *uvalues = u64_to_user_ptr(attr->batch.values);
	u32 __user *ukeys = u64_to_user_ptr(attr->batch.keys);
	struct reuseport_array_elem elems[REUSEPORT_ARRAY_BATCH_CHUNK];
	u64 values[REUSEPORT_ARRAY_BATCH_CHUNK];
	u32 keys[REUSEPORT_ARRAY_BATCH_CHUNK];
	u64 flags = attr->batch.elem_flags;
	u32 size = map->value_size, done, count;
	int err = 0;

	if (attr->batch.flags || flags > (update ? BPF_EXIST : 0))
		return -EINVAL;
	if (put_user(0, &uattr->batch.count))
		return -EFAULT;

	for (done = 0; done < attr->batch.count && !err; done += count) {
		count = min(attr->batch.count - done, REUSEPORT_ARRAY_BATCH_CHUNK);
		if (copy_from_user(keys, ukeys + done, count * sizeof(*keys)) ||
		    (update && copy_from_user(values, uvalues + (u64)done * size, count * size))) {
			err = -EFAULT;
			break;
		}
		err = reuseport_array_modify(map, keys, update ? values : NULL,
					     update ? flags : BPF_EXIST, elems, &count);
		cond_resched();
	}

	return put_user(done, &uattr->batch.count) ? -EFAULT : err;
}

static int reuseport_array_update_batch(struct bpf_map *map, struct file *map_file,
					const union bpf_attr *attr, union bpf_attr __user *uattr)
{
	return reuseport_array_modify_batch(map, attr, uattr, true);
}

static int reuseport_array_delete_batch(struct bpf_map *map, const union bpf_attr *attr,
					union bpf_attr __user *uattr)
{
	return reuseport_array_modify_batch(map, attr, uattr, false);
}

/* Read the filled slots from *@in_batch on. The next batch starts at *@out_batch, the first index
 * that this one has not reported.
 */
static int reuseport_array_lookup_batch(struct bpf_map *map, const union bpf_attr *attr,
					union bpf_attr __user *uattr)
{
	u32 __user *ufrom = u64_to_user_ptr(attr->batch.in_batch);
	u32 __user *uto = u64_to_user_ptr(attr->batch.out_batch);
	u64 __user *uvalues = u64_to_user_ptr(attr->batch.values);
	u32 __user *ukeys = u64_to_user_ptr(attr->batch.keys);
	u64 cookies[REUSEPORT_ARRAY_BATCH_CHUNK];
	u32 keys[REUSEPORT_ARRAY_BATCH_CHUNK];
	u32 from = 0, to, end, room, count, done;
	struct sock *sk;
	int err = 0;

	if (attr->batch.flags || attr->batch.elem_flags)
		return -EINVAL;
	if (put_user(0, &uattr->batch.count))
		return -EFAULT;
	/* As if there were no such operation, which callers have to handle anyway. ENOSPC, as for
	 * one slot, would tell the caller of a batch that its buffer is too small.
	 */
	if (map->value_size != sizeof(*cookies))
		return -ENOTSUPP;
	if (ufrom && get_user(from, ufrom))
		return -EFAULT;

	for (done = 0; done < attr->batch.count; done += count) {
		if (from >= map->max_entries) {
			err = -ENOENT;
			break;
		}
		to = array_index_nospec(from, map->max_entries);
		end = to + min(map->max_entries - to, REUSEPORT_ARRAY_RESCHED_BATCH);
		room = min(attr->batch.count - done, REUSEPORT_ARRAY_BATCH_CHUNK);
		rcu_read_lock();
		for (count = 0; to < end && count < room; to++) {
			sk = rcu_dereference(to_reuseport_array(map)->ptrs[to]);
			if (!sk)
				continue;
			keys[count] = to;
			cookies[count++] = sock_gen_cookie(bpf_mptcp_owner(sk));
		}
		rcu_read_unlock();
		if (copy_to_user(ukeys + done, keys, count * sizeof(*keys)) ||
		    copy_to_user(uvalues + done, cookies, count * sizeof(*cookies))) {
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
 * @sk: A TCP or UDP socket. A map that is being freed may clear its back pointer at any moment.
 *
 * Context: reuseport_lock is held.
 */
void __bpf_sk_reuseport_detach(struct sock *sk)
{
	struct reuseport_array *array;

	/* This also keeps the array, see the top of this file. */
	lockdep_assert_held(&reuseport_lock);

	array = xchg(reuseport_backref(sk), NULL);
	if (!array)
		return;
	RCU_INIT_POINTER(array->ptrs[inet_sk(sk)->reuseport_index], NULL);
	bpf_map_dec_elem_count(&array->map);
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
