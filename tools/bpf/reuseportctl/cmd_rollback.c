// SPDX-License-Identifier: GPL-2.0
/* rollback: switch back to the previous generation.
 *
 * This is the command of an emergency: one write to a map, without a look at any process.
 * Only if the program is not attached to the group any more, or the kernel cannot tell, does
 * it look for a socket to attach it by, and then after the switch.
 */
#include <stdlib.h>
#include <unistd.h>

#include "args.h"
#include "canary.h"
#include "server.h"
#include "service.h"

/* The cookie of any socket of a generation that has one. */
static __u64 find_cookie(const struct service *service, const struct generation *info)
{
	__u64 cookies[MAX_SLOTS];
	__u32 i;

	generation_read_cookies(service, info, cookies);
	for (i = 0; i < info->slots; i++)
		if (cookies[i])
			return cookies[i];
	return 0;
}

static int attach_again(struct service *service)
{
	int fd, err = 0;

	if (group_get_fd(service, &fd))
		return -1;
	if (fd >= 0) {
		err = group_attach_prog(service, fd);
		close(fd);
	}
	return err;
}

static int roll_back(struct service *service, const struct generation *info, bool force,
		     bool dry_run)
{
	__u64 cookie = find_cookie(service, info);
	int attached;

	attached = force ? 0 : group_check_prog(service, cookie);
	if (attached < 0)
		return -1;
	if (dry_run)
		return 0;
	if (generation_switch(service, info->number))
		return -1;
	if (attached)
		return 0;
	return force ? server_replace_prog(service) : attach_again(service);
}

static void print_json(const struct service *service, const struct generation *info, bool dry_run)
{
	jsonw_start_object(json);
	jsonw_bool_field(json, "dry_run", dry_run);
	jsonw_string_field(json, "service", service->name);
	jsonw_uint_field(json, "generation", info->number);
	jsonw_uint_field(json, "pid", info->pid);
	jsonw_string_field(json, "comm", info->comm);
	jsonw_end_object(json);
}

int cmd_rollback(const struct arguments *args)
{
	bool force = args_flag(args, "--force");
	struct generation info;
	struct service service;
	int err;

	if (args_require_name(args) || service_open_locked(&service, args->words[0]))
		return -1;
	force |= service.config.flags & SERVICE_FORCE;
	err = require_netns(&service) ||
	      canary_require_none(&service, "roll back if that is still needed");
	if (!err && generation_read(&service, generation_previous(&service), &info))
		err = fail("service %s has no generation before %u that still has sockets: start "
			   "the old server again and switch to it",
			   service.name, service.now.current);
	if (!err)
		err = roll_back(&service, &info, force, args->dry_run);
	if (!err)
		say("service %s: %s generation %u, %s(%u)", service.name,
		    args->dry_run ? "would switch back to" : "switched back to", info.number,
		    info.comm, info.pid);
	if (!err && json)
		print_json(&service, &info, args->dry_run);
	service_close(&service);
	return err;
}
