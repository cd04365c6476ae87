// SPDX-License-Identifier: GPL-2.0
/* refresh: put new sockets of the server into its generation. */
#include "args.h"
#include "hold.h"
#include "service.h"

static int refresh(struct service *service, bool dry_run)
{
	struct refresh done = {};
	int count;

	if (!dry_run && hold_refresh(service, &done))
		return -1;
	count = dry_run ? hold_nr_joined(service) : done.nr_joined;
	if (count < 0)
		return -1;
	hold_report(service, &done);
	say("service %s: %s%d new socket%s in generation %u", service->name,
	    dry_run ? "there would be " : "", count, count == 1 ? "" : "s", service->now.current);
	if (!json)
		return 0;
	jsonw_start_object(json);
	jsonw_bool_field(json, "dry_run", dry_run);
	jsonw_string_field(json, "service", service->name);
	jsonw_uint_field(json, "generation", service->now.current);
	jsonw_uint_field(json, "new_sockets", count);
	jsonw_end_object(json);
	return 0;
}

int cmd_refresh(const struct arguments *args)
{
	struct service service;
	int err;

	if (args_require_name(args) || service_open_locked(&service, args->words[0]))
		return -1;
	err = require_netns(&service) || refresh(&service, args->dry_run);
	service_close(&service);
	return err ? -1 : 0;
}
