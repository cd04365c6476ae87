// SPDX-License-Identifier: GPL-2.0
/* drain: wait until a generation has nothing to do any more, and stop it. */
#include <stdio.h>

#include "server.h"

/* The last one before the current, or after it if there was a rollback. */
static __u32 choose(const struct service *service)
{
	const __u32 *number = service->now.generations;
	int i;

	for (i = 0; i < MAX_GENERATIONS; i++)
		if (number[i] != service->now.current && generation_nr_sockets(service, number[i]))
			return number[i];
	return 0;
}

int do_drain(struct arguments *args)
{
	__u64 idle = UINT64_MAX, timeout = DRAIN_MS, end;
	struct generation about;
	const char *name, *kill_by = NULL;
	struct process process;
	struct service service;
	int signal = 0, len, err;
	__u32 number = 0;
	char resume_cmd[160];

	if (take_name(args, &name) || take_number(args, "--generation", &number, INT32_MAX) ||
	    take_duration(args, "--idle", &idle) || take_duration(args, "--timeout", &timeout) ||
	    take_option(args, "--kill", &kill_by) || args_end(args))
		return -1;
	if (kill_by) {
		signal = parse_signal(kill_by);
		if (signal < 0)
			return -1;
	}
	if (service_open(&service, name, false))
		return -1;
	err = require_netns(&service);
	if (err)
		goto out;
	if (!number) {
		number = choose(&service);
		if (!number) {
			err = fail("service %s has no generation but the current one: nothing to "
				   "drain. Switch first",
				   name);
			goto out;
		}
	} else if (generation_read(&service, number, &about)) {
		err = fail("service %s has no generation %u: reuseportctl show %s lists them", name,
			   number, name);
		goto out;
	}
	if (service.now.current == number) {
		err = fail("generation %u of service %s is the current one: what is new goes "
			   "there. Switch first",
			   number, name);
		goto out;
	}
	len = describe_drain(resume_cmd, sizeof(resume_cmd), name, number, idle);
	if (signal)
		snprintf(resume_cmd + len, sizeof(resume_cmd) - len, " --kill %s", kill_by);
	if (idle == UINT64_MAX)
		idle = default_idle(&service);
	if (dry_run) {
		say("would wait until generation %u of service %s has been silent for %.1f s%s",
		    number, name, idle / 1e3, signal ? ", and stop it" : "");
		goto out;
	}
	end = now_ms() + timeout;
	err = server_drain(&service, number, idle, end, resume_cmd);
	if (!err && signal) {
		err = service_lock(&service) || server_find(&service, number, NULL, &process) ||
		      server_stop(&process, signal);
		service_unlock(&service);
		if (!err)
			err = server_await_end(&service, number, &process, signal, end, resume_cmd);
	}
	if (!err)
		say(signal ? "generation %u of service %s has stopped" :
			     "generation %u of service %s is silent: it is safe to stop it",
		    number, name);
out:
	service_close(&service);
	return err ? -1 : 0;
}
