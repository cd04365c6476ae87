// SPDX-License-Identifier: GPL-2.0
/* drain: wait until a generation has no work left, and stop its server. */
#include "args.h"
#include "drain.h"
#include "hold.h"

static int choose(const struct service *service, __u32 *number)
{
	struct generation info;

	if (!*number) {
		*number = drain_choose(service);
		if (!*number)
			return fail("service %s has no generation but the current one: nothing to "
				    "drain. Switch first",
				    service->name);
	} else if (generation_read(service, *number, &info)) {
		return fail("service %s has no generation %u: reuseportctl show %s lists them",
			    service->name, *number, service->name);
	}
	if (service->now.current == *number)
		return fail("generation %u of service %s is the current one and gets new traffic: "
			    "switch first",
			    *number, service->name);
	return 0;
}

static int stop(struct service *service, const struct drain *drain, int signal)
{
	struct process process;
	int err;

	err = service_lock(service) || server_find(service, drain->number, NULL, &process) ||
	      server_stop(&process, signal);
	service_unlock(service);
	return err ? -1 : drain_wait_end(service, drain, &process, signal);
}

/* If the generation has no socket any more, the change is complete. */
static int open_again(struct service *service)
{
	int err = service_lock(service) || hold_end(service);

	service_unlock(service);
	return err;
}

static int run(struct service *service, struct drain *drain, int signal)
{
	if (drain_wait(service, drain) || (signal && stop(service, drain, signal)) ||
	    open_again(service))
		return -1;
	say(signal ? "generation %u of service %s has stopped" :
		     "generation %u of service %s is drained: its server can be stopped",
	    drain->number, service->name);
	return 0;
}

int cmd_drain(const struct arguments *args)
{
	struct drain drain = {
		.number = args_number(args, "--generation", 0),
		.idle = args_number(args, "--idle", IDLE_DEFAULT),
		.end = now_ms() + args_number(args, "--timeout", DRAIN_DEFAULT_MS),
	};
	const char *kill_by = args_text(args, "--kill");
	struct service service;
	int signal = 0, len, err;
	char resume_cmd[160];

	if (args_require_name(args))
		return -1;
	if (kill_by) {
		signal = proc_parse_signal(kill_by);
		if (signal < 0)
			return -1;
	}
	if (service_open(&service, args->words[0]))
		return -1;
	err = require_netns(&service) || choose(&service, &drain.number);
	if (!err) {
		len = drain_describe(resume_cmd, sizeof(resume_cmd), service.name, drain.number,
				     drain.idle);
		if (signal)
			snprintf(resume_cmd + len, sizeof(resume_cmd) - len, " --kill %s", kill_by);
		drain.resume_cmd = resume_cmd;
		if (args->dry_run)
			say("would wait until generation %u of service %s has had no packet for "
			    "%.1f s%s",
			    drain.number, service.name, drain_idle(&service, drain.idle) / 1e3,
			    signal ? ", and stop it" : "");
		else
			err = run(&service, &drain, signal);
	}
	service_close(&service);
	return err ? -1 : 0;
}
