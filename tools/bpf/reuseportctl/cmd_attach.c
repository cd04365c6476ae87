// SPDX-License-Identifier: GPL-2.0
/* attach and detach: a server that runs becomes a service, and is left alone again.
 *
 * attach makes the maps, fills the first generation and only then puts the program on
 * the group: from one packet to the next the same sockets are picked by another hash. What
 * can fail comes before, so that another program is not lost to an attach that fails.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "group.h"
#include "generation.h"
#include "server.h"

static int parse_udp(const char *text, struct steering *steering)
{
	char rest;

	if (!strcmp(text, "flow")) {
		steering->mode = UDP_FLOW;
		return 0;
	}
	if (!strcmp(text, "none"))
		return 0;
	if (sscanf(text, "id:%u:%u%c", &steering->id_offset, &steering->id_len, &rest) == 2 &&
	    steering->id_offset < 1400 && steering->id_len >= 2 && steering->id_len <= 4) {
		steering->mode = UDP_ID;
		return 0;
	}
	return fail("--udp takes flow, none or id:OFFSET:LEN with a LEN of 2, 3 or 4, not \"%s\"",
		    text);
}

/* Room for twice what there is. */
static __u32 default_slots(int count)
{
	__u32 slots = 64;

	while (slots < 2 * (__u32)count && slots < MAX_SLOTS)
		slots *= 2;
	return slots;
}

struct attach_opts {
	const char *name;
	struct service_config config;
	struct endpoint endpoint;
	__u32 flows;
	bool force;
};

static int parse(struct arguments *args, struct attach_opts *opts, __u32 *pid)
{
	const char *udp = NULL;
	char *protocol;

	if (take_name(args, &opts->name) || take_number(args, "--pid", pid, INT32_MAX) ||
	    take_option(args, "--udp", &udp) ||
	    take_number(args, "--flows", &opts->flows, 1 << 26) ||
	    take_number(args, "--slots", &opts->config.steering.slots, MAX_SLOTS))
		return -1;
	opts->force = take_flag(args, "--force");
	if (args->argc < 2)
		return fail("attach wants a name, tcp or udp, ADDR:PORT and --pid PID: see "
			    "reuseportctl help");
	protocol = args->argv[0];
	if (!strcmp(protocol, "tcp"))
		opts->endpoint.protocol = IPPROTO_TCP;
	else if (!strcmp(protocol, "udp"))
		opts->endpoint.protocol = IPPROTO_UDP;
	else
		return fail("\"%s\" is neither tcp nor udp", protocol);
	if (parse_endpoint(args->argv[1], &opts->endpoint))
		return -1;
	args->argc -= 2;
	args->argv += 2;
	if (args_end(args))
		return -1;
	if (!*pid)
		return fail("whose sockets? Say --pid PID, the server's main process");
	if (udp && opts->endpoint.protocol == IPPROTO_TCP)
		return fail("--udp %s is for UDP: TCP connections stay where they are anyway", udp);
	if (opts->endpoint.protocol == IPPROTO_UDP)
		return parse_udp(udp ? udp : "flow", &opts->config.steering);
	return 0;
}

static int make(struct attach_opts *opts, const struct held_socket *sockets, int count,
		const struct process *process)
{
	struct service service;
	__u32 number;
	int err;

	if (service_create(&service, opts->name, &opts->config, opts->flows))
		return -1;
	/* with what a command that was killed has left out of the way */
	err = generation_check(&service, sockets, count);
	if (!err && !opts->force)
		err = group_check_prog(NULL, &opts->endpoint, &sockets[0].info);
	if (dry_run || err)
		goto out;
	err = generation_fill(&service, sockets, count, process, &number);
	if (!err)
		err = generation_switch(&service, number);
	if (!err)
		err = service_publish(&service);
out:
	if (err && !dry_run)
		service_discard(&service);
	service_close(&service);
	return err;
}

int do_attach(struct arguments *args)
{
	struct attach_opts opts = { .flows = 262144 };
	struct held_socket *sockets = NULL;
	struct process process;
	__u32 pid = 0;
	char text[64];
	int count, err;

	if (parse(args, &opts, &pid) || require_name(opts.name) || require_privileges() ||
	    require_bpffs() || server_read(pid, 0, &process))
		return -1;
	count = find_sockets(&opts.endpoint, pid, &sockets);
	if (count < 0)
		return -1;
	if (!count) {
		free(sockets);
		return fail("process %d (%s) and its children have no socket at %s %s: is that the "
			    "address it is bound to (ss -lntup), 0.0.0.0 or [::] if it is bound to "
			    "all?",
			    pid, process.comm, protocol_name(opts.endpoint.protocol),
			    format_endpoint(&opts.endpoint, text));
	}

	opts.config.protocol = opts.endpoint.protocol;
	opts.config.family = opts.endpoint.family;
	memcpy(opts.config.address, opts.endpoint.address, sizeof(opts.config.address));
	opts.config.port = opts.endpoint.port;
	opts.config.uid = sockets[0].info.uid;
	opts.config.interface = sockets[0].info.interface;
	opts.config.v6only = sockets[0].info.v6only;
	opts.config.netns = proc_netns("self");
	if (!opts.config.steering.slots)
		opts.config.steering.slots = default_slots(count);
	if (opts.config.steering.mode != UDP_FLOW)
		opts.flows = 1;

	err = count > (int)opts.config.steering.slots ?
		      fail("process %d has %d sockets, and a generation is to have %u slots: %s",
			   pid, count, opts.config.steering.slots,
			   count > MAX_SLOTS ? "no more than 1024 are possible" :
					       "say a larger --slots, 1024 at most") :
		      check_reuseport(sockets, count);
	if (!err)
		err = make(&opts, sockets, count, &process);
	if (!err)
		say("%sservice %s: %s %s, generation 1 is %s(%d) with %d socket%s",
		    dry_run ? "would make " : "", opts.name,
		    protocol_name(opts.endpoint.protocol), format_endpoint(&opts.endpoint, text),
		    process.comm, pid, count, count == 1 ? "" : "s");
	free(sockets);
	return err;
}

int do_detach(struct arguments *args)
{
	const char *name;

	if (take_name(args, &name) || args_end(args) || service_remove(name))
		return -1;
	say(dry_run ? "would detach service %s: the kernel would spread by hash" :
		      "service %s is detached: the kernel spreads by hash again",
	    name);
	return 0;
}
