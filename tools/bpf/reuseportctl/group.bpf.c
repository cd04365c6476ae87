// SPDX-License-Identifier: GPL-2.0
/* Iterators: for each socket in a SO_REUSEPORT group, write which program the group has. */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "group_record.h"

#define TCP_LISTEN	10

/* The members of kernel structures that are read here; libbpf relocates them. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_prog_aux {
	__u32 id;
};

struct bpf_prog {
	struct bpf_prog_aux *aux;
};

struct sock_reuseport {
	struct bpf_prog *prog;
};

struct sock_common {
	unsigned char skc_state;
	struct {
		__s64 counter;
	} skc_cookie;
};

struct socket;

struct sock {
	struct sock_common __sk_common;
	struct socket *sk_socket;
	struct sock_reuseport *sk_reuseport_cb;
};

struct socket {
	struct sock *sk;
};

struct udp_sock;

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
};

struct bpf_iter__udp {
	struct bpf_iter_meta *meta;
	struct udp_sock *udp_sk;
};

#pragma clang attribute pop

static __always_inline void emit_group(struct seq_file *seq, struct sock *sk)
{
	struct sock_reuseport *group = BPF_CORE_READ(sk, sk_reuseport_cb);
	struct sock *owner = BPF_CORE_READ(sk, sk_socket, sk);
	struct group_record record = {};
	struct bpf_prog *prog;

	if (!group)
		return;
	prog = BPF_CORE_READ(group, prog);
	/* a subflow of MPTCP has the struct socket, but not the cookie, of the fd */
	record.cookie = BPF_CORE_READ(owner ?: sk, __sk_common.skc_cookie.counter);
	record.has_program = !!prog;
	if (prog)
		record.id = BPF_CORE_READ(prog, aux, id);
	bpf_seq_write(seq, &record, sizeof(record));
}

SEC("iter/tcp")
int tcp_groups(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;

	if (common && BPF_CORE_READ(common, skc_state) == TCP_LISTEN)
		emit_group(ctx->meta->seq, (struct sock *)common);
	return 0;
}

SEC("iter/udp")
int udp_groups(struct bpf_iter__udp *ctx)
{
	struct sock *sk = (struct sock *)ctx->udp_sk;

	if (sk)
		emit_group(ctx->meta->seq, sk);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
