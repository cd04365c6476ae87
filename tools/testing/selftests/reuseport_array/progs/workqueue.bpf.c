// SPDX-License-Identifier: GPL-2.0
/* A callback that may sleep, of a program that may not, looks a socket up. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct element {
	struct bpf_wq work;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct element);
	__uint(max_entries, 1);
} elements SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64));
	__uint(max_entries, 8);
} map SEC(".maps");

int bpf_wq_init(struct bpf_wq *wq, void *map, unsigned int flags) __ksym;
int bpf_wq_start(struct bpf_wq *wq, unsigned int flags) __ksym;
int bpf_wq_set_callback_impl(struct bpf_wq *wq, int (*callback)(void *map, int *key, void *value),
			     unsigned int flags, void *aux) __ksym;

__u32 key;

static int look(void *map_of_element, int *key_of_element, void *element)
{
	struct bpf_sock *sk = bpf_map_lookup_elem(&map, &key);

	if (sk)
		bpf_sk_release(sk);
	return 0;
}

SEC("tc")
int look_later(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct element *element = bpf_map_lookup_elem(&elements, &zero);

	if (!element || bpf_wq_init(&element->work, &elements, 0) ||
	    bpf_wq_set_callback_impl(&element->work, look, 0, NULL))
		return 0;
	bpf_wq_start(&element->work, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
