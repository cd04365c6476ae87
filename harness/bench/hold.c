// SPDX-License-Identifier: GPL-2.0
/* How long reuseport_lock is held at most: a chunk of a batch is done in one hold. A sample is the
 * whole call with a batch of that size, which is more than the hold. The sockets' group also has
 * listeners that have been stopped: with connection migration enabled they stay in it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>

#include "common.h"

#define PORT		1024
#define CHUNK		32	/* REUSEPORT_ARRAY_BATCH_CHUNK */
#define ROUNDS		64
#define ENOTSUPP	524

static void enable_migration(void)
{
	int fd = must(open("/proc/sys/net/ipv4/tcp_migrate_req", O_WRONLY));

	must(write(fd, "1", 1));
	close(fd);
}

static int listener_open(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(PORT),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = must(socket(AF_INET, SOCK_STREAM, 0)), one = 1;

	must(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)));
	must(bind(fd, (void *)&address, sizeof(address)));
	must(listen(fd, 16));
	return fd;
}

static long do_batch(int command, int map, u32 *keys, u64 *values)
{
	union bpf_attr attr = {
		.batch = {
			.keys = (long)keys,
			.values = (long)values,
			.count = CHUNK,
			.map_fd = map,
		},
	};

	return call_bpf(command, &attr, ATTR_SIZE(batch.flags));
}

static void measure_chunks(int map, const int *sockets, u32 size)
{
	struct series update = {}, delete = {};
	u32 keys[CHUNK];
	u64 values[CHUNK];
	long err = 0;

	for (u32 i = 0; i < CHUNK; i++) {
		keys[i] = i;
		values[i] = sockets[i];
	}
	for (int round = -1; round < ROUNDS && !err; round++) {
		err = MEASURE(&update, do_batch(BPF_MAP_UPDATE_BATCH, map, keys, values));
		if (err == -ENOTSUPP)
			break;
		must(err);
		must(MEASURE(&delete, do_batch(BPF_MAP_DELETE_BATCH, map, keys, NULL)));
		if (round < 0)
			update.count = delete.count = 0;
	}
	if (err) {
		skip("chunk-update", "map", size);
		skip("chunk-delete", "map", size);
		return;
	}
	report(&update, "chunk-update", "map", size, 1);
	report(&delete, "chunk-delete", "map", size, 1);
}

void bench_hold(u32 size)
{
	int *stopped = malloc(size * sizeof(*stopped)), sockets[CHUNK], map;

	if (!stopped)
		die("out of memory");
	enable_migration();
	for (u32 i = 0; i < CHUNK; i++)
		sockets[i] = listener_open();
	for (u32 i = 0; i < size; i++) {
		stopped[i] = listener_open();
		must(shutdown(stopped[i], SHUT_RD));
	}
	map = map_create(REUSEPORT, CHUNK);
	settle();
	measure_chunks(map, sockets, size);

	close(map);
	for (u32 i = 0; i < CHUNK; i++)
		close(sockets[i]);
	/* The last one is the first that the group finds. */
	while (size)
		close(stopped[--size]);
	free(stopped);
	settle();
}
