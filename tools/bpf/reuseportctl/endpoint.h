/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 1: protocol, address and port. */
#ifndef __REUSEPORTCTL_ENDPOINT_H
#define __REUSEPORTCTL_ENDPOINT_H

#include <netinet/in.h>

#include "ui.h"

#define ENDPOINT_LEN	80	/* of the text of any */

struct endpoint {
	__u32 protocol;		/* IPPROTO_TCP or IPPROTO_UDP */
	__u32 family;
	__be32 address[4];	/* IPv4: the first one */
	__be16 port;
	__u32 interface;	/* index; 0: any */
};

/* "tcp" or "udp" */
int endpoint_parse_protocol(const char *text, struct endpoint *endpoint);
/* "ADDR:PORT" or "[ADDR]:PORT", or with the name of an interface, "[ADDR%IF]:PORT" */
int endpoint_parse(const char *text, struct endpoint *endpoint);
/* Write it to @text, of ENDPOINT_LEN bytes, and return that. */
const char *endpoint_format(const struct endpoint *endpoint, char *text);
const char *protocol_name(__u32 protocol);
/* 0.0.0.0 or [::] */
bool endpoint_is_wildcard(const struct endpoint *endpoint);
/* One without an interface equals that with any. */
bool endpoint_is_equal(const struct endpoint *a, const struct endpoint *b);

#endif
