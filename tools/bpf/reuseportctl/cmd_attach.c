// SPDX-License-Identifier: GPL-2.0
/* attach: create a service for a running server.
 *
 * It makes the maps, fills the first generation and only then attaches the program to the
 * group: from one packet to the next, the same sockets are selected by another hash. All that
 * can fail comes before, so that no other program is replaced by an attach that fails.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>

#include "args.h"
#include "flow_table.h"
#include "hold.h"
#include "server.h"
#include "service.h"

static int parse_udp(const char *text, struct steering *steering)
{
	char rest;

	if (!strcmp(text, "flow")) {
		steering->mode = UDP_FLOW;
		return 0;
	}
	if (!strcmp(text, "quic")) {
		steering->mode = UDP_QUIC;
		return 0;
	}
	if (!strcmp(text, "none"))
		return 0;
	if (sscanf(text, "id:%u:%u%c", &steering->id_offset, &steering->id_len, &rest) == 2 &&
	    steering->id_offset < 1400 && steering->id_len >= 2 && steering->id_len <= 4) {
		steering->mode = UDP_ID;
		if (steering->id_offset != 1)
			return 0;
		return fail("--udp %s: at offset 1 the short headers of QUIC have their id, but "
			    "not the long ones, so handshakes would be lost: use --udp quic",
			    text);
	}
	return fail("--udp takes flow, quic, none or id:OFFSET:LEN with a LEN of 2, 3 or 4, "
		    "not \"%s\"", text);
}

/* Room for a generation of twice the size. */
static __u32 default_slots(int count)
{
	__u32 slots = 64;

	while (slots < 2 * (__u32)count && slots < MAX_SLOTS)
		slots *= 2;
	return slots;
}

/* What is to be done, found out before anything is. */
struct plan {
	const char *name;
	const __u32 *pids;
	int nr_pids;
	struct server_wait wait;
	bool force;
	struct endpoint endpoint;
	struct service_config config;
	struct flow_config flows;
	struct server server;
	char who[SERVER_LEN];
	struct held_socket *sockets;
	int count;
	bool replaces_stale;
};

static int read_flow_args(const struct arguments *args, struct plan *plan)
{
	__u32 peers = args_number(args, "--flows", 262144);
	__u64 timeout = args_number(args, "--flow-timeout", FLOW_TIMEOUT_MS);
	bool is_quic = plan->config.steering.mode == UDP_QUIC;

	if (plan->config.steering.mode != UDP_FLOW && !is_quic) {
		if (args_number(args, "--flows", 0) || args_number(args, "--flow-timeout", 0))
			return fail("--flows and --flow-timeout are for --udp flow and quic: no "
				    "other mode keeps flows");
		peers = 1;
	}
	if (timeout < 1000 || timeout > MAX_FLOW_TIMEOUT_MS)
		return fail("--flow-timeout takes 1s to 24h");
	return flow_table_configure(&plan->flows, peers, is_quic ? peers : 1, timeout);
}

static int read_args(const struct arguments *args, struct plan *plan)
{
	const char *udp = args_text(args, "--udp");
	struct steering *steering = &plan->config.steering;

	if (args_require_name(args))
		return -1;
	plan->name = args->words[0];
	plan->nr_pids = args_numbers(args, "--pid", &plan->pids);
	plan->wait = (struct server_wait){
		.server = &plan->server,
		.who = plan->who,
		.wanted = args_number(args, "--wait", 1),
		.timeout = args_number(args, "--timeout", args_flag(args, "--wait") ? 30000 : 0),
	};
	plan->force = args_flag(args, "--force");
	if (args_flag(args, "--hold"))
		plan->config.flags |= SERVICE_HOLD;
	if (plan->force)
		plan->config.flags |= SERVICE_FORCE;
	steering->slots = args_number(args, "--slots", 0);
	if (args->nr_words < 3)
		return fail("attach takes a name, tcp or udp, ADDR:PORT and --pid PID: see "
			    "reuseportctl attach --help");
	if (endpoint_parse_protocol(args->words[1], &plan->endpoint) ||
	    endpoint_parse(args->words[2], &plan->endpoint))
		return -1;
	if (!plan->nr_pids)
		return fail("--pid PID is required: the server's main process");
	if (plan->endpoint.protocol == IPPROTO_UDP) {
		if (parse_udp(udp ? udp : "flow", steering))
			return -1;
	} else if (udp) {
		return fail("--udp %s is for UDP: a TCP connection never changes its socket", udp);
	}
	return read_flow_args(args, plan);
}

