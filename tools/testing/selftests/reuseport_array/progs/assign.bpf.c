// SPDX-License-Identifier: GPL-2.0
/* Look up a socket in the map, from each type of program that may, and assign it. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct sockets {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64));
	__uint(max_entries, 8);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(key_size, sizeof(__u32));
	__uint(max_entries, 1);
	__array(values, struct sockets);
} outer SEC(".maps");

__u16 port;		/* packets to this port are assigned to */
__u32 slot;		/* the socket in this slot, */
bool inner;		/* of the inner map if this is set */
__u32 worker;		/* the slot that the group's program selects */
__u32 runs;
int result;		/* of the last lookup and assignment */
__u32 found_port;	/* of the socket that was looked up last */
__u64 found_cookie;

SEC("sk_lookup")
int assign_lookup(struct bpf_sk_lookup *ctx)
{
	struct bpf_sock *sk;
	__u32 zero = 0;
	void *map;

	if (ctx->local_port != port)
		return SK_PASS;

	runs++;
	if (inner) {
		map = bpf_map_lookup_elem(&outer, &zero);
		if (!map)
			return SK_DROP;
		sk = bpf_map_lookup_elem(map, &slot);
	} else {
		sk = bpf_map_lookup_elem(&sockets, &slot);
	}
	if (!sk) {
		result = -1;
		return SK_PASS;
	}
	found_port = sk->src_port;
	result = bpf_sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	return SK_PASS;
}

/* Whether this packet begins something: a datagram, or a SYN. */
static __always_inline bool is_first(struct __sk_buff *skb)
{
	__u8 protocol = 0;
	__be16 dest = 0;
	__u8 flags = 0;
	__u32 l4;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct iphdr, protocol), &protocol, 1);
		l4 = ETH_HLEN + sizeof(struct iphdr);
	} else {
		bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, nexthdr), &protocol, 1);
		l4 = ETH_HLEN + sizeof(struct ipv6hdr);
	}
	bpf_skb_load_bytes(skb, l4 + offsetof(struct udphdr, dest), &dest, sizeof(dest));
	if (dest != bpf_htons(port))
		return false;
	if (protocol == IPPROTO_UDP)
		return true;
	/* SYN is the bit 2 of byte 13, ACK the bit 16 */
	bpf_skb_load_bytes(skb, l4 + 13, &flags, 1);
	return protocol == IPPROTO_TCP && (flags & 0x12) == 0x02;
}

SEC("tc")
int assign_tc(struct __sk_buff *skb)
{
	struct bpf_sock *sk;

	if (!is_first(skb))
		return TC_ACT_OK;

	runs++;
	sk = bpf_map_lookup_elem(&sockets, &slot);
	if (!sk) {
		result = -1;
		return TC_ACT_OK;
	}
	found_port = sk->src_port;
	result = bpf_sk_assign(skb, sk, 0);
	bpf_sk_release(sk);
	return TC_ACT_OK;
}

/* On the way out nothing can be assigned. */
SEC("tc")
int look_at_egress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = bpf_map_lookup_elem(&sockets, &slot);

	runs++;
	if (sk) {
		found_port = sk->src_port;
		bpf_sk_release(sk);
	}
	return TC_ACT_OK;
}

SEC("sk_reuseport")
int select_worker(struct sk_reuseport_md *md)
{
	struct bpf_sock *sk = bpf_map_lookup_elem(&sockets, &worker);

	if (sk) {
		found_cookie = bpf_get_socket_cookie(sk);
		bpf_sk_release(sk);
	}
	return bpf_sk_select_reuseport(md, &sockets, &worker, 0) ? SK_DROP : SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
