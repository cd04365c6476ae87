// SPDX-License-Identifier: GPL-2.0
/* Any address and port of a prefix is served by one group of sockets. The program of type
 * SK_LOOKUP finds the group, by any of its members; that of type SK_REUSEPORT selects the worker.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define WORKERS	4
#define AF_INET	2

struct prefix {
	__u32 prefixlen;	/* the bits of the members that follow */
	__u16 protocol;
	__u16 port;		/* 0: any */
	__u32 address[4];	/* of IPv4: ::ffff:A.B.C.D */
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u8);	/* of no meaning: the prefix is served or not */
	__uint(max_entries, 1024);
} prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64));
	__uint(max_entries, WORKERS);
} workers SEC(".maps");

SEC("sk_lookup")
int find_group(struct bpf_sk_lookup *ctx)
{
	struct prefix key = {
		.prefixlen = 8 * (sizeof(key) - sizeof(key.prefixlen)),
		.protocol = ctx->protocol,
		.port = ctx->local_port,
	};
	__u32 ip4 = ctx->local_ip4, slot, i;
	struct bpf_sock *sk;
	long err;

	if (ctx->family == AF_INET) {
		key.address[2] = bpf_htonl(0xffff);
		key.address[3] = ip4;
	} else {
		key.address[0] = ctx->local_ip6[0];
		key.address[1] = ctx->local_ip6[1];
		key.address[2] = ctx->local_ip6[2];
		key.address[3] = ctx->local_ip6[3];
	}
	if (!bpf_map_lookup_elem(&prefixes, &key)) {
		key.port = 0;
		if (!bpf_map_lookup_elem(&prefixes, &key))
			return SK_PASS;
	}

	for (i = 0; i < WORKERS; i++) {
		slot = i;
		sk = bpf_map_lookup_elem(&workers, &slot);
		if (!sk)
			continue;
		err = bpf_sk_assign(ctx, sk, 0);
		bpf_sk_release(sk);
		return err ? SK_DROP : SK_PASS;
	}

	return SK_DROP;
}

SEC("sk_reuseport")
int select_worker(struct sk_reuseport_md *md)
{
	__u32 slot, i;

	for (i = 0; i < WORKERS; i++) {
		slot = (md->hash + i) % WORKERS;
		if (!bpf_sk_select_reuseport(md, &workers, &slot, 0))
			return SK_PASS;
	}

	return SK_DROP;
}

char LICENSE[] SEC("license") = "GPL";
