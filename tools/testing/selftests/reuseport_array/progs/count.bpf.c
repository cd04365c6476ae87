// SPDX-License-Identifier: GPL-2.0
/* Read the kernel's counters of filled slots of two maps. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* The kernel's type, which only needs a name here. */
struct bpf_map {
	__u32 id;
} __attribute__((preserve_access_index));

__s64 bpf_map_sum_elem_count(const struct bpf_map *map) __ksym;

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64));
	__uint(max_entries, 100);
} sockets SEC(".maps"), others SEC(".maps");

__s64 in_sockets;
__s64 in_others;

SEC("socket")
int count(struct __sk_buff *skb)
{
	in_sockets = bpf_map_sum_elem_count((const struct bpf_map *)&sockets);
	in_others = bpf_map_sum_elem_count((const struct bpf_map *)&others);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
