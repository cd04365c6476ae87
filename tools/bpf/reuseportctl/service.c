// SPDX-License-Identifier: GPL-2.0
/* Making, changing and removing a service.
 *
 * A service appears and disappears by the renaming of its directory. While it is made, that
 * is called NAME+new, while it is removed, NAME+old; no service can have such a name. So a
 * directory with a plain name is complete, and any other is what an interrupted command left:
 * attach and detach remove it before they begin.
 *
 * If attach is killed, the program may be attached to the group already, and steers: the
 * server has lost nothing. If detach is killed, it may still be attached.
 *
 * Commands that make or remove a service hold the lock of PIN_ROOT besides that of the
 * service (see store.c).
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "service.h"
#include "steering.h"
#include "upgrade.h"

int service_open_locked(struct service *service, const char *name)
{
	int err = 0;

	if (service_open(service, name))
		return -1;
	if (service_lock(service))
		err = -1;
	else if (service->layout.version != LAYOUT_VERSION)
		err = fail("service %s was made by reuseportctl %s (layout %u), this one changes "
			   "services of layout %u only: run reuseportctl upgrade %s first",
			   name, service->layout.tool, service->layout.version, LAYOUT_VERSION,
			   name);
	else
		err = upgrade_finish(service);
	if (err)
		service_close(service);
	return err;
}

/* -- Removing what is there -------------------------------------------------------- */

/* Remove a service, or what an interrupted command left of one. */
static int remove_service(const char *name, struct removal *removal)
{
	struct service service;
	int err = 0;

	if (!store_exists(name))
		return 0;
	service_init(&service, name);
	/* an incomplete one has no sockets any more: removing the pins comes last */
	removal->was_complete = !service_open_pins(&service);
	if (removal->was_complete) {
		err = group_detach_prog(&service) || group_find_prog(&service, &removal->left);
		if (!err && removal->left.state == GROUP_WITH_PROG &&
		    group_is_own_prog(&service, removal->left.id))
			err = fail("the program of service %s is still attached to its group: try "
				   "again",
				   name);
		if (!err)
			generation_release_all(&service);
	}
	service_close(&service);
	return err ? -1 : store_remove(name);
}

/* Remove the other directories that commands which were killed have left. */
static int remove_leftovers(const char *name)
{
	char leftover[NAME_LEN + 8];
	struct removal ignored;

	snprintf(leftover, sizeof(leftover), "%s" DISCARDED, name);
	if (remove_service(leftover, &ignored))
		return -1;
	snprintf(leftover, sizeof(leftover), "%s" UNFINISHED, name);
	return remove_service(leftover, &ignored);
}

/* A newer version must remove what it has made. */
static int require_known_layout(const char *name)
{
	struct service service;
	int err;

	service_init(&service, name);
	err = service_open_pins(&service);
	service_close(&service);
	return err == -EPROTO ? service_explain(&service, err) : 0;
}

/* -- Making ------------------------------------------------------------------------- */

struct new_service {
	const char *name;
	const struct service_config *config;
};

/* A group has one program, so there is one service for it. Not even --force makes a second
 * one: the first would have no effect any more, and would not know.
 */
static int check_duplicate(const char *name, void *arg)
{
	const struct new_service *new = arg;
	const struct service_config *wanted = new->config;
	int plain = strcspn(name, "+");
	struct service_config config;

	/* of the same name: service_check_new() looks at that */
	if (!strncmp(name, new->name, plain) && !new->name[plain])
		return 0;
	if (store_read_config(name, &config) || config.protocol != wanted->protocol ||
	    config.family != wanted->family || config.port != wanted->port ||
	    memcmp(config.address, wanted->address, sizeof(config.address)) ||
	    config.v6only != wanted->v6only || config.interface != wanted->interface ||
	    config.uid != wanted->uid || config.netns != wanted->netns)
		return 0;
	return fail("service %.*s has this address already: switch it to the other process with "
		    "reuseportctl switch %.*s --pid PID, or detach it first",
		    plain, name, plain, name);
}