/* How many sockets there no process has open, as far as that can be seen. */
static int count_hidden(const struct endpoint *endpoint)
{
	struct held_socket *list;
	int count, hidden = 0, i;

	count = sockets_find(endpoint, 0, &list);
	for (i = 0; i < count; i++)
		hidden += !list[i].pid;
	drop_errors();
	free(list);
	return hidden;
}

/* As switch does; the service has no generation yet. */
static int wait_for_sockets(struct plan *plan)
{
	struct service service;
	__u32 other_gen;

	service_init(&service, plan->name);
	service.config.protocol = plan->endpoint.protocol;
	service.endpoint = plan->endpoint;
	service.max_generations = 0;
	return server_wait(&service, &plan->wait, &plan->sockets, &other_gen) < 0 ? -1 : 0;
}

static int find_server(struct plan *plan)
{
	const struct process *main = plan->server.list;
	char text[ENDPOINT_LEN];
	int nr_hidden, i;

	if (server_read_all(plan->pids, plan->nr_pids, 0, &plan->server))
		return -1;
	proc_format_server(&plan->server, plan->who);
	if (plan->wait.timeout && wait_for_sockets(plan))
		return -1;
	for (i = 0; i < plan->server.nr; i++, main++) {
		free(plan->sockets);
		plan->count = sockets_find(&plan->endpoint, main->pid, &plan->sockets);
		if (plan->count < 0)
			return -1;
		nr_hidden = plan->count ? 0 : count_hidden(&plan->endpoint);
		if (nr_hidden)
			return fail("process %d (%s) and its children have no socket at %s %s that "
				    "can be attached, but %d socket%s there %s no file descriptor "
				    "that is visible here: of a process in another PID namespace, "
				    "or of one that has only registered it with io_uring, which "
				    "must keep the descriptor open",
				    main->pid, main->comm,
				    protocol_name(plan->endpoint.protocol),
				    endpoint_format(&plan->endpoint, text), nr_hidden,
				    nr_hidden == 1 ? "" : "s", nr_hidden == 1 ? "has" : "have");
		if (!plan->count)
			return fail("process %d (%s) and its children have no socket at %s %s: is "
				    "that the address the server is bound to (ss -lntup), 0.0.0.0 "
				    "or [::] if it is bound to all? If it binds later, set --wait",
				    main->pid, main->comm,
				    protocol_name(plan->endpoint.protocol),
				    endpoint_format(&plan->endpoint, text));
	}
	free(plan->sockets);
	plan->count = sockets_find_of(&plan->endpoint, &plan->server, &plan->sockets);
	return plan->count < 0 ? -1 : 0;
}

/* The first socket says what group it is. */
static int describe_group(struct plan *plan)
{
	struct service_config *config = &plan->config;

	config->protocol = plan->endpoint.protocol;
	config->family = plan->endpoint.family;
	memcpy(config->address, plan->endpoint.address, sizeof(config->address));
	config->port = plan->endpoint.port;
	config->uid = plan->sockets[0].info.uid;
	config->interface = plan->sockets[0].info.interface;
	plan->endpoint.interface = config->interface;
	config->v6only = plan->sockets[0].info.v6only;
	config->netns = proc_netns("self");
	if (!config->steering.slots)
		config->steering.slots = default_slots(plan->count);
	if (plan->count <= (int)config->steering.slots)
		return 0;
	return fail("%s has %d sockets, but a generation would have %u slots: %s",
		    plan->who, plan->count, config->steering.slots,
		    plan->count > MAX_SLOTS ? "at most 1024 are possible" :
					      "set a larger --slots, 1024 at most");
}

static int make_plan(const struct arguments *args, struct plan *plan)
{
	if (read_args(args, plan) || require_name(plan->name) || require_privileges() ||
	    require_bpffs() || find_server(plan) || describe_group(plan) ||
	    server_require_reuseport(plan->sockets, plan->count) || store_lock_root() ||
	    service_check_new(plan->name, &plan->config, &plan->replaces_stale) ||
	    generation_check(&plan->config, plan->sockets, plan->count))
		return -1;
	if (plan->force)
		return 0;
	return group_check_free(plan->name, &plan->endpoint, plan->sockets[0].info.cookie);
}

/* -- What the service leaves out -------------------------------------------------------- */

static int is_at(const char *name, void *arg)
{
	const struct endpoint *at = arg;
	struct service_config config;

	if (store_read_config(name, &config))
		return 0;
	return config.protocol == at->protocol && config.family == at->family &&
	       config.port == at->port && config.interface == at->interface &&
	       config.netns == proc_netns("self") &&
	       !memcmp(config.address, at->address, sizeof(config.address));
}

