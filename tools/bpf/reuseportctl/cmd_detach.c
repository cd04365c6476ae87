// SPDX-License-Identifier: GPL-2.0
/* detach: detach the program from the group and remove the service. */
#include "args.h"
#include "service.h"

static void print_json(const char *name, const struct removal *removal, bool dry_run)
{
	if (!json)
		return;
	jsonw_start_object(json);
	jsonw_bool_field(json, "dry_run", dry_run);
	jsonw_string_field(json, "service", name);
	jsonw_bool_field(json, "complete", removal->was_complete);
	jsonw_end_object(json);
}

/* "is detached" only if the program was on the group and is off it now. */
static void report(const char *name, const struct removal *removal)
{
	if (!removal->was_complete)
		say("service %s is removed, but pins were missing: if its program is still "
		    "attached, reuseportctl cleanup lists it and releases its sockets",
		    name);
	else if (removal->was_leftover)
		say("what an interrupted command left of service %s is removed", name);
	else if (removal->left.state == GROUP_NONE)
		say("service %s is removed: all its sockets are closed", name);
	else if (removal->left.state == GROUP_WITH_PROG && removal->left.id)
		say("service %s is removed: BPF program %u, which has replaced that of the "
		    "service, stays attached to its group",
		    name, removal->left.id);
	else if (removal->left.state == GROUP_WITH_PROG)
		say("service %s is removed: a classic BPF program, which has replaced that of the "
		    "service, stays attached to its group",
		    name);
	else
		say("service %s is detached: the kernel distributes by hash again", name);
}

int cmd_detach(const struct arguments *args)
{
	struct removal removal = { .was_complete = true };
	const char *name = args->words[0];

	if (args_require_name(args) || require_name(name) || store_lock_root() ||
	    service_check_removable(name))
		return -1;
	if (args->dry_run) {
		say("would detach service %s: the kernel would distribute by hash", name);
		print_json(name, &removal, true);
		return 0;
	}
	if (service_remove(name, &removal))
		return -1;
	report(name, &removal);
	print_json(name, &removal, false);
	return 0;
}
