// SPDX-License-Identifier: GPL-2.0
/* Report what a program sees, and select a slot; for BPF_PROG_RUN. */
#include <linux/bpf.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#define NO_SLOT	((__u32)-1)

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64));
	__uint(max_entries, 8);
} sockets SEC(".maps");

/* what the program does */
__u32 slot = NO_SLOT;
bool slot_from_payload;
int verdict = SK_PASS;

/* and what it saw: fields of the context, headers, the two sockets */
__u64 runs;
int result;
__u32 len;
__u32 linear;
__u32 eth_protocol;
__u32 ip_protocol;
__u32 bind_inany;
__u32 hash;
__u16 eth_type;
__u8 first_of_network;
__u16 dest;
__u16 dest_by_helper;
__u64 cookie;
__u32 family;
__u32 port;
bool migrates;
__u32 peer_family;
__u32 peer_port;

static __always_inline int report(struct sk_reuseport_md *md)
{
	struct udphdr *udp = md->data;	/* ports lie alike in TCP */
	__u32 index = slot;

	__sync_fetch_and_add(&runs, 1);
	len = md->len;
	linear = (long)md->data_end - (long)md->data;
	eth_protocol = md->eth_protocol;
	ip_protocol = md->ip_protocol;
	bind_inany = md->bind_inany;
	hash = md->hash;
	bpf_skb_load_bytes_relative(md, 12, &eth_type, sizeof(eth_type), BPF_HDR_START_MAC);
	bpf_skb_load_bytes_relative(md, 0, &first_of_network, 1, BPF_HDR_START_NET);
	bpf_skb_load_bytes(md, 2, &dest_by_helper, sizeof(dest_by_helper));
	if ((void *)(udp + 1) <= md->data_end)
		dest = udp->dest;

	cookie = bpf_get_socket_cookie(md->sk);
	family = md->sk->family;
	port = md->sk->src_port;
	migrates = md->migrating_sk;
	if (md->migrating_sk) {
		peer_family = md->migrating_sk->family;
		peer_port = md->migrating_sk->dst_port;
	}

	if (slot_from_payload)
		bpf_skb_load_bytes(md, sizeof(*udp), &index, sizeof(index));
	if (index != NO_SLOT)
		result = bpf_sk_select_reuseport(md, &sockets, &index, 0);

	return verdict;
}

SEC("sk_reuseport")
int select(struct sk_reuseport_md *md)
{
	return report(md);
}

SEC("sk_reuseport/migrate")
int select_or_migrate(struct sk_reuseport_md *md)
{
	return report(md);
}

char LICENSE[] SEC("license") = "GPL";
