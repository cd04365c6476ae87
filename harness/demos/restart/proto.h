/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The protocol of the server and its clients.
 */
#ifndef DEMO_PROTO_H
#define DEMO_PROTO_H

#include <linux/types.h>

#define PORT	7000	/* TCP and UDP */
#define WORKERS	4	/* processes of one generation */

/*
 * Identifies a UDP connection by the process that has its state. The client sends it
 * in every datagram, where reuseportctl reads it (--udp id:4:4). Generations start
 * at 1; a generation of 0 means that the client has no id yet.
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
	NOT_MINE,	/* the same, to a datagram with another worker's id */
};

/* Proves to the client that the server has read this request. */
static inline __u64 answer_to(__u32 number)
{
	return (number + 1) * 0x9e3779b97f4a7c15ULL;
}

#endif
