// SPDX-License-Identifier: GPL-2.0
/* Report each TCP socket that listens, and each UDP socket that is bound, at a port. */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define TCP_LISTEN	10

/* In the byte order of the host. Sockets of other namespaces may have it too: then the reader
 * looks once more than it has to.
 */
const volatile __u16 port;

/* The tool gives it one page, which has another size on some machines. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} joined SEC(".maps");

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sock_common {
	__u16 skc_num;
};

struct sock {
	struct sock_common __sk_common;
};

#pragma clang attribute pop

/* If the buffer is full, the reader has enough to wake up for. */
static __always_inline void report(void)
{
	__u32 nothing = 0;

	bpf_ringbuf_output(&joined, &nothing, sizeof(nothing), 0);
}

/* @args: the socket, its old and its new state */
SEC("raw_tp/inet_sock_set_state")
int tcp_state(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];

	if (ctx->args[2] == TCP_LISTEN && BPF_CORE_READ(sk, __sk_common.skc_num) == port)
		report();
	return 0;
}

static __always_inline int allow(struct bpf_sock *sk)
{
	if (sk->protocol == IPPROTO_UDP && sk->src_port == port)
		report();
	return 1;
}

SEC("cgroup/post_bind4")
int udp_bound(struct bpf_sock *sk)
{
	return allow(sk);
}

SEC("cgroup/post_bind6")
int udp_bound_v6(struct bpf_sock *sk)
{
	return allow(sk);
}

char LICENSE[] SEC("license") = "GPL";
