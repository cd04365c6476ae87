// SPDX-License-Identifier: GPL-2.0
/* flows: the UDP peers that a service knows. */
#include <arpa/inet.h>

#include "args.h"
#include "flow_table.h"

static void print_flow(const struct service *service, const struct flow *flow, void *arg)
{
	const __be32 *address = flow->address;
	bool ipv4 = !address[0] && !address[1] && address[2] == htonl(0xffff);
	char text[INET6_ADDRSTRLEN];
	int *count = arg;

	if (flow_has_ended(service, flow))
		return;
	++*count;
	inet_ntop(ipv4 ? AF_INET : AF_INET6, ipv4 ? &address[3] : address, text, sizeof(text));
	if (json) {
		jsonw_start_object(json);
		jsonw_string_field(json, "address", text);
		jsonw_uint_field(json, "port", ntohs(flow->port));
		jsonw_uint_field(json, "generation", flow->generation);
		jsonw_uint_field(json, "slot", flow->slot);
		jsonw_uint_field(json, "packets", flow->packets);
		jsonw_uint_field(json, "silent_ms", flow_silence(flow));
		jsonw_end_object(json);
	} else {
		printf(ipv4 ? "%s:%u" : "[%s]:%u", text, ntohs(flow->port));
		printf("  generation %u  slot %u  packets %u  silent %.1f s\n", flow->generation,
		       flow->slot, flow->packets, flow_silence(flow) / 1e3);
	}
}

static int print_flows(const struct service *service)
{
	int count = 0, err;

	if (json)
		jsonw_start_array(json);
	err = flow_table_visit(service, print_flow, &count);
	if (json)
		jsonw_end_array(json);
	else
		printf("%d flow%s\n", count, count == 1 ? "" : "s");
	return err;
}

int cmd_flows(const struct arguments *args)
{
	struct service service;
	int err = 0;

	if (args_require_name(args) || service_open(&service, args->words[0]))
		return -1;
	if (service.config.steering.mode == UDP_FLOW || service.config.steering.mode == UDP_QUIC)
		err = print_flows(&service);
	else
		err = fail("service %s keeps no flows: only services attached with --udp flow or "
			   "quic do", service.name);
	service_close(&service);
	return err;
}
