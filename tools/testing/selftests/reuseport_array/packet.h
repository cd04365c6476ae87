/* SPDX-License-Identifier: GPL-2.0 */
/* Packets, and how a program of type SK_REUSEPORT is run with one: no network is needed. */
#ifndef __REUSEPORT_ARRAY_PACKET_H
#define __REUSEPORT_ARRAY_PACKET_H

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf.h>

#define CLIENT_PORT	40000

struct frame {
	__u32 len;
	__u16 transport;	/* where the header of TCP or UDP begins */
	__u8 bytes[256];	/* 6 bytes in, so that the IP header is aligned */
};

static inline struct ethhdr *eth_header(struct frame *frame)
{
	return (struct ethhdr *)frame->bytes;
}

static inline struct iphdr *ipv4_header(struct frame *frame)
{
	return (struct iphdr *)(frame->bytes + ETH_HLEN);
}

static inline struct ipv6hdr *ipv6_header(struct frame *frame)
{
	return (struct ipv6hdr *)(frame->bytes + ETH_HLEN);
}

/* A SYN, or a datagram with this payload, of client number @client to @port. */
static inline void make_frame(struct frame *frame, int family, int type, __u16 port, __u16 client,
			      const void *payload, __u32 len)
{
	__u8 protocol = type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
	struct tcphdr tcp = { .doff = sizeof(tcp) / 4, .syn = 1 };
	struct udphdr udp = { .len = htons(sizeof(udp) + len) };
	struct ipv6hdr *ip6 = ipv6_header(frame);
	struct iphdr *ip4 = ipv4_header(frame);
	__u8 *at;

	memset(frame, 0, sizeof(*frame));
	tcp.source = htons(CLIENT_PORT + client);
	tcp.dest = htons(port);
	udp.source = tcp.source;
	udp.dest = tcp.dest;

	if (family == AF_INET) {
		eth_header(frame)->h_proto = htons(ETH_P_IP);
		frame->transport = ETH_HLEN + sizeof(*ip4);
		ip4->version = 4;
		ip4->ihl = sizeof(*ip4) / 4;
		ip4->ttl = 64;
		ip4->protocol = protocol;
		ip4->saddr = htonl(INADDR_LOOPBACK);
		ip4->daddr = htonl(INADDR_LOOPBACK);
	} else {
		eth_header(frame)->h_proto = htons(ETH_P_IPV6);
		frame->transport = ETH_HLEN + sizeof(*ip6);
		ip6->version = 6;
		ip6->hop_limit = 64;
		ip6->nexthdr = protocol;
		ip6->saddr.s6_addr[15] = 1;
		ip6->daddr.s6_addr[15] = 1;
	}

	at = frame->bytes + frame->transport;
	if (type == SOCK_STREAM) {
		memcpy(at, &tcp, sizeof(tcp));
		at += sizeof(tcp);
	} else {
		memcpy(at, &udp, sizeof(udp));
		at += sizeof(udp);
	}
	if (len)
		memcpy(at, payload, len);

	frame->len = at + len - frame->bytes;
	if (family == AF_INET)
		ip4->tot_len = htons(frame->len - ETH_HLEN);
	else
		ip6->payload_len = htons(frame->len - frame->transport);
}

/* Run a program with a packet, which may be NULL if a connection migrates, in the group of
 * @member. Return the verdict or a negative error, and the selected socket in @cookie.
 */
static inline int run_with_packet(int prog, int member, __u32 hash, int migrating,
				  const struct frame *frame, __u64 *cookie)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	struct sk_reuseport_md out = {};
	struct sk_reuseport_md in = {};
	int err;

	in.hash = hash;
	in.sk_fd = member;
	in.migrating_sk_fd = migrating;
	opts.ctx_in = &in;
	opts.ctx_size_in = sizeof(in);
	opts.ctx_out = &out;
	opts.ctx_size_out = sizeof(out);
	if (frame) {
		opts.data_in = frame->bytes;
		opts.data_size_in = frame->len;
	}
	err = bpf_prog_test_run_opts(prog, &opts);
	*cookie = out.cookie;
	return err ?: opts.retval;
}

#endif /* __REUSEPORT_ARRAY_PACKET_H */
