// SPDX-License-Identifier: GPL-2.0
/* abort: end the canary, so that the current generation gets all new traffic.
 *
 * Like rollback a command of an emergency: one write to a map, without a look at any process.
 */
#include "args.h"
#include "canary.h"
#include "hold.h"
#include "service.h"

static int end(struct service *service, bool dry_run)
{
	__u32 number = service->now.canary;

	if (!number)
		return fail("service %s has no canary: reuseportctl rollback %s switches back to "
			    "the previous generation",
			    service->name, service->name);
	/* if the canary has ended already, the service may be open again */
	if (!dry_run && (canary_abort(service) || hold_end(service)))
		return -1;
	say("service %s: generation %u %s all new traffic", service->name, service->now.current,
	    dry_run ? "would get" : "gets");
	if (!dry_run && generation_has_sockets(service, number))
		say("to stop the server that was tried: reuseportctl drain %s --generation %u "
		    "--kill TERM",
		    service->name, number);
	if (!json)
		return 0;
	jsonw_start_object(json);
	jsonw_bool_field(json, "dry_run", dry_run);
	jsonw_string_field(json, "service", service->name);
	jsonw_uint_field(json, "generation", service->now.current);
	jsonw_uint_field(json, "canary", number);
	jsonw_end_object(json);
	return 0;
}

int cmd_abort(const struct arguments *args)
{
	struct service service;
	int err;

	if (args_require_name(args) || service_open_locked(&service, args->words[0]))
		return -1;
	err = require_netns(&service) || end(&service, args->dry_run);
	service_close(&service);
	return err ? -1 : 0;
}
