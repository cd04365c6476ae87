/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __REUSEPORTCTL_SERVICE_H
#define __REUSEPORTCTL_SERVICE_H

#include "reuseportctl.h"
#include "sockets.h"

#define PIN_ROOT	"/sys/fs/bpf/reuseport"
#define NAME_LEN	32
#define UNFINISHED	"+new"	/* a service that is being made */
#define DISCARDED	"+old"	/* one that is being removed */

struct service {
	char name[NAME_LEN + 8];	/* of its directory */
	int dir;
	int program, generations, about, state, counters, flows;
	struct service_config config;
	struct endpoint endpoint;
	struct state now;
	bool steers;		/* by our doing the program is on the group */
};

/* Open a service. @lock: to change it, so that no other command does meanwhile. */
int service_open(struct service *service, const char *name, bool lock);
void service_close(struct service *service);
/* The lock alone, for those who let go of it while they wait. */
int service_lock(struct service *service);
void service_unlock(struct service *service);
/* Is it still the one of that name? If not, its maps are empty and say nothing. */
int service_check_exists(const struct service *service);
int service_read_state(struct service *service);

/* Making one, in steps: after create() it has a name that nobody looks for, and no packet
 * comes by; the program goes onto the group; publish() gives it its name.
 */
int service_create(struct service *service, const char *name,
		   const struct service_config *config, __u32 flows);
int service_publish(struct service *service);
/* The way back, from create() on: the program comes off again if we have put it there. */
void service_discard(struct service *service);
int service_remove(const char *name);

/* Put the program on the group of this socket, which is ours. */
int group_attach_prog(struct service *service, int fd);
/* Is this socket, at the address of the service, of its group? */
bool service_owns_socket(const struct service *service, const struct endpoint_socket *socket);

/* What a command needs before it can begin. */
int require_name(const char *name);
int require_privileges(void);
int require_bpffs(void);
int require_netns(const struct service *service);

/* Call @visit for each name under PIN_ROOT, in order. */
typedef int (*service_visit)(const char *name, void *arg);
int visit_services(service_visit visit, void *arg);
bool is_leftover(const char *name);

/* Can the kernel ask a program where a waiting connection shall go? */
bool probe_migration(void);

#endif
