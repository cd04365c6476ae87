// SPDX-License-Identifier: GPL-2.0
/* Datagrams start like QUIC packets: a byte of flags, then a connection id. */
#include <linux/bpf.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>

#define WORKERS		4
#define LONG_HEADER	0x80	/* of a new connection, with an id that the client chose */

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64));
	__uint(max_entries, WORKERS);
} workers SEC(".maps");

SEC("sk_reuseport")
int select_by_connection_id(struct sk_reuseport_md *md)
{
	__u8 start[2];
	__u32 slot;

	if (bpf_skb_load_bytes(md, sizeof(struct udphdr), start, sizeof(start)))
		return SK_DROP;

	/* A new connection goes to any worker. It answers with an id that it
	 * chooses itself, whose first byte is the worker's slot.
	 */
	slot = start[0] & LONG_HEADER ? md->hash % WORKERS : start[1];

	/* Reject datagrams whose slot is empty or does not exist. */
	return bpf_sk_select_reuseport(md, &workers, &slot, 0) ? SK_DROP : SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
