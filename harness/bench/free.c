// SPDX-License-Identifier: GPL-2.0
/* What it costs to make a map and to free it, how long a real-time thread has to wait
 * meanwhile, and the memory of a slot.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/socket.h>

#include "common.h"

#define PORT		1024
#define PERIOD		25000		/* of the real-time thread, ns */
#define CALM		40000000	/* nothing happens that long: all is done */
#define STALL_WINDOW	1000		/* ms to watch after a close */

static void be(int policy, int priority)
{
	struct sched_param parameter = { .sched_priority = priority };

	must(sched_setscheduler(0, policy, &parameter));
}

/* The work of all other threads, measured by a thread of the lowest priority as the gaps
 * between its clock readings. Ends after @calm instructions without a gap larger than that
 * of a timer tick.
 */
static u64 others_work(u64 calm, u64 tick_work, u64 *ticks_seen)
{
	u64 begin = now(), work = 0, ticks = 0, busy = begin, before, after = begin;

	do {
		before = after;
		for (volatile int i = 0; i < 20; i++)
			;
		after = now();
		if (after - before > 600) {
			work += after - before;
			ticks++;
		}
		if (after - before > 4 * tick_work)
			busy = after;
	} while (after - busy < calm);
	if (ticks_seen)
		*ticks_seen = ticks;
	return work;
}

/* One free, from the close on; the share of the timer ticks is taken off. */
static u64 work_of_free(int map)
{
	u64 ticks, per_tick, work, begin, closing;

	settle();
	be(SCHED_IDLE, 0);
	work = others_work(CALM, 1000000, &ticks);
	per_tick = ticks ? work / ticks : 0;
	begin = now();
	close(map);
	closing = now() - begin;
	begin = now();
	work = others_work(CALM, per_tick ? per_tick : 5000, NULL);
	ticks = (now() - begin) / 4000000;
	be(SCHED_FIFO, 1);
	work += closing;
	return work > ticks * per_tick ? work - ticks * per_tick : 0;
}

static volatile bool watching;

static void *watch(void *longest_wait)
{
	u64 *longest = longest_wait;
	struct timespec next, woken;

	be(SCHED_FIFO, 50);
	clock_gettime(CLOCK_MONOTONIC, &next);
	while (watching) {
		long late;

		next.tv_nsec += PERIOD;
		if (next.tv_nsec >= 1000000000) {
			next.tv_nsec -= 1000000000;
			next.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
		clock_gettime(CLOCK_MONOTONIC, &woken);
		late = (woken.tv_sec - next.tv_sec) * 1000000000 + woken.tv_nsec - next.tv_nsec;
		if (late > (long)*longest)
			*longest = late;
		/* Late by more than a period: do not catch up on what was missed. */
		if (late > PERIOD)
			next = woken;
	}
	return NULL;
}

/* The longest wait of a real-time thread from the close of @map until all is quiet. */
static u64 stall_of_free(int map)
{
	pthread_t thread;
	u64 longest = 0;

	settle();
	watching = true;
	if (pthread_create(&thread, NULL, watch, &longest))
		die("no thread");
	usleep(1000);
	longest = 0;
	close(map);
	usleep(STALL_WINDOW * 1000);
	watching = false;
	pthread_join(thread, NULL);
	return longest;
}

static int map_with(int *sockets, bool occupied, u32 slots)
{
	int map = map_create(REUSEPORT, slots);

	if (occupied)
		must(map_update(map, slots - 1, sockets[0]));
	return map;
}

void bench_free(u32 slots)
{
	int *sockets = sockets_open(SOCK_DGRAM, 1, PORT);
	struct series create = {};

	for (int i = 0; i < 4; i++) {
		close(MEASURE(&create, map_create(REUSEPORT, slots)));
		settle();
	}
	report(&create, "create", "map", slots, 1);

	for (int occupied = 0; occupied < 2; occupied++) {
		struct series work = {}, stall = {};

		for (int i = 0; i < (slots > 4096 ? 2 : 7); i++) {
			sample(&work, work_of_free(map_with(sockets, occupied, slots)));
			sample(&stall, stall_of_free(map_with(sockets, occupied, slots)));
		}
		report(&work, occupied ? "free-one" : "free-empty", "map", slots, 1);
		report(&stall, occupied ? "stall-one" : "stall-empty", "map", slots, 1);
	}
	sockets_close(sockets, 1);
}

static u64 map_memory(u32 slots)
{
	int map = map_create(REUSEPORT, slots);
	unsigned long long memory = 0;
	char line[128];
	FILE *info;

	snprintf(line, sizeof(line), "/proc/self/fdinfo/%d", map);
	info = fopen(line, "r");
	while (info && fgets(line, sizeof(line), info))
		sscanf(line, "memlock: %llu", &memory);
	if (!memory)
		die("no memlock line in fdinfo of a map");
	fclose(info);
	close(map);
	return memory;
}

void bench_memory(void)
{
	struct series s = {};

	sample(&s, map_memory(1 << 20) - map_memory(1 << 10));
	report(&s, "bytes-per-slot", "map", 1 << 20, (1 << 20) - (1 << 10));
	sample(&s, map_memory(1));
	report(&s, "bytes", "map", 1, 1);
}
