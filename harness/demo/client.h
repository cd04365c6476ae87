/* SPDX-License-Identifier: GPL-2.0 */
#ifndef DEMO_CLIENT_H
#define DEMO_CLIENT_H

#include "proto.h"

/* What the two loads count, in memory shared with the parent. */
struct counts {
	/* TCP connections: each ends in exactly one of these */
	unsigned int made;		/* and the right reply received */
	unsigned int refused;
	unsigned int reset;
	unsigned int stuck;		/* no reply in time */
	unsigned int wrong;		/* a reply of the wrong content */

	/* UDP connections */
	unsigned int udp_conns;		/* that got an id */
	unsigned int udp_live;		/* at this time */
	unsigned int udp_hit;		/* with a datagram misdelivered or lost */

	/* Datagrams: each that is sent ends in exactly one of the other four */
	unsigned int sent;
	unsigned int answered;
	unsigned int misdelivered;	/* not the worker that the id names replied */
	unsigned int lost;		/* no reply in time */
	unsigned int garbled;		/* a reply of the wrong content */
};

void tcp_load(struct counts *counts);
void udp_load(struct counts *counts);

/* A non-blocking socket on its way to the server, at 127.0.0.1. */
int connect_to_server(int type, unsigned int source);

#endif
