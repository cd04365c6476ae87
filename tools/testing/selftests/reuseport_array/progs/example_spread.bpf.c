// SPDX-License-Identifier: GPL-2.0
/* Connections go to any worker. The slot of a worker that has exited is empty. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define WORKERS	4

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64));
	__uint(max_entries, WORKERS);
} listeners SEC(".maps");

/* "/migrate": also run for connections that wait at a listener when it is closed */
SEC("sk_reuseport/migrate")
int select_any(struct sk_reuseport_md *md)
{
	__u32 slot, i;

	for (i = 0; i < WORKERS; i++) {
		slot = (md->hash + i) % WORKERS;
		if (!bpf_sk_select_reuseport(md, &listeners, &slot, 0))
			return SK_PASS;
	}

	return SK_DROP;
}

char LICENSE[] SEC("license") = "GPL";