static bool has_reuseport(const struct held_socket *held)
{
	struct socket_options options;

	return !socket_read_options(held, &options) && options.reuseport;
}

/* The server's other addresses stay without a service, and a restart loses requests there. */
static void report_other_addresses(const struct plan *plan)
{
	char text[ENDPOINT_LEN];
	struct held_socket *list = NULL;
	int count, i, j;

	count = sockets_find_all(&plan->server, &list);
	for (i = 0; i < count; i++) {
		struct endpoint *at = &list[i].info.at;

		for (j = 0; j < i && !endpoint_is_equal(&list[j].info.at, at); j++)
			;
		if (j < i || endpoint_is_equal(at, &plan->endpoint) || store_visit(is_at, at) ||
		    !has_reuseport(&list[i]))
			continue;
		say("not in service %s: %s(%d) also serves %s %s; attach that as a service of its "
		    "own and restart both together",
		    plan->name, list[i].comm, list[i].pid, protocol_name(at->protocol),
		    endpoint_format(at, text));
	}
	free(list);
}

/* Sockets in the group that other processes have get nothing while the service is held. */
static void report_other_processes(const struct plan *plan)
{
	const struct service service = { .config = plan->config };
	struct held_socket *list = NULL, *first = NULL;
	int count, others = 0, i, j;

	count = sockets_find(&plan->endpoint, 0, &list);
	for (i = 0; i < count; i++) {
		for (j = 0; j < plan->count; j++)
			if (plan->sockets[j].info.cookie == list[i].info.cookie)
				break;
		if (j < plan->count)
			continue;
		if (!others++)
			first = &list[i];
	}
	if (others)
		say("not in service %s: %d socket%s at its address, of process %d (%s), which "
		    "neither %s nor its children have; %s %s",
		    plan->name, others, others == 1 ? "" : "s", first->pid,
		    *first->comm ? first->comm : "?", plan->who,
		    others == 1 ? "it gets" : "they get",
		    hold_can_open(&service) ? "traffic by hash, except while the service is held" :
					      "nothing until a switch");
	free(list);
}

/* Such sockets stay open when the server is stopped. */
static void report_shared(const struct plan *plan)
{
	struct held_socket holder;

	if (!server_is_shared(&plan->endpoint, &plan->server, plan->sockets, plan->count, &holder))
		return;
	say("service %s: %s(%d) also has sockets of %s, and would keep them open when that is "
	    "stopped: restart %s will fail until %s",
	    plan->name, holder.comm, holder.pid, plan->who, plan->name,
	    holder.pid == 1 ? "the server binds its sockets itself, without a socket unit" :
			      "that process has ended");
}

static int carry_out(const struct plan *plan)
{
	struct service service;
	__u32 number;

	if (service_create(&service, plan->name, &plan->config, &plan->flows))
		return -1;
	if (generation_fill(&service, plan->sockets, plan->count, &plan->server, &number) ||
	    generation_switch(&service, number) || hold_end(&service) ||
	    service_publish(&service)) {
		service_discard(&service);
		return -1;
	}
	service_close(&service);
	return 0;
}

static void print_json(const struct plan *plan, bool dry_run)
{
	char text[ENDPOINT_LEN];

	jsonw_start_object(json);
	jsonw_bool_field(json, "dry_run", dry_run);
	jsonw_string_field(json, "service", plan->name);
	jsonw_string_field(json, "protocol", protocol_name(plan->endpoint.protocol));
	jsonw_string_field(json, "address", endpoint_format(&plan->endpoint, text));
	jsonw_uint_field(json, "generation", 1);
	proc_print_server(&plan->server);
	jsonw_uint_field(json, "sockets", plan->count);
	jsonw_end_object(json);
}

int cmd_attach(const struct arguments *args)
{
	char text[ENDPOINT_LEN];
	struct plan plan = {};
	int err;

	err = make_plan(args, &plan);
	if (!err && plan.replaces_stale)
		say("service %s is stale, all its sockets are closed: creating it again",
		    plan.name);
	if (!err) {
		report_other_addresses(&plan);
		report_other_processes(&plan);
		report_shared(&plan);
		drop_errors();
	}
	if (!err && !args->dry_run)
		err = carry_out(&plan);
	if (!err)
		say("%sservice %s: %s %s, generation 1 is %s with %d socket%s",
		    args->dry_run ? "would create " : "", plan.name,
		    protocol_name(plan.endpoint.protocol), endpoint_format(&plan.endpoint, text),
		    plan.who, plan.count, plan.count == 1 ? "" : "s");
	if (!err && json)
		print_json(&plan, args->dry_run);
	free(plan.sockets);
	return err;
}
