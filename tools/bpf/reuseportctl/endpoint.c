// SPDX-License-Identifier: GPL-2.0
/* Protocol, address and port, as people write them. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint.h"

const char *protocol_name(__u32 protocol)
{
	return protocol == IPPROTO_TCP ? "tcp" : "udp";
}

int endpoint_parse_protocol(const char *text, struct endpoint *endpoint)
{
	if (!strcmp(text, "tcp"))
		endpoint->protocol = IPPROTO_TCP;
	else if (!strcmp(text, "udp"))
		endpoint->protocol = IPPROTO_UDP;
	else
		return fail("\"%s\" is not a protocol: use tcp or udp", text);
	return 0;
}

int endpoint_parse(const char *text, struct endpoint *endpoint)
{
	const char *colon = strrchr(text, ':'), *end = colon;
	char address[INET6_ADDRSTRLEN + 1];
	unsigned long port;
	char *rest;

	if (!colon)
		goto invalid;
	port = strtoul(colon + 1, &rest, 10);
	if (*rest || !port || port > 65535)
		goto invalid;
	endpoint->port = htons(port);

	endpoint->family = AF_INET;
	if (*text == '[') {
		endpoint->family = AF_INET6;
		text++;
		end = colon - 1;
		if (end < text || *end != ']')
			goto invalid;
	}
	if ((size_t)(end - text) >= sizeof(address))
		goto invalid;
	memcpy(address, text, end - text);
	address[end - text] = '\0';
	memset(endpoint->address, 0, sizeof(endpoint->address));
	if (inet_pton(endpoint->family, address, endpoint->address) == 1)
		return 0;
invalid:
	return fail("\"%s\" is not an address and port: write 192.0.2.1:80 or [2001:db8::1]:80, "
		    "with 0.0.0.0 or [::] for a server that is bound to all addresses", text);
}

const char *endpoint_format(const struct endpoint *endpoint, char *text)
{
	char address[INET6_ADDRSTRLEN];

	inet_ntop(endpoint->family, endpoint->address, address, sizeof(address));
	snprintf(text, ENDPOINT_LEN, endpoint->family == AF_INET ? "%s:%u" : "[%s]:%u", address,
		 ntohs(endpoint->port));
	return text;
}

bool endpoint_is_equal(const struct endpoint *a, const struct endpoint *b)
{
	return a->protocol == b->protocol && a->family == b->family && a->port == b->port &&
	       !memcmp(a->address, b->address, a->family == AF_INET ? 4 : 16);
}

bool endpoint_is_wildcard(const struct endpoint *endpoint)
{
	const __be32 *a = endpoint->address;

	return !a[0] && (endpoint->family == AF_INET || (!a[1] && !a[2] && !a[3]));
}
