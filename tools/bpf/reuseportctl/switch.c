// SPDX-License-Identifier: GPL-2.0
/* switch and rollback: what is new goes to another generation. */
#include <stdlib.h>

#include "server.h"

int do_switch(struct arguments *args)
{
	__u32 pid = 0, wanted = 0, number = 0, elsewhere;
	struct held_socket *sockets = NULL;
	struct process process;
	struct service service;
	__u64 timeout = 30000, settle = 0;
	const char *name;
	char who[32];
	bool force;
	int count, err;

	force = take_flag(args, "--force");
	if (take_name(args, &name) || take_number(args, "--pid", &pid, INT32_MAX) ||
	    take_number(args, "--wait", &wanted, MAX_SLOTS) ||
	    take_duration(args, "--timeout", &timeout) ||
	    take_duration(args, "--settle", &settle) || nothing_left(args))
		return -1;
	if (!pid)
		return fail("to which server? Say --pid PID, its main process");
	if (service_open(&service, name, true))
		return -1;
	err = need_netns(&service) || server_read(pid, service.config.netns, &process);
	if (err)
		goto out;

	snprintf(who, sizeof(who), "%s(%u)", process.comm, pid);
	count = server_wait(&service, pid, who, wanted, timeout, &sockets, &elsewhere, NULL);
	if (count < 0 || server_settle(pid, who, settle, NULL)) {
		err = -1;
	} else if (dry_run) {
		number = count ? generation_next(&service) : elsewhere;
		err = !number || (count && check_reuseport(sockets, count));
	} else if (count) {
		err = server_prepare(&service, sockets, count, &process, force, &number) ||
		      generation_switch(&service, number);
	} else {
		/* a generation already, the current one or another */
		number = elsewhere;
		err = generation_switch(&service, number);
	}
	free(sockets);
	if (!err)
		say("service %s: %s generation %u, %s%s", name,
		    dry_run ? "would switch to" : "switched to", number, who,
		    count ? "" : ", which had these sockets before");
out:
	service_close(&service);
	return err ? -1 : 0;
}

int do_rollback(struct arguments *args)
{
	struct generation about;
	struct service service;
	const char *name;
	__u32 number = 0;
	int err = 0, i;

	if (take_name(args, &name) || nothing_left(args) || service_open(&service, name, true))
		return -1;
	for (i = 0; i < PLACES && !number; i++)
		if (service.now.numbers[i] < service.now.current &&
		    generation_live(&service, service.now.numbers[i]))
			number = service.now.numbers[i];
	if (!number || generation_read(&service, number, &about))
		err = fail("service %s has no generation before %u that still has sockets: start "
			   "the old server again and switch to it",
			   name, service.now.current);
	else if (!dry_run)
		err = generation_switch(&service, number);
	if (!err)
		say("service %s: %s generation %u, %s(%u)", name,
		    dry_run ? "would go back to" : "back to", number, about.comm, about.pid);
	service_close(&service);
	return err;
}
