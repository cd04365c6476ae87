// SPDX-License-Identifier: GPL-2.0
/* flows PEERS SOURCES: a table of 262,144 flows, in which PEERS of generation 1 have sent two
 * datagrams, gets one datagram of each of SOURCES others after a switch to generation 2. The
 * peers send one after each million. Print what became of them, and fail if one has moved.
 */
#include <stdio.h>
#include <stdlib.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "reuseportctl.h"
#include "tests/flows.skel.h"

#define ENTRIES		262144
#define PIECE		1000000
#define OTHERS		(1ULL << 32)	/* the number of the first other source */

static struct flows_bpf *skel;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* Datagrams of @count sources from @first on. */
static void send_from(unsigned long long first, unsigned int count)
{
	char packet[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet),
		    .repeat = count);

	skel->bss->next = first;
	if (bpf_prog_test_run_opts(bpf_program__fd(skel->progs.datagram), &opts))
		die("flows: BPF_PROG_TEST_RUN");
}

static unsigned long long read_stat(__u32 outcome)
{
	int cpus = libbpf_num_possible_cpus(), i;
	__u64 *values = calloc(cpus, sizeof(*values)), sum = 0;

	if (!values || bpf_map_lookup_elem(bpf_map__fd(skel->maps.flow_stats), &outcome, values))
		die("flows: flow_stats");
	for (i = 0; i < cpus; i++)
		sum += values[i];
	free(values);
	return sum;
}

int main(int argc, char **argv)
{
	unsigned long long sent = 0, sources, expected;
	unsigned int peers, count, i;

	if (argc != 3)
		return 2;
	peers = atoi(argv[1]);
	sources = strtoull(argv[2], NULL, 10);
	skel = flows_bpf__open();
	if (!skel)
		die("flows: open");
	skel->rodata->flow_table.buckets = ENTRIES / FLOW_WAYS;
	/* 2 minutes and 30 s, as attach sets them */
	skel->rodata->flow_table.timeout = (120000000000ULL >> TICK_SHIFT) + 1;
	skel->rodata->flow_table.drain_timeout = (30000000000ULL >> TICK_SHIFT) + 1;
	for (i = 0; i < 6; i++)
		skel->rodata->flow_table.key[i] = (i + 1) * 0x9e3779b97f4a7c15;
	if (bpf_map__set_max_entries(skel->maps.flows, ENTRIES / FLOW_WAYS) ||
	    flows_bpf__load(skel))
		die("flows: load");

	skel->bss->current = 1;
	send_from(0, peers);
	send_from(0, peers);
	expected = peers;
	skel->bss->current = 2;
	do {
		count = sources - sent < PIECE ? sources - sent : PIECE;
		if (count)
			send_from(OTHERS + sent, count);
		sent += count;
		send_from(0, peers);
		expected += peers;
	} while (sent < sources);

	printf("%llu sources, %llu of %llu datagrams of known peers reached generation 1\n", sent,
	       (unsigned long long)skel->bss->known[1], expected);
	printf("added %llu, evicted %llu, expired %llu, refused %llu of %u entries\n",
	       read_stat(FLOW_ADDED), read_stat(FLOW_EVICTED), read_stat(FLOW_EXPIRED),
	       read_stat(FLOW_REFUSED), ENTRIES);
	if (read_stat(FLOW_ADDED) + read_stat(FLOW_EVICTED) + read_stat(FLOW_EXPIRED) +
		    read_stat(FLOW_REFUSED) + read_stat(FLOW_REPLACED) !=
	    sent + peers) {
		fprintf(stderr, "flows: not every new peer was counted once\n");
		return 1;
	}
	return skel->bss->known[1] != expected;
}
