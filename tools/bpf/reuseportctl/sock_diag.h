/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 1: listeners, bound UDP sockets and connections, as sock_diag reports them. */
#ifndef __REUSEPORTCTL_SOCK_DIAG_H
#define __REUSEPORTCTL_SOCK_DIAG_H

#include <stdbool.h>

#include "endpoint.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP	262
#endif

struct socket_info {
	struct endpoint at;
	__u64 cookie;
	__u32 inode;		/* 0: no process has it any more */
	__u32 uid;
	__u32 interface;	/* that it is bound to; 0: none */
	__u32 v6only;
	__u32 queue;		/* TCP: connections to accept; UDP: bytes to read */
	__u32 drops;
};

/* The sockets at @endpoint in our network namespace; a port of 0: all sockets of that
 * protocol and family. Return how many, or -1. The caller frees *@list.
 */
int sock_diag_list(const struct endpoint *endpoint, struct socket_info **list);
/* The TCP connections, or UDP sockets that are connected to a peer, at the port of @endpoint and
 * at its address, or at any of the family if that is a wildcard.
 */
int sock_diag_list_connected(const struct endpoint *endpoint, struct socket_info **list);

/* Can MPTCP listeners be in a map, and have a program, in this kernel? */
bool is_mptcp_steered(void);

#endif
