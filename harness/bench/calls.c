// SPDX-License-Identifier: GPL-2.0
/* What the system calls on a map cost per slot, one by one and in batches, and what a
 * socket in a map costs more than another when it is closed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>

#include "common.h"

#define PORT		1024
#define ENOTSUPP	524

struct call {
	union bpf_attr attr;
	u32 slot;
	u32 next;
	u64 value;
};

static const int map_types[] = { REUSEPORT, SOCKMAP, SOCKHASH };

static void call_init(struct call *call, int map)
{
	*call = (struct call){ .attr.map_fd = map };
	call->attr.key = (long)&call->slot;
	call->attr.value = (long)&call->value;
}

static long make(struct call *call, int command)
{
	/* The kernel refuses what a command does not use. */
	if (command == BPF_MAP_DELETE_ELEM)
		call->attr.value = 0;
	return call_bpf(command, &call->attr, ATTR_SIZE(flags));
}

/* @command on each slot of the map, with @sockets as the values, if there are any. */
static void each(struct call *call, int command, const int *sockets, u32 size,
		 const char *row, const char *map)
{
	struct series s = {};

	quiet(1000000);
	for (u32 i = 0; i < size; i++) {
		long err;

		call->slot = i;
		if (sockets)
			call->value = sockets[i];
		err = MEASURE(&s, make(call, command));
		if (err)
			die("%s %s, slot %u of %u: %s", row, map, i, size, strerror(-err));
	}
	report(&s, row, map, size, 1);
}

static void walk(struct call *call, u32 size, const char *map)
{
	struct series s = {};

	/* The key of a SOCKHASH is wherever its hash says: take what comes next. */
	call->attr.key = 0;
	call->attr.next_key = (long)&call->slot;
	for (u32 i = 0; i < size; i++) {
		long err = MEASURE(&s, make(call, BPF_MAP_GET_NEXT_KEY));

		if (err)
			die("next-key %s, %u of %u: %s", map, i, size, strerror(-err));
		call->attr.key = (long)&call->slot;
	}
	report(&s, "next-key", map, size, 1);
}

/* Replacing: the socket that leaves a slot goes into the next. */
static void replace(int map, int *sockets, u32 size, const char *name)
{
	int spare = sockets[size];
	struct call call;

	memmove(sockets + 1, sockets, size * sizeof(*sockets));
	sockets[0] = spare;
	call_init(&call, map);
	each(&call, BPF_MAP_UPDATE_ELEM, sockets, size, "replace", name);
}

void bench_calls(u32 size)
{
	for (u32 i = 0; i < sizeof(map_types) / sizeof(*map_types); i++) {
		int *sockets = sockets_open(SOCK_DGRAM, size + 1, PORT);
		const char *name = map_name(map_types[i]);
		int map = map_create(map_types[i], size);
		struct call call;

		/* Once round before: what is made at a first use is there then. */
		must(map_update(map, 0, sockets[size]));
		must(map_delete(map, 0));
		settle();

		call_init(&call, map);
		each(&call, BPF_MAP_UPDATE_ELEM, sockets, size, "update", name);
		each(&call, BPF_MAP_LOOKUP_ELEM, NULL, size, "lookup-first", name);
		each(&call, BPF_MAP_LOOKUP_ELEM, NULL, size, "lookup", name);
		walk(&call, size, name);
		replace(map, sockets, size, name);
		call_init(&call, map);
		each(&call, BPF_MAP_DELETE_ELEM, NULL, size, "delete", name);

		close(map);
		sockets_close(sockets, size + 1);
	}
}

void bench_batch(u32 size)
{
	int *sockets = sockets_open(SOCK_DGRAM, size, PORT), map = map_create(REUSEPORT, size);
	u32 rounds = size < 1000 ? 64 : size < 10000 ? 16 : 4;
	struct series update = {}, lookup = {}, delete = {};
	u32 *keys = malloc(size * sizeof(*keys)), position;
	u64 *values = malloc(size * sizeof(*values));
	bool any = false;

	for (u32 round = 0; round <= rounds; round++) {
		union bpf_attr attr = {
			.batch = { .keys = (long)keys, .values = (long)values, .map_fd = map },
		};
		const struct {
			int command;
			struct series *s;
		} steps[] = {
			{ BPF_MAP_UPDATE_BATCH, &update },
			{ BPF_MAP_LOOKUP_BATCH, &lookup },
			{ BPF_MAP_DELETE_BATCH, &delete },
		};

		for (u32 i = 0; i < size; i++) {
			keys[i] = i;
			values[i] = sockets[i];
		}
		for (int i = 0; i < 3; i++) {
			long err;

			attr.batch.count = size;
			attr.batch.out_batch = i == 1 ? (long)&position : 0;
			err = MEASURE(steps[i].s, call_bpf(steps[i].command, &attr,
							   ATTR_SIZE(batch.flags)));
			if (err == -ENOTSUPP)
				break;
			/* Asked for as many as there are, a lookup may add that it
			 * has come to the end.
			 */
			if ((err && !(i == 1 && err == -ENOENT)) || attr.batch.count != size)
				die("batch command %d on %u slots: %s, %u done", steps[i].command,
				    size, strerror(-err), attr.batch.count);
			any = true;
		}
		if (!any)
			break;
		/* The first round warms up: cookies are made, pages are touched. */
		if (!round)
			update.count = lookup.count = delete.count = 0;
	}
	if (any) {
		report(&update, "batch-update", "map", size, size);
		report(&lookup, "batch-lookup", "map", size, size);
		report(&delete, "batch-delete", "map", size, size);
	} else {
		skip("batch-update", "map", size);
		skip("batch-lookup", "map", size);
		skip("batch-delete", "map", size);
	}
	free(keys);
	free(values);
	close(map);
	sockets_close(sockets, size);
}

/* Close the sockets of up to 16 groups, as they were opened. */
static void close_some(int *sockets, u32 size, u32 slots, const char *row, const char *map)
{
	u32 count = size < 16 * GROUP ? size : 16 * GROUP;
	struct series s = {};

	settle();
	for (u32 i = 0; i < count; i++) {
		MEASURE(&s, call3(__NR_close, sockets[i], 0, 0));
		/* What it leaves behind is freed before the next one. */
		if (i % GROUP == GROUP - 1)
			settle();
	}
	report(&s, row, map, slots, 1);
	sockets_close(sockets, size);
}

void bench_close(int type, u32 size)
{
	const char *row = type == SOCK_STREAM ? "close-tcp" : "close-udp";
	u32 others = size < 16 * GROUP ? size : 16 * GROUP;
	int *in = sockets_open(type, size, PORT);
	int *out = sockets_open(type, others, PORT + size / GROUP);
	int map = map_create(REUSEPORT, size);

	map_fill(map, in, size);
	close_some(out, others, size, row, "-");
	close_some(in, size, size, row, "map");
	close(map);
}
