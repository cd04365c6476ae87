// SPDX-License-Identifier: GPL-2.0
/* promote: switch to the canary. */
#include "args.h"
#include "canary.h"
#include "drain.h"
#include "service.h"

static int promote(struct service *service, bool dry_run)
{
	__u32 number = service->now.canary, old = service->now.current;
	struct generation info;

	if (!number)
		return fail("service %s has no canary: reuseportctl switch %s --pid PID --share "
			    "5%% begins one",
			    service->name, service->name);
	if (!generation_has_sockets(service, number) || generation_read(service, number, &info))
		return fail("generation %u of service %s, the canary, has no socket any more: "
			    "reuseportctl abort %s ends it",
			    number, service->name, service->name);
	if (!dry_run && generation_switch(service, number))
		return -1;
	say("service %s: %s generation %u, %s(%u)", service->name,
	    dry_run ? "would switch to" : "switched to", number, info.comm, info.pid);
	if (!dry_run)
		say("to stop the old server: reuseportctl drain %s --generation %u --kill TERM",
		    service->name, old);
	if (!json)
		return 0;
	jsonw_start_object(json);
	jsonw_bool_field(json, "dry_run", dry_run);
	jsonw_string_field(json, "service", service->name);
	jsonw_uint_field(json, "generation", number);
	jsonw_uint_field(json, "old_generation", old);
	jsonw_uint_field(json, "pid", info.pid);
	jsonw_string_field(json, "comm", info.comm);
	jsonw_end_object(json);
	return 0;
}

int cmd_promote(const struct arguments *args)
{
	struct service service;
	int err;

	if (args_require_name(args) || service_open_locked(&service, args->words[0]))
		return -1;
	err = require_netns(&service) || promote(&service, args->dry_run);
	service_close(&service);
	return err ? -1 : 0;
}
