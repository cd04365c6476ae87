/* SPDX-License-Identifier: GPL-2.0 */
/* The table of flows: the slot that serves each UDP peer.
 *
 * It is set-associative: an array of buckets, each with FLOW_WAYS entries and a lock. The hash
 * of a peer names its bucket, which alone can have an entry for it. The kernel's LRU hash
 * evicts whatever is cheap to find, which under a flood of sources that send one datagram
 * each includes peers in the middle of a conversation. Here an entry with two or more datagrams
 * is never evicted; it ends by its timeout only. A bucket takes a new peer in
 *
 *   1. the entry of the same peer, whose timeout has passed or whose slot is empty,
 *   2. a free entry, or one whose timeout has passed,
 *   3. the entry with one datagram that is the oldest of these,
 *
 * or the peer is not recorded. It is then served by hash, like a new one, until there is room.
 * What was done is counted in flow_stats.
 */
#ifndef __FLOW_TABLE_BPF_H
#define __FLOW_TABLE_BPF_H

/* Constant when the program is loaded. The map flow_config has a copy, for the tool. */
const volatile struct flow_config flow_table;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_bucket);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_config);
} flow_config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FLOW_OUTCOMES);
	__type(key, __u32);
	__type(value, __u64);
} flow_stats SEC(".maps");

static __always_inline struct flow_bucket *flow_bucket(const struct peer *peer)
{
	__u32 index = flow_bucket_index(&flow_table, peer);

	return bpf_map_lookup_elem(&flows, &index);
}

static __always_inline bool flow_is_of(const struct flow *flow, const struct peer *peer)
{
	return flow->port == peer->port && flow->address[3] == peer->address[3] &&
	       flow->address[2] == peer->address[2] && flow->address[1] == peer->address[1] &&
	       flow->address[0] == peer->address[0];
}

/* A draining generation keeps its silent peers for a shorter time, so that it ends although
 * the ports of a busy client come round again.
 */
static __always_inline bool flow_has_expired(const struct flow *flow, __u32 current, __u32 now)
{
	return has_expired(&flow_table, flow->generation, current, flow->seen, now);
}

/* Find the slot that serves a peer, and note that it has sent another datagram. With @teaches that
 * has an id of QUIC: if it may be learned from the peer, *@depth is set to its depth, otherwise to
 * 0. Without, @depth is NULL.
 */
static __always_inline bool flow_find(struct flow_bucket *bucket, const struct peer *peer,
				      __u32 current, __u32 now, bool teaches, __u32 *generation,
				      __u32 *slot, __u32 *depth)
{
	bool found = false;
	struct flow *flow;
	int i;

	if (depth)
		*depth = 0;
	bpf_spin_lock(&bucket->lock);
	for (i = 0; i < FLOW_WAYS; i++) {
		flow = &bucket->flows[i];
		if (!flow_is_of(flow, peer) || !flow->generation)
			continue;
		found = !flow_has_expired(flow, current, now);
		if (!found)
			break;
		*generation = flow->generation;
		*slot = flow->slot;
		flow->packets += flow->packets != ~0U;
		flow->seen = now;
		if (depth && teaches && flow->ids < QUIC_MAX_IDS && flow->depth < QUIC_MAX_DEPTH) {
			flow->ids++;
			*depth = flow->depth + 1;
		}
		break;
	}
	bpf_spin_unlock(&bucket->lock);
	return found;
}

/* Record the slot that serves a new peer from now on, if there is room. */
static __always_inline enum flow_outcome
flow_record(struct flow_bucket *bucket, const struct peer *peer, __u32 current, __u32 now,
	    __u32 generation, __u32 slot, __u32 depth)
{
	enum flow_outcome outcome = FLOW_REFUSED, possible;
	__s32 age, oldest = 0;
	__u32 best = 0;
	struct flow *flow;
	int i;

	bpf_spin_lock(&bucket->lock);
	for (i = 0; i < FLOW_WAYS; i++) {
		flow = &bucket->flows[i];
		age = now - flow->seen;
		if (!flow->generation) {
			possible = FLOW_ADDED;
		} else if (flow_is_of(flow, peer)) {
			outcome = FLOW_REPLACED;
			best = i;
			break;
		} else if (flow_has_expired(flow, current, now)) {
			possible = FLOW_EXPIRED;
		} else if (flow->packets == 1 && (outcome != FLOW_EVICTED || age > oldest)) {
			possible = FLOW_EVICTED;
		} else {
			continue;
		}
		if (possible > outcome || (possible == FLOW_EVICTED && outcome == FLOW_EVICTED)) {
			outcome = possible;
			oldest = age;
			best = i;
		}
	}
	if (outcome != FLOW_REFUSED) {
		flow = &bucket->flows[best & (FLOW_WAYS - 1)];
		flow->address[0] = peer->address[0];
		flow->address[1] = peer->address[1];
		flow->address[2] = peer->address[2];
		flow->address[3] = peer->address[3];
		flow->port = peer->port;
		flow->slot = slot;
		flow->ids = 0;
		flow->depth = depth;
		flow->generation = generation;
		flow->seen = now;
		flow->packets = 1;
	}
	bpf_spin_unlock(&bucket->lock);
	return outcome;
}

static __always_inline void flow_count(enum flow_outcome outcome)
{
	__u32 index = outcome;
	__u64 *number = bpf_map_lookup_elem(&flow_stats, &index);

	if (number)
		++*number;
}

#endif
