// SPDX-License-Identifier: GPL-2.0
/* Any map, and one of the slots for sockets of this flavour. Theirs may be another group. */
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
__u64 migrated;
__u64 refused;

SEC("sk_reuseport/migrate")
int steer(struct sk_reuseport_md *md)
{
	__u32 flavour = (md->ip_protocol == IPPROTO_TCP) +
			2 * (md->eth_protocol == bpf_htons(ETH_P_IPV6));
	__u32 slot = (md->hash % (SLOTS / FLAVOURS) * FLAVOURS + flavour) * STRIDE;
	__u32 place = md->hash / SLOTS % (PLACES + 1);
	void *map;
	long err;

	if (place == PLACES) {
		err = bpf_sk_select_reuseport(md, &stress_direct, &slot, 0);
	} else {
		map = bpf_map_lookup_elem(&stress_outer, &place);
		if (!map)
			return SK_PASS;
		err = bpf_sk_select_reuseport(md, map, &slot, 0);
	}

	if (!err) {
		__sync_fetch_and_add(md->migrating_sk ? &migrated : &selected, 1);
		return SK_PASS;
	}
	__sync_fetch_and_add(&refused, 1);
	/* drop a few; whoever passes goes where the hash says */
	return md->hash >> 30 ? SK_PASS : SK_DROP;
}

char LICENSE[] SEC("license") = "GPL";
