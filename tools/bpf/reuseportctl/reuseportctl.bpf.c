// SPDX-License-Identifier: GPL-2.0
/* Select the socket of the group that gets this packet.
 *
 * A SYN, and a datagram of an unknown peer, goes to the current generation, or to the canary if
 * its share includes it, to one of the slots by hash. A datagram of a known peer goes to the slot
 * of its first one, or to the one that its id names, as long as there is a socket in it. See
 * quic.bpf.h for QUIC.
 *
 * Once a socket is closed, its slot stays empty. The packet that finds it empty drops the
 * slot from the list of live slots and selects again. So an empty slot costs one failed
 * lookup, not one per packet, and its share is spread over the other slots.
 *
 * If the current generation has no socket, the newest one that has some is taken. If there
 * is none, nothing is selected, and the kernel selects a socket of the group by hash.
 *
 * The program must load on Linux 5.10; only steer_migrate needs 5.14.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "reuseportctl.h"

/* How many slots one packet may try, of the current generation and of all: the verifier
 * requires a bound, and follows every iteration. Those that are empty are dropped, and so are
 * not in the way of the next packet.
 */
#define TRIES		64
#define TRIES_IN_ALL	128
#define TURN		8	/* that each other generation may have of the rest */

/* Constant when the program is loaded: the verifier removes the code of other modes. */
const volatile struct steering steering;

/* An inner map; the tool creates each with as many entries as it has sockets. */
struct sockets {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MAX_GENERATIONS);
	__type(key, __u32);
	__array(values, struct sockets);
} generations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_GENERATIONS);
	__type(key, __u32);
	__type(value, struct generation);
} generation_info SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct state);
} state SEC(".maps");

/* An inner map: one entry for each slot. A kernel that inlines the lookup takes the number of
 * entries from here, so the tool sets it before it loads the program.
 */
struct slot_counters {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct counter));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MAX_GENERATIONS);
	__type(key, __u32);
	__array(values, struct slot_counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct service_config);
} service SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct layout);
} layout SEC(".maps");

#include "flow_table.bpf.h"

static __always_inline bool is_gone(long err)
{
	/* EINVAL: stock kernels, for a socket that is being closed */
	return err == -ENOENT || err == -EINVAL;
}

static __always_inline void count(__u32 number, __u32 slot, bool is_new, __u64 now)
{
	__u32 index = number % MAX_GENERATIONS;
	struct counter *counter;
	void *slots;

	slots = bpf_map_lookup_elem(&counters, &index);
	if (!slots)
		return;
	counter = bpf_map_lookup_elem(slots, &slot);
	if (!counter)
		return;

	counter->packets++;
	counter->flows += is_new;
	counter->seen = now;
}

static __always_inline void drop_slot(struct generation *generation, __u32 i, __u32 live)
{
	__u16 last;

	bpf_spin_lock(&generation->lock);
	/* otherwise another CPU has dropped one since */
	if (generation->live == live) {
		last = generation->live_slots[(live - 1) & (MAX_SLOTS - 1)];
		generation->live_slots[i & (MAX_SLOTS - 1)] = last;
		generation->live = live - 1;
	}
	bpf_spin_unlock(&generation->lock);
}

/* Select one slot, if the generation still exists and the slot is not empty. */
static __always_inline bool select_slot(struct sk_reuseport_md *ctx, __u32 number, __u32 slot)
{
	__u32 index = number % MAX_GENERATIONS;
	struct generation *generation;
	void *sockets;

	generation = bpf_map_lookup_elem(&generation_info, &index);
	if (!generation || generation->number != number)
		return false;
	sockets = bpf_map_lookup_elem(&generations, &index);

	return sockets && !bpf_sk_select_reuseport(ctx, sockets, &slot, 0);
}

/* Select by hash: in the generation chosen, else in the newest that has sockets. Each step
 * tries one slot, or goes on to the next older generation: there is one loop, not one over slots
 * in one over generations, so that the verifier's work does not grow with their number.
 */
static __always_inline __u32 select_generation(struct sk_reuseport_md *ctx,
					       const struct state *now, __u32 *slot)
{
	/* of 64 bits, as the registers: the compiler need not cut them */
	__u64 number = now->current, next = now->newest, hash = ctx->hash, live, i, t;
	struct generation *generation;
	void *sockets;
	__u32 index;
	long err;

	/* if the canary has no sockets, next comes itself, as it is the newest most often, and then
	 * what is older: the current one
	 */
	if (__builtin_expect(now->canary, 0) && share_hash(hash) <= now->share)
		number = now->canary;
	for (t = 0; t < TRIES_IN_ALL; t++) {
		index = number % MAX_GENERATIONS;
		generation = bpf_map_lookup_elem(&generation_info, &index);
		if (!generation)
			break;
		sockets = bpf_map_lookup_elem(&generations, &index);
		live = *(volatile __u32 *)&generation->live;
		if (sockets && live && generation->number == number) {
			i = hash * live >> 32;
			*slot = generation->live_slots[i & (MAX_SLOTS - 1)];
			err = bpf_sk_select_reuseport(ctx, sockets, slot, 0);
			if (!err)
				return number;
			if (is_gone(err))
				drop_slot(generation, i, live);
			else
				hash = (__u32)(hash * 0x9e3779b1 + 1);	/* in another group */
			if (t < TRIES - 1 || t % TURN != TURN - 1)
				continue;
		}
		number = next;
		if (number == now->current)
			number = now->older[number % MAX_GENERATIONS];
		if (!number)
			break;
		next = now->older[number % MAX_GENERATIONS];
	}
	return 0;
}

