// SPDX-License-Identifier: GPL-2.0
/* What a collector of NetFlow loads to spread its exporters: the source ID of version 9,
 * bytes 16 to 19 of a datagram, is the index of the socket. pmacct expects these names.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define UDP_HEADER	8
#define SOURCE_ID	16

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 4);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} udp_balancing_targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} nonce SEC(".maps");

SEC("sk_reuseport")
int _selector(struct sk_reuseport_md *ctx)
{
	__u32 id, index;

	/* a copy: not every processor reads numbers that are not aligned */
	if (bpf_skb_load_bytes(ctx, UDP_HEADER + SOURCE_ID, &id, sizeof(id)))
		return SK_DROP;
	index = bpf_ntohl(id);
	return bpf_sk_select_reuseport(ctx, &udp_balancing_targets, &index, 0) ? SK_DROP : SK_PASS;
}

char _license[] SEC("license") = "GPL";
