// SPDX-License-Identifier: GPL-2.0
/* usage: bench GROUP SIZE...
 *
 * Run in the guest. A line per result: row, map, size, samples, mean, median, shortest,
 * longest, tab between them; no samples means that this kernel cannot do it.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "common.h"

static void run(const char *group, u32 size)
{
	if (!strcmp(group, "udp"))
		bench_select(SOCK_DGRAM, size);
	else if (!strcmp(group, "syn"))
		bench_select(SOCK_STREAM, size);
	else if (!strcmp(group, "lookup"))
		bench_lookup(size);
	else if (!strcmp(group, "service-udp"))
		bench_service(SOCK_DGRAM, size);
	else if (!strcmp(group, "service-syn"))
		bench_service(SOCK_STREAM, size);
	else if (!strcmp(group, "quic"))
		bench_quic(size);
	else if (!strcmp(group, "calls"))
		bench_calls(size);
	else if (!strcmp(group, "batch"))
		bench_batch(size);
	else if (!strcmp(group, "close-udp"))
		bench_close(SOCK_DGRAM, size);
	else if (!strcmp(group, "close-tcp"))
		bench_close(SOCK_STREAM, size);
	else if (!strcmp(group, "hold"))
		bench_hold(size);
	else if (!strcmp(group, "free"))
		bench_free(size);
	else if (!strcmp(group, "memory"))
		bench_memory();
	else if (!strcmp(group, "parallel"))
		bench_parallel();
	else
		die("no group %s; there are udp syn lookup service-udp service-syn quic calls "
		    "batch close-udp close-tcp hold free memory parallel", group);
}

int main(int count, char **arguments)
{
	const struct rlimit files = { 1000000, 1000000 };
	const struct sched_param priority = { .sched_priority = 1 };

	if (count < 3)
		die("usage: bench GROUP SIZE...");
	must(setrlimit(RLIMIT_NOFILE, &files));
	if (strcmp(arguments[1], "parallel")) {
		/* No other thread runs unless this one sleeps. */
		must(sched_setscheduler(0, SCHED_FIFO, &priority));
		must(mlockall(MCL_CURRENT | MCL_FUTURE));
		clock_check(true);
	}
	for (int i = 2; i < count; i++)
		run(arguments[1], strtoul(arguments[i], NULL, 0));
	return 0;
}
