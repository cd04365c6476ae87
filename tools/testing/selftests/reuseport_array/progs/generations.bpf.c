// SPDX-License-Identifier: GPL-2.0
/* One map per generation of a server; slot 0 of the outer map has the current one. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct generation {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64));
	__uint(max_entries, 8);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(key_size, sizeof(__u32));
	__uint(max_entries, 1);
	__array(values, struct generation);
} generations SEC(".maps");

SEC("sk_reuseport")
int select_current(struct sk_reuseport_md *md)
{
	__u32 index = md->hash % 2;
	__u32 zero = 0;
	void *sockets;

	sockets = bpf_map_lookup_elem(&generations, &zero);
	if (!sockets)
		return SK_DROP;

	return bpf_sk_select_reuseport(md, sockets, &index, 0) ? SK_DROP : SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
