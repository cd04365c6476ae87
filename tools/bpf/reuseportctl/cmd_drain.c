// SPDX-License-Identifier: GPL-2.0
/* drain: wait until a generation has no work left, and stop its server. */
#include "args.h"
#include "canary.h"
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
	if (service->now.canary == *number)
		return canary_require_none(service, "drain the other one");
	return 0;
}

static int stop(struct service *service, const struct drain *drain)
{
	struct drain_target targets[MAX_PROCESSES];
	bool signalled = false;
	int count = 0;

	drain_add_targets(targets, &count, service, drain->number, false);
	return drain_stop(targets, count, NULL, drain, &signalled);
}

/* If the generation has no socket any more, the change is complete. */
static int open_again(struct service *service)
{
	int err = service_lock(service) || hold_end(service);

	service_unlock(service);
	return err;
}

static int run(struct service *service, struct drain *drain, int *connections)
{
	bool kill = drain->signals.nr;

	if (drain_wait(service, drain) || (kill && stop(service, drain)) || open_again(service) ||
	    connections_count(service, drain->number, connections) ||
	    drain_write_pid(service, drain))
		return -1;
	if (kill)
		say("generation %u of service %s has stopped", drain->number, service->name);
	else if (*connections > 0)
		say("generation %u of service %s is drained: its server can be stopped, it still "
		    "has %d connection%s open",
		    drain->number, service->name, *connections, *connections == 1 ? "" : "s");
	else
		say("generation %u of service %s is drained: its server can be stopped",
		    drain->number, service->name);
	return 0;
}

static void print_json(const struct service *service, const struct drain *drain, int connections,
		       bool dry_run)
{
	jsonw_start_object(json);
	jsonw_bool_field(json, "dry_run", dry_run);
	jsonw_string_field(json, "service", service->name);
	jsonw_uint_field(json, "generation", drain->number);
	jsonw_bool_field(json, "stopped", drain->signals.nr && !dry_run);
	if (connections != CONNECTIONS_UNKNOWN)
		jsonw_uint_field(json, "connections", connections);
	jsonw_end_object(json);
}

static int read_args(const struct arguments *args, struct drain *drain)
{
	const char *kill_by = args_text(args, "--kill");

	if (args_require_name(args))
		return -1;
	if (kill_by && proc_parse_signals(kill_by, &drain->signals))
		return -1;
	drain->pid_file = args_text(args, "--pid-file");
	drain->kill_after = args_number(args, "--kill-after", KILL_AFTER_DEFAULT_MS);
	if (args_text(args, "--kill-after") && drain->signals.nr < 2)
		return fail("--kill-after is the time between two signals of --kill: --kill "
			    "TERM,KILL, for instance");
	return drain_check_pid_file(drain->pid_file);
}

int cmd_drain(const struct arguments *args)
{
	struct drain drain = {
		.number = args_number(args, "--generation", 0),
		.idle = args_number(args, "--idle", IDLE_DEFAULT),
		.end = now_ms() + args_number(args, "--timeout", DRAIN_DEFAULT_MS),
	};
	int connections = CONNECTIONS_UNKNOWN, err;
	char resume_cmd[MAX_SENTENCE / 2];
	struct service service;

	if (read_args(args, &drain) || service_open(&service, args->words[0]))
		return -1;
	err = require_netns(&service) || choose(&service, &drain.number) ||
	      (drain.signals.nr && server_check_holders(&service, drain.number, false));
	if (!err) {
		drain_describe(resume_cmd, sizeof(resume_cmd), &service, &drain, true);
		drain.resume_cmd = resume_cmd;
		if (args->dry_run)
			say("would wait until generation %u of service %s has had no packet for "
			    "%.1f s%s",
			    drain.number, service.name, drain_idle(&service, drain.idle) / 1e3,
			    drain.signals.nr ? ", and stop it" : "");
		else
			err = run(&service, &drain, &connections);
	}
	if (!err && json)
		print_json(&service, &drain, connections, args->dry_run);
	service_close(&service);
	return err ? -1 : 0;
}
