// SPDX-License-Identifier: GPL-2.0
/* Select the slot that the test or the packet specifies, and record the result. */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64));
	__uint(max_entries, 8);
} sockets SEC(".maps");

__u32 slot;			/* for packets */
bool slot_from_payload;		/* use the start of the payload instead */
__u32 heir;			/* for migrated connections */
__u32 runs;
__u32 migrations;
int result;			/* of the last selection */

static __always_inline int steer(struct sk_reuseport_md *md)
{
	__u32 index = slot;

	runs++;
	if (slot_from_payload &&
	    bpf_skb_load_bytes(md, sizeof(struct udphdr), &index, sizeof(index)))
		return SK_DROP;

	result = bpf_sk_select_reuseport(md, &sockets, &index, 0);
	return result ? SK_DROP : SK_PASS;
}

SEC("sk_reuseport")
int select_slot(struct sk_reuseport_md *md)
{
	return steer(md);
}

SEC("sk_reuseport/migrate")
int select_or_migrate(struct sk_reuseport_md *md)
{
	if (!md->migrating_sk)
		return steer(md);

	migrations++;
	result = bpf_sk_select_reuseport(md, &sockets, &heir, 0);
	return result ? SK_DROP : SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
