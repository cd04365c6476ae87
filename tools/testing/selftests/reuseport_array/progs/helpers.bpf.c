// SPDX-License-Identifier: GPL-2.0
/* One program per helper that accepts a map. The test sets the map's type. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64));
	__uint(max_entries, 8);
} map SEC(".maps");

__u32 key;
__u64 value;

static long visit(void *visited, void *at, void *element, void *context)
{
	return 0;
}

SEC("?sk_reuseport")
int call_update(struct sk_reuseport_md *md)
{
	return bpf_map_update_elem(&map, &key, &value, BPF_ANY) ? SK_DROP : SK_PASS;
}

SEC("?sk_reuseport")
int call_delete(struct sk_reuseport_md *md)
{
	return bpf_map_delete_elem(&map, &key) ? SK_DROP : SK_PASS;
}

SEC("?sk_reuseport")
int call_lookup_percpu(struct sk_reuseport_md *md)
{
	return bpf_map_lookup_percpu_elem(&map, &key, 0) ? SK_PASS : SK_DROP;
}

SEC("?sk_reuseport")
int call_push(struct sk_reuseport_md *md)
{
	return bpf_map_push_elem(&map, &value, BPF_ANY) ? SK_DROP : SK_PASS;
}

SEC("?sk_reuseport")
int call_pop(struct sk_reuseport_md *md)
{
	return bpf_map_pop_elem(&map, &value) ? SK_DROP : SK_PASS;
}

SEC("?sk_reuseport")
int call_peek(struct sk_reuseport_md *md)
{
	return bpf_map_peek_elem(&map, &value) ? SK_DROP : SK_PASS;
}

SEC("?sk_reuseport")
int call_for_each(struct sk_reuseport_md *md)
{
	return bpf_for_each_map_elem(&map, visit, NULL, 0) < 0 ? SK_DROP : SK_PASS;
}

SEC("?sk_reuseport")
int call_tail_call(struct sk_reuseport_md *md)
{
	bpf_tail_call(md, &map, 0);
	return SK_DROP;
}

SEC("?sk_reuseport")
int call_select(struct sk_reuseport_md *md)
{
	return bpf_sk_select_reuseport(md, &map, &key, 0) ? SK_DROP : SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
