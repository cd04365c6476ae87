// SPDX-License-Identifier: GPL-2.0
/*
 * Measure how long this machine stood still: usage: stalls
 *
 * A guest whose host is busy, or that is stopped, does not run, while its clock, which
 * follows the host's, goes on. A process of the highest priority sees that: it sleeps for 10 ms
 * at a time and is late by the time for which the guest did not run. Load in the guest alone
 * does not delay it.
 *
 * Until SIGTERM; then prints "longest SECONDS total SECONDS of SECONDS".
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>

#define INTERVAL	10000000LL	/* ns */
#define TOLERANCE	20000000LL	/* a late timer, not a stall */

static volatile sig_atomic_t stop;

static void on_term(int signal)
{
	(void)signal;
	stop = 1;
}

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(void)
{
	struct sched_param param = { .sched_priority = 50 };
	long long begin, before, late, longest = 0, total = 0;
	struct timespec interval = { .tv_nsec = INTERVAL };

	signal(SIGTERM, on_term);
	if (sched_setscheduler(0, SCHED_FIFO, &param) || mlockall(MCL_CURRENT)) {
		perror("stalls: cannot get a real-time priority");
		return 1;
	}
	begin = now_ns();
	while (!stop) {
		before = now_ns();
		nanosleep(&interval, NULL);
		late = now_ns() - before - INTERVAL;
		if (late < TOLERANCE)
			continue;
		total += late;
		if (late > longest)
			longest = late;
	}
	printf("longest %.3f total %.3f of %.3f\n", longest / 1e9, total / 1e9,
	       (now_ns() - begin) / 1e9);
	return 0;
}