/* Read the id that the server gave its peer: the low bits of the generation's number, then
 * the slot, both big-endian. 2 bytes are one and one, 3 one and two, 4 two and two. A peer
 * can send any id; one that names no socket is ignored.
 */
static __always_inline bool read_id(struct sk_reuseport_md *ctx, const struct state *now,
				    __u32 *number, __u32 *slot)
{
	__u32 offset = sizeof(struct udphdr) + steering.id_offset;
	__u32 low, mask = 0xff;
	__u8 id[4];

	if (steering.id_len == 2) {
		if (bpf_skb_load_bytes(ctx, offset, id, 2))
			return false;
		low = id[0];
		*slot = id[1];
	} else if (steering.id_len == 3) {
		if (bpf_skb_load_bytes(ctx, offset, id, 3))
			return false;
		low = id[0];
		*slot = id[1] << 8 | id[2];
	} else {
		if (bpf_skb_load_bytes(ctx, offset, id, 4))
			return false;
		low = id[0] << 8 | id[1];
		*slot = id[2] << 8 | id[3];
		mask = 0xffff;
	}

	*number = now->newest - ((now->newest - low) & mask);
	return true;
}

/* Copied, as not all of a packet need be in the linear part. */
static __always_inline bool read_peer(struct sk_reuseport_md *ctx, struct peer *peer)
{
	long err;

	if (ctx->eth_protocol == bpf_htons(ETH_P_IP)) {
		peer->address[0] = 0;
		peer->address[1] = 0;
		peer->address[2] = bpf_htonl(0xffff);
		err = bpf_skb_load_bytes_relative(ctx, 12, &peer->address[3], 4,
						  BPF_HDR_START_NET);
	} else {
		err = bpf_skb_load_bytes_relative(ctx, 8, peer->address, 16, BPF_HDR_START_NET);
	}
	return !err && !bpf_skb_load_bytes(ctx, 0, &peer->port, sizeof(peer->port));
}

#include "quic.bpf.h"

static __always_inline int steer_packet(struct sk_reuseport_md *ctx)
{
	struct flow_bucket *bucket = NULL;
	struct quic_packet *packet = NULL;
	struct quic_target target = {};
	bool is_known = false;
	struct peer peer = {};
	struct state *now;
	__u32 number, slot, tick;
	__u64 time;
	__u32 zero = 0;

	now = bpf_map_lookup_elem(&state, &zero);
	if (!now || now->open)
		return SK_PASS;
	time = bpf_ktime_get_ns();
	tick = time >> TICK_SHIFT;

	if (steering.mode == UDP_FLOW) {
		if (read_peer(ctx, &peer))
			bucket = flow_bucket(&peer);
		is_known = bucket &&
			   flow_find(bucket, &peer, now->current, tick, false, &number, &slot,
				     NULL) &&
			   select_slot(ctx, number, slot);
	} else if (steering.mode == UDP_ID) {
		is_known = read_id(ctx, now, &number, &slot) && select_slot(ctx, number, slot);
	} else if (steering.mode == UDP_QUIC) {
		is_known = quic_steer(ctx, now->current, tick, &packet, &target);
		number = target.generation;
		slot = target.slot;
	}

	if (!is_known) {
		number = select_generation(ctx, now, &slot);
		if (!number)
			return SK_PASS;
		if (bucket)
			flow_count(flow_record(bucket, &peer, now->current, tick, number, slot, 0));
		if (packet) {
			target.generation = number;
			target.slot = slot;
			quic_note(ctx, packet, now->current, tick, &target);
		}
	}
	count(number, slot, !is_known, time);
	return SK_PASS;
}

SEC("sk_reuseport")
int steer(struct sk_reuseport_md *ctx)
{
	return steer_packet(ctx);
}

/* The kernel also runs this one when a listener is closed, to move the connections that
 * wait at it.
 */
SEC("sk_reuseport/migrate")
int steer_migrate(struct sk_reuseport_md *ctx)
{
	return steer_packet(ctx);
}

char LICENSE[] SEC("license") = "GPL";
