// SPDX-License-Identifier: GPL-2.0
/* Each instance of a server has its own map; current[0] is that of the current one. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define WORKERS	4

struct generation {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64));
	__uint(max_entries, WORKERS);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(key_size, sizeof(__u32));
	__uint(max_entries, 1);
	__array(values, struct generation);
} current SEC(".maps");

SEC("sk_reuseport/migrate")
int select_current(struct sk_reuseport_md *md)
{
	__u32 zero = 0, slot, i;
	void *generation;

	generation = bpf_map_lookup_elem(&current, &zero);
	if (!generation)
		return SK_DROP;

	/* try the next slots, for an instance with fewer workers or after one has exited */
	for (i = 0; i < WORKERS; i++) {
		slot = (md->hash + i) % WORKERS;
		if (!bpf_sk_select_reuseport(md, generation, &slot, 0))
			return SK_PASS;
	}

	return SK_DROP;
}

char LICENSE[] SEC("license") = "GPL";
