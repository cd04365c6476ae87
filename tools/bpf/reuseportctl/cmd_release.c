// SPDX-License-Identifier: GPL-2.0
/* release: the opposite of hold. */
#include "args.h"
#include "drain.h"
#include "hold.h"
#include "service.h"

static int release(struct service *service, bool dry_run)
{
	__u32 other = drain_choose(service);

	if (!hold_can_open(service))
		return fail("service %s is never open: %s", service->name,
			    service->config.flags & SERVICE_HOLD ? "it was attached with --hold" :
						   "its datagrams are steered by flow or by id");
	if (other)
		return fail("generation %u of service %s still has sockets, and would get new "
			    "traffic: reuseportctl drain %s --kill TERM stops its server",
			    other, service->name, service->name);
	if (!dry_run && hold_end(service))
		return -1;
	say("service %s: %s, the kernel distributes by hash over all sockets", service->name,
	    dry_run ? "would be open" : "open");
	if (!json)
		return 0;
	jsonw_start_object(json);
	jsonw_bool_field(json, "dry_run", dry_run);
	jsonw_string_field(json, "service", service->name);
	jsonw_bool_field(json, "open", true);
	jsonw_end_object(json);
	return 0;
}

int cmd_release(const struct arguments *args)
{
	struct service service;
	int err;

	if (args_require_name(args) || service_open_locked(&service, args->words[0]))
		return -1;
	err = require_netns(&service) || release(&service, args->dry_run);
	service_close(&service);
	return err ? -1 : 0;
}
