// SPDX-License-Identifier: GPL-2.0
/* Making, reading and converting the table of UDP peers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <bpf/bpf.h>

#include "flow_table.h"

#define BUCKETS_AT_ONCE	1024
#define DRAIN_MS	30000	/* what a draining generation waits for a silent peer, at most */

static __u32 ticks(__u64 ms)
{
	return (ms * 1000000 >> TICK_SHIFT) + 1;
}

int flow_table_configure(struct flow_config *config, __u32 peers, __u32 ids, __u64 timeout)
{
	*config = (struct flow_config){
		.buckets = (peers + FLOW_WAYS - 1) / FLOW_WAYS,
		.id_buckets = (ids + FLOW_WAYS - 1) / FLOW_WAYS,
		.timeout = ticks(timeout),
		.drain_timeout = ticks(timeout < DRAIN_MS ? timeout : DRAIN_MS),
	};
	if (getrandom(config->key, sizeof(config->key), 0) == sizeof(config->key))
		return 0;
	return fail("cannot get random bytes for the table of flows (%s)", strerror(errno));
}

__u64 flow_silence(const struct flow *flow)
{
	__u32 now = now_ms() * 1000000 >> TICK_SHIFT;
	__s32 silence = now - flow->seen;

	return silence < 0 ? 0 : ((__u64)silence << TICK_SHIFT) / 1000000;
}

bool flow_has_ended(const struct service *service, const struct flow *flow)
{
	__u32 now = now_ms() * 1000000 >> TICK_SHIFT;

	/* those of layout 1 stayed until they were evicted */
	return service->layout.version != 1 &&
	       has_expired(&service->flow_config, flow->generation, service->now.current,
			   flow->seen, now);
}

typedef void (*visit_fn)(const struct service *service, const struct flow *flow, void *arg);

/* The LRU hash of layout 1. */
static int visit_hash(const struct service *service, visit_fn visit, void *arg)
{
	struct peer peer, *last = NULL, next;
	struct flow_1 old;
	struct flow flow;

	while (!bpf_map_get_next_key(service->flows, last, &next)) {
		peer = next;
		last = &peer;
		/* it may just have been evicted */
		if (bpf_map_lookup_elem(service->flows, &peer, &old))
			continue;
		flow = (struct flow){
			.port = peer.port,
			.slot = old.slot,
			.generation = old.generation,
			.seen = old.seen >> TICK_SHIFT,
			.packets = old.packets < UINT32_MAX ? old.packets : UINT32_MAX,
		};
		memcpy(flow.address, peer.address, sizeof(flow.address));
		visit(service, &flow, arg);
	}
	return 0;
}

static void visit_buckets(const struct service *service, const struct flow_bucket *buckets,
			  __u32 count, visit_fn visit, void *arg)
{
	__u32 i, way;

	for (i = 0; i < count; i++)
		for (way = 0; way < FLOW_WAYS; way++)
			if (buckets[i].flows[way].generation)
				visit(service, &buckets[i].flows[way], arg);
}

int flow_table_visit(const struct service *service, visit_fn visit, void *arg)
{
	__u32 keys[BUCKETS_AT_ONCE], next, count, *at = NULL;
	struct bpf_map_batch_opts opts = { .sz = sizeof(opts), .elem_flags = BPF_F_LOCK };
	struct flow_bucket *buckets;
	int err;

	if (service->layout.version == 1)
		return visit_hash(service, visit, arg);
	buckets = calloc(BUCKETS_AT_ONCE, sizeof(*buckets));
	if (!buckets)
		return fail("out of memory");
	do {
		count = BUCKETS_AT_ONCE;
		err = bpf_map_lookup_batch(service->flows, at, &next, keys, buckets, &count, &opts);
		if (err && errno != ENOENT) {
			free(buckets);
			return fail("cannot read the flows of service %s (%s)", service->name,
				    strerror(errno));
		}
		visit_buckets(service, buckets, count, visit, arg);
		at = &next;
	} while (!err);
	free(buckets);
	return 0;
}

int flow_table_read_stats(const struct service *service, __u64 stats[FLOW_OUTCOMES])
{
	__u64 *numbers;
	__u32 outcome;
	int cpus, i;

	memset(stats, 0, FLOW_OUTCOMES * sizeof(*stats));
	numbers = alloc_per_cpu(sizeof(*numbers), &cpus);
	if (!numbers)
		return -1;
	for (outcome = 0; outcome < FLOW_OUTCOMES; outcome++) {
		if (bpf_map_lookup_elem(service->flow_stats, &outcome, numbers))
			continue;
		for (i = 0; i < cpus; i++)
			stats[outcome] += numbers[i];
	}
	free(numbers);
	return 0;
}

/* A peer whose bucket is full is left out, as the program would. */
static void add_flow(const struct service *service, const struct flow *flow, void *arg)
{
	const struct service *next = arg;
	struct peer peer = { .port = flow->port };
	struct flow_bucket bucket;
	__u32 index;
	int way;

	(void)service;
	memcpy(peer.address, flow->address, sizeof(peer.address));
	index = flow_bucket_index(&next->flow_config, &peer);
	if (bpf_map_lookup_elem(next->flows, &index, &bucket))
		return;
	for (way = 0; way < FLOW_WAYS && bucket.flows[way].generation; way++)
		;
	if (way == FLOW_WAYS)
		return;
	bucket.flows[way] = *flow;
	bpf_map_update_elem(next->flows, &index, &bucket, BPF_F_LOCK);
}

int flow_table_copy(const struct service *next, const struct service *old)
{
	return flow_table_visit(old, add_flow, (void *)next);
}
