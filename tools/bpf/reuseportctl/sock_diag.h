/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __REUSEPORTCTL_SOCK_DIAG_H
#define __REUSEPORTCTL_SOCK_DIAG_H

#include <netinet/in.h>
#include "main.h"

struct endpoint {
	__u32 protocol;		/* IPPROTO_TCP or IPPROTO_UDP */
	__u32 family;
	__be32 address[4];	/* IPv4: the first one */
	__be16 port;
};

/* A socket that listens at an endpoint, or is bound to it, as sock_diag tells of it. */
struct endpoint_socket {
	__u64 cookie;
	__u32 inode;		/* 0: no process has it */
	__u32 uid;
	__u32 interface;	/* that it is bound to; 0: to none */
	__u32 v6only;
	__u32 queue;		/* TCP: connections to accept; UDP: bytes */
	__u32 drops;
};

/* "ADDR:PORT" or "[ADDR]:PORT" */
int parse_endpoint(const char *text, struct endpoint *endpoint);
/* Enough room for any: 64 */
const char *format_endpoint(const struct endpoint *endpoint, char *text);

/* The sockets at @endpoint in our network namespace. Return how many, or -1. */
int sock_diag_sockets(const struct endpoint *endpoint, struct endpoint_socket **list);

#endif
