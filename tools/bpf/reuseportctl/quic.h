/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 2: the connection ids of a QUIC service, as quic.bpf.h has them. */
#ifndef __REUSEPORTCTL_QUIC_H
#define __REUSEPORTCTL_QUIC_H

#include "sockets.h"
#include "store.h"

/* Can a program see the packets that servers send? That takes cgroup v2. */
bool quic_can_learn(void);
/* Attach the program that learns ids to the root of the cgroup hierarchy. Return a link or -1. */
int quic_attach(int program);
/* The entries of quic_cookies, a power of two. */
__u32 quic_nr_cookies(const struct service *service);
struct quic_constants quic_constants(const struct service *service);
/* Let ids that begin with the cookie of a socket lead to it. Nothing is done for a service of
 * another kind.
 */
int quic_add_cookie(const struct service *service, __u32 number, __u32 slot, __u64 cookie);

struct quic_stats {
	struct quic_service service;
	__u64 entries;
	__u64 first, pending, known;	/* ids of each kind that have not ended */
};

int quic_read_stats(const struct service *service, struct quic_stats *stats);

#endif
