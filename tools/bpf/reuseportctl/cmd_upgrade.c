// SPDX-License-Identifier: GPL-2.0
/* upgrade: replace program and maps of live services by those of this version. */
#include <string.h>

#include "args.h"
#include "store.h"
#include "upgrade.h"

static void print_json(const struct service *service, const struct layout *old, bool upgraded,
		       bool dry_run)
{
	if (!json)
		return;
	jsonw_start_object(json);
	jsonw_bool_field(json, "dry_run", dry_run);
	jsonw_string_field(json, "service", service->name);
	jsonw_bool_field(json, "upgraded", upgraded);
	jsonw_string_field(json, "old_version", old->tool);
	jsonw_uint_field(json, "old_layout", old->version);
	jsonw_string_field(json, "version", VERSION);
	jsonw_uint_field(json, "layout", LAYOUT_VERSION);
	jsonw_end_object(json);
}

static int upgrade(struct service *service, const struct arguments *args)
{
	bool needed = upgrade_is_needed(service), force = args_flag(args, "--force");
	struct layout old = service->layout;

	if (!needed && !force) {
		say("service %s: already of version %s (layout %u)", service->name, VERSION,
		    LAYOUT_VERSION);
		print_json(service, &old, false, args->dry_run);
		return 0;
	}
	if (!args->dry_run && upgrade_run(service))
		return -1;
	say("service %s: %s from version %s (layout %u) to %s (layout %u)", service->name,
	    args->dry_run ? "would upgrade" : "upgraded", old.tool, old.version, VERSION,
	    LAYOUT_VERSION);
	print_json(service, &old, true, args->dry_run);
	return 0;
}

static int upgrade_one(const char *name, const struct arguments *args)
{
	struct service service;
	int err;

	if (service_open(&service, name))
		return -1;
	err = service_lock(&service) || require_netns(&service) || upgrade(&service, args);
	service_close(&service);
	return err ? -1 : 0;
}

struct all {
	const struct arguments *args;
	bool failed;
};

/* One that cannot be upgraded does not keep the others from it, but counts. */
static int upgrade_listed(const char *name, void *arg)
{
	char error[MAX_SENTENCE];
	struct all *all = arg;

	if (store_is_leftover(name) || !upgrade_one(name, all->args))
		return 0;
	take_error(error);
	/* not an error of the command, which would take the place of the whole document */
	say("reuseportctl: %s", error);
	if (json) {
		jsonw_start_object(json);
		jsonw_string_field(json, "service", name);
		jsonw_string_field(json, "error", error);
		jsonw_end_object(json);
	}
	all->failed = true;
	return 0;
}

int cmd_upgrade(const struct arguments *args)
{
	struct all all = { .args = args };

	if (args->nr_words)
		return upgrade_one(args->words[0], args);
	if (require_privileges() || require_bpffs())
		return -1;
	if (json)
		jsonw_start_array(json);
	store_visit(upgrade_listed, &all);
	if (json)
		jsonw_end_array(json);
	return all.failed ? -1 : 0;
}
