// SPDX-License-Identifier: GPL-2.0
/* The table of flows by itself: each run of this program is a datagram of the next source. */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "../reuseportctl.h"
#include "../flow_table.bpf.h"

__u64 next;			/* source */
__u32 current;			/* generation, which new peers get */
__u64 known[3];			/* datagrams of peers that each generation serves */

SEC("tc")
int datagram(struct __sk_buff *skb)
{
	__u32 tick = bpf_ktime_get_ns() >> TICK_SHIFT, generation = 0, slot = 0;
	struct flow_bucket *bucket;
	struct peer peer = {};
	__u64 source = next++;

	peer.address[3] = source >> 16;
	peer.port = source;
	bucket = flow_bucket(&peer);
	if (!bucket)
		return 0;
	if (!flow_find(bucket, &peer, current, tick, false, &generation, &slot, NULL))
		flow_count(flow_record(bucket, &peer, current, tick, current, 0, 0));
	else if (generation < 3)
		known[generation]++;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
