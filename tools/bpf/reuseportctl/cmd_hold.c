// SPDX-License-Identifier: GPL-2.0
/* hold: let a server that binds from now on get nothing before a switch. */
#include "args.h"
#include "hold.h"
#include "service.h"

static int hold(struct service *service, bool dry_run)
{
	struct generation info;
	struct hold hold = {};
	int nr;

	if (!dry_run && hold_begin(service, &hold)) {
		hold_undo(service, &hold);
		return -1;
	}
	nr = generation_nr_sockets(service, service->now.current);
	if (!nr || generation_read(service, service->now.current, &info)) {
		fail("generation %u of service %s, the current one, has no socket any more: "
		     "reuseportctl switch %s --pid PID names the server that serves",
		     service->now.current, service->name, service->name);
		hold_undo(service, &hold);
		return -1;
	}
	hold_report(service, &hold.done);
	say("service %s: %s generation %u, %s(%u) with %d socket%s", service->name,
	    dry_run ? "would select only" : "selects only", service->now.current, info.comm,
	    info.pid, nr, nr == 1 ? "" : "s");
	if (!json)
		return 0;
	jsonw_start_object(json);
	jsonw_bool_field(json, "dry_run", dry_run);
	jsonw_string_field(json, "service", service->name);
	jsonw_bool_field(json, "open", false);
	jsonw_uint_field(json, "generation", service->now.current);
	jsonw_uint_field(json, "pid", info.pid);
	jsonw_string_field(json, "comm", info.comm);
	jsonw_uint_field(json, "sockets", nr);
	jsonw_end_object(json);
	return 0;
}

int cmd_hold(const struct arguments *args)
{
	struct service service;
	int err;

	if (args_require_name(args) || service_open_locked(&service, args->words[0]))
		return -1;
	err = require_netns(&service) || hold(&service, args->dry_run);
	service_close(&service);
	return err ? -1 : 0;
}
