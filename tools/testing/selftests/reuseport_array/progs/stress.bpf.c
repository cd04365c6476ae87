// SPDX-License-Identifier: GPL-2.0
/* Any map, and its slots for sockets of this flavour, until one is of the packet's group. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "../stress.h"

struct stress_map {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64));
	__uint(max_entries, ENTRIES);
};

struct stress_map stress_direct SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(key_size, sizeof(__u32));
	__uint(max_entries, PLACES);
	__array(values, struct stress_map);
} stress_outer SEC(".maps");

__u64 selected;
__u64 assigned;
__u64 migrated;
__u64 refused;

static __always_inline long select(struct sk_reuseport_md *md, void *map, __u32 slot)
{
	__u32 index = slot * STRIDE;

	return bpf_sk_select_reuseport(md, map, &index, 0);
}

SEC("sk_reuseport/migrate")
int steer(struct sk_reuseport_md *md)
{
	__u32 flavour = (md->ip_protocol == IPPROTO_TCP) +
			2 * (md->eth_protocol == bpf_htons(ETH_P_IPV6));
	__u32 place = md->hash % (PLACES + 1), i, slot;
	void *map = NULL;
	long err = 0;

	if (place < PLACES) {
		map = bpf_map_lookup_elem(&stress_outer, &place);
		if (!map)
			return SK_PASS;
	}

	for (i = 0; i < SLOTS / FLAVOURS; i++) {
		slot = (md->hash / SLOTS + i) % (SLOTS / FLAVOURS) * FLAVOURS + flavour;
		err = map ? select(md, map, slot) : select(md, &stress_direct, slot);
		if (!err) {
			__sync_fetch_and_add(md->migrating_sk ? &migrated : &selected, 1);
			return SK_PASS;
		}
	}

	__sync_fetch_and_add(&refused, 1);
	/* drop a few; others are distributed by hash */
	return md->hash >> 30 ? SK_PASS : SK_DROP;
}

/* A packet to FRONT plus the number of a group: any socket of the group that is in the map. The
 * socket may be closed, or leave, while the program has it.
 */
SEC("sk_lookup")
int assign(struct bpf_sk_lookup *ctx)
{
	__u32 group = ctx->local_port - FRONT, i, index;
	__u32 place = bpf_get_prandom_u32() % (PLACES + 1);
	struct bpf_sock *sk;
	void *map = NULL;
	long err;

	if (group >= GROUPS)
		return SK_PASS;
	if (place < PLACES) {
		map = bpf_map_lookup_elem(&stress_outer, &place);
		if (!map)
			return SK_PASS;
	}

	for (i = 0; i < SLOTS / FLAVOURS; i++) {
		index = (i * FLAVOURS + group % FLAVOURS) * STRIDE;
		sk = map ? bpf_map_lookup_elem(map, &index) :
			   bpf_map_lookup_elem(&stress_direct, &index);
		if (!sk)
			continue;
		err = sk->src_port == PORT + group ? bpf_sk_assign(ctx, sk, 0) : -1;
		bpf_sk_release(sk);
		if (!err) {
			__sync_fetch_and_add(&assigned, 1);
			return SK_PASS;
		}
	}

	return SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
