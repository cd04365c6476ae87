// SPDX-License-Identifier: GPL-2.0
/* Protocol, address and port, as people write them. */
#include <arpa/inet.h>
#include <net/if.h>
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

static int parse_interface(const char *name, struct endpoint *endpoint)
{
	endpoint->interface = if_nametoindex(name);
	if (endpoint->interface)
		return 0;
	return fail("there is no interface \"%s\" in this network namespace: ip link lists them",
		    name);
}

int endpoint_parse(const char *text, struct endpoint *endpoint)
{
	char address[INET6_ADDRSTRLEN + IFNAMSIZ + 4], *interface, *end, *rest;
	const char *colon = strrchr(text, ':');
	unsigned long port;

	if (!colon || colon - text >= (int)sizeof(address))
		goto invalid;
	port = strtoul(colon + 1, &rest, 10);
	if (*rest || !port || port > 65535)
		goto invalid;
	endpoint->port = htons(port);

	sprintf(address, "%.*s", (int)(colon - text), text);
	/* [fe80::1%eth0]:80, or as ss prints it: [fe80::1]%eth0:80 */
	interface = strchr(address, '%');
	if (interface)
		*interface++ = '\0';
	endpoint->family = *address == '[' ? AF_INET6 : AF_INET;
	if (endpoint->family == AF_INET6) {
		end = strchr(address, ']');
		if (!end && interface)
			end = strchr(interface, ']');
		if (!end || end[1])
			goto invalid;
		*end = '\0';
	}
	memset(endpoint->address, 0, sizeof(endpoint->address));
	if (inet_pton(endpoint->family, address + (*address == '['), endpoint->address) == 1)
		return interface ? parse_interface(interface, endpoint) : 0;
invalid:
	return fail("\"%s\" is not an address and port: write 192.0.2.1:80 or [2001:db8::1]:80, "
		    "with 0.0.0.0 or [::] for a server that is bound to all addresses, and "
		    "[fe80::1%%eth0]:80 for one that is bound to an interface", text);
}

const char *endpoint_format(const struct endpoint *endpoint, char *text)
{
	char address[INET6_ADDRSTRLEN], interface[IFNAMSIZ + 1] = "", name[IFNAMSIZ];

	inet_ntop(endpoint->family, endpoint->address, address, sizeof(address));
	if (endpoint->interface && if_indextoname(endpoint->interface, name))
		sprintf(interface, "%%%s", name);
	else if (endpoint->interface)
		sprintf(interface, "%%%u", endpoint->interface);
	snprintf(text, ENDPOINT_LEN, endpoint->family == AF_INET ? "%s%s:%u" : "[%s%s]:%u",
		 address, interface, ntohs(endpoint->port));
	return text;
}

bool endpoint_is_equal(const struct endpoint *a, const struct endpoint *b)
{
	return a->protocol == b->protocol && a->family == b->family && a->port == b->port &&
	       !memcmp(a->address, b->address, a->family == AF_INET ? 4 : 16) &&
	       (!a->interface || !b->interface || a->interface == b->interface);
}

bool endpoint_is_wildcard(const struct endpoint *endpoint)
{
	const __be32 *a = endpoint->address;

	return !a[0] && (endpoint->family == AF_INET || (!a[1] && !a[2] && !a[3]));
}
