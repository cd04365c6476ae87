// SPDX-License-Identifier: GPL-2.0
/* The connection ids of a QUIC service: cookies in, what was learned out. */
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "quic.h"

#define BUCKETS_AT_ONCE	1024

/* Open the first cgroup v2 hierarchy that is mounted. */
static int open_cgroup(void)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	const struct mntent *mount;
	int fd = -1;

	if (!mounts)
		return -1;
	while (fd < 0 && (mount = getmntent(mounts)))
		if (!strcmp(mount->mnt_type, "cgroup2"))
			fd = open(mount->mnt_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	endmntent(mounts);
	return fd;
}

int quic_attach(int program)
{
	int cgroup = open_cgroup(), link;

	link = bpf_link_create(program, cgroup, BPF_CGROUP_INET_EGRESS, NULL);
	if (link < 0)
		fail("cannot attach the program that learns QUIC's connection ids to the cgroup "
		     "(%s)", strerror(errno));
	if (cgroup >= 0)
		close(cgroup);
	return link;
}

bool quic_can_learn(void)
{
	/* return 1: let the packet pass */
	const struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int program, link;

	program = bpf_prog_load(BPF_PROG_TYPE_CGROUP_SKB, "probe", "GPL", code, ARRAY_SIZE(code),
				NULL);
	if (program < 0)
		return false;
	link = quic_attach(program);
	close(program);
	if (link < 0) {
		drop_errors();
		return false;
	}
	close(link);
	return true;
}

/* Twice as many as there can be sockets, so that few collide. */
__u32 quic_nr_cookies(const struct service *service)
{
	__u32 count = 2;

	if (service->config.steering.mode != UDP_QUIC)
		return 1;
	while (count < 2 * MAX_GENERATIONS * service->config.steering.slots)
		count *= 2;
	return count;
}

/* Does the kernel let a program read words of packets that are not aligned? That depends on the
 * processor, and User-mode Linux does not.
 */
static bool has_direct_access(void)
{
	const struct bpf_insn code[] = {
		{ .code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = 2, .src_reg = 1,
		  .off = offsetof(struct sk_reuseport_md, data) },
		{ .code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = 3, .src_reg = 1,
		  .off = offsetof(struct sk_reuseport_md, data_end) },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 4, .src_reg = 2 },
		{ .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 4, .imm = 13 },
		{ .code = BPF_JMP | BPF_JGT | BPF_X, .dst_reg = 4, .src_reg = 3, .off = 1 },
		{ .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 0, .src_reg = 2, .off = 9 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int program = bpf_prog_load(BPF_PROG_TYPE_SK_REUSEPORT, "probe", "GPL", code,
				    ARRAY_SIZE(code), NULL);

	if (program < 0)
		return false;
	close(program);
	return true;
}

struct quic_constants quic_constants(const struct service *service)
{
	return (struct quic_constants){
		.port = service->config.port,
		.direct_access = service->config.steering.mode == UDP_QUIC && has_direct_access(),
		.cookie_mask = quic_nr_cookies(service) - 1,
	};
}

/* Is it of a generation that has ended? */
static bool is_stale(const struct service *service, const struct quic_cookie *entry)
{
	__u32 index = entry->target.generation % MAX_GENERATIONS;
	struct generation info;

	return bpf_map_lookup_elem(service->generation_info, &index, &info) ||
	       info.number != entry->target.generation;
}

int quic_add_cookie(const struct service *service, __u32 number, __u32 slot, __u64 cookie)
{
	struct quic_cookie entry = { .cookie = cookie, .target = { number, slot } }, old;
	__u32 index, mask = quic_nr_cookies(service) - 1, i;

	if (service->config.steering.mode != UDP_QUIC)
		return 0;
	for (i = 0; i < QUIC_PROBES; i++) {
		index = (cookie + i) & mask;
		if (bpf_map_lookup_elem(service->quic_cookies, &index, &old) ||
		    (old.cookie && old.cookie != cookie && !is_stale(service, &old)))
			continue;
		if (!bpf_map_update_elem(service->quic_cookies, &index, &entry, BPF_ANY))
			return 0;
		return fail("cannot record the cookie of a socket of service %s (%s)",
			    service->name, strerror(errno));
	}
	return 0;
}

static void count_entry(const struct service *service, const struct quic_entry *entry,
			struct quic_stats *stats)
{
	__u32 now = now_ms() * 1000000 >> TICK_SHIFT;

	if (quic_entry_has_expired(&service->flow_config, entry, service->now.current, now))
		return;
	stats->first += entry->kind == QUIC_FIRST;
	stats->pending += entry->kind == QUIC_PENDING;
	stats->known += entry->kind == QUIC_KNOWN;
}

static void count_bucket(const struct service *service, const struct quic_bucket *bucket,
			 struct quic_stats *stats)
{
	int way;

	for (way = 0; way < FLOW_WAYS; way++)
		count_entry(service, &bucket->entries[way], stats);
}

int quic_read_stats(const struct service *service, struct quic_stats *stats)
{
	__u32 keys[BUCKETS_AT_ONCE], next, count, *at = NULL, zero = 0, i;
	struct bpf_map_batch_opts opts = { .sz = sizeof(opts), .elem_flags = BPF_F_LOCK };
	struct quic_bucket *buckets;
	int err;

	*stats = (struct quic_stats){
		.entries = (__u64)service->flow_config.id_buckets * FLOW_WAYS,
	};
	if (bpf_map_lookup_elem(service->quic_service, &zero, &stats->service))
		return fail("cannot read what service %s knows of QUIC (%s)", service->name,
			    strerror(errno));
	buckets = calloc(BUCKETS_AT_ONCE, sizeof(*buckets));
	if (!buckets)
		return fail("out of memory");
	do {
		count = BUCKETS_AT_ONCE;
		err = bpf_map_lookup_batch(service->quic_ids, at, &next, keys, buckets, &count,
					   &opts);
		if (err && errno != ENOENT) {
			free(buckets);
			return fail("cannot read the connection ids of service %s (%s)",
				    service->name, strerror(errno));
		}
		for (i = 0; i < count; i++)
			count_bucket(service, &buckets[i], stats);
		at = &next;
	} while (!err);
	free(buckets);
	return 0;
}
