/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the program in the kernel, the server and its clients agree on.
 */
#ifndef DEMO_PROTO_H
#define DEMO_PROTO_H

#include <linux/in.h>
#include <linux/types.h>

#define PORT	7000	/* TCP and UDP */
#define WORKERS	4	/* processes of one generation */

/* -- On the wire ----------------------------------------------------------- */

/*
 * The server's name for a UDP connection: the process that keeps its state.
 * The client puts it into every datagram. Generations count from 1, so a
 * generation of 0 says "I have no id yet".
 */
struct conn_id {
	__be16 generation;
	__be16 worker;
};

/* One request or reply; the same over TCP and UDP. */
struct message {
	__be32 magic;
	struct conn_id id;	/* over TCP only in the reply */
	__be32 kind;
	__be32 number;		/* the client's, returned in the reply */
	__be64 answer;		/* in the reply: answer_to(number) */
};

#define MAGIC		0x48525354	/* "HRST" */

enum {
	ASK = 1,	/* client to server */
	ANSWER,		/* server to client; id says who answers */
	NOT_MINE,	/* likewise, to a datagram that carries another's id */
};

/* Shows the client that the server has read this very request. */
static inline __u64 answer_to(__u32 number)
{
	return (number + 1) * 0x9e3779b97f4a7c15ULL;
}

/* -- In the maps ----------------------------------------------------------- */

/*
 * The outer map holds one inner map per generation, in a place that follows
 * from its number, and once more, in place CURRENT, the inner map of the
 * generation that gets the new connections.
 */
#define CURRENT	0
#define KEPT	8	/* generations that may be alive at a time */
#define PLACES	(1 + KEPT)

static inline __u32 place_of(__u16 generation)
{
	return 1 + generation % KEPT;
}

/*
 * An inner map holds two sockets per worker. Each protocol has slots of its
 * own: to pick a TCP socket for a datagram is an error (EPROTOTYPE).
 */
#define SLOTS	(2 * WORKERS)

static inline __u32 slot_of(__u16 worker, __u32 protocol)
{
	return 2 * worker + (protocol == IPPROTO_UDP);
}

#endif
