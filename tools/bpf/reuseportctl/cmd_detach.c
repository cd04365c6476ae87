// SPDX-License-Identifier: GPL-2.0
/* detach: detach the program from the group and remove the service. */
#include "args.h"
#include "service.h"

static void print_json(const char *name, bool was_complete, bool dry_run)
{
	if (!json)
		return;
	jsonw_start_object(json);
	jsonw_bool_field(json, "dry_run", dry_run);
	jsonw_string_field(json, "service", name);
	jsonw_bool_field(json, "complete", was_complete);
	jsonw_end_object(json);
}

int cmd_detach(const struct arguments *args)
{
	const char *name = args->words[0];
	bool was_complete;

	if (args_require_name(args) || require_name(name) || store_lock_root() ||
	    service_check_removable(name))
		return -1;
	if (args->dry_run) {
		say("would detach service %s: the kernel would distribute by hash", name);
		print_json(name, true, true);
		return 0;
	}
	if (service_remove(name, &was_complete))
		return -1;
	if (was_complete)
		say("service %s is detached: the kernel distributes by hash again", name);
	else
		say("service %s is removed, but pins were missing: if its program is still "
		    "attached, reuseportctl cleanup lists it and releases its sockets",
		    name);
	print_json(name, was_complete, false);
	return 0;
}
