/* SPDX-License-Identifier: GPL-2.0 */
#ifndef DEMO_CLIENT_H
#define DEMO_CLIENT_H

#include "proto.h"

/* The counters of both loads, in memory shared with the parent. */
struct counts {
	/* TCP connections: each is counted in exactly one of these */
	unsigned int made;		/* with the correct reply */
	unsigned int refused;
	unsigned int reset;
	unsigned int stuck;		/* no reply in time */
	unsigned int wrong;		/* a wrong reply */

	/* UDP connections */
	unsigned int udp_conns;		/* that got an id */
	unsigned int udp_live;		/* currently */
	unsigned int udp_hit;		/* with a datagram misdelivered or lost */

	/* Datagrams: each one sent is counted in exactly one of the other four */
	unsigned int sent;
	unsigned int answered;
	unsigned int misdelivered;	/* answered by another worker than the id names */
	unsigned int lost;		/* no reply in time */
	unsigned int garbled;		/* a wrong reply */
};

void tcp_load(struct counts *counts);
void udp_load(struct counts *counts);

/* A non-blocking socket that connects to the server at 127.0.0.1. */
int connect_to_server(int type, unsigned int source);

#endif
