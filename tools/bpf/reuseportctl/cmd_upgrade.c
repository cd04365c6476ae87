// SPDX-License-Identifier: GPL-2.0
/* upgrade: replace program and maps of live services by those of this version. */
#include <string.h>

#include "args.h"
#include "store.h"
#include "upgrade.h"

static int upgrade(struct service *service, const struct arguments *args)
{
	bool needed = upgrade_is_needed(service), force = args_flag(args, "--force");
	struct layout old = service->layout;

	if (!needed && !force) {
		say("service %s: already of version %s (layout %u)", service->name, VERSION,
		    LAYOUT_VERSION);
		return 0;
	}
	if (!args->dry_run && upgrade_run(service))
		return -1;
	say("service %s: %s from version %s (layout %u) to %s (layout %u)", service->name,
	    args->dry_run ? "would upgrade" : "upgraded", old.tool, old.version, VERSION,
	    LAYOUT_VERSION);
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
	struct all *all = arg;

	if (store_is_leftover(name) || !upgrade_one(name, all->args))
		return 0;
	report_errors();
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
	store_visit(upgrade_listed, &all);
	return all.failed ? -1 : 0;
}
