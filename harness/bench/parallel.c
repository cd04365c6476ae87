// SPDX-License-Identifier: GPL-2.0
/* Two CPUs at once. There is no exact clock for that: the figures are nanoseconds of
 * the guest, good for a ratio between two kernels on one machine and no more.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/socket.h>

#include "common.h"

#define PORT	1024
#define SLOTS	16
#define ROUNDS	30
#define CALLS	4000

struct worker {
	pthread_t thread;
	int cpu;
	int map;
	int *sockets;
	u32 first, last;	/* slots */
};

static volatile bool go_on;

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	must(sched_setaffinity(0, sizeof(set), &set));
}

static u64 ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static void update_and_delete(struct worker *w, u32 slot)
{
	must(map_update(w->map, slot, w->sockets[slot]));
	must(map_delete(w->map, slot));
}

static void *disturb(void *argument)
{
	struct worker *w = argument;

	pin(w->cpu);
	while (go_on)
		for (u32 slot = w->first; slot <= w->last; slot++)
			update_and_delete(w, slot);
	return NULL;
}

static void start(struct worker *w)
{
	if (!w)
		return;
	go_on = true;
	if (pthread_create(&w->thread, NULL, disturb, w))
		die("no thread");
	usleep(10000);
}

static void stop(struct worker *w)
{
	if (!w)
		return;
	go_on = false;
	pthread_join(w->thread, NULL);
}

/* Updates and deletes on this CPU, alone or while @other does the same. */
static void measure_calls(struct worker *own, struct worker *other, const char *row)
{
	struct series s = {};

	start(other);
	for (int round = -2; round < ROUNDS; round++) {
		u64 begin = ns();

		for (u32 i = 0; i < CALLS; i++)
			update_and_delete(own, i % SLOTS);
		if (round >= 0)
			sample(&s, ns() - begin);
	}
	stop(other);
	report(&s, row, "map", SLOTS, CALLS);
}

/* Datagrams that the map's slot 0 gets, alone or while @other works on the map. */
static void measure_select(const int *sockets, struct worker *other, const char *row)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(PORT),
	};
	int client = must(socket(AF_INET, SOCK_DGRAM, 0));
	struct series s = {};
	u64 data = 0;

	must(connect(client, (void *)&address, sizeof(address)));
	start(other);
	for (int round = -2; round < ROUNDS; round++) {
		u64 begin = ns();

		for (u32 i = 0; i < CALLS; i++) {
			must(write(client, &data, sizeof(data)));
			must(read(sockets[0], &data, sizeof(data)));
		}
		if (round >= 0)
			sample(&s, ns() - begin);
	}
	stop(other);
	report(&s, row, "map", SLOTS, CALLS);
	close(client);
}

void bench_parallel(void)
{
	int *sockets = sockets_open(SOCK_DGRAM, 2 * SLOTS, PORT), program;
	struct worker a = { .map = map_create(REUSEPORT, SLOTS), .sockets = sockets };
	struct worker b = { .map = map_create(REUSEPORT, SLOTS), .sockets = sockets + SLOTS,
			    .cpu = 1, .last = SLOTS - 1 };
	struct worker c = { .map = a.map, .sockets = sockets, .cpu = 1,
			    .first = 1, .last = SLOTS - 1 };

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		die("two CPUs are needed; boot with harness/guest/boot -s 2");
	pin(0);
	measure_calls(&a, NULL, "calls-alone");
	measure_calls(&a, &b, "calls-two-maps");

	must(map_update(a.map, 0, sockets[0]));
	program = program_select(a.map, 0);
	must(setsockopt(sockets[0], SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &program,
			sizeof(program)));
	measure_select(sockets, NULL, "udp-alone");
	measure_select(sockets, &c, "udp-with-updates");
}
