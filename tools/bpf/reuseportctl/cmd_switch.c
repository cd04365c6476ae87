// SPDX-License-Identifier: GPL-2.0
/* switch and rollback: what is new goes to another generation. */
#include <stdlib.h>

#include "group.h"
#include "server.h"

/* To a generation that there is. Its group may have lost the program since. */
static int switch_existing(struct service *service, __u32 number, bool force)
{
	struct held_socket *sockets;
	struct member *members;
	int count, nr, i, live = 0, err;

	count = find_sockets(&service->endpoint, 0, &sockets);
	if (count < 0)
		return -1;
	nr = generation_members(service, &members);
	for (i = 0; i < count && nr > 0; i++)
		if (member_find(members, nr, sockets[i].info.cookie) == number)
			sockets[live++] = sockets[i];
	if (nr < 0)
		err = -1;
	else if (!live)
		err = fail("generation %u of service %s has no socket any more: start its server "
			   "again and switch to that", number, service->name);
	else if (!sockets[0].pid)
		err = fail("the processes of generation %u of service %s cannot be seen from here: "
			   "run this in their PID namespace, or that of the host", number,
			   service->name);
	else
		err = !force && group_check_prog(service, &service->endpoint, &sockets[0].info);
	if (!err && !dry_run)
		err = generation_attach_prog(service, sockets, live) ||
		      generation_switch(service, number);
	free(members);
	free(sockets);
	return err;
}

int do_switch(struct arguments *args)
{
	__u32 pid = 0, wanted = 0, number = 0, other_gen;
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
	    take_duration(args, "--settle", &settle) || args_end(args))
		return -1;
	if (!pid)
		return fail("to which server? Say --pid PID, its main process");
	if (service_open(&service, name, true))
		return -1;
	err = require_netns(&service) || server_read(pid, service.config.netns, &process);
	if (err)
		goto out;

	snprintf(who, sizeof(who), "%s(%u)", process.comm, pid);
	count = server_wait(&service, pid, who, wanted, timeout, &sockets, &other_gen, NULL);
	if (count < 0 || server_settle(pid, who, settle, NULL)) {
		err = -1;
	} else if (dry_run) {
		number = count ? generation_next(&service) : other_gen;
		err = !number || (count && check_reuseport(sockets, count));
	} else if (count) {
		err = server_prepare(&service, sockets, count, &process, force, &number) ||
		      generation_switch(&service, number);
	} else {
		/* a generation already, the current one or another */
		number = other_gen;
		err = switch_existing(&service, number, force);
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
	bool force = take_flag(args, "--force");
	struct generation about;
	struct service service;
	const char *name;
	__u32 number = 0;
	int err = 0, i;

	if (take_name(args, &name) || args_end(args) || service_open(&service, name, true))
		return -1;
	for (i = 0; i < MAX_GENERATIONS && !number; i++)
		if (service.now.generations[i] < service.now.current &&
		    generation_nr_sockets(&service, service.now.generations[i]))
			number = service.now.generations[i];
	if (!number || generation_read(&service, number, &about))
		err = fail("service %s has no generation before %u that still has sockets: start "
			   "the old server again and switch to it",
			   name, service.now.current);
	else
		err = switch_existing(&service, number, force);
	if (!err)
		say("service %s: %s generation %u, %s(%u)", name,
		    dry_run ? "would go back to" : "back to", number, about.comm, about.pid);
	service_close(&service);
	return err;
}
