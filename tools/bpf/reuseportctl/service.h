/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 3: making, changing and removing a service. */
#ifndef __REUSEPORTCTL_SERVICE_H
#define __REUSEPORTCTL_SERVICE_H

#include "generation.h"

/* Open a service to change it: locked, of our layout, and with all that an interrupted
 * upgrade left undone.
 */
int service_open_locked(struct service *service, const char *name);

/* Look whether a service @name can be made for this group, with the lock of PIN_ROOT held.
 * *@replaces_stale: there is one of that name whose sockets are all closed.
 */
int service_check_new(const char *name, const struct service_config *config,
		      bool *replaces_stale);
/* Make a service, in steps. Remove what is left under its name, and make the program and the
 * maps: no command looks for the name they have, and the program is not attached yet.
 */
int service_create(struct service *service, const char *name,
		   const struct service_config *config, const struct flow_config *flow_config);
/* With a generation that is the current one, give it its name. */
int service_publish(struct service *service);
/* Undo all since service_create(): detach the program if we have attached it. */
void service_discard(struct service *service);

/* Look whether there is a service @name to remove, or something left of one. */
int service_check_removable(const char *name);
struct removal {
	bool was_leftover;	/* of an interrupted command: no service had the name */
	bool was_complete;	/* if not, pins were missing: the program may be attached */
	struct group_prog left;	/* what the group has now */
};
int service_remove(const char *name, struct removal *removal);

#endif
