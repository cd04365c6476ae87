// SPDX-License-Identifier: GPL-2.0
/* flows: the UDP peers that a service knows. */
#include <arpa/inet.h>

#include <bpf/bpf.h>

#include "args.h"
#include "store.h"

static void print_flow(const struct peer *peer, const struct flow *flow, __u64 now)
{
	bool ipv4 = !peer->address[0] && !peer->address[1] && peer->address[2] == htonl(0xffff);
	double silent = now - flow->seen / 1000000.0;
	char address[INET6_ADDRSTRLEN];

	inet_ntop(ipv4 ? AF_INET : AF_INET6, ipv4 ? &peer->address[3] : peer->address, address,
		  sizeof(address));
	if (silent < 0)
		silent = 0;
	if (json) {
		jsonw_start_object(json);
		jsonw_string_field(json, "address", address);
		jsonw_uint_field(json, "port", ntohs(peer->port));
		jsonw_uint_field(json, "generation", flow->generation);
		jsonw_uint_field(json, "slot", flow->slot);
		jsonw_uint_field(json, "packets", flow->packets);
		jsonw_uint_field(json, "silent_ms", silent);
		jsonw_end_object(json);
	} else {
		printf(ipv4 ? "%s:%u" : "[%s]:%u", address, ntohs(peer->port));
		printf("  generation %u  slot %u  packets %llu  silent %.1f s\n", flow->generation,
		       flow->slot, flow->packets, silent / 1e3);
	}
}

static void print_flows(const struct service *service)
{
	struct peer peer, *last = NULL, next;
	struct flow flow;
	int count = 0;

	if (json)
		jsonw_start_array(json);
	while (!bpf_map_get_next_key(service->flows, last, &next)) {
		peer = next;
		last = &peer;
		/* otherwise it has just been evicted */
		if (!bpf_map_lookup_elem(service->flows, &peer, &flow)) {
			print_flow(&peer, &flow, now_ms());
			count++;
		}
	}
	if (json)
		jsonw_end_array(json);
	else
		printf("%d flow%s\n", count, count == 1 ? "" : "s");
}

int cmd_flows(const struct arguments *args)
{
	struct service service;
	int err = 0;

	if (args_require_name(args) || service_open(&service, args->words[0]))
		return -1;
	if (service.config.steering.mode == UDP_FLOW)
		print_flows(&service);
	else
		err = fail("service %s keeps no flows: only services attached with --udp flow do",
			   service.name);
	service_close(&service);
	return err;
}
