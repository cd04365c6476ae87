// SPDX-License-Identifier: GPL-2.0
/*
 * Hot restart, the part in the kernel: which socket gets the packet?
 *
 * server.c fills the maps and switches, worker.c drains; proto.h is what they
 * have in common.
 *
 * The kernel runs this program for each datagram, and for each SYN, that
 * arrives at the port of a group of SO_REUSEPORT sockets:
 *
 *   a datagram with a connection id    to the worker that the id names, of the
 *                                      generation that the id names;
 *   a datagram without, and every SYN  to some worker of the current generation.
 *
 * Packets of a TCP connection that stands do not come by here: the kernel knows
 * their socket.
 *
 * The sender chooses what id to send, so to go by it must be harmless. It is: an
 * index that is out of range finds nothing, and the worker checks the id again.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "proto.h"

/* The sockets of one generation. Its server makes the map and fills it. */
struct generation {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, __u64);
};

/*
 * All generations. Pinned, because it is the one thing that they share: the
 * first server that loads this object makes the map, later ones find it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, PLACES);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__array(values, struct generation);
} generations SEC(".maps");

/* Read through the helper: not all of a datagram need be in the linear part. */
static __always_inline bool read_id(struct sk_reuseport_md *ctx, struct conn_id *id)
{
	struct message msg;

	/* ctx->data is the UDP header, the payload lies behind it. */
	if (bpf_skb_load_bytes(ctx, sizeof(struct udphdr), &msg, sizeof(msg)))
		return false;
	if (msg.magic != bpf_htonl(MAGIC) || !msg.id.generation)
		return false;
	*id = msg.id;
	return true;
}

static __always_inline bool pick(struct sk_reuseport_md *ctx, __u32 place, __u16 worker)
{
	__u32 slot = slot_of(worker, ctx->ip_protocol);
	void *generation;

	generation = bpf_map_lookup_elem(&generations, &place);
	if (!generation)
		return false;

	/* Fails if there is no such slot, or no socket in it (any more). */
	return !bpf_sk_select_reuseport(ctx, generation, &slot, 0);
}

SEC("sk_reuseport")
int steer(struct sk_reuseport_md *ctx)
{
	struct conn_id id;

	if (ctx->ip_protocol == IPPROTO_UDP && read_id(ctx, &id) &&
	    pick(ctx, place_of(bpf_ntohs(id.generation)), bpf_ntohs(id.worker)))
		return SK_PASS;

	/*
	 * New, or its worker is gone. In the latter case too somebody should get
	 * it: only a server can tell the client that its connection is no more.
	 */
	pick(ctx, CURRENT, ctx->hash % WORKERS);

	/*
	 * If that found none either, say before the first generation is in
	 * place, SK_PASS leaves the choice to the kernel: by hash, as without us.
	 */
	return SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