/* Lock a service whose sockets are all closed; fail if it is another one. */
static int lock_stale(const char *name)
{
	struct service service;
	bool is_live;
	int dir;

	if (require_known_layout(name))
		return -1;
	dir = store_lock(name);
	if (dir < 0)
		return -1;
	service_init(&service, name);
	is_live = !service_open_pins(&service) && generation_have_sockets(&service);
	service_close(&service);
	if (!is_live)
		return dir;
	close(dir);
	return fail("there is a service %s already: switch it to another process with "
		    "reuseportctl switch %s --pid PID, or detach it first",
		    name, name);
}

int service_check_new(const char *name, const struct service_config *config, bool *replaces_stale)
{
	struct new_service new = { name, config };
	int dir;

	*replaces_stale = store_exists(name);
	if (store_visit(check_duplicate, &new))
		return -1;
	if (!*replaces_stale)
		return 0;
	dir = lock_stale(name);
	if (dir >= 0)
		close(dir);
	return dir < 0 ? -1 : 0;
}

/* Remove what service_check_new() has found. */
static int clean_up_name(const char *name)
{
	struct removal ignored;
	int dir, err;

	if (store_exists(name)) {
		/* it may have been switched to another server since */
		dir = lock_stale(name);
		if (dir < 0)
			return -1;
		err = remove_service(name, &ignored);
		close(dir);
		if (err)
			return -1;
	}
	return remove_leftovers(name);
}

int service_create(struct service *service, const char *name, const struct service_config *config,
		   const struct flow_config *flow_config)
{
	char unfinished[NAME_LEN + 8];

	if (clean_up_name(name))
		return -1;
	snprintf(unfinished, sizeof(unfinished), "%s" UNFINISHED, name);
	service_init(service, unfinished);
	service->config = *config;
	service->flow_config = *flow_config;
	service->iterator = group_load_iterator(config->protocol);
	if (!steering_load(service, NULL) && !store_make(unfinished) &&
	    !store_pin_edition(service)) {
		service_close(service);
		if (!service_open_pins(service))
			return 0;
		fail("cannot open the pins that were just made");
	}
	service_close(service);
	/* where it could not be made, there is nothing to remove */
	if (store_exists(unfinished))
		store_remove(unfinished);
	return -1;
}

int service_publish(struct service *service)
{
	char name[NAME_LEN + 8];

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(service->name, "+"), service->name);
	if (store_rename(service->name, name))
		return -1;
	strcpy(service->name, name);
	return 0;
}

void service_discard(struct service *service)
{
	/* if the program cannot be detached, all is left as if we had been killed */
	if (!service->attached || !group_detach_prog(service)) {
		generation_release_all(service);
		store_remove(service->name);
	}
	service_close(service);
}

/* -- Removing ------------------------------------------------------------------------ */

int service_check_removable(const char *name)
{
	char discarded[NAME_LEN + 8], unfinished[NAME_LEN + 8];

	snprintf(discarded, sizeof(discarded), "%s" DISCARDED, name);
	snprintf(unfinished, sizeof(unfinished), "%s" UNFINISHED, name);
	if (store_exists(name))
		return require_known_layout(name);
	if (store_exists(discarded) || store_exists(unfinished))
		return 0;
	return fail("there is no service %s: reuseportctl show lists all services", name);
}

int service_remove(const char *name, struct removal *removal)
{
	char discarded[NAME_LEN + 8];
	int dir, err;

	*removal = (struct removal){ .was_leftover = !store_exists(name), .was_complete = true };
	/* an attach that was killed may have attached the program already */
	if (remove_leftovers(name))
		return -1;
	if (removal->was_leftover)
		return 0;
	dir = store_lock(name);
	if (dir < 0)
		return -1;
	snprintf(discarded, sizeof(discarded), "%s" DISCARDED, name);
	err = store_rename(name, discarded);
	if (!err)
		err = remove_service(discarded, removal);
	if (err && store_exists(discarded))
		store_rename(discarded, name);
	close(dir);
	return err;
}
