// SPDX-License-Identifier: GPL-2.0
/* refresh: put new sockets of the server into its generation. */
#include "args.h"
#include "hold.h"
#include "service.h"

int cmd_refresh(const struct arguments *args)
{
	struct service service;
	int count, err;

	if (args_require_name(args) || service_open_locked(&service, args->words[0]))
		return -1;
	err = require_netns(&service);
	if (!err && args->dry_run) {
		say("would put new sockets of the server into generation %u of service %s",
		    service.now.current, service.name);
	} else if (!err) {
		count = hold_refresh(&service);
		err = count < 0;
		if (!err)
			say("service %s: %d new socket%s in generation %u", service.name, count,
			    count == 1 ? "" : "s", service.now.current);
	}
	service_close(&service);
	return err ? -1 : 0;
}
