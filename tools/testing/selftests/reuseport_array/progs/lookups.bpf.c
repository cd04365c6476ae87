// SPDX-License-Identifier: GPL-2.0
/* Lookups that the verifier accepts, and lookups that it rejects. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64));
	__uint(max_entries, 8);
} map SEC(".maps");

__u32 key;
__u32 sink;

static __always_inline int look_and_release(void)
{
	struct bpf_sock *sk = bpf_map_lookup_elem(&map, &key);

	if (sk)
		bpf_sk_release(sk);
	return 0;
}

SEC("?sk_lookup")
int from_sk_lookup(struct bpf_sk_lookup *ctx)
{
	return look_and_release() + SK_PASS;
}

SEC("?tc")
int from_tc(struct __sk_buff *skb)
{
	return look_and_release();
}

SEC("?sk_reuseport")
int from_sk_reuseport(struct sk_reuseport_md *md)
{
	return look_and_release() + SK_PASS;
}

SEC("?sk_reuseport/migrate")
int from_migrate(struct sk_reuseport_md *md)
{
	return look_and_release() + SK_PASS;
}

/* A program of another type has bpf_sk_release(), too. */
SEC("?action")
int from_action(struct __sk_buff *skb)
{
	return look_and_release();
}

SEC("?xdp")
int from_xdp(struct xdp_md *xdp)
{
	return look_and_release() + XDP_PASS;
}

SEC("?cgroup_skb/ingress")
int from_cgroup(struct __sk_buff *skb)
{
	return look_and_release() + 1;
}

SEC("?sockops")
int from_sock_ops(struct bpf_sock_ops *ops)
{
	return look_and_release();
}

/* This type may sleep. */
SEC("?syscall")
int from_syscall(void *ctx)
{
	return bpf_map_lookup_elem(&map, &key) ? 1 : 0;
}

SEC("?sk_lookup")
int not_released(struct bpf_sk_lookup *ctx)
{
	return bpf_map_lookup_elem(&map, &key) ? SK_PASS : SK_DROP;
}

SEC("?tc")
int released_twice(struct __sk_buff *skb)
{
	struct bpf_sock *sk = bpf_map_lookup_elem(&map, &key);

	if (sk) {
		bpf_sk_release(sk);
		bpf_sk_release(sk);
	}
	return 0;
}

SEC("?tc")
int used_after_release(struct __sk_buff *skb)
{
	struct bpf_sock *sk = bpf_map_lookup_elem(&map, &key);

	if (sk) {
		bpf_sk_release(sk);
		sink = sk->src_port;
	}
	return 0;
}

SEC("?sk_reuseport")
int not_compared_with_null(struct sk_reuseport_md *md)
{
	bpf_sk_release(bpf_map_lookup_elem(&map, &key));
	return SK_PASS;
}

SEC("?sk_lookup")
int written_to(struct bpf_sk_lookup *ctx)
{
	struct bpf_sock *sk = bpf_map_lookup_elem(&map, &key);

	if (sk) {
		sk->mark = 1;
		bpf_sk_release(sk);
	}
	return SK_PASS;
}

/* The same socket is there for the whole program, not for a value of 8 bytes. */
SEC("?sk_lookup")
int read_as_a_value(struct bpf_sk_lookup *ctx)
{
	__u64 *cookie = bpf_map_lookup_elem(&map, &key);

	if (cookie) {
		sink = *cookie;
		bpf_sk_release((struct bpf_sock *)cookie);
	}
	return SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
